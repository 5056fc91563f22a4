"""Register bytes <-> values, compiled once per block; tags, samples, quality.

Values come in wire order and leave in wire order (big-endian registers). The four byte orders are permutations that are
their own inverse, so one table serves reading and writing (protocol digest 5.2). Integers stay integers: scale and
offset are fractions, and `raw * scale + offset` is computed exactly and rounded once.
"""

from __future__ import annotations

import enum
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from operator import itemgetter
from typing import Any, NamedTuple

from gateway.modbus.spec import Table


class Quality(enum.IntEnum):
    """As OPC UA's two severity bits."""

    GOOD = 0
    UNCERTAIN = 1
    BAD = 2


class ValueType(NamedTuple):
    """One type of config.md: its registers (0: the range of the tag says), its struct letter, its limits."""

    name: str
    registers: int
    letter: str
    low: int | None
    """The least integer it holds; None when it is no integer type."""
    high: int | None

    @property
    def is_integer(self) -> bool:
        return self.low is not None

    @property
    def is_float(self) -> bool:
        return self.letter in "fd"


TYPES = {
    kind.name: kind
    for kind in (
        ValueType("bool", 1, "H", 0, 1),
        ValueType("int16", 1, "h", -(1 << 15), (1 << 15) - 1),
        ValueType("uint16", 1, "H", 0, (1 << 16) - 1),
        ValueType("int32", 2, "i", -(1 << 31), (1 << 31) - 1),
        ValueType("uint32", 2, "I", 0, (1 << 32) - 1),
        ValueType("int64", 4, "q", -(1 << 63), (1 << 63) - 1),
        ValueType("uint64", 4, "Q", 0, (1 << 64) - 1),
        ValueType("float32", 2, "f", None, None),
        ValueType("float64", 4, "d", None, None),
        ValueType("bcd16", 1, "H", 0, 9999),
        ValueType("bcd32", 2, "I", 0, 99_999_999),
        ValueType("string", 0, "s", None, None),
    )
}

_SWAPS_WORDS = ("CDAB", "DCBA")
_SWAPS_BYTES = ("BADC", "DCBA")


def permutation(order: str, registers: int) -> tuple[int, ...]:
    """Where each byte of the value in ABCD order lies on the wire; its own inverse; 64 bits are four words."""
    words = range(registers)
    places = [2 * word + byte for word in (reversed(words) if order in _SWAPS_WORDS else words) for byte in (0, 1)]
    return tuple(place ^ 1 for place in places) if order in _SWAPS_BYTES else tuple(places)


def byte_order(type_name: str, order: str) -> str:
    """`order` as a type obeys it: characters have no words, strings are swapped byte-wise only (config.md, Habits)."""
    if type_name != "string":
        return order
    return "BADC" if order in _SWAPS_BYTES else "ABCD"


