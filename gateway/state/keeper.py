"""Keeps things in files while they change: the rounds of everything that lives in memory and must survive a restart.

A change is on the disk at once when the second before was quiet, else with the next snapshot, one second after the last
began: a power cut costs at most a second and the time that the disk takes. A thing is copied in one go, so a snapshot
is one moment of it; the disk is waited for in a thread, one file at a time. What equals the last snapshot is not
written: clients that repeat themselves wear out no flash.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
from pathlib import Path
from typing import Generic, NamedTuple, Protocol, TypeVar

from gateway.interfaces import Scheduler, Timer
from gateway.state.snapshots import SnapshotFile
from gateway.state.worker import DiskThread, Worker

log = logging.getLogger(__name__)

EVERY_S = 1.0
"""From the begin of one snapshot to the next of the same thing, at least; after a failure, too."""
HANGS_S = 10.0
"""A disk that takes longer for one file is worth a line."""
CLOSE_S = 2.0
"""How long the end waits for the disk; the whole end must come within 5 s (README)."""

Key = TypeVar("Key", int, str)


class Words(NamedTuple):
    """What the log calls the things: `retained registers` of `unit` 7."""

    things: str
    of: str

    def named(self, *keys: int | str) -> str:
        return f"{self.things} of {self.of} {', '.join(map(str, keys))}"


class Kept(Protocol):
    """One thing and its file."""

    @property
    def file(self) -> SnapshotFile: ...

    saved: bytes | None
    """What the file has; None: not known, or to be written anew."""

    def take(self) -> bytes:
        """Copy it as it is now."""
        ...


class Keeper(Generic[Key]):
    """Writes things when they have changed. Lives in one loop, until `close`."""

    def __init__(self, directory: Path, scheduler: Scheduler, words: Words, worker: Worker | None = None) -> None:
        """Opens nothing. `directory` must be ours alone (StateDirectory)."""
        self.directory = directory
        self.kept: dict[Key, Kept] = {}
        """What there is, and what was until its last snapshot is written."""
        self._scheduler = scheduler
        self._words = words
        self._worker = worker or DiskThread()
        self._dirty: set[Key] = set()
        self._is_quiet = True
        """No round is armed or under way: the next change arms one."""
        self._timer: Timer | None = None
        self._due_s = -math.inf
        """When the next round may begin."""
        self._round: list[Key] = []
        """What of this round is still to be copied."""
        self._writing: Key | None = None
        """What the thread works on."""
        self._watch: Timer | None = None
        self._failing: dict[Key, str] = {}
        """What could not be written, and why."""
        self._closing: asyncio.Event | None = None
        """Set at the end of each round, once we close."""

    @property
    def is_failing(self) -> bool:
        """Something could not be written, and was not since."""
        return bool(self._failing)

    @property
    def trouble(self) -> str:
        """What could not be written, and why; empty: nothing is wrong."""
        if not self._failing:
            return ""
        key, reason = next(iter(self._failing.items()))
        more = f" and {len(self._failing) - 1} more" if len(self._failing) > 1 else ""
        named = self._words.named(key)
        return f"{named}{more} cannot be written to {self.directory}: {reason}; a restart would bring back older values"

    def is_waiting(self, key: Key) -> bool:
        """It has changed since it was copied last."""
        return key in self._dirty or key in self._round

    def renew(self, key: Key) -> None:
        """Let it be written with the next round, whenever that comes."""
        self._dirty.add(key)

    def changed(self, key: Key) -> None:
        """It has changed. Cheap: called at every write."""
        self._dirty.add(key)
        if self._is_quiet:
            self._is_quiet = False
            self._arm()

    def _arm(self) -> None:
        self._timer = self._scheduler.call_at(max(self._scheduler.time(), self._due_s), self._begin)

    def _begin(self) -> None:
        """A round: everything that has changed, one after the other."""
        self._timer = None
        self._due_s = self._scheduler.time() + EVERY_S
        self._round = sorted(self._dirty)
        self._dirty.clear()
        self._next()

    def _next(self) -> None:
        while self._round:
            key = self._round.pop()
            kept = self.kept.get(key)
            if kept is None:
                continue
            payload = kept.take()
            if payload != kept.saved:
                self._write(key, kept, payload)
                return
        self._end()

    def _write(self, key: Key, kept: Kept, payload: bytes) -> None:
        def done(error: Exception | None) -> None:
            kept.saved = payload if error is None else None  # a name may have changed before it failed
            self._written(key, error)

        self._writing = key
        self._watch = self._scheduler.call_at(self._scheduler.time() + HANGS_S, self._hangs)
        self._worker.submit(functools.partial(kept.file.write, payload), done)

    def _written(self, key: Key, error: Exception | None) -> None:
        self._writing = None
        if self._watch is not None:
            self._watch.cancel()
        if error is not None:
            self._dirty.add(key)
            self._trouble(key, error)
        elif self._failing.pop(key, None) is not None and not self._failing:
            log.info("%s are written again", self._words.things)
        self._next()

    def _end(self) -> None:
        if self._closing is not None:
            self._closing.set()
        elif self._dirty:
            self._arm()
        else:
            self._is_quiet = True

    def _hangs(self) -> None:
        if self._writing is not None:
            self._trouble(self._writing, TimeoutError(f"the disk has not answered for {HANGS_S:g} s"))

    def _trouble(self, key: Key, error: Exception) -> None:
        """One line for all that fails for the same reason; `close` says what was lost at the end."""
        reason = _reason(error)
        if reason not in self._failing.values() and self._closing is None:
            log.warning(
                "%s cannot be written to %s: %s: they are tried again every second, until then a restart brings back "
                "older values",
                self._words.named(key),
                self.directory,
                reason,
                exc_info=None if isinstance(error, OSError) else error,  # else our bug
            )
        self._failing[key] = reason

    async def close(self, deadline_s: float = CLOSE_S) -> None:
        """Write what has changed, each thing once, and end. What the disk did not take by then is told and lost."""
        is_under_way = not self._is_quiet and self._timer is None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._is_quiet = False  # no more rounds but ours
        ended = self._closing = asyncio.Event()
        try:
            async with asyncio.timeout(deadline_s):
                if is_under_way:
                    await ended.wait()
                    ended.clear()
                self._begin()
                await ended.wait()
        except TimeoutError:
            if self._writing is not None:
                self._failing[self._writing] = f"the disk did not answer within {deadline_s:g} s"
        finally:
            self._worker.stop()
            if self._watch is not None:
                self._watch.cancel()
            self._tell_what_is_lost()

    def _tell_what_is_lost(self) -> None:
        lost: set[Key] = {key for key in (*self._dirty, *self._round) if key in self.kept}
        if self._writing is not None:
            lost.add(self._writing)
        if lost:
            reasons = dict.fromkeys(self._failing.values()) or ["there was no time"]
            log.error(
                "%s were not written to %s: %s: the next start brings back older values",
                self._words.named(*sorted(lost)),
                self.directory,
                "; ".join(reasons),
            )


def _reason(error: Exception) -> str:
    """Without the file's name: the same for all."""
    return (error.strerror or str(error)) if isinstance(error, OSError) else f"a bug: {error!r}"
