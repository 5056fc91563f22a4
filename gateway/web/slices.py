"""Work in slices: whoever makes long lists into text lets others have the loop after half a millisecond."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Iterator
from typing import Any

SLICE_S = 0.0005
"""A request of a Modbus client that comes meanwhile waits no longer than this and one item."""

PARTS = 100
"""Of a text, that are made into bytes together."""
COPIED = 128 * 1024
"""Bytes that are copied in one go."""

MAX_EXACT = 2**53 - 1
"""Of an integer of JSON as browsers read it (RFC 8259, 6): the digits of a larger one would become others."""

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
"""`json.dumps` with these settings makes an encoder for each call, which takes longer than a row does."""


def exact(value: Any) -> Any:
    """A value as JSON may carry it: an integer beyond MAX_EXACT is a text of its digits, which nobody rounds."""
    return str(value) if type(value) is int and not -MAX_EXACT <= value <= MAX_EXACT else value


class Slices:
    """One piece of work: `await breathe()` between its items."""

    __slots__ = ("_end_s",)

    def __init__(self) -> None:
        self._end_s = time.perf_counter() + SLICE_S

    @property
    def is_over(self) -> bool:
        """Whether it is others' turn; for those who want to spare the await."""
        return time.perf_counter() >= self._end_s

    async def breathe(self) -> None:
        if time.perf_counter() >= self._end_s:
            await self.rest()

    async def rest(self) -> None:
        """Others have their turn now."""
        await asyncio.sleep(0)
        self._end_s = time.perf_counter() + SLICE_S


class Text:
    """A long text, put together as its parts come: to join ten thousand of them at the end, and to make bytes of that,
    takes milliseconds in one go."""

    __slots__ = ("_data", "_parts")

    def __init__(self) -> None:
        self._data = bytearray()
        self._parts: list[str] = []

    def add(self, part: str) -> None:
        self._parts.append(part)
        if len(self._parts) >= PARTS:
            self._join()

    async def copy(self, data: bytes | bytearray, slices: Slices) -> None:
        """Add what was made before."""
        self._join()
        for at in range(0, len(data), COPIED):
            self._data += data[at : at + COPIED]
            await slices.breathe()

    def done(self) -> bytearray:
        """All of it; nothing is added any more."""
        self._join()
        return self._data

    def _join(self) -> None:
        self._data += "".join(self._parts).encode()
        self._parts.clear()


async def encoded(value: Any, slices: Slices | None = None) -> bytearray:
    """As JSON, an item of an iterator at a time."""
    slices = slices or Slices()
    text = Text()
    for part in _parts(value):
        text.add(part)
        await slices.breathe()
    return text.done()


def plain(value: Any) -> str:
    """One item as JSON. What JSON has no word for (not a number, infinite) is null."""
    try:
        return _encode(value)
    except ValueError:
        return _encode(_finite(value))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def _parts(value: Any) -> Iterator[str]:
    if isinstance(value, Iterator):
        separator = "["
        for item in value:
            yield separator + plain(item)
            separator = ","
        yield "[]" if separator == "[" else "]"
    elif isinstance(value, dict):
        separator = "{"
        for key, item in value.items():
            yield f"{separator}{json.dumps(key)}:"
            yield from _parts(item)
            separator = ","
        yield "{}" if separator == "{" else "}"
    else:
        yield plain(value)
