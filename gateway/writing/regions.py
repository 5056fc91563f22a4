"""What of our image goes to devices when clients write it: raw copies of polled ranges, and tags.

Pure: image bytes in, device bytes out, None for what a device cannot be told. Values on both sides are wire bytes:
registers as they are, a coil or one bit of a register as b"\\0" or b"\\1".
"""

from __future__ import annotations

import enum
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from gateway.config import model
from gateway.modbus.spec import Table
from gateway.places import place_of, resolve_tag
from gateway.values import TYPES, Number, Tag, encode, from_raw, registers_decoder, reorder, to_raw
from gateway.writing.destination import Destination

Limits = tuple[Fraction, Fraction]
"""The least and the greatest value in engineering units, both allowed."""

Convert = Callable[[bytes], bytes | None]
"""A value as it lies in our image -> as it lies in the device; None: it cannot be written."""

BITS = (b"\0", b"\1")


@dataclass(frozen=True, eq=False, slots=True)
class RawRegion:
    """A range of ours that is a copy of a device's: writes to any part of it go there as they are."""

    destination: Destination
    table: Table
    first: int
    count: int
    """In our image."""
    device_first: int
    """The same table at the device: holding registers are copied to holding registers, coils to coils."""
    latest_only: bool = False
    hold_s: float = 0.0
    """How long polls may show the old value after a write (`verify`)."""

    @property
    def stop(self) -> int:
        return self.first + self.count


class Kind(enum.Enum):
    """What a tag is at the device, for those who write it."""

    REGISTERS = "registers"
    COIL = "coil"
    BIT = "bit of a register"


@dataclass(frozen=True, eq=False, slots=True)
class TagRegion:
    """The place of one tag: written as a whole, converted to what the device has."""

    destination: Destination
    table: Table
    first: int
    bit: int | None
    """In our image; `bit`: one bit of the register `first`."""
    tag: Tag
    as_: str | None = None
    limits: Limits | None = None
    latest_only: bool = False
    hold_s: float = 0.0
    count: int = field(init=False)
    """In our image."""
    kind: Kind = field(init=False)
    convert: Convert = field(init=False)
    passes_masks: bool = field(init=False)
    """A mask write means the same at the device: the register is the same there, and every value is allowed."""

    def __post_init__(self) -> None:
        is_bit = self.table.is_bits or self.bit is not None
        set_ = object.__setattr__  # it is frozen for others
        set_(self, "count", 1 if is_bit else _width(self.tag, self.as_))
        set_(self, "kind", _kind(self.tag, self.as_, is_bit=is_bit))
        set_(self, "convert", converter(self.tag, self.as_, self.limits, is_bit=is_bit))
        set_(self, "passes_masks", _passes_masks(self.tag, self.as_, self.limits))

    @property
    def stop(self) -> int:
        return self.first + self.count

    @property
    def device_mask(self) -> int:
        """The bit as the register travels; the bytes of some devices' registers are exchanged."""
        assert self.tag.bit is not None
        return 1 << (self.tag.bit ^ 8 if self.tag.swaps_bytes else self.tag.bit)

    def describe(self) -> str:
        """Where it stands at the device, in both notations."""
        table, first = self.tag.table, self.tag.first
        if self.kind is Kind.BIT:
            return f"{table.word}:{first}.{self.tag.bit} ({table.reference(first)}.{self.tag.bit})"
        return table.describe(first, self.tag.registers)


Region = RawRegion | TagRegion


def regions(config: model.Config, name: str, destination: Destination) -> dict[int, list[Region]]:
    """By unit id of ours: what clients may write of device `name`."""
    device = config.devices[name]
    found: dict[int, list[Region]] = {}
    for poll in device.poll:
        if poll.write is not None:
            to = poll.to.address
            raw = RawRegion(
                destination,
                to.table,
                to.first,
                poll.read.count,
                poll.read.first,
                latest_only=poll.latest_only,
                hold_s=poll.verify_s or 0.0,
            )
            found.setdefault(config.unit_of(poll.to), []).append(raw)
    for tag_name, configured in device.tags.items():
        tag = resolve_tag(tag_name, configured, device)
        place = place_of(config, configured, tag)
        if configured.write and place is not None:
            region = TagRegion(
                destination,
                place.table,
                place.first,
                place.bit,
                tag,
                as_=configured.as_,
                limits=configured.range,
                latest_only=configured.latest_only,
                hold_s=configured.verify_s or 0.0,
            )
            found.setdefault(place.unit_id, []).append(region)
    return found


