"""Answers that come later: the order per unit, and what becomes of it when a client goes, is slow, or asks too much.

The transport is the test's, so that what is written, and when reading stops, is seen exactly.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

import pytest

from gateway.bank import Bank
from gateway.config.urls import ListenUrl
from gateway.front.counters import Counters
from gateway.front.freshness import Freshness
from gateway.front.gate import Gate
from gateway.front.units import Units
from gateway.interfaces import Later, Unit
from gateway.modbus.spec import Table
from gateway.serving.clients import Clients
from gateway.serving.connection import MAX_WAITING, Connection
from gateway.serving.doors import Door
from tests.support.fake import Pipe
from tests.support.wire import adu, hexed

P = ParamSpec("P")

SLOW, OTHER, IMAGE = 5, 6, 1


class NoSocket:
    """Takes every option."""

    def setsockopt(self, *option: object) -> None:
        pass


class Wire(Pipe):
    """Counts the writes."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 40000), "socket": NoSocket()})
        self.writes = 0

    def write(self, data: Any) -> None:
        super().write(data)
        self.writes += 1

    def take(self) -> bytes:
        data = bytes(self.written)
        self.written.clear()
        return data


class Slow:
    """A unit that answers when the test says so; its answer to a request is the request with 99 before it."""

    def __init__(self, *, overtakes: bool = True) -> None:
        self.asked: list[bytes] = []
        self.laters: dict[bytes, Later] = {}
        self.left: list[bytes] = []
        self.overtakes = overtakes

    def answer(self, pdu: bytes) -> bytes | Later | None:
        self.asked.append(pdu)
        later = self.laters[pdu] = Later(lambda: self.left.append(pdu))
        return later

    def may_overtake(self, pdu: bytes) -> bool:
        return self.overtakes

    def settle(self, *pdus: bytes) -> None:
        for later, pdu in [(self.laters.pop(pdu), pdu) for pdu in pdus]:
            later.settle(reply(pdu))


class Client:
    """A connection of a server, as its client sees it."""

    def __init__(self, server: Clients) -> None:
        self.wire = Wire()
        self.connection = Connection(server, DOOR)
        self.connection.connection_made(self.wire)

    def send(self, *frames: bytes) -> None:
        """All in one segment."""
        assert self.wire.reading, "sent although nobody reads"
        self.connection.data_received(b"".join(frames))

    async def take(self) -> bytes:
        """What it has got since the last time, when the loop has had its turns."""
        await turns()
        return self.wire.take()

    def go(self) -> None:
        self.wire.close()
        self.connection.connection_lost(None)


def reply(pdu: bytes) -> bytes:
    return b"\x63" + pdu


DOOR = Door(ListenUrl("127.0.0.1", 0))


def make_clients(
    units: dict[int, Unit], clock: list[float] | None = None, *, default_unit: int | None = None
) -> Clients:
    now = clock or [100.0]
    gate = Gate(Units(units, default_unit or min(units), "gateway_path"), Freshness(lambda: now[0]), Counters())
    return Clients(gate, max_connections=10, idle_timeout_s=0.0, keepalive_s=0.0)


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def in_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Runs an async test in a loop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


# -- order


@in_loop
async def test_answers_of_one_unit_leave_in_the_order_of_the_requests_whichever_is_there_first() -> None:
    slow = Slow()
    client = Client(make_clients({SLOW: slow}))
    client.send(adu(1, SLOW, b"\x01a"), adu(2, SLOW, b"\x01b"))
    client.send(adu(3, SLOW, b"\x01c"))
    assert slow.asked == [b"\x01a", b"\x01b", b"\x01c"], "what may overtake is begun at once"

    slow.settle(b"\x01c")
    assert await client.take() == b""
    slow.settle(b"\x01a")
    assert await client.take() == adu(1, SLOW, reply(b"\x01a"))
    slow.settle(b"\x01b")
    assert await client.take() == adu(2, SLOW, reply(b"\x01b")) + adu(3, SLOW, reply(b"\x01c"))


