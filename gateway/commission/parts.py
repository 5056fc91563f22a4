"""Why a read that the device refused was refused, found by asking parts of it. Pure: answers in, the next question out.

The rule of the file: a part is cut in two between items (what must not be cut: a tag, a single register) until each is
read or stands alone. Where nothing that stands alone is refused, it was the length, or a register that nobody asked for
between them: which of both shows when the lengths are tried where all is known to be there.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from itertools import pairwise
from typing import NamedTuple

from gateway.commission.asker import Answer
from gateway.commission.ranges import Question

MAX_ASKED = 150
"""Questions about one block: as many as a block of 125 registers needs of which a dozen are refused here and there."""

Item = tuple[int, int]
"""(first, stop), not to be cut."""
Asking = Generator[Question, Answer, "Parts"]


class Parts(NamedTuple):
    """What became of a block."""

    good: tuple[Item, ...]
    """What can be read, each in one request; in order."""
    refused: tuple[tuple[int, int, int], ...]
    """(first, stop, code), neighbours with the same code together."""
    limit: int | None = None
    """So many can be read in one request and not one more."""
    gap: Item | None = None
    """Registers between items that nobody asked for, and that the device refuses."""
    is_whole: bool = True
    """All of it was looked at."""


def take_apart(items: Sequence[Item]) -> Asking:
    """Of a block that was refused as a whole; `items` in order."""
    taking = _Taking()
    yield from taking.halves(items)
    refused, good = taking.refused, sorted(taking.good)
    if refused:
        good = yield from _join(good)
    parts = Parts(tuple(good), _joined(refused), taking.limit, is_whole=not taking.has_ended)
    if taking.has_ended or refused or not good or taking.limit is not None:
        return parts
    for gap in [(a[1], b[0]) for a, b in pairwise(items) if b[0] > a[1]]:
        answer = yield Question(gap[0], gap[1] - gap[0])
        if answer.code:
            return parts._replace(gap=gap)
    limit = yield from _limit(items[0][0], max(stop - first for first, stop in good), items[-1][1] - items[0][0])
    return parts._replace(limit=limit)


class _Taking:
    """What is known so far."""

    def __init__(self) -> None:
        self.good: list[Item] = []
        self.refused: list[tuple[int, int, int]] = []
        self.limit: int | None = None
        self.has_ended = False
        """MAX_ASKED were asked, and more would have had to be."""
        self._asked = 0

    def halves(self, row: Sequence[Item]) -> Generator[Question, Answer, bool]:
        """Both halves of a row that is refused as a whole; whether all of it could be read."""
        first, stop = row[0][0], row[-1][1]
        if len(row) == 1:
            return (yield from self._row(row))
        middle = len(row) // 2
        left = yield from self._row(row[:middle])
        right = yield from self._row(row[middle:])
        if left and right and self.limit is None and all(a[1] >= b[0] for a, b in pairwise(row)):
            most = max(row[middle - 1][1] - first, stop - row[middle][0])
            self.limit = yield from _limit(first, most, stop - first)
        return left and right

    def _row(self, row: Sequence[Item]) -> Generator[Question, Answer, bool]:
        """Whether all of it could be read, in one request or several."""
        first, stop = row[0][0], row[-1][1]
        if self.limit is not None and stop - first > self.limit and len(row) > 1:
            return (yield from self.halves(row))
        self.has_ended = self.has_ended or self._asked >= MAX_ASKED
        if self.has_ended:
            return False
        self._asked += 1
        answer = yield Question(first, stop - first)
        if answer.is_good:
            self.good.append((first, stop))
        elif len(row) == 1:
            self.refused.append((first, stop, answer.code))
        else:
            return (yield from self.halves(row))
        return answer.is_good


def _join(good: Sequence[Item]) -> Generator[Question, Answer, list[Item]]:
    """Parts side by side were cut because of others: each row in one, where one request reads it."""
    rows: list[list[Item]] = []
    for item in good:
        if rows and rows[-1][-1][1] == item[0]:
            rows[-1].append(item)
        else:
            rows.append([item])
    joined: list[Item] = []
    for row in rows:
        first, stop = row[0][0], row[-1][1]
        is_one = len(row) == 1 or (yield Question(first, stop - first)).is_good
        joined += [(first, stop)] if is_one else row
    return joined


def _limit(first: int, good: int, bad: int) -> Generator[Question, Answer, int]:
    """The longest read from `first` on: `good` succeeded somewhere in the block, `bad` did not."""
    while bad - good > 1:
        middle = (good + bad) // 2
        answer = yield Question(first, middle)
        if answer.is_good:
            good = middle
        else:
            bad = middle
    return good


def _joined(refused: Sequence[tuple[int, int, int]]) -> tuple[tuple[int, int, int], ...]:
    found: list[tuple[int, int, int]] = []
    for first, stop, code in sorted(refused):
        if found and found[-1][1] == first and found[-1][2] == code:
            found[-1] = (found[-1][0], stop, code)
        else:
            found.append((first, stop, code))
    return tuple(found)
