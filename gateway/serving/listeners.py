"""The listening sockets of a server: which there are, and how that changes while clients are connected.

The rule: a listener that stays is not touched, and when one cannot be opened all is as it was.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from gateway.config.urls import ListenUrl
from gateway.errors import ListenError
from gateway.serving.doors import Door
from gateway.serving.ports import listen_error

log = logging.getLogger(__name__)

End = tuple[ListenUrl, int]
"""Where to listen as it was asked for, and a number: port 0 may be asked for several times."""


class Listeners:
    """Those that are open."""

    def __init__(self, make: Callable[[Door], asyncio.Protocol]) -> None:
        """`make(door)` is the protocol of a new client."""
        self._make = make
        self._doors: dict[End, Door] = {}
        self._open: dict[End, asyncio.Server] = {}

    async def listen(self, doors: Iterable[Door], backlog: int) -> None:
        """Listen on these and no others. ListenError (what to do about it): all is as it was."""
        wanted: dict[End, Door] = {}
        for door in doors:
            wanted[door.url, sum(1 for url, _ in wanted if url == door.url)] = door
        leaving = [end for end in self._open if end not in wanted]
        names = [name for end in leaving for name in _names(self._open[end])]
        opened: list[End] = []
        for end in wanted:
            if end in self._open:
                continue
            # The system gives a port to one of 0.0.0.0 and 127.0.0.1 only: the one that leaves goes first.
            self._close(other for other in leaving if other[0].port == end[0].port != 0)
            try:
                await self._add(end, wanted[end], backlog)
            except OSError as error:
                self._close(opened)
                await self._bring_back(leaving, backlog)
                raise ListenError(listen_error(end[0].host, end[0].port, error)) from error
            opened.append(end)
        self._close(leaving)
        self._doors = wanted
        for name in names:
            log.info("no longer listening on %s", name)
        for end in opened:
            for name in _names(self._open[end]):
                log.info("listening on %s", name)

    def close(self) -> None:
        """All of them; clients stay."""
        self._close(list(self._open))

    async def _add(self, end: End, door: Door, backlog: int) -> None:
        url = door.url
        self._open[end] = await asyncio.get_running_loop().create_server(
            lambda: self._make(self._doors[end]), url.host or None, url.port, backlog=backlog
        )
        self._doors[end] = door

    def _close(self, ends: Iterable[End]) -> None:
        for end in ends:
            if end in self._open:
                self._open.pop(end).close()

    async def _bring_back(self, ends: Iterable[End], backlog: int) -> None:
        """Open again those that had made room."""
        for end in ends:
            if end not in self._open:
                try:
                    await self._add(end, self._doors[end], backlog)
                except OSError as error:
                    log.error("%s", listen_error(end[0].host, end[0].port, error))


def _names(listener: asyncio.Server) -> list[str]:
    """Where it listens: one URL for each of its sockets."""
    ends = [sock.getsockname()[:2] for sock in listener.sockets]
    return [f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}" for host, port in ends]
