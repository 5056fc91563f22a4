"""Requests per second, latency and memory of the gateway's server beside its peers, in one run.

Decision: absolute figures of one machine move by a quarter from run to run, so nothing here is compared over runs. All
servers take turns in every round (A B C A B C ...), each ratio is made within its round, and medians over the rounds
are shown: to libmodbus (L), to pymodbus on asyncio (P) and to the limit of the machine (R).

Run from the repository root: python -m tests.benchmarks.server --help
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

from tests.benchmarks import harness
from tests.benchmarks.harness import CannotRun, Cores, Server

WARMUP_S = 0.3
"""Before counting starts: connections are accepted, caches and Python's inline caches are warm."""
STALL_S = 1.0
"""A request without an answer for so long is lost. Far above any p99 here: no server is accused for being slow."""
LOAD_GRACE_S = 30.0
IDLE_STEPS = (1000, 5000)
MEMORY = "memory"
LIMIT, LIBMODBUS, PYMODBUS, GATEWAY = "limit", "libmodbus", "pymodbus", "gateway"

GATEWAY_YAML = """\
server: {listen: "tcp://127.0.0.1:$port", max_connections: 10000}
units: {1: {holding: 0..999, input: 0..999, coils: 0..1999}}
"""


READS = (3,)


class Case(NamedTuple):
    """One kind of load."""

    name: str
    function: int
    quantity: int
    connections: int
    outstanding: int


CASES = (
    Case("fc3q10-1x1", 3, 10, 1, 1),
    Case("fc3q10-10x1", 3, 10, 10, 1),
    Case("fc3q10-100x1", 3, 10, 100, 1),
    Case("fc3q10-10x16", 3, 10, 10, 16),
    Case("fc3q125-10x1", 3, 125, 10, 1),
    Case("fc16q10-10x1", 16, 10, 10, 1),
)


class Peer(NamedTuple):
    """A server to compare. `command` prepares what it needs in a directory; it may raise CannotRun."""

    name: str
    command: Callable[[int, Path], list[str]]
    keeps_values: bool = True
    max_idle: int = 100_000
    """Connections it can hold by construction."""
    is_for_writes: bool = False
    """Differs from another one in writes alone, and is only put under these."""


def _limit(port: int, directory: Path) -> list[str]:
    return [str(harness.compile_c("limit_server", directory)), str(port)]


def _libmodbus(port: int, directory: Path) -> list[str]:
    return [str(harness.compile_c("libmodbus_server", directory, "libmodbus")), str(port)]


def _pymodbus(port: int, directory: Path) -> list[str]:
    return [sys.executable, str(harness.HERE / "pymodbus_server.py"), str(port)]


def _pymodbus_uvloop(port: int, directory: Path) -> list[str]:
    return [*_pymodbus(port, directory), "--uvloop"]


def _gateway(port: int, directory: Path, more: str = "") -> list[str]:
    config = directory / "gateway.yaml"
    config.write_text(Template(GATEWAY_YAML).substitute(port=port) + more)
    return harness.gateway_command(config)


def _unaudited(port: int, directory: Path) -> list[str]:
    return _gateway(port, directory, "audit: {enabled: false}\n")


PEERS = (
    Peer(LIMIT, _limit, keeps_values=False),
    Peer(LIBMODBUS, _libmodbus, max_idle=1000),  # it calls select: no descriptor above 1023
    Peer(PYMODBUS, _pymodbus),
    Peer("pymodbus-uvloop", _pymodbus_uvloop),
    Peer("gateway, no audit file", _unaudited, is_for_writes=True),
    Peer(GATEWAY, _gateway),  # last: a second long it writes its audit on, and nobody should be beside it
)


class Run(NamedTuple):
    """One load on one server."""

    requests_per_s: float
    p50_us: float
    p99_us: float
    max_us: float
    lost: int
    errors: int
    closed: int
    sent: int
    server_cpu_us: float
    """CPU time of the server per request; the figure that moves least on a busy machine."""
    server_busy: float
    """CPU time of the server by the clock: a fast client on it and yet far below 1, somebody else had its core."""
    client_busy: float
    """CPU time of the client by the clock: near 1, the client may be what is measured."""


@dataclass
class Row:
    """A server in a case, over all rounds."""

    case: Case
    peer: str
    runs: list[Run | None] = field(default_factory=list)
    """One per round; None when the server could not finish it."""
    note: str = ""


