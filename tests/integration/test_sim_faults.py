"""The simulated device's listener, over real sockets, on both event loops: what its faults look like from outside."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gateway.simulate.server import MAX_WAITING, SimServer
from tests.support.sim import NewLoop, serving, sim_server
from tests.support.until import wait_until
from tests.support.wire import Closed, Wire, adu, hexed

READ = hexed("03 0000 0002")
ANSWER = hexed("03 04 0000 0000")
WRITE = hexed("06 0005 1234")


def _uvloop() -> asyncio.AbstractEventLoop:
    uvloop = pytest.importorskip("uvloop")
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


@pytest.fixture(params=[asyncio.new_event_loop, _uvloop], ids=["asyncio", "uvloop"])
def new_loop(request: pytest.FixtureRequest) -> NewLoop:
    loop: NewLoop = request.param
    return loop


@contextmanager
def unit(new_loop: NewLoop, **faults: object) -> Iterator[tuple[SimServer, Wire]]:
    """Unit 1 with these faults, and a connection to it."""
    with serving({1: faults}, new_loop) as server, Wire(server.port) as wire:
        yield server, wire


def test_delayed_answers_keep_their_order_and_do_not_wait_for_each_other(new_loop: NewLoop) -> None:
    with unit(new_loop, delay="150ms") as (server, wire):
        begun_s = time.monotonic()
        wire.send(b"".join(adu(tid, 1, READ) for tid in range(1, 41)))
        answers = [wire.receive_adu() for _ in range(40)]
        took_s = time.monotonic() - begun_s
        assert [answer.tid for answer in answers] == list(range(1, 41))
        assert {answer.pdu for answer in answers} == {ANSWER}
        assert 0.149 <= took_s < 40 * 0.15, "each has its own delay"
        assert server.working == 0


def test_a_delay_is_one_units_own_and_a_late_answer_is_overtaken(new_loop: NewLoop) -> None:
    with serving({1: {"delay": "100ms"}, 2: {"late": "1", "late_by": "200ms"}}, new_loop) as server:
        with Wire(server.port) as wire:
            wire.send(adu(1, 2, READ) + adu(2, 1, READ) + adu(3, 99, READ))
            assert [wire.receive_adu().tid for _ in range(3)] == [3, 2, 1]


def test_writes_that_are_not_answered_were_executed(new_loop: NewLoop) -> None:
    with unit(new_loop, no_answer="2") as (server, wire):
        pdus = [b"\x06" + n.to_bytes(2, "big") + b"\0\1" for n in range(4)]
        wire.send(b"".join(adu(n, 1, pdu) for n, pdu in enumerate(pdus)))
        assert [wire.receive_adu().tid for _ in range(2)] == [0, 2]
        wait_until(lambda: server.executed == [(1, pdu) for pdu in pdus], what="four writes, in order")
        assert server.requests[1] == 4


class Pieces(asyncio.Protocol):
    """A client that notes what each read brought, and hears when all of it is there."""

    def __init__(self, size: int) -> None:
        self.pieces: list[bytes] = []
        self.whole: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left = size

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)
        self._left -= len(data)
        if self._left <= 0 and not self.whole.done():
            self.whole.set_result(None)


def test_every_byte_comes_alone_and_all_of_them_in_order(new_loop: NewLoop) -> None:
    """On one loop, as with an embedded device, so that no busy machine can join what was sent apart."""
    expected = b"".join(adu(tid, 1, ANSWER) for tid in range(20))

    async def asked() -> list[bytes]:
        server = sim_server({1: {"split": "on"}})
        await server.start()
        loop = asyncio.get_running_loop()
        transport, client = await loop.create_connection(lambda: Pieces(len(expected)), "127.0.0.1", server.port)
        transport.write(b"".join(adu(tid, 1, READ) for tid in range(20)))
        await asyncio.wait_for(client.whole, 5)
        transport.close()
        await server.stop()
        return client.pieces

    loop = new_loop()
    pieces = loop.run_until_complete(asked())
    loop.close()
    assert b"".join(pieces) == expected
    assert len(pieces) > 0.9 * len(expected), [len(piece) for piece in pieces]


def test_answers_to_requests_that_came_apart_leave_together(new_loop: NewLoop) -> None:
    with unit(new_loop, join="on", delay="50ms") as (server, wire):
        for tid in range(3):
            wire.send(adu(tid, 1, READ))
        expected = b"".join(adu(tid, 1, ANSWER) for tid in range(3))
        wait_until(lambda: server.requests[1] == 3)
        first = wire.socket.recv(1000)
        assert len(first) > 13, "more than one answer in a segment"
        assert first + wire.receive(39 - len(first)) == expected


def test_join_and_split_at_once_are_split_in_order(new_loop: NewLoop) -> None:
    with unit(new_loop, join="on", split="on") as (_, wire):
        for tid in range(30):
            wire.send(adu(tid, 1, READ))
        assert wire.receive(30 * 13) == b"".join(adu(tid, 1, ANSWER) for tid in range(30))


def test_a_second_connection_is_closed_while_the_first_is_open(new_loop: NewLoop) -> None:
    with unit(new_loop, one_connection="on") as (server, wire):
        assert wire.ask(READ) == ANSWER
        with Wire(server.port) as second:
            second.expect_close()
        assert wire.ask(READ) == ANSWER, "the first does not notice"
        wire.close()
        wait_until(lambda: _answers(server), what="a connection after the first has gone")
        assert server.turned_away >= 1


def _answers(server: SimServer) -> bool:
    try:
        with Wire(server.port) as wire:
            return wire.ask(READ) == ANSWER
    except (Closed, ConnectionError):
        return False


def test_an_idle_connection_is_closed_and_one_that_asks_is_not(new_loop: NewLoop) -> None:
    with unit(new_loop, idle_close="300ms") as (server, wire):
        begun_s = time.monotonic()
        with Wire(server.port) as silent:
            while time.monotonic() - begun_s < 0.6:
                assert wire.ask(READ) == ANSWER
            silent.expect_close(0.5)
        wire.expect_close()
        assert server.connections == 2


def test_what_comes_while_a_request_is_worked_on_is_dropped_and_counted(new_loop: NewLoop) -> None:
    with unit(new_loop, one_at_a_time="on", delay="100ms") as (server, wire):
        with Wire(server.port) as other:
            wire.send(adu(1, 1, READ) + adu(2, 1, READ))
            wait_until(lambda: server.dropped == 1, what="the second of the segment dropped")
            other.send(adu(3, 2, WRITE))
            wait_until(lambda: server.dropped == 2, what="another connection's dropped, to another unit")
            assert wire.receive_adu().tid == 1
            assert other.ask(READ) == ANSWER, "it is free again"
        assert wire.ask(READ) == ANSWER
        assert server.executed == [(1, READ)] * 3


def test_one_at_a_time_forgets_the_work_for_a_client_that_left(new_loop: NewLoop) -> None:
    with unit(new_loop, one_at_a_time="on", delay="30s") as (server, wire):
        wire.send(adu(1, 1, READ))
        wait_until(lambda: server.working == 1)
        wire.abort()
        wait_until(lambda: server.working == 0)


def test_a_lag_ends_with_the_connection(new_loop: NewLoop) -> None:
    with unit(new_loop, lag="on", no_answer="5") as (server, wire):
        wire.send(b"".join(adu(tid, 1, READ) for tid in range(1, 6)) + adu(6, 1, WRITE))
        assert [wire.receive_adu().tid for _ in range(4)] == [1, 2, 3, 4]
        assert wire.receive_adu()[::3] == (6, ANSWER), "the data of the one before, which was not answered"
        with Wire(server.port) as next_one:
            assert next_one.ask(READ) == ANSWER
            assert next_one.ask(WRITE) == WRITE
        assert wire.ask(READ) == WRITE, "the first one still lags"


def test_more_requests_than_may_wait_are_not_read_but_none_is_lost(new_loop: NewLoop) -> None:
    count = 10 * MAX_WAITING
    with unit(new_loop, delay="50ms") as (server, wire):
        wire.send(b"".join(adu(tid, 1, READ) for tid in range(count)))
        wait_until(lambda: server.requests[1] >= MAX_WAITING)
        assert server.requests[1] < count
        assert [wire.receive_adu().tid for _ in range(count)] == list(range(count))


def test_a_client_that_sends_and_never_reads_costs_no_more_than_the_limit(new_loop: NewLoop) -> None:
    with unit(new_loop, delay="10s") as (server, wire):
        wire.socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            wire.socket.sendall(adu(1, 1, READ) * 10_000_000)
        assert server.working == server.requests[1] == MAX_WAITING


def test_a_broken_stream_ends_after_what_was_good_before_it_was_answered(new_loop: NewLoop) -> None:
    with unit(new_loop, delay="50ms") as (_, wire):
        wire.send(adu(1, 1, READ) + hexed("0002 5555 0006 01 03 0000 0001"))
        assert wire.receive_adu() == (1, 0, 1, ANSWER)
        wire.expect_close()


def test_answers_that_wait_die_with_their_connection(new_loop: NewLoop) -> None:
    with unit(new_loop, delay="30s") as (server, wire):
        wire.send(adu(1, 1, WRITE) * 5)
        wait_until(lambda: server.working == 5)
        wire.socket.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: server.working == 0)
        assert server.executed == [(1, WRITE)] * 5


def test_start_and_stop_may_be_called_twice_and_the_registers_stay() -> None:
    async def life() -> None:
        server = sim_server({})
        await server.stop()
        for value in (hexed("0000"), hexed("1234")):
            await server.start()
            port = server.port
            await server.start()
            assert server.port == port
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(adu(1, 1, hexed("03 0005 0001")) + adu(2, 1, WRITE))
            assert await reader.readexactly(11) == adu(1, 1, b"\x03\x02" + value)
            assert await reader.readexactly(12) == adu(2, 1, WRITE)
            await server.stop()
            await server.stop()
            assert await reader.read() == b""
            writer.close()
        assert server.connections == 2

    asyncio.run(life())
