"""What a configuration asks for, as values that can be compared: what a reload does is the `difference` of two of them.

Pure, and made where it disturbs nobody: at a reload in a thread beside the serving loop.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from gateway.config.addresses import Address, Place
from gateway.config.model import Config
from gateway.config.model_devices import Device, Push, Watchdog
from gateway.config.model_tls import Tls
from gateway.config.model_units import Fifo, Route, Unit
from gateway.config.urls import DeviceUrl
from gateway.modbus.spec import Table
from gateway.places import Placement
from gateway.polling.assemble import job_keys
from gateway.polling.device import STATUS_REGISTERS
from gateway.polling.key import JobKey
from gateway.southbound.seams import Settings

MAX_NAMES = 4
"""Devices named in a line about their link."""


@dataclass(frozen=True, slots=True)
class LinkPlan:
    """One connection. What stands in `settings` and `label` may change while it lives; anything else makes another."""

    urls: tuple[DeviceUrl, ...]
    source: str | None
    keepalive_s: float
    prefer_first: bool
    tls: Tls | None
    """Of its `tls://` addresses."""
    simulation: tuple[object, ...] | None
    """What its simulation consists of; None: real devices."""


@dataclass(frozen=True, slots=True)
class PushPlan:
    """One push of a device."""

    push: Push
    source_unit: int


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """One device. `link` None: it is disabled."""

    link: str | None
    unit_id: int
    timeout_s: float
    quirks: frozenset[str]
    jobs: tuple[JobKey, ...]
    writes: tuple[object, ...]
    """What clients may write of it, as a value: another one means other regions of our image."""
    pushes: tuple[PushPlan, ...]
    watchdog: Watchdog | None
    force_multiple: bool
    status: Placement | None

    @property
    def identity(self) -> tuple[object, ...]:
        """Another one of these is another device: its counters and everything of it begin anew."""
        return (self.link, self.unit_id)

    @property
    def sends(self) -> tuple[object, ...]:
        """What it is written on our own account."""
        return (self.pushes, self.watchdog)


@dataclass(frozen=True, slots=True)
class BroadcastPlan:
    """All units of a line at once: what a client's broadcast over a serial line becomes on ours, and what a unit of
    ours is that leads to unit 0 there. What one of the line's routes refuses, all of them refuse together."""

    unit_ids: tuple[int, ...]
    """Of ours: those that are forwarded to the line. Who may not write one of them may not write all."""
    timeout_s: float
    read_only: bool
    functions: frozenset[int] | None


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """A unit id that is passed through."""

    link: str | None
    """None: its device is disabled."""
    unit_id: int
    """On the device's side."""
    timeout_s: float
    quirks: frozenset[str]
    route: Route
    broadcast: BroadcastPlan | None = None
    """It leads to unit 0 of a line, which is all of its units, whoever asks and over whatever way."""

    @property
    def read_only(self) -> bool:
        return (self.broadcast or self.route).read_only

    @property
    def functions(self) -> Collection[int] | None:
        """Those that may pass; None: all."""
        return (self.broadcast or self.route).functions


@dataclass(frozen=True, slots=True)
class FilePlan:
    """A file of records of one unit."""

    number: int
    name: str
    """Of the file on the disk."""
    records: int
    read_only: bool


@dataclass(frozen=True, slots=True)
class QueuePlan:
    """A queue of one unit: the holding register that counts, and how many may follow it."""

    pointer: int
    size: int
    source: Placement | None
    """The register whose changes it takes; None: clients fill it."""


@dataclass(frozen=True, slots=True)
class UnitPlan:
    """A register image."""

    ranges: tuple[tuple[Table, tuple[tuple[int, int], ...]], ...]
    read_only: tuple[Address, ...]
    retain: bool
    initial: tuple[tuple[Address, tuple[bool | int, ...]], ...]
    files: tuple[FilePlan, ...] = ()
    queues: tuple[QueuePlan, ...] = ()
    exception_status: Address | None = None


