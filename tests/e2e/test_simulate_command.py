"""`gateway simulate`: the plant's devices on ports of their own, as other programs find them."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pymodbus.client import ModbusTcpClient

from tests.support import process
from tests.support.devices import scripted
from tests.support.needs import require
from tests.support.oneshot import gateway
from tests.support.process import START_S, Running
from tests.support.until import wait_until
from tests.support.wire import Wire, hexed

PLANT = """
devices:
  press:
    url: tcp://192.168.1.10
    tags:
      strokes: {at: holding:20, type: uint32, order: CDAB, sim: "counter(1000)"}
      level: {at: input:0, type: int16, scale: 0.1, sim: 42.5}
      running: {at: coils:0, type: bool, sim: on}
      setpoint: {at: holding:30, type: int16}
  meter1: {url: "tcp://192.168.1.11", unit: 1, tags: {energy: {at: holding:0, type: uint16, sim: 11}}}
  meter2: {url: "tcp://192.168.1.11", unit: 2, tags: {energy: {at: holding:0, type: uint16, sim: 22}}}
"""


class Simulation(Running):
    """The command, and where each device is: name -> (port, unit)."""

    def __init__(self, path: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "gateway", "simulate", str(path), *arguments]
        super().__init__(command, path.parent, 0)

    def devices(self) -> dict[str, tuple[int, int]]:
        found = (re.fullmatch(r"(\w+): tcp://127\.0\.0\.1:(\d+) unit (\d+)", line) for line in list(self.output))
        return {match[1]: (int(match[2]), int(match[3])) for match in found if match}


@contextmanager
def simulating(directory: Path, *arguments: str) -> Iterator[Simulation]:
    path = directory / "plant.yaml"
    path.write_text(PLANT)
    command = Simulation(path, *arguments)
    process.alive.append(command)
    try:
        wait_until(
            lambda: len(command.devices()) == 3 or command.process.poll() is not None, START_S, "three devices served"
        )
        assert command.process.poll() is None, f"it ended{command.told()}"
        yield command
        assert command.stop() == 0
    finally:
        process.alive.remove(command)
        command.kill()


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulation]:
    with simulating(tmp_path_factory.mktemp("plant"), "--base-port", "0") as simulation:
        yield simulation


@contextmanager
def pymodbus(port: int) -> Iterator[ModbusTcpClient]:
    client = ModbusTcpClient("127.0.0.1", port=port, timeout=5)
    assert client.connect()
    yield client
    client.close()


def test_pymodbus_reads_values_that_move(plant: Simulation) -> None:
    port, unit = plant.devices()["press"]
    with pymodbus(port) as client:

        def strokes() -> int:
            low, high = client.read_holding_registers(20, count=2, device_id=unit).registers
            return int(low) | int(high) << 16

        first = strokes()
        wait_until(lambda: strokes() > first, 5, "more strokes")
        assert client.read_input_registers(0, device_id=unit).registers == [425]
        assert client.read_coils(0, device_id=unit).bits[0]


def test_it_holds_what_mbpoll_writes(plant: Simulation) -> None:
    port, _ = plant.devices()["press"]
    command = [require("mbpoll"), "-m", "tcp", "-p", str(port), "-0", "-q", "-t", "4"]
    subprocess.run([*command, "-r", "30", "127.0.0.1", "1234"], check=True, capture_output=True, timeout=10)
    subprocess.run([*command, "-r", "20", "127.0.0.1", "7", "8"], check=True, capture_output=True, timeout=10)
    read = [*command, "-1", "-c", "11", "-r", "20", "127.0.0.1"]
    shown = subprocess.run(read, check=True, capture_output=True, text=True, timeout=10).stdout
    values = dict(re.findall(r"\[(\d+)\]:\s+(-?\d+)", shown))
    assert (values["20"], values["21"], values["30"]) == ("7", "8", "1234")


def test_units_that_share_a_link_share_a_port(plant: Simulation) -> None:
    (port, first), (same_port, second) = plant.devices()["meter1"], plant.devices()["meter2"]
    assert (port, first, second) == (same_port, 1, 2)
    with Wire(port) as wire:
        assert wire.ask(b"\x03\0\0\0\x01", unit=1) == b"\x03\x02\0\x0b"
        assert wire.ask(b"\x03\0\0\0\x01", unit=2) == b"\x03\x02\0\x16"
        assert wire.ask(b"\x03\0\0\0\x01", unit=3) == b"\x83\x0b", "nobody there, as behind a bridge"


def test_requests_in_one_segment_are_all_answered_and_a_broken_header_closes(plant: Simulation) -> None:
    port, unit = plant.devices()["press"]
    request = bytes((0, 6, unit, 4, 0, 0, 0, 1))
    with Wire(port) as wire:
        wire.send(b"\0\x01\0\0" + request + b"\0\x02\0\0" + request + b"\0\x03\x12\x34" + request)
        assert [wire.receive_adu().tid for _ in range(2)] == [1, 2]
        wire.expect_close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_clients_connected(tmp_path: Path, number: int) -> None:
    with simulating(tmp_path, "--base-port", "0") as simulation, Wire(simulation.devices()["press"][0]) as wire:
        assert wire.ask(b"\x04\0\0\0\x01") == b"\x04\x02\x01\xa9"
        assert simulation.stop(number) == 0
        assert simulation.log == []


def test_ports_count_up_from_the_base_port(tmp_path: Path) -> None:
    # Below the ports that the system gives to connections.
    base = next(port for port in range(15020, 32000) if _free(port) and _free(port + 1))
    with simulating(tmp_path, "--base-port", str(base)) as simulation:
        assert simulation.devices() == {"press": (base, 1), "meter1": (base + 1, 1), "meter2": (base + 1, 2)}


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "plant.yaml"
    path.write_text(PLANT)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = gateway("simulate", str(path), "--base-port", str(port))
    assert result.returncode == 1
    assert result.stderr.startswith(f"cannot listen on tcp://127.0.0.1:{port}: the port is in use")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("yaml", "arguments", "code", "hint"),
    [
        (PLANT, ("--base-port", "65535"), 1, "choose a lower --base-port"),
        (PLANT, ("--base-port", "70000"), 2, "65535"),
        (PLANT, ("--host", "nowhere.invalid"), 1, "choose another --host"),
        ("units: {1: {holding: 10}}", (), 2, "no device to simulate"),
        ("devices: {press: {ulr: 'sim://'}}", (), 2, "did you mean 'url'"),
    ],
)
def test_mistakes_are_told_in_words(
    tmp_path: Path, yaml: str, arguments: tuple[str, ...], code: int, hint: str
) -> None:
    path = tmp_path / "plant.yaml"
    path.write_text(yaml)
    result = gateway("simulate", str(path), *arguments)
    assert result.returncode == code
    assert hint in result.stderr


def test_a_simulated_gateway_dials_nobody_for_units_that_are_only_forwarded(tmp_path: Path) -> None:
    with scripted() as real:
        yaml = f"""
