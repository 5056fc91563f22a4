"""Files of records: what functions 20 and 21 see of them, and what of them is on the disk."""

from __future__ import annotations

import logging
import os
import random
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Refused
from gateway.front.files import File, Files
from gateway.state.records import RecordFile, Records
from tests.support.disk import HandWorker
from tests.support.fake import ManualTime
from tests.support.wire import hexed

NAME = "recipes.dat"


def full() -> OSError:
    return OSError(28, "No space left on device", "/some/file")


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    lines = [(record.levelno, record.getMessage()) for record in caplog.records]
    caplog.clear()
    return lines


class Life:
    """One life of a gateway with the file 4 in `directory`."""

    def __init__(self, directory: Path, records: int = 100, *, restores: bool = True) -> None:
        self.time = ManualTime()
        self.disk = HandWorker()
        self.records = Records(directory, self.time, self.disk)
        self.use(records)
        if restores:
            self.records.restore()

    def use(self, records: int, name: str = NAME) -> None:
        self.content = self.records.use([(name, records)])[name]
        self.files = Files({4: File(self.content, records)})

    def write(self, first: int, *values: int) -> None:
        """A client does."""
        data = struct.pack(f">{len(values)}H", *values)
        part = struct.pack(">BHHH", 6, 4, first, len(values)) + data
        request = bytes((0x15, len(part))) + part
        assert self.files.write(request) == request

    def read(self, first: int, count: int = 1) -> list[int]:
        """A client does."""
        answer = self.files.read(struct.pack(">BBBHHH", 0x14, 7, 6, 4, first, count))
        assert answer[:4] == bytes((0x14, 2 + 2 * count, 1 + 2 * count, 6))
        return list(struct.unpack(f">{count}H", answer[4:]))

    def code_of(self, first: int, count: int = 1) -> int:
        with pytest.raises(Refused) as refused:
            self.read(first, count)
        return refused.value.code

    def settle(self) -> None:
        """Write all that waits."""
        while True:
            self.time.advance(1.0)
            if not self.disk.waiting:
                return
            self.disk.finish()


# -- what is kept ---------------------------------------------------------------------------------------------------


def test_what_was_written_is_there_in_the_next_life(tmp_path: Path) -> None:
    life = Life(tmp_path)
    life.write(7, 0x06AF, 0x04BE)
    life.settle()

    assert Life(tmp_path).read(6, 4) == [0, 0x06AF, 0x04BE, 0]


def test_a_change_is_on_the_disk_at_once_and_the_next_ones_a_second_later(tmp_path: Path) -> None:
    life = Life(tmp_path)
    life.write(0, 1)
    life.time.advance(0.001)
    life.disk.finish()
    life.write(0, 2)
    life.write(1, 3)
    life.time.advance(0.9)
    assert not life.disk.waiting
    life.time.advance(0.1)
    life.disk.finish()

    assert life.disk.submitted == 2
    assert Life(tmp_path).read(0, 2) == [2, 3]


def test_the_same_again_is_not_written(tmp_path: Path) -> None:
    life = Life(tmp_path)
    life.write(0, 1)
    life.settle()
    life.write(0, 1)
    life.settle()

    assert life.disk.submitted == 1


def test_without_a_state_directory_files_are_in_memory_alone(tmp_path: Path) -> None:
    life = Life(tmp_path, restores=False)
    life.write(0, 1)
    life.settle()

    assert life.read(0) == [1]
    assert not life.disk.submitted


def test_a_file_that_gets_shorter_and_longer_again_has_lost_nothing(tmp_path: Path) -> None:
    life = Life(tmp_path)
    life.write(99, 5)
    life.settle()

    life = Life(tmp_path, 10)
    assert life.code_of(10) == 2
    life.write(0, 1)
    life.settle()
    life.use(100)
    assert (life.read(0), life.read(99)) == ([1], [5])
    assert Life(tmp_path, 200).read(99, 2) == [5, 0]


