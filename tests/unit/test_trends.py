"""The last hour in memory: resolution from the budget, spikes, gaps, clocks that jump, tags that come and go."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.app.trending import meaning_in
from gateway.config.load import load
from gateway.hub import Hub, Point
from gateway.trends import AT_ONCE, BYTES_EACH, DEFAULT_BYTES, Trends, resolution
from gateway.values import Quality, Value

START_S = 1_800_000_000.0


class Source:
    good_time_ns = 1

    def __init__(self) -> None:
        self.quality = Quality.GOOD

    def trouble(self) -> tuple[Quality, str]:
        return self.quality, ""


class Case:
    def __init__(self, keep_s: float = 60.0, tags: int = 1, max_bytes: int = 1_000_000) -> None:
        self.hub, self.source, self.now_s = Hub(), Source(), START_S
        self.points = [self.add(f"t{number}") for number in range(tags)]
        self.means: dict[tuple[str, str], str] = {}
        self.trends = Trends(self.hub, keep_s, max_bytes, self.means.get)

    def add(self, name: str) -> Point:
        return self.hub.point("press", name, self.source)

    def put(self, value: Value, number: int = 0) -> None:
        self.points[number].value = value
        self.points[number].touch()
        self.tick()

    def tick(self) -> None:
        while self.trends.tick(self.now_s):
            pass

    def go(self, seconds: float) -> None:
        """Time passes, looked at often."""
        for _ in range(round(seconds * 10)):
            self.now_s = round(self.now_s + 0.1, 1)
            self.tick()

    def touch(self) -> None:
        """Its quality is another; somebody looks."""
        for point in self.points:
            point.touch()
        self.tick()

    def all(self, points: int = 1000) -> list[tuple[float | None, ...]]:
        """(seconds since the start, least, greatest, last) since there was a value."""
        now_ms = int(self.now_s * 1000)
        found = self.trends.series(("press", "t0"), int(START_S * 1000), now_ms, points)
        return [(at / 1000 - START_S, *rest) for at, *rest in zip(*found, strict=True)]

    def series(self, seconds: float = 60.0, points: int = 1000, tag: str = "t0") -> list[tuple[float, ...]]:
        """(seconds since the start, least, greatest, last), gaps left out."""
        now_ms = int(self.now_s * 1000)
        found = self.trends.series(("press", tag), now_ms - int(seconds * 1000), now_ms, points)
        return [
            (at / 1000 - START_S, low, high, last)
            for at, low, high, last in zip(*found, strict=True)
            if low is not None and high is not None and last is not None
        ]


@pytest.mark.parametrize(
    ("tags", "period_s"), [(1, 1), (776, 1), (777, 2), (1000, 2), (10_000, 16), (100_000, 256), (10**9, 1024)]
)
def test_memory_is_given_and_the_resolution_follows(tags: int, period_s: int) -> None:
    keep_s, budget = 3600.0, DEFAULT_BYTES
    found_s, slots = resolution(tags, keep_s, budget)
    assert found_s == period_s
    assert tags * BYTES_EACH * slots <= budget or slots == 1
    assert found_s * slots >= keep_s or found_s == 1024


def test_a_spike_stays_visible_between_two_looks_and_in_a_coarse_drawing() -> None:
    case = Case()
    case.put(1)
    case.go(10)
    case.put(99)
    case.put(2)
    case.go(20)
    fine = case.series()
    assert (10.0, 1, 99, 2) in fine
    assert fine[0] == (0.0, 1, 1, 1)
    assert fine[-1][1:] == (2, 2, 2)
    coarse = case.series(60.0, 3)
    assert len(coarse) <= 3
    assert max(high for _, _, high, _ in coarse) == 99
    assert coarse[-1][3] == 2


def test_what_was_not_good_is_a_gap_and_the_value_after_it_begins_anew() -> None:
    case = Case()
    case.put(5.5)
    case.go(5)
    case.source.quality = Quality.BAD
    case.points[0].touch()
    case.go(5)
    case.source.quality = Quality.GOOD
    case.points[0].touch()
    case.go(5)
    known = [at for at, *_ in case.series()]
    assert known == [0.0, 1.0, 2.0, 3.0, 4.0, *[at + 0.0 for at in range(11, 16)]]


def fail(case: Case, seconds: float) -> None:
    """All values are bad for so long."""
    case.source.quality = Quality.BAD
    case.touch()
    case.go(seconds)
    case.source.quality = Quality.GOOD
    case.touch()


def test_a_moment_of_bad_quality_is_a_gap_however_long_a_stretch_is() -> None:
    """Ten thousand tags have 16 s: an outage of three lies in one of them."""
    case = Case(keep_s=64.0, max_bytes=4 * BYTES_EACH)
    case.put(5.5)
    assert case.trends.period_s == 16
    case.go(20)
    case.put(9)
    fail(case, 3)
    case.put(7)
    case.go(20)
    lasts = {at: last for at, _, _, last in case.all()}
    assert lasts == {0.0: 5.5, 16.0: None, 32.0: 7}
    assert (16.0, 5.5, 9, None) in case.all(), "what led to it is still seen"


def test_a_gap_stays_one_where_many_stretches_are_drawn_as_one() -> None:
    case = Case()
    case.put(5.5)
    case.go(30)
    fail(case, 0.3)
    case.go(29)
    assert [at for at, _, _, last in case.all() if last is None] == [30.0]
    coarse = case.all(points=6)
    assert sum(last is None for *_, last in coarse) == 1
    assert all(low == high == 5.5 for _, low, high, _ in coarse)


def test_what_is_before_the_first_value_ends_no_line() -> None:
    """A page that asks for an hour in the first seconds of a gateway gets one point, with its last value."""
    case = Case()
    case.go(3)
    case.put(5.5)
    assert case.all(points=1) == [(0.0, 5.5, 5.5, 5.5)]
    case.go(10)
    fail(case, 3)
    case.go(10)
    assert case.all(points=1)[-1][1:] == (5.5, 5.5, None)


def test_the_last_value_ends_when_it_is_bad() -> None:
    case = Case(keep_s=64.0, max_bytes=4 * BYTES_EACH)
    case.put(5.5)
    case.go(3)
    assert case.all()[-1] == (0.0, 5.5, 5.5, 5.5)
    case.source.quality = Quality.BAD
    case.touch()
    case.go(0.1)
    assert case.all()[-1] == (0.0, 5.5, 5.5, None)


def test_a_lost_poll_ends_no_line_and_a_value_that_comes_begins_one() -> None:
    case = Case(keep_s=64.0, max_bytes=4 * BYTES_EACH)
    case.source.quality = Quality.BAD
    case.touch()
    case.go(2)  # nothing was read yet: there is nothing that ends
    case.source.quality = Quality.GOOD
    case.put(5.5)
    case.source.quality = Quality.UNCERTAIN
    case.touch()
    case.go(1)
    assert case.all() == [(0.0, 5.5, 5.5, 5.5)]


def test_a_gap_outlives_a_coarser_resolution() -> None:
    case = Case(keep_s=60.0, max_bytes=60 * BYTES_EACH)
    case.put(5.5)
    case.go(11)
    fail(case, 0.3)
    case.go(9)
    assert [at for at, _, _, last in case.all() if last is None] == [11.0]
    case.add("another")
    case.go(2)
    assert case.trends.period_s == 2
    assert [at for at, low, _, last in case.all() if last is None and low is not None] == [10.0]


def test_uncertain_values_and_text_are_not_drawn() -> None:
    case = Case(tags=2)
    case.put("running", 1)
    case.source.quality = Quality.UNCERTAIN
    case.put(1.0)
    case.go(3)
    assert case.series() == case.series(tag="t1") == []


def test_bits_are_0_and_1() -> None:
    case = Case()
    case.put(True)
    case.go(1)
    case.put(False)
    case.go(1)
    assert [row[1:] for row in case.series()] == [(1, 1, 1), (0, 1, 0), (0, 0, 0)]


def test_no_more_than_the_hour_is_kept() -> None:
    case = Case(keep_s=10.0)
    case.put(1)
    case.go(30)
    assert [at for at, *_ in case.series(1000.0)] == [float(at) for at in range(20, 31)]


def test_a_process_that_slept_has_a_gap_and_a_clock_set_back_begins_anew() -> None:
    case = Case(keep_s=100.0)
    case.put(1)
    case.go(3)
    case.now_s += 20
    case.go(3)
    assert [at for at, *_ in case.series(100.0)] == [0.0, 1.0, 2.0, 3.0, 23.0, 24.0, 25.0, 26.0]
    case.now_s += 1000
    case.go(1)
    assert [at for at, *_ in case.series(100.0)] == [1026.0, 1027.0]
    case.now_s = START_S - 50
    case.go(2)
    assert [at for at, *_ in case.series(200.0)] == [-50.0, -49.0, -48.0]


def test_more_tags_make_it_coarser_and_fewer_finer_and_the_past_goes_along() -> None:
    case = Case(keep_s=64.0, max_bytes=64 * BYTES_EACH)
    case.put(1)
    case.go(10)
    case.put(50)
    case.put(3)
    case.go(10)
    before = case.series(64.0)
    assert case.trends.period_s == 1
    other = case.add("other")
    case.go(1)
    assert case.trends.period_s == 2
    coarse = case.series(64.0)
    assert (10.0, 1, 50, 3) in coarse
    assert coarse[0] == (0.0, 1, 1, 1)
    assert len(coarse) == len(before) // 2 + 1
    case.hub.remove("press", "other", other)
    case.go(1)
    assert case.trends.period_s == 1
    assert case.series(64.0)[0] == (0.0, 1, 1, 1)
    assert case.trends.series(("press", "other"), 0, 10**15, 10) == ([], [], [], [])


def test_a_tag_whose_point_was_replaced_keeps_its_past() -> None:
    case = Case()
    case.put(1)
    case.go(5)
    case.points[0] = case.add("t0")
    case.put(2)
    case.go(5)
    rows = case.series()
    assert rows[0] == (0.0, 1, 1, 1)
    assert rows[-1][1:] == (2, 2, 2)


def test_many_tags_are_closed_a_few_at_a_time_and_none_is_forgotten() -> None:
    case = Case(tags=2 * AT_ONCE + 1, max_bytes=100_000_000)
    for number, point in enumerate(case.points):
        point.value = number
    case.tick()
    case.now_s += 1.0
    assert [case.trends.tick(case.now_s) for _ in range(4)] == [True, True, False, False]
    for number in (0, AT_ONCE, 2 * AT_ONCE):
        assert case.series(tag=f"t{number}")[0] == (0.0, number, number, number)


def test_what_changes_in_one_go_is_looked_at_a_few_tags_at_a_time() -> None:
    case = Case(tags=3 * AT_ONCE, max_bytes=100_000_000)
    case.tick()
    for number, point in enumerate(case.points):
        point.value = number
        point.touch()
    assert case.trends.tick(case.now_s)
    seen = [case.series(tag=point.tag) for point in case.points]
    assert len([rows for rows in seen if rows]) == AT_ONCE
    case.tick()
    assert all(case.series(tag=point.tag) for point in case.points)


def test_until_other_tags_are_taken_in_the_past_is_shown_and_what_changes_meanwhile_is_seen() -> None:
    case = Case(keep_s=60.0, tags=3 * AT_ONCE, max_bytes=3 * AT_ONCE * 60 * BYTES_EACH)
    case.put(5)
    case.go(10)
    case.add("another")
    looks = 0
    while case.trends.tick(case.now_s):
        looks += 1
        if looks == 2:
            assert case.trends.period_s == 1
            assert len(case.series()) == 11
            case.points[0].value = 99
            case.points[0].touch()
    assert looks > AT_ONCE // 10
    assert case.trends.period_s == 2
    case.go(2)
    assert case.series()[-1] == (12.0, 99, 99, 99)
    assert max(high for _, _, high, _ in case.series()) == 99


def test_a_clock_that_jumps_is_followed_a_few_stretches_at_a_time() -> None:
    case = Case(keep_s=100.0, tags=10)
    case.put(1)
    case.go(3)
    case.now_s += 1000
    assert case.trends.tick(case.now_s)
    case.go(1)
    assert [at for at, *_ in case.series(100.0)] == [1003.0, 1004.0]


def test_another_length_keeps_what_fits() -> None:
    case = Case(keep_s=60.0)
    case.put(7)
    case.go(30)
    case.trends.configure(10.0)
    case.go(1)
    assert len(case.series(1000.0)) == 11
    case.trends.configure(600.0)
    case.go(1)
    assert len(case.series(1000.0)) == 12


def test_whole_numbers_stay_whole() -> None:
    case = Case()
    case.put(7)
    case.go(1)
    ((_, low, *_), *_) = case.series()
    assert isinstance(low, int)


def test_a_tag_that_means_something_else_has_no_past() -> None:
    """A reload has given t0 another unit; t1 goes on."""
    case = Case(tags=2)
    case.put(20.0)
    case.put(1.0, 1)
    case.go(5)
    means = {("press", "t0"): "F"}
    case.trends.configure(60.0, means.get)
    assert case.series() == [], "from the moment of the reload on, before anything is made anew"
    case.go(3)
    assert [at for at, *_ in case.series()] == [5.0, 6.0, 7.0, 8.0]
    assert [at for at, *_ in case.series(tag="t1")] == [float(at) for at in range(9)]


def test_a_reload_that_comes_while_the_resolution_changes_drops_it_too() -> None:
    case = Case(tags=50, max_bytes=50 * 60 * BYTES_EACH)
    for number in range(50):
        case.put(number, number)
    case.go(5)
    for number in range(50, 2 * AT_ONCE):
        case.add(f"t{number}")
    assert case.trends.tick(case.now_s), "it rests half way"
    case.trends.configure(60.0, {("press", "t0"): "bar"}.get)
    case.go(1)
    assert min(at for at, *_ in case.series()) >= 4.0
    assert min(at for at, *_ in case.series(tag="t1")) == 0.0


def test_what_the_numbers_of_a_tag_mean(tmp_path: Path) -> None:
    head = """
