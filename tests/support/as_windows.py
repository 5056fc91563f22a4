"""The command in a process that lacks what Windows lacks: `python -m tests.support.as_windows --config ...`.

It shows that nothing of POSIX is needed where it is not asked for; that Windows has everything else it cannot show.
Libraries are loaded before: what they do on Windows is theirs.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import types

ABSENT = ("fcntl", "grp", "pty", "pwd", "resource", "termios", "tty", "uvloop")
OS_ABSENT = ("O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_PATH", "fchmod", "fork", "geteuid", "getuid",
             "sysconf")  # fmt: skip
LIBRARIES = ("pydantic.main", "rich.console", "rich.progress", "rich.table", "starlette.applications", "subprocess",
             "typer", "uvicorn.protocols.http.h11_impl", "yaml", "zoneinfo")  # fmt: skip


def _refuse(*_: object, **__: object) -> None:
    raise NotImplementedError


def main() -> None:
    for library in LIBRARIES:
        __import__(library)
    asyncio.SelectorEventLoop.add_signal_handler = _refuse  # type: ignore[method-assign,assignment]
    for name in ABSENT:
        sys.modules[name] = None  # type: ignore[assignment]
    msvcrt = types.ModuleType("msvcrt")
    msvcrt.locking = lambda *_: None  # type: ignore[attr-defined]
    msvcrt.LK_NBLCK = 2  # type: ignore[attr-defined]
    sys.modules["msvcrt"] = msvcrt
    for module, names in ((os, OS_ABSENT), (socket, ("AF_UNIX",)), (signal, ("SIGHUP", "SIGUSR1", "SIGUSR2"))):
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    sys.platform = "win32"
    pair, family = socket.socketpair, 1  # the loop's own; Windows has it over TCP
    socket.socketpair = lambda *_: pair(family)  # type: ignore[assignment]

    from gateway import cli

    cli.main()


if __name__ == "__main__":
    main()
