"""From a configuration to its simulated plant: one listener per link, one unit per unit id, its faults with it.

A unit has the registers that the device's tags, polls, pushes and watchdog name, so that a plant whose addresses are
wrong is told so by its simulation. A device without a tag or poll, and a unit that is reached by a route only, is
somebody else's to know: it has 0..999 of every table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from gateway import clock
from gateway.config.model import Config
from gateway.config.model_devices import Device, Faults, Tag
from gateway.config.signals import parse_signal
from gateway.modbus.spec import Table
from gateway.simulate.plc import Plc, SimTag
from gateway.simulate.server import SimServer
from gateway.values import TYPES

Ranges = dict[Table, list[tuple[int, int]]]
"""(first, count) by table."""

_BITS_PER_REGISTER = 16
"""`max_gap` counts registers; in a table of bits it is that many times as long."""


UNKNOWN_COUNT = 1000
"""Addresses in each table of a unit of which the configuration names none."""


def simulated(
    config: Config, names: Iterable[str], now: Callable[[], float] = clock.now, *, links: Iterable[str] = ()
) -> dict[str, SimServer]:
    """Not yet started servers by link key: of the devices `names`, those that share a connection share a server, and
    of the units that routes reach through the named `links`."""
    ranges: dict[str, dict[int, Ranges]] = {}
    tags: dict[tuple[str, int], list[SimTag]] = {}
    faults: dict[str, dict[int, Faults]] = {}
    for name in names:
        device, key = config.devices[name], config.link_key(name)
        registers = ranges.setdefault(key, {}).setdefault(device.unit, {})
        for table, found in _ranges(device).items():
            registers.setdefault(table, []).extend(found)
        tags.setdefault((key, device.unit), []).extend(_sim_tags(name, device))
        if device.faults is not None:
            of_link = faults.setdefault(key, {})
            of_link[device.unit] = _both(of_link.get(device.unit), device.faults)
    for link in links:
        of_link_units = ranges.setdefault(link, {})
        for unit_id, route in config.routes.items():
            if route.forward == link:
                of_link_units.setdefault(unit_id if route.to_unit is None else route.to_unit, _everything())
    return {
        key: SimServer(
            {unit_id: Plc(registers, tags.get((key, unit_id), ()), now) for unit_id, registers in units.items()},
            faults.get(key),
        )
        for key, units in ranges.items()
    }


def _both(first: Faults | None, second: Faults) -> Faults:
    """Two devices of one unit are one PLC: what either asks for; where both set a key, the second's."""
    if first is None:
        return second
    return first.model_copy(update={key: getattr(second, key) for key in second.model_fields_set})


def _everything() -> Ranges:
    return {table: [(0, UNKNOWN_COUNT)] for table in Table}


def _ranges(device: Device) -> Ranges:
    """What the device's keys name, and the gaps between tags and polls that a read may bridge (`max_gap`)."""
    named: Ranges = {}
    for poll in device.poll:
        named.setdefault(poll.read.table, []).append((poll.read.first, poll.read.count))
    for tag in device.tags.values():
        named.setdefault(tag.at.table, []).append((tag.at.first, _count(tag)))
    for table, found in named.items():
        named[table] = list(_bridged(sorted(found), device.max_gap * (_BITS_PER_REGISTER if table.is_bits else 1)))
    if not named:
        named = _everything()
    written = [push.write for push in device.push]
    if device.watchdog is not None:
        written.append(device.watchdog.write)
    for address in written:
        named.setdefault(address.table, []).append((address.first, address.count))
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
