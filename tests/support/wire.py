"""Modbus TCP by hand: bytes out, exact bytes in, every wait with a deadline. Knows nothing of the code under test."""

from __future__ import annotations

import socket
import struct
import time
from types import TracebackType
from typing import NamedTuple

DEADLINE_S = 5.0
HEADER_SIZE = 7


def hexed(text: str) -> bytes:
    """The bytes of a hex dump; white space is for the reader."""
    return bytes.fromhex(text)


def adu(tid: int, unit: int, pdu: bytes) -> bytes:
    """MBAP header (guide V1.0b 3.1.3) and PDU."""
    return struct.pack(">HHHB", tid, 0, len(pdu) + 1, unit) + pdu


class Adu(NamedTuple):
    tid: int
    protocol: int
    unit: int
    pdu: bytes


class Closed(AssertionError):
    """The server closed the connection where bytes were expected."""


class Wire:
    """One client connection."""

    def __init__(
        self,
        port: int,
        host: str = "127.0.0.1",
        *,
        receive_buffer: int = 0,
        send_buffer: int = 0,
        source: str | None = None,
    ) -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if send_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        self.socket.settimeout(DEADLINE_S)
        try:
            if source:
                self.socket.bind((source, 0))
            self.socket.connect((host, port))
        except BaseException:
            self.socket.close()
            raise
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._tid = 0

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def local_port(self) -> int:
        port: int = self.socket.getsockname()[1]
        return port

    def send(self, data: bytes) -> None:
        self.socket.settimeout(DEADLINE_S)
        self.socket.sendall(data)

    def receive(self, count: int, deadline_s: float = DEADLINE_S) -> bytes:
        """Exactly `count` bytes; Closed when the stream ends before."""
        end_s = time.monotonic() + deadline_s
        data = bytearray()
        while len(data) < count:
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                raise AssertionError(f"{len(data)} of {count} bytes within {deadline_s:g} s: {data[-64:].hex(' ')}")
            self.socket.settimeout(left_s)
            try:
                part = self.socket.recv(min(count - len(data), 1 << 16))
            except TimeoutError:
                continue
            except ConnectionError as error:
                raise Closed(f"{error} after {len(data)} of {count} bytes") from error
            if not part:
                raise Closed(f"closed after {len(data)} of {count} bytes: {data[-64:].hex(' ')}")
            data += part
        return bytes(data)

    def receive_adu(self, deadline_s: float = DEADLINE_S) -> Adu:
        """The next whole answer; its length field has been used as it is."""
        tid, protocol, length, unit = struct.unpack(">HHHB", self.receive(HEADER_SIZE, deadline_s))
        assert 2 <= length <= 254, f"impossible length {length} in an answer"
        return Adu(tid, protocol, unit, self.receive(length - 1, deadline_s))

    def ask(self, pdu: bytes, unit: int = 1) -> bytes:
        """The response PDU to `pdu`; the header that comes with it is checked."""
        self._tid = self._tid % 0xFFFF + 1
        self.send(adu(self._tid, unit, pdu))
        answer = self.receive_adu()
        assert answer[:3] == (self._tid, 0, unit), f"header of another answer: {answer}"
        return answer.pdu

    def half_close(self) -> None:
        """Nothing more will be sent; answers are still wanted."""
        self.socket.shutdown(socket.SHUT_WR)

    def expect_close(self, deadline_s: float = DEADLINE_S) -> None:
        """The server ends the connection, and sends nothing before it does."""
        try:
            rest = self.receive(1, deadline_s)
        except Closed:
            return
        raise AssertionError(f"{rest.hex()} instead of the end of the connection")

    def abort(self) -> None:
        """Vanish with a reset, as a client that crashed."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        self.socket.close()
