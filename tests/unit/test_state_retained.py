"""Retained registers: what is kept, when it is written, and what is said when the disk will not."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as drawn
from hypothesis import strategies as st

from gateway.bank import Bank
from gateway.modbus.spec import Table
from gateway.state.keeper import HANGS_S
from gateway.state.retained import Given, Retained
from gateway.state.snapshots import SnapshotFile
from tests.support.disk import HandWorker
from tests.support.fake import ManualTime
from tests.support.until import wait_until
from tests.support.wire import hexed

SLOT_S = 0.001


def everything(unit_id: int, table: Table, first: int, stop: int) -> list[tuple[int, int]]:
    """Clients have written every register there is."""
    return [(first, stop)]


class Plant:
    """One life of a gateway: units with coils 0..99 and holding 0..99 of their own, watched."""

    def __init__(self, directory: Path, units: Iterable[int] = (1,), given: Given = everything) -> None:
        self.time = ManualTime()
        self.disk = HandWorker()
        self.retained = Retained(directory, self.time, given, self.disk)
        self.banks = {unit_id: Bank({Table.COILS: [(0, 100)], Table.HOLDING: [(0, 100)]}) for unit_id in units}
        for unit_id, bank in self.banks.items():
            self.retained.restore(unit_id, bank)

    def write(self, value: int, unit_id: int = 1) -> None:
        """A client writes `value` to holding:0."""
        ask(self.banks[unit_id], f"06 0000 {value:04x}")
        self.retained.changed(unit_id)

    def tick(self, seconds: float = SLOT_S) -> None:
        self.time.advance(seconds)

    def settle(self) -> None:
        """Write all that waits."""
        while True:
            self.tick(1.0)
            if not self.disk.waiting:
                return
            self.disk.finish()


def ask(bank: Bank, request: str) -> str:
    answer = bank.answer(hexed(request))
    assert isinstance(answer, bytes)
    return answer.hex()


def kept(directory: Path, unit_id: int = 1) -> int:
    """What the next life finds in holding:0."""
    return int(ask(Plant(directory, [unit_id]).banks[unit_id], "03 0000 0001")[4:], 16)


def full() -> OSError:
    return OSError(28, "No space left on device", "/some/file")


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    lines = [(record.levelno, record.getMessage()) for record in caplog.records]
    caplog.clear()
    return lines


# -- what is kept -------------------------------------------------------------------------------------------------


def test_what_clients_wrote_is_there_after_a_restart(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    ask(plant.banks[1], "10 000a 0002 04 12345678")
    ask(plant.banks[1], "0f 0003 000a 02 cd01")
    plant.retained.changed(1)
    plant.settle()

    bank = Bank({Table.COILS: [(0, 100)], Table.HOLDING: [(0, 100)]})
    retained = Retained(tmp_path, ManualTime(), everything, HandWorker())
    assert retained.restore(1, bank) == [(Table.COILS, 0, 100), (Table.HOLDING, 0, 100)]
    assert ask(bank, "03 0009 0004") == "0308" + "0000" + "12345678" + "0000"
    assert ask(bank, "01 0003 000a") == "0102cd01"
    assert ask(bank, "01 0000 0003") == "010100"


def test_only_our_own_registers_that_clients_may_write_are_kept(tmp_path: Path) -> None:
    ranges = {table: [(0, 30)] for table in Table}

    def declared(value: int) -> Bank:
        """`value` everywhere, as `initial` has it; 5..9 is mapped, 20..24 read-only."""
        bank = Bank(ranges)
        for table in Table:
            if table.is_bits:
                bank.put_bits(table, 0, 30, bytes([255 * value] * 4))
            else:
                bank.put_registers(table, 0, bytes([0, value]) * 30)
        for table in (Table.COILS, Table.HOLDING):
            for span in bank.claim([(table, 5, 5)]):
                bank.unblock(span)
        bank.protect([(Table.COILS, 20, 5), (Table.HOLDING, 20, 5)])
        return bank

    plant = Plant(tmp_path, [])
    plant.retained.follow(1, declared(1))
    plant.settle()
    bank = declared(0)
    restored = Retained(tmp_path, ManualTime(), everything, HandWorker()).restore(1, bank)
    parts = [(0, 5), (10, 10), (25, 5)]
    assert restored == [(table, *part) for table in (Table.COILS, Table.HOLDING) for part in parts]
    registers = "0001" * 5 + "0000" * 5 + "0001" * 10 + "0000" * 5 + "0001" * 5
    assert ask(bank, "03 0000 001e") == "033c" + registers
    assert ask(bank, "01 0000 001e") == "01041ffc0f3e"
    assert ask(bank, "04 0000 001e") == "043c" + "0000" * 30
    assert ask(bank, "02 0000 001e") == "020400000000"


def test_a_long_table_with_one_read_only_register_is_kept_around_it(tmp_path: Path) -> None:
    bank = Bank({Table.HOLDING: [(0, 65536)]})
    bank.protect([(Table.HOLDING, 40000, 1)])
    plant = Plant(tmp_path, [])
    plant.retained.follow(1, bank)
    plant.settle()
    restored = Retained(tmp_path, ManualTime(), everything, HandWorker()).restore(1, bank)
    assert restored == [(Table.HOLDING, 0, 40000), (Table.HOLDING, 40001, 25535)]


class Marks:
    """Units of which clients wrote these addresses of coils and holding registers."""

    def __init__(self, **by_unit: set[int]) -> None:
        self.by_unit = {int(name[1:]): addresses for name, addresses in by_unit.items()}

    def __call__(self, unit_id: int, table: Table, first: int, stop: int) -> list[tuple[int, int]]:
        return [(at, at + 1) for at in sorted(self.by_unit[unit_id]) if first <= at < stop]


def test_only_what_was_given_a_value_is_kept_and_an_edited_initial_counts_for_the_rest(tmp_path: Path) -> None:
    marks = Marks(_1={3, 50}, _2={4})
    plant = Plant(tmp_path, (1, 2), marks)
    for bank in plant.banks.values():
        ask(bank, "10 0003 0002 04 1234 5678")
        ask(bank, "0f 0000 0008 01 ff")
    for unit_id in plant.banks:
        plant.retained.changed(unit_id)
    plant.settle()
    retained = Retained(tmp_path, ManualTime(), marks, HandWorker())
    banks = {unit_id: Bank({Table.COILS: [(0, 100)], Table.HOLDING: [(0, 100)]}) for unit_id in (1, 2)}
    for bank in banks.values():
        bank.put_registers(Table.HOLDING, 3, b"\0\7\0\7")  # the `initial` of now
    assert retained.restore(1, banks[1]) == [(table, at, 1) for table in (Table.COILS, Table.HOLDING) for at in (3, 50)]
    assert retained.restore(2, banks[2]) == [(table, 4, 1) for table in (Table.COILS, Table.HOLDING)]
    assert [ask(bank, "03 0003 0002") for bank in banks.values()] == ["030412340007", "030400075678"]
    assert [ask(bank, "01 0000 0008") for bank in banks.values()] == ["010108", "010110"]


def test_it_is_asked_when_a_snapshot_is_taken_and_when_a_unit_leaves(tmp_path: Path) -> None:
    marks = Marks(_1=set())
    plant = Plant(tmp_path, given=marks)
    plant.write(5)
    marks.by_unit[1].add(0)
    plant.settle()
    assert kept(tmp_path) == 5
    plant.write(6)
    plant.retained.drop(1)
    marks.by_unit[1].clear()
    plant.settle()
    assert kept(tmp_path) == 6


def test_a_unit_of_which_nobody_wrote_anything_has_nothing_to_be_put_back(tmp_path: Path) -> None:
    plant = Plant(tmp_path, given=Marks(_1=set()))
    plant.retained.follow(1, plant.banks[1])
    plant.settle()
    assert plant.retained.restore(1, plant.banks[1]) == []
    assert Plant(tmp_path).retained.restore(1, plant.banks[1]) == []


def test_a_file_of_whole_ranges_of_before_is_put_back_whole(tmp_path: Path) -> None:
    SnapshotFile(tmp_path / "retained-1.bin").write(hexed("02 0000 00000064" + "0009" * 100))
    plant = Plant(tmp_path, given=Marks(_1={0}))
    assert ask(plant.banks[1], "03 0000 0064") == "03c8" + "0009" * 100
    plant.write(1)
    plant.settle()
    restored = Retained(tmp_path, ManualTime(), everything, HandWorker()).restore(1, plant.banks[1])
    assert restored == [(Table.COILS, 0, 1), (Table.HOLDING, 0, 1)], "from now on what was written"


ADDRESSES = st.sets(st.integers(0, 40))


@drawn(before=ADDRESSES, after=ADDRESSES, values=st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_declared_afterwards_keeps_what_it_shares_with_before(
    before: set[int], after: set[int], values: random.Random, tmp_path: Path
) -> None:
    written = {address: values.getrandbits(16) for address in before}
    old = Bank({table: [(address, 1) for address in before] for table in Table})
    for address, value in written.items():
        ask(old, f"06 {address:04x} {value:04x}")
        ask(old, f"05 {address:04x} {'ff00' if value & 1 else '0000'}")
    plant = Plant(tmp_path, [])
    plant.retained.follow(1, old)
    plant.settle()

    new = Bank({table: [(address, 1) for address in after] for table in Table})
    restored = Retained(tmp_path, ManualTime(), everything, HandWorker()).restore(1, new)
    for address in after:
        value = written.get(address, 0)
        assert ask(new, f"03 {address:04x} 0001") == f"0302{value:04x}"
        assert ask(new, f"01 {address:04x} 0001") == f"0101{value & 1:02x}"
    told = {(table, address) for table, first, count in restored for address in range(first, first + count)}
    assert told == {(table, address) for table in (Table.COILS, Table.HOLDING) for address in before & after}


# -- when it is written -------------------------------------------------------------------------------------------


def test_after_a_quiet_time_a_change_is_written_at_once(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    plant.write(1)
    plant.tick()
    plant.disk.finish()
    assert kept(tmp_path) == 1
    plant.tick(100)
    plant.write(2)
    plant.tick()
    plant.disk.finish()
    assert kept(tmp_path) == 2


def test_while_registers_change_there_is_one_snapshot_a_second_and_one_timer(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    timers = 0
    call_at = plant.time.call_at

    def counted(when, callback):  # type: ignore[no-untyped-def]
        nonlocal timers
        timers += 1
        return call_at(when, callback)

    plant.time.call_at = counted  # type: ignore[method-assign]
    for value in range(1, 10_001):  # ten seconds
        plant.write(value)
        plant.tick()
        if plant.disk.waiting:
            plant.disk.finish()
    assert plant.disk.submitted in (10, 11)
    assert timers <= 2 * plant.disk.submitted + 1  # one for the round, one that watches the disk
    assert kept(tmp_path) > 9000
    plant.settle()
    assert kept(tmp_path) == 10_000
    plant.tick(100)
    assert plant.disk.submitted in (11, 12)  # silence is free


def test_no_two_snapshots_at_once_and_every_unit_gets_its_turn(tmp_path: Path) -> None:
    plant = Plant(tmp_path, units=(1, 2, 3))
    for unit_id in (1, 2, 3):
        plant.write(7, unit_id)
    plant.tick(100)  # the disk is slow; HandWorker asserts that it has one at a time
    for _ in range(3):
        assert len(plant.disk.waiting) == 1
        plant.disk.finish()
    assert not plant.disk.waiting
    assert [kept(tmp_path, unit_id) for unit_id in (1, 2, 3)] == [7, 7, 7]


def test_what_changes_while_the_disk_works_comes_with_the_next_snapshot(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    plant.write(1)
    plant.tick()
    plant.write(2)
    plant.disk.finish()
    assert kept(tmp_path) == 1
    plant.tick(0.9)
    assert not plant.disk.waiting
    plant.tick(0.1)
    plant.disk.finish()
    assert kept(tmp_path) == 2


def test_the_same_values_again_cost_no_write_not_even_after_a_restart(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    plant.write(5)
    plant.settle()
    for _ in range(10):
        plant.write(5)
        plant.settle()
    assert plant.disk.submitted == 1
    again = Plant(tmp_path)
    again.write(5)
    again.settle()
    assert again.disk.submitted == 0
    again.write(6)
    again.settle()
    assert kept(tmp_path) == 6


# -- when the disk will not ---------------------------------------------------------------------------------------


def test_a_full_disk_is_told_once_for_all_units_and_tried_each_second_until_it_is_well(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    plant = Plant(tmp_path, units=(1, 2))
    plant.write(1, 1)
    plant.write(1, 2)
    for _ in range(10):
        plant.tick(1.0)
        plant.disk.finish(full())
        plant.disk.finish(full())
        assert not plant.disk.waiting
    ((level, line),) = said(caplog)
    assert level == logging.WARNING
    assert f"cannot be written to {tmp_path}: No space left on device: they are tried again every second" in line
    plant.write(2, 1)
    plant.tick(1.0)
    plant.disk.finish()
    assert not said(caplog)  # the other is not written yet
    plant.disk.finish()
    assert said(caplog) == [(logging.INFO, "retained registers are written again")]
    assert [kept(tmp_path, unit_id) for unit_id in (1, 2)] == [2, 1]
    plant.write(3)
    plant.tick(1.0)
    plant.disk.finish(full())
    assert len(said(caplog)) == 1  # after it was well it is news again


def test_another_reason_is_another_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plant = Plant(tmp_path)
    plant.write(1)
    for error in (full(), full(), OSError(30, "Read-only file system"), OSError(30, "Read-only file system")):
        plant.tick(1.0)
        plant.disk.finish(error)
    assert [line.split(": ")[1] for _, line in said(caplog)] == ["No space left on device", "Read-only file system"]


def test_values_that_go_back_to_what_was_saved_are_written_after_a_failure(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    plant.write(1)
    plant.settle()
    plant.write(2)
    plant.tick()
    SnapshotFile(tmp_path / "retained-1.bin").write(b"")  # it failed after the file had its name
    plant.disk.finish(full())
    plant.write(1)
    plant.settle()
    assert kept(tmp_path) == 1


def test_a_disk_that_hangs_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    plant = Plant(tmp_path)
    plant.write(1)
    plant.tick(HANGS_S - 0.1)
    assert not said(caplog)
    plant.tick(0.2)
    ((_, line),) = said(caplog)
    assert "the disk has not answered for 10 s" in line
    plant.disk.finish()
    assert said(caplog) == [(logging.INFO, "retained registers are written again")]
    plant.tick(2 * HANGS_S)
    assert not said(caplog)


def test_a_bug_of_ours_shows_its_traceback_and_the_rest_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plant = Plant(tmp_path)
    plant.write(1)
    plant.tick()
    plant.disk.finish(KeyError("oops"))
    (record,) = caplog.records
    assert record.exc_info is not None
    assert "a bug: KeyError('oops')" in record.getMessage()
    plant.settle()
    assert kept(tmp_path) == 1


# -- damage -------------------------------------------------------------------------------------------------------


def two_snapshots(directory: Path) -> Path:
    plant = Plant(directory)
    for value in (1, 2):
        plant.write(value)
        plant.settle()
    return directory / "retained-1.bin"


def test_of_a_damaged_file_the_older_one_is_used_and_the_next_snapshot_mends_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = two_snapshots(tmp_path)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    plant = Plant(tmp_path)
    assert ask(plant.banks[1], "03 0000 0001") == "03020001"
    assert said(caplog) == [
        (
            logging.ERROR,
            "retained registers of unit 1: retained-1.bin is damaged: its checksum does not fit: "
            "the snapshot before it is used",
        )
    ]
    plant.write(1)  # the same value: it is written all the same, so that there are two whole files again
    plant.settle()
    assert plant.disk.submitted == 1
    assert kept(tmp_path) == 1
    assert not said(caplog)


def test_of_two_damaged_files_both_are_told_and_the_initial_values_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = two_snapshots(tmp_path)
    path.write_bytes(b"")
    path.with_name(path.name + ".previous").write_bytes(b"\0" * 300)
    bank = Bank({Table.HOLDING: [(0, 1)]})
    bank.put_registers(Table.HOLDING, 0, b"\0\x09")
    assert Retained(tmp_path, ManualTime(), everything, HandWorker()).restore(1, bank) == []
    assert ask(bank, "03 0000 0001") == "03020009"
    ((level, line),) = said(caplog)
    assert level == logging.ERROR
    assert "retained-1.bin is damaged" in line
    assert "retained-1.bin.previous is damaged" in line
    assert line.endswith("they start with their initial values")


@pytest.mark.parametrize(
    "payload",
    [
        b"\x02",  # half a row
        hexed("02 0000 00000002 0001"),  # less than it says
        hexed("07 0000 00000001 0001"),  # no such table
        hexed("03 0000 00000001 0001"),  # input registers are not kept
        hexed("02 ffff 00000002 00010001"),  # beyond the last address
        hexed("02 0000 00000001 0001 02"),  # one whole row, half a row
    ],
)
def test_a_whole_file_of_something_else_is_told_and_changes_nothing(
    payload: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    SnapshotFile(tmp_path / "retained-1.bin").write(payload)
    assert kept(tmp_path) == 0
    ((level, line),) = said(caplog)
    assert level == logging.ERROR
    assert "retained-1.bin is not understood" in line


# -- reload -------------------------------------------------------------------------------------------------------


def test_a_unit_that_leaves_is_written_as_it_was_then_and_no_more(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    plant.write(1)
    plant.retained.drop(1)
    ask(plant.banks[1], "06 0000 0009")
    plant.settle()
    assert kept(tmp_path) == 1
    plant.retained.changed(1)
    plant.settle()
    assert kept(tmp_path) == 1


def test_a_unit_that_leaves_and_comes_back_before_the_disk_has_it_finds_its_values(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    plant.write(1)
    plant.retained.drop(1)
    bank = Bank({Table.HOLDING: [(0, 1)]})
    assert plant.retained.restore(1, bank) == [(Table.HOLDING, 0, 1)]
    assert ask(bank, "03 0000 0001") == "03020001"
    plant.settle()
    assert kept(tmp_path) == 1


def test_a_unit_that_lives_on_in_another_shape_keeps_its_live_values(tmp_path: Path) -> None:
    two_snapshots(tmp_path)
    plant = Plant(tmp_path)
    bank = Bank({Table.HOLDING: [(0, 5)]})
    bank.put_registers(Table.HOLDING, 0, b"\0\x2a")
    plant.retained.follow(1, bank)
    plant.settle()
    assert kept(tmp_path) == 42


def test_a_drop_or_change_of_a_unit_that_is_not_kept_does_nothing(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    plant.retained.drop(9)
    plant.retained.changed(9)
    plant.settle()
    assert plant.disk.submitted == 0
    assert list(tmp_path.iterdir()) == []


# -- stop, with the real thread -----------------------------------------------------------------------------------


class LoopTime:
    def time(self) -> float:
        return asyncio.get_running_loop().time()

    def call_at(self, when: float, callback, /) -> asyncio.TimerHandle:  # type: ignore[no-untyped-def]
        return asyncio.get_running_loop().call_at(when, callback)


class BlockedFile(SnapshotFile):
    """A disk that hangs until it is let go."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.entered = threading.Event()
        self.go = threading.Event()

    def write(self, data: bytes) -> None:
        self.entered.set()
        assert self.go.wait(20)
        super().write(data)


