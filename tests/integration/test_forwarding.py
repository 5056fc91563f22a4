"""A server on real sockets with an image and a device that takes its time: who waits for whom, and who does not.

The device answers by timers of the loop, so an order on the wire is the order in which the gateway let answers go.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from gateway.bank import Bank
from gateway.clock import now
from gateway.config.urls import ListenUrl
from gateway.errors import ListenError
from gateway.forwarding.forward import Forward
from gateway.front.counters import Counters
from gateway.front.freshness import Freshness
from gateway.front.gate import Gate
from gateway.front.units import Units
from gateway.interfaces import Request, Write
from gateway.modbus.spec import Table
from gateway.serving.connection import MAX_WAITING
from gateway.serving.doors import Door
from gateway.serving.server import Server
from tests.support.needs import require_module
from tests.support.wire import adu, hexed

IMAGE, SLOW, OTHER = 1, 5, 6
DELAY_S = 0.05
READ, WRITE = hexed("03 0000 0001"), hexed("06 0000 0007")
IMAGE_ANSWER = hexed("03 02 1234")

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine on either loop, for ten seconds at most."""

    async def in_time(main: Coroutine[Any, Any, None]) -> None:
        async with asyncio.timeout(10.0):
            await main

    if request.param == "asyncio":
        return lambda main: asyncio.run(in_time(main))
    require_module("uvloop")
    import uvloop

    return lambda main: uvloop.run(in_time(main))


def at(host: str, port: int) -> Door:
    return Door(ListenUrl(host, port))


class Device:
    """One unit whose registers hold the number of writes it has had; each answer takes `delay_s`."""

    def __init__(self, delay_s: float = DELAY_S) -> None:
        self.delay_s = delay_s
        self.asked: list[bytes] = []
        self.sent: list[Request] = []
        self.value = 0
        self.forward = Forward(self.submit, self.write, 1, 1.0, now)

    def submit(self, request: Request) -> None:
        self.sent.append(request)
        request.attempts = 1
        self.asked.append(request.pdu)
        asyncio.get_running_loop().call_later(self.delay_s, self._read, request)

    def _read(self, request: Request) -> None:
        count = request.pdu[4]
        request.done(bytes((3, 2 * count)) + struct.pack(">H", self.value) * count, None)

    def write(self, write: Write) -> None:
        self.asked.append(next(write.steps()))
        asyncio.get_running_loop().call_later(self.delay_s, self._write, write)

    def _write(self, write: Write) -> None:
        pdu = next(write.steps())
        self.value += 1
        self.forward.written(pdu, pdu, write.hold_s)
        write.done(pdu, None)


class Plant:
    """A gateway's serving side."""

    def __init__(self, delay_s: float = DELAY_S) -> None:
        self.slow, self.other = Device(delay_s), Device(0.0)
        self.bank = Bank({Table.HOLDING: [(0, 10)]})
        self.bank.put_registers(Table.HOLDING, 0, b"\x12\x34")
        units = Units({IMAGE: self.bank, SLOW: self.slow.forward, OTHER: self.other.forward}, SLOW, "gateway_path")
        self.server = Server(
            Gate(units, Freshness(now), Counters()), max_connections=10, idle_timeout_s=0.0, keepalive_s=0.0, backlog=10
        )

    async def start(self, caplog: pytest.LogCaptureFixture) -> int:
        """The port."""
        caplog.set_level("INFO")
        await self.server.listen([at("127.0.0.1", 0)])
        return ports(caplog)[-1]


def ports(caplog: pytest.LogCaptureFixture) -> list[int]:
    """Of the listeners that were opened, in the order of the log."""
    found = (re.fullmatch(r"listening on tcp://127\.0\.0\.1:(\d+)", record.getMessage()) for record in caplog.records)
    return [int(match[1]) for match in found if match]


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    async def receive(self, count: int) -> list[tuple[int, int, bytes]]:
        """Transaction id, unit id and PDU of the next answers."""
        got = []
        for _ in range(count):
            tid, _, length, unit_id = struct.unpack(">HHHB", await self.reader.readexactly(7))
            got.append((tid, unit_id, await self.reader.readexactly(length - 1)))
        return got

    async def ended(self) -> bool:
        return await self.reader.read() == b""

    def vanish(self) -> None:
        """With a reset. A mere close cannot be told from a client that only has nothing more to ask."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()


async def connect(port: int) -> Client:
    return Client(*await asyncio.open_connection("127.0.0.1", port))


async def until(condition: Callable[[], object]) -> None:
    """The test's own deadline ends it."""
    while not condition():
        await asyncio.sleep(0.001)


