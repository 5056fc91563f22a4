"""Taps: bounded, matched, lost and counted; and how long something took."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.traffic import (
    BOUNDS_S,
    IDLE_S,
    MAX_TAPS,
    Histogram,
    Tap,
    Taps,
    Wanted,
    address_text,
    quantile_s,
)


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def put(tap: Tap, unit_id: int = 1, note: str = "") -> None:
    tap.put("device", "tcp://plc", "10.0.0.5:502", "", unit_id, 7, b"\3\0\0\0\1", is_request=True, note=note)


@pytest.mark.parametrize(
    ("wanted", "links", "clients"),
    [
        (Wanted(), {"a", "b"}, {"10.0.0.1:5", "[fd00::1]:5", "/dev/ttyS0"}),
        (Wanted("device"), {"a", "b"}, set()),
        (Wanted("client"), set(), {"10.0.0.1:5", "[fd00::1]:5", "/dev/ttyS0"}),
        (Wanted(link="a"), {"a"}, set()),
        (Wanted(client="10.0.0.1"), set(), {"10.0.0.1:5"}),
        (Wanted(client="10.0.0.1:5"), set(), {"10.0.0.1:5"}),
        (Wanted(client="10.0.0.1:6"), set(), set()),
        (Wanted(client="fd00::1"), set(), {"[fd00::1]:5"}),
        (Wanted(client="/dev/ttyS0"), set(), {"/dev/ttyS0"}),
    ],
)
def test_whom_a_tap_is_about(wanted: Wanted, links: set[str], clients: set[str]) -> None:
    assert {key for key in ("a", "b") if wanted.wants_link(key)} == links
    peers = ("10.0.0.1:5", "[fd00::1]:5", "/dev/ttyS0")
    assert {peer for peer in peers if wanted.wants_client(peer)} == clients


def test_frames_of_other_units_are_left_out() -> None:
    tap = Tap(1, Wanted(unit_id=3), Clock())
    put(tap, 1)
    put(tap, 3)
    frames, lost = tap.take(0)
    assert ([frame.unit_id for frame in frames], [frame.number for frame in frames], lost) == ([3], [1], 0)


def test_a_reader_that_says_what_it_has_gets_what_follows_and_may_ask_twice() -> None:
    tap = Tap(1, Wanted(), Clock())
    for _ in range(5):
        put(tap)
    first, _ = tap.take(0, 2)
    assert [frame.number for frame in first] == [1, 2]
    assert tap.take(0, 2) == (first, 0)  # its answer was lost on the way
    frames, lost = tap.take(2, 100)
    assert ([frame.number for frame in frames], lost) == ([3, 4, 5], 0)
    assert tap.take(5, 100) == ([], 0)


def test_the_oldest_are_lost_and_counted_when_nobody_takes_them() -> None:
    tap = Tap(1, Wanted(), Clock(), max_frames=3)
    for _ in range(10):
        put(tap)
    frames, lost = tap.take(2)
    assert ([frame.number for frame in frames], lost) == ([8, 9, 10], 5)
    put(tap)
    assert tap.take(10)[1] == 0


def test_a_tap_that_nobody_empties_is_closed_and_links_and_clients_are_told() -> None:
    clock, told = Clock(), []
    taps = Taps(clock)
    taps.changed = lambda: told.append(len(taps))
    opened = [taps.open(Wanted("device")) for _ in range(MAX_TAPS)]
    assert taps.open(Wanted()) is None
    first = opened[0]
    assert first is not None
    assert taps.of_link("a") == tuple(opened)
    assert taps.of_client("10.0.0.1:5") == ()

    clock.now_s = IDLE_S
    first.take(0)
    clock.now_s = 1.5 * IDLE_S
    taps.review()
    assert taps.of_link("a") == (first,)
    assert taps.get(first.number) is first
    taps.close(first.number)
    taps.close(first.number)
    assert taps.get(first.number) is None
    assert told == [1, 2, 3, 4, 3, 2, 1, 0]


def test_what_takes_as_long_as_a_bound_is_within_it() -> None:
    took = Histogram()
    for seconds in (0.0, 0.001, 0.0011, 5.0, 5.1, 100.0):
        took.add(seconds)
    shown = took.snapshot()
    assert shown["buckets"] == [2, 1, *[0] * (len(BOUNDS_S) - 3), 1, 2]
    assert (shown["count"], shown["sum_s"]) == (6, pytest.approx(110.1021))


@given(st.lists(st.floats(0, 20), max_size=40))
def test_many_at_once_count_as_one_by_one(many: list[float]) -> None:
    one_by_one, together = Histogram(), Histogram()
    for seconds in many:
        one_by_one.add(seconds)
    together.add_all(list(many))
    assert together.counts == one_by_one.counts
    assert together.sum_s == pytest.approx(one_by_one.sum_s)


def test_a_part_of_all_took_no_longer_than_a_bound() -> None:
    assert quantile_s([0] * 13, 0.5) is None
    assert quantile_s([98, 1, 1, *[0] * 10], 0.5) == 0.001
    assert quantile_s([98, 1, 1, *[0] * 10], 0.99) == 0.002
    assert quantile_s([98, 1, 1, *[0] * 10], 1.0) == 0.005
    assert quantile_s([*[0] * 12, 1], 0.5) == 10.0


def test_addresses_for_people() -> None:
    assert address_text(("10.0.0.5", 502)) == "10.0.0.5:502"
    assert address_text(("fd00::5", 502, 0, 0)) == "[fd00::5]:502"
    assert address_text(None) == address_text("") == ""
