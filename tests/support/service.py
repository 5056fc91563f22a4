"""A service manager in small: a socket that hears what a service says, and listening sockets that outlive it.

What systemd does, without systemd: tests run where there is none. `systemd-socket-activate` is tried beside it.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support import process
from tests.support.process import Running

HEAR_S = 10.0
"""A loaded machine starts a gateway in seconds."""

_HAND_OVER = """
import fcntl, os, sys
numbers, command = [int(number) for number in sys.argv[1].split(",") if number], sys.argv[2:]
safe = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 100) for number in numbers]
for place, number in enumerate(safe, 3):
    os.dup2(number, place, inheritable=True)
os.environ["LISTEN_PID"] = os.environ["WATCHDOG_PID"] = str(os.getpid())
os.execv(command[0], command)
"""
"""Numbers of descriptors, and the command that finds them from number 3 on."""


class Ear:
    """Hears what a service says (sd_notify), on a socket without a path that could be too long."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("")  # the system chooses a name
        self.name = "@" + self._socket.getsockname()[1:].decode()
        self.heard: list[dict[str, str]] = []

    def hear(self, deadline_s: float = HEAR_S) -> dict[str, str]:
        """The next message; TimeoutError."""
        self._socket.settimeout(deadline_s)
        lines = self._socket.recv(4096).decode().splitlines()
        self.heard.append(dict(line.split("=", 1) for line in lines))
        return self.heard[-1]

    def hear_until(self, key: str, value: str = "", deadline_s: float = HEAR_S) -> dict[str, str]:
        """The next message that has `key`, and `value` in it."""
        while True:
            message = self.hear(deadline_s)
            if key in message and value in message[key]:
                return message

    def forget(self) -> None:
        """What has come until now."""
        self._socket.setblocking(False)
        try:
            while True:
                self._socket.recv(4096)
        except BlockingIOError:
            self.heard.clear()

    def close(self) -> None:
        self._socket.close()


@contextmanager
def ear() -> Iterator[Ear]:
    made = Ear()
    try:
        yield made
    finally:
        made.close()


def handed_over(
    path: Path, sockets: Sequence[socket.socket], *, names: str = "", environ: Mapping[str, str] | None = None
) -> Running:
    """`gateway --config path` with `sockets` as a service manager hands them over. Whoever starts it ends it."""
    numbers = [sock.fileno() for sock in sockets]
    command = [sys.executable, "-m", "gateway", "--config", str(path)]
    variables = {"LISTEN_FDS": str(len(numbers)), "LISTEN_FDNAMES": names} if sockets else {}
    running = Running(
        [sys.executable, "-c", _HAND_OVER, ",".join(map(str, numbers)), *command],
        path.parent,
        1,
        environ={**variables, **(environ or {})},
        pass_fds=numbers,
    )
    process.alive.append(running)
    return running


@contextmanager
def service(
    path: Path, sockets: Sequence[socket.socket] = (), *, names: str = "", environ: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """As `handed_over`, listening; ended at the end, in whatever way."""
    running = handed_over(path, sockets, names=names, environ=environ)
    try:
        running.wait_for_start()
        yield running
    finally:
        process.alive.remove(running)
        running.kill()


def listening(host: str = "127.0.0.1", kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """A socket as a service manager opens it, on a port of the system's choice."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
    sock.bind((host, 0))
    if kind == socket.SOCK_STREAM:
        sock.listen(128)
    return sock


def port_of(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


__all__ = ["Ear", "ear", "handed_over", "listening", "port_of", "service"]
