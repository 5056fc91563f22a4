"""Register bytes <-> values, compiled once per block; tags, samples, quality.

Values come in wire order and leave in wire order (big-endian registers). The four byte orders are permutations that are
their own inverse, so one table serves reading and writing (protocol digest 5.2). Integers stay integers: scale and
offset are fractions, and `raw * scale + offset` is computed exactly and rounded once.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


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
