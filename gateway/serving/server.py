"""Modbus TCP server: listeners, and one asyncio.Protocol per client.

The shell of the serving side. `Connection.data_received` is the hot path: cut frames, answer each from its unit, leave
with one write. An answer that is still to come opens a lane (`lanes`); while a client has none, lanes cost it one look
at an empty dict. Everything a client can make us keep is bounded: half a frame, one read's worth of requests while it
does not fetch its answers or has too many to come (then it is not read any more), a place among `max_connections`.

Our own rather than pymodbus's server because that one answers only the first of several requests in a segment.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterable
from typing import cast

from gateway.front.counters import Counters
from gateway.front.freshness import Freshness
from gateway.front.units import Units
from gateway.interfaces import Later, Plan, Unit
from gateway.keepalive import set_keepalive
from gateway.modbus import mbap, spec
from gateway.serving.lanes import Lane
from gateway.serving.listeners import Address, Listeners

log = logging.getLogger(__name__)

MAX_FRAMES_PER_TURN = 512
"""Requests of one client answered before others get their turn: about a millisecond, at most 130 KB of answers."""

MAX_WAITING = 256
"""Requests of one client without an answer. More are left in its socket until there are fewer; nothing is lost."""

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

_NO_PLANS: dict[bytes, Plan] = {}
"""While something is not answered yet no short cut may pass it."""

_REGISTER_READS = (spec.READ_HOLDING_REGISTERS, spec.READ_INPUT_REGISTERS)


class Connection(asyncio.Protocol):
    """One client."""

    __slots__ = (
        "_busy",
        "_called",
        "_eof",
        "_lanes",
        "_out",
        "_paused",
        "_plans",
        "_rest",
        "_server",
        "_transport",
        "last_s",
        "peer",
        "waiting",
    )

    def __init__(self, server: Server) -> None:
        self._server = server
        self._plans = server.units.plans
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        """Half a frame, or what was received and not served yet."""
        self._lanes: dict[int, Lane] = {}
        """By the unit id that is meant."""
        """By unit, and not by its id: ids that mean the same unit share their order."""
        self.waiting = 0
        """Requests without an answer, in all lanes."""
        self._out: list[bytes] = []
        """Answers of lanes that are not over."""
        self._paused = False
        """The client does not fetch its answers."""
        self._busy = False
        """More is waiting in `_rest` than may be served now; nothing is read until it is done."""
        self._called = False
        """`_go_on` will be called by the loop."""
        self._eof = False
        """Nothing more is read: the connection ends when everything is answered."""
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
            self._out.clear()
            lanes = list(self._lanes.values())
            self._lanes.clear()
            for lane in lanes:
                lane.abandon()
            self.waiting = 0
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
        if plan is not None and not self._lanes:
            # One request, asked before: the common case of all clients that wait for their answer.
            prefix, memory, first, stop = plan
            server.counters.requests += 1
            self._rest = b""
            if self._transport is not None:
                self._transport.write(data[:2] + prefix + memory[first:stop])
            return
        self._serve(data)

    def _serve(self, data: bytes) -> None:
        """All whole frames in `data`, answered in order with one write; what is left waits in `_rest`."""
        server, lanes = self._server, self._lanes
        slots, counters = server.units.slots, server.counters
        plans = _NO_PLANS if lanes else self._plans
        answers: list[bytes] = []
        start, end, requests, broken, full = 0, len(data), 0, "", False
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
            unit_id, pdu = data[start + 6], data[start + 7 : stop]
            unit = slots[unit_id]
            if lanes:
                if self.waiting >= MAX_WAITING:
                    full = True
                    break
                lane = lanes.get(server.units.meant[unit_id])
                if lane is not None:
                    requests += 1
                    self.waiting += 1
                    lane.take(data[start : start + 2], unit_id, pdu)
                    start = stop
                    continue
            requests += 1
            try:
                answer = unit.answer(pdu)
            except Exception:
                answer = server.fault(self, unit_id, pdu)
            if type(answer) is not bytes and isinstance(answer, Later):
                if not answer.is_settled:
                    if answers:  # what the lane delivers must not overtake them
                        self._write(answers)
                        answers = []
                    self.waiting += 1
                    key = server.units.meant[unit_id]
                    lanes[key] = Lane(self, key, unit, data[start : start + 2], unit_id, answer)
                    plans = _NO_PLANS
                    start = stop
                    continue
                answer = answer.answer
            if answer is None:
                counters.silent += 1
            else:
                answers.append(data[start : start + 2] + _tail(0, len(answer) + 1, unit_id) + answer)
                function = answer[0]
                if function >= _EXCEPTION:
                    counters.exceptions += 1
                elif function in _REGISTER_READS:
                    server.units.remember(data[start + 2 : stop], unit, pdu)
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
            self._stop_reading(transport)
        elif full or requests >= MAX_FRAMES_PER_TURN:
            self._busy = True
            if transport.is_reading():
                transport.pause_reading()
                counters.held += full
            if not full and not self._paused:  # let the other clients have their turn before the rest of this one's
                self._call_go_on()

    def _write(self, frames: list[bytes]) -> None:
        transport = self._transport
        if transport is not None and not transport.is_closing():  # uvloop raises on a closed one
            transport.write(frames[0] if len(frames) == 1 else b"".join(frames))

    def _call_go_on(self) -> None:
        """Soon, and once: what lanes deliver may be delivered from inside `_serve`."""
        if not self._called:
            self._called = True
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        """Let answers go, serve what waited; read again, or end, when it is done."""
        self._called = False
        self._flush()
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._busy:
            if self._paused or self.waiting >= MAX_WAITING:
                return
            self._busy = False
            self.data_received(b"")
            if self._busy:
                return
        if self._eof:
            self._end(transport)
        elif not self._paused and not transport.is_reading():
            transport.resume_reading()

    # -- lanes --------------------------------------------------------------------------------------------------

    def ask(self, unit_id: int, pdu: bytes) -> bytes | Later | None:
        """The answer of whoever has this unit id now, judged by its age now and not when it was received."""
        freshness = self._server.freshness
        now_s = freshness.clock()
        if now_s >= freshness.until_s:
            freshness.judge(now_s)
        try:
            return self._server.units.slots[unit_id].answer(pdu)
        except Exception:
            return self._server.fault(self, unit_id, pdu)

    def may_overtake(self, unit: Unit, unit_id: int, pdu: bytes) -> bool:
        """Whether it may begin while the unit has not answered what came before; a bug says no."""
        try:
            return self._server.units.slots[unit_id] is unit and unit.may_overtake(pdu)
        except Exception:
            self._server.fault(self, pdu[0], pdu)
            return False

    def deliver(self, lane: Lane, frames: list[bytes], answered: int, *, is_empty: bool) -> None:
        """What a lane has: whole frames in order; `answered` requests wait no more. Empty: it is over.

        Many answers of a device come at once. They leave with one write, soon; before a lane is over, at once, because
        the next answer of its unit needs no lane.
        """
        self.waiting -= answered
        counters = self._server.counters
        for frame in frames:
            if frame[7] >= _EXCEPTION:
                counters.exceptions += 1
        if answered != len(frames):
            counters.silent += answered - len(frames)
        self._out += frames
        if is_empty:
            self._lanes.pop(lane.key, None)
            self._flush()
            if not (self._busy or self._eof):
                return
        self._call_go_on()

    def _flush(self) -> None:
        out = self._out
        if out:
            self._write(out)
            out.clear()

    # -- flow and end -------------------------------------------------------------------------------------------

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
            self._end(self._transport)
        return True  # the transport stays open until `_end` closes it

    def last_call(self) -> None:
        """Take nothing more; close when the answers still to come have left."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if not self.waiting:
            self.close()
            return
        self._rest = b""
        self._busy = False
        self._stop_reading(transport)

    def _stop_reading(self, transport: asyncio.Transport) -> None:
        """Nothing more is taken from this client; the connection ends when everything is answered."""
        self._eof = True
        if transport.is_reading():
            transport.pause_reading()
        self._end(transport)

    def _end(self, transport: asyncio.Transport) -> None:
        """Close when the last answers are written, or in LAST_ANSWERS_S when nobody fetches them."""
        if self.waiting or transport.is_closing():
            return  # `deliver` comes back
        transport.close()
        if transport.get_write_buffer_size():
            asyncio.get_running_loop().call_later(LAST_ANSWERS_S, transport.abort)

    def close(self) -> None:
        """Nothing more is read. What is on its way in the system arrives; what the client did not fetch is dropped."""
        if self._transport is None:
            return
        self._flush()
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
        self._listeners = Listeners(lambda: Connection(self))
        self._idle_check: asyncio.TimerHandle | None = None
        self._left = asyncio.Event()
        """Set when a client went."""
        self._full = False
        self._lines = 0
        self._lines_since_s = 0.0

    async def listen(self, addresses: Iterable[Address]) -> None:
        """Listen on these and no others; one that stays is not touched. ListenError: all is as it was."""
        await self._listeners.listen(addresses, self._backlog)
        self._check_idle()

    def configure(self, *, max_connections: int, idle_timeout_s: float, keepalive_s: float, backlog: int) -> None:
        """From now on these hold: for clients that come, for listeners that are opened, and for who is idle."""
        self._max_connections = max_connections
        self._idle_timeout_s = idle_timeout_s
        self._keepalive_s = keepalive_s
        self._backlog = backlog
        self._full = False
        self._check_idle()

    def stop_accepting(self) -> None:
        """Close the listeners; clients stay."""
        self._listeners.close()

    async def drained(self, deadline_s: float) -> None:
        """Take nothing more from any client; return when all answers still to come have left, or at the deadline."""
        leaving = {connection for connection in self._connections if connection.waiting}
        for connection in list(self._connections):
            connection.last_call()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                while leaving & self._connections:
                    self._left.clear()
                    await self._left.wait()

    async def close(self) -> None:
        """Close the listeners and the clients."""
        self.stop_accepting()
        if self._idle_check is not None:
            self._idle_check.cancel()
            self._idle_check = None
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
        self._left.set()
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

    def _check_idle(self) -> None:
        """Close who has been idle for too long; look again soon."""
        if self._idle_check is not None:
            self._idle_check.cancel()
            self._idle_check = None
        if not self._idle_timeout_s:
            return
        now_s = self.freshness.clock()
        for connection in [each for each in self._connections if now_s - each.last_s > self._idle_timeout_s]:
            if connection.waiting:  # its turn to speak begins with the answer
                connection.last_s = now_s
                continue
            self.say("client %s sent nothing for %g s: closing it", connection.peer, self._idle_timeout_s)
            connection.close()
        check_s = min(1.0, self._idle_timeout_s / 4)
        self._idle_check = asyncio.get_running_loop().call_later(check_s, self._check_idle)
