"""The notation of addresses: `holding:100`, `holding:0..99`, `holding:100.3`, `1/holding:100` and Modicon references.

Text in, a value out, ValueError with what to write instead. The rule of the file: an address is zero-based, as on
the wire; a reference (40101) is recognised by its five or six digits alone, so that no number has two readings.
"""

from __future__ import annotations

import difflib
import re
from itertools import pairwise
from typing import Annotated, Any, NamedTuple

from pydantic import PlainValidator, WithJsonSchema

from gateway.modbus.spec import ADDRESSES, TABLE_BY_WORD, Table

_ADDRESS = re.compile(r"([a-z]+):(\d+|0x[0-9a-f]+)(?:\.(\d+)|\.\.(\d+|0x[0-9a-f]+))?", re.IGNORECASE | re.ASCII)
_REFERENCE = re.compile(r"(\d{5,6})(?:\.(\d+)|\.\.(\d+))?", re.ASCII)
_RANGE = re.compile(r"(\d+|0x[0-9a-f]+)\.\.(\d+|0x[0-9a-f]+)", re.IGNORECASE | re.ASCII)
_NUMBER = re.compile(r"\d+|0x[0-9a-f]+", re.IGNORECASE | re.ASCII)
_TABLE_BY_DIGIT = {"0": Table.COILS, "1": Table.DISCRETE, "3": Table.INPUT, "4": Table.HOLDING}
_DIGIT_BY_TABLE = {table: digit for digit, table in _TABLE_BY_DIGIT.items()}
_EXAMPLE = "write TABLE:ADDRESS such as `holding:100`, or a reference such as `40101`"


class Address(NamedTuple):
    """`count` registers or bits from `first` (zero-based), or with `bit` 0..15 one bit of the register `first`."""

    table: Table
    first: int
    count: int = 1  # type: ignore[assignment]  # tuple.count() is not missed
    bit: int | None = None

    @property
    def stop(self) -> int:
        """One past the last address."""
        return self.first + self.count

    def describe(self) -> str:
        """Both notations: `holding:100 (400101)`, `holding:100.3 (400101.3)`."""
        if self.bit is None:
            return self.table.describe(self.first, self.count)
        return f"{self.table.word}:{self.first}.{self.bit} ({self.table.reference(self.first)}.{self.bit})"


class Place(NamedTuple):
    """An address on our own side; `unit` None is `default_unit`."""

    unit: int | None
    address: Address

    def describe(self) -> str:
        text = self.address.describe()
        return text if self.unit is None else f"{self.unit}/{text}"


def parse_address(text: str) -> Address:
    """The address that `text` writes. Raises ValueError with what to write instead."""
    text = text.strip()
    if match := _ADDRESS.fullmatch(text):
        word, first, bit, last = match.groups()
        table = _table(word, text)
        if table is Table.COILS and re.fullmatch(r"0\d{4,5}", first):
            raise ValueError(
                f"`{text}` has two readings: write `coils:{int(first)}` for the wire address, "
                f"or `{first}` for the reference"
            )
        return _address(table, text, _number(first), last and _number(last), bit)
    if match := _REFERENCE.fullmatch(text):
        start, bit, end = match.groups()
        table, first = _reference(start)
        if end is None:
            return _address(table, text, first, None, bit)
        other, last_address = _reference(end)
        if other is not table:
            raise ValueError(f"`{text}` begins in the table {table.word} and ends in the table {other.word}")
        return _address(table, text, first, last_address, bit)
    raise ValueError(_not_an_address(text))


def parse_place(text: str) -> Place:
    """An address of ours, with its unit or without: `1/holding:1000`, `holding:1000`."""
    unit, slash, rest = text.strip().partition("/")
    if not slash:
        return Place(None, parse_address(unit))
    if not unit.isascii() or not unit.isdigit() or int(unit) > 255:
        raise ValueError(f"`{unit}` is not a unit id: write 0..255 before the `/`, as in `1/holding:1000`")
    return Place(int(unit), parse_address(rest))


