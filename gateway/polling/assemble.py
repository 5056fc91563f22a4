"""From a device's configuration to its jobs: plan the blocks, take their places in the image, connect the sinks.

Two steps, because a bank's places are claimed in one go: `placements` lists what a device will write and where, `jobs`
makes the jobs once there is a span for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.bank import Bank, Span
from gateway.config import model
from gateway.config.addresses import Address
from gateway.front.freshness import Freshness
from gateway.hub import Hub, Point
from gateway.interfaces import Submit
from gateway.modbus.spec import Table
from gateway.polling.device import Device
from gateway.polling.job import Job
from gateway.polling.plan import Block, Limits, plan_poll, plan_tags
from gateway.polling.sinks import Put, RawSink, TagSink, Target, bit_put, registers_put
from gateway.values import TYPES, Tag


@dataclass(frozen=True, slots=True)
class Placement:
    """A place in our image that one block or tag writes. `count` in registers or bits of `table`."""

    unit_id: int
    table: Table
    first: int
    count: int
    bit: int | None = None


@dataclass(frozen=True, slots=True)
class PlannedBlock:
    """A block and where it goes: the whole of it (raw), or each of its tags (None: not served)."""

    block: Block
    raw: Placement | None
    tags: tuple[Placement | None, ...] = ()

    def placements(self) -> Iterator[Placement]:
        if self.raw is not None:
            yield self.raw
        yield from (placement for placement in self.tags if placement is not None)


def resolve_tag(name: str, tag: model.Tag, device: model.Device) -> Tag:
    """A tag with the device's defaults filled in."""
    at: Address = tag.at
    registers = 1 if at.table.is_bits else at.count if tag.type == "string" else TYPES[tag.type].registers
    return Tag(
        name=name,
        table=at.table,
        first=at.first,
        registers=registers,
        type=tag.type,
        bit=at.bit,
        order=tag.order or device.order,
        scale=tag.scale,
        offset=tag.offset,
        no_value=tag.no_value,
        deadband=float(tag.deadband),
    )


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
        places = tuple(_place_of(config, device.tags[tag.name], tag) for tag in block.tags)
        planned.append(PlannedBlock(block, None, places))
    return planned


def _place_of(config: model.Config, configured: model.Tag, tag: Tag) -> Placement | None:
    if configured.to is None:
        return None
    to = configured.to.address
    if to.table.is_bits or to.bit is not None:
        count = 1
    elif configured.as_ in (None, "raw"):
        count = tag.registers
    else:
        count = TYPES[configured.as_].registers
    return Placement(config.unit_of(configured.to), to.table, to.first, count, to.bit)


def jobs(
    config: model.Config,
    name: str,
    planned: Sequence[PlannedBlock],
    device: Device,
    submit: Submit,
    freshness: Freshness,
    hub: Hub,
    banks: Mapping[int, Bank],
    spans: Mapping[Placement, Span],
) -> list[Job]:
    """One job per planned block, its sinks connected to `spans`."""
    settings = config.devices[name]
    made = []
    for plan in planned:
        job = Job(
            device,
            plan.block,
            submit,
            freshness,
            unit_id=settings.unit,
            timeout_s=settings.timeout_s,
            retries=settings.retries,
            quirks=frozenset(settings.accept),
            stale_s=settings.stale_s(plan.block.every_s),
        )
        made.append(job)
        if plan.raw is not None:
            target = _target(banks, spans, plan.raw, settings.on_stale)
            job.place_raw(RawSink(target, plan.raw.table, plan.raw.first, plan.raw.count))
            continue
        sinks = []
        for tag, place in zip(plan.block.tags, plan.tags, strict=True):
            point = hub.point(name, tag.name, job)
            sinks.append(_tag_sink(tag, settings.tags[tag.name].as_, point, place, banks, spans, settings.on_stale))
        job.place_tags(sinks)
    return made


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
    return TagSink(tag, point, _target(banks, spans, place, on_stale), put)


def _target(banks: Mapping[int, Bank], spans: Mapping[Placement, Span], place: Placement, on_stale: str) -> Target:
    bank = banks[place.unit_id]
    return Target(bank, spans[place], on_stale, _clearer(bank, place))


def _clearer(bank: Bank, place: Placement) -> Callable[[], None]:
    table, first, count, bit = place.table, place.first, place.count, place.bit
    if bit is not None:
        return lambda: bank.put_register_bit(table, first, bit, False)
    if table.is_bits:
        return lambda: bank.put_bits(table, first, count, bytes((count + 7) // 8))
    return lambda: bank.put_registers(table, first, bytes(2 * count))
