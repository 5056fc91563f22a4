"""The clock that ages are judged by.

It runs on while the machine sleeps or the process is stopped: a laptop that wakes, a process that is continued, must
see its old values as old. Linux's plain monotonic clock stands still during suspend, CLOCK_BOOTTIME does not;
on macOS it is the other way round with CLOCK_MONOTONIC, and Windows' counters run on.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable


def _pick() -> Callable[[], float]:
    for name in ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC"):
        clock_id = getattr(time, name, None)
        if clock_id is not None:
            return functools.partial(time.clock_gettime, clock_id)
    return time.monotonic


now: Callable[[], float] = _pick()
"""Seconds since some start; never steps back, never stands still."""
