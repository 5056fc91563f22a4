"""Which addresses of a table answer, with few requests. Pure: answers in, the next question out.

A read succeeds when all of its addresses are there, so one long read tells much when it succeeds and next to nothing
when it fails. A single address that answers is therefore the seed of a range, which grows from it by the longest reads
there are, and by halves where one fails: some seven requests for each end. What fails although each of its halves is
there is no hole but more than the device gives at once.

Where seeds are looked for decides what is found. In a range that the user gave it is every address; in a whole table
the places where ranges use to begin (`PLACES`), and around each range that was found ever farther away. A short range
far from all of these is missed: looking at 65,536 addresses one by one takes half an hour, and says so.

Some devices refuse a single register of a value that takes two. Where nothing was found, pairs are tried (`width`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.commission.asker import Answer, Kind
from gateway.modbus import spec
from gateway.modbus.spec import Table

PLACES = tuple(
    sorted(
        {
            *range(16),
            *range(20, 1000, 10),
            *range(1000, 10_000, 100),
            *range(10_000, spec.ADDRESSES, 1000),
            *(place + 1 for place in range(100, 1000, 100)),  # counted from 1
            *(place + 1 for place in range(1000, spec.ADDRESSES, 1000)),
            *range(0x100, 0x2000, 0x100),
            *range(0x2000, spec.ADDRESSES, 0x1000),
        }
    )
)
"""Of a whole table: dense where most devices have theirs, then round numbers, decimal and hexadecimal."""
PAIRS_BELOW = 1000
"""Of a whole table in which no single register answers, pairs are tried among the first of these places."""
AROUND = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)
"""How far from the ends of a range its neighbours are looked for."""
MAX_SILENT = 12
"""Places without any answer in a row: each costs a time-out, and a device that is silent for one is so for all."""
FUNCTION_TRIES = 2
"""Places that say 01 before a table counts as one that the device has not."""


class Question(NamedTuple):
    """A read of `count` from `first`; `is_seed`: of a place, for who counts how far it is."""

    first: int
    count: int  # type: ignore[assignment]  # tuple.count() is not missed
    is_seed: bool = False


@dataclass(slots=True, eq=False)
class Map:
    """What is known of a table; true at every moment, also when the search is ended early."""

    table: Table
    ranges: list[tuple[int, int]] = field(default_factory=list)
    """(first, stop) of what answers, in order and apart."""
    most: int = 0
    """The longest read that succeeded."""
    limit: int | None = None
    """So many at once and not one more; None: none was met."""
    width: int = 1
    """The least that can be read at once: 2 of devices that refuse half a value."""
    code: int = 0
    """The exception that every place got while nothing was found; 0: none."""
    silent: int = 0
    """Reads without any answer, or that ended the connection."""
    places: int = 0
    """Addresses that were asked alone."""
    is_whole: bool = False
    """The search came to its end, and was not given up because nothing answers."""

    @property
    def count(self) -> int:
        return sum(stop - first for first, stop in self.ranges)

    def has(self, address: int) -> bool:
        return any(first <= address < stop for first, stop in self.ranges)

    def add(self, first: int, stop: int) -> None:
        """Join a range to what is known."""
        merged: list[tuple[int, int]] = []
        for old_first, old_stop in sorted([*self.ranges, (first, stop)]):
            if merged and old_first <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], old_stop))
            else:
                merged.append((old_first, old_stop))
        self.ranges = merged


Search = Generator[Question, Answer, None]


def search(found: Map, low: int, high: int, most: int, places: Iterable[int] | None = None) -> Search:
    """Find what answers in low..high-1; `found` grows. `most`: the longest read there may be.

    `places`: where to look for seeds, in order; default: at every address.
    """
    every = range(low, high) if places is None else [place for place in places if low <= place < high]
    is_done = yield from _Finder(found, low, high, most).run(every, near=places is not None)
    if not found.ranges and not found.table.is_bits and found.code in (spec.ILLEGAL_ADDRESS, spec.ILLEGAL_VALUE):
        found.width = 2
        pairs = every if places is None else [place for place in every if place < PAIRS_BELOW]
        is_done = yield from _Finder(found, low, high, most).run(pairs, near=places is not None)
        if not found.ranges:
            found.width = 1
    found.is_whole = is_done


class _Finder:
    def __init__(self, found: Map, low: int, high: int, most: int) -> None:
        self._found = found
        self._low, self._high = low, high
        self._most = most
        self._holes: set[int] = set()
        """Addresses at which nothing of the least width begins."""
        self._ends: set[int] = set()
        """Of ranges whose neighbourhood was looked at."""

    def run(self, places: Iterable[int], *, near: bool) -> Generator[Question, Answer, bool]:
        """Whether it came to its end. `near`: look around what is found, too."""
        found, silent_row, functions = self._found, 0, 0
        waiting = iter(places)
        around: deque[int] = deque()
        while (place := _next(around, waiting)) is not None:
            if found.has(place) or place in self._holes or place + found.width > self._high:
                continue
            answer = yield Question(place, found.width, is_seed=True)
            found.places += 1
            silent_row = silent_row + 1 if answer.kind is Kind.NONE else 0
            if answer.is_good:
                yield from self._grow(place)
                if near:
                    around.extend(self._around(place))
                continue
            self._refused(place, answer)
            functions += answer.code == spec.ILLEGAL_FUNCTION
            if not found.ranges and functions >= FUNCTION_TRIES:
                return True
            if silent_row >= MAX_SILENT and (near or not found.ranges):
                return False
        return True

    def _refused(self, place: int, answer: Answer) -> None:
        self._holes.add(place)
        self._found.silent += answer.kind is Kind.NONE
        if answer.code and not self._found.ranges:
            self._found.code = answer.code

    def _around(self, place: int) -> Iterator[int]:
        """Places beside the range that `place` is in."""
        first, stop = next(each for each in self._found.ranges if each[0] <= place < each[1])
        for end, sign in ((stop - 1, 1), (first, -1)):
            if end not in self._ends:
                self._ends.add(end)
                yield from (at for step in AROUND if self._low <= (at := end + sign * step) < self._high)

    # -- one range ----------------------------------------------------------------------------------------------

    def _grow(self, place: int) -> Search:
        """From a place that answers to both of its ends."""
        found = self._found
        found.code = 0
        found.most = max(found.most, found.width)
        found.add(place, place + found.width)
        yield from self._grow_up(place)
        yield from self._grow_down(place)

    def _longest(self) -> int:
        most = self._most if self._found.limit is None else self._found.limit
        return most - most % self._found.width

    def _grow_up(self, place: int) -> Search:
        found, width = self._found, self._found.width
        while True:
            stop = self._range(place)[1]
            room = min(self._longest(), self._high - stop)
            room -= room % width
            if not room or (width == 1 and stop in self._holes):
                return
            good = yield from self._bisect(room, stop, up=True)
            if good:
                found.add(stop, stop + good)
            if good == room:
                continue
            if not (yield from self._goes_on(stop + good, good)):
                self._holes.add(stop + good)
                return

    def _grow_down(self, place: int) -> Search:
        found, width = self._found, self._found.width
        while True:
            first = self._range(place)[0]
            room = min(self._longest(), first - self._low)
            room -= room % width
            if not room or first - width in self._holes:
                return
            good = yield from self._bisect(room, first, up=False)
            if good:
                found.add(first - good, first)
            if good == room:
                continue
            if not (yield from self._goes_on(first - good - width, good)):
                self._holes.add(first - good - width)
                return

    def _range(self, place: int) -> tuple[int, int]:
        return next(each for each in self._found.ranges if each[0] <= place < each[1])

    def _bisect(self, room: int, at: int, *, up: bool) -> Generator[Question, Answer, int]:
        """The longest read of up to `room` from `at` on (or that ends before it) which succeeds; 0: none does."""
        width, found = self._found.width, self._found
        good, bad = 0, room + width
        count = room
        while bad - good > width:
            answer = yield Question(at if up else at - count, count)
            if answer.is_good:
                good = count
                found.most = max(found.most, count)
            else:
                bad = count
                found.silent += answer.kind is Kind.NONE
            count = good + (bad - good) // 2 // width * width
        return good

    def _goes_on(self, first: int, good: int) -> Generator[Question, Answer, bool]:
        """What failed behind `good` answers alone: then no hole ended the read, but its length."""
        if not good or first < self._low or first + self._found.width > self._high:
            return False
        answer = yield Question(first, self._found.width)
        if not answer.is_good:
            return False
        self._found.limit = good
        self._found.add(first, first + self._found.width)
        return True


def _next(around: deque[int], waiting: Iterator[int]) -> int | None:
    return around.popleft() if around else next(waiting, None)
