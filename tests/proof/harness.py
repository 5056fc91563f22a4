"""What the proofs share: the real command, a control client that checks all the time, vital signs, and the verdict.

The rule of the file: a proof is a list of findings, each a figure with a bound; it passes when all hold, and its
command ends with 1 when one does not. What could not be done here (no root, a missing program) is a finding, too, with
the reason, and never passes for done. The gateway is always the command in a process of its own, with a YAML that a
user could have written.

Waiting here is for a time where the time is what is proved (a minute of load), else for a condition with a deadline.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gateway.control import client as control_socket
from tests.benchmarks import harness as bench
from tests.benchmarks.harness import CannotRun
from tests.support import process
from tests.support.process import Running
from tests.support.wire import Wire, adu

HOST = "127.0.0.1"
SAMPLE_S = 0.5
"""Between two looks at memory and descriptors."""
PATIENCE_S = 8.0
"""For one answer; a forwarded request may wait five seconds for its device to be there (southbound.conversation)."""
MAX_COMPLAINTS = 5
"""Shown; all are counted."""
OUR_BUGS = r"Traceback|\ba bug\b"
"""What a log never has, whatever others do."""

__all__ = ["HOST", "CannotRun", "Control", "Question", "Report", "Vitals", "exactly", "main", "own_gateway", "parser"]


# -- the verdict ------------------------------------------------------------------------------------------------


class Finding(NamedTuple):
    what: str
    figure: str
    bound: str
    holds: bool | None
    """None: a figure without a bound."""


class Report:
    """The findings of one proof."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.findings: list[Finding] = []
        self._lock = threading.Lock()

    def check(self, what: str, figure: object, bound: str, holds: bool) -> None:
        self._add(Finding(what, str(figure), bound, holds))

    def note(self, what: str, figure: object) -> None:
        self._add(Finding(what, str(figure), "", None))

    def cannot(self, what: str, reason: object) -> None:
        """It was not proved, and that is told; whether it is a failure is for who reads it (CI has everything)."""
        self._add(Finding(what, f"not done: {reason}", "", False if os.environ.get("GATEWAY_CI") else None))

    def check_log(self, gateway: Running, what: str = "exceptions in the log") -> None:
        found = [line for line in list(gateway.log) if is_bug(line)]
        self.check(what, f"{len(found)}{': ' + found[0] if found else ''}", "0", not found)

    def check_control(self, control: Control) -> None:
        """A control client: everything right and answered."""
        self.check("control: wrong or lost answers", control.told(), "0", control.asked > 0 and not control.complaints)
        self.note("control: slowest answer", f"{control.slowest_s * 1e3:.0f} ms")

    def _add(self, finding: Finding) -> None:
        with self._lock:
            self.findings.append(finding)

    @property
    def passed(self) -> bool:
        return bool(self.findings) and all(finding.holds is not False for finding in self.findings)

    def __str__(self) -> str:
        width = max((len(each.what) for each in self.findings), default=0)
        figures = [each.figure for each in self.findings if len(each.figure) <= 40]
        figure_width = max(map(len, figures), default=0)
        lines = [self.title]
        for what, figure, bound, holds in self.findings:
            verdict = "" if holds is None else "  PASS" if holds else "  FAIL"
            allowed = f"  ({bound})" if bound else ""
            lines.append(f"  {what:<{width}}  {figure:<{figure_width if verdict else 0}}{verdict}{allowed}".rstrip())
        lines.append("PASS" if self.passed else "FAIL")
        return "\n".join(lines)


def matches(pattern: str, line: str) -> bool:
    return re.search(pattern, line) is not None


def is_bug(line: str) -> bool:
    return matches(OUR_BUGS, line)


# -- the command ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def own_gateway(
    yaml: str,
    directory: Path,
    *,
    prefix: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    may_be_killed: bool = False,
) -> Iterator[Running]:
    """`gateway --config FILE` with `yaml` in FILE, a TCP door open; ended in order.

    `prefix`: what starts it, such as `ip netns exec NAME`; it must become the command. Raises CannotRun when it does
    not start.
    """
    path = directory / "plant.yaml"
    path.write_text(yaml, encoding="utf-8")
    variables = [f"{name}={value}" for name, value in (environment or {}).items()]
    command = [*prefix, *(["env", *variables] if variables else []), sys.executable, "-m", "gateway"]
    gateway = Running([*command, "--config", str(path)], directory, 1)
    process.alive.append(gateway)
    try:
        try:
            gateway.wait_for_start()
        except AssertionError as error:
            raise CannotRun(last_words(gateway) or str(error)) from None
        yield gateway
        if not may_be_killed or gateway.process.poll() is None:
            code = gateway.stop()
            if code:
                raise CannotRun(f"exit code {code} at the end: {last_words(gateway)}")
    finally:
        process.alive.remove(gateway)
        gateway.kill()


def last_words(gateway: Running) -> str:
    return next((line for line in reversed(gateway.log) if line.strip()), "")


def status(directory: Path) -> dict[str, Any]:
    """What `gateway status --json` tells of the gateway with this state directory."""
    found: dict[str, Any] = control_socket.ask(directory / "state", "status")
    return found


