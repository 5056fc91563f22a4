"""Rights and the audit through the installed command: foreign clients from several addresses, and what is on record."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from pymodbus.client import ModbusTcpClient

from tests.e2e.test_reload import reload, status
from tests.support.needs import require
from tests.support.process import Running, running
from tests.support.sim import serving
from tests.support.until import wait_until
from tests.support.wire import Closed, Wire, adu, hexed

ENGINEER, OPERATOR, VIEWER, STRANGER = (f"127.0.0.{number}" for number in (2, 3, 4, 5))
PLANT = """
server:
  listen:
    - tcp://127.0.0.1:0
    - url: tcp://127.0.0.1:0
      access: [{may: read}]
  access:
    - {from: 127.0.0.2, may: write}
    - {from: 127.0.0.3, unit: 1, range: holding:10..19, may: write}
    - {from: 127.0.0.0/29, range: holding:90..99, may: nothing}
    - {from: [127.0.0.3, 127.0.0.4], may: read}
units:
  1: {holding: 0..99, coils: 0..9, read_only: [holding:15], initial: {"holding:10": [100, 101]}}
  2: {holding: 0..9}
"""


class Address:
    """The connections of one client address."""

    def __init__(self, gateway: Running, source: str, listener: int = 0) -> None:
        self._port = gateway.ports[listener]
        self._source = source

    def wire(self) -> Wire:
        return Wire(self._port, source=self._source)

    def is_shut_out(self) -> bool:
        with self.wire() as wire:
            try:
                wire.ask(hexed("03 0000 0001"))
            except (Closed, ConnectionError):
                return True
        return False

    @contextmanager
    def pymodbus(self) -> Iterator[ModbusTcpClient]:
        client = ModbusTcpClient("127.0.0.1", port=self._port, source_address=(self._source, 0), retries=0)
        assert client.connect()
        try:
            yield client
        finally:
            client.close()


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Running]:
    with running(PLANT, tmp_path, listeners=2) as gateway:
        yield gateway


def audited(directory: Path, count: int) -> list[dict[str, Any]]:
    """The lines, when there are so many."""
    path = directory / "state" / "audit.jsonl"

    def lines() -> list[str]:
        return path.read_text().splitlines() if path.exists() else []

    wait_until(lambda: len(lines()) >= count, 2.0, f"{count} lines")
    return [json.loads(line) for line in lines()]


def test_each_address_may_what_the_first_rule_that_fits_it_says(gateway: Running) -> None:
    with Address(gateway, ENGINEER).pymodbus() as client:
        assert not client.write_register(0, 7).isError()
        assert client.write_register(15, 7).exception_code == 2, "read-only in the image"
        assert client.read_holding_registers(90, count=10).registers == [0] * 10
    with Address(gateway, OPERATOR).pymodbus() as client:
        assert not client.write_registers(10, [1, 2]).isError()
        assert client.write_registers(9, [1, 2]).exception_code == 1, "half outside"
        assert client.write_register(10, 1, device_id=2).exception_code == 1, "another unit"
        assert client.readwrite_registers(read_address=0, read_count=3, write_address=10, values=[5]).registers == [
            7,
            0,
            0,
        ]
        assert client.read_holding_registers(80, count=11).exception_code == 1, "nobody's range"
        assert client.write_coil(0, True).exception_code == 1
    with Address(gateway, VIEWER).pymodbus() as client:
        assert client.read_holding_registers(10, count=2).registers == [5, 2]
        assert client.read_coils(0, count=3).bits[:3] == [False] * 3
        assert client.write_register(10, 1).exception_code == 1
        assert client.read_device_information().information[0] == b"Modbus gateway"
    assert Address(gateway, STRANGER).is_shut_out()
    assert not Address(gateway, STRANGER, listener=1).is_shut_out(), "that door has rules of its own"
    with Address(gateway, ENGINEER, listener=1).pymodbus() as client:
        assert client.write_register(0, 7).exception_code == 1


def test_mbpoll_is_told_that_it_may_not(gateway: Running) -> None:
    require("mbpoll")
    # It comes from 127.0.0.1, which has no rule at the first door and may read at the second.
    command = ["mbpoll", "-m", "tcp", "-p", str(gateway.ports[1]), "-a", "1", "-r", "11", "-0", "-1", "-q", "127.0.0.1"]
    read = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert read.returncode == 0, read.stderr
    written = subprocess.run([*command, "55"], capture_output=True, text=True, timeout=20, check=False)
    assert "Illegal function" in written.stdout + written.stderr


def test_a_read_that_one_may_and_that_is_remembered_is_not_served_to_another(gateway: Running) -> None:
    read = hexed("03 005A 0001")
    with Address(gateway, ENGINEER).wire() as engineer, Address(gateway, VIEWER).wire() as viewer:
        for _ in range(3):
            assert engineer.ask(read) == hexed("03 02 0000")
            assert viewer.ask(read) == hexed("83 01")
        for _ in range(3):
            assert viewer.ask(hexed("03 000A 0001")) == engineer.ask(hexed("03 000A 0001")) == hexed("03 02 0064")


def test_a_reload_changes_what_those_who_are_connected_may(gateway: Running, tmp_path: Path) -> None:
    with Address(gateway, OPERATOR).wire() as operator, Address(gateway, VIEWER).wire() as viewer:
        assert operator.ask(hexed("06 000A 0001")) == hexed("06 000A 0001")
        assert viewer.ask(hexed("03 000A 0001")) == hexed("03 02 0001")
        changed = PLANT.replace("[127.0.0.3, 127.0.0.4], may: read", "127.0.0.5, may: write").replace(
            "holding:10..19, may: write", "holding:10..19, may: read"
        )
        reload(gateway, tmp_path, changed, "server changed")
        assert operator.ask(hexed("06 000A 0001")) == hexed("86 01")
        assert operator.ask(hexed("03 000A 0001")) == hexed("03 02 0001")
        assert operator.ask(hexed("03 0000 0001")) == hexed("83 01")
        with pytest.raises((Closed, ConnectionError)):
            viewer.ask(hexed("03 000A 0001"))
        with Address(gateway, STRANGER).wire() as stranger:
            assert stranger.ask(hexed("06 0001 0009")) == hexed("06 0001 0009")
    counted = status(tmp_path)["server"]
    assert counted["denied"] == 2
    assert counted["unwelcome"] == 1
    assert any("may do nothing here any more" in line for line in gateway.log)


def test_who_came_in_by_the_rules_of_a_door_is_out_when_it_is_closed(gateway: Running, tmp_path: Path) -> None:
    with Address(gateway, ENGINEER, listener=1).wire() as inside, Address(gateway, ENGINEER).wire() as other:
        assert inside.ask(hexed("06 000A 0001")) == hexed("86 01")
        door = "    - url: tcp://127.0.0.1:0\n      access: [{may: read}]\n"
        assert door in PLANT
        reload(gateway, tmp_path, PLANT.replace(door, ""), "server changed")
        with pytest.raises((Closed, ConnectionError)):
            inside.ask(hexed("06 000A 0001"))
        assert other.ask(hexed("06 000A 0001")) == hexed("06 000A 0001")


def test_a_listener_of_the_command_line_does_not_undo_the_rights_of_those_it_replaces(tmp_path: Path) -> None:
    path = tmp_path / "plant.yaml"
    path.write_text("server: {listen: {url: tcp://127.0.0.1:0, access: [{may: read}]}}\nunits: {1: {holding: 0..9}}")
    command = [sys.executable, "-m", "gateway", "--config", str(path), "--listen", "tcp://127.0.0.1:0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert "has rights of its own (access), which would not hold" in done.stderr


def test_a_network_in_ipv6_clothes_is_the_one_that_clients_have(tmp_path: Path) -> None:
    rules = '[{from: "::ffff:127.0.0.0/104", may: nothing}, {from: any, may: write}]'
    plant = f"server: {{listen: tcp://127.0.0.1:0, access: {rules}}}\nunits: {{1: {{holding: 0..9}}}}"
    with running(plant, tmp_path) as gateway:
        assert Address(gateway, VIEWER).is_shut_out()


def test_a_refused_reload_gives_nobody_the_rights_of_the_refused_file(tmp_path: Path) -> None:
    """Who comes in while its listeners are opened, which takes a while, does so by the rules that hold."""
    with running(PLANT, tmp_path, listeners=2) as gateway, socket.create_server(("127.0.0.1", 0)) as taken:
        doors = f"    - tcp://127.0.0.1:{taken.getsockname()[1]}\n"
        refused = PLANT.replace("  access:\n", doors + "  access:\n", 1)
        everything = refused.replace("    - {from: 127.0.0.2, may: write}\n", "    - {may: write}\n")
        with Address(gateway, VIEWER).wire() as viewer:
            (tmp_path / "plant.yaml").write_text(everything)
            gateway.process.send_signal(signal.SIGHUP)
            wait_until(lambda: gateway.search("reload refused"), 5.0, "the reload is refused")
            assert viewer.ask(hexed("06 0001 0009")) == hexed("86 01")
        with Address(gateway, VIEWER).wire() as viewer:
            assert viewer.ask(hexed("06 0001 0009")) == hexed("86 01")


def test_every_write_is_on_record_and_so_is_every_refusal(gateway: Running, tmp_path: Path) -> None:
    with Address(gateway, OPERATOR).wire() as wire:
        peer = f"{OPERATOR}:{wire.local_port}"
        wire.ask(hexed("10 000A 0002 04 0001 0002"))
        wire.ask(hexed("03 000A 0002"))
        wire.ask(hexed("06 0000 0009"))
        wire.ask(hexed("06 000F 0009"))
    lines = audited(tmp_path, 3)
    assert [line["client"] for line in lines] == [peer] * 3
    assert {line["door"] for line in lines} == {f"tcp://127.0.0.1:{gateway.port}"}
    assert [(line["range"], line["old"], line["new"], line["outcome"]) for line in lines] == [
        ("holding:10..11 (400011..400012)", [100, 101], [1, 2], "done"),
        ("holding:0 (400001)", [0], [9], "refused 01 illegal function"),
        ("holding:15 (400016)", [0], [9], "refused 02 illegal data address"),
    ]
    assert stat.S_IMODE((tmp_path / "state" / "audit.jsonl").stat().st_mode) == 0o600
    assert status(tmp_path)["audit"]["lines"] == 3


THROUGH = """
server: {{listen: "tcp://127.0.0.1:0"}}
units:
  1: {{holding: 0..9}}
  5: {{forward: press}}
