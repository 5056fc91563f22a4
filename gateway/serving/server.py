"""Modbus TCP server: listeners, and one asyncio.Protocol per client.

The shell of the serving side. `Connection.data_received` is the hot path: cut frames, answer each from its unit, leave
with one write. Everything a client can make us keep is bounded: half a frame, one read's worth of requests while it
does not fetch its answers (then it is not read any more), a place among `max_connections`.

Our own rather than pymodbus's server because that one answers only the first of several requests in a segment.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Sequence
from typing import Protocol, cast

from gateway.errors import ListenError
from gateway.front.counters import Counters
from gateway.front.freshness import Freshness
from gateway.front.units import Units
from gateway.keepalive import set_keepalive
from gateway.modbus import mbap, spec
from gateway.serving.ports import listen_error

log = logging.getLogger(__name__)

MAX_FRAMES_PER_TURN = 512
"""Requests of one client answered before others get their turn: about a millisecond, at most 130 KB of answers."""

READ_SIZE = 16 * 1024
"""Plain asyncio would take a 256 KiB buffer for every read, which costs more than answering it."""

LAST_ANSWERS_S = 5.0
"""How long a client that is leaving may take to fetch its last answers; its place must not stay taken for ever."""

LINES_PER_MINUTE = 120
"""Log lines about clients coming and going; a client that reconnects for every request must not fill the disk."""

# Names of the hot path: a global is found faster than a module's attribute.
_protocol_and_length = mbap.PROTOCOL_AND_LENGTH.unpack_from
_tail = mbap.TAIL.pack
_LENGTH_SEEN_SIZE, _MIN_LENGTH, _MAX_LENGTH = mbap.LENGTH_SEEN_SIZE, mbap.MIN_LENGTH, mbap.MAX_LENGTH
_EXCEPTION = spec.EXCEPTION_BIT
MAX_TRACEBACKS = 10
"""A bug that every request meets must not fill the disk."""

_REGISTER_READS = (spec.READ_HOLDING_REGISTERS, spec.READ_INPUT_REGISTERS)


class Address(Protocol):
    """Where to listen."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...


