"""Where a block's bytes go: raw copies, and tags converted on their way into the image.

A sink places what was read, blocks its span when there is no value, and does the device's `on_stale` when the value has
grown too old. The deadband holds a tag's value for everybody alike: image and hub never differ; only what was written
passes it. A raw block of which the device refuses a part is placed in stretches, each with a value or without, under
the one span it has in the bank.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from gateway.bank import Bank, Span
from gateway.hub import Point
from gateway.modbus import spec
from gateway.modbus.spec import Table
from gateway.values import TYPES, Tag, Value, encode, from_raw, reorder

_STRUCTS = {letter: struct.Struct(">" + letter) for letter in "hHiIqQfd"}

NO_VALUE = "no value"
"""The cause of a sentinel, NaN or undecodable BCD."""


class Target:
    """A span of a bank that one sink keeps true, and what its readers get when it has no value any more."""

    def __init__(self, bank: Bank, span: Span, on_stale: str, clear: Callable[[], None]) -> None:
        """`on_stale`: error, hold or zero. `clear()` sets the span's places to zero."""
        self.bank = bank
        self.span = span
        self._on_stale = on_stale
        self._clear = clear
        self._filled = False

    def filled(self) -> None:
        """It has a value now."""
        self._filled = True
        self.span.stale = False
        if self.span.code:
            self.bank.unblock(self.span)

    def lose(self, code: int = spec.GATEWAY_TARGET_FAILED) -> None:
        """The value is too old or gone. Never a zero before the first value, whatever `on_stale` says."""
        self.span.stale = True
        if not self._filled or self._on_stale == "error":
            self.bank.block(self.span, code)
        elif self._on_stale == "zero":
            self._clear()

    def refuse(self, code: int) -> None:
        """The device says that it does not have this: its own code, whatever `on_stale` says."""
        self._filled = False
        self.span.stale = True
        self.bank.block(self.span, code)


class Stretch:
    """A part of a raw block in our image, `count` from `first`: its code while it has no value, else 0."""

    __slots__ = ("code", "count", "first", "is_filled", "place", "stale")

    def __init__(self, place: RawPlace, first: int, count: int) -> None:
        self.place = place
        self.first = first
        self.count = count
        self.code = spec.GATEWAY_TARGET_FAILED
        self.stale = True
        self.is_filled = False

    def take(self, data: bytes) -> None:
        """Place its bytes as they came."""
        place = self.place
        if place.table.is_bits:
            place.bank.put_bits(place.table, self.first, self.count, data)
        else:
            place.bank.put_registers(place.table, self.first, data)
        if self.stale or self.code:
            self.is_filled = True
            self.stale = False
            self.code = 0
            place.show()

    def lose(self) -> None:
        """The value is too old. Never a zero before the first value, whatever `on_stale` says."""
        self.stale = True
        if not self.is_filled or self.place.on_stale == "error":
            self.code = self.code or spec.GATEWAY_TARGET_FAILED
        elif self.place.on_stale == "zero":
            size = (self.count + 7) // 8 if self.place.table.is_bits else 2 * self.count
            if self.place.table.is_bits:
                self.place.bank.put_bits(self.place.table, self.first, self.count, bytes(size))
            else:
                self.place.bank.overwrite(self.place.table, self.first, bytes(size))
        self.place.show()

    def refuse(self, code: int) -> None:
        """The device says that it does not have this: its own code, whatever `on_stale` says."""
        self.is_filled = False
        self.stale = True
        self.code = code
        self.place.show()


class RawPlace:
    """Where a raw block lies in our image: one span of the bank, in one stretch or, cut, in several."""

    def __init__(self, bank: Bank, span: Span, on_stale: str) -> None:
        """`on_stale`: error, hold or zero."""
        self.bank = bank
        self.span = span
        self.table = span.table
        self.on_stale = on_stale
        self.stretches = [Stretch(self, span.first, span.stop - span.first)]
        """In order; together the whole span."""

    def divide(self, stretch: Stretch, count: int) -> tuple[Stretch, Stretch]:
        """Cut it behind `count`; both keep what it had."""
        halves = (
            Stretch(self, stretch.first, count),
            Stretch(self, stretch.first + count, stretch.count - count),
        )
        for half in halves:
            half.code, half.stale, half.is_filled = stretch.code, stretch.stale, stretch.is_filled
        at = self.stretches.index(stretch)
        self.stretches[at : at + 1] = halves
        return halves

    def unite(self, row: Sequence[Stretch]) -> Stretch:
        """One in the place of neighbours that all have a value."""
        whole = Stretch(self, row[0].first, sum(stretch.count for stretch in row))
        at = self.stretches.index(row[0])
        self.stretches[at : at + len(row)] = [whole]
        return whole

    def show(self) -> None:
        """Bring the span in line with its stretches."""
        span, stretches = self.span, self.stretches
        span.stale = any(stretch.stale for stretch in stretches)
        codes = {stretch.code for stretch in stretches}
        if len(codes) > 1:
            parts = [(each.first, each.first + each.count, each.code) for each in stretches if each.code]
            self.bank.block_parts(span, parts)
        elif (code := codes.pop()) != 0:
            self.bank.block(span, code)
        elif span.code:
            self.bank.unblock(span)