@in_loop
async def test_another_unit_of_the_same_connection_is_answered_at_once() -> None:
    slow, other = Slow(), Slow()
    bank = Bank({Table.HOLDING: [(0, 10)]})
    client = Client(make_clients({IMAGE: bank, SLOW: slow, OTHER: other}))
    read = hexed("03 0000 0001")
    client.send(adu(1, SLOW, b"\x01a"), adu(2, IMAGE, read), adu(3, OTHER, b"\x01b"))
    assert await client.take() == adu(2, IMAGE, hexed("03 02 0000"))

    other.settle(b"\x01b")
    assert await client.take() == adu(3, OTHER, reply(b"\x01b"))
    client.send(adu(4, IMAGE, read))
    assert await client.take() == adu(4, IMAGE, hexed("03 02 0000"))
    slow.settle(b"\x01a")
    assert await client.take() == adu(1, SLOW, reply(b"\x01a"))


@in_loop
async def test_an_answer_before_a_later_one_in_the_same_segment_is_not_overtaken_by_it() -> None:
    class Mixed(Slow):
        def answer(self, pdu: bytes) -> bytes | Later | None:
            if pdu == b"\x01now":
                return reply(pdu)
            if pdu == b"\x01both":  # what it asks answers the one before, from inside
                self.settle(b"\x01a")
                return reply(pdu)
            return super().answer(pdu)

    unit = Mixed()
    client = Client(make_clients({SLOW: unit}))
    client.send(adu(1, SLOW, b"\x01now"), adu(2, SLOW, b"\x01a"), adu(3, SLOW, b"\x01both"), adu(4, SLOW, b"\x01now"))

    expected = [(1, b"\x01now"), (2, b"\x01a"), (3, b"\x01both"), (4, b"\x01now")]
    assert await client.take() == b"".join(adu(tid, SLOW, reply(pdu)) for tid, pdu in expected)
    assert client.connection.waiting == 0


@pytest.mark.parametrize("overtakes", [True, False], ids=["taken at once", "that had waited"])
@in_loop
async def test_a_request_that_settles_those_before_it_from_inside_keeps_its_place(overtakes: bool) -> None:
    class Inward(Slow):
        def answer(self, pdu: bytes) -> bytes | Later | None:
            if pdu == b"\x01now":
                return reply(pdu)
            later = super().answer(pdu)
            if pdu == b"\x01in":
                self.settle(*(each for each in (b"\x01a", b"\x01b") if each in self.laters))
            return later

        def may_overtake(self, pdu: bytes) -> bool:
            return self.overtakes or pdu == b"\x01in"

    unit = Inward(overtakes=overtakes)
    client = Client(make_clients({SLOW: unit}))
    client.send(adu(1, SLOW, b"\x01a"), adu(2, SLOW, b"\x01b"), adu(3, SLOW, b"\x01in"))
    if not overtakes:
        unit.settle(b"\x01a")  # begins b, and behind it what settles b
    client.send(adu(4, SLOW, b"\x01now"))
    assert await client.take() == adu(1, SLOW, reply(b"\x01a")) + adu(2, SLOW, reply(b"\x01b"))

    unit.settle(b"\x01in")
    assert await client.take() == adu(3, SLOW, reply(b"\x01in")) + adu(4, SLOW, reply(b"\x01now"))


@in_loop
async def test_what_may_not_overtake_is_asked_when_those_before_it_are_answered() -> None:
    slow = Slow(overtakes=False)
    client = Client(make_clients({SLOW: slow}))
    client.send(adu(1, SLOW, b"\x01a"), adu(2, SLOW, b"\x01b"), adu(3, SLOW, b"\x01c"))
    assert slow.asked == [b"\x01a"]

    slow.settle(b"\x01a")
    assert slow.asked == [b"\x01a", b"\x01b"]
    assert await client.take() == adu(1, SLOW, reply(b"\x01a"))
    slow.settle(b"\x01b")
    slow.settle(b"\x01c")
    assert await client.take() == adu(2, SLOW, reply(b"\x01b")) + adu(3, SLOW, reply(b"\x01c"))


