"""One client of a TCP stream that carries RTU or ASCII frames.

Nothing tells which answer belongs to which request but their order: one request is worked on at a time, the others
wait, first in what was read, then in the client's socket. We are one of the units behind that stream: who asks for one
that is not here hears nothing, and unit id 0 is a broadcast, not "this device".

The rule: frames are never told apart by time, which does not survive TCP, and TCP loses nothing. So bytes that are no
frame mean that the client speaks something else, or is out of step, and end the connection.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import cast

from gateway.front import events
from gateway.front.gate import Entry
from gateway.interfaces import Later
from gateway.modbus import spec
from gateway.modbus.reach import BROADCASTS
from gateway.modbus.requests import MAX_FEED_SIZE, Frame, requests_of
from gateway.serving.clients import Clients
from gateway.serving.connection import LAST_ANSWERS_S
from gateway.serving.doors import Door
from gateway.serving.pace import Pace

MAX_UNREAD_SIZE = 4096
"""Bytes of a client that are not looked at yet. More are left in its socket until there are fewer; nothing is lost."""


class Framed(asyncio.Protocol):
    """One client of a stream without MBAP."""

    __slots__ = (
        "_called",
        "_clients",
        "_data",
        "_door",
        "_entry",
        "_eof",
        "_frames",
        "_half_since_s",
        "_later",
        "_paused",
        "_requests",
        "_transport",
        "_unit_id",
        "exceptions",
        "last_heard",
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
        self._transport: asyncio.Transport | None = None
        self._requests = requests_of(door.url.framing, has_silence=False)
        self._data = b""
        """Received, not looked at yet."""
        self._frames: deque[Frame] = deque()
        """Not begun yet; of MAX_FEED_SIZE bytes at most."""
        self._later: Later | None = None
        """The answer that all wait for."""
        self._unit_id = 0
        """Whose it is."""
        self._paused = False
        """The client does not fetch its answers."""
        self._called = False
        """`_go_on` will be called by the loop."""
        self._eof = False
        """Nothing more is read: the connection ends when everything is answered."""
        self._half_since_s: float | None = None
        """When nothing was left but the half of a frame; None: there is none, or its rest may lie with us."""
        self.pace: Pace | None = None
        self.waiting = 0
        """Requests that were begun and have no answer: 0 or 1."""
        self.last_s = 0.0
        """When it last sent something."""
        self.peer = "?"
        self.requests = 0
        self.exceptions = 0
        self.last_heard: Frame | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.last_s = self._clients.gate.freshness.clock()
        self._entry = self._clients.enter(self, self._transport, self._door)
        if self._entry is None:
            self._transport.abort()
            self._transport = None

    def admit(self, entry: Entry) -> None:
        """From now on this is what it may use."""
        self._entry = entry

    def heard(self) -> Frame | None:
        """Unit id and PDU of its last request."""
        return self.last_heard

    def half_since_s(self) -> float | None:
        """Since when the client has owed the rest of a request; None: it owes none."""
        return None if self._paused else self._half_since_s

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._transport = None
            self._forget()
            later, self._later, self.waiting = self._later, None, 0
            if later is not None:
                later.abandon()
            self._clients.leave(self, exc)

    def data_received(self, data: bytes) -> None:
        if self._transport is None or self._eof:
            return
        self.last_s = self._clients.gate.judge()
        self._data += data
        if self._later is None and not (self._paused or self._called):
            self._serve()
        elif len(self._data) > MAX_UNREAD_SIZE:
            self._hold(self._transport)

    def _serve(self) -> None:
        """Answer in order, with one write, until one answer is still to come or enough is done for this turn."""
        transport, requests, frames = self._transport, self._requests, self._frames
        if transport is None or transport.is_closing():
            return
        if not frames:
            self._cut()
        pace = self.pace
        share = len(frames) if pace is None else pace.share(self)
        answers: list[bytes] = []
        while frames and self._later is None:
            if not share:
                assert pace is not None
                pace.wait(self, self._go_on)
                break
            share -= 1
            if pace is not None:
                pace.spend(1)
            unit_id, pdu = frames.popleft()
            answer = self._ask(unit_id, pdu)
            if isinstance(answer, Later):
                if not answer.is_settled:
                    self._later, self._unit_id, self.waiting = answer, unit_id, 1
                    answer.then(self._settled)
                    break
                answer = answer.answer
            if answer is not None:
                answers.append(self._frame(unit_id, answer))
            elif unit_id:
                self._clients.counters.unanswered()
        if answers:
            transport.write(b"".join(answers))
        if not requests.is_waiting or frames or self._data or self._later is not None or self._paused:
            self._half_since_s = None
        elif self._half_since_s is None:
            self._half_since_s = self._clients.gate.freshness.clock()
        if frames or self._later is not None:
            if len(self._data) > MAX_UNREAD_SIZE:
                self._hold(transport)
        elif requests.errors:
            self._break(transport)
        elif self._data:  # let the other clients have their turn before the rest of this one's
            self._hold(transport)
            self._call_go_on()
        elif self._eof:
            self._end(transport)
        elif not self._paused and not transport.is_reading():
            transport.resume_reading()

    def _cut(self) -> None:
        """Requests of what was received."""
        data, self._data = self._data[:MAX_FEED_SIZE], self._data[MAX_FEED_SIZE:]
        found = self._requests.feed(data)
        self._frames.extend(found)
        if found:
            self._half_since_s = None

    def _ask(self, unit_id: int, pdu: bytes) -> bytes | Later | None:
        """The answer of one of our units; None: nobody here answers."""
        entry, counters = self._entry, self._clients.counters
        assert entry is not None
        self.requests += 1
        self.last_heard = (unit_id, pdu)
        if not unit_id:
            entry.broadcast(pdu)
            counters.asked(0)
            counters.unanswered(received=events.BROADCAST if pdu[0] in BROADCASTS else events.RECEIVED)
            return None
        answer = entry.ask(unit_id, pdu) if entry.known[unit_id] else None
        counters.asked(unit_id)  # not before: who asks for the counters is not in them
        return answer

    def _frame(self, unit_id: int, answer: bytes) -> bytes:
        if answer[0] >= spec.EXCEPTION_BIT:
            self.exceptions += 1
            self._clients.counters.refused_by_unit[unit_id] += 1
            self._clients.counters.refused(answer[1])
        return self._requests.pack(unit_id, answer)

    def _settled(self) -> None:
        """The answer that all waited for is there."""
        later, self._later, self.waiting = self._later, None, 0
        transport = self._transport
        if later is None or transport is None or transport.is_closing():  # uvloop raises on a closed one
            return
        if later.answer is None:
            self._clients.counters.unanswered()
        else:
            transport.write(self._frame(self._unit_id, later.answer))
        self._call_go_on()

    def _call_go_on(self) -> None:
        """Soon, and once: an answer may be there from inside whatever is asked."""
        if not self._called:
            self._called = True
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        self._called = False
        if self._later is None and not self._paused:
            self._clients.gate.judge()
            self._serve()

    # -- flow and end -------------------------------------------------------------------------------------------

    def _hold(self, transport: asyncio.Transport) -> None:
        """Read nothing more for now."""
        if transport.is_reading():
            transport.pause_reading()
            if self._later is not None:
                self._clients.counters.held += 1

    def pause_writing(self) -> None:
        """The client does not fetch its answers: take no more requests from it."""
        self._paused = True
        if self._transport is not None and self._transport.is_reading():
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._paused = False
        self._half_since_s = None  # its rest was not read since
        self._call_go_on()

    def eof_received(self) -> bool:
        """A client may close its sending side and still wants the answers to what it asked."""
        self._eof = True
        if not (self._data or self._frames) and self._transport is not None:
            self._end(self._transport)
        return True  # the transport stays open until `_end` closes it

    def last_call(self) -> None:
        """Take nothing more; close when the answer still to come has left."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if not self.waiting:
            self.close()
            return
        self._stop_reading(transport)

    def _break(self, transport: asyncio.Transport) -> None:
        clients, framing = self._clients, self._door.url.framing
        clients.counters.unread()
        clients.say("client %s: this is no %s frame; closing the connection", self.peer, framing.upper())
        self._stop_reading(transport)

    def _stop_reading(self, transport: asyncio.Transport) -> None:
        """Nothing more is taken from this client; the connection ends when everything is answered."""
        self._eof = True
        self._forget()
        if transport.is_reading():
            transport.pause_reading()
        self._end(transport)

    def _forget(self) -> None:
        """What was not begun is not begun any more."""
        self._data = b""
        self._frames.clear()

    def _end(self, transport: asyncio.Transport) -> None:
        """Close when the last answer is written, or in LAST_ANSWERS_S when nobody fetches it."""
        if self._later is not None or transport.is_closing():
            return  # `_settled` comes back
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
