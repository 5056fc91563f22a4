"""MBAP framing (TCP guide V1.0b 3.1.3): bytes of a stream in, whole frames out.

A frame is transaction id, protocol id 0, length, unit id, PDU. The length is checked before it is believed: nothing is
buffered beyond one frame, and a stream with an impossible header is broken for good, never searched for the next one.
"""

from __future__ import annotations

import struct
from typing import Final

MIN_LENGTH: Final = 2
"""The least value of the length field: unit id and function code."""
MAX_LENGTH: Final = 254
"""The most: unit id and a PDU of 253 bytes."""

Frame = tuple[int, int, bytes]
"""Transaction id, unit id, PDU."""

_HEADER = struct.Struct(">HHHB")
_read_header = _HEADER.unpack_from
TAIL: Final = struct.Struct(">HHB")
"""The header behind the transaction id: protocol id, length, unit id."""
PROTOCOL_AND_LENGTH: Final = struct.Struct(">HH")
"""At offset 2."""
LENGTH_SEEN_SIZE: Final = 6
"""So many bytes of a frame tell whether it can be one, and where it ends."""


class BrokenStream(Exception):
    """A header that cannot be: the connection must be closed. `frames` are those cut before it."""

    def __init__(self, reason: str, frames: list[Frame]) -> None:
        super().__init__(reason)
        self.frames = frames


def why_broken(protocol: int, length: int) -> str:
    """What is wrong with a header, in words."""
    if protocol:
        return f"this is not Modbus TCP: protocol id {protocol:04X} instead of 0000"
    return f"an impossible frame: length {length} is not in {MIN_LENGTH}..{MAX_LENGTH}"


def pack(tid: int, unit_id: int, pdu: bytes) -> bytes:
    """One frame, whole."""
    return _HEADER.pack(tid, 0, len(pdu) + 1, unit_id) + pdu


class Receiver:
    """Cuts a stream, however it is split, into frames."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    @property
    def unfinished(self) -> int:
        """Bytes of a frame that is not whole yet."""
        return len(self._rest)

    def feed(self, data: bytes) -> list[Frame]:
        """All frames that are whole now, oldest first. Raises BrokenStream (with those before it); feed no more."""
        if self._rest:
            data = self._rest + data
        elif len(data) > LENGTH_SEEN_SIZE + 1:  # one whole frame in one read: nearly always
            tid, protocol, length, unit_id = _read_header(data)
            if not protocol and length == len(data) - 6 and length <= MAX_LENGTH:
                return [(tid, unit_id, data[7:])]
        frames: list[Frame] = []
        start, end = 0, len(data)
        while end - start >= LENGTH_SEEN_SIZE:
            protocol, length = PROTOCOL_AND_LENGTH.unpack_from(data, start + 2)
            if protocol or not MIN_LENGTH <= length <= MAX_LENGTH:
                raise BrokenStream(why_broken(protocol, length), frames)
            stop = start + 6 + length
            if stop > end:
                break
            frames.append((data[start] << 8 | data[start + 1], data[start + 6], data[start + 7 : stop]))
            start = stop
        self._rest = data[start:]
        return frames