def test_the_fast_units_answers_do_not_wait_for_the_slow_one(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        plant = Plant()
        client = await connect(await plant.start(caplog))
        reads = [adu(number, SLOW if number % 2 else IMAGE, READ) for number in range(10)]
        client.send(*reads)
        answers = await client.receive(10)
        assert answers[:5] == [(number, IMAGE, IMAGE_ANSWER) for number in range(0, 10, 2)]
        assert answers[5:] == [(number, SLOW, hexed("03 02 0000")) for number in range(1, 10, 2)]
        assert len(plant.slow.asked) == 1, "the same in flight is asked once"

        client.send(adu(20, SLOW, READ))
        await until(lambda: len(plant.slow.asked) == 2)
        client.send(adu(21, OTHER, READ), adu(22, IMAGE, READ))
        assert [tid for tid, _, _ in await client.receive(3)] == [22, 21, 20]
        await client.close()
        await plant.server.close()

    run(main())


def test_a_client_that_pipelines_reads_and_writes_finds_them_done_in_its_order(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        plant = Plant(delay_s=0.002)
        client = await connect(await plant.start(caplog))
        for number in range(0, 40, 2):
            client.send(adu(number, SLOW, WRITE), adu(number + 1, SLOW, READ))
        expected = []
        for number in range(20):
            expected += [(2 * number, SLOW, WRITE), (2 * number + 1, SLOW, b"\x03\x02" + struct.pack(">H", number + 1))]
        assert await client.receive(40) == expected
        await client.close()
        await plant.server.close()

    run(main())


def test_unit_ids_0_and_255_share_the_order_of_the_unit_they_mean(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        plant = Plant(delay_s=0.002)
        client = await connect(await plant.start(caplog))
        client.send(adu(1, 255, READ), adu(2, SLOW, WRITE), adu(3, 0, READ), adu(4, SLOW, WRITE), adu(5, 255, READ))
        assert await client.receive(5) == [
            (1, 255, hexed("03 02 0000")),
            (2, SLOW, WRITE),
            (3, 0, hexed("03 02 0001")),
            (4, SLOW, WRITE),
            (5, 255, hexed("03 02 0002")),
        ]
        await client.close()
        await plant.server.close()

    run(main())


def test_what_a_client_asked_is_not_sent_any_more_when_it_has_gone(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        plant = Plant(delay_s=0.0)
        unsent: list[Request] = []
        plant.slow.forward = Forward(unsent.append, lambda write: None, 1, 1.0, now)
        plant.server.gate.units.replace({SLOW: plant.slow.forward}, SLOW, "gateway_path")
        port = await plant.start(caplog)
        leaves, stays = await connect(port), await connect(port)
        leaves.send(adu(1, SLOW, READ), adu(2, SLOW, hexed("03 0001 0001")))
        await until(lambda: len(unsent) == 2)
        stays.send(adu(1, SLOW, READ))
        await until(lambda: plant.slow.forward.counters.shared == 1)
        leaves.vanish()
        await until(lambda: plant.server.gate.counters.clients == 1)
        assert [request.wanted for request in unsent] == [True, False]

        unsent[0].done(IMAGE_ANSWER, None)
        assert await stays.receive(1) == [(1, SLOW, IMAGE_ANSWER)]
        await stays.close()
        await plant.server.close()

    run(main())


def test_a_client_that_closes_its_sending_side_gets_what_is_still_to_come(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        plant = Plant()
        client = await connect(await plant.start(caplog))
        client.send(adu(1, SLOW, READ), adu(2, IMAGE, READ), adu(3, SLOW, WRITE))
        client.writer.write_eof()
        assert [tid for tid, _, _ in await client.receive(3)] == [2, 1, 3]
        assert await client.ended()
        await client.close()
        await until(lambda: plant.server.gate.counters.clients == 0)
        await plant.server.close()

    run(main())


def test_a_client_that_asks_without_end_is_not_read_and_loses_nothing(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        plant = Plant()
        waiting: list[Request] = []
        plant.server.gate.units.replace(
            {SLOW: Forward(waiting.append, lambda write: None, 1, 1.0, now)}, SLOW, "gateway_path"
        )
        client = await connect(await plant.start(caplog))
        count = 3 * MAX_WAITING
        client.send(*(adu(number, SLOW, b"\x03" + number.to_bytes(2, "big") + b"\0\1") for number in range(count)))
        await until(lambda: plant.server.gate.counters.held)
        assert len(waiting) == MAX_WAITING
        neighbour = await connect(ports(caplog)[0])
        neighbour.send(adu(1, 77, READ))
        assert await neighbour.receive(1) == [(1, 77, b"\x83\x0a")]
        assert len(waiting) == MAX_WAITING

        for number in range(count):
            await until(lambda number=number: number < len(waiting))  # type: ignore[misc]
            waiting[number].done(b"\x03\x02" + number.to_bytes(2, "big"), None)
        answers = await client.receive(count)
        assert answers == [(number, SLOW, b"\x03\x02" + number.to_bytes(2, "big")) for number in range(count)]
        for each in (client, neighbour):
            await each.close()
        await plant.server.close()

    run(main())


def test_when_the_gateway_stops_the_answers_still_to_come_leave_first(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        plant = Plant()
        port = await plant.start(caplog)
        client, idle = await connect(port), await connect(port)
        client.send(adu(1, SLOW, READ), adu(2, SLOW, WRITE))
        await until(lambda: plant.slow.asked)
        plant.server.stop_accepting()
        await plant.server.drained(5.0)
        await plant.server.close()
        assert await client.receive(2) == [(1, SLOW, hexed("03 02 0000")), (2, SLOW, WRITE)]
        assert await client.ended()
        assert await idle.ended()
        for each in (client, idle):
            await each.close()

    run(main())


# -- listeners that come and go


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_a_listener_that_stays_is_not_touched_and_one_that_goes_keeps_its_clients(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        plant = Plant()
        first, second = at("127.0.0.1", 0), at("127.0.0.1", free_port())
        await plant.server.listen([first])
        caplog.set_level("INFO")
        await plant.server.listen([second])
        await plant.server.listen([second, first])
        assert ports(caplog)[0] == second.url.port
        stays = ports(caplog)[1]
        client = await connect(second.url.port)
        client.send(adu(1, IMAGE, READ))
        assert await client.receive(1) == [(1, IMAGE, IMAGE_ANSWER)]

        caplog.clear()
        await plant.server.listen([first])
        assert [record.getMessage() for record in caplog.records if "listening" in record.getMessage()] == [
            f"no longer listening on tcp://127.0.0.1:{second.url.port}"
        ]
        client.send(adu(2, IMAGE, READ))
        assert await client.receive(1) == [(2, IMAGE, IMAGE_ANSWER)]
        with pytest.raises(ConnectionRefusedError):
            await connect(second.url.port)
        other = await connect(stays)
        other.send(adu(1, IMAGE, READ))
        assert await other.receive(1) == [(1, IMAGE, IMAGE_ANSWER)]
        for each in (client, other):
            await each.close()
        await plant.server.close()
        with pytest.raises(ConnectionRefusedError):
            await connect(stays)

    run(main())


def test_when_one_listener_cannot_be_opened_none_is_and_none_is_closed(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        plant = Plant()
        stays = await plant.start(caplog)
        new = at("127.0.0.1", free_port())
        with socket.create_server(("127.0.0.1", 0)) as taken:
            with pytest.raises(ListenError, match="in use"):
                await plant.server.listen([new, at("127.0.0.1", taken.getsockname()[1])])
        with pytest.raises(ConnectionRefusedError):
            await connect(new.url.port)
        client = await connect(stays)
        client.send(adu(1, IMAGE, READ))
        assert await client.receive(1) == [(1, IMAGE, IMAGE_ANSWER)]
        assert ports(caplog) == [stays]
        await client.close()
        await plant.server.close()

    run(main())


def test_several_free_ports_may_be_asked_for(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        caplog.set_level("INFO")
        plant = Plant()
        await plant.server.listen([at("127.0.0.1", 0)] * 2)
        await plant.server.listen([at("127.0.0.1", 0)] * 3)
        assert len(set(ports(caplog))) == 3
        for port in ports(caplog):
            await (await connect(port)).close()
        await plant.server.close()

    run(main())


def test_a_port_moves_from_one_address_to_another(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        caplog.set_level("INFO")
        plant = Plant()
        everywhere = at("0.0.0.0", free_port())
        here = at("127.0.0.1", everywhere.url.port)
        await plant.server.listen([everywhere])
        with socket.create_server(("127.0.0.1", 0)) as taken:
            with pytest.raises(ListenError, match="in use"):
                await plant.server.listen([here, at("127.0.0.1", taken.getsockname()[1])])
        assert ports(caplog) == []
        await (await connect(here.url.port)).close()

        await plant.server.listen([here])
        assert ports(caplog) == [here.url.port]
        client = await connect(here.url.port)
        client.send(adu(1, IMAGE, READ))
        assert await client.receive(1) == [(1, IMAGE, IMAGE_ANSWER)]
        assert client.writer.get_extra_info("peername") == ("127.0.0.1", here.url.port)
        await client.close()
        await plant.server.close()

    run(main())


def test_a_lower_limit_of_clients_holds_for_newcomers_only(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        plant = Plant()
        port = await plant.start(caplog)
        clients = [await connect(port), await connect(port)]
        await until(lambda: plant.server.gate.counters.clients == 2)
        plant.server.configure(max_connections=1, idle_timeout_s=0.0, keepalive_s=0.0, backlog=10)
        newcomer = await connect(port)
        assert await newcomer.ended()
        for client in clients:
            client.send(adu(1, IMAGE, READ))
            assert await client.receive(1) == [(1, IMAGE, IMAGE_ANSWER)]
        for each in (*clients, newcomer):
            await each.close()
        await plant.server.close()

    run(main())
