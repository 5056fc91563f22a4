"""Forwarding beside a direct connection and modbus-proxy: what a gateway between clients and a device costs.

The gateway stands in the table twice: with one request in flight on the device's side, as modbus-proxy does, and with
16 for devices that allow several. In the cases `own` no two clients ask for the same registers, so that nothing is
shared; in `same` all do, and then one question to the device may answer many clients (single flight).

Decision: the device is the farm (C, far faster than any forwarder), each forwarder has one of its own; the forwarder
has a core to itself, load and device share the other one. The load generator checks the value of every register.

Run from the repository root: python -m tests.benchmarks.forwarding --help
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks import farm as farms
from tests.benchmarks import harness
from tests.benchmarks.farm import Farm
from tests.benchmarks.harness import CannotRun, Server
from tests.benchmarks.server import LOAD_GRACE_S, STALL_S, WARMUP_S, machine, say

QUANTITY = 10
DIRECT, PROXY, ONE, SEVERAL = "direct", "modbus-proxy", "gateway-1", "gateway-16"
PROXY_VERSION = "0.8.0"
INSTALL_DEADLINE_S = 180.0
CONNECTED_DEADLINE_S = 5.0
"""For a forwarder to reach the device; until then it may refuse."""


class Case(NamedTuple):
    """`addresses` as load.c has them."""

    clients: int
    outstanding: int
    addresses: str

    @property
    def name(self) -> str:
        return f"{self.addresses}-{self.clients}x{self.outstanding}"


CASES = (
    Case(1, 1, "own"),
    Case(10, 1, "own"),
    Case(100, 1, "own"),
    Case(10, 16, "own"),
    Case(10, 1, "same"),
    Case(100, 1, "same"),
)


class Forwarder(NamedTuple):
    name: str
    command: Callable[[int, int, Path], list[str]] | None
    """(port to listen on, port of the device, directory); None: no forwarder at all."""


def _gateway(in_flight: int, listen: int, device: int, directory: Path) -> list[str]:
    config = directory / f"forward{in_flight}.yaml"
    config.write_text(
        f'server: {{listen: "tcp://127.0.0.1:{listen}"}}\n'
        f"state_dir: state{in_flight}\n"
        "units: {1: {forward: device}}\n"
        f'devices: {{device: {{url: "tcp://127.0.0.1:{device}", in_flight: {in_flight}}}}}\n'
    )
    return harness.gateway_command(config)


def _gateway_one(listen: int, device: int, directory: Path) -> list[str]:
    return _gateway(1, listen, device, directory)


def _gateway_several(listen: int, device: int, directory: Path) -> list[str]:
    return _gateway(16, listen, device, directory)


def _proxy(listen: int, device: int, directory: Path) -> list[str]:
    arguments = ["--modbus", f"tcp://127.0.0.1:{device}", "--bind", f"127.0.0.1:{listen}"]
    return [str(proxy_python()), "-c", "import modbus_proxy; modbus_proxy.main()", *arguments]


def proxy_python() -> Path:
    """A Python that has modbus-proxy: this one, or that of a venv in the user's cache, made once. Raises CannotRun."""
    if importlib.util.find_spec("modbus_proxy") is not None:
        return Path(sys.executable)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    venv = (
        cache / "gateway-benchmarks" / f"modbus-proxy-{PROXY_VERSION}-{sys.version_info.major}.{sys.version_info.minor}"
    )
    python = venv / "bin" / "python"
    done = venv / "installed"
    if not done.exists():
        install = [str(python), "-m", "pip", "install", "--quiet", f"modbus-proxy=={PROXY_VERSION}"]
        for command in ([sys.executable, "-m", "venv", "--clear", str(venv)], install):
            try:
                made = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_DEADLINE_S)
            except subprocess.TimeoutExpired:
                raise CannotRun(f"modbus-proxy was not installed within {INSTALL_DEADLINE_S:.0f} s") from None
            if made.returncode != 0:
                raise CannotRun(f"modbus-proxy cannot be installed: {made.stderr.strip().splitlines()[-1:]}")
        done.touch()
    return python


FORWARDERS = (
    Forwarder(DIRECT, None),
    Forwarder(PROXY, _proxy),
    Forwarder(ONE, _gateway_one),
    Forwarder(SEVERAL, _gateway_several),
)


