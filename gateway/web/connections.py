"""Browsers' connections: how many there may be, how long each may take, and uvicorn's HTTP on them.

The rule: a place belongs to whoever asks something. A connection that waits (nothing sent yet, half a request, kept for
a next one) makes room for a newcomer when all places are taken, the oldest of the address that has most first; so slow
senders cost only each other. uvicorn itself has no limit for the time in which a request must come, nor for an answer
that nobody fetches: one look a second at all connections finds both. Its server is not used: it has signal handlers,
a clock of ten beats a second and an end of its own; ours opens sockets as any other listener here does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

MAX_CONNECTIONS = 256
"""Forty browsers with six connections each."""
MAX_PER_ADDRESS = 128
"""A terminal server or a proxy with many browsers behind it. Half of all: nobody alone takes every place."""
MAX_HEAD = 16 * 1024
"""Bytes of a request's line and headers; browsers send one or two thousand."""
PIECE = 4 * 1024
"""Bytes given to h11 at once: it judges the size of what is not complete yet, and uvloop reads 256 KiB at once."""
REQUEST_S = 10.0
"""From the connection, or from a request's first byte, to its last."""
KEEP_S = 60
"""How long a connection is kept for a next request."""
UNFETCHED_S = 15.0
"""How long a browser may leave an answer, or what a stream tells it, where it is."""
ANSWER_S = 120.0
"""To fetch one answer; a stream may last."""
LOOK_S = 1.0
READ_SIZE = 16 * 1024


class Place(Protocol):
    """Whoever has one of the places."""

    since_s: float
    """What it does now it has done since then."""

    @property
    def is_waiting(self) -> bool:
        """Whether nothing that was asked for would be lost with it."""
        ...

    def overdue(self, now_s: float) -> str | None:
        """Why it must go; None: it need not."""
        ...

    def finish(self) -> None:
        """Close when the answer that is being made has left."""
        ...

    def abort(self) -> None: ...


