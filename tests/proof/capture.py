"""A capture of mixed traffic, judged by tshark's dissectors: not one malformed frame among those that we sent.

Ours are the answers on every door that tshark understands (Modbus/TCP, Modbus over UDP, RTU over TCP) and the requests
to devices. The clients ask everything there is, right and wrong; what they send is not judged. A second capture of the
same kind could not tell more, so the figure is frames: how many of ours the dissector read as Modbus.

Needs tshark and root (or the right to capture). Run from the repository root: python -m tests.proof.capture --help
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.proof import clients, harness
from tests.proof.attack import Attack, Framing, Piece, pack
from tests.proof.clients import Clients
from tests.proof.harness import HOST, CannotRun, Report
from tests.support.devices import free_port, pymodbus_plc
from tests.support.until import wait_until

MINUTES = 5.0
LEAST_FRAMES = 10
"""Of ours on each way; fewer, and nothing was proved."""
CAPTURE_STARTS_S = 10.0
CAPTURE_ENDS_S = 20.0
"""It writes what it has every half a second, on a loaded machine later."""
ANSWERS_S = 20.0
"""So much longer than asked for it asks on, to have enough answers on each way: of a short run most may be silence."""
ENDS_S = 5.0
CLIENTS, RATE = 20, 50.0

PLANT = """
server:
  listen: ["tcp://127.0.0.1:0", "udp://127.0.0.1:{udp}", "rtu+tcp://127.0.0.1:{rtu}"]
  status: 2/input:0
units:
  1:
    coils: 0..65535
    discrete: 0..99
    holding: 0..65535
    input: 0..999
    files: {{4: {{records: 1000}}}}
    fifo: {{"holding:65000": {{size: 8}}}}
  9: {{forward: plc}}
devices:
  plc:
    url: "tcp://127.0.0.1:{plc}"
    every: 50ms
    poll: [{{read: "holding:0..19", to: "1/input:100"}}, {{read: "coils:0..15", to: "1/discrete:0"}}]
    push: [{{write: "holding:50..51", from: "1/holding:65100", every: 100ms}}]
