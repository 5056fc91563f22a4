"""The plain scalars: text that stands in the YAML, read as what its key wants.

Every function takes the text and raises ValueError with what to write instead; YAML's own types are never asked.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, PlainValidator, TypeAdapter, WithJsonSchema

from gateway.config.addresses import Address, AddressField, parse_address
from gateway.modbus.spec import Table
from gateway.values import Sentinel

_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_INTEGER = re.compile(r"[+-]?(\d{1,20}|0[xX][0-9a-fA-F]{1,16})", re.ASCII)
_FRACTION = re.compile(r"[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})([eE][+-]?\d{1,3})?|[+-]?\d{1,20}/\d{1,20}", re.ASCII)
_HEX = re.compile(r"0[xX][0-9a-fA-F]{1,16}", re.ASCII)


def text_of(value: Any, expected: str) -> str:
    """The text of a scalar. Raises ValueError for lists, mappings and for no value at all."""
    if not isinstance(value, str):
        raise ValueError(f"is a {'list' if isinstance(value, list) else 'mapping'}; expected {expected}")
    if not value:
        raise ValueError(f"has no value; write {expected}, or remove the key")
    return value


def parse_boolean(value: Any) -> bool:
    text = text_of(value, "true or false")
    if (flag := _BOOLEANS.get(text.lower())) is None:
        raise ValueError(f"`{text}` is neither true nor false")
    return flag


def parse_integer(value: Any) -> int:
    text = text_of(value, "a whole number").replace("_", "")
    if not _INTEGER.fullmatch(text):
        raise ValueError(f"`{text}` is not a whole number; write it in decimal or as 0x..")
    return int(text, 16) if "x" in text.lower() else int(text)


@lru_cache(maxsize=4096)  # a plant uses few different factors for its thousands of tags
def _fraction(text: str) -> Fraction:
    if not _FRACTION.fullmatch(text):
        hint = f"; decimals have a point: `{text.replace(',', '.')}`" if re.fullmatch(r"[+-]?\d+,\d+", text) else ""
        raise ValueError(f"`{text}` is not a number{hint}")
    if text.rpartition("/")[2].strip("0") == "" and "/" in text:
        raise ValueError(f"`{text}` divides by zero")
    return Fraction(text)


def parse_fraction(value: Any) -> Fraction:
    """The exact value of a decimal text (`0.1` is one tenth) or of a quotient (`1/3`)."""
    return _fraction(text_of(value, "a number"))


def parse_text(value: Any) -> str:
    return text_of(value, "a text")


def parse_sentinel(value: Any) -> Sentinel:
    """`0x8000` is a bit pattern, `-9999` the number that is decoded from the registers."""
    text = text_of(value, "a number")
    if _HEX.fullmatch(text):
        return Sentinel(True, int(text, 16))
    if text.lower() in ("nan", ".nan"):
        raise ValueError("NaN never is a value, it need not be listed")
    number = parse_fraction(text)
    return Sentinel(False, number.numerator if number.denominator == 1 else number)


def _many(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def empty_is_none_given(value: Any) -> Any:
    """A key with nothing behind it (`tags:` with all lines commented out) is an empty list or mapping."""
    return [] if value == "" else value


def empty_is_no_keys(value: Any) -> Any:
    return {} if value == "" else value


def _sentinels(value: Any) -> tuple[Sentinel, ...]:
    return tuple(parse_sentinel(item) for item in _many(value))


def _initial_value(text: Any) -> bool | int:
    if isinstance(text, str) and text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()]
    number = parse_integer(text)
    if not -0x8000 <= number <= 0xFFFF:
        raise ValueError(f"{number} does not fit a register; two registers are written as a list of two")
    return number & 0xFFFF


def _initial_values(value: Any) -> tuple[bool | int, ...]:
    return tuple(_initial_value(item) for item in _many(value))


def _initial_entry(address: Address, values: tuple[bool | int, ...]) -> tuple[Address, tuple[bool | int, ...]]:
    """Address and values made equally long and of the table's kind."""
    if address.bit is not None:
        raise ValueError(f"{address.describe()}: initial values are whole registers")
    if address.count > 1 and len(values) == 1:
        values *= address.count
    if address.count > 1 and len(values) != address.count:
        raise ValueError(f"{address.describe()} has {address.count} places, the list has {len(values)} values")
    if not values:
        raise ValueError(f"{address.describe()}: the list has no values")
    if address.first + len(values) > 0x10000:
        raise ValueError(f"{address.describe()}: the list runs past 65535, the last address of a table")
    for value in values:
        if address.table.is_bits and value not in (0, 1):
            raise ValueError(f"{address.describe()} is a bit: write true or false, not {value}")
        if not address.table.is_bits and isinstance(value, bool):
            raise ValueError(f"{address.describe()} is a register: write a number, not {str(value).lower()}")
    if address.table.is_bits:
        values = tuple(map(bool, values))
    return address._replace(count=len(values)), values


