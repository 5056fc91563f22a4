"""Lines that may come again and again: the same one about the same thing at most once in REPEAT_S."""

from __future__ import annotations

import math
from collections.abc import Hashable

REPEAT_S = 60.0
"""The same line about the same thing comes once in this time, however often there is a reason."""
MAX_THINGS = 1000
"""Remembered; more than that are forgotten when their time is over."""


class Repeats:
    """When each line was told last, and how often it was not."""

    def __init__(self, most: float = math.inf) -> None:
        """`most` lines in REPEAT_S, of all things together."""
        self._most = most
        self._told: dict[Hashable, tuple[float, int]] = {}
        """By thing: when its line was told, and how often not since."""

    def more(self, what: Hashable, now_s: float, *, counts: bool = True) -> str | None:
        """There is a reason for the line about `what` (with `counts`: a new one). What to append to it; None: say
        nothing now."""
        told_s, untold = self._told.get(what, (-math.inf, 0))
        if now_s < self.due_s(what) or self._recent(now_s) >= self._most:
            if len(self._told) >= MAX_THINGS:
                self._told = {key: told for key, told in self._told.items() if now_s - told[0] < REPEAT_S}
            self._told[what] = (told_s, untold + counts)
            return None
        self._told[what] = (now_s, 0)
        return f" ({untold} times since the last line)" if untold else ""

    def due_s(self, what: Hashable) -> float:
        """When the next line about `what` may come."""
        return self._told.get(what, (-math.inf, 0))[0] + REPEAT_S

    def _recent(self, now_s: float) -> int:
        if math.isinf(self._most):
            return 0
        return sum(now_s - told_s < REPEAT_S for told_s, _ in self._told.values())
