"""What breaks, and what clients read meanwhile: never an old value as a good one, and the neighbours notice nothing.

Each fault meets a fresh gateway with two devices whose registers are the time at which they were read, so every answer
tells how old it is: one device to which the fault happens, and a neighbour. Two clients read all the time. A fault is a
row: what the victim's registers gave while it lasted, how old the oldest value was that was given as good, what became
of the neighbour, and how long after the end of the fault the victim was good again.

How the faults are made, on a machine that is not ours to break: packets are dropped in a network namespace that only
the device is in; the full disk is a small tmpfs; the wall clock is set for the gateway alone, by a library that stands
before the C library (`wallclock.c`); names are resolved in a mount namespace with a resolv.conf of its own, by a server
that is part of the proof. Three of them need root, and say so.

Run from the repository root: python -m tests.proof.faults --help
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.proof import clients, harness
from tests.proof.harness import HOST, CannotRun, Report
from tests.support.devices import free_port
from tests.support.process import ROOT, Running
from tests.support.until import wait_until
from tests.support.wire import Wire

STALE_S = 2.0
EVERY_S = 0.2
SLACK_S = 0.35
"""A poll's answer and ours are on their way, on a machine that does other things, too."""
NEIGHBOUR_OLDEST_S = EVERY_S + SLACK_S
SLOWEST_S = 0.25
"""For an answer of the gateway, whatever happens to its devices."""
LASTS_S = 4.0
"""Most faults; some take twice as long, or half."""
PACE_S = 0.02
STARTED_S = 15.0

PLANT = """
server: {{listen: "tcp://127.0.0.1:0"}}
units:
  1: {{input: 0..99}}
  2: {{holding: 0..99{retain}}}
devices:
  victim:
    {{url: "tcp://{victim}", every: 200ms, timeout: 300ms, stale_after: 2s,
     poll: [{{read: "holding:0..9", to: "1/input:0"}}]}}
  neighbour:
    {{url: "tcp://{neighbour}", every: 200ms, timeout: 300ms, stale_after: 2s,
     poll: [{{read: "holding:0..9", to: "1/input:10"}}]}}
"""
VICTIM, NEIGHBOUR = 0, 10
"""Where their clocks lie in the image."""


# -- devices and who reads them ---------------------------------------------------------------------------------


class ClockPlc:
    """tests/support/clock_plc.py in a process of its own."""

    def __init__(self, host: str = HOST, prefix: Sequence[str] = ()) -> None:
        self.address = f"{host}:{(port := free_port())}"
        self._command = [*prefix, sys.executable, "-m", "tests.support.clock_plc", str(port), host]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise CannotRun(f"the device at {self.address} does not start")

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None


class Watch:
    """A client that reads one clock all the time, in a thread of its own."""

    def __init__(self, port: int, address: int) -> None:
        self.oldest_good_s = 0.0
        self.slowest_s = 0.0
        self.codes: Counter[int] = Counter()
        self.good = 0
        self.wrong: list[str] = []
        self.halted_s = math.inf
        """When the gateway is about to stand still. What was asked before may be judged and not yet sent: good as of
        then, though it comes when the gateway goes on. What is asked later has no such excuse."""
        self._goods: list[float] = []
        """When good answers came."""
        self._port = port
        self._request = struct.pack(">BHH", 4, address, 2)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._end.set()
        self._thread.join()

    def first_good_after(self, when_s: float) -> float | None:
        return next((each for each in list(self._goods) if each > when_s), None)

    def forget(self) -> None:
        """What was seen until now was before the fault."""
        self.oldest_good_s = self.slowest_s = 0.0
        self.codes.clear()
        self.good = 0

    def _run(self) -> None:
        while not self._end.is_set():
            try:
                with Wire(self._port) as wire:
                    wire.socket.settimeout(30.0)
                    while not self._end.wait(PACE_S):
                        self._read(wire)
            except (OSError, AssertionError) as error:
                if not self._end.is_set():
                    self.wrong.append(str(error))

    def _read(self, wire: Wire) -> None:
        sent_s = time.monotonic()
        wire.send(struct.pack(">HHHB", 1, 0, 6, 1) + self._request)
        answer = wire.receive_adu(30.0).pdu
        now_s = time.monotonic()
        self.slowest_s = max(self.slowest_s, now_s - sent_s)
        if answer[0] & 0x80:
            self.codes[answer[1]] += 1
            return
        age_ms = (int(now_s * 1000) - int.from_bytes(answer[2:6], "big")) & 0xFFFFFFFF
        still_s = now_s - self.halted_s if sent_s < self.halted_s <= now_s else 0.0
        self.oldest_good_s = max(self.oldest_good_s, age_ms / 1000 - still_s)
        self.good += 1
        self._goods.append(now_s)