_InitialMapping: TypeAdapter[dict[Address, tuple[bool | int, ...]]] = TypeAdapter(
    dict[AddressField, Annotated[tuple[bool | int, ...], PlainValidator(_initial_values)]]
)


def _each_once(keys: Mapping[str, object], found: Collection[Address]) -> None:
    """The same address in two notations is two keys of the file, and only one of ours."""
    if len(found) < len(keys):
        seen: dict[Address, str] = {}
        for key in keys:
            address = parse_address(key)
            if address in seen:
                raise ValueError(f"`{seen[address]}` and `{key}` are both {address.describe()}; remove one")
            seen[address] = key


def _initial(value: Any) -> tuple[tuple[Address, tuple[bool | int, ...]], ...]:
    if value == "":
        return ()
    if not isinstance(value, dict):
        raise ValueError('expected a mapping of addresses to values, such as {"holding:10": 1234}')
    # Errors of the inner adapter keep their place: pydantic puts our key before theirs.
    found = _InitialMapping.validate_python(value)
    _each_once(value, found)
    return tuple(_initial_entry(*entry) for entry in found.items())


one_or_many = BeforeValidator(_many)
"""One value stands for a list of one."""

BooleanField = Annotated[bool, BeforeValidator(parse_boolean)]
IntegerField = Annotated[int, BeforeValidator(parse_integer)]
UnitIdField = IntegerField


def parse_version(value: Any) -> str:
    """`0.4` or `0.4.1`; raises ValueError with what to write instead."""
    text = text_of(value, 'a version of the gateway such as `"0.4"`')
    if not re.fullmatch(r"\d{1,4}(\.\d{1,4}){1,2}", text, re.ASCII):
        raise ValueError(f"`{text}` is no version of the gateway; write one such as `0.4`")
    return text


VersionField = Annotated[
    str, PlainValidator(parse_version), WithJsonSchema({"type": ["string", "number"], "pattern": r"^\d+(\.\d+){1,2}$"})
]
TextField = Annotated[str, PlainValidator(parse_text), WithJsonSchema({"type": ["string", "number", "boolean"]})]
FractionField = Annotated[
    Fraction,
    PlainValidator(parse_fraction),
    WithJsonSchema(
        {"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^[+-]?[0-9.]+([eE][+-]?[0-9]+|/[0-9]+)?$"}]}
    ),
]
_SENTINEL_SCHEMA = {"type": ["number", "string"]}
SentinelsField = Annotated[
    tuple[Sentinel, ...],
    PlainValidator(_sentinels),
    WithJsonSchema({"anyOf": [_SENTINEL_SCHEMA, {"type": "array", "items": _SENTINEL_SCHEMA}]}),
]
_INITIAL_VALUE_SCHEMA = {"type": ["integer", "boolean", "string"]}
InitialField = Annotated[
    tuple[tuple[Address, tuple[bool | int, ...]], ...],
    PlainValidator(_initial),
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": {
                "anyOf": [_INITIAL_VALUE_SCHEMA, {"type": "array", "items": _INITIAL_VALUE_SCHEMA}]
            },
        }
    ),
]
"""(address, values): as many values as the address counts; bool for bits, 0..65535 for registers."""


def _function(value: Any) -> int:
    code = parse_integer(value)
    if not 1 <= code <= 127:
        raise ValueError(f"{code} is not a function code; those are 1..127, such as 3 or 0x10")
    return code


def _functions(value: Any) -> tuple[int, ...]:
    codes = [_function(item) for item in _many(value)]
    for number, code in enumerate(codes):
        if code in codes[:number]:
            raise ValueError(f"the function {code} stands here twice")
    return tuple(codes)


MAX_FAULT_COUNT = 1_000_000


def _fault_count(value: Any) -> int:
    count = parse_integer(value)
    if not 0 <= count <= MAX_FAULT_COUNT:
        raise ValueError(f"counts requests: 0 (never) to {MAX_FAULT_COUNT}, this is {count}")
    return count


def _exception_code(value: Any) -> int:
    code = parse_integer(value)
    if not 1 <= code <= 255:
        raise ValueError(f"{code} is not an exception code; those are 1..255, such as 2 (illegal data address)")
    return code


_RefusalsMapping: TypeAdapter[dict[Address, int]] = TypeAdapter(
    dict[AddressField, Annotated[int, PlainValidator(_exception_code)]]
)


def _refusals(value: Any) -> tuple[tuple[Address, int], ...]:
    if value == "":
        return ()
    if not isinstance(value, dict):
        raise ValueError('expected a mapping of addresses to exception codes, such as {"holding:10..12": 2}')
    found = _RefusalsMapping.validate_python(value)
    _each_once(value, found)
    refusals = tuple(found.items())
    for address, _ in refusals:
        if address.bit is not None:
            raise ValueError(
                f"{address.describe()}: registers are refused as a whole: write `{address.table.word}:{address.first}`"
            )
    return refusals


