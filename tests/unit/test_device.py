"""A device's state with its link, its unit and a bridge before it; and groups that come and go (reload)."""

from __future__ import annotations

import dataclasses
import gc
import logging
import weakref
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway.config.load import load
from gateway.modbus.spec import Table
from gateway.polling.assemble import job_keys
from gateway.polling.device import Device, State
from gateway.values import Quality, Tag
from tests.support.fake import ManualTime
from tests.support.polled import Link, Plc, Polled


def test_a_unit_that_is_demoted_is_down_and_what_was_missed_is_read_when_it_is_back() -> None:
    plant = Polled(0, 10, every_s=60.0, stale_s=180.0)
    plant.run(61)
    assert plant.device.state is State.GOOD
    plant.plc.is_silent = True
    plant.run(61)
    plant.link.silent_units.add(1)
    plant.device.link_changed()
    assert plant.device.state is State.DOWN
    plant.plc.is_silent = False
    plant.link.silent_units.clear()
    plant.link.take()
    plant.device.link_changed()
    assert plant.link.take() == [(0, 10)]
    plant.run(0.1)
    assert plant.device.state is State.GOOD


def test_a_link_that_comes_up_polls_only_what_is_not_good() -> None:
    plant = Polled(0, 10, every_s=60.0, stale_s=180.0)
    plant.run(61)
    plant.link.take()
    plant.link.up = False
    plant.device.link_changed()
    assert plant.device.state is State.DOWN
    plant.link.up = True
    plant.device.link_changed()
    assert plant.link.take() == []
    assert plant.device.state is State.GOOD


def test_a_probe_asks_one_request_at_a_time() -> None:
    plant = Polled(0, 10, every_s=600.0, stale_s=1800.0)
    plant.device.probe()
    plant.device.probe()
    assert plant.link.take() == [(0, 10)]
    plant.run(0.1)
    plant.device.probe()
    assert plant.link.take() == [(0, 10)]


def test_a_probe_of_a_refused_block_learns_from_the_answer() -> None:
    plant = Polled(7, 1)
    plant.plc.refuse_all = 2
    plant.run(5)
    assert plant.read(7) == 2
    plant.plc.refuse_all = 0
    plant.device.probe()
    plant.run(3)
    assert plant.read(7) == [1007]
    assert len(plant.link.take()) >= 3


def test_the_snapshot_tells_all_of_a_device_in_plain_values() -> None:
    plant = Polled(0, 10)
    plant.plc.missing = {5: 2}
    plant.run(30.25)
    snapshot = plant.device.snapshot(plant.time.now_s)
    assert {key: snapshot[key] for key in ("name", "unit", "enabled", "state", "last_exception")} == {
        "name": "press",
        "unit": 1,
        "enabled": True,
        "state": "good",
        "last_exception": 2,
    }
    assert 0 <= snapshot["age_s"] <= 1
    assert [row["block"] for row in snapshot["jobs"]] == [
        "holding:0..4 (400001..400005)",
        "holding:6..9 (400007..400010)",
    ]
    (hole,) = snapshot["holes"]
    assert hole["refused"] == ["holding:5 (400006)"]
    assert hole["code"] == 2
    assert 560 < hole["next_try_s"] <= 600


def test_a_block_that_keeps_a_value_marks_its_span_stale_whatever_on_stale_says() -> None:
    for policy in ("error", "hold", "zero"):
        for tags in (None, [Tag("level", Table.HOLDING, 0, 1, "uint16")]):
            plant = Polled(0, 1, on_stale=policy, tags=tags)
            (span,) = plant.spans.values()
            assert span.stale
            plant.run(2)
            assert not span.stale
            plant.plc.is_silent = True
            plant.run(10)
            assert span.stale
            plant.plc.is_silent = False
            plant.run(3)
            assert not span.stale


# -- groups come and go -------------------------------------------------------------------------------------------


def test_a_closed_group_polls_no_more_ignores_its_answer_and_leaves_nothing_behind() -> None:
    plant = Polled(tags=[Tag("level", Table.HOLDING, 0, 1, "uint16")])
    plant.run(2)
    job = plant.group.jobs[0]
    plant.link.took_s = 1.0
    job.poke()
    plant.plc.values[0] = 7
    plant.group.close()
    plant.group.close()
    assert not job.request.wanted
    assert plant.device.blocks == []
    assert plant.hub.points == {}
    plant.link.take()
    plant.run(10)
    assert plant.read(0) == [1000]
    assert plant.link.take() == []
    gone = weakref.ref(plant.group), weakref.ref(plant.group.device)
    del job
    plant.link.requests.clear()
    gc.collect()
    gc.disable()  # what was frozen at the start is never collected: no cycle may be left
    try:
        del plant.group
        assert gone[0]() is None
    finally:
        gc.enable()
    assert gone[1]() is plant.device


def test_a_point_that_was_replaced_is_not_removed_with_its_old_group() -> None:
    plant = Polled(tags=[Tag("level", Table.HOLDING, 0, 1, "uint16")])
    newer = plant.hub.point("press", "level", plant.group.jobs[0])
    plant.group.close()
    assert plant.hub.points["press"]["level"] is newer


