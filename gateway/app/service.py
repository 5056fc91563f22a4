"""The gateway as a service: it says when it is ready, how it is, and that it is alive, once a second.

The rule: every word comes from the loop that serves registers, and the word that keeps the watchdog quiet is said only
while the poll wheel turns too. A thread that said it would hide just what the watchdog is there to find.
The same beat measures how late the loop is: it should come at an exact time, and every block of the loop delays it.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from typing import Protocol

from gateway.polling.wheel import Wheel
from gateway.systemd import Notifier
from gateway.traffic import Histogram

BEAT_S = 1.0
"""How often it is said, or three times in the watchdog's time if that is more often."""
MAX_OVERDUE_S = 2.0
"""The wheel's next turn may be late by this much: a collection of garbage after a reload of thousands of devices takes
half a second. What is later does not turn."""


class Running(Protocol):
    """What of the gateway is told."""

    wheel: Wheel

    def states(self) -> Counter[str]:
        """How many devices are in which state."""
        ...

    @property
    def is_reload_refused(self) -> bool:
        """The last one."""
        ...


class Service:
    """Beats as long as its task runs."""

    def __init__(self, notifier: Notifier) -> None:
        self.lag = Histogram()
        """How late the loop came to its beats."""
        self.started_s = round(time.time(), 3)
        """UTC, seconds since 1970."""
        self.boot = secrets.token_hex(8)
        """Of this process: another one, and the gateway was started anew; its counters began at 0 then."""
        self._notifier = notifier
        self._is_ready = False
        self._is_stopping = False
        self.period_s = min(BEAT_S, notifier.watchdog_s / 3) if notifier.watchdog_s else BEAT_S

    async def run(self, gateway: Running) -> None:
        """Begun when every listener is open."""
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while True:
            late_s = max(loop.time() - due_s, 0.0)
            self.lag.add(late_s)
            self._beat(gateway)
            due_s = max(due_s + self.period_s, loop.time())
            await asyncio.sleep(due_s - loop.time())

    def _beat(self, gateway: Running) -> None:
        notifier = self._notifier
        if not notifier.is_wanted:
            return
        turns = gateway.wheel.overdue_s() <= MAX_OVERDUE_S
        if not self._is_stopping:
            if turns and not self._is_ready:
                self._is_ready = True
                notifier.ready()
            notifier.status(told(gateway.states(), refused=gateway.is_reload_refused))
        if turns:
            notifier.alive()

    def reloading(self) -> None:
        """The configuration is read again."""
        if self._is_ready:
            self._notifier.reloading()

    def reloaded(self) -> None:
        """It is in use, or was refused."""
        if self._is_ready and not self._is_stopping:
            self._notifier.ready()

    def stopping(self) -> None:
        """The end has begun."""
        self._is_stopping = True
        self._notifier.stopping()
        self._notifier.status("stopping")


_WORST_LAST = ("good", "waiting", "stale", "down")


def told(states: Counter[str], *, refused: bool) -> str:
    """`12 devices good, 1 down`"""
    words = [f"{states[state]} {state}" for state in _WORST_LAST if states[state] or state == "good"]
    if not states.total() - states["disabled"]:
        words = ["no devices"]
    else:
        count, _, state = words[0].partition(" ")
        words[0] = f"{count} {'device' if count == '1' else 'devices'} {state}"
    return ", ".join(words) + ("; the last reload was refused" if refused else "")
