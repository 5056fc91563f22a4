"""A clock that tests move by hand, with the timers of an asyncio loop; and a carrier that records what it is given."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Mapping
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
        self.line: Any = None

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def close(self) -> None:
        self.closed = True

    def take(self) -> bytes:
        """All that was written since the last call."""
        data = b"".join(self.sent)
        self.sent.clear()
        return data


class Pipe(asyncio.Transport):
    """A client's connection as a server sees it: keeps what is written, strict about what uvloop is strict about."""

    def __init__(self, extra: Mapping[str, Any]) -> None:
        super().__init__(extra)
        self.written = bytearray()
        self.closed = False
        self.reading = True

    def write(self, data: Any) -> None:
        if self.closed:
            raise RuntimeError("written after closing")
        self.written += data

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = not self.closed

    def is_reading(self) -> bool:
        return self.reading

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There is no buffer."""

    def close(self) -> None:
        self.closed = True
        self.reading = False

    def abort(self) -> None:
        self.close()