def parse_range(text: str) -> tuple[int, int]:
    """(first, count) of a range in a unit's table: `0..1999`, or `2000` for the same."""
    text = text.strip()
    if match := _RANGE.fullmatch(text):
        first, last = _number(match[1]), _number(match[2])
        if last < first:
            raise ValueError(f"`{text}` runs backwards: write `{last}..{first}`")
        if last >= ADDRESSES:
            raise ValueError(f"`{text}` ends past 65535, the last address of a table")
        return first, last - first + 1
    if _NUMBER.fullmatch(text):
        count = _number(text)
        if count == 0:
            raise ValueError("0 registers or bits are no range; leave the key out, or write `0..0` for one")
        if count > ADDRESSES:
            raise ValueError(f"a table has {ADDRESSES} addresses at most, `0..65535`; this says {count}")
        return 0, count
    if ":" in text:
        raise ValueError(f"`{text}`: the key names the table already; write `{text.rpartition(':')[2]}`")
    raise ValueError(f"`{text}` is not a range: write `0..1999`, or `2000` for the same")


def mistaken_reference(text: str) -> str | None:
    """`holding:40101` is the wire address 40101; the question to ask its author, None for other texts."""
    match = re.fullmatch(r"(?:\d+/)?([a-z]+):([134])(\d{4})(?:\D.*)?", text.strip())
    if not match or _TABLE_BY_DIGIT[match[2]].word != match[1] or match[3] == "0000":
        return None
    table, number = TABLE_BY_WORD[match[1]], int(match[3])
    wire = int(match[2] + match[3])
    meant = f"if the reference {wire} is meant, write `{wire}` or `{table.word}:{number - 1}`"
    return f"this is {table.describe(wire)}; {meant}"


def _number(text: str) -> int:
    if len(text) > 8:  # 0x and leading zeros included, nothing in 0..65535 needs more; int() of a long text is slow
        raise ValueError(f"`{text[:20]}` is past 65535, the last address of a table")
    return int(text, 16) if text[:2] in ("0x", "0X") else int(text)


def _table(word: str, text: str) -> Table:
    table = TABLE_BY_WORD.get(word)
    if table is not None:
        return table
    close = difflib.get_close_matches(word.lower(), TABLE_BY_WORD, n=1)
    hint = (
        f"did you mean `{close[0]}{text[len(word) :]}`?" if close else "the tables are coils, discrete, holding, input"
    )
    raise ValueError(f"unknown table '{word}'; {hint}")


def _address(table: Table, text: str, first: int, last: int | str | None, bit: str | None) -> Address:
    """Checks the parts against each other; `text` is what the user wrote."""
    end = first if not isinstance(last, int) else last
    if end < first:
        raise ValueError(f"`{text}` runs backwards: the first address comes first")
    if end >= ADDRESSES:
        hint = ""
        digits = str(first)
        if len(digits) == 6 and digits[0] == _DIGIT_BY_TABLE[table]:
            hint = f"; the reference is written without its table: `{digits}`"
        raise ValueError(f"`{text}` is past 65535, the last address of a table{hint}")
    if bit is None:
        return Address(table, first, end - first + 1)
    if table.is_bits:
        raise ValueError(f"`{text}`: {table.word} are bits already; write `{table.word}:{first}`")
    if int(bit[:4]) > 15:
        raise ValueError(f"`{text}`: a register has the bits 0 (least significant) to 15; for a range write `..`")
    return Address(table, first, 1, int(bit))


