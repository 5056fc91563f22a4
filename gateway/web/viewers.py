"""Whoever watches: what waits for him, and what is done when he does not take it.

The rule: what is made is made once and shared, so a viewer costs the place of a pointer for each set that waits. Who
takes nothing loses all that waits and is told so (`resync`: load everything anew); he never holds up others, or memory.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from gateway.config.page import is_loopback

TOPICS: Final = ("state", "tags", "events", "clients")
MAX_VIEWERS = 64
"""Each is a connection, and a write five times a second."""
MAX_OF_ADDRESS = 16
"""A person with two browsers and many tabs, or a small terminal server: nobody alone takes every place."""
MAX_OF_LOOPBACK = 48
"""A reverse proxy on this machine brings everybody from there; who comes directly finds room all the same. One on
another machine is one address: it has MAX_OF_ADDRESS."""
MAX_SETS = 20
"""That wait for one viewer: four seconds."""
MAX_BYTES = 2 * 2**20
"""Of them together: a browser that is so far behind is faster when it loads everything."""
PING_S = 5.0
"""Nothing happens: both sides, and what lies between, must see that the other is there."""
PING = b"event: ping\ndata: {}\n\n"
RESYNC = b"event: resync\ndata: {}\n\n"
RETRY = b"retry: 2000\n\n"
"""How long a browser waits before it comes again."""


def share_of(address: str) -> int:
    """How many pages of one address may be open."""
    return MAX_OF_LOOPBACK if is_loopback(address) else MAX_OF_ADDRESS


def message(topic: str, data: bytes) -> bytes:
    """One event of the stream; `data` is JSON in one line."""
    return b"event: %s\ndata: %s\n\n" % (topic.encode(), data)


class Viewer:
    """One of them."""

    __slots__ = ("_is_lost", "_sets", "_size", "_wake", "address", "ended", "is_over", "resyncs", "session", "topics")

    def __init__(self, topics: frozenset[str], session: object, ended: Callable[[], bool], address: str = "") -> None:
        """`session`: of whom; None: nobody is asked. `ended()`: whether it is over. `address`: where it is, as what one
        person has of addresses (`network_of`)."""
        self.topics = topics
        self.address = address
        self.session = session
        self.ended = ended
        self.is_over = False
        self.resyncs = 0
        self._sets: deque[bytes] = deque()
        self._size = 0
        self._is_lost = False
        """It will load everything anew: nothing is kept for it until it has been told so."""
        self._wake = asyncio.Event()

    def put(self, data: bytes) -> None:
        """To be sent; `wake` lets it be."""
        if self._is_lost:
            return
        if len(self._sets) >= MAX_SETS or self._size + len(data) > MAX_BYTES:
            self._sets.clear()
            self._size = 0
            self._is_lost = True
            self.resyncs += 1
            return
        self._sets.append(data)
        self._size += len(data)

    @property
    def has_some(self) -> bool:
        return bool(self._sets) or self._is_lost

    def wake(self) -> None:
        self._wake.set()

    def close(self) -> None:
        """Its stream ends."""
        self.is_over = True
        self._wake.set()

    async def take(self, told_to_resync: Callable[[], None]) -> bytes:
        """What is to be sent next, or a ping; empty: nothing more. `told_to_resync()` is called when that is."""
        try:
            async with asyncio.timeout(PING_S):
                while not (self.has_some or self.is_over):
                    self._wake.clear()
                    await self._wake.wait()
        except TimeoutError:
            return PING
        if self.is_over:
            return b""
        if self._is_lost:
            self._is_lost = False
            told_to_resync()
            return RESYNC
        data = b"".join(self._sets) if len(self._sets) > 1 else self._sets[0]
        self._sets.clear()
        self._size = 0
        return data
