"""The notation of sizes: `64KiB`, `10MB`; read as bytes."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import PlainValidator, WithJsonSchema

from gateway.config.scalars import text_of

_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_SIZE = re.compile(r"(\d{1,9}) ?([KMG]i?B|B)", re.ASCII | re.IGNORECASE)


def parse_size(value: Any) -> int:
    """Bytes. Raises ValueError with what to write instead."""
    text = text_of(value, "a size such as `64KiB` or `10MB`").strip()
    if match := _SIZE.fullmatch(text):
        return int(match[1]) * _UNITS[match[2].lower()]
    if re.fullmatch(r"\d{1,12}", text, re.ASCII):
        raise ValueError(f"a size needs its unit: `{text}B`, `{text}KB` or `{text}MB`")
    raise ValueError(f"`{text}` is not a size: write a number with B, KB, MB, GB, KiB, MiB or GiB, such as `10MB`")


SizeField = Annotated[
    int,
    PlainValidator(parse_size),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]+ ?([KkMmGg][Ii]?[Bb]|[Bb])$"}),
]
"""Bytes."""
