"""The page as a part of the gateway: it opens, goes over to another configuration, and ends within a second.

The rule: it is never a reason for the gateway not to run, or to end. A port that is in use is an error line and is
tried again every RETRY_S; the line comes again when the reason is another one, and once an hour.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket

from gateway.config.model_web import Web
from gateway.config.page import WebUrl
from gateway.errors import TlsError
from gateway.systemd import NOTHING_HANDED_OVER, HandedOver, Place
from gateway.web.application import Application
from gateway.web.connections import Places
from gateway.web.desk import Desk
from gateway.web.listener import Context, Listener
from gateway.web.seams import Views

log = logging.getLogger(__name__)

RETRY_S = 10.0
TOLD_AGAIN_S = 3600.0
"""Of a reason that stays the same."""
CLOSE_S = 0.7
"""How long answers that are being made may take at the end."""


class Page:
    """One page; it opens nothing before `change`."""

    def __init__(self, views: Views, web: Web, handed_over: HandedOver = NOTHING_HANDED_OVER) -> None:
        """`handed_over`: sockets that are open already, used where one has the page's address."""
        self._handed_over = handed_over
        self.desk = Desk(views, web)
        self._places = Places(Application(self.desk))
        self._listener: Listener | None = None
        self._url: WebUrl | None = None
        """Where it listens, or wants to."""
        self._context: Context | None = None
        self._retry: asyncio.Task[None] | None = None
        self._told = ("", 0.0)

    async def change(self, web: Web, context: Context | None) -> None:
        """From now on this holds. Who is connected stays, but for what he may not do any more. `context`: of https."""
        self._context = context
        self.desk.configure(web)
        if web.listen == self._url:
            if self._listener is not None:
                self._listener.context = context
            return
        await self._stop_listening()
        self._url = web.listen
        if not await self._open():
            self._retry = asyncio.get_running_loop().create_task(self._open_later(), name="page")

    async def close(self) -> None:
        """Within a second, whatever is being answered."""
        self.desk.is_closing = True
        await self._stop_listening()
        self.desk.feed.end_all()
        await self._places.close(CLOSE_S)
        await self.desk.feed.close()

    @property
    def trouble(self) -> str:
        """Why it is not open although it should be; empty: nothing is wrong."""
        why, _ = self._told
        return f"the page at {self._url} is not open: {why}" if why else ""

    def snapshot(self) -> dict[str, int]:
        """What was counted since the start."""
        desk, places = self.desk, self._places
        return {
            "open": len(places.connected),
            **{key: places.counters[key] for key in ("connections", "refused", "evicted", "slow", "unfetched", "bad")},
            **{key: desk.counters[key] for key in ("requests", "foreign", "denied", "bugs")},
            "viewers": desk.feed.viewers,
            "sets": desk.feed.sets,
            "resyncs": desk.feed.resyncs,
            "viewers_refused": desk.feed.refused,
            "viewers_crowded": desk.feed.crowded,
            "sessions": len(desk.sessions),
            "logins": desk.sessions.logins,
            "failed_logins": desk.sessions.failures,
        }

    # -- listening --------------------------------------------------------------------------------------------------

    async def _open(self) -> bool:
        url = self._url
        assert url is not None
        context = self._context if url.scheme == "https" else None
        try:
            taken = await self._handed_over.take(Place(url.host, url.port, socket.SOCK_STREAM, str(url)))
            self._listener = await Listener.open(self._places, url, context, taken)
        except (OSError, TlsError) as error:
            self._tell(_why(error, url), asyncio.get_running_loop().time())
            return False
        self._told = ("", 0.0)
        for host, port in self._listener.ends:
            log.info("the page is at %s", WebUrl(url.scheme, host, port))
        return True

    def _tell(self, why: str, now_s: float) -> None:
        before, told_s = self._told
        if why != before or now_s - told_s >= TOLD_AGAIN_S:
            self._told = (why, now_s)
            log.error(
                "cannot open the page at %s: %s; tried again every %g s, the gateway runs without it",
                self._url,
                why,
                RETRY_S,
            )

    async def _open_later(self) -> None:
        while True:
            await asyncio.sleep(RETRY_S)
            if await self._open():
                self._retry = None
                return

    async def _stop_listening(self) -> None:
        retry, self._retry = self._retry, None
        if retry is not None:
            retry.cancel()
            await asyncio.gather(retry, return_exceptions=True)
        listener, self._listener = self._listener, None
        if listener is not None:
            ends = listener.ends
            await listener.close()
            assert self._url is not None
            for host, port in ends:  # as they were told when it opened: the configuration may say port 0
                log.info("the page is no longer at %s", WebUrl(self._url.scheme, host, port))
        self._url = None


def _why(error: OSError | TlsError, url: WebUrl) -> str:
    """What to do about it, too."""
    if not isinstance(error, OSError):
        return str(error)
    if error.errno == errno.EADDRINUSE:
        return "the port is in use; stop the program that has it, or write another one at `web.listen`"
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            "ports below 1024 need a privilege; write a higher one, or give it to the service (systemd: "
            "AmbientCapabilities=CAP_NET_BIND_SERVICE)"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"this machine has no address {url.host}"
    return str(error.strerror or error)
