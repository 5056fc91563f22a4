"""A thousand clients that read and write at once, each checking every value: no error, and how long answers take.

Two loads, one after the other: `paced`, each client asks so many times a second, as a plant's SCADA does; and `flat
out`, each asks again as soon as it is answered, so that the time is that of the queue. Every client owns registers and
coils; what it reads must be what it wrote last, and a block that another one writes meanwhile must be of one write.

Run from the repository root: python -m tests.proof.load --help
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.benchmarks import harness as bench
from tests.proof import clients, harness
from tests.proof.clients import Clients, Seen
from tests.proof.harness import Control, Question, Report, Vitals, exactly

MINUTES = 10.0
CLIENTS = 1000
RATE = 10.0
"""Requests per second and client."""
FLAT_OUT = 0.1
"""The second load takes this share of the time."""
MAX_GROWTH_KB = 8192.0

PLANT = """
server: {{listen: "tcp://127.0.0.1:0", max_connections: {connections}}}
units:
  1: {{holding: 0..65535, coils: 0..65535}}
  2: {{holding: 0..9, initial: {{"holding:0": [1, 2, 3]}}, read_only: ["holding:0..9"]}}
"""
SPARE = 10
"""Connections beside the clients': who looks after them."""


def prove(directory: Path, minutes: float, count: int = CLIENTS, rate: float = RATE) -> Report:
    report = Report(
        f"load, {count:,} clients, {minutes:g} min at {rate:g}/s each, then {minutes * FLAT_OUT:g} flat out"
    )
    program = clients.compile_c("clients", directory)
    cores = bench.choose_cores()
    known = Question(2, bytes.fromhex("0300000003"), exactly(bytes.fromhex("0306000100020003")))
    with harness.own_gateway(PLANT.format(connections=count + SPARE), directory) as gateway:
        if cores.server is not None:
            os.sched_setaffinity(gateway.process.pid, {cores.server})
        with Control(gateway.port, [known], pace_s=0.1) as control, Vitals(gateway.process.pid) as vitals:
            for name, seconds, pace in (("paced", minutes * 60, rate), ("flat out", minutes * 60 * FLAT_OUT, 0.0)):
                began_s, cpu_s = time.monotonic(), _cpu_s(gateway.process.pid)
                seen = Clients(program, gateway.port, count, pace, seconds, core=cores.client).end()
                busy = (_cpu_s(gateway.process.pid) - cpu_s) / (time.monotonic() - began_s)
                _tell(report, name, seen, busy)
        report.check_control(control)
        growth_kb = vitals.growth_kb()
        report.check(
            "memory growth", f"{growth_kb:+,.0f} kB", f"at most {MAX_GROWTH_KB:,.0f}", growth_kb <= MAX_GROWTH_KB
        )
        report.check_log(gateway)
    return report


def _tell(report: Report, name: str, seen: Seen, busy: float) -> None:
    report.check(f"{name}: errors", seen.told(), "0", not seen.errors and seen.answered > 0)
    report.note(f"{name}: requests", f"{seen.sent:,}: {seen.reads:,} reads, {seen.writes:,} writes")
    report.note(f"{name}: rate", f"{seen.requests_per_s:,.0f}/s, the gateway's core {busy:.0%} busy")
    report.note(f"{name}: p50 / p99 / max", seen.latency())


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = harness.parser("load", "A thousand clients that check everything.", minutes=MINUTES)
    parser.add_argument("--clients", type=int, default=CLIENTS, help="how many (default %(default)s)")
    parser.add_argument("--rate", type=float, default=RATE, help="requests per second of each (default %(default)g)")
    args = parser.parse_args()
    if not 1 <= args.clients <= clients.MAX_CLIENTS:
        parser.error(f"--clients: 1..{clients.MAX_CLIENTS}")
    harness.main(lambda directory: prove(directory, args.minutes, args.clients, args.rate))


if __name__ == "__main__":
    main()
