"""Everybody who is connected, by whatever carrier: who may come in, what each may take, who must go.

The rule: a carrier asks `enter` when a client comes and tells `leave` when it goes, exactly once each. What one client
may take from the others is limited here: places, requests per second, memory, and time in which nothing happens. What
it may do is the gate's. Who takes too long is found by one look at all of them a second: requests pay nothing for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from gateway.config.model_server import Limits
from gateway.front.access import Host
from gateway.front.gate import Entry, Gate, Origin
from gateway.keepalive import set_keepalive
from gateway.serving.doors import Door
from gateway.serving.pace import Pace
from gateway.serving.rows import Seen, row_of
from gateway.traffic import address_text

if sys.platform == "linux":
    from fcntl import ioctl
    from termios import TIOCOUTQ
else:
    ioctl = None

log = logging.getLogger(__name__)

READ_SIZE = 16 * 1024
"""Plain asyncio would take a 256 KiB buffer for every read, which costs more than answering it."""

LINES_PER_MINUTE = 120
"""Log lines about clients coming and going; a client that reconnects for every request must not fill the disk."""

LOOK_S = 1.0
"""How often it is looked who takes too long."""

UNFETCHED_S = 60.0
"""How long a client may leave its answers where they are; then it is closed: it keeps a place that others may want, and
neither keep-alive nor `idle_timeout` need ever find it. Longer than any network hiccup that a connection survives."""

MAX_ADDRESSES = 4096
"""Addresses without a connection whose pace is remembered. More of them come only from who forges his: the one that was
there first is forgotten."""

MAX_TOLD = 256
"""Addresses that were refused of late, which is told once a minute for each; beyond it, not told."""


class Client(Protocol):
    """A connection, as it is kept here."""

    peer: str
    """For people; `enter` sets it."""
    pace: Pace | None
    """How fast it is served: asked by the client before it answers; None: as fast as can be. `enter` sets it."""
    last_s: float
    """When it last sent something, on the freshness's clock."""
    waiting: int
    """Requests without an answer."""
    requests: int
    exceptions: int

    def heard(self) -> tuple[int, bytes] | None:
        """Unit id and PDU of a request that it sent last; None: it sent none yet. For those who look."""
        ...

    def admit(self, entry: Entry) -> None:
        """After a reload: from now on this is what it may use, and `pace` may be another."""
        ...

    def half_since_s(self) -> float | None:
        """When the request began of which only a part has come; None: there is none, or its rest may lie with us."""
        ...

    def last_call(self) -> None:
        """Take nothing more; close when the answers still to come have left."""
        ...

    def close(self) -> None:
        """At once, but for what the system has taken already."""
        ...


class _Place:
    """What is known of a client that is in."""

    __slots__ = ("address", "door", "is_known", "origin", "seen", "since_s", "transport", "unfetched",
                 "unfetched_since_s")  # fmt: skip

    def __init__(
        self, origin: Origin, door: Door, transport: asyncio.Transport, address: _Address | None, since_s: float
    ) -> None:
        self.origin = origin
        self.is_known = True
        """False: its carrier is still finding out who it is; no request of it is answered before."""
        self.door = door
        self.transport = transport
        self.address = address
        self.unfetched = 0
        """Bytes that it had not fetched when it was last looked at."""
        self.unfetched_since_s = 0.0
        self.since_s = since_s
        self.seen = Seen()


class _Address:
    """What the clients of one address have in common."""

    __slots__ = ("connections", "host", "pace")

    def __init__(self, host: Host) -> None:
        self.host = host
        self.connections = 0
        self.pace: Pace | None = None


