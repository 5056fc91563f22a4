"""The main job with the real command: a foreign PLC is polled, killed, and comes back; clients see the truth."""

from __future__ import annotations

import signal
import struct
import time
from pathlib import Path

from pymodbus.client import ModbusTcpClient

from tests.support.devices import echo_zeros, free_port, pymodbus_plc, scripted
from tests.support.process import running
from tests.support.until import wait_until
from tests.support.wire import Wire, adu, hexed

TARGET_FAILED = "0b"
PROBE_DEADLINE_S = 15.0
"""A silent unit is asked again after 10 s."""


def read(wire: Wire, function: int, first: int, count: int, unit: int = 1) -> str:
    """The response PDU in hex without function and byte count; of an exception, its code alone."""
    answer = wire.ask(struct.pack(">BHH", function, first, count), unit)
    return answer[1:].hex() if answer[0] & 0x80 else answer[2:].hex()


def wait_for(wire: Wire, function: int, first: int, count: int, expected: str, deadline_s: float = 5.0) -> None:
    wait_until(lambda: read(wire, function, first, count) == expected, deadline_s, f"{expected} at {first}")


PLANT = """
server: {{listen: "tcp://127.0.0.1:0", status: input:900}}
devices:
  plc:
    url: tcp://127.0.0.1:{port}
    timeout: 300ms
    stale_after: 1s
    every: 100ms
    on_stale: {on_stale}
    status: input:910
    poll:
      - {{read: "holding:0..9", to: "holding:0"}}
      - {{read: "coils:0..31", to: "discrete:0"}}
    tags:
      flow: {{at: holding:100, type: float32, order: CDAB, to: "input:0"}}
      tenth: {{at: holding:20, type: int16, scale: 0.1, as: float32, to: "input:2"}}
"""


def test_a_foreign_plc_is_mirrored_killed_and_comes_back(tmp_path: Path) -> None:
    with pymodbus_plc() as plc, running(PLANT.format(port=plc.port, on_stale="error"), tmp_path) as gateway:
        with Wire(gateway.port) as wire:
            wait_for(wire, 3, 0, 3, "03e803e903ea")
            wait_for(wire, 2, 0, 9, "4900")
            wait_for(wire, 4, 0, 4, "42f6e979" + struct.pack(">f", 102.0).hex())
            wait_for(wire, 4, 910, 1, "0001")
            plc.kill()
            wait_for(wire, 3, 0, 3, TARGET_FAILED, 1.0 + 1.0)  # stale_after, and slack for a loaded machine
            wait_for(wire, 4, 0, 1, TARGET_FAILED)
            assert read(wire, 4, 910, 1) == "0003"
            assert read(wire, 4, 903, 3) == "000100000001"  # enabled, good, down
            plc.start()
            wait_for(wire, 3, 0, 3, "03e803e903ea", 2.0)
            wait_for(wire, 4, 910, 1, "0001")
        assert gateway.count("refused the connection|closed the connection|connection lost") <= 3
        assert gateway.count("answers again after") == 1


def test_hold_keeps_the_last_value_and_zero_shows_zero_when_the_plc_is_gone(tmp_path: Path) -> None:
    for policy, expected in (("hold", "03e8"), ("zero", "0000")):
        directory = tmp_path / policy
        directory.mkdir()
        with pymodbus_plc() as plc, running(PLANT.format(port=plc.port, on_stale=policy), directory) as gateway:
            with Wire(gateway.port) as wire:
                wait_for(wire, 3, 0, 1, "03e8")
                wait_for(wire, 4, 911, 1, "0000")
                plc.kill()
                wait_until(lambda: read(wire, 4, 911, 1) > "0001", 5.0, "an age beyond the limit")
                assert read(wire, 3, 0, 1) == expected


def test_before_the_first_read_there_is_never_a_zero(tmp_path: Path) -> None:
    port = free_port()
    for policy in ("error", "hold", "zero"):
        directory = tmp_path / policy
        directory.mkdir()
        with running(PLANT.format(port=port, on_stale=policy), directory) as gateway, Wire(gateway.port) as wire:
            for function, first in ((3, 0), (2, 0), (4, 0), (4, 2)):
                assert read(wire, function, first, 1) == TARGET_FAILED
            gateway.wait_for_log("refused the connection; trying on")
            assert read(wire, 4, 910, 2) == "0003ffff"


def test_a_stopped_process_serves_nothing_old_when_it_goes_on(tmp_path: Path) -> None:
    with pymodbus_plc() as plc, running(PLANT.format(port=plc.port, on_stale="error"), tmp_path) as gateway:
        with Wire(gateway.port) as wire:
            wait_for(wire, 3, 0, 1, "03e8")
            gateway.process.send_signal(signal.SIGSTOP)
            plc.kill()
            wire.send(adu(7, 1, hexed("03 0000 0001")))  # lies in its buffer when it wakes
            stopped = time.monotonic()
            wait_until(lambda: time.monotonic() - stopped > 1.2, 5.0, "stale_after to pass")
            gateway.process.send_signal(signal.SIGCONT)
            assert wire.receive_adu().pdu == bytes((0x83, 0x0B))


def test_clients_writes_to_polled_registers_are_refused(tmp_path: Path) -> None:
    with pymodbus_plc() as plc, running(PLANT.format(port=plc.port, on_stale="error"), tmp_path) as gateway:
        with Wire(gateway.port) as wire:
            wait_for(wire, 3, 0, 1, "03e8")
            for request in ("06 0000 0001", "10 0000 0001 02 0001", "16 0000 0000 FFFF"):
                pdu = hexed(request)
                assert wire.ask(pdu) == bytes((pdu[0] | 0x80, 2))


