"""What has changed of tags, made into text once for all who watch (`feed`).

Changes come from the hub; that a tag was read again and is the same is told once for all tags of its block (`times`).
Some things change without anybody telling (a value grows old), so all tags are looked through besides, a part with each
set.

The rule: a block's time is never told before the values that were read then. While some of its tags wait for the next
set, it is the time at which what is shown of them was still right: whoever watches sees an age that is too great for a
moment, never one that is too small. And a set is of one generation: when a reload comes while it is made, it is thrown
away and made again, as an index may mean another tag.
"""

from __future__ import annotations

import time
from typing import Any

from gateway.hub import Point, Source
from gateway.web.blocks import read_ms, row_of, state_of
from gateway.web.known import Known
from gateway.web.seams import Views
from gateway.web.slices import Slices

TAGS_PER_SET = 2000
"""10,000 changes a second; some 100 KB for each viewer."""
BLOCKS_PER_SET = 500
"""That are asked whether they were read again, in turn: 2,500 a second, at most 10 KB a set."""
LOOKED_THROUGH = 10
"""Ticks in which all tags are looked through."""
AT_ONCE = 100
"""Of thousands that cost less than to look at the clock."""


class Tags:
    """It lives while somebody watches."""

    def __init__(self, views: Views, known: Known) -> None:
        self._views = views
        self._known = known
        self._subscription = views.subscribe()
        self._generation = -1
        self._block_ring: list[tuple[Source, int]] = []
        """To be asked."""
        self._times: dict[Source, int] = {}
        """Of them, told last, in ms."""
        self._round: list[Point] = []
        """To be looked through."""
        self._share = 1
        """Of them, at each tick."""

    def close(self) -> None:
        self._subscription.close()

    async def told(self, slices: Slices) -> bytes | None:
        """All that is to be told now, as JSON."""
        generation = self._views.generation
        is_new = generation != self._generation
        if is_new:
            await self._know_all(slices)
        read = await self._read_again(slices)  # before the changes are taken: a value is not older than its time
        await self._take_changes(read, slices)
        await self._look_through(slices)
        waiting = list(self._known.changed)
        right = await self._right_for_those_who_wait(waiting[TAGS_PER_SET:], slices)
        told_times: dict[Source, int] = {}
        times = await self._tell_times(read, right, told_times, slices)
        points = waiting[:TAGS_PER_SET]
        rows = await self._tell(points, right, told_times, slices)
        if self._views.generation != generation:  # a reload came between: indexes may mean others
            self._untell(points, told_times)
            return None
        self._times.update(told_times)
        self._generation = generation
        if not rows and not times and not is_new:
            return None
        now_ms = time.time_ns() // 1_000_000
        head = f'"generation":{generation},"now_ms":{now_ms},"times":[{",".join(times)}]'
        return f'{{{head},"changed":[{",".join(rows)}]}}'.encode()

    async def _know_all(self, slices: Slices) -> None:
        """There are other tags than before."""
        self._round, self._block_ring = [], []
        generation = self._views.generation
        points = set(self._views.points())
        sources = set[Source]()
        for point in points:
            sources.add(point.source)
            self._known.right.setdefault(point.source, read_ms(point.source))
            if slices.is_over:
                await slices.rest()
        if self._views.generation != generation:  # once more with the next set
            return
        self._known.blocks.keep(sources)
        for times in (self._times, self._known.right):
            for source in times.keys() - sources:
                del times[source]
        known: dict[Point, Any]
        for known in (self._known.changed, self._known.told):
            for point in list(known):
                if point not in points:
                    known.pop(point, None)
                if slices.is_over:
                    await slices.rest()
                    if self._views.generation != generation:
                        return

    async def _read_again(self, slices: Slices) -> dict[Source, tuple[int, int]]:
        """Number and time of some blocks, in turn."""
        read: dict[Source, tuple[int, int]] = {}
        if not self._block_ring:
            self._block_ring = self._known.blocks.all()
        for _ in range(min(BLOCKS_PER_SET, len(self._block_ring))):
            source, number = self._block_ring.pop()
            read[source] = number, read_ms(source)
            if slices.is_over:
                await slices.rest()
        return read

    async def _take_changes(self, read: dict[Source, tuple[int, int]], slices: Slices) -> None:
        """What was told of them was right when their blocks were looked at before this time."""
        known = self._known
        changed, right = known.changed, known.right
        taken = list(self._subscription.take())
        for first in range(0, len(taken), AT_ONCE):
            for point in taken[first : first + AT_ONCE]:
                if point not in changed:
                    changed[point] = right.get(point.source, 0)
            await slices.breathe()
        for source, (_, time_ms) in read.items():
            known.right[source] = time_ms

    async def _right_for_those_who_wait(self, points: list[Point], slices: Slices) -> dict[Source, int]:
        """The time up to which all that is shown of a block was right, of those that have tags which wait."""
        right: dict[Source, int] = {}
        changed = self._known.changed
        for first in range(0, len(points), AT_ONCE):
            for point in points[first : first + AT_ONCE]:
                since = changed[point]
                if since <= right.get(point.source, since):
                    right[point.source] = since
            await slices.breathe()
        return right

    async def _tell_times(
        self,
        read: dict[Source, tuple[int, int]],
        right: dict[Source, int],
        told: dict[Source, int],
        slices: Slices,
    ) -> list[str]:
        """`[block, ms]` of those that were read since they were told last."""
        rows: list[str] = []
        for source, (number, read_at) in read.items():
            time_ms = right.get(source, read_at)
            if self._times.get(source) != time_ms:
                told[source] = time_ms
                rows.append(f"[{number},{time_ms or 'null'}]")
            if slices.is_over:
                await slices.rest()
        return rows

    async def _look_through(self, slices: Slices) -> None:
        """A part of all tags: what has changed unnoticed."""
        known = self._known
        if not self._round:
            self._round = self._views.points()
            self._share = len(self._round) // LOOKED_THROUGH + 1
        for _ in range(min(self._share, len(self._round))):
            point = self._round.pop()
            if point in known.changed:
                continue
            state = state_of(point, known.blocks)
            if known.told.setdefault(point, state) != state:  # the first: as in the snapshot of whoever watches
                known.changed[point] = known.right.get(point.source, 0)
            if slices.is_over:
                await slices.rest()

    async def _tell(
        self, points: list[Point], right: dict[Source, int], told_times: dict[Source, int], slices: Slices
    ) -> list[str]:
        rows: list[str] = []
        known = self._known
        for point in points:
            del known.changed[point]
            state = state_of(point, known.blocks)
            if known.told.get(point) != state:
                known.told[point] = state
                source = point.source
                time_ms = right.get(source, known.right.get(source))
                if time_ms is None:  # a block that was not there before: the tag has moved to it
                    time_ms = known.right[source] = read_ms(source)
                told_times[source] = time_ms
                rows.append(row_of(point, state, time_ms))
            if slices.is_over:
                await slices.rest()
        return rows

    def _untell(self, points: list[Point], times: dict[Source, int]) -> None:
        """What was made of them is not told; with the next set it is."""
        for point in points:
            self._known.doubt(point)
        for source in times:
            self._times.pop(source, None)