class Connection(asyncio.Protocol):
    """One client."""

    __slots__ = ("_busy", "_eof", "_paused", "_plans", "_rest", "_server", "_transport", "last_s", "peer")

    def __init__(self, server: Server) -> None:
        self._server = server
        self._plans = server.units.plans
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        """Half a frame, or what was received and not served yet."""
        self._paused = False
        """The client does not fetch its answers."""
        self._busy = False
        """More is waiting in `_rest` than one turn may serve; nothing is read until it is done."""
        self._eof = False
        self.last_s = 0.0
        """When it last sent something."""
        self.peer = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.last_s = self._server.freshness.clock()
        host, port = (transport.get_extra_info("peername") or ("?", 0))[:2]  # None: it has gone already
        self.peer = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if not self._server.enter(self, self._transport):
            self._transport.abort()
            self._transport = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._transport = None
            self._rest = b""
            self._server.leave(self, exc)

    def data_received(self, data: bytes) -> None:
        server = self._server
        freshness = server.freshness
        self.last_s = now_s = freshness.clock()
        if now_s >= freshness.until_s:
            freshness.judge(now_s)
        if self._rest:
            data = self._rest + data
        plan = self._plans.get(data[2:])
        if plan is not None:  # one request, asked before: the common case of all clients that wait for their answer
            prefix, memory, first, stop = plan
            server.counters.requests += 1
            self._rest = b""
            if self._transport is not None:
                self._transport.write(data[:2] + prefix + memory[first:stop])
            return
        self._serve(data)

    def _serve(self, data: bytes) -> None:
        """All whole frames in `data`, answered in order with one write; what is left waits in `_rest`."""
        server = self._server
        plans, slots, counters = self._plans, server.units.slots, server.counters
        answers: list[bytes] = []
        start, end, requests, broken = 0, len(data), 0, ""
        while requests < MAX_FRAMES_PER_TURN:
            plan = plans.get(data[start + 2 : start + 12])
            if plan is not None:
                prefix, memory, first, stop = plan
                answers.append(data[start : start + 2] + prefix + memory[first:stop])
                start += 12
                requests += 1
                continue
            if end - start < _LENGTH_SEEN_SIZE:
                break
            protocol, length = _protocol_and_length(data, start + 2)
            if protocol or not _MIN_LENGTH <= length <= _MAX_LENGTH:
                broken = mbap.why_broken(protocol, length)
                break
            stop = start + 6 + length
            if stop > end:
                break
            requests += 1
            unit_id, pdu = data[start + 6], data[start + 7 : stop]
            try:
                answer = slots[unit_id].answer(pdu)
            except Exception:
                answer = server.fault(self, unit_id, pdu)
            if answer is None:
                counters.silent += 1
            else:
                answers.append(data[start : start + 2] + _tail(0, len(answer) + 1, unit_id) + answer)
                function = answer[0]
                if function >= _EXCEPTION:
                    counters.exceptions += 1
                elif function in _REGISTER_READS:
                    server.units.remember(data[start + 2 : stop], slots[unit_id], pdu)
            start = stop
        counters.requests += requests
        transport = self._transport
        if transport is None:
            return
        if answers:
            transport.write(answers[0] if len(answers) == 1 else b"".join(answers))
        self._rest = data[start:] if start < len(data) else b""
        if broken:
            counters.broken += 1
            self._rest = b""
            server.say("client %s: %s; closing the connection", self.peer, broken)
            self._finish(transport)
        elif requests >= MAX_FRAMES_PER_TURN:
            self._yield(transport)

    def _yield(self, transport: asyncio.Transport) -> None:
        """Let the other clients have their turn before the rest of this one's requests."""
        if not self._busy:
            self._busy = True
            transport.pause_reading()
        if not self._paused:
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        """Serve what waited; read again when it is done."""
        transport = self._transport
        if transport is None or self._paused or transport.is_closing():
            return
        if self._busy:
            self._busy = False
            self.data_received(b"")
            if self._busy or self._paused:
                return
        if self._eof:
            self._finish(transport)
        else:
            transport.resume_reading()

    def pause_writing(self) -> None:
        """The client does not fetch its answers: take no more requests from it."""
        self._paused = True
        if self._transport is not None and not self._busy:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._paused = False
        self._go_on()

    def eof_received(self) -> bool:
        """A client may close its sending side and still wants the answers to what it asked."""
        self._eof = True
        if not self._busy and self._transport is not None:
            self._finish(self._transport)
        return True  # the transport stays open until `_finish`

    def _finish(self, transport: asyncio.Transport) -> None:
        """Close when the last answers are written, or in LAST_ANSWERS_S when nobody fetches them."""
        transport.close()
        if transport.get_write_buffer_size():
            asyncio.get_running_loop().call_later(LAST_ANSWERS_S, transport.abort)

    def close(self) -> None:
        """Nothing more is read. What is on its way in the system arrives; what the client did not fetch is dropped."""
        if self._transport is None:
            return
        if self._transport.get_write_buffer_size():
            self._transport.abort()
        else:
            self._transport.close()


