"""What the page costs those who are served: 1,000 Modbus requests a second with and without browsers that watch.

Ten devices of the farm have 1,000 tags, of which all change at each of ten polls a second. The clients of the proofs
send 1,000 requests a second at fixed times, reads and writes; latency counts from when a request was due, so that one
that had to wait for the one before it is not taken for a fast one. Cases alternate, so that what else the machine does
meets all of them: nobody watches; so many watch; and of those one loads the whole page anew each second.

The gateway has a core to itself; devices, clients and whoever watches share the other one. Who watches is by default a
reader of the stream that subscribes to all that the page does and takes it as it comes: five real browsers need more
than a core for drawing, and then it is the clients that are measured. With `--browsers` it is pages of Chromium, which
show the table of tags, in processes of the lowest priority. The bound is the issue's: p99 rises by no more than 20 % or
2 ms, whichever is more.

Run from the repository root: python -m tests.benchmarks.page --help
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import select
import selectors
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks import farm as farms
from tests.benchmarks import harness
from tests.benchmarks.harness import CannotRun, Server
from tests.benchmarks.server import machine, say
from tests.proof import clients as proof
from tests.proof.clients import AREA, Clients

DEVICES, TAGS = 10, 100
COILS = 16
"""Of each client."""
CONNECTIONS = 10
PERIOD_S = 0.1
WARMUP_S = 1.0
"""Of each round, and more than a viewer takes to load everything."""
OPEN_EVERY_S = 1.0
ANSWER_S = 10.0
BROWSERS_S = 60.0
"""Until all of them show values."""
RISE = 1.2
RISE_MS = 2.0
CASES = ("alone", "watched", "opened")
LOADED = ("", "js/main.js", "api/session", "api/state", "api/tags", "api/events", "api/clients")
"""What a page asks when it is opened."""
STREAM = "GET /api/stream?topics=state,tags,events,clients HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAG = re.compile(r'^gateway_loop_lag_seconds_bucket\{le="(.+?)"\} (\d+)$', re.MULTILINE)


class Watched(NamedTuple):
    """What watchers saw."""

    bytes_per_s: float = 0.0
    """Of each of them; 0: browsers do not tell."""
    opened_ms: tuple[float, ...] = ()
    """How long each page that was opened meanwhile took to be loaded."""


class Run(NamedTuple):
    """A round of one case."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    errors: int
    cpu_percent: float
    """Of the gateway's core."""
    lag: dict[str, int]
    """How late the loop came to its beats, one a second: how many up to each bound (s), as /metrics counts them."""
    watched: Watched
    resyncs: int
    """Times that a viewer was too slow and was told to load everything anew."""


def plant(ports: Sequence[int], modbus: int, page: int) -> str:
    lines = [
        f'server: {{listen: "tcp://{harness.LOOPBACK}:{modbus}"}}',
        f'web: {{listen: "http://{harness.LOOPBACK}:{page}", metrics: {{open: true}}}}',
        f"units: {{1: {{holding: 0..{CONNECTIONS * AREA - 1}, coils: 0..{CONNECTIONS * COILS - 1}}}}}",
        "devices:",
    ]
    for device, port in enumerate(ports):
        url = f"tcp://{harness.LOOPBACK}:{port}"
        lines += [f"  device{device}:", f"    url: {url}", f"    every: {PERIOD_S * 1000:g}ms", "    tags:"]
        for tag in range(TAGS):
            where = f"at: holding:{tag}, type: uint16, scale: 0.1, to: 2/input:{device * TAGS + tag}"
            lines.append(f"      tag{tag}: {{{where}, unit: bar}}")
    return "\n".join(lines) + "\n"


# -- who watches -----------------------------------------------------------------------------------------------------


def get(port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://{harness.LOOPBACK}:{port}/{path}", timeout=ANSWER_S) as answer:
        body: bytes = answer.read()
        return body


class Readers:
    """So many streams, taken as they come."""

    def __init__(self, port: int, count: int) -> None:
        self.received = 0
        self._count = count
        self._is_over = False
        self._selector = selectors.DefaultSelector()
        for _ in range(count):
            sock = socket.create_connection((harness.LOOPBACK, port), ANSWER_S)
            sock.sendall(STREAM.encode())
            self._selector.register(sock, selectors.EVENT_READ)
        for path in LOADED:
            get(port, path)
        self._begun_s = time.perf_counter()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while not self._is_over:
            for key, _ in self._selector.select(0.1):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                got = sock.recv(1 << 20)
                if not got:
                    self._selector.unregister(sock)  # seen in the figures: it gets nothing any more
                self.received += len(got)

    def close(self) -> Watched:
        self._is_over = True
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            sock.close()
        return Watched(self.received / self._count / (time.perf_counter() - self._begun_s))


class Browsers:
    """So many pages of Chromium, in a process that can have another priority than this one."""

    def __init__(self, port: int, count: int) -> None:
        command = [sys.executable, "-m", "tests.benchmarks.page", "--show", str(port), "--viewers", str(count)]
        self._process = subprocess.Popen(
            command, cwd=harness.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=harness.end_with_parent
        )
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], BROWSERS_S)
        if not readable or not self._process.stdout.readline():
            self.close()
            raise CannotRun(f"the browsers do not show values within {BROWSERS_S:.0f} s")

    def close(self) -> Watched:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(ANSWER_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        return Watched()


def show(port: int, count: int) -> None:
    """The other side of Browsers: open them, say so, and wait until the input ends."""
    from playwright.sync_api import sync_playwright

    from tests.browser.site import BROWSERS, launched

    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        raise CannotRun("Chromium is not installed")
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))  # also where all the rest runs in real time
    os.nice(19)
    with sync_playwright() as playwright:
        browser = launched(playwright, path)
        pages = [browser.new_context().new_page() for _ in range(count)]  # each a profile, and streams, of its own
        for page in pages:
            page.goto(f"http://{harness.LOOPBACK}:{port}/#/tags")
            page.get_by_text("tag1", exact=True).first.wait_for(timeout=BROWSERS_S * 1000)
        print("all are open", flush=True)
        sys.stdin.read()
        browser.close()


