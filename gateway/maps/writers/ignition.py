"""Ignition's tag JSON, for the Tag Browser's import: a folder per device, an OPC tag per value.

An item path is `ns=1;s=[DEVICE]UNIT.DESIGNATORnnn`, counted from 1 as Ignition does by default. Its driver reads the
low word first unless the device's `Reverse Numeric Word Order` is on; what is served in another order than ABCD is left
out. What is left to scale becomes a linear scaling of the tag.
"""

from __future__ import annotations

import json
from typing import Any

from gateway.maps.names import Names
from gateway.maps.neutral import Entry, Map
from gateway.maps.target import Notes, Target, Written
from gateway.modbus.spec import Table

DEVICE = "Gateway"
"""What the connection must be called in Ignition; all tags name it."""
_TABLES = {Table.COILS: "C", Table.DISCRETE: "DI", Table.HOLDING: "HR", Table.INPUT: "IR"}
_TYPES = {
    "int16": ("", "Int2"),
    "uint16": ("US", "Int4"),
    "int32": ("I", "Int4"),
    "uint32": ("UI", "Int8"),
    "int64": ("I_64", "Int8"),
    "uint64": ("UI_64", "Int8"),
    "float32": ("F", "Float4"),
    "float64": ("D", "Float8"),
    "bcd16": ("BCD", "Int4"),
    "bcd32": ("BCD_32", "Int8"),
    "string": ("S", "String"),
}
"""Designator behind the table's, and the smallest type of Ignition that holds every value (it has no unsigned ones)."""
_SCALED_HIGH = 1000.0


def write(served: Map, target: Target) -> Written:
    notes = Notes("Ignition")
    door = target.door("Ignition", "tcp")
    notes.say(
        f"the device connection in Ignition: Modbus TCP, name `{DEVICE}`, {door.host} port {door.port}, "
        "`Reverse Numeric Word Order` on, `One-based Addressing` on, `Span Gaps` off"
    )
    folders: dict[str, tuple[dict[str, Any], Names]] = {}
    folder_names = Names(_ALLOWED, first=_FIRST)
    for entry in served.values():
        if entry.order != "ABCD":
            notes.leave_out(entry, f"the order {entry.order} is not what its driver reads from this device")
            continue
        if entry.type == "uint64":
            notes.remark(entry, "above 9223372036854775807 Ignition's largest integer overflows")
        if entry.device not in folders:
            name = folder_names.unique(entry.device)
            folders[entry.device] = {"name": name, "tagType": "Folder", "tags": []}, Names(_ALLOWED, first=_FIRST)
        folder, names = folders[entry.device]
        folder["tags"].append(_tag(entry, names.unique(entry.name)))
    tree = {"name": "", "tagType": "Provider", "tags": [folder for folder, _ in folders.values()]}
    return Written(json.dumps(tree, indent=2, ensure_ascii=False) + "\n", notes.all(), door)


_ALLOWED, _FIRST = "A-Za-z0-9_ '():-", "A-Za-z0-9_"


def _tag(entry: Entry, name: str) -> dict[str, Any]:
    designator, data_type = ("", "Boolean") if entry.type == "bool" else _TYPES[entry.type]
    tag: dict[str, Any] = {
        "name": name,
        "tagType": "AtomicTag",
        "valueSource": "opc",
        "opcServer": "Ignition OPC UA Server",
        "opcItemPath": f"ns=1;s=[{DEVICE}]{entry.unit}.{_TABLES[entry.table]}{designator}{_place(entry)}",
        "dataType": data_type,
        "readOnly": not entry.writable,
        "enabled": True,
    }
    if entry.engineering:
        tag["engUnit"] = entry.engineering
    if entry.low is not None and entry.high is not None:
        tag["engLow"], tag["engHigh"] = float(entry.low), float(entry.high)
    if entry.description:
        tag["documentation"] = entry.description
    if entry.is_scaled:
        tag["dataType"] = "Float8"
        tag["scaleMode"] = "Linear"
        tag["rawLow"], tag["rawHigh"] = 0.0, _SCALED_HIGH
        tag["scaledLow"], tag["scaledHigh"] = float(entry.offset), float(entry.offset + 1000 * entry.scale)
        tag["clampMode"] = "No_Clamp"
    return tag


def _place(entry: Entry) -> str:
    """Number from 1, with the bit or the length of a string."""
    number = str(entry.first + 1)
    if entry.type == "string":
        return f"{number}:{2 * entry.count}"
    if entry.type == "bool" and not entry.table.is_bits:
        return f"{number}.{entry.bit or 0}"
    return number