class Idle(NamedTuple):
    """Memory of a server with many idle connections."""

    peer: str
    base_kb: int
    at: dict[int, int]
    """Connections -> resident KB."""
    note: str

    def per_connection_kb(self, count: int) -> float:
        return (self.at[count] - self.base_kb) / count


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# ---------------------------------------------------------------- speed


def load_once(load: Path, server: Server, case: Case, seconds: float) -> Run:
    """One load. Raises CannotRun when the server ends under it or the client cannot connect."""
    shape = (case.connections, case.outstanding, case.function, case.quantity)
    arguments = (server.port, *shape, seconds, WARMUP_S, STALL_S)
    cpu_before = server.cpu_s()
    try:
        done = subprocess.run(
            [str(load), *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=seconds + LOAD_GRACE_S,
            preexec_fn=harness.end_with_parent,
        )
    except subprocess.TimeoutExpired:
        raise CannotRun("the load generator did not end") from None
    cpu_s = server.cpu_s() - cpu_before
    if done.returncode != 0:
        raise CannotRun(done.stderr.strip() or f"the load generator ended with status {done.returncode}")
    got: dict[str, Any] = json.loads(done.stdout)
    return Run(
        requests_per_s=got["requests_per_s"],
        p50_us=got["p50_us"],
        p99_us=got["p99_us"],
        max_us=got["max_us"],
        lost=got["lost"],
        errors=got["unexpected"] + got["malformed"] + got["exceptions"],
        closed=got["closed"],
        sent=got["sent"],
        server_cpu_us=cpu_s / max(got["answered"], 1) * 1e6,
        server_busy=cpu_s / got["wall_s"],
        client_busy=got["cpu_s"] / got["wall_s"],
    )


def measure_speed(load: Path, servers: dict[str, Server], cases: Sequence[Case], args: argparse.Namespace) -> list[Row]:
    """Every case on every server in every round, the servers of a case one right after the other."""
    rows = {(case, name): Row(case, name) for case in cases for name in servers if _is_for(name, case)}
    for turn in range(args.rounds):
        for case in cases:
            for name, server in servers.items():
                row = rows.get((case, name))
                if row is None:
                    continue
                try:
                    row.runs.append(load_once(load, server, case, args.seconds))
                except CannotRun as reason:
                    row.runs.append(None)
                    row.note = str(reason)
            say(f"round {turn + 1}/{args.rounds}: {case.name}")
    return list(rows.values())


def _is_for(name: str, case: Case) -> bool:
    return case.function not in READS or not any(peer.name == name and peer.is_for_writes for peer in PEERS)


def check_values(server: Server) -> None:
    """That it is a Modbus server and no faker: what was written is read back. Raises CannotRun."""
    data = bytes(range(1, 21))
    with harness.connect(server.port) as client:
        if harness.ask(client, harness.write_registers(5, data)) != bytes([16, 0, 5, 0, 10]):
            raise CannotRun("does not confirm a write")
        if harness.ask(client, harness.read_registers(5, 10)) != bytes([3, 20]) + data:
            raise CannotRun("does not answer with the registers that were written")


@contextlib.contextmanager
def started(peer: Peer, cores: Cores, directory: Path) -> Iterator[Server]:
    """`peer`, answering and checked. Raises CannotRun."""
    port = harness.free_port()
    place = directory / f"{peer.name}-{port}"
    place.mkdir()
    with harness.running(peer.command(port, place), port, cores.server, place / "log") as server:
        answer = server.wait_until_answering()
        if answer[:2] != bytes([3, 2]):
            raise CannotRun(f"answers {answer.hex()} to a read of one register")
        if peer.keeps_values:
            try:
                check_values(server)
            except OSError as error:
                raise CannotRun(f"fails the check of values: {error}") from None
        yield server


# ---------------------------------------------------------------- memory


def measure_idle(peer: Peer, server: Server, file_limit: int) -> Idle:
    """Resident memory before and with idle connections, one request made on each. The server must be fresh."""
    at: dict[int, int] = {}
    note = ""
    base_kb = server.memory_kb()
    with contextlib.ExitStack() as clients:
        opened = 0
        for count in IDLE_STEPS:
            if count > peer.max_idle or count + 100 > file_limit:
                limit = "its own" if count > peer.max_idle else "ulimit -n"
                note = f"not {count:,}: beyond {limit} limit"
                break
            try:
                for _ in range(count - opened):
                    client: socket.socket = clients.enter_context(harness.connect(server.port))
                    harness.ask(client, harness.read_registers(0, 10))
                    opened += 1
            except OSError as error:
                note = f"stopped at {opened:,} connections: {error}"
                break
            at[count] = server.memory_kb()
    return Idle(peer.name, base_kb, at, note)


# ---------------------------------------------------------------- tables


def ratio(rows: Sequence[Row], row: Row, to: str, of: str = "requests_per_s") -> float | None:
    """The median over the rounds of this row's figure by that of `to` in the same case and round."""
    other = next((r for r in rows if r.peer == to and r.case == row.case), None)
    if other is None:
        return None
    both = zip(row.runs, other.runs, strict=True)
    ratios = [getattr(a, of) / getattr(b, of) for a, b in both if a and b and getattr(b, of) > 0]
    return statistics.median(ratios) if ratios else None


def median(row: Row, of: str) -> float:
    return float(statistics.median(getattr(run, of) for run in row.runs if run))


def remarks(row: Row) -> str:
    """What went wrong, summed over the rounds."""
    runs = [run for run in row.runs if run]
    lost, errors, closed = (sum(getattr(run, of) for run in runs) for of in ("lost", "errors", "closed"))
    found = [row.note] if row.note else []
    if lost:
        found.append(f"loses requests ({lost:,} of {sum(run.sent for run in runs):,})")
    if closed:
        found.append(f"closes connections ({closed:,})")
    if errors:
        found.append(f"{errors:,} wrong answers")
    return "; ".join(found)


def speed_table(rows: Sequence[Row]) -> str:
    lines: list[str] = []
    case = None
    for row in rows:
        if row.case != case:
            case = row.case
            how = f"function {case.function}, {case.quantity} registers, {case.connections} connections"
            lines += [
                "",
                f"{case.name}: {how} x {case.outstanding} outstanding",
                f"  {'server':<16}{'requests/s':>11}{'p50 us':>10}{'p99 us':>10}{'CPU us':>8}{'busy':>6}{'client':>8}"
                f"{'errors':>8}{'x L':>8}{'x P':>8}{'x R':>7}{'p99/L':>7}",
            ]
        if not any(row.runs):
            lines.append(f"  {row.peer:<16}{row.note}")
            continue
        bad = sum(run.errors + run.lost + run.closed for run in row.runs if run)
        figures = (
            f"{median(row, 'requests_per_s'):>11,.0f}{median(row, 'p50_us'):>10,.0f}{median(row, 'p99_us'):>10,.0f}"
            f"{median(row, 'server_cpu_us'):>8.2f}{median(row, 'server_busy'):>6.0%}{median(row, 'client_busy'):>8.0%}"
            f"{bad:>8,}"
        )
        ratios = (
            f"{_times(ratio(rows, row, LIBMODBUS)):>8}{_times(ratio(rows, row, PYMODBUS)):>8}"
            f"{_times(ratio(rows, row, LIMIT)):>7}{_times(ratio(rows, row, LIBMODBUS, 'p99_us')):>7}"
        )
        lines.append(f"  {row.peer:<16}{figures}{ratios}  {remarks(row)}".rstrip())
    return "\n".join(lines).lstrip("\n")


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def idle_table(idles: Sequence[Idle]) -> str:
    head = "".join(f"{f'KB each of {n:,}':>18}{'in all MB':>11}" for n in IDLE_STEPS)
    lines = ["memory: resident, idle connections, one request made on each", f"  {'server':<16}{'base MB':>8}{head}"]
    for idle in idles:
        line = f"  {idle.peer:<16}{idle.base_kb / 1024:>8.1f}"
        for count in IDLE_STEPS:
            if count in idle.at:
                line += f"{idle.per_connection_kb(count):>18.2f}{idle.at[count] / 1024:>11.1f}"
            else:
                line += f"{'-':>18}{'-':>11}"
        lines.append(f"{line}  {idle.note}".rstrip())
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }


