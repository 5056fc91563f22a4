"""Telegraf's `[[inputs.modbus]]`, in its `request` style, addresses from 0.

One plugin per device and unit id: Telegraf drops all of a plugin's values when one request of it is refused, and a
device that is down must not take its neighbours along, nor its own status, which has a plugin of its own. Requests are
left to Telegraf, which joins what is side by side. Values of one device are fields of one measurement.
"""

from __future__ import annotations

import json
from itertools import groupby

from gateway.maps.grouping import together
from gateway.maps.names import Names
from gateway.maps.neutral import Entry, Map, decimal
from gateway.maps.target import Door, Notes, Target, Written
from gateway.modbus.spec import Table

_REGISTERS = {Table.COILS: "coil", Table.DISCRETE: "discrete", Table.HOLDING: "holding", Table.INPUT: "input"}
_TYPES = {
    "int16": "INT16",
    "uint16": "UINT16",
    "int32": "INT32",
    "uint32": "UINT32",
    "int64": "INT64",
    "uint64": "UINT64",
    "float32": "FLOAT32",
    "float64": "FLOAT64",
}
_MODES = {"tcp": "tcp", "rtu+tcp": "RTUoverTCP", "ascii+tcp": "ASCIIoverTCP"}


def write(served: Map, target: Target) -> Written:
    notes = Notes("Telegraf")
    door = target.door("Telegraf", *_MODES)
    lines = ["# Made by `gateway export --format telegraf`."]
    names = Names("A-Za-z0-9_.-")
    measurements: dict[str, str] = {}
    for device, unit, group in together(served.values()):
        written = [entry for entry in group if _is_possible(entry, notes)]
        if written:
            if device not in measurements:
                measurements[device] = names.unique(device)
            lines += _plugin(measurements[device], device, unit, door, written)
    if any(entry.type in ("bool", "string") and not entry.table.is_bits for entry in served.values()):
        notes.say("types BIT and STRING are known to newer Telegrafs only: `telegraf --test` tells")
    return Written("\n".join(lines) + "\n", notes.all(), door)


def _is_possible(entry: Entry, notes: Notes) -> bool:
    if entry.type in ("bcd16", "bcd32"):
        notes.leave_out(
            entry, f"Telegraf has no {entry.type}; `as: {entry.type.replace('bcd', 'uint')}` serves a number"
        )
        return False
    if entry.offset:
        notes.leave_out(entry, "Telegraf can scale, but not add an offset; without `as: raw` the gateway does both")
        return False
    return True


def _plugin(measurement: str, device: str, unit: int, door: Door, entries: list[Entry]) -> list[str]:
    lines = [
        "",
        "[[inputs.modbus]]",
        f"  name = {_text(device)}",
        f"  controller = {_text(f'tcp://{door.authority}')}",
    ]
    if door.scheme != "tcp":
        lines.append(f"  transmission_mode = {_text(_MODES[door.scheme])}")
    lines += ['  timeout = "3s"', '  configuration_type = "request"']
    fields = Names("A-Za-z0-9_.-")
    entries.sort(key=lambda entry: (entry.table, entry.order, entry.first))
    for (table, order), group in groupby(entries, key=lambda entry: (entry.table, entry.order)):
        lines += [
            "",
            "  [[inputs.modbus.request]]",
            f"    slave_id = {unit}",
            *([] if table.is_bits else [f"    byte_order = {_text(order)}"]),
            f"    register = {_text(_REGISTERS[table])}",
            f"    measurement = {_text(measurement)}",
            "    fields = [",
            *(f"      {_field(entry, fields.unique(entry.name))}," for entry in group),
            "    ]",
            "    [inputs.modbus.request.tags]",
            f"      device = {_text(device)}",
        ]
    return lines


def _field(entry: Entry, name: str) -> str:
    parts = [f"address={entry.first}", f"name={_text(name)}"]
    if entry.table.is_bits:
        parts.append('output="BOOL"')
    elif entry.type == "bool":
        parts += ['type="BIT"', f"bit={entry.bit or 0}"]
    elif entry.type == "string":
        parts += ['type="STRING"', f"length={entry.count}"]
    else:
        parts.append(f'type="{_TYPES[entry.type]}"')
        if entry.scale != 1:
            number = decimal(entry.scale)
            parts.append(f"scale={float(entry.scale)!r}" if "/" in number else f"scale={_float(number)}")
    return "{ " + ", ".join(parts) + " }"


def _float(number: str) -> str:
    """TOML has integers, too; a scale is none of them."""
    return number if "." in number else f"{number}.0"


def _text(text: str) -> str:
    """A basic string of TOML; its escapes are those of JSON."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
