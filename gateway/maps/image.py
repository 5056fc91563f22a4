"""What there is of the images: what is filled, what can be read, what is left for clients to keep.

Pure, in spans of addresses: (first, stop), registers or bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gateway.config.check_image import STATUS_REGISTERS
from gateway.config.model import Config
from gateway.config.model_units import Unit
from gateway.modbus.spec import Table
from gateway.places import place_of, resolve_tag

Spans = list[tuple[int, int]]
"""(first, stop) each."""
Image = tuple[int, Table]
"""One table of one unit id."""


def mapped(config: Config) -> dict[Image, Spans]:
    """(first, stop) of everything that devices and status blocks fill, disabled ones too."""
    found: dict[Image, Spans] = {}

    def add(unit: int, table: Table, first: int, count: int) -> None:
        found.setdefault((unit, table), []).append((first, first + count))

    for status in (config.server.status, *(device.status for device in config.devices.values())):
        if status is not None:
            add(config.unit_of(status), Table.INPUT, status.address.first, STATUS_REGISTERS)
    for device in config.devices.values():
        for poll in device.poll:
            add(config.unit_of(poll.to), poll.to.address.table, poll.to.address.first, poll.read.count)
        for name, configured in device.tags.items():
            place = place_of(config, configured, resolve_tag(name, configured, device))
            if place is not None:
                add(place.unit_id, place.table, place.first, place.count)
    return found


def existing(
    config: Config, mapped: Mapping[Image, Spans]
) -> tuple[dict[Image, tuple[tuple[int, int], ...]], dict[Image, Spans]]:
    """What can be read, and the part of it that nothing fills: our own registers."""
    exists, own = {}, {}
    for unit in sorted({*config.units, *(unit for unit, _ in mapped)}):
        for table in Table:
            here = mapped.get((unit, table), [])
            ranges: tuple[tuple[int, int], ...] = getattr(config.units.get(unit, Unit()), table.word) or ()
            declared = [(first, first + count) for first, count in ranges]
            if here or declared:
                exists[unit, table] = tuple(joined([*declared, *here]))
            if declared:
                own[unit, table] = without(joined(declared), joined(here))
    return exists, own


def joined(spans: Iterable[tuple[int, int]]) -> Spans:
    joined: Spans = []
    for first, stop in sorted(spans):
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((first, stop))
    return joined


def without(spans: Spans, holes: Sequence[tuple[int, int]]) -> Spans:
    left: Spans = []
    for first, stop in spans:
        for begin, end in holes:
            if begin < stop and end > first:
                if begin > first:
                    left.append((first, begin))
                first = end
        if first < stop:
            left.append((first, stop))
    return left


def common(spans: Spans, others: Sequence[tuple[int, int]]) -> Spans:
    return [
        (max(first, begin), min(stop, end))
        for first, stop in spans
        for begin, end in others
        if max(first, begin) < min(stop, end)
    ]
