"""The one place where a test waits: for a condition, with a deadline, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_S = 0.01


def wait_until(condition: Callable[[], T], deadline_s: float = 5.0, what: str = "the condition") -> T:
    """The first true value of `condition()`; AssertionError naming `what` when `deadline_s` passes without one."""
    end_s = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end_s:
            raise AssertionError(f"{what}: not within {deadline_s:g} s")
        time.sleep(POLL_S)
