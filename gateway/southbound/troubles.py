"""What the log hears of a link that fails: each kind of trouble once in an outage, and seldom again if it returns."""

from __future__ import annotations

import logging
from collections.abc import Callable

from gateway.interfaces import Scheduler
from gateway.logs import TOLD
from gateway.repeat import Repeats

log = logging.getLogger(__name__)


class Troubles:
    """Of one link. A kind is what stands before the first colon."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.since_s: float | None = None
        """Since when nothing was answered; None: all is well."""
        self.heard: Callable[[str, str], None] = _nobody
        """Called with level and text when the link stops working, for each kind of reason once, and when it works."""
        self._scheduler = scheduler
        self._lines = Repeats()
        self._now: set[str] = set()
        """Kinds of this outage."""
        self._is_told = False
        """The log has this outage."""

    def expected(self, why: str) -> None:
        """This is our own doing and no news."""
        self._now.add(why)

    def tell(self, name: str, why: str) -> None:
        """The link `name` does not work."""
        kind, now_s = why.partition(":")[0], self._scheduler.time()
        if self.since_s is None:
            self.since_s = now_s
        if kind in self._now:
            return
        self._now.add(kind)
        self.heard("warning", why)
        if (more := self._lines.more(kind, now_s)) is not None:
            log.warning("%s: %s; trying on%s", name, why, more, extra=TOLD)
            self._is_told = True

    def over(self, name: str) -> None:
        """Something was answered."""
        self._now.clear()
        if self.since_s is not None:
            self.heard("info", f"answers again after {self._scheduler.time() - self.since_s:.1f} s")
            level = logging.INFO if self._is_told else logging.DEBUG
            log.log(level, "%s: answers again after %.1f s", name, self._scheduler.time() - self.since_s)
            self.since_s = None
            self._is_told = False


def _nobody(level: str, text: str) -> None:
    """Nobody listens."""