class Run(NamedTuple):
    """One load through one forwarder."""

    requests_per_s: float
    p50_us: float
    p99_us: float
    cpu_us: float
    """CPU time of the forwarder per request; 0 without one."""
    busy: float
    asked: float
    """Requests that reached the device, per answer to a client; below 1 some were shared."""
    bad: int
    """Lost, refused and wrong answers, and connections that were closed."""


class Way(NamedTuple):
    """A forwarder that runs, or none."""

    name: str
    port: int
    process: Server | None


def load_once(load: Path, way: Way, farm: Farm, case: Case, seconds: float) -> Run:
    """Raises CannotRun."""
    shape = (case.clients, case.outstanding, 3, QUANTITY, seconds, WARMUP_S, STALL_S, case.addresses)
    farm.begin()
    cpu_s = way.process.cpu_s() if way.process else 0.0
    try:
        done = subprocess.run(
            [str(load), str(way.port), *map(str, shape)],
            capture_output=True,
            text=True,
            timeout=seconds + LOAD_GRACE_S,
            preexec_fn=harness.end_with_parent,
        )
    except subprocess.TimeoutExpired:
        raise CannotRun("the load generator did not end") from None
    cpu_s = way.process.cpu_s() - cpu_s if way.process else 0.0
    asked = farm.report().requests
    if done.returncode != 0:
        raise CannotRun(done.stderr.strip() or f"the load generator ended with status {done.returncode}")
    got = json.loads(done.stdout)
    answered = got["answered"]
    if not answered:
        raise CannotRun("answers nothing")
    bad = sum(got[what] for what in ("lost", "unexpected", "malformed", "exceptions", "closed"))
    return Run(
        requests_per_s=got["requests_per_s"],
        p50_us=got["p50_us"],
        p99_us=got["p99_us"],
        cpu_us=cpu_s / answered * 1e6,
        busy=cpu_s / got["wall_s"],
        asked=asked / answered,
        bad=bad,
    )


@contextlib.contextmanager
def started(forwarder: Forwarder, device: int, core: int | None, directory: Path) -> Iterator[Way]:
    """The forwarder, answering with the device's values. Raises CannotRun."""
    if forwarder.command is None:
        yield Way(forwarder.name, device, None)
        return
    port = harness.free_port()
    command = forwarder.command(port, device, directory)
    with harness.running(command, port, core, directory / f"{forwarder.name}.log") as process:
        right = bytes([3, 4, 0, QUANTITY, 0, QUANTITY + 1])
        until = time.monotonic() + CONNECTED_DEADLINE_S
        while (answer := process.wait_until_answering(harness.read_registers(QUANTITY, 2))) != right:
            if time.monotonic() > until:
                raise CannotRun(f"answers {answer.hex()} for the device's registers")
            time.sleep(farms.LOOK_S)
        yield Way(forwarder.name, port, process)


Rows = dict[tuple[Case, str], list[Run | None]]


def measure(args: argparse.Namespace) -> tuple[Rows, dict[str, str]]:
    """Every case through every forwarder in every round, and why some could not be measured."""
    cores = harness.choose_cores()
    if cores.client is None:
        say("only one core: clients, forwarder and device share it, and the figures tell little")
    harness.raise_file_limit()
    harness.pin_to(cores.client)
    forwarders = [each for each in FORWARDERS if each.name in args.only] or list(FORWARDERS)
    cases = [case for case in CASES if case.name in args.only] or list(CASES)
    rows: Rows = {}
    failed: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(harness.temporary_directory())
        load = harness.compile_c("load", directory)
        program = harness.compile_c("device_farm", directory)
        farm = stack.enter_context(farms.running(program, cores.client, ports=len(forwarders), delay_us=args.delay))
        ways: list[Way] = []
        for forwarder, device in zip(forwarders, farm.ports, strict=True):
            try:
                ways.append(stack.enter_context(started(forwarder, device, cores.server, directory)))
            except CannotRun as reason:
                failed[forwarder.name] = str(reason)
                say(f"{forwarder.name}: skipped, {reason}")
        for turn in range(args.rounds):
            for case in cases:
                for way in ways:
                    run: Run | None = None
                    try:
                        run = load_once(load, way, farm, case, args.seconds)
                    except CannotRun as reason:
                        failed[f"{way.name} ({case.name})"] = str(reason)
                    rows.setdefault((case, way.name), []).append(run)
                say(f"round {turn + 1}/{args.rounds}: {case.name}")
    return rows, failed


