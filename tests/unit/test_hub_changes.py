"""Whoever follows changes sees what is there: value, quality and cause of every tag, whatever the device does."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.hub import Point
from gateway.modbus.spec import Table
from gateway.values import Sentinel, Tag
from tests.support.polled import STALE_S, Polled

TAGS = [
    Tag("a", Table.HOLDING, 0, 1, "uint16"),
    Tag("b", Table.HOLDING, 1, 1, "uint16", no_value=(Sentinel(False, 0xFFFF),)),
    Tag("c", Table.HOLDING, 2, 1, "uint16", deadband=5.0),
    Tag("d", Table.HOLDING, 3, 1, "int16", scale=Fraction(1, 10)),
]

DOES: dict[str, Callable[[Polled], None]] = {
    "changes a": lambda case: case.plc.values.update({0: case.plc.values.get(0, 0) + 1}),
    "changes c a little": lambda case: case.plc.values.update({2: case.plc.values.get(2, 0) + 2}),
    "has no b": lambda case: case.plc.values.update({1: 0xFFFF}),
    "has b": lambda case: case.plc.values.update({1: 7}),
    "falls silent": lambda case: setattr(case.plc, "is_silent", True),
    "speaks": lambda case: setattr(case.plc, "is_silent", False),
    "is busy once": lambda case: case.plc.answers.append(6),
    "refuses d": lambda case: case.plc.missing.update({3: 2}),
    "refuses all": lambda case: setattr(case.plc, "refuse_all", 2),
    "refuses nothing": lambda case: (case.plc.missing.clear(), setattr(case.plc, "refuse_all", 0))[-1],
    "goes on": lambda case: case.run(STALE_S),
}


def told(point: Point) -> tuple[object, ...]:
    value, quality, _, cause = point.sample()
    return value, quality, cause


@given(st.lists(st.sampled_from(sorted(DOES)), max_size=12))
@settings(max_examples=60, deadline=None)
def test_who_follows_changes_has_what_who_looks_at_everything_has(doings: list[str]) -> None:
    case = Polled(tags=TAGS)
    changes = case.hub.subscribe()
    followed = {point: told(point) for point in case.hub.points["press"].values()}
    for doing in [*doings, "goes on"]:
        DOES[doing](case)
        for _ in range(12):
            case.run(0.1)
            followed.update({point: told(point) for point in changes.take()})
            assert followed == {point: told(point) for point in case.hub.points["press"].values()}


def test_a_poll_that_reads_the_same_again_is_no_change() -> None:
    case = Polled(tags=TAGS)
    changes = case.hub.subscribe()
    case.run(1.5)
    assert {point.tag for point in changes.take()} == {"a", "b", "c", "d"}
    case.run(3.0)
    assert changes.take() == set()
    case.plc.values[0] = 1
    case.run(1.0)
    assert {point.tag for point in changes.take()} == {"a"}


def test_a_device_that_stays_silent_is_told_once_and_not_with_every_poll() -> None:
    case = Polled(tags=TAGS)
    case.run(1.5)
    changes = case.hub.subscribe()
    case.plc.is_silent = True
    case.run(STALE_S + 2.0)
    assert len(changes.take()) == len(TAGS)
    case.run(20.0)
    assert changes.take() == set()
