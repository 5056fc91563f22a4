"""A tag's value as JSON, and the blocks that tags are read in, by numbers: a tag's time is its block's, so it is told
once for all tags of it.

The rule: a number means one block as long as the page is open and is never given to another, so whoever has an old one
hears no more of it and shows an age that is too great, never one that is too small.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from typing import Any

from gateway.hub import Point, Source
from gateway.web.slices import MAX_EXACT, plain

State = tuple[Any, ...]
"""Value, quality, cause, number of the block."""

_QUALITY = ('"good"', '"uncertain"', '"bad"')


class Blocks:
    """Of one page."""

    def __init__(self) -> None:
        self._numbers: dict[Source, int] = {}
        self._next = 0

    def number(self, source: Source) -> int:
        found = self._numbers.get(source)
        if found is None:
            found = self._numbers[source] = self._next
            self._next += 1
        return found

    def all(self) -> list[tuple[Source, int]]:
        """Those that tags were told of."""
        return list(self._numbers.items())

    def keep(self, sources: Iterable[Source]) -> None:
        """Of a reload: the others are gone."""
        kept = set(sources)
        for source in [each for each in self._numbers if each not in kept]:
            del self._numbers[source]

    def clear(self) -> None:
        self._numbers.clear()


def state_of(point: Point, blocks: Blocks) -> State:
    """What it is; another one when that has changed. Its time is its block's, and not in it."""
    value, quality, _, cause = point.sample()
    return value, quality, cause, blocks.number(point.source)


def row_of(point: Point, state: State, time_ms: int) -> str:
    """`[index, value, quality, ms of the last good read, cause, block]` as JSON. `time_ms`: 0 before it."""
    value, quality, cause, block = state
    kind = type(value)
    if kind is float:
        shown = repr(value) if isfinite(value) else "null"
    elif kind is int:  # a larger one as text: see `exact`
        shown = str(value) if -MAX_EXACT <= value <= MAX_EXACT else f'"{value}"'
    else:
        shown = "null" if value is None else plain(value)
    why = plain(cause) if cause else '""'
    return f"[{point.index},{shown},{_QUALITY[quality]},{time_ms or 'null'},{why},{block}]"


def read_ms(source: Source) -> int:
    """When it was read well last; 0: never."""
    return source.good_time_ns // 1_000_000
