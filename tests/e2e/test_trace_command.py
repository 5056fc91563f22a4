"""`gateway trace` beside a running gateway: lines, objects, captures, and every way in which it ends."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.inprocess import command
from tests.support.needs import require
from tests.support.oneshot import gateway
from tests.support.process import ROOT, Running, running
from tests.support.sim import serving
from tests.support.until import wait_until

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")

PLANT = """
server: {listen: "tcp://127.0.0.1:0"}
units: {1: {holding: 0..9}, 7: {forward: press}}
devices:
  press:
    url: sim://
    every: 50ms
    tags: {count: {at: "holding:10", type: uint16, sim: "counter(20, 0)", to: "input:0"}}
  oven: {url: "sim://", unit: 3, every: 50ms, poll: [{read: "coils:0..7", to: "coils:0"}]}
"""


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Running]]:
    """The plant's file, and the gateway that runs it."""
    directory = tmp_path_factory.mktemp("traced")
    with running(PLANT, directory) as traced:
        wait_until((directory / "state" / "control.sock").exists, what="the control socket")
        yield str(directory / "plant.yaml"), traced


class Tracing:
    """`gateway trace ...` that runs until it is ended; its lines are read one by one."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "trace", *arguments],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.stdout = self.process.stdout

    def line(self) -> str:
        return self.stdout.readline()

    def end(self, signal_number: int | None = None) -> tuple[int, str]:
        """Exit code and what it told people."""
        if signal_number is not None:
            self.process.send_signal(signal_number)
        try:
            _, told = self.process.communicate(timeout=10)
        finally:
            self.process.kill()
        assert "Traceback" not in told, told
        return self.process.returncode, told


def objects(*arguments: str) -> list[dict[str, Any]]:
    result = gateway("trace", *arguments, "--json")
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_device_is_traced_decoded_with_the_time_each_answer_took(plant: tuple[str, Running]) -> None:
    result = gateway("trace", plant[0], "press", "--count", "6")
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    asked = r"\d\d:\d\d:\d\d\.\d{6} -> press +unit 1 +#\d+ +read holding:10 \(400011\)"
    answered = r"\d\d:\d\d:\d\d\.\d{6} <- press +unit 1 +#\d+ +1 register: [0-9a-f]{4}  [\d.]+ ms"
    assert len(lines) == 6
    assert sum(bool(re.fullmatch(asked, line)) for line in lines) == 3
    assert sum(bool(re.fullmatch(answered, line)) for line in lines) >= 2, result.stdout
    assert re.match(r"6 frames in [\d.]+ s\n", result.stderr)


def test_hex_shows_the_bytes_on_the_same_line(plant: tuple[str, Running]) -> None:
    result = gateway("trace", plant[0], "oven", "--hex", "--count", "2")
    assert re.search(r"-> oven +unit 3 +#\d+ +read coils:0\.\.7 .* \| 01 00 00 00 08\n", result.stdout)


def test_objects_tell_both_sides_and_the_request_of_an_answer(plant: tuple[str, Running]) -> None:
    rows = objects(plant[0], "--count", "20")
    assert {row["who"] for row in rows} == {"press", "oven"}
    answer = next(row for row in rows if row["who"] == "press" and row["request"])
    assert (answer["kind"], answer["function"], answer["request"]) == ("answer", 3, "03000a0001")
    assert answer["pdu"].startswith("0302")
    assert answer["link"] == "sim://press"
    assert answer["took_ms"] > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", answer["time"])
    assert answer["peer"].startswith("127.0.0.1:")


def test_a_link_a_unit_and_a_side_are_filters(plant: tuple[str, Running]) -> None:
    assert {row["who"] for row in objects(plant[0], "sim://oven", "--count", "4")} == {"oven"}
    assert {row["unit"] for row in objects(plant[0], "--unit", "3", "--count", "4")} == {3}


def test_a_client_is_traced_with_what_it_asks_and_gets(plant: tuple[str, Running]) -> None:
    file, running_gateway = plant
    trace = Tracing(file, "--client", "127.0.0.1", "--json")
    seen: list[dict[str, Any]] = []
    # The trace begins at some time: somebody asks until it has heard of it.
    asker = subprocess.Popen(
        [sys.executable, "-c", ASKER, str(running_gateway.port)], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    try:
        while len(seen) < 8:
            seen.append(json.loads(trace.line()))
    finally:
        asker.kill()
        asker.wait()
    code, _ = trace.end(signal.SIGINT)
    assert code == 0
    assert {row["side"] for row in seen} == {"client"}
    assert {row["unit"] for row in seen} == {1, 7}
    texts = {row["text"] for row in seen}
    assert "read holding:0..1 (400001..400002)" in texts
    assert "exception 02 illegal data address" in texts
    assert all(row["who"].startswith("127.0.0.1:") for row in seen)


ASKER = """
import sys
from pymodbus.client import ModbusTcpClient
client = ModbusTcpClient("127.0.0.1", port=int(sys.argv[1]))
client.connect()
while True:
    client.read_holding_registers(0, count=2, device_id=1)
    client.read_holding_registers(500, count=2, device_id=7)
