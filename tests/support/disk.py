"""A disk that works when the test says so."""

from __future__ import annotations

from gateway.state.worker import Done, Work


class HandWorker:
    """A disk that works when the test says so, or fails."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Work, Done]] = []
        self.submitted = 0

    def submit(self, work: Work, done: Done) -> None:
        assert not self.waiting, "two at once"
        self.submitted += 1
        self.waiting.append((work, done))

    def stop(self) -> None:
        """There is no thread."""

    def finish(self, error: Exception | None = None) -> None:
        """Do what waits; with `error`, fail instead."""
        work, done = self.waiting.pop()
        if error is None:
            work()
        done(error)
