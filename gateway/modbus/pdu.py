"""PDUs of the client side: build a request, judge an answer (V1.1b3 6; protocol digest 1.3)."""

from __future__ import annotations

import struct
from collections.abc import Callable

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
_PUBLIC_DIAGNOSTICS = frozenset(sub.to_bytes(2, "big") for sub in (*range(0x01, 0x05), *range(0x0A, 0x13), 0x14))
_LOG_HEAD_SIZE = 6
_MAX_LOGGED = 64
_PART_SIZE = 7
"""Of a request for records: reference type, file, record, count."""
_IDENTITY_HEAD_SIZE = 7
_ONE_OBJECT = 4
"""The read code of 43/14 that asks for one object; the others ask for a stream of them."""

_Judge = Callable[[bytes, bytes], str | None]
"""Of a request and its answer that have the same function: why they cannot belong together, or None."""


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


def answer_head(request: bytes) -> bytes:
    """What a good answer begins with, as far as the request tells."""
    function = request[0]
    head, _ = expected(request)
    if head:
        return head
    if function in (spec.WRITE_SINGLE_COIL, spec.WRITE_SINGLE_REGISTER, spec.MASK_WRITE_REGISTER):
        return request
    if function in (spec.WRITE_MULTIPLE_COILS, spec.WRITE_MULTIPLE_REGISTERS):
        return request[:5]
    if function == spec.DIAGNOSTICS:
        return request[:3]
    if function == spec.READ_WRITE_MULTIPLE_REGISTERS and len(request) > 4 and request[4] < 0x80:
        return bytes((function, 2 * request[4]))
    if function == spec.ENCAPSULATED_INTERFACE:
        return request[: 3 if _is_identification(request) else 2]
    return request[:1]


def fault(request: bytes, answer: bytes) -> str | None:
    """Why `answer` cannot belong to `request`, or None. An exception response of the same function belongs.

    A stream that carried such an answer is out of step. Functions that are not public, and requests that are malformed
    themselves, are judged by their code alone: nobody knows what a device makes of them.
    """
    function = request[0]
    if answer[0] != function:
        if answer[0] != function | spec.EXCEPTION_BIT:
            return f"function {answer[0]:02X} answered to {function:02X}"
        return None if len(answer) == 2 else f"an exception response of {len(answer)} bytes"
    judge = _JUDGES.get(function)
    return None if judge is None else judge(request, answer)


def _read_fault(request: bytes, answer: bytes) -> str | None:
    if len(request) != 5:
        return None
    count = request[3] << 8 | request[4]
    return _data_fault(answer, 2 * count if request[0] in _READS_REGISTERS else (count + 7) >> 3)


def _read_write_fault(request: bytes, answer: bytes) -> str | None:
    return None if len(request) < 10 else _data_fault(answer, 2 * (request[3] << 8 | request[4]))


def _data_fault(answer: bytes, size: int) -> str | None:
    """Function, byte count, data."""
    if len(answer) != size + 2 or answer[1] != size:
        return f"{len(answer) - 2} bytes of data (byte count {answer[1] if len(answer) > 1 else 0}), not {size}"
    return None


def _echo_fault(request: bytes, answer: bytes) -> str | None:
    echo = answer if len(request) == len(answer) else answer[:5]
    if len(answer) != _ECHO_SIZES[request[0]] or echo != request[: len(echo)]:
        return "the echo differs from the request"
    return None


def _whole_echo_fault(request: bytes, answer: bytes) -> str | None:
    return "the echo differs from the request" if answer != request else None


def _fixed_fault(size: int) -> _Judge:
    """The answer is that long."""

    def judge(request: bytes, answer: bytes) -> str | None:
        return f"{len(answer)} bytes, not {size}" if len(answer) != size else None

    return judge


def _counted_fault(request: bytes, answer: bytes) -> str | None:
    """The byte count says how long it is; what is in it is the device's own."""
    if len(answer) < 2 or answer[1] != len(answer) - 2:
        return f"{len(answer) - 2} bytes of data (byte count {answer[1] if len(answer) > 1 else 0})"
    return None


def _diagnostics_fault(request: bytes, answer: bytes) -> str | None:
    """The sub-function comes back; of the public ones but the echo, with one word (6.8)."""
    sub = request[1:3]
    if answer[1:3] != sub:
        return f"sub-function {answer[1:3].hex()} answered to {sub.hex()}"
    if sub == b"\0\0":
        return _whole_echo_fault(request, answer)
    if len(sub) == 2 and sub in _PUBLIC_DIAGNOSTICS and len(answer) != 5:
        return f"{len(answer)} bytes, not 5"
    return None


