"""Signals as functions of time: `sine(20, 80, 60s)` at so many seconds since the start. No clock is read here."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from gateway.config.signals import Signal

Motion = Callable[[float], float]
"""The value at so many seconds since the start; asked with times that never step back."""

WALK_STEP_S = 1.0
"""A walk takes one step a second."""
_MAX_WALK_STEPS = 3600
"""Steps caught up with after a pause: where a bounded walk stands does not tell whether it took more."""


def motion(signal: Signal, seed: str) -> Motion:
    """The function of time that `signal` names; `seed` decides the way of a walk, and nothing else."""
    if signal.kind == "walk":
        return _Walk(seed, *signal.args)
    return _MOTIONS[signal.kind](*signal.args)


def _sine(low: float, high: float, period_s: float) -> Motion:
    """Starts in the middle and rises."""
    middle, amplitude, omega = (low + high) / 2, (high - low) / 2, math.tau / period_s
    return lambda time_s: middle + amplitude * math.sin(omega * time_s)


def _ramp(low: float, high: float, period_s: float) -> Motion:
    """From low up to high, then low again at once."""
    return lambda time_s: low + (high - low) * (time_s % period_s) / period_s


def _square(low: float, high: float, period_s: float) -> Motion:
    """Half a period low, then half a period high."""
    return lambda time_s: low if time_s % period_s < period_s / 2 else high


def _counter(per_second: float, start: float) -> Motion:
    """Counts whole steps."""
    return lambda time_s: start + math.floor(per_second * time_s)


def _constant(value: float) -> Motion:
    return lambda _time_s: value


class _Walk:
    """Starts in the middle; every second up or down by at most `step`, never past low or high."""

    def __init__(self, seed: str, low: float, high: float, step: float) -> None:
        self._low, self._high, self._step = low, high, step
        self._random = random.Random(seed)
        self._value = (low + high) / 2
        self._steps = 0

    def __call__(self, time_s: float) -> float:
        steps = int(time_s / WALK_STEP_S)
        for _ in range(min(steps - self._steps, _MAX_WALK_STEPS)):
            moved = self._value + self._random.uniform(-self._step, self._step)
            self._value = min(max(moved, self._low), self._high)
        self._steps = steps
        return self._value


_MOTIONS: dict[str, Callable[..., Motion]] = {
    "sine": _sine,
    "ramp": _ramp,
    "square": _square,
    "counter": _counter,
    "constant": _constant,
}
