"""ASCII framing (serial line guide 2.5.2; protocol digest 3.1, 3.4): `:`, address, PDU and LRC as hex pairs, CR LF.

A colon begins a frame wherever it stands, so a receiver finds the next frame after any noise.
"""

from __future__ import annotations

import binascii
from typing import Final

from gateway.modbus import spec
from gateway.modbus.pdu import answer_head, fault

START: Final = b":"
END: Final = b"\r\n"
MAX_SIZE: Final = 513
"""Characters: the colon, 255 pairs, CR LF."""


def lrc(data: bytes) -> int:
    """Two's complement of the sum of all bytes."""
    return -sum(data) & 0xFF


def pack(unit_id: int, pdu: bytes, delimiter: bytes = b"\n") -> bytes:
    """One frame, whole. `delimiter` stands in the place of LF when function 08/03 has changed it."""
    frame = bytes((unit_id,)) + pdu
    return START + binascii.hexlify(frame + bytes((lrc(frame),))).upper() + b"\r" + delimiter


def unpack(line: bytes) -> tuple[int, bytes] | None:
    """Unit id and PDU of what stands between the colon and CR; None: not hex, too short, or its LRC is wrong."""
    try:
        frame = binascii.unhexlify(line)
    except (binascii.Error, ValueError):
        return None
    if len(frame) < 3 or sum(frame) & 0xFF:
        return None
    return frame[0], frame[1:-1]


class AnswerReceiver:
    """Cuts the answer to one request at a time out of whatever a line brings, however it is split."""

    __slots__ = ("_head", "_is_noisy", "_line", "_request", "came", "noise")
    is_open = False

    def __init__(self) -> None:
        self.noise = 0
        """Requests for which something came that is no answer, or has a wrong LRC."""
        self.came = 0
        """Bytes since the request."""
        self._line = b""
        """From the last colon on; empty: none came."""
        self._request = b""
        self._head = b""
        """What the PDU of a good answer begins with."""
        self._is_noisy = False

    def expect(self, unit_id: int, pdu: bytes) -> None:
        """The next answer is to this request; what came before is dropped."""
        self.clear()
        self.came = 0
        self._is_noisy = False
        self._request = pdu
        self._head = answer_head(pdu)

    def clear(self) -> None:
        """Drop what came and was not taken."""
        if self._line:
            self._line = b""
            self._count()

    def feed(self, data: bytes) -> None:
        """Bytes as they come; take what they make whole before the next are fed."""
        self.came += len(data)
        self._line += data

    def take(self, *, is_silent: bool = False) -> tuple[int, bytes] | None:
        """Unit id and PDU of the next frame that may be the answer, also one of another unit; None: not yet."""
        while (end := self._line.find(END)) >= 0:
            line, self._line = self._line[:end], self._line[end + len(END) :]
            before, colon, text = line.rpartition(START)
            frame = unpack(text) if colon else None
            if before or frame is None or not self._fits(frame[1]):
                self._count()
            if frame is not None and self._fits(frame[1]):
                return frame
        at = self._line.rfind(START)
        if at < 0 or len(self._line) - at > MAX_SIZE:
            self.clear()
        elif at:
            self._line = self._line[at:]
            self._count()
        return None

    def _fits(self, answer: bytes) -> bool:
        is_exception = answer[0] == self._request[0] | spec.EXCEPTION_BIT
        return (is_exception or answer.startswith(self._head)) and fault(self._request, answer) is None

    def _count(self) -> None:
        self.noise += not self._is_noisy
        self._is_noisy = True