PLANT = """
devices:
  press:
    url: tcp://127.0.0.1:1502
    poll: [{read: holding:100..109, to: 1/holding:0}]
    tags:
      level: {at: holding:0, type: float32, scale: 0.1, no_value: [0xFFFFFFFF], to: 1/input:0}
      speed: {at: holding:4, type: int16, to: 1/input:10}
  mixer:
    url: tcp://127.0.0.1:1503
    tags: {flow: {at: input:0, type: int16, to: 1/input:20}}
"""


def test_keys_are_equal_by_value_and_differ_by_whatever_matters(tmp_path: Path) -> None:
    def keys(old: str = "", new: str = "", device: str = "press") -> list[object]:
        assert not old or old in PLANT
        path = tmp_path / "plant.yaml"
        path.write_text(PLANT.replace(old, new) if old else PLANT, encoding="utf-8")
        return list(job_keys(load(path), device))

    before = keys()
    assert keys() == before
    assert len(set(before) | set(keys())) == 2
    assert keys("int16, to: 1/input:20", "uint16, to: 1/input:20") == before
    raw, tags = before
    for old, new in (
        ("scale: 0.1", "scale: 0.2"),
        ("[0xFFFFFFFF]", "[0xFFFFFFFE]"),
        ("to: 1/input:10", "to: 1/input:11"),
        ("at: holding:4, type: int16", "at: holding:4, type: int16, as: int32"),
    ):
        assert keys(old, new)[0] == raw
        assert keys(old, new)[1] != tags
    for new in ("timeout: 2s", "retries: 0", "unit: 9", "on_stale: hold", "every: 7s", "stale_after: 9s"):
        changed = keys("    url: tcp://127.0.0.1:1502", f"    url: tcp://127.0.0.1:1502\n    {new}")
        assert not set(changed) & set(before), new
    assert not set(keys("1502", "1504")) & set(before)
    assert not set(keys("1502\n", "1502\n    source: 127.0.0.2\n")) & set(before)


def test_a_key_is_made_of_plain_values_that_hash() -> None:
    plant = Polled(tags=[Tag("level", Table.HOLDING, 0, 1, "uint16", scale=Fraction(1, 10))])
    twin = dataclasses.replace(plant.key, plan=dataclasses.replace(plant.key.plan))
    assert hash(twin) == hash(plant.key)
    assert twin == plant.key
    assert plant.quality("level") is Quality.BAD


def test_failures_in_a_row_end_with_any_good_request_of_the_device() -> None:
    plant = Polled(0, 10)
    plant.run(3)
    plant.device.failed("another block failed")
    assert plant.device.failures_in_row == 1
    plant.run(1.1)
    assert plant.device.failures_in_row == 0


class Bare:
    """A device alone, on a clock moved by hand."""

    def __init__(self) -> None:
        self.time = ManualTime(1000.0)
        self.link = Link(self.time, Plc())
        self.device = Device("press", self.link, lambda: None, unit_id=1, clock=self.time.time)

    @property
    def shown(self) -> tuple[int, int]:
        """State and age as the status block has them."""
        data = self.device.status(self.time.now_s)
        return int.from_bytes(data[:2], "big"), int.from_bytes(data[2:4], "big")


def test_a_device_that_is_not_polled_is_good_once_it_has_answered() -> None:
    bare = Bare()
    assert not bare.device.can_probe
    assert bare.shown == (State.WAITING, 0xFFFF)
    bare.device.reached()
    assert bare.shown == (State.GOOD, 0)
    bare.time.advance(7)
    assert bare.shown == (State.GOOD, 7)
    bare.device.reached()
    assert bare.shown == (State.GOOD, 0)
    bare.link.up = False
    bare.device.link_changed()
    assert bare.shown[0] == State.DOWN
    bare.device.reached()  # an answer that was on its way
    bare.link.up = True
    bare.device.link_changed()
    assert bare.shown[0] == State.WAITING
    bare.device.reached()
    assert bare.shown == (State.GOOD, 0)


def test_a_write_that_was_answered_makes_no_polled_device_good() -> None:
    plant = Polled(0, 10, every_s=60.0, stale_s=180.0)
    assert plant.device.can_probe
    plant.device.reached()
    assert plant.device.state is State.WAITING
    assert plant.device.age_s(plant.time.now_s) > 0xFFFF


def test_a_device_that_flaps_between_stale_and_good_is_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    bare = Bare()
    block = SimpleNamespace(stale=False, good_s=1000.0)
    bare.device.blocks.append(block)  # type: ignore[arg-type]
    bare.device.good()
    for _ in range(61):
        block.stale = True
        bare.device.review()
        bare.time.advance(0.5)
        block.stale = False
        bare.device.good()
        bare.time.advance(0.5)
    assert [record.getMessage() for record in caplog.records] == [
        "device press: stale",
        "device press: good",
        "device press: stale (59 times since the last line)",
        "device press: good",
    ]
    block.stale = True  # and now it stays so
    bare.device.review()
    for _ in range(70):
        bare.time.advance(1)
        bare.device.failed("no answer")
    assert [record.getMessage() for record in caplog.records[4:]] == [
        "device press: stale (no answer) (1 times since the last line)"
    ]
    block.stale = False
    bare.device.good()
    assert caplog.records[-1].getMessage() == "device press: good"
