"""MBAP framing (TCP guide V1.0b 3.1.3): bytes of a stream in, whole frames out.

A frame is transaction id, protocol id 0, length, unit id, PDU. The length is checked before it is believed: nothing is
buffered beyond one frame, and a stream with an impossible header is broken for good, never searched for the next one.
"""

from __future__ import annotations

import struct
from typing import Final

HEADER_SIZE: Final = 7
MIN_LENGTH: Final = 2
"""The least value of the length field: unit id and function code."""
MAX_LENGTH: Final = 254
"""The most: unit id and a PDU of 253 bytes."""
MAX_FRAME_SIZE: Final = 6 + MAX_LENGTH

Frame = tuple[int, int, bytes]
"""Transaction id, unit id, PDU."""

_HEADER = struct.Struct(">HHHB")
_TAIL = struct.Struct(">HHB")
_PROTOCOL_AND_LENGTH = struct.Struct(">HH")


class BrokenStream(Exception):
    """A header that cannot be: the connection must be closed. `frames` are those cut before it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.frames: list[Frame] = []


def frame_stop(data: bytes, start: int) -> int:
    """Where the frame that begins at `start` ends; 0 while its header is incomplete. May lie past the data.

    Raises BrokenStream on a protocol id other than 0 or a length outside 2..254.
    """
    if len(data) - start < 6:
        return 0
    protocol, length = _PROTOCOL_AND_LENGTH.unpack_from(data, start + 2)
    if protocol:
        raise BrokenStream(f"protocol id {protocol:04X} is not 0000: this is not Modbus TCP")
    if not MIN_LENGTH <= length <= MAX_LENGTH:
        raise BrokenStream(f"length {length} is not in {MIN_LENGTH}..{MAX_LENGTH}")
    return start + 6 + int(length)


def tail(unit_id: int, pdu: bytes) -> bytes:
    """A frame from the protocol id on: all but the transaction id."""
    return _TAIL.pack(0, len(pdu) + 1, unit_id) + pdu


def pack(tid: int, unit_id: int, pdu: bytes) -> bytes:
    """One frame, whole."""
    return _HEADER.pack(tid, 0, len(pdu) + 1, unit_id) + pdu


class Receiver:
    """Cuts a stream, however it is split, into frames."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Frame]:
        """All frames that are whole now, oldest first. Raises BrokenStream (with those before it); feed no more."""
        if self._rest:
            data = self._rest + data
        frames: list[Frame] = []
        start, end = 0, len(data)
        try:
            while True:
                stop = frame_stop(data, start)
                if stop == 0 or stop > end:
                    break
                frames.append((data[start] << 8 | data[start + 1], data[start + 6], data[start + 7 : stop]))
                start = stop
        except BrokenStream as broken:
            broken.frames = frames
            raise
        self._rest = data[start:]
        return frames
