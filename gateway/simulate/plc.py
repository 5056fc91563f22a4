"""One simulated unit: a bank, and the signals that move it.

Nothing runs by itself: before an answer, the signals in its range are brought up to date, so an idle simulation costs
nothing and a big one pays only for what is read. A client's write ends the signals it touches; the registers hold what
was written, as those of a PLC whose program leaves them alone.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from gateway.bank import Bank
from gateway.config.signals import Signal
from gateway.interfaces import Later
from gateway.modbus import spec
from gateway.modbus.spec import Table
from gateway.simulate.signals import Motion, motion
from gateway.values import TYPES, encode, round_half_away

REFRESH_S = 0.01
"""A value younger than this is fresh enough: requests that follow each other closely see the same plant."""

_LONGEST = max(kind.registers for kind in TYPES.values())
_MAX_FLOAT32 = struct.unpack(">f", b"\x7f\x7f\xff\xff")[0]
_RANGE = struct.Struct(">HH")
_READS = {**spec.TABLE_BY_READ_FUNCTION, spec.READ_WRITE_MULTIPLE_REGISTERS: Table.HOLDING}
"""Functions whose PDU begins with the first address and the count that are read."""


@dataclass(frozen=True, slots=True)
class SimTag:
    """A tag that a signal moves. `first` and `count` in registers or bits of `table`."""

    table: Table
    first: int
    count: int
    bit: int | None
    type: str
    order: str
    scale: Fraction
    offset: Fraction
    signal: Signal
    seed: str
    """Decides the way of a random walk."""


class _Moved:
    """A place and the function that brings it up to date."""

    __slots__ = ("first", "stop", "update", "updated_s")

    def __init__(self, tag: SimTag, update: Callable[[float], None]) -> None:
        self.first = tag.first
        self.stop = tag.first + tag.count
        self.update = update
        self.updated_s = float("-inf")


class Plc:
    """A unit whose registers are `ranges` (as Bank's), 0 but for what `tags` move."""

    def __init__(
        self,
        ranges: Mapping[Table, Sequence[tuple[int, int]]],
        tags: Iterable[SimTag],
        now: Callable[[], float],
    ) -> None:
        self._bank = Bank(ranges)
        self._bank.on_write = self._release
        self._now = now
        self._start_s = now()
        self._moved: dict[Table, list[_Moved]] = {table: [] for table in Table}
        """Sorted by first address."""
        for tag in tags:
            update = _updater(self._bank, tag)
            update(0.0)
            if tag.signal.kind != "constant":
                self._moved[tag.table].append(_Moved(tag, update))
        for moved in self._moved.values():
            moved.sort(key=lambda each: each.first)

    def answer(self, pdu: bytes) -> bytes | None:
        """The response PDU, with values as of now."""
        table = _READS.get(pdu[0])
        if table is not None and len(pdu) >= 5:
            self._refresh(table, *_RANGE.unpack_from(pdu, 1))
        elif pdu[0] == spec.MASK_WRITE_REGISTER and len(pdu) >= 3:
            self._refresh(Table.HOLDING, pdu[1] << 8 | pdu[2], 1)
        answer = self._bank.answer(pdu)
        assert not isinstance(answer, Later)  # a bank without spans of others waits for nobody
        return answer

    def _refresh(self, table: Table, first: int, count: int) -> None:
        moved = self._moved[table]
        if not moved:
            return
        now_s = self._now()
        index = bisect_left(moved, first - _LONGEST + 1, key=lambda each: each.first)
        while index < len(moved) and moved[index].first < first + count:
            each = moved[index]
            if each.stop > first and now_s - each.updated_s >= REFRESH_S:
                each.update(now_s - self._start_s)
                each.updated_s = now_s
            index += 1

    def _release(self, table: Table, first: int, count: int) -> None:
        """A client wrote there: it keeps what was written."""
        self._moved[table] = [each for each in self._moved[table] if each.stop <= first or each.first >= first + count]


def _updater(bank: Bank, tag: SimTag) -> Callable[[float], None]:
    """The function that puts the tag's value at a time (seconds since the start) into the bank."""
    value_at = motion(tag.signal, tag.seed)
    table, first, bit = tag.table, tag.first, tag.bit
    if bit is not None:
        return lambda time_s: bank.put_register_bit(table, first, bit, value_at(time_s) != 0)
    if table.is_bits:
        return lambda time_s: bank.put_bit(table, first, value_at(time_s) != 0)
    raw_at = _raw(tag, value_at)

    def update(time_s: float) -> None:
        data = encode(tag.type, raw_at(time_s), tag.order)
        assert data is not None  # `_raw` stays within the type
        bank.put_registers(table, first, data)

    return update


def _raw(tag: SimTag, value_at: Motion) -> Callable[[float], int | float]:
    """What the device holds: scale and offset undone, rounded and clamped to the type; a counter wraps as real ones do.

    In floats, not fractions: a signal is one, and thousands of them may move at once.
    """
    kind = TYPES[tag.type]
    scale, offset = float(tag.scale), float(tag.offset)
    low, high = kind.low, kind.high
    if low is None or high is None:
        most = _MAX_FLOAT32 if tag.type == "float32" else float("inf")
        return lambda time_s: min(max((value_at(time_s) - offset) / scale, -most), most)
    if tag.signal.kind == "counter":
        size = high - low + 1
        return lambda time_s: low + (round_half_away((value_at(time_s) - offset) / scale) - low) % size
    return lambda time_s: min(max(round_half_away((value_at(time_s) - offset) / scale), low), high)
