"""A device is recorded through a running gateway, played, and polled by a second gateway: the same values in the same
order, witnessed by pymodbus; and what else `gateway record` and `gateway replay` do and refuse."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ModbusIOException

from gateway.recording.file import Exchange, Header, exchange_line, header_line, last_line, parse
from tests.support.devices import free_port
from tests.support.inprocess import command
from tests.support.oneshot import gateway
from tests.support.process import ROOT, running
from tests.support.until import wait_until

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")

MOVING = """
server: {listen: "tcp://127.0.0.1:0"}
devices:
  press:
    url: sim://
    unit: 3
    every: 100ms
    tags:
      count: {at: "holding:10", type: uint16, sim: "counter(5, 100)", to: "input:0"}
      level: {at: "holding:12", type: uint16, sim: "ramp(0, 1000, 7s)", to: "input:1"}
  dead: {url: "tcp://127.0.0.1:1", poll: [{read: "holding:0..9", to: "holding:0"}]}
"""
POLLS_THE_REPLAY = """
server: {{listen: "tcp://127.0.0.1:0"}}
devices:
  press: {{url: "tcp://127.0.0.1:{port}", unit: 3, every: 20ms, poll: [{{read: "holding:10..12", to: "holding:10"}}]}}
"""


@contextmanager
def replaying(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """`gateway replay ... --json` on a free port, and what it says of itself."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "replay", *arguments, "--listen", "tcp://127.0.0.1:0", "--json"],
        cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        about = json.loads(line)
        about["port"] = int(about["listening"].rpartition(":")[2])
        yield process, about
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


@contextmanager
def client_of(port: int) -> Iterator[ModbusTcpClient]:
    client = ModbusTcpClient("127.0.0.1", port=port, timeout=1, retries=0)
    assert client.connect()
    try:
        yield client
    finally:
        client.close()


def written(path: Path, *exchanges: Exchange) -> str:
    """A recording of these, whole."""
    lines = [header_line(Header("press", "sim://", (1,), "2026-11-21T09:30:00Z")), *map(exchange_line, exchanges)]
    path.write_text("".join([*lines, last_line(60.0, "ended by hand", len(exchanges), 0)]), encoding="utf-8")
    return str(path)


def exchange(at_s: float, request: str, answer: str | None, took_s: float = 0.001) -> Exchange:
    return Exchange(at_s, 1, bytes.fromhex(request), None if answer is None else bytes.fromhex(answer), took_s)


def test_a_second_gateway_that_polls_the_replay_sees_what_the_first_one_saw(tmp_path: Path) -> None:
    first, second, file = tmp_path / "first", tmp_path / "second", tmp_path / "press.rec"
    first.mkdir()
    second.mkdir()
    with running(MOVING, first):
        wait_until((first / "state" / "control.sock").exists, what="the control socket")
        result = gateway("record", str(first / "plant.yaml"), "press", "--for", "2500ms", "-o", str(file))
    assert result.returncode == 0, result.stderr
    assert "exchanges" in result.stderr
    with file.open(encoding="utf-8") as lines:
        recording = parse(lines)
    assert recording.is_whole
    assert (recording.header.device, recording.header.url, recording.header.units) == ("press", "sim://", (3,))
    assert recording.lost == 0
    recorded = [(each.answer[2:4], each.answer[6:8]) for each in recording.exchanges if each.answer is not None]
    expected = [tuple(int.from_bytes(part, "big") for part in values) for values, _ in groupby(recorded)]
    assert len(expected) > 10, "it moves"

    with replaying(str(file), "--once") as (replay, about):
        assert about["units"] == {"3": {"holding": [[10, 12]]}}
        with running(POLLS_THE_REPLAY.format(port=about["port"]), second) as other, client_of(other.port) as client:
            seen: list[tuple[int, ...]] = []
            while replay.poll() is None:
                answer = client.read_holding_registers(10, count=3)
                if not answer.isError():
                    value = (answer.registers[0], answer.registers[2])
                    if not seen or seen[-1] != value:
                        seen.append(value)
                time.sleep(0.002)  # not a wait: twenty looks between two changes
        assert replay.returncode == 0
    assert seen == expected