class Places:
    """All connections of the page."""

    def __init__(self, app: Any) -> None:
        """`app`: what answers, in ASGI's terms. `scope["state"]["connection"]` is the connection."""
        self.config = Config(
            app,
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            interface="asgi3",
            timeout_keep_alive=KEEP_S,
            h11_max_incomplete_event_size=MAX_HEAD,
        )
        self.config.load()
        self.state = ServerState()
        self.connected: dict[Place, str] = {}
        """With the address of each."""
        self.counters: Counter[str] = Counter()
        """connections, refused, evicted (made room), slow, unfetched, bad (no HTTP)."""
        self.is_closing = False
        self._per_address: Counter[str] = Counter()
        self._left = asyncio.Event()
        """Set when one went."""
        self._next_look: asyncio.TimerHandle | None = None

    def enter(self, newcomer: Place, address: str) -> bool:
        """It has a place now; False: there is none."""
        self.counters["connections"] += 1
        if self.is_closing or not self._has_room(address):
            self.counters["refused"] += 1
            return False
        self.connected[newcomer] = address
        self._per_address[address] += 1
        if self._next_look is None:
            self._next_look = asyncio.get_running_loop().call_later(LOOK_S, self._look)
        return True

    def hand_over(self, newcomer: Place, connection: Connection) -> bool:
        """What it was is known now; False: it has lost its place meanwhile."""
        address = self.connected.pop(newcomer, None)
        if address is None:
            return False
        self.connected[connection] = address
        return True

    def leave(self, connection: Place) -> None:
        """Harmless when it has no place."""
        address = self.connected.pop(connection, None)
        if address is not None:
            self._left.set()
            self._per_address[address] -= 1
            if not self._per_address[address]:
                del self._per_address[address]

    def _has_room(self, address: str) -> bool:
        if self._per_address[address] >= MAX_PER_ADDRESS:
            return self._make_room(address)
        if len(self.connected) >= MAX_CONNECTIONS:
            (most, _), *_ = self._per_address.most_common(1)
            return self._make_room(most)
        return True

    def _make_room(self, address: str) -> bool:
        """The one of this address that has waited longest goes."""
        waiting = [each for each, of in self.connected.items() if of == address and each.is_waiting]
        if not waiting:
            return False
        self.counters["evicted"] += 1
        oldest = min(waiting, key=lambda each: each.since_s)
        self.leave(oldest)
        oldest.abort()
        return True

    def _look(self) -> None:
        """Who takes too long must go."""
        now_s = asyncio.get_running_loop().time()
        for connection in list(self.connected):
            if (why := connection.overdue(now_s)) is not None:
                self.counters[why] += 1
                connection.abort()
        self._next_look = asyncio.get_running_loop().call_later(LOOK_S, self._look) if self.connected else None

    async def close(self, within_s: float) -> None:
        """Answers that are being made may leave; then all connections are closed."""
        self.is_closing = True
        for connection in list(self.connected):
            connection.finish()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                if self.state.tasks:
                    await asyncio.wait(self.state.tasks)
                while self.connected:
                    self._left.clear()
                    await self._left.wait()
        for connection in list(self.connected):
            connection.abort()
        tasks = list(self.state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._next_look is not None:
            self._next_look.cancel()
            self._next_look = None


class Connection(H11Protocol):
    """One of them, in plain HTTP or behind TLS."""

    def __init__(self, places: Places, newcomer: Place) -> None:
        """`newcomer` has its place until it is made."""
        super().__init__(places.config, places.state, {"connection": self})
        self._places = places
        self._newcomer = newcomer
        self.since_s = 0.0
        """When the request that is waited for, or answered, began; when the last one was over."""
        self.is_stream = False
        """Its answer has no end of its own."""
        self._has_asked = False
        self._has_part = False
        """A part of a request's head has come."""
        self._unfetched = 0
        self._unfetched_since_s = 0.0
        self._when_lost: Callable[[], None] | None = None

    # -- asyncio ----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.since_s = self.loop.time()
        self.transport = transport
        if not self._places.hand_over(self._newcomer, self):
            transport.abort()
            return
        if hasattr(transport, "max_size"):
            transport.max_size = READ_SIZE  # plain asyncio would take 256 KiB for every read
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self.flow is None or self.transport.is_closing():
            return  # it was refused
        if self.conn.their_state is h11.IDLE and not self._has_part:
            self.since_s = self.loop.time()
        for at in range(0, len(data), PIECE):
            super().data_received(data[at : at + PIECE])
            if self.transport.is_closing():
                return
        self._has_part = bool(self.conn.trailing_data[0])

    def connection_lost(self, exc: Exception | None) -> None:
        self._places.leave(self)
        if self.flow is not None:
            super().connection_lost(exc)
        if self._when_lost is not None:
            when_lost, self._when_lost = self._when_lost, None
            when_lost()

    # -- uvicorn ----------------------------------------------------------------------------------------------------

    def send_400_response(self, msg: str) -> None:
        self._places.counters["bad"] += 1
        if self.cycle is not None and not self.cycle.response_complete:  # the body went wrong while it was answered
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()

    def on_response_complete(self) -> None:
        self._has_asked = True
        self.since_s = self.loop.time()
        if self.conn.their_state is h11.SEND_BODY:  # who was refused need not send the rest
            self.transport.close()
        super().on_response_complete()

    # -- ours -------------------------------------------------------------------------------------------------------

    def when_lost(self, callback: Callable[[], None]) -> None:
        """Call it once, when the connection is gone."""
        self._when_lost = callback

    @property
    def is_waiting(self) -> bool:
        return self.conn.their_state in (h11.IDLE, h11.SEND_BODY) and not self._is_answering

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete

    def overdue(self, now_s: float) -> str | None:
        unfetched = self.transport.get_write_buffer_size()
        if not unfetched or unfetched != self._unfetched:
            self._unfetched, self._unfetched_since_s = unfetched, now_s
        elif now_s - self._unfetched_since_s > UNFETCHED_S:
            return "unfetched"
        age_s = now_s - self.since_s
        if self.is_waiting:
            is_kept = self._has_asked and not self._has_part and self.conn.their_state is h11.IDLE
            return "slow" if age_s > REQUEST_S and not is_kept else None
        return "unfetched" if self._is_answering and not self.is_stream and age_s > ANSWER_S else None

    def finish(self) -> None:
        """A stream is ended by whoever feeds it."""
        if self.transport.is_closing():
            return
        self.shutdown()

    def abort(self) -> None:
        self.transport.abort()
