"""Processes of the real command that need not import everything anew: forked from one that has.

Most of the suite's processor time was Python starting some six hundred times. One process for each pytest process
imports the command and what it imports, starts no thread and no loop, and forks for each start; the child takes over
its arguments, directory, environment and descriptors and calls `gateway.cli.main`, as `python -m gateway` does. It is a
process of its own, with its own exit code and signals. What cares about the start itself (other environments, inherited
sockets, another interpreter) is started cold. GATEWAY_COLD=1 starts everything cold.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[2]
MAX_REQUEST = 1 << 20
"""Bytes of a request: arguments and environment."""
START_S = 30.0

_FIRST_PATH = os.environ.get("PYTHONPATH")


def is_possible() -> bool:
    """A test that changes PYTHONPATH wants other modules than those that were imported."""
    return (
        sys.platform == "linux" and not os.environ.get("GATEWAY_COLD") and os.environ.get("PYTHONPATH") == _FIRST_PATH
    )


class Warm:
    """The part of `subprocess.Popen` that tests use, of a child that `gateway ARGUMENTS` runs in."""

    def __init__(self, arguments: Sequence[str], directory: Path, environ: dict[str, str]) -> None:
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        nothing = os.open(os.devnull, os.O_RDONLY)
        try:
            self.pid = _nursery().start(arguments, directory, environ, (nothing, out_write, err_write), self)
        finally:
            for each in (nothing, out_write, err_write):
                os.close(each)
        self.stdout: IO[str] = os.fdopen(out_read, encoding="utf-8", errors="replace")
        self.stderr: IO[str] = os.fdopen(err_read, encoding="utf-8", errors="replace")
        self.args = ["gateway", *arguments]
        self.returncode: int | None

    def ended(self, status: int) -> None:
        """Its parent has seen its end."""
        self.returncode = os.waitstatus_to_exitcode(status)
        self.over.set()

    def born(self) -> None:
        self.returncode = None
        self.over = threading.Event()

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if not self.over.wait(timeout):
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def communicate(self, timeout: float) -> tuple[str, str]:
        """What it says until its end. TimeoutExpired: killed."""
        said: dict[str, str] = {}
        readers = [
            threading.Thread(target=lambda: said.update(out=self.stdout.read()), daemon=True),
            threading.Thread(target=lambda: said.update(err=self.stderr.read()), daemon=True),
        ]
        for reader in readers:
            reader.start()
        try:
            self.wait(timeout)
        finally:
            self.kill()
            for reader in readers:
                reader.join(timeout)
            self.stdout.close()
            self.stderr.close()
        return said["out"], said["err"]


class Nursery:
    """The process that has imported everything, seen from here."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.warm", str(theirs.fileno())],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        self._children: dict[int, Warm] = {}
        self._pids: list[int] = []
        self._answered = threading.Condition()
        self._lock = threading.Lock()
        threading.Thread(target=self._listen, name="nursery", daemon=True).start()

    def start(
        self,
        arguments: Sequence[str],
        directory: Path,
        environ: dict[str, str],
        streams: tuple[int, int, int],
        warm: Warm,
    ) -> int:
        request = json.dumps({"arguments": list(arguments), "directory": str(directory), "environ": environ}).encode()
        assert len(request) < MAX_REQUEST
        warm.born()
        with self._lock, self._answered:
            self._waiting = warm
            socket.send_fds(self._ours, [request], list(streams))
            if not self._answered.wait_for(lambda: self._pids, START_S):
                raise AssertionError("the process that forks does not answer")
            return self._pids.pop()

    def _listen(self) -> None:
        while message := self._ours.recv(4096):
            told: dict[str, int] = json.loads(message)
            with self._answered:
                if "status" in told:
                    self._children.pop(told["pid"]).ended(told["status"])
                else:
                    self._children[told["pid"]] = self._waiting
                    self._pids.append(told["pid"])
                    self._answered.notify()


_one: list[Nursery] = []


def _nursery() -> Nursery:
    if not _one:
        _one.append(Nursery())
    return _one[0]


def environment() -> dict[str, str]:
    """As a cold start would have it."""
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH", "")) if part)
    return {**os.environ, "PYTHONPATH": path}


# -- in the process that forks --------------------------------------------------------------------------------------


def serve(channel: socket.socket) -> bool:
    """Fork for each request until the other side is gone (False). True: this is a child, made ready."""
    selector = selectors.DefaultSelector()
    selector.register(channel, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is channel:
                request, streams, _, _ = socket.recv_fds(channel, MAX_REQUEST, 3)
                if not request:
                    return False
                pid = os.fork()
                if not pid:
                    selector.close()
                    channel.close()
                    _become(json.loads(request), streams)
                    return True
                for each in streams:
                    os.close(each)
                channel.send(json.dumps({"pid": pid}).encode())
                watch = os.pidfd_open(pid)
                selector.register(watch, selectors.EVENT_READ, pid)
            else:
                selector.unregister(key.fileobj)
                os.close(key.fd)
                _, status = os.waitpid(key.data, 0)
                channel.send(json.dumps({"pid": key.data, "status": status}).encode())


def _become(request: dict[str, Any], streams: array.array[int] | list[int]) -> None:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    for stream in streams:
        if stream > 2:
            os.close(stream)
    # Those that Python made for the streams of the start know them still.
    sys.stdin = sys.__stdin__ = os.fdopen(0, closefd=False)
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", 1, errors="backslashreplace", closefd=False)
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["environ"])
    sys.argv = ["gateway", *request["arguments"]]


def _import_all() -> None:
    """What the commands import when they run; nothing that starts a thread."""
    import asyncio  # noqa: F401

    import rich.table  # noqa: F401
    import uvloop  # noqa: F401

    import gateway.app
    import gateway.cli.carriers
    import gateway.cli.client
    import gateway.config.load
    import gateway.control.client  # noqa: F401

    assert threading.active_count() == 1


if __name__ == "__main__":
    _import_all()
    if serve(socket.socket(fileno=int(sys.argv[1]))):
        from gateway.cli import main

        main()