devices:
  press:
    url: tcp://127.0.0.1:{port}
    every: {every}
    retries: 0
    timeout: 300ms
    poll: [{{read: holding:0..9, to: 1/holding:0, write: through}}]
"""


def test_writes_to_a_device_are_on_record_with_what_became_of_them(tmp_path: Path) -> None:
    with serving({1: {"refuse": {"holding:50": "3"}}}) as device:
        with running(THROUGH.format(port=device.port, every="50ms"), tmp_path) as gateway, Wire(gateway.port) as wire:
            wait_until(lambda: wire.ask(hexed("03 0000 0001"))[:1] == b"\3", 5.0, "the polls")
            assert wire.ask(hexed("06 0001 0007")) == hexed("06 0001 0007")
            assert wire.ask(hexed("06 0032 0007"), 5) == hexed("86 03")
            assert wire.ask(hexed("06 0002 0008"), 5) == hexed("06 0002 0008")
            lines = audited(tmp_path, 3)
            assert [(line["unit"], line["old"], line["new"], line["outcome"]) for line in lines] == [
                (1, [0], [7], "done"),
                (5, None, [7], "refused 03 illegal data value"),
                (5, None, [8], "done"),
            ]


FIRST_POLL = hexed("03 0000 000A")


class Mute:
    """A device that takes connections and requests, and never says anything."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self._connections: list[socket.socket] = []
        self._received = bytearray()

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    def has_got(self, pdu: bytes) -> bool:
        with suppress(BlockingIOError):
            while True:
                self._connections.append(self._listener.accept()[0])
                self._connections[-1].setblocking(False)
        for connection in self._connections:
            with suppress(BlockingIOError, ConnectionError):
                self._received += connection.recv(65536)
        return pdu in self._received

    def close(self) -> None:
        for each in (self._listener, *self._connections):
            each.close()


