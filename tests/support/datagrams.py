"""A UDP device that answers as a test says."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tests.support.devices import echo_zeros

Behaviour = Callable[[int, int, bytes], Sequence[bytes]]
"""(transaction id, unit id, request PDU) -> the datagrams to send."""


def echo(tid: int, unit: int, pdu: bytes) -> list[bytes]:
    return [echo_zeros(tid, unit, pdu) or b""]


class UdpDevice:
    """Records every datagram and from which port it came."""

    def __init__(self, behave: Behaviour = echo, port: int = 0, host: str = "127.0.0.1") -> None:
        self.behave = behave
        self.datagrams: list[bytes] = []
        self.peers: list[tuple[str, int]] = []
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, port))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            data, peer = self._socket.recvfrom(65536)
            if not data:
                return
            self.datagrams.append(data)
            self.peers.append(peer[:2])
            tid, unit, pdu = int.from_bytes(data[:2], "big"), data[6], data[7:]
            for datagram in self.behave(tid, unit, pdu):
                self._socket.sendto(datagram, peer)

    def send(self, datagram: bytes, peer: tuple[str, int]) -> None:
        """Unasked."""
        self._socket.sendto(datagram, peer)

    def close(self) -> None:
        with socket.socket(self._socket.family, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", self._socket.getsockname())
        self._thread.join(5.0)
        self._socket.close()


@contextmanager
def udp_device(behave: Behaviour = echo) -> Iterator[UdpDevice]:
    device = UdpDevice(behave)
    try:
        yield device
    finally:
        device.close()
