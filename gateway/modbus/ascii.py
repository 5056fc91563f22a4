"""ASCII framing (serial line guide 2.5.2; protocol digest 3.1, 3.4): `:`, address, PDU and LRC as hex pairs, CR LF.

A colon begins a frame wherever it stands, so a receiver finds the next frame after any noise.
"""

from __future__ import annotations

import binascii
from typing import Final

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