class Scene:
    """A gateway with its two devices and its two watchers, for one fault."""

    def __init__(self, gateway: Running, victim: ClockPlc, watch: Watch, neighbour: Watch, directory: Path) -> None:
        self.gateway = gateway
        self.plc = victim
        self.watch = watch
        self.neighbour = neighbour
        self.directory = directory


@contextlib.contextmanager
def scene(
    directory: Path,
    *,
    host: str = HOST,
    device_prefix: Sequence[str] = (),
    name: str = "",
    prefix: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    retain: bool = False,
    waits: bool = True,
) -> Iterator[Scene]:
    """`name`: by which the gateway knows the victim's host. `waits`: until both devices were read."""
    victim, other = ClockPlc(host, device_prefix), ClockPlc()
    try:
        victim.start()
        other.start()
        address = victim.address.replace(host, name) if name else victim.address
        yaml = PLANT.format(victim=address, neighbour=other.address, retain=", retain: true" if retain else "")
        with (
            harness.own_gateway(yaml, directory, prefix=prefix, environment=environment) as gateway,
            Watch(gateway.port, VICTIM) as watch,
            Watch(gateway.port, NEIGHBOUR) as neighbour,
        ):
            wait_until(lambda: neighbour.good, STARTED_S, "the neighbour's first value")
            if waits:
                wait_until(lambda: watch.good, STARTED_S, "the victim's first value")
            watch.forget()
            neighbour.forget()
            yield Scene(gateway, victim, watch, neighbour, directory)
    finally:
        victim.kill()
        other.kill()


class Row(NamedTuple):
    """A fault that has been."""

    fault: str
    read: str
    """What the victim's registers gave while it lasted."""
    oldest_s: float
    neighbour: str
    back_s: float | None
    """None: it does not concern the devices, or they were never lost."""
    complaints: list[str]


def suffer(
    this: Scene,
    fault: str,
    begin: Callable[[], object],
    heal: Callable[[], object],
    *,
    lasts_s: float,
    back_within_s: float,
    is_lost: bool = True,
    slowest_s: float = SLOWEST_S,
    neighbour_oldest_s: float = NEIGHBOUR_OLDEST_S,
) -> Row:
    """Let it happen. `is_lost`: the victim's values must grow too old meanwhile, and be refused."""
    begin()
    time.sleep(lasts_s)
    read = _read_of(this.watch)
    lost = bool(this.watch.codes)
    begun_s = time.monotonic()
    heal()
    healed_s = time.monotonic()
    complaints = []
    back_s: float | None = None
    try:
        wait_until(lambda: this.watch.first_good_after(healed_s), back_within_s + 5.0, "good again")
        back_s = (this.watch.first_good_after(healed_s) or healed_s) - begun_s
    except AssertionError:
        complaints.append(f"not good again {back_within_s + 5:g} s after the end of the fault")
    if back_s is not None and back_s > back_within_s:
        complaints.append(f"good again only after {back_s:.1f} s, not {back_within_s:g} s")
    if is_lost and not lost:
        complaints.append("no value was refused, as if nothing had happened")
    complaints += _judge(this, slowest_s, neighbour_oldest_s)
    return Row(fault, read, this.watch.oldest_good_s, _neighbour(this.neighbour), back_s, complaints)


def _judge(this: Scene, slowest_s: float, neighbour_oldest_s: float) -> list[str]:
    watch, neighbour = this.watch, this.neighbour
    found = []
    if watch.oldest_good_s > STALE_S + SLACK_S:
        found.append(f"a value {watch.oldest_good_s:.2f} s old was given as good")
    if neighbour.oldest_good_s > neighbour_oldest_s:
        found.append(f"the neighbour's values grew {neighbour.oldest_good_s:.2f} s old")
    if neighbour.codes and neighbour_oldest_s < STALE_S:
        found.append(f"the neighbour was refused: {_codes(neighbour)}")
    if max(watch.slowest_s, neighbour.slowest_s) > slowest_s:
        found.append(f"an answer took {max(watch.slowest_s, neighbour.slowest_s):.2f} s")
    found += [f"a client: {each}" for each in (watch.wrong + neighbour.wrong)[:3]]
    if set(watch.codes) - {0x0B}:
        found.append(f"refused otherwise than with 0B: {_codes(watch)}")
    found += [each for each in list(this.gateway.log) if harness.is_bug(each)]
    return found


