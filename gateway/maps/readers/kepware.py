"""Kepware's tag CSV of a Modbus device: its addresses, types, scaling and rates as tags.

Read are the 16 columns of old exports and the 17 of new ones, in any order. What the file does not say, for it is a
setting of Kepware's device, is asked or assumed and told: the unit id, and which word comes first (Kepware's default is
the low one, `--order CDAB`).
"""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

from gateway.config.addresses import Address
from gateway.config.check_times import MIN_INTERVAL_S
from gateway.maps.readers.imported import Imported, NewDevice, NewTag, TagNames
from gateway.maps.readers.rows import Cell, CellError, Row, Table, TableError
from gateway.maps.writers.kepware import MAX_STRING_SIZE
from gateway.maps.writers.kepware import TYPES as _WRITTEN
from gateway.modbus.spec import ADDRESSES
from gateway.modbus.spec import Table as Registers
from gateway.values import TYPES

NUMBERS = ("raw_low", "raw_high", "scaled_low", "scaled_high")
MARKS = frozenset(("tag_name", "address", "data_type"))
"""Columns that there must be."""

_ADDRESS = re.compile(
    r"(?P<table>[0134])(?P<number>\d{1,5})"
    r"(?:\.(?P<bit>\d{1,3})(?P<text>[HL])?)?"
    r"(?:\[(?P<rows>\d{1,4})\](?:\[(?P<columns>\d{1,4})\])?)?",
    re.ASCII | re.IGNORECASE,
)
_TABLES = {"0": Registers.COILS, "1": Registers.DISCRETE, "3": Registers.INPUT, "4": Registers.HOLDING}
_TYPES = {kepware.lower(): ours for ours, kepware in _WRITTEN.items()}
_ACCESS = {"r/w": True, "rw": True, "wo": True, "w": True, "ro": False, "r": False, "": True}
_NO_SCALING = ("", "none")
MAX_ARRAY = 2000
"""Elements; a block of coils has no more."""
_YES = ("1", "yes", "true", "enable", "enabled", "y")


class _Place(NamedTuple):
    """What an address says."""

    at: Address
    bit: int | None
    size: int | None
    """Bytes of a string."""
    swaps: bool
    """The string's low byte comes first."""
    elements: int | None
    """Of an array."""


def read(table: Table) -> Imported:
    """Raises TableError when columns are missing."""
    for name, shown in (("tag_name", "Tag Name"), ("address", "Address"), ("data_type", "Data Type")):
        if name not in table.columns:
            raise TableError(next(iter(table.columns.values())).trouble(f"no column `{shown}`: no export of Kepware's"))
    found = Imported(notes=list(table.notes))
    device, names = NewDevice("", None), TagNames()
    from_one = _counts_bits_from_one(table, found)
    for row in table.rows:
        try:
            device.tags += _tags(row, names, from_one=from_one, found=found)
        except CellError as error:
            found.left_out.append(error.trouble)
    if device.tags:
        found.devices.append(device)
    if any(TYPES[tag.type].registers > 1 for tag in device.tags):
        found.notes.append(
            "the file does not say which word of a larger value comes first, Kepware's device does: with `First Word "
            "Low` enabled, its default, give --order CDAB"
        )
    return found


def _counts_bits_from_one(table: Table, found: Imported) -> bool:
    """Whether bits are 1..16: Kepware's `Zero-Based Bit Addressing` off. A 16 proves it, a 0 the contrary."""
    bits = set()
    for row in table.rows:
        match = _ADDRESS.fullmatch(row.text("address"))
        if match and match["bit"] and not match["text"]:
            bits.add(int(match["bit"]))
    if 16 in bits and 0 not in bits:
        found.notes.append("bits count from 1 here, for there is a bit 16: all are read as one less")
        return True
    if bits and 0 not in bits:
        found.notes.append("bits are taken to count from 0, Kepware's default; nothing in the file proves it")
    return False


def _tags(row: Row, names: TagNames, *, from_one: bool, found: Imported) -> list[NewTag]:
    place = _place(row.get("address"), from_one=from_one)
    type_name = _type(row.get("data_type"), place)
    scale, offset = _scaling(row, type_name)
    access = row.text("client_access").lower()
    if access not in _ACCESS:
        raise CellError(row.get("client_access"), f"`{row.text('client_access')}`: RO or R/W is known")
    name_cell = row.get("tag_name")
    name = names.take(name_cell)
    if name != name_cell.text:
        found.notes.append(f"line {row.line}: '{name_cell.text}' becomes '{name}'")
    tag = NewTag(
        name,
        _at(place, type_name, row.get("address")),
        type_name,
        order="BADC" if place.swaps else "ABCD",
        scale=scale,
        offset=offset,
        engineering=row.text("eng_units"),
        writable=_ACCESS[access] and place.at.table in (Registers.COILS, Registers.HOLDING),
        every_s=_rate(row),
        description=row.text("description"),
        line=row.line,
    )
    if _is(row, "clamp_low") or _is(row, "clamp_high"):
        found.notes.append(f"line {row.line}: values of '{name}' were clamped; here they are not")
    if place.elements is None:
        return [tag]
    return _elements(tag, place.elements, name_cell, names)


