"""The four tables of one unit in wire order, and its answers to the public data functions.

Registers lie as big-endian bytes, bits packed with the first in the least significant place: a read reply is a slice
of memory. What is defined and what clients may write is kept as run lengths (`runs[a]`: how many follow from a), so a
range check is one look-up. Parts that somebody else keeps true (polls, tags, status blocks) are claimed as spans; one
without a value carries the exception code that its readers get. Checks come in the order of the specification's
charts: function, quantity and size, address, execution (V1.1b3 6; protocol digest 1.3).
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from gateway.errors import Refused
from gateway.interfaces import Later
from gateway.modbus import spec
from gateway.modbus.spec import Table

Interval = tuple[int, int]
"""First address and the one after the last."""

_MAX_RUN: Final = 2000
"""No request asks for more (spec.MAX_READ_BITS), so longer runs need not be told apart."""

# Names of the hot path: a global is found faster than an attribute of an enum or a module.
_HOLDING: Final = int(Table.HOLDING)
_MAX_WRITE_REGISTERS: Final = spec.MAX_WRITE_REGISTERS
_write_head = struct.Struct(">HHB").unpack_from

_RANGE = struct.Struct(">HH")
_MASK = struct.Struct(">HHH")
_READ_WRITE = struct.Struct(">HHHHB")
_REGISTER = struct.Struct(">H")
_COIL_VALUES = {b"\xff\x00": True, b"\x00\x00": False}


class Span:
    """A part of a table that one poll, tag or status block keeps true. `code` 0: readable; else what readers get."""

    __slots__ = ("code", "first", "parts", "stale", "stop", "table")

    def __init__(self, table: Table, first: int, count: int) -> None:
        self.table = table
        self.first = first
        self.stop = first + count
        self.code = spec.GATEWAY_TARGET_FAILED
        """Nothing has a value before its first good read."""
        self.parts: Sequence[tuple[int, int, int]] = ()
        """(first, stop, code) of what is not readable, if that is not the whole; `code` is then one of these."""
        self.stale = True
        """It has no value, or one that is too old and served all the same (`on_stale: hold` and `zero`)."""


class _Area:
    """One table: its memory, what of it is defined, what clients may write, and the spans in it."""

    __slots__ = ("blocked", "is_bits", "memory", "own", "ranges", "read_only", "readable", "spans", "stops", "writable")

    def __init__(self, *, is_bits: bool) -> None:
        self.is_bits = is_bits
        self.ranges: list[Interval] = []
        self.memory = bytearray()
        self.readable = _runs((), 0)
        self.writable = self.readable
        self.own: list[Interval] = []
        """What is defined and no span's."""
        self.read_only: list[Interval] = []
        self.spans: list[Span] = []
        self.stops: list[int] = []
        self.blocked = 0
        """How many spans carry a code; 0 is the healthy case and costs no look-up."""

    def define(self, ranges: Iterable[tuple[int, int]]) -> None:
        """From now on these (first, count) pairs exist. What existed keeps its value, what is new is 0."""
        before = self.ranges
        self.ranges = _merge((first, first + count) for first, count in ranges)
        size = self.ranges[-1][1] if self.ranges else 0
        self.memory = self.memory.ljust((size + 7) // 8 if self.is_bits else 2 * size, b"\0")
        self.readable = _runs(self.ranges, size)
        for first, stop in _without(before, self.ranges):
            self.clear(first, stop)

    def clear(self, first: int, stop: int) -> None:
        """Set a range to zero."""
        if first >= stop:
            return
        if self.is_bits:
            _put_bits(self.memory, first, stop - first, 0)
        else:
            self.memory[2 * first : 2 * stop] = bytes(2 * (stop - first))

    def arrange(self) -> None:
        """Bring the look-up tables in line with `ranges`, `spans` and `read_only`."""
        self.spans.sort(key=lambda span: (span.first, span.stop))
        self.stops = [span.stop for span in self.spans]
        self.blocked = sum(1 for span in self.spans if span.code)
        self.own = _without(self.ranges, _merge((span.first, span.stop) for span in self.spans))
        self.writable = _runs(_without(self.own, _merge(self.read_only)), len(self.readable))

    def code_of(self, first: int, stop: int) -> int:
        """The exception code of the first span in this range that has no value; 0: all of it is readable."""
        index = bisect_right(self.stops, first)
        while index < len(self.spans) and self.spans[index].first < stop:
            span = self.spans[index]
            if span.code:
                if not span.parts:
                    return span.code
                for part_first, part_stop, code in span.parts:
                    if part_first < stop and first < part_stop:
                        return code
            index += 1
        return 0

    def spans_in(self, first: int, stop: int) -> list[Span]:
        """Those that touch this range, in order."""
        found = []
        index = bisect_right(self.stops, first)
        while index < len(self.spans) and self.spans[index].first < stop:
            found.append(self.spans[index])
            index += 1
        return found

    def is_protected(self, address: int) -> bool:
        return any(first <= address < stop for first, stop in self.read_only)

    def has(self, first: int, count: int) -> bool:
        return first < len(self.readable) and self.readable[first] >= count

    def may_write(self, first: int, count: int) -> bool:
        return first < len(self.writable) and self.writable[first] >= count


class Bank:
    """A register image: `answer` serves functions 1-6, 15, 16, 22, 23 and whatever is added to `functions`."""

    __slots__ = (
        "_areas", "emptied", "functions", "on_blocked", "on_put", "on_write", "overtakes", "queues", "recorded",
    )  # fmt: skip

    def __init__(self, ranges: Mapping[Table, Sequence[tuple[int, int]]]) -> None:
        """`ranges`: (first, count) pairs of what exists in each table; all of it is 0 and open to clients' writes."""
        self._areas = [_Area(is_bits=table.is_bits) for table in Table]
        self.on_blocked: Callable[[], None] = _nothing
        """Called when a span loses its value, or the bank its shape: standing answers are void."""
        self.on_write: Callable[[Table, int, int], None] | None = None
        """Called after a client's write with table, first address and count."""
        self.on_put: Callable[[Table, int, int], None] | None = None
        """Called after registers were put with table, first address and count; nobody is told of `overwrite`."""
        self.emptied: dict[int, Callable[[], None]] = {}
        """Holding registers that are not ours, into which clients may write 0 all the same unless they are protected,
        and what that does."""
        self.queues: Mapping[int, int] = {}
        """The most registers of each queue that function 24 reads, by the address that counts them."""
        self.recorded: Callable[[bytes], bytes | None] | None = None
        """Of a request of function 21: what it would go over, as far as it is known; None: there are no files."""
        self.overtakes: Callable[[bytes], bool] | None = None
        """Of a request that answers later: whether it may begin behind others that are not answered yet."""
        self.functions: list[Callable[[bytes], bytes | Later | None]] = [_refuse_function] * 256
        """By function code: request PDU in, response PDU out, or Refused raised."""
        self.define(ranges)
        for code, function in (
            (spec.READ_COILS, self._read_bits),
            (spec.READ_DISCRETE_INPUTS, self._read_bits),
            (spec.READ_HOLDING_REGISTERS, self._read_registers),
            (spec.READ_INPUT_REGISTERS, self._read_registers),
            (spec.WRITE_SINGLE_COIL, self._write_coil),
            (spec.WRITE_SINGLE_REGISTER, self._write_register),
            (spec.WRITE_MULTIPLE_COILS, self._write_coils),
            (spec.WRITE_MULTIPLE_REGISTERS, self._write_registers),
            (spec.MASK_WRITE_REGISTER, self._mask_write),
            (spec.READ_WRITE_MULTIPLE_REGISTERS, self._read_write),
        ):
            self.functions[code] = function

    def serve(self, function: int, answer: Callable[[bytes], bytes | Later | None] | None) -> None:
        """From now on this answers a function; None: it is refused with 01."""
        self.functions[function] = answer or _refuse_function

    # -- the serving side ---------------------------------------------------------------------------------------

    def answer(self, pdu: bytes) -> bytes | Later | None:
        """The response PDU to a request PDU of at least one byte; a refusal is an exception response."""
        try:
            return self.functions[pdu[0]](pdu)
        except Refused as refusal:
            return bytes((pdu[0] | spec.EXCEPTION_BIT, refusal.code))

    def may_overtake(self, pdu: bytes) -> bool:
        """As Unit's: a read, or a write to our own registers, sees what the writes before it have done."""
        return self.overtakes is not None and self.overtakes(pdu)

    def standing(self, pdu: bytes) -> tuple[bytes, bytearray, int, int] | None:
        """For a readable register read: the head of its answer, the memory and the slice that follow it.

        Holds until `on_blocked` is called: what is defined never changes, the memory never moves.
        """
        if len(pdu) != 5 or pdu[0] not in (spec.READ_HOLDING_REGISTERS, spec.READ_INPUT_REGISTERS):
            return None
        try:
            area, first, count = self._readable_registers(pdu)
        except Refused:
            return None
        return bytes((pdu[0], 2 * count)), area.memory, 2 * first, 2 * (first + count)

    def _read_bits(self, pdu: bytes) -> bytes:
        """Functions 01 and 02 (6.1, 6.2)."""
        first, count = _fixed(pdu, 5, _RANGE)
        if not 1 <= count <= spec.MAX_READ_BITS:
            raise Refused(spec.ILLEGAL_VALUE)
        area = self._areas[Table.COILS if pdu[0] == spec.READ_COILS else Table.DISCRETE]
        if not area.has(first, count):
            raise Refused(spec.ILLEGAL_ADDRESS)
        if area.blocked and (code := area.code_of(first, first + count)):
            raise Refused(code)
        size = (count + 7) >> 3
        return bytes((pdu[0], size)) + _cut_bits(area.memory, first, count)

    def _read_registers(self, pdu: bytes) -> bytes:
        """Functions 03 and 04 (6.3, 6.4)."""
        area, first, count = self._readable_registers(pdu)
        return bytes((pdu[0], 2 * count)) + area.memory[2 * first : 2 * (first + count)]

    def _readable_registers(self, pdu: bytes) -> tuple[_Area, int, int]:
        first, count = _fixed(pdu, 5, _RANGE)
        if not 1 <= count <= spec.MAX_READ_REGISTERS:
            raise Refused(spec.ILLEGAL_VALUE)
        area = self._areas[Table.HOLDING if pdu[0] == spec.READ_HOLDING_REGISTERS else Table.INPUT]
        if not area.has(first, count):
            raise Refused(spec.ILLEGAL_ADDRESS)
        if area.blocked and (code := area.code_of(first, first + count)):
            raise Refused(code)
        return area, first, count

    def _write_coil(self, pdu: bytes) -> bytes:
        """Function 05 (6.5): FF00 is on, 0000 is off, the answer is the echo."""
        (address, _) = _fixed(pdu, 5, _RANGE)
        on = _COIL_VALUES.get(pdu[3:5])
        if on is None:
            raise Refused(spec.ILLEGAL_VALUE)
        area = self._writable(Table.COILS, address, 1)
        _put_bits(area.memory, address, 1, int(on))
        self._wrote(Table.COILS, address, 1)
        return pdu

    def _write_register(self, pdu: bytes) -> bytes:
        """Function 06 (6.6)."""
        (address, _) = _fixed(pdu, 5, _RANGE)
        area = self._areas[_HOLDING]
        if not area.may_write(address, 1):
            self._empty(address, pdu[3:5])
            return pdu
        area.memory[2 * address : 2 * address + 2] = pdu[3:5]
        self._wrote(Table.HOLDING, address, 1)
        return pdu

    def _write_coils(self, pdu: bytes) -> bytes:
        """Function 15 (6.11)."""
        if len(pdu) < 7:
            raise Refused(spec.ILLEGAL_VALUE)
        first, count, size = _write_head(pdu, 1)
        if not 1 <= count <= spec.MAX_WRITE_BITS or not size == len(pdu) - 6 == (count + 7) >> 3:
            raise Refused(spec.ILLEGAL_VALUE)
        area = self._writable(Table.COILS, first, count)
        _put_bits(area.memory, first, count, int.from_bytes(pdu[6:], "little"))
        self._wrote(Table.COILS, first, count)
        return pdu[:5]

    def _write_registers(self, pdu: bytes) -> bytes:
        """Function 16 (6.12)."""
        if len(pdu) < 8:
            raise Refused(spec.ILLEGAL_VALUE)
        first, count, size = _write_head(pdu, 1)
        if not 1 <= count <= _MAX_WRITE_REGISTERS or not size == len(pdu) - 6 == 2 * count:
            raise Refused(spec.ILLEGAL_VALUE)
        area = self._areas[_HOLDING]
        if first >= len(area.writable) or area.writable[first] < count:
            self._empty(first, pdu[6:])
            return pdu[:5]
        area.memory[2 * first : 2 * (first + count)] = pdu[6:]
        if self.on_write is not None:
            self.on_write(Table.HOLDING, first, count)
        return pdu[:5]

    def _mask_write(self, pdu: bytes) -> bytes:
        """Function 22 (6.16): (old AND and_mask) OR (or_mask AND NOT and_mask)."""
        address, and_mask, or_mask = _fixed(pdu, 7, _MASK)
        area = self._writable(Table.HOLDING, address, 1)
        (old,) = _REGISTER.unpack_from(area.memory, 2 * address)
        _REGISTER.pack_into(area.memory, 2 * address, (old & and_mask) | (or_mask & ~and_mask & 0xFFFF))
        self._wrote(Table.HOLDING, address, 1)
        return pdu

    def _read_write(self, pdu: bytes) -> bytes:
        """Function 23 (6.17): writes first, then reads; both ranges are checked before anything changes."""
        if len(pdu) < 10:
            raise Refused(spec.ILLEGAL_VALUE)
        read_first, read_count, first, count, size = _READ_WRITE.unpack_from(pdu, 1)
        data = pdu[10:]
        if (
            not 1 <= read_count <= spec.MAX_READ_REGISTERS
            or not 1 <= count <= spec.MAX_READ_WRITE_WRITE_REGISTERS
            or not size == len(data) == 2 * count
        ):
            raise Refused(spec.ILLEGAL_VALUE)
        area = self._areas[Table.HOLDING]
        if not area.has(read_first, read_count):
            raise Refused(spec.ILLEGAL_ADDRESS)
        self._writable(Table.HOLDING, first, count)
        if area.blocked and (code := area.code_of(read_first, read_first + read_count)):
            raise Refused(code)
        area.memory[2 * first : 2 * (first + count)] = data
        self._wrote(Table.HOLDING, first, count)
        return bytes((pdu[0], 2 * read_count)) + area.memory[2 * read_first : 2 * (read_first + read_count)]

    def _empty(self, address: int, data: bytes) -> None:
        """A write to what is not ours: it empties a queue, or is refused."""
        empty = self.emptied.get(address)
        if empty is None or data != b"\0\0" or self._areas[_HOLDING].is_protected(address):
            raise Refused(spec.ILLEGAL_ADDRESS)
        empty()

    def _writable(self, table: Table, first: int, count: int) -> _Area:
        area = self._areas[table]
        if not area.may_write(first, count):
            raise Refused(spec.ILLEGAL_ADDRESS)
        return area

    def _wrote(self, table: Table, first: int, count: int) -> None:
        if self.on_write is not None:
            self.on_write(table, first, count)

    # -- the side of those who keep it true ---------------------------------------------------------------------

    def define(self, ranges: Mapping[Table, Sequence[tuple[int, int]]]) -> None:
        """From now on this exists, as (first, count) pairs. What existed keeps its value, spans stay; the rest is 0.

        Every claimed span must lie inside.
        """
        for table, area in zip(Table, self._areas, strict=True):
            area.define(ranges.get(table, ()))
            area.arrange()
        self.on_blocked()

    def claim(self, places: Iterable[tuple[Table, int, int]]) -> list[Span]:
        """Take (table, first, count) parts out of clients' hands; without a value until `unblock`."""
        spans = [Span(table, first, count) for table, first, count in places]
        for span in spans:
            self._areas[span.table].spans.append(span)
        for table in {span.table for span in spans}:
            self._areas[table].arrange()
        self.on_blocked()
        return spans

    def release(self, spans: Iterable[Span]) -> None:
        """Give places back: what of them stays defined is ours again, and 0."""
        gone = {id(span): span for span in spans}
        for table in {span.table for span in gone.values()}:
            area = self._areas[table]
            area.spans = [span for span in area.spans if id(span) not in gone]
            area.arrange()
        for span in gone.values():
            area = self._areas[span.table]
            taken = _merge((other.first, other.stop) for other in area.spans_in(span.first, span.stop))
            for first, stop in _without([(span.first, span.stop)], taken):
                area.clear(first, stop)
        self.on_blocked()

    def protect(self, places: Iterable[tuple[Table, int, int]]) -> None:
        """Refuse clients' writes to these (table, first, count) ranges with 02, and to no others of ours."""
        for area in self._areas:
            area.read_only = []
        for table, first, count in places:
            self._areas[table].read_only.append((first, first + count))
        for area in self._areas:
            area.arrange()

    def block(self, span: Span, code: int) -> None:
        """From now on readers of `span` get exception `code`."""
        if not span.code:
            self._areas[span.table].blocked += 1
        if not span.code or span.parts:  # some of it was readable
            span.parts, span.code = (), code
            self.on_blocked()
        span.code = code

    def block_parts(self, span: Span, parts: Sequence[tuple[int, int, int]]) -> None:
        """From now on readers of these (first, stop, code) parts of `span` get the code, the rest has a value."""
        if not span.code:
            self._areas[span.table].blocked += 1
        span.code = parts[0][2]
        span.parts = parts
        self.on_blocked()

    def unblock(self, span: Span) -> None:
        """`span` has a value (again)."""
        span.parts = ()
        if span.code:
            self._areas[span.table].blocked -= 1
            span.code = 0

    def put_registers(self, table: Table, first: int, data: bytes) -> None:
        """Place wire bytes; the range must be defined."""
        self._areas[table].memory[2 * first : 2 * first + len(data)] = data
        if self.on_put is not None:
            self.on_put(table, first, len(data) >> 1)

    def overwrite(self, table: Table, first: int, data: bytes) -> None:
        """As `put_registers`, of what is no value: nobody is told."""
        self._areas[table].memory[2 * first : 2 * first + len(data)] = data

    def put_bits(self, table: Table, first: int, count: int, data: bytes) -> None:
        """Place `count` bits, packed as on the wire."""
        _put_bits(self._areas[table].memory, first, count, int.from_bytes(data, "little"))

    def put_bit(self, table: Table, address: int, on: bool) -> None:
        _put_bits(self._areas[table].memory, address, 1, int(on))

    def put_register_bit(self, table: Table, address: int, bit: int, on: bool) -> None:
        """Set one bit of a register, 0 the least significant; the others keep their values."""
        self._set_register_bit(table, address, bit, on)
        if self.on_put is not None:
            self.on_put(table, address, 1)

    def clear_register_bit(self, table: Table, address: int, bit: int) -> None:
        """As `put_register_bit`, of what is no value: nobody is told."""
        self._set_register_bit(table, address, bit, False)

    def _set_register_bit(self, table: Table, address: int, bit: int, on: bool) -> None:
        memory = self._areas[table].memory
        at = 2 * address + (bit < 8)
        mask = 1 << (bit & 7)
        memory[at] = memory[at] | mask if on else memory[at] & ~mask

    def read(self, table: Table, first: int, count: int) -> bytes:
        """Wire bytes of registers, or packed bits, as clients get them: Refused when not all of it has a value."""
        area = self._areas[table]
        if not area.has(first, count):
            raise Refused(spec.ILLEGAL_ADDRESS)
        if area.blocked and (code := area.code_of(first, first + count)):
            raise Refused(code)
        return self.get(table, first, count)

    def get(self, table: Table, first: int, count: int) -> bytes:
        """Wire bytes of registers, or packed bits, whatever their spans say; the range must be defined."""
        memory = self._areas[table].memory
        return _cut_bits(memory, first, count) if table.is_bits else bytes(memory[2 * first : 2 * (first + count)])

    def look(self, table: Table, first: int, count: int) -> tuple[list[int | None], list[int], list[bool]]:
        """What a client would read of each register or bit alone: its value, or None and the exception code; and
        whether a value is too old and served all the same."""
        area = self._areas[table]
        codes = [0 if area.has(at, 1) else spec.ILLEGAL_ADDRESS for at in range(first, first + count)]
        for span in area.spans_in(first, first + count) if area.blocked else ():
            for start, stop, code in span.parts or ((span.first, span.stop, span.code),):
                for at in range(max(start, first), min(stop, first + count)):
                    codes[at - first] = codes[at - first] or code
        values: list[int | None] = []
        for at, code in enumerate(codes, first):
            values.append(None if code else int.from_bytes(self.get(table, at, 1), "big"))
        held = [False] * count
        for span in area.spans_in(first, first + count) if area.spans else ():
            for at in range(max(span.first, first), min(span.stop, first + count)) if span.stale else ():
                held[at - first] = not codes[at - first]
        return values, codes, held

    def fresh(self, table: Table, first: int, count: int) -> bytes | None:
        """As `get`; None when some of it does not exist or has no value that is young enough."""
        area = self._areas[table]
        if not count or not area.has(first, count):
            return None
        if area.spans and any(span.stale for span in area.spans_in(first, first + count)):
            return None
        return self.get(table, first, count)

    def spans_in(self, table: Table, first: int, count: int) -> list[Span]:
        """The spans that touch a range, in order of their addresses."""
        return self._areas[table].spans_in(first, first + count)

    def is_defined(self, table: Table, first: int, count: int) -> bool:
        """Whether all of it exists."""
        return self._areas[table].has(first, count)

    def may_write(self, table: Table, first: int, count: int) -> bool:
        """Whether all of it is our own and open to clients' writes."""
        return self._areas[table].may_write(first, count)

    def own_ranges(self) -> dict[Table, list[Interval]]:
        """What is defined and nobody's but ours, as (first, stop) in order."""
        return {table: list(self._areas[table].own) for table in Table}

    def ranges(self) -> dict[str, list[Interval]]:
        """What is defined: by the table's word, (first, stop) in order."""
        return {table.word: list(self._areas[table].ranges) for table in Table}


def _nothing() -> None:
    """Nobody holds standing answers."""


def _refuse_function(pdu: bytes) -> bytes:
    raise Refused(spec.ILLEGAL_FUNCTION)


def _fixed(pdu: bytes, size: int, fields: struct.Struct) -> tuple[int, ...]:
    """The fields of a request whose size is fixed; another size is refused with 03."""
    if len(pdu) != size:
        raise Refused(spec.ILLEGAL_VALUE)
    return fields.unpack_from(pdu, 1)


def _cut_bits(memory: bytearray, first: int, count: int) -> bytes:
    """`count` bits from `first`, packed, unused high bits 0: one integer shift, whatever the alignment."""
    start, shift = first >> 3, first & 7
    chunk = int.from_bytes(memory[start : start + ((shift + count + 7) >> 3)], "little") >> shift
    return (chunk & ((1 << count) - 1)).to_bytes((count + 7) >> 3, "little")


def _put_bits(memory: bytearray, first: int, count: int, bits: int) -> None:
    """Place the low `count` bits of `bits` from `first`; their neighbours keep their values."""
    start, shift = first >> 3, first & 7
    stop = start + ((shift + count + 7) >> 3)
    mask = ((1 << count) - 1) << shift
    chunk = int.from_bytes(memory[start:stop], "little") & ~mask | (bits << shift & mask)
    memory[start:stop] = chunk.to_bytes(stop - start, "little")


def _merge(intervals: Iterable[Interval]) -> list[Interval]:
    """Sorted, joined where they touch."""
    merged: list[Interval] = []
    for first, stop in sorted(intervals):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((first, stop))
    return merged


def _without(intervals: Sequence[Interval], holes: Sequence[Interval]) -> list[Interval]:
    """What of `intervals` no hole covers; both sorted and disjoint."""
    left: list[Interval] = []
    at = 0
    for first, stop in intervals:
        while at < len(holes) and holes[at][1] <= first:
            at += 1
        next_hole = at
        while next_hole < len(holes) and holes[next_hole][0] < stop:
            hole_first, hole_stop = holes[next_hole]
            if first < hole_first:
                left.append((first, hole_first))
            first = max(first, hole_stop)
            next_hole += 1
        if first < stop:
            left.append((first, stop))
    return left


def _runs(intervals: Iterable[Interval], size: int) -> array[int]:
    """For each address below `size`: how many addresses of its interval follow, itself included, at most 2000."""
    runs = array("H", bytes(2 * size))
    for first, stop in intervals:
        count = stop - first
        tail = min(count, _MAX_RUN)
        runs[first : stop - tail] = array("H", [_MAX_RUN]) * (count - tail)
        runs[stop - tail : stop] = array("H", range(tail, 0, -1))
    return runs