@in_loop
async def test_what_may_overtake_waits_behind_one_that_has_not_begun() -> None:
    class Picky(Slow):
        def may_overtake(self, pdu: bytes) -> bool:
            return pdu != b"\x01write"

    slow = Picky()
    client = Client(make_clients({SLOW: slow}))
    client.send(adu(1, SLOW, b"\x01a"), adu(2, SLOW, b"\x01write"), adu(3, SLOW, b"\x01b"))
    assert slow.asked == [b"\x01a"]

    slow.settle(b"\x01a")
    assert slow.asked == [b"\x01a", b"\x01write", b"\x01b"]


@pytest.mark.parametrize("segments", [1, 2], ids=["in one segment", "in two"])
@in_loop
async def test_an_image_read_behind_a_pending_write_through_sees_what_was_written_though_its_plan_stands(
    segments: int,
) -> None:
    bank = Bank({Table.HOLDING: [(0, 10)]})
    slow = Slow()
    bank.functions[6] = slow.answer
    server = make_clients({IMAGE: bank})
    client, neighbour = Client(server), Client(server)
    read, write = hexed("03 0003 0001"), hexed("06 0003 0007")
    client.send(adu(1, IMAGE, read))
    assert await client.take() == adu(1, IMAGE, hexed("03 02 0000"))
    assert len(server.gate.units.plans) == 1

    frames = [adu(2, IMAGE, write), adu(3, IMAGE, read)]
    for part in [b"".join(frames)] if segments == 1 else frames:
        client.send(part)
    assert await client.take() == b""
    neighbour.send(adu(9, IMAGE, read))
    assert await neighbour.take() == adu(9, IMAGE, hexed("03 02 0000")), "others see the image as it is"

    bank.put_registers(Table.HOLDING, 3, b"\0\7")
    slow.laters[write].settle(write)
    assert await client.take() == adu(2, IMAGE, write) + adu(3, IMAGE, hexed("03 02 0007"))
    client.send(adu(4, IMAGE, read))
    assert await client.take() == adu(4, IMAGE, hexed("03 02 0007"))


@in_loop
async def test_unit_ids_that_mean_the_same_unit_share_their_order() -> None:
    slow = Slow()
    client = Client(make_clients({SLOW: slow}))
    client.send(adu(1, 255, b"\x01a"), adu(2, SLOW, b"\x01b"), adu(3, 0, b"\x01c"))

    slow.settle(b"\x01c", b"\x01b")
    assert await client.take() == b""
    slow.settle(b"\x01a")
    assert await client.take() == (
        adu(1, 255, reply(b"\x01a")) + adu(2, SLOW, reply(b"\x01b")) + adu(3, 0, reply(b"\x01c"))
    )


@in_loop
async def test_silence_is_an_answer_too() -> None:
    slow = Slow()
    server = make_clients({SLOW: slow})
    client = Client(server)
    client.send(adu(1, SLOW, b"\x01a"), adu(2, SLOW, b"\x01b"))
    slow.laters[b"\x01a"].settle(None)
    slow.laters[b"\x01b"].settle(b"\x81\x02")

    assert await client.take() == adu(2, SLOW, b"\x81\x02")
    assert (server.counters.requests, server.counters.silent, server.counters.exceptions) == (2, 1, 1)


@in_loop
async def test_a_later_that_is_settled_already_is_answered_as_any() -> None:
    class Quick(Slow):
        def answer(self, pdu: bytes) -> bytes | Later | None:
            later = Later()
            later.settle(reply(pdu))
            return later

    client = Client(make_clients({SLOW: Quick()}))
    client.send(adu(1, SLOW, b"\x01a"), adu(2, SLOW, b"\x01b"))

    assert await client.take() == adu(1, SLOW, reply(b"\x01a")) + adu(2, SLOW, reply(b"\x01b"))
    assert client.connection.waiting == 0


