"""What sits in a cellular cabinet: dials in to a port, says who it is, then carries bytes to and from a device."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

DEADLINE_S = 5.0


class Dtu:
    """One connection to `meeting`; what comes goes to the device that listens on the port `device`, and back."""

    def __init__(self, meeting: tuple[str, int], device: int | None, *first: bytes) -> None:
        """`first`: what it sends before anything else, each in a segment of its own. `device` None: it is switched
        off, and the bytes are kept in `came`."""
        self.came = b""
        self._hangs = False
        self.is_closed = threading.Event()
        """The other side has ended the connection."""
        self._line = socket.create_connection(meeting, DEADLINE_S)
        self._line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._line.settimeout(None)
        self._device = None if device is None else socket.create_connection(("127.0.0.1", device), DEADLINE_S)
        for part in first:
            self._line.sendall(part)
        threading.Thread(target=self._in, daemon=True).start()
        if self._device is not None:
            self._device.settimeout(None)
            threading.Thread(target=self._out, args=(self._device,), daemon=True).start()

    def _in(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._line.recv(4096):
                self.came += data
                if self._device is not None and not self._hangs:
                    self._device.sendall(data)
        self.is_closed.set()

    def _out(self, device: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := device.recv(4096):
                self.send(self.before_answers + data + self.behind_answers)

    before_answers = b""
    """What it sends in one segment with each answer: a heartbeat that was waiting."""
    behind_answers = b""

    def hang(self, hangs: bool = True) -> None:
        """Pass nothing on, and say nothing of it: as one that has lost its power."""
        self._hangs = hangs

    def send(self, data: bytes) -> None:
        self._line.sendall(data)

    def close(self, *, reset: bool = False) -> None:
        """Hang up; `reset`: as one that lost its power and came back."""
        if reset:
            self._line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        for sock in (self._line, self._device):
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
                sock.close()