"""


def test_what_is_not_answered_and_what_is_sent_again_are_marked(tmp_path: Path) -> None:
    with serving({1: {"no_answer": "3"}}) as plc:
        yaml = f"""
server: {{listen: "tcp://127.0.0.1:0"}}
devices:
  plc:
    url: tcp://127.0.0.1:{plc.port}
    timeout: 150ms
    retries: 2
    every: 50ms
    poll: [{{read: "holding:0..3", to: "holding:0"}}]
"""
        with running(yaml, tmp_path):
            wait_until((tmp_path / "state" / "control.sock").exists, what="the control socket")
            trace = Tracing(str(tmp_path / "plant.yaml"), "plc")
            lines: list[str] = []
            while not (any("no answer: " in line for line in lines) and any("[retry]" in line for line in lines)):
                lines.append(trace.line())
            code, told = trace.end(signal.SIGTERM)
    assert code == 0, told
    missing = next(line for line in lines if "no answer: " in line)
    assert re.search(r"-- plc +unit 1 +#\d+ +no answer: read holding:0\.\.3 \(400001\.\.400004\)  [\d.]+ m?s", missing)


# -- captures -------------------------------------------------------------------------------------------------------


def test_a_capture_is_what_was_traced_and_tshark_dissects_it(plant: tuple[str, Running], tmp_path: Path) -> None:
    tshark = require("tshark")
    path = tmp_path / "press.pcapng"
    traced = objects(plant[0], "--count", "30", "--pcap", str(path))
    fields = ["mbtcp.trans_id", "mbtcp.unit_id", "modbus.func_code", "frame.interface_name", "_ws.malformed"]
    command = [tshark, "-n", "-r", str(path), "-T", "fields", *(part for field in fields for part in ("-e", field))]
    output = subprocess.run(command, capture_output=True, text=True, timeout=50, check=True).stdout
    captured = [line.split("\t") for line in output.splitlines()]
    assert captured == [
        [str(row["tid"]), str(row["unit"]), str(row["function"]), row["link"], ""] for row in traced if row["pdu"]
    ]


def test_a_capture_goes_to_stdout_alone(plant: tuple[str, Running]) -> None:
    command = [sys.executable, "-m", "gateway", "trace", plant[0], "--pcap", "-", "--count", "4"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=20, check=False)
    assert result.returncode == 0
    assert result.stdout.startswith(b"\x0a\x0d\x0d\x0a")
    assert b"frames in" not in result.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is full")
def test_a_full_disk_ends_it_with_a_line(plant: tuple[str, Running]) -> None:
    result = gateway("trace", plant[0], "--pcap", "/dev/full")
    assert result.returncode == 1
    assert "/dev/full: No space left on device: the capture ends here" in result.stderr


FULL = """
import resource, sys
from gateway.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
sys.argv[0] = "gateway"
main()
"""


def test_a_full_disk_leaves_no_empty_file(plant: tuple[str, Running], tmp_path: Path) -> None:
    def traced(*more: str) -> str:
        arguments = [sys.executable, "-c", FULL, "trace", plant[0], "--pcap", str(path), *more]
        result = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
        assert result.returncode == 1, result.stderr
        return result.stderr

    path = tmp_path / "press.pcapng"
    assert "the capture ends here" in traced()
    assert not path.exists()
    path.touch()
    assert "the capture ends here" in traced("--force")
    assert path.exists(), "it was there before"


# -- its end --------------------------------------------------------------------------------------------------------


def test_ctrl_c_ends_it_in_order(plant: tuple[str, Running]) -> None:
    trace = Tracing(plant[0])
    assert trace.line()
    code, told = trace.end(signal.SIGINT)
    assert code == 0
    assert re.match(r"\d+ frames in [\d.]+ s\n$", told)


def test_a_closed_pipe_ends_it(plant: tuple[str, Running]) -> None:
    trace = Tracing(plant[0])
    assert trace.line()
    trace.stdout.close()
    assert wait_until(lambda: trace.process.poll() is not None, 10.0, "its end")
    assert trace.process.returncode == 141
    assert trace.process.stderr is not None
    assert "Traceback" not in trace.process.stderr.read()
    trace.process.stderr.close()


def test_a_closed_pipe_ends_it_although_nothing_travels(plant: tuple[str, Running]) -> None:
    trace = Tracing(plant[0], "--client", "10.255.255.1")
    trace.stdout.close()
    assert wait_until(lambda: trace.process.poll() is not None, 10.0, "its end")
    assert trace.process.returncode == 141
    assert trace.process.stderr is not None
    assert "nothing travelled" in trace.process.stderr.read()
    trace.process.stderr.close()


def test_its_time_ends_it(plant: tuple[str, Running]) -> None:
    result = gateway("trace", plant[0], "--for", "300ms")
    assert result.returncode == 0
    assert re.match(r"\d+ frames in 0\.[3-9] s", result.stderr)


def test_the_end_of_the_gateway_ends_it(tmp_path: Path) -> None:
    with running(PLANT, tmp_path) as traced:
        wait_until((tmp_path / "state" / "control.sock").exists, what="the control socket")
        trace = Tracing(str(tmp_path / "plant.yaml"))
        assert trace.line()
        traced.stop()
        code, told = trace.end()
    assert code == 1
    assert "the trace ends: no gateway is running with the state directory" in told


@pytest.fixture
def hanging(tmp_path: Path) -> Iterator[Running]:
    with running(PLANT, tmp_path) as traced:
        wait_until((tmp_path / "state" / "control.sock").exists, what="the control socket")
        try:
            yield traced
        finally:
            traced.process.send_signal(signal.SIGCONT)


def test_a_gateway_that_hangs_is_told_of_and_ctrl_c_ends_it_at_once(hanging: Running, tmp_path: Path) -> None:
    trace = Tracing(str(tmp_path / "plant.yaml"))
    assert trace.line()
    hanging.process.send_signal(signal.SIGSTOP)
    stderr = trace.process.stderr
    assert stderr is not None
    stopped_s = time.monotonic()
    assert stderr.readline().startswith("the gateway has not answered for 3 s: it is stopped or overloaded")
    assert time.monotonic() - stopped_s < 6
    asked_s = time.monotonic()
    code, told = trace.end(signal.SIGINT)
    assert time.monotonic() - asked_s < 2, "it did not wait for the gateway"
    assert code == 0
    assert re.match(r"\d+ frames in [\d.]+ s\n$", told)


@pytest.mark.parametrize("name", ["trace", "record"])
def test_its_time_ends_it_although_the_gateway_hangs(hanging: Running, tmp_path: Path, name: str) -> None:
    out = {"trace": "--pcap", "record": "-o"}[name]
    began_s = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", name, str(tmp_path / "plant.yaml"), "press", "--for", "2s", out,
         str(tmp_path / "out")],
        cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        wait_until(lambda: (tmp_path / "out").exists() and (tmp_path / "out").stat().st_size > 600, what="traffic")
        hanging.process.send_signal(signal.SIGSTOP)
        _, told = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0, told
    assert time.monotonic() - began_s < 7
    assert "not answer" not in told


def test_without_a_gateway_it_says_so(tmp_path: Path) -> None:
    result = command("trace", "--state-dir", str(tmp_path))
    assert result.returncode == 1
    assert result.stderr.startswith("no gateway is running with the state directory ")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["pres"], "the gateway has no device or link 'pres'; did you mean 'press'?"),
        (["press", "--clients"], "devices and clients are different wires"),
        (["--for", "10"], "--for: a duration needs its unit"),
        (["--for", "0s"], "--for must be longer than 0"),
        (["--unit", "300"], "Invalid value for '--unit'"),
    ],
)
def test_what_cannot_be_meant_is_told(plant: tuple[str, Running], arguments: list[str], why: str) -> None:
    result = command("trace", plant[0], *arguments)
    assert result.returncode == 2
    assert why in result.stderr


def test_a_capture_never_goes_over_the_plants_file(plant: tuple[str, Running]) -> None:
    before = Path(plant[0]).read_bytes()
    result = command("trace", plant[0], "--pcap", plant[0], "--count", "1", "--force")
    assert result.returncode == 2
    assert "is a file that is read for this, such as the plant's: name another" in result.stderr
    assert Path(plant[0]).read_bytes() == before


def test_a_capture_goes_over_no_file_that_is_there(plant: tuple[str, Running], tmp_path: Path) -> None:
    mine = tmp_path / "thesis.odt"
    mine.write_text("mine")
    result = command("trace", plant[0], "--pcap", str(mine), "--count", "1")
    assert result.returncode == 2
    assert f"{mine} is there already; --force writes over it" in result.stderr
    assert mine.read_text() == "mine"
    assert command("trace", plant[0], "--pcap", str(mine), "--count", "1", "--force").returncode == 0
    assert mine.read_bytes()[:4] == b"\x0a\x0d\x0d\x0a"
    assert command("trace", plant[0], "--pcap", "/dev/null", "--count", "1").returncode == 0


def test_a_name_goes_with_a_state_directory_too(plant: tuple[str, Running]) -> None:
    state = str(Path(plant[0]).parent / "state")
    assert command("trace", "press", "--state-dir", state, "--count", "1").returncode == 0


@pytest.mark.parametrize("name", ["top", "trace", "record", "replay"])
def test_help_has_two_examples_and_the_exit_codes(name: str) -> None:
    result = command(name, "--help")
    assert result.returncode == 0
    examples = result.stdout.split("Examples:")[1].split("\n\n")
    assert all(example.strip().startswith(f"gateway {name} ") for example in examples[1:3])
    assert "Exit codes: 0" in result.stdout