class Server:
    """All listeners of one gateway and all their clients."""

    def __init__(
        self,
        units: Units,
        freshness: Freshness,
        counters: Counters,
        *,
        max_connections: int,
        idle_timeout_s: float,
        keepalive_s: float,
        backlog: int,
    ) -> None:
        self.units = units
        self.freshness = freshness
        self.counters = counters
        self._max_connections = max_connections
        self._idle_timeout_s = idle_timeout_s
        self._keepalive_s = keepalive_s
        self._backlog = backlog
        self._connections: set[Connection] = set()
        self._listeners: list[asyncio.Server] = []
        self._idle_check: asyncio.TimerHandle | None = None
        self._full = False
        self._lines = 0
        self._lines_since_s = 0.0

    async def open(self, addresses: Sequence[Address]) -> None:
        """Listen on all of them, or raise ListenError (what to do about it) and on none."""
        loop = asyncio.get_running_loop()
        for address in addresses:
            try:
                listener = await loop.create_server(
                    lambda: Connection(self), address.host or None, address.port, backlog=self._backlog
                )
            except OSError as error:
                await self.close()
                raise ListenError(listen_error(address.host, address.port, error)) from error
            self._listeners.append(listener)
            for sock in listener.sockets:
                host, port = sock.getsockname()[:2]
                log.info("listening on tcp://%s:%d", f"[{host}]" if ":" in host else host, port)
        if self._idle_timeout_s:
            self._close_idle()

    def stop_accepting(self) -> None:
        """Close the listeners; clients stay."""
        for listener in self._listeners:
            listener.close()

    async def close(self) -> None:
        """Close the listeners and the clients."""
        self.stop_accepting()
        if self._idle_check is not None:
            self._idle_check.cancel()
        for connection in list(self._connections):
            connection.close()

    def enter(self, connection: Connection, transport: asyncio.Transport) -> bool:
        """A client came; False: there is no place for it."""
        counters = self.counters
        if counters.clients >= self._max_connections:
            counters.refused_connections += 1
            if not self._full:
                self._full = True
                log.warning(
                    "client %s refused: %d clients are connected (server.max_connections); more are refused silently",
                    connection.peer,
                    counters.clients,
                )
            return False
        counters.connections += 1
        counters.clients += 1
        self._connections.add(connection)
        sock = transport.get_extra_info("socket")
        with contextlib.suppress(OSError):  # it may be gone already
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            set_keepalive(sock, self._keepalive_s)
        if hasattr(transport, "max_size"):
            transport.max_size = READ_SIZE
        self.say("client %s connected (%d connected)", connection.peer, counters.clients)
        return True

    def leave(self, connection: Connection, error: Exception | None) -> None:
        """A client went."""
        self._connections.discard(connection)
        self.counters.clients -= 1
        self._full = False
        reason = f": {error}" if error is not None else ""
        self.say("client %s disconnected%s (%d connected)", connection.peer, reason, self.counters.clients)

    def fault(self, connection: Connection, unit_id: int, pdu: bytes) -> bytes:
        """Our bug: a traceback in the log, 04 to that client, the others live on."""
        self.counters.faults += 1
        if self.counters.faults <= MAX_TRACEBACKS:
            log.exception("client %s, unit %d, request %s: bug in the gateway", connection.peer, unit_id, pdu.hex())
        return bytes((pdu[0] | spec.EXCEPTION_BIT, spec.SERVER_FAILURE))

    def say(self, message: str, *args: object) -> None:
        """One line about a client, within LINES_PER_MINUTE."""
        now_s = self.freshness.clock()
        if now_s - self._lines_since_s >= 60.0:
            if self._lines > LINES_PER_MINUTE:
                log.info("%d more lines about clients in the last minute not shown", self._lines - LINES_PER_MINUTE)
            self._lines, self._lines_since_s = 0, now_s
        self._lines += 1
        if self._lines <= LINES_PER_MINUTE:
            log.info(message, *args)
        elif self._lines == LINES_PER_MINUTE + 1:
            log.warning("more than %d lines about clients within a minute: the rest is counted", LINES_PER_MINUTE)

    def _close_idle(self) -> None:
        oldest_s = self.freshness.clock() - self._idle_timeout_s
        for connection in [each for each in self._connections if each.last_s < oldest_s]:
            self.say("client %s sent nothing for %g s: closing it", connection.peer, self._idle_timeout_s)
            connection.close()
        check_s = min(1.0, self._idle_timeout_s / 4)
        self._idle_check = asyncio.get_running_loop().call_later(check_s, self._close_idle)
