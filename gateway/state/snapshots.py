"""One value in a file that is whole at every moment: old or new, never half of either.

Written beside (`.new`), on the disk before it gets the name; the one before is kept as `.previous`. A header of text
carries format, SHA-256 and length, and a file is whole only if it is, byte for byte, what `write` makes of its payload:
any bit that flips and any byte that is missing is seen. Blocking: for the room's thread, and for reading at the start.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from pathlib import Path

MAGIC = b"gateway snapshot"
FORMAT = 1
NO_LINKS = getattr(os, "O_NOFOLLOW", 0)
"""Nobody sends us elsewhere by a link under a name of ours."""
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINKS | getattr(os, "O_BINARY", 0)
_OWNER_ONLY = 0o600
_NOT_FOR_DIRECTORIES = (errno.EINVAL, errno.EBADF, errno.EOPNOTSUPP)
"""Some file systems, mostly of the network, know no fsync of a directory."""
_HEADER_SIZE = len(MAGIC) + 100
"""More than any header has: format, 64 digits, length."""


class SnapshotFile:
    """The snapshots under one name. Not for two writers at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.previous = path.with_name(path.name + ".previous")
        self._new = path.with_name(path.name + ".new")
        self._is_whole: bool | None = None
        """Whether what has the name now is worth keeping as the previous one; None: nobody has looked."""

    def write(self, data: bytes) -> None:
        """Replace the current snapshot; on the disk when this returns. OSError: the one before still counts."""
        if self._is_whole is None:
            self._is_whole = _load(self.path)[0] is not None
        with contextlib.suppress(FileNotFoundError):
            self._new.unlink()
        try:
            _write_out(self._new, _header(data) + data)
        except OSError:
            with contextlib.suppress(OSError):  # a part of it is of no use, and on a full disk in the way
                self._new.unlink()
            raise
        self._put_in_place()

    def read(self) -> tuple[bytes | None, list[str]]:
        """The newest whole snapshot, None if there is none; and what is wrong with each newer one, with its file name.

        Finishes a `write` that was cut short when its file was complete.
        """
        unfinished, _ = _load(self._new)  # damaged is what it looks like when a write was cut short: no problem
        data, problem = _load(self.path)
        self._is_whole = data is not None
        if unfinished is not None:
            with contextlib.suppress(OSError):  # a disk that cannot be written now: it counts all the same
                self._put_in_place()
            return unfinished, []
        problems = [problem] if problem else []
        if data is None:
            data, problem = _load(self.previous)
            problems += [problem] if problem else []
        return data, problems

    def _put_in_place(self) -> None:
        """`.new` gets the name. Between the two steps it is the previous one that is whole under its name."""
        if self._is_whole:
            os.replace(self.path, self.previous)
            self._is_whole = False  # until the next line has succeeded there is nothing
        os.replace(self._new, self.path)
        self._is_whole = True
        sync_directory(self.path.parent)


def sync_directory(path: Path) -> None:
    """Names in `path` that were made or changed are on the disk when this returns (Windows does that by itself)."""
    if os.name == "nt":
        return
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    except OSError as error:
        if error.errno not in _NOT_FOR_DIRECTORIES:
            raise
    finally:
        os.close(directory)


def _write_out(path: Path, data: bytes) -> None:
    """Make the file `path` with `data`, on the disk when this returns."""
    file = os.open(path, _NEW_FILE, _OWNER_ONLY)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(file, rest) :]
        os.fsync(file)
    finally:
        os.close(file)


def _header(payload: bytes) -> bytes:
    return b"%s %d %s %d\n" % (MAGIC, FORMAT, hashlib.sha256(payload).hexdigest().encode(), len(payload))


def _load(path: Path) -> tuple[bytes | None, str]:
    """The payload of a whole file; None and what is wrong with it, nothing when it is not there."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None, ""
    except OSError as error:
        return None, f"{path.name} cannot be read: {error.strerror or error}"
    end = data.find(b"\n", 0, _HEADER_SIZE) + 1
    payload = data[end:]
    if data[:end] == _header(payload):
        return payload, ""
    return None, f"{path.name} is damaged: {_damage(data[:end], payload)}"


def _damage(header: bytes, payload: bytes) -> str:
    """What a person may want to know about it."""
    fields = header.removeprefix(MAGIC).split()
    if not header.startswith(MAGIC) or len(fields) != 3:
        return "it has no header of a snapshot"
    if fields[0] != b"%d" % FORMAT:
        return f"its format is {fields[0].decode('ascii', 'replace')}, this gateway knows {FORMAT}"
    if fields[2].isdigit() and int(fields[2]) > len(payload):
        return f"{len(payload)} bytes are left of {int(fields[2])}"
    return "its checksum does not fit"