def _width(tag: Tag, as_: str | None) -> int:
    return tag.registers if as_ in (None, "raw") else TYPES[as_].registers


def _kind(tag: Tag, as_: str | None, *, is_bit: bool) -> Kind:
    if tag.table.is_bits:
        return Kind.COIL
    if tag.bit is not None and (is_bit or as_ != "raw"):
        return Kind.BIT
    return Kind.REGISTERS  # a raw copy of a register is the whole of it, although one bit of it is the tag


def _passes_masks(tag: Tag, as_: str | None, limits: Limits | None) -> bool:
    if tag.type not in ("int16", "uint16") or limits is not None or tag.no_value:
        return False
    if as_ == "raw":
        return True
    return as_ in (None, tag.type) and tag.scale == 1 and tag.offset == 0 and not tag.swaps_bytes


# -- image bytes -> device bytes ----------------------------------------------------------------------------------


def converter(tag: Tag, as_: str | None, limits: Limits | None, *, is_bit: bool) -> Convert:
    """Compile what `TagRegion.convert` does. `is_bit`: it lies in our image as a coil or as a bit of a register.

    A value outside of `limits`, one that the device's type does not hold and one that it would mean `no value` by
    cannot be written.
    """
    kind = _kind(tag, as_, is_bit=is_bit)
    if as_ == "raw" and kind is Kind.REGISTERS:
        return _copier(tag, limits)
    put = to_raw(tag) if kind is Kind.REGISTERS else _bit
    if is_bit:
        return lambda data: put(data[0])
    type_name = tag.type if as_ is None else as_
    if type_name == "string":
        return lambda data: reorder(data, tag.order)
    get = _decoder(type_name)
    if limits is None:

        def convert(data: bytes) -> bytes | None:
            value = get(data)
            return None if value is None else put(value)

        return convert
    least, greatest = _as_shown(limits, type_name)

    def convert_within(data: bytes) -> bytes | None:
        value = get(data)
        return put(value) if value is not None and least <= value <= greatest else None

    return convert_within


def _bit(value: Number | Fraction) -> bytes | None:
    """0 and 1 are bits, nothing else is."""
    return BITS[int(value)] if value in (0, 1) else None


def _copier(tag: Tag, limits: Limits | None) -> Convert:
    """`as: raw`: registers as the device has them, as long as they are a value."""
    if tag.type in ("bool", "string"):
        return lambda data: data
    decode = registers_decoder([tag], tag.first)
    number_of = from_raw(replace(tag, scale=Fraction(1), offset=Fraction(0)))

    def exact(data: bytes | None) -> Fraction | None:
        number = None if data is None else number_of(decode(data)[0])
        return Fraction(number) * tag.scale + tag.offset if isinstance(number, int | float) else None

    if limits is None:
        return lambda data: data if exact(data) is not None else None
    least, greatest = limits
    if TYPES[tag.type].is_float:
        least, greatest = _widened(limits, [exact(to_raw(tag)(limit)) for limit in limits])

    def convert(data: bytes) -> bytes | None:
        value = exact(data)
        return data if value is not None and least <= value <= greatest else None

    return convert


def _as_shown(limits: Limits, type_name: str) -> Limits:
    """The limits as a client can write them: 0.1 as float32 is a little more than 0.1, and is allowed all the same."""
    if not TYPES[type_name].is_float:
        return limits
    get = _decoder(type_name)
    shown = [encode(type_name, limit) for limit in limits]
    return _widened(limits, [None if data is None else get(data) for data in shown])


def _widened(limits: Limits, shown: Sequence[Number | Fraction | None]) -> Limits:
    """So that the limits themselves can be written, though a float may not have them exactly."""
    ends = [*limits, *(Fraction(value) for value in shown if value is not None)]
    return min(ends), max(ends)


def _decoder(type_name: str) -> Callable[[bytes], Number | None]:
    """Compile registers of ours (ABCD) -> number; None for NaN, infinities and BCD nibbles above 9."""
    kind = TYPES[type_name]
    unpack = struct.Struct(">" + kind.letter).unpack
    if type_name.startswith("bcd"):
        return lambda data: int(data.hex()) if data.hex().isdecimal() else None
    if type_name == "bool":
        return lambda data: value if (value := unpack(data)[0]) in (0, 1) else None
    if kind.is_float:
        return lambda data: value if math.isfinite(value := unpack(data)[0]) else None
    return lambda data: unpack(data)[0]
