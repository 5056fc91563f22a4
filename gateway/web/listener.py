"""Where browsers come in: sockets that accept, TLS behind them, a place for each before anything is done for him.

The rule: who has no place has no socket either. asyncio's own way of listening with TLS shows a connection when the
handshake is done; before that there may be as many as the system has sockets, which Modbus clients need as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
import sys
from collections.abc import Callable, Iterable, Sequence

from gateway.config.page import WebUrl
from gateway.errors import TlsError
from gateway.keepalive import set_keepalive
from gateway.web.connections import Connection, Places

log = logging.getLogger(__name__)

HANDSHAKE_S = 10.0
SHUTDOWN_S = 1.0
"""Of TLS: how long its farewell may take."""
SEND_BUFFER = 128 * 1024
"""Of the system, for each connection; by itself it takes megabytes for a browser that does not read."""
KEEPALIVE_S = 15.0
DEAD_S = 30.0
"""A browser whose cable was pulled says nothing: so long what we send may stay without an acknowledgement. The system
alone would keep its place for a quarter of an hour."""
BACKLOG = 128
PAUSE_S = 1.0
"""After the system refused a socket (there are too many open files)."""

Context = Callable[[], ssl.SSLContext]
"""The TLS context for a connection that comes now. TlsError: there is none."""


class Listener:
    """The sockets of one address."""

    def __init__(self, places: Places, sockets: list[socket.socket], context: Context | None) -> None:
        self._places = places
        self._sockets = sockets
        self.context = context
        self._tasks = [
            asyncio.get_running_loop().create_task(self._accept(sock), name="the page accepts") for sock in sockets
        ]

    @classmethod
    async def open(
        cls, places: Places, url: WebUrl, context: Context | None, taken: Sequence[socket.socket] = ()
    ) -> Listener:
        """OSError, TlsError: it cannot be. `context`: of https; `taken`: sockets that are open for it already."""
        sockets = list(taken)
        try:
            if context is not None:
                context()
            sockets = sockets or await _opened(url)
            for sock in sockets:
                sock.setblocking(False)
        except BaseException:
            _close(sockets)
            raise
        return cls(places, sockets, context)

    @property
    def ends(self) -> list[tuple[str, int]]:
        """Host and port of each socket."""
        return [sock.getsockname()[:2] for sock in self._sockets]

    async def close(self) -> None:
        """Who is connected stays."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        _close(self._sockets)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, address = await loop.sock_accept(listening)
            except OSError as error:
                log.warning("the page cannot take a connection: %s", error.strerror or error)
                await asyncio.sleep(PAUSE_S)
                continue
            sock.setblocking(False)
            newcomer = Newcomer(self._places, sock)
            if self._places.enter(newcomer, str(address[0])):
                newcomer.come_in(self.context)
            else:
                sock.close()


async def _opened(url: WebUrl) -> list[socket.socket]:
    """One for each of its addresses that this machine has: `localhost` may have one that it lacks."""
    infos = await asyncio.get_running_loop().getaddrinfo(
        url.host, url.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    lacking: OSError | None = None
    try:
        for family, kind, protocol, _, address in dict.fromkeys(infos):
            try:
                sockets.append(_listening(family, kind, protocol, address))
            except OSError as error:
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                lacking = error
    except BaseException:
        _close(sockets)
        raise
    if not sockets and lacking is not None:
        raise lacking
    return sockets


def _close(sockets: Iterable[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


def _listening(family: int, kind: int, protocol: int, address: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    try:
        if sys.platform != "win32":  # there it would let others have the port, too
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


class Newcomer:
    """A connection until it is known who is there: over TLS, as long as the handshake takes."""

    is_waiting = True

    def __init__(self, places: Places, sock: socket.socket) -> None:
        self.since_s = asyncio.get_running_loop().time()
        self._places = places
        self._sock = sock
        self._task: asyncio.Task[None] | None = None

    def come_in(self, context: Context | None) -> None:
        with contextlib.suppress(OSError):  # it may be gone already
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            set_keepalive(self._sock, KEEPALIVE_S)
            if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
                self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(DEAD_S * 1000))
        self._task = asyncio.get_running_loop().create_task(self._come_in(context), name="a browser comes in")

    async def _come_in(self, context: Context | None) -> None:
        connection = Connection(self._places, self)
        loop = asyncio.get_running_loop()
        try:
            if context is None:
                await loop.connect_accepted_socket(lambda: connection, self._sock)
            else:
                await loop.connect_accepted_socket(
                    lambda: connection,
                    self._sock,
                    ssl=context(),
                    ssl_handshake_timeout=HANDSHAKE_S,
                    ssl_shutdown_timeout=SHUTDOWN_S,
                )
        except (OSError, TlsError) as error:
            self._places.counters["bad"] += 1
            log.debug("a browser did not come in: %s", error)
            self._sock.close()
        except BaseException:
            self._sock.close()
            raise
        finally:
            self._places.leave(self)

    def overdue(self, now_s: float) -> str | None:
        return "slow" if now_s - self.since_s > HANDSHAKE_S else None

    def finish(self) -> None:
        self.abort()

    def abort(self) -> None:
        if self._task is not None:
            self._task.cancel()
