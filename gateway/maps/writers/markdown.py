"""The map as Markdown tables."""

from __future__ import annotations

import re

from gateway.maps.neutral import Map
from gateway.maps.target import Target, Written
from gateway.maps.writers.document import COLUMNS, introduction, sections

_SPECIAL = re.compile(r"([\\`*_|<>\[\]~])")


def write(served: Map, target: Target) -> Written:
    lines = [f"# {_plain(served.title)}: register map", ""]
    for paragraph in introduction(served, target):
        lines += [_plain(paragraph), ""]
    unit = None
    for unit_id, title, rows in sections(served):
        if unit_id != unit:
            unit = unit_id
            lines += [f"## Unit {unit_id}", ""]
        lines += [f"### {title}", "", f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
        lines += [f"| {' | '.join(map(_plain, row))} |" for row in rows]
        lines.append("")
    return Written("\n".join(lines), dials=next(iter(target.doors), None))


def _plain(text: str) -> str:
    """Markdown that shows `text` as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
