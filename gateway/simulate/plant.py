"""From a configuration to its simulated plant: what each device's tags and polls name, on one listener per link."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from gateway import clock
from gateway.config.model import Config, Device, Tag
from gateway.config.signals import parse_signal
from gateway.modbus.spec import Table
from gateway.simulate.plc import Plc, SimTag
from gateway.simulate.server import SimServer
from gateway.values import TYPES

Ranges = dict[Table, list[tuple[int, int]]]
"""(first, count) by table."""

_BITS_PER_REGISTER = 16
"""`max_gap` counts registers; in a table of bits it is that many times as long."""


def simulated(config: Config, names: Iterable[str], now: Callable[[], float] = clock.now) -> dict[str, SimServer]:
    """Not yet started servers of the devices `names`, by link key: devices that share a connection share a server."""
    ranges: dict[str, dict[int, Ranges]] = {}
    tags: dict[tuple[str, int], list[SimTag]] = {}
    for name in names:
        device, key = config.devices[name], config.link_key(name)
        registers = ranges.setdefault(key, {}).setdefault(device.unit, {})
        for table, found in _ranges(device).items():
            registers.setdefault(table, []).extend(found)
        tags.setdefault((key, device.unit), []).extend(_sim_tags(name, device))
    return {
        key: SimServer({unit_id: Plc(registers, tags[key, unit_id], now) for unit_id, registers in units.items()})
        for key, units in ranges.items()
    }


def _ranges(device: Device) -> Ranges:
    """What the device's tags and polls name, and the gaps between them that its polls may read across (`max_gap`)."""
    named: Ranges = {}
    for poll in device.poll:
        named.setdefault(poll.read.table, []).append((poll.read.first, poll.read.count))
    for tag in device.tags.values():
        named.setdefault(tag.at.table, []).append((tag.at.first, _count(tag)))
    for table, found in named.items():
        named[table] = list(_bridged(sorted(found), device.max_gap * (_BITS_PER_REGISTER if table.is_bits else 1)))
    return named


def _bridged(ranges: Iterable[tuple[int, int]], max_gap: int) -> Iterator[tuple[int, int]]:
    """Joined where they overlap or where at most `max_gap` lies between; `ranges` sorted."""
    first, stop = -1, -1
    for next_first, count in ranges:
        if first >= 0 and next_first - stop > max_gap:
            yield first, stop - first
            first = -1
        if first < 0:
            first, stop = next_first, next_first + count
        stop = max(stop, next_first + count)
    if first >= 0:
        yield first, stop - first


def _sim_tags(name: str, device: Device) -> Iterator[SimTag]:
    for tag_name, tag in device.tags.items():
        if tag.sim is None:
            continue
        yield SimTag(
            table=tag.at.table,
            first=tag.at.first,
            count=_count(tag),
            bit=tag.at.bit,
            type=tag.type,
            order=tag.order or device.order,
            scale=tag.scale,
            offset=tag.offset,
            signal=parse_signal(tag.sim),
            seed=f"{name}/{tag_name}",
        )


def _count(tag: Tag) -> int:
    """Registers of the tag; bits in a table of bits."""
    return tag.at.count if tag.at.table.is_bits or tag.type == "string" else TYPES[tag.type].registers
