"""The poll engine beside pymodbus's asyncio client: how many polls a core can do, and how punctual they are.

Two cases. `fast`: every device is polled as fast as it answers. pymodbus reads again at once; our shortest interval is
10 ms, so each device gets enough jobs of 10 ms that more is asked for than a core can do, and the waiting ones go out
when an answer comes. `steady`: every device once per period, start to start; CPU time and lateness are what count.

Decision: the farm of devices is the witness for both, on a core of its own; a poller's own word is not asked. Same
farm, same registers per poll, one core per poller, one poller at a time, taking turns within a round. The gateway does
the whole of its work: it places what it reads in its image, and register 0 of every device changes with every poll.

Run from the repository root: python -m tests.benchmarks.polling --help
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks import farm as farms
from tests.benchmarks import harness
from tests.benchmarks.farm import Farm, Report
from tests.benchmarks.harness import CannotRun, Server
from tests.benchmarks.server import machine, say

GATEWAY, PYMODBUS, PYMODBUS_UVLOOP = "gateway", "pymodbus", "pymodbus-uvloop"
ALL_POLLED_DEADLINE_S = 60.0
"""For the first poll of every device; pymodbus connects 1,000 in about three seconds."""
WARMUP_S = 1.0
FAST_EVERY_S = 0.010
"""The shortest interval of a gateway's job (gateway/config/check.py)."""
FAST_DEMAND_PER_S = 200_000
"""Polls asked for in `fast`: twice what a C poller does on one core (design/performance.md)."""


class Case(NamedTuple):
    name: str
    period_s: float
    """0: as fast as they answer."""


class Poller(NamedTuple):
    name: str
    command: Callable[[Case, Sequence[int], int, int, Path], list[str]]
    """(case, ports of the devices, registers per poll, port to listen on, directory)."""


