"""The notation of times: `250ms`, `1s`, `5m`, `2h`, `30d`; read as seconds.

A bare number is refused: nobody can tell whether its author thought of seconds or milliseconds. 0 is 0 in any unit.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import PlainValidator, WithJsonSchema

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,9})?) ?(ms|s|m|h|d)", re.ASCII)
_BARE = re.compile(r"\d{1,12}(?:\.\d{1,9})?", re.ASCII)
MAX_DURATION_S = 3650 * 86400.0
"""Ten years: more is a slip of the pen, and timers stay far from what floats and systems can count."""


def parse_duration(text: str) -> float:
    """Seconds. Raises ValueError with what to write instead."""
    text = text.strip()
    if match := _DURATION.fullmatch(text):
        number, unit = match.groups()
        # Divided, not multiplied by 0.001: 250ms is the float that is nearest to 0.25.
        seconds = float(number) / 1000 if unit == "ms" else float(number) * _UNITS_S[unit]
        if seconds > MAX_DURATION_S:
            raise ValueError(f"`{text}` is more than ten years")
        return seconds
    if _BARE.fullmatch(text):
        if float(text) == 0:
            return 0.0
        raise ValueError(f"a duration needs its unit: `{text}s` for seconds or `{text}ms` for milliseconds")
    if not text:
        raise ValueError("has no value; write a duration such as `250ms`, `1s` or `5m`")
    raise ValueError(f"`{text}` is not a duration: write a number with ms, s, m, h or d, such as `250ms` or `5m`")


def format_duration(seconds: float) -> str:
    """`250ms`, `1s`, `5m`: in the notation of the YAML, for messages."""
    if seconds < 1 and seconds != 0:
        return f"{seconds * 1000:g}ms"
    for unit in ("d", "h", "m"):
        if seconds and seconds % _UNITS_S[unit] == 0:
            return f"{seconds / _UNITS_S[unit]:g}{unit}"
    return f"{seconds:g}s"


def _duration_field(value: Any) -> float:
    if not isinstance(value, str):
        raise ValueError("expected one duration such as `250ms` or `5m`")
    return parse_duration(value)


DurationField = Annotated[
    float,
    PlainValidator(_duration_field),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)? ?(ms|s|m|h|d)|0)$"}, {"const": 0}]}),
]
"""Seconds."""
