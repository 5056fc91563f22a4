"""The age of every value, judged when a client asks and not only by timers.

One number, `until_s`, says until when nothing changes by age alone. A carrier compares it with the clock once per read
of its socket; past it, `judge` looks at every block. So the healthy case costs one comparison, and a process that
slept, or a loop that was late, judges before it answers. A good read only moves a block's own limit: `until_s` may
lie too early, never too late.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

TICK_S = 1.0
"""How often, at least, what shows whole seconds (status blocks) is brought up to date while somebody reads."""


class Perishable(Protocol):
    """Something whose values grow old."""

    expires_s: float
    """On the freshness's clock; infinite while it has no value to lose."""

    def expire(self) -> None:
        """The limit has passed without a good read; must set `expires_s` to infinity."""
        ...


class Freshness:
    """All perishables and what must be renewed with the seconds."""

    __slots__ = ("_next_tick_s", "_perishables", "_ticks", "clock", "until_s")

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.until_s = math.inf
        self._perishables: list[Perishable] = []
        self._ticks: list[Callable[[float], None]] = []
        self._next_tick_s = math.inf

    def watch(self, perishable: Perishable) -> None:
        """Judge it from now on."""
        self._perishables.append(perishable)
        self.until_s = min(self.until_s, perishable.expires_s)

    def every_tick(self, tick: Callable[[float], None]) -> None:
        """Call `tick(now_s)` at least every TICK_S while judged."""
        self._ticks.append(tick)
        self.touch()

    def renew(self, perishable: Perishable, expires_s: float) -> None:
        """A good read: it lives until `expires_s`."""
        perishable.expires_s = expires_s
        if expires_s < self.until_s:
            self.until_s = expires_s

    def touch(self) -> None:
        """Something changed that the ticks show: judge at the next request."""
        if self._ticks:
            self._next_tick_s = self.until_s = -math.inf

    def judge(self, now_s: float) -> None:
        """Expire what is too old now and renew what shows the time."""
        until_s = math.inf
        for perishable in self._perishables:
            if perishable.expires_s <= now_s:
                perishable.expire()
            until_s = min(until_s, perishable.expires_s)
        if now_s >= self._next_tick_s:
            self._next_tick_s = now_s + TICK_S if self._ticks else math.inf
            for tick in self._ticks:
                tick(now_s)
        self.until_s = min(until_s, self._next_tick_s)
