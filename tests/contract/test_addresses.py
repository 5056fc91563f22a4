"""A device with several addresses: the next one when one fails, back to the first when it answers again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from gateway.app import LoopTime
from gateway.errors import LinkError
from gateway.interfaces import Request
from gateway.southbound.link import Link
from gateway.southbound.seams import Settings
from gateway.southbound.tcp import tcp_dialler
from tests.support.devices import Behaviour, ScriptedDevice, echo_zeros, free_port
from tests.support.wire import adu

READ = bytes.fromhex("0300070001")
DEADLINE_S = 5.0


def serving(value: int) -> Behaviour:
    return lambda tid, unit, pdu: adu(tid, unit, b"\x03\x02" + value.to_bytes(2, "big"))


def silent(tid: int, unit: int, pdu: bytes) -> None:
    return None


class Case:
    """A link with addresses a and b, which is asked until it answers."""

    def __init__(self, ports: list[int], *, prefer_first: bool = True) -> None:
        dials = [tcp_dialler(lambda port=port: ("127.0.0.1", port), None, 60.0) for port in ports]
        self.link = Link("two", dials, Settings(), LoopTime(), prefer_first=prefer_first)
        self.link.keeper.return_s = 0.05

    async def ask(self) -> int | LinkError:
        told: asyncio.Future[int | LinkError] = asyncio.get_running_loop().create_future()

        def done(answer: bytes | None, error: LinkError | None) -> None:
            told.set_result(error if answer is None else int.from_bytes(answer[2:4], "big"))  # type: ignore[arg-type]

        self.link.submit(Request(1, READ, 0.2, 0, done))
        return await told

    async def until(self, value: int) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while await self.ask() != value:
                await asyncio.sleep(0.01)


def run(case: Case, body: Callable[[Case], Awaitable[None]]) -> None:
    async def main() -> None:
        task = asyncio.create_task(case.link.run())
        try:
            await body(case)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())


def test_the_second_is_used_while_the_first_refuses_and_left_when_the_first_is_back() -> None:
    port = free_port()
    b = ScriptedDevice(serving(2))

    async def body(case: Case) -> None:
        await case.until(2)
        a = ScriptedDevice(serving(1), port)
        try:
            await case.until(1)
            assert case.link.keeper.at == 0
        finally:
            a.close()
        await case.until(2)

    try:
        run(Case([port, b.port]), body)
    finally:
        b.close()


def test_the_second_is_kept_when_it_is_not_to_prefer_the_first() -> None:
    port = free_port()
    b = ScriptedDevice(serving(2))

    async def body(case: Case) -> None:
        await case.until(2)
        a = ScriptedDevice(serving(1), port)
        try:
            for _ in range(20):
                assert await case.ask() == 2
                await asyncio.sleep(0.01)
            assert a.connections == 0
            b.drop()
            b.close()
            await case.until(1)
        finally:
            a.close()

    try:
        run(Case([port, b.port], prefer_first=False), body)
    finally:
        b.close()


def test_a_first_address_that_connects_and_says_nothing_is_not_gone_back_to() -> None:
    a, b = ScriptedDevice(silent), ScriptedDevice(serving(2))

    async def body(case: Case) -> None:
        await case.until(2)
        seen = a.connections
        async with asyncio.timeout(DEADLINE_S):
            while a.connections < seen + 3:  # tried again and again
                assert await case.ask() == 2
                await asyncio.sleep(0.01)

    try:
        run(Case([a.port, b.port]), body)
    finally:
        a.close()
        b.close()


def test_nothing_is_lost_when_the_link_goes_back() -> None:
    port = free_port()
    b = ScriptedDevice(echo_zeros)

    async def body(case: Case) -> None:
        await case.until(7)
        a = ScriptedDevice(echo_zeros, port)
        try:
            async with asyncio.timeout(DEADLINE_S):
                while case.link.keeper.at:
                    assert await case.ask() == 7
                    await asyncio.sleep(0)
            assert await case.ask() == 7
        finally:
            a.close()

    try:
        run(Case([port, b.port]), body)
    finally:
        b.close()
