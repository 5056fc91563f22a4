"""Where the control socket lies, and a name for it that the system's short socket addresses can hold.

A socket's address has room for about a hundred bytes; a state directory may lie deeper. On Linux the directory is
opened and named through `/proc/self/fd`, however long its path is; elsewhere a long path is an error that says so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.errors import GatewayError

SOCKET_NAME = "control.sock"
"""In the state directory."""
MAX_ADDRESS_BYTES = 103
"""What every system takes: sun_path has 104 bytes on macOS and the BSDs, 108 on Linux, with a NUL at the end."""
_DESCRIPTORS = Path("/proc/self/fd")


class ControlError(GatewayError):
    """The control socket cannot be opened, or a running gateway not be asked; the text says what to do."""


@contextmanager
def address_of(path: Path) -> Iterator[str]:
    """A name for `path` to bind or connect to, valid inside the block.

    Raises ControlError when the path is too long here, OSError when its directory cannot be opened.
    """
    name = str(path)
    if len(os.fsencode(name)) <= MAX_ADDRESS_BYTES:
        yield name
        return
    if not _DESCRIPTORS.is_dir():
        raise ControlError(
            f"{name}: the path is longer than the {MAX_ADDRESS_BYTES} bytes that this system allows a socket; "
            "choose a shorter `state_dir`"
        )
    descriptor = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"{_DESCRIPTORS}/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)
