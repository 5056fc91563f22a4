"""What a simulated device does wrong: for every request a decision, as data; the server carries it out.

The rule of the file: no socket, no clock, no chance. Counts are counts of the unit's requests (`every Nth`), so that a
run that is repeated fails at the same places. Faults of a unit lie in `FaultyUnit`, those that need a connection to
show (segments, idle time) in `Manners`, which holds for a whole listener.

A device that keeps silent, or answers late, has executed the request all the same, as real ones may have: whoever wrote
cannot know. Only a dead one, and one that refuses, has not.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import NamedTuple

from gateway.config.model_devices import Faults
from gateway.modbus import spec
from gateway.modbus.mbap import pack
from gateway.modbus.spec import Table

BITS_PER_REGISTER = 16
"""`max_registers` counts registers; of bits it allows that many times as many."""
_CRC_SIZE = 2
"""What a header of `wrong_length` counts too many, as of devices that count the CRC of the serial line."""

_RANGE = struct.Struct(">HH")
_READ_WRITE = struct.Struct(">HHHH")

Range = tuple[Table, int, int]
"""Table, first address, count."""


class Sending(NamedTuple):
    """An answer: the bytes as they leave, and how long after the request."""

    delay_s: float
    data: bytes


class Memory:
    """What a faulty unit keeps of one connection; gone with it."""

    __slots__ = ("lagging", "last")

    def __init__(self) -> None:
        self.lagging = False
        self.last = b""
        """The answer of the request before, as it should have been."""


class Manners(NamedTuple):
    """How a listener treats connections: whatever any of its devices asks for."""

    split: bool = False
    join: bool = False
    one_connection: bool = False
    idle_close_s: float = 0.0
    one_at_a_time: bool = False

    @classmethod
    def of(cls, faults: Iterable[Faults]) -> Manners:
        """Of several idle times the shortest counts."""
        every = list(faults)
        return cls(
            split=any(each.split for each in every),
            join=any(each.join for each in every),
            one_connection=any(each.one_connection for each in every),
            idle_close_s=min((each.idle_close_s for each in every if each.idle_close_s), default=0.0),
            one_at_a_time=any(each.one_at_a_time for each in every),
        )


class FaultyUnit:
    """One unit that does what `faults` say; `execute` is the unit as it should be: request PDU in, response PDU out."""

    def __init__(self, faults: Faults, execute: Callable[[bytes], bytes | None]) -> None:
        self._faults = faults
        self._execute = execute
        self._count = 0

    def ask(self, tid: int, unit_id: int, pdu: bytes, memory: Memory) -> Sending | None:
        """The answer to one request of the connection that `memory` belongs to; None: silence."""
        self._count += 1
        faults = self._faults
        if faults.dead:
            return None
        code = self._refusal(pdu)
        answer = bytes((pdu[0] | spec.EXCEPTION_BIT, code)) if code else self._execute(pdu)
        if answer is None:
            return None
        if memory.lagging:
            memory.last, answer = answer, memory.last
        else:
            memory.last = answer
        silent, late = self._is_turn(faults.no_answer), self._is_turn(faults.late)
        if faults.lag and (silent or late):
            memory.lagging = True
        if silent:
            return None
        return Sending(faults.delay_s + (faults.late_by_s if late else 0.0), self._frame(tid, unit_id, answer))

    def _is_turn(self, every: int) -> bool:
        return every > 0 and self._count % every == 0

    def _refusal(self, pdu: bytes) -> int:
        """The exception code that it gets instead of being executed; 0: none."""
        faults = self._faults
        if pdu[0] in faults.no_functions:
            return spec.ILLEGAL_FUNCTION
        if self._is_turn(faults.busy):
            return spec.SERVER_BUSY
        if faults.max_registers is not None and _registers_read(pdu) > faults.max_registers:
            return spec.ILLEGAL_ADDRESS
        if faults.refuse:
            for table, first, count in touched(pdu):
                for address, code in faults.refuse:
                    if address.table is table and address.first < first + count and first < address.stop:
                        return code
        return 0

    def _frame(self, tid: int, unit_id: int, answer: bytes) -> bytes:
        faults = self._faults
        if faults.zero_tid:
            tid = 0
        elif self._is_turn(faults.wrong_tid):
            tid = tid + 1 & 0xFFFF
        if self._is_turn(faults.wrong_unit):
            unit_id = unit_id + 1 & 0xFF
        if self._is_turn(faults.short_frame):
            answer = _shortened(answer)
        data = pack(tid, unit_id, answer)
        if self._is_turn(faults.wrong_length):
            length = int.from_bytes(data[4:6], "big") + _CRC_SIZE
            data = data[:4] + length.to_bytes(2, "big") + data[6:]
        return data


def touched(pdu: bytes) -> list[Range]:
    """What a request reads and writes; nothing when it is too short to tell, or of a function without addresses."""
    function = pdu[0]
    if function == spec.READ_WRITE_MULTIPLE_REGISTERS and len(pdu) >= 9:
        read_first, read_count, first, count = _READ_WRITE.unpack_from(pdu, 1)
        return [(Table.HOLDING, read_first, read_count), (Table.HOLDING, first, count)]
    table = _TABLES.get(function)
    if table is None or len(pdu) < 5:
        return []
    first, count = _RANGE.unpack_from(pdu, 1)
    return [(table, first, 1 if function in _SINGLE else count)]


def _registers_read(pdu: bytes) -> float:
    """How many registers' worth a read asks for; 0 for everything else."""
    if len(pdu) < 5 or (pdu[0] not in spec.TABLE_BY_READ_FUNCTION and pdu[0] != spec.READ_WRITE_MULTIPLE_REGISTERS):
        return 0
    count = int.from_bytes(pdu[3:5], "big")
    table = spec.TABLE_BY_READ_FUNCTION.get(pdu[0], Table.HOLDING)
    return count / BITS_PER_REGISTER if table.is_bits else count


def _shortened(answer: bytes) -> bytes:
    """Two bytes of data less, the byte count agreeing; as much as there is. An exception response has none to lose."""
    if answer[0] & spec.EXCEPTION_BIT:
        return answer
    if answer[0] in spec.TABLE_BY_READ_FUNCTION or answer[0] == spec.READ_WRITE_MULTIPLE_REGISTERS:
        data = answer[2:-2]
        return bytes((answer[0], len(data))) + data
    return answer[: max(1, len(answer) - 2)]


_TABLES = {
    **spec.TABLE_BY_READ_FUNCTION,
    spec.WRITE_SINGLE_COIL: Table.COILS,
    spec.WRITE_SINGLE_REGISTER: Table.HOLDING,
    spec.WRITE_MULTIPLE_COILS: Table.COILS,
    spec.WRITE_MULTIPLE_REGISTERS: Table.HOLDING,
    spec.MASK_WRITE_REGISTER: Table.HOLDING,
}
"""The table that begins to be touched at the address behind the function code."""
_SINGLE = frozenset((spec.WRITE_SINGLE_COIL, spec.WRITE_SINGLE_REGISTER, spec.MASK_WRITE_REGISTER))
"""Functions whose second word is no count."""