@pytest.mark.parametrize("client", ["waits", "goes"])
def test_a_write_that_is_not_answered_is_unknown_also_when_its_client_has_gone(client: str, tmp_path: Path) -> None:
    write = hexed("06 0002 0008")
    with closing(Mute()) as device, running(THROUGH.format(port=device.port, every="1m"), tmp_path) as gateway:
        wait_until(lambda: device.has_got(FIRST_POLL), 5.0, "the link is up")
        with Wire(gateway.port) as wire:
            wire.send(adu(1, 5, write))
            wait_until(lambda: device.has_got(write), 5.0, "it is on its way")
            if client == "waits":
                assert wire.receive(9)[7:] == hexed("86 0B")
        (line,) = audited(tmp_path, 1)
        assert (line["range"], line["new"]) == ("holding:2 (400003)", [8])
        assert line["outcome"] == "unknown 0B gateway target device failed to respond"
        assert line["why"]
        assert line["took_ms"] >= 250


def test_the_audit_is_put_aside_when_it_is_full(tmp_path: Path) -> None:
    path = tmp_path / "state" / "audit.jsonl"
    plant = "server: {listen: tcp://127.0.0.1:0}\nunits: {1: {holding: 0..9}}\naudit: {max_size: 4KiB, keep: 2}"
    with running(plant, tmp_path) as gateway, Wire(gateway.port) as wire:
        for number in range(100):
            wire.ask(hexed("06 0000") + number.to_bytes(2, "big"))
            if number % 10 == 9:
                told = f'"new":[{number}]'
                wait_until(lambda told=told: path.exists() and told in path.read_text(), 5.0, told)  # type: ignore[misc]
    names = sorted(path.name for path in (tmp_path / "state").glob("audit*"))
    assert names == ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"]
    for name in names:
        assert (tmp_path / "state" / name).stat().st_size <= 4096
        for line in (tmp_path / "state" / name).read_text().splitlines():
            json.loads(line)


