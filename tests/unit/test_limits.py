"""What one client may take from the others: requests per second, places, half requests, answers it never fetches."""

from __future__ import annotations

import asyncio
import functools
import re
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, ParamSpec

import pytest

from gateway.bank import Bank
from gateway.clock import now
from gateway.config.model_server import Limits, Rule
from gateway.config.urls import ListenUrl
from gateway.front.access import Access
from gateway.front.counters import Counters
from gateway.front.freshness import Freshness
from gateway.front.gate import Gate
from gateway.front.units import Units
from gateway.interfaces import Later
from gateway.modbus import rtu
from gateway.modbus.spec import Table
from gateway.serving import clients as serving
from gateway.serving.clients import MAX_ADDRESSES, Clients, host_of
from gateway.serving.doors import Door
from gateway.serving.pace import Pace
from gateway.serving.server import Server
from tests.support.fake import ManualTime
from tests.support.wire import adu, hexed

P = ParamSpec("P")

READ = hexed("03 0000 0001")
READ_MOST = hexed("03 0000 007D")


def on_a_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(20.0):
                await test(*args, **kwargs)

        asyncio.run(bounded())

    return run


# -- the pace, on a clock of our own -----------------------------------------------------------------------------


class Asking:
    """A connection that always has so many more requests; takes its share when it has its turn."""

    def __init__(self, pace: Pace, waiting: int) -> None:
        self.pace, self.waiting, self.served = pace, waiting, 0

    def go_on(self) -> None:
        share = min(self.waiting, self.pace.share(self))
        self.served += share
        self.waiting -= share
        self.pace.spend(share)
        if self.waiting:
            self.pace.wait(self, self.go_on)


def make_pace(rate: float) -> tuple[Pace, ManualTime, Counters]:
    time, counters = ManualTime(), Counters()
    return Pace(time, rate, counters), time, counters


def test_a_burst_of_one_second_is_answered_at_once_and_the_rest_at_the_rate() -> None:
    pace, time, counters = make_pace(10)
    client = Asking(pace, 1000)
    client.go_on()
    assert client.served == 10
    time.advance(5.0)
    assert client.served == pytest.approx(60, abs=1)
    assert counters.slowed > 0


def test_all_connections_of_an_address_have_equal_shares() -> None:
    pace, time, _ = make_pace(100)
    flood, modest = Asking(pace, 100_000), Asking(pace, 0)
    flood.go_on()
    for _ in range(100):
        modest.waiting += 1
        modest.go_on()
        time.advance(0.1)
    assert modest.waiting <= 1, "ten a second is less than its half"
    assert modest.served + flood.served == pytest.approx(1100, abs=5)


@pytest.mark.parametrize("rate", [1, 3, 50, 5000])
def test_three_that_flood_are_served_equally_and_at_the_rate(rate: float) -> None:
    pace, time, _ = make_pace(rate)
    clients = [Asking(pace, 10**6) for _ in range(3)]
    for client in clients:
        client.go_on()
    time.advance(0.0)
    before = [client.served for client in clients]
    time.advance(30.0)
    served = [client.served - was for client, was in zip(clients, before, strict=True)]
    assert sum(served) == pytest.approx(30 * rate, rel=0.05, abs=1)
    assert max(served) - min(served) <= max(2, 0.02 * sum(served))


def test_who_comes_while_others_wait_waits_behind_them() -> None:
    pace, _, _ = make_pace(5)
    flood = Asking(pace, 100)
    flood.go_on()
    assert pace.share(object()) == 0
    assert not pace.take()


def test_a_request_without_a_connection_is_answered_or_not() -> None:
    pace, time, _ = make_pace(4)
    assert [pace.take() for _ in range(6)] == [True] * 4 + [False] * 2
    time.advance(0.5)
    assert [pace.take() for _ in range(3)] == [True, True, False]


def test_who_has_gone_has_no_turn_and_a_limit_that_is_lifted_lets_all_go_on() -> None:
    pace, time, _ = make_pace(1)
    stays, goes = Asking(pace, 100), Asking(pace, 100)
    stays.go_on()
    goes.go_on()
    pace.forget(goes)
    time.advance(10.0)
    assert (stays.served, goes.served) == (11, 0)
    woken: list[bool] = []
    pace.wait(object(), lambda: woken.append(True))
    pace.release()
    assert woken == [True]


def test_a_pace_is_as_good_as_new_after_a_quiet_second() -> None:
    pace, time, _ = make_pace(10)
    assert pace.is_full
    pace.take()
    assert not pace.is_full
    time.advance(1.0)
    assert pace.is_full


