"""What the benchmarks share: compiling, starting and ending processes, cores, and a first correct answer.

The rule of the file: nothing here outlives the benchmark. Every process is a context manager, ends with its block, and
asks the kernel to be killed when the benchmark itself is (PR_SET_PDEATHSIG), so that no server is left on a core and
spoils the next run. Readiness is an answer to a request, never a sleep. Linux only: /proc, affinity, epoll.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LOOPBACK = "127.0.0.1"
UNIT = 1
START_DEADLINE_S = 20.0
"""For a server to answer its first request; pymodbus needs one on a slow machine."""
ANSWER_DEADLINE_S = 5.0
RETRY_S = 0.001
"""Between two attempts to connect: short, for it is the resolution of the start benchmark."""
END_DEADLINE_S = 2.0
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


class CannotRun(Exception):
    """Something needed is missing: a compiler, a library, a command that does not exist yet. The text says what."""


class Cores(NamedTuple):
    """One core for the client and another for the server; None where there is only one for both."""

    client: int | None
    server: int | None


def choose_cores() -> Cores:
    """Two allowed cores, of different physical cores where the machine has such."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        return Cores(None, None)
    siblings = _siblings(allowed[0])
    return Cores(allowed[0], next((core for core in allowed if core not in siblings), allowed[1]))


def _siblings(core: int) -> set[int]:
    """The hardware threads of the physical core that `core` is one of."""
    try:
        text = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list").read_text()
    except OSError:
        return {core}
    found: set[int] = set()
    for part in text.strip().split(","):
        low, _, high = part.partition("-")
        found.update(range(int(low), int(high or low) + 1))
    return found


def pin_to(core: int | None) -> None:
    """Keep this process, and children that are not pinned themselves, on `core`."""
    if core is not None:
        os.sched_setaffinity(0, {core})


def end_with_parent() -> None:
    """For a child before it becomes its program: the kernel kills it when the benchmark is gone, however that ended."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def end_on_signals() -> None:
    """Make SIGTERM and SIGHUP an exception, so that `finally` ends what was started."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: sys.exit(128 + received))


def raise_file_limit() -> int:
    """As many open files as this user may have, here and in children; returns how many."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


@contextlib.contextmanager
def temporary_directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="gateway-benchmark-") as name:
        yield Path(name)


def compile_c(name: str, into: Path, *libraries: str, folder: Path = HERE, flags: Sequence[str] = ()) -> Path:
    """`name`.c of `folder` as a program in `into`. Raises CannotRun without gcc or a library."""
    program = into / name
    command = ["gcc", "-O2", "-Wall", "-Wextra", *flags, "-o", str(program), str(folder / f"{name}.c")]
    try:
        for library in libraries:
            found = subprocess.run(["pkg-config", "--cflags", "--libs", library], capture_output=True, text=True)
            if found.returncode != 0:
                raise CannotRun(f"{library} is not installed for developers (Debian: apt install {library}-dev)")
            command += found.stdout.split()
        built = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError as missing:
        raise CannotRun(f"{missing.filename} is not installed (Debian: apt install gcc pkg-config)") from None
    if built.returncode != 0:
        raise CannotRun(f"{name}.c does not compile: {built.stderr.strip().splitlines()[0]}")
    return program


def free_port() -> int:
    """A port nobody listens on now. Somebody could take it before the server does; then the server says so."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """A process that serves Modbus TCP on a loopback port, on a core of its own, its output kept in a file."""

    def __init__(self, command: Sequence[str], port: int, core: int | None, log: Path) -> None:
        self.port = port
        self._log = log
        self._core = core
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, preexec_fn=self._in_child
            )

    def _in_child(self) -> None:
        end_with_parent()
        pin_to(self._core)

    def _check_alive(self) -> None:
        status = self._process.poll()
        if status is not None:
            raise CannotRun(f"ended with status {status}: {self._last_line()}")

    def send_signal(self, number: signal.Signals) -> None:
        """Raises CannotRun when it has ended."""
        self._check_alive()
        self._process.send_signal(number)

    def check_lives(self, within_s: float = 0.0) -> None:
        """Raises CannotRun with its last words when it has ended, or does so `within_s`."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(within_s)
        self._check_alive()

    def wait_until_answering(self, request: bytes | None = None) -> bytes:
        """The PDU of its first answer to `request` (default: one holding register). Raises CannotRun."""
        request = request or read_registers(0, 1)
        deadline = time.monotonic() + START_DEADLINE_S
        while time.monotonic() < deadline:
            self._check_alive()
            try:
                with connect(self.port) as client:
                    return ask(client, request)
            except ConnectionRefusedError:
                time.sleep(RETRY_S)
            except OSError as error:
                raise CannotRun(f"gives no answer: {error}") from None
        raise CannotRun(f"does not listen after {START_DEADLINE_S:.0f} s: {self._last_line()}")

    def _last_line(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else "it said nothing"

    def memory_kb(self) -> int:
        """Resident memory, VmRSS of /proc."""
        for line in self._proc("status").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise CannotRun("is gone: it has no memory")

    def cpu_s(self) -> float:
        """CPU time used so far, user and kernel, in steps of the kernel's clock tick (usually 10 ms)."""
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _proc(self, name: str) -> str:
        self._check_alive()
        return Path(f"/proc/{self._process.pid}/{name}").read_text()

    def end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(END_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def running(command: Sequence[str], port: int, core: int | None, log: Path) -> Iterator[Server]:
    """`command` as a Server that ends with the block."""
    server = Server(command, port, core, log)
    try:
        yield server
    finally:
        server.end()


def gateway_command(config: Path) -> list[str]:
    """The gateway as its users start it, with this Python."""
    return [sys.executable, "-m", "gateway", "--config", str(config)]


def connect(port: int) -> socket.socket:
    client = socket.create_connection((LOOPBACK, port), ANSWER_DEADLINE_S)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def read_registers(address: int, count: int) -> bytes:
    """The PDU of function 3 (V1.1b3 6.3)."""
    return struct.pack(">BHH", 3, address, count)


def write_registers(address: int, data: bytes) -> bytes:
    """The PDU of function 16 (V1.1b3 6.12); `data` is 2 bytes per register."""
    return struct.pack(">BHHB", 16, address, len(data) // 2, len(data)) + data


def ask(client: socket.socket, pdu: bytes) -> bytes:
    """The PDU of the answer to `pdu`. Raises OSError when none comes in time or it answers something else."""
    head = struct.pack(">HHHB", 0x4711, 0, len(pdu) + 1, UNIT)
    client.sendall(head + pdu)
    got = _receive_exactly(client, 7)
    if got[:4] != head[:4] or got[6] != UNIT:
        raise OSError(f"the answer to {head.hex()} begins with {got.hex()}")
    return _receive_exactly(client, struct.unpack_from(">H", got, 4)[0] - 1)


def _receive_exactly(client: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        part = client.recv(size - len(got))
        if not part:
            raise OSError("closed the connection instead of answering")
        got += part
    return got
