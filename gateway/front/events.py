"""The event log of function 12 (V1.1b3 6.10): what came and went, newest first, 64 bytes at most.

An ordinary message is two events, received and sent, and there are a hundred thousand of them in a second. So only what
was not ordinary is kept, with the number of the message that it belongs to; the others are filled in from the count of
messages when somebody asks. An answer that came later (of a forward) stands where it was sent.
"""

from __future__ import annotations

from collections import deque

from gateway.modbus import spec

MAX_EVENTS = 64

RECEIVED = 0x80
BROKEN = 0x82
"""Received with a communication error: a frame that nobody could read."""
BROADCAST = 0xC0
RECEIVED_LISTENING = 0xA0
"""Received while we only listen (08/04)."""
SENT = 0x40
LISTENS = 0x04
"""We only listen from here on."""
RESTARTED = 0x00

_ORDINARY = bytes((SENT, RECEIVED))
_REFUSED, _FAILED, _BUSY, _NAK = 0x01, 0x02, 0x04, 0x08
_KINDS = {
    spec.ILLEGAL_FUNCTION: _REFUSED,
    spec.ILLEGAL_ADDRESS: _REFUSED,
    spec.ILLEGAL_VALUE: _REFUSED,
    spec.ACKNOWLEDGE: _BUSY,
    spec.SERVER_BUSY: _BUSY,
    spec.NEGATIVE_ACKNOWLEDGE: _NAK,
}
"""The others, of which the specification says nothing, failed as 04 did: 0B of a gateway above all."""


_REFUSALS = tuple(bytes((SENT | _KINDS.get(code, _FAILED), RECEIVED)) for code in range(256))
"""By exception code: the events of a message that was answered with it."""

_Note = tuple[int, bytes, bool]
"""Number of a message, events; True: they stand in its place, False: behind it."""


class Events:
    """Of all messages of one way: those are numbered from 1 by whoever counts them."""

    __slots__ = ("_notes", "_older")

    def __init__(self) -> None:
        self._older = bytes((RESTARTED,))
        """What was before message 1."""
        self._notes: deque[_Note] = deque(maxlen=MAX_EVENTS)
        """In the order of their numbers, as they come; each is an event at least, so more are never shown."""

    def refused(self, number: int, code: int) -> None:
        """Message `number` was answered with an exception."""
        self._notes.append((number, _REFUSALS[code], True))

    def unanswered(self, number: int, received: int = RECEIVED) -> None:
        """Message `number` got no answer: a unit that is not there, a broadcast."""
        self._notes.append((number, bytes((received,)), True))

    def add(self, number: int, event: int) -> None:
        """Something that was no message, behind message `number`."""
        self._notes.append((number, bytes((event,)), False))

    def log(self, messages: int) -> bytes:
        """What there is after so many messages, newest first."""
        found = bytearray()
        number = messages
        for at, events, is_message in reversed(self._notes):
            if len(found) >= MAX_EVENTS:
                break
            found += _ordinary(number - at)
            found += events
            number = min(number, at - is_message)
        found += _ordinary(number) + self._older
        return bytes(found[:MAX_EVENTS])

    def renumber(self, messages: int) -> None:
        """After so many messages their numbers begin anew."""
        self._older = self.log(messages)
        self._notes.clear()

    def restart(self, messages: int, *, clear: bool) -> None:
        """As `renumber`, and communications were restarted; `clear`: nothing else is left."""
        self.renumber(messages)
        self._older = bytes((RESTARTED,)) + (b"" if clear else self._older[: MAX_EVENTS - 1])


def _ordinary(messages: int) -> bytes:
    return _ORDINARY * min(messages, MAX_EVENTS // 2)
