"""The loop's time and timers, for parts that are built before there is a loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.polling.wheel import Timer


class LoopTime:
    """The Scheduler of everything: the running loop's."""

    def time(self) -> float:
        return asyncio.get_running_loop().time()

    def call_at(self, when: float, callback: Callable[[], object], /) -> Timer:
        return asyncio.get_running_loop().call_at(when, callback)