def median(runs: Sequence[Run | None], of: str) -> float:
    return float(statistics.median(getattr(run, of) for run in runs if run))


def within_rounds(
    rows: Rows, case: Case, name: str, other: str, of: str, how: Callable[[float, float], float]
) -> float | None:
    """The median over the rounds of `how(this row's figure, that of other)`."""
    both = zip(rows[case, name], rows.get((case, other), []), strict=False)
    found = [how(getattr(a, of), getattr(b, of)) for a, b in both if a and b]
    return statistics.median(found) if found else None


def _ratio(a: float, b: float) -> float:
    return a / b


def _times_cheaper(a: float, b: float) -> float:
    return b / a


def _difference(a: float, b: float) -> float:
    return a - b


def _shown(value: float | None, how: str) -> str:
    return "-" if value is None else format(value, how)


def table(rows: Rows, args: argparse.Namespace) -> str:
    lines: list[str] = []
    for case in dict.fromkeys(case for case, _ in rows):
        which = "registers of their own" if case.addresses == "own" else "the same registers"
        slow = f", device answers after {args.delay:,} us" if args.delay else ""
        lines += [
            "",
            f"{case.name}: {case.clients} clients x {case.outstanding} outstanding, function 3, {which}{slow}",
            f"  {'way':<14}{'requests/s':>11}{'p50 us':>9}{'p99 us':>9}{'added us':>10}{'CPU us':>8}{'busy':>6}"
            f"{'asked':>7}{'errors':>8}{'x proxy':>9}{'by CPU':>8}{'x direct':>10}",
        ]
        for (of, name), runs in rows.items():
            if of != case or not any(runs):
                continue
            added = within_rounds(rows, case, name, DIRECT, "p50_us", _difference)
            to_proxy = within_rounds(rows, case, name, PROXY, "requests_per_s", _ratio)
            by_cpu = None if name == DIRECT else within_rounds(rows, case, name, PROXY, "cpu_us", _times_cheaper)
            to_direct = within_rounds(rows, case, name, DIRECT, "requests_per_s", _ratio)
            lines.append(
                f"  {name:<14}{median(runs, 'requests_per_s'):>11,.0f}{median(runs, 'p50_us'):>9,.0f}"
                f"{median(runs, 'p99_us'):>9,.0f}{_shown(added, ',.0f'):>10}{median(runs, 'cpu_us'):>8.1f}"
                f"{median(runs, 'busy'):>6.0%}{median(runs, 'asked'):>7.2f}"
                f"{sum(run.bad for run in runs if run):>8,}{_shown(to_proxy, '.2f'):>9}{_shown(by_cpu, '.2f'):>8}"
                f"{_shown(to_direct, '.2f'):>10}"
            )
    return "\n".join(lines).lstrip("\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.forwarding", description="Forwarding and its peers."
    )
    names = [*(forwarder.name for forwarder in FORWARDERS), *(case.name for case in CASES)]
    parser.add_argument("--seconds", type=float, default=2.0, help="counted seconds of one load (default %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=3, help="rounds, of which medians are shown (default %(default)s)"
    )
    parser.add_argument(
        "--delay", type=int, default=0, help="of the device's answers, in microseconds (default %(default)s)"
    )
    parser.add_argument(
        "--only", nargs="+", choices=names, default=names, metavar="NAME", help=f"of: {', '.join(names)}"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    args = parser.parse_args()
    if args.rounds < 1 or args.seconds <= 0 or args.delay < 0:
        parser.error("--rounds and --seconds must be positive, --delay not negative")
    harness.end_on_signals()
    try:
        rows, failed = measure(args)
    except CannotRun as missing:
        sys.exit(f"cannot run: {missing}")
    except KeyboardInterrupt:
        sys.exit(130)
    if args.json:
        every = [
            {"case": case.name, "way": name, "rounds": [run and run._asdict() for run in runs]}
            for (case, name), runs in rows.items()
        ]
        print(json.dumps({"machine": machine(), "settings": vars(args), "failed": failed, "rows": every}, indent=1))
        return
    print(table(rows, args))
    print("\nadded: p50 less that of the direct way, in the same round; asked: requests at the device per answer;")
    print("x: requests/s to modbus-proxy and to the direct way; by CPU: CPU us of modbus-proxy to that of this one.")
    for what, why in failed.items():
        print(f"{what}: {why}")


if __name__ == "__main__":
    main()