def test_a_file_that_another_number_takes_over_keeps_its_content(tmp_path: Path) -> None:
    life = Life(tmp_path)
    life.write(0, 1)
    life.use(100, "other.dat")
    assert life.read(0) == [0]
    life.write(0, 2)
    life.use(100)

    assert life.read(0) == [1]
    life.settle()
    assert Life(tmp_path).read(0) == [1]


def test_a_file_that_is_new_at_a_reload_is_read_then(tmp_path: Path) -> None:
    life = Life(tmp_path)
    life.write(0, 7)
    life.settle()
    other = Records(tmp_path, ManualTime(), HandWorker())
    other.restore()

    assert other.use([(NAME, 100)])[NAME].read(0, 1) == b"\0\7"


def test_the_file_is_a_line_about_it_and_the_registers_as_on_the_wire(tmp_path: Path) -> None:
    life = Life(tmp_path, 3)
    life.write(1, 0x1234)
    life.settle()

    header, about, rest = (tmp_path / NAME).read_bytes().split(b"\n", 2)
    assert header.startswith(b"gateway snapshot 1 ")
    assert about == b"records 3"
    assert rest == hexed("0000 1234 0000")


# -- what is put beside it to fill it -------------------------------------------------------------------------------


def put(directory: Path, data: bytes) -> Path:
    path = directory / f"{NAME}.import"
    path.write_bytes(data)
    return path


def test_what_lies_beside_a_file_fills_it_and_goes_when_it_is_on_the_disk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    source = put(tmp_path, hexed("0001 0203"))
    life = Life(tmp_path)
    assert life.read(0, 3) == [1, 0x0203, 0]
    assert said(caplog) == [(logging.INFO, f"records of file {NAME}: 2 are taken from {NAME}.import")]
    assert source.exists(), "until there is a snapshot that has it"
    life.settle()
    assert not source.exists()
    assert not said(caplog)
    assert Life(tmp_path).read(0, 3) == [1, 0x0203, 0]


def test_it_goes_over_what_was_there_and_the_rest_stays(tmp_path: Path) -> None:
    life = Life(tmp_path)
    life.write(0, *range(10, 20))
    life.settle()
    put(tmp_path, hexed("0001 0002"))
    life = Life(tmp_path)
    assert life.read(0, 4) == [1, 2, 12, 13]


def test_it_goes_although_the_file_has_that_already(tmp_path: Path) -> None:
    life = Life(tmp_path)
    life.write(0, 1)
    life.settle()
    source = put(tmp_path, hexed("0001"))
    Life(tmp_path).settle()
    assert not source.exists()


def test_what_clients_wrote_since_is_not_gone_over_again(tmp_path: Path) -> None:
    put(tmp_path, hexed("0001 0001"))
    life = Life(tmp_path)
    life.settle()
    life.write(1, 9)
    life.settle()
    assert Life(tmp_path).read(0, 2) == [1, 9]


def test_a_process_that_dies_before_it_is_on_the_disk_leaves_it_to_the_next(tmp_path: Path) -> None:
    source = put(tmp_path, hexed("0007"))
    died = Life(tmp_path)
    died.time.advance(0.001)
    died.disk.waiting.clear()
    assert source.exists()
    life = Life(tmp_path)
    assert life.read(0) == [7]
    life.settle()
    assert not source.exists()


def test_it_stays_on_a_full_disk_until_there_is_room(tmp_path: Path) -> None:
    source = put(tmp_path, hexed("0007"))
    life = Life(tmp_path)
    life.time.advance(0.001)
    life.disk.finish(full())
    assert source.exists()
    assert life.read(0) == [7]
    assert life.records.is_failing
    life.settle()
    assert not source.exists()
    assert not life.records.is_failing


