"""Where clients may come from: sockets that accept, sockets that take datagrams, serial ports.

The rule: a listener that stays is not touched, whatever else of its door changes, and when one cannot be opened all is
as it was. Who opens a carrier stands in one table, and gives back what can be closed again; clients are not its affair.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol

from gateway.config.urls import Carrier, ListenUrl
from gateway.errors import ListenError
from gateway.front.access import Access
from gateway.serving.doors import Door
from gateway.serving.ports import listen_error
from gateway.systemd import NOTHING_HANDED_OVER, HandedOver, Place

log = logging.getLogger(__name__)

ACCEPTED_PER_TURN = 16
"""uvloop accepts one client a turn for each listening socket it knows: a thousand that connect at once, while others
keep it busy, would wait for ten seconds. So it knows each socket so many times."""

End = tuple[ListenUrl, int]
"""Where to listen as it was asked for, and a number: port 0 may be asked for several times."""


class Opened(Protocol):
    """A listener that is open."""

    @property
    def names(self) -> Sequence[str]:
        """Where it listens: one URL for each of its sockets. Empty: it tells the log itself."""
        ...

    def stop(self) -> None:
        """Take nothing more; answers that are still to come may leave."""
        ...

    async def drained(self) -> None:
        """After `stop`: until they have left, of clients that are not connected."""
        ...

    def close(self) -> None:
        """At once. Clients that are connected stay."""
        ...


Opener = Callable[[Door, int], Awaitable[Opened]]
"""Opens what a door says, with so long a backlog; OSError when it cannot."""


class Listeners:
    """Those that are open."""

    def __init__(self, openers: Mapping[Carrier, Opener]) -> None:
        self._openers = openers
        self._doors: dict[End, Door] = {}
        self._open: dict[End, Opened] = {}

    async def listen(self, doors: Iterable[Door], backlog: int) -> None:
        """Listen on these and no others. ListenError (what to do about it): all is as it was."""
        wanted: dict[End, Door] = {}
        for door in doors:
            wanted[door.url, sum(1 for url, _ in wanted if url == door.url)] = door
        leaving = [end for end in self._open if end not in wanted]
        names = [name for end in leaving for name in self._names(end)]
        opened: list[End] = []
        for end in wanted:
            if end in self._open:
                continue
            # The system gives a port to one of 0.0.0.0 and 127.0.0.1 only: the one that leaves goes first.
            self._close(other for other in leaving if _stands_in_the_way(other[0], end[0]))
            try:
                await self._add(end, wanted[end], backlog)
            except OSError as error:
                self._close(opened)
                for other in opened:
                    del self._doors[other]
                await self._bring_back(leaving, backlog)
                raise ListenError(listen_error(end[0], error)) from error
            opened.append(end)
        self._close(leaving)
        for end in leaving:
            door = self._doors.pop(end)
            if door.access is not None:  # who came in by its rules may do nothing without it; else they stay
                door.access = Access(())
        for end, door in wanted.items():
            self._doors[end].change(door)
        for name in names:
            log.info("no longer listening on %s", name)
        for end in opened:
            for name in self._open[end].names:
                log.info("listening on %s", name)

    @property
    def opened(self) -> Iterable[Opened]:
        """Those that are open."""
        return self._open.values()

    def stop(self) -> None:
        """Take nothing more on any of them; clients stay."""
        for listener in self._open.values():
            listener.stop()

    async def drained(self, deadline_s: float) -> None:
        """After `stop`: until the answers to clients without a connection have left, or at the deadline."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline_s), asyncio.TaskGroup() as group:
                for listener in self._open.values():
                    group.create_task(listener.drained())

    def close(self) -> None:
        """All of them; clients stay."""
        self._close(list(self._open))

    async def _add(self, end: End, door: Door, backlog: int) -> None:
        self._open[end] = await self._openers[door.url.carrier](door, backlog)
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
                    log.error("%s", listen_error(end[0], error))

    def _names(self, end: End) -> Sequence[str]:
        return self._open[end].names or [str(end[0])]


class Accepting:
    """A listener whose clients connect: TCP, and TLS on it."""

    def __init__(self, scheme: str, servers: Sequence[asyncio.Server]) -> None:
        """`servers`: one for each socket or all of them; it takes more of them later that share these."""
        self._servers = servers
        self.names = [name_of(scheme, sock.getsockname()) for server in servers for sock in server.sockets]

    @classmethod
    async def open(
        cls,
        make: Callable[[], asyncio.Protocol],
        door: Door,
        backlog: int,
        handed_over: HandedOver = NOTHING_HANDED_OVER,
    ) -> Accepting:
        """`make()` is the protocol of a new client. What was handed over for this place is listened on."""
        url = door.url
        loop = asyncio.get_running_loop()
        servers: list[asyncio.Server] = []
        handed = await handed_over.take(place_of(url))
        try:
            for sock in handed:
                servers.append(await loop.create_server(make, sock=sock, backlog=backlog))
        except BaseException:
            for sock in handed[len(servers) :]:
                sock.close()
            for server in servers:
                server.close()
            raise
        if not servers:
            servers = [await loop.create_server(make, url.host or None, url.port, backlog=backlog)]
        accepting = cls(url.scheme, servers)
        if isinstance(loop, asyncio.BaseEventLoop):  # accepts all who wait
            return accepting
        try:
            for sock in [sock for server in servers for sock in server.sockets]:
                for _ in range(ACCEPTED_PER_TURN - 1):
                    same = socket.fromfd(sock.fileno(), sock.family, sock.type)
                    servers.append(await loop.create_server(make, sock=same, backlog=backlog))
        except BaseException:
            accepting.close()
            raise
        return accepting

    def stop(self) -> None:
        self.close()

    async def drained(self) -> None:
        """Who is connected is not waited for here."""

    def close(self) -> None:
        for server in self._servers:
            server.close()


def name_of(scheme: str, end: tuple[object, ...]) -> str:
    """The URL of a socket's end."""
    host, port = str(end[0]), end[1]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def place_of(url: ListenUrl) -> Place:
    """Where a url of TCP, TLS or UDP wants to listen."""
    return Place(url.host, url.port, socket.SOCK_DGRAM if url.carrier == "udp" else socket.SOCK_STREAM, str(url))


def _stands_in_the_way(old: ListenUrl, new: ListenUrl) -> bool:
    """Whether both may want the same port."""
    if "serial" in (old.carrier, new.carrier):
        return old.path == new.path
    return old.port == new.port != 0 and (old.carrier == "udp") == (new.carrier == "udp")
