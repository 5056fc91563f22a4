"""The real command in a process of its own: its ports, its log, its orderly end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.support import warm
from tests.support.until import wait_until

ROOT = warm.ROOT
GATEWAY = [sys.executable, "-m", "gateway"]
START_S = 20.0
"""A loaded machine with two cores needs seconds to import everything."""
STOP_S = 5.0
"""SIGTERM ends the gateway in order within this time (README)."""
LISTENING = re.compile(r"listening on tcp://(?P<host>\[[0-9a-fA-F:.]+\]|[^\s:]+):(?P<port>\d+)")

alive: list[Running] = []
"""What runs now; `tests/conftest.py` shows its log beside a failure."""


class Running:
    """A command that runs. `log` grows by a line of stderr at a time, `output` by a line of stdout."""

    def __init__(
        self,
        arguments: list[str],
        directory: Path,
        listeners: int,
        *,
        environ: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        """`environ`: what it has besides ours; `pass_fds`: descriptors that it inherits under the same numbers."""
        self.process: subprocess.Popen[str] | warm.Warm
        if warm.is_possible() and arguments[:3] == GATEWAY and not environ and not pass_fds:
            self.process = warm.Warm(arguments[3:], directory, warm.environment())
        else:
            self.process = subprocess.Popen(
                arguments,
                cwd=directory,
                env={**warm.environment(), **(environ or {})},
                pass_fds=pass_fds,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
            )
        self.log: list[str] = []
        self.output: list[str] = []
        self._listeners = listeners
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._readers = [
            threading.Thread(target=_read, args=(self.process.stdout, self.output), daemon=True),
            threading.Thread(target=_read, args=(self.process.stderr, self.log), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @property
    def ports(self) -> list[int]:
        """The port of every listener, in the order of the log."""
        return [port for _, port in self.listening()]

    @property
    def port(self) -> int:
        return self.ports[0]

    def listening(self) -> list[tuple[str, int]]:
        """Host and port of every listener, as the log tells them."""
        found = [LISTENING.search(line) for line in list(self.log)]
        return [(match["host"], int(match["port"])) for match in found if match]

    def wait_for_start(self) -> None:
        wait_until(
            lambda: len(self.listening()) >= self._listeners or self.process.poll() is not None,
            START_S,
            f"{self._listeners} lines 'listening on tcp://...' in the log{self.told()}",
        )
        if self.process.poll() is not None:
            self._join()
            raise AssertionError(f"ended with {self.process.returncode} instead of listening{self.told()}")

    def wait_for_log(self, pattern: str, deadline_s: float = 5.0) -> re.Match[str]:
        """The first match of `pattern` in a line of the log."""
        return wait_until(lambda: self.search(pattern), deadline_s, f"/{pattern}/ in the log")

    def search(self, pattern: str) -> re.Match[str] | None:
        return next((match for line in list(self.log) if (match := re.search(pattern, line))), None)

    def count(self, pattern: str) -> int:
        """How many lines of the log match `pattern`."""
        return sum(1 for line in list(self.log) if re.search(pattern, line))

    def rss_bytes(self) -> int:
        """Memory resident now (Linux)."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """Ask it to end; the exit code. Killed, and an AssertionError, when it takes longer than it promises."""
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running {STOP_S:g} s after signal {signal_number}{self.told()}") from None
        finally:
            self.kill()
        return self.process.returncode

    def kill(self) -> None:
        """End it whatever it does; harmless when it has ended."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._join()

    def told(self) -> str:
        """Everything it said, for messages."""
        return "\n".join(["", "--- stdout", *self.output, "--- stderr", *self.log, "---"])

    def _join(self) -> None:
        for reader in self._readers:
            reader.join(STOP_S)


@contextmanager
def running(yaml: str, directory: Path, *arguments: str, listeners: int = 1, ends_with: int = 0) -> Iterator[Running]:
    """`gateway --config FILE` with `yaml` in FILE, listening; stopped at the end, which must be orderly.

    `ends_with`: the exit code, of a test that ends it itself (negative: the signal).
    """
    path = directory / "plant.yaml"
    path.write_text(yaml, encoding="utf-8")
    command = Running([sys.executable, "-m", "gateway", "--config", str(path), *arguments], directory, listeners)
    alive.append(command)
    try:
        command.wait_for_start()
        yield command
        code = command.stop()
        assert code == ends_with, f"exit code {code} on SIGTERM{command.told()}"
        assert not command.search("Traceback"), f"a traceback in the log{command.told()}"
    finally:
        alive.remove(command)
        command.kill()


def _read(stream: IO[str], lines: list[str]) -> None:
    for line in stream:
        lines.append(line.rstrip("\n"))
    stream.close()
