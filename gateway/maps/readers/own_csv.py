"""Our own CSV, as `gateway export --format csv` writes it, or as somebody writes it by hand.

A row needs a name, a type and a place: `reference`, or `table` and `address`. A row of another device's map becomes a
tag that reads what is served there, where it is served; blocks become polls. Registers of the other gateway's own are
left out: they are places, not values.
"""

from __future__ import annotations

from gateway.config.addresses import Address, parse_address
from gateway.config.durations import parse_duration
from gateway.maps.neutral import as_served
from gateway.maps.readers.imported import Imported, NewDevice, NewPoll, NewTag, TagNames, device_name
from gateway.maps.readers.rows import CellError, Row, Table, TableError
from gateway.maps.writers.csv_table import COLUMNS, READ_ONLY, READ_WRITE
from gateway.modbus.spec import ADDRESSES, TABLE_BY_WORD
from gateway.values import TYPES

NUMBERS = ("scale", "offset", "min", "max")
MARKS = frozenset(("name", "type"))
"""Columns that there must be."""
_ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")
_WRITABLE = {READ_WRITE: True, "R/W": True, "W": True, READ_ONLY: False, "RO": False, "": False}
_MAX_UNIT = 255
MAX_LINES = 10
"""Named in one remark; more are counted."""


def read(table: Table) -> Imported:
    """Raises TableError when columns are missing."""
    first = next(iter(table.columns.values()))
    missing = [name for name in ("name", "type") if name not in table.columns]
    if missing:
        raise TableError(first.trouble(f"no column `{missing[0]}`; there must be name, type and reference"))
    if "reference" not in table.columns and not {"table", "address"} <= table.columns.keys():
        raise TableError(first.trouble("nothing says where values stand: add `reference`, or `table` and `address`"))
    found = Imported(notes=list(table.notes))
    unknown = [cell.text for name, cell in table.columns.items() if name not in COLUMNS]
    if unknown:
        found.notes.append(f"columns that mean nothing here: {', '.join(unknown)}")
    devices: dict[tuple[str, int | None], tuple[NewDevice, TagNames]] = {}
    own = [row.line for row in table.rows if row.text("kind") == "own"]
    if own:
        lines = f"line {own[0]}" if len(own) == 1 else f"lines {', '.join(map(str, own[:MAX_LINES]))}"
        more = f" and {len(own) - MAX_LINES} more" if len(own) > MAX_LINES else ""
        found.notes.append(
            f"{lines}{more}: left out, no values but registers of that gateway's own; a `poll` mirrors them"
        )
    for row in table.rows:
        if row.text("kind") == "own":
            continue
        try:
            unit = _unit(row)
            key = (row.text("device"), unit)
            device, names = devices.setdefault(
                key, (NewDevice(device_name(key[0]) if key[0] else "", unit), TagNames())
            )
            _add(row, device, names)
        except CellError as error:
            found.left_out.append(error.trouble)
    found.devices = [device for device, _ in devices.values() if device.tags or device.polls]
    _name_apart(found)
    return found


def _name_apart(found: Imported) -> None:
    """A device of two unit ids is two devices here."""
    taken: set[str] = set()
    for device in found.devices:
        if device.name in taken:
            found.notes.append(
                f"{device.name} stands there with several unit ids: unit {device.unit} is a device of its own"
            )
            device.name = f"{device.name}_{device.unit}" if device.name else f"unit_{device.unit}"
        taken.add(device.name)


