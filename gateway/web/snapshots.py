"""Whole answers that many ask for at once: made once, in slices, and shared for a moment.

The rule: who asks gets an answer that was begun after he came, or at most FRESH_S ago if he does not watch: what a
viewer is told (`feed`) and the snapshot that he loads then miss nothing between them, and what it gave otherwise than
it was told is told again (`known`). None is shared beyond a reload: who is told that there are other tags must not load
those of before; nor beyond a set that was told since it was begun, with who came after that. One is made at a time, so
that many who come together wait for one answer and not for as many; what a tag is called is made once for all.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from gateway.errors import AskError
from gateway.hub import Source
from gateway.web.blocks import read_ms, row_of, state_of
from gateway.web.known import Known
from gateway.web.seams import Row, Views
from gateway.web.slices import Slices, Text, encoded, exact

FRESH_S = 0.5
"""How old a shared answer may be."""
MAX_WAITING = 64
"""Who waits for answers to be made; who comes then is told to come again."""

Data = bytes | bytearray
Make = Callable[[], Awaitable[Data]]


class _Shared:
    """One kind of answer."""

    __slots__ = ("begun", "data", "generation", "turn")

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.begun = 0.0
        self.generation = -1
        self.data: Data = b""


class Snapshots:
    """All of one page."""

    def __init__(self, views: Views, known: Known) -> None:
        self._views = views
        self._known = known
        self._shared: dict[str, _Shared] = {}
        self._turn = asyncio.Lock()
        """One is made at a time: each takes the loop for a slice of every turn."""
        self._waiting = 0
        self._not_before_s = 0.0
        self._fixed: tuple[int, Data] = (-1, b"")
        """What is fixed about tags, and the generation that it is of."""

    def joined(self) -> None:
        """Somebody watches from now on: what was begun before is too old for him."""
        self._not_before_s = time.monotonic()

    def forget(self) -> None:
        """Nobody watches any more: keep no text of thousands of tags."""
        self._shared.clear()
        self._fixed = (-1, b"")

    async def made(self, make: Make) -> Data:
        """An answer of its own, made when it is its turn. AskError: too many wait."""
        if self._waiting >= MAX_WAITING:
            raise AskError("full", "too many answers are being made: ask again in a second")
        self._waiting += 1
        try:
            async with self._turn:
                return await make()
        finally:
            self._waiting -= 1

    async def state(self) -> Data:
        """/api/state"""
        return await self._get("state", self._make_state)

    async def tags(self) -> Data:
        """/api/tags"""
        return await self._get("tags", self._make_tags)

    async def clients(self) -> Data:
        """/api/clients"""
        return await self._get("clients", self._make_clients)

    async def _get(self, name: str, make: Make) -> Data:
        came_s = time.monotonic()
        shared = self._shared.setdefault(name, _Shared())

        def is_good() -> bool:
            if shared.begun <= self._not_before_s or shared.generation != self._views.generation:
                return False
            if shared.begun >= came_s:
                return True
            return shared.begun > came_s - FRESH_S and not self._known.is_behind(name, shared.begun)

        if is_good():
            self._known.was_given(name)
            return shared.data
        if self._waiting >= MAX_WAITING:
            raise AskError("full", "too many answers are being made: ask again in a second")
        self._waiting += 1
        try:
            async with shared.turn:
                if not is_good():  # else it was made while we waited
                    async with self._turn:
                        begun, generation = time.monotonic(), self._views.generation
                        data = await make()
                    shared.begun, shared.generation, shared.data = begun, generation, data
        finally:
            self._waiting -= 1
        self._known.was_given(name)
        return shared.data

    # -- making -----------------------------------------------------------------------------------------------------

    async def _make_state(self) -> Data:
        slices = Slices()
        views = self._views
        status = views.status()
        for kind in ("links", "devices"):
            rows = []
            for row in status[kind]:
                rows.append(row)
                self._known.gave_row(kind, row["name"])
                await slices.breathe()
            status[kind] = rows
        findings = []
        for finding in views.look_for_trouble(status["links"], status["devices"], status["gateway"]):
            if finding is not None:
                findings.append(finding)
            await slices.breathe()
        status["links"], status["devices"] = iter(status["links"]), iter(status["devices"])
        status["findings"] = iter(findings)
        return await encoded(status, slices)

    async def _make_tags(self) -> Data:
        slices = Slices()
        views = self._views
        while True:
            generation = views.generation
            fixed = await self._fixed_part(generation, slices)
            text = Text()
            text.add(f'{{"boot":"{views.boot}","generation":{generation},"tags":')
            await text.copy(fixed, slices)
            separator = ',"values":['
            read: dict[Source, int] = {}  # as it was when the first tag of it was given: no tag is younger than it is
            for point in views.points():
                state = state_of(point, self._known.blocks)
                text.add(separator + row_of(point, state, read.setdefault(point.source, read_ms(point.source))))
                self._known.gave(point, state)
                separator = ","
                if slices.is_over:
                    await slices.rest()
                    if views.generation != generation:
                        break
            if views.generation == generation:  # else a reload came between: indexes may mean others
                break
        text.add(',"values":[]}' if separator != "," else "]}")
        return text.done()

    async def _fixed_part(self, generation: int, slices: Slices) -> Data:
        if self._fixed[0] != generation:
            self._fixed = (generation, await encoded(map(_told, self._views.tags()), slices))
        return self._fixed[1]

    async def _make_clients(self) -> Data:
        views = self._views
        return await encoded({"clients": views.clients(), "counters": views.client_counters()})


def _told(tag: Row) -> Row:
    """What is fixed about a tag, as JSON may carry it."""
    limits = tag.get("range")
    return tag if limits is None else {**tag, "range": [exact(limit) for limit in limits]}