"""


class Way(NamedTuple):
    name: str
    carrier: str
    port: int
    dissector: str
    is_ours_from: bool
    """Ours come from that port; else they go to it."""

    @property
    def ours(self) -> tuple[str, str]:
        """The field and its value that tell our frames."""
        return f"{self.carrier}.{'srcport' if self.is_ours_from else 'dstport'}", str(self.port)


@contextlib.contextmanager
def capturing(file: Path, ways: Sequence[Way]) -> Iterator[None]:
    program = shutil.which("dumpcap") or shutil.which("tshark")
    if program is None or shutil.which("tshark") is None:
        raise CannotRun("tshark is not installed (Debian: apt install tshark)")
    if os.geteuid():
        raise CannotRun("needs root, to capture")
    ports = " or ".join(f"port {way.port}" for way in ways)
    process = subprocess.Popen(
        [program, "-q", "-i", "lo", "-f", ports, "-w", str(file)], stderr=subprocess.PIPE, text=True
    )
    try:
        wait_until(lambda: file.exists() or process.poll() is not None, CAPTURE_STARTS_S, "the capture")
        if process.poll() is not None:
            raise CannotRun(f"no capture: {process.communicate()[1].strip()}")
        yield
    finally:
        process.send_signal(signal.SIGINT)  # it writes what it has
        try:
            process.communicate(timeout=20.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


class Frame(NamedTuple):
    """One that a dissector took for Modbus, or found malformed."""

    ports: dict[str, str]
    """`tcp.srcport` and the like."""
    malformed: str
    shown: str


_PORTS = ("tcp.srcport", "tcp.dstport", "udp.srcport", "udp.dstport")


def dissect(file: Path, ways: Sequence[Way]) -> list[Frame]:
    as_what = [part for way in ways for part in ("-d", f"{way.carrier}.port=={way.port},{way.dissector}")]
    fields = [part for name in (*_PORTS, "_ws.malformed", "_ws.col.Info") for part in ("-e", name)]
    command = ["tshark", "-r", str(file), *as_what, "-Y", "modbus || _ws.malformed", "-T", "fields", *fields]
    told = subprocess.run(command, capture_output=True, text=True)
    if told.returncode:
        raise CannotRun(f"tshark: {told.stderr.strip()}")
    frames = []
    for line in told.stdout.splitlines():
        *ports, malformed, shown = line.split("\t")
        frames.append(Frame(dict(zip(_PORTS, ports, strict=True)), malformed, shown))
    return frames


class Asker(threading.Thread):
    """Requests of all functions on one door, one at a time, right and wrong, until the end."""

    def __init__(self, framing: Framing, carrier: str, port: int, seed: str) -> None:
        super().__init__(name=f"asks {framing} over {carrier}", daemon=True)
        self.answers = 0
        self._framing: Framing = framing
        self._kind = socket.SOCK_DGRAM if carrier == "udp" else socket.SOCK_STREAM
        self._port = port
        self._attack = Attack(seed, framing)
        self._end = threading.Event()

    def end(self) -> None:
        self._end.set()
        self.join(ENDS_S)

    def run(self) -> None:
        while not self._end.is_set():
            with contextlib.suppress(OSError), socket.socket(socket.AF_INET, self._kind) as client:
                client.settimeout(0.2)
                client.connect((HOST, self._port))
                self._ask(client)

    def _ask(self, client: socket.socket) -> None:
        attack = self._attack
        for tid in range(1, 200):
            piece = Piece(pack(self._framing, tid, attack.random.choice((1, 1, 1, 2, 9)), attack.pdu()))
            client.sendall(piece.data)
            with contextlib.suppress(TimeoutError):
                if not client.recv(4096):
                    return
                self.answers += 1
            if self._end.is_set():
                return


def mark_end(file: Path, port: int) -> None:
    """When this returns, the capture has in `file` whatever came before: a datagram of ours is there, to UDP `port`."""
    mark = b"the end " + os.urandom(8)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(mark, (HOST, port))
    wait_until(lambda: mark in file.read_bytes(), CAPTURE_ENDS_S, "the last packets in the capture")


def prove(directory: Path, minutes: float, seed: int) -> Report:
    report = Report(f"capture, {minutes:g} min of mixed traffic before tshark, seed {seed}")
    program = clients.compile_c("clients", directory)
    udp, rtu = free_port(), free_port()
    with pymodbus_plc() as plc:
        yaml = PLANT.format(udp=udp, rtu=rtu, plc=plc.port)
        with harness.own_gateway(yaml, directory) as gateway:
            ways = (
                Way("answers over TCP", "tcp", gateway.port, "mbtcp", True),
                Way("answers over UDP", "udp", udp, "mbudp", True),
                Way("answers as RTU over TCP", "tcp", rtu, "mbrtu", True),
                Way("requests to a device", "tcp", plc.port, "mbtcp", False),
            )
            file = directory / "capture.pcapng"
            doors: tuple[tuple[Framing, str, int], ...] = (
                ("mbap", "tcp", gateway.port),
                ("mbap", "udp", udp),
                ("rtu", "tcp", rtu),
            )
            with capturing(file, ways):
                askers = [Asker(*door, f"{seed} {door}") for door in doors]
                for asker in askers:
                    asker.start()
                steady = Clients(program, gateway.port, CLIENTS, RATE, minutes * 60)
                steady.end()
                with contextlib.suppress(AssertionError):  # the figures tell
                    wait_until(lambda: min(asker.answers for asker in askers) >= 2 * LEAST_FRAMES, ANSWERS_S)
                for asker in askers:
                    asker.end()
                mark_end(file, udp)
            report.check_log(gateway)
    frames = dissect(file, ways)
    for way in ways:
        field, port = way.ours
        ours = [frame for frame in frames if frame.ports[field] == port]
        report.check(f"{way.name}: frames", f"{len(ours):,}", f"at least {LEAST_FRAMES}", len(ours) >= LEAST_FRAMES)
        bad = [frame.shown for frame in ours if frame.malformed]
        report.check(f"{way.name}: malformed", f"{len(bad)}{'; ' + bad[0] if bad else ''}", "0", not bad)
    return report


def main() -> None:
    parser = harness.parser("capture", "What tshark thinks of our frames.", minutes=MINUTES, seed=True)
    args = parser.parse_args()
    harness.main(lambda directory: prove(directory, args.minutes, args.seed))


if __name__ == "__main__":
    main()
