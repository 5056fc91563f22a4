"""`gateway scan` against foreign and misbehaving devices, and the plant that `--save` writes of them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pymodbus.client import ModbusTcpClient

from gateway.cli.scan import parse_tables, parse_units
from gateway.control.client import ask
from gateway.control.path import ControlError
from tests.support import pymodbus_holes
from tests.support.devices import Behaviour, ProcessPlc, ScriptedDevice, free_port
from tests.support.oneshot import gateway
from tests.support.process import ROOT, Running, running
from tests.support.serial_pair import SerialPair
from tests.support.until import wait_until
from tests.support.wire import adu

QUICK = ("--pace", "0s", "--timeout", "600ms")
"""Long enough for a machine that is busy with other tests; only what is silent on purpose waits for it."""
NONE_BUT_READS = (1, 2, 3, 4, 17, 43)
SIMULATED = """
devices:
  press:
    url: tcp://192.168.1.10
    unit: 3
    poll: [{read: "holding:0..149", to: "3/holding:0"}, {read: "coils:5..40", to: "3/coils:5"}]
    tags: {level: {at: input:30, type: float32, order: CDAB, sim: 21.5}}
    faults: {max_registers: 40}
  pump: {url: "tcp://192.168.1.10", unit: 9, tags: {speed: {at: holding:1000, type: int16, sim: 1450}}}
"""


def scan(url: str, *arguments: str, code: int = 0) -> dict[str, Any]:
    result = gateway("scan", url, *QUICK, *arguments, "--json")
    assert result.returncode == code, result.stderr + result.stdout
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@contextmanager
def misbehaving(behave: Behaviour) -> Iterator[ScriptedDevice]:
    """A device whose requests are checked to be none that write."""
    device = ScriptedDevice(behave)
    try:
        yield device
        assert {pdu[0] for _, _, pdu in device.requests} <= set(NONE_BUT_READS)
    finally:
        device.close()


def table(tid: int, unit: int, pdu: bytes, *ranges: tuple[int, int]) -> bytes:
    """The answer of a device with these holding registers and nothing else."""
    if pdu[0] != 3:
        return adu(tid, unit, bytes((pdu[0] | 0x80, 1)))
    first, count = int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big")
    if not any(low <= first and first + count <= high for low, high in ranges):
        return adu(tid, unit, bytes((0x83, 2)))
    return adu(tid, unit, bytes((3, 2 * count)) + b"".join((first + n).to_bytes(2, "big") for n in range(count)))


def same_values(ours: int, theirs: int, found: dict[str, Any]) -> int:
    """Asks both ports for every value of a scan, with a foreign client; how many were compared."""
    compared = 0
    clients = [ModbusTcpClient("127.0.0.1", port=port, timeout=5) for port in (ours, theirs)]
    try:
        assert all(client.connect() for client in clients)
        for unit in found["units"]:
            for name, each in unit["tables"].items():
                for low, high in each["ranges"]:
                    step = 8 if name in ("holding", "input") else 64
                    for first in range(low, high + 1, step):
                        count = min(step, high + 1 - first)
                        one, other = (values(client, name, first, count, unit["unit"]) for client in clients)
                        assert one == other, f"unit {unit['unit']} {name}:{first}"
                        compared += count
    finally:
        for client in clients:
            client.close()
    return compared


def values(client: ModbusTcpClient, name: str, first: int, count: int, unit: int) -> list[int] | list[bool]:
    ask = {
        "holding": client.read_holding_registers,
        "input": client.read_input_registers,
        "coils": client.read_coils,
        "discrete": client.read_discrete_inputs,
    }[name]
    answer = ask(first, count=count, device_id=unit)
    assert not answer.isError(), f"{name}:{first}+{count} of unit {unit}: {answer}"
    return answer.registers if name in ("holding", "input") else answer.bits[:count]


def all_good(folder: Path, devices: int) -> bool:
    try:
        states = [device["state"] for device in ask(folder / "state", "status")["devices"]]
    except ControlError:
        return False  # it listens for clients before it can be asked
    return states == ["good"] * devices


def runs_as(saved: Path, folder: Path, theirs: int, found: dict[str, Any]) -> int:
    """Runs the file that was saved; how many values are the same as the device's."""
    checked = gateway("check", str(saved))
    assert checked.returncode == 0, checked.stderr
    text = saved.read_text(encoding="utf-8")
    with running(text, folder, "--listen", "tcp://127.0.0.1:0") as command:
        wait_until(lambda: all_good(folder, len(found["units"])), 10, "all devices good")
        return same_values(command.port, theirs, found)


