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


def value_row(point: Point, blocks: Blocks) -> tuple[str, tuple[Any, ...]]:
    """`[index, value, quality, ms of the last good read, cause, block]` as JSON; what is another when it changed."""
    value, quality, time_ns, cause = point.sample()
    time_ms = time_ns // 1_000_000
    kind = type(value)
    if kind is float:
        shown = repr(value) if isfinite(value) else "null"  # type: ignore[arg-type]
    elif kind is int:  # a larger one as text: see `exact`
        shown = str(value) if -MAX_EXACT <= value <= MAX_EXACT else f'"{value}"'  # type: ignore[operator]
    else:
        shown = "null" if value is None else plain(value)
    why = plain(cause) if cause else '""'
    block = blocks.number(point.source)
    text = f"[{point.index},{shown},{_QUALITY[quality]},{time_ms or 'null'},{why},{block}]"
    return text, (value, quality, cause, block)