server: {listen: "tcp://127.0.0.1:0"}
links: {line: {url: "tcp://10.0.0.1:502"}}
devices:
  silo:
    link: line
    unit: 3
    order: CDAB
    tags: {level: {at: "holding:4", type: float32, scale: 0.1, unit: bar, to: "1/input:0"}}
"""

    def meaning(before: str = "", after: str = "") -> object:
        path = tmp_path / "plant.yaml"
        assert before in head
        path.write_text(head.replace(before, after) if before else head, encoding="utf-8")
        return meaning_in(load(path))(("silo", "level"))

    same = [
        ("1/input:0", "1/input:8"),
        ("scale: 0.1", "scale: 1e-1"),
        ("order: CDAB\n", "order: CDAB\n    every: 5s\n"),
    ]
    others = [
        ("bar", "psi"), ("0.1,", "0.01,"), ("float32,", "float32, offset: 1,"), ("float32", "int32"), (":4", ":6"),
        ("CDAB", "ABCD"), ("unit: 3", "unit: 4"), ("10.0.0.1", "10.0.0.2"), ("float32,", "float32, no_value: -1,"),
    ]  # fmt: skip
    for pair in same:
        assert meaning(*pair) == meaning(), pair
    for pair in others:
        assert meaning(*pair) != meaning(), pair
    assert meaning() == meaning()
