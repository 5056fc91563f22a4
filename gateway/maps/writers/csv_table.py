"""The map as a table, one row an entry: for spreadsheets, for scripts, and for `gateway import`.

Addresses stand there twice, as on the wire and as a reference. Cells that a spreadsheet would take for a formula keep
their text: an apostrophe would not come back the same, so names that begin with `=`, `+`, `-` or `@` are told instead.
"""

from __future__ import annotations

import csv
import io

from gateway.config.durations import format_duration
from gateway.maps.neutral import Entry, Map, decimal
from gateway.maps.target import Notes, Target, Written

COLUMNS = (
    "device",
    "name",
    "kind",
    "unit_id",
    "table",
    "address",
    "bit",
    "reference",
    "count",
    "type",
    "order",
    "scale",
    "offset",
    "unit",
    "min",
    "max",
    "access",
    "every",
    "description",
    "source",
)
READ_ONLY, READ_WRITE = "R", "RW"
_FORMULA = ("=", "+", "-", "@")


def write(served: Map, target: Target) -> Written:
    notes = Notes("csv")
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(COLUMNS)
    for entry in served.entries:
        table.writerow(_row(entry))
        if any(text.startswith(_FORMULA) for text in (entry.name, entry.engineering, entry.description)):
            notes.remark(entry, "a spreadsheet may take these for formulas; import the columns as text")
    return Written(out.getvalue(), notes.all())


def _row(entry: Entry) -> tuple[object, ...]:
    return (
        entry.device,
        entry.name,
        entry.kind,
        entry.unit,
        entry.table.word,
        entry.first,
        "" if entry.bit is None else entry.bit,
        entry.reference,
        entry.count,
        entry.type,
        entry.order,
        decimal(entry.scale),
        decimal(entry.offset),
        entry.engineering,
        "" if entry.low is None else decimal(entry.low),
        "" if entry.high is None else decimal(entry.high),
        READ_WRITE if entry.writable else READ_ONLY,
        format_duration(entry.every_s) if entry.every_s else "",
        entry.description,
        entry.from_,
    )
