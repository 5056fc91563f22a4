"""A link that runs in a test, and somebody who asks over it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from gateway.app import LoopTime
from gateway.errors import LinkError
from gateway.interfaces import Priority, Request
from gateway.southbound.link import Link
from gateway.southbound.seams import Dial, Settings

READ = bytes.fromhex("0300070001")
DEADLINE_S = 5.0


class Peer:
    """A link that runs, asked one request after the other."""

    def __init__(self, link: Link) -> None:
        self.link = link

    async def up(self, wanted: bool = True) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while self.link.up is not wanted:
                await asyncio.sleep(0)

    async def ask(
        self,
        pdu: bytes = READ,
        *,
        unit: int = 1,
        timeout_s: float = 0.3,
        retries: int = 0,
        priority: Priority = Priority.POLL,
    ) -> bytes | LinkError:
        told: asyncio.Future[bytes | LinkError] = asyncio.get_running_loop().create_future()

        def done(answer: bytes | None, error: LinkError | None) -> None:
            result = answer if error is None else error
            assert result is not None
            told.set_result(result)

        self.link.submit(Request(unit, pdu, timeout_s, retries, done, priority=priority))
        async with asyncio.timeout(DEADLINE_S):
            return await told


def with_link(
    dial: Dial | Sequence[Dial],
    case: Callable[[Peer], Coroutine[Any, Any, None]],
    *,
    run: Callable[[Coroutine[Any, Any, None]], None] = asyncio.run,
    **settings: Any,
) -> None:
    """Run `case` with a running link; the link ends with it and leaves no request untold. `run`: on which loop."""

    async def main() -> None:
        link = Link("link test", dial, Settings(**settings), LoopTime())
        running = asyncio.create_task(link.run())
        try:
            await case(Peer(link))
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        assert not link.up

    run(main())
