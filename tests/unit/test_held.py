"""Writes and polls: what was written is served at once, and no answer that was asked before it undoes it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.modbus.spec import Table
from gateway.polling.device import MAX_MISMATCHES
from gateway.polling.held import Written, hold, parse, written
from gateway.polling.job import BUSY_RETRIES
from gateway.values import Quality, Tag
from tests.support.polled import Polled


def pdu(text: str) -> bytes:
    return bytes.fromhex(text)


@pytest.mark.parametrize(
    ("request_pdu", "expected"),
    [
        ("05 0003 ff00", Written(Table.COILS, 3, 1, b"\1")),
        ("05 0003 0000", Written(Table.COILS, 3, 1, b"\0")),
        ("06 0010 1234", Written(Table.HOLDING, 16, 1, b"\x12\x34")),
        ("0f 0013 000a 02 cd01", Written(Table.COILS, 19, 10, b"\xcd\x01")),
        ("10 0001 0002 04 000a0102", Written(Table.HOLDING, 1, 2, b"\0\x0a\1\2")),
        ("16 0004 00f2 0025", Written(Table.HOLDING, 4, 1, b"\0\x05", 0x00F2)),
        ("17 0003 0006 000e 0003 06 00ff00ff00ff", Written(Table.HOLDING, 14, 3, b"\0\xff" * 3)),
        ("10 0001 0002 04 000a", None),
        ("0f 0013 000a 01 cd", None),
        ("05 0003", None),
        ("03 0000 0001", None),
        ("2b 0e 01 00", None),
    ],
)
def test_what_a_write_request_does(request_pdu: str, expected: Written | None) -> None:
    assert parse(pdu(request_pdu)) == expected


@given(
    st.integers(0, 30),
    st.integers(1, 20),
    st.integers(0, 40),
    st.integers(1, 20),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_a_write_laid_over_a_block_changes_what_was_written_and_nothing_else(
    first: int, count: int, write_first: int, write_count: int, bits: bool, random: object
) -> None:
    table = Table.COILS if bits else Table.HOLDING
    width = 1 if bits else 16
    block = [random.randrange(1 << width) for _ in range(count)]  # type: ignore[attr-defined]
    values = [random.randrange(1 << width) for _ in range(write_count)]  # type: ignore[attr-defined]

    def packed(items: list[int]) -> bytes:
        if bits:
            return sum(bit << i for i, bit in enumerate(items)).to_bytes((len(items) + 7) // 8, "little")
        return b"".join(item.to_bytes(2, "big") for item in items)

    data = packed(block)
    write = Written(table, write_first, write_count, packed(values))
    held = hold(write, table, first, count, len(data), 0.0, verify=False)
    wanted = {write_first + i: value for i, value in enumerate(values)}
    expected = [wanted.get(first + i, value) for i, value in enumerate(block)]
    touches = any(first <= address < first + count for address in wanted)
    assert (held is not None) == touches
    if held is not None:
        assert held.over(data) == packed(expected)
        assert held.is_in(packed(expected))


def write(plant: Polled, text: str, hold_s: float = 0.0, *, unknown: bool = False) -> None:
    """A write that the device executed."""
    request = pdu(text)
    parsed = parse(request)
    assert parsed is not None
    if parsed.data is not None and not unknown and parsed.table is Table.HOLDING and not parsed.and_mask:
        for i in range(parsed.count):
            plant.plc.values[parsed.first + i] = int.from_bytes(parsed.data[2 * i : 2 * i + 2], "big")
    written([plant.group], request, None if unknown else request[:5], hold_s)


def test_what_was_written_is_served_at_once_and_polled_at_once() -> None:
    plant = Polled(0, 10, every_s=60.0, stale_s=180.0)
    plant.run(61)
    plant.link.take()
    write(plant, "06 0003 0007")
    assert plant.read(3) == [7]
    assert plant.link.take() == [(0, 10)]
    plant.run(0.1)
    assert plant.read(0, 5) == [1000, 1001, 1002, 7, 1004]


def test_an_answer_that_was_asked_before_the_write_does_not_undo_it() -> None:
    plant = Polled(0, 10, every_s=60.0, stale_s=180.0)
    plant.run(61)
    plant.link.took_s = 0.5
    assert plant.group.jobs[0].poke()  # its answer shows 1003 already
    plant.run(0.2)
    plant.link.take()
    write(plant, "10 0002 0002 04 0005 0006")
    assert plant.read(2, 2) == [5, 6]
    plant.run(0.4)
    assert plant.read(2, 2) == [5, 6]
    assert plant.link.take() == [(0, 10)]  # and again behind the one that was out
    plant.plc.values[2] = 9
    plant.run(1)
    assert plant.read(2, 2) == [5, 6]


def test_the_first_answer_that_was_asked_later_shows_the_devices_truth() -> None:
    plant = Polled(0, 10)
    plant.run(2)
    write(plant, "06 0003 0007")
    plant.plc.values[3] = 99
    plant.run(2)
    assert plant.read(3) == [99]


def test_a_masked_write_changes_its_bits_only() -> None:
    plant = Polled(0, 10, every_s=60.0, stale_s=180.0)
    plant.run(61)
    plant.link.took_s = 1.0
    write(plant, "16 0003 fffe 0001")
    assert plant.read(3) == [1003 | 1]
    write(plant, "16 0003 fff7 0000")
    assert plant.read(3) == [(1003 | 1) & ~8]


def test_the_age_of_a_block_is_that_of_its_last_read() -> None:
    plant = Polled(0, 10, every_s=60.0, stale_s=180.0)
    plant.run(61)
    job = plant.group.jobs[0]
    before = job.good_s, job.good_time_ns
    plant.plc.is_silent = True
    write(plant, "06 0003 0007")
    plant.run(0.5)
    assert (job.good_s, job.good_time_ns) == before


def test_nothing_is_patched_into_values_that_are_too_old() -> None:
    plant = Polled(0, 10)
    plant.run(2)
    plant.plc.is_silent = True
    plant.run(10)
    write(plant, "06 0003 0007")
    assert plant.read(3) == 0x0B


def test_an_unknown_outcome_changes_nothing_and_asks_at_once() -> None:
    plant = Polled(0, 10, every_s=60.0, stale_s=180.0)
    plant.run(61)
    plant.link.take()
    write(plant, "06 0003 0007", unknown=True)
    assert plant.read(3) == [1003]
    assert plant.link.take() == [(0, 10)]


def test_other_registers_other_tables_and_refused_writes_ask_for_nothing() -> None:
    plant = Polled(0, 10, every_s=60.0, stale_s=180.0)
    plant.run(61)
    plant.link.take()
    write(plant, "06 000a 0007")
    write(plant, "05 0003 ff00")
    written([plant.group], pdu("06 0003 0007"), pdu("86 02"), 0.0)
    assert plant.read(3) == [1003]
    assert plant.link.take() == []


def test_a_tag_takes_its_new_value_from_the_write() -> None:
    plant = Polled(tags=[Tag("level", Table.HOLDING, 3, 2, "uint32", order="CDAB")], every_s=60.0, stale_s=180.0)
    plant.run(61)
    plant.link.took_s = 1.0
    write(plant, "10 0003 0002 04 0007 0001")
    assert plant.hub.sample("press", "level").value == 0x10007
    assert plant.read(3, 2) == [1, 7]


def test_with_verify_polls_may_be_old_for_a_while_and_a_difference_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    plant = Polled(tags=[Tag("level", Table.HOLDING, 20, 1, "uint16"), Tag("other", Table.HOLDING, 21, 1, "uint16")])
    plant.run(2)
    plant.plc.values[20] = 7
    written([plant.group], pdu("06 0014 0005"), pdu("06 0014 0005"), 2.0)
    plant.run(1.9)
    assert plant.hub.sample("press", "level").value == 5
    assert plant.quality("level") is Quality.GOOD
    assert not caplog.records
    plant.run(5)
    assert plant.hub.sample("press", "level").value == 7
    assert plant.quality("level") is Quality.UNCERTAIN
    assert plant.quality("other") is Quality.GOOD
    assert plant.hub.sample("press", "level").cause == "was written 5, the device holds 7"
    assert [record.getMessage() for record in caplog.records] == [
        "device press: holding:20 (400021) was written 5, the device holds 7"
    ]
    assert plant.device.snapshot(plant.time.now_s)["jobs"][0]["mismatches"] == 1
    plant.plc.values[20] = 5  # a slow device: it matches later
    plant.run(2)
    assert plant.quality("level") is Quality.GOOD


def test_the_next_write_ends_the_doubt_and_a_write_that_was_taken_makes_none(caplog: pytest.LogCaptureFixture) -> None:
    plant = Polled(tags=[Tag("level", Table.HOLDING, 20, 1, "uint16")])
    plant.run(2)
    plant.plc.values[20] = 7
    written([plant.group], pdu("06 0014 0005"), pdu("06 0014 0005"), 1.0)
    plant.run(3)
    assert plant.quality("level") is Quality.UNCERTAIN
    write(plant, "06 0014 0008", 1.0)
    assert plant.quality("level") is Quality.GOOD
    plant.run(3)
    assert plant.quality("level") is Quality.GOOD
    assert len(caplog.records) == 1


def test_a_slider_leaves_one_write_to_verify() -> None:
    plant = Polled(0, 10)
    plant.run(2)
    for value in range(200):
        write(plant, f"06 0003 {value:04x}", 1.0)
    assert len(plant.group.jobs[0].overlay.held) == 1
    plant.run(3)
    assert not plant.group.jobs[0].is_writing


def test_a_write_of_unknown_outcome_ends_what_was_held_there_and_nothing_else() -> None:
    plant = Polled(0, 10)
    plant.run(2)
    plant.plc.values = {3: 9, 4: 9}
    written([plant.group], pdu("10 0003 0002 04 0005 0006"), pdu("10 0003 0002"), 30.0)
    plant.run(2)
    assert plant.read(3, 2) == [5, 6]  # polls may be old for 30 s
    written([plant.group], pdu("06 0003 0007"), None, 30.0)
    plant.run(2)
    assert plant.read(3, 2) == [9, 6]
    written([plant.group], pdu("10 0000 000a 14" + "00" * 20), None, 30.0)
    assert not plant.group.jobs[0].overlay.held
    plant.run(2)
    assert plant.read(3, 2) == [9, 9]


def test_a_write_of_unknown_outcome_ends_the_doubt_about_what_it_touched() -> None:
    plant = Polled(tags=[Tag("level", Table.HOLDING, 20, 1, "uint16"), Tag("other", Table.HOLDING, 21, 1, "uint16")])
    plant.run(2)
    written([plant.group], pdu("10 0014 0002 04 0005 0006"), pdu("10 0014 0002"), 1.0)
    plant.run(3)
    assert plant.quality("level") is plant.quality("other") is Quality.UNCERTAIN
    written([plant.group], pdu("06 0014 0007"), None, 1.0)
    plant.run(2)
    assert plant.quality("level") is Quality.GOOD
    assert plant.quality("other") is Quality.UNCERTAIN
    plant.plc.values[21] = 6
    plant.run(2)
    assert plant.quality("other") is Quality.GOOD


def test_an_acknowledged_write_passes_the_deadband_and_so_does_what_the_device_made_of_it() -> None:
    plant = Polled(tags=[Tag("level", Table.HOLDING, 3, 1, "uint16", deadband=5.0)], every_s=1.0)
    plant.plc.values[3] = 0
    plant.run(2)
    write(plant, "06 0003 0003")
    assert plant.read(3) == [3]
    assert plant.hub.sample("press", "level").value == 3
    plant.run(3)
    assert plant.read(3) == [3]
    plant.plc.values[3] = 5
    plant.run(3)
    assert plant.read(3) == [3]  # that was no write
    written([plant.group], pdu("06 0003 0004"), pdu("06 0003 0004"), 0.0)
    plant.run(1)
    assert plant.read(3) == [5]  # it was given 4 and holds 5
    plant.plc.values[3] = 6
    plant.run(3)
    assert plant.read(3) == [5]
    write(plant, "06 0003 0007", unknown=True)
    plant.run(1)
    assert plant.read(3) == [6]
    plant.plc.values[3] = 8
    plant.run(3)
    assert plant.read(3) == [6]
    write(plant, "06 0003 0008")
    assert plant.read(3) == [8]


def test_a_value_that_a_slow_device_takes_late_passes_the_deadband() -> None:
    plant = Polled(tags=[Tag("level", Table.HOLDING, 3, 1, "uint16", deadband=5.0)], every_s=1.0)
    plant.plc.values[3] = 0
    plant.run(2)
    written([plant.group], pdu("06 0003 0003"), pdu("06 0003 0003"), 2.0)
    assert plant.read(3) == [3]
    plant.run(4)
    assert plant.read(3) == [0]
    plant.plc.values[3] = 3
    plant.run(2)
    assert plant.read(3) == [3]


def test_writes_that_are_not_taken_are_told_once_a_minute_for_each_place(caplog: pytest.LogCaptureFixture) -> None:
    plant = Polled(0, 100, every_s=0.1)
    plant.run(2)
    for i in range(65):
        for request in (f"06 0003 {i:04x}", "06 0004 0001"):
            written([plant.group], pdu(request), pdu(request), 0.5)
        plant.run(1)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 4
    assert lines[3].startswith("device press: holding:4 (400005) was written 1, the device holds 1004 (")
    assert all(line.endswith(" times since the last line)") for line in lines[2:])
    assert plant.group.jobs[0].mismatch_count == 130
    plant.run(61)
    caplog.clear()
    for address in range(50):
        written([plant.group], pdu(f"06 {address:04x} 0001"), pdu(f"06 {address:04x} 0001"), 0.5)
    plant.run(2)
    assert len(caplog.records) == MAX_MISMATCHES


# -- busy ---------------------------------------------------------------------------------------------------------


def test_a_busy_device_is_asked_again_after_growing_pauses(caplog: pytest.LogCaptureFixture) -> None:
    plant = Polled(0, 10, every_s=60.0, stale_s=180.0)
    plant.link.took_s = 0.0
    plant.plc.answers = [6, 5, 6]
    plant.run(60)
    times = [when for when, _, _ in plant.link.asked]
    assert [round(b - a, 3) for a, b in pairwise(times[:4])] == [0.1, 0.2, 0.4]
    assert plant.read(0) == [1000]
    assert not caplog.records
    assert plant.device.snapshot(plant.time.now_s)["jobs"][0]["busy"] == 3


def test_busy_retries_end_and_begin_anew_at_the_next_turn() -> None:
    plant = Polled(0, 10, every_s=60.0, stale_s=180.0)
    plant.plc.refuse_all = 6
    plant.run(60)
    assert len(plant.link.take()) == 1 + BUSY_RETRIES
    plant.run(60)
    assert len(plant.link.take()) == 1 + BUSY_RETRIES


def test_a_turn_that_comes_before_the_retry_takes_its_place() -> None:
    plant = Polled(0, 10, every_s=0.25)
    plant.plc.answers = [6, 6]
    plant.run(3)
    times = [when for when, _, _ in plant.link.asked]
    gaps = [round(b - a, 2) for a, b in pairwise(times)]
    assert gaps[:2] == [0.11, 0.14]
    assert set(gaps[2:]) == {0.25}


def test_no_retry_comes_after_the_next_turn() -> None:
    plant = Polled(0, 10, every_s=0.25)
    plant.plc.refuse_all = 6
    plant.run(10)
    assert len(plant.link.take()) <= 2 * 40 + 1