# -- who checks -------------------------------------------------------------------------------------------------

Judge = Callable[[bytes], str | None]
"""What is wrong with an answer's PDU; None: nothing."""


class Question(NamedTuple):
    unit: int
    pdu: bytes
    judge: Judge


def exactly(*expected: bytes) -> Judge:
    """One of these PDUs."""

    def judge(answer: bytes) -> str | None:
        return None if answer in expected else f"{answer.hex()} instead of {expected[0].hex()}"

    return judge


class Control:
    """A client in a thread of its own that asks the same few questions in turn, all the time, and judges the answers.

    It never makes up for a lost connection silently: that is a complaint, too.
    """

    def __init__(self, port: int, questions: Sequence[Question], *, host: str = HOST, pace_s: float = 0.01) -> None:
        self.asked = 0
        self.complaints = 0
        self.first_complaints: list[str] = []
        self.slowest_s = 0.0
        self._address = (port, host)
        self._questions = questions
        self._pace_s = pace_s
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    def __enter__(self) -> Control:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._end.set()
        self._thread.join()

    def told(self) -> str:
        shown = "".join(f"; {each}" for each in self.first_complaints)
        return f"{self.complaints} of {self.asked:,}{shown}"

    def _run(self) -> None:
        while not self._end.is_set():
            try:
                with Wire(*self._address) as wire:
                    self._ask(wire)
            except (OSError, AssertionError) as error:
                self._complain(f"lost: {error}")
                self._end.wait(0.1)

    def _ask(self, wire: Wire) -> None:
        while True:
            for unit, pdu, judge in self._questions:
                if self._end.is_set():
                    return
                begun_s = time.monotonic()
                wire.send(adu(1, unit, pdu))
                tid, protocol, answering, answer = wire.receive_adu(PATIENCE_S)
                if (tid, protocol, answering) != (1, 0, unit):
                    self._complain(f"unit {unit}, {pdu.hex()}: the header of another answer")
                self.slowest_s = max(self.slowest_s, time.monotonic() - begun_s)
                self.asked += 1
                wrong = judge(answer)
                if wrong is not None:
                    self._complain(f"unit {unit}, {pdu.hex()}: {wrong}")
                self._end.wait(self._pace_s)

    def _complain(self, what: str) -> None:
        self.complaints += 1
        if len(self.first_complaints) < MAX_COMPLAINTS:
            self.first_complaints.append(what)


# -- vital signs ------------------------------------------------------------------------------------------------


class Sample(NamedTuple):
    at_s: float
    memory_kb: float
    files: float
    tasks: float


class Vitals:
    """Memory and open descriptors of a process, from /proc, every SAMPLE_S in a thread of its own."""

    def __init__(self, pid: int, every_s: float = SAMPLE_S) -> None:
        self.samples: list[Sample] = []
        self._pid = pid
        self._every_s = every_s
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vitals", daemon=True)

    def __enter__(self) -> Vitals:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        begun_s = time.monotonic()
        with contextlib.suppress(OSError):  # it has ended
            while not self._end.wait(self._every_s):
                self.samples.append(look(self._pid, time.monotonic() - begun_s))

    def growth_kb(self) -> float:
        """What memory rose by after the first third: its fitted line over the rest."""
        rest = after_warmup(self.samples)
        return slope([(each.at_s, each.memory_kb) for each in rest]) * (rest[-1].at_s - rest[0].at_s) if rest else 0.0


def look(pid: int, at_s: float, tasks: float = 0.0) -> Sample:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return Sample(at_s, pages * os.sysconf("SC_PAGE_SIZE") / 1024, len(os.listdir(f"/proc/{pid}/fd")), tasks)


def after_warmup(samples: Sequence[Sample], share: float = 1 / 3) -> list[Sample]:
    """Without the first part of the time: caches fill, pools grow to what they need."""
    if len(samples) < 6:
        return []
    return [each for each in samples if each.at_s >= samples[-1].at_s * share]


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the line that lies closest (least squares)."""
    count = len(points)
    if count < 2:
        return 0.0
    mean_x, mean_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


# -- the commands -----------------------------------------------------------------------------------------------


def parser(name: str, description: str, *, minutes: float | None = None, seed: bool = False) -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog=f"python -m tests.proof.{name}", description=description)
    if minutes is not None:
        found.add_argument("--minutes", type=float, default=minutes, help="how long (default %(default)g)")
    if seed:
        found.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="to repeat a run")
    return found


def say(what: str) -> None:
    """To whoever waits; not part of the figures."""
    print(f"... {what}", file=sys.stderr, flush=True)


def main(prove: Callable[[Path], Report]) -> None:
    """Run a proof in a directory of its own, print it, end with its verdict."""
    bench.end_on_signals()
    bench.raise_file_limit()
    try:
        with bench.temporary_directory() as directory:
            report = prove(directory)
    except CannotRun as reason:
        sys.exit(f"cannot run: {reason}")
    except KeyboardInterrupt:
        sys.exit(130)
    print(report)
    sys.exit(not report.passed)
