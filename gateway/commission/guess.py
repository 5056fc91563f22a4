"""What a place may hold: every type, byte order and common scale of some registers, the plausible ones first. Pure.

The rule of the file: nothing is left out that could be meant, but each reading gets a score with its reasons, and what
no sensor sends (NaN, denormals, numbers beyond all measure) stands last. Without a value to look for, the strongest
signs are text that can be read, a float of sensible size with few digits, and a value that moves in small steps: in the
wrong byte order the same change is a jump.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from gateway.modbus.spec import Table
from gateway.values import TYPES, Tag, Value, from_raw, registers_decoder

ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")
SHORT_ORDERS = ("ABCD", "BADC")
"""Of one register, and of text."""
NUMBERS = tuple(name for name in TYPES if name not in ("bool", "string"))
SCALES = (Fraction(1), Fraction(1, 10), Fraction(1, 100), Fraction(1, 1000), Fraction(10))
"""Common ones; tried when there is a value to look for."""
FLOAT_SCALES = (*SCALES, Fraction(100), Fraction(1000))
"""Of floats, too: a ratio that is shown in percent, kW that are shown as W."""
SHIFTS = (0, -1, 1)
"""The register asked for, the one before (manuals that count from 1), the one behind."""
TEXT_REGISTERS = 8
"""How much is taken for a text where nothing says how long it is."""
LONGEST = 4
"""Registers of the longest number."""
CLOSE, NEAR, FAR = 0.005, 0.05, 0.25
"""How far from the value that was given, in parts of it."""
SMALLEST, LARGEST = 1e-4, 1e7
"""Of what is measured; zero aside."""
HUGE = 1e12
USUAL = 10_000
"""Most whole numbers in registers are smaller."""
STEP, JUMP = 0.05, 0.5
"""What changes by less than STEP of itself from one reading to the next moves, by more than JUMP it jumps."""
DIGITS = 5
"""A float with no more of them was a set-point or a rounded value: by chance, one in thousands has so few."""


class Guess(NamedTuple):
    """One reading of the place."""

    address: int
    registers: int
    type: str
    order: str
    scale: Fraction
    value: Value | None
    """None: no number, or no text."""
    score: float
    """The lower the better; below 0 it fits the value that was given."""
    reasons: tuple[str, ...]
    values: tuple[Value | None, ...] = ()
    """Of each reading, the last one last."""

    @property
    def is_plausible(self) -> bool:
        return self.score < IMPLAUSIBLE

    def yaml(self, table: Table, name: str = "name") -> str:
        """The line to paste under `tags`."""
        at = f"{table.word}:{self.address}"
        if self.type == "string":
            at += f"..{self.address + self.registers - 1}"
        parts = [f"at: {at}", f"type: {self.type}"]
        parts += [f"order: {self.order}"] if self.order != "ABCD" else []
        parts += [f"scale: {float(self.scale):g}"] if self.scale != 1 else []
        return f"{name}: {{{', '.join(parts)}}}"


IMPLAUSIBLE = 60.0
"""From this score on."""

Registers = Mapping[int, bytes]
"""The two bytes of each address that could be read, as on the wire."""


def guesses(
    readings: Sequence[Registers], address: int, *, near: float | None = None, text_registers: int = TEXT_REGISTERS
) -> list[Guess]:
    """All readings of the place, the best first. `readings`: one or several, the last one last."""
    found = [guess for shift in SHIFTS for guess in _at(readings, address + shift, shift, near, text_registers)]
    found.sort(key=lambda guess: (guess.score, guess.registers, guess.scale != 1, ORDERS.index(guess.order)))
    return _distinct(found)


def _at(
    readings: Sequence[Registers], address: int, shift: int, near: float | None, text_registers: int
) -> Iterator[Guess]:
    for name in NUMBERS:
        kind = TYPES[name]
        if any(place not in readings[-1] for place in range(address, address + kind.registers)):
            continue
        for order in SHORT_ORDERS if kind.registers == 1 else ORDERS:
            raws = [_raw(reading, address, name, kind.registers, order) for reading in readings]
            for scale in SCALES[:1] if near is None else FLOAT_SCALES if kind.is_float else SCALES:
                values = tuple(_value(raw, name, scale) for raw in raws)
                score, reasons = _judge(values, raws, name, scale, near, shift)
                yield Guess(address, kind.registers, name, order, scale, values[-1], score, reasons, values)
    if near is None and not shift:
        yield from _texts(readings, address, text_registers)


def _raw(reading: Registers, address: int, name: str, registers: int, order: str) -> bytes | None:
    """The bytes in ABCD order; None: not all of them could be read this time."""
    try:
        data = b"".join(reading[address + n] for n in range(registers))
    except KeyError:
        return None
    tag = Tag("", Table.HOLDING, 0, registers, name, None, order)
    (raw,) = registers_decoder([tag], 0)(data)
    return struct.pack(">" + TYPES[name].letter, raw)


def _value(data: bytes | None, name: str, scale: Fraction) -> Value | None:
    if data is None:
        return None
    kind = TYPES[name]
    tag = Tag("", Table.HOLDING, 0, kind.registers, name, None, "ABCD", scale)
    return from_raw(tag)(struct.unpack(">" + kind.letter, data)[0])


def _texts(readings: Sequence[Registers], address: int, most: int) -> Iterator[Guess]:
    reading = readings[-1]
    count = 0
    while count < most and address + count in reading:
        count += 1
    for order in SHORT_ORDERS:
        data = b"".join(reading[address + n] for n in range(count))
        if order == "BADC":
            data = bytes(data[place ^ 1] for place in range(len(data)))
        size = 0
        while size < len(data) and 0x20 <= data[size] < 0x7F:
            size += 1
        text = data[:size].decode("ascii").rstrip()
        is_ended = size == len(data) or not data[size]
        if len(text) < 4 or not is_ended or not any(char.isalnum() for char in text):
            continue
        registers = -(-len(text) // 2)
        yield Guess(
            address,
            registers,
            "string",
            order,
            Fraction(1),
            text,
            5.0 + (order != "ABCD") - len(text) / 8,
            (f"{len(text)} characters that can be read",),
            (text,),
        )


# -- how plausible --------------------------------------------------------------------------------------------------


def _judge(
    values: Sequence[Value | None],
    raws: Sequence[bytes | None],
    name: str,
    scale: Fraction,
    near: float | None,
    shift: int,
) -> tuple[float, tuple[str, ...]]:
    """Score and reasons. What fits `near` is below 0, what cannot be is above IMPLAUSIBLE."""
    value, kind = values[-1], TYPES[name]
    score, reasons = 20.0, list[str]()
    if not isinstance(value, int | float):
        return 90.0, ("NaN or infinite" if kind.is_float else "not all decimal digits",)
    size = abs(value)
    if kind.is_float:
        points, why = _judge_float(float(value), name, raws[-1] or b"")
    else:
        points, why = _judge_whole(int(Fraction(value) / scale) if scale != 1 else int(value), name)
    score += points
    reasons += why
    if len(values) > 1 and points < IMPLAUSIBLE:
        points, why = _judge_moves(values)
        score += points
        reasons += why
    if near is not None:
        off = abs(value - near) / max(abs(near), 1e-9)
        if off <= FAR and score < IMPLAUSIBLE:
            score = (-100.0 if off <= CLOSE else -60.0 if off <= NEAR else -30.0) + score / 4 + off * 20
            reasons.insert(0, "is the value given" if off < 1e-6 else f"{off:.1%} from the value given")
            score += 6 * (scale != 1)
        elif size:
            score += min(10.0, abs(math.log10(size) - math.log10(max(abs(near), 1e-9))))
    if shift:
        score += 8
        reasons.append("one register before" if shift < 0 else "one register behind")
    return score, tuple(reasons)


def _judge_float(value: float, name: str, data: bytes) -> tuple[float, list[str]]:
    size = abs(value)
    if not any(data):
        return 12.0, ["all bits are 0: nothing to tell by"]
    least = 2.0**-126 if name == "float32" else 2.0**-1022
    if size < least:
        return 60.0, ["denormal: no sensor sends that"]
    if size > HUGE:
        return 55.0, ["huge"]
    if size < 1e-9:
        return 50.0, ["next to nothing"]
    if not SMALLEST <= size <= LARGEST:
        return 25.0, ["of unusual size"]
    few = len(f"{value:.9g}".replace("-", "").replace(".", "").strip("0")) <= DIGITS
    if name == "float32":
        few = any(math.isclose(float(f"{value:.{digits}g}"), value, rel_tol=6e-8) for digits in range(1, DIGITS + 1))
    return (-14.0, ["a sensible size", "few digits"]) if few else (-8.0, ["a sensible size"])


def _judge_whole(raw: int, name: str) -> tuple[float, list[str]]:
    size, kind = abs(raw), TYPES[name]
    if raw == 0:
        return 12.0 + kind.registers, ["is 0: nothing to tell by"]
    if kind.registers == 1:
        points, why = (0.0, ["a usual size"]) if size <= USUAL else (6.0, ["larger than most"])
        if raw in (0x8000, -0x8000, 0xFFFF, -1, 0x7FFF):
            return 22.0, ["often means `no value`"]
        points += 1.0 * (name == "uint16" and size > 0x7FFF) + 2.0 * name.startswith("bcd")
        return points, why
    if not raw & 0xFFFF:
        return 24.0 + kind.registers, ["its low register is 0: another order?"]
    if size < 1 << 16:
        return 9.0 + kind.registers, ["would fit one register"]
    if size > HUGE:
        return 50.0, ["huge"]
    if size > 100_000_000:
        return 18.0 + kind.registers, ["large"]
    return 4.0 + kind.registers + 3.0 * name.startswith("bcd"), ["takes its registers"]


def _judge_moves(values: Sequence[Value | None]) -> tuple[float, list[str]]:
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    if len(numbers) < len(values):
        return 20.0, ["not always a number"]
    if max(numbers) == min(numbers):
        return 0.0, []
    if all(isinstance(value, int) and not (value - int(numbers[0])) % 0x100 for value in values):
        return 12.0, ["only its high byte moves"]
    changes = [abs(b - a) / max(abs(a), abs(b), 1e-9) for a, b in pairwise(numbers)]
    if max(changes) <= STEP:
        return -8.0, ["moves in small steps"]
    if max(changes) > JUMP:
        return 15.0, ["jumps"]
    return 0.0, ["moves"]


def _distinct(found: Sequence[Guess]) -> list[Guess]:
    """Without readings that are another one in other words: same place and value, as both int16 and uint16 have."""
    kept: dict[tuple[object, ...], Guess] = {}
    for guess in found:
        if guess.type.startswith(("int", "uint")):
            key: tuple[object, ...] = (guess.address, guess.registers, guess.order, guess.scale, guess.values)
            first = kept.get(key)
            if first is not None:
                kept[key] = first._replace(reasons=(*first.reasons, f"{guess.type} reads the same"))
                continue
        else:
            key = (guess.address, guess.type, guess.order, guess.scale)
        kept[key] = guess
    return list(kept.values())
