"""Everybody who is connected, by whatever carrier: who may come in, who has been idle for too long, what is said of it.

The rule: a carrier asks `enter` when a client comes and tells `leave` when it goes, exactly once each. What one client
may take from the others is limited here; what it may do is the gate's.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
from typing import Protocol

from gateway.front.gate import Entry, Gate, Origin
from gateway.keepalive import set_keepalive
from gateway.serving.doors import Door

log = logging.getLogger(__name__)

READ_SIZE = 16 * 1024
"""Plain asyncio would take a 256 KiB buffer for every read, which costs more than answering it."""

LINES_PER_MINUTE = 120
"""Log lines about clients coming and going; a client that reconnects for every request must not fill the disk."""


class Client(Protocol):
    """A connection, as it is kept here."""

    peer: str
    """For people; `enter` sets it."""
    last_s: float
    """When it last sent something, on the freshness's clock."""
    waiting: int
    """Requests without an answer."""

    def last_call(self) -> None:
        """Take nothing more; close when the answers still to come have left."""
        ...

    def close(self) -> None:
        """At once, but for what the system has taken already."""
        ...


class Clients:
    """All clients of one gateway."""

    def __init__(self, gate: Gate, *, max_connections: int, idle_timeout_s: float, keepalive_s: float) -> None:
        self.gate = gate
        self.counters = gate.counters
        self._max_connections = max_connections
        self._idle_timeout_s = idle_timeout_s
        self._keepalive_s = keepalive_s
        self._connected: set[Client] = set()
        self._idle_check: asyncio.TimerHandle | None = None
        self._left = asyncio.Event()
        """Set when a client went."""
        self._full = False
        self._lines = 0
        self._lines_since_s = 0.0

    def configure(self, *, max_connections: int, idle_timeout_s: float, keepalive_s: float) -> None:
        """From now on these hold: for clients that come, and for who is idle."""
        self._max_connections = max_connections
        self._idle_timeout_s = idle_timeout_s
        self._keepalive_s = keepalive_s
        self._full = False
        self.check_idle()

    def enter(self, client: Client, transport: asyncio.Transport, door: Door) -> Entry | None:
        """A client came; None: there is no place for it, or it may do nothing here."""
        host, port = (transport.get_extra_info("peername") or ("?", 0))[:2]  # None: it has gone already
        client.peer = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        counters = self.counters
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
        entry = self.gate.admit(Origin(client.peer, _address(host), str(door.url)))
        if entry is None:
            counters.refused_connections += 1
            return None
        counters.connections += 1
        counters.clients += 1
        self._connected.add(client)
        sock = transport.get_extra_info("socket")
        with contextlib.suppress(OSError):  # it may be gone already
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            set_keepalive(sock, self._keepalive_s)
        if hasattr(transport, "max_size"):
            transport.max_size = READ_SIZE
        self.say("client %s connected (%d connected)", client.peer, counters.clients)
        return entry

    def leave(self, client: Client, error: Exception | None) -> None:
        """A client went."""
        self._connected.discard(client)
        self._left.set()
        self.counters.clients -= 1
        self._full = False
        reason = f": {error}" if error is not None else ""
        self.say("client %s disconnected%s (%d connected)", client.peer, reason, self.counters.clients)

    def say(self, message: str, *args: object) -> None:
        """One line about a client, within LINES_PER_MINUTE."""
        now_s = self.gate.freshness.clock()
        if now_s - self._lines_since_s >= 60.0:
            if self._lines > LINES_PER_MINUTE:
                log.info("%d more lines about clients in the last minute not shown", self._lines - LINES_PER_MINUTE)
            self._lines, self._lines_since_s = 0, now_s
        self._lines += 1
        if self._lines <= LINES_PER_MINUTE:
            log.info(message, *args)
        elif self._lines == LINES_PER_MINUTE + 1:
            log.warning("more than %d lines about clients within a minute: the rest is counted", LINES_PER_MINUTE)

    def check_idle(self) -> None:
        """Close who has been idle for too long; look again soon."""
        if self._idle_check is not None:
            self._idle_check.cancel()
            self._idle_check = None
        if not self._idle_timeout_s:
            return
        now_s = self.gate.freshness.clock()
        for client in [each for each in self._connected if now_s - each.last_s > self._idle_timeout_s]:
            if client.waiting:  # its turn to speak begins with the answer
                client.last_s = now_s
                continue
            self.say("client %s sent nothing for %g s: closing it", client.peer, self._idle_timeout_s)
            client.close()
        check_s = min(1.0, self._idle_timeout_s / 4)
        self._idle_check = asyncio.get_running_loop().call_later(check_s, self.check_idle)

    async def drained(self, deadline_s: float) -> None:
        """Take nothing more from anybody; return when all answers still to come have left, or at the deadline."""
        leaving = {client for client in self._connected if client.waiting}
        for client in list(self._connected):
            client.last_call()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                while leaving & self._connected:
                    self._left.clear()
                    await self._left.wait()

    def close(self) -> None:
        """Close all of them."""
        if self._idle_check is not None:
            self._idle_check.cancel()
            self._idle_check = None
        for client in list(self._connected):
            client.close()


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """What a peer's address is for the rules: an IPv4 address in IPv6 clothes is the IPv4 address."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
