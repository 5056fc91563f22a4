"""The grammar of simulated signals: `sine(20, 80, 60s)`. Text in, a value out; `simulate` makes it move.

It lives with the configuration, since a signal that cannot be read is a mistake in the YAML like any other.
"""

from __future__ import annotations

import difflib
import math
import re
from typing import NamedTuple

from gateway.config.durations import parse_duration

_CALL = re.compile(r"\s*([A-Za-z_]+)\s*\((.*)\)\s*", re.DOTALL)
_SHAPES = {
    "sine": ("low", "high", "period"),
    "ramp": ("low", "high", "period"),
    "square": ("low", "high", "period"),
    "walk": ("low", "high", "step"),
    "counter": ("per_second", "start"),
    "constant": ("value",),
}
_SHORT = {"square": (("period",), (0.0, 1.0)), "counter": (("per_second",), (0.0,))}
"""Forms with fewer arguments: their names, and the values that stand for the missing ones."""


class Signal(NamedTuple):
    """`args` in the order of the grammar, all of them given, periods in seconds: sine, ramp, square (low, high,
    period_s) · walk (low, high, step) · counter (per_second, start) · constant (value)."""

    kind: str
    args: tuple[float, ...]

    @property
    def is_boolean(self) -> bool:
        """Takes no values but 0 and 1."""
        return self.kind in ("square", "constant") and all(value in (0.0, 1.0) for value in self.args[:2])


def parse_signal(text: str) -> Signal:
    """A signal, or a bare number or true/false for a constant. Raises ValueError with what to write instead."""
    match = _CALL.fullmatch(text)
    if not match:
        return Signal("constant", (_constant(text.strip()),))
    kind, inside = match.groups()
    names = _SHAPES.get(kind)
    if names is None:
        close = difflib.get_close_matches(kind.lower(), _SHAPES, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(_SHAPES)}"
        raise ValueError(f"unknown signal '{kind}'; {hint}")
    parts = [part.strip() for part in inside.split(",")] if inside.strip() else []
    short, defaults = _SHORT.get(kind, ((), ()))
    if short and len(parts) == len(short):
        given = tuple(_argument(kind, name, part) for name, part in zip(short, parts, strict=True))
        args = (*given, *defaults) if kind == "counter" else (*defaults, *given)
    elif len(parts) == len(names):
        args = tuple(_argument(kind, name, part) for name, part in zip(names, parts, strict=True))
    else:
        forms = [form for form in (short, names) if form]
        written = " or ".join(f"{kind}({', '.join(form)})" for form in forms)
        raise ValueError(f"`{text.strip()}` has {len(parts)} arguments; write {written}")
    if names[:2] == ("low", "high") and args[0] > args[1]:
        raise ValueError(f"`{text.strip()}`: low is above high")
    return Signal(kind, args)


def _argument(kind: str, name: str, part: str) -> float:
    if name != "period":
        value = _number(part)
        if name == "step" and value <= 0:
            raise ValueError(f"{kind}: a step is more than 0, this is `{part}`")
        return value
    try:
        period_s = parse_duration(part)
    except ValueError as error:
        raise ValueError(f"{kind}: its period: {error}") from None
    if period_s <= 0:
        raise ValueError(f"{kind}: its period must be longer than 0")
    return period_s


def _constant(text: str) -> float:
    if text.lower() in ("true", "on", "yes"):
        return 1.0
    if text.lower() in ("false", "off", "no"):
        return 0.0
    try:
        return _number(text)
    except ValueError:
        raise ValueError(f"`{text}` is not a signal; write a number or one such as `sine(20, 80, 60s)`") from None


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"`{text}` is not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"`{text}` is not a finite number")
    return value
