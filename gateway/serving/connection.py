"""One Modbus TCP client: an asyncio.Protocol that speaks MBAP.

The shell of the serving side, and its hot path. `Connection.data_received`: cut frames, answer each from its unit,
leave with one write. An answer that is still to come opens a lane (`lanes`); while a client has none, lanes cost it one
look at an empty dict. Everything a client can make us keep is bounded: half a frame, one read's worth of requests while
it does not fetch its answers or has too many to come (then it is not read any more).

Our own rather than pymodbus's server because that one answers only the first of several requests in a segment.
"""

from __future__ import annotations

import asyncio
from typing import cast

from gateway.front.gate import Entry
from gateway.interfaces import Later, Plan, Unit
from gateway.modbus import mbap, spec
from gateway.serving.clients import Clients
from gateway.serving.doors import Door
from gateway.serving.lanes import Lane
from gateway.serving.pace import Pace

MAX_FRAMES_PER_TURN = 512
"""Requests of one client answered before others get their turn: about a millisecond, at most 130 KB of answers."""

MAX_SIZE_PER_TURN = 16 * 1024
"""Bytes of these requests, likewise: the longest writes take ten times as long as reads, their audit included, and a
read of the socket has a thousand of them."""

MAX_WAITING = 256
"""Requests of one client without an answer. More are left in its socket until there are fewer; nothing is lost."""

MAX_HEARD_SIZE = 1024
"""What a client sent last is kept for those who look, as it came (to cut it costs more than to keep it); of more than
this only the first request, at most MAX_FRAME_SIZE."""
MAX_FRAME_SIZE = mbap.LENGTH_SEEN_SIZE + mbap.MAX_LENGTH

LAST_ANSWERS_S = 5.0
"""How long a client that is leaving may take to fetch its last answers; its place must not stay taken for ever."""

# Names of the hot path: a global is found faster than a module's attribute.
_protocol_and_length = mbap.PROTOCOL_AND_LENGTH.unpack_from
_tail = mbap.TAIL.pack
_LENGTH_SEEN_SIZE, _MIN_LENGTH, _MAX_LENGTH = mbap.LENGTH_SEEN_SIZE, mbap.MIN_LENGTH, mbap.MAX_LENGTH
_EXCEPTION = spec.EXCEPTION_BIT
_NO_PLANS: dict[bytes, Plan] = {}
"""While something is not answered yet no short cut may pass it."""

_REGISTER_READS = (spec.READ_HOLDING_REGISTERS, spec.READ_INPUT_REGISTERS)


