"""The wheel: start to start, spread, skipped and counted."""

from __future__ import annotations

import itertools

from gateway.polling.wheel import Turn, Wheel
from tests.support.fake import ManualTime


def test_turns_come_start_to_start_and_do_not_drift() -> None:
    time = ManualTime()
    wheel = Wheel(time)
    at: list[float] = []
    turn = Turn(0.5, lambda: at.append(time.now_s) is None)
    wheel.add(turn)
    time.advance(50.2)
    assert 100 <= len(at) <= 101
    assert all(abs((b - a) - 0.5) < 1e-6 for a, b in itertools.pairwise(at))


def test_phases_are_spread_over_the_period() -> None:
    time = ManualTime()
    wheel = Wheel(time)
    at: list[float] = []
    for _ in range(100):
        wheel.add(Turn(1.0, lambda: at.append(time.now_s) is None))
    time.advance(0.999)
    counts = [sum(1 for moment in at if slot <= (moment - 100.0) * 10 < slot + 1) for slot in range(10)]
    assert all(8 <= count <= 12 for count in counts), counts


def test_a_turn_whose_last_one_is_still_out_is_skipped_and_counted() -> None:
    time = ManualTime()
    wheel = Wheel(time)
    turn = Turn(1.0, lambda: False)
    wheel.add(turn)
    time.advance(10.5)
    assert turn.runs == 0
    assert turn.skipped in (10, 11)


def test_what_a_late_process_missed_is_skipped_not_caught_up() -> None:
    time = ManualTime()
    wheel = Wheel(time)
    turn = Turn(1.0, lambda: True)
    wheel.add(turn)
    time.advance(1.0)
    assert turn.runs == 1
    time.now_s += 10.0  # the process slept
    time.advance(0.0)
    assert turn.runs == 2
    assert 9 <= turn.skipped <= 10
    grid = turn.due_s
    time.advance(1.0)
    assert turn.runs == 3
    assert abs(turn.due_s - grid - 1.0) < 1e-6


def test_a_dropped_turn_comes_no_more() -> None:
    time = ManualTime()
    wheel = Wheel(time)
    turn = Turn(1.0, lambda: True)
    wheel.add(turn)
    wheel.drop(turn)
    time.advance(5.0)
    assert turn.runs == 0