@in_loop
async def test_a_bug_in_a_unit_is_answered_with_04_in_its_place() -> None:
    class Buggy(Slow):
        def answer(self, pdu: bytes) -> bytes | Later | None:
            if pdu == b"\x01bug":
                raise ZeroDivisionError
            return super().answer(pdu)

        def may_overtake(self, pdu: bytes) -> bool:
            if pdu == b"\x01bad":
                raise ZeroDivisionError
            return True

    slow = Buggy()
    client = Client(make_clients({SLOW: slow}))
    client.send(adu(1, SLOW, b"\x01a"), adu(2, SLOW, b"\x01bug"), adu(3, SLOW, b"\x01bad"))
    assert slow.asked == [b"\x01a"]
    slow.settle(b"\x01a")
    slow.settle(b"\x01bad")

    assert await client.take() == (
        adu(1, SLOW, reply(b"\x01a")) + adu(2, SLOW, b"\x81\x04") + adu(3, SLOW, reply(b"\x01bad"))
    )


@in_loop
async def test_answers_that_come_together_leave_together() -> None:
    slow = Slow()
    client = Client(make_clients({SLOW: slow}))
    pdus = [b"\x01" + bytes((number,)) for number in range(8)]
    client.send(*(adu(number, SLOW, pdu) for number, pdu in enumerate(pdus)))
    slow.settle(*pdus[:5])
    await turns()
    assert client.wire.writes == 1
    slow.settle(*pdus[5:])
    assert client.wire.writes == 2, "the last of a lane waits for nobody"
    assert await client.take() == b"".join(adu(number, SLOW, reply(pdu)) for number, pdu in enumerate(pdus))


@in_loop
async def test_what_was_answered_when_the_server_closes_leaves() -> None:
    slow = Slow()
    client = Client(make_clients({SLOW: slow}))
    client.send(adu(1, SLOW, b"\x01a"), adu(2, SLOW, b"\x01b"))
    slow.settle(b"\x01a")
    client.connection.close()
    slow.settle(b"\x01b")
    assert await client.take() == adu(1, SLOW, reply(b"\x01a"))


# -- clients that go


@in_loop
async def test_a_client_that_goes_leaves_its_answers_and_nothing_more_is_asked_for_it() -> None:
    slow, strict = Slow(), Slow(overtakes=False)
    server = make_clients({SLOW: slow, OTHER: strict})
    client = Client(server)
    client.send(adu(1, SLOW, b"\x01a"), adu(2, SLOW, b"\x01b"), adu(3, OTHER, b"\x01c"), adu(4, OTHER, b"\x01d"))
    slow.settle(b"\x01b")
    client.go()
    assert slow.left == [b"\x01a"], "what is settled needs no leave"
    assert strict.left == [b"\x01c"]

    slow.settle(b"\x01a")
    strict.settle(b"\x01c")
    assert strict.asked == [b"\x01c"]
    assert await client.take() == b""
    assert server.counters.clients == 0


@in_loop
async def test_nothing_is_written_between_the_close_of_a_transport_and_its_loss() -> None:
    slow = Slow()
    client = Client(make_clients({SLOW: slow}))
    client.send(adu(1, SLOW, b"\x01a"))
    client.connection.close()

    slow.settle(b"\x01a")
    assert await client.take() == b""


@in_loop
async def test_a_client_that_closes_its_sending_side_gets_the_answers_still_to_come() -> None:
    slow = Slow(overtakes=False)
    client = Client(make_clients({SLOW: slow}))
    client.send(adu(1, SLOW, b"\x01a"), adu(2, SLOW, b"\x01b"))
    assert client.connection.eof_received(), "the transport stays open"
    await turns()
    assert not client.wire.closed

    slow.settle(b"\x01a")
    await turns()
    assert not client.wire.closed
    slow.settle(b"\x01b")
    await turns()
    assert await client.take() == adu(1, SLOW, reply(b"\x01a")) + adu(2, SLOW, reply(b"\x01b"))
    assert client.wire.closed


