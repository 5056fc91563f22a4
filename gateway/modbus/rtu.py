"""RTU framing (serial line guide 2.5.1; protocol digest 3.1, 3.4): address, PDU, CRC-16 with its low byte first.

RTU marks a frame by silence. Silence does not survive TCP, and no program sees 1.5 characters of it behind a USB
adapter, so frames are cut by length: every public function tells its own from its first bytes. Of a function that does
not, a frame is whole when what has come so far ends in its own CRC.
"""

from __future__ import annotations

from typing import Final

from gateway.modbus import spec

MIN_SIZE: Final = 4
"""Bytes of the shortest frame: address, function code, CRC."""
MAX_SIZE: Final = 256
"""Of the longest (V1.1b3 4.1)."""


def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ 0xA001 if value & 1 else value >> 1
        table.append(value)
    return tuple(table)


_CRC = _crc_table()


def crc16(data: bytes) -> int:
    """CRC-16/MODBUS: start FFFF, polynomial A001 reflected; of a frame with its CRC it is 0."""
    crc = 0xFFFF
    for byte in data:
        crc = (crc >> 8) ^ _CRC[(crc ^ byte) & 0xFF]
    return crc


def pack(unit_id: int, pdu: bytes) -> bytes:
    """One frame, whole."""
    frame = bytes((unit_id,)) + pdu
    return frame + crc16(frame).to_bytes(2, "little")


def request_size(frame: bytes) -> int | None:
    """Bytes of the whole frame of a request (CRC included) that begins with these; 0: more must come; None: unknown."""
    if len(frame) < 2:
        return 0
    function = frame[1]
    size = _REQUEST_SIZES.get(function)
    if size is not None:
        return size + 3
    at = _REQUEST_COUNTS.get(function)
    if at is not None:
        return at + 1 + frame[at + 1] + 3 if len(frame) > at + 1 else 0
    if function == spec.ENCAPSULATED_INTERFACE:
        if len(frame) < 3:
            return 0
        return 4 + 3 if frame[2] == spec.READ_DEVICE_IDENTIFICATION else None
    return None


def response_size(frame: bytes) -> int | None:
    """As `request_size`, of a response (protocol digest 1.9)."""
    if len(frame) < 2:
        return 0
    function = frame[1]
    if function & spec.EXCEPTION_BIT:
        return 2 + 3
    size = _RESPONSE_SIZES.get(function)
    if size is not None:
        return size + 3
    if function in _RESPONSE_COUNTS:
        return 2 + frame[2] + 3 if len(frame) > 2 else 0
    if function == spec.READ_FIFO_QUEUE:
        return 3 + int.from_bytes(frame[2:4], "big") + 3 if len(frame) > 3 else 0
    if function == spec.ENCAPSULATED_INTERFACE:
        if len(frame) < 3:
            return 0
        return _identification_size(frame) if frame[2] == spec.READ_DEVICE_IDENTIFICATION else None
    return None


def _identification_size(frame: bytes) -> int:
    """Of an answer to 43/14: walk its objects."""
    if len(frame) < 8:
        return 0
    at = 8
    for _ in range(frame[7]):
        if len(frame) < at + 2:
            return 0
        at += 2 + frame[at + 1]
    return at + 2


_REQUEST_SIZES = {
    **dict.fromkeys(range(1, 7), 5),
    spec.READ_EXCEPTION_STATUS: 1,
    spec.GET_EVENT_COUNTER: 1,
    spec.GET_EVENT_LOG: 1,
    spec.REPORT_SERVER_ID: 1,
    spec.MASK_WRITE_REGISTER: 7,
    spec.READ_FIFO_QUEUE: 3,
}
"""PDU sizes. Not 08: sub-function 00 may carry any amount of data."""
_REQUEST_COUNTS = {
    spec.WRITE_MULTIPLE_COILS: 5,
    spec.WRITE_MULTIPLE_REGISTERS: 5,
    spec.READ_FILE_RECORD: 1,
    spec.WRITE_FILE_RECORD: 1,
    spec.READ_WRITE_MULTIPLE_REGISTERS: 9,
}
"""Where in the PDU the count of the bytes behind it stands."""
_RESPONSE_SIZES = {
    spec.WRITE_SINGLE_COIL: 5,
    spec.WRITE_SINGLE_REGISTER: 5,
    spec.READ_EXCEPTION_STATUS: 2,
    spec.GET_EVENT_COUNTER: 5,
    spec.WRITE_MULTIPLE_COILS: 5,
    spec.WRITE_MULTIPLE_REGISTERS: 5,
    spec.MASK_WRITE_REGISTER: 7,
}
_RESPONSE_COUNTS = frozenset(
    (
        *range(1, 5),
        spec.GET_EVENT_LOG,
        spec.REPORT_SERVER_ID,
        spec.READ_FILE_RECORD,
        spec.WRITE_FILE_RECORD,
        spec.READ_WRITE_MULTIPLE_REGISTERS,
    )
)
