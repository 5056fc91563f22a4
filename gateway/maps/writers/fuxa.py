"""A FUXA project (1.3): devices with their tags, addresses from 1, no views.

One FUXA device per device of ours and unit id: what it reads together it loses together, and a device that is down must
not take its neighbours along, nor its status. FUXA reads runs of 100 addresses from the first tag to the last, across
gaps; where a gap does not exist here, that would be refused, so such a device is read in fragments. A fragment must not
pass a multiple of 100 (FUXA would lose what is behind it), so one that does is cut into two FUXA devices.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from gateway.maps.grouping import together
from gateway.maps.names import Names
from gateway.maps.neutral import Entry, Map, decimal
from gateway.maps.target import Door, ExportError, Notes, Target, Written
from gateway.modbus.spec import MAX_READ_REGISTERS, Table
from gateway.values import TYPES

RUN = 100
"""Addresses that FUXA reads in one request, counted from a multiple of it."""
_MEMORY = {Table.COILS: "000000", Table.DISCRETE: "100000", Table.INPUT: "300000", Table.HOLDING: "400000"}
_TYPES = {
    "int16": "Int16",
    "uint16": "UInt16",
    "int32": "Int32",
    "uint32": "UInt32",
    "int64": "Int64",
    "uint64": "Int64",
    "float32": "Float32",
    "float64": "Float64",
}
_ENDINGS = {
    (1, "ABCD"): "",
    (1, "BADC"): "LE",
    (2, "ABCD"): "",
    (2, "CDAB"): "MLE",
    (2, "DCBA"): "LE",
    (4, "ABCD"): "",
    (4, "DCBA"): "LE",
}
"""By registers and order: `LE` turns all bytes around, `MLE` the words; what is missing, FUXA cannot read (its
Float64MLE turns pairs of words around, which is none of our orders)."""
_SCALED_HIGH = 1000
_DEFAULT_POLLING_MS = 1000
_POLLINGS_MS = (200, 350, 500, 700, 1000, 1500, 2000, 3000, 4000, 5000, 10000, 30000, 60000)
"""What its editor offers."""


def write(served: Map, target: Target) -> Written:
    notes = Notes("FUXA")
    door = target.door("FUXA", "tcp")
    if ":" in door.host:
        raise ExportError(f"FUXA cannot dial the IPv6 address {door.host}; --host NAME says another")
    names = Names("A-Za-z0-9_ .-")
    devices: dict[str, Any] = {}
    for device, unit, group in together(served.values()):
        here = [entry for entry in group if _type(entry, notes) is not None]
        is_cut = not all(served.is_readable(unit, *run) for run in _runs(here))
        for part in _parts(here) if is_cut else [here]:
            if part:
                name = names.unique(f"{device} status" if part[0].kind == "status" else device)
                devices[_id("d", name)] = _device(name, unit, door, part, is_cut=is_cut)
    project = {
        "version": "1.00",
        "devices": devices,
        "hmi": {"views": []},
        "server": {"id": "0", "name": "FUXA Server", "type": "FuxaServer", "property": {}},
    }
    return Written(json.dumps(project, indent=2, ensure_ascii=False) + "\n", notes.all(), door)


def _type(entry: Entry, notes: Notes) -> str | None:
    """FUXA's; None: it has none."""
    if entry.table.is_bits:
        return "Bool"
    if entry.type == "bool":
        if entry.bit is not None:
            notes.leave_out(entry, "FUXA has no bits of registers; serve them in coils or discrete instead")
            return None
        return "UInt16"  # its Bool looks at the high byte of a register
    if entry.type not in _TYPES:
        notes.leave_out(entry, f"FUXA has no {entry.type}")
        return None
    ending = _ENDINGS.get((TYPES[entry.type].registers, entry.order))
    if ending is None:
        notes.leave_out(entry, f"FUXA has no {entry.type} in the order {entry.order}")
        return None
    if entry.type == "uint64":
        notes.remark(entry, "FUXA takes them for signed: above 9223372036854775807 they show negative")
    return _TYPES[entry.type] + ending


def _runs(entries: Iterable[Entry]) -> Iterator[tuple[Table, int, int]]:
    """(table, first, stop) of each request of FUXA's own grouping."""
    ordered = sorted(entries, key=lambda entry: (entry.table, entry.first))
    for (table, _), run in groupby(ordered, key=lambda entry: (entry.table, entry.first // RUN)):
        members = list(run)
        yield table, members[0].first, max(entry.stop for entry in members)


def _parts(entries: Sequence[Entry]) -> list[list[Entry]]:
    """One, or two of which neither has a fragment that reaches into the next hundred."""
    if not any(_crosses(list(group)) for _, group in groupby(entries, key=lambda entry: entry.table)):
        return [list(entries)]
    return [[entry for entry in entries if entry.first // RUN % 2 == odd] for odd in (0, 1)]


def _crosses(entries: Sequence[Entry]) -> bool:
    """Tags side by side, one of which begins in another hundred than the first."""
    begin = stop = -1
    for entry in sorted(entries, key=lambda entry: entry.first):
        if entry.first > stop:
            begin = entry.first
        elif entry.first // RUN != begin // RUN or entry.stop - begin > MAX_READ_REGISTERS:
            return True
        stop = max(stop, entry.stop)
    return False


def _device(name: str, unit: int, door: Door, entries: Sequence[Entry], *, is_cut: bool) -> dict[str, Any]:
    fastest_ms = min((entry.every_s * 1000 for entry in entries if entry.every_s), default=_DEFAULT_POLLING_MS)
    tag_names = Names("A-Za-z0-9_ .-")
    tags: dict[str, Any] = {}
    for entry in entries:
        tag = _tag(entry, tag_names.unique(entry.name), name)
        tags[tag["id"]] = tag
    return {
        "id": _id("d", name),
        "name": name,
        "enabled": True,
        "type": "ModbusTCP",
        "polling": max((ms for ms in _POLLINGS_MS if ms <= fastest_ms), default=_POLLINGS_MS[0]),
        "property": {
            "address": f"{door.host}:{door.port}",
            "slaveid": str(unit),
            "connectionOption": "TcpPort",
            "options": is_cut,
            "delay": 10,
        },
        "tags": tags,
    }


def _tag(entry: Entry, name: str, device: str) -> dict[str, Any]:
    tag: dict[str, Any] = {
        "id": _id("t", f"{device}/{name}"),
        "name": name,
        "label": name,
        "type": _type(entry, Notes("")),
        "memaddress": _MEMORY[entry.table],
        "address": str(entry.first + 1),
        "daq": {"enabled": False, "interval": 60, "changed": True, "restored": False},
    }
    if entry.description or entry.engineering:
        unit = f"[{entry.engineering}]" if entry.engineering else ""
        tag["description"] = f"{entry.description} {unit}".strip()
    if entry.is_scaled:
        high = entry.offset + _SCALED_HIGH * entry.scale
        tag["scale"] = {
            "mode": "linear",
            "rawLow": 0,
            "rawHigh": _SCALED_HIGH,
            "scaledLow": float(entry.offset),
            "scaledHigh": float(high),
        }
        digits = max(len(decimal(part).partition(".")[2]) for part in (entry.scale, entry.offset))
        tag["format"] = digits or None
    return tag


def _id(kind: str, text: str) -> str:
    """The same at every export: an import into a project replaces, it does not double."""
    return f"{kind}_{hashlib.sha256(text.encode()).hexdigest()[:12]}"
