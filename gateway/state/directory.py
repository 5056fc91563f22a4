"""The state directory: made, checked, and locked against a second gateway, before anything is kept in it.

The lock is the system's own, on a file that stays: it ends with the process however that ends, so there is nothing to
tidy up after kill -9. The process id in the file is for messages only.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import sys
from pathlib import Path

from gateway.errors import GatewayError
from gateway.state.snapshots import NO_LINKS, sync_directory

log = logging.getLogger(__name__)

LOCK_NAME = "lock"
_OWNER_ONLY_DIRECTORY = 0o700
_OWNER_ONLY_FILE = 0o600
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG)
_LOCKED = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
"""What the systems say of a lock that somebody else holds: flock the first, msvcrt.locking the others."""


class StateError(GatewayError):
    """The state directory cannot be used; the text says why and what to do about it."""


class StateInUse(StateError):
    """Another gateway has it."""


class StateDirectory:
    """One gateway's own directory, from `open` to `close`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    def open(self) -> None:
        """Make it (0700, parents too) and lock it. StateError when that cannot be done, or another gateway has it.

        A disk that has filled up since it was made is no reason to refuse: what was kept can be read.
        """
        self._make()
        self._warn_of_others()
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise StateError(_unusable(self.path, "it may not be written"))
        self._take_lock()

    def close(self) -> None:
        """Give it back. The file of the lock stays: who removes it may remove the one that the next has just taken."""
        if self._lock is None:
            return
        lock, self._lock = self._lock, None
        os.close(lock)

    def _make(self) -> None:
        try:
            missing = [path for path in (self.path, *self.path.parents) if not path.exists()]
            self.path.mkdir(_OWNER_ONLY_DIRECTORY, parents=True, exist_ok=True)
            for made in missing:  # a name lasts when the directory that it stands in is on the disk
                sync_directory(made.parent)
        except (FileExistsError, NotADirectoryError) as error:
            raise StateError(
                f"state_dir {self.path}: there is a file in its place: move it away or name another `state_dir`"
            ) from error
        except OSError as error:
            raise StateError(_unusable(self.path, f"it cannot be made: {error.strerror or error}")) from error

    def _warn_of_others(self) -> None:
        """Told, not mended: a directory that was there before may be shared on purpose, or be /tmp.

        Our files in it are the owner's alone in any case, but who may write the directory can replace them.
        """
        if os.name == "nt":  # rights lie in access lists there, the mode says nothing
            return
        mode = stat.S_IMODE(self.path.stat().st_mode)
        if mode & _OTHERS_MAY_WRITE:
            log.warning(
                "state_dir %s may be written by other users (mode %04o), who could replace what the gateway keeps: "
                "run `chmod go-w` on it, or give the gateway a directory of its own",
                self.path,
                mode,
            )

    def _take_lock(self) -> None:
        path = self.path / LOCK_NAME
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | NO_LINKS, _OWNER_ONLY_FILE)
        except OSError as error:
            reason = f"its file {LOCK_NAME} cannot be opened: {error.strerror or error}"
            raise StateError(_unusable(self.path, reason)) from error
        try:
            _lock(lock)
        except OSError as error:
            holder = _read_pid(lock)
            os.close(lock)
            if error.errno in _LOCKED:
                raise StateInUse(
                    f"state_dir {self.path} is in use by another gateway{holder}: stop that one, or name another "
                    "`state_dir` for this one"
                ) from error
            reason = f"it cannot be locked: {error.strerror or error}"
            raise StateError(_unusable(self.path, reason)) from error
        self._lock = lock
        try:
            os.ftruncate(lock, 0)
            os.write(lock, b"%d\n" % os.getpid())
        except OSError as error:
            if error.errno not in _FULL:
                self.close()
                raise StateError(_unusable(self.path, f"it cannot be written: {error.strerror or error}")) from error
            log.warning("state_dir %s: %s: nothing can be kept there now", self.path, error.strerror)


def _unusable(path: Path, reason: str) -> str:
    who = f"uid {os.geteuid()}" if hasattr(os, "geteuid") else "the user that the gateway runs as"
    return f"state_dir {path}: {reason}. Name a `state_dir` on a local disk that {who} may write"


def _read_pid(lock: int) -> str:
    """` (process 4711)`; empty if it has not said yet."""
    try:
        os.lseek(lock, 0, os.SEEK_SET)
        text = os.read(lock, 32).decode("ascii", "replace").strip()
    except OSError:
        return ""
    return f" (process {text})" if text.isdigit() else ""


if sys.platform == "win32":
    import msvcrt

    _FAR = 1 << 30
    """The locked byte cannot be read by others there, so it is not one of the process id's."""

    def _lock(file: int) -> None:
        os.lseek(file, _FAR, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        os.lseek(file, 0, os.SEEK_SET)

else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