def _gateway(case: Case, ports: Sequence[int], registers: int, listen: int, directory: Path) -> list[str]:
    every_s, jobs = case.period_s, 1
    if not every_s:
        every_s = FAST_EVERY_S
        jobs = max(1, round(FAST_DEMAND_PER_S * every_s / len(ports)))
        jobs = min(jobs, 65536 // (len(ports) * registers))
    lines = [f'server: {{listen: "tcp://127.0.0.1:{listen}"}}', "devices:"]
    to = 0
    for number, port in enumerate(ports):
        lines.append(f"  d{number}:")
        lines.append(f"    url: tcp://127.0.0.1:{port}")
        lines.append(f"    every: {every_s * 1000:g}ms")
        lines.append("    poll:")
        for _ in range(jobs):
            lines.append(f"      - {{read: holding:0..{registers - 1}, to: 1/holding:{to}}}")
            to += registers
    config = directory / "polling.yaml"
    config.write_text("\n".join(lines) + "\n")
    return harness.gateway_command(config)


def _pymodbus(case: Case, ports: Sequence[int], registers: int, listen: int, directory: Path) -> list[str]:
    names = directory / "ports"
    names.write_text(" ".join(map(str, ports)))
    return [sys.executable, str(harness.HERE / "pymodbus_poller.py"), str(case.period_s), str(registers), str(names)]


def _pymodbus_uvloop(case: Case, ports: Sequence[int], registers: int, listen: int, directory: Path) -> list[str]:
    return [*_pymodbus(case, ports, registers, listen, directory), "--uvloop"]


POLLERS = (Poller(GATEWAY, _gateway), Poller(PYMODBUS, _pymodbus), Poller(PYMODBUS_UVLOOP, _pymodbus_uvloop))


class Run(NamedTuple):
    """One poller in one case."""

    polls_per_s: float
    cpu_us: float
    """CPU time of the poller per poll."""
    polls_per_cpu_s: float
    busy: float
    """Share of its core that the poller had."""
    farm_busy: float
    """Share of its core that the farm had: near 1, the farm is what is measured."""
    achieved: float
    """Of the polls that the period asks for; 0 in `fast`."""
    least: int
    """Polls of the device that had the fewest."""
    most: int
    missed: int
    late_p50_us: float
    late_p99_us: float
    late_p999_us: float
    late_max_us: float
    memory_mb: float


def poll_once(poller: Poller, case: Case, farm: Farm, args: argparse.Namespace, core: int | None, at: Path) -> Run:
    """One window of one poller. Raises CannotRun."""
    listen = harness.free_port()
    command = poller.command(case, farm.ports, args.registers, listen, at)
    farm.wait_until("left by the poller before", lambda report: report.connections == 0, harness.END_DEADLINE_S)
    farm.begin()
    with harness.running(command, listen, core, at / f"{poller.name}.log") as process:
        wanted = len(farm.ports)
        farm.wait_until(
            "polling every device",
            lambda report: report.devices_asked == wanted,
            ALL_POLLED_DEADLINE_S,
            process.check_lives,
        )
        time.sleep(WARMUP_S)
        return window(process, farm, case, args.seconds)


def window(process: Server, farm: Farm, case: Case, seconds: float) -> Run:
    """What the farm sees of `process` in `seconds`."""
    farm_cpu_s = farm.cpu_s()
    farm.begin()
    cpu_s = process.cpu_s()
    time.sleep(seconds)
    cpu_s = process.cpu_s() - cpu_s
    seen: Report = farm.report(case.period_s)
    if seen.requests == 0:
        raise CannotRun("polls nothing any more")
    return Run(
        polls_per_s=seen.requests_per_s,
        cpu_us=cpu_s / seen.requests * 1e6,
        polls_per_cpu_s=seen.requests / cpu_s,
        busy=cpu_s / seen.seconds,
        farm_busy=(seen.cpu_s - farm_cpu_s) / seen.seconds,
        achieved=seen.requests_per_s * case.period_s / len(farm.ports),
        least=seen.least,
        most=seen.most,
        missed=seen.missed,
        late_p50_us=seen.late_p50_us,
        late_p99_us=seen.late_p99_us,
        late_p999_us=seen.late_p999_us,
        late_max_us=seen.late_max_us,
        memory_mb=process.memory_kb() / 1024,
    )


Rows = dict[tuple[str, str], list[Run | None]]
"""(case, poller) -> a run per round; None where it failed."""


def measure(args: argparse.Namespace) -> tuple[Rows, dict[str, str]]:
    """All cases, pollers and rounds, and why pollers failed."""
    cores = harness.choose_cores()
    if cores.client is None:
        say("only one core: poller and devices share it, and the figures tell little")
    harness.raise_file_limit()
    harness.pin_to(cores.client)
    cases = [Case("fast", 0.0), Case("steady", args.period / 1000)]
    pollers = [poller for poller in POLLERS if poller.name in args.only] or list(POLLERS)
    cases = [case for case in cases if case.name in args.only] or cases
    rows: Rows = {(case.name, poller.name): [] for case in cases for poller in pollers}
    failed: dict[str, str] = {}
    with harness.temporary_directory() as directory:
        program = harness.compile_c("device_farm", directory)
        with farms.running(program, cores.client, ports=args.devices, delay_us=args.delay) as farm:
            for turn in range(args.rounds):
                for case in cases:
                    for poller in pollers:
                        try:
                            run = poll_once(poller, case, farm, args, cores.server, directory)
                        except CannotRun as reason:
                            failed[f"{poller.name} ({case.name})"] = str(reason)
                            run = None
                        rows[case.name, poller.name].append(run)
                        say(f"round {turn + 1}/{args.rounds}: {case.name} {poller.name}{'' if run else ' failed'}")
    return rows, failed


def median(runs: Sequence[Run | None], of: str) -> float:
    return float(statistics.median(getattr(run, of) for run in runs if run))


def ratio(rows: Rows, case: str, poller: str, to: str, of: str) -> float | None:
    """The median over the rounds of the ratio within a round."""
    both = zip(rows[case, poller], rows.get((case, to), []), strict=False)
    ratios = [getattr(a, of) / getattr(b, of) for a, b in both if a and b and getattr(b, of)]
    return statistics.median(ratios) if ratios else None


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def table(rows: Rows, args: argparse.Namespace) -> str:
    lines: list[str] = []
    for case in dict.fromkeys(case for case, _ in rows):
        how = "as fast as they answer" if case == "fast" else f"every {args.period:g} ms"
        lines += [
            "",
            f"{case}: {args.devices:,} devices, {args.registers} registers each, {how}",
            f"  {'poller':<16}{'polls/s':>10}{'CPU us':>8}{'polls/CPU s':>12}{'busy':>6}{'farm':>6}{'MB':>6}"
            + (
                f"{'least..most':>14}"
                if case == "fast"
                else f"{'achieved':>10}{'missed':>8}{'late p50 us':>12}{'p99':>8}{'p99.9':>8}{'max':>9}"
            )
            + f"{'x pymodbus':>12}{'x uvloop':>10}",
        ]
        for (of, poller), runs in rows.items():
            if of != case or not any(runs):
                continue

            def of_all(name: str, runs: Sequence[Run | None] = runs) -> float:
                return median(runs, name)

            lines.append(
                f"  {poller:<16}{of_all('polls_per_s'):>10,.0f}{of_all('cpu_us'):>8.2f}"
                f"{of_all('polls_per_cpu_s'):>12,.0f}{of_all('busy'):>6.0%}{of_all('farm_busy'):>6.0%}"
                f"{of_all('memory_mb'):>6.0f}"
                + (
                    f"{of_all('least'):>7,.0f}..{of_all('most'):<5,.0f}"
                    if case == "fast"
                    else f"{of_all('achieved'):>10.2%}{of_all('missed'):>8,.0f}{of_all('late_p50_us'):>12,.0f}"
                    f"{of_all('late_p99_us'):>8,.0f}{of_all('late_p999_us'):>8,.0f}{of_all('late_max_us'):>9,.0f}"
                )
                + f"{_times(ratio(rows, case, poller, PYMODBUS, 'polls_per_cpu_s')):>12}"
                f"{_times(ratio(rows, case, poller, PYMODBUS_UVLOOP, 'polls_per_cpu_s')):>10}"
            )
    return "\n".join(lines).lstrip("\n")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.polling", description="The poll engine.")
    names = [*(poller.name for poller in POLLERS), "fast", "steady"]
    parser.add_argument("--devices", type=int, default=1000, help="devices (default %(default)s)")
    parser.add_argument("--registers", type=int, default=10, help="registers per poll (default %(default)s)")
    parser.add_argument("--period", type=float, default=100.0, help="of `steady`, in ms (default %(default)s)")
    parser.add_argument("--delay", type=int, default=0, help="of each answer, in microseconds (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="counted seconds of a run (default %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=3, help="rounds, of which medians are shown (default %(default)s)"
    )
    parser.add_argument(
        "--only", nargs="+", choices=names, default=names, metavar="NAME", help=f"of: {', '.join(names)}"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    args = parser.parse_args()
    if args.rounds < 1 or args.seconds <= 0 or args.period < 10:
        parser.error("--rounds and --seconds must be positive, --period 10 or more")
    if not 1 <= args.devices * args.registers <= 65536 or not 1 <= args.registers <= 125 or args.devices < 1:
        parser.error("devices x registers must fit into one table of 65,536 registers, 125 in one poll")
    harness.end_on_signals()
    try:
        rows, failed = measure(args)
    except CannotRun as missing:
        sys.exit(f"cannot run: {missing}")
    except KeyboardInterrupt:
        sys.exit(130)
    if args.json:
        every = [
            {"case": case, "poller": poller, "rounds": [run and run._asdict() for run in runs]}
            for (case, poller), runs in rows.items()
        ]
        print(json.dumps({"machine": machine(), "settings": vars(args), "failed": failed, "rows": every}, indent=1))
        return
    print(table(rows, args))
    print("\nx: polls per CPU second to pymodbus on asyncio and on uvloop, within a round; medians over the rounds.")
    for what, why in failed.items():
        print(f"{what}: {why}")


if __name__ == "__main__":
    main()