def is_silent(client: ModbusTcpClient) -> bool:
    try:
        client.read_holding_registers(0, count=2, device_id=1)
    except ModbusIOException:
        return True
    return False


def test_what_was_refused_and_what_was_silent_is_played_so(tmp_path: Path) -> None:
    file = written(
        tmp_path / "a.rec",
        exchange(0.0, "03 0000 0002", "03 04 0001 0002"), exchange(0.1, "03 0000 0063", "83 04"),
        exchange(0.2, "11", "11 03 41 FF 42"), exchange(0.25, "06 0001 0007", "86 02"),
        exchange(0.3, "03 0000 0002", None), exchange(50.0, "03 0000 0002", "03 04 0001 0003"),
    )  # fmt: skip
    with replaying(file, "--speed", "0.1") as (_, about), client_of(about["port"]) as client:
        assert client.read_holding_registers(0, count=2, device_id=1).registers == [1, 2]
        assert client.read_holding_registers(1, count=1, device_id=1).registers == [2]
        assert client.read_holding_registers(0, count=100, device_id=1).exception_code == 4
        assert client.read_holding_registers(5, count=1, device_id=1).exception_code == 2
        assert client.write_register(1, 7, device_id=1).exception_code == 2
        assert not client.write_register(0, 7, device_id=1).isError()
        assert client.read_holding_registers(0, count=2, device_id=1).registers == [7, 2]
        assert client.read_holding_registers(0, count=2, device_id=9).exception_code == 11
    with replaying(file, "--speed", "100") as (_, about), client_of(about["port"]) as client:
        assert client.read_holding_registers(0, count=2, device_id=1).registers == [1, 2]
        wait_until(lambda: is_silent(client), what="the silence that was recorded")


def test_it_answers_as_late_as_the_device_if_that_is_wanted(tmp_path: Path) -> None:
    file = written(tmp_path / "a.rec", exchange(0.0, "03 0000 0001", "03 02 0001", 0.2))
    for options, least_s, most_s in (((), 0.0, 0.15), (("--latency",), 0.2, 0.9)):
        with replaying(file, *options) as (_, about), client_of(about["port"]) as client:
            begun_s = time.monotonic()
            assert client.read_holding_registers(0, count=1, device_id=1).registers == [1]
            assert least_s <= time.monotonic() - begun_s < most_s


def test_a_device_is_recorded_without_a_gateway(tmp_path: Path) -> None:
    source = written(
        tmp_path / "a.rec", exchange(0.0, "03 0000 0096", None), exchange(0.0, "03 0000 0002", "03 04 0001 0002")
    )
    file = tmp_path / "b.rec"
    with replaying(source) as (_, about):
        url = f"tcp://127.0.0.1:{about['port']}"
        result = gateway(
            "record", url, "--read", "holding:0..1", "--read", "input:0", "--every", "50ms", "--for", "400ms",
            "-o", str(file),
        )  # fmt: skip
    assert result.returncode == 0, result.stderr
    with file.open(encoding="utf-8") as lines:
        recording = parse(lines)
    assert recording.header.url == url
    answers = {(each.request.hex(), each.answer.hex() if each.answer else None) for each in recording.exchanges}
    assert answers == {("0300000002", "030400010002"), ("0400000001", "8402")}
    assert 6 <= len(recording.exchanges) <= 18


