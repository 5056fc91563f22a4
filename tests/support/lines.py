"""A device on a line that does exactly what a test says: RTU or ASCII, on a serial port or behind a TCP port."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from pymodbus.framer import FramerAscii, FramerRTU

from tests.support.until import wait_until

Behaviour = Callable[[int, bytes], bytes | None]
"""(unit id, request PDU) -> the bytes to send (`LineDevice.frame`, or any); None: silence."""


class Asked(NamedTuple):
    unit: int
    pdu: bytes
    at_s: float
    """When its last byte came; monotonic."""


def echo_zeros(pdu: bytes) -> bytes:
    """Reads of registers are answered with their addresses as values."""
    first, count = int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big")
    data = b"".join((first + n & 0xFFFF).to_bytes(2, "big") for n in range(count))
    return bytes((pdu[0], len(data))) + data


class LineDevice:
    """Answers by `behave`; records every request. Its checksums are pymodbus's."""

    def __init__(self, framing: str, path: str | None = None) -> None:
        """`path`: of its end of a serial line; None: it listens on a TCP port of its own."""
        self.framing = framing
        self.behave: Behaviour = lambda unit, pdu: self.frame(unit, echo_zeros(pdu))
        self.asked: list[Asked] = []
        self.connections = 0
        self.port = 0
        self._send: Callable[[bytes], object] = lambda data: None
        self._ends: list[Callable[[], None]] = []
        if path is not None:
            descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY)
            self._ends.append(lambda: os.close(descriptor))
            self._serve(lambda: os.read(descriptor, 4096), lambda data: os.write(descriptor, data))
        else:
            listener = socket.create_server(("127.0.0.1", 0))
            self.port = listener.getsockname()[1]
            self._ends += [lambda: listener.shutdown(socket.SHUT_RDWR), listener.close]
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    @property
    def requests(self) -> list[tuple[int, bytes]]:
        return [(each.unit, each.pdu) for each in self.asked]

    def frame(self, unit: int, pdu: bytes) -> bytes:
        data = bytes((unit,)) + pdu
        if self.framing == "rtu":
            return data + FramerRTU.compute_CRC(data).to_bytes(2, "big")
        return b":" + (data + bytes((FramerAscii.compute_LRC(data),))).hex().upper().encode() + b"\r\n"

    def send(self, data: bytes) -> None:
        """Now, unasked; on the connection that is the latest."""
        with contextlib.suppress(OSError):
            self._send(data)

    def wait_for_requests(self, count: int) -> None:
        wait_until(lambda: len(self.asked) >= count, what=f"{count} requests at the device")

    def close(self) -> None:
        for end in self._ends:
            with contextlib.suppress(OSError):
                end()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self._ends += [lambda mine=connection: mine.shutdown(socket.SHUT_RDWR), connection.close]  # type: ignore[misc]
            self._serve(lambda mine=connection: mine.recv(4096), connection.sendall)  # type: ignore[misc]

    def _serve(self, read: Callable[[], bytes], send: Callable[[bytes], object]) -> None:
        self.connections += 1
        self._send = send
        threading.Thread(target=self._read, args=(read,), daemon=True).start()

    def _read(self, read: Callable[[], bytes]) -> None:
        data = b""
        while True:
            try:
                part = read()
            except OSError:
                return
            if not part:
                return
            data += part
            while size := self._size(data):
                frame, data = data[:size], data[size:]
                raw = frame if self.framing == "rtu" else bytes.fromhex(frame[1:-2].decode())
                unit, pdu = raw[0], raw[1 : -2 if self.framing == "rtu" else -1]
                self.asked.append(Asked(unit, pdu, time.monotonic()))
                answer = self.behave(unit, pdu)
                if answer:
                    self.send(answer)

    def _size(self, data: bytes) -> int:
        """Of the first request; 0: it is not whole."""
        if self.framing == "ascii":
            return data.find(b"\n") + 1
        if len(data) < 8:
            return 0
        size = 9 + data[6] if data[1] in (15, 16) else 10 if data[1] == 22 else 8
        return size if size <= len(data) else 0
