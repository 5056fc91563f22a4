"""The thread of this room: what waits for the disk is done here, one piece after the other, never in the loop.

A daemon: a disk that hangs does not hold up the end of the process.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Protocol

Work = Callable[[], None]
Done = Callable[[Exception | None], None]


class Worker(Protocol):
    """Does `work()` elsewhere, in order, and calls `done(error)` in the loop; tests bring one that waits for them."""

    def submit(self, work: Work, done: Done) -> None: ...
    def stop(self) -> None: ...


class DiskThread:
    """The real one. Its thread starts with the first piece of work."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[tuple[Work, Done, asyncio.AbstractEventLoop] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, work: Work, done: Done) -> None:
        """Called in the loop, which gets `done`."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="disk", daemon=True)
            self._thread.start()
        self._waiting.put((work, done, asyncio.get_running_loop()))

    def stop(self) -> None:
        """End when what waits is done. Does not wait for that."""
        self._waiting.put(None)

    def _run(self) -> None:
        while (entry := self._waiting.get()) is not None:
            work, done, loop = entry
            error: Exception | None = None
            try:
                work()
            except Exception as raised:  # whose fault it is is for `done` to say
                error = raised
            try:
                loop.call_soon_threadsafe(done, error)
            except RuntimeError:  # the loop has ended without us
                return
