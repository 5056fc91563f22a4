"""Signals as functions of time: what each one's words promise."""

from __future__ import annotations

from itertools import pairwise

import pytest

from gateway.config.signals import parse_signal
from gateway.simulate.signals import Motion, motion


def signal(text: str, seed: str = "press/level") -> Motion:
    return motion(parse_signal(text), seed)


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("sine(20, 80, 60s)", {0: 50, 15: 80, 30: 50, 45: 20, 60: 50}),
        ("ramp(5, 95, 60s)", {0: 5, 30: 50, 59.999: 94.9985, 60: 5, 90: 50}),
        ("square(0, 1, 10s)", {0: 0, 4.9: 0, 5: 1, 9.9: 1, 10: 0}),
        ("square(4s)", {0: 0, 2: 1}),
        ("counter(3)", {0: 0, 0.3: 0, 0.34: 1, 10: 30}),
        ("counter(-2, 100)", {0: 100, 1.5: 97}),
        ("constant(7.5)", {0: 7.5, 1e6: 7.5}),
        ("on", {0: 1, 99: 1}),
        ("walk(5, 5, 1)", {0: 5, 100: 5}),
    ],
)
def test_a_signal_has_the_value_its_words_say(text: str, points: dict[float, float]) -> None:
    value_at = signal(text)
    for time_s, value in points.items():
        assert value_at(time_s) == pytest.approx(value), time_s


def test_a_walk_moves_by_at_most_its_step_a_second_and_stays_within_its_bounds() -> None:
    value_at = signal("walk(10, 12, 0.5)")
    values = [value_at(second) for second in range(2000)]
    assert all(10 <= value <= 12 for value in values)
    assert max(abs(after - before) for before, after in pairwise(values)) <= 0.5
    assert max(values) > 11.5
    assert min(values) < 10.5


def test_a_walk_is_decided_by_its_seed_and_not_by_how_often_it_is_asked() -> None:
    often, seldom, other = (signal("walk(0, 100, 5)", seed) for seed in ("a", "a", "b"))
    tenths = [often(n / 10) for n in range(1001)]
    assert seldom(100) == tenths[-1]
    assert other(100) != tenths[-1]


def test_a_walk_catches_up_with_a_long_pause_in_no_time() -> None:
    value = signal("walk(0, 100, 5)")(10 * 365 * 86400.0)  # ten years: every second of them would take minutes
    assert 0 <= value <= 100
