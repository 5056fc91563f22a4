"""How fast one address is served: a bucket of requests that fills with time, shared by all clients that come from it.

Nothing is lost and nobody is told off: when the bucket is empty, a connection is not read any more until there is
something in it again. Those who wait have their turns one after the other, each with an equal share, so that one
connection that floods leaves the others of its address what is theirs.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.front.counters import Counters
from gateway.interfaces import Scheduler, Timer

BURST_S = 1.0
"""How much may come at once after a silence, in seconds of the rate: `requests_per_second` holds for any second but the
one after."""
TURN_S = 0.01
"""The least time between two rounds of turns; at high rates a round serves several requests of each."""


class Pace:
    """The bucket of one address. Clients of it are told apart by identity."""

    __slots__ = ("_at_s", "_counters", "_filled", "_rate", "_scheduler", "_share", "_timer", "_turn", "_waiting")

    def __init__(self, scheduler: Scheduler, rate: float, counters: Counters) -> None:
        """`rate`: requests per second. It begins full."""
        self._scheduler = scheduler
        self._counters = counters
        self._rate = rate
        self._filled = self._most
        self._at_s = scheduler.time()
        self._waiting: dict[object, Callable[[], None]] = {}
        self._turn: object | None = None
        self._share = 0
        self._timer: Timer | None = None

    @property
    def is_full(self) -> bool:
        """Nobody has been here for so long that it might as well be a new one."""
        return not self._waiting and self._fill() >= self._most

    def change(self, rate: float) -> None:
        """From now on it fills at this rate."""
        self._fill()
        self._rate = rate
        self._filled = min(self._filled, self._most)

    def holds(self, client: object) -> bool:
        """Whether it has more to answer, and waits for its turn."""
        return client in self._waiting

    def share(self, client: object) -> int:
        """How many requests of this client may be answered now; 0: others were there before, or there is nothing."""
        if client is self._turn:
            return self._share
        return 0 if self._waiting else int(self._fill())

    def spend(self, requests: int) -> None:
        """So many were answered."""
        self._filled -= requests

    def take(self) -> bool:
        """One request that nobody waits for: whether it may be answered."""
        if self._waiting or self._fill() < 1:
            return False
        self._filled -= 1
        return True

    def wait(self, client: object, go_on: Callable[[], None]) -> None:
        """`client` has more than its share: call `go_on()` when it has its turn, in which it asks `share` again."""
        if client not in self._waiting:
            self._waiting[client] = go_on
            self._counters.slowed += 1
        self._arm()

    def forget(self, client: object) -> None:
        """It has gone."""
        self._waiting.pop(client, None)

    def release(self) -> None:
        """There is no limit any more: all go on."""
        waiting, self._waiting = self._waiting, {}
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for go_on in waiting.values():
            go_on()

    @property
    def _most(self) -> float:
        return max(1.0, self._rate * BURST_S)

    def _fill(self) -> float:
        now_s = self._scheduler.time()
        self._filled = min(self._most, self._filled + (now_s - self._at_s) * self._rate)
        self._at_s = now_s
        return self._filled

    def _arm(self) -> None:
        if self._timer is None and self._turn is None:
            delay_s = max(TURN_S, (1.0 - self._fill()) / self._rate)
            self._timer = self._scheduler.call_at(self._scheduler.time() + delay_s, self._give_turns)

    def _give_turns(self) -> None:
        """Each that waits once, as far as it reaches; who has still more waits behind those who had none."""
        self._timer = None
        before, self._waiting = self._waiting, {}
        while before and self._fill() >= 1:
            client = self._turn = next(iter(before))
            self._share = max(1, int(self._filled) // len(before))
            go_on = before.pop(client)
            try:
                go_on()
            finally:
                self._turn = None
        self._waiting = {**before, **self._waiting}
        if self._waiting:
            self._arm()