def _add(row: Row, device: NewDevice, names: TagNames) -> None:
    writable, every_s = _access(row), _every(row)
    type_cell = row.get("type")
    type_name = type_cell.text.lower()
    at = _address(row, type_name)
    if type_name == "raw":
        device.polls.append(NewPoll(at, writable, every_s, row.line))
        return
    if type_name not in TYPES:
        raise CellError(type_cell, f"unknown type '{type_cell.text}'; there is {', '.join(TYPES)}, and raw for blocks")
    if type_name != "bool" and (at.table.is_bits or at.bit is not None):
        raise CellError(type_cell, f"{at.describe()} is a bit, only `bool` fits it")
    scale, offset = row.number("scale"), row.number("offset")
    if scale == 0:
        raise CellError(row.get("scale"), "0 would make every value the same; leave it empty for 1")
    low, high = row.number("min"), row.number("max")
    if (low is None) != (high is None) or (low is not None and high is not None and low > high):
        raise CellError(row.get("min"), "`min` and `max` belong together, the least first")
    is_number = type_name not in ("bool", "string")
    tag = NewTag(
        names.take(row.get("name")),
        at,
        type_name,
        order=as_served(type_name, _order(row)) if type_name != "bool" else "ABCD",
        engineering=row.text("unit"),
        writable=writable,
        every_s=every_s,
        description=row.text("description"),
        line=row.line,
        **({"scale": scale or 1, "offset": offset or 0, "low": low, "high": high} if is_number else {}),  # type: ignore[arg-type]
    )
    device.tags.append(tag)


def _unit(row: Row) -> int | None:
    if not row.text("unit_id"):
        return None
    unit = row.whole("unit_id", 0)
    if not 0 <= unit <= _MAX_UNIT:
        raise CellError(row.get("unit_id"), f"unit ids are 0..{_MAX_UNIT}, this is {unit}")
    return unit


def _address(row: Row, type_name: str) -> Address:
    """Where it stands, as wide as its type; both notations must agree where both are given."""
    places = []
    if row.text("reference"):
        try:
            places.append(parse_address(row.text("reference").partition("..")[0]))
        except ValueError as error:
            raise CellError(row.get("reference"), str(error)) from None
    if row.text("address"):
        table = TABLE_BY_WORD.get(row.text("table").lower())
        if table is None:
            raise CellError(
                row.get("table"), f"unknown table '{row.text('table')}'; there is {', '.join(TABLE_BY_WORD)}"
            )
        first = row.whole("address", 0)
        if not 0 <= first < ADDRESSES:
            raise CellError(row.get("address"), f"addresses are 0..{ADDRESSES - 1}, this is {first}")
        bit = row.whole("bit", 0) if row.text("bit") else None
        if bit is not None and (table.is_bits or not 0 <= bit <= 15):
            raise CellError(row.get("bit"), "registers have the bits 0 to 15, coils and discrete inputs have none")
        places.append(Address(table, first, 1, bit))
    if not places:
        raise CellError(row.get("reference"), "nothing says where this value stands")
    if places[0] != places[-1]:
        message = f"{places[0].describe()} here, but {places[1].describe()} in `table` and `address`"
        raise CellError(row.get("reference"), message)
    place = places[0]
    registers = TYPES[type_name].registers if type_name in TYPES else 0
    count = 1 if place.table.is_bits and type_name != "raw" else registers or row.whole("count", 1)
    if count < 1 or place.first + count > ADDRESSES:
        raise CellError(row.get("count"), f"{count} from {place.describe()} runs past 65535, the end of the table")
    return place._replace(count=count)


def _order(row: Row) -> str:
    order = row.text("order").upper() or "ABCD"
    if order not in _ORDERS:
        raise CellError(row.get("order"), f"unknown order '{row.text('order')}'; there is {', '.join(_ORDERS)}")
    return order


def _access(row: Row) -> bool:
    access = row.text("access").upper()
    if access not in _WRITABLE:
        raise CellError(row.get("access"), f"`{row.text('access')}`: write {READ_ONLY} or {READ_WRITE}")
    return _WRITABLE[access]


def _every(row: Row) -> float | None:
    if not row.text("every"):
        return None
    try:
        return parse_duration(row.text("every"))
    except ValueError as error:
        raise CellError(row.get("every"), str(error)) from None