# -- what is saved, run ---------------------------------------------------------------------------------------------


def test_a_foreign_plc_with_holes_is_found_whole_and_what_is_saved_reads_the_same(tmp_path: Path) -> None:
    plc = ProcessPlc("tests.support.pymodbus_holes", "16")
    plc.start()
    try:
        saved = tmp_path / "device.yaml"
        tables = "holding:0..319,input:0..99,coils:0..49,discrete:0..19"
        found = scan(f"127.0.0.1:{plc.port}", "--units", "1,4,5", "--tables", tables, "--save", str(saved))
        assert [unit["unit"] for unit in found["units"]] == list(pymodbus_holes.UNITS)
        assert found["silent"] == 1
        for unit in found["units"]:
            holding, inputs = unit["tables"]["holding"], unit["tables"]["input"]
            assert holding["ranges"] == [[first, stop - 1] for first, stop in pymodbus_holes.HOLDING]
            assert inputs["ranges"] == [[first, stop - 1] for first, stop in pymodbus_holes.INPUT]
            assert (holding["limit"], inputs["limit"]) == (16, 16)
            assert unit["server_id"] == "Pymodbus"
        assert "max_registers: 16" in saved.read_text(encoding="utf-8")
        assert runs_as(saved, tmp_path, plc.port, found) >= 2 * 150
    finally:
        plc.kill()


def test_a_simulated_plant_is_found_and_what_is_saved_reads_the_same(tmp_path: Path) -> None:
    path = tmp_path / "simulated.yaml"
    path.write_text(SIMULATED)
    simulation = Running([sys.executable, "-m", "gateway", "simulate", str(path), "--base-port", "0"], tmp_path, 0)
    try:
        wait_until(lambda: len(simulation.output) == 2, 20, "two devices served")
        port = int(simulation.output[0].split(":")[3].split()[0])
        saved = tmp_path / "device.yaml"
        tables = "holding,input:0..49,coils:0..49,discrete:0..9"
        found = scan(f"127.0.0.1:{port}", "--units", "1..20", "--tables", tables, "--save", str(saved))
        press, pump = found["units"]
        assert (press["unit"], pump["unit"], found["bridged"]) == (3, 9, 18)
        assert press["tables"]["holding"]["ranges"] == [[0, 149]]
        assert press["tables"]["holding"]["limit"] == 40
        assert press["tables"]["input"]["ranges"] == [[30, 31]]
        assert press["tables"]["coils"]["ranges"] == [[5, 40]]
        assert press["tables"]["discrete"]["ranges"] == []
        assert pump["tables"]["holding"]["ranges"] == [[1000, 1000]]
        assert runs_as(saved, tmp_path, port, found) == 150 + 2 + 36 + 1
    finally:
        simulation.stop()


# -- devices that misbehave -----------------------------------------------------------------------------------------


def test_a_device_that_answers_every_unit_is_one_device() -> None:
    with misbehaving(lambda tid, unit, pdu: table(tid, unit, pdu, (0, 4))) as device:
        found = scan(f"127.0.0.1:{device.port}", "--tables", "holding:0..9", "--units", "1..30")
        assert found["answers_every_unit"]
        assert len(found["units"]) == 30
        looked_into = {unit for _, unit, pdu in device.requests if pdu[3:5] != b"\x00\x01"}
        assert looked_into == {1}


def test_a_device_that_is_silent_for_units_and_registers_that_it_has_not() -> None:
    def behave(tid: int, unit: int, pdu: bytes) -> bytes | None:
        answer = table(tid, unit, pdu, (0, 10)) if unit == 7 else b""
        return None if not answer or answer[7] & 0x80 else answer

    with misbehaving(behave) as device:
        found = scan(f"127.0.0.1:{device.port}", "--units", "6..8", "--tables", "holding:0..11")
        assert [unit["unit"] for unit in found["units"]] == [7]
        assert found["units"][0]["tables"]["holding"]["ranges"] == [[0, 9]]
        assert found["silent"] == 2
        assert device.connections == 1


def test_a_device_that_drops_the_connection_at_an_illegal_request() -> None:
    def behave(tid: int, unit: int, pdu: bytes) -> bytes | None:
        answer = table(tid, unit, pdu, (0, 10), (20, 30))
        if answer[7] & 0x80:
            device.drop()
            return None
        return answer

    with misbehaving(behave) as device:
        found = scan(f"127.0.0.1:{device.port}", "--units", "1", "--tables", "holding:0..39,input")
        assert found["units"][0]["tables"]["holding"]["ranges"] == [[0, 9], [20, 29]]
        assert found["connections"] > 10