class Opener:
    """Opens the page once a second: what it loads then, and how long that takes."""

    def __init__(self, port: int) -> None:
        self.took_ms: list[float] = []
        self._port = port
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._open, daemon=True)
        self._thread.start()

    def _open(self) -> None:
        while not self._over.wait(OPEN_EVERY_S):
            begun_s = time.perf_counter()
            with socket.create_connection((harness.LOOPBACK, self._port), ANSWER_S) as stream:
                stream.sendall(STREAM.encode())  # a newcomer: what was made before is too old for it
                stream.recv(1)
                for path in LOADED:
                    get(self._port, path)
                self.took_ms.append((time.perf_counter() - begun_s) * 1000)

    def close(self) -> tuple[float, ...]:
        self._over.set()
        self._thread.join()
        return tuple(self.took_ms)


@contextlib.contextmanager
def watching(case: str, args: argparse.Namespace, port: int) -> Iterator[Callable[[], Watched]]:
    """Whoever watches in this case. Gives what ends it."""
    with contextlib.ExitStack() as stack:
        watchers: Readers | Browsers | None = None
        opener: Opener | None = None
        if case != "alone":
            watchers = (Browsers if args.browsers else Readers)(port, args.viewers)
            stack.callback(watchers.close)
        if case == "opened":
            opener = Opener(port)
            stack.callback(opener.close)

        def end() -> Watched:
            opened_ms = opener.close() if opener is not None else ()
            seen = watchers.close() if watchers is not None else Watched()
            stack.pop_all()
            return seen._replace(opened_ms=opened_ms)

        yield end


# -- measuring -------------------------------------------------------------------------------------------------------


def lag(port: int) -> dict[str, int]:
    """The loop's lag so far, by bucket: not added up."""
    counts: dict[str, int] = {}
    before = 0
    for bound, count in LAG.findall(get(port, "metrics").decode()):
        counts[bound] = int(count) - before
        before = int(count)
    return counts


def told(port: int) -> dict[str, int]:
    """What the gateway has counted of its page."""
    counted: dict[str, int] = json.loads(get(port, "api/state"))["page"]
    return counted


def run(case: str, args: argparse.Namespace, program: Path, gateway: Server, page: int, core: int | None) -> Run:
    with watching(case, args, page) as end:
        rate = args.rate / CONNECTIONS
        clients = Clients(program, gateway.port, CONNECTIONS, rate, args.seconds, warmup_s=WARMUP_S, core=core)
        time.sleep(WARMUP_S)
        lag_before, cpu_before_s, begun_s = lag(page), gateway.cpu_s(), time.perf_counter()
        told_before = told(page)
        seen = clients.end()
        cpu_s, took_s, lag_after = gateway.cpu_s() - cpu_before_s, time.perf_counter() - begun_s, lag(page)
        told_after = told(page)
        watched = end()
    gateway.check_lives()
    if case != "alone" and told_after["viewers"] < args.viewers:
        raise CannotRun(f"{told_after['viewers']} viewers are left of {args.viewers}")
    if seen.errors:
        say(f"{case}: errors {seen.told()}")
    late = {bound: count - lag_before.get(bound, 0) for bound, count in lag_after.items()}
    return Run(
        seen.requests_per_s,
        seen.p50_ms,
        seen.p99_ms,
        seen.max_ms,
        seen.errors,
        cpu_s / took_s * 100,
        {bound: count for bound, count in late.items() if count},
        watched,
        told_after["resyncs"] - told_before["resyncs"],
    )