def _read_of(watch: Watch) -> str:
    parts = [f"{watch.good} good"] if watch.good else []
    return ", ".join([*parts, _codes(watch)] if watch.codes else parts) or "nothing"


def _codes(watch: Watch) -> str:
    return ", ".join(f"{count} x {code:02X}" for code, count in watch.codes.items())


def _neighbour(watch: Watch) -> str:
    refused = f", {_codes(watch)}" if watch.codes else ""
    return f"{watch.oldest_good_s:.2f} s old, {watch.slowest_s * 1e3:.0f} ms{refused}"


# -- the faults -------------------------------------------------------------------------------------------------


def killed(directory: Path, lasts_s: float) -> Row:
    with scene(directory) as this:
        return suffer(this, "device killed", this.plc.kill, this.plc.start, lasts_s=lasts_s, back_within_s=3.0)


def hung(directory: Path, lasts_s: float) -> Row:
    """It accepts and takes requests, and never answers."""
    with scene(directory) as this:
        return suffer(
            this,
            "device hung",
            lambda: this.plc.signal(signal.SIGSTOP),
            lambda: this.plc.signal(signal.SIGCONT),
            lasts_s=lasts_s,
            back_within_s=12.0,  # left alone but for a probe every ten seconds
        )


def restarted(directory: Path, lasts_s: float) -> Row:
    def restart() -> None:
        this.plc.kill()
        this.plc.start()

    with scene(directory) as this:
        return suffer(
            this, "device restarted", restart, lambda: None, lasts_s=lasts_s, back_within_s=1.0, is_lost=False
        )


NETNS = f"proof{os.getpid()}"
NETWORKS = ("198.51.100", "203.0.113", "192.0.2")
"""For documentation (RFC 5737), so mostly nobody's; the first that this machine has no address in is used."""


def _root(program: str) -> None:
    if os.geteuid():
        raise CannotRun("needs root")
    if shutil.which(program) is None:
        raise CannotRun(f"needs the program {program}")


