"""Which parts of a block a device reads in one request, found out by asking. Pure: answers in, the next question out.

A block is a row of items: its tags (those that overlap are one), or the single registers or bits of a raw block. A part
that is refused is cut in two at a border between items, where there is one at a border with a gap, for a register that
nobody asked for is the first suspect; so the bad ones stand alone after a number of requests that is logarithmic in
the items for each. Then neighbours that were parted needlessly are joined again: all of a row at once, else two by two;
a border that fails is remembered, it is a hole in a gap, or the device reads less at once than it was planned for.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from gateway.modbus import spec
from gateway.polling.plan import Block

SPLITTING = (spec.ILLEGAL_ADDRESS, spec.ILLEGAL_VALUE)
"""Exceptions that may be the fault of a part of the block; 01 is the function's, whatever the block."""


def items_of(block: Block) -> list[tuple[int, int]]:
    """(first, stop) of what must not be cut, in order; between them may be gaps."""
    if not block.tags:
        return [(address, address + 1) for address in range(block.first, block.first + block.count)]
    items: list[tuple[int, int]] = []
    for tag in block.tags:
        if items and tag.first < items[-1][1]:
            items[-1] = (items[-1][0], max(items[-1][1], tag.stop))
        else:
            items.append((tag.first, tag.stop))
    return items


class Verdict(enum.Enum):
    UNKNOWN = "unknown"
    GOOD = "good"
    REFUSED = "refused"


@dataclass(slots=True, eq=False)
class Part:
    """Items `start`..`stop` of the row, read in one request: `count` registers or bits from `first`."""

    start: int
    stop: int
    first: int
    count: int
    verdict: Verdict = Verdict.UNKNOWN
    code: int = 0
    """The exception, of a refused one."""


class Finding(enum.Enum):
    """Why a block of which nothing is refused is not read in one request."""

    NONE = "none"
    GAP = "gap"
    LIMIT = "limit"
    EITHER = "either"


class Split:
    """A row of items and what is known of its parts."""

    def __init__(self, block: Block) -> None:
        self._items = items_of(block)
        self.parts = [self._part(0, len(self._items))]
        """In order; together all items."""
        self._hard: set[int] = set()
        """Borders (index of the item behind) that failed when they were joined."""
        self._failed: set[tuple[int, int]] = set()
        """Rows of more than two parts that were refused as a whole."""
        self._refused_sizes: list[int] = []

    def _part(self, start: int, stop: int) -> Part:
        first = self._items[start][0]
        return Part(start, stop, first, self._items[stop - 1][1] - first)

    def _gap(self, border: int) -> int:
        return self._items[border][0] - self._items[border - 1][1]

    # -- what the answers say -----------------------------------------------------------------------------------

    def accept(self, part: Part) -> None:
        """It was read."""
        part.verdict, part.code = Verdict.GOOD, 0

    def refuse(self, part: Part, code: int) -> list[Part]:
        """It was refused: the two parts that take its place, or none when it stands alone (or 01 refuses it)."""
        if code not in SPLITTING or part.stop - part.start == 1:
            part.verdict, part.code = Verdict.REFUSED, code
            return []
        border = self._cut(part)
        halves = [self._part(part.start, border), self._part(border, part.stop)]
        at = self.parts.index(part)
        self.parts[at : at + 1] = halves
        return halves

    def _cut(self, part: Part) -> int:
        borders = range(part.start + 1, part.stop)
        middle = (part.start + part.stop) / 2
        gaps = [border for border in borders if self._gap(border)]
        return min(gaps or borders, key=lambda border: abs(border - middle))

    def join(self, row: list[Part]) -> Part:
        """The parts of `row` were read in one request: the part that takes their place."""
        joined = self._part(row[0].start, row[-1].stop)
        joined.verdict = Verdict.GOOD
        at = self.parts.index(row[0])
        self.parts[at : at + len(row)] = [joined]
        return joined

    def keep_apart(self, row: list[Part]) -> None:
        """The parts of `row` were refused in one request."""
        self._refused_sizes.append(row[-1].first + row[-1].count - row[0].first)
        if len(row) == 2:
            self._hard.add(row[1].start)
        else:
            self._failed.add((row[0].start, row[-1].stop))

    def reconsider(self) -> None:
        """The device has changed: borders that failed may work now."""
        self._hard.clear()
        self._failed.clear()
        self._refused_sizes.clear()

    # -- what to ask next ---------------------------------------------------------------------------------------

    def next_unknown(self) -> Part | None:
        """The biggest part nothing is known of: most values come back soonest."""
        unknown = [part for part in self.parts if part.verdict is Verdict.UNKNOWN]
        return max(unknown, key=lambda part: part.count, default=None)

    def next_join(self) -> list[Part] | None:
        """Neighbours that may be read in one request; None: nothing is left to try."""
        for row in self._rows():
            if len(row) > 2 and (row[0].start, row[-1].stop) not in self._failed:
                return row
            if len(row) > 1:
                return row[:2]
        return None

    def _rows(self) -> Iterator[list[Part]]:
        """Good parts side by side, up to a border that failed."""
        row: list[Part] = []
        for part in self.parts:
            if row and (part.verdict is not Verdict.GOOD or part.start in self._hard):
                yield row
                row = []
            if part.verdict is Verdict.GOOD:
                row.append(part)
        if row:
            yield row

    # -- what was found -----------------------------------------------------------------------------------------

    @property
    def is_whole(self) -> bool:
        """One request reads it all."""
        return len(self.parts) == 1 and self.parts[0].verdict is Verdict.GOOD

    def refused(self) -> list[tuple[int, int, int]]:
        """(first, count, code) of what is refused, neighbours with the same code together."""
        found: list[tuple[int, int, int]] = []
        for part in self.parts:
            if part.verdict is not Verdict.REFUSED:
                continue
            if found and found[-1][2] == part.code and found[-1][0] + found[-1][1] == part.first:
                found[-1] = (found[-1][0], found[-1][1] + part.count, part.code)
            else:
                found.append((part.first, part.count, part.code))
        return found

    def safe(self) -> list[tuple[int, int]]:
        """(first, count) of what is read in one request each."""
        return [(part.first, part.count) for part in self.parts if part.verdict is Verdict.GOOD]

    def finding(self) -> Finding:
        """What keeps neighbours apart that are all good.

        The device's limit, when a border without a gap failed and less was read in one request than was refused; a
        gap, when each border that failed has one; either, when a gap elsewhere did not fail and the sizes agree, too.
        """
        good = [part for part in self.parts if part.verdict is Verdict.GOOD]
        borders = [b.start for a, b in pairwise(self.parts) if a.verdict is b.verdict is Verdict.GOOD]
        if not borders or not self._refused_sizes:
            return Finding.NONE
        all_gaps = all(self._gap(border) for border in borders)
        inside = any(self._gap(border) for part in good for border in range(part.start + 1, part.stop))
        by_size = max(part.count for part in good) < min(self._refused_sizes)
        if all_gaps:
            return Finding.EITHER if by_size and inside else Finding.GAP
        return Finding.LIMIT if by_size else Finding.NONE