# -- over sockets ------------------------------------------------------------------------------------------------


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def receive(self) -> bytes:
        """The PDU of the next answer."""
        (length,) = struct.unpack(">4xHx", await self.reader.readexactly(7))
        return await self.reader.readexactly(length - 1)

    async def ask(self, pdu: bytes, unit: int = 1) -> bytes:
        self.send(adu(1, unit, pdu))
        return await self.receive()

    async def ended(self) -> bool:
        try:
            return await self.reader.read() == b""
        except ConnectionResetError:
            return True


class Plant:
    """A server on a loopback port."""

    def __init__(
        self,
        limits: Limits,
        *,
        max_connections: int = 100,
        clock: Callable[[], float] = now,
        idle_timeout_s: float = 0.0,
        scheme: str = "tcp",
    ) -> None:
        self.counters = Counters()
        bank = Bank({Table.HOLDING: [(0, 1000)]})
        self.gate = Gate(Units({1: bank}, 1, "gateway_path"), Freshness(clock), self.counters)
        self._settings = {"max_connections": max_connections, "idle_timeout_s": idle_timeout_s, "keepalive_s": 0.0}
        self.server = Server(self.gate, **self._settings, backlog=10, limits=limits)  # type: ignore[arg-type]
        self.port = 0
        self._doors = [Door(ListenUrl("127.0.0.1", 0, scheme))]

    async def start(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO")
        await self.server.listen(self._doors)
        found = re.search(r"listening on [a-z+]+://127\.0\.0\.1:(\d+)", caplog.text)
        assert found
        self.port = int(found[1])

    async def connect(self, source: str = "127.0.0.1") -> Client:
        return Client(*await asyncio.open_connection("127.0.0.1", self.port, local_addr=(source, 0)))

    async def limit(self, limits: Limits) -> None:
        """As a reload does."""
        self.server.configure(**self._settings, backlog=10, limits=limits)  # type: ignore[arg-type]
        await self.server.listen(self._doors)

    async def allow(self, *rules: dict[str, str]) -> None:
        """As a reload does."""
        self.gate.access = Access([Rule.model_validate(rule) for rule in rules])
        await self.server.listen(self._doors)


@asynccontextmanager
async def plant(
    caplog: pytest.LogCaptureFixture,
    clock: Callable[[], float] = now,
    max_connections: int = 100,
    idle_timeout_s: float = 0.0,
    scheme: str = "tcp",
    **limits: object,
) -> AsyncIterator[Plant]:
    plant = Plant(
        Limits.model_construct(**limits),  # type: ignore[arg-type]
        max_connections=max_connections,
        clock=clock,
        idle_timeout_s=idle_timeout_s,
        scheme=scheme,
    )
    await plant.start(caplog)
    try:
        yield plant
    finally:
        await plant.server.close()


async def until(condition: Callable[[], object], what: str, deadline_s: float = 5.0) -> None:
    try:
        async with asyncio.timeout(deadline_s):
            while not condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"{what}: not within {deadline_s:g} s") from None


@on_a_loop
async def test_one_address_has_its_places_and_leaves_the_others_theirs(caplog: pytest.LogCaptureFixture) -> None:
    async with plant(caplog, connections_per_address=2) as server:
        greedy = [await server.connect("127.0.0.2") for _ in range(4)]
        assert await greedy[0].ask(READ) == hexed("03 02 0000")
        assert await greedy[1].ask(READ) == hexed("03 02 0000")
        assert await greedy[2].ended()
        assert await greedy[3].ended()
        other = await server.connect("127.0.0.3")
        assert await other.ask(READ) == hexed("03 02 0000")
        assert (server.counters.crowded, server.counters.refused_connections) == (2, 2)
        assert caplog.text.count("refused: 2 clients of its address are connected") == 1, "one line a minute"
        greedy[0].writer.close()
        await until(lambda: server.counters.clients == 2, "its place is free")
        assert await (await server.connect("127.0.0.2")).ask(READ) == hexed("03 02 0000")


