"""What a request touches: which table, which addresses, and whether it may change something. Pure.

What is not known to be harmless counts as a write: vendors use the free codes for anything, and some of the public ones
change a device although they look like questions (08 restarts or silences it, 43/13 is CANopen). Rights, the audit,
forwards and traces all judge by this one table.
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.modbus import spec
from gateway.modbus.spec import Table

READS = frozenset(spec.TABLE_BY_READ_FUNCTION)
ASKS = frozenset(
    (
        spec.READ_EXCEPTION_STATUS,
        spec.GET_EVENT_COUNTER,
        spec.GET_EVENT_LOG,
        spec.REPORT_SERVER_ID,
        spec.READ_FILE_RECORD,
        spec.READ_FIFO_QUEUE,
    )
)
"""Harmless, but the answer may differ from one time to the next (V1.1b3 6.7, 6.9, 6.10, 6.13, 6.14, 6.18)."""
MANY = frozenset((spec.DIAGNOSTICS, spec.ENCAPSULATED_INTERFACE))
"""Codes with sub-functions of both kinds."""
HARMLESS_DIAGNOSTICS = frozenset((0x00, 0x02, *range(0x0B, 0x13)))
"""Echo, the diagnostic register, the counters (6.8.1)."""

BROADCASTS = frozenset(
    (
        spec.WRITE_SINGLE_COIL,
        spec.WRITE_SINGLE_REGISTER,
        spec.WRITE_MULTIPLE_COILS,
        spec.WRITE_MULTIPLE_REGISTERS,
        spec.MASK_WRITE_REGISTER,
    )
)
"""What may be said to all units of a serial line at once: writes whose answer nobody needs (serial line guide 2.2)."""

_WRITES = {
    spec.WRITE_SINGLE_COIL: Table.COILS,
    spec.WRITE_MULTIPLE_COILS: Table.COILS,
    spec.WRITE_SINGLE_REGISTER: Table.HOLDING,
    spec.WRITE_MULTIPLE_REGISTERS: Table.HOLDING,
    spec.MASK_WRITE_REGISTER: Table.HOLDING,
}
TABLE_BY_FUNCTION = {
    **spec.TABLE_BY_READ_FUNCTION,
    **_WRITES,
    spec.READ_WRITE_MULTIPLE_REGISTERS: Table.HOLDING,
    spec.READ_FIFO_QUEUE: Table.HOLDING,
}
"""The functions that are about addresses of a table."""
_COUNTED = frozenset((spec.WRITE_MULTIPLE_COILS, spec.WRITE_MULTIPLE_REGISTERS))

MAY_WRITE = bytes(code not in READS and code not in ASKS for code in range(256))
"""By function code: 1 when `is_write` must be asked, or is True whatever follows."""


class Touch(NamedTuple):
    """One range that a request reads or writes."""

    table: Table
    first: int
    stop: int
    """The address after the last."""
    writes: bool


def is_write(pdu: bytes) -> bool:
    """Whether a request of at least one byte may change something."""
    function = pdu[0]
    if function in READS or function in ASKS:
        return False
    if function == spec.DIAGNOSTICS:
        return not (len(pdu) >= 3 and pdu[1] << 8 | pdu[2] in HARMLESS_DIAGNOSTICS)
    if function == spec.ENCAPSULATED_INTERFACE:
        return not (len(pdu) >= 2 and pdu[1] == spec.READ_DEVICE_IDENTIFICATION)
    return True


def touches(pdu: bytes, room: int = spec.MAX_QUEUED) -> tuple[Touch, ...]:
    """The ranges of a request; empty for functions without a table, and for a request that is cut short.

    A count of 0 is 1 here: the unit refuses it, but its address tells where it was meant. `room`: the most registers of
    the queue that function 24 asks for, which only its unit knows; what lies past the last address is none.
    """
    function = pdu[0]
    if len(pdu) >= 5 and function in spec.TABLE_BY_READ_FUNCTION:
        return (_touch(spec.TABLE_BY_READ_FUNCTION[function], pdu, 1, writes=False),)
    if len(pdu) >= 5 and function in _WRITES:
        if function in _COUNTED:
            return (_touch(_WRITES[function], pdu, 1, writes=True),)
        return (Touch(_WRITES[function], _word(pdu, 1), _word(pdu, 1) + 1, True),)
    if function == spec.READ_WRITE_MULTIPLE_REGISTERS and len(pdu) >= 9:
        return (_touch(Table.HOLDING, pdu, 1, writes=False), _touch(Table.HOLDING, pdu, 5, writes=True))
    if function == spec.READ_FIFO_QUEUE and len(pdu) >= 3:
        return (Touch(Table.HOLDING, _word(pdu, 1), min(_word(pdu, 1) + 1 + room, spec.ADDRESSES), False),)
    return ()


def describe(pdu: bytes) -> str:
    """What a write writes to, for people: `holding:10 (400011)`; of functions without a table, the code."""
    for touch in touches(pdu):
        if touch.writes:
            return touch.table.describe(touch.first, touch.stop - touch.first)
    return f"function {pdu[0]:02X}"


def _touch(table: Table, pdu: bytes, at: int, *, writes: bool) -> Touch:
    first = _word(pdu, at)
    return Touch(table, first, first + max(1, _word(pdu, at + 2)), writes)


def _word(pdu: bytes, at: int) -> int:
    return pdu[at] << 8 | pdu[at + 1]
