"""Files of records (functions 20 and 21): whole in memory, kept in the state directory as snapshots.

A file is at most 20 KB, so it is read once, at the start, and clients never wait for the disk; what they write is
there within about a second (`keeper`). When neither of its two snapshots is whole, what it held is unknown, and zeros
would be a lie: records are *lost* until somebody writes them, and who reads a lost one gets 08, memory parity error,
which V1.1b3 6.14 has for just this. That survives a restart, too.

The payload is a line of text, `records 1000` or `records 1000 lost 0..99,120..999`, then the registers in wire order.
A file is known by its name alone: one that another unit, or another number, takes over at a reload keeps its content.

What clients may not write comes from a file beside it, NAME.import: registers in wire order, from record 0 on. It is
taken when NAME is read, at the start or when a reload names it first, and removed by the first snapshot that has it, so
that whatever happens in between it is taken again, and never once more over what was written since.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
from collections.abc import Callable, Collection
from pathlib import Path

from gateway.errors import Refused
from gateway.interfaces import Scheduler
from gateway.modbus import spec
from gateway.state.keeper import CLOSE_S, Keeper, Words
from gateway.state.snapshots import NO_LINKS, SnapshotFile, sync_directory
from gateway.state.worker import Worker

log = logging.getLogger(__name__)

IMPORT = ".import"
"""Behind the name of a file: what it is to be filled with. A name of its own, so that a damaged snapshot can never be
taken for somebody's registers."""
_SOURCE = os.O_RDONLY | NO_LINKS | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""Opening a pipe must not wait for whoever fills it."""
_WORDS = Words("records", "file")
_HEAD = re.compile(rb"records (\d{1,5})(?: lost ([0-9.,]+))?\n")
_RANGE = re.compile(rb"(\d{1,5})\.\.(\d{1,5})")


class RecordFile:
    """The content of one file. It never gets shorter: how much of it clients see is for whoever serves it."""

    __slots__ = ("_changed", "_data", "_lost")

    def __init__(self, changed: Callable[[], None]) -> None:
        """`changed()` is called after each write."""
        self._changed = changed
        self._data = bytearray()
        self._lost = bytearray()
        """A byte per record, 1: nobody knows what it holds. Empty: nothing is lost."""

    def reach(self, records: int) -> None:
        """Let there be at least so many; new ones are 0."""
        self._data = self._data.ljust(2 * records, b"\0")
        if self._lost:
            self._lost = self._lost.ljust(records, b"\0")

    def read(self, first: int, count: int) -> bytes:
        """Registers in wire order; all must be there. Refused(08) when one of them is lost."""
        if self._lost and 1 in self._lost[first : first + count]:
            raise Refused(spec.MEMORY_PARITY_ERROR)
        return bytes(self._data[2 * first : 2 * (first + count)])

    def write(self, first: int, data: bytes) -> None:
        """Place registers in wire order; all must be there."""
        self._data[2 * first : 2 * first + len(data)] = data
        if self._lost:
            count = len(data) // 2
            self._lost[first : first + count] = bytes(count)
            if 1 not in self._lost:
                self._lost.clear()
        self._changed()

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self._data)

    @property
    def is_lost(self) -> bool:
        """Some of it is."""
        return bool(self._lost)

    def lose(self) -> None:
        """Nobody knows what any of it holds."""
        self._lost = bytearray(b"\1") * (len(self._data) // 2)

    def encode(self) -> bytes:
        """The payload of its snapshot."""
        head = b"records %d" % (len(self._data) // 2)
        if self._lost:
            ranges = (b"%d..%d" % (match.start(), match.end() - 1) for match in re.finditer(b"\1+", self._lost))
            head += b" lost " + b",".join(ranges)
        return head + b"\n" + self._data

    def decode(self, payload: bytes) -> None:
        """Take what `encode` made, at least as many records as there are. ValueError: it is something else."""
        head = _HEAD.match(payload)
        data = payload[head.end() :] if head is not None else b""
        if head is None or len(data) != 2 * int(head[1]) or len(data) > 2 * spec.MAX_RECORDS:
            raise ValueError("there are no records in it")
        lost = bytearray()
        if head[2] is not None:
            lost = bytearray(len(data) // 2)
            for text in head[2].split(b","):
                ends = _RANGE.fullmatch(text)
                if ends is None or not int(ends[1]) <= int(ends[2]) < len(lost):
                    raise ValueError(f"{text.decode()} is no range of its records")
                count = int(ends[2]) - int(ends[1]) + 1
                lost[int(ends[1]) : int(ends[2]) + 1] = b"\1" * count
        records = len(self._data) // 2
        self._data, self._lost = bytearray(data), lost
        self.reach(records)


_Version = tuple[int, int, int, int]
"""Another one when it is another file, or has other content."""


class _Snapshots(SnapshotFile):
    """Those of one file, and what somebody has put beside them to fill it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.source = path.with_name(path.name + IMPORT)
        self._taken: _Version | None = None
        """What was taken and is still there."""
        self._has_it: bytes | None = None
        """The snapshot that has it, when only its source is left to be removed."""

    def take(self, most: int) -> bytes | None:
        """What is there to fill the file with, at most so many bytes; None: nothing. OSError, ValueError: it is not
        usable. The next `write` must be of a snapshot that has it."""
        try:
            file = os.open(self.source, _SOURCE)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise ValueError("it is a link") from None
            raise
        try:
            about = os.fstat(file)
            if not stat.S_ISREG(about.st_mode):
                raise ValueError("it is no file")
            if not 0 < about.st_size <= most or about.st_size % 2:
                raise ValueError(f"it has {about.st_size} bytes, not two for each of at most {most // 2} records")
            with open(file, "rb", closefd=False) as source:
                data = source.read(most + 1)
        finally:
            os.close(file)
        if len(data) != about.st_size:
            raise ValueError("somebody is writing it")
        self._taken = _version(about)
        return data

    def write(self, data: bytes) -> None:
        """As SnapshotFile's; what was taken is removed then, OSError if it cannot be."""
        if self._has_it != data:
            super().write(data)
        if self._taken is not None:
            self._has_it = data
            self._remove(self._taken)
            self._taken = self._has_it = None

    def _remove(self, taken: _Version) -> None:
        try:
            now = _version(os.lstat(self.source))
        except FileNotFoundError:
            return
        if now != taken:
            log.warning("%s has changed since it was taken: the next start takes it again", self.source)
            return
        self.source.unlink()
        sync_directory(self.source.parent)  # else it may be there again after a power cut


