"""Kepware's tag CSV: the 17 columns of its device export, six-digit references, one file per device.

A Kepware device has one unit id, so a file has one, too. Which word comes first is a setting of the device and stands
in no column: what is served ABCD needs `First Word Low` and `First DWord Low` disabled (Kepware enables them by
default), so values in another order are left out. Bits of registers count from 0, its default.
"""

from __future__ import annotations

from fractions import Fraction

from gateway.maps.names import Names
from gateway.maps.neutral import Entry, Map, decimal
from gateway.maps.target import ExportError, Notes, Target, Written

COLUMNS = (
    "Tag Name",
    "Address",
    "Data Type",
    "Respect Data Type",
    "Client Access",
    "Scan Rate",
    "Scaling",
    "Raw Low",
    "Raw High",
    "Scaled Low",
    "Scaled High",
    "Scaled Data Type",
    "Clamp Low",
    "Clamp High",
    "Eng Units",
    "Description",
    "Negate Value",
)
TYPES = {
    "bool": "Boolean",
    "int16": "Short",
    "uint16": "Word",
    "int32": "Long",
    "uint32": "DWord",
    "int64": "LLong",
    "uint64": "QWord",
    "float32": "Float",
    "float64": "Double",
    "bcd16": "BCD",
    "bcd32": "LBCD",
    "string": "String",
}
READ_ONLY, READ_WRITE = "RO", "R/W"
MAX_STRING_SIZE = 240
"""Bytes of a string in its Modbus driver."""
MAX_DESCRIPTION = 255
_ALLOWED, _FIRST = "A-Za-z0-9_ ()#-", "A-Za-z0-9"
"""Of names. A point would begin a group, an underscore stands before its own."""
_DEFAULT_RATE_MS = 1000
_MIN_RATE_MS, _MAX_RATE_MS = 10, 99_999_990
_SCALED_HIGH = 1000
"""A line has two points: raw 0 and this one."""


def write(served: Map, target: Target) -> Written:
    if len(served.units) > 1:
        units = ", ".join(map(str, served.units))
        raise ExportError(
            f"a Kepware device has one unit id, and this plant serves {units}: write a file for each, "
            f"such as `--units {served.units[0]}`"
        )
    notes = Notes("Kepware")
    door = target.door("Kepware", "tcp")
    if served.units:
        notes.say(
            f"the device in Kepware: Modbus TCP/IP Ethernet, unit {served.units[0]}, {door.authority}. Disable `First "
            "Word Low` and `First DWord Low` (it enables them by default); leave zero-based addressing, its bits and "
            "Modbus byte order enabled"
        )
    lines = [",".join(COLUMNS)]
    groups = Names(_ALLOWED, first=_FIRST)
    group_of: dict[str, tuple[str, Names]] = {}
    for entry in served.values():
        address = _address(entry, notes)
        if address is not None:
            if entry.device not in group_of:
                group_of[entry.device] = groups.unique(entry.device), Names(_ALLOWED, first=_FIRST)
            group, names = group_of[entry.device]
            lines.append(",".join(_row(entry, f"{group}.{names.unique(entry.name)}", address)))
    return Written("".join(f"{line}\r\n" for line in lines), notes.all(), door)


def _address(entry: Entry, notes: Notes) -> str | None:
    if entry.type == "string":
        size = 2 * entry.count
        if size > MAX_STRING_SIZE:
            notes.leave_out(entry, f"its strings have at most {MAX_STRING_SIZE} characters")
            return None
        return f"{entry.reference}.{size}{'L' if entry.order == 'BADC' else 'H'}"
    if entry.order != "ABCD":
        notes.leave_out(entry, f"{entry.order} is a setting of another Kepware device")
        return None
    if entry.type == "bool" and not entry.table.is_bits and entry.bit is None:
        return f"{entry.reference}.0"
    return entry.reference


def _row(entry: Entry, name: str, address: str) -> list[str]:
    rate_ms = round(entry.every_s * 1000) or _DEFAULT_RATE_MS
    scaling = [""] * 7
    if entry.is_scaled:
        high = entry.offset + _SCALED_HIGH * entry.scale
        # Clamped values would be wrong ones: the two points only say how steep the line is.
        ends = (0, _SCALED_HIGH, entry.offset, high)
        scaling = ["Linear", *(_number(end) for end in ends), "Double", "0"]
    return [
        _quoted(name),
        _quoted(address),
        TYPES[entry.type],
        "1",
        READ_WRITE if entry.writable else READ_ONLY,
        str(min(max(rate_ms, _MIN_RATE_MS), _MAX_RATE_MS)),
        *scaling,
        "0" if entry.is_scaled else "",
        _quoted(entry.engineering) if entry.engineering else "",
        _quoted(entry.description[:MAX_DESCRIPTION]) if entry.description else "",
        "0" if entry.is_scaled else "",
    ]


def _quoted(text: str) -> str:
    """As Kepware writes texts; addresses, too, whose zeros a spreadsheet would take away."""
    return '"' + text.replace('"', '""') + '"'


def _number(value: Fraction | int) -> str:
    """A decimal; of a third the nearest one."""
    text = decimal(value)
    numerator, slash, denominator = text.partition("/")
    return repr(int(numerator) / int(denominator)) if slash else text