def _elements(tag: NewTag, count: int, cell: Cell, names: TagNames) -> list[NewTag]:
    """A tag for each element of an array."""
    width = tag.at.count
    if tag.at.first + count * width > ADDRESSES:
        raise CellError(cell, f"{count} elements from {tag.at.describe()} run past 65535, the end of the table")
    found = []
    for number in range(count):
        name = names.take(cell._replace(text=f"{tag.name}_{number}"))
        found.append(replace(tag, name=name, at=tag.at._replace(first=tag.at.first + number * width)))
    return found


def _at(place: _Place, type_name: str, cell: Cell) -> Address:
    """With the bit, and as wide as the type."""
    at = place.at._replace(bit=place.bit)
    if place.size is None and not at.table.is_bits:
        at = at._replace(count=TYPES[type_name].registers)
    if at.stop > ADDRESSES:
        raise CellError(cell, f"{at.count} registers from {place.at.describe()} run past 65535, the end of the table")
    return at


def _place(cell: Cell, *, from_one: bool) -> _Place:
    match = _ADDRESS.fullmatch(cell.text)
    if match is None:
        raise CellError(cell, f"`{cell.text}` is no Modbus address such as 400101, 400101.3, 400101.20H or 400101[10]")
    table, number = _TABLES[match["table"]], int(match["number"])
    if not 1 <= number <= ADDRESSES:
        raise CellError(cell, f"`{cell.text}`: the numbers of a table are 1..{ADDRESSES}")
    at = Address(table, number - 1)
    elements = int(match["rows"]) * int(match["columns"] or 1) if match["rows"] else None
    if elements is not None and not 1 <= elements <= MAX_ARRAY:
        raise CellError(cell, f"`{cell.text}`: an array has 1..{MAX_ARRAY} elements")
    if match["text"]:
        size = int(match["bit"])
        if table.is_bits or size % 2 or not 2 <= size <= MAX_STRING_SIZE or elements is not None:
            raise CellError(
                cell, f"`{cell.text}`: a string has an even size of 2..{MAX_STRING_SIZE} bytes in registers"
            )
        return _Place(at._replace(count=size // 2), None, size, match["text"].upper() == "L", None)
    bit = int(match["bit"]) - from_one if match["bit"] else None
    if bit is not None and (table.is_bits or not 0 <= bit <= 15 or elements is not None):
        raise CellError(cell, f"`{cell.text}`: registers have bits, 0 to 15 (or 1 to 16 throughout the file)")
    return _Place(at, bit, None, False, elements)


def _type(cell: Cell, place: _Place) -> str:
    """Ours, if it fits the address."""
    text = re.sub(r"\s*array$", "", cell.text.lower())
    if text in ("", "default"):
        text = "string" if place.size else "boolean" if place.at.table.is_bits or place.bit is not None else "word"
    type_name = _TYPES.get(text)
    if type_name is None:
        raise CellError(cell, f"there is no type for Kepware's {cell.text}; there is {', '.join(_WRITTEN.values())}")
    if (type_name == "string") != (place.size is not None):
        raise CellError(
            cell, f"{cell.text} at {place.at.describe()}: a string has its size in its address, as 400101.20H"
        )
    is_bit = place.at.table.is_bits or place.bit is not None
    if is_bit and type_name != "bool":
        raise CellError(cell, f"{place.at.describe()} is a bit, only Boolean fits it")
    if not is_bit and type_name == "bool":
        raise CellError(cell, f"{place.at.describe()} is a register: which bit of it? Write it behind a point")
    return type_name


def _scaling(row: Row, type_name: str) -> tuple[Fraction, Fraction]:
    kind = row.text("scaling").lower()
    if kind in _NO_SCALING:
        return Fraction(1), Fraction(0)
    if kind != "linear":
        raise CellError(row.get("scaling"), f"{row.text('scaling')} scaling cannot be done here, only Linear")
    if type_name in ("bool", "string"):
        raise CellError(row.get("scaling"), f"a {row.text('data_type')} is no number to be scaled")
    ends = []
    for name in NUMBERS:
        number = row.number(name)
        if number is None:
            raise CellError(row.get(name), f"Linear scaling without `{name.replace('_', ' ').title()}`")
        ends.append(number)
    raw_low, raw_high, scaled_low, scaled_high = ends
    if raw_low == raw_high or scaled_low == scaled_high:
        raise CellError(row.get("scaling"), "the two ends of the scaling are one: there is no line through it")
    scale = (scaled_high - scaled_low) / (raw_high - raw_low)
    offset = scaled_low - raw_low * scale
    return (-scale, -offset) if _is(row, "negate_value") else (scale, offset)


def _rate(row: Row) -> float | None:
    """Seconds; the least that we poll where Kepware is faster."""
    rate = row.number("scan_rate")
    return None if not rate else max(float(rate) / 1000, MIN_INTERVAL_S)


def _is(row: Row, name: str) -> bool:
    return row.text(name).lower() in _YES