def test_a_file_that_is_full_ends_it(tmp_path: Path) -> None:
    source = written(tmp_path / "a.rec", exchange(0.0, "03 0000 0002", "03 04 0001 0002"))
    file = tmp_path / "b.rec"
    with replaying(source) as (_, about):
        url = f"tcp://127.0.0.1:{about['port']}"
        result = gateway(
            "record", url, "--read", "holding:0..1", "--every", "1ms", "--max-size", "10KB", "-o", str(file)
        )
    assert result.returncode == 0
    assert "ended as the file has its --max-size" in result.stderr
    assert file.stat().st_size <= 10_000


LIMITED = """
import resource, sys
from gateway.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
sys.argv[0] = "gateway"
main()
"""


def test_a_disk_that_takes_no_more_leaves_whole_lines(tmp_path: Path) -> None:
    source = written(tmp_path / "a.rec", exchange(0.0, "03 0000 0002", "03 04 0001 0002"))
    file = tmp_path / "b.rec"
    with replaying(source) as (_, about):
        arguments = ["record", f"tcp://127.0.0.1:{about['port']}", "--read", "holding:0..1", "--every", "1ms"]
        result = subprocess.run(
            [sys.executable, "-c", LIMITED, *arguments, "-o", str(file)],
            cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    assert result.returncode == 1
    assert "File too large: the recording ends here, with" in result.stderr
    text = file.read_text(encoding="utf-8")
    assert text.endswith("}\n")
    assert len(parse(text.splitlines(keepends=True)).exchanges) > 5


def test_ctrl_c_ends_a_recording_in_order(tmp_path: Path) -> None:
    with running(MOVING, tmp_path):
        wait_until((tmp_path / "state" / "control.sock").exists, what="the control socket")
        file = tmp_path / "a.rec"
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "record", str(tmp_path / "plant.yaml"), "press", "-o", str(file)],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        wait_until(lambda: file.exists() and file.stat().st_size > 300, 10.0, "some exchanges")
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=10)
        nothing = gateway(
            "record", str(tmp_path / "plant.yaml"), "dead", "--for", "200ms", "-o", str(tmp_path / "b.rec")
        )
    assert process.returncode == 0
    assert "ended by hand" in told
    with file.open(encoding="utf-8") as lines:
        assert parse(lines).is_whole
    assert nothing.returncode == 1
    assert "nothing was recorded: dead was not asked for anything" in nothing.stderr
    assert not (tmp_path / "b.rec").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (["plant.yaml", "press"], 2, "say where to: -o press.rec"),
        (["plant.yaml", "-o", "x.rec"], 2, "say which device: gateway record plant.yaml NAME"),
        (["tcp://127.0.0.1:1", "-o", "x.rec"], 2, "say what to read of tcp://127.0.0.1:1"),
        (["tcp://127.0.0.1:1", "--read", "holding:0", "-o", "x.rec"], 1, "refused the connection"),
        (["tcp://127.0.0.1:1", "--read", "holdin:0", "-o", "x.rec"], 2, "holding"),
        (["tcp://127.0.0.1:1", "press", "--read", "holding:0", "-o", "x.rec"], 2, "leave NAME and --state-dir out"),
        (["tcp://h", "--read", "holding:0", "--max-size", "9", "-o", "x.rec"], 2, "--max-size: a size needs its unit"),
        (["tcp://h", "--read", "holding:0", "--for", "1", "-o", "x.rec"], 2, "--for: a duration needs its unit"),
        (["missing.yaml", "press", "-o", "x.rec"], 2, "missing.yaml"),
    ],
)
def test_what_record_cannot_do_is_told(arguments: list[str], code: int, why: str) -> None:
    result = command("record", *arguments)
    assert result.returncode == code
    assert why in result.stderr