@in_loop
async def test_a_broken_stream_ends_when_what_came_before_it_is_answered() -> None:
    slow = Slow()
    server = make_clients({SLOW: slow})
    client = Client(server)
    client.send(adu(1, SLOW, b"\x01a"), b"\xff" * 8)
    await turns()
    assert not client.wire.closed
    assert not client.wire.reading

    slow.settle(b"\x01a")
    await turns()
    assert await client.take() == adu(1, SLOW, reply(b"\x01a"))
    assert client.wire.closed
    assert server.counters.broken == 1


# -- limits


@pytest.mark.parametrize("half_closes", [False, True])
@pytest.mark.parametrize("overtakes", [False, True])
@in_loop
async def test_a_client_with_too_many_requests_without_an_answer_is_not_read_until_there_are_fewer(
    overtakes: bool, half_closes: bool
) -> None:
    slow = Slow(overtakes=overtakes)
    server = make_clients({SLOW: slow})
    client = Client(server)
    pdus = [b"\x01" + number.to_bytes(2, "big") for number in range(MAX_WAITING + 3)]
    client.send(b"".join(adu(number, SLOW, pdu) for number, pdu in enumerate(pdus)))
    assert client.connection.waiting == MAX_WAITING
    assert len(slow.asked) == (MAX_WAITING if overtakes else 1)
    assert not client.wire.reading
    assert server.counters.held == 1
    if half_closes:
        client.connection.eof_received()
    await turns()
    assert client.connection.waiting == MAX_WAITING

    slow.settle(pdus[0])
    await turns()
    assert client.connection.waiting == MAX_WAITING, "one more was taken"
    for pdu in pdus[1:]:
        slow.settle(pdu)
        await turns()
    assert await client.take() == b"".join(adu(number, SLOW, reply(pdu)) for number, pdu in enumerate(pdus))
    assert client.connection.waiting == 0
    assert server.counters.held == 1, "while it is not read it is not counted again"
    assert client.wire.reading is not half_closes
    assert client.wire.closed is half_closes


@in_loop
async def test_a_client_that_is_not_read_is_read_again_when_any_unit_has_answered() -> None:
    slow, other = Slow(), Slow()
    client = Client(make_clients({SLOW: slow, OTHER: other}))
    pdus = [b"\x01" + number.to_bytes(2, "big") for number in range(MAX_WAITING)]
    client.send(adu(1, OTHER, b"\x01a"), *(adu(number, SLOW, pdu) for number, pdu in enumerate(pdus)))
    assert len(slow.asked) == MAX_WAITING - 1
    assert not client.wire.reading

    other.settle(b"\x01a")
    assert await client.take() == adu(1, OTHER, reply(b"\x01a"))
    assert len(slow.asked) == MAX_WAITING
    assert client.wire.reading


@in_loop
async def test_a_client_that_waits_for_an_answer_is_not_idle() -> None:
    clock = [100.0]
    slow = Slow()
    server = make_clients({SLOW: slow}, clock)
    settings = {"max_connections": 10, "idle_timeout_s": 5.0, "keepalive_s": 0.0}
    waits, idles = Client(server), Client(server)
    waits.send(adu(1, SLOW, b"\x01a"))
    clock[0] += 20.0
    server.configure(**settings)  # type: ignore[arg-type]
    assert idles.wire.closed
    assert not waits.wire.closed

    slow.settle(b"\x01a")
    clock[0] += 4.0
    server.configure(**settings)  # type: ignore[arg-type]
    assert not waits.wire.closed, "its time begins with the answer"
    clock[0] += 4.0
    server.configure(**settings)  # type: ignore[arg-type]
    assert waits.wire.closed
    server.close()