def measure(args: argparse.Namespace) -> dict[str, list[Run]]:
    """The rounds of each case. Raises CannotRun."""
    cores = harness.choose_cores()
    if cores.client is None:
        say("only one core: gateway, clients and viewers share it, and the figures tell little")
    harness.pin_to(cores.client)
    runs: dict[str, list[Run]] = {case: [] for case in CASES}
    with harness.temporary_directory() as directory:
        farm_program = harness.compile_c("device_farm", directory)
        clients_program = proof.compile_c("clients", directory)
        with farms.running(farm_program, cores.client, ports=DEVICES, is_moving=True) as farm:
            modbus, page = harness.free_port(), harness.free_port()
            config = directory / "plant.yaml"
            config.write_text(plant(farm.ports, modbus, page))
            command = harness.gateway_command(config)
            with harness.running(command, modbus, cores.server, directory / "log") as gateway:
                gateway.wait_until_answering()
                farm.wait_until("polled", lambda report: report.devices_asked == DEVICES, ANSWER_S, gateway.check_lives)
                farm.begin()
                for number in range(args.rounds):
                    for case in CASES:
                        runs[case].append(run(case, args, clients_program, gateway, page, cores.client))
                    say(f"round {number + 1}/{args.rounds}")
                report = farm.report(PERIOD_S)
                say(f"{report.requests_per_s:.0f} polls/s, {report.missed} missed")
    return runs


# -- telling ---------------------------------------------------------------------------------------------------------


def median(runs: Sequence[Run], of: str) -> float:
    return float(statistics.median(getattr(run, of) for run in runs))


def is_within(alone_ms: float, watched_ms: float) -> bool:
    return watched_ms <= max(alone_ms * RISE, alone_ms + RISE_MS)


def worst_lag(runs: Sequence[Run]) -> str:
    """The highest bound that the lateness of any beat was within."""
    bounds = sorted((bound for run in runs for bound in run.lag), key=float)
    return "none" if not bounds else f"< {float(bounds[-1]) * 1000:g} ms" if bounds[-1] != "+Inf" else "> all bounds"


def table(runs: dict[str, list[Run]]) -> str:
    lines = [
        f"  {'case':<9}{'p50 ms':>8}{'p99 ms':>8}{'max ms':>8}{'req/s':>8}{'errors':>8}{'cpu %':>7}{'loop late':>11}"
        f"{'KB/s each':>11}{'resyncs':>9}   p99 of each round"
    ]
    for case, each in runs.items():
        p50, p99, rate, cpu = (median(each, of) for of in ("p50_ms", "p99_ms", "requests_per_s", "cpu_percent"))
        most = max(run.max_ms for run in each)
        taken = statistics.median(run.watched.bytes_per_s for run in each) / 1000
        lines.append(
            f"  {case:<9}{p50:>8.2f}{p99:>8.2f}{most:>8.1f}{rate:>8,.0f}{sum(run.errors for run in each):>8}{cpu:>7.0f}"
            f"{worst_lag(each):>11}{taken:>11,.0f}{sum(run.resyncs for run in each):>9}   "
            + " ".join(f"{run.p99_ms:.2f}" for run in each)
        )
    opened = [took for run in runs["opened"] for took in run.watched.opened_ms]
    if opened:
        middle = statistics.median(opened)
        lines.append(f"  {len(opened)} pages opened: {middle:.0f} ms each, {max(opened):.0f} ms at most")
    alone_ms, watched_ms = median(runs["alone"], "p99_ms"), median(runs["watched"], "p99_ms")
    rise = f"{watched_ms - alone_ms:+.2f} ms ({(watched_ms / alone_ms - 1) * 100:+.0f} %)" if alone_ms else "unknown"
    verdict = "PASS" if is_within(alone_ms, watched_ms) else "FAIL"
    lines.append(f"p99 with viewers: {rise}; no more than 20 % or {RISE_MS:g} ms: {verdict}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.page", description="What the page costs.")
    parser.add_argument("--viewers", type=int, default=5, help="that watch (default %(default)s)")
    parser.add_argument("--browsers", action="store_true", help="they are pages of Chromium, by playwright")
    parser.add_argument("--rounds", type=int, default=3, help="of each case; medians count (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each round (default %(default)s)")
    parser.add_argument("--rate", type=int, default=1000, help="requests a second (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--show", type=int, help=argparse.SUPPRESS)  # the process of the browsers
    args = parser.parse_args()
    if args.rounds < 1 or args.seconds <= 0 or args.viewers < 1 or args.rate < CONNECTIONS:
        parser.error(f"--rounds, --seconds and --viewers must be positive, --rate {CONNECTIONS} or more")
    harness.end_on_signals()
    try:
        if args.show is not None:
            show(args.show, args.viewers)
            return
        runs = measure(args)
    except CannotRun as missing:
        sys.exit(f"cannot run: {missing}")
    except KeyboardInterrupt:
        sys.exit(130)
    if args.json:
        cases = {case: [each._asdict() for each in of] for case, of in runs.items()}
        print(json.dumps({"machine": machine(), "settings": vars(args)} | cases, indent=1))
        return
    who = "browsers" if args.browsers else "readers of the stream"
    print(
        f"{DEVICES * TAGS:,} tags change every {PERIOD_S * 1000:g} ms; {args.viewers} {who}; medians of {args.rounds}"
    )
    print(table(runs))


if __name__ == "__main__":
    main()
