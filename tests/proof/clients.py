"""`clients.c`: compiled, run, and what it saw."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks import harness as bench
from tests.benchmarks.harness import CannotRun

HERE = Path(__file__).resolve().parent
STALL_S = 10.0
"""A request without an answer for so long is lost."""
AREA = 60
"""Holding registers of each client."""
MAX_CLIENTS = 65536 // AREA


class Seen(NamedTuple):
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    sent: int
    answered: int
    reads: int
    writes: int
    wrong: int
    exceptions: int
    code: int
    """The most frequent exception."""
    lost: int
    closed: int
    first_wrong: str

    @property
    def errors(self) -> int:
        return self.wrong + self.exceptions + self.lost + self.closed

    def told(self) -> str:
        """The errors, by kind."""
        if not self.errors:
            return "0"
        first = f"; {self.first_wrong}" if self.first_wrong else ""
        return (
            f"{self.errors}: {self.wrong} wrong, {self.exceptions} exceptions (mostly {self.code}), {self.lost} lost, "
            f"{self.closed} closed{first}"
        )

    def latency(self) -> str:
        return f"{self.p50_ms:.2f} / {self.p99_ms:.2f} / {self.max_ms:.1f} ms"


class Clients:
    """So many clients, started at once; `end` waits for what they saw."""

    def __init__(
        self,
        program: Path,
        port: int,
        connections: int,
        rate: float,
        seconds: float,
        *,
        unit: int = 1,
        warmup_s: float = 0.5,
        core: int | None = None,
    ) -> None:
        def in_child() -> None:
            bench.end_with_parent()
            bench.pin_to(core)

        numbers: Sequence[float] = (port, unit, connections, rate, seconds, warmup_s, STALL_S)
        self._process = subprocess.Popen(
            [str(program), *(f"{number:g}" for number in numbers)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=in_child,
        )
        self._deadline_s = warmup_s + seconds + STALL_S + 20.0

    def end(self) -> Seen:
        try:
            output, errors = self._process.communicate(timeout=self._deadline_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise CannotRun("the clients do not end") from None
        if self._process.returncode:
            raise CannotRun(f"the clients: {errors.strip()}")
        return Seen(**json.loads(output))

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def compile_c(name: str, directory: Path, *flags: str) -> Path:
    return bench.compile_c(name, directory, folder=HERE, flags=flags)