class Put(Protocol):
    """Places a value at a tag's `to`. False: it does not fit."""

    def __call__(self, value: Value, raw: Any) -> bool: ...


class TagSink:
    """One tag of a block: its point in the hub and, if it is served, its place in the image."""

    def __init__(self, tag: Tag, point: Point, target: Target | None, put: Put | None) -> None:
        self.tag = tag
        self.point = point
        self.raw: Any = None
        """What was placed last; None: place the next one whatever it is."""
        self._target = target
        self._put = put
        self._convert = from_raw(tag)
        self._deadband = tag.deadband
        self._lost = True
        self.exact = False
        """It was written: its values pass the deadband until its job knows what the device made of it."""
        self.is_faulty = False
        """A bug of ours has hit it once."""

    def take(self, raw: Any) -> None:
        """A raw value that differs from the last."""
        self.raw = raw
        point = self.point
        value = self._convert(raw)
        if value is None:
            self._no_value(NO_VALUE)
            return
        if self._deadband and not self._lost and not self.exact and self._is_near(value):
            return
        if self._put is not None and not self._put(value, raw):
            self._no_value(f"{value} does not fit")
            return
        self._lost = False
        point.value = value
        point.cause = ""
        point.changes += 1
        point.touch()
        if self._target is not None:
            self._target.filled()

    def let_pass(self) -> bool:
        """It was written: place the next value however near it is. False: there is no deadband, they all are."""
        if not self._deadband:
            return False
        self.exact = True
        self.raw = None  # the deadband may have kept back the very value
        return True

    def _is_near(self, value: Value) -> bool:
        return bool(abs(value - self.point.value) <= self._deadband)  # type: ignore[operator]

    def fail(self) -> None:
        """Our bug while taking a value: there is none."""
        self.is_faulty = True
        self._no_value("bug in the gateway")

    def _no_value(self, cause: str) -> None:
        self.point.cause = cause
        self.point.touch()
        self.lose()

    def lose(self) -> None:
        """No value, or too old; the next one is placed whatever it is."""
        self._lost = True
        if self._target is not None:
            self._target.lose()

    def refuse(self, code: int) -> None:
        self._lost = True
        if self._target is not None:
            self._target.refuse(code)

    def forget(self) -> None:
        """After an outage the next raw value counts as new even if it is the same."""
        self.raw = None


def registers_put(bank: Bank, table: Table, first: int, tag: Tag, as_: str | None) -> Put:
    """Place as registers: scaled in the tag's own type, in type `as_`, or as the device's registers (`raw`)."""
    type_name = tag.type if as_ is None else as_
    if type_name == "raw" or tag.type == "string":
        letter = TYPES[tag.type].letter
        order = tag.order if type_name == "raw" else "ABCD"

        def put_raw(value: Value, raw: Any) -> bool:
            data = raw if letter == "s" else encode_raw(letter, raw)
            bank.put_registers(table, first, reorder(data, order))
            return True

        return put_raw

    def put(value: Value, raw: Any) -> bool:
        data = encode(type_name, value)
        if data is None:
            return False
        bank.put_registers(table, first, data)
        return True

    return put


def encode_raw(letter: str, raw: Any) -> bytes:
    """The bytes that `struct` decoded `raw` from, in ABCD order."""
    return _STRUCTS[letter].pack(raw)


def bit_put(bank: Bank, table: Table, address: int, bit: int | None) -> Put:
    """Place as a coil or discrete input, or as one bit of a register."""

    def put(value: Value, raw: Any) -> bool:
        if bit is None:
            bank.put_bit(table, address, bool(value))
        else:
            bank.put_register_bit(table, address, bit, bool(value))
        return True

    return put
