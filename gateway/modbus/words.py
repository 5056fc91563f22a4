"""PDUs in words, for people: what is asked, and what came of it. For logs, traces, pages and lists of clients.

The rule: any bytes give some text, never an exception. What is whole is told in the words of the configuration (tables,
both notations of an address); what is cut short, or is no public function, is told as far as it goes with the rest in
hex. Texts of requests are short enough for a line; long data are cut after MAX_SHOWN values and say how many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.modbus import spec
from gateway.modbus.spec import Table

MAX_SHOWN = 16
"""Registers, groups of bits or bytes that are told one by one; a table is read better elsewhere."""

FUNCTION_NAMES = {
    spec.READ_COILS: "read coils",
    spec.READ_DISCRETE_INPUTS: "read discrete inputs",
    spec.READ_HOLDING_REGISTERS: "read holding registers",
    spec.READ_INPUT_REGISTERS: "read input registers",
    spec.WRITE_SINGLE_COIL: "write single coil",
    spec.WRITE_SINGLE_REGISTER: "write single register",
    spec.READ_EXCEPTION_STATUS: "read exception status",
    spec.DIAGNOSTICS: "diagnostics",
    spec.GET_EVENT_COUNTER: "get event counter",
    spec.GET_EVENT_LOG: "get event log",
    spec.WRITE_MULTIPLE_COILS: "write multiple coils",
    spec.WRITE_MULTIPLE_REGISTERS: "write multiple registers",
    spec.REPORT_SERVER_ID: "report server id",
    spec.READ_FILE_RECORD: "read file record",
    spec.WRITE_FILE_RECORD: "write file record",
    spec.MASK_WRITE_REGISTER: "mask write register",
    spec.READ_WRITE_MULTIPLE_REGISTERS: "read/write multiple registers",
    spec.READ_FIFO_QUEUE: "read FIFO queue",
    spec.ENCAPSULATED_INTERFACE: "encapsulated interface",
}
"""As the specification calls them (V1.1b3 6)."""

_DIAGNOSTICS = {
    0x00: "echo",
    0x01: "restart communications",
    0x02: "diagnostic register",
    0x03: "change ASCII delimiter",
    0x04: "force listen only",
    0x0A: "clear counters",
    0x0B: "bus messages",
    0x0C: "bus communication errors",
    0x0D: "bus exceptions",
    0x0E: "server messages",
    0x0F: "server without answer",
    0x10: "server negative acknowledges",
    0x11: "server busy",
    0x12: "bus character overruns",
    0x14: "clear overrun counter",
}
"""Sub-functions of 08 (6.8.1)."""
_OBJECTS = (
    "vendor",
    "product code",
    "revision",
    "vendor url",
    "product name",
    "model",
    "application",
)
"""Of 43/14 (6.21)."""
_IDENTITIES = {1: "basic", 2: "regular", 3: "extended", 4: "one object"}
_RECORD_SIZE = 7
"""Of a request for records: reference type, file, record, count."""


def function_text(function: int) -> str:
    """`03 read holding registers`, `64 function 100`: the code in hex with its name."""
    return f"{function:02X} {FUNCTION_NAMES.get(function, f'function {function}')}"


def request_text(pdu: bytes) -> str:
    """`read holding:0..9 (400001..400010)`, `write holding:3 (400004) = 0007`: what a request asks for."""
    return _told(_REQUESTS, pdu)


def answer_text(request: bytes, answer: bytes) -> str:
    """`3 registers: 0001 0002 00ff`, `exception 02 illegal data address`: what came of a request."""
    if not answer:
        return "nothing"
    function = answer[0]
    if function & spec.EXCEPTION_BIT:
        code = f"exception {spec.exception_text(answer[1])}" if len(answer) > 1 else "exception without a code"
        more = f" {answer[2:].hex()}" if len(answer) > 2 else ""
        asked = request[0] if request else None
        belongs = asked is None or function == asked | spec.EXCEPTION_BIT
        return code + more + ("" if belongs else f" to function {function & 0x7F:02X}, which was not asked")
    if request and function != request[0]:
        return f"function {function:02X}, which was not asked: {_hex(answer[1:])}"
    tell = _ANSWERS.get(function)
    text = tell(request, answer) if tell is not None else None
    return _raw(answer) if text is None else text


def _told(table: dict[int, Callable[[bytes], str | None]], pdu: bytes) -> str:
    if not pdu:
        return "nothing"
    tell = table.get(pdu[0])
    text = tell(pdu) if tell is not None else None
    return _raw(pdu) if text is None else text


def _raw(pdu: bytes) -> str:
    """What nobody can read, or is cut short."""
    name = FUNCTION_NAMES.get(pdu[0])
    if name is None:
        return f"function {pdu[0]:02X}: {_hex(pdu[1:])}" if len(pdu) > 1 else f"function {pdu[0]:02X}"
    return f"{name}, malformed: {_hex(pdu[1:])}" if len(pdu) > 1 else f"{name}, malformed"


# -- requests: None says that it is malformed ---------------------------------------------------------------------


def _read(pdu: bytes) -> str | None:
    if len(pdu) != 5:
        return None
    count = _word(pdu, 3)
    where = _range(spec.TABLE_BY_READ_FUNCTION[pdu[0]], _word(pdu, 1), count)
    return f"read {where}"


def _write_coil(pdu: bytes) -> str | None:
    if len(pdu) != 5:
        return None
    value = {0xFF00: "on", 0x0000: "off"}.get(_word(pdu, 3), f"{pdu[3:].hex()} (neither on nor off)")
    return f"write {Table.COILS.describe(_word(pdu, 1))} = {value}"


def _write_register(pdu: bytes) -> str | None:
    if len(pdu) != 5:
        return None
    return f"write {Table.HOLDING.describe(_word(pdu, 1))} = {pdu[3:].hex()}"


def _write_coils(pdu: bytes) -> str | None:
    if len(pdu) < 6 or pdu[5] != len(pdu) - 6:
        return None
    count = _word(pdu, 3)
    fits = (count + 7) >> 3 == len(pdu) - 6
    wrong = "" if fits else f" ({len(pdu) - 6} bytes, not {(count + 7) >> 3})"
    return f"write {_range(Table.COILS, _word(pdu, 1), count)} = {_bits(pdu[6:], count)}{wrong}"


def _write_registers(pdu: bytes) -> str | None:
    if len(pdu) < 6 or pdu[5] != len(pdu) - 6:
        return None
    count = _word(pdu, 3)
    wrong = "" if 2 * count == len(pdu) - 6 else f" ({len(pdu) - 6} bytes, not {2 * count})"
    return f"write {_range(Table.HOLDING, _word(pdu, 1), count)} = {_registers(pdu[6:])}{wrong}"


def _mask_write(pdu: bytes) -> str | None:
    if len(pdu) != 7:
        return None
    return f"write {Table.HOLDING.describe(_word(pdu, 1))}: and {pdu[3:5].hex()}, or {pdu[5:7].hex()}"


def _read_write(pdu: bytes) -> str | None:
    if len(pdu) < 10 or pdu[9] != len(pdu) - 10:
        return None
    count = _word(pdu, 7)
    wrong = "" if 2 * count == len(pdu) - 10 else f" ({len(pdu) - 10} bytes, not {2 * count})"
    written = f"write {_range(Table.HOLDING, _word(pdu, 5), count)} = {_registers(pdu[10:])}{wrong}"
    return f"{written}, then read {_range(Table.HOLDING, _word(pdu, 1), _word(pdu, 3))}"


def _diagnostics(pdu: bytes) -> str | None:
    if len(pdu) < 3:
        return None
    sub = _word(pdu, 1)
    more = f" {_hex(pdu[3:])}" if pdu[3:] not in (b"", b"\0\0") else ""
    return f"diagnostics {sub:02X} {_DIAGNOSTICS.get(sub, 'not a standard one')}{more}"


def _parts(pdu: bytes) -> list[str] | None:
    """`file 4 record 1..2` for each part that is to be read."""
    if len(pdu) < 2 or pdu[1] != len(pdu) - 2 or not pdu[1] or pdu[1] % _RECORD_SIZE:
        return None
    return [_records(pdu, at) for at in range(2, len(pdu), _RECORD_SIZE)]


def _records(pdu: bytes, at: int) -> str:
    first, count = _word(pdu, at + 3), _word(pdu, at + 5)
    records = f"records {first}..{first + count - 1}" if count > 1 else f"record {first}"
    odd = "" if pdu[at] == spec.RECORD_REFERENCE else f" (reference type {pdu[at]})"
    return f"file {_word(pdu, at + 1)} {records if count else 'no records'}{odd}"


def _read_files(pdu: bytes) -> str | None:
    parts = _parts(pdu)
    return None if parts is None else f"read {_some(parts)}"


def _write_files(pdu: bytes) -> str | None:
    if len(pdu) < 2 or pdu[1] != len(pdu) - 2 or not pdu[1]:
        return None
    parts, at = [], 2
    while at < len(pdu):
        stop = at + _RECORD_SIZE + 2 * _word(pdu, at + 5) if at + _RECORD_SIZE <= len(pdu) else len(pdu) + 1
        if stop > len(pdu):
            return None
        parts.append(f"{_records(pdu, at)} = {_registers(pdu[at + _RECORD_SIZE : stop])}")
        at = stop
    return f"write {_some(parts)}"


def _queue(pdu: bytes) -> str | None:
    return f"read queue {Table.HOLDING.describe(_word(pdu, 1))}" if len(pdu) == 3 else None


def _interface(pdu: bytes) -> str | None:
    if len(pdu) < 2:
        return None
    if pdu[1] != spec.READ_DEVICE_IDENTIFICATION:
        return f"encapsulated interface {pdu[1]:02X}" + (f": {_hex(pdu[2:])}" if len(pdu) > 2 else "")
    if len(pdu) != 4:
        return None
    what = _IDENTITIES.get(pdu[2], f"code {pdu[2]:02X}")
    return f"read identification, {what}" + (f" from object {pdu[3]:02X}" if pdu[2] != 4 and pdu[3] else _object(pdu))


def _object(pdu: bytes) -> str:
    return f" {pdu[3]:02X} ({_object_name(pdu[3])})" if pdu[2] == 4 else ""


def _object_name(number: int) -> str:
    return _OBJECTS[number] if number < len(_OBJECTS) else f"object {number:02X}"


def _alone(pdu: bytes) -> str | None:
    """A function without data."""
    return FUNCTION_NAMES[pdu[0]] if len(pdu) == 1 else None


_REQUESTS: dict[int, Callable[[bytes], str | None]] = {
    **dict.fromkeys(spec.TABLE_BY_READ_FUNCTION, _read),
    spec.WRITE_SINGLE_COIL: _write_coil,
    spec.WRITE_SINGLE_REGISTER: _write_register,
    spec.READ_EXCEPTION_STATUS: _alone,
    spec.DIAGNOSTICS: _diagnostics,
    spec.GET_EVENT_COUNTER: _alone,
    spec.GET_EVENT_LOG: _alone,
    spec.WRITE_MULTIPLE_COILS: _write_coils,
    spec.WRITE_MULTIPLE_REGISTERS: _write_registers,
    spec.REPORT_SERVER_ID: _alone,
    spec.READ_FILE_RECORD: _read_files,
    spec.WRITE_FILE_RECORD: _write_files,
    spec.MASK_WRITE_REGISTER: _mask_write,
    spec.READ_WRITE_MULTIPLE_REGISTERS: _read_write,
    spec.READ_FIFO_QUEUE: _queue,
    spec.ENCAPSULATED_INTERFACE: _interface,
}


# -- answers ------------------------------------------------------------------------------------------------------


def _bits_read(request: bytes, answer: bytes) -> str | None:
    if len(answer) < 2 or answer[1] != len(answer) - 2:
        return None
    most = 8 * (len(answer) - 2)
    count = _word(request, 3) if len(request) == 5 else most
    count = count if most - 8 < count <= most else most
    return f"{_many(count, 'bit')}: {_bits(answer[2:], count)}"


def _registers_read(request: bytes, answer: bytes) -> str | None:
    size = len(answer) - 2
    if size < 0 or answer[1] != size or size % 2:
        return None
    return f"{_many(size // 2, 'register')}: {_registers(answer[2:])}"


def _echo(request: bytes, answer: bytes) -> str | None:
    """The request comes back, or its first five bytes."""
    if len(answer) < 5:
        return None
    return "done" if not request or request.startswith(answer) else f"done, but another echo: {_hex(answer[1:])}"


def _status(request: bytes, answer: bytes) -> str | None:
    return f"outputs {answer[1]:08b}" if len(answer) == 2 else None


def _diagnosed(request: bytes, answer: bytes) -> str | None:
    if len(answer) < 3:
        return None
    sub = _word(answer, 1)
    if sub and len(answer) == 5:
        return f"diagnostics {sub:02X}: {_word(answer, 3)}"
    return f"diagnostics {sub:02X}: {_hex(answer[3:])}"


def _event_counter(request: bytes, answer: bytes) -> str | None:
    if len(answer) != 5:
        return None
    return f"{_word(answer, 3)} events, {'busy' if _word(answer, 1) else 'ready'}"


def _event_log(request: bytes, answer: bytes) -> str | None:
    if len(answer) < 8 or answer[1] != len(answer) - 2:
        return None
    return f"{_word(answer, 4)} events, {_word(answer, 6)} messages; newest first: {_hex(answer[8:])}"


def _server_id(request: bytes, answer: bytes) -> str | None:
    if len(answer) < 2 or answer[1] != len(answer) - 2:
        return None
    return f"server id {_quoted(answer[2:])}"


def _files_read(request: bytes, answer: bytes) -> str | None:
    if len(answer) < 2 or answer[1] != len(answer) - 2:
        return None
    parts, at = [], 2
    while at < len(answer):
        size = answer[at]
        if not size or at + 1 + size > len(answer):
            return None
        parts.append(_registers(answer[at + 2 : at + 1 + size]))
        at += 1 + size
    return f"{_many(len(parts), 'part')}: {_some(parts)}"


def _queued(request: bytes, answer: bytes) -> str | None:
    if len(answer) < 5 or _word(answer, 1) != len(answer) - 3 or 2 * _word(answer, 3) != len(answer) - 5:
        return None
    count = _word(answer, 3)
    return f"{_many(count, 'register')} queued" + (f": {_registers(answer[5:])}" if count else "")


def _interfaced(request: bytes, answer: bytes) -> str | None:
    if len(answer) < 2:
        return None
    if answer[1] != spec.READ_DEVICE_IDENTIFICATION:
        return f"encapsulated interface {answer[1]:02X}: {_hex(answer[2:])}"
    if len(answer) < 7:
        return None
    found, at = [], 7
    while at + 1 < len(answer):
        stop = at + 2 + answer[at + 1]
        if stop > len(answer):
            return None
        found.append(f"{_object_name(answer[at])} {_quoted(answer[at + 2 : stop])}")
        at = stop
    more = f"; more from object {answer[5]:02X}" if answer[4] else ""
    return f"{_some(found) or 'no objects'}{more}"


_ANSWERS: dict[int, Callable[[bytes, bytes], str | None]] = {
    spec.READ_COILS: _bits_read,
    spec.READ_DISCRETE_INPUTS: _bits_read,
    spec.READ_HOLDING_REGISTERS: _registers_read,
    spec.READ_INPUT_REGISTERS: _registers_read,
    spec.WRITE_SINGLE_COIL: _echo,
    spec.WRITE_SINGLE_REGISTER: _echo,
    spec.READ_EXCEPTION_STATUS: _status,
    spec.DIAGNOSTICS: _diagnosed,
    spec.GET_EVENT_COUNTER: _event_counter,
    spec.GET_EVENT_LOG: _event_log,
    spec.WRITE_MULTIPLE_COILS: _echo,
    spec.WRITE_MULTIPLE_REGISTERS: _echo,
    spec.REPORT_SERVER_ID: _server_id,
    spec.READ_FILE_RECORD: _files_read,
    spec.WRITE_FILE_RECORD: _echo,
    spec.MASK_WRITE_REGISTER: _echo,
    spec.READ_WRITE_MULTIPLE_REGISTERS: _registers_read,
    spec.READ_FIFO_QUEUE: _queued,
    spec.ENCAPSULATED_INTERFACE: _interfaced,
}


# -- pieces -------------------------------------------------------------------------------------------------------


def _range(table: Table, first: int, count: int) -> str:
    """What lies past the last address is told as it is asked: it is the request that is odd."""
    return table.describe(first, count) if count else f"{table.word}:{first} ({table.reference(first)}), none"


def _registers(data: bytes) -> str:
    """`0001 0002 ... (125)`."""
    shown = data[: 2 * MAX_SHOWN].hex(" ", 2) if len(data) % 2 == 0 else data[: 2 * MAX_SHOWN].hex()
    return f"{shown} ... ({len(data) // 2})" if len(data) > 2 * MAX_SHOWN else shown


def _bits(data: bytes, count: int) -> str:
    """The first bit first, in groups of eight: `10000000 1`."""
    text = "".join(f"{byte:08b}"[::-1] for byte in data[:MAX_SHOWN])[:count]
    groups = " ".join(text[at : at + 8] for at in range(0, len(text), 8))
    return f"{groups} ... ({count})" if count > len(text) else groups


def _hex(data: bytes) -> str:
    shown = data[: 2 * MAX_SHOWN].hex()
    return f"{shown} ... ({len(data)} bytes)" if len(data) > 2 * MAX_SHOWN else shown


def _quoted(data: bytes) -> str:
    """Text where it is text, else hex: `47ff 'gateway 1.0'`."""
    if data.isascii() and data.decode("ascii").isprintable():
        return f"'{data.decode('ascii')}'"
    head, text = data[:2], data[2:]
    if text and text.isascii() and text.decode("ascii").isprintable():
        return f"{head.hex()} '{text.decode('ascii')}'"
    return _hex(data)


def _some(parts: Sequence[str]) -> str:
    more = f" and {len(parts) - MAX_SHOWN} more" if len(parts) > MAX_SHOWN else ""
    return "; ".join(parts[:MAX_SHOWN]) + more


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _word(pdu: bytes, at: int) -> int:
    return pdu[at] << 8 | pdu[at + 1]
