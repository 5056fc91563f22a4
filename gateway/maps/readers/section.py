"""Imported devices -> the YAML of their sections, as `gateway check` accepts it.

What clients read stays what and where it was: `to` is the place that the value had in the device, and a value that is
not plain (another byte order, a scale) is served as the device's registers. Who dialled the device before, dials the
gateway and changes nothing else. Two values at one place cannot both have it: the first in the table keeps it.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from gateway.config.addresses import Address
from gateway.config.changes import this_version
from gateway.config.check_image import bits_of
from gateway.config.check_times import MIN_INTERVAL_S
from gateway.config.durations import format_duration
from gateway.maps.neutral import decimal, written
from gateway.maps.readers.imported import NewDevice, NewPoll, NewTag
from gateway.modbus.spec import Table

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*(?: [A-Za-z0-9_./-]+)*")
_WORDS = frozenset(("true", "false", "yes", "no", "on", "off", "null", "y", "n", "nan", "inf"))
"""Which other readers of YAML take for something else."""
_DEFAULT_EVERY_S = 1.0


class Section(NamedTuple):
    """The text, and what to tell."""

    text: str
    notes: tuple[str, ...]


def section(devices: Sequence[NewDevice], url: str, to_unit: int | None, origin: str) -> Section:
    """A file with all of them. `to_unit`: the unit id of ours that serves them, None: the one that they had."""
    places = _Places()
    lines = [f"# Made by `gateway import` from {_comment(origin)}.", f'version: "{this_version()}"', "devices:"]
    for device in devices:
        lines += _device(device, url, places, device.unit if to_unit is None else to_unit)
    return Section("\n".join(lines) + "\n", tuple(places.notes))


class _Places:
    """What of our image is taken, by unit and table, in bits."""

    def __init__(self) -> None:
        self._taken: dict[tuple[int, Table], list[tuple[int, int, str]]] = {}
        """(first bit, last excluded, whose), in order and apart."""
        self.notes: list[str] = []

    def take(self, unit: int, address: Address, who: str) -> str | None:
        """None, and the place is this one's; else whose it is."""
        start, stop = bits_of(address)
        spans = self._taken.setdefault((unit, address.table), [])
        at = bisect_left(spans, (start,))
        for begin, end, other in spans[max(at - 1, 0) : at + 1]:
            if begin < stop and start < end:
                return other
        spans.insert(at, (start, stop, who))
        return None


def _device(device: NewDevice, url: str, places: _Places, to_unit: int | None) -> Iterator[str]:
    unit = 1 if device.unit is None else device.unit
    served = unit if to_unit is None else to_unit
    every_s = _usual([*(tag.every_s for tag in device.tags), *(poll.every_s for poll in device.polls)])
    yield f"  {key(device.name)}:"
    yield f"    url: {text(url)}"
    yield f"    unit: {unit}"
    if every_s != _DEFAULT_EVERY_S:
        yield f"    every: {format_duration(every_s)}"
    if device.order is not None and device.order != "ABCD":
        yield f"    order: {device.order}"
    if device.polls:
        yield "    poll:"
        for poll in device.polls:
            yield from _poll(device, poll, served, every_s, places)
    if device.tags:
        yield "    tags:"
        for tag in device.tags:
            yield f"      {key(tag.name)}: {{{', '.join(_keys(device, tag, served, every_s, places))}}}"


def _poll(device: NewDevice, poll: NewPoll, unit: int, every_s: float, places: _Places) -> Iterator[str]:
    place = f"{unit}/{written(poll.read)}"
    if other := places.take(unit, poll.read, f"the block {place}"):
        places.notes.append(f"line {poll.line}: the block {poll.read.describe()} is left out: {other} is served there")
        return
    keys = [f"read: {written(poll.read)}", f'to: "{unit}/{poll.read.table.word}:{poll.read.first}"']
    keys += _every(poll.every_s, every_s)
    if poll.writable and poll.read.table in (Table.COILS, Table.HOLDING):
        keys.append("write: through")
    yield f"      - {{{', '.join(keys)}}}"


def _keys(device: NewDevice, tag: NewTag, unit: int, every_s: float, places: _Places) -> Iterator[str]:
    at = tag.at
    # The length of a string is its range, of one register, too.
    yield f"at: {at.table.word}:{at.first}..{at.stop - 1}" if tag.type == "string" else f"at: {_start(at)}"
    yield f"type: {tag.type}"
    order = tag.order if device.order is None or tag.type == "string" else device.order
    if (order != "ABCD" and device.order is None) or (
        tag.type == "string" and (order == "BADC") != (device.order in ("BADC", "DCBA"))
    ):
        yield f"order: {order}"
    if tag.scale != 1:
        yield f"scale: {decimal(tag.scale)}"
    if tag.offset:
        yield f"offset: {decimal(tag.offset)}"
    if tag.engineering:
        yield f"unit: {text(tag.engineering)}"
    if tag.description:
        yield f"description: {text(tag.description)}"
    yield from _every(tag.every_s, every_s)
    if other := places.take(unit, at, f"'{tag.name}'"):
        unwritten = ", and clients cannot write it" if tag.writable else ""
        places.notes.append(f"line {tag.line}: '{tag.name}' has no `to`{unwritten}: {other} is served there")
        return
    yield f'to: "{unit}/{_start(at)}"'
    if _is_turned(tag, order) or tag.scale != 1 or tag.offset:
        yield "as: raw"
    if tag.writable and at.table in (Table.COILS, Table.HOLDING):
        yield "write: true"
        if tag.low is not None and tag.high is not None:
            yield f"range: [{decimal(tag.low)}, {decimal(tag.high)}]"


def _is_turned(tag: NewTag, order: str) -> bool:
    """Its registers are not those of the plain value."""
    if tag.type == "bool":
        return False
    if tag.at.count == 1 or tag.type == "string":
        return order in ("BADC", "DCBA")
    return order != "ABCD"


def _start(at: Address) -> str:
    return f"{at.table.word}:{at.first}" + ("" if at.bit is None else f".{at.bit}")


def _every(every_s: float | None, usual_s: float) -> list[str]:
    """As a list of none or one."""
    wanted_s = usual_s if every_s is None else max(every_s, MIN_INTERVAL_S)
    return [] if wanted_s == usual_s else [f"every: {format_duration(wanted_s)}"]


def _usual(given: Iterable[float | None]) -> float:
    """What most say."""
    counted = Counter(max(every_s, MIN_INTERVAL_S) for every_s in given if every_s is not None)
    return counted.most_common(1)[0][0] if counted else _DEFAULT_EVERY_S


def text(value: str) -> str:
    """A scalar that reads back as `value` inside `{}`, too; `$` is doubled, for it begins a variable."""
    return key(value.replace("$", "$$"))


def key(value: str) -> str:
    """The same before a colon, where there are no variables."""
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    printable = "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in escaped)
    return f'"{printable}"'


def _comment(value: str) -> str:
    return "".join(char if char.isprintable() else " " for char in value)
