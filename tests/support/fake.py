"""A clock that tests move by hand, with the timers of an asyncio loop; and a carrier that records what it is given."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any


class Handle:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class ManualTime:
    """Stands where a loop's time and timers stand; `advance` runs what becomes due, in order."""

    def __init__(self, start_s: float = 100.0) -> None:
        self.now_s = start_s
        self._timers: list[tuple[float, int, Handle, Callable[[], object]]] = []
        self._count = 0

    def time(self) -> float:
        return self.now_s

    def call_at(self, when: float, callback: Callable[[], object], /) -> Handle:
        handle = Handle()
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, handle, callback))
        return handle

    def advance(self, seconds: float) -> None:
        until_s = self.now_s + seconds
        while self._timers and self._timers[0][0] <= until_s + 1e-9:
            when, _, handle, callback = heapq.heappop(self._timers)
            self.now_s = max(self.now_s, when)
            if not handle.cancelled:
                callback()
        self.now_s = until_s


class RecordingCarrier:
    """An open connection whose other end is the test."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed = False
        self.unfinished = 0
        self.owner: Any = None

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def close(self) -> None:
        self.closed = True

    def take(self) -> bytes:
        """All that was written since the last call."""
        data = b"".join(self.sent)
        self.sent.clear()
        return data