def _do(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise CannotRun(f"{' '.join(command)}: {done.stderr.strip()}")


def half_open(directory: Path, lasts_s: float) -> Row:
    """No packet arrives any more, in either direction, and nobody says so."""
    _root("ip")
    _root("nft")
    inside, ours = ["ip", "netns", "exec", NETNS], NETNS[:15]
    addresses = subprocess.run(["ip", "-o", "address"], capture_output=True, text=True).stdout
    network = next((each for each in NETWORKS if each not in addresses), None)
    if network is None:
        raise CannotRun("every network for documentation is in use here")
    near, far = f"{network}.1", f"{network}.2"
    _do("ip", "netns", "add", NETNS)
    try:
        _do("ip", "link", "add", ours, "type", "veth", "peer", "name", "far", "netns", NETNS)
        _do("ip", "address", "add", f"{near}/30", "dev", ours)
        _do("ip", "link", "set", ours, "up")
        _do(*inside, "ip", "address", "add", f"{far}/30", "dev", "far")
        _do(*inside, "ip", "link", "set", "far", "up")

        def drop() -> None:
            _do(
                *inside,
                "nft",
                "add table ip proof; add chain ip proof in { type filter hook input priority 0; policy drop; }",
            )

        with scene(directory, host=far, device_prefix=inside) as this:
            return suffer(
                this,
                "packets dropped",
                drop,
                lambda: _do(*inside, "nft", "delete table ip proof"),
                lasts_s=2 * lasts_s,
                back_within_s=12.0,
            )
    finally:
        subprocess.run(["ip", "netns", "delete", NETNS], check=False)


def disk_full(directory: Path, lasts_s: float) -> Row:
    """Retained registers are written meanwhile; they are taken, served, and on the disk soon after there is room."""
    _root("mount")
    state = directory / "state"
    state.mkdir()
    _do("mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", str(state))
    try:
        with scene(directory, retain=True) as this, Wire(this.gateway.port) as wire:
            number = 0

            def write() -> None:
                nonlocal number
                number += 1
                answer = wire.ask(struct.pack(">BHH", 6, 5, number), 2)
                read = wire.ask(struct.pack(">BHH", 3, 5, 1), 2)
                if answer[0] != 6 or read != struct.pack(">BBH", 3, 2, number):
                    complaints.append(f"a write was answered {answer.hex()}, then read as {read.hex()}")

            def fill() -> None:
                with contextlib.suppress(OSError), (state / "filler").open("wb", buffering=0) as file:
                    while True:
                        file.write(bytes(1024))
                until_s = time.monotonic() + lasts_s
                while time.monotonic() < until_s:
                    write()
                    time.sleep(0.05)

            def on_disk() -> bool:
                return any(struct.pack(">H", number) in path.read_bytes() for path in state.glob("retained-2.bin"))

            complaints: list[str] = []
            number = 0x4000  # as bytes, nothing else in the file looks like what is written now
            write()
            wait_until(on_disk, 5.0, "the first snapshot")
            row = suffer(
                this,
                "disk full",
                fill,
                lambda: (state / "filler").unlink(),
                lasts_s=0.1,
                back_within_s=1.0,
                is_lost=False,
                neighbour_oldest_s=NEIGHBOUR_OLDEST_S,
            )
            healed_s = time.monotonic()
            wait_until(on_disk, 10.0, "the snapshot when there is room again")
            told = [
                line
                for line in list(this.gateway.log)
                if harness.matches("retained registers.*(space|disk|full)", line)
            ]
            if not told:
                complaints.append("nothing in the log tells that the disk is full")
            return row._replace(
                read=f"{row.read}; {number - 0x4000} writes", back_s=time.monotonic() - healed_s,
                complaints=row.complaints + complaints[:3],
            )  # fmt: skip
    finally:
        _do("umount", str(state))


DAY_S = 86_400


def clock_stepped(directory: Path, lasts_s: float) -> Row:
    """A day forward, ten years back, and right again: nothing happens but to the time in the log."""
    if sys.platform != "linux":
        raise CannotRun("needs Linux: LD_PRELOAD")
    library = clients.compile_c("wallclock", directory, "-shared", "-fPIC")
    offset = directory / "offset"

    def step(seconds: int) -> None:
        with offset.open("r+b") as file:  # in place: it is mapped
            file.write(struct.pack("=q", seconds))

    offset.write_bytes(struct.pack("=q", 0))
    environment = {"LD_PRELOAD": str(library), "PROOF_CLOCK": str(offset)}
    with scene(directory, environment=environment) as this:

        def years() -> set[str]:
            with Wire(this.gateway.port) as wire:
                wire.ask(struct.pack(">BHH", 3, 0, 1), 2)
            return {line[:4] for line in list(this.gateway.log)}

        def steps() -> None:
            for seconds in (DAY_S, -3653 * DAY_S):
                step(seconds)
                time.sleep(lasts_s / 2)
                years()

        row = suffer(this, "clock stepped", steps, lambda: step(0), lasts_s=0.0, back_within_s=0.5, is_lost=False)
        if this.watch.codes:
            row.complaints.append(f"the victim was refused: {_codes(this.watch)}")
        if this.watch.oldest_good_s > NEIGHBOUR_OLDEST_S:
            row.complaints.append(f"its polls stood still: a value {this.watch.oldest_good_s:.2f} s old")
        if len(years()) < 2:
            row.complaints.append("the clock was not stepped: all lines of the log are of one year")
        return row


NAME_SERVER, NAME = "127.0.77.53", "plc.proof.test"


class NameServer:
    """Tells where NAME is, or refuses (SERVFAIL), or is silent. UDP, one kind of answer."""

    def __init__(self) -> None:
        self.does = "fail"
        self.asked = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind((NAME_SERVER, 53))
        except OSError as error:
            self._socket.close()
            raise CannotRun(f"no name server at {NAME_SERVER}: {error}") from None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> NameServer:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", (NAME_SERVER, 53))
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        while True:
            query, peer = self._socket.recvfrom(4096)
            if not query:
                return
            self.asked += 1
            if self.does == "silence":
                continue
            end = query.index(b"\0", 12) + 5  # name, type, class
            question, kind = query[12:end], query[end - 4 : end - 2]
            is_a = kind == b"\0\1" and self.does == "tell"
            code = 0x8182 if self.does == "fail" else 0x8180
            head = query[:2] + struct.pack(">HHHHH", code, 1, int(is_a), 0, 0)
            record = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4" + socket.inet_aton(HOST) if is_a else b""
            self._socket.sendto(head + question + record, peer)


def names_fail(directory: Path, lasts_s: float) -> Row:
    """No name is resolved when the gateway starts: refusals, then silence. It heals, and fails when it is needed."""
    _root("unshare")
    resolv = directory / "resolv.conf"
    resolv.write_text(f"nameserver {NAME_SERVER}\noptions timeout:1 attempts:2\n", encoding="ascii")
    mount = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
    prefix = ["unshare", "--mount", "sh", "-c", mount, str(resolv)]
    with NameServer() as server, scene(directory, name=NAME, prefix=prefix, waits=False) as this:

        def is_silent() -> None:
            time.sleep(lasts_s / 2)
            server.does = "silence"

        def heal() -> None:
            server.does = "tell"

        first = suffer(this, "names fail", is_silent, heal, lasts_s=lasts_s, back_within_s=5.0)
        if not server.asked:
            first.complaints.append("nobody asked the name server")

        def fails_when_needed() -> None:
            server.does = "fail"
            this.plc.kill()
            this.plc.start()

        this.watch.forget()
        again = suffer(this, "", fails_when_needed, heal, lasts_s=lasts_s, back_within_s=5.0)
        return first._replace(
            read=f"{first.read}; {again.read}",
            oldest_s=max(first.oldest_s, again.oldest_s),
            back_s=max(first.back_s or 0.0, again.back_s or 0.0),
            complaints=first.complaints + again.complaints,
        )


STOPPED = 2.5
"""Ten seconds."""


def stopped(directory: Path, lasts_s: float) -> Row:
    """SIGSTOP and on. What was asked meanwhile is answered first, before any poll: not with what is old by now."""
    stopped_s = STOPPED * lasts_s
    with scene(directory) as this, contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(this.gateway.port)) for _ in range(5)]
        for wire in wires:
            wire.ask(struct.pack(">BHH", 4, VICTIM, 2))  # so that a short cut for it is known
        answers: list[bytes] = []

        def stop() -> None:
            this.watch.halted_s = this.neighbour.halted_s = time.monotonic()
            this.gateway.process.send_signal(signal.SIGSTOP)

        def go_on() -> None:
            for wire in wires:
                wire.send(struct.pack(">HHHBBHH", 1, 0, 6, 1, 4, VICTIM, 2))
            this.gateway.process.send_signal(signal.SIGCONT)
            answers.extend(wire.receive_adu().pdu for wire in wires)

        row = suffer(
            this,
            f"SIGSTOP for {stopped_s:g} s",
            stop,
            go_on,
            lasts_s=stopped_s,
            back_within_s=2.0,
            is_lost=False,
            slowest_s=stopped_s + 1.0,
            neighbour_oldest_s=STALE_S + SLACK_S,
        )
        now_ms = int(time.monotonic() * 1000)
        for answer in answers:
            if answer[0] == 4 and (now_ms - int.from_bytes(answer[2:6], "big")) & 0xFFFFFFFF > (STALE_S + 5.0) * 1000:
                row.complaints.append("the first answer after SIGCONT was an old value as good")
        first = Counter("0B" if answer[0] & 0x80 else "good" for answer in answers)
        return row._replace(read="at once: " + ", ".join(f"{count} x {what}" for what, count in first.items()))


