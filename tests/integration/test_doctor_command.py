"""`gateway doctor` on a plant in which every device has something else, all asked in one run."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.devices import Behaviour, ScriptedDevice, free_port, pymodbus_plc
from tests.support.lines import LineDevice
from tests.support.oneshot import gateway
from tests.support.process import running
from tests.support.serial_pair import SerialPair
from tests.support.wire import adu

ONE_TAG = "tags: {speed: {at: holding:0, type: int16}}"
PLANT = """
state_dir: {folder}/state
devices:
  good: {{url: "tcp://127.0.0.1:{good}", tags: {{speed: {{at: holding:0, type: int16}}}}}}
  holes:
    url: "tcp://127.0.0.1:{holes}"
    poll: [{{read: holding:0..99, to: 2/holding:0}}, {{read: holding:200..209, to: 2/holding:200}}]
  short: {{url: "tcp://127.0.0.1:{short}", poll: [{{read: holding:0..99, to: 3/holding:0}}]}}
  values:
    url: "tcp://127.0.0.1:{values}"
    tags:
      swapped: {{at: holding:0, type: float32}}
      absent: {{at: holding:2, type: int16, no_value: [0x8000]}}
      high: {{at: holding:3, type: int16, write: true, range: [0, 50], to: 4/holding:3}}
  wrong_unit: {{url: "tcp://127.0.0.1:{holes}", unit: 9, timeout: 600ms, {one_tag}}}
  bridge: {{url: "tcp://127.0.0.1:{bridge}", unit: 9, timeout: 600ms, {one_tag}}}
  framing: {{url: "tcp://127.0.0.1:{rtu}", timeout: 600ms, {one_tag}}}
  other_framing: {{url: "rtu+tcp://127.0.0.1:{good}", timeout: 600ms, {one_tag}}}
  silent: {{url: "tcp://127.0.0.1:{silent}", timeout: 100ms, {one_tag}}}
  slow: {{url: "tcp://127.0.0.1:{slow}", timeout: 200ms, retries: 0, {one_tag}}}
  zero: {{url: "tcp://127.0.0.1:{zero}", {one_tag}}}
  table: {{url: "tcp://127.0.0.1:{holes}", tags: {{speed: {{at: input:5, type: int16}}}}}}
  web: {{url: "tcp://127.0.0.1:{web}", {one_tag}}}
  refused: {{url: "tcp://127.0.0.1:{nobody}", {one_tag}}}
  name: {{url: "tcp://plc.invalid", {one_tag}}}
  port: {{url: "rtu:///dev/ttyNONE7", {one_tag}}}
  line: {{url: "rtu://{line}?baudrate=115200", timeout: 200ms, {one_tag}}}
  simulated: {{url: "sim://", {one_tag}}}
  off: {{url: "tcp://127.0.0.1:1", enabled: false, {one_tag}}}
