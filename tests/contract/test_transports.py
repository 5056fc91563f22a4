"""What every way to a device must keep, against a real peer that stalls, refuses, dies, returns.

`TRANSPORTS` names each transport with the function that dials it: a new one is one line here.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.app import LoopTime
from gateway.errors import LinkDown, MalformedResponse, RequestTimeout
from gateway.southbound.link import Link
from gateway.southbound.seams import Dial, Settings
from gateway.southbound.tcp import tcp_dialler
from tests.support.devices import ScriptedDevice, echo_zeros, free_port, pymodbus_plc, scripted
from tests.support.links import DEADLINE_S, Peer, with_link
from tests.support.wire import adu

TRANSPORTS: dict[str, Callable[[int], Dial]] = {
    "tcp": lambda port: tcp_dialler(lambda: ("127.0.0.1", port), None, 60.0),
}

READ = bytes.fromhex("0300070001")
SEVEN = bytes.fromhex("03020007")


@pytest.fixture(params=sorted(TRANSPORTS))
def transport(request: pytest.FixtureRequest) -> Callable[[int], Dial]:
    return TRANSPORTS[request.param]


def test_a_foreign_device_answers_and_its_exceptions_come_as_they_are(transport: Callable[[int], Dial]) -> None:
    async def case(peer: Peer) -> None:
        await peer.up()
        assert await peer.ask(bytes.fromhex("0300000002")) == bytes.fromhex("030403e803e9")
        refused = await peer.ask(bytes.fromhex("03FFFF0001"))
        assert isinstance(refused, bytes)
        assert refused[0] == 0x83
        assert await peer.ask(bytes.fromhex("0100000009")) == bytes.fromhex("01024900")

    with pymodbus_plc() as plc:
        with_link(transport(plc.port), case)


def test_a_device_that_refuses_the_connection_is_tried_again_until_it_is_there(
    transport: Callable[[int], Dial],
) -> None:
    port = free_port()

    async def case(peer: Peer) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while peer.link.trouble != "refused the connection":
                await asyncio.sleep(0)
        assert isinstance(await peer.ask(), LinkDown)
        device = ScriptedDevice(port=port)
        try:
            await peer.up()
            assert await peer.ask() == SEVEN
        finally:
            device.close()

    with_link(transport(port), case)


def test_a_device_that_dies_fails_what_was_out_and_is_used_again_when_it_returns(
    transport: Callable[[int], Dial],
) -> None:
    async def case(peer: Peer) -> None:
        await peer.up()
        assert await peer.ask() == SEVEN
        device.behave = lambda tid, unit, pdu: device.drop()
        assert isinstance(await peer.ask(timeout_s=2.0), LinkDown)
        device.behave = echo_zeros
        await peer.up()
        assert await peer.ask() == SEVEN
        assert peer.link.counters.losses == 1

    with scripted() as device:
        with_link(transport(device.port), case)


def test_a_device_that_stalls_times_out_and_its_late_answer_is_nobodys(transport: Callable[[int], Dial]) -> None:
    held: list[bytes] = []

    def hold(tid: int, unit: int, pdu: bytes) -> None:
        held.append(adu(tid, unit, bytes.fromhex("0302DEAD")))

    def late_then_right(tid: int, unit: int, pdu: bytes) -> bytes:
        return held.pop() + adu(tid, unit, SEVEN)

    async def case(peer: Peer) -> None:
        await peer.up()
        device.behave = hold
        assert isinstance(await peer.ask(), RequestTimeout)
        device.behave = late_then_right
        assert await peer.ask() == SEVEN
        assert peer.link.counters.late == 1
        assert device.connections == 2, "after a time-out the old one is not trusted any more"

    with scripted() as device:
        with_link(transport(device.port), case)


def test_a_retry_is_a_new_request_and_the_answer_to_either_is_paired_right(transport: Callable[[int], Dial]) -> None:
    def every_second(tid: int, unit: int, pdu: bytes) -> bytes | None:
        return echo_zeros(tid, unit, pdu) if len(device.requests) % 2 == 0 else None

    async def case(peer: Peer) -> None:
        await peer.up()
        assert await peer.ask(retries=1) == SEVEN
        tids = [tid for tid, _, _ in device.requests]
        assert len(set(tids)) == 2

    with scripted(every_second) as device:
        with_link(transport(device.port), case)


@pytest.mark.parametrize(
    "garbage",
    [
        lambda tid, unit, pdu: b"\xff" * 64,
        lambda tid, unit, pdu: adu(tid, unit, bytes.fromhex("0304000700")),
        lambda tid, unit, pdu: adu(tid, unit, bytes.fromhex("04020007")),
        lambda tid, unit, pdu: adu(tid, unit, SEVEN)[:4] + b"\0\0" + adu(tid, unit, SEVEN)[6:],
    ],
    ids=["not Modbus", "wrong byte count", "wrong function", "length 0"],
)
def test_garbage_ends_the_connection_and_is_no_answer(
    transport: Callable[[int], Dial], garbage: Callable[[int, int, bytes], bytes]
) -> None:
    async def case(peer: Peer) -> None:
        await peer.up()
        assert isinstance(await peer.ask(), MalformedResponse | LinkDown)
        device.behave = echo_zeros
        await peer.up()
        assert await peer.ask() == SEVEN
        assert device.connections == 2

    with scripted(garbage) as device:
        with_link(transport(device.port), case)


def test_answers_in_any_order_reach_their_requests(transport: Callable[[int], Dial]) -> None:
    held: list[bytes] = []

    def backwards(tid: int, unit: int, pdu: bytes) -> bytes | None:
        held.insert(0, echo_zeros(tid, unit, pdu) or b"")
        return b"".join(held) if len(held) == 4 else None

    async def case(peer: Peer) -> None:
        await peer.up()
        asked = [peer.ask(bytes((3, 0, n, 0, 1)), timeout_s=3.0) for n in range(4)]
        assert await asyncio.gather(*asked) == [bytes((3, 2, 0, n)) for n in range(4)]

    with scripted(backwards) as device:
        with_link(transport(device.port), case, in_flight=4)


def test_a_device_that_accepts_and_drops_is_not_hammered(transport: Callable[[int], Dial]) -> None:
    async def case(peer: Peer) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while peer.link.counters.connects < 2:
                device.drop()
                await asyncio.sleep(0.01)
        assert device.connections <= peer.link.counters.connects + 1
        assert peer.link.counters.connects <= 3

    with scripted() as device:
        with_link(transport(device.port), case)


def test_a_device_with_an_ip_address_does_not_wait_behind_names_that_hang(transport: Callable[[int], Dial]) -> None:
    name_server = threading.Event()

    async def case(peer: Peer) -> None:
        await peer.up()
        assert await peer.ask() == SEVEN

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))  # where plain asyncio looks names up
        stuck = loop.run_in_executor(None, name_server.wait)
        link = Link("link test", transport(device.port), Settings(), LoopTime())
        running = asyncio.create_task(link.run())
        try:
            await case(Peer(link))
        finally:
            name_server.set()
            running.cancel()
            await asyncio.gather(running, stuck, return_exceptions=True)

    with scripted() as device:
        asyncio.run(main())