@pytest.fixture
def disk_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "disk"}


def test_close_writes_what_has_changed_and_ends_the_thread(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, disk_threads: set[threading.Thread]
) -> None:
    async def main() -> None:
        retained = Retained(tmp_path, LoopTime(), everything)
        banks = {unit_id: Bank({Table.HOLDING: [(0, 100)]}) for unit_id in range(1, 21)}
        for unit_id, bank in banks.items():
            retained.restore(unit_id, bank)
        for value in (1, 2):
            for unit_id, bank in banks.items():
                ask(bank, f"06 0000 {value:04x}")
                retained.changed(unit_id)
            await asyncio.sleep(0)  # the first values are under way when the second come
        await retained.close(30)

    asyncio.run(main())
    assert {kept(tmp_path, unit_id) for unit_id in range(1, 21)} == {2}
    assert not said(caplog)
    wait_until(lambda: {t for t in threading.enumerate() if t.name == "disk"} <= disk_threads, what="the thread's end")


def test_a_damaged_file_is_mended_at_the_end_although_nothing_has_changed(tmp_path: Path) -> None:
    path = two_snapshots(tmp_path)
    path.write_bytes(b"")

    async def main() -> None:
        retained = Retained(tmp_path, LoopTime(), everything)
        retained.restore(1, Bank({Table.COILS: [(0, 100)], Table.HOLDING: [(0, 100)]}))
        await retained.close(30)

    asyncio.run(main())
    assert SnapshotFile(path).read()[1] == []
    assert kept(tmp_path) == 1