def _range_of_values(value: Any) -> tuple[Fraction, Fraction]:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError("expected the least and the greatest value, such as `[0, 100]`")
    low, high = (parse_fraction(item) for item in value)
    if low > high:
        raise ValueError(f"the least value comes first: write `[{value[1]}, {value[0]}]`")
    return low, high


_FUNCTION_SCHEMA = {"type": ["integer", "string"]}
FunctionsField = Annotated[
    tuple[int, ...],
    PlainValidator(_functions),
    WithJsonSchema({"anyOf": [_FUNCTION_SCHEMA, {"type": "array", "items": _FUNCTION_SCHEMA}]}),
]
"""Function codes, each once, in the order written."""
FaultCount = Annotated[
    int,
    PlainValidator(_fault_count),
    WithJsonSchema({"type": "integer", "minimum": 0, "maximum": MAX_FAULT_COUNT}),
]
"""Every Nth request; 0: never."""
RefusalsField = Annotated[
    tuple[tuple[Address, int], ...],
    PlainValidator(_refusals),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": ["integer", "string"]}}),
]
"""(address, exception code), in the order written."""
RangeOfValuesField = Annotated[
    tuple[Fraction, Fraction],
    PlainValidator(_range_of_values),
    WithJsonSchema({"type": "array", "items": {"type": ["number", "string"]}, "minItems": 2, "maxItems": 2}),
]
"""(least, greatest), both included."""


class UnitIds(NamedTuple):
    """The unit ids that a key of `units` stands for: `5`, or `10..20` with both ends."""

    first: int
    last: int

    def __str__(self) -> str:
        """As it is written in the file."""
        return str(self.first) if self.first == self.last else f"{self.first}..{self.last}"

    @property
    def ids(self) -> range:
        return range(self.first, self.last + 1)


_CANONICAL_UNIT = re.compile(r"0|[1-9]\d{0,2}", re.ASCII)


def _unit_key(value: Any) -> UnitIds:
    text = text_of(value, "a unit id such as 5, or a range such as `10..20`")
    if ".." not in text:
        unit_id = _unit_id(text)
        return UnitIds(unit_id, unit_id)
    begin, _, end = text.partition("..")
    first, last = _unit_id(begin), _unit_id(end)
    if last < first:
        raise ValueError(f"`{text}` runs backwards: write `{last}..{first}`")
    if last == first:
        raise ValueError(f"`{text}` is one unit id; write `{first}`")
    return UnitIds(first, last)


def _unit_id(text: str) -> int:
    if not _CANONICAL_UNIT.fullmatch(text):
        plain = text.lstrip("0")
        hint = (
            f"; write {plain}"
            if plain.isascii() and plain.isdigit() and len(plain) <= 3
            else ": 0..255 in plain decimal, or a range such as `10..20`"
        )
        raise ValueError(f"`{text}` is not a unit id{hint}")
    if int(text) > 255:
        raise ValueError(f"unit ids end at 255, this is {text}")
    return int(text)


UnitKey = Annotated[UnitIds, PlainValidator(_unit_key)]
"""Unit ids as a key; one notation only, so that equal ids are equal keys."""
UnitIdsField = Annotated[
    UnitIds,
    PlainValidator(_unit_key),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": 255},
                {"type": "string", "pattern": r"^[0-9]+(\.\.[0-9]+)?$"},
            ]
        }
    ),
]
"""The same as a value."""

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def _name(value: Any) -> str:
    text = str(value)
    if not _NAME.fullmatch(text):
        raise ValueError(f"`{text}` cannot be a name here: use letters, digits, `_`, `-` and `.`, at most 64")
    return text


def _tag_name(value: Any) -> str:
    text = str(value)
    if not text or not text.isprintable() or text != text.strip() or "/" in text or len(text) > 128:
        raise ValueError(f"`{text}` cannot name a tag: no `/`, no blank at its ends, at most 128 characters")
    return text


Name = Annotated[str, PlainValidator(_name)]
"""Of a device or link: it becomes part of topics, metrics and file names."""
TagName = Annotated[str, PlainValidator(_tag_name)]
"""Of a tag: as in the PLC program, but for the `/` that parts topics."""


def _file_number(value: Any) -> int:
    text = str(value)
    if not re.fullmatch(r"[1-9]\d{0,4}", text, re.ASCII) or int(text) > 0xFFFF:
        raise ValueError(f"`{text}` is not a file number; those are 1..65535, such as 4")
    return int(text)


FileNumber = Annotated[int, PlainValidator(_file_number)]
"""Of functions 20 and 21, as a key; one notation only."""


def parse_fifo_pointer(value: Any) -> int:
    """The address of a holding register, written as any address is."""
    address = parse_address(str(value))
    if address.table != Table.HOLDING or address.bit is not None or address.count != 1:
        raise ValueError(f"`{value}`: a queue begins at one holding register, such as `holding:1246`")
    return address.first


FifoPointer = Annotated[int, PlainValidator(parse_fifo_pointer)]
"""The holding register that counts a queue's registers, as a key."""
