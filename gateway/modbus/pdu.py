"""PDUs of the client side: build a request, judge an answer (V1.1b3 6; protocol digest 1.3)."""

from __future__ import annotations

import struct

from gateway.modbus import spec

_READ = struct.Struct(">BHH")

_READS_BITS = (spec.READ_COILS, spec.READ_DISCRETE_INPUTS)
_READS_REGISTERS = (spec.READ_HOLDING_REGISTERS, spec.READ_INPUT_REGISTERS)
_ECHO_SIZES = {
    spec.WRITE_SINGLE_COIL: 5,
    spec.WRITE_SINGLE_REGISTER: 5,
    spec.WRITE_MULTIPLE_COILS: 5,
    spec.WRITE_MULTIPLE_REGISTERS: 5,
    spec.MASK_WRITE_REGISTER: 7,
}


def read_request(table: spec.Table, first: int, count: int) -> bytes:
    """The request that reads `count` bits or registers from `first`."""
    return _READ.pack(table.read_function, first, count)


def expected(request: bytes) -> tuple[bytes, int]:
    """How the data of a read begin (function, byte count), and the size of the whole answer; of others b"" and 0."""
    function = request[0]
    if len(request) != 5 or function not in spec.TABLE_BY_READ_FUNCTION:
        return b"", 0
    count = request[3] << 8 | request[4]
    size = 2 * count if function in _READS_REGISTERS else (count + 7) >> 3
    return (bytes((function, size)), size + 2) if size <= 0xFF else (b"", 0)


def fault(request: bytes, answer: bytes) -> str | None:
    """Why `answer` cannot belong to `request`, or None. An exception response of the same function belongs.

    A stream that carried such an answer is out of step. Functions we know nothing of are judged by their code alone.
    """
    function = request[0]
    if answer[0] != function:
        if answer[0] != function | spec.EXCEPTION_BIT:
            return f"function {answer[0]:02X} answered to {function:02X}"
        return None if len(answer) == 2 else f"an exception response of {len(answer)} bytes"
    if function in _READS_REGISTERS:
        size = 2 * (request[3] << 8 | request[4])
    elif function in _READS_BITS:
        size = ((request[3] << 8 | request[4]) + 7) >> 3
    elif function in _ECHO_SIZES:
        echo = answer if len(request) == len(answer) else answer[:5]
        if len(answer) != _ECHO_SIZES[function] or echo != request[: len(echo)]:
            return "the echo differs from the request"
        return None
    else:
        return None
    if len(answer) != size + 2 or answer[1] != size:
        return f"{len(answer) - 2} bytes of data (byte count {answer[1] if len(answer) > 1 else 0}), not {size}"
    return None
