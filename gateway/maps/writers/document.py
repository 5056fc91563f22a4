"""What both documents show: the columns, and the cells of one entry, as text."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from gateway.config.addresses import Address
from gateway.config.durations import format_duration
from gateway.maps.neutral import Entry, Map, decimal, written
from gateway.maps.target import Target
from gateway.modbus.spec import Table

COLUMNS = ("reference", "address", "name", "type", "value", "access", "every", "from", "description")
"""`address` is zero-based, as on the wire; `reference` is what most SCADA systems call it."""
_TITLES = {
    Table.COILS: "Coils (function 01)",
    Table.DISCRETE: "Discrete inputs (02)",
    Table.HOLDING: "Holding registers (03)",
    Table.INPUT: "Input registers (04)",
}


def sections(served: Map) -> Iterator[tuple[int, str, list[tuple[str, ...]]]]:
    """(unit id, title of the table, its rows)."""
    for (unit, table), entries in groupby(served.entries, key=lambda entry: (entry.unit, entry.table)):
        yield unit, _TITLES[table], [cells(entry) for entry in entries]


def cells(entry: Entry) -> tuple[str, ...]:
    reference = entry.reference
    if entry.count > 1:
        reference += f"..{entry.table.reference(entry.stop - 1)}"
    address = written(Address(entry.table, entry.first, entry.count, entry.bit))
    return (
        reference,
        address,
        f"own {'bits' if entry.table.is_bits else 'registers'}" if entry.kind == "own" else entry.path,
        _type(entry),
        _value(entry),
        "read, write" if entry.writable else "read",
        format_duration(entry.every_s) if entry.every_s else "",
        entry.from_,
        entry.description,
    )


def introduction(served: Map, target: Target) -> Iterator[str]:
    """What must be said once; a line each."""
    yield f"Modbus server: {', '.join(map(str, target.doors)) or ', '.join(target.listeners)}"
    yield (
        "References count from 1 (400001 is the first holding register), addresses from 0, as on the wire. "
        "Byte order is ABCD, the high word and the high byte first, where no other is named."
    )
    for ids, name in served.forwards:
        yield f"Unit {ids}: passed through to {name}, whose registers are not known here."
    if served.left_out:
        yield f"Disabled devices are not listed: {', '.join(served.left_out)}."


def _type(entry: Entry) -> str:
    if entry.type == "raw":
        what = "bit" if entry.table.is_bits else "register"
        return f"{entry.count} {what}{'s' if entry.count > 1 else ''}"
    text = f"string of {2 * entry.count}" if entry.type == "string" else entry.type
    return text if entry.order == "ABCD" else f"{text} {entry.order}"


def _value(entry: Entry) -> str:
    """Unit, what is left to do to the number, what may be written."""
    parts = [entry.engineering] if entry.engineering else []
    if entry.is_scaled:
        offset = f" {'-' if entry.offset < 0 else '+'} {decimal(abs(entry.offset))}" if entry.offset else ""
        parts.append(f"number × {decimal(entry.scale)}{offset}")
    if entry.low is not None and entry.high is not None:
        parts.append(f"{decimal(entry.low)} to {decimal(entry.high)}")
    return ", ".join(parts)
