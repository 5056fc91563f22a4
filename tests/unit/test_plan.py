"""The planner: which requests a list of tags becomes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.modbus.spec import Table
from gateway.polling.plan import Limits, plan_poll, plan_tags
from gateway.values import Tag


def tag(first: int, registers: int = 1, table: Table = Table.HOLDING) -> Tag:
    return Tag(f"t{first}", table, first, registers, "string" if registers > 4 else "uint16")


def ranges(tags: list[Tag], limits: Limits | None = None, every_s: float = 1.0) -> list[tuple[int, int]]:
    return [(b.first, b.count) for b in plan_tags([(t, every_s) for t in tags], limits or Limits())]


@pytest.mark.parametrize(
    ("firsts", "max_gap", "expected"),
    [
        ([0, 1, 2], 0, [(0, 3)]),
        ([0, 2], 0, [(0, 1), (2, 1)]),
        ([0, 2], 1, [(0, 3)]),
        ([0, 17], 16, [(0, 18)]),
        ([0, 18], 16, [(0, 1), (18, 1)]),
        ([5, 3, 4], 0, [(3, 3)]),
        ([7, 7], 0, [(7, 1)]),
    ],
)
def test_neighbours_share_a_request_up_to_max_gap(firsts: list[int], max_gap: int, expected: object) -> None:
    assert ranges([tag(first) for first in firsts], Limits(max_gap=max_gap)) == expected


def test_a_block_stays_within_the_devices_limit_and_never_splits_a_value() -> None:
    tags = [tag(first, 2) for first in range(0, 20, 2)]
    assert ranges(tags, Limits(max_registers=5)) == [(0, 4), (4, 4), (8, 4), (12, 4), (16, 4)]


def test_tables_and_intervals_are_read_apart() -> None:
    blocks = plan_tags(
        [(tag(0), 1.0), (tag(1), 0.5), (tag(2, table=Table.INPUT), 1.0), (tag(3), 1.0)], Limits(max_gap=16)
    )
    assert [(b.table, b.first, b.count, b.every_s) for b in blocks] == [
        (Table.HOLDING, 1, 1, 0.5),
        (Table.HOLDING, 0, 4, 1.0),
        (Table.INPUT, 2, 1, 1.0),
    ]


def test_a_long_raw_range_is_split_at_the_devices_limit() -> None:
    blocks = plan_poll(Table.HOLDING, 10, 260, 1.0, Limits())
    assert [(b.first, b.count) for b in blocks] == [(10, 125), (135, 125), (260, 10)]
    assert [b.count for b in plan_poll(Table.COILS, 0, 2001, 1.0, Limits())] == [2000, 1]


@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(1, 8)), min_size=1, max_size=40),
    st.integers(8, 125),
    st.integers(0, 30),
)
def test_every_tag_is_in_a_block_and_no_block_breaks_a_limit(
    places: list[tuple[int, int]], most: int, max_gap: int
) -> None:
    tags = [tag(first, registers) for first, registers in places]
    blocks = plan_tags([(each, 1.0) for each in tags], Limits(most, 2000, max_gap))
    placed = [each for block in blocks for each in block.tags]
    assert sorted(map(id, placed)) == sorted(map(id, tags))
    for block in blocks:
        assert block.count <= most
        assert all(block.first <= each.first and each.stop <= block.first + block.count for each in block.tags)
        wanted = {address for each in block.tags for address in range(each.first, each.stop)}
        gap = longest = 0
        for address in range(block.first, block.first + block.count):
            gap = 0 if address in wanted else gap + 1
            longest = max(longest, gap)
        assert longest <= max_gap