def reorder(data: bytes, order: str) -> bytes:
    """Wire bytes to ABCD or back."""
    return data if order == "ABCD" else bytes(data[place] for place in permutation(order, len(data) // 2))


Number = int | float
Value = bool | int | float | str


class Sample(NamedTuple):
    """One value as somebody outside sees it."""

    value: Value | None
    """In engineering units; the last one there was while the quality is not GOOD, None before the first."""
    quality: Quality
    time_ns: int
    """UTC, nanoseconds since 1970, of the last good read; 0 before it."""
    cause: str
    """Why the quality is not GOOD: `waiting`, `time-out`, `stale`, `no value` ...; else empty."""


class Sentinel(NamedTuple):
    """A number that means `no value`: a bit pattern, or the number as decoded before scaling."""

    is_bits: bool
    number: int | Fraction


@dataclass(frozen=True, slots=True)
class Tag:
    """What a tag is, resolved: nothing left to default."""

    name: str
    table: Table
    first: int
    registers: int
    """Registers it takes at the device; for coils and discrete inputs: bits, 1."""
    type: str
    bit: int | None = None
    """The bit of the register, 0 the least significant; None: the whole."""
    order: str = "ABCD"
    scale: Fraction = Fraction(1)
    offset: Fraction = Fraction(0)
    no_value: tuple[Sentinel, ...] = ()
    deadband: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "order", byte_order(self.type, self.order))

    @property
    def stop(self) -> int:
        return self.first + self.registers

    @property
    def swaps_bytes(self) -> bool:
        """Whether each register arrives with its bytes exchanged."""
        return self.order in _SWAPS_BYTES


def from_raw(tag: Tag) -> Callable[[Any], Value | None]:
    """Compile raw (as `struct` gives it) -> value in engineering units; None: there is no value.

    Sentinels, NaN, infinities and BCD nibbles above 9 are no values. Integers with whole scale and offset stay whole.
    """
    if tag.type == "string":
        return _text
    if tag.type == "bool":
        if tag.bit is None:
            return bool
        mask = 1 << tag.bit
        return lambda raw: bool(raw & mask)
    kind = TYPES[tag.type]
    number = _bcd if tag.type.startswith("bcd") else None
    absent = _absent_raws(tag, kind)
    scaled = _scaled(tag.scale, tag.offset, is_float=kind.is_float)
    isfinite = math.isfinite

    def convert(raw: Any) -> Value | None:
        if number is not None:
            raw = number(raw) if raw not in absent else None
            return None if raw is None else scaled(raw)
        if raw in absent or not isfinite(raw):
            return None
        value = scaled(raw)
        return value if isfinite(value) else None

    return convert


def _absent_raws(tag: Tag, kind: ValueType) -> frozenset[Number]:
    """The sentinels as `struct` decodes them. A NaN pattern needs no entry: NaN never is a value."""
    raws: set[Number] = set()
    for sentinel in tag.no_value:
        if sentinel.is_bits:
            pattern = int(sentinel.number).to_bytes(2 * kind.registers, "big")
            (raw,) = struct.unpack(">" + kind.letter, pattern)
        elif kind.is_float:
            (raw,) = struct.unpack(">" + kind.letter, struct.pack(">" + kind.letter, float(sentinel.number)))
        elif tag.type.startswith("bcd"):
            raw = int(str(int(sentinel.number)), 16)
        else:
            raw = int(sentinel.number)
        raws.add(raw)
    return frozenset(raws)


def _scaled(scale: Fraction, offset: Fraction, *, is_float: bool) -> Callable[[Any], Number]:
    if scale == 1 and offset == 0:
        return _same
    if is_float:
        factor, shift = float(scale), float(offset)
        return lambda raw: raw * factor + shift
    denominator = math.lcm(scale.denominator, offset.denominator)
    a, b = int(scale * denominator), int(offset * denominator)
    if denominator == 1:
        return lambda raw: raw * a + b
    return lambda raw: (raw * a + b) / denominator  # both integers: rounded once, 2374 * 0.1 is 237.4


def _same(raw: Number) -> Number:
    return raw


def _bcd(raw: int) -> int | None:
    """Packed decimal: 1234h is 1234; None when a nibble is above 9."""
    text = f"{raw:x}"
    return int(text) if text.isdecimal() else None


def _text(raw: bytes) -> str:
    """Up to the first NUL, without trailing spaces; what is no UTF-8 shows as U+FFFD."""
    return raw.split(b"\0", 1)[0].rstrip(b" ").decode("utf-8", "replace")


def round_half_away(number: Number | Fraction) -> int:
    """2.5 is 3, -2.5 is -3: as engineers round."""
    exact = abs(Fraction(number))
    whole = int(exact + Fraction(1, 2))
    return whole if number >= 0 else -whole


def encode(type_name: str, value: Value | Fraction, order: str = "ABCD", registers: int = 0) -> bytes | None:
    """A value as wire bytes of this type, rounded; None when it does not fit. `registers`: for strings only."""
    kind = TYPES[type_name]
    if type_name == "string":
        data = str(value).encode("utf-8")
        if len(data) > 2 * registers:
            return None
        return reorder(data.ljust(2 * registers, b"\0"), byte_order(type_name, order))
    if isinstance(value, str):
        return None
    if kind.is_float:
        try:
            data = struct.pack(">" + kind.letter, float(value))
        except OverflowError:
            return None
    else:
        if isinstance(value, float) and not math.isfinite(value):
            return None
        whole = int(value) if isinstance(value, int) else round_half_away(value)  # int of a bool prints as 0 or 1
        assert kind.low is not None
        assert kind.high is not None
        if not kind.low <= whole <= kind.high:
            return None
        data = struct.pack(">" + kind.letter, int(str(whole), 16) if type_name.startswith("bcd") else whole)
    return reorder(data, order)


def to_raw(tag: Tag) -> Callable[[Value | Fraction], bytes | None]:
    """Compile value in engineering units -> the tag's registers as the device has them; the way back of `from_raw`.

    Scale and offset are undone exactly, what is between two numbers is rounded half away from zero. None: it cannot be
    represented, or the device would mean `no value` by it. For whole registers, not for a bit of one.
    """
    kind, order, scale, offset = tag.type, tag.order, tag.scale, tag.offset
    is_number = kind not in ("bool", "string")
    is_scaled = scale != 1 or offset != 0
    decode, convert_back = registers_decoder([tag], tag.first), from_raw(tag)

    def convert(value: Value | Fraction) -> bytes | None:
        if is_number:
            if isinstance(value, str) or (isinstance(value, float) and not math.isfinite(value)):
                return None
            if is_scaled:
                value = (Fraction(value) - offset) / scale
        elif kind == "bool" and value not in (0, 1):
            return None
        data = encode(kind, value, order, tag.registers)
        return None if data is None or convert_back(decode(data)[0]) is None else data

    return convert


def registers_decoder(tags: Sequence[Tag], first: int) -> Callable[[bytes], tuple[Any, ...]]:
    """Compile a block: its register bytes (from address `first`) -> the raw value of each tag, in order of `tags`.

    One compiled struct for all. Where tags stand side by side in ABCD order, gaps are pad bytes; else the bytes are
    gathered into that shape first, by one itemgetter.
    """
    plain = all(tag.order == "ABCD" for tag in tags) and all(a.stop <= b.first for a, b in pairwise(tags))
    pattern, places, at = ">", list[int](), first
    for tag in tags:
        if plain:
            pattern += f"{2 * (tag.first - at)}x" if tag.first > at else ""
            at = tag.stop
        else:
            places += [2 * (tag.first - first) + place for place in permutation(tag.order, tag.registers)]
        pattern += f"{2 * tag.registers}s" if tag.type == "string" else TYPES[tag.type].letter
    if plain:
        return struct.Struct(pattern).unpack_from
    gather, unpack = itemgetter(*places), struct.Struct(pattern).unpack
    return lambda data: unpack(bytes(gather(data)))


def bits_decoder(tags: Sequence[Tag], first: int) -> Callable[[bytes], tuple[Any, ...]]:
    """As `registers_decoder`, for packed bits: a tuple of bools."""
    shifts = [tag.first - first for tag in tags]

    def decode(data: bytes) -> tuple[bool, ...]:
        bits = int.from_bytes(data, "little")
        return tuple(bool(bits >> shift & 1) for shift in shifts)

    return decode