server: {{listen: "tcp://127.0.0.1:0"}}
links: {{bridge: {{url: "tcp://127.0.0.1:{real.port}"}}}}
units: {{7: {{forward: bridge}}}}
"""
        with process.running(yaml, tmp_path, "--simulate") as command, Wire(command.port) as wire:
            wait_until(lambda: wire.ask(hexed("03 0003 0001"), 7) == hexed("03 02 0000"), 5.0, "the simulated unit")
        assert real.connections == 0


def test_for_programs_one_object_tells_where_all_devices_are(tmp_path: Path) -> None:
    (tmp_path / "plant.yaml").write_text(PLANT, encoding="utf-8")
    command = Running([*process.GATEWAY, "simulate", "plant.yaml", "--base-port", "0", "--json"], tmp_path, 0)
    try:
        line = wait_until(lambda: command.output and command.output[0], START_S, "the object")
        told = json.loads(line)
        assert told["links"] == {}
        assert {name: device["unit"] for name, device in told["devices"].items()} == {
            "press": 1,
            "meter1": 1,
            "meter2": 2,
        }
        assert told["devices"]["meter1"]["url"] == told["devices"]["meter2"]["url"], "they share a link"
        with Wire(int(told["devices"]["meter2"]["url"].rpartition(":")[2])) as wire:
            assert wire.ask(hexed("03 0000 0001"), unit=2) == hexed("03 02 0016")
        assert command.stop() == 0
        assert len(command.output) == 1
    finally:
        command.kill()
