"""The last hour of every tag, in memory: least, greatest and last value of each stretch of time.

The rule: memory is given, the resolution follows. All tags share one length of a stretch (`period_s`): the shortest
power of two seconds with which `keep_s` of all tags fit into `max_bytes`. A thousand tags have 2 s for an hour in the
64 MB of DEFAULT_BYTES, ten thousand 16 s. Least and greatest stay beside the last value, so a spike is seen however
long a stretch is, and however coarse it is drawn. A stretch without a good value is a gap, never a line drawn over it;
so is one in which the quality was bad for a moment, however short: it has no last value, and where several are drawn as
one, none of them may be a gap. Its least and greatest stay, for a spike just before an outage is what one looks for. An
uncertain value (a poll was lost) is not drawn, but ends no line: it does not say that the value was gone.

A name is not a tag: when a reload makes it mean something else (`meaning`: another unit, scale, address or device),
what it was before is nobody's past, and is dropped.

Values are taken from what changed (a subscription), LOOK_S apart; what a tag was in between, twice changed within that,
is not seen. Whatever is done for all tags is done for a few of them at a time: ten thousand take many milliseconds, in
which nobody would be served.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Protocol

from gateway.values import Quality, Sample

LOOK_S = 0.1
"""How often `tick` is called: the fastest polls are not much faster."""
DEFAULT_BYTES = 64 * 1024 * 1024
"""Reached with 776 tags and more; what ten thousand need besides is as much."""
MAX_PERIOD_S = 1024
"""However many tags there are."""
BYTES_EACH = 3 * 8
"""Of one tag and stretch."""
AT_ONCE = 100
"""Tags that are looked at in one go, and stretches that are cleared or made anew: a few tenths of a millisecond."""
MADE_AT_ONCE = 10
"""New tags: each may have an hour of seconds, 86 KB that the system has to find."""

_GAP = math.nan

Key = tuple[str, str]
"""Device and tag."""
Meaning = Callable[[Key], Hashable]
"""What is another when a tag's numbers mean something else."""
Gaps = list[float | int | None]
"""None where there was no good value; last values, too, where the quality was bad for a moment."""


class Point(Protocol):
    """A tag's latest value (hub)."""

    device: str
    tag: str

    def sample(self) -> Sample: ...


class Subscription(Protocol):
    """What has changed (hub)."""

    def take(self) -> Iterable[Point]: ...
    def close(self) -> None: ...


class Hub(Protocol):
    """All tags, as they are needed here."""

    generation: int

    @property
    def points(self) -> Mapping[str, Mapping[str, Point]]: ...
    def subscribe(self) -> Subscription: ...


class _Series:
    """One tag: rings with a place for each stretch; the one of stretch n is n modulo their length. Without a good value
    all three are NaN; with one, but bad for a moment, only the last is."""

    __slots__ = ("greatest", "is_broken", "last", "least", "meaning", "now", "point")

    def __init__(self, point: Point, meaning: Hashable, slots: int) -> None:
        self.point = point
        self.meaning = meaning
        empty = array("d", [_GAP]) * slots
        self.least, self.greatest, self.last = empty, array("d", empty), array("d", empty)
        self.now: tuple[float, float, float] | None = None
        """Least, greatest and last of the stretch that runs."""
        self.is_broken = False
        """Its value was bad in the stretch that runs."""

    def see(self) -> None:
        """Its value may be another."""
        value, quality, _, _ = self.point.sample()
        if quality is Quality.BAD and value is not None:  # before the first there is nothing to interrupt
            self.is_broken = True
        if quality is not Quality.GOOD or isinstance(value, str) or value is None:
            return
        number = float(value)
        before = self.now
        if before is None:
            self.now = (number, number, number)
        else:
            self.now = (min(before[0], number), max(before[1], number), number)

    def close(self, slot: int) -> None:
        """The stretch is over; the next begins with the value there is."""
        self.least[slot], self.greatest[slot], self.last[slot] = self.so_far() or (_GAP, _GAP, _GAP)
        self.begin()

    def begin(self) -> None:
        """A stretch, with the value there is."""
        self.now = None
        self.is_broken = False
        self.see()

    def so_far(self) -> tuple[float, float, float] | None:
        """Of the stretch that runs; None: no good value."""
        return (*self.now[:2], _GAP) if self.now is not None and self.is_broken else self.now

    def clear(self, slot: int) -> None:
        self.least[slot] = self.greatest[slot] = self.last[slot] = _GAP