def _version(about: os.stat_result) -> _Version:
    return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns


class _Kept:
    """One file in memory and the one on the disk."""

    __slots__ = ("content", "file", "saved")

    def __init__(self, file: _Snapshots, content: RecordFile) -> None:
        self.file = file
        self.content = content
        self.saved: bytes | None = None

    def take(self) -> bytes:
        return self.content.encode()


class Records:
    """All files of records, by name. Lives in one loop, until `close`."""

    def __init__(self, directory: Path, scheduler: Scheduler, worker: Worker | None = None) -> None:
        """Opens nothing: until `restore` the files are in memory alone. `directory` must be ours (StateDirectory)."""
        self._keeper = Keeper[str](directory, scheduler, _WORDS, worker)
        self._kept: dict[str, _Kept] = {}
        self._used: dict[str, RecordFile] = {}
        self._is_kept = False
        """There is a directory to keep them in."""

    def use(self, wanted: Collection[tuple[str, int]]) -> dict[str, RecordFile]:
        """From now on there are these files, of at least so many records each; by name. What the others hold stays."""
        used: dict[str, RecordFile] = {}
        for name, records in wanted:
            content = self._used.get(name)
            if content is None:
                content = self._open(name, records)
            content.reach(records)
            used[name] = content
        self._used = used
        return dict(used)

    def restore(self) -> None:
        """Read what is there, and keep it from now on: the state directory is open. Damage is an error in the log."""
        self._is_kept = True
        for name in self._used:
            self._read(self._kept[name])
            self._fill(self._kept[name])

    def _open(self, name: str, records: int) -> RecordFile:
        kept = self._kept.get(name)
        if kept is not None:  # it was used before: what it held then may not be on the disk yet
            return kept.content
        content = RecordFile(lambda: self._changed(name))
        content.reach(records)
        kept = _Kept(_Snapshots(self._keeper.directory / name), content)
        self._kept[name] = self._keeper.kept[name] = kept
        if self._is_kept:
            self._read(kept)
            self._fill(kept)
        return content

    def _read(self, kept: _Kept) -> None:
        payload, problems = kept.file.read()
        name = kept.file.path.name
        if payload is not None:
            try:
                kept.content.decode(payload)
            except ValueError as error:
                problems.append(f"{name} is not understood: {error}")
                payload = None
        if payload is None and not problems:
            return  # it is new
        if payload is None:
            kept.content.lose()
            log.error(
                "records of file %s are lost: %s: clients that read one get exception 08 until it is written",
                name,
                "; ".join(problems),
            )
        elif problems:
            log.error("records of file %s: %s: the snapshot before it is used", name, "; ".join(problems))
            self._keeper.renew(name)  # one whole file is left: let there be two again, with the next round
        else:
            kept.saved = payload

    def _fill(self, kept: _Kept) -> None:
        """Take what somebody has put beside the file."""
        source = kept.file.source
        try:
            data = kept.file.take(kept.content.size)
        except (OSError, ValueError) as error:
            reason = error.strerror or error if isinstance(error, OSError) else error
            log.error("%s is not taken: %s", source, reason)
            return
        if data is None:
            return
        kept.saved = None  # though it be the same: with the snapshot goes what was taken
        kept.content.write(0, data)
        log.info("records of file %s: %d are taken from %s", kept.file.path.name, len(data) // 2, source.name)

    @property
    def are_lost(self) -> bool:
        """Records of some file are."""
        return any(content.is_lost for content in self._used.values())

    def _changed(self, name: str) -> None:
        if self._is_kept:
            self._keeper.changed(name)

    @property
    def is_failing(self) -> bool:
        """Something could not be written, and was not since."""
        return self._keeper.is_failing

    @property
    def trouble(self) -> str:
        """As Keeper's."""
        return self._keeper.trouble

    async def close(self, deadline_s: float = CLOSE_S) -> None:
        """As Keeper's."""
        await self._keeper.close(deadline_s)
