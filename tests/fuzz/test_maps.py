"""What is exported decodes to what is served: random plants, and for each tool a decoder that knows only the tool.

The image is filled by the gateway's own sinks; the decoders below share no line with the writers.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import struct
import tomllib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.bank import Bank
from gateway.config.load import load
from gateway.config.model import Config
from gateway.maps.dial import target_of
from gateway.maps.neutral import Map, map_of
from gateway.maps.registry import writer
from gateway.modbus.spec import Table
from gateway.places import place_of, resolve_tag
from gateway.polling.sinks import bit_put, registers_put
from gateway.values import TYPES, from_raw, registers_decoder, round_half_away

ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")
NUMBERS = ("int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64", "bcd16", "bcd32")


@st.composite
def tags(draw: st.DrawFn) -> tuple[dict[str, Any], bytes]:
    """(keys without places, the registers in the device)."""
    kind = draw(st.sampled_from((*NUMBERS, "string", "bool", "bit")))
    keys: dict[str, Any] = {"type": "bool" if kind == "bit" else kind, "order": draw(st.sampled_from(ORDERS))}
    if kind == "string":
        text = draw(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=6))
        return keys | {"registers": 3, "as": draw(st.sampled_from((None, "raw")))}, text.encode().ljust(6, b"\0")
    if kind in ("bool", "bit"):
        keys["registers"] = 1
        if kind == "bit":
            keys["bit"] = draw(st.integers(0, 15))
            keys["as"] = draw(st.sampled_from((None, "raw")))
        keys["to_bit"] = draw(st.booleans()) and keys.get("as") is None
        return keys, struct.pack(">H", draw(st.sampled_from((0, 1, 0xA5F0, 0xFFFF))))
    registers = TYPES[kind].registers
    keys |= {"registers": registers, "as": draw(st.sampled_from((None, "raw", "float64")))}
    if draw(st.booleans()):
        keys |= {
            "scale": draw(st.sampled_from(("0.1", "1/3", "-2"))),
            "offset": draw(st.sampled_from(("0", "-40", "7.5"))),
        }
    if kind.startswith("bcd"):
        digits = draw(st.integers(0, 10 ** (4 * registers) - 1))
        return keys, int(str(digits), 16).to_bytes(2 * registers, "big")
    if kind.startswith("float"):
        number = draw(st.floats(-1e6, 1e6, width=32))
        return keys, struct.pack(">" + TYPES[kind].letter, number)
    low, high = TYPES[kind].low, TYPES[kind].high
    assert low is not None
    assert high is not None
    return keys, struct.pack(">" + TYPES[kind].letter, draw(st.integers(low, high)))


def plant(found: list[tuple[dict[str, Any], bytes]], folder: Path) -> tuple[Config, dict[str, bytes]]:
    """A plant whose tags stand one behind the other, with gaps; and what each has in its device (ABCD)."""
    lines, data, at, to = [], {}, 0, 5
    for number, (keys, registers) in enumerate(found):
        name = f"t{number}"
        stop = at + keys["registers"] - 1
        place = f"holding:{at}..{stop}" if keys["type"] == "string" else f"holding:{at}"
        if "bit" in keys:
            place += f".{keys['bit']}"
        table = "discrete" if keys.get("to_bit") else "input" if number % 2 else "holding"
        parts = [
            f"at: {place}",
            f"type: {keys['type']}",
            f"order: {keys['order']}",
            f'to: "{number % 3 + 1}/{table}:{to}"',
        ]
        parts += [f"{key}: {keys[key]}" for key in ("scale", "offset", "as") if keys.get(key) is not None]
        lines.append(f"      {name}: {{{', '.join(parts)}}}")
        data[name] = registers
        at, to = stop + 2, to + (1 if table == "discrete" else 5)
    path = folder / "plant.yaml"
    path.write_text("devices:\n  d:\n    url: tcp://10.0.0.1\n    tags:\n" + "\n".join(lines) + "\n")
    return load(path, environ={}), data


def fill(config: Config, served: Map, data: dict[str, bytes]) -> tuple[dict[int, Bank], dict[str, Any]]:
    """The images as the gateway fills them, and the value that stands in each place."""
    banks = {
        unit: Bank({table: list(spans) for (number, table), spans in served.exists.items() if number == unit})
        for unit in served.units
    }
    values: dict[str, Any] = {}
    device = config.devices["d"]
    for name, configured in device.tags.items():
        tag = resolve_tag(name, configured, device)
        place = place_of(config, configured, tag)
        assert place is not None
        registers = bytes(data[name][i] for i in _places(tag.order, tag.registers))
        (raw,) = registers_decoder([tag], tag.first)(registers)
        value = from_raw(tag)(raw)
        bank = banks[place.unit_id]
        if place.table.is_bits or place.bit is not None:
            put = bit_put(bank, place.table, place.first, place.bit)
        else:
            put = registers_put(bank, place.table, place.first, tag, configured.as_)
        if value is not None and put(value, raw):
            values[name] = _served(value, configured.as_ or tag.type, tag.type)
    return banks, values


def _places(order: str, registers: int) -> list[int]:
    words = range(registers) if order in ("ABCD", "BADC") else reversed(range(registers))
    pairs = [(2 * word, 2 * word + 1) for word in words]
    return [byte for pair in pairs for byte in (pair if order in ("ABCD", "CDAB") else pair[::-1])]


def _served(value: Any, shown: str, own: str) -> Any:
    if isinstance(value, (bool, str)) or shown == "raw":
        return value
    kind = TYPES[shown]
    if kind.is_integer:
        return round_half_away(value)
    return struct.unpack(">" + kind.letter, struct.pack(">" + kind.letter, float(value)))[0]


def registers_of(bank: Bank, table: Table, first: int, count: int) -> bytes:
    """As a client gets them."""
    function = 3 if table is Table.HOLDING else 4
    answer = bank.answer(struct.pack(">BHH", function, first, count))
    assert isinstance(answer, bytes)
    assert answer[0] == function, f"exception {answer[1]} at {table.describe(first, count)}"
    return answer[2:]


def bit_of(bank: Bank, table: Table, first: int) -> bool:
    function = 1 if table is Table.COILS else 2
    answer = bank.answer(struct.pack(">BHH", function, first, 1))
    assert isinstance(answer, bytes)
    return bool(answer[2] & 1)


STRUCTS = {
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "float32": "f",
    "float64": "d",
}


def kepware(text: str, banks: dict[int, Bank]) -> dict[str, Any]:
    """Kepware's driver with First Word Low and First DWord Low disabled."""
    kinds = {
        "Short": "h",
        "Word": "H",
        "Long": "i",
        "DWord": "I",
        "LLong": "q",
        "QWord": "Q",
        "Float": "f",
        "Double": "d",
    }
    (unit,) = banks
    found = {}
    for row in csv.DictReader(io.StringIO(text)):
        assert len(row) == 17
        digits, _, rest = row["Address"].partition(".")
        table = {"0": Table.COILS, "1": Table.DISCRETE, "3": Table.INPUT, "4": Table.HOLDING}[digits[0]]
        first, kind = int(digits[1:]) - 1, row["Data Type"]
        if table.is_bits:
            value: Any = bit_of(banks[unit], table, first)
        elif kind == "Boolean":
            value = bool(struct.unpack(">H", registers_of(banks[unit], table, first, 1))[0] >> int(rest) & 1)
        elif kind == "String":
            data = registers_of(banks[unit], table, first, int(rest[:-1]) // 2)
            if rest[-1] == "L":
                data = bytes(data[i ^ 1] for i in range(len(data)))
            value = data.split(b"\0")[0].decode()
        elif kind in ("BCD", "LBCD"):
            value = int(registers_of(banks[unit], table, first, 1 if kind == "BCD" else 2).hex())
        else:
            size = struct.calcsize(kinds[kind])
            (value,) = struct.unpack(">" + kinds[kind], registers_of(banks[unit], table, first, size // 2))
        if row["Scaling"] == "Linear":
            raw_low, raw_high, low, high = (
                Fraction(row[name]) for name in ("Raw Low", "Raw High", "Scaled Low", "Scaled High")
            )
            value = float((Fraction(value) - raw_low) * (high - low) / (raw_high - raw_low) + low)
        found[row["Tag Name"].split(".")[1]] = value
    return found


def ignition(text: str, banks: dict[int, Bank]) -> dict[str, Any]:
    """Ignition's driver with Reverse Numeric Word Order on and one-based addressing."""
    kinds = {"": "h", "US": "H", "I": "i", "UI": "I", "I_64": "q", "UI_64": "Q", "F": "f", "D": "d"}
    found = {}
    for folder in json.loads(text)["tags"]:
        for tag in folder["tags"]:
            match = re.fullmatch(
                r"ns=1;s=\[Gateway\](\d+)\.(C|DI|HR|IR)(US|UI_64|UI|I_64|I|F|D|BCD_32|BCD|S)?(\d+)(?:([.:])(\d+))?",
                tag["opcItemPath"],
            )
            assert match is not None
            bank, first, kind = banks[int(match[1])], int(match[4]) - 1, match[3] or ""
            table = {"C": Table.COILS, "DI": Table.DISCRETE, "HR": Table.HOLDING, "IR": Table.INPUT}[match[2]]
            if table.is_bits:
                value: Any = bit_of(bank, table, first)
            elif match[5] == ".":
                value = bool(struct.unpack(">H", registers_of(bank, table, first, 1))[0] >> int(match[6]) & 1)
            elif kind == "S":
                value = registers_of(bank, table, first, int(match[6]) // 2).split(b"\0")[0].decode()
            elif kind.startswith("BCD"):
                value = int(registers_of(bank, table, first, 2 if kind == "BCD_32" else 1).hex())
            else:
                (value,) = struct.unpack(
                    ">" + kinds[kind], registers_of(bank, table, first, struct.calcsize(kinds[kind]) // 2)
                )
            if tag.get("scaleMode") == "Linear":
                span = (tag["scaledHigh"] - tag["scaledLow"]) / (tag["rawHigh"] - tag["rawLow"])
                value = (value - tag["rawLow"]) * span + tag["scaledLow"]
            found[tag["name"]] = value
    return found


def fuxa(text: str, banks: dict[int, Bank]) -> dict[str, Any]:
    """FUXA's driver: what it reads together must be there."""
    kinds = {"Int16": "h", "UInt16": "H", "Int32": "i", "UInt32": "I", "Int64": "q", "Float32": "f", "Float64": "d"}
    found = {}
    for device in json.loads(text)["devices"].values():
        bank = banks[int(device["property"]["slaveid"])]
        for tag in device["tags"].values():
            table = {"0": Table.COILS, "1": Table.DISCRETE, "3": Table.INPUT, "4": Table.HOLDING}[tag["memaddress"][0]]
            first, kind = int(tag["address"]) - 1, tag["type"]
            if kind == "Bool":
                found[tag["name"]] = bit_of(bank, table, first)
                continue
            letter = kinds[kind.removesuffix("MLE").removesuffix("LE")]
            data = registers_of(bank, table, first, struct.calcsize(letter) // 2)
            if kind.endswith("MLE"):
                data = data[2:] + data[:2]
                assert len(data) == 4
            order = "<" if kind.endswith("LE") and not kind.endswith("MLE") else ">"
            (value,) = struct.unpack(order + letter, data)
            if scale := tag.get("scale"):
                span = (scale["scaledHigh"] - scale["scaledLow"]) / (scale["rawHigh"] - scale["rawLow"])
                value = (value - scale["rawLow"]) * span + scale["scaledLow"]
            found[tag["name"]] = value
    return found


def telegraf(text: str, banks: dict[int, Bank]) -> dict[str, Any]:
    found = {}
    for plugin in tomllib.loads(text).get("inputs", {"modbus": []})["modbus"]:
        for request in plugin["request"]:
            bank = banks[request["slave_id"]]
            table = Table["COILS" if request["register"] == "coil" else request["register"].upper()]
            for field in request["fields"]:
                if table.is_bits:
                    found[field["name"]] = bit_of(bank, table, field["address"])
                    continue
                kind = field["type"]
                size = (
                    2
                    if kind == "BIT"
                    else 2 * field["length"]
                    if kind == "STRING"
                    else int(re.sub(r"\D", "", kind)) // 8
                )
                data = registers_of(bank, table, field["address"], size // 2)
                data = bytes(data[i] for i in _places(request["byte_order"] if kind != "STRING" else "ABCD", size // 2))
                if kind == "STRING":
                    swapped = request["byte_order"] in ("BADC", "DCBA")
                    found[field["name"]] = bytes(data[i ^ swapped] for i in range(size)).split(b"\0")[0].decode()
                elif kind == "BIT":
                    found[field["name"]] = bool(int.from_bytes(data, "big") >> field["bit"] & 1)
                else:
                    (value,) = struct.unpack(">" + STRUCTS[kind.lower()], data)
                    found[field["name"]] = value * field.get("scale", 1)
    return found


def home_assistant(text: str, banks: dict[int, Bank]) -> dict[str, Any]:
    (hub,) = yaml.safe_load(text)["modbus"]
    tables = {"coil": Table.COILS, "discrete_input": Table.DISCRETE, "holding": Table.HOLDING, "input": Table.INPUT}
    found: dict[str, Any] = {}
    for sensor in hub.get("binary_sensors", ()):
        table, bank = tables[sensor["input_type"]], banks[sensor["slave"]]
        name = sensor["name"].split(".")[1]
        if table.is_bits:
            found[name] = bit_of(bank, table, sensor["address"])
        else:
            found[name] = bool(registers_of(bank, table, sensor["address"], 1)[1] & 1)
    for sensor in hub.get("sensors", ()):
        kind, bank = sensor["data_type"], banks[sensor["slave"]]
        count = sensor["count"] if kind == "string" else struct.calcsize(STRUCTS[kind]) // 2
        data = registers_of(bank, tables[sensor["input_type"]], sensor["address"], count)
        registers = list(struct.unpack(f">{count}H", data))
        swap = sensor.get("swap", "")
        if "byte" in swap:
            registers = [register >> 8 | (register & 0xFF) << 8 for register in registers]
        if swap.startswith("word"):
            registers.reverse()
        data = struct.pack(f">{count}H", *registers)
        if kind == "string":
            value: Any = data.split(b"\0")[0].decode()
        else:
            (value,) = struct.unpack(">" + STRUCTS[kind], data)
            value = value * sensor.get("scale", 1) + sensor.get("offset", 0)
        found[sensor["name"].split(".")[1]] = value
    return found


def own_json(text: str, banks: dict[int, Bank]) -> dict[str, Any]:
    found = {}
    for entry in json.loads(text)["entries"]:
        bank, table = banks[entry["unit_id"]], Table[entry["table"].upper()]
        kind, count = entry["type"], entry["count"]
        if table.is_bits:
            found[entry["name"]] = bit_of(bank, table, entry["address"])
            continue
        data = registers_of(bank, table, entry["address"], count)
        if kind == "bool":
            value: Any = bool(int.from_bytes(data, "big") >> (entry["bit"] or 0) & 1)
        elif kind == "string":
            value = bytes(data[i ^ (entry["order"] == "BADC")] for i in range(2 * count)).split(b"\0")[0].decode()
        else:
            data = bytes(data[i] for i in _places(entry["order"], count))
            value = int(data.hex()) if kind.startswith("bcd") else struct.unpack(">" + STRUCTS[kind], data)[0]
            scale, offset = (Fraction(str(entry[key])) for key in ("scale", "offset"))
            value = float(Fraction(value) * scale + offset) if (scale, offset) != (1, 0) else value
        found[entry["name"]] = value
    return found


DECODERS = {
    "kepware": kepware,
    "ignition": ignition,
    "fuxa": fuxa,
    "telegraf": telegraf,
    "home-assistant": home_assistant,
    "json": own_json,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plants")


@settings(max_examples=40)
@given(found=st.lists(tags(), min_size=1, max_size=12))
def test_what_is_exported_decodes_to_what_is_served(found: list[tuple[dict[str, Any], bytes]], folder: Path) -> None:
    judge(found, folder)


def test_every_type_in_every_order_decodes_to_what_is_served(folder: Path) -> None:
    judge(list(everything()), folder)


def everything() -> Iterator[tuple[dict[str, Any], bytes]]:
    """Every type, order and way to serve it, with bytes that all differ; every bit."""
    for order in ORDERS:
        for as_ in (None, "raw"):
            for kind in NUMBERS:
                registers = TYPES[kind].registers
                data = bytes.fromhex("1234567890123456")[: 2 * registers]
                if kind.startswith("float"):
                    data = struct.pack(">" + TYPES[kind].letter, -1234.5625)
                for scale in ({}, {"scale": "0.1", "offset": "-40"}):
                    yield {"type": kind, "order": order, "registers": registers, "as": as_, **scale}, data
            yield {"type": "string", "order": order, "registers": 3, "as": as_}, b"Abcde\0"
            yield {"type": "bool", "order": order, "registers": 1, "as": None, "to_bit": as_ is None}, b"\xa5\xf0"
            for bit in range(16):
                yield {"type": "bool", "order": order, "registers": 1, "as": as_, "bit": bit}, b"\xa5\xf0"


def judge(found: list[tuple[dict[str, Any], bytes]], folder: Path) -> None:
    config, data = plant(found, folder)
    served = map_of(config)
    banks, values = fill(config, served, data)
    target = target_of(config, "1", "gw", None, "machine")
    for form, decode in DECODERS.items():
        parts = [{unit} for unit in served.units] if form == "kepware" else [set(served.units)]
        told: dict[str, Any] = {}
        notes: list[str] = []
        for units in parts:
            made = writer(form)(served.only(units, None), target)
            notes += made.notes
            told |= decode(made.text, {unit: banks[unit] for unit in units})
        for name in config.devices["d"].tags:
            if name not in told:
                assert form != "json"
                assert any(note.startswith("left out") for note in notes), f"{form} lost {name} without a word"
            elif name in values:
                assert _is_equal(told[name], values[name], warned=bool(notes)), (form, name, told[name], values[name])


def _is_equal(told: Any, served: Any, *, warned: bool) -> bool:
    if isinstance(served, (bool, str)):
        return bool(told == served)
    if warned and isinstance(served, int) and served > 0x7FFF_FFFF_FFFF_FFFF:
        return True  # told to overflow
    return math.isclose(told, served, rel_tol=1e-6, abs_tol=1e-6 * max(1, abs(served)))