def test_close_without_a_change_ends_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        retained = Retained(tmp_path, LoopTime(), everything)
        retained.restore(1, Bank({Table.HOLDING: [(0, 100)]}))
        await retained.close(0.0)

    asyncio.run(main())
    assert list(tmp_path.iterdir()) == []


def test_close_does_not_wait_for_a_disk_that_hangs_and_says_what_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    two_snapshots(tmp_path)
    retained = Retained(tmp_path, LoopTime(), everything)
    banks = {unit_id: Bank({Table.HOLDING: [(0, 1)]}) for unit_id in (1, 2)}
    file = BlockedFile(tmp_path / "retained-2.bin")

    async def main() -> None:
        for unit_id, bank in banks.items():
            retained.restore(unit_id, bank)
        retained._units[2].file = file
        for unit_id, bank in banks.items():
            ask(bank, "06 0000 0007")
            retained.changed(unit_id)
        while not file.entered.is_set():
            await asyncio.sleep(0)
        await retained.close(0.05)

    try:
        asyncio.run(main())
        assert said(caplog) == [
            (
                logging.ERROR,
                f"retained registers of unit 1, 2 were not written to {tmp_path}: the disk did not answer within "
                "0.05 s: the next start brings back older values",
            )
        ]
    finally:
        file.go.set()


def test_close_says_what_a_full_disk_did_not_take(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        retained = Retained(tmp_path, LoopTime(), everything)
        bank = Bank({Table.HOLDING: [(0, 1)]})
        retained.restore(1, bank)
        (tmp_path / "retained-1.bin.new").mkdir()  # nothing can be written under this name
        ask(bank, "06 0000 0007")
        retained.changed(1)
        await retained.close(5)

    asyncio.run(main())
    ((level, line),) = said(caplog)
    assert level == logging.ERROR
    assert "unit 1 were not written" in line
    assert "the next start brings back older values" in line
