"""From a device's configuration to its groups: plan the blocks, take their places in the image, connect the sinks.

In steps, because a bank's places are claimed in one go and because a reload keeps what has not changed: `job_keys`
lists what a device will read and where it goes, as comparable values; `make_group` makes one of them live once there is
a span for each of its places.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gateway.bank import Bank, Span
from gateway.config import model
from gateway.front.freshness import Freshness
from gateway.hub import Hub, Point
from gateway.interfaces import Submit
from gateway.places import Placement, place_of, resolve_tag
from gateway.polling.device import Device
from gateway.polling.group import Group
from gateway.polling.key import JobKey, PlannedBlock
from gateway.polling.plan import Limits, plan_poll, plan_tags
from gateway.polling.sinks import Put, RawPlace, TagSink, Target, bit_put, registers_put
from gateway.polling.wheel import Wheel
from gateway.values import Quality, Tag


def plan_device(config: model.Config, name: str) -> list[PlannedBlock]:
    """All requests that device `name` will get, with the places they fill. Pure."""
    device = config.devices[name]
    limits = Limits(device.max_registers, device.max_bits, device.max_gap)
    planned = []
    for poll in device.poll:
        read, to = poll.read, poll.to.address
        every_s = device.every_s if poll.every_s is None else poll.every_s
        for block in plan_poll(read.table, read.first, read.count, every_s, limits):
            first = to.first + block.first - read.first
            planned.append(PlannedBlock(block, Placement(config.unit_of(poll.to), to.table, first, block.count)))
    tags = [
        (resolve_tag(tag_name, tag, device), device.every_s if tag.every_s is None else tag.every_s)
        for tag_name, tag in device.tags.items()
    ]
    for block in plan_tags(tags, limits):
        places = tuple(place_of(config, device.tags[tag.name], tag) for tag in block.tags)
        planned.append(PlannedBlock(block, None, places))
    return planned


def job_keys(config: model.Config, name: str) -> list[JobKey]:
    """What device `name` will read, and all that decides how: equal keys of two configurations may share a group."""
    device = config.devices[name]
    link = config.link_key(name)
    return [
        JobKey(
            device=name,
            link=link,
            plan=plan,
            as_=tuple(device.tags[tag.name].as_ for tag in plan.block.tags),
            unit_id=device.unit,
            timeout_s=device.timeout_s,
            retries=device.retries,
            quirks=frozenset(device.accept),
            stale_s=device.stale_s(plan.block.every_s),
            on_stale=device.on_stale,
        )
        for plan in plan_device(config, name)
    ]


class _NotYet:
    """The source of a point whose job is being made."""

    good_time_ns = 0

    def trouble(self) -> tuple[Quality, str]:
        return Quality.BAD, "waiting"


def make_group(
    key: JobKey,
    device: Device,
    submit: Submit,
    freshness: Freshness,
    wheel: Wheel,
    hub: Hub,
    banks: Mapping[int, Bank],
    spans: Mapping[Placement, Span],
) -> Group:
    """One planned block, its sinks connected to `spans`; polled from `start` on."""
    plan = key.plan
    if plan.raw is not None:
        raw = RawPlace(banks[plan.raw.unit_id], spans[plan.raw], key.on_stale)
        return Group(key, device, submit, freshness, wheel, raw, (), _nothing)
    sinks = []
    for tag, place, as_ in zip(plan.block.tags, plan.tags, key.as_, strict=True):
        point = hub.point(key.device, tag.name, _NotYet())
        sinks.append(_tag_sink(tag, as_, point, place, banks, spans, key.on_stale))

    def remove_points() -> None:
        for sink in sinks:
            hub.remove(key.device, sink.tag.name, sink.point)

    return Group(key, device, submit, freshness, wheel, None, sinks, remove_points)


def _nothing() -> None:
    """A raw block has no points."""


def _tag_sink(
    tag: Tag,
    as_: str | None,
    point: Point,
    place: Placement | None,
    banks: Mapping[int, Bank],
    spans: Mapping[Placement, Span],
    on_stale: str,
) -> TagSink:
    if place is None:
        return TagSink(tag, point, None, None)
    bank = banks[place.unit_id]
    put: Put
    if place.table.is_bits or place.bit is not None:
        put = bit_put(bank, place.table, place.first, place.bit)
    else:
        put = registers_put(bank, place.table, place.first, tag, as_)
    return TagSink(tag, point, Target(bank, spans[place], on_stale, _clearer(bank, place)), put)


def _clearer(bank: Bank, place: Placement) -> Callable[[], None]:
    table, first, count, bit = place.table, place.first, place.count, place.bit
    if bit is not None:
        return lambda: bank.clear_register_bit(table, first, bit)
    if table.is_bits:
        return lambda: bank.put_bits(table, first, count, bytes((count + 7) // 8))
    return lambda: bank.overwrite(table, first, bytes(2 * count))


__all__ = ["JobKey", "Placement", "PlannedBlock", "job_keys", "make_group", "plan_device", "resolve_tag"]
