"""One timer for all jobs: who is due, start to start.

A heap of (due, job) and one loop timer for its top. Due times lie on each job's own grid (phase + n * period), so that
a late poll does not shift the next; what could not be kept is skipped and counted, never queued twice.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import Protocol

SLOT_S = 0.001
"""What is due within the same slot goes in the same turn; loop timers are no finer."""

_GOLDEN = 0.6180339887498949
"""Multiples of it modulo 1 spread evenly for any number of jobs."""


class Timer(Protocol):
    def cancel(self) -> None: ...


class Scheduler(Protocol):
    """What of an asyncio loop the wheel and the links need; tests bring their own clock."""

    def time(self) -> float: ...
    def call_at(self, when: float, callback: Callable[[], object], /) -> Timer: ...


class Turn:
    """One entry of the wheel: call `run` every `period_s`. `run()` returns False when the last one is still out."""

    __slots__ = ("dropped", "due_s", "late_s", "period_s", "run", "runs", "skipped")

    def __init__(self, period_s: float, run: Callable[[], bool]) -> None:
        self.period_s = period_s
        self.run = run
        self.due_s = math.inf
        self.runs = 0
        self.skipped = 0
        """Turns that did not happen: the one before was not done, or the process was too late."""
        self.late_s = 0.0
        """How late the last turn was."""
        self.dropped = False


class Wheel:
    """All turns of the gateway."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._heap: list[tuple[float, int, Turn]] = []
        self._count = 0
        self._timer: Timer | None = None
        self._timer_s = math.inf

    def add(self, turn: Turn) -> None:
        """Its first turn comes within one period; the phases of all turns are spread."""
        self._count += 1
        phase = (self._count * _GOLDEN) % 1.0
        self._push(turn, self._scheduler.time() + max(phase * turn.period_s, SLOT_S))
        self._arm()

    def drop(self, turn: Turn) -> None:
        """No more turns."""
        turn.dropped = True

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._heap.clear()

    def _push(self, turn: Turn, due_s: float) -> None:
        turn.due_s = due_s
        self._count += 1
        heapq.heappush(self._heap, (due_s, self._count, turn))

    def _arm(self) -> None:
        if not self._heap:
            return
        due_s = self._heap[0][0]
        if self._timer is not None:
            if due_s >= self._timer_s - SLOT_S / 2:
                return
            self._timer.cancel()
        self._timer_s = due_s
        self._timer = self._scheduler.call_at(due_s, self._fire)

    def _fire(self) -> None:
        self._timer = None
        now_s = self._scheduler.time()
        heap = self._heap
        until_s = now_s + SLOT_S / 2
        while heap and heap[0][0] <= until_s:
            due_s, _, turn = heapq.heappop(heap)
            if turn.dropped:
                continue
            turn.late_s = max(0.0, now_s - due_s)
            period_s = turn.period_s
            missed = int(turn.late_s / period_s)
            turn.skipped += missed
            if turn.run():
                turn.runs += 1
            else:
                turn.skipped += 1
            self._push(turn, due_s + (missed + 1) * period_s)
        self._arm()
