"""Devices that dial in: the ports that we listen on for them, and how a connection finds its link.

A link that is written `listen+tcp://HOST:PORT?id=...` has a seat at that port; its dial waits until the device is
there. Where any link of a port has an id, a device must first send its own: the exact bytes, in ID_TIMEOUT_S. Who sends
something else, or nothing, gets the link of that port that has no id, if there is one, or is closed.

Somebody may dial in while the link has its device. Who sends the id is the device: it dials again because its old
connection is dead, and we may not know it yet. It gets its place at once, or its next request, perhaps a write, would
go to nobody. Who has not said who he is may be anybody, a port scan for one: he waits, and gets the place when the
connection that is there ends, or does not answer (`dialled`): a device that lost its power without a word is back after
a time-out. One waits, the newest: most likely the one that is alive. Where nothing is asked for long, he would wait as
long: so when the old one has not answered for RECENT_S, it is asked once more what the link has read before. A
connection that works is never ended unasked; where nothing was ever read, the next request of anybody decides.

The rule: a port is open as long as a link has a seat at it, and a moment longer, so that a reload shuts no device out.
One that cannot be opened is the trouble of its links, tried again, not the end of the gateway. Whoever knows an id can
take its device's place: an id is a name and no secret. Where that matters, the port belongs into a VPN.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Iterable
from typing import Any, Protocol, cast, runtime_checkable

from gateway.errors import LinkError
from gateway.interfaces import Request
from gateway.keepalive import set_keepalive
from gateway.repeat import Repeats
from gateway.southbound import dialled
from gateway.southbound.dialled import FramedDialledIn, MbapDialledIn
from gateway.southbound.seams import Owner

log = logging.getLogger(__name__)

ID_TIMEOUT_S = 10.0
"""A cellular device sends its id with its first packet; that packet may be lost and sent again."""
MAX_STRANGERS = 32
"""Connections of a port that have not said who they are; one more, and the oldest is closed."""
MAX_LINES = 10
"""Lines in a minute about connections that were closed, of all ports together."""
LINGER_S = 1.0
"""So long a port without a link stays open: the next configuration may have one."""
READ_SIZE = 4096
"""Plain asyncio would take a 256 KiB buffer for every read."""
_SHOWN_SIZE = 64
"""Bytes of what a stranger sent, told in the log."""

Carrier = MbapDialledIn | FramedDialledIn


@runtime_checkable
class Asker(Protocol):
    """What a link can beside what every owner can: a connection that does not answer it must be found out."""

    last_read: Request | None
    """A read that was answered."""

    def submit(self, request: Request) -> None: ...


class Counters:
    """What happened at all ports together since the start."""

    __slots__ = ("calls", "crowded", "replaced", "silent", "unknown", "waited")

    def __init__(self) -> None:
        self.calls = 0
        """Connections that came."""
        self.unknown = 0
        """Closed: what they sent is no id that a link has."""
        self.silent = 0
        """Closed: they sent none in time."""
        self.crowded = 0
        """Closed: too many were there that had not sent an id."""
        self.replaced = 0
        """Closed: the device has dialled in again, or what waited for the place of another was not the last to."""
        self.waited = 0
        """Had to wait: they have no id, and the link had its device."""

    def snapshot(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in self.__slots__}


class DialIn:
    """All ports that devices dial in to."""

    def __init__(self) -> None:
        self.counters = Counters()
        self._ports: dict[tuple[str, int], _Port] = {}
        self._lines = Repeats(MAX_LINES)

    def dialler(
        self, host: str, port: int, framing: str, device_id: bytes, keepalive_s: float, turnaround_s: float
    ) -> DeviceSeat:
        """What a link dials with. Opens nothing yet. `framing`: `mbap`, `rtu` or `ascii`; `device_id` empty: any;
        `turnaround_s`: how long units get after a broadcast."""
        at = self._ports.get((host, port))
        if at is None:
            at = self._ports[host, port] = _Port(self, host, port)
        return DeviceSeat(at, framing, device_id, keepalive_s, turnaround_s)

    def close(self) -> None:
        """Close every port, after the links have ended: one that dials opens its port again."""
        for port in self._ports.values():
            port.close()

    def say(self, what: str, peer: str, message: str, *values: object) -> None:
        """One line about a connection that was closed; of a kind and host only now and then."""
        more = self._lines.more((what, peer), asyncio.get_running_loop().time())
        if more is not None:
            log.warning(message + "%s", *values, more)


class DeviceSeat:
    """The place of one link at a port: its dial (seams.Dial, seams.Seat)."""

    def __init__(self, port: _Port, framing: str, device_id: bytes, keepalive_s: float, turnaround_s: float) -> None:
        self.id = device_id
        self._port = port
        self._framing = framing
        self._keepalive_s = keepalive_s
        self._turnaround_s = turnaround_s
        self._came: _Visitor | None = None
        """The device is there, and the link has not taken it yet: it may have another."""
        self._carrier: Carrier | None = None
        """What the link was given last."""
        self._waiting: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        """Somebody waits for the place: when to look whether it is free."""

    @property
    def is_waited_for(self) -> bool:
        """The link waits for its device."""
        return self._waiting is not None

    async def __call__(self, owner: Owner) -> Carrier:
        await self._port.enter(self)
        while (visitor := self._came) is None or visitor.is_gone:
            self._came = None
            owner.waits(f"waiting for the device to dial in to {self._port}{_with(self.id)}")
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        self._came = None
        self._stop_timer()
        if visitor.has_waited:
            host, at = visitor.peer
            self._port.say(
                "took", host, "%s: %s:%s has the place of one that ended or did not answer", self._port, host, at
            )
        name = f"{self._port}{_with(self.id)}"
        if self._framing == "mbap":
            self._carrier = MbapDialledIn(owner, self.id)
        else:
            self._carrier = FramedDialledIn(owner, self._framing, self.id, name, self._turnaround_s)
        visitor.hand_over(self._carrier)
        return self._carrier

    def take(self, visitor: _Visitor) -> None:
        """Its device is there. With its id: the connection that it had is dead, whatever it looks like. Without: that
        one stays as long as it works."""
        before, self._came = self._came, visitor
        port = self._port
        if before is not None and not before.is_gone:
            port.counters.replaced += 1
            before.close()
        visitor.keep_alive(self._keepalive_s)
        carrier = self._carrier
        if carrier is not None and not carrier.closed:
            if not self.id:
                port.counters.waited += 1
                visitor.has_waited = True
                host, at = visitor.peer
                port.say("waits", host, "%s: %s:%s waits: there is a device already", port, host, at)
                visitor.since_s = asyncio.get_running_loop().time()
                self._look()
                return
            self._carrier = None
            port.counters.replaced += 1
            carrier.owner.lost(carrier, ConnectionResetError("it has dialled in again"))
            carrier.close()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _look(self) -> None:
        """Somebody waits for the place: is it free?"""
        self._stop_timer()
        carrier, visitor = self._carrier, self._came
        if carrier is None or carrier.closed or visitor is None or visitor.is_gone:
            return
        carrier.hurry(True)
        patience = carrier.patience
        if not carrier.stays:
            if not carrier.is_out:  # it had its time-out; else its time-out is waited for
                carrier.owner.broken("it did not answer, and another device has dialled in")
                carrier.close()
        elif patience.answered_s > visitor.since_s:
            pass  # it works; should it end later, the next request finds out
        elif (recent_s := patience.recent_s()) > 0:
            self._look_in(recent_s)
        elif not carrier.is_out:
            self._ask(carrier)
        else:
            self._look_in(dialled.RECENT_S)

    def _ask(self, carrier: Carrier) -> None:
        """The old connection, over its link: what was answered before. The time-out, or the answer, does the rest."""
        link = carrier.owner
        if not isinstance(link, Asker) or (read := link.last_read) is None:
            return

        def done(answer: bytes | None, error: LinkError | None) -> None:
            if not question.attempts and self._carrier is carrier and not carrier.closed:
                self._look_in(dialled.RECENT_S)  # it was not sent

        question = Request(read.unit_id, read.pdu, read.timeout_s, 0, done, read.quirks)
        link.submit(question)

    def _look_in(self, delay_s: float) -> None:
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._look)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def forget(self, visitor: _Visitor) -> None:
        """That connection ended before the link took it."""
        if self._came is visitor:
            self._came = None
            self._stop_timer()
            if self._carrier is not None and not self._carrier.closed:
                self._carrier.hurry(False)

    def leave(self) -> None:
        """The link dials no more."""
        self._stop_timer()
        if self._came is not None:
            self._came.close()
            self._came = None
        self._port.leave(self)


class _Port:
    """One port that we listen on, or will."""

    def __init__(self, dial_in: DialIn, host: str, port: int) -> None:
        self.counters = dial_in.counters
        self.say = dial_in.say
        self.strangers: dict[_Visitor, None] = {}
        """Who has not said yet who he is; the oldest first."""
        self._host = host
        self._port = port
        self._seats: list[DeviceSeat] = []
        self._server: asyncio.Server | None = None
        self._opening = asyncio.Lock()
        self._linger: asyncio.TimerHandle | None = None

    def __str__(self) -> str:
        return f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"

    async def enter(self, seat: DeviceSeat) -> None:
        """Listen for the device of this seat. OSError: the port cannot be opened."""
        if seat not in self._seats:
            self._seats.append(seat)
        async with self._opening:
            if self._server is None:
                try:
                    self._server = await asyncio.get_running_loop().create_server(
                        lambda: _Visitor(self), self._host, self._port
                    )
                except OSError as error:
                    raise OSError(f"cannot listen for the device: {self}: {_why(error)}") from error
                log.info("listening on %s for devices that dial in", self)

    def leave(self, seat: DeviceSeat) -> None:
        """Nobody listens for the device of this seat any more."""
        if seat in self._seats:
            self._seats.remove(seat)
        if not self._seats and self._linger is None:
            self._linger = asyncio.get_running_loop().call_later(LINGER_S, self._close_unused)

    def _close_unused(self) -> None:
        self._linger = None
        if not self._seats and self._server is not None:
            log.info("no link listens on %s any more: closed", self)
            self.close()

    def close(self) -> None:
        """No longer, whoever has a seat."""
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        if self._server is not None:
            self._server.close()
            self._server = None
        for visitor in list(self.strangers):
            visitor.close()

    @property
    def has_seats(self) -> bool:
        """A link listens here."""
        return bool(self._seats)

    @property
    def ids(self) -> list[bytes]:
        """Those that a device may send."""
        return [seat.id for seat in self._seats if seat.id]

    def seat(self, device_id: bytes) -> DeviceSeat | None:
        """Whose device this is; empty: that of a link without an id, of several the one that waits."""
        found = [seat for seat in self._seats if seat.id == device_id]
        return max(found, key=lambda seat: seat.is_waited_for, default=None)


class _Visitor(asyncio.Protocol):
    """A connection until a link takes it: who is it?"""

    def __init__(self, port: _Port) -> None:
        self._port = port
        self._transport: asyncio.Transport | None = None
        self.peer = ("?", 0)
        self._came = b""
        """What it has sent: of its id, and later what came behind it."""
        self._timer: asyncio.TimerHandle | None = None
        self._seat: DeviceSeat | None = None
        self.has_waited = False
        """For the place of another."""
        self.since_s = 0.0
        """Since then."""

    @property
    def is_gone(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if hasattr(transport, "max_size"):
            transport.max_size = READ_SIZE
        self.peer = (transport.get_extra_info("peername") or self.peer)[:2]
        port = self._port
        port.counters.calls += 1
        if not port.has_seats:  # it lingers
            self.close()
            return
        if not port.ids:
            self._sit(b"", b"")
            return
        port.strangers[self] = None
        self._timer = asyncio.get_running_loop().call_later(ID_TIMEOUT_S, self._decide, True)
        if len(port.strangers) > MAX_STRANGERS:
            port.counters.crowded += 1
            oldest = next(iter(port.strangers))
            oldest.close()
            port.say("crowd", "", "%s: over %d connections have sent no id: the oldest are closed", port, MAX_STRANGERS)

    def data_received(self, data: bytes) -> None:
        self._came += data
        if self._seat is None:
            self._decide(False)
        elif len(self._came) > READ_SIZE:  # nobody has asked for any of it
            self.close()

    def _decide(self, is_all: bool) -> None:
        """Who it is, if that can be told; `is_all`: its time is over."""
        found = whose(self._came, self._port.ids, is_all=is_all)
        if found is not None:
            self._sit(found, self._came[len(found) :] if found else b"")

    def _sit(self, device_id: bytes, rest: bytes) -> None:
        """`rest` belongs to the stream."""
        self._no_stranger()
        port, transport = self._port, self._transport
        if transport is None or transport.is_closing():
            return
        seat = port.seat(device_id)
        host = str(self.peer[0])
        if seat is None:
            peer = f"{host}:{self.peer[1]}"
            if self._came:
                port.counters.unknown += 1
                sent = shown(self._came)
                port.say("unknown", host, "%s: %s sent an id that no link has (%s): closed", port, peer, sent)
            else:
                port.counters.silent += 1
                port.say("silent", host, "%s: %s sent no id within %g s: closed", port, peer, ID_TIMEOUT_S)
            self.close()
            return
        self._came = rest
        self._seat = seat
        seat.take(self)

    def _no_stranger(self) -> None:
        self._port.strangers.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def keep_alive(self, keepalive_s: float) -> None:
        """How a device that lost its power is noticed."""
        sock = cast(Any, self._transport).get_extra_info("socket")
        with contextlib.suppress(OSError):  # it may be gone already
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            set_keepalive(sock, keepalive_s)

    def hand_over(self, carrier: Carrier) -> None:
        """The link has it from now on."""
        transport = self._transport
        assert transport is not None
        transport.pause_reading()  # what came before is told first
        self._transport = None
        transport.set_protocol(carrier)
        carrier.connection_made(transport)
        # After the link knows its carrier, which is when the dial returns.
        loop = asyncio.get_running_loop()
        if self._came:
            loop.call_soon(carrier.data_received, self._came)
        loop.call_soon(_resume, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._no_stranger()
        if self._seat is not None:
            self._seat.forget(self)

    def close(self) -> None:
        self._no_stranger()
        if self._transport is not None:
            self._transport.abort()


def _resume(transport: asyncio.Transport) -> None:
    if not transport.is_closing():
        transport.resume_reading()


def whose(came: bytes, ids: Iterable[bytes], *, is_all: bool) -> bytes | None:
    """The id that a connection begins with; empty: it is none of these; None: more must come (never with `is_all`)."""
    known = list(ids)
    if not is_all and any(len(each) > len(came) and each.startswith(came) for each in known):
        return None
    return max((each for each in known if came.startswith(each)), key=len, default=b"")


def shown(device_id: bytes) -> str:
    """An id as it is written in a url, cut off where it is too long for a line."""
    cut, more = device_id[:_SHOWN_SIZE], "..." if len(device_id) > _SHOWN_SIZE else ""
    if cut.isascii() and cut.decode("ascii").isprintable():
        return cut.decode("ascii") + more
    return f"0x{cut.hex()}{more}"


def _with(device_id: bytes) -> str:
    return f" (id {shown(device_id)})" if device_id else ""


def _why(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program, or a listener of ours, has this port"
    if error.errno == errno.EACCES:
        return "ports below 1024 need the right to (CAP_NET_BIND_SERVICE)"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address"
    return error.strerror or str(error)
