"""Time from the start of the `gateway` process to its first correct answer, with a small YAML.

Decision: the whole command is timed, interpreter, imports and YAML included, because that is what an operator waits for
after a restart. The plant has one device that does not answer (nothing listens on its port): our own registers must not
wait for it. Beside it stands the bare interpreter, the part that no change here can save.

Run from the repository root: python -m tests.benchmarks.start --help
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from string import Template

from tests.benchmarks import harness
from tests.benchmarks.harness import CannotRun

GOAL_MS = 300.0
"""performance.md, goals."""
VALUE = 1234

YAML = """\
server: {listen: "tcp://127.0.0.1:$port"}
units:
  1: {holding: 0..999, input: 0..99, coils: 0..99, initial: {"holding:0": $value}}
devices:
  press:
    url: tcp://127.0.0.1:$device_port
    every: 500ms
    tags:
      pressure: {at: holding:10, type: float32, order: CDAB, unit: bar, to: 1/input:0}
      running: {at: holding:30.0, type: bool, to: 1/coils:0}
    poll:
      - {read: holding:40..59, to: 1/input:20}
"""


def start_once(directory: Path, core: int | None) -> float:
    """Milliseconds until the first correct answer. Raises CannotRun."""
    port = harness.free_port()
    config = directory / "small.yaml"
    config.write_text(Template(YAML).substitute(port=port, device_port=harness.free_port(), value=VALUE))
    began = time.perf_counter()
    with harness.running(harness.gateway_command(config), port, core, directory / "log") as server:
        answer = server.wait_until_answering(harness.read_registers(0, 1))
        took_ms = (time.perf_counter() - began) * 1e3
    if answer != bytes([3, 2]) + VALUE.to_bytes(2, "big"):
        raise CannotRun(f"the first answer is wrong: {answer.hex()}")
    return took_ms


def interpreter_once() -> float:
    """Milliseconds of a Python that does nothing."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return (time.perf_counter() - began) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.start", description="Start to first answer.")
    parser.add_argument(
        "--rounds", type=int, default=15, help="starts, of which the median counts (default %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error("--rounds must be positive")
    harness.end_on_signals()
    cores = harness.choose_cores()
    harness.pin_to(cores.client)
    gateway_ms: list[float] = []
    python_ms: list[float] = []
    try:
        with harness.temporary_directory() as directory:
            start_once(directory, cores.server)  # not counted: it may have to compile modules
            for _ in range(args.rounds):
                gateway_ms.append(start_once(directory, cores.server))
                python_ms.append(interpreter_once())
    except CannotRun as reason:
        sys.exit(f"cannot run: gateway {reason}")
    except KeyboardInterrupt:
        sys.exit(130)
    if args.json:
        print(
            json.dumps({"gateway_ms": gateway_ms, "python_ms": python_ms, "median_ms": statistics.median(gateway_ms)})
        )
        return
    print(f"start to first correct answer: median {statistics.median(gateway_ms):.0f} ms", end=" ")
    print(f"(least {min(gateway_ms):.0f}, most {max(gateway_ms):.0f}, {args.rounds} starts; goal {GOAL_MS:.0f} ms)")
    print(f"bare interpreter: median {statistics.median(python_ms):.0f} ms")


if __name__ == "__main__":
    main()