class Clients:
    """All clients of one gateway."""

    def __init__(
        self,
        gate: Gate,
        *,
        max_connections: int,
        idle_timeout_s: float,
        keepalive_s: float,
        limits: Limits | None = None,
    ) -> None:
        self.gate = gate
        self.counters = gate.counters
        self._max_connections = max_connections
        self._idle_timeout_s = idle_timeout_s
        self._keepalive_s = keepalive_s
        self._limits = limits or Limits()
        self._connected: dict[Client, _Place] = {}
        self._addresses: dict[Host, _Address] = {}
        """Of those that are connected."""
        self._former: dict[Host, _Address] = {}
        """Of others, as long as they have not been quiet for long enough to be as good as new. Oldest first."""
        self._next_look: asyncio.TimerHandle | None = None
        self._left = asyncio.Event()
        """Set when a client went."""
        self._full = False
        self._lines = 0
        self._lines_since_s = 0.0
        self.heard: Callable[[str, str], None] = _nobody
        """Called with peer and text for each line about a client."""
        self._told: set[Host | None] = set()
        """Addresses of which a refusal was told in this minute."""
        self._told_since_s = 0.0

    @property
    def max_connections(self) -> int:
        return self._max_connections

    def configure(
        self, *, max_connections: int, idle_timeout_s: float, keepalive_s: float, limits: Limits | None = None
    ) -> None:
        """From now on these hold for clients that come; for those that are there, when `review` has been called."""
        self._max_connections = max_connections
        self._idle_timeout_s = idle_timeout_s
        self._keepalive_s = keepalive_s
        self._limits = limits or Limits()
        self._full = False
        self._look()

    def review(self) -> None:
        """The rules, the limits or the audit may be others: what is each client that is connected allowed now?

        Who may do nothing any more is closed. Whoever keeps entries himself compares `Gate.generation`.
        """
        self.gate.generation += 1
        rate = self._limits.requests_per_second
        for address in (*self._addresses.values(), *self._former.values()):
            if address.pace is None:
                continue
            if rate:
                address.pace.change(rate)
            else:
                pace, address.pace = address.pace, None
                pace.release()
        for client, place in list(self._connected.items()):
            if not place.is_known or place.transport.is_closing():  # the rules are applied when it is known
                continue
            entry = self.gate.admit(place.origin, place.door.access)
            if entry is None:
                self.counters.unwelcome += 1
                self.say("client %s may do nothing here any more (access): closing it", client.peer)
                client.close()
                continue
            client.pace = self._pace(place.address)
            place.transport.set_write_buffer_limits(high=self._limits.bytes_waiting)
            client.admit(entry)
        self._look()

    def enter(self, client: Client, transport: asyncio.Transport, door: Door, role: str | None = None) -> Entry | None:
        """A client came; None: there is no place for it, or it may do nothing here. Nothing of it is read then.

        `role`: of its certificate.
        """
        origin = _origin(client, transport, door, role)
        entry = self.gate.admit(origin, door.access)
        if entry is None:
            self._refuse_unwelcome(origin)
            return None
        if self._place(client, transport, door, origin) is None:
            return None
        self.say("client %s connected (%d connected)", client.peer, self.counters.clients)
        return entry

    def knock(self, client: Client, transport: asyncio.Transport, door: Door) -> bool:
        """A client came, and its carrier must find out who it is before it may be asked anything: `introduce` or
        `leave` follows. False: there is no place for it, or nobody from there may do anything here."""
        origin = _origin(client, transport, door, None)
        if not self.gate.welcomes(origin, door.access):
            self._refuse_unwelcome(origin)
            return False
        place = self._place(client, transport, door, origin)
        if place is not None:
            place.is_known = False
        return place is not None

    def introduce(self, client: Client, role: str | None, certificate: str | None, who: str) -> Entry | None:
        """It is known who a client is that knocked, `who` for people; None: it may do nothing here, and must leave."""
        place = self._connected[client]
        place.origin = place.origin._replace(role=role, certificate=certificate)
        client.pace = self._pace(place.address)
        place.is_known = True
        entry = self.gate.admit(place.origin, place.door.access)
        if entry is None:
            self._refuse_unwelcome(place.origin)
        else:
            self.say("client %s connected: %s (%d connected)", client.peer, who, self.counters.clients)
        return entry

    def _place(self, client: Client, transport: asyncio.Transport, door: Door, origin: Origin) -> _Place | None:
        """Its place, which it has from now on; None: there is none for it."""
        host, counters, limits = origin.host, self.counters, self._limits
        address = self._addresses.get(host) if host is not None else None
        most = limits.connections_per_address
        if most and address is not None and address.connections >= most:
            counters.crowded += 1
            self._refuse(origin, f"{most} clients of its address are connected (server.limits.connections_per_address)")
            return None
        if counters.clients >= self._max_connections:
            counters.refused_connections += 1
            if not self._full:
                self._full = True
                log.warning(
                    "client %s refused: %d clients are connected (server.max_connections); more are refused silently",
                    client.peer,
                    counters.clients,
                )
            return None
        if host is not None:
            address = self._addresses[host] = address or self._former.pop(host, None) or _Address(host)
            address.connections += 1
        counters.connections += 1
        counters.clients += 1
        place = self._connected[client] = _Place(origin, door, transport, address, client.last_s)
        client.pace = self._pace(address)
        sock = transport.get_extra_info("socket")
        with contextlib.suppress(OSError):  # it may be gone already
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            set_keepalive(sock, self._keepalive_s)
        if hasattr(transport, "max_size"):
            transport.max_size = READ_SIZE
        transport.set_write_buffer_limits(high=limits.bytes_waiting)
        return place

    def allows(self, host: Host | None) -> bool:
        """Whether one request of a client without a connection may be answered now (`requests_per_second`)."""
        if not self._limits.requests_per_second or host is None:
            return True
        pace = self._pace(self._addresses.get(host) or self._former.get(host) or self._remember(_Address(host)))
        if pace is None or pace.take():
            return True
        self.counters.dropped += 1
        return False

    def _refuse_unwelcome(self, origin: Origin) -> None:
        self.counters.unwelcome += 1
        self._refuse(origin, f"it may do nothing here (access{f', role {origin.role!r}' if origin.role else ''})")

    def _refuse(self, origin: Origin, why: str) -> None:
        """One line a minute for each address."""
        self.counters.refused_connections += 1
        if origin.host not in self._told and len(self._told) < MAX_TOLD:
            self._told.add(origin.host)
            self.say("client %s refused: %s; not told again for a minute", origin.peer, why)

    def _remember(self, address: _Address) -> _Address:
        """It has no connection; what it has used up counts a little longer."""
        self._former[address.host] = address
        if len(self._former) > MAX_ADDRESSES:
            del self._former[next(iter(self._former))]
        return address

    def _pace(self, address: _Address | None) -> Pace | None:
        rate = self._limits.requests_per_second
        if not rate or address is None:
            return None
        if address.pace is None:
            address.pace = Pace(asyncio.get_running_loop(), rate, self.counters)
        return address.pace

    def leave(self, client: Client, error: Exception | None) -> None:
        """A client went."""
        address = self._connected.pop(client).address
        if address is not None:
            address.connections -= 1
            if address.pace is not None:
                address.pace.forget(client)
            if not address.connections:
                del self._addresses[address.host]
                if address.pace is not None:
                    self._remember(address)
        self._left.set()
        self.counters.clients -= 1
        self._full = False
        reason = f": {error}" if error is not None else ""
        self.say("client %s disconnected%s (%d connected)", client.peer, reason, self.counters.clients)

    def say(self, message: str, *args: object) -> None:
        """One line about a client, within LINES_PER_MINUTE; the first of `args` is its peer."""
        now_s = self.gate.freshness.clock()
        if now_s - self._lines_since_s >= 60.0:
            if self._lines > LINES_PER_MINUTE:
                log.info("%d more lines about clients in the last minute not shown", self._lines - LINES_PER_MINUTE)
            self._lines, self._lines_since_s = 0, now_s
        self._lines += 1
        if self._lines <= LINES_PER_MINUTE:
            log.info(message, *args)
            self.heard(str(args[0]), message % args)
        elif self._lines == LINES_PER_MINUTE + 1:
            log.warning("more than %d lines about clients within a minute: the rest is counted", LINES_PER_MINUTE)

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row for each who is connected, for those who look: their looking is what `seen` is sampled by."""
        clock = self.gate.freshness.clock
        for client, place in list(self._connected.items()):
            if client in self._connected:
                origin, heard = place.origin, client.heard()
                row = row_of(origin, place.door, place.since_s, client.last_s, clock(), place.seen, client, heard)
                yield {**row, "unfetched": _unfetched(place.transport)}

    def _look(self) -> None:
        """Close who takes too long, forget what is over; look again soon."""
        if self._next_look is not None:
            self._next_look.cancel()
        now_s = self.gate.freshness.clock()
        idle_s, half_s = self._idle_timeout_s, self._limits.half_request_s
        for client, place in list(self._connected.items()):
            if place.transport.is_closing():  # told already; it has a deadline of its own
                continue
            if idle_s and now_s - client.last_s > idle_s:
                if client.waiting or (client.pace is not None and client.pace.holds(client)):
                    client.last_s = now_s  # its turn to speak begins with the answer
                else:
                    self.say("client %s sent nothing for %g s: closing it", client.peer, idle_s)
                    client.close()
                    continue
            if half_s and (since_s := client.half_since_s()) is not None and now_s - since_s > half_s:
                self.counters.half += 1
                self.say(
                    "client %s sent a part of a request %g s ago and not its rest: closing it", client.peer, half_s
                )
                client.last_call()
                continue
            unfetched = _unfetched(place.transport)
            if not unfetched or unfetched < place.unfetched or not place.unfetched:
                place.unfetched_since_s = now_s
            elif now_s - place.unfetched_since_s > UNFETCHED_S:
                self.counters.unfetched += 1
                self.say("client %s did not fetch its answers for %g s: closing it", client.peer, UNFETCHED_S)
                client.close()
                continue
            place.unfetched = unfetched
        for address in list(self._former.values()):
            if address.pace is None or address.pace.is_full:
                del self._former[address.host]
        if now_s - self._told_since_s >= 60.0:
            self._told.clear()
            self._told_since_s = now_s
        look_s = min([LOOK_S, *(limit_s / 4 for limit_s in (idle_s, half_s) if limit_s)])
        self._next_look = asyncio.get_running_loop().call_later(look_s, self._look)

    async def drained(self, deadline_s: float) -> None:
        """Take nothing more from anybody; return when all answers still to come have left, or at the deadline."""
        leaving = {client for client in self._connected if client.waiting}
        for client in list(self._connected):
            client.last_call()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                while leaving & self._connected.keys():
                    self._left.clear()
                    await self._left.wait()

    def close(self) -> None:
        """Close all of them."""
        if self._next_look is not None:
            self._next_look.cancel()
            self._next_look = None
        for client in list(self._connected):
            client.close()


def _origin(client: Client, transport: asyncio.Transport, door: Door, role: str | None) -> Origin:
    """Who a client is; it is told what it is called."""
    host, port = (transport.get_extra_info("peername") or ("?", 0))[:2]  # None: it has gone already
    client.peer = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    ours = transport.get_extra_info("sockname")
    url = door.url if door.url.port or not ours else door.url._replace(port=ours[1])  # the one that the system gave
    return Origin(client.peer, host_of(host), str(url), role, local=address_text(ours))


def _nobody(peer: str, text: str) -> None:
    """Nobody listens."""


def _unfetched(transport: asyncio.Transport) -> int:
    """Bytes that a client has not fetched, if it is so slow that some of them wait with us.

    What waits with the system counts, where it tells us (Linux): it takes more from us in lumps, of which a client
    behind a slow modem needs a minute for one.
    """
    ours = transport.get_write_buffer_size()
    if not ours or ioctl is None:
        return ours
    size = bytearray(4)
    with contextlib.suppress(OSError, ValueError):  # it may be gone already
        ioctl(transport.get_extra_info("socket").fileno(), TIOCOUTQ, size)
    return ours + int.from_bytes(size, sys.byteorder)


def host_of(text: str) -> Host | None:
    """What a peer's address is for rules and limits: an IPv4 address in IPv6 clothes is the IPv4 address."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
