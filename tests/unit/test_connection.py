"""One connection on a real socket pair with small buffers: what becomes of a client that leaves without reading."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from gateway.bank import Bank
from gateway.clock import now
from gateway.config.urls import ListenUrl
from gateway.front.counters import Counters
from gateway.front.freshness import Freshness
from gateway.front.gate import Gate
from gateway.front.units import Units
from gateway.modbus import rtu
from gateway.modbus.spec import Table
from gateway.serving import connection as serving
from gateway.serving.clients import Clients
from gateway.serving.doors import Door
from gateway.serving.framed import Framed
from gateway.serving.listeners import Accepting
from tests.support.needs import require_module
from tests.support.wire import adu, hexed

READ_MOST = adu(1, 1, hexed("03 0000 007D"))
UNFETCHED = 60
"""Answers of 259 bytes: more than the small socket buffers take, less than where a transport stops its writer."""


DOOR = Door(ListenUrl("127.0.0.1", 0))


def make_clients(clock: Callable[[], float] = now) -> Clients:
    units = Units({1: Bank({Table.HOLDING: [(0, 1000)]})}, 1, "gateway_path")
    return Clients(Gate(units, Freshness(clock), Counters()), max_connections=10, idle_timeout_s=0.0, keepalive_s=0.0)


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    """Runs a coroutine on either loop."""
    if request.param == "asyncio":
        return asyncio.run
    require_module("uvloop")
    import uvloop

    return uvloop.run  # type: ignore[no-any-return]


@pytest.mark.parametrize("ending", ["garbage", "half-close"])
def test_a_client_that_leaves_without_fetching_its_answers_loses_its_place_in_time(
    ending: str, run: Callable[[Coroutine[Any, Any, None]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "LAST_ANSWERS_S", 0.2)

    async def main() -> None:
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
        theirs.setblocking(False)
        clients = make_clients()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_accepted_socket(lambda: serving.Connection(clients, DOOR), ours)
        async with asyncio.timeout(5.0):
            await loop.sock_sendall(theirs, READ_MOST * UNFETCHED)
            while clients.counters.requests < UNFETCHED:
                await asyncio.sleep(0)
            assert transport.get_write_buffer_size() > 0
            assert clients.counters.clients == 1
            if ending == "garbage":
                await loop.sock_sendall(theirs, b"\xff" * 20)
            else:
                theirs.shutdown(socket.SHUT_WR)
            while clients.counters.clients:
                await asyncio.sleep(0.01)
        theirs.close()

    run(main())


def test_a_client_that_leaves_and_fetches_gets_every_answer(run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
        theirs.setblocking(False)
        clients = make_clients()
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(lambda: serving.Connection(clients, DOOR), ours)
        async with asyncio.timeout(5.0):
            await loop.sock_sendall(theirs, READ_MOST * UNFETCHED)
            theirs.shutdown(socket.SHUT_WR)
            size = 0
            while data := await loop.sock_recv(theirs, 4096):
                size += len(data)
        assert size == UNFETCHED * 259
        theirs.close()

    run(main())


@pytest.mark.parametrize(
    ("protocol", "scheme", "half"),
    [(serving.Connection, "tcp", READ_MOST[:9]), (Framed, "rtu+tcp", rtu.pack(1, READ_MOST[7:])[:5])],
    ids=["mbap", "rtu"],
)
def test_who_is_not_read_owes_no_rest_of_a_request(
    protocol: type[serving.Connection] | type[Framed],
    scheme: str,
    half: bytes,
    run: Callable[[Coroutine[Any, Any, None]], None],
) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        clock = [100.0]
        clients = make_clients(lambda: clock[0])
        loop = asyncio.get_running_loop()
        door = Door(ListenUrl("127.0.0.1", 0, scheme))
        _, client = await loop.connect_accepted_socket(lambda: protocol(clients, door), ours)
        async with asyncio.timeout(5.0):
            await loop.sock_sendall(theirs, half)
            while client.half_since_s() is None:
                await asyncio.sleep(0)
            assert client.half_since_s() == 100.0
            client.pause_writing()
            assert client.half_since_s() is None
            clock[0] = 200.0
            client.resume_writing()
            while client.half_since_s() is None:
                await asyncio.sleep(0)
            assert client.half_since_s() == 200.0
        theirs.close()

    run(main())


def test_long_requests_are_served_a_part_at_a_time_and_all_of_them_in_order(
    run: Callable[[Coroutine[Any, Any, None]], None],
) -> None:
    """A read of the socket may have a thousand writes; whoever comes meanwhile is served between them."""
    count = 1000
    request = hexed("10 0000 007B F6") + bytes(246)

    async def main() -> None:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        clients = make_clients()
        loop = asyncio.get_running_loop()
        transport, connection = await loop.connect_accepted_socket(lambda: serving.Connection(clients, DOOR), ours)
        served = clients.counters
        async with asyncio.timeout(5.0):
            while not served.clients:
                await asyncio.sleep(0)
            connection.data_received(b"".join(adu(tid, 1, request) for tid in range(count)))
            at_once = served.requests
            assert 0 < at_once <= 100, "half a millisecond's worth"
            while served.requests < count:
                before = served.requests
                await asyncio.sleep(0)
                assert served.requests - before <= at_once + 1
            answers = b""
            while len(answers) < 12 * count:
                answers += await loop.sock_recv(theirs, 65536)
            assert answers == b"".join(adu(tid, 1, hexed("10 0000 007B")) for tid in range(count))
            await loop.sock_sendall(theirs, READ_MOST)
            assert len(await loop.sock_recv(theirs, 4096)) == 259, "it is read again"
        transport.close()
        theirs.close()

    run(main())


def test_many_that_connect_at_once_are_let_in_within_a_few_turns(
    run: Callable[[Coroutine[Any, Any, None]], None],
) -> None:
    """A turn is long while others are busy; one newcomer in each, and the last of a thousand would wait for seconds."""
    count = 64
    let_in: list[asyncio.BaseTransport] = []

    class Newcomer(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            let_in.append(transport)

    async def main() -> None:
        accepting = await Accepting.open(Newcomer, DOOR, count)
        (name,) = accepting.names
        with contextlib.ExitStack() as stack:
            for _ in range(count):
                stack.enter_context(socket.create_connection(("127.0.0.1", int(name.rpartition(":")[2]))))
            turns = 0
            while len(let_in) < count and turns < count:
                await asyncio.sleep(0)
                turns += 1
            assert turns <= count // 4
        for transport in let_in:
            transport.close()
        accepting.stop()
        await asyncio.sleep(0)

    run(main())
