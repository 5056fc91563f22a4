"""The device farm of the benchmarks: `device_farm.c` compiled, started, asked.

The farm is the witness: what it counts is what reached the devices, whatever a poller says of itself. Every wait for it
has a deadline.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.benchmarks import harness
from tests.benchmarks.harness import CannotRun

REPORT_DEADLINE_S = 20.0
"""It sorts the arrivals of a whole window; a million takes well below a second."""
LOOK_S = 0.02
"""Between two looks at something that is awaited."""


class Report(NamedTuple):
    """A window of the farm, over all devices."""

    seconds: float
    requests: int
    devices_asked: int
    least: int
    most: int
    connections: int
    strange: int
    """Requests to no device, and streams that were cut off."""
    missed: int
    """Polls that did not come, by gaps of more than 1.5 periods; 0 without a period."""
    longest_gap_us: float
    cpu_s: float
    """Of the farm, since its start."""
    late_p50_us: float = 0.0
    late_p99_us: float = 0.0
    late_p999_us: float = 0.0
    late_max_us: float = 0.0

    @property
    def requests_per_s(self) -> float:
        return self.requests / self.seconds


class Seen(NamedTuple):
    """One device in a window."""

    requests: int
    missed: int
    longest_gap_us: int
    first_us: int
    """Its first arrival after the window began; -1: none."""


class Farm:
    """A running farm. Device number = port index * units + unit id - 1."""

    def __init__(self, process: subprocess.Popen[str], ports: list[int], control: socket.socket) -> None:
        self.ports = ports
        self._process = process
        self._control = control
        self._answers = control.makefile("r")

    def begin(self) -> None:
        """A new window: forget what was counted."""
        self._command("begin")

    def report(self, period_s: float = 0.0) -> Report:
        """The window so far; lateness and missed polls against a grid of `period_s`."""
        return Report(**self._command(f"report {period_s * 1e6:.0f}"))

    def devices(self, period_s: float = 0.0) -> list[Seen]:
        """The window so far, device by device."""
        return [Seen(*device) for device in self._command(f"devices {period_s * 1e6:.0f}")]

    def silence(self, first: int, count: int, silent: bool = True) -> None:
        """Whether the devices from number `first` leave requests unanswered."""
        self._command(f"silent {first} {count} {int(silent)}")

    def wait_until(
        self,
        what: str,
        is_so: Callable[[Report], bool],
        deadline_s: float,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        """Until `is_so(report)`. Raises CannotRun after `deadline_s`, or what `alive()` raises before."""
        until = time.monotonic() + deadline_s
        while not is_so(report := self.report()):
            alive()
            if time.monotonic() > until:
                raise CannotRun(f"not {what} after {deadline_s:.0f} s: {report.devices_asked} devices were asked")
            time.sleep(LOOK_S)

    def cpu_s(self) -> float:
        return self.report().cpu_s

    def _command(self, line: str) -> Any:
        try:
            self._control.sendall(line.encode() + b"\n")
            answer = json.loads(self._answers.readline() or "null")
        except OSError as error:
            raise CannotRun(f"the device farm does not answer: {error}") from None
        if answer is None or (isinstance(answer, dict) and "error" in answer):
            raise CannotRun(f"the device farm does not do `{line}`: {answer or self._process.poll()}")
        return answer


@contextlib.contextmanager
def running(
    program: Path, core: int | None, *, ports: int, units: int = 1, delay_us: int = 0, is_moving: bool = False
) -> Iterator[Farm]:
    """A farm of `ports` x `units` devices that ends with the block; `is_moving`: each poll finds all registers changed.

    Raises CannotRun.
    """

    def in_child() -> None:
        harness.end_with_parent()
        harness.pin_to(core)

    command = [str(program), str(ports), str(units), str(delay_us), str(int(is_moving))]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, preexec_fn=in_child
    )
    try:
        ready = json.loads(_first_line(process))
        with socket.create_connection((harness.LOOPBACK, ready["control"]), REPORT_DEADLINE_S) as control:
            yield Farm(process, ready["ports"], control)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _first_line(process: subprocess.Popen[str]) -> str:
    """What the farm says when it listens. Raises CannotRun when it ends or says nothing in time."""
    if process.stdout is None:
        raise CannotRun("the device farm has no output")
    readable, _, _ = select.select([process.stdout], [], [], harness.START_DEADLINE_S)
    line = process.stdout.readline() if readable else ""  # it is written in one piece
    if not line.endswith("\n"):
        raise CannotRun(f"the device farm does not start (status {process.poll()}); open files: {_file_limit()}")
    return line


def _file_limit() -> int:
    return os.sysconf("SC_OPEN_MAX")
