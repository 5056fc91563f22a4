"""A file that grows line by line and is put aside when it is big: the audit's.

The rule: whoever appends never waits. A record is put into a bounded buffer as it is; made into text and written it is
by a thread of this file, so that a disk that is slow, full or hanging holds up nobody. What the buffer has no room for
is lost, the oldest first, and the file itself says how many lines are missing, at the place where they are.

A line that was written is on the disk when the system thinks so (no fsync for each): a power cut may cost the last
seconds, a killed process GATHER_S at most. After either the file is whole lines again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import stat
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from gateway.state.snapshots import NO_LINKS

log = logging.getLogger(__name__)

Record = TypeVar("Record")

MAX_WAITING = 16_384
"""Records that are not written yet, some 7 MB: a disk that hangs for an hour at four writes a second. A flood that goes
on beyond what the thread can write fills any size."""
GATHER_S = 0.2
"""From the first record that waits to its writing; what comes meanwhile leaves with it."""
SLICE = 48
"""Lines that are made into text before others may have the interpreter, a third of a millisecond: so much later, at
most, a client is answered. Counted, not timed: on a busy machine a time would be over before a line is made."""
SLICE_SIZE = 12 * 1024
"""As many characters, and one line more: a line of 1968 coils takes as long as forty others."""
REST_S = 0.0015
"""The pause after it: a flood of records has a fifth of the interpreter, and no more. A loop that has no pause of its
own gives the interpreter away 5 ms after it was asked (sys.getswitchinterval), after every pause and every call of the
system here: hence few of these, and, of a flood that comes in large pieces, few lines."""
BATCH_SIZE = 64 * 1024
"""Characters of one write, and a slice more."""
HANGS_S = 10.0
"""A disk that takes longer for one write is told as a trouble."""
RETRY_S = 1.0
"""After the disk has refused."""
CLOSE_S = 1.0
"""How long the end waits for the last lines."""

_OPEN = os.O_RDWR | os.O_APPEND | os.O_CREAT | NO_LINKS | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""Not blocking: a pipe in its place must not hold up the thread; it is refused."""
_OWNER_ONLY = 0o600


