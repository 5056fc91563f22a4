"""The age of every value, judged when a client asks and not only by timers.

One number, `until_s`, says until when nothing changes by age alone. A carrier compares it with the clock once per read
of its socket; past it, `judge` looks at every block. So the healthy case costs one comparison, and a process that
slept, or a loop that was late, judges before it answers. A good read only moves a block's own limit, later and later,
which nobody need be told: `until_s` may lie too early, never too late.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

TICK_S = 1.0
"""How often, at least, what shows whole seconds (status blocks) is brought up to date while somebody reads."""

Tick = Callable[[float], None]
"""Brings something up to date for a time on the freshness's clock."""


class Perishable(Protocol):
    """Something whose values grow old. Told apart by identity."""

    expires_s: float
    """On the freshness's clock; infinite while it has no value to lose. May be moved later by its owner; for anything
    else there is `renew`."""

    def expire(self) -> None:
        """The limit has passed without a good read; must set `expires_s` to infinity."""
        ...


class Freshness:
    """All perishables and what must be renewed with the seconds."""

    __slots__ = ("_changed", "_next_tick_s", "_perish_s", "_perishables", "_ticks", "clock", "until_s")

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.until_s = math.inf
        """Until then, as far as is known, nothing changes by age alone; never too late."""
        self._perish_s = math.inf
        """The same of the perishables alone."""
        self._perishables: dict[Perishable, None] = {}
        self._ticks: dict[Tick, None] = {}
        self._changed: dict[Tick, None] = {}
        self._next_tick_s = math.inf

    def watch(self, perishable: Perishable) -> None:
        """Judge it from now on."""
        self._perishables[perishable] = None
        self.renew(perishable, perishable.expires_s)

    def forget(self, perishable: Perishable) -> None:
        """It is gone; O(1). Unknown ones are ignored."""
        self._perishables.pop(perishable, None)

    def every_tick(self, tick: Tick) -> None:
        """Call `tick` at least every TICK_S while judged."""
        self._ticks[tick] = None
        self._next_tick_s = self.until_s = -math.inf

    def forget_tick(self, tick: Tick) -> None:
        """Never call `tick` again; O(1)."""
        self._ticks.pop(tick, None)
        self._changed.pop(tick, None)

    def renew(self, perishable: Perishable, expires_s: float) -> None:
        """A good read after there was no value: it lives until `expires_s`."""
        perishable.expires_s = expires_s
        if expires_s < self._perish_s:
            self._perish_s = expires_s
            self.until_s = min(self.until_s, expires_s)

    def touch(self, tick: Tick) -> None:
        """Something changed that `tick` shows: call it before the next answer."""
        self._changed[tick] = None
        self.until_s = -math.inf

    def judge(self, now_s: float) -> None:
        """Expire what is too old now and renew what shows the time."""
        if now_s >= self._perish_s:
            for perishable in [each for each in self._perishables if each.expires_s <= now_s]:
                perishable.expire()
            self._perish_s = min((each.expires_s for each in self._perishables), default=math.inf)
        if now_s >= self._next_tick_s:
            self._next_tick_s = now_s + TICK_S if self._ticks else math.inf
            self._changed.update(self._ticks)
        changed, self._changed = self._changed, {}
        for tick in changed:
            tick(now_s)
        self.until_s = min(self._perish_s, self._next_tick_s)
        if self._changed:  # what a tick has touched meanwhile
            self.until_s = -math.inf
