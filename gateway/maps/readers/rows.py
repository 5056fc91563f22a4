"""Bytes of a CSV file -> rows of cells, each with its place.

What spreadsheets make of CSV is read: a byte order mark or none, UTF-16, the code page of Windows, commas, semicolons
or tabs, columns in any order. Decimal commas are read where they cannot be anything else: in a table that is not
separated by commas. The csv module would do for all of it but the places, and a message without a place is no help.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from gateway.config.scalars import parse_fraction

MAX_BYTES = 64 * 1024 * 1024
"""Of a file: some 600,000 tags; what is larger was named by mistake."""
DELIMITERS = (",", ";", "\t")
_COMMENTS = ("#", ";")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}\.\d{3}")


class Trouble(NamedTuple):
    """What could not be read, and where; line and column count from 1."""

    line: int
    column: int
    message: str


class TableError(Exception):
    """The file is no such table at all."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.message)
        self.trouble = trouble


class Cell(NamedTuple):
    """The text of one field, without blanks at its ends."""

    text: str
    line: int
    column: int

    def trouble(self, message: str) -> Trouble:
        return Trouble(self.line, self.column, message)


class CellError(Exception):
    """One cell says what cannot be: its row is left out."""

    def __init__(self, cell: Cell, message: str) -> None:
        super().__init__(message)
        self.trouble = cell.trouble(message)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table, by the names of its columns."""

    line: int
    cells: Mapping[str, Cell]
    decimal_commas: bool

    def get(self, name: str) -> Cell:
        """The cell of a column; an empty one where there is none."""
        return self.cells.get(name) or Cell("", self.line, 1)

    def text(self, name: str) -> str:
        return self.get(name).text

    def number(self, name: str, default: Fraction | None = None) -> Fraction | None:
        """Of a cell; `default` where it is empty. Raises CellError."""
        cell = self.get(name)
        return self.parse(cell) if cell.text else default

    def parse(self, cell: Cell) -> Fraction:
        text = cell.text
        if self.decimal_commas:
            if ("," in text and "." in text) or _THOUSANDS.fullmatch(text):
                raise CellError(cell, f"`{text}`: other numbers here have decimal commas; is this point one, too?")
            text = text.replace(",", ".")
        try:
            return parse_fraction(text)
        except ValueError as error:
            raise CellError(cell, str(error)) from None

    def whole(self, name: str, default: int) -> int:
        number = self.number(name, Fraction(default))
        assert number is not None
        if number.denominator != 1:
            raise CellError(self.get(name), f"`{self.text(name)}` is not a whole number")
        return int(number)


@dataclass(frozen=True, slots=True)
class Table:
    """A heading and what stands below it."""

    columns: Mapping[str, Cell]
    """By name, in lower case, with one blank or `_` between words: `tag name`, `unit_id`."""
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


def read_table(data: bytes, numbers: Iterable[str]) -> Table:
    """`numbers`: the columns that hold some, in which decimal commas are looked for. Raises TableError."""
    text, notes = _decode(data)
    delimiter = _delimiter(text)
    # With semicolons between cells a line that begins with one is a row whose first cell is empty, no comment.
    comments = _COMMENTS if delimiter == "," else _COMMENTS[:1]
    records = (
        cells
        for cells in _records(text, delimiter)
        if any(cell.text for cell in cells) and not cells[0].text.startswith(comments)
    )
    heading = next(records, None)
    if heading is None:
        raise TableError(Trouble(1, 1, "is empty; its first line names the columns"))
    columns: dict[str, Cell] = {}
    for cell in heading:
        name = normal(cell.text)
        if name in columns:
            raise TableError(cell.trouble(f"the column '{cell.text}' stands here twice"))
        if name:
            columns[name] = cell
    names = [normal(cell.text) for cell in heading]
    found = [_row(names, cells) for cells in records]
    commas = delimiter != "," and any("," in row[name].text for row in found for name in numbers if name in row)
    rows = tuple(Row(next(iter(row.values())).line, row, commas) for row in found if row)
    return Table(columns, rows, notes)


def normal(name: str) -> str:
    """Of a column: upper and lower case, blanks and underscores are the same."""
    return re.sub(r"[\s_]+", "_", name.strip().lower())


def _row(names: list[str], cells: list[Cell]) -> dict[str, Cell]:
    if len(cells) > len(names) and any(cell.text for cell in cells[len(names) :]):
        raise TableError(cells[len(names)].trouble(f"{len(cells)} cells, but the heading names {len(names)} columns"))
    return {name: cell for name, cell in zip(names, cells, strict=False) if name}


def _decode(data: bytes) -> tuple[str, tuple[str, ...]]:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        try:
            return data.decode("utf-16").lstrip("\ufeff"), ()
        except UnicodeDecodeError:
            raise TableError(Trouble(1, 1, "begins as UTF-16 and is none; save it as UTF-8")) from None
    try:
        return data.decode("utf-8-sig"), ()
    except UnicodeDecodeError:
        if b"\0" in data:
            raise TableError(Trouble(1, 1, "is no text; export the table as CSV")) from None
        return data.decode("cp1252", "replace"), ("is not UTF-8: read as the code page of Windows (1252)",)


def _delimiter(text: str) -> str:
    """What stands between the names of the heading most often; texts in quotes do not count."""
    for line in text.splitlines():
        if line.strip() and not line.startswith(_COMMENTS):
            bare = re.sub(r'"[^"]*"', "", line)
            return max(DELIMITERS, key=bare.count)
    return ","


def _records(text: str, delimiter: str) -> Iterator[list[Cell]]:
    """Rows of cells; a cell in quotes may hold anything, two quotes are one. Raises TableError."""
    field = re.compile(rf'[ ]*"((?:[^"]|"")*)"[ ]*(?=[{delimiter}\r\n]|\Z)|([^{delimiter}\r\n]*)')
    position, line, begin = 0, 1, 0
    while position < len(text):
        cells = []
        while True:
            match = field.match(text, position)
            assert match is not None  # the second alternative matches the empty text
            value = match[2] if match[1] is None else match[1].replace('""', '"')
            column = match.start(1) if match[1] is not None else position + len(value) - len(value.lstrip())
            if match[1] is None and value.lstrip().startswith('"'):
                message = 'a cell in quotes ends before its end; write a quote inside as `""`'
                raise TableError(Trouble(line, column - begin + 1, message))
            cells.append(Cell(value.strip(), line, column - begin + 1))
            inside = match[0].count("\n")
            if inside:
                line += inside
                begin = match.start() + match[0].rindex("\n") + 1
            position = match.end()
            if position < len(text) and text[position] == delimiter:
                position += 1
                continue
            break
        yield cells
        if text.startswith("\r\n", position):
            position += 2
        elif position < len(text):
            position += 1
        line += 1
        begin = position
