"""Tags from a CSV file: one row per tag, columns named as the tag's keys and `name`.

An empty cell is a key that was not given. A cell `[a, b]` is a list. Lines that begin with `#` and empty lines are
skipped. Excel writes semicolons where decimals have commas, so the first line decides between `,` and `;`.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping

from gateway.config.tree import Findings, KeyPath, Mark, Node
from gateway.config.yaml_nodes import expand

_FIELD = {delimiter: re.compile(rf'\s*"(?:[^"]|"")*"[^{delimiter}]*|[^{delimiter}]*') for delimiter in (",", ";")}


def read_tags(text: str, file: str, path: KeyPath, environ: Mapping[str, str], findings: Findings) -> Node | None:
    """The mapping that `tags:` would be; None when there is no heading. Mistakes go to `findings`."""
    lines = text.splitlines()
    heading = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    delimiter = ";" if ";" in heading and "," not in heading else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    tags = Node({}, Mark(file, 1, 1))
    names: list[str] | None = None
    begin = 1
    try:
        for row in reader:
            line, begin = begin, reader.line_num + 1
            if not any(cell.strip() for cell in row) or row[0].startswith("#"):
                continue
            cells = [cell.strip() for cell in row]
            if names is None:
                names = cells
                if not _heading_is_good(names, file, line, lines, delimiter, findings):
                    return None
                continue
            marks = [Mark(file, line, column) for column in _columns(lines[line - 1], delimiter)]
            _add_row(tags, names, cells, marks or [Mark(file, line, 1)], path, environ, findings)
    except csv.Error as error:
        findings.error_at(
            Mark(file, reader.line_num or 1, 1), (), f"CSV: {error}; quote cells with {delimiter} in them"
        )
        return None
    if names is None:
        findings.error_at(Mark(file, 1, 1), (), "is empty; its first line names the columns: name,at,type,...")
        return None
    return tags


def _heading_is_good(
    names: list[str], file: str, line: int, lines: list[str], delimiter: str, findings: Findings
) -> bool:
    columns = _columns(lines[line - 1], delimiter)
    if "name" not in names:
        message = "no column `name`; the first line names the columns: name,at,type,..."
        findings.error_at(Mark(file, line, 1), (), message)
        return False
    for number, name in enumerate(names):
        if name in names[:number]:
            mark = Mark(file, line, columns[number] if number < len(columns) else 1)
            findings.error_at(mark, (), f"the column '{name}' stands here twice")
            return False
    return True


def _add_row(
    tags: Node,
    names: list[str],
    cells: list[str],
    marks: list[Mark],
    path: KeyPath,
    environ: Mapping[str, str],
    findings: Findings,
) -> None:
    marks += [marks[-1]] * (len(cells) - len(marks))
    if len(cells) > len(names) and any(cells[len(names) :]):
        message = f"{len(cells)} cells, but the heading names {len(names)} columns"
        findings.error_at(marks[len(names)], path, message)
        return
    tag = Node({}, marks[0])
    tag_name, name_mark = "", marks[0]
    for name, cell, mark in zip(names, cells, marks, strict=False):
        if name == "name":
            tag_name, name_mark = cell, mark
        elif name and cell:
            tag.put(name, _cell(cell, mark, (*path, tag_name, name), environ, findings), mark)
    if not tag_name:
        findings.error_at(name_mark, path, "this row has no name")
    elif tag_name in tags.mapping:
        message = f"the tag '{tag_name}' stands here twice; first in line {tags.keys[tag_name].line}"
        findings.error_at(name_mark, (*path, tag_name), message)
    else:
        tags.put(tag_name, tag, name_mark)


def _cell(text: str, mark: Mark, path: KeyPath, environ: Mapping[str, str], findings: Findings) -> Node:
    if "$" in text:
        text = expand(text, mark, path, environ, findings)
    if text.startswith("[") and text.endswith("]"):
        return Node([Node(item.strip(), mark) for item in text[1:-1].split(",") if item.strip()], mark)
    return Node(text, mark)


def _columns(line: str, delimiter: str) -> list[int]:
    """Where each field of a line begins, from 1; blanks before it are not counted in."""
    columns, position = [], 0
    if '"' not in line:
        for field in line.split(delimiter):
            columns.append(position + len(field) - len(field.lstrip()) + 1)
            position += len(field) + 1
        return columns
    pattern = _FIELD[delimiter]
    while position <= len(line):
        match = pattern.match(line, position)
        assert match is not None  # the second alternative matches the empty text
        columns.append(position + len(match[0]) - len(match[0].lstrip()) + 1)
        position = match.end() + 1
    return columns