def test_for_programs_it_says_what_is_in_the_file(tmp_path: Path) -> None:
    file = written(tmp_path / "a.rec", exchange(0.0, "03 0000 0001", "03 02 0001"))
    made = tmp_path / "b.rec"
    made.write_text("mine")
    with replaying(file) as (_, about):
        source = ("record", f"tcp://127.0.0.1:{about['port']}", "--read", "holding:0", "-o", str(made), "--json")
        result = command(*source, "--every", "50ms", "--for", "300ms", "--force")
    assert (result.returncode, result.stderr) == (0, "")
    told = json.loads(result.stdout)
    found = parse(made.read_text().splitlines(keepends=True))
    assert (told["file"], told["exchanges"], told["units"]) == (str(made), len(found.exchanges), [1])
    assert (told["unanswered"], told["lost"], told["bytes"]) == (0, 0, made.stat().st_size)


def test_a_device_that_answers_nothing_is_told_with_the_reason(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        source = ("record", f"tcp://127.0.0.1:{silent.getsockname()[1]}", "--read", "holding:0", "--timeout", "100ms")
        result = command(*source, "-o", str(tmp_path / "a.rec"), "--for", "300ms")
    assert result.returncode == 0
    assert "nothing was answered; the last: connected, but no answer within 100ms" in result.stderr


def test_answers_that_cannot_be_to_their_requests_are_told(tmp_path: Path) -> None:
    file = written(
        tmp_path / "a.rec", exchange(0.0, "03 0000 0001", "03 02 0001"), exchange(0.1, "03 0000 0001", "03 04 0001")
    )
    with replaying(file) as (_, about):
        assert (about["unfit"], about["exchanges"]) == (1, 2)


def test_a_recording_is_never_overwritten(tmp_path: Path) -> None:
    file = written(tmp_path / "a.rec", exchange(0.0, "03 0000 0001", "03 02 0001"))
    with replaying(file) as (_, about):
        result = command("record", f"tcp://127.0.0.1:{about['port']}", "--read", "holding:0", "-o", file)
    assert result.returncode == 2
    assert f"{file} is there already; --force writes over it" in result.stderr


@pytest.mark.parametrize(
    ("text", "code", "why"),
    [
        (None, 2, "No such file"),
        ("devices: {}\n", 2, "this is no recording of `gateway record`"),
        (header_line(Header("a", "b", (1,), "c")), 2, "there is no exchange in it"),
        (header_line(Header("a", "b", (1,), "c")) + "{\n", 2, "line 2 is no JSON"),
    ],
)
def test_what_cannot_be_played_is_told(tmp_path: Path, text: str | None, code: int, why: str) -> None:
    file = tmp_path / "a.rec"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    result = command("replay", str(file))
    assert result.returncode == code
    assert result.stderr.startswith(f"{file}: ")
    assert why in result.stderr


def test_a_port_that_is_taken_and_a_way_that_there_is_not_are_told(tmp_path: Path) -> None:
    file = written(tmp_path / "a.rec", exchange(0.0, "03 0000 0001", "03 02 0001"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = command("replay", file, "--listen", f"tcp://127.0.0.1:{port}")
        assert result.returncode == 1
        assert "the port is in use" in result.stderr
        assert "choose another --listen" in result.stderr
    other = command("replay", file, "--listen", f"udp://127.0.0.1:{free_port()}")
    assert other.returncode == 2
    assert "over tcp:// only" in other.stderr


def test_people_are_told_what_is_served_and_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "cut.rec"
    written(path, exchange(0.0, "03 0000 0002", "03 04 0001 0002"), exchange(0.05, "01 0000 0001", "01 01 01"))
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join([*lines[:-1], '{"at_ms": 60, "lost": 4}\n']), encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "replay", str(path), "--listen", "tcp://127.0.0.1:0"],
        cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    first, second = process.stdout.readline(), process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rest, told = process.communicate(timeout=10)
    assert process.returncode == 0
    assert first.startswith("press (sim://), recorded 2026-11-21T09:30:00Z: 2 exchanges in 100ms, at tcp://127.0.0.1:")
    assert second == "  unit 1: coils:0, holding:0..1\n"
    assert "the recorder missed 4 frames" in told
    assert "the recording was cut off" in told
    assert rest == "ended: 0 requests were answered or met with silence\n"
