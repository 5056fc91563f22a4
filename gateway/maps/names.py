"""Names as a tool allows them, and each only once.

What a tool does not allow becomes `_`; a name that is taken gets a number. In the order of the map, so that the same
plant gives the same names.
"""

from __future__ import annotations

import re


class Names:
    """One namespace. `allowed`: the characters, as in a regular expression's brackets."""

    def __init__(self, allowed: str = "A-Za-z0-9_", *, max_length: int = 120, first: str = "") -> None:
        """`first`: characters that may begin a name, when those are fewer; else an `x` is put before it."""
        self._forbidden = re.compile(f"[^{allowed}]+")
        self._first = re.compile(f"[{first or allowed}]")
        self._max_length = max_length
        self._taken: set[str] = set()

    def clean(self, text: str) -> str:
        """As the tool allows it; perhaps taken."""
        cleaned = self._forbidden.sub("_", text).strip() or "x"
        if not self._first.match(cleaned):
            cleaned = "x" + cleaned
        return cleaned[: self._max_length]

    def unique(self, text: str) -> str:
        """As the tool allows it, and nobody else's: upper and lower case are the same to many tools."""
        base = name = self.clean(text)
        number = 1
        while name.lower() in self._taken:
            number += 1
            ending = f"_{number}"
            name = base[: self._max_length - len(ending)] + ending
        self._taken.add(name.lower())
        return name
