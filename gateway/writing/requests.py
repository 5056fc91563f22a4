"""The requests that write to a device (V1.1b3 6.5, 6.6, 6.11, 6.12, 6.16), and a mask write for those without one."""

from __future__ import annotations

import struct
from collections.abc import Callable

from gateway.interfaces import Steps
from gateway.modbus import pdu, spec
from gateway.modbus.spec import Table

_SINGLE = struct.Struct(">BHH")
_MULTIPLE = struct.Struct(">BHHB")
_MASK = struct.Struct(">BHHH")

_COIL_ON = 0xFF00
_WORD = 0xFFFF


def write_registers(first: int, data: bytes, *, multiple: bool) -> bytes:
    """Place wire bytes: 06 for one register, else 16; `multiple`: always 16."""
    count = len(data) // 2
    if count == 1 and not multiple:
        return _SINGLE.pack(spec.WRITE_SINGLE_REGISTER, first, int.from_bytes(data, "big"))
    return _MULTIPLE.pack(spec.WRITE_MULTIPLE_REGISTERS, first, count, len(data)) + data


def write_coils(first: int, count: int, data: bytes, *, multiple: bool) -> bytes:
    """Place packed bits: 05 for one, else 15; `multiple`: always 15. Bits beyond `count` are sent as 0."""
    if count == 1 and not multiple:
        return _SINGLE.pack(spec.WRITE_SINGLE_COIL, first, _COIL_ON if data[0] & 1 else 0)
    bits = int.from_bytes(data, "little") & ((1 << count) - 1)
    size = (count + 7) >> 3
    return _MULTIPLE.pack(spec.WRITE_MULTIPLE_COILS, first, count, size) + bits.to_bytes(size, "little")


def write_values(table: Table, first: int, count: int, data: bytes, *, multiple: bool) -> bytes:
    """Either, as the table asks for."""
    if table.is_bits:
        return write_coils(first, count, data, multiple=multiple)
    return write_registers(first, data, multiple=multiple)


def mask_write(address: int, and_mask: int, or_mask: int) -> bytes:
    """Function 22: (old AND and_mask) OR (or_mask AND NOT and_mask)."""
    return _MASK.pack(spec.MASK_WRITE_REGISTER, address, and_mask, or_mask)


def mask_steps(
    address: int,
    and_mask: int,
    or_mask: int,
    *,
    multiple: bool,
    may_mask: Callable[[], bool],
    refused: Callable[[], None] | None,
) -> Callable[[], Steps]:
    """The steps that change bits of one register: 22, or read, change and write back with nobody in between.

    `may_mask()` is asked when the write begins. `refused()`: the device knows no 22 (01), it is done the other way;
    None: what the device says to 22 counts.
    """

    def steps() -> Steps:
        if may_mask():
            answer = yield mask_write(address, and_mask, or_mask)
            if refused is None or answer[:2] != _NO_MASK_WRITE:
                return answer
            refused()
        answer = yield pdu.read_request(Table.HOLDING, address, 1)
        if answer[0] & spec.EXCEPTION_BIT:
            return answer
        old = int.from_bytes(answer[2:4], "big")
        new = (old & and_mask) | (or_mask & ~and_mask & _WORD)
        answer = yield write_registers(address, new.to_bytes(2, "big"), multiple=multiple)
        return answer

    return steps


_NO_MASK_WRITE = bytes((spec.MASK_WRITE_REGISTER | spec.EXCEPTION_BIT, spec.ILLEGAL_FUNCTION))
