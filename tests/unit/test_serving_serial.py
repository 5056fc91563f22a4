"""Our units on a line whose other end is the test: when an answer leaves, when it does not, adapters that hear us."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from gateway.bank import Bank
from gateway.clock import now
from gateway.config.model_server import Rule
from gateway.config.urls import parse_listen_url
from gateway.front.access import Access
from gateway.front.counters import Counters
from gateway.front.freshness import Freshness
from gateway.front.gate import Gate
from gateway.front.units import Units
from gateway.modbus import rtu
from gateway.modbus.spec import Table
from gateway.serving.doors import Door
from gateway.serving.serial import MIN_SILENCE_S, SerialLine
from tests.support.fake import Pipe
from tests.support.wire import hexed

READ, WRITE = hexed("03 0000 0001"), hexed("06 0001 0007")
READ_ANSWER = rtu.pack(1, hexed("03 02 0000"))
DEADLINE_S = 5.0


class Port(Pipe):
    """A port; with `echoes`, on an adapter that hears what it sends."""

    def __init__(self, line: SerialLine, *, echoes: bool = False) -> None:
        super().__init__({})
        self.line = line
        self.echoes = echoes
        self.unsent = 0
        self.writes: list[tuple[float, bytes]] = []
        line.connection_made(self)

    def write(self, data: Any) -> None:
        super().write(data)
        self.writes.append((time.monotonic(), bytes(data)))
        if self.echoes:
            asyncio.get_running_loop().call_soon(self.line.data_received, bytes(data))

    def get_write_buffer_size(self) -> int:
        return self.unsent

    async def take(self) -> bytes:
        """The next answer."""
        async with asyncio.timeout(DEADLINE_S):
            while not self.writes:
                await asyncio.sleep(0.001)
        return self.writes.pop(0)[1]


def make_line(settings: str = "baudrate=115200", bank: Bank | None = None) -> SerialLine:
    bank = bank or Bank({Table.HOLDING: [(0, 200)]})
    gate = Gate(Units({1: bank}, 1, "gateway_path"), Freshness(now), Counters())
    return SerialLine(gate, Door(parse_listen_url(f"rtu:///dev/ttyS0?{settings}")), lambda: 0)


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(main())


@pytest.mark.parametrize("baudrate", [300, 1200, 9600, 115200])
def test_an_answer_leaves_in_one_piece_after_3_5_characters_of_silence(baudrate: int) -> None:
    async def main() -> None:
        line = make_line(f"baudrate={baudrate}")
        port = Port(line)
        line.data_received(rtu.pack(1, READ)[:4])
        heard_s = time.monotonic()
        line.data_received(rtu.pack(1, READ)[4:])
        async with asyncio.timeout(DEADLINE_S):
            while not port.writes:
                await asyncio.sleep(0)
        sent_s, data = port.writes[0]
        assert data == READ_ANSWER
        assert sent_s - heard_s >= max(3.5 * 11 / baudrate, 0.00175) - 1e-4

    run(main)


def test_of_two_requests_that_come_at_once_only_the_second_is_still_waited_for() -> None:
    async def main() -> None:
        line = make_line()
        port = Port(line)
        line.data_received(rtu.pack(1, WRITE) + rtu.pack(1, hexed("03 0001 0001")))
        assert await port.take() == rtu.pack(1, hexed("03 02 0007"))
        assert port.writes == []
        assert (line.counters.requests, line.counters.silent) == (2, 1)

    run(main)


def test_a_frame_that_stops_half_way_is_dropped_after_silence_and_not_before() -> None:
    async def main() -> None:
        line = make_line()
        port = Port(line)
        frame = rtu.pack(1, READ)
        line.data_received(frame[:3])
        await asyncio.sleep(MIN_SILENCE_S / 3)  # 3.5 characters many times over, as behind a USB adapter
        line.data_received(frame[3:])
        assert await port.take() == READ_ANSWER
        assert line.counters.broken == 0
        line.data_received(frame[:3])
        async with asyncio.timeout(DEADLINE_S):
            while not line.counters.broken:
                await asyncio.sleep(0.001)
        line.data_received(frame)
        assert await port.take() == READ_ANSWER

    run(main)


def test_a_frame_after_a_byte_of_noise_is_answered() -> None:
    async def main() -> None:
        line = make_line()
        port = Port(line)
        line.data_received(b"\0")
        await asyncio.sleep(0.005)
        line.data_received(rtu.pack(1, READ))
        assert await port.take() == READ_ANSWER
        assert line.counters.broken == 1

    run(main)


def test_what_an_adapter_hears_of_us_is_left_out() -> None:
    async def main() -> None:
        writes: list[int] = []
        bank = Bank({Table.HOLDING: [(0, 200)]})
        bank.on_write = lambda table, first, count: writes.append(first)
        line = make_line(bank=bank)
        port = Port(line, echoes=True)
        for pdu in (WRITE, WRITE, READ, WRITE, hexed("41"), WRITE):  # the first ones before anybody knows
            line.data_received(rtu.pack(1, pdu))
            await port.take()
            await asyncio.sleep(0.06)
        assert writes == [1] * 4
        assert line.counters.requests == 6
        assert line.counters.broken == 0

    run(main)


def test_a_client_may_write_the_same_again_and_again() -> None:
    async def main() -> None:
        line = make_line()
        port = Port(line)
        line.data_received(rtu.pack(1, READ))
        await port.take()
        for _ in range(5):
            line.data_received(rtu.pack(1, WRITE))
            assert await port.take() == rtu.pack(1, WRITE)

    run(main)


def test_an_answer_does_not_queue_behind_one_that_the_port_does_not_take() -> None:
    async def main() -> None:
        line = make_line()
        port = Port(line)
        port.unsent = 8
        for _ in range(100):
            line.data_received(rtu.pack(1, READ))
        async with asyncio.timeout(DEADLINE_S):
            while line.counters.silent < 100:
                await asyncio.sleep(0.001)
        assert port.writes == []

    run(main)


def test_rules_hold_on_a_line_and_change_with_a_reload(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        door = Door(parse_listen_url("rtu:///dev/ttyS0"), Access(()))
        gate = Gate(Units({1: Bank({Table.HOLDING: [(0, 200)]})}, 1, "gateway_path"), Freshness(now), Counters())
        line = SerialLine(gate, door, lambda: 0)
        port = Port(line)
        line.data_received(rtu.pack(1, READ))
        assert line.counters.heard == 1
        assert line.counters.requests == 0
        assert "nobody may do anything there (access)" in caplog.text

        door.access = Access((Rule.model_validate({"may": "read"}),))
        gate.generation += 1
        line.data_received(rtu.pack(1, READ))
        assert await port.take() == READ_ANSWER
        for refused in (WRITE, hexed("08 0004 0000"), hexed("08 0001 0000")):
            line.data_received(rtu.pack(1, refused))
            assert await port.take() == rtu.pack(1, bytes((refused[0] | 0x80, 1)))
        assert not line.is_listen_only
        assert gate.counters.denied == 3

    run(main)