def test_without_a_state_directory_there_is_no_audit_and_the_log_says_so(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file in its place")
    with running("server: {listen: tcp://127.0.0.1:0}\nunits: {1: {holding: 0..9}}", tmp_path) as gateway:
        with Wire(gateway.port) as wire:
            assert wire.ask(hexed("06 0001 0002")) == hexed("06 0001 0002")
        assert sum("no audit" in line for line in gateway.log) == 1


def test_an_audit_that_is_switched_off_and_on_by_a_reload(tmp_path: Path) -> None:
    text = "server: {listen: tcp://127.0.0.1:0}\nunits: {1: {holding: 0..9}}\n"
    with running(text, tmp_path) as gateway, Wire(gateway.port) as wire:
        wire.ask(hexed("06 0001 0001"))
        audited(tmp_path, 1)
        reload(gateway, tmp_path, text + "audit: {enabled: false}", "audit changed")
        wire.ask(hexed("06 0001 0002"))
        reload(gateway, tmp_path, text + "audit: {path: other.jsonl}", "audit changed")
        wire.ask(hexed("06 0001 0003"))
        gateway.process.send_signal(signal.SIGTERM)
        gateway.process.wait(10)
    assert [line["new"] for line in audited(tmp_path, 1)] == [[1]]
    other = (tmp_path / "state" / "other.jsonl").read_text().splitlines()
    assert [json.loads(line)["new"] for line in other] == [[3]]


def test_a_flood_of_writes_does_not_slow_who_reads(tmp_path: Path) -> None:
    count = 100_000
    write = b"".join(adu(tid, 1, hexed("06 0001") + tid.to_bytes(2, "big")) for tid in range(500))
    plant = "server: {listen: tcp://127.0.0.1:0}\nunits: {1: {holding: 0..9}}"
    with running(plant, tmp_path) as gateway, Wire(gateway.port) as flood, Wire(gateway.port) as reader:

        def pour() -> None:
            for _ in range(count // 500):
                flood.send(write)
                left = len(write)
                while left:
                    left -= len(flood.socket.recv(65536))

        pouring = threading.Thread(target=pour)
        pouring.start()
        times = []
        while pouring.is_alive():
            begun_s = time.perf_counter()
            reader.ask(hexed("03 0001 0001"))
            times.append(time.perf_counter() - begun_s)
        pouring.join()
        times.sort()
        p99_ms = times[int(len(times) * 0.99)] * 1000
        wait_until(lambda: status(tmp_path)["audit"]["waiting"] == 0, 20.0, "all is written or lost")
        told = status(tmp_path)["audit"]
    kept = [
        json.loads(line) for path in (tmp_path / "state").glob("audit.jsonl*") for line in path.read_text().splitlines()
    ]
    writes = [line for line in kept if "client" in line]
    assert len(writes) + sum(line.get("lost", 0) for line in kept) == count
    assert told["lost"] == count - len(writes)
    assert p99_ms < 50, f"p99 of a reader beside {count} writes: {p99_ms:.1f} ms"


def test_nothing_of_ours_is_readable_by_others(gateway: Running, tmp_path: Path) -> None:
    with Address(gateway, ENGINEER).wire() as wire:
        wire.ask(hexed("06 0001 0001"))
    audited(tmp_path, 1)
    for path in (tmp_path / "state").rglob("*"):
        assert stat.S_IMODE(os.lstat(path).st_mode) & 0o077 == 0, path
