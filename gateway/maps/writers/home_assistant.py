"""Home Assistant's `modbus:` section, addresses from 0.

Every entity is read on its own, so one without a value takes no other along. Numbers are sensors, also those that can
be written (the action `modbus.write_register` does that); bools are binary sensors, writable ones switches. Values are
left out that would need a type or a bit that it lacks.
"""

from __future__ import annotations

import json
import math
from fractions import Fraction

from gateway.maps.names import Names
from gateway.maps.neutral import Entry, Map, decimal
from gateway.maps.target import Notes, Target, Written
from gateway.modbus.spec import Table

_INPUTS = {Table.COILS: "coil", Table.DISCRETE: "discrete_input", Table.HOLDING: "holding", Table.INPUT: "input"}
_SWAPS = {"CDAB": "word", "BADC": "byte", "DCBA": "word_byte"}
_TRANSPORTS = {"tcp": "tcp", "udp": "udp", "rtu+tcp": "rtuovertcp"}
_TYPES = ("int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64", "string")
_FLOAT_PRECISION = 4
"""Digits behind the point; its own default is 2, which hides small values."""
_MIN_SCAN_S = 5
"""It warns below that."""
_TIMEOUT_S = 3


def write(served: Map, target: Target) -> Written:
    notes = Notes("Home Assistant")
    door = target.door("Home Assistant", *_TRANSPORTS)
    names = Names("A-Za-z0-9_ .-")
    hub = Names("a-z0-9_").clean(served.title.lower())
    parts: dict[str, list[dict[str, str]]] = {"sensors": [], "binary_sensors": [], "switches": []}
    for entry in served.values():
        place = _part(entry, notes)
        if place is not None:
            parts[place].append(_entity(entry, place, names.unique(entry.path), hub))
            if entry.writable and place == "sensors":
                notes.remark(entry, "shown as sensors; they are written with the action `modbus.write_register`")
    lines = [
        "# Made by `gateway export --format home-assistant`; belongs into configuration.yaml.",
        "modbus:",
        f"  - name: {_text(hub)}",
        f"    type: {_TRANSPORTS[door.scheme]}",
        f"    host: {_text(door.host)}",
        f"    port: {door.port}",
        f"    timeout: {_TIMEOUT_S}",
    ]
    for part, entities in parts.items():
        if entities:
            lines.append(f"    {part}:")
            for entity in entities:
                pairs = [f"{key}: {value}" for key, value in entity.items()]
                lines.append(f"      - {pairs[0]}")
                lines += [f"        {pair}" for pair in pairs[1:]]
    if not any(parts.values()):
        notes.say("nothing of this map can be shown: Home Assistant does not load a hub without entities")
    return Written("\n".join(lines) + "\n", notes.all(), door)


def _part(entry: Entry, notes: Notes) -> str | None:
    """Where it belongs; None: nowhere."""
    if entry.type == "bool":
        if entry.bit:
            notes.leave_out(entry, "it reads bit 0 of a register only; serve it in coils or discrete instead")
            return None
        is_switch = entry.writable and (entry.table is Table.COILS or entry.bit is None)
        return "switches" if is_switch else "binary_sensors"
    if entry.type not in _TYPES:
        notes.leave_out(entry, f"it has no {entry.type}; `as: {entry.type.replace('bcd', 'uint')}` serves a number")
        return None
    return "sensors"


def _entity(entry: Entry, part: str, name: str, hub: str) -> dict[str, str]:
    """Keys and what stands behind their colons."""
    bit = "" if entry.bit is None else f"_{entry.bit}"
    entity = {
        "name": _text(name),
        "unique_id": _text(f"{hub}_{entry.unit}_{entry.table.word}_{entry.first}{bit}"),
        "slave": str(entry.unit),
        "address": str(entry.first),
        "scan_interval": str(max(math.ceil(entry.every_s), _MIN_SCAN_S)),
    }
    if part == "switches":
        entity["write_type"] = "coil" if entry.table is Table.COILS else "holding"
        entity["verify"] = "{}"  # read back from where it was written
        return entity
    entity["input_type"] = _INPUTS[entry.table]
    if part == "binary_sensors":
        return entity
    entity["data_type"] = entry.type
    if entry.order in _SWAPS:
        entity["swap"] = _SWAPS[entry.order]
    if entry.type == "string":
        return entity | {"count": str(entry.count)}
    if entry.is_scaled:
        entity["scale"] = _number(entry.scale)
        entity["offset"] = _number(entry.offset)
    if precision := _precision(entry):
        entity["precision"] = str(precision)
    if entry.engineering:
        entity["unit_of_measurement"] = _text(entry.engineering)
    return entity


def _precision(entry: Entry) -> int:
    if entry.type.startswith("float"):
        return _FLOAT_PRECISION
    texts = (decimal(entry.scale), decimal(entry.offset))
    if any("/" in text for text in texts):
        return _FLOAT_PRECISION
    return max(len(text.partition(".")[2]) for text in texts)


def _number(value: Fraction) -> str:
    text = decimal(value)
    return repr(float(value)) if "/" in text else text


def _text(text: str) -> str:
    """A double-quoted scalar; its escapes are those of JSON."""
    return json.dumps(text, ensure_ascii=False)