"""


def registers(words: dict[int, int], most: int = 125, only_unit: int = 0) -> Behaviour:
    """A device with these holding registers; other units are silent when there is only one."""

    def behave(tid: int, unit: int, pdu: bytes) -> bytes | None:
        if not pdu or (only_unit and unit != only_unit):
            return None  # no PDU: the frame was one of another framing
        first, count = int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big")
        if pdu[0] != 3:
            return adu(tid, unit, bytes((pdu[0] | 0x80, 1)))
        if count > most or any(address not in words for address in range(first, first + count)):
            return adu(tid, unit, bytes((0x83, 2)))
        data = b"".join(words[first + n].to_bytes(2, "big") for n in range(count))
        return adu(tid, unit, bytes((3, len(data))) + data)

    return behave


def slow(tid: int, unit: int, pdu: bytes) -> bytes | None:
    time.sleep(0.3)  # the device's own time
    return registers({0: 7})(tid, unit, pdu)


def counting(*ranges: range) -> dict[int, int]:
    return {address: address for each in ranges for address in each}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """One run over all of them: the devices of the report by name."""
    folder = tmp_path_factory.mktemp("doctor")
    high, low = struct.unpack(">HH", struct.pack(">f", 21.5))
    scripts: dict[str, Behaviour] = {
        "good": registers({0: 7}),
        "holes": registers(counting(range(40), range(44, 100)), only_unit=1),
        "short": registers(counting(range(100)), most=32),
        "values": registers({0: low, 1: high, 2: 0x8000, 3: 99}),
        "bridge": lambda tid, unit, pdu: adu(tid, unit, bytes((pdu[0] | 0x80, 0x0B))),
        "silent": lambda tid, unit, pdu: None,
        "slow": slow,
        "zero": lambda tid, unit, pdu: registers({0: 7})(0, unit, pdu),
        "web": lambda tid, unit, pdu: b"HTTP/1.1 400 Bad Request\r\n\r\n",
    }
    with ExitStack() as stack:
        devices = {name: ScriptedDevice(behave) for name, behave in scripts.items()}
        for device in devices.values():
            stack.callback(device.close)
        rtu = stack.enter_context(pymodbus_plc("rtu+tcp"))
        pair = stack.enter_context(SerialPair(folder))
        line = LineDevice("rtu", pair.theirs)
        stack.callback(line.close)
        line.behave = lambda unit, pdu: b"\xfe\x00\xfe"
        path = folder / "plant.yaml"
        ports = {name: device.port for name, device in devices.items()}
        path.write_text(
            PLANT.format(folder=folder, one_tag=ONE_TAG, rtu=rtu.port, nobody=free_port(), line=pair.ours, **ports)
        )
        result = gateway("doctor", str(path), "--json")
        assert result.returncode == 1, result.stderr
        told = json.loads(result.stdout)
        assert not told["ok"]
        asked = {pdu[0] for device in devices.values() for _, _, pdu in device.requests if pdu}
        assert asked <= {1, 2, 3, 4}
        yield {device["name"]: device for device in told["devices"]} | {"not_asked": told["not_asked"]}


def findings(report: dict[str, Any], name: str) -> list[tuple[str, str, str]]:
    return [(each["kind"], each["text"], each["change"]) for each in report[name]["findings"]]


def only(report: dict[str, Any], name: str) -> tuple[str, str, str]:
    (finding,) = findings(report, name)
    return finding


def test_a_device_that_is_well_has_nothing_to_tell(report: dict[str, Any]) -> None:
    assert report["good"]["ok"]
    assert report["good"]["findings"] == []
    assert report["good"]["reads"][0]["outcome"] == "good"
    assert (report["good"]["values"], report["good"]["tags"]) == (1, 1)


def test_registers_that_are_refused_and_what_is_safe(report: dict[str, Any]) -> None:
    (hole, elsewhere) = findings(report, "holes")
    assert hole[:2] == ("address", "refuses holding:40..43 (400041..400044): exception 02 illegal data address")
    assert "safe to read in one request each: holding:0..39, 44..99" in hole[2]
    assert "refuses all of holding:200..209" in elsewhere[1]


def test_a_device_that_reads_less_at_once(report: dict[str, Any]) -> None:
    kind, text, change = only(report, "short")
    assert (kind, change) == ("limit", "max_registers: 32")
    assert "it reads 32 at once and no more" in text


def test_values_that_cannot_be_meant_are_hints(report: dict[str, Any]) -> None:
    assert report["values"]["ok"]
    order, absent, high = findings(report, "values")
    assert (order[0], order[2]) == ("order", "if that is meant: order: CDAB")
    assert "it would be 21.5" in order[1]
    assert (absent[0], high[0]) == ("no_value", "range")
    assert "high is 99, out of its range 0..50" in high[1]


@pytest.mark.parametrize(
    ("name", "kind", "change"),
    [
        ("wrong_unit", "unit", "unit: 1"),
        ("framing", "framing", 'url: "rtu+tcp://'),
        ("other_framing", "framing", 'url: "tcp://'),
        ("slow", "slow", "timeout: 1s"),
        ("zero", "quirk", "accept: [tid_zero]"),
        ("table", "function", "holding:5 (400006) answers: is it that table?"),
        ("name", "name", "look at the spelling"),
        ("bridge", "unit", "is the unit id right"),
        ("line", "garbled", "is it 115200 baud, parity even"),
        ("silent", "silent", "gateway scan looks for units"),
    ],
)
def test_what_to_change(report: dict[str, Any], name: str, kind: str, change: str) -> None:
    found = only(report, name)
    assert found[0] == kind
    assert change in found[2]


def test_what_is_told_of_those_that_cannot_be_reached(report: dict[str, Any]) -> None:
    assert "refused the connection" in only(report, "refused")[1]
    assert "no such port: /dev/ttyNONE7" in only(report, "port")[1]
    assert "web server" in only(report, "web")[1]
    assert report["slow"]["values"] == 1
    assert set(report["not_asked"]) == {"simulated", "off"}


def test_a_plant_that_is_well_while_its_gateway_runs(tmp_path: Path) -> None:
    with pymodbus_plc() as plc:
        plant = (
            f'server: {{listen: "tcp://127.0.0.1:0"}}\n'
            f'devices: {{press: {{url: "tcp://127.0.0.1:{plc.port}", {ONE_TAG}}}}}\n'
        )
        with running(plant, tmp_path) as command:
            result = gateway("doctor", str(tmp_path / "plant.yaml"))
            assert result.returncode == 0, result.stderr
            assert f"The gateway of this plant is running (process {command.process.pid})" in result.stdout
            assert "all that was asked works" in result.stdout


def test_a_wrong_file_and_an_unknown_device(tmp_path: Path) -> None:
    path = tmp_path / "plant.yaml"
    path.write_text("devices: {press: {urll: tcp://127.0.0.1}}")
    result = gateway("doctor", str(path))
    assert result.returncode == 2
    assert "did you mean 'url'?" in result.stderr
    path.write_text("devices: {press: {url: tcp://127.0.0.1}}")
    result = gateway("doctor", str(path), "--device", "pres")
    assert result.returncode == 2
    assert "did you mean 'press'?" in result.stderr
