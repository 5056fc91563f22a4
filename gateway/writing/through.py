"""A client's write to mapped registers: it becomes one request to the device that they come from, or is refused.

The image is not touched here: who reads the device (polling) places what it accepted, before the client is told. The
rule of the file: everything is checked before anything is sent, in the order of the specification's charts (size and
quantity 03, address 02), then our own (values 03); a refusal has changed nothing.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Final, NamedTuple

from gateway.bank import Bank
from gateway.errors import LinkError, NotRead, Refused
from gateway.interfaces import Later, Steps, exception_code, exception_response, once
from gateway.modbus import pdu, spec
from gateway.modbus.spec import Table
from gateway.writing.destination import Destination
from gateway.writing.regions import BITS, Kind, RawRegion, Region, TagRegion
from gateway.writing.requests import mask_steps, write_coils, write_registers

_head = struct.Struct(">HHB").unpack_from
_pair = struct.Struct(">HH").unpack_from
_MASK = struct.Struct(">HHH")
_READ_WRITE = struct.Struct(">HHHHB")
_COIL_VALUES = {b"\xff\x00": b"\1", b"\x00\x00": b"\0"}
_WORD: Final = 0xFFFF
_REGISTER_BITS: Final = 16

MAX_WRITES_AHEAD: Final = 16
"""Writes to one device that clients may hand on before they are answered; a device's queue has places for more, so that
one client that sends on and on leaves some to the others."""
_BEYOND: Final = 1 << 17
"""After every address and every stop that a request can name."""

_MOST = {Kind.REGISTERS: spec.MAX_WRITE_REGISTERS, Kind.COIL: spec.MAX_WRITE_BITS}

Finish = Callable[[], bytes]
"""The answer to the client when the device has accepted."""


class _BitRegister(NamedTuple):
    """A holding register of ours with tags in single bits."""

    first: int
    stop: int
    bits: dict[int, TagRegion]


class _Part(NamedTuple):
    """One tag of a write, and what the client wants it to be, as it lies in our image."""

    region: TagRegion
    data: bytes


_Entry = RawRegion | TagRegion | _BitRegister


class _Area:
    """What goes to devices in one table of ours, in order; and what of the table clients may not write at all."""

    def __init__(self, regions: Iterable[Region], read_only: Iterable[tuple[int, int]]) -> None:
        """`read_only`: (first, count)."""
        entries: list[_Entry] = []
        by_register: dict[int, _BitRegister] = {}
        for region in regions:
            if isinstance(region, RawRegion) or region.bit is None:
                entries.append(region)
                continue
            if region.first not in by_register:
                by_register[region.first] = _BitRegister(region.first, region.first + 1, {})
                entries.append(by_register[region.first])
            by_register[region.first].bits[region.bit] = region
        self.entries = sorted(entries, key=lambda entry: entry.first)
        self._firsts = [*(entry.first for entry in self.entries), _BEYOND]
        self._stops = [entry.stop for entry in self.entries]
        self._read_only = sorted((first, first + count) for first, count in read_only)

    def touches(self, first: int, stop: int) -> bool:
        """Whether something in this range goes to a device."""
        return self._firsts[bisect_right(self._stops, first)] < stop

    def first_in(self, first: int, stop: int) -> _Entry | None:
        """The first that something in this range belongs to."""
        index = bisect_right(self._stops, first)
        return self.entries[index] if self._firsts[index] < stop else None

    def covering(self, first: int, stop: int) -> list[_Entry]:
        """The entries that fill the range: whole ones, or one raw copy. Refused(02) if they do not."""
        if any(start < stop and first < end for start, end in self._read_only):
            raise Refused(spec.ILLEGAL_ADDRESS)
        index = bisect_right(self._stops, first)
        entry = self.entries[index]
        if isinstance(entry, RawRegion):
            if entry.first <= first and stop <= entry.stop:
                return [entry]
            raise Refused(spec.ILLEGAL_ADDRESS)
        found: list[_Entry] = []
        at = first
        while at < stop:
            if index == len(self.entries):
                raise Refused(spec.ILLEGAL_ADDRESS)
            entry = self.entries[index]
            if entry.first != at or entry.stop > stop or isinstance(entry, RawRegion):
                raise Refused(spec.ILLEGAL_ADDRESS)
            found.append(entry)
            at = entry.stop
            index += 1
        return found


class Through:
    """The writing functions of one bank. Until `arrange` has given it regions the bank is as it was."""

    def __init__(self, bank: Bank, judge: Callable[[], None] | None = None) -> None:
        """`judge()`: what is old is told; called before the image is read long after a client's request."""
        self._bank = bank
        self._judge = judge
        self._functions: dict[int, Callable[[bytes], bytes | Later | None]] = {
            spec.WRITE_SINGLE_COIL: self._write_coil,
            spec.WRITE_SINGLE_REGISTER: self._write_register,
            spec.WRITE_MULTIPLE_COILS: self._write_coils,
            spec.WRITE_MULTIPLE_REGISTERS: self._write_registers,
            spec.MASK_WRITE_REGISTER: self._mask_write,
            spec.READ_WRITE_MULTIPLE_REGISTERS: self._read_write,
        }
        self._own = {code: bank.functions[code] for code in self._functions}
        self._coils = self._holding = _Area((), ())

    def arrange(self, regions: Iterable[Region], read_only: Iterable[tuple[Table, int, int]] = ()) -> None:
        """From now on these go to devices, and clients may not write to `read_only` (table, first, count) of them."""
        by_table: dict[Table, list[Region]] = {Table.COILS: [], Table.HOLDING: []}
        for region in regions:
            by_table[region.table].append(region)  # clients write no other tables
        protected = list(read_only)
        areas = [
            _Area(by_table[table], [(first, count) for there, first, count in protected if there is table])
            for table in by_table
        ]
        self._coils, self._holding = areas
        used = bool(self._coils.entries or self._holding.entries)
        for code, function in (self._functions if used else self._own).items():
            self._bank.functions[code] = function
        self._bank.overtakes = self.overtakes if used else None

    def overtakes(self, request: bytes) -> bool:
        """Whether it is a write that goes to a device: those of one client are handed on without waiting for answers.

        Their order is kept by who writes to the device. With 23 a read waits for its turn, so it waits. When enough is
        on its way to the device they wait, too: the rest has its place at the client.
        """
        function = request[0]
        if function in (spec.WRITE_SINGLE_REGISTER, spec.MASK_WRITE_REGISTER, spec.WRITE_MULTIPLE_REGISTERS):
            area = self._holding
        elif function in (spec.WRITE_SINGLE_COIL, spec.WRITE_MULTIPLE_COILS):
            area = self._coils
        else:
            return False
        if len(request) < 5:
            return False
        first, count = _pair(request, 1)
        many = function in (spec.WRITE_MULTIPLE_COILS, spec.WRITE_MULTIPLE_REGISTERS)
        entry = area.first_in(first, first + (count if many else 1))
        if entry is None:
            return False
        if isinstance(entry, _BitRegister):
            return all(region.destination.waiting < MAX_WRITES_AHEAD for region in entry.bits.values())
        return entry.destination.waiting < MAX_WRITES_AHEAD  # it is the others', too, or the write is refused

    # -- the functions ------------------------------------------------------------------------------------------

    def _write_coil(self, request: bytes) -> bytes | Later | None:
        """Function 05 (6.5)."""
        if len(request) != 5:
            raise Refused(spec.ILLEGAL_VALUE)
        (first, _) = _pair(request, 1)
        if not self._coils.touches(first, first + 1):
            return self._own[spec.WRITE_SINGLE_COIL](request)
        data = _COIL_VALUES.get(request[3:5])
        if data is None:
            raise Refused(spec.ILLEGAL_VALUE)
        return self._write(self._coils, first, 1, data, request, lambda: request)

    def _write_register(self, request: bytes) -> bytes | Later | None:
        """Function 06 (6.6)."""
        if len(request) != 5:
            raise Refused(spec.ILLEGAL_VALUE)
        (first, _) = _pair(request, 1)
        if not self._holding.touches(first, first + 1):
            return self._own[spec.WRITE_SINGLE_REGISTER](request)
        return self._write(self._holding, first, 1, request[3:5], request, lambda: request)

    def _write_coils(self, request: bytes) -> bytes | Later | None:
        """Function 15 (6.11)."""
        if len(request) < 7:
            raise Refused(spec.ILLEGAL_VALUE)
        first, count, size = _head(request, 1)
        if not self._coils.touches(first, first + count):
            return self._own[spec.WRITE_MULTIPLE_COILS](request)
        if not 1 <= count <= spec.MAX_WRITE_BITS or not size == len(request) - 6 == (count + 7) >> 3:
            raise Refused(spec.ILLEGAL_VALUE)
        return self._write(self._coils, first, count, request[6:], request, lambda: request[:5])

    def _write_registers(self, request: bytes) -> bytes | Later | None:
        """Function 16 (6.12)."""
        if len(request) < 8:
            raise Refused(spec.ILLEGAL_VALUE)
        first, count, size = _head(request, 1)
        if not self._holding.touches(first, first + count):
            return self._own[spec.WRITE_MULTIPLE_REGISTERS](request)
        if not 1 <= count <= spec.MAX_WRITE_REGISTERS or not size == len(request) - 6 == 2 * count:
            raise Refused(spec.ILLEGAL_VALUE)
        return self._write(self._holding, first, count, request[6:], request, lambda: request[:5])

    def _read_write(self, request: bytes) -> bytes | Later | None:
        """Function 23 (6.17): the write goes to the device; then what the image has is read."""
        if len(request) < 10:
            raise Refused(spec.ILLEGAL_VALUE)
        read_first, read_count, first, count, size = _READ_WRITE.unpack_from(request, 1)
        if not self._holding.touches(first, first + count):
            return self._own[spec.READ_WRITE_MULTIPLE_REGISTERS](request)
        data = request[10:]
        if (
            not 1 <= read_count <= spec.MAX_READ_REGISTERS
            or not 1 <= count <= spec.MAX_READ_WRITE_WRITE_REGISTERS
            or not size == len(data) == 2 * count
        ):
            raise Refused(spec.ILLEGAL_VALUE)
        if not self._bank.is_defined(Table.HOLDING, read_first, read_count):
            raise Refused(spec.ILLEGAL_ADDRESS)

        def read() -> bytes:
            if self._judge is not None:
                self._judge()
            answer = self._bank.answer(pdu.read_request(Table.HOLDING, read_first, read_count))
            assert isinstance(answer, bytes)
            if answer[0] & spec.EXCEPTION_BIT:
                return exception_response(request, answer[1])
            return request[:1] + answer[1:]

        return self._write(self._holding, first, count, data, request, read, unreadable=lambda: _code(read()))

    def _mask_write(self, request: bytes) -> bytes | Later | None:
        """Function 22 (6.16): passed on where a register of ours is one of the device's, or bits of it are."""
        if len(request) != 7:
            raise Refused(spec.ILLEGAL_VALUE)
        address, and_mask, or_mask = _MASK.unpack_from(request, 1)
        if not self._holding.touches(address, address + 1):
            return self._own[spec.MASK_WRITE_REGISTER](request)
        (entry,) = self._holding.covering(address, address + 1)
        if isinstance(entry, _BitRegister):
            changed = [bit for bit in range(_REGISTER_BITS) if not and_mask >> bit & 1]
            if not changed:
                return request
            if any(bit not in entry.bits for bit in changed):
                raise Refused(spec.ILLEGAL_ADDRESS)
            parts = [_Part(entry.bits[bit], BITS[or_mask >> bit & 1]) for bit in changed]
            return self._write_tags(parts, request, lambda: request)
        if isinstance(entry, TagRegion):
            if not entry.passes_masks:
                raise Refused(spec.ILLEGAL_ADDRESS)
            device_address = entry.tag.first
        else:
            device_address = entry.device_first + address - entry.first
        destination = entry.destination
        steps = mask_steps(
            device_address,
            and_mask,
            or_mask,
            multiple=destination.force_multiple,
            may_mask=lambda: not destination.force_multiple,
            refused=None,
        )
        what = Table.HOLDING.describe(device_address)
        key = (destination.name, Table.HOLDING, device_address, 1, ~and_mask & _WORD) if entry.latest_only else None
        return self._send(destination, steps, what, key, entry.hold_s, request, lambda: request)

    # -- where it goes ------------------------------------------------------------------------------------------

    def _write(
        self,
        area: _Area,
        first: int,
        count: int,
        data: bytes,
        request: bytes,
        finish: Finish,
        unreadable: Callable[[], int] | None = None,
    ) -> bytes | Later | None:
        """A write of registers, or of packed bits. `unreadable()`: the code that forbids it, asked last; 0: none."""
        entries = area.covering(first, first + count)
        raw = entries[0]
        if isinstance(raw, RawRegion):
            if unreadable is not None and (code := unreadable()):
                raise Refused(code)
            return self._write_raw(raw, first, count, data, request, finish)
        parts: list[_Part] = []
        if area is self._coils:
            bits = int.from_bytes(data, "little")
            for entry in entries:
                assert isinstance(entry, TagRegion)
                parts.append(_Part(entry, BITS[bits >> (entry.first - first) & 1]))
        else:
            for entry in entries:
                cut = data[2 * (entry.first - first) : 2 * (entry.stop - first)]
                if isinstance(entry, _BitRegister):
                    parts += self._bits(entry, cut)
                elif isinstance(entry, TagRegion):
                    parts.append(_Part(entry, cut))
        return self._write_tags(parts, request, finish, unreadable)

    def _bits(self, register: _BitRegister, data: bytes) -> list[_Part]:
        """A whole register whose bits are tags: all that are mapped may be written, the others do not change."""
        if len(self._bank.spans_in(Table.HOLDING, register.first, 1)) != len(register.bits):
            raise Refused(spec.ILLEGAL_ADDRESS)
        new = int.from_bytes(data, "big")
        old = int.from_bytes(self._bank.get(Table.HOLDING, register.first, 1), "big")
        mapped = sum(1 << bit for bit in register.bits)
        if (new ^ old) & ~mapped:
            raise Refused(spec.ILLEGAL_ADDRESS)
        return [_Part(region, BITS[new >> bit & 1]) for bit, region in register.bits.items()]

    def _write_raw(
        self, region: RawRegion, first: int, count: int, data: bytes, request: bytes, finish: Finish
    ) -> bytes | Later | None:
        """To the device's addresses, with the client's own function (23: 16) unless it wants 15 and 16 only."""
        destination, table = region.destination, region.table
        at = region.device_first + first - region.first
        single = request[0] in (spec.WRITE_SINGLE_COIL, spec.WRITE_SINGLE_REGISTER)
        multiple = destination.force_multiple or not single
        if table.is_bits:
            written = write_coils(at, count, data, multiple=multiple)
        else:
            written = write_registers(at, data, multiple=multiple)
        key = (destination.name, table, at, count, 0) if region.latest_only else None
        return self._send(destination, once(written), table.describe(at, count), key, region.hold_s, request, finish)

    def _write_tags(
        self,
        parts: list[_Part],
        request: bytes,
        finish: Finish,
        unreadable: Callable[[], int] | None = None,
    ) -> bytes | Later | None:
        """Whole tags: of one device and side by side there, so that one request writes them all."""
        head = parts[0].region
        destination, kind, table = head.destination, head.kind, head.tag.table
        if any(part.region.destination is not destination or part.region.kind is not kind for part in parts):
            raise Refused(spec.ILLEGAL_ADDRESS)
        parts = sorted(parts, key=lambda part: part.region.tag.first)
        if kind is Kind.BIT:
            _check_one_register(parts)
        else:
            _check_contiguous(parts, _MOST[kind])
        values = []
        for part in parts:
            value = part.region.convert(part.data)
            if value is None:
                raise Refused(spec.ILLEGAL_VALUE)
            values.append(value)
        if unreadable is not None and (code := unreadable()):
            raise Refused(code)

        first = parts[0].region.tag.first
        count = parts[-1].region.tag.stop - first
        multiple = destination.force_multiple
        changed = 0
        what = table.describe(first, count)
        if kind is Kind.BIT:
            set_ = 0
            for part, value in zip(parts, values, strict=True):
                changed |= part.region.device_mask
                set_ |= part.region.device_mask if value[0] else 0
            if len(parts) == 1:
                what = head.describe()
            steps = mask_steps(
                first,
                ~changed & _WORD,
                set_,
                multiple=multiple,
                may_mask=destination.may_mask,
                refused=destination.refuses_mask,
            )
        elif kind is Kind.COIL:
            bits = sum(value[0] << at for at, value in enumerate(values))
            steps = once(write_coils(first, count, bits.to_bytes((count + 7) >> 3, "little"), multiple=multiple))
        else:
            steps = once(write_registers(first, b"".join(values), multiple=multiple))
        key = None
        if all(part.region.latest_only for part in parts):
            key = (destination.name, table, first, count, changed)
        hold_s = max(part.region.hold_s for part in parts)
        return self._send(destination, steps, what, key, hold_s, request, finish)

    def _send(
        self,
        destination: Destination,
        steps: Callable[[], Steps],
        what: str,
        key: Hashable | None,
        hold_s: float,
        request: bytes,
        finish: Finish,
    ) -> bytes | Later | None:
        """Hand it on; what comes of it is the answer, in the client's own function and addresses."""

        def leave() -> None:
            write.wanted = False

        later = Later(leave)

        def done(answer: bytes | None, error: LinkError | None) -> None:
            if answer is None:
                assert error is not None
                later.error = error
                later.settle(exception_response(request, exception_code(error)))
            elif answer[0] & spec.EXCEPTION_BIT:
                later.settle(exception_response(request, answer[1]))
            else:
                told = finish()
                if code := _code(told):
                    later.error = NotRead(f"written, but the part to read: {spec.exception_text(code)}")
                later.settle(told)

        write = destination.write(steps, what, done, key=key, hold_s=hold_s)
        return later.answer if later.is_settled else later


def _check_contiguous(parts: Sequence[_Part], most: int) -> None:
    """In order of the device's addresses, no gap and no overlap, and no more than one request can write."""
    at = parts[0].region.tag.first
    for part in parts:
        if part.region.tag.first != at:
            raise Refused(spec.ILLEGAL_ADDRESS)
        at = part.region.tag.stop
    if at - parts[0].region.tag.first > most:
        raise Refused(spec.ILLEGAL_ADDRESS)


def _check_one_register(parts: Sequence[_Part]) -> None:
    """Different bits of one register."""
    masks = {part.region.device_mask for part in parts}
    if len(masks) != len(parts) or parts[0].region.tag.first != parts[-1].region.tag.first:
        raise Refused(spec.ILLEGAL_ADDRESS)


def _code(answer: bytes) -> int:
    """The exception code of an answer, 0 if it is none."""
    return answer[1] if answer[0] & spec.EXCEPTION_BIT else 0