FAULTS: dict[str, Callable[[Path, float], Row]] = {
    "killed": killed,
    "hung": hung,
    "restarted": restarted,
    "dropped": half_open,
    "disk": disk_full,
    "clock": clock_stepped,
    "names": names_fail,
    "stopped": stopped,
}


def prove(directory: Path, names: Sequence[str] = tuple(FAULTS), lasts_s: float = LASTS_S, at_once: int = 1) -> Report:
    """`at_once`: faults at the same time, each with a gateway of its own; they cost each other time."""
    report = Report(
        f"faults: polled every {EVERY_S:g} s, too old after {STALE_S:g} s (+{SLACK_S:g} s for the way); columns: read "
        "of the victim while it lasted | oldest given as good | neighbour: oldest, slowest answer | good again after"
    )

    def one(name: str) -> None:
        folder = directory / name
        folder.mkdir()
        try:
            row = FAULTS[name](folder, lasts_s)
        except CannotRun as reason:
            report.cannot(name, reason)
            return
        back = "-" if row.back_s is None else f"{row.back_s:.2f} s"
        figure = f"{row.read:<36} | {row.oldest_s:5.2f} s | {row.neighbour:<18} | {back}"
        report.check(row.fault, figure, "; ".join(row.complaints), not row.complaints)
        harness.say(f"{name} done")

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(one, names))
    return report


def main() -> None:
    parser = harness.parser("faults", "What breaks, and what clients read meanwhile.")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=list(FAULTS),
        default=list(FAULTS),
        metavar="FAULT",
        help=f"of: {', '.join(FAULTS)}",
    )
    args = parser.parse_args()
    harness.main(lambda directory: prove(directory, args.only))


if __name__ == "__main__":
    main()