class Trends:
    """Of all tags of one hub. `tick` drives it; no clock and no task of its own."""

    def __init__(
        self, hub: Hub, keep_s: float, max_bytes: int = DEFAULT_BYTES, meaning: Meaning = lambda _: None
    ) -> None:
        self.keep_s = keep_s
        self.meaning = meaning
        self.max_bytes = max_bytes
        self.period_s = 1
        self._hub = hub
        self._changes = hub.subscribe()
        self._generation = -1
        self._slots = 1
        self._stretch = 0
        """The number of the stretch that runs: seconds since 1970 by `period_s`."""
        self._series: dict[Key, _Series] = {}
        self._turn: Iterator[None] | None = None
        """What a look began and has not ended yet; it rests where others are to have their turn."""

    def close(self) -> None:
        """No more."""
        self._changes.close()
        self._series.clear()
        self._turn = None

    def configure(self, keep_s: float, meaning: Meaning | None = None) -> None:
        """Another length, in place; what is known, still fits and means the same is kept. `meaning`: from now on; call
        it when the points are those that it is about."""
        self.keep_s = keep_s
        self.meaning = meaning or self.meaning
        self._generation = -1

    def tick(self, now_s: float) -> bool:
        """`now_s`: seconds since 1970. True: there is more to do, call again as soon as others had their turn."""
        if self._turn is None:
            self._turn = self._look(now_s)
        for _ in self._turn:
            return True
        self._turn = None
        return False

    def series(self, key: Key, from_ms: int, to_ms: int, max_points: int) -> tuple[list[int], Gaps, Gaps, Gaps]:
        """Times (ms since 1970, the begin of each stretch or of several together), least, greatest and last of each.

        Unknown tags, and what was before all that is kept, give nothing.
        """
        found = self._series.get(key)
        if found is None or found.meaning != self.meaning(key):
            return [], [], [], []
        oldest = self._stretch - self._slots
        first = max(int(from_ms / 1000 // self.period_s), oldest)
        stop = min(int(to_ms / 1000 // self.period_s) + 1, self._stretch + 1)
        times: list[int] = []
        least: Gaps = []
        greatest: Gaps = []
        last: Gaps = []
        step = max(1, -(-(stop - first) // max_points))
        has_begun = False
        for begin in range(first - first % step, stop, step):
            times.append(begin * self.period_s * 1000)
            parts = [self._of(found, at) for at in range(max(begin, first), min(begin + step, stop))]
            known = [part for part in parts if part is not None]
            if known and not has_begun:  # what is before the first of all ends no line
                has_begun = True
                parts = parts[parts.index(known[0]) :]
            least.append(_plain(min(part[0] for part in known)) if known else None)
            greatest.append(_plain(max(part[1] for part in known)) if known else None)
            is_whole = len(known) == len(parts) and not any(math.isnan(part[2]) for part in known)
            last.append(_plain(known[-1][2]) if known and is_whole else None)
        return times, least, greatest, last

    # -- inside -------------------------------------------------------------------------------------------------

    def _of(self, series: _Series, stretch: int) -> tuple[float, float, float] | None:
        if stretch == self._stretch:
            return series.so_far()
        slot = stretch % self._slots
        least = series.least[slot]
        return None if math.isnan(least) else (least, series.greatest[slot], series.last[slot])

    def _look(self, now_s: float) -> Iterator[None]:
        """All that is to be done now."""
        if self._hub.generation != self._generation:
            yield from self._follow()
        series = self._series
        for number, point in enumerate(self._changes.take(), 1):
            found = series.get((point.device, point.tag))
            if found is not None:
                found.see()
            if number % AT_ONCE == 0:
                yield
        stretch = int(now_s // self.period_s)
        if stretch == self._stretch:
            return
        if stretch == self._stretch + 1:
            yield from self._close()
        else:
            yield from self._jump(stretch)

    def _close(self) -> Iterator[None]:
        """The stretch has ended; when it is closed for all, the next is the one that runs."""
        slot = self._stretch % self._slots
        for number, series in enumerate(self._series.values(), 1):
            series.close(slot)
            if number % AT_ONCE == 0:
                yield
        self._stretch += 1

    def _jump(self, stretch: int) -> Iterator[None]:
        """The clock was set, the process slept, or it begins: what is in between is a gap, what is ahead is nothing."""
        begins = not self._stretch
        if stretch < self._stretch:
            cleared = range(self._slots)
        elif begins:
            cleared = range(0)
        else:
            cleared = range(self._stretch + 1, min(stretch, self._stretch + self._slots) + 1)
        done = 0
        for series in self._series.values():
            if not begins:
                series.close(self._stretch % self._slots)
            for at in cleared:
                series.clear(at % self._slots)
                done += 1
                if done % AT_ONCE == 0:
                    yield
            series.begin()
            done += 1
            if done % AT_ONCE == 0:
                yield
        self._stretch = stretch

    def _follow(self) -> Iterator[None]:
        """There are other tags: take the new ones in, let the gone ones go, fit the resolution to their number.

        Until all is made, what was before is shown.
        """
        self._generation = self._hub.generation
        points = [point for tags in self._hub.points.values() for point in tags.values()]
        period_s, slots = resolution(len(points), self.keep_s, self.max_bytes)
        old_s, old_slots, old_stretch = self.period_s, self._slots, self._stretch
        followed: dict[Key, _Series] = {}
        made = 0
        for number, point in enumerate(points, 1):
            key = (point.device, point.tag)
            series, meaning = self._series.get(key), self.meaning(key)
            if series is not None and series.meaning != meaning:
                series = None
            if series is None or (period_s, slots) != (old_s, old_slots):
                before, series = series, _Series(point, meaning, slots)
                if before is not None:
                    yield from _resample(before, series, old_s, old_slots, old_stretch, period_s, slots)
                made += 1
                if made % MADE_AT_ONCE == 0:
                    yield
            series.point = point
            series.see()
            followed[key] = series
            if number % AT_ONCE == 0:
                yield
        before_all, self._series = self._series, followed
        self.period_s, self._slots = period_s, slots
        self._stretch = old_stretch * old_s // period_s
        while before_all:  # memory is given back a little at a time, too
            before_all.popitem()
            if len(before_all) % AT_ONCE == 0:
                yield


def resolution(tags: int, keep_s: float, max_bytes: int) -> tuple[int, int]:
    """Seconds of a stretch, and how many are kept of each tag."""
    period_s = 1
    while period_s < MAX_PERIOD_S and tags * BYTES_EACH * _slots(keep_s, period_s) > max_bytes:
        period_s *= 2
    return period_s, max(1, min(_slots(keep_s, period_s), max_bytes // BYTES_EACH // max(tags, 1)))


def _slots(keep_s: float, period_s: int) -> int:
    return max(1, math.ceil(keep_s / period_s))


def _resample(
    series: _Series, made: _Series, old_s: int, old_slots: int, old_stretch: int, period_s: int, slots: int
) -> Iterator[None]:
    """Into `made`: the same past in stretches of another length. Lengths are powers of two: they lie in each other."""
    made.now, made.is_broken = series.now, series.is_broken
    broken = -1  # the latest of the new ones that has a gap in it; what is before the first value of all is none
    has_begun = False
    stretch = old_stretch * old_s // period_s
    for done, at in enumerate(range(max(0, old_stretch - old_slots), old_stretch), 1):
        if done % AT_ONCE == 0:
            yield
        slot = at % old_slots
        first = at * old_s // period_s
        has_begun = has_begun or not math.isnan(series.least[slot])
        if has_begun and math.isnan(series.last[slot]):
            broken = first
            if stretch - slots <= first < stretch:
                made.last[first % slots] = _GAP
        if math.isnan(series.least[slot]):
            continue
        for target in range(first, first + max(1, old_s // period_s)):
            if not stretch - slots <= target < stretch:
                continue
            to = target % slots
            known = not math.isnan(made.least[to])
            made.least[to] = min(made.least[to], series.least[slot]) if known else series.least[slot]
            made.greatest[to] = max(made.greatest[to], series.greatest[slot]) if known else series.greatest[slot]
            made.last[to] = _GAP if target == broken else series.last[slot]


def _plain(number: float) -> float | int:
    """Whole numbers are shown as such."""
    return int(number) if number.is_integer() and abs(number) < 2**53 else number
