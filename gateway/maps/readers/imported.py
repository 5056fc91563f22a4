"""What was read from a table: tags and polls of one or several devices, and what was left out."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction

from gateway.config.addresses import Address
from gateway.maps.readers.rows import Cell, CellError, Trouble

MAX_TAG_NAME = 128


@dataclass(frozen=True, slots=True)
class NewTag:
    """A tag as its line in the YAML will say it."""

    name: str
    at: Address
    type: str
    order: str = "ABCD"
    scale: Fraction = Fraction(1)
    offset: Fraction = Fraction(0)
    engineering: str = ""
    low: Fraction | None = None
    high: Fraction | None = None
    writable: bool = False
    every_s: float | None = None
    """None: nothing was said."""
    description: str = ""
    line: int = 0
    """Of the table."""


@dataclass(frozen=True, slots=True)
class NewPoll:
    """A raw block."""

    read: Address
    writable: bool = False
    every_s: float | None = None
    line: int = 0


@dataclass(slots=True)
class NewDevice:
    """One device section."""

    name: str
    """Empty: whoever imports says it."""
    unit: int | None
    """None: whoever imports says it."""
    tags: list[NewTag] = field(default_factory=list)
    polls: list[NewPoll] = field(default_factory=list)
    order: str | None = None
    """The device's own, for tags that name none."""


@dataclass(slots=True)
class Imported:
    """All of it."""

    devices: list[NewDevice] = field(default_factory=list)
    left_out: list[Trouble] = field(default_factory=list)
    """Rows that no device has; in order of the table."""
    notes: list[str] = field(default_factory=list)

    @property
    def tags(self) -> int:
        return sum(len(device.tags) for device in self.devices)


class TagNames:
    """Of one device: as the YAML allows them, each once."""

    def __init__(self) -> None:
        self._lines: dict[str, int] = {}

    def take(self, cell: Cell) -> str:
        """The name in a cell. Raises CellError when it is taken or nothing is left of it."""
        name = clean(cell.text)
        if not name:
            raise CellError(cell, "this row has no name")
        if name in self._lines:
            raise CellError(cell, f"the name '{name}' stands here twice; first in line {self._lines[name]}")
        self._lines[name] = cell.line
        return name


def clean(text: str) -> str:
    """A tag's name: `/` parts topics and cannot stand in it."""
    printable = "".join(char if char.isprintable() else " " for char in text)
    return re.sub(r"\s+", " ", printable.replace("/", "_")).strip()[:MAX_TAG_NAME].strip()


def device_name(text: str) -> str:
    """Of a device: letters, digits, `_`, `-` and `.`."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text).strip("_")[:64] or "device"
