"""Devices for tests: a foreign PLC that can be killed and started again, and one that does exactly what a test says."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.support.process import ROOT
from tests.support.until import wait_until
from tests.support.wire import adu


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ProcessPlc:
    """A PLC in a process of its own, `python -m MODULE PORT ...`, on a fixed port; killed and started again."""

    def __init__(self, module: str, *arguments: str) -> None:
        self.port = free_port()
        self._command = [sys.executable, "-m", module, str(self.port), *arguments]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        """As pulling the plug: no goodbye."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None


class PymodbusPlc(ProcessPlc):
    """tests/support/pymodbus_plc.py."""

    def __init__(self, *arguments: str) -> None:
        super().__init__("tests.support.pymodbus_plc", *arguments)


@contextmanager
def pymodbus_plc(*arguments: str) -> Iterator[PymodbusPlc]:
    plc = PymodbusPlc(*arguments)
    plc.start()
    try:
        yield plc
    finally:
        plc.kill()


Behaviour = Callable[[int, int, bytes], bytes | None]
"""(transaction id, unit id, request PDU) -> the bytes to send, whole frames or not; None: silence."""


def echo_zeros(tid: int, unit: int, pdu: bytes) -> bytes | None:
    """Reads of registers are answered with their addresses as values."""
    first, count = int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big")
    data = b"".join((first + n & 0xFFFF).to_bytes(2, "big") for n in range(count))
    return adu(tid, unit, bytes((pdu[0], len(data))) + data)


class ScriptedDevice:
    """A TCP listener whose answers are the test's `behave`; it records every request and every connection."""

    def __init__(
        self,
        behave: Behaviour = echo_zeros,
        port: int = 0,
        wrap: Callable[[socket.socket], socket.socket] = lambda plain: plain,
    ) -> None:
        """`wrap` makes of a connection what it travels in (TLS); an OSError of it ends the connection."""
        self.behave = behave
        self._wrap = wrap
        self.requests: list[tuple[int, int, bytes]] = []
        self.connections = 0
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._sockets.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        data = b""
        try:
            connection = self._wrap(plain)
        except OSError:
            plain.close()
            return
        if connection is not plain:
            self._sockets.append(connection)
        while True:
            try:
                part = connection.recv(4096)
            except OSError:
                return
            if not part:
                connection.close()
                return
            data += part
            while len(data) >= 6 and len(data) >= (size := 6 + int.from_bytes(data[4:6], "big")):
                tid, unit, pdu = int.from_bytes(data[:2], "big"), data[6], data[7:size]
                data = data[size:]
                self.requests.append((tid, unit, pdu))
                answer = self.behave(tid, unit, pdu)
                if answer:
                    try:
                        connection.sendall(answer)
                    except OSError:
                        return

    def drop(self) -> None:
        """Close every connection; the listener stays."""
        for connection in self._sockets:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # close alone would not wake the thread that reads it
            connection.close()
        self._sockets.clear()

    def wait_for_requests(self, count: int, deadline_s: float = 5.0) -> None:
        wait_until(lambda: len(self.requests) >= count, deadline_s, f"{count} requests at the device")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # close alone would leave the thread accepting once more
        self._listener.close()
        self.drop()


@contextmanager
def scripted(behave: Behaviour = echo_zeros) -> Iterator[ScriptedDevice]:
    device = ScriptedDevice(behave)
    try:
        yield device
    finally:
        device.close()
