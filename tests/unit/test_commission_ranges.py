"""Which addresses answer, found by asking: tables of devices, the requests counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from gateway.commission.asker import Answer, Kind
from gateway.commission.parts import Parts, take_apart
from gateway.commission.ranges import MAX_SILENT, PLACES, Map, Question, search
from gateway.errors import RequestTimeout
from gateway.modbus.spec import ADDRESSES, Table

Device = Callable[[Question], int | None]
"""0: it answers; an exception code; None: silence."""


def device(*ranges: tuple[int, int], most: int = 125, width: int = 1, code: int = 2) -> Device:
    """What lies in one of `ranges` (first, stop), up to `most` at once, in multiples of `width`."""

    def answer(asked: Question) -> int | None:
        if asked.count > most or asked.count % width:
            return 3
        stop = asked.first + asked.count
        return 0 if any(low <= asked.first and stop <= high for low, high in ranges) else code

    return answer


def as_answer(code: int | None) -> Answer:
    if code is None:
        return Answer(Kind.NONE, error=RequestTimeout("silent"))
    return Answer(Kind.REFUSED, code=code) if code else Answer(Kind.GOOD)


def explored(
    asked: Device, low: int = 0, high: int = ADDRESSES, places: Sequence[int] | None = PLACES
) -> tuple[Map, int]:
    """What is found, and the requests that it took."""
    found, requests = Map(Table.HOLDING), 0
    steps = search(found, low, high, 125, places)
    try:
        question = next(steps)
        while True:
            assert low <= question.first < question.first + question.count <= high
            requests += 1
            question = steps.send(as_answer(asked(question)))
    except StopIteration:
        return found, requests


@pytest.mark.parametrize(
    ("ranges", "most"),
    [
        ([(0, 10), (20, 30), (100, 110)], 125),
        ([(0, 200)], 64),
        ([(0, 200), (220, 230)], 50),
        ([(0, 40)], 1),
        ([(40000, 40080)], 125),
        ([(999, 1001)], 125),
        ([(65530, 65536), (0, 3)], 125),
        ([(4, 10), (13, 14), (17, 40)], 5),
    ],
)
def test_ranges_are_found_whole_and_the_limit_exactly(ranges: list[tuple[int, int]], most: int) -> None:
    found, _ = explored(device(*ranges, most=most), places=[*PLACES, 65530])
    assert found.ranges == sorted(ranges)
    assert found.limit in (None, most)
    assert found.is_whole
    if max(stop - first for first, stop in ranges) > most + 1:
        assert found.limit == most


def test_a_device_that_answers_everywhere_costs_a_request_for_125_registers() -> None:
    found, requests = explored(device((0, ADDRESSES)))
    assert found.ranges == [(0, ADDRESSES)]
    assert requests <= ADDRESSES // 125 + 3


def test_a_table_in_which_there_is_nothing_costs_a_look_at_each_place() -> None:
    found, requests = explored(device())
    assert not found.ranges
    assert found.code == 2
    assert requests < 1.5 * len(PLACES)


def test_a_function_that_is_not_supported_is_asked_twice() -> None:
    found, requests = explored(lambda asked: 1)
    assert (found.code, requests, found.is_whole) == (1, 2, True)


def test_a_silent_table_is_given_up() -> None:
    found, requests = explored(lambda asked: None)
    assert (requests, found.is_whole, found.silent) == (MAX_SILENT, False, MAX_SILENT)


def test_a_device_that_is_silent_for_what_is_not_there() -> None:
    mute = device((0, 10), (20, 30))
    found, requests = explored(lambda asked: None if mute(asked) else 0)
    assert found.ranges == [(0, 10), (20, 30)]
    assert requests < 60


def test_pairs_are_tried_where_no_single_register_answers() -> None:
    found, _ = explored(device((0, 40), width=2, most=20))
    assert (found.ranges, found.width, found.limit) == ([(0, 40)], 2, 20)


def test_every_address_of_a_range_that_is_named_is_looked_at() -> None:
    found, requests = explored(device((103, 104), (107, 109), (199, 205)), 100, 200, None)
    assert found.ranges == [(103, 104), (107, 109), (199, 200)]
    assert requests < 130


def test_what_was_found_is_known_before_the_end() -> None:
    found = Map(Table.HOLDING)
    steps = search(found, 0, ADDRESSES, 125, PLACES)
    asked = device((0, 10))
    question = next(steps)
    for _ in range(20):
        question = steps.send(as_answer(asked(question)))
    assert found.ranges == [(0, 10)]
    assert not found.is_whole


# -- a block that is refused ----------------------------------------------------------------------------------------


def apart(asked: Device, items: Sequence[tuple[int, int]]) -> tuple[Parts, int]:
    steps, requests = take_apart(items), 0
    try:
        question = next(steps)
        while True:
            requests += 1
            question = steps.send(as_answer(asked(question)))
    except StopIteration as end:
        parts: Parts = end.value
        return parts, requests


def singles(first: int, stop: int) -> list[tuple[int, int]]:
    return [(address, address + 1) for address in range(first, stop)]


def test_a_hole_is_found_and_what_is_around_it_is_read_in_two_requests() -> None:
    parts, requests = apart(device((0, 4), (6, 100)), singles(0, 50))
    assert parts.good == ((0, 4), (6, 50))
    assert parts.refused == ((4, 6, 2),)
    assert requests < 25


def test_a_limit_is_no_hole() -> None:
    for most in (1, 10, 49, 64):
        parts, _ = apart(device((0, 200), most=most), singles(0, 100))
        assert (parts.limit, parts.refused, parts.gap) == (most, (), None)


def test_values_of_several_registers_are_not_cut() -> None:
    parts, _ = apart(device((0, 2), (4, 6)), [(0, 2), (2, 4), (4, 6)])
    assert parts.good == ((0, 2), (4, 6))
    assert parts.refused == ((2, 4, 2),)


def test_a_gap_that_nobody_asked_for_is_the_hole() -> None:
    parts, _ = apart(device((0, 2), (10, 12)), [(0, 2), (10, 12)])
    assert parts.gap == (2, 10)
    assert parts.limit is None


def test_a_block_of_which_nothing_is_there() -> None:
    parts, _ = apart(device(), singles(0, 10))
    assert not parts.good
    assert parts.refused == ((0, 10, 2),)


def test_silence_is_not_a_limit_of_the_device() -> None:
    parts, _ = apart(lambda asked: None, singles(0, 4))
    assert parts.refused == ((0, 4, 0),)