def test_a_device_that_dies_in_the_middle_shows_what_was_found() -> None:
    def behave(tid: int, unit: int, pdu: bytes) -> bytes | None:
        return None if len(device.requests) > 40 else table(tid, unit, pdu, (0, 20))

    with misbehaving(behave) as device:
        result = gateway("scan", f"127.0.0.1:{device.port}", "--units", "1", *QUICK)
        assert result.returncode == 0
        assert "0..19" in result.stdout
        assert "NOT WHOLE: unit 1 has stopped to answer" in result.stdout


def test_an_answer_with_transaction_id_0_and_a_bridge_that_reaches_nobody() -> None:
    with misbehaving(lambda tid, unit, pdu: table(0, unit, pdu, (0, 4))) as device:
        found = scan(f"127.0.0.1:{device.port}", "--units", "1", "--tables", "holding:0..9")
        assert found["quirks"] == ["tid_zero"]
    with misbehaving(lambda tid, unit, pdu: adu(tid, unit, bytes((pdu[0] | 0x80, 0x0B)))) as device:
        found = scan(f"127.0.0.1:{device.port}", "--units", "1..9", code=1)
        assert (found["units"], found["bridged"]) == ([], 9)


def test_interrupted_it_shows_what_was_found() -> None:
    with misbehaving(lambda tid, unit, pdu: table(tid, unit, pdu, (0, 20))) as device:
        command = subprocess.Popen(
            [sys.executable, "-m", "gateway", "scan", f"127.0.0.1:{device.port}", "--units", "1..3", "--pace", "50ms"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        device.wait_for_requests(25, 20)
        command.send_signal(signal.SIGINT)
        output, errors = command.communicate(timeout=20)
        assert command.returncode == 130
        assert "0..19" in output
        assert "NOT WHOLE: interrupted" in output
        assert "Traceback" not in errors


# -- on a line, and the command line --------------------------------------------------------------------------------


def test_units_on_a_serial_line_are_found(tmp_path: Path) -> None:
    with SerialPair(tmp_path) as pair:
        plc = subprocess.Popen(
            [sys.executable, "-m", "tests.support.pymodbus_line", pair.theirs, "rtu"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert plc.stdout is not None
            assert plc.stdout.readline() == "ready\n"
            url = f"rtu://{pair.ours}?baudrate=115200"
            found = scan(url, "--units", "1..4", "--tables", "holding:0..209")
            assert [unit["unit"] for unit in found["units"]] == [1, 2]
            assert [unit["tables"]["holding"]["ranges"] for unit in found["units"]] == [[[0, 199]]] * 2
        finally:
            plc.kill()
            plc.wait()
            assert plc.stdout is not None
            plc.stdout.close()


@pytest.mark.parametrize(
    ("parse", "text", "told"),
    [
        (parse_units, "1-5", r"a range is written `1\.\.5`"),
        (parse_units, "300", r"unit ids are 0\.\.255"),
        (parse_units, "", "is no unit id"),
        (parse_tables, "holdng", r"there is no table 'holdng'; did you mean 'holding'\?"),
        (parse_tables, "holding:70000", "past 65535"),
    ],
)
def test_mistakes_say_what_to_write(parse: Callable[[str], object], text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse(text)


def test_a_file_is_not_overwritten_and_mistakes_end_the_command(tmp_path: Path) -> None:
    saved = tmp_path / "device.yaml"
    saved.write_text("mine")
    result = gateway("scan", "127.0.0.1:1", "--save", str(saved))
    assert (result.returncode, result.stdout) == (2, "")
    assert "is there already; --force writes over it" in result.stderr
    for target, why in ((tmp_path / "none" / "x.yaml", "there is no directory"), (tmp_path, "it is a directory")):
        result = gateway("scan", "127.0.0.1:1", "--save", str(target), "--force")
        assert result.returncode == 2, "it is told before minutes of asking"
        assert f"{target} cannot be written: {why}" in result.stderr
    result = gateway("scan", f"127.0.0.1:{free_port()}", "--save", str(saved), "--force")
    assert result.returncode == 1
    assert "refused the connection: is the device on" in result.stderr
    assert saved.read_text() == "mine"
    result = gateway("scan", "rtu:/dev/ttyUSB0")
    assert result.returncode == 2
    assert "write `rtu:///dev/ttyUSB0`" in result.stderr