def _log_fault(request: bytes, answer: bytes) -> str | None:
    """Status, events, messages and up to 64 events (6.10)."""
    why = _counted_fault(request, answer)
    if why is None and not _LOG_HEAD_SIZE <= answer[1] <= _LOG_HEAD_SIZE + _MAX_LOGGED:
        return f"an event log of {answer[1]} bytes"
    return why


def _records_fault(request: bytes, answer: bytes) -> str | None:
    """One group for each that was asked for, as long as was asked (6.14)."""
    if len(request) < 2 + _PART_SIZE or request[1] != len(request) - 2 or request[1] % _PART_SIZE:
        return None
    why = _counted_fault(request, answer)
    if why is not None:
        return why
    at = 2
    for part in range(2, len(request), _PART_SIZE):
        size = 1 + 2 * (request[part + 5] << 8 | request[part + 6])
        if answer[at : at + 2] != bytes((size & 0xFF, spec.RECORD_REFERENCE)):
            return f"the group at byte {at} does not fit what was asked, {size} bytes"
        at += 1 + size
    return None if at == len(answer) else f"{len(answer)} bytes, not {at}"


def _queue_fault(request: bytes, answer: bytes) -> str | None:
    """Two bytes of byte count, the count, the registers (6.18)."""
    size = answer[1] << 8 | answer[2] if len(answer) >= 5 else 0
    count = answer[3] << 8 | answer[4] if len(answer) >= 5 else 0
    if len(answer) != 3 + size or size != 2 + 2 * count or count > spec.MAX_QUEUED:
        return f"a queue of {count} registers (byte count {size}) in {len(answer)} bytes"
    return None


def _is_identification(request: bytes) -> bool:
    return len(request) == 4 and request[1] == spec.READ_DEVICE_IDENTIFICATION


def _interface_fault(request: bytes, answer: bytes) -> str | None:
    """The MEI type comes back; what else is in it only 43/14 tells."""
    mei = request[1:2]
    if answer[1:2] != mei:
        return f"MEI type {answer[1:2].hex()} answered to {mei.hex()}"
    return _identification_fault(request, answer) if _is_identification(request) else None


def _identification_fault(request: bytes, answer: bytes) -> str | None:
    """The read code comes back, with objects that fill the answer; of one object (code 04) with that one (6.21).

    As lenient as devices are: the count of a part may be that of all parts, as in the specification's own example; a
    stream may begin anew at object 0; an object may come twice; whatever stands in the next object when nothing
    follows, and for the conformity level, is believed by nobody. A stream in answer to code 04 is not among it: who
    asks for one object takes the first one for it, and a wrong value shown as good is worse than none.
    """
    if len(answer) < _IDENTITY_HEAD_SIZE or answer[2] != request[2]:
        return f"read code {answer[2:3].hex()} answered to {request[2]:02x}, in {len(answer)} bytes"
    code, first = request[2], request[3]
    more, following, count = answer[4:_IDENTITY_HEAD_SIZE]
    objects = []
    at = _IDENTITY_HEAD_SIZE
    while at + 1 < len(answer):
        objects.append(answer[at])
        at += 2 + answer[at + 1]
    if at != len(answer):
        return "an object is cut short"
    if code == _ONE_OBJECT:
        if more or count != 1 or objects != [first]:
            return f"object {first:02x} asked for alone, {len(objects)} objects (count {count}, more {more:02x}) came"
    elif len(objects) > count or (len(objects) < count and not more and not first):
        return f"{len(objects)} objects, not {count}"
    elif more and following <= (objects[-1] if objects else first):
        return f"after object {objects[-1] if objects else first:02x} is to come {following:02x}"
    return None


_JUDGES: dict[int, _Judge] = {
    **dict.fromkeys((*_READS_BITS, *_READS_REGISTERS), _read_fault),
    **dict.fromkeys(_ECHO_SIZES, _echo_fault),
    spec.READ_EXCEPTION_STATUS: _fixed_fault(2),
    spec.DIAGNOSTICS: _diagnostics_fault,
    spec.GET_EVENT_COUNTER: _fixed_fault(5),
    spec.GET_EVENT_LOG: _log_fault,
    spec.REPORT_SERVER_ID: _counted_fault,
    spec.READ_FILE_RECORD: _records_fault,
    spec.WRITE_FILE_RECORD: _whole_echo_fault,
    spec.READ_WRITE_MULTIPLE_REGISTERS: _read_write_fault,
    spec.READ_FIFO_QUEUE: _queue_fault,
    spec.ENCAPSULATED_INTERFACE: _interface_fault,
}
