"""What the audit says of a write, and that what it says is there: rotation, a full disk, a process that was killed."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.bank import Bank
from gateway.config.model_server import Rule
from gateway.errors import LinkBusy, LinkDown, LinkError, NotRead, OutcomeUnknown
from gateway.front import audit
from gateway.front.access import Access, Rights, Terms
from gateway.front.audit import Audit
from gateway.front.counters import Counters
from gateway.front.files import File, Files
from gateway.front.freshness import Freshness
from gateway.front.gate import Entry, Gate, Origin
from gateway.front.units import Guard, Units
from gateway.interfaces import Later, Unit
from gateway.modbus import spec
from gateway.modbus.spec import Table
from gateway.state import journal
from gateway.state.journal import Journal
from gateway.state.records import RecordFile
from tests.support.process import ROOT
from tests.support.until import wait_until
from tests.support.wire import hexed

ORIGIN = Origin("10.1.2.3:51234", ipaddress.ip_address("10.1.2.3"), "tcp://0.0.0.0:502", 'the "chief"')


class Slow:
    """A device."""

    def __init__(self) -> None:
        self.later = Later()

    def answer(self, pdu: bytes) -> bytes | Later | None:
        return self.later

    def may_overtake(self, pdu: bytes) -> bool:
        return False


class Broken:
    def answer(self, pdu: bytes) -> bytes | Later | None:
        raise ZeroDivisionError

    def may_overtake(self, pdu: bytes) -> bool:
        return False


class Told:
    """An audit, an entry to write through, and the lines."""

    def __init__(self, unit: Unit, *rules: dict[str, str]) -> None:
        self.records: list[audit.Record] = []
        self.audit = Audit(self.records.append)
        self.bank = unit
        self.units = Units({1: unit}, 1, "gateway_path")
        self.counters = Counters()
        gate = Gate(self.units, Freshness(lambda: 0.0), self.counters, self.audit)
        if rules:
            gate.access = Access([Rule.model_validate(rule) for rule in rules])
        entry = gate.admit(ORIGIN)
        assert entry is not None
        self.entry: Entry = entry

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(audit.line(record)) for record in self.records]

    def ask(self, pdu: str, unit: int = 1) -> dict[str, Any]:
        """Its line."""
        count = len(self.records)
        self.entry.ask(unit, hexed(pdu))
        (line,) = self.lines[count:]
        return line


def make_bank() -> Bank:
    bank = Bank({Table.HOLDING: [(0, 100)], Table.COILS: [(0, 100)]})
    bank.put_registers(Table.HOLDING, 4, hexed("1234 5678"))
    bank.put_bits(Table.COILS, 0, 8, b"\x05")
    return bank


@pytest.mark.parametrize(
    ("pdu", "expected"),
    [
        ("06 0004 0009", ("holding:4 (400005)", "holding", 4, 1, [0x1234], [9], "done")),
        ("05 0002 0000", ("coils:2 (000003)", "coils", 2, 1, [1], [0], "done")),
        ("05 0001 FF00", ("coils:1 (000002)", "coils", 1, 1, [0], [1], "done")),
        (
            "10 0004 0002 04 0001 0002",
            ("holding:4..5 (400005..400006)", "holding", 4, 2, [0x1234, 0x5678], [1, 2], "done"),
        ),
        ("0F 0000 0003 01 02", ("coils:0..2 (000001..000003)", "coils", 0, 3, [1, 0, 1], [0, 1, 0], "done")),
        ("16 0004 00FF 1200", ("holding:4 (400005)", "holding", 4, 1, [0x1234], [0x1234], "done")),
        ("17 0000 0001 0005 0001 02 0007", ("holding:5 (400006)", "holding", 5, 1, [0x5678], [7], "done")),
        (
            "06 0064 0001",
            ("holding:100 (400101)", "holding", 100, 1, None, [1], "refused 02 illegal data address"),
        ),
        ("05 0001 1234", ("coils:1 (000002)", "coils", 1, 1, [0], None, "refused 03 illegal data value")),
        (
            "10 0004 0001 04 0001 0002",
            ("holding:4 (400005)", "holding", 4, 1, [0x1234], None, "refused 03 illegal data value"),
        ),
        ("06 00", (None, None, None, None, None, None, "refused 03 illegal data value")),
        ("41 01 02", (None, None, None, None, None, None, "refused 01 illegal function")),
    ],
)
def test_the_line_of_a_write(pdu: str, expected: tuple[object, ...]) -> None:
    line = Told(make_bank()).ask(pdu)
    assert tuple(line[key] for key in ("range", "table", "first", "count", "old", "new", "outcome")) == expected
    if line["new"] is None:
        assert line["pdu"] == hexed(pdu).hex()


def test_the_line_says_who_when_and_where() -> None:
    line = Told(make_bank()).ask("06 0004 0009", unit=255)
    assert line["client"] == "10.1.2.3:51234"
    assert line["role"] == 'the "chief"'
    assert line["door"] == "tcp://0.0.0.0:502"
    assert line["unit"] == 1, "the one that is meant"
    assert line["function"] == 6
    assert line["time"].endswith("Z")
    assert 0 <= line["took_ms"] < 1000
    assert "why" not in line


def make_files(*, read_only: bool = False) -> Bank:
    """A bank with the files 4 and 7, of 10 records, each record with its number."""
    bank = make_bank()
    files = {}
    for number in (4, 7):
        content = RecordFile(lambda: None)
        content.reach(10)
        content.write(0, bytes(byte for record in range(10) for byte in (number, record)))
        files[number] = File(content, 10, read_only)
    served = Files(files)
    bank.serve(spec.WRITE_FILE_RECORD, served.write)
    bank.recorded = served.before
    return bank


def test_the_line_of_a_write_to_a_file_has_its_number_and_records() -> None:
    line = Told(make_files()).ask("15 0B 06 0004 0007 0002 06AF 04BE")
    expected = {"range": "file 4 record 7..8", "file": 4, "record": 7, "count": 2, "table": None, "first": None}
    assert {key: line[key] for key in expected} == expected
    assert (line["old"], line["new"], line["outcome"]) == ([0x0407, 0x0408], [0x06AF, 0x04BE], "done")
    assert "pdu" not in line


def test_several_parts_of_files_are_lists() -> None:
    line = Told(make_files()).ask("15 14 06 0004 0007 0001 0001 06 0007 0000 0002 0002 0003")
    assert line["range"] == "file 4 record 7..7, file 7 record 0..1"
    assert [line[key] for key in ("file", "record", "count")] == [[4, 7], [7, 0], [1, 2]]
    assert (line["old"], line["new"]) == ([[0x0407], [0x0700, 0x0701]], [[1], [2, 3]])


@pytest.mark.parametrize(
    ("pdu", "read_only", "file", "old", "outcome"),
    [
        ("15 09 06 0004 0007 0001 06AF", True, 4, [0x0407], "refused 02 illegal data address"),
        ("15 09 06 0004 000A 0001 06AF", False, 4, None, "refused 02 illegal data address"),
        ("15 09 06 0005 0000 0001 06AF", False, 5, None, "refused 02 illegal data address"),
        ("15 09 06 0004 0007 0002 06AF", False, None, None, "refused 03 illegal data value"),
        ("15 00", False, None, None, "refused 03 illegal data value"),
    ],
)
def test_a_write_to_a_file_that_is_refused_is_told_as_far_as_it_is_clear(
    pdu: str, read_only: bool, file: int | None, old: list[int] | None, outcome: str
) -> None:
    line = Told(make_files(read_only=read_only)).ask(pdu)
    assert (line.get("file"), line["old"], line["outcome"]) == (file, old, outcome)
    assert ("pdu" in line) is (file is None)


def test_records_that_are_lost_have_no_old_value_and_files_of_a_device_none_that_we_know() -> None:
    bank = make_bank()
    content = RecordFile(lambda: None)
    content.reach(10)
    content.lose()
    files = Files({4: File(content, 10)})
    bank.serve(spec.WRITE_FILE_RECORD, files.write)
    bank.recorded = files.before
    write = "15 09 06 0004 0007 0001 06AF"
    line = Told(bank).ask(write)
    assert (line["old"], line["new"], line["outcome"]) == (None, [0x06AF], "done")
    device = Slow()
    told = Told(device)
    told.entry.ask(1, hexed(write))
    device.later.settle(hexed(write))
    assert [(line["file"], line["old"], line["new"]) for line in told.lines] == [(4, None, [0x06AF])]


def test_the_masks_of_function_22_are_told_although_nobody_knows_what_was_there() -> None:
    told = Told(Slow())
    told.entry.ask(1, hexed("16 0004 00FF 1200"))
    told.audit.end()
    (line,) = told.lines
    assert (line["old"], line["new"], line["and_mask"], line["or_mask"]) == (None, None, 0x00FF, 0x1200)


@pytest.mark.parametrize("pdu", ["03 0000 0001", "08 0000 1234", "2B 0E 01 00", "07", "14 07 06 0001 0000 0001"])
def test_what_changes_nothing_is_not_told(pdu: str) -> None:
    told = Told(make_bank())
    told.entry.ask(1, hexed(pdu))
    assert told.records == []


def test_an_old_value_that_is_too_old_or_was_never_there_is_not_told() -> None:
    bank = make_bank()
    (span,) = bank.claim([(Table.HOLDING, 4, 1)])
    told = Told(bank)
    assert told.ask("06 0004 0009")["old"] is None
    bank.unblock(span)
    assert span.stale
    assert told.ask("06 0004 0009")["old"] is None, "on_stale: hold"
    span.stale = False
    assert told.ask("06 0004 0009")["old"] == [0x1234]


def test_what_the_rules_refuse_is_told_with_what_is_there() -> None:
    rights = Rights((Terms(None, None, None, 1),))
    line = Told(Guard(1, make_bank(), rights, Counters())).ask("06 0004 0009")
    assert (line["old"], line["new"], line["outcome"]) == ([0x1234], [9], "refused 01 illegal function")


def test_a_broadcast_is_told_of_each_whom_it_reaches_and_whom_the_rules_keep_it_from() -> None:
    told = Told(make_bank(), {"unit": "1", "may": "write"}, {"may": "read"})
    line_of_two, other = Slow(), make_bank()
    told.units.broadcasts[:] = [((1,), told.bank), ((2,), other), ((1, 3), line_of_two)]
    told.entry.broadcast(hexed("06 0004 0009"))
    told.entry.broadcast(hexed("03 0004 0001"))
    assert [(line["unit"], line["old"], line["outcome"]) for line in told.lines] == [
        (1, [0x1234], "done"),
        (2, [0x1234], "refused 01 illegal function"),
        (0, None, "refused 01 illegal function"),
    ]
    assert told.counters.denied == 2
    assert other.get(Table.HOLDING, 4, 1) == hexed("1234")


def test_what_is_asked_of_the_line_itself_is_told_when_it_is_refused_too() -> None:
    told = Told(make_bank(), {"may": "read"})
    line = Slow()
    assert told.entry.ask_here(line, 1, hexed("08 0004 0000")) == hexed("88 01")
    assert told.entry.ask_here(line, 1, hexed("08 000B 0000")) is line.later
    (told_line,) = told.lines
    assert (told_line["pdu"], told_line["outcome"]) == ("0800040000", "refused 01 illegal function")
    assert told.counters.denied == 1


def test_a_unit_that_is_not_there_is_told() -> None:
    told = Told(make_bank())
    assert told.ask("06 0004 0009", unit=7)["outcome"] == "refused 0A gateway path unavailable"


def test_a_bug_of_ours_is_an_unknown_outcome_and_the_client_gets_04() -> None:
    told = Told(Broken())
    line = told.ask("06 0004 0009")
    assert (line["outcome"], line["why"]) == ("unknown", "a bug in the gateway")


@pytest.mark.parametrize(
    ("answer", "error", "outcome", "why"),
    [
        ("06 0004 0009", None, "done", None),
        ("86 02", None, "refused 02 illegal data address", None),
        ("86 06", None, "refused 06 server busy", None),
        ("86 04", None, "unknown 04 server device failure", None),
        ("86 05", None, "unknown 05 acknowledge", None),
        ("86 0B", OutcomeUnknown("no answer within 1 s"), "unknown 0B {0B}", "no answer within 1 s"),
        ("86 0B", LinkDown("refused"), "refused 0B {0B}", "refused"),
        ("86 0A", LinkBusy("64 writes are waiting"), "refused 0A gateway path unavailable", "64 writes are waiting"),
        ("97 0B", NotRead("written, but the part to read: 0B"), "done", "written, but the part to read: 0B"),
    ],
)
@pytest.mark.parametrize("client", ["waits", "gone"])
def test_what_became_of_a_write_to_a_device(
    answer: str, error: LinkError | None, outcome: str, why: str | None, client: str
) -> None:
    device = Slow()
    told = Told(device)
    delivered: list[bool] = []
    assert told.entry.ask(1, hexed("06 0004 0009")) is device.later
    device.later.then(lambda: delivered.append(True))
    assert told.records == []
    if client == "gone":
        device.later.abandon()
    device.later.error = error
    device.later.settle(hexed(answer))
    (line,) = told.lines
    assert line["outcome"] == outcome.replace("{0B}", spec.EXCEPTION_NAMES[0x0B])
    assert line.get("why") == why
    assert delivered == ([True] if client == "waits" else [])


def test_what_has_no_answer_when_the_gateway_ends_is_told_once() -> None:
    device = Slow()
    told = Told(device)
    told.entry.ask(1, hexed("06 0004 0009"))
    told.audit.end()
    assert [line["outcome"] for line in told.lines] == ["unknown"]
    told.audit.end()
    assert len(told.lines) == 1


# -- the file ----------------------------------------------------------------------------------------------------


def make_journal(path: Path, *, max_size: int = 1_000_000, keep: int = 3) -> Journal[int]:
    return Journal(path, str, lambda count: f"lost {count}", max_size=max_size, keep=keep, name="audit")


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_what_is_appended_is_in_the_file_soon_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    kept = make_journal(path)
    kept.start()
    kept.append(1)
    wait_until(lambda: lines(path) == ["1"], 1.0, "the line")
    kept.append(2)
    wait_until(lambda: lines(path) == ["1", "2"], 1.0, "the next one")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    asyncio.run(kept.close())
    assert kept.snapshot() == {"lines": 2, "waiting": 0, "lost": 0}


def test_the_end_writes_what_waits(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    kept = make_journal(path)
    kept.start()
    for number in range(1000):
        kept.append(number)
    asyncio.run(kept.close())
    assert lines(path) == [str(number) for number in range(1000)]


def test_a_file_that_is_full_is_put_aside_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    kept = make_journal(path, max_size=100, keep=2)
    kept.start()
    for number in range(1000, 1100):
        kept.append(number)
    asyncio.run(kept.close())
    names = sorted(each.name for each in tmp_path.iterdir())
    assert names == ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"]
    inside = [lines(tmp_path / name) for name in reversed(names)]
    left = [line for part in inside for line in part]
    assert left == [str(number) for number in range(1100 - len(left), 1100)]
    assert all((tmp_path / name).stat().st_size <= 105 for name in names), "the limit, and a line more"


def test_fewer_that_are_kept_are_fewer_on_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    for number in range(1, 6):
        path.with_name(f"audit.jsonl.{number}").write_text("old\n")
    path.write_text("x" * 99 + "\n")
    kept = make_journal(path, max_size=100, keep=2)
    kept.start()
    kept.append(7)
    asyncio.run(kept.close())
    assert sorted(each.name for each in tmp_path.iterdir()) == ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"]
    assert lines(path) == ["7"]


def test_without_any_kept_a_full_file_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_text("x" * 99 + "\n")
    kept = make_journal(path, max_size=100, keep=0)
    kept.start()
    kept.append(7)
    asyncio.run(kept.close())
    assert [each.name for each in tmp_path.iterdir()] == ["audit.jsonl"]
    assert lines(path) == ["7"]


def test_half_a_line_of_a_process_that_was_killed_stands_alone(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_text("1\n2\n3 but only ha")
    kept = make_journal(path)
    kept.start()
    kept.append(4)
    asyncio.run(kept.close())
    assert lines(path) == ["1", "2", "3 but only ha", "4"]


def test_a_file_that_somebody_removed_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    kept = make_journal(path)
    kept.start()
    kept.append(1)
    wait_until(lambda: lines(path) == ["1"], 1.0, "the line")
    path.unlink()
    kept.append(2)
    wait_until(lambda: lines(path) == ["2"], 1.0, "the line in a new file")
    asyncio.run(kept.close())


def test_another_name_holds_from_the_next_line_on(tmp_path: Path) -> None:
    kept = make_journal(tmp_path / "one")
    kept.start()
    kept.append(1)
    wait_until(lambda: lines(tmp_path / "one") == ["1"], 1.0, "the line")
    kept.configure(tmp_path / "two", max_size=1000, keep=1)
    kept.append(2)
    asyncio.run(kept.close())
    assert lines(tmp_path / "two") == ["2"]


def in_its_place_a_link(path: Path) -> None:
    (path.parent / "elsewhere").write_text("")
    path.symlink_to(path.parent / "elsewhere")


def in_its_place_a_pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("make", [in_its_place_a_link, in_its_place_a_pipe, Path.mkdir])
def test_what_is_no_file_of_ours_is_not_written_said_once_and_tried_again(
    make: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "RETRY_S", 0.05)
    path = tmp_path / "audit.jsonl"
    make(path)
    kept = make_journal(path)
    kept.start()
    kept.append(1)
    wait_until(lambda: caplog.records, 2.0, "the log")
    kept.append(2)
    path.rmdir() if path.is_dir() else path.unlink()
    wait_until(lambda: lines(path) == ["1", "2"], 2.0, "both lines")
    asyncio.run(kept.close())
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "cannot be written" in said[0]
    assert said[1].endswith("is written again")
    if make is in_its_place_a_link:
        assert (tmp_path / "elsewhere").read_text() == ""


def test_what_there_is_no_room_for_is_lost_oldest_first_and_the_file_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "MAX_WAITING", 10)
    path = tmp_path / "audit.jsonl"
    kept = make_journal(path)
    for number in range(25):
        kept.append(number)
    kept.start()
    asyncio.run(kept.close())
    assert lines(path) == ["lost 15", *map(str, range(15, 25))]
    assert kept.snapshot() == {"lines": 11, "waiting": 0, "lost": 15}


def test_a_bug_in_a_line_costs_that_line_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "audit.jsonl"
    kept: Journal[int] = Journal(
        path, lambda number: str(1 // number), lambda count: f"lost {count}", max_size=1000, keep=1, name="audit"
    )
    kept.start()
    for number in (1, 0, 1, 0):
        kept.append(number)
    asyncio.run(kept.close())
    assert lines(path) == ["1", "lost 1", "1", "lost 1"]
    assert len(caplog.records) == 1


FULL = """
import asyncio, resource, signal, sys, time
from pathlib import Path
from gateway.state import journal
journal.RETRY_S = 0.05
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path(sys.argv[1])
kept = journal.Journal(path, str, lambda count: f"lost {count}", max_size=10**6, keep=1, name="audit")
kept.start()

def wait(condition):
    end_s = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.01)

_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (95, hard))
for number in range(1000, 1030):
    kept.append(number)
wait(lambda: kept._problem)
assert path.stat().st_size % 5 == 0, "whole lines"
kept.append(1030)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
wait(lambda: not kept.snapshot()["waiting"] and not kept._problem)
asyncio.run(kept.close())
"""


def test_a_full_disk_costs_nothing_when_it_has_room_again(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("cannot be written: File too large") == 1
    assert lines(path) == [str(number) for number in range(1000, 1031)]


def test_a_disk_that_stays_full_does_not_hold_up_the_end_which_says_what_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = make_journal(tmp_path / "nowhere" / "audit.jsonl")
    kept.start()
    kept.append(1)
    kept.append(2)
    asyncio.run(kept.close())
    assert "2 lines are lost" in caplog.records[-1].getMessage()
