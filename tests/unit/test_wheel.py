"""The wheel: start to start, spread, skipped and counted."""

from __future__ import annotations

import itertools

import pytest

from gateway.polling.wheel import MAX_TRACEBACKS, Turn, Wheel
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
    assert turn.runs == turn.skipped == 0


def test_a_turn_dropped_by_another_in_its_slot_does_not_run() -> None:
    time = ManualTime()
    wheel = Wheel(time)
    turns: list[Turn] = []
    runs: list[int] = []

    def run(number: int) -> bool:
        runs.append(number)
        for turn in turns:
            wheel.drop(turn)
        return True

    turns += [Turn(0.001, lambda: run(0)), Turn(0.001, lambda: run(1))]
    for turn in turns:
        wheel.add(turn)
    time.advance(5.0)
    assert len(runs) == 1


def test_a_turn_added_by_another_comes_in_its_time() -> None:
    time = ManualTime()
    wheel = Wheel(time)
    at: list[float] = []
    late = Turn(0.25, lambda: at.append(time.now_s) is None)
    early = Turn(1.0, lambda: at or wheel.add(late) is None)  # type: ignore[func-returns-value]
    wheel.add(early)
    time.advance(1.0)
    wheel.drop(early)
    begin = len(at)
    time.advance(2.0)
    assert len(at) - begin == 8


def test_nobody_comes_more_than_half_a_slot_early_or_late() -> None:
    time = ManualTime()
    wheel = Wheel(time)
    off: list[float] = []
    turns = [Turn(0.0137 + i * 0.00093, lambda i=i: off.append(turns[i].late_s) is None) for i in range(50)]  # type: ignore[misc]
    for turn in turns:
        wheel.add(turn)
    time.advance(5.0)
    assert len(off) > 5000
    assert max(off) <= 0.0005 + 1e-9
    assert min(off) >= -0.0005 - 1e-9


def test_after_stop_nothing_runs() -> None:
    time = ManualTime()
    wheel = Wheel(time)
    turn = Turn(0.5, lambda: True)
    wheel.add(turn)
    wheel.stop()
    wheel.add(Turn(0.5, lambda: 1 // 0 == 0))
    time.advance(5.0)
    assert turn.runs == 0


def test_a_bug_in_a_turn_stops_nobody_and_is_told_once_for_each_turn(caplog: pytest.LogCaptureFixture) -> None:
    time = ManualTime()
    wheel = Wheel(time)
    good = Turn(0.01, lambda: True)
    bad = [Turn(0.01, lambda: 1 // 0 == 0) for _ in range(2)]
    for turn in (bad[0], good, bad[1]):
        wheel.add(turn)
    time.advance(1.0)
    assert 99 <= good.runs <= 101
    assert all(99 <= turn.skipped <= 101 and turn.runs == 0 for turn in bad)
    assert len(caplog.records) == 2
    assert "ZeroDivisionError" in caplog.text
    for _ in range(2 * MAX_TRACEBACKS):
        wheel.add(Turn(0.01, lambda: 1 // 0 == 0))
    time.advance(1.0)
    assert len(caplog.records) == MAX_TRACEBACKS
    assert 199 <= good.runs <= 201