@on_a_loop
async def test_a_flood_is_read_more_slowly_loses_nothing_and_others_do_not_notice(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with plant(caplog, requests_per_second=100) as server:
        loop = asyncio.get_running_loop()
        flood, other = await server.connect("127.0.0.2"), await server.connect("127.0.0.3")
        begun_s = loop.time()
        flood.send(b"".join(adu(tid, 1, READ) for tid in range(250)))
        slowest_s = 0.0
        for _ in range(50):
            asked_s = loop.time()
            assert await other.ask(READ) == hexed("03 02 0000")
            slowest_s = max(slowest_s, loop.time() - asked_s)
        tids = []
        for _ in range(250):
            tid, length = struct.unpack(">H2xHx", await flood.reader.readexactly(7))
            await flood.reader.readexactly(length - 1)
            tids.append(tid)
        assert tids == list(range(250))
        assert 1.3 < loop.time() - begun_s < 4.0, "a second's worth at once, 150 more at 100 a second"
        assert slowest_s < 0.5
        assert server.counters.slowed > 0


@on_a_loop
async def test_two_connections_of_one_address_share_its_pace(caplog: pytest.LogCaptureFixture) -> None:
    async with plant(caplog, requests_per_second=20) as server:
        flood, modest = await server.connect("127.0.0.2"), await server.connect("127.0.0.2")
        flood.send(adu(1, 1, READ) * 1000)
        await until(lambda: server.counters.slowed, "the flood waits")
        for _ in range(3):
            assert await modest.ask(READ) == hexed("03 02 0000")
        assert server.counters.requests < 100


@on_a_loop
async def test_an_address_that_connects_anew_is_not_faster(caplog: pytest.LogCaptureFixture) -> None:
    async with plant(caplog, requests_per_second=20) as server:
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        for _ in range(30):
            client = await server.connect("127.0.0.2")
            assert await client.ask(READ) == hexed("03 02 0000")
            client.writer.close()
        assert loop.time() - begun_s > 0.4


@on_a_loop
async def test_a_limit_comes_and_goes_with_a_reload(caplog: pytest.LogCaptureFixture) -> None:
    async with plant(caplog, requests_per_second=1) as server:
        client = await server.connect()
        client.send(adu(1, 1, READ) * 2000)
        await until(lambda: server.counters.slowed, "the client waits")
        await server.limit(Limits())
        for _ in range(2000):
            assert await client.receive() == hexed("03 02 0000")
        await server.limit(Limits.model_construct(requests_per_second=1))
        client.send(adu(1, 1, READ) * 3)
        await until(lambda: server.counters.slowed > 1, "it waits again")


@pytest.mark.parametrize("scheme", ["tcp", "rtu+tcp"])
@on_a_loop
async def test_who_waits_for_his_turn_is_not_idle(scheme: str, caplog: pytest.LogCaptureFixture) -> None:
    async with plant(caplog, requests_per_second=2, idle_timeout_s=0.2, scheme=scheme) as server:
        client = await server.connect()
        frame = adu(1, 1, READ) if scheme == "tcp" else rtu.pack(1, READ)
        answer = adu(1, 1, hexed("03 02 0000")) if scheme == "tcp" else rtu.pack(1, hexed("03 02 0000"))
        client.send(frame * 5)
        assert await client.reader.readexactly(5 * len(answer)) == 5 * answer
        assert await client.ended(), "now it is"
        assert "sent nothing for 0.2 s" in caplog.text


@on_a_loop
async def test_a_client_that_is_closed_is_told_of_once_and_a_reload_looks_at_all(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ahead_s = 0.0
    async with plant(caplog, clock=lambda: now() + ahead_s, idle_timeout_s=50.0) as server:
        client = await server.connect()
        assert await client.ask(READ) == hexed("03 02 0000")
        ahead_s = 100.0
        await server.limit(Limits())
        assert await client.ended()
        assert caplog.text.count("sent nothing for 50 s") == 1


@pytest.mark.parametrize("how", ["once", "drop by drop"])
@on_a_loop
async def test_half_a_request_does_not_keep_its_place(how: str, caplog: pytest.LogCaptureFixture) -> None:
    async with plant(caplog, half_request_s=0.3) as server:
        client, other = await server.connect(), await server.connect()
        assert await client.ask(READ) == hexed("03 02 0000")
        for byte in adu(2, 1, READ)[:-1]:
            if how == "drop by drop" and server.counters.clients == 2:
                await asyncio.sleep(0.1)  # a client that is slow on purpose
            client.send(bytes((byte,)))
        assert await client.ended()
        assert server.counters.half == 1
        assert "sent a part of a request" in caplog.text
        assert await other.ask(READ) == hexed("03 02 0000"), "who only says nothing may stay"


@on_a_loop
async def test_a_client_that_pipelines_may_always_have_half_a_request_on_its_way(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with plant(caplog, half_request_s=0.2) as server:
        client = await server.connect()
        stream = adu(1, 1, READ) * 40
        sent = 7
        client.send(stream[:sent])
        while sent < len(stream):
            client.send(stream[sent : sent + 12])
            sent += 12
            assert await client.receive() == hexed("03 02 0000")
            await asyncio.sleep(0.02)  # longer than the limit, in all
        assert server.counters.half == 0


@on_a_loop
async def test_a_client_that_never_fetches_its_answers_loses_its_place(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "UNFETCHED_S", 0.5)
    monkeypatch.setattr(serving, "LOOK_S", 0.1)
    async with plant(caplog, bytes_waiting=10_000) as server:
        loop = asyncio.get_running_loop()
        with socket.socket() as lazy:
            lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            lazy.setblocking(False)
            await loop.sock_connect(lazy, ("127.0.0.1", server.port))
            other = await server.connect()
            flood = loop.create_task(loop.sock_sendall(lazy, adu(1, 1, READ_MOST) * 200_000))
            await until(lambda: server.counters.unfetched, "it is closed")
            await until(lambda: server.counters.clients == 1, "its place is free")
            assert await other.ask(READ) == hexed("03 02 0000")
            await asyncio.gather(flood, return_exceptions=True)  # sent, or cut off
        assert "did not fetch its answers" in caplog.text


@on_a_loop
async def test_a_client_that_is_slow_to_fetch_but_does_may_stay(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "UNFETCHED_S", 0.5)
    monkeypatch.setattr(serving, "LOOK_S", 0.05)
    async with plant(caplog, bytes_waiting=10_000) as server:
        loop = asyncio.get_running_loop()
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.setblocking(False)
            await loop.sock_connect(slow, ("127.0.0.1", server.port))
            flood = loop.create_task(loop.sock_sendall(slow, adu(1, 1, READ_MOST) * 20_000))
            end_s = loop.time() + 1.5
            while loop.time() < end_s:
                assert await loop.sock_recv(slow, 50_000)
                await asyncio.sleep(0.02)  # slow
            flood.cancel()
        assert server.counters.unfetched == 0


@on_a_loop
async def test_unfetched_answers_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    async with plant(caplog, bytes_waiting=1000) as server:
        client = await server.connect()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send(adu(1, 1, READ_MOST) * 50_000)
        (place,) = server.server._clients._connected.values()
        await until(lambda: place.transport.get_write_buffer_size() > 1000, "the buffers of the system are full")
        assert place.transport.get_write_buffer_size() < 1000 + 512 * 259


def test_what_is_kept_of_addresses_is_bounded() -> None:
    @on_a_loop
    async def main() -> None:
        gate = Gate(Units({}, 1, "gateway_path"), Freshness(now), Counters())
        limits = Limits.model_construct(requests_per_second=2)
        clients = Clients(gate, max_connections=10, idle_timeout_s=0.0, keepalive_s=0.0, limits=limits)
        for number in range(MAX_ADDRESSES + 1000):
            assert clients.allows(host_of(f"10.{number >> 8}.{number & 255}.1"))
        assert len(clients._former) == MAX_ADDRESSES
        one = host_of("192.0.2.1")
        assert [clients.allows(one) for _ in range(4)] == [True, True, False, False]
        assert gate.counters.dropped == 2
        clients.review()
        await until(lambda: not clients._former, "they are forgotten when they were quiet")
        clients.close()

    main()


# -- rules that change while clients are connected ---------------------------------------------------------------


@on_a_loop
async def test_other_rules_hold_at_once_for_who_is_connected(caplog: pytest.LogCaptureFixture) -> None:
    write = hexed("06 0000 0007")
    async with plant(caplog) as server:
        two, three = await server.connect("127.0.0.2"), await server.connect("127.0.0.3")
        for client in (two, three):
            assert await client.ask(write) == write
            assert await client.ask(READ) == hexed("03 02 0007")
        generation = server.gate.generation
        await server.allow({"from": "127.0.0.2", "may": "read"})
        assert server.gate.generation > generation
        assert await three.ended()
        assert "may do nothing here any more" in caplog.text
        assert await two.ask(write) == hexed("86 01")
        assert await two.ask(READ) == hexed("03 02 0007")
        await server.allow({"from": "127.0.0.2", "range": "holding:5", "may": "read"})
        assert await two.ask(READ) == hexed("83 01"), "what was remembered is not served"
        refused = await server.connect("127.0.0.3")
        refused.send(adu(1, 1, READ))
        assert await refused.ended()
        assert server.counters.unwelcome == 2
        assert server.counters.denied == 2
        await server.allow({"may": "write"})
        assert await two.ask(write) == write


class Slow:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.laters: list[Later] = []

    def answer(self, pdu: bytes) -> bytes | Later | None:
        self.laters.append(Later())
        return self.laters[-1]

    def may_overtake(self, pdu: bytes) -> bool:
        return False


@on_a_loop
async def test_what_has_not_begun_when_the_rules_change_is_judged_by_the_new_ones(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with plant(caplog) as server:
        slow = Slow()
        server.gate.units.replace({1: slow}, 1, "gateway_path")
        client = await server.connect()
        client.send(adu(1, 1, hexed("06 0000 0001")) + adu(2, 1, hexed("06 0000 0002")))
        await until(lambda: slow.laters, "the first has begun")
        await server.allow({"may": "read"})
        slow.laters[0].settle(hexed("06 0000 0001"))
        assert await client.receive() == hexed("06 0000 0001")
        assert await client.receive() == hexed("86 01")
        assert len(slow.laters) == 1
