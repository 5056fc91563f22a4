"""The listening sockets of a server: which there are, and how that changes while clients are connected.

The rule: a listener that stays is not touched, and when one cannot be opened all is as it was.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from gateway.errors import ListenError
from gateway.serving.ports import listen_error

log = logging.getLogger(__name__)

End = tuple[str, int, int]
"""Host and port as they were asked for, and a number: port 0 may be asked for several times."""


class Address(Protocol):
    """Where to listen."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...


class Listeners:
    """Those that are open."""

    def __init__(self, make: Callable[[], asyncio.Protocol]) -> None:
        """`make()` is the protocol of a new client."""
        self._make = make
        self._open: dict[End, asyncio.Server] = {}

    async def listen(self, addresses: Iterable[Address], backlog: int) -> None:
        """Listen on these and no others. ListenError (what to do about it): all is as it was."""
        wanted: list[End] = []
        for address in addresses:
            same = sum(1 for host, port, _ in wanted if (host, port) == (address.host, address.port))
            wanted.append((address.host, address.port, same))
        leaving = [end for end in self._open if end not in wanted]
        names = [name for end in leaving for name in _names(self._open[end])]
        opened: list[End] = []
        for end in wanted:
            if end in self._open:
                continue
            # The system gives a port to one of 0.0.0.0 and 127.0.0.1 only: the one that leaves goes first.
            self._close(other for other in leaving if other[1] == end[1] != 0)
            try:
                await self._add(end, backlog)
            except OSError as error:
                self._close(opened)
                await self._bring_back(leaving, backlog)
                raise ListenError(listen_error(end[0], end[1], error)) from error
            opened.append(end)
        self._close(leaving)
        for name in names:
            log.info("no longer listening on %s", name)
        for end in opened:
            for name in _names(self._open[end]):
                log.info("listening on %s", name)

    def close(self) -> None:
        """All of them; clients stay."""
        self._close(list(self._open))

    async def _add(self, end: End, backlog: int) -> None:
        host, port, _ = end
        self._open[end] = await asyncio.get_running_loop().create_server(
            self._make, host or None, port, backlog=backlog
        )

    def _close(self, ends: Iterable[End]) -> None:
        for end in ends:
            if end in self._open:
                self._open.pop(end).close()

    async def _bring_back(self, ends: Iterable[End], backlog: int) -> None:
        """Open again those that had made room."""
        for end in ends:
            if end not in self._open:
                try:
                    await self._add(end, backlog)
                except OSError as error:
                    log.error("%s", listen_error(end[0], end[1], error))


def _names(listener: asyncio.Server) -> list[str]:
    """Where it listens: one URL for each of its sockets."""
    ends = [sock.getsockname()[:2] for sock in listener.sockets]
    return [f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}" for host, port in ends]
