"""What a device refuses of a block is found out, served with its own code, told once; the rest goes on."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.modbus.spec import Table
from gateway.polling.device import State
from gateway.polling.group import FIRST_RECHECK_S, RECHECK_S, RECHECKS
from gateway.polling.held import written
from gateway.polling.holes import Finding, Split, Verdict, items_of
from gateway.polling.plan import Block
from gateway.values import Quality, Tag
from tests.support.polled import Polled


def tag(first: int, registers: int = 1) -> Tag:
    return Tag(f"t{first}", Table.HOLDING, first, registers, {1: "uint16", 2: "uint32", 4: "uint64"}[registers])


def raw(first: int, count: int) -> Block:
    return Block(Table.HOLDING, first, count, 1.0)


def learn(split: Split, bad: set[int], most: int = 2000) -> int:
    """Ask a device without the addresses `bad` until nothing is left to ask; how often."""
    asked = 0
    while True:
        part = split.next_unknown()
        row = None if part is not None else split.next_join()
        if part is None and row is None:
            return asked
        asked += 1
        assert asked < 10_000
        first = part.first if part is not None else row[0].first  # type: ignore[index]
        stop = first + part.count if part is not None else row[-1].first + row[-1].count  # type: ignore[index]
        fits = stop - first <= most and not bad & set(range(first, stop))
        if part is not None:
            split.accept(part) if fits else split.refuse(part, 2)
        elif row is not None:
            split.join(row) if fits else split.keep_apart(row)


def test_tags_that_overlap_are_one_item() -> None:
    block = Block(Table.HOLDING, 0, 9, 1.0, (tag(0, 2), tag(1), tag(3), tag(4, 4), tag(8)))
    assert items_of(block) == [(0, 2), (3, 4), (4, 8), (8, 9)]


def test_the_bad_register_of_125_stands_alone_after_few_questions() -> None:
    split = Split(raw(0, 125))
    split.refuse(split.parts[0], 2)
    asked = learn(split, {77})
    assert split.refused() == [(77, 1, 2)]
    assert split.safe() == [(0, 77), (78, 47)]
    assert asked <= 2 * 7 + 6


def test_a_gap_is_the_first_suspect() -> None:
    split = Split(Block(Table.HOLDING, 0, 30, 1.0, tuple(tag(first) for first in (0, 1, 2, 3, 4, 5, 25, 29))))
    left, right = split.refuse(split.parts[0], 2)
    assert (left.first, left.count, right.first, right.count) == (0, 6, 25, 5)


def test_01_is_never_split() -> None:
    split = Split(raw(0, 10))
    assert split.refuse(split.parts[0], 1) == []
    assert split.refused() == [(0, 10, 1)]


def test_a_gap_that_is_a_hole_is_found() -> None:
    split = Split(Block(Table.HOLDING, 0, 30, 1.0, tuple(tag(first) for first in (0, 1, 2, 20, 21, 29))))
    split.refuse(split.parts[0], 2)
    learn(split, {10})
    assert split.safe() == [(0, 3), (20, 10)]
    assert split.finding() is Finding.EITHER  # 30 registers could be too many, too
    split = Split(Block(Table.HOLDING, 0, 99, 1.0, tuple(tag(first) for first in (0, 1, 2, 10, 11, 50, 60, 98))))
    split.refuse(split.parts[0], 2)
    learn(split, {5})
    assert split.safe() == [(0, 3), (10, 89)]
    assert split.finding() is Finding.EITHER
    split = Split(Block(Table.HOLDING, 0, 12, 1.0, tuple(tag(first) for first in (0, 1, 2, 10, 11))))
    split.refuse(split.parts[0], 2)
    learn(split, {5})
    assert split.finding() is Finding.GAP


def test_a_device_with_a_smaller_limit_is_found() -> None:
    split = Split(raw(0, 125))
    split.refuse(split.parts[0], 3)
    learn(split, set(), most=50)
    assert all(part.verdict is Verdict.GOOD for part in split.parts)
    assert len(split.parts) <= 4
    assert split.finding() is Finding.LIMIT


@given(st.integers(1, 125), st.sets(st.integers(0, 124)), st.integers(1, 125))
def test_whatever_is_bad_only_that_is_refused_and_all_else_is_read_once(count: int, bad: set[int], most: int) -> None:
    split = Split(raw(0, count))
    split.refuse(split.parts[0], 2) if bad & set(range(count)) or most < count else split.accept(split.parts[0])
    asked = learn(split, bad, most)
    refused = {a for first, n, _ in split.refused() for a in range(first, first + n)}
    safe = [a for first, n in split.safe() for a in range(first, first + n)]
    assert refused == bad & set(range(count))
    assert sorted(safe) == sorted(set(range(count)) - bad)
    assert all(n <= most for _, n in split.safe())
    assert asked <= 8 * count


@given(st.lists(st.tuples(st.integers(0, 100), st.sampled_from([1, 2, 4])), min_size=1, max_size=20))
def test_no_value_is_ever_cut(places: list[tuple[int, int]]) -> None:
    tags = sorted((tag(first, n) for first, n in places), key=lambda each: (each.first, each.stop))
    block = Block(Table.HOLDING, tags[0].first, max(t.stop for t in tags) - tags[0].first, 1.0, tuple(tags))
    split = Split(block)
    split.refuse(split.parts[0], 2)
    while (part := split.next_unknown()) is not None:
        split.refuse(part, 2)
    for each in tags:
        assert sum(p.first <= each.first and each.stop <= p.first + p.count for p in split.parts) == 1


# -- live ---------------------------------------------------------------------------------------------------------


def test_a_raw_block_with_one_bad_register_serves_all_others(caplog: pytest.LogCaptureFixture) -> None:
    plant = Polled(0, 10)
    plant.plc.missing = {5: 2}
    plant.run(30)
    assert plant.each(0, 10) == [1000, 1001, 1002, 1003, 1004, -2, 1006, 1007, 1008, 1009]
    assert plant.read(0, 5) == [1000, 1001, 1002, 1003, 1004]
    assert plant.read(4, 3) == 2
    assert plant.device.state is State.GOOD
    assert [record.getMessage() for record in caplog.records] == [
        "device press: holding:5 (400006) is refused with 02 illegal data address; safe to read in one request: "
        "holding:0..4 (400001..400005), holding:6..9 (400007..400010)"
    ]
    plant.link.take()
    plant.run(10)
    asked = plant.link.take()
    assert set(asked) == {(0, 5), (6, 4)}
    assert len(asked) in (20, 21)


def test_tags_around_a_bad_one_stay_good(caplog: pytest.LogCaptureFixture) -> None:
    plant = Polled(tags=[tag(0, 2), tag(3), tag(5), tag(8, 2)])
    plant.plc.missing = {5: 3}
    plant.run(20)
    assert [plant.quality(name) for name in ("t0", "t3", "t5", "t8")] == [
        Quality.GOOD,
        Quality.GOOD,
        Quality.BAD,
        Quality.GOOD,
    ]
    assert "refused with 03" in plant.hub.sample("press", "t5").cause
    assert plant.read(3) == [1003]
    assert plant.read(5) == 3
    assert "safe to read in one request: holding:0..3 (400001..400004), holding:8..9" in caplog.text


def test_bits_are_split_too_and_stay_in_step() -> None:
    plant = Polled(0, 100, table=Table.COILS)
    plant.plc.missing = {37: 2}
    plant.run(40)
    assert plant.each(0, 100) == [-2 if a == 37 else a & 1 for a in range(100)]


def test_while_learning_good_values_stay_and_before_the_first_there_is_none() -> None:
    plant = Polled(0, 64)
    plant.run(2)
    assert plant.read(63) == [1063]
    plant.plc.missing = {0: 2}
    for tenth in range(60):
        plant.run(0.1)
        assert plant.read(63) == [1063]
        if tenth < 30:
            assert plant.read(1, 63) == list(range(1001, 1064))
    fresh = Polled(0, 64)
    fresh.plc.missing = {0: 2}
    assert fresh.read(63) == 0x0B
    fresh.run(1.05)
    assert fresh.read(0) == 0x0B
    fresh.run(2.5)
    assert fresh.read(63) == [1063]
    assert fresh.read(0) in (0x0B, 2)


def test_learning_costs_one_extra_request_per_interval() -> None:
    plant = Polled(0, 64, every_s=2.0, stale_s=20.0)
    plant.plc.missing = {17: 2}
    moments: list[float] = []
    plant.run(40)
    good_jobs = len(plant.group.jobs)
    for second in range(2, 12):
        begin, end = 1000.0 + 2 * second, 1002.0 + 2 * second
        moments.append(sum(begin <= when < end for when, _, _ in plant.link.asked))
    # every part once in an interval of 2 s, and two questions (one a second)
    assert max(moments) <= 7 + 2
    assert good_jobs == 3


def test_a_slow_job_learns_at_one_question_a_second() -> None:
    plant = Polled(0, 16, every_s=600.0, stale_s=1800.0)
    plant.plc.missing = {3: 2}
    plant.run(600 + 20)
    assert plant.each(0, 5) == [1000, 1001, 1002, -2, 1004]


def test_a_moment_of_02_from_a_restarting_plc_blanks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    plant = Polled(0, 50)
    plant.run(2)
    plant.plc.answers = [2]
    for _ in range(40):
        plant.run(0.1)
        assert plant.read(0, 50) == list(range(1000, 1050))
    assert len(plant.group.jobs) == 1
    assert set(plant.link.take()) == {(0, 50)}
    assert not caplog.records


def test_after_a_longer_restart_the_block_is_whole_again_within_seconds() -> None:
    plant = Polled(0, 50)
    plant.run(2)
    plant.plc.refuse_all = 2
    plant.run(4)
    plant.plc.refuse_all = 0
    plant.run(30)
    assert len(plant.group.jobs) == 1
    assert plant.read(0, 50) == list(range(1000, 1050))
    plant.link.take()
    plant.run(5)
    assert set(plant.link.take()) == {(0, 50)}


def test_a_single_item_that_was_good_is_asked_again_soon_then_slower() -> None:
    plant = Polled(7, 1)
    plant.run(2)
    plant.plc.missing = {7: 2}
    plant.run(2)
    assert plant.read(7) == 2
    plant.link.asked.clear()
    plant.run(100)
    gaps = [b[0] - a[0] for a, b in zip(plant.link.asked, plant.link.asked[1:], strict=False)]
    assert [round(gap / FIRST_RECHECK_S) for gap in gaps] == [2, 4]
    plant.plc.missing = {}
    plant.run(80)
    assert plant.read(7) == [1007]
    plant.link.asked.clear()
    plant.run(10)
    assert len(plant.link.asked) == 10


def test_a_hole_is_tried_again_every_ten_minutes_and_heals(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    plant = Polled(0, 10)
    plant.plc.missing = {5: 2}
    plant.run(30)
    plant.link.take()
    plant.run(1.9 * RECHECK_S)
    assert sum(asked == (5, 1) for asked in plant.link.take()) == 1
    plant.plc.missing = {}
    plant.run(RECHECK_S)
    assert plant.read(0, 10) == list(range(1000, 1010))
    assert len(plant.group.jobs) == 1
    assert [record.getMessage() for record in caplog.records[1:]] == [
        "device press: holding:5 (400006) is no longer refused"
    ]


def test_a_device_that_refuses_everything_is_one_line_and_few_requests(caplog: pytest.LogCaptureFixture) -> None:
    plant = Polled(0, 64)
    plant.plc.refuse_all = 2
    plant.run(200)
    assert plant.each(0, 64) == [-2] * 64
    assert [record.getMessage() for record in caplog.records] == [
        "device press: holding:0..63 (400001..400064) is refused with 02 illegal data address; "
        "nothing of it can be read"
    ]
    plant.link.take()
    plant.run(4 * RECHECK_S)
    assert len(plant.link.take()) <= 4 * RECHECKS + 64
    plant.link.take()
    plant.run(4 * RECHECK_S)
    assert 4 <= len(plant.link.take()) <= 5 * RECHECKS
    plant.plc.refuse_all = 0
    plant.run(4 * RECHECK_S)
    assert plant.read(0, 64) == list(range(1000, 1064))


def test_01_refuses_the_whole_block_at_once_and_is_not_asked_every_second(caplog: pytest.LogCaptureFixture) -> None:
    plant = Polled(0, 10)
    plant.plc.refuse_all = 1
    plant.run(60)
    assert plant.read(3) == 1
    assert len(plant.link.take()) == 1
    assert plant.device.state is not State.GOOD
    assert [record.getMessage() for record in caplog.records] == [
        "device press: holding:0..9 (400001..400010) is refused with 01 illegal function"
    ]


def test_a_hole_in_a_gap_is_told_with_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    plant = Polled(tags=[tag(0), tag(1), tag(20), tag(21)])
    plant.plc.missing = {10: 2}
    plant.run(60)
    assert [plant.quality(name) for name in ("t0", "t1", "t20", "t21")] == [Quality.GOOD] * 4
    (line,) = (record.getMessage() for record in caplog.records)
    assert line == (
        "device press: holding:0..21 (400001..400022) is refused in one request and read in 2: "
        "holding:0..1 (400001..400002), holding:20..21 (400021..400022); "
        "the device does not have what lies between them: max_gap: 0 leaves it out"
    )
    assert plant.device.snapshot(plant.time.now_s)["holes"] == [
        {
            "block": "holding:0..21 (400001..400022)",
            "refused": [],
            "code": None,
            "safe": ["holding:0..1 (400001..400002)", "holding:20..21 (400021..400022)"],
            "next_try_s": None,
        }
    ]


def test_a_smaller_limit_of_the_device_is_told_with_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    plant = Polled(0, 125)
    plant.plc.most = 50
    plant.run(60)
    assert plant.read(0, 125) == list(range(1000, 1125))
    (line,) = (record.getMessage() for record in caplog.records)
    assert "is refused in one request and read in 4:" in line
    assert line.endswith("; the device seems to answer no more at once: max_registers: 32")


def test_a_part_that_goes_bad_later_is_found_too() -> None:
    plant = Polled(0, 20)
    plant.plc.missing = {5: 2}
    plant.run(30)
    plant.plc.missing = {5: 2, 12: 2}
    plant.run(30)
    assert plant.each(0, 20) == [-2 if a in (5, 12) else 1000 + a for a in range(20)]


def test_two_codes_are_both_told(caplog: pytest.LogCaptureFixture) -> None:
    plant = Polled(0, 4)
    plant.plc.missing = {0: 2, 3: 3}
    plant.run(30)
    assert plant.each(0, 4) == [-2, 1001, 1002, -3]
    assert "holding:0 (400001) is refused with 02 illegal data address; holding:3 (400004) is refused with 03" in (
        caplog.text
    )


@pytest.mark.parametrize(("policy", "then"), [("error", 0x0B), ("hold", [1006]), ("zero", [0])])
def test_parts_grow_old_on_their_own_and_holes_keep_their_code(policy: str, then: object) -> None:
    plant = Polled(0, 10, on_stale=policy)
    plant.plc.missing = {5: 2}
    plant.run(30)
    plant.plc.is_silent = True
    plant.run(STALE := 8.0)
    assert STALE > 5
    assert plant.read(6) == then
    assert plant.read(5) == 2
    assert plant.device.state is State.STALE
    plant.plc.is_silent = False
    plant.run(3)
    assert plant.read(6) == [1006]
    assert plant.device.state is State.GOOD


def test_closing_in_the_middle_of_learning_ends_every_request() -> None:
    plant = Polled(0, 64)
    plant.plc.missing = {9: 2}
    plant.run(3.005)
    plant.group.close()
    plant.link.take()
    plant.run(60)
    assert plant.link.take() == []
    assert all(not request.wanted for request in plant.link.requests if request.out)
    assert plant.device.blocks == []


def test_parts_that_time_out_when_they_are_joined_stay_apart() -> None:
    plant = Polled(0, 20)
    plant.plc.answers = [2]
    answer = plant.plc.answer

    def no_long_answers(pdu: bytes) -> bytes | None:
        return None if pdu[4] > 10 and not plant.plc.answers else answer(pdu)

    plant.plc.answer = no_long_answers  # type: ignore[method-assign]
    plant.run(30)
    plant.link.take()
    plant.run(20)
    assert set(plant.link.take()) == {(0, 10), (10, 10)}
    assert plant.read(0, 20) == list(range(1000, 1020))


def test_a_hole_that_flaps_is_asked_less_and_less() -> None:
    plant = Polled(7, 1)
    plant.run(2)
    for _ in range(3):
        plant.plc.missing = {7: 2}
        plant.run(2)
        plant.plc.missing = {}
        while plant.read(7) == 2:
            plant.run(1)
    plant.plc.missing = {7: 2}
    plant.run(2)
    begin = plant.time.now_s
    plant.plc.missing = {}
    while plant.read(7) == 2:
        plant.run(1)
    assert plant.time.now_s - begin > 5 * FIRST_RECHECK_S


def test_a_part_is_as_old_as_the_block_it_was_cut_from() -> None:
    plant = Polled(0, 64)
    plant.run(2.5)
    good_s = plant.group.jobs[0].good_s
    plant.plc.refuse_all = 2
    while len(plant.group.jobs) == 1:
        plant.run(0.1)
    plant.plc.is_silent = True
    assert plant.read(0, 64) == list(range(1000, 1064))
    plant.run(good_s + 5.2 - plant.time.now_s)
    assert plant.read(0) == 0x0B
    assert plant.read(63) == 0x0B


def test_a_device_that_refuses_all_it_had_is_one_line_too(caplog: pytest.LogCaptureFixture) -> None:
    plant = Polled(0, 4)
    plant.run(2)
    plant.plc.refuse_all = 2
    plant.run(9)
    assert plant.device.state is State.STALE
    assert [record.getMessage() for record in caplog.records] == [
        "device press: holding:0..3 (400001..400004) is refused with 02 illegal data address; nothing of it can be read"
    ]


def test_when_one_hole_heals_the_others_and_failed_borders_are_tried_at_once() -> None:
    plant = Polled(tags=[tag(0), tag(1), tag(12), tag(13), tag(25), tag(26), tag(27)])
    plant.plc.missing = {6: 2, 25: 2}
    plant.run(300)
    assert [job.block.first for job in plant.group.jobs] == [0, 12, 25, 26]
    plant.plc.missing[27] = 2  # this one was good: it is asked again soon
    plant.run(20)
    assert plant.quality("t27") is Quality.BAD
    plant.plc.missing = {}
    plant.run(60)
    assert len(plant.group.jobs) == 1
    assert plant.quality("t25") is Quality.GOOD


def test_a_write_while_parts_are_joined_is_not_undone() -> None:
    plant = Polled(0, 20)
    plant.run(2)
    plant.plc.refuse_all = 2
    plant.run(4)
    plant.plc.refuse_all = 0
    plant.link.took_s = 0.5
    while plant.group._trial is None:
        plant.time.advance(0.001)
    plant.time.advance(0.001)
    plant.link.took_s = 0.01  # the parts are read, and the write confirmed, before the answer to the whole comes
    plant.plc.values[3] = 7  # the request that is out has been answered with 1003 already
    written([plant.group], bytes.fromhex("06 0003 0007"), bytes.fromhex("06 0003 0007"), 0.0)
    for _ in range(400):
        plant.time.advance(0.01)
        assert plant.read(3) == [7]
    plant.run(20)
    assert len(plant.group.jobs) == 1
    assert plant.read(3) == [7]


def test_a_write_to_what_is_being_learned_asks_no_more() -> None:
    plant = Polled(0, 64)
    plant.plc.refuse_all = 2
    plant.run(5.05)
    plant.link.take()
    written([plant.group], bytes.fromhex("06 0003 0007"), bytes.fromhex("06 0003 0007"), 0.0)
    assert plant.link.take() == []


def test_a_device_that_alternates_between_good_and_02_is_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    plant = Polled(tags=[tag(first) for first in range(0, 40, 2)])
    for second in range(600):
        plant.plc.refuse_all = 2 if second % 20 >= 10 else 0
        plant.run(1)
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) <= 11
    assert len(caplog.records) <= 3 * 11
    assert "times since the last line)" in caplog.text
    plant.plc.refuse_all = 0
    plant.run(2 * RECHECK_S)
    assert len(plant.group.jobs) == 1
    assert "no longer refused" in caplog.records[-1].getMessage()


def test_what_is_found_within_the_minute_is_told_after_it(caplog: pytest.LogCaptureFixture) -> None:
    plant = Polled(0, 20)
    plant.plc.missing = {5: 2}
    plant.run(20)
    plant.plc.missing = {5: 2, 12: 2}
    plant.run(20)
    assert len(caplog.records) == 1
    holes = plant.group.holes(plant.time.now_s)
    assert holes is not None
    assert holes["refused"] == ["holding:5 (400006)", "holding:12 (400013)"]
    plant.run(60)
    assert "holding:5 (400006), holding:12 (400013) are refused" in caplog.records[-1].getMessage()
    plant.run(300)
    assert len(caplog.records) == 2


def test_a_recovery_is_told_only_of_what_was_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    plant = Polled(7, 1)
    plant.run(2)
    for _ in range(2):
        plant.plc.missing = {7: 2}
        plant.run(2)
        plant.plc.missing = {}
        plant.run(22)
    plant.run(120)
    assert [record.getMessage() for record in caplog.records] == [
        "device press: holding:7 (400008) is refused with 02 illegal data address",
        "device press: holding:7 (400008) is no longer refused",
    ]


def test_a_hole_that_flaps_does_not_have_the_others_asked() -> None:
    plant = Polled(0, 20)
    plant.plc.missing = {3: 2, 9: 2}
    plant.run(30)
    asked: list[float] = []
    gaps: list[float] = []
    for _ in range(6):
        plant.plc.missing = {3: 2, 9: 2}
        plant.run(10)
        begin_s = plant.time.now_s
        plant.plc.missing = {3: 2}
        plant.link.asked.clear()
        while plant.read(9) == 2:
            plant.run(1)
        plant.run(5)
        gaps.append(plant.time.now_s - begin_s)
        asked += [when for when, first, count in plant.link.asked if (first, count) == (3, 1)]
    assert gaps[-1] > 0.9 * RECHECK_S
    # its own recheck, every ten minutes; and once more when the other was read for the first time
    assert len(asked) <= 2 + sum(gaps) / RECHECK_S
