"""The event log of function 12 (V1.1b3 6.10): what came and went, newest first, 64 bytes at most.

An ordinary message is two events, received and sent, and there are a hundred thousand of them in a second. So only what
was not ordinary is kept, with the number of the message that it belongs to; the others are filled in from the count of
messages when somebody asks. An answer that came later (of a forward) stands where it was sent.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

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


class _Note(NamedTuple):
    """`events` in the place of message `number`, or behind it."""

    number: int
    events: bytes
    is_message: bool


class Events:
    """Of all messages of one way: those are numbered from 1 by whoever counts them."""

    __slots__ = ("_notes", "_older")

    def __init__(self) -> None:
        self._older = bytes((RESTARTED,))
        """What was before message 1."""
        self._notes: deque[_Note] = deque(maxlen=MAX_EVENTS)
        """In the order of their numbers; each is an event at least, so more are never shown."""

    def refused(self, number: int, code: int) -> None:
        """Message `number` was answered with an exception."""
        self._note(number, bytes((SENT | _KINDS.get(code, _FAILED), RECEIVED)), is_message=True)

    def unanswered(self, number: int, received: int = RECEIVED) -> None:
        """Message `number` got no answer: a unit that is not there, a broadcast."""
        self._note(number, bytes((received,)), is_message=True)

    def add(self, number: int, event: int) -> None:
        """Something that was no message, behind message `number`."""
        self._note(number, bytes((event,)), is_message=False)

    def _note(self, number: int, events: bytes, *, is_message: bool) -> None:
        if self._notes and number < self._notes[-1].number:  # one client's messages are counted as they are served
            number = self._notes[-1].number
        self._notes.append(_Note(number, events, is_message))

    def log(self, messages: int) -> bytes:
        """What there is after so many messages, newest first."""
        found = bytearray()
        number = messages
        for note in reversed(self._notes):
            if len(found) >= MAX_EVENTS:
                break
            found += _ordinary(number - note.number)
            found += note.events
            number = min(number, note.number - note.is_message)
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