def _reference(digits: str) -> tuple[Table, int]:
    """Table and wire address of a five- or six-digit Modicon reference."""
    table = _TABLE_BY_DIGIT.get(digits[0])
    if table is None:
        raise ValueError(
            f"`{digits}` is not a reference: those begin with 0 (coils), 1 (discrete), 3 (input) or 4 (holding), and "
            "five digits reach no further than 49999; write TABLE:ADDRESS or six digits"
        )
    number = int(digits[1:])
    if number == 0:
        wire = int(digits)
        plain = f", the wire address is written `{table.word}:{wire}`" if wire < ADDRESSES else ""
        raise ValueError(
            f"`{digits}` has two readings: references begin at 1, so `{digits[:-1]}1` is {table.word}:0{plain}"
        )
    if number > ADDRESSES:
        raise ValueError(
            f"`{digits}` is past {table.reference(ADDRESSES - 1)}, the last reference of the table {table.word}"
        )
    return table, number - 1


def _not_an_address(text: str) -> str:
    if not text:
        return f"has no value; {_EXAMPLE}"
    if re.fullmatch(r"\d{1,4}|0x[0-9a-f]+", text, re.IGNORECASE):
        return f"`{text}` does not say which table; write `holding:{text}`, or a reference of five or six digits"
    if re.fullmatch(r"[a-z]+:\d+-\d+", text):
        return f"`{text}`: a range is written with two dots, `{text.replace('-', '..')}`"
    if re.fullmatch(r"\d+/.+", text):
        return f"`{text}`: a device's own address has no unit before it; its unit is the device's key `unit`"
    if re.fullmatch(r"[a-z]+[ .;]\d.*", text):
        return f"`{text}` is not an address; write `{re.sub('[ .;]', ':', text, count=1)}`"
    return f"`{text}` is not an address; {_EXAMPLE}"


def _scalar(value: Any, example: str) -> str:
    if isinstance(value, str):
        return value
    kind = "a list" if isinstance(value, list) else "a mapping"
    raise ValueError(f"is {kind}; expected one address such as `{example}`")


def _address_field(value: Any) -> Address:
    return parse_address(_scalar(value, "holding:100"))


def _place_field(value: Any) -> Place:
    return parse_place(_scalar(value, "1/holding:100"))


def _ranges_field(value: Any) -> tuple[tuple[int, int], ...]:
    texts = value if isinstance(value, list) else [value]
    ranges = sorted(parse_range(_scalar(text, "0..1999")) for text in texts)
    for (first, count), (second, _) in pairwise(ranges):
        if first + count > second:
            raise ValueError(f"two ranges overlap at {second}; write them as one")
    return tuple(ranges)


_TABLES = "|".join(TABLE_BY_WORD)
_NUMBER_PATTERN = "([0-9]+|0[xX][0-9a-fA-F]+)"
_REFERENCE_PATTERN = r"[0134][0-9]{4,5}(\.[0-9]+|\.\.[0134][0-9]{4,5})?"
_ADDRESS_PATTERN = rf"(({_TABLES}):{_NUMBER_PATTERN}(\.[0-9]+|\.\.{_NUMBER_PATTERN})?|{_REFERENCE_PATTERN})$"
_RANGE_SCHEMA = {
    "anyOf": [
        {"type": "integer", "minimum": 1, "maximum": ADDRESSES},
        {"type": "string", "pattern": rf"^{_NUMBER_PATTERN}(\.\.{_NUMBER_PATTERN})?$"},
    ]
}
_REFERENCE_SCHEMA = {"type": "number", "description": "A Modicon reference: 40101, 40101.3"}

AddressField = Annotated[
    Address,
    PlainValidator(_address_field),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": f"^{_ADDRESS_PATTERN}"}, _REFERENCE_SCHEMA]}),
]
PlaceField = Annotated[
    Place,
    PlainValidator(_place_field),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": f"^([0-9]+/)?{_ADDRESS_PATTERN}"}, _REFERENCE_SCHEMA]}),
]
RangesField = Annotated[
    tuple[tuple[int, int], ...],
    PlainValidator(_ranges_field),
    WithJsonSchema({"anyOf": [*_RANGE_SCHEMA["anyOf"], {"type": "array", "items": _RANGE_SCHEMA}]}),
]
"""The declared ranges of one table: (first, count), sorted and apart."""