def as_json(report: Report) -> str:
    rows = [
        {
            "case": row.case.name,
            "server": row.peer,
            "median": {of: median(row, of) for of in Run._fields} if any(row.runs) else None,
            "to_libmodbus": ratio(report.rows, row, LIBMODBUS),
            "to_pymodbus": ratio(report.rows, row, PYMODBUS),
            "to_limit": ratio(report.rows, row, LIMIT),
            "p99_to_libmodbus": ratio(report.rows, row, LIBMODBUS, "p99_us"),
            "remarks": remarks(row),
            "rounds": [run and run._asdict() for run in row.runs],
        }
        for row in report.rows
    ]
    memory = [
        idle._asdict() | {"per_connection_kb": {count: idle.per_connection_kb(count) for count in idle.at}}
        for idle in report.idles
    ]
    whole = {"machine": report.machine, "cores": report.cores._asdict(), "settings": report.settings}
    return json.dumps(whole | {"skipped": report.skipped, "speed": rows, "memory": memory}, indent=1)


# ---------------------------------------------------------------- the command


@dataclass
class Report:
    machine: dict[str, Any]
    cores: Cores
    settings: dict[str, Any]
    rows: list[Row] = field(default_factory=list)
    idles: list[Idle] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    """Server, or `server (memory)` -> why it could not be measured."""


