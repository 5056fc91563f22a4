"""What a configuration asks for, as values that can be compared: what a reload does is the difference of two of these.

Pure, and made where it disturbs nobody: at a reload in a thread beside the serving loop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

from gateway.config.addresses import Address, Place
from gateway.config.model import Config, Device, Fifo, Push, Route, Tls, Unit, Watchdog
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


@dataclass(slots=True)
class Difference:
    """What must go and what must come, by key; what is in both is made anew. Everything else lives on."""

    links_gone: list[str] = field(default_factory=list)
    links_new: list[str] = field(default_factory=list)
    devices_gone: list[str] = field(default_factory=list)
    devices_new: list[str] = field(default_factory=list)
    jobs_gone: list[JobKey] = field(default_factory=list)
    jobs_new: list[JobKey] = field(default_factory=list)
    statuses_gone: list[str] = field(default_factory=list)
    """Devices' names; empty for our own."""
    statuses_new: list[str] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)
    """Devices of which clients may write other things than before."""
    sends: list[str] = field(default_factory=list)
    """Devices that are sent other things than before."""
    units_gone: list[int] = field(default_factory=list)
    units_new: list[int] = field(default_factory=list)
    units_changed: list[int] = field(default_factory=list)
    routes_gone: list[int] = field(default_factory=list)
    routes_new: list[int] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    """For the log."""

    @property
    def taken_away(self) -> int:
        """How many of the larger parts go."""
        return len(self.links_gone) + len(self.devices_gone) + len(self.jobs_gone) + len(self.units_gone)


def difference(old: Blueprint | None, new: Blueprint) -> Difference:
    """From what runs (None: nothing) to what is wanted."""
    found = Difference()
    before_links = old.links if old else {}
    found.links_gone = [key for key, plan in before_links.items() if new.links.get(key) != plan]
    found.links_new = [key for key, plan in new.links.items() if before_links.get(key) != plan]
    anew = {*found.links_gone, *found.links_new}
    before = old.devices if old else {}
    found.devices_gone = [
        name
        for name, plan in before.items()
        if name not in new.devices or new.devices[name].identity != plan.identity or plan.link in anew
    ]
    gone = set(found.devices_gone)
    found.devices_new = [name for name in new.devices if name not in before or name in gone]
    fresh = set(found.devices_new)
    changed = []
    for name, plan in before.items():
        wanted = new.devices.get(name)
        if name in gone or wanted is None:
            found.jobs_gone += plan.jobs
        elif wanted.jobs != plan.jobs:
            kept, asked = set(plan.jobs), set(wanted.jobs)
            found.jobs_gone += [key for key in plan.jobs if key not in asked]
            found.jobs_new += [key for key in wanted.jobs if key not in kept]
            changed.append(name)
        if plan.status is not None and (name in gone or wanted is None or wanted.status != plan.status):
            found.statuses_gone.append(name)
    for name, plan in new.devices.items():
        was = None if name in fresh else before.get(name)
        if was is None:
            found.jobs_new += plan.jobs
        if plan.status is not None and (was is None or was.status != plan.status):
            found.statuses_new.append(name)
        if (was.writes if was else ()) != plan.writes:
            found.writes.append(name)
        if was is None or was.sends != plan.sends:
            found.sends.append(name)
    found.writes += [name for name in found.devices_gone if before[name].writes and name not in found.writes]
    own_before = old.own_status if old else None
    if own_before != new.own_status:
        found.statuses_gone += [""] if own_before is not None else []
        found.statuses_new += [""] if new.own_status is not None else []
    units_before = old.units if old else {}
    found.units_gone = [unit_id for unit_id in units_before if unit_id not in new.units]
    found.units_new = [unit_id for unit_id in new.units if unit_id not in units_before]
    found.units_changed = [
        unit_id for unit_id, plan in new.units.items() if unit_id in units_before and units_before[unit_id] != plan
    ]
    routes_before = old.routes if old else {}

    def is_other(unit_id: int) -> bool:
        mine, theirs = routes_before.get(unit_id), new.routes.get(unit_id)
        return mine != theirs or (mine is not None and mine.link in anew)

    found.routes_gone = [unit_id for unit_id in routes_before if is_other(unit_id)]
    found.routes_new = [unit_id for unit_id in new.routes if is_other(unit_id)]
    found.lines = list(_lines(found, before, new, changed))
    return found


def _lines(found: Difference, before: dict[str, DevicePlan], new: Blueprint, changed: list[str]) -> Iterable[str]:
    """`device press: 1 of 3 requests new`, `device pump added`, `unit 5 removed` ..."""
    gone, fresh = set(found.devices_gone), set(found.devices_new)
    yield from _named("device", [name for name in found.devices_new if name not in before], "added")
    yield from _named("device", [name for name in found.devices_gone if name not in new.devices], "removed")
    yield from _named("device", sorted(gone & fresh), "restarted")
    news = Counter(key.device for key in found.jobs_new)
    if len(changed) > MAX_NAMES:
        names = f"{', '.join(changed[:MAX_NAMES])} and {len(changed) - MAX_NAMES} more"
        count, most = sum(news[name] for name in changed), sum(len(new.devices[name].jobs) for name in changed)
        yield f"devices {names}: {count} of {most} requests new"
    else:
        for name in changed:
            yield f"device {name}: {news[name]} of {len(new.devices[name].jobs)} requests new"
    told = {*gone, *fresh, *changed}
    quiet = [name for name in new.devices if name in {*found.writes, *found.sends, *found.statuses_new} - told]
    yield from _named("device", quiet, "changed in what is written or shown")
    for what, anew, left in (
        ("unit", found.units_new, found.units_gone),
        ("route of unit", found.routes_new, found.routes_gone),
    ):
        yield from _named(what, [key for key in anew if key not in left], "added")
        yield from _named(what, [key for key in left if key not in anew], "removed")
        yield from _named(what, [key for key in anew if key in left], "changed")
    yield from _named("unit", found.units_changed, "changed")


def _named(what: str, keys: list[str] | list[int], done: str) -> Iterable[str]:
    if keys:
        more = f" and {len(keys) - MAX_NAMES} more" if len(keys) > MAX_NAMES else ""
        plural = "s" if len(keys) > 1 else ""
        yield f"{what}{plural} {', '.join(map(str, keys[:MAX_NAMES]))}{more} {done}"