class Connection(asyncio.Protocol):
    """One client of a stream that carries MBAP frames: over TCP, or TLS on it."""

    __slots__ = (
        "_busy",
        "_called",
        "_clients",
        "_door",
        "_entry",
        "_eof",
        "_half_s",
        "_heard",
        "_lanes",
        "_out",
        "_paused",
        "_plans",
        "_rest",
        "_transport",
        "exceptions",
        "last_s",
        "pace",
        "peer",
        "requests",
        "waiting",
    )

    def __init__(self, clients: Clients, door: Door) -> None:
        self._clients = clients
        self._door = door
        self._entry: Entry | None = None
        """What it may use; None until it is let in."""
        self._plans = _NO_PLANS
        """What is looked up before anything else; nothing where each request must be counted first."""
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        """Half a frame, or what was received and not served yet."""
        self._half_s = 0.0
        """When the frame began of which only a part is there, if that is what the rest is."""
        self._lanes: dict[int, Lane] = {}
        """By the unit id that is meant: ids that mean the same unit share their order."""
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
        self.peer = "?"
        self.pace: Pace | None = None
        self.requests = 0
        """Of it, answered or not."""
        self.exceptions = 0
        self._heard = b""
        """What it sent last: begins with a whole frame."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.last_s = self._clients.gate.freshness.clock()
        entry = self._clients.enter(self, self._transport, self._door)
        if entry is None:
            self._transport.abort()
            self._transport = None
            return
        self.admit(entry)

    def admit(self, entry: Entry) -> None:
        """It may use this from now on, at `pace`; what has begun goes on."""
        self._entry = entry
        self._plans = entry.plans if self.pace is None else _NO_PLANS

    def heard(self) -> tuple[int, bytes] | None:
        """Unit id and PDU of a request that it sent with its last bytes; None: it sent none yet."""
        frame = self._heard
        return (frame[6], frame[7 : 6 + (frame[4] << 8 | frame[5])]) if frame else None

    def half_since_s(self) -> float | None:
        """When the request began of which only a part has come; None: there is none, or its rest may lie with us."""
        return self._half_s if self._rest and not self._busy and not self._paused else None

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
            self._clients.leave(self, exc)

    def data_received(self, data: bytes) -> None:
        clients = self._clients
        freshness = clients.gate.freshness
        self.last_s = now_s = freshness.clock()
        if now_s >= freshness.until_s:
            freshness.judge(now_s)
        if self._rest:
            data = self._rest + data
        plan = self._plans.get(data[2:])
        if plan is not None and not self._lanes:
            # One request, asked before: the common case of all clients that wait for their answer.
            prefix, memory, first, stop = plan
            counters = clients.counters
            counters.requests += 1
            counters.by_unit[data[6]] += 1
            self.requests += 1
            self._heard = data
            self._rest = b""
            if self._transport is not None:
                self._transport.write(data[:2] + prefix + memory[first:stop])
            return
        self._serve(data)

    def _serve(self, data: bytes) -> None:
        """All whole frames in `data`, answered in order with one write; what is left waits in `_rest`."""
        clients, lanes, entry = self._clients, self._lanes, self._entry
        if entry is None:
            return
        slots, watched, counters = entry.slots, entry.watched, clients.counters
        plans = _NO_PLANS if lanes else entry.plans
        pace = self.pace
        most = MAX_FRAMES_PER_TURN if pace is None else min(MAX_FRAMES_PER_TURN, pace.share(self))
        answers: list[bytes] = []
        by_unit = counters.by_unit
        start, end, requests, broken, full = 0, min(len(data), MAX_SIZE_PER_TURN), 0, "", False
        row = 0  # from there to `start` all were answered from plans: their units are counted together
        while requests < most:
            plan = plans.get(data[start + 2 : start + 12])
            if plan is not None:
                prefix, memory, first, stop = plan
                answers.append(data[start : start + 2] + prefix + memory[first:stop])
                start += 12
                requests += 1
                continue
            if start > row:
                counters.count_units(data[row + 6 : start : 12])
                row = start
            if end - start < _LENGTH_SEEN_SIZE:
                break
            protocol, length = _protocol_and_length(data, start + 2)
            if protocol or not _MIN_LENGTH <= length <= _MAX_LENGTH:
                broken = mbap.why_broken(protocol, length)
                break
            stop = start + 6 + length
            if stop > end:
                break
            row = stop
            unit_id, pdu = data[start + 6], data[start + 7 : stop]
            unit = slots[unit_id]
            if lanes:
                if self.waiting >= MAX_WAITING:
                    full = True
                    break
                lane = lanes.get(entry.meant[unit_id])
                if lane is not None:
                    requests += 1
                    by_unit[unit_id] += 1
                    self.waiting += 1
                    lane.take(data[start : start + 2], unit_id, pdu)
                    start = stop
                    continue
            requests += 1
            by_unit[unit_id] += 1
            try:
                is_plain = not watched[pdu[0]]
                answer = unit.answer(pdu) if is_plain else entry.ask(unit_id, pdu, data[start : start + 2])
            except Exception:
                answer = entry.fault(unit_id, pdu)
            if type(answer) is not bytes and isinstance(answer, Later):
                if not answer.is_settled:
                    if answers:  # what the lane delivers must not overtake them
                        self._write(answers)
                        answers = []
                    self.waiting += 1
                    key = entry.meant[unit_id]
                    lanes[key] = Lane(self, key, unit, data[start : start + 2], unit_id, answer)
                    plans = _NO_PLANS
                    start = stop
                    continue
                answer = answer.answer
            if answer is None:
                counters.unanswered(counters.requests + requests)
            else:
                answers.append(data[start : start + 2] + _tail(0, len(answer) + 1, unit_id) + answer)
                function = answer[0]
                if function >= _EXCEPTION:
                    self.exceptions += 1
                    counters.refused_by_unit[unit_id] += 1
                    counters.refused(answer[1], counters.requests + requests)
                elif function in _REGISTER_READS:
                    entry.remember(data[start + 2 : stop], unit, pdu)
            start = stop
        if start > row:
            counters.count_units(data[row + 6 : start : 12])
        if requests:
            counters.requests += requests
            self.requests += requests
            self._heard = data if start <= MAX_HEARD_SIZE else data[:MAX_FRAME_SIZE]
        if pace is not None:
            pace.spend(requests)
        transport = self._transport
        if transport is None:
            return
        if answers:
            transport.write(answers[0] if len(answers) == 1 else b"".join(answers))
        if start < len(data):
            if requests or not self._rest:
                self._half_s = self.last_s
            self._rest = data[start:]
        else:
            self._rest = b""
        if broken:
            counters.unread()
            self._rest = b""
            clients.say("client %s: %s; closing the connection", self.peer, broken)
            self._stop_reading(transport)
        elif full or requests >= most or end < len(data):
            self._busy = True
            if transport.is_reading():
                transport.pause_reading()
                counters.held += full
            if full or self._paused:
                return  # who ends that goes on
            if pace is not None and requests >= most < MAX_FRAMES_PER_TURN:
                pace.wait(self, self._go_on)
            else:  # let the other clients have their turn before the rest of this one's
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
            self._half_s = self.last_s  # its rest was not read since
            if self._busy:
                return
        if self._eof:
            self._end(transport)
        elif not self._paused and not transport.is_reading():
            transport.resume_reading()

    # -- lanes --------------------------------------------------------------------------------------------------

    def ask(self, unit_id: int, pdu: bytes, tid: bytes) -> bytes | Later | None:
        """The answer of whoever has this unit id now, judged by its age now and not when it was received."""
        assert self._entry is not None
        self._clients.gate.judge()
        return self._entry.ask(unit_id, pdu, tid)

    def may_overtake(self, unit: Unit, unit_id: int, pdu: bytes) -> bool:
        """Whether it may begin while the unit has not answered what came before; a bug says no."""
        return self._entry is not None and self._entry.may_overtake(unit, unit_id, pdu)

    def deliver(self, lane: Lane, frames: list[bytes], answered: int, *, is_empty: bool) -> None:
        """What a lane has: whole frames in order; `answered` requests wait no more. Empty: it is over.

        Many answers of a device come at once. They leave with one write, soon; before a lane is over, at once, because
        the next answer of its unit needs no lane.
        """
        self.waiting -= answered
        counters = self._clients.counters
        for frame in frames:
            if frame[7] >= _EXCEPTION:
                self.exceptions += 1
                counters.refused_by_unit[frame[6]] += 1
                counters.refused(frame[8])
        for _ in range(answered - len(frames)):
            counters.unanswered()
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
        self._half_s = self._clients.gate.freshness.clock()  # its rest was not read since
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
