"""The loop's time and timers, for parts that are built before there is a loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.interfaces import Timer


class LoopTime:
    """The Scheduler of everything: of the loop that runs when it is asked first.

    That loop's own functions stand in our place then: to find the running loop costs five times what its time does.
    """

    def __init__(self) -> None:
        self.time: Callable[[], float] = self._first_time
        self.call_at: Callable[[float, Callable[[], object]], Timer] = self._first_call

    def _find(self) -> None:
        loop = asyncio.get_running_loop()
        self.time = loop.time
        self.call_at = loop.call_at

    def _first_time(self) -> float:
        self._find()
        return self.time()

    def _first_call(self, when: float, callback: Callable[[], object]) -> Timer:
        self._find()
        return self.call_at(when, callback)