def test_units_on_one_url_share_one_connection_and_every_client_sees_both(tmp_path: Path) -> None:
    plant = """
server: {{listen: ["tcp://127.0.0.1:0", "tcp://127.0.0.1:0"]}}
devices:
  a: {{url: "tcp://127.0.0.1:{port}", unit: 1, every: 50ms, poll: [{{read: "holding:0..1", to: "1/holding:0"}}]}}
  b: {{url: "tcp://127.0.0.1:{port}", unit: 2, every: 50ms, poll: [{{read: "holding:5..6", to: "2/holding:0"}}]}}
"""
    with scripted() as device, running(plant.format(port=device.port), tmp_path, listeners=2) as gateway:
        for port in gateway.ports:
            client = ModbusTcpClient("127.0.0.1", port=port)
            assert client.connect()
            wait_until(lambda: not client.read_holding_registers(0, count=2, device_id=1).isError())  # noqa: B023
            wait_until(lambda: not client.read_holding_registers(0, count=2, device_id=2).isError())  # noqa: B023
            assert client.read_holding_registers(0, count=2, device_id=2).registers == [5, 6]
            client.close()
        assert device.connections == 1
        assert {unit for _, unit, _ in device.requests} == {1, 2}


ONE_BLOCK = """
server: {{listen: "tcp://127.0.0.1:0"}}
devices:
  plc:
    url: tcp://127.0.0.1:{port}
    timeout: 200ms
    retries: 0
    every: 100ms
    stale_after: 600ms
    status: input:910
    poll: [{{read: "holding:3", to: "holding:0"}}]
"""


def test_late_and_foreign_answers_are_never_given_to_the_next_request(tmp_path: Path) -> None:
    late: list[bytes] = []

    def lagging(tid: int, unit: int, pdu: bytes) -> bytes | None:
        """Each request is answered with the answer to the one before it, as devices that lost step do."""
        late.append(adu(tid, unit, b"\x03\x02" + len(late).to_bytes(2, "big")))
        return late[-2] if len(late) > 1 else None

    with scripted(lagging) as device, running(ONE_BLOCK.format(port=device.port), tmp_path) as gateway:
        with Wire(gateway.port) as wire:
            device.wait_for_requests(3)
            gateway.wait_for_log("did not answer 3 times in a row")
            assert read(wire, 3, 0, 1) == TARGET_FAILED
            device.behave = echo_zeros
            device.drop()  # a new connection is a new chance
            wait_for(wire, 3, 0, 1, "0003")
        assert gateway.count("Traceback") == 0


def test_an_exception_of_the_device_reaches_the_client_and_keeps_the_connection(tmp_path: Path) -> None:
    with scripted(lambda tid, unit, pdu: adu(tid, unit, b"\x83\x02")) as device:
        with running(ONE_BLOCK.format(port=device.port), tmp_path) as gateway, Wire(gateway.port) as wire:
            wait_for(wire, 3, 0, 1, "02")
            gateway.wait_for_log(r"device plc: holding:3 \(400004\) is refused with 02 illegal data address")
            assert device.connections == 1
            asked = len(device.requests)
            device.behave = echo_zeros
            assert read(wire, 3, 0, 1) == "02", "it is asked again in ten minutes only, or when it connects anew"
            assert len(device.requests) == asked
            device.drop()
            wait_for(wire, 3, 0, 1, "0003")
            assert gateway.count("is refused with 02") == 1


def test_garbage_closes_the_connection_and_the_next_one_works(tmp_path: Path) -> None:
    with scripted(lambda tid, unit, pdu: b"HTTP/1.1 400 Bad Request\r\n\r\n") as device:
        with running(ONE_BLOCK.format(port=device.port), tmp_path) as gateway, Wire(gateway.port) as wire:
            gateway.wait_for_log("this is not Modbus TCP: protocol id 5450 instead of 0000; trying on")
            assert read(wire, 3, 0, 1) == TARGET_FAILED
            device.behave = echo_zeros
            wait_for(wire, 3, 0, 1, "0003")
            assert device.connections > 1


def test_an_answer_in_pieces_behind_a_stray_one_is_understood(tmp_path: Path) -> None:
    def stray_first(tid: int, unit: int, pdu: bytes) -> bytes | None:
        """An answer nobody asked for and ours, joined."""
        return adu(tid ^ 0x5555, unit, b"\x03\x02\xde\xad") + (echo_zeros(tid, unit, pdu) or b"")

    with scripted(stray_first) as device, running(ONE_BLOCK.format(port=device.port), tmp_path) as gateway:
        with Wire(gateway.port) as wire:
            wait_for(wire, 3, 0, 1, "0003")
            device.wait_for_requests(5)
            assert device.connections == 1


def test_a_silent_device_turns_stale_and_is_told_once(tmp_path: Path) -> None:
    with scripted() as device, running(ONE_BLOCK.format(port=device.port), tmp_path) as gateway:
        with Wire(gateway.port) as wire:
            wait_for(wire, 3, 0, 1, "0003")
            device.behave = lambda tid, unit, pdu: None
            wait_for(wire, 3, 0, 1, TARGET_FAILED)
            gateway.wait_for_log("did not answer 3 times in a row")
            device.behave = echo_zeros
            wait_for(wire, 3, 0, 1, "0003", PROBE_DEADLINE_S)
            assert gateway.count("WARNING") <= 3, gateway.log
