"""One timer for all jobs: who is due, start to start.

Turns lie in slots of a millisecond: a list for each, a heap of the slots that have one, and one loop timer for the
first. A turn that has come goes to the end of another list, which costs a third of a heap of turns. Due times lie on
each job's own grid (phase + n * period), so that a late poll does not shift the next; what could not be kept is skipped
and counted, never queued twice.
"""

from __future__ import annotations

import heapq
import logging
import math
from collections.abc import Callable

from gateway.interfaces import Scheduler, Timer

log = logging.getLogger(__name__)

SLOT_S = 0.001
"""What is due within the same slot goes in the same turn; loop timers are no finer."""

_SLOTS_PER_S = 1 / SLOT_S

MAX_TRACEBACKS = 10
"""Of our own bugs in turns; one of each turn."""

_GOLDEN = 0.6180339887498949
"""Multiples of it modulo 1 spread evenly for any number of jobs."""


class Turn:
    """One entry of the wheel: call `run` every `period_s`. `run()` returns False when the last one is still out."""

    __slots__ = ("dropped", "due_s", "is_faulty", "late_s", "period_s", "run", "runs", "skipped")

    def __init__(self, period_s: float, run: Callable[[], bool]) -> None:
        self.period_s = period_s
        self.run = run
        self.due_s = math.inf
        """The next one; the last was a period before."""
        self.runs = 0
        self.skipped = 0
        """Turns that did not happen: the one before was not done, or the process was too late."""
        self.late_s = 0.0
        """How late the last turn was; half a slot early at most."""
        self.dropped = False
        self.is_faulty = False
        """A bug of ours has hit it once."""


class Wheel:
    """All turns of the gateway."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._slots: dict[int, list[Turn]] = {}
        self._heap: list[int] = []
        """The keys of `_slots`."""
        self._count = 0
        self._timer: Timer | None = None
        self._timer_slot = 0
        self._is_stopped = False
        self._tracebacks = 0

    def time(self) -> float:
        """The scheduler's, as `Turn.due_s`."""
        return self._scheduler.time()

    def add(self, turn: Turn) -> None:
        """Its first turn comes within one period; the phases of all turns are spread."""
        self._count += 1
        phase = (self._count * _GOLDEN) % 1.0
        turn.due_s = self._scheduler.time() + max(phase * turn.period_s, SLOT_S)
        slot = round(turn.due_s * _SLOTS_PER_S)
        if slot in self._slots:
            self._slots[slot].append(turn)
        else:
            self._slots[slot] = [turn]
            heapq.heappush(self._heap, slot)
        self._arm()

    def drop(self, turn: Turn) -> None:
        """No more turns."""
        turn.dropped = True
        turn.run = _nothing  # what it would call need not live on until its slot comes

    def later(self, delay_s: float, callback: Callable[[], object]) -> Timer:
        """Call once, in `delay_s`; for what has no grid."""
        return self._scheduler.call_at(self._scheduler.time() + delay_s, callback)

    def overdue_s(self) -> float:
        """How late the next slot is; 0 when it is still to come, or there is none. A wheel that turns is late by no
        more than the loop is."""
        return max(self._scheduler.time() - self._heap[0] * SLOT_S, 0.0) if self._heap else 0.0

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._slots.clear()
        self._heap.clear()
        self._is_stopped = True

    def _arm(self) -> None:
        if not self._heap or self._is_stopped:
            return
        slot = self._heap[0]
        if self._timer is not None:
            if slot >= self._timer_slot:
                return
            self._timer.cancel()
        self._timer_slot = slot
        self._timer = self._scheduler.call_at(slot * SLOT_S, self._fire)

    def _fire(self) -> None:
        self._timer = None
        try:
            self._run_due()
        finally:
            self._arm()

    def _run_due(self) -> None:
        now_s = self._scheduler.time()
        slots, heap = self._slots, self._heap
        until = int(now_s * _SLOTS_PER_S + 0.5)
        while heap and heap[0] <= until:
            for turn in slots.pop(heapq.heappop(heap)):
                if turn.dropped:
                    continue
                due_s, period_s = turn.due_s, turn.period_s
                turn.late_s = late_s = now_s - due_s
                due_s += period_s
                if late_s >= period_s:
                    missed = int(late_s / period_s)
                    turn.skipped += missed
                    due_s += missed * period_s
                turn.due_s = due_s
                try:
                    ran = turn.run()
                except Exception:  # our bug: the other turns, and its next ones, come all the same
                    ran = False
                    self._fault(turn)
                if ran:
                    turn.runs += 1
                else:
                    turn.skipped += 1
                slot = int(due_s * _SLOTS_PER_S + 0.5)
                due = slots.get(slot)
                if due is None:
                    slots[slot] = [turn]
                    heapq.heappush(heap, slot)
                else:
                    due.append(turn)

    def _fault(self, turn: Turn) -> None:
        if not turn.is_faulty and self._tracebacks < MAX_TRACEBACKS:
            self._tracebacks += 1
            log.exception("bug in the gateway in what comes every %g s; it goes on", turn.period_s)
        turn.is_faulty = True


def _nothing() -> bool:
    return False