class Blueprint:
    """Everything that a configuration asks for."""

    def __init__(self, config: Config, *, simulate: bool = False) -> None:
        """`simulate`: every device is replaced by its simulation."""
        self.config = config
        self.simulated = [
            name
            for name, device in config.devices.items()
            if device.enabled and (simulate or config.link_of(name).url.scheme == "sim")
        ]
        self.devices = {name: self._device(name) for name in config.devices}
        self.routes = {unit_id: self._route(unit_id, route) for unit_id, route in config.routes.items()}
        self.links: dict[str, LinkPlan] = {}
        self.settings: dict[str, Settings] = {}
        self.labels: dict[str, str] = {}
        """What the log calls a link: its key and the devices that it concerns."""
        self._add_links(simulate)
        self.broadcasts = dict(self._broadcasts())
        """By link."""
        for unit_id, plan in self.routes.items():
            if plan.unit_id == 0 and plan.link in self.broadcasts:
                self.routes[unit_id] = replace(plan, broadcast=self.broadcasts[plan.link])
        self.own_status = self._status(config.server.status)
        self.units = self._units()

    def _device(self, name: str) -> DevicePlan:
        config = self.config
        device = config.devices[name]
        quirks = frozenset(device.accept)
        return DevicePlan(
            config.link_key(name) if device.enabled else None,
            device.unit,
            device.timeout_s,
            quirks,
            tuple(job_keys(config, name)),
            tuple(_writes(config, device)) if device.enabled else (),
            tuple(PushPlan(push, config.unit_of(push.from_)) for push in device.push),
            device.watchdog,
            device.force_multiple,
            self._status(device.status),
        )

    def _status(self, place: Place | None) -> Placement | None:
        if place is None:
            return None
        return Placement(self.config.unit_of(place), Table.INPUT, place.address.first, STATUS_REGISTERS)

    def _route(self, unit_id: int, route: Route) -> RoutePlan:
        config = self.config
        device = config.devices.get(route.forward)
        if device is None:
            to_unit = unit_id if route.to_unit is None else route.to_unit
            return RoutePlan(route.forward, to_unit, route.timeout_s or 1.0, frozenset(), route)
        return RoutePlan(
            config.link_key(route.forward) if device.enabled else None,
            device.unit if route.to_unit is None else route.to_unit,
            route.timeout_s or device.timeout_s,
            frozenset(device.accept),
            route,
        )

    def _add_links(self, simulate: bool) -> None:
        config = self.config
        users: dict[str, list[str]] = {}
        for name, device in config.devices.items():
            if device.enabled:
                users.setdefault(config.link_key(name), []).append(name)
        for plan in self.routes.values():
            if plan.link is not None:
                users.setdefault(plan.link, [])
        for key, names in users.items():
            link = config.link_of(names[0]) if names else config.links[key]
            simulation = None
            if simulate or any(name in self.simulated for name in names):
                routed = {plan.unit_id for plan in self.routes.values() if plan.link == key}
                simulation = (*(_simulation(name, config.devices[name]) for name in names), *sorted(routed))
            self.links[key] = LinkPlan(
                tuple(link.urls),
                link.source,
                link.keepalive_s,
                link.prefer == "first",
                (link.tls or config.tls) if any(url.carrier == "tls" for url in link.urls) else None,
                simulation,
            )
            self.settings[key] = Settings(link.connect_delay_s, link.delay_s, link.in_flight)
            more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
            self.labels[key] = f"{key} ({', '.join(names[:MAX_NAMES])}{more})" if names else key

    def is_line(self, link: str | None) -> bool:
        """Whether one way of the link has no transaction ids: a serial line, where unit id 0 means every unit."""
        plan = self.links.get(link or "")
        return plan is not None and plan.simulation is None and any(url.framing != "mbap" for url in plan.urls)

    def _broadcasts(self) -> Iterable[tuple[str, BroadcastPlan]]:
        """One for each line that units are forwarded to; it passes what all of these routes let pass."""
        for link in self.links:
            routes = {unit_id: plan for unit_id, plan in self.routes.items() if plan.link == link}
            if not routes or not self.is_line(link):
                continue
            limits = [frozenset(plan.route.functions) for plan in routes.values() if plan.route.functions is not None]
            yield (
                link,
                BroadcastPlan(
                    tuple(routes),
                    max(plan.timeout_s for plan in routes.values()),
                    any(plan.route.read_only for plan in routes.values()),
                    frozenset.intersection(*limits) if limits else None,
                ),
            )

    def _units(self) -> dict[int, UnitPlan]:
        """A register image for every unit id that is declared or that something is mapped into."""
        config = self.config
        mapped: dict[int, dict[Table, list[tuple[int, int]]]] = {}
        for place in self._places():
            mapped.setdefault(place.unit_id, {}).setdefault(place.table, []).append((place.first, place.count))
        units = {}
        for unit_id in sorted({*config.units, *mapped}):
            unit = config.units.get(unit_id, Unit())
            ranges = []
            for table in Table:
                declared = getattr(unit, table.word)
                found = mapped.get(unit_id, {}).get(table, []) if declared is None else declared
                ranges.append((table, tuple(found)))
            units[unit_id] = UnitPlan(
                tuple(ranges),
                unit.read_only,
                unit.retain,
                unit.initial,
                tuple(
                    FilePlan(number, file.name(unit_id, number), file.records, file.read_only)
                    for number, file in unit.files.items()
                ),
                tuple(self._queue(pointer, queue) for pointer, queue in unit.fifo.items()),
                unit.exception_status,
            )
        return units

    def _queue(self, pointer: int, queue: Fifo) -> QueuePlan:
        source = queue.from_
        if source is None:
            return QueuePlan(pointer, queue.size, None)
        place = Placement(self.config.unit_of(source), source.address.table, source.address.first, 1)
        return QueuePlan(pointer, queue.size, place)

    def _places(self) -> Iterable[Placement]:
        for plan in self.devices.values():
            for key in plan.jobs:
                yield from key.plan.placements()
            if plan.status is not None:
                yield plan.status
        if self.own_status is not None:
            yield self.own_status


def _writes(config: Config, device: Device) -> Iterable[object]:
    for poll in device.poll:
        if poll.write is not None:
            yield (poll.read, config.unit_of(poll.to), poll.to.address, poll.latest_only, poll.verify_s)
    for name, tag in device.tags.items():
        if tag.write and tag.to is not None:
            yield (name, tag, tag.order or device.order, config.unit_of(tag.to))


def _simulation(name: str, device: Device) -> tuple[object, ...]:
    """What a device's simulation is made of: another value of this, another simulation."""
    tags = tuple(
        (tag.at, tag.type, tag.order or device.order, tag.scale, tag.offset, tag.sim) for tag in device.tags.values()
    )
    reads = tuple(poll.read for poll in device.poll)
    writes = tuple(push.write for push in device.push)
    return (name, device.unit, device.max_gap, tags, reads, writes, device.watchdog, device.faults)
