"""What is wrong with the values that a device gave: no value, out of range, in the wrong byte order. Pure; hints only.

The rule of the file: nothing here is an error. A device may be switched off, a sensor not connected; but whoever puts a
plant into service wants to see at once which of a thousand values cannot be meant.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from gateway.commission.guess import HUGE, ORDERS, SMALLEST
from gateway.values import TYPES, Tag, Value, bits_decoder, from_raw, registers_decoder, reorder

MOST_PLAUSIBLE = 1e6
"""A float in another order counts as what was meant when it is no larger than this, and no smaller than SMALLEST."""


class Reading(NamedTuple):
    """A tag, and what its value may be."""

    tag: Tag
    range: tuple[Fraction, Fraction] | None = None


class Finding(NamedTuple):
    """One thing that was noticed."""

    level: str
    """`wrong`: it does not work. `hint`: it works, look at it."""
    kind: str
    """For programs: `name`, `unreachable`, `refused`, `silent`, `framing`, `unit`, `address`, `limit` ..."""
    text: str
    change: str = ""
    """What to do; empty when the text says it."""


def value_of(tag: Tag, data: bytes) -> Value | None:
    """Its value, of the tag's own registers as on the wire, or its bit."""
    if tag.table.is_bits:
        return bool(bits_decoder([tag], tag.first)(data)[0])
    (raw,) = registers_decoder([tag], tag.first)(data)
    return from_raw(tag)(raw)


def judge(reading: Reading, data: bytes) -> Iterator[Finding]:
    """Findings of one value."""
    tag = reading.tag
    value = value_of(tag, data)
    shown = data.hex(" ", 2).upper()
    at = tag.table.describe(tag.first, tag.registers)
    if value is None:
        yield Finding("hint", "no_value", f"{tag.name} has no value: {at} holds {shown}, {_why_none(tag, data)}")
    elif reading.range is not None and isinstance(value, int | float):
        low, high = reading.range
        if not low <= Fraction(value) <= high:
            yield Finding(
                "hint",
                "range",
                f"{tag.name} is {_short(value)}, out of its range {float(low):g}..{float(high):g}",
                "look at its type, order and scale: gateway guess",
            )
    if (other := _other_order(tag, data)) is not None:
        order, better = other
        told = "no number" if value is None else _short(value)
        yield Finding(
            "hint",
            "order",
            f"{tag.name} reads {told} from {shown}; with the byte order {order} it would be {_short(better)}",
            f"if that is meant: order: {order}",
        )


def _why_none(tag: Tag, data: bytes) -> str:
    kind = TYPES[tag.type]
    plain = Tag(tag.name, tag.table, tag.first, tag.registers, tag.type, tag.bit, tag.order)
    if tag.no_value and value_of(plain, data) is not None:
        return "which its `no_value` says is none"
    if kind.is_float:
        return "which is not a number"
    return "which are not all decimal digits" if tag.type.startswith("bcd") else "which is none"


def _other_order(tag: Tag, data: bytes) -> tuple[str, Value] | None:
    """An order in which an impossible number is a sensible one, and that number."""
    kind = TYPES[tag.type]
    if kind.registers < 2 or not any(data):
        return None
    if kind.is_float:
        return None if _is_sensible(_float(kind.letter, data, tag.order)) else _sensible(kind.letter, data, tag)
    plain = reorder(data, tag.order)
    if tag.type.startswith("bcd") or any(plain[-2:]) or not any(plain[:-2]):
        return None
    swapped = "CDAB" if tag.order == "ABCD" else "ABCD" if tag.order == "CDAB" else ""
    if not swapped or any(reorder(data, swapped)[:-2]):
        return None
    return swapped, int.from_bytes(reorder(data, swapped), "big")


def _sensible(letter: str, data: bytes, tag: Tag) -> tuple[str, Value] | None:
    for order in ORDERS:
        number = _float(letter, data, order)
        if order != tag.order and SMALLEST <= abs(number) <= MOST_PLAUSIBLE:
            return order, number * float(tag.scale) + float(tag.offset)
    return None


def _is_sensible(number: float) -> bool:
    """Neither NaN, huge, nor next to nothing."""
    return number == 0 or 1e-9 <= abs(number) <= HUGE


def _float(letter: str, data: bytes, order: str) -> float:
    (number,) = struct.unpack(">" + letter, reorder(data, order))
    return float(number)


def _short(value: Value) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def readings_in(readings: Sequence[Reading], known: Mapping[int, bytes]) -> Iterator[tuple[Reading, bytes]]:
    """Those of which every register (two bytes) or bit (one, 0 or 1) is known, with their data."""
    for reading in readings:
        tag = reading.tag
        if all(address in known for address in range(tag.first, tag.stop)):
            yield reading, b"".join(known[address] for address in range(tag.first, tag.stop))
