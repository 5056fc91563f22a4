"""Writes and polls: what was written is served at once, and an answer that was asked before it does not undo it.

A write that the device accepted is laid over the last block that was read (`Held.over`), and over every answer whose
request left before `until_s`; the first that was asked later shows the device's own truth.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from gateway.modbus import spec
from gateway.modbus.spec import Table

_RANGE = struct.Struct(">HH")
_MASK = struct.Struct(">HHH")


class Written(NamedTuple):
    """What a write did to a device's registers or coils."""

    table: Table
    first: int
    count: int  # type: ignore[assignment]  # tuple.count() is not missed
    data: bytes | None
    """Register bytes, or packed bits; None: not known."""
    and_mask: int = 0
    """Of function 22: the bits of the register that kept their value; `data` has the others."""


class Writable(Protocol):
    """What a write may have touched: a polled block."""

    def wrote(
        self, table: Table, first: int, count: int, data: bytes | None, hold_s: float, and_mask: int = 0
    ) -> None: ...


def written(blocks: Iterable[Writable], pdu: bytes, answer: bytes | None, hold_s: float) -> None:
    """A write `pdu` was accepted with `answer`, or (None) nobody knows whether it was executed: tell the blocks of the
    device. Polls may read the old value for `hold_s`. Other functions and refused writes tell nothing."""
    if answer is not None and answer[0] & spec.EXCEPTION_BIT:
        return
    write = parse(pdu)
    if write is None:
        return
    table, first, count, data, and_mask = write
    for block in tuple(blocks):
        block.wrote(table, first, count, data if answer is not None else None, hold_s, and_mask)


def parse(pdu: bytes) -> Written | None:
    """What a write request does when it is accepted; None: it is none of ours, or is malformed."""
    function = pdu[0]
    if function in (spec.WRITE_SINGLE_COIL, spec.WRITE_SINGLE_REGISTER) and len(pdu) == 5:
        (first,) = struct.unpack_from(">H", pdu, 1)
        if function == spec.WRITE_SINGLE_COIL:
            return Written(Table.COILS, first, 1, bytes((pdu[3] == 0xFF,)))
        return Written(Table.HOLDING, first, 1, pdu[3:5])
    if function in (spec.WRITE_MULTIPLE_COILS, spec.WRITE_MULTIPLE_REGISTERS) and len(pdu) > 6:
        first, count = _RANGE.unpack_from(pdu, 1)
        bits = function == spec.WRITE_MULTIPLE_COILS
        size = (count + 7) // 8 if bits else 2 * count
        return Written(Table.COILS if bits else Table.HOLDING, first, count, pdu[6:]) if len(pdu) == 6 + size else None
    if function == spec.MASK_WRITE_REGISTER and len(pdu) == 7:
        first, and_mask, or_mask = _MASK.unpack_from(pdu, 1)
        return Written(Table.HOLDING, first, 1, (or_mask & ~and_mask & 0xFFFF).to_bytes(2, "big"), and_mask)
    if function == spec.READ_WRITE_MULTIPLE_REGISTERS and len(pdu) > 10:
        first, count = _RANGE.unpack_from(pdu, 5)
        return Written(Table.HOLDING, first, count, pdu[10:]) if len(pdu) == 10 + 2 * count else None
    return None


@dataclass(frozen=True, slots=True)
class Held:
    """A write laid over a block's data, which is one number: registers big-endian, bits with the first lowest."""

    keep: int
    """Ones where the block keeps its own."""
    put: int
    """What was written; zeros elsewhere."""
    first: int
    count: int
    """Of the write, as far as it lies in the block: for people."""
    is_bits: bool
    until_s: float
    """Answers to requests sent before may show the old value. On the clock that ages are judged by."""
    verify: bool
    """Say so when the device holds something else then."""

    def over(self, data: bytes) -> bytes:
        """The block's data with what was written."""
        order: str = "little" if self.is_bits else "big"
        number = int.from_bytes(data, order)  # type: ignore[arg-type]
        return (number & self.keep | self.put).to_bytes(len(data), order)  # type: ignore[arg-type]

    def is_in(self, data: bytes) -> bool:
        """The block holds what was written."""
        return self.over(data) == data

    def hides(self, other: Held) -> bool:
        """All that `other` wrote was written again."""
        return ~other.keep & self.keep == 0

    def without(self, touched: int, size: int) -> Held | None:
        """What is left of it when nobody knows any more what the bits `touched` of a block of `size` bytes hold."""
        keep = self.keep | touched
        if keep == (1 << 8 * size) - 1:
            return None
        return self if keep == self.keep else replace(self, keep=keep, put=self.put & ~touched)


def hold(
    write: Written, table: Table, first: int, count: int, size: int, until_s: float, *, verify: bool
) -> Held | None:
    """A write laid over a block of `count` from `first` (`size` bytes of data); None: it does not touch it, or its
    content is not known."""
    touched = touches(write, table, first, count)
    if not touched or write.data is None:
        return None
    start, stop = max(write.first, first), min(write.first + write.count, first + count)
    if table.is_bits:
        number = int.from_bytes(write.data, "little") >> (start - write.first) << (start - first)
    else:
        number = int.from_bytes(write.data, "big") >> 16 * (write.first + write.count - stop)
        number <<= 16 * (first + count - stop)
    everything = (1 << 8 * size) - 1
    return Held(everything & ~touched, number & touched, start, stop - start, table.is_bits, until_s, verify)


def touches(write: Written, table: Table, first: int, count: int) -> int:
    """Ones where a write changes the data of a block of `count` from `first`, whatever it writes; 0: nowhere."""
    start, stop = max(write.first, first), min(write.first + write.count, first + count)
    if write.table is not table or start >= stop:
        return 0
    width, below = (1, start - first) if table.is_bits else (16, 16 * (first + count - stop))
    ones = (1 << width * (stop - start)) - 1
    return (ones & ~write.and_mask if write.and_mask else ones) << below


def shown(data: bytes, table: Table, block_first: int, first: int, count: int, most: int = 8) -> str:
    """Registers or bits of a block's data for a line of the log: `5`, or `5 0 17`."""
    at = range(first - block_first, first - block_first + count)
    if table.is_bits:
        values = [data[i >> 3] >> (i & 7) & 1 for i in at]
    else:
        values = [data[2 * i] << 8 | data[2 * i + 1] for i in at]
    return " ".join(str(value) for value in values[:most]) + (" ..." if count > most else "")
