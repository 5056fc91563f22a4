"""A planned block as it is really read: in one request, or in several where the device refuses a part of it.

Each request is a Job with its own turn, age and values. What a device answers decides what is asked next (`holes`);
here the jobs follow, and `telling` has the lines of the log. Undecided parts keep their last values until they are too
old; one question is asked at a time and at most one per interval (or per second, so that a slow job does not learn for
hours). Whatever is refused alone gets the device's code and is asked again every RECHECK_S only.

A PLC that restarts answers 02 for a moment to everything. That must neither blank good values for ten minutes nor part
blocks in vain: a block that was good is asked once more at its next turn before it is cut; an item that was good is
asked again after FIRST_RECHECK_S, doubling; and what was parted is joined again where that works.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gateway.front.freshness import Freshness
from gateway.interfaces import Submit, Timer
from gateway.modbus.spec import Table
from gateway.polling.device import Device
from gateway.polling.held import Written
from gateway.polling.holes import SPLITTING, Part, Split, Verdict
from gateway.polling.job import FAILED, Job
from gateway.polling.key import JobKey
from gateway.polling.plan import Block
from gateway.polling.sinks import RawPlace, Stretch, TagSink
from gateway.polling.telling import Telling
from gateway.polling.wheel import Wheel

RECHECK_S = 600.0
"""What the device refuses is asked again so often (field-rules 17)."""
FIRST_RECHECK_S = 10.0
"""The first time, if it was good before; doubling to RECHECK_S."""
RECHECKS = 16
"""Of one block in RECHECK_S; if more is refused, each waits its turn: the cost stays bounded."""
CATCH_UP_S = 60.0
"""What is refused is asked again after a connection was made anew, at most so often."""
MAX_PACE_S = 1.0
"""Between two questions to learn from, at most."""
MAX_MISSES = 2
"""A device that does not answer at all when it is asked for more has refused it, too."""


class _Hole:
    """A part that is refused, and when it is asked again."""

    __slots__ = ("flaps", "is_told", "next_try_s", "pause_s")

    def __init__(self, pause_s: float, now_s: float, *, flaps: bool) -> None:
        """`flaps`: it was refused, read and refused again within RECHECK_S."""
        self.pause_s = pause_s
        self.next_try_s = now_s + pause_s
        self.flaps = flaps
        self.is_told = False
        """The log has it."""


class Group:
    """One planned block of one device, from its first poll to `close`. Block (device), Owner (jobs) and Writable."""

    def __init__(
        self,
        key: JobKey,
        device: Device,
        submit: Submit,
        freshness: Freshness,
        wheel: Wheel,
        raw: RawPlace | None,
        tags: Sequence[TagSink],
        on_close: Callable[[], None],
    ) -> None:
        """`raw` or `tags` (in order of the block's) is where it goes; `on_close()` takes back what was made for it."""
        self.key = key
        self.block = key.plan.block
        self.device = device
        self.jobs: list[Job] = []
        """In order of their addresses; together the whole block."""
        self._submit = submit
        self._freshness = freshness
        self._wheel = wheel
        self._raw = raw
        self._tags = tags
        self._on_close = on_close
        self._split: Split | None = None
        """None while one request reads it all, the healthy case."""
        self._parts: dict[Job, Part] = {}
        self._stretches: dict[Job, Stretch] = {}
        self._holes: dict[Part, _Hole] = {}
        self._caught_up_s = -math.inf
        self._pauses: dict[int, tuple[float, float]] = {}
        """By first address of what is no longer refused: (its last pause, when it was read again)."""
        self._trial: tuple[Job, list[Part]] | None = None
        """A request over parts that may be joined; it has no values yet."""
        self._misses = 0
        """Trials in a row that were not answered."""
        self._suspect_s: dict[Job, float] = {}
        """Good blocks that were refused once: when they were last good."""
        self._timer: Timer | None = None
        self._last_step_s = -MAX_PACE_S
        self._wrote_s = 0.0
        self._telling = Telling(device, self.block)
        self._past_runs = self._past_skipped = 0
        self._next_probe = 0
        self.is_started = self.is_closed = False
        job = self._job(self.block)
        self._settle(job, raw.stretches[0] if raw is not None else None, tags)
        self.jobs.append(job)
        device.blocks.append(self)

    # -- life ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Poll at its interval from now on."""
        self.is_started = True
        for job in self.jobs:
            job.start()

    def close(self) -> None:
        """No more polls, no more values: its places and points belong to others."""
        if self.is_closed:
            return
        self.is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for job in (*self.jobs, *([self._trial[0]] if self._trial is not None else [])):
            self._retire(job)
        self._on_close()
        # Nothing may refer to itself: what was made at the start is frozen, the collector does not look at it.
        self._on_close = _nothing
        self._trial = self._split = None
        self._tags = ()
        for held in (self.jobs, self._parts, self._stretches, self._holes):
            held.clear()
        if self._raw is not None:
            self._raw.stretches.clear()
            self._raw = None
        self.device.blocks.remove(self)
        self.device.review()

    def _job(self, block: Block) -> Job:
        key = self.key
        return Job(
            self,
            self.device,
            block,
            self._submit,
            self._freshness,
            self._wheel,
            unit_id=key.unit_id,
            timeout_s=key.timeout_s,
            retries=key.retries,
            quirks=key.quirks,
            stale_s=key.stale_s,
        )

    def _settle(self, job: Job, stretch: Stretch | None, tags: Sequence[TagSink]) -> None:
        """The job keeps these values true from now on."""
        if stretch is not None:
            self._stretches[job] = stretch
        job.live()
        job.place(stretch, tags)

    def _retire(self, job: Job) -> None:
        if job.turn is not None:
            self._past_runs += job.turn.runs
            self._past_skipped += job.turn.skipped
        self._suspect_s.pop(job, None)
        self._stretches.pop(job, None)
        self._parts.pop(job, None)
        job.close()

    # -- as the device's block ----------------------------------------------------------------------------------

    @property
    def good_s(self) -> float:
        return min(job.good_s for job in self._readable() or self.jobs)

    @property
    def stale(self) -> bool:
        readable = self._readable()
        return any(job.stale for job in readable) if readable else all(job.stale for job in self.jobs)

    def _readable(self) -> list[Job]:
        """Those that are known to be read, once there is something to know: what is refused, or perhaps is, makes no
        device old."""
        if self._split is None:
            return self.jobs
        return [job for job in self.jobs if self._parts[job].verdict is Verdict.GOOD]

    def expired(self, job: Job) -> None:
        learning = self._split is not None
        self.device.review(told=learning)
        if not learning:
            self.device.expired()

    def catch_up(self) -> None:
        now_s = self._freshness.clock()
        if self._holes and now_s - self._caught_up_s >= CATCH_UP_S:
            # A device that is connected to anew may have another program: what it refused is tried again.
            self._caught_up_s = now_s
            for hole in self._holes.values():
                hole.next_try_s = min(hole.next_try_s, now_s)
            self._schedule()
        for job in tuple(self.jobs):
            if job.turn is not None and not job.is_good:
                job.poke()

    def probe(self) -> bool:
        for _ in range(len(self.jobs)):
            job = self.jobs[self._next_probe % len(self.jobs)]
            self._next_probe += 1
            if job.poke() if job.turn is not None or self._split is None else job.watch():
                return True
        return False

    @property
    def runs(self) -> int:
        """Polls at their turns since the start."""
        return self._past_runs + sum(job.turn.runs for job in self.jobs if job.turn is not None)

    @property
    def skipped(self) -> int:
        """Turns without a poll since the start."""
        return self._past_skipped + sum(job.turn.skipped for job in self.jobs if job.turn is not None)

    def wrote(self, table: Table, first: int, count: int, data: bytes | None, hold_s: float, and_mask: int = 0) -> None:
        """A write at the device was executed; without `data`: nobody knows, or not what it wrote."""
        self._wrote_s = self._freshness.clock()
        write = Written(table, first, count, data, and_mask)
        for job in tuple(self.jobs):
            if not job.refused_code:
                job.wrote(write, hold_s, asks=self._split is None or self._parts[job].verdict is Verdict.GOOD)

    # -- as the jobs' owner: learning ---------------------------------------------------------------------------

    def refused(self, job: Job, code: int) -> None:
        split = self._split or Split(self.block)
        part = self._parts[job] if self._split is not None else split.parts[0]
        may_pass = code in SPLITTING and part.stop - part.start > 1 and job.good_time_ns > 0
        if may_pass and self._suspect_s.get(job) != job.good_s:
            self._suspect_s[job] = job.good_s
            return
        if self._split is None:
            self._split = split
            self._parts = {job: part}
        if part.verdict is not Verdict.REFUSED:
            self._refused(job, part, code)
        self._schedule()

    def answered(self, job: Job, code: int) -> None:
        if self._split is None or self.is_closed:
            return
        if self._trial is not None and job is self._trial[0]:
            self._tried(self._split, job, self._trial[1], code)
        elif code == 0:
            self._accepted(self._split, job, self._parts[job])
        elif code > 0:
            self._refused(job, self._parts[job], code)
        self._schedule()

    def _refused(self, job: Job, part: Part, code: int) -> None:
        """A part of it, of one item or of several, is refused."""
        assert self._split is not None
        now_s = self._freshness.clock()
        halves = self._split.refuse(part, code)
        if halves:
            self._holes.pop(part, None)
            self._divide(job, halves)
        elif part in self._holes:
            hole = self._holes[part]
            share = -(-len(self._holes) // RECHECKS)
            hole.pause_s = min(2 * hole.pause_s, RECHECK_S)
            hole.next_try_s = now_s + (hole.pause_s if hole.pause_s < RECHECK_S else RECHECK_S * share)
            job.block_with(code)
        else:
            pause_s, flaps = self._first_pause_s(job, part, now_s)
            self._holes[part] = hole = _Hole(pause_s, now_s, flaps=flaps)
            hole.is_told = self._telling.refused_again(part)
            if job.turn is not None:
                self._past_runs += job.turn.runs
                self._past_skipped += job.turn.skipped
            job.pause()
            job.block_with(code)
        self.device.review(told=True)

    def _first_pause_s(self, job: Job, part: Part, now_s: float) -> tuple[float, bool]:
        """And whether it flaps."""
        pause_s, read_s = self._pauses.pop(part.first, (0.0, 0.0))
        if pause_s and now_s - read_s < RECHECK_S:  # good for a moment only
            return min(2 * pause_s, RECHECK_S), True
        return (FIRST_RECHECK_S if job.good_time_ns else RECHECK_S), False

    def _accepted(self, split: Split, job: Job, part: Part) -> None:
        """A part of it was read."""
        now_s = self._freshness.clock()
        split.accept(part)
        hole = self._holes.pop(part, None)
        if hole is not None:
            if hole.is_told:
                self._telling.healed(part, now_s)
            self._pauses[part.first] = (hole.pause_s, now_s)
            split.reconsider()
            if not hole.flaps and now_s - self._caught_up_s >= CATCH_UP_S:
                # What has changed the device may have brought the others back, too; one that comes and goes tells
                # nothing of them, and those that come and go keep their pauses.
                self._caught_up_s = now_s
                for other in self._holes.values():
                    if not other.flaps:
                        other.next_try_s = min(other.next_try_s, now_s)
        if self.is_started:
            job.start()
        self.device.review()
        self._end_if_whole()

    def _divide(self, job: Job, halves: Sequence[Part]) -> None:
        """Two jobs in the place of one; values and ages stay."""
        made = []
        stretch = self._stretches.get(job)
        stretches: tuple[Stretch | None, ...] = (None, None)
        if self._raw is not None and stretch is not None:
            stretches = self._raw.divide(stretch, halves[0].count)
        for half, cut in zip(halves, stretches, strict=True):
            other = self._job(self._block_of(half))
            other.inherit(job)
            self._settle(other, cut, self._tags_of(half))
            self._parts[other] = half
            made.append(other)
        at = self.jobs.index(job)
        self.jobs[at : at + 1] = made
        self._retire(job)

    def _tried(self, split: Split, trial: Job, row: list[Part], code: int) -> None:
        """One request over several parts was answered."""
        self._trial = None
        jobs = [job for job in self.jobs if self._parts[job] in row]
        fits = len(jobs) == len(row) and all(part.verdict is Verdict.GOOD for part in row)
        self._misses = self._misses + 1 if code == FAILED else 0
        if fits and (code > 0 or self._misses == MAX_MISSES):
            self._misses = 0
            split.keep_apart(row)
        if code != 0 or not fits or trial.request.sent_s <= self._wrote_s or any(job.is_writing for job in jobs):
            trial.close()  # not now: it is tried again
            return
        at = self.jobs.index(jobs[0])
        stretch = None
        if self._raw is not None:
            stretch = self._raw.unite([self._stretches[job] for job in jobs])
        for job in jobs:
            self._retire(job)
        self.jobs[at : at + len(jobs)] = [trial]
        joined = split.join(row)
        self._parts[trial] = joined
        self._settle(trial, stretch, self._tags_of(joined))
        if self.is_started:
            trial.start()
        self.device.review()
        self._end_if_whole()

    def _end_if_whole(self) -> None:
        if self._split is not None and self._split.is_whole:
            self._telling.whole(self._freshness.clock(), is_news=len(self._tags or ()) != 1)
            self._split = None
            self._parts = {}

    def _block_of(self, part: Part) -> Block:
        tags = tuple(sink.tag for sink in self._tags_of(part))
        return Block(self.block.table, part.first, part.count, self.block.every_s, tags)

    def _tags_of(self, part: Part) -> list[TagSink]:
        stop = part.first + part.count
        return [sink for sink in self._tags if part.first <= sink.tag.first < stop]

    # -- what is asked, and when --------------------------------------------------------------------------------

    @property
    def _pace_s(self) -> float:
        return min(self.block.every_s, MAX_PACE_S)

    def _schedule(self) -> None:
        """The next question, if there is one; if everything is known now, say it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._split is None or self.is_closed:
            return
        now_s = self._freshness.clock()
        when_s = self._last_step_s + self._pace_s
        if self._trial is None and self._split.next_unknown() is None and self._split.next_join() is None:
            is_told, tell_s = self._telling.tell(self._split, now_s)
            if is_told:
                for hole in self._holes.values():
                    hole.is_told = True
            next_s = min((hole.next_try_s for hole in self._holes.values()), default=math.inf)
            when_s = max(when_s, min(next_s, tell_s))
            if math.isinf(when_s):
                return
        self._timer = self._wheel.later(max(when_s - now_s, 0.0), self._step)

    def _step(self) -> None:
        """Ask one question."""
        self._timer = None
        split = self._split
        if split is None or self.is_closed:
            return
        self._last_step_s = now_s = self._freshness.clock()
        if self.device.is_reachable and self._trial is None:
            if (unknown := split.next_unknown()) is not None:
                self._job_of(unknown).watch()
            elif (row := split.next_join()) is not None:
                self._try(row)
            elif self._holes:
                part = min(self._holes, key=lambda part: self._holes[part].next_try_s)
                if self._holes[part].next_try_s <= now_s:
                    self._job_of(part).watch()
        self._schedule()

    def _job_of(self, part: Part) -> Job:
        return next(job for job in self.jobs if self._parts[job] is part)

    def _try(self, row: list[Part]) -> None:
        first, stop = row[0].first, row[-1].first + row[-1].count
        tags = tuple(sink.tag for part in row for sink in self._tags_of(part))
        job = self._job(Block(self.block.table, first, stop - first, self.block.every_s, tags))
        self._trial = (job, row)
        job.watch()

    # -- for those who look -------------------------------------------------------------------------------------

    def measured(self) -> Iterator[Job]:
        """Its jobs that have turns."""
        return (job for job in self.jobs if job.turn is not None)

    def rows(self, now_s: float) -> list[dict[str, Any]]:
        return [_row(job, now_s) for job in self.jobs if not job.refused_code]

    def holes(self, now_s: float) -> dict[str, Any] | None:
        if self._split is None or (not self._holes and not self._telling.has_found):
            return None
        describe = self.block.table.describe
        refused = self._split.refused()
        next_try_s = min((hole.next_try_s for hole in self._holes.values()), default=None)
        return {
            "block": describe(self.block.first, self.block.count),
            "refused": [describe(first, count) for first, count, _ in refused],
            "code": refused[0][2] if refused else None,
            "safe": [describe(first, count) for first, count in self._split.safe()],
            "next_try_s": None if next_try_s is None else round(max(next_try_s - now_s, 0.0), 1),
        }


def _nothing() -> None:
    """It is closed already."""


def _row(job: Job, now_s: float) -> dict[str, Any]:
    rate, turn = job.rate, job.turn
    return {
        "block": job.describe(),
        "every_s": job.block.every_s,
        "requested_per_s": 1 / job.block.every_s,
        "achieved_per_s": rate.achieved_per_s,
        "lag_s": rate.lag_s,
        "took_s": rate.took_s,
        "overload_percent": rate.overload_percent,
        "skipped": turn.skipped if turn is not None else 0,
        "busy": job.busy_count,
        "mismatches": job.mismatch_count,
        "age_s": round(max(now_s - job.good_s, 0.0), 3) if job.good_time_ns else None,
        "error": job.error,
    }