class Journal(Generic[Record]):
    """Records of one kind, one line each. `append` is for one thread, the loop's."""

    def __init__(
        self,
        path: Path,
        line: Callable[[Record], str],
        lost_line: Callable[[int], str],
        *,
        max_size: int,
        keep: int,
        name: str,
    ) -> None:
        """`line(record)`: its text, without the line's end; `lost_line(count)`: what stands where lines are missing.

        The file that has grown to `max_size` becomes `.1`, that `.2`, up to `keep`. `name`: what it is, for the log.
        """
        self._line = line
        self._lost_line = lost_line
        self._name = name
        self.path, self._max_size, self._keep = path, max_size, keep
        self.lines = 0
        """Written since the start."""
        self.lost = 0
        """Records that there was no room for."""
        self._told = 0
        """How many of those the file tells of."""
        self._waiting: deque[Record] = deque()
        self._is_awake = False
        """The thread will look before long."""
        self._wake = threading.Event()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        # From here on the thread's own.
        self._batch: list[str] = []
        """Made into text, not written."""
        self._file = -1
        self._open_path = path
        self._size = 0
        self._problem = ""
        self._writing_s: float | None = None
        """Since when the disk is asked to take something."""
        self._faults = 0

    def configure(self, path: Path, *, max_size: int, keep: int) -> None:
        """From now on these hold."""
        self.path, self._max_size, self._keep = path, max_size, keep

    def start(self) -> None:
        """From now on what is appended is written; nothing if it is already."""
        if self._thread is not None:
            return
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def append(self, record: Record) -> None:
        """One more, soon written; or, when too many wait, in place of the oldest of them."""
        waiting = self._waiting
        if len(waiting) >= MAX_WAITING:
            with contextlib.suppress(IndexError):  # the thread has taken them all just now
                waiting.popleft()
                self.lost += 1
        waiting.append(record)
        if not self._is_awake:
            self._is_awake = True
            self._wake.set()

    async def close(self) -> None:
        """Write what waits, for CLOSE_S at most."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._ending.set()
        self._wake.set()
        await asyncio.to_thread(thread.join, CLOSE_S)
        left = len(self._waiting) + len(self._batch)
        if left:
            log.error("%s: %d lines are lost: %s", self._name, left, self._problem or "the disk hangs")

    @property
    def trouble(self) -> str:
        """Why what waits is not on the disk; empty: nothing is wrong."""
        since_s, waiting = self._writing_s, len(self._waiting) + len(self._batch)
        problem = self._problem
        if not problem and since_s is not None and (hangs_s := time.monotonic() - since_s) >= HANGS_S:
            problem = f"the disk has not answered for {hangs_s:.0f} s"
        counts = f"lines that wait in memory: {waiting}, lost: {self.lost}"
        return f"{self._name}: {problem} ({counts})" if problem else ""

    def snapshot(self) -> dict[str, int]:
        return {"lines": self.lines, "waiting": len(self._waiting), "lost": self.lost}

    # -- the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._ending.is_set():
            if not self._problem:
                self._wake.wait()
                self._wake.clear()
            self._ending.wait(RETRY_S if self._problem else GATHER_S)
            self._is_awake = False  # before it looks: what comes from now on wakes it again
            self._write_all()
        self._write_all()  # what came while it did that
        self._close()

    def _write_all(self) -> None:
        """Until nothing waits, or the disk refuses."""
        while self._batch or self._waiting:
            self._make_batch()
            self._writing_s = time.monotonic()
            try:
                self._write("".join(self._batch).encode("utf-8", "backslashreplace"))
            except OSError as error:
                problem = f"{self._open_path} cannot be written: {error.strerror or error}"
                if problem != self._problem:
                    self._problem = problem
                    log.error("%s: %s. Lines wait, the oldest are dropped when there are too many", self._name, problem)
                return
            finally:
                self._writing_s = None
            self.lines += len(self._batch)
            self._batch = []
            if self._problem:
                self._problem = ""
                log.warning("%s: %s is written again", self._name, self._open_path)

    def _make_batch(self) -> None:
        """Text for one write, in slices; what a write before it has left is written first."""
        size, most = sum(map(len, self._batch)), min(BATCH_SIZE, self._max_size)
        while self._waiting and size < most:
            if size:
                self._ending.wait(REST_S)
            size += self._make_slice(min(SLICE_SIZE, most - size))

    def _make_slice(self, most: int) -> int:
        """Text of a few records; how many characters."""
        batch, waiting = self._batch, self._waiting
        size = 0
        for _ in range(SLICE):
            if not waiting or size >= most:
                break
            try:
                record = waiting.popleft()
            except IndexError:  # it had to make room just now
                break
            if self.lost > self._told:
                lost, self._told = self.lost - self._told, self.lost
                batch.append(self._lost_line(lost) + "\n")
            try:
                text = self._line(record) + "\n"
            except Exception:
                self._faults += 1
                if self._faults == 1:
                    log.exception("%s: bug in the gateway with a line", self._name)
                text = self._lost_line(1) + "\n"
            batch.append(text)
            size += len(text)
        return size

    def _write(self, data: bytes) -> None:
        """Append whole lines, all or none. OSError: none."""
        if self._file >= 0 and (self._open_path != self.path or not os.fstat(self._file).st_nlink):
            self._close()  # another name, or somebody has removed it
        if self._file < 0:
            self._open()
        if self._size and self._size + len(data) > self._max_size:
            self._put_aside()
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            if len(rest) < len(data):
                with contextlib.suppress(OSError):  # what is left of a line is mended when the file is opened
                    os.ftruncate(self._file, self._size)
            self._close()
            raise
        self._size += len(data)

    def _open(self) -> None:
        self._open_path = self.path
        file = os.open(self._open_path, _OPEN, _OWNER_ONLY)
        try:
            about = os.fstat(file)
            if not stat.S_ISREG(about.st_mode):
                raise OSError(f"{self._open_path.name} is not a file")
            self._size = about.st_size
            if (
                self._size and _last_byte(file, self._size) != b"\n"
            ):  # a process that was killed in the middle of a line
                self._size += os.write(file, b"\n")
        except OSError:
            os.close(file)
            raise
        self._file = file

    def _close(self) -> None:
        if self._file < 0:
            return
        file, self._file = self._file, -1
        with contextlib.suppress(OSError):
            os.fsync(file)
        with contextlib.suppress(OSError):
            os.close(file)

    def _put_aside(self) -> None:
        """The file becomes `.1`, what has that name `.2` and so on. When that cannot be done, it goes on growing."""
        self._close()
        try:
            number = self._keep + 1
            while self._aside(number).exists():  # more were kept once
                self._aside(number).unlink()
                number += 1
            last = 1
            while last < self._keep and self._aside(last).exists():
                last += 1
            for number in range(last, 1, -1):
                os.replace(self._aside(number - 1), self._aside(number))
            if self._keep:
                os.replace(self._open_path, self._aside(1))
            else:
                self._open_path.unlink()
        except OSError as error:
            self._faults += 1
            if self._faults == 1:
                log.error("%s: %s cannot be put aside: %s", self._name, self._open_path, error.strerror or error)
        self._open()

    def _aside(self, number: int) -> Path:
        return self._open_path.with_name(f"{self._open_path.name}.{number}")


def _last_byte(file: int, size: int) -> bytes:
    os.lseek(file, size - 1, os.SEEK_SET)
    return os.read(file, 1)