def measure(args: argparse.Namespace, peers: Sequence[Peer], cases: Sequence[Case], with_memory: bool) -> Report:
    cores = harness.choose_cores()
    settings = {"seconds": args.seconds, "rounds": args.rounds, "warmup_s": WARMUP_S, "stall_s": STALL_S}
    report = Report(machine(), cores, settings)
    if cores.client is None:
        say("only one core: client and server share it, and the figures tell little")
    file_limit = harness.raise_file_limit()
    harness.pin_to(cores.client)
    with harness.temporary_directory() as directory:
        if cases:
            load = harness.compile_c("load", directory)
            with contextlib.ExitStack() as stack:
                servers: dict[str, Server] = {}
                for peer in peers:
                    try:
                        servers[peer.name] = stack.enter_context(started(peer, cores, directory))
                    except CannotRun as reason:
                        _skip(report, peer.name, reason)
                report.rows = measure_speed(load, servers, cases, args)
        for peer in peers if with_memory else ():
            if peer.name in report.skipped or peer.is_for_writes:
                continue
            try:
                with started(peer, cores, directory) as server:
                    report.idles.append(measure_idle(peer, server, file_limit))
            except CannotRun as reason:
                _skip(report, f"{peer.name} ({MEMORY})", reason)
    return report


def _skip(report: Report, what: str, reason: CannotRun) -> None:
    report.skipped[what] = str(reason)
    say(f"{what}: skipped, {reason}")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.server", description="The server beside its peers."
    )
    names = [*(peer.name for peer in PEERS), *(case.name for case in CASES), MEMORY]
    parser.add_argument("--seconds", type=float, default=2.0, help="counted seconds of one load (default %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=5, help="rounds, of which medians are shown (default %(default)s)"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=names,
        default=names,
        metavar="NAME",
        help=f"servers and cases, of: {', '.join(names)}",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    args = parser.parse_args()
    if args.rounds < 1 or args.seconds <= 0:
        parser.error("--rounds and --seconds must be positive")

    peers = [peer for peer in PEERS if peer.name in args.only] or list(PEERS)
    cases = [case for case in CASES if case.name in args.only]
    with_memory = MEMORY in args.only
    if not cases and not with_memory:
        cases, with_memory = list(CASES), True

    harness.end_on_signals()
    try:
        report = measure(args, peers, cases, with_memory)
    except CannotRun as missing:
        sys.exit(f"cannot run: {missing}")
    except KeyboardInterrupt:
        sys.exit(130)
    if args.json:
        print(as_json(report))
        return
    about = report.machine
    print(f"{about['cpu']}, {about['cores']} cores, Linux {about['kernel']}, Python {about['python']}")
    print(f"client on core {report.cores.client}, servers on core {report.cores.server}; ", end="")
    print(f"{args.rounds} rounds of {args.seconds:g} s, medians; L libmodbus, P pymodbus on asyncio, R limit")
    for name, reason in report.skipped.items():
        print(f"skipped {name}: {reason}")
    if report.rows:
        print(f"\n{speed_table(report.rows)}")
    if report.idles:
        print(f"\n{idle_table(report.idles)}")


if __name__ == "__main__":
    main()
