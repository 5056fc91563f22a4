"""One client that floods, in every way we know; what the others wait for their answers meanwhile.

Others are clients that read and write at a pace, and check every value: of registers of our own, and of a unit that is
forwarded to a device. For each kind of flood a window without it and one with it. The device is a second gateway: fast,
and it keeps what is written to it.

Run from the repository root: python -m tests.proof.fairness --help
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks import harness as bench
from tests.proof import clients, harness
from tests.proof.clients import Clients, Seen
from tests.proof.harness import CannotRun, Report

SECONDS = 10.0
BOUND_MS = 50.0
PROBES = 20
FORWARD_PROBES = 5
RATE = 20.0
"""Requests per second of each probe."""
OWN_UNIT, FORWARD_UNIT = 1, 5

DEVICE = """
server: {listen: "tcp://127.0.0.1:0"}
units: {1: {holding: 0..65535, coils: 0..65535}}
"""
PLANT = """
server: {{listen: "tcp://127.0.0.1:0"}}
units:
  1: {{holding: 0..65535, coils: 0..65535}}
  5: {{forward: plc}}
devices:
  plc: {{url: "tcp://127.0.0.1:{device}"}}
"""


class Flood(NamedTuple):
    name: str
    way: str
    unit: int
    connections: int = 1


FLOODS = (
    Flood("reads", "reads", OWN_UNIT),
    Flood("writes", "writes", OWN_UNIT),
    Flood("never fetches", "deaf", OWN_UNIT),
    Flood("reads a forward", "reads", FORWARD_UNIT),
    Flood("writes a forward", "writes", FORWARD_UNIT),
    Flood("connects in a loop", "connects", OWN_UNIT),
    Flood("broken streams in a loop", "broken", OWN_UNIT),
)


class Flooder:
    """Runs in the block; `done` is what it got through."""

    def __init__(self, program: Path, flood: Flood, port: int, seconds: float, core: int | None) -> None:
        self.done = 0
        self._command = [str(program), flood.way, str(port), str(flood.unit), f"{seconds:g}"]
        self._count = flood.connections
        self._core = core
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Flooder:
        def in_child() -> None:
            bench.end_with_parent()
            bench.pin_to(self._core)

        for _ in range(self._count):
            self._processes.append(
                subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True, preexec_fn=in_child)
            )
        return self

    def __exit__(self, *exc: object) -> None:
        for each in self._processes:
            try:
                output, _ = each.communicate(timeout=10.0)
            except subprocess.TimeoutExpired:
                each.kill()
                output, _ = each.communicate()
            self.done += int(json.loads(output)["done"]) if output else 0


def prove(directory: Path, seconds: float = SECONDS, floods: Sequence[Flood] = FLOODS) -> Report:
    """`seconds` for each window."""
    report = Report(f"fairness, {PROBES} + {FORWARD_PROBES} clients at {RATE:g}/s, windows of {seconds:g} s")
    probe = clients.compile_c("clients", directory)
    flooder = clients.compile_c("flood", directory)
    cores = bench.choose_cores()
    folders = directory / "device", directory / "gateway"
    for folder in folders:
        folder.mkdir()
    with (
        harness.own_gateway(DEVICE, folders[0]) as device,
        harness.own_gateway(PLANT.format(device=device.port), folders[1]) as gateway,
    ):
        for each, core in ((device, cores.client), (gateway, cores.server)):
            if core is not None:
                os.sched_setaffinity(each.process.pid, {core})

        def window() -> tuple[Seen, Seen]:
            own = Clients(probe, gateway.port, PROBES, RATE, seconds, unit=OWN_UNIT, core=cores.client)
            forward = Clients(probe, gateway.port, FORWARD_PROBES, RATE, seconds, unit=FORWARD_UNIT, core=cores.client)
            return own.end(), forward.end()

        _tell(report, "nobody floods", window(), "")
        for flood in floods:
            with Flooder(flooder, flood, gateway.port, seconds + 1.0, cores.client) as floods_now:
                seen = window()
            _tell(report, flood.name, seen, f"{floods_now.done / (seconds + 1.0):,.0f}/s of its own")
            if not floods_now.done and flood.way != "deaf":
                raise CannotRun(f"the flood `{flood.name}` got through nothing")
        report.check_log(gateway)
    return report


def _tell(report: Report, name: str, windows: tuple[Seen, Seen], what: str) -> None:
    for kind, seen in zip(("own registers", "a forward"), windows, strict=True):
        bound = f"p99 at most {BOUND_MS:g} ms, no error{'; ' + what if what else ''}"
        holds = seen.p99_ms <= BOUND_MS and not seen.errors and seen.answered > 0
        errors = f", errors {seen.told()}" if seen.errors else ""
        report.check(f"{name}: p50 / p99 / max of {kind}", seen.latency() + errors, bound, holds)


def main() -> None:
    parser = harness.parser("fairness", "One client that floods, and the others.")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each window (default %(default)g)")
    names = [flood.name for flood in FLOODS]
    parser.add_argument(
        "--only", nargs="+", choices=names, default=names, metavar="FLOOD", help=f"of: {', '.join(names)}"
    )
    args = parser.parse_args()
    chosen = [flood for flood in FLOODS if flood.name in args.only]
    harness.main(lambda directory: prove(directory, args.seconds, chosen))


if __name__ == "__main__":
    main()