# -- the end


@in_loop
async def test_when_the_server_drains_the_answers_to_come_leave_and_nothing_more_is_taken() -> None:
    slow = Slow()
    server = make_clients({SLOW: slow})
    waits, idles = Client(server), Client(server)
    waits.send(adu(1, SLOW, b"\x01a"))
    drained = asyncio.ensure_future(server.drained(30.0))
    await turns()
    assert idles.wire.closed
    assert not waits.wire.reading
    assert not drained.done()

    slow.settle(b"\x01a")
    await turns()
    assert await waits.take() == adu(1, SLOW, reply(b"\x01a"))
    assert waits.wire.closed
    waits.connection.connection_lost(None)
    async with asyncio.timeout(5.0):
        await drained


@in_loop
async def test_what_was_received_and_not_begun_is_not_begun_when_the_server_drains() -> None:
    slow = Slow()
    server = make_clients({SLOW: slow})
    client = Client(server)
    pdus = [b"\x01" + number.to_bytes(2, "big") for number in range(MAX_WAITING + 3)]
    client.send(b"".join(adu(number, SLOW, pdu) for number, pdu in enumerate(pdus)))
    drained = asyncio.ensure_future(server.drained(30.0))
    await turns()
    for pdu in pdus[:MAX_WAITING]:
        slow.settle(pdu)
        await turns()
    assert len(slow.asked) == MAX_WAITING
    assert client.wire.closed
    client.connection.connection_lost(None)
    await drained


@in_loop
async def test_a_drain_ends_at_its_deadline_though_an_answer_never_comes() -> None:
    slow = Slow()
    server = make_clients({SLOW: slow})
    client = Client(server)
    client.send(adu(1, SLOW, b"\x01a"))
    async with asyncio.timeout(5.0):
        await server.drained(0.05)
    server.close()
    assert client.wire.closed


# -- other units behind the same ids


@in_loop
async def test_units_are_replaced_in_place_and_no_standing_answer_survives() -> None:
    server = make_clients({IMAGE: Bank({Table.HOLDING: [(0, 10)]})})
    client = Client(server)
    read = hexed("03 0000 0001")
    client.send(adu(1, IMAGE, read), adu(2, 255, read))
    await client.take()
    assert len(server.gate.units.plans) == 2

    bank = Bank({Table.HOLDING: [(0, 10)]})
    bank.put_registers(Table.HOLDING, 0, b"\x12\x34")
    slots, plans = server.gate.units.slots, server.gate.units.plans
    server.gate.units.replace({IMAGE: bank}, IMAGE, "target_failed", named=(IMAGE,))
    assert not server.gate.units.plans
    assert server.gate.units.slots is slots
    assert server.gate.units.plans is plans
    client.send(adu(3, IMAGE, read), adu(4, 255, read), adu(5, 77, read))
    answer = hexed("03 02 1234")
    assert await client.take() == adu(3, IMAGE, answer) + adu(4, 255, answer) + adu(5, 77, b"\x83\x0b")

    assert server.gate.units.plans
    bank.on_blocked()
    assert not server.gate.units.plans, "the new bank can void what stands"


@in_loop
async def test_answers_of_a_unit_id_keep_their_order_when_another_unit_gets_it() -> None:
    old, new = Slow(), Slow()
    server = make_clients({SLOW: old})
    client = Client(server)
    client.send(adu(1, SLOW, b"\x01a"))
    server.gate.units.replace({SLOW: new}, SLOW, "gateway_path")
    client.send(adu(2, SLOW, b"\x01b"))

    assert not new.laters, "it is asked when the one before it is answered"
    old.settle(b"\x01a")
    assert await client.take() == adu(1, SLOW, reply(b"\x01a"))
    new.settle(b"\x01b")
    assert await client.take() == adu(2, SLOW, reply(b"\x01b"))
