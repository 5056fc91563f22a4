"""The texts of Node-RED's functions: registers -> an object of values, and a value -> registers.

Written out value by value, so that whoever opens the node sees what is done. Scaling is done as the gateway does it:
whole numbers first, one division at the end (2374 * 0.1 is 237.4).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from gateway.maps.neutral import Entry
from gateway.values import TYPES, permutation

_READERS = {
    "int16": "Int16",
    "uint16": "UInt16",
    "int32": "Int32",
    "uint32": "UInt32",
    "int64": "BigInt64",
    "uint64": "BigUInt64",
    "float32": "Float",
    "float64": "Double",
    "bcd16": "UInt16",
    "bcd32": "UInt32",
}
_HELPERS = {
    "big": "const big = n => Number.isSafeInteger(Number(n)) ? Number(n) : n.toString();",
    "bcd": "const bcd = n => /^\\d+$/.test(n.toString(16)) ? Number(n.toString(16)) : null;",
    "text": (
        "const text = (first, stop, swap) => { const part = Buffer.from(data.subarray(first, stop)); "
        'if (swap) part.swap16(); return part.toString("utf8").split("\\0")[0].trimEnd(); };'
    ),
    "order": "const order = (first, places) => Buffer.from(places.map(i => data[first + i]));",
}
_DATA = (
    "const data = Buffer.alloc(2 * msg.payload.length);\n"
    "msg.payload.forEach((register, i) => data.writeUInt16BE(register & 0xFFFF, 2 * i));\n"
)


def decoder(run: Sequence[tuple[Entry, str]], first: int) -> str:
    """For what was read from `first` on."""
    lines = [
        f"    {json.dumps(name, ensure_ascii=False)}: {_value(entry, entry.first - first)}," for entry, name in run
    ]
    body = "msg.payload = {\n" + "\n".join(lines) + "\n};\nreturn msg;\n"
    if run[0][0].table.is_bits:
        return body
    helpers = "".join(f"{text}\n" for name, text in _HELPERS.items() if f"{name}(" in body)
    return _DATA + helpers + body


def _value(entry: Entry, at: int) -> str:
    if entry.table.is_bits:
        return f"Boolean(msg.payload[{at}])"
    first = 2 * at
    if entry.type == "bool":
        return f"Boolean(data.readUInt16BE({first}) & 0x{1 << (entry.bit or 0):04X})"
    if entry.type == "string":
        swap = ", true" if entry.order == "BADC" else ""
        return f"text({first}, {first + 2 * entry.count}{swap})"
    return _scaled(entry, _wrapped(entry, _read(entry, first)))


def _read(entry: Entry, first: int) -> str:
    reader = _READERS[entry.type]
    turned, source = _order(entry)
    if turned:
        return f"data.read{reader}{turned}({first})"
    return f"order({first}, {source}).read{reader}BE(0)"


def _order(entry: Entry) -> tuple[str, list[int]]:
    """`BE` or `LE`; or empty, and where each byte lies."""
    places = list(permutation(entry.order, entry.count))
    if places == sorted(places):
        return "BE", places
    return ("LE" if places == sorted(places, reverse=True) else ""), places


def _wrapped(entry: Entry, text: str) -> str:
    if entry.type in ("int64", "uint64"):
        return f"big({text})"
    return f"bcd({text})" if entry.type.startswith("bcd") else text


def _scaled(entry: Entry, text: str) -> str:
    if not entry.is_scaled:
        return text
    below = math.lcm(entry.scale.denominator, entry.offset.denominator)
    factor, shift = int(entry.scale * below), int(entry.offset * below)
    product = f"{text} * {factor}" if factor != 1 else text
    total = f"{product} {'-' if shift < 0 else '+'} {abs(shift)}" if shift else product
    return f"({total}) / {below}" if below != 1 else total


def encoder(entry: Entry) -> str | None:
    """`msg.payload`, a value, becomes what `modbus-write` sends; None: it cannot."""
    if entry.table.is_bits:
        return "msg.payload = Boolean(msg.payload);\nreturn msg;\n"
    if entry.bit is not None:
        return None
    if entry.type == "bool":
        return "msg.payload = msg.payload ? 1 : 0;\nreturn msg;\n"
    lines = [f"const data = Buffer.alloc({2 * entry.count});"]
    if entry.type == "string":
        lines += [
            "const bytes = Buffer.from(String(msg.payload));",
            f"if (bytes.length > data.length) {{ node.error('longer than {2 * entry.count} bytes', msg); return; }}",
            "bytes.copy(data);",
        ]
        if entry.order == "BADC":
            lines.append("data.swap16();")
    else:
        lines += _number(entry)
    if entry.count == 1:
        lines.append("msg.payload = data.readUInt16BE(0);")
    else:
        registers = ", ".join(f"data.readUInt16BE({2 * i})" for i in range(entry.count))
        lines.append(f"msg.payload = [{registers}];")
    return "\n".join([*lines, "return msg;", ""])


def _number(entry: Entry) -> list[str]:
    """Numbers that do not fit make Node's writers throw, which Node-RED shows as an error of the function."""
    value = "Number(msg.payload)"
    if entry.is_scaled:
        below = math.lcm(entry.scale.denominator, entry.offset.denominator)
        value = f"({value} * {below} - {int(entry.offset * below)}) / {int(entry.scale * below)}"
    if TYPES[entry.type].is_integer:
        value = f"Math.round({value})"
    if entry.type in ("int64", "uint64"):
        value = f"BigInt({value})" if entry.is_scaled else "BigInt(msg.payload)"
    if entry.type.startswith("bcd"):
        value = f"parseInt(String({value}), 16)"
    turned, places = _order(entry)
    if turned:
        return [f"data.write{_READERS[entry.type]}{turned}({value}, 0);"]
    return [
        f"const straight = Buffer.alloc({2 * entry.count});",
        f"straight.write{_READERS[entry.type]}BE({value}, 0);",
        f"{places}.forEach((place, i) => {{ data[place] = straight[i]; }});",
    ]
