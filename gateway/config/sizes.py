"""The notation of sizes: `64KiB`, `10MB`; read as bytes."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import PlainValidator, WithJsonSchema

from gateway.config.scalars import text_of

_NAMES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_UNITS = {name.lower(): size for name, size in _NAMES.items()}
_SIZE = re.compile(r"(\d{1,9}) ?([KMG]i?B|B)", re.ASCII | re.IGNORECASE)


def parse_size(value: Any) -> int:
    """Bytes. Raises ValueError with what to write instead."""
    text = text_of(value, "a size such as `64KiB` or `10MB`").strip()
    if match := _SIZE.fullmatch(text):
        return int(match[1]) * _UNITS[match[2].lower()]
    if re.fullmatch(r"\d{1,12}", text, re.ASCII):
        raise ValueError(f"a size needs its unit: `{text}B`, `{text}KB` or `{text}MB`")
    raise ValueError(f"`{text}` is not a size: write a number with B, KB, MB, GB, KiB, MiB or GiB, such as `10MB`")


def format_size(size_bytes: int) -> str:
    """As one would write it: in the largest unit of which it is a whole number."""
    fitting = [(unit, name) for name, unit in _NAMES.items() if size_bytes and size_bytes % unit == 0]
    unit, name = max(fitting, default=(1, "B"))
    return f"{size_bytes // unit}{name}"


size = PlainValidator(parse_size)
SizeField = Annotated[
    int,
    size,
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]+ ?([KkMmGg][Ii]?[Bb]|[Bb])$"}),
]
"""Bytes."""
