"""What happened, for people: changes of state, writes, reloads, clients, and what went wrong with ourselves.

The rule of the file: to keep an event costs whoever has it a moment, and nothing can push everything else out. Each
kind has a ring of its own, so that a SCADA that writes a thousand times a second hides no device that went down; what
comes again and again about the same thing (a device that flaps) is kept MOST_PER_MINUTE times a minute, then counted,
and the last of them is told when the minute is over. Of a write only what the audit has of it is put aside (`note`):
its number comes at the next occasion, its text when somebody looks.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from heapq import merge
from typing import Any, NamedTuple

KINDS: Mapping[str, int] = {"device": 500, "link": 300, "write": 600, "reload": 100, "client": 300, "gateway": 200}
"""How many of each kind are kept."""
MAX_EVENTS = sum(KINDS.values())
"""2000 of some 500 bytes each: a megabyte."""
LEVELS = ("info", "warning", "error")

MOST_PER_MINUTE = 20
"""Of one kind about one device, link or client; writes are all kept, they are the audit's."""
MINUTE_S = 60.0
MAX_THINGS = 5000
"""Remembered for that; more than a plant has. When there are more, what was quiet for a minute is forgotten."""


class Event(NamedTuple):
    """One thing that happened."""

    number: int
    """From 1; the order in which they happened."""
    time_ns: int
    """UTC."""
    kind: str
    """One of KINDS."""
    where: str
    """The device's name, the link's key, the client, the file: who or what it is about."""
    level: str
    """One of LEVELS."""
    text: str
    """One line."""
    details: dict[str, Any]
    """Plain values, according to the kind: of a device `from` and `to`, of a write what the audit has of it."""


Told = tuple[str, str, str, dict[str, Any]]
"""Where, level, text, details."""


class _Kept:
    """One of them in its ring: an event, or a note of which one is made when it is wanted first."""

    __slots__ = ("made", "note", "number")

    def __init__(self, number: int, event: Event | None, note: Any = None) -> None:
        self.number = number
        self.made = event
        self.note = note


class _Thing:
    """What is told again and again."""

    __slots__ = ("held", "since_s", "told", "untold")

    def __init__(self, now_s: float) -> None:
        self.since_s = now_s
        self.told = 0
        """Since then."""
        self.untold = 0
        self.held: tuple[int, Told] | None = None
        """The last that was not kept: time and words."""


class Events:
    """All of one gateway. Whoever has one may call `add` from any thread."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, read: Callable[[Any], tuple[int, Told]] | None = None
    ) -> None:
        """`read(note)`: UTC in ns, and what is told of a write that was noted."""
        self.note: Callable[[Any], None]
        """A write is over; called from one thread only, and so often that no more than this is done at once."""
        self.lost_before = 1
        """From this number on all are kept; of those before, some kinds may be."""
        self.untold = 0
        """Not kept because they came again and again."""
        self._last = 0
        self._clock = clock
        self._read = read
        self._notes: deque[Any] = deque(maxlen=KINDS["write"])
        self.note = self._notes.append
        self._rings: dict[str, deque[_Kept]] = {kind: deque(maxlen=most) for kind, most in KINDS.items()}
        self._things: dict[tuple[str, str], _Thing] = {}
        self._lock = threading.Lock()

    def add(self, kind: str, where: str, level: str, text: str, **details: Any) -> None:
        """It happened just now."""
        told: Told = (where, level, text, details)
        with self._lock:
            now_s = self._clock()
            key = (kind, where)
            thing = self._things.get(key)
            if thing is None:
                if len(self._things) >= MAX_THINGS:
                    self._forget(now_s)
                thing = self._things[key] = _Thing(now_s)
            elif now_s - thing.since_s >= MINUTE_S:
                self._tell_held(kind, thing)
                thing.since_s, thing.told = now_s, 0
            if thing.told >= MOST_PER_MINUTE:
                thing.untold += 1
                thing.held = (time.time_ns(), told)
                self.untold += 1
                return
            thing.told += 1
            self._keep_told(kind, time.time_ns(), told)

    @property
    def last(self) -> int:
        """Number of the newest; 0: nothing has happened."""
        if self._notes:
            with self._lock:
                self._number_notes()
        return self._last

    def tick(self) -> None:
        """Once a second: writes get their numbers; of what was not kept of a thing, the last is told when its minute is
        over."""
        with self._lock:
            self._number_notes()
            now_s = self._clock()
            for (kind, _), thing in self._things.items():
                if thing.held is not None and now_s - thing.since_s >= MINUTE_S:
                    self._tell_held(kind, thing)
                    thing.since_s, thing.told = now_s, 1

    def since(self, number: int) -> list[Event]:
        """Those after `number` that are kept, the newest last."""
        return list(self.walk(number))

    def walk(self, number: int) -> Iterator[Event]:
        """As `since`, made one at a time; what comes meanwhile is not in it."""
        with self._lock:
            self._number_notes()
            rings = [[kept for kept in ring if kept.number > number] for ring in self._rings.values()]
        return (self._made(kept) for kept in merge(*rings, key=_number))

    def _made(self, kept: _Kept) -> Event:
        if kept.made is None:
            assert self._read is not None
            time_ns, (where, level, text, details) = self._read(kept.note)
            kept.made, kept.note = Event(kept.number, time_ns, "write", where, level, text, details), None
        return kept.made

    def _number_notes(self) -> None:
        """Of a flood the newest are kept; the others are not even counted: the audit's file has them."""
        notes = self._notes
        while notes:
            self._last += 1
            self._keep("write", _Kept(self._last, None, notes.popleft()))

    def _keep_told(self, kind: str, time_ns: int, told: Told) -> None:
        self._number_notes()
        self._last += 1
        where, level, text, details = told
        self._keep(kind, _Kept(self._last, Event(self._last, time_ns, kind, where, level, text, details)))

    def _keep(self, kind: str, kept: _Kept) -> None:
        ring = self._rings[kind]
        if len(ring) == ring.maxlen:
            self.lost_before = max(self.lost_before, ring[0].number + 1)
        ring.append(kept)

    def _tell_held(self, kind: str, thing: _Thing) -> None:
        if thing.held is None:
            return
        time_ns, (where, level, text, details) = thing.held
        if thing.untold > 1:
            text += f" ({thing.untold - 1} more of it before were not kept)"
            details = {**details, "not_kept": thing.untold - 1}
        thing.held, thing.untold = None, 0
        self._keep_told(kind, time_ns, (where, level, text, details))

    def _forget(self, now_s: float) -> None:
        quiet = [key for key, thing in self._things.items() if now_s - thing.since_s >= MINUTE_S and not thing.held]
        for key in quiet or list(self._things)[: MAX_THINGS // 10]:
            del self._things[key]


def _number(kept: _Kept) -> int:
    return kept.number
