"""What changes, made into text once for all who watch: five times a second at most, in slices of half a millisecond.

The rule: nothing is made when nobody watches, and what it costs is bounded whatever the plant does: so many rows a set,
the rest waits for the next one, the longest waiting first. What is told is the difference to what was told last, so
whoever comes later loads a snapshot that was begun after he came (`snapshots`), and both together miss nothing: what
that gave otherwise than it was told is told again (`known`).

A device's state is looked at five times a second; the rest of its row, counters mostly, once a second or as often as
ROWS_PER_SET allows. Of tags see `tags`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from gateway.web.known import Known
from gateway.web.seams import Row, Views
from gateway.web.slices import Slices, plain
from gateway.web.tags import Tags
from gateway.web.viewers import MAX_VIEWERS, Viewer, message, share_of

log = logging.getLogger(__name__)

TICK_S = 0.2
REST_S = 0.02
"""Between two sets, also when making one takes longer than a tick."""
SECOND_TICKS = 5
ROWS_PER_SET = 100
"""Rows of links and devices."""
EVENTS_PER_SET = 200
MAX_CLIENTS = 300
"""Rows of a screen; more are counted."""
MAX_FINDINGS = 200


class Feed:
    """Makes it, and gives it to all viewers."""

    def __init__(
        self,
        views: Views,
        joined: Callable[[], None],
        all_left: Callable[[], None] = lambda: None,
        known: Known | None = None,
    ) -> None:
        """`joined()`: somebody watches from now on; snapshots that were begun before are not for him. `all_left()`:
        nobody does any more. `known`: what snapshots tell of, too."""
        self._views = views
        self._joined = joined
        self._all_left = all_left
        self._known = known or Known()
        self._viewers: list[Viewer] = []
        self._task: asyncio.Task[None] | None = None
        self._making: _Making | None = None
        self.sets = 0
        """Made since the start."""
        self.resyncs = 0
        """Viewers that were too slow."""
        self.refused = 0
        """For want of a place."""
        self.crowded = 0
        """Of those, because their address had its share."""

    # -- viewers ----------------------------------------------------------------------------------------------------

    @property
    def viewers(self) -> int:
        return len(self._viewers)

    def join(self, viewer: Viewer) -> str:
        """It is fed from now on; else why not: there are too many, of all or of its address."""
        share = share_of(viewer.address)
        if len(self._viewers) >= MAX_VIEWERS:
            self.refused += 1
            return f"{MAX_VIEWERS} pages are open already: close one of them"
        if sum(each.address == viewer.address for each in self._viewers) >= share:
            self.refused += 1
            self.crowded += 1
            return f"{share} pages of {viewer.address} are open already: close one of them there"
        self._viewers.append(viewer)
        self._joined()
        if self._task is None:
            self._making = _Making(self._views, self._known)  # now: whoever joins misses no change
            running = self._run(self._making)
            self._task = asyncio.get_running_loop().create_task(running, name="feed of the page")
        return ""

    def leave(self, viewer: Viewer) -> None:
        if viewer in self._viewers:
            self._viewers.remove(viewer)

    def told_to_resync(self) -> None:
        self.resyncs += 1
        self._joined()

    def end_session(self, session: object) -> None:
        """Its streams end."""
        for viewer in list(self._viewers):
            if viewer.session is session:
                viewer.close()

    def end_all(self) -> None:
        for viewer in list(self._viewers):
            viewer.close()

    async def close(self) -> None:
        self.end_all()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self._making is not None:  # the task was ended before it began
            self._making.close()

    # -- sets -------------------------------------------------------------------------------------------------------

    async def _run(self, making: _Making) -> None:
        try:
            while self._viewers:
                loop = asyncio.get_running_loop()
                begun_s = loop.time()
                await self._tick(making)
                self.sets += 1
                await asyncio.sleep(max(TICK_S - (loop.time() - begun_s), REST_S))
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("the page's live data: a bug; who watches must load the page anew")
            self.end_all()
        finally:
            making.close()
            self._task = None
            self._all_left()

    async def _tick(self, making: _Making) -> None:
        for viewer in list(self._viewers):
            if viewer.ended():
                viewer.close()
        wanted = frozenset[str]().union(*(viewer.topics for viewer in self._viewers))
        made: list[tuple[str, bytes]] = []
        async for topic, data in making.tick(wanted):
            made.append((topic, message(topic, data)))
        viewers = list(self._viewers)  # those who came meanwhile, too: their snapshots are newer than this set, or not
        for viewer in viewers:
            for topic, data in made:
                if topic in viewer.topics:
                    viewer.put(data)
        for topic, _ in made:
            self._known.was_put(topic)
        for viewer in viewers:
            if viewer.has_some:
                viewer.wake()
                await asyncio.sleep(0)  # one at a time: each writes in a turn of its own


class _Making:
    """What was told last, and what is to be told next. It lives while somebody watches."""

    def __init__(self, views: Views, known: Known) -> None:
        self._views = views
        self._known = known
        known.watch()
        self._ticks = 0
        self._tags = Tags(views, known)
        # links and devices
        self._states: dict[tuple[str, str], object] = {}
        self._urgent: dict[tuple[str, str], None] = {}
        self._ring: list[tuple[str, str]] = []
        self._rows: dict[tuple[str, str], Row] = {}
        self._texts: dict[tuple[str, str], str] = {}
        self._gone: dict[tuple[str, str], None] = {}
        self._gateway = ""
        self._findings = ""
        # the rest
        self._event = views.last_event
        self._clients = ""

    def close(self) -> None:
        self._tags.close()
        self._known.forget()

    async def tick(self, wanted: frozenset[str]) -> Any:
        """(topic, JSON) of all that is to be told now."""
        self._ticks += 1
        if "events" not in wanted:  # now: who joins while a set is made misses nothing
            self._event = self._views.last_event
        slices = Slices()
        if "state" in wanted and (data := await self._state(slices)) is not None:
            yield "state", data
        if "events" in wanted and (data := await self._events(slices)) is not None:
            yield "events", data
        if "tags" in wanted and (data := await self._tags.told(slices)) is not None:
            yield "tags", data
        if "clients" in wanted and self._ticks % SECOND_TICKS == 1:
            data = await self._client_rows(slices)
            if data is not None:
                yield "clients", data

    # -- links and devices ------------------------------------------------------------------------------------------

    async def _state(self, slices: Slices) -> bytes | None:
        if self._known.take_given("state"):
            self._texts.clear()
            self._gateway = self._findings = ""
        await self._compare_states(slices)
        is_second = self._ticks % SECOND_TICKS == 1
        told: dict[str, list[str]] = {"links": [], "devices": []}
        had_urgent = bool(self._urgent)
        for key in self._next_rows():
            kind, name = key
            row = self._views.row(kind, name)
            if row is None:
                continue
            text = plain(row)
            if self._texts.get(key) != text:
                self._texts[key] = text
                self._rows[key] = row
                told[kind].append(text)
            await slices.breathe()
        gone: dict[str, list[str]] = {"links": [], "devices": []}
        for kind, name in self._gone:
            gone[kind].append(name)
        parts = [f'"links":[{",".join(told["links"])}],"devices":[{",".join(told["devices"])}],"gone":{plain(gone)}']
        has_news = bool(self._gone or told["links"] or told["devices"])
        self._gone.clear()
        if is_second or had_urgent:
            about = self._views.gateway()
            text = plain(about)
            if text != self._gateway:
                self._gateway, has_news = text, True
                parts.append(f'"gateway":{text}')
            if len(self._rows) >= len(self._states):  # all have been seen once
                text = await self._trouble(about, slices)
                if text != self._findings:
                    self._findings, has_news = text, True
                    parts.append(f'"findings":{text}')
        return f"{{{','.join(parts)}}}".encode() if has_news else None

    async def _compare_states(self, slices: Slices) -> None:
        given, self._known.rows = self._known.rows, set()  # before it is asked what there is
        seen = set()
        for kind, name, state in self._views.states():
            key = (kind, name)
            seen.add(key)
            if self._states.get(key) != state:
                self._states[key] = state
                self._urgent[key] = None
            if slices.is_over:
                await slices.rest()
        for key in (self._states.keys() | given) - seen:
            for known in (self._states, self._rows, self._texts, self._urgent):
                known.pop(key, None)
            self._gone[key] = None

    def _next_rows(self) -> list[tuple[str, str]]:
        """Those whose state has changed, then those that were looked at longest ago."""
        keys = list(self._urgent)[:ROWS_PER_SET]
        for key in keys:
            del self._urgent[key]
        if not self._ring:
            self._ring = list(reversed(self._states))
        share = max(len(self._states) // SECOND_TICKS + 1, 1)
        for _ in range(min(share, ROWS_PER_SET - len(keys), len(self._ring))):
            keys.append(self._ring.pop())
        return [key for key in dict.fromkeys(keys) if key in self._states]

    async def _trouble(self, about: Row, slices: Slices) -> str:
        by_kind: dict[str, list[Row]] = {"links": [], "devices": []}
        for (kind, _), row in self._rows.items():
            by_kind[kind].append(row)
        found: list[str] = []
        for finding in self._views.look_for_trouble(by_kind["links"], by_kind["devices"], about):
            if finding is not None and len(found) < MAX_FINDINGS:
                found.append(plain(finding))
            if slices.is_over:
                await slices.rest()
        return f"[{','.join(found)}]"

    # -- events and clients -----------------------------------------------------------------------------------------

    async def _events(self, slices: Slices) -> bytes | None:
        if self._views.last_event == self._event:
            return None
        events: Iterable[Row] = self._views.events(self._event)["events"]
        rows: list[str] = []
        for event in events:
            rows.append(plain(event))
            self._event = event["number"]
            if len(rows) >= EVENTS_PER_SET:
                break
            if slices.is_over:
                await slices.rest()
        else:
            self._event = max(self._event, self._views.last_event if not rows else self._event)
        return f'{{"events":[{",".join(rows)}]}}'.encode() if rows else None

    async def _client_rows(self, slices: Slices) -> bytes | None:
        if self._known.take_given("clients"):
            self._clients = ""
        rows: list[str] = []
        total = 0
        for row in self._views.clients():
            total += 1
            if total <= MAX_CLIENTS:
                rows.append(plain(row))
            if slices.is_over:
                await slices.rest()
        text = f'{{"clients":[{",".join(rows)}],"total":{total},"counters":{plain(self._views.client_counters())}}}'
        if text == self._clients:
            return None
        self._clients = text
        return text.encode()