def test_when_it_cannot_be_removed_that_is_tried_again_and_nothing_else_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As on a system where somebody has it open: here a folder stands in its way by the time."""
    source = put(tmp_path, hexed("0007"))
    life = Life(tmp_path)
    kept = life.records._kept[NAME].file
    life.time.advance(0.001)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(kept), "_remove", refuse)
        work, done = life.disk.waiting.pop()
        with pytest.raises(PermissionError) as refused:
            work()
        done(refused.value)
    before = (tmp_path / NAME).stat().st_ino
    assert "Permission denied" in caplog.text
    life.settle()
    assert not source.exists()
    assert (tmp_path / NAME).stat().st_ino == before, "the snapshot was there"
    assert not life.records.is_failing


def refuse(*_: object) -> None:
    raise PermissionError(13, "Permission denied")


def test_one_that_was_changed_since_it_was_taken_is_left_for_the_next_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = put(tmp_path, hexed("0007"))
    life = Life(tmp_path)
    source.write_bytes(hexed("0008 0009"))
    life.settle()
    assert f"{source} has changed since it was taken: the next start takes it again" in caplog.text
    assert life.read(0, 2) == [7, 0]
    assert Life(tmp_path).read(0, 2) == [8, 9]


def test_one_that_somebody_took_away_is_not_missed(tmp_path: Path) -> None:
    source = put(tmp_path, hexed("0007"))
    life = Life(tmp_path)
    source.unlink()
    life.settle()
    assert Life(tmp_path).read(0) == [7]


def test_records_that_were_lost_are_known_when_they_are_filled(tmp_path: Path) -> None:
    two_snapshots(tmp_path)
    damage(tmp_path / NAME)
    damage(tmp_path / f"{NAME}.previous")
    put(tmp_path, hexed("0007 0008"))
    life = Life(tmp_path)
    assert life.read(0, 2) == [7, 8]
    assert life.code_of(2) == 8


@pytest.mark.parametrize(
    ("size", "why"),
    [
        (0, "it has 0 bytes, not two for each of at most 100 records"),
        (3, "it has 3 bytes, not two for each of at most 100 records"),
        (202, "it has 202 bytes, not two for each of at most 100 records"),
    ],
)
def test_one_of_another_size_is_not_taken_and_told_at_each_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, size: int, why: str
) -> None:
    source = put(tmp_path, bytes(size))
    for _ in range(2):
        life = Life(tmp_path)
        life.settle()
        assert said(caplog) == [(logging.ERROR, f"{source} is not taken: {why}")]
        assert not life.disk.submitted
    assert source.exists()


def test_what_is_no_file_is_not_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source, secret = tmp_path / f"{NAME}.import", tmp_path / "secret"
    secret.write_bytes(b"\1\2")
    source.symlink_to(secret)
    assert Life(tmp_path).read(0) == [0]
    assert said(caplog) == [(logging.ERROR, f"{source} is not taken: it is a link")]
    source.unlink()
    os.mkfifo(source)  # nobody writes into it: to open it must not wait
    assert Life(tmp_path).read(0) == [0]
    assert said(caplog) == [(logging.ERROR, f"{source} is not taken: it is no file")]
    source.unlink()
    source.mkdir()
    assert Life(tmp_path).read(0) == [0]
    assert said(caplog) == [(logging.ERROR, f"{source} is not taken: it is no file")]
    assert secret.exists()


def test_a_file_that_is_new_at_a_reload_is_filled_then_and_others_are_not(tmp_path: Path) -> None:
    life = Life(tmp_path)
    other = tmp_path / "other.dat.import"
    other.write_bytes(hexed("0007"))
    source = put(tmp_path, hexed("0008"))
    life.use(100)
    assert life.read(0) == [0]
    life.use(100, "other.dat")
    assert life.read(0) == [7]
    life.settle()
    assert (other.exists(), source.exists()) == (False, True)


def test_without_a_state_directory_nothing_is_taken(tmp_path: Path) -> None:
    source = put(tmp_path, hexed("0007"))
    life = Life(tmp_path, restores=False)
    life.settle()
    assert life.read(0) == [0]
    assert source.exists()


# -- damage ---------------------------------------------------------------------------------------------------------


def two_snapshots(directory: Path) -> None:
    """The current one has 2 in its first record, the one before 1."""
    life = Life(directory)
    for value in (1, 2):
        life.write(0, value)
        life.settle()


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_a_damaged_file_gives_way_to_the_one_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    two_snapshots(tmp_path)
    damage(tmp_path / NAME)

    life = Life(tmp_path)
    assert life.read(0) == [1]
    assert said(caplog) == [
        (
            logging.ERROR,
            f"records of file {NAME}: {NAME} is damaged: its checksum does not fit: the snapshot before it is used",
        )
    ]


def test_records_that_nobody_knows_are_refused_with_08_until_they_are_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    two_snapshots(tmp_path)
    damage(tmp_path / NAME)
    damage(tmp_path / f"{NAME}.previous")

    life = Life(tmp_path)
    ((level, line),) = said(caplog)
    assert level == logging.ERROR
    assert line.startswith(f"records of file {NAME} are lost: {NAME} is damaged: ")
    assert line.endswith("clients that read one get exception 08 until it is written")
    assert life.records.are_lost
    assert life.code_of(0) == 8
    life.write(10, 1, 2, 3)
    assert life.read(10, 3) == [1, 2, 3]
    assert life.code_of(9, 2) == 8
    assert life.code_of(12, 2) == 8
    life.settle()

    caplog.clear()
    life = Life(tmp_path, 120)
    assert not said(caplog), "the file is whole"
    assert life.read(10, 3) == [1, 2, 3]
    assert (life.code_of(9), life.code_of(13), life.code_of(99)) == (8, 8, 8)
    assert life.read(100, 20) == [0] * 20, "those are new"
    for first in range(0, 100, 50):
        life.write(first, *range(50))
    assert not life.records.are_lost
    life.settle()
    assert Life(tmp_path).read(0, 100) == [*range(50), *range(50)]


def test_a_damaged_file_is_left_as_it_is_until_somebody_writes(tmp_path: Path) -> None:
    two_snapshots(tmp_path)
    damage(tmp_path / NAME)
    damage(tmp_path / f"{NAME}.previous")
    before = (tmp_path / NAME).read_bytes()
    Life(tmp_path).settle()

    assert (tmp_path / NAME).read_bytes() == before


@pytest.mark.parametrize(
    "payload",
    [b"", b"records 1\n", b"records 1\n\0", b"records 1\n\0\0\0\0", b"records x\n\0\0", b"\0\0\0\0",
     b"records 1 lost 0..1\n\0\0", b"records 2 lost 1..0\n\0\0\0\0", b"records 1 lost ..\n\0\0",
     b"records 10001\n" + bytes(20002)],
)  # fmt: skip
def test_what_is_no_file_of_records_is_not_understood(payload: bytes) -> None:
    content = RecordFile(lambda: None)
    content.reach(1)

    with pytest.raises(ValueError, match=r"records"):
        content.decode(payload)
    assert content.read(0, 1) == b"\0\0"


@given(records=st.integers(1, 40), writes=st.lists(st.tuples(st.integers(0, 39), st.binary(max_size=40))))
def test_what_was_encoded_is_decoded(records: int, writes: list[tuple[int, bytes]]) -> None:
    content = RecordFile(lambda: None)
    content.reach(records)
    content.lose()
    for first, data in writes:
        data = data[: 2 * max(0, min(len(data) // 2, records - first))]
        content.write(first, data)
    again = RecordFile(lambda: None)
    again.decode(content.encode())

    assert again.encode() == content.encode()
    assert again.is_lost == content.is_lost


# -- a disk that will not -------------------------------------------------------------------------------------------


def test_a_full_disk_is_told_once_and_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    life = Life(tmp_path)
    life.write(0, 1)
    life.time.advance(0.001)
    life.disk.finish(full())
    assert life.records.is_failing
    assert said(caplog) == [
        (
            logging.WARNING,
            f"records of file {NAME} cannot be written to {tmp_path}: No space left on device: they are tried again "
            "every second, until then a restart brings back older values",
        )
    ]
    life.time.advance(1.0)
    life.disk.finish(full())
    assert not said(caplog)
    life.settle()

    assert said(caplog) == [(logging.INFO, "records are written again")]
    assert not life.records.is_failing
    assert Life(tmp_path).read(0) == [1]


# -- any request ----------------------------------------------------------------------------------------------------


def parts(draw: st.DrawFn, *, writes: bool) -> bytes:
    body = b""
    for _ in range(draw(st.integers(0, 4))):
        count = draw(st.integers(0, 8))
        number, first = draw(st.sampled_from([4, 4, 4, 5, 6, 0])), draw(st.integers(0, 24))
        body += struct.pack(">BHHH", draw(st.sampled_from([6] * 9 + [5])), number, first, count)
        if writes:
            body += draw(st.binary(min_size=2 * count, max_size=2 * count))
    return body


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    writes = draw(st.booleans())
    body = draw(st.one_of(st.just(b"") if draw(st.integers(0, 9)) else st.binary(max_size=251)))
    body = body or parts(draw, writes=writes)
    size = len(body) + draw(st.sampled_from([0] * 9 + [1, -1]))
    return bytes((0x15 if writes else 0x14, size & 0xFF)) + body


def by_the_book(request: bytes, files: dict[int, list[int]]) -> bytes:
    """V1.1b3 6.14 and 6.15, one check after the other; file 5 is read only."""
    function, body = request[0], request[2:]
    least, most = (0x07, 0xF5) if function == 0x14 else (0x09, 0xFB)
    refused = {code: bytes((function | 0x80, code)) for code in (2, 3)}
    if request[1] != len(body) or not least <= len(body) <= most:
        return refused[3]
    found, at = [], 0
    while at < len(body):
        if at + 7 > len(body):
            return refused[3]
        reference, number, first, count = struct.unpack(">BHHH", body[at : at + 7])
        at += 7
        values: tuple[int, ...] = ()
        if count == 0:
            return refused[3]
        if function == 0x15:
            if at + 2 * count > len(body):
                return refused[3]
            values = struct.unpack(f">{count}H", body[at : at + 2 * count])
            at += 2 * count
        found.append((reference, number, first, count, values))
    if function == 0x14 and sum(2 + 2 * count for _, _, _, count, _ in found) > 251:
        return refused[3]
    for reference, number, first, count, _ in found:
        if reference != 6 or number not in files or first + count > len(files[number]):
            return refused[2]
        if function == 0x15 and number == 5:
            return refused[2]
    if function == 0x15:
        for _, number, first, count, values in found:
            files[number][first : first + count] = values
        return request
    data = b""
    for _, number, first, count, _ in found:
        data += bytes((1 + 2 * count, 6)) + struct.pack(f">{count}H", *files[number][first : first + count])
    return bytes((0x14, len(data))) + data


def ask(files: Files, request: bytes) -> bytes:
    try:
        return files.read(request) if request[0] == 0x14 else files.write(request)
    except Refused as refused:
        return bytes((request[0] | 0x80, refused.code))


@given(conversation=st.lists(requests(), max_size=12))
def test_any_conversation_goes_as_the_book_prescribes(conversation: list[bytes]) -> None:
    contents = {number: RecordFile(lambda: None) for number in (4, 5)}
    for content in contents.values():
        content.reach(20)
    files = Files({4: File(contents[4], 20), 5: File(contents[5], 20, read_only=True)})
    book = {4: [0] * 20, 5: [0] * 20}

    for request in conversation:
        answer = ask(files, request)
        assert answer.hex(" ") == by_the_book(request, book).hex(" "), request.hex(" ")
        assert len(answer) <= 253


@given(data=st.binary(max_size=252), function=st.sampled_from([0x14, 0x15]))
def test_any_bytes_are_answered_or_refused(data: bytes, function: int) -> None:
    content = RecordFile(lambda: None)
    content.reach(10_000)

    assert len(ask(Files({6: File(content, 10_000)}), bytes((function,)) + data)) <= 253


def test_a_write_with_one_bad_part_has_changed_nothing() -> None:
    content = RecordFile(lambda: None)
    content.reach(10)
    files = Files({4: File(content, 10)})
    chance = random.Random(4)
    good = hexed("06 0004 0000 0001") + chance.randbytes(2)
    for bad in ("05 0004 0001 0001 FFFF", "06 0004 000A 0001 FFFF", "06 0005 0001 0001 FFFF"):
        body = good + hexed(bad)
        assert ask(files, bytes((0x15, len(body))) + body) == hexed("95 02")

    assert content.read(0, 10) == bytes(20)
