"""Everything that lives, found by its key in the YAML, and the one way in which it changes: `apply`.

The first configuration is applied to nothing, a reload to what runs; there is no other construction. What the
difference does not name is not touched: its values, counters, connections and turns go on. `apply` never waits: between
two requests of a client the plant is the old one or the new one.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from gateway.app import simulations
from gateway.app.blueprint import Blueprint, BroadcastPlan, UnitPlan
from gateway.app.certificates import Known
from gateway.app.difference import Difference, difference
from gateway.app.functions import Functions, each_of
from gateway.app.looptime import LoopTime
from gateway.app.news import News
from gateway.app.sending import Sendings
from gateway.app.statuses import Status, Statuses
from gateway.app.wiring import Wiring
from gateway.bank import Bank, Span
from gateway.forwarding.forward import Forward
from gateway.front.counters import Counters
from gateway.front.freshness import Freshness
from gateway.front.units import Absent, Units
from gateway.hub import Hub
from gateway.interfaces import Unit
from gateway.modbus import spec
from gateway.modbus.spec import Table
from gateway.places import Placement
from gateway.polling.assemble import make_group
from gateway.polling.device import Device, gateway_status
from gateway.polling.group import Group
from gateway.polling.held import written
from gateway.polling.key import JobKey
from gateway.polling.wheel import Wheel
from gateway.state.records import Records
from gateway.state.retained import Retained
from gateway.writing.destination import Destination
from gateway.writing.regions import Region, regions
from gateway.writing.through import Through

OWN = ""
"""The name under which our own status block goes."""


class Plant:
    """The live side of a blueprint."""

    def __init__(
        self,
        freshness: Freshness,
        counters: Counters,
        hub: Hub,
        scheduler: LoopTime,
        wheel: Wheel,
        retained: Retained,
        records: Records,
        certificates: Known,
        own_status: Callable[[float], tuple[float, int]],
        news: News,
    ) -> None:
        """`own_status(now_s)` is uptime in seconds and the generation; `news` hears of links and devices."""
        self.blueprint: Blueprint = None  # type: ignore[assignment]  # until the first `apply`
        self.units = Units({}, 1, "gateway_path")
        self.wiring = Wiring(scheduler, certificates, news)
        self.links = self.wiring.links
        """The same."""
        self.devices: dict[str, Device] = {}
        self.banks: dict[int, Bank] = {}
        self.groups: dict[JobKey, Group] = {}
        self.forwards: dict[int, Forward] = {}
        self._broadcasts: dict[str, Forward] = {}
        """To all units of a line, by link."""
        self._news = news
        self._freshness = freshness
        self._counters = counters
        self._hub = hub
        self._wheel = wheel
        self._retained = retained
        self.functions = Functions(counters, records, self.devices, lambda: retained.is_failing)
        self._uptime_and_generation = own_status
        self._destinations: dict[str, Destination] = {}
        self._regions: dict[str, dict[int, list[Region]]] = {}
        self._throughs: dict[int, Through] = {}
        self._spans: dict[JobKey, dict[Placement, Span]] = {}
        self._statuses = Statuses(freshness)
        self._sendings = Sendings(wheel, self._judge)
        self._is_started = False

    # -- the difference -----------------------------------------------------------------------------------------

    def apply(
        self,
        blueprint: Blueprint,
        found: Difference | None = None,
        started: simulations.Servers | None = None,
    ) -> list[str]:
        """Go over to `blueprint`. `found`: the difference from what runs, if it was worked out already; `started`: the
        simulations of its new links, if they are started already. Returns what has changed, for the log."""
        before: Blueprint | None = self.blueprint
        if found is None:
            found = difference(before, blueprint)
        if started is None:
            started = simulations.made_for(blueprint, found)
        own_before = {unit_id: bank.own_ranges() for unit_id, bank in self.banks.items()}
        self.blueprint = blueprint
        for name in found.devices_gone:
            self._sendings.close(name)
        self._take_away(before, found)
        self._change_banks(before, found)
        for key in found.links_new:
            self.wiring.add(blueprint, key, started.get(key))
        self.wiring.settle(blueprint)
        for name in found.devices_new:
            self._add_device(name)
        spans = self._claim(found)
        self._put_initial(own_before)
        self._statuses.add(map(self._status_of, found.statuses_new), self.banks)
        self.functions.change(blueprint.units, self.banks)
        for job in found.jobs_new:
            self._add_group(job, spans[job])
        self._change_writes(found)
        self._change_routes(found)
        self._hook_writers()
        for name in found.sends:
            self._change_sendings(name, restarted=name in found.devices_new)
        self._hook_banks()
        self._change_units()
        return found.lines

    def _take_away(self, before: Blueprint | None, found: Difference) -> None:
        """What goes, before anything comes."""
        given_back: dict[int, list[Span]] = {}
        for job in found.jobs_gone:
            if (group := self.groups.pop(job, None)) is not None:
                group.close()
            for place, span in self._spans.pop(job).items():
                given_back.setdefault(place.unit_id, []).append(span)
                if place.bit is not None:  # its register may stay with others
                    self.banks[place.unit_id].clear_register_bit(place.table, place.first, place.bit)
        gone = [*self._statuses.remove(found.statuses_gone), *self.functions.take_away(self.blueprint.units)]
        for unit_id, span in gone:
            given_back.setdefault(unit_id, []).append(span)
        for unit_id, spans in given_back.items():
            self.banks[unit_id].release(spans)
        for name in found.devices_gone:
            device = self.devices.pop(name)
            self._destinations.pop(name, None)
            link_key = before.devices[name].link if before is not None else None
            if link_key is not None:
                self.wiring.detach(link_key, device)
        if before is not None:
            for key in found.links_gone:
                self.wiring.end(key, before.links[key])

    def _change_banks(self, before: Blueprint | None, found: Difference) -> None:
        plans = self.blueprint.units
        for unit_id in found.units_gone:
            self._retained.drop(unit_id)
            del self.banks[unit_id]
            self._throughs.pop(unit_id, None)
        for unit_id in (*found.units_changed, *found.units_new):
            plan = plans[unit_id]
            if unit_id in found.units_new:
                bank = self.banks[unit_id] = Bank(dict(plan.ranges))
                self._throughs[unit_id] = Through(bank, self._judge)
            elif before is not None and before.units[unit_id].ranges != plan.ranges:
                self.banks[unit_id].define(dict(plan.ranges))
            self.banks[unit_id].protect((a.table, a.first, a.count) for a in plan.read_only)

    def _claim(self, found: Difference) -> dict[JobKey, dict[Placement, Span]]:
        """Take the places of new jobs out of clients' hands, bank by bank."""
        wanted: dict[int, list[tuple[JobKey, Placement]]] = {}
        for key in found.jobs_new:
            self._spans[key] = {}
            for place in key.plan.placements():
                wanted.setdefault(place.unit_id, []).append((key, place))
        for unit_id, places in wanted.items():
            claimed = self.banks[unit_id].claim([(place.table, place.first, place.count) for _, place in places])
            for (key, place), span in zip(places, claimed, strict=True):
                self._spans[key][place] = span
        return self._spans

    def _put_initial(self, own_before: dict[int, dict[Table, list[tuple[int, int]]]]) -> None:
        """`initial` counts for registers that are newly ours."""
        for unit_id, before in own_before.items():
            now = self.banks[unit_id].own_ranges() if unit_id in self.banks else {}
            self._sendings.keep(unit_id, before, now)
        for unit_id, plan in self.blueprint.units.items():
            before = own_before.get(unit_id, {})
            bank = self.banks[unit_id]
            for address, values in plan.initial:
                known = before.get(address.table, [])
                for offset, value in enumerate(values):
                    at = address.first + offset
                    if any(first <= at < stop for first, stop in known):
                        continue
                    self._sendings.written(unit_id).mark(address.table, at, 1)
                    if address.table.is_bits:
                        bank.put_bit(address.table, at, bool(value))
                    else:
                        bank.put_registers(address.table, at, (int(value) & 0xFFFF).to_bytes(2, "big"))

    # -- devices ------------------------------------------------------------------------------------------------

    def _add_device(self, name: str) -> None:
        plan = self.blueprint.devices[name]
        link = self.links[plan.link] if plan.link is not None else None
        device = Device(name, link, functools.partial(self._state_changed, name), unit_id=plan.unit_id)
        self.devices[name] = device
        if link is not None and plan.link is not None:
            self.wiring.attach(plan.link, device)
            writer = self.wiring.writer(plan.link, plan.unit_id, plan.timeout_s, plan.quirks)
            self._destinations[name] = Destination(name, writer.write)

    def _add_group(self, key: JobKey, spans: dict[Placement, Span]) -> None:
        plan = self.blueprint.devices[key.device]
        if plan.link is None:
            return  # disabled: its places have no value
        group = make_group(
            key,
            self.devices[key.device],
            self.links[plan.link].submit,
            self._freshness,
            self._wheel,
            self._hub,
            self.banks,
            spans,
        )
        self.groups[key] = group
        if self._is_started:
            group.start()

    # -- writes -------------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        """What is too old is told before our image is read for somebody who asked, or is sent something, just now."""
        now_s = self._freshness.clock()
        if now_s >= self._freshness.until_s:
            self._freshness.judge(now_s)

    def _change_writes(self, found: Difference) -> None:
        """What of our image goes to devices when clients write it."""
        changed = set(found.units_new) | set(found.units_changed)
        for name in found.writes:
            changed.update(self._regions.pop(name, {}))
            plan = self.blueprint.devices.get(name)
            if plan is not None and plan.writes:
                destination = self._destinations[name]
                self._regions[name] = regions(self.blueprint.config, name, destination)
                changed.update(self._regions[name])
        for name, plan in self.blueprint.devices.items():
            if name in self._destinations:
                self._destinations[name].force_multiple = plan.force_multiple
        for unit_id in changed & self.banks.keys():
            found_regions = [region for by_unit in self._regions.values() for region in by_unit.get(unit_id, ())]
            read_only = self.blueprint.units[unit_id].read_only
            self._throughs[unit_id].arrange(found_regions, [(a.table, a.first, a.count) for a in read_only])

    def _hook_writers(self) -> None:
        """Whoever must know of writes to a unit: polled blocks and forwards."""
        used = {(plan.link, plan.unit_id) for plan in self.blueprint.devices.values()}
        used |= {(plan.link, plan.unit_id) for plan in self.blueprint.routes.values()}
        used |= {(link, 0) for link in self.blueprint.broadcasts}
        self.wiring.unhook_writers(used)
        for name, plan in self.blueprint.devices.items():
            if plan.link is not None:
                writer = self.wiring.writer(plan.link, plan.unit_id, plan.timeout_s, plan.quirks)
                writer.timeout_s, writer.quirks, writer.name = plan.timeout_s, plan.quirks, f"device {name}"
                writer.on_written.append(functools.partial(_tell_device, self.devices[name]))
        for unit_id, route in self.blueprint.routes.items():
            if route.link is not None:
                writer = self.wiring.writer(route.link, route.unit_id, route.timeout_s, route.quirks)
                writer.on_written.append(self.forwards[unit_id].written)
                device = self.devices.get(route.route.forward)
                self.forwards[unit_id].reached = device.reached if device is not None and not device.blocks else None

        for link, broadcast in self.blueprint.broadcasts.items():
            writer = self.wiring.writer(link, 0, broadcast.timeout_s, frozenset())
            writer.name = f"all units of {link}"
            writer.on_written += [self.forwards[unit_id].written for unit_id in broadcast.unit_ids]

    def _change_sendings(self, name: str, *, restarted: bool) -> None:
        plan = self.blueprint.devices[name]
        if plan.link is not None:
            destination, link = self._destinations[name], self.links[plan.link]
            self._sendings.change(name, plan, destination, link, self.banks, restarted=restarted)

    def _hook_banks(self) -> None:
        """Whoever must know of clients' writes to our own registers: pushes, and what is retained."""
        for unit_id, bank in self.banks.items():
            hook = self._sendings.hook(unit_id, self.blueprint)
            hooks = [hook] if hook is not None else []
            if self.blueprint.units[unit_id].retain:
                hooks.append(functools.partial(_keep, self._retained, unit_id))
            if (queued := self.functions.hook(unit_id)) is not None:
                hooks.append(queued)
            bank.on_write = each_of(hooks)

    # -- units --------------------------------------------------------------------------------------------------

    def _change_routes(self, found: Difference) -> None:
        for unit_id in found.routes_gone:
            self.forwards.pop(unit_id, None)
        for unit_id in found.routes_new:
            plan = self.blueprint.routes[unit_id]
            if plan.link is None:
                continue
            writer = self.wiring.writer(plan.link, plan.unit_id, plan.timeout_s, plan.quirks)
            self.forwards[unit_id] = Forward(
                self.links[plan.link].submit,
                writer.write,
                plan.unit_id,
                plan.timeout_s,
                self._freshness.clock,
                quirks=plan.quirks,
                read_only=plan.read_only,
                functions=plan.functions,
                cache_s=plan.route.cache_s,
                is_broadcast=plan.broadcast is not None,
            )
        self._broadcasts = {link: self._broadcast(link, plan) for link, plan in self.blueprint.broadcasts.items()}

    def _broadcast(self, link: str, plan: BroadcastPlan) -> Forward:
        """To all units of a line."""
        return Forward(
            self.links[link].submit,
            self.wiring.writer(link, 0, plan.timeout_s, frozenset()).write,
            0,
            plan.timeout_s,
            self._freshness.clock,
            read_only=plan.read_only,
            functions=plan.functions,
            is_broadcast=True,
        )

    def _change_units(self) -> None:
        config = self.blueprint.config
        self.functions.install(self.blueprint, self.banks)
        units: dict[int, Unit] = dict(self.banks)
        for unit_id in config.routes:
            units[unit_id] = self.forwards.get(unit_id) or Absent(spec.GATEWAY_TARGET_FAILED)  # its device is disabled
        server = config.server
        lines = {unit_id: plan.broadcast.unit_ids for unit_id, plan in self.blueprint.routes.items() if plan.broadcast}
        self.units.replace(units, server.default_unit, server.unknown_unit, {*config.units, *config.routes}, lines)
        self.units.broadcasts[:] = [
            *(((unit_id,), bank) for unit_id, bank in self.banks.items()),
            *((self.blueprint.broadcasts[link].unit_ids, forward) for link, forward in self._broadcasts.items()),
        ]

    # -- status blocks ------------------------------------------------------------------------------------------

    def _status_of(self, name: str) -> tuple[str, Placement, Status]:
        """A device's status block, or ours: where it lies and what it shows."""
        place = self.blueprint.devices[name].status if name else self.blueprint.own_status
        assert place is not None
        return name, place, self.devices[name].status if name else self._own_status

    def _state_changed(self, name: str) -> None:
        """A device's state is another: its block and ours must show it before the next answer."""
        self.functions.device_changed()
        if (device := self.devices.get(name)) is not None:
            self._news.device_changed(device)
        for shown in (name, OWN):
            self._statuses.touch(shown)

    def _own_status(self, now_s: float) -> bytes:
        uptime_s, generation = self._uptime_and_generation(now_s)
        return gateway_status(uptime_s, list(self.devices.values()), self._counters.clients, generation)

    # -- life ---------------------------------------------------------------------------------------------------

    @property
    def retains(self) -> bool:
        """Something of a unit is to survive: registers, or a file of records."""
        return keeps(self.blueprint)

    def restore(self) -> None:
        """Put retained registers back; the state directory is open."""
        for unit_id, plan in self.blueprint.units.items():
            if plan.retain:
                self._restore(unit_id)
        self.functions.restore()

    def _restore(self, unit_id: int) -> None:
        for table, first, count in self._retained.restore(unit_id, self.banks[unit_id]):
            self._sendings.restored(unit_id, table, first, count)

    def given(self, unit_id: int, table: Table, first: int, stop: int) -> list[tuple[int, int]]:
        """What of a range of ours clients have written, or was kept: what is worth keeping."""
        return self._sendings.given(unit_id, table, first, stop)

    def retain(self, before: Blueprint) -> None:
        """After a reload: what is kept now, and what not any more."""
        for unit_id, plan in self.blueprint.units.items():
            was: UnitPlan | None = before.units.get(unit_id)
            if plan.retain and was is None:
                self._restore(unit_id)
            elif plan.retain:
                self._retained.follow(unit_id, self.banks[unit_id])
            elif was is not None and was.retain:
                self._retained.drop(unit_id)

    def start(self, group: asyncio.TaskGroup) -> None:
        """Connect, poll, push."""
        self._is_started = True
        self.wiring.start(group)
        for job in self.groups.values():
            job.start()
        self._sendings.start()

    def stop(self) -> None:
        """Disconnect; the wheel stands still already."""
        self._is_started = False
        self.wiring.stop()

    def ended(self) -> None:
        """The links have disconnected."""
        self.wiring.dial_in.close()

    def tick(self, now_s: float) -> None:
        """Once a second."""
        self.wiring.tick(now_s)

    # -- for those who look -------------------------------------------------------------------------------------

    def summary(self) -> str:
        """What there is."""
        config = self.blueprint.config
        enabled = [device for device in config.devices.values() if device.enabled]
        tags = sum(len(device.tags) for device in enabled)
        routes = f", {len(config.routes)} units forwarded" if config.routes else ""
        return f"{len(enabled)} devices, {len(self.groups)} polling jobs, {tags} tags{routes}"

    def totals(self) -> str:
        """What was done, for the last line."""
        total = self.wiring.total
        polls = sum(device.good_requests + device.failed_requests for device in self.devices.values())
        skipped = sum(group.skipped for group in self.groups.values())
        return (
            f"{polls} polls, {skipped} skipped; {total('timeouts')} time-outs, {total('late')} late answers, "
            f"{total('losses')} connections to devices lost"
        )

    def link_rows(self, keys: Iterable[str] | None = None) -> Iterator[dict[str, Any]]:
        """For those who look, one at a time: others are served in between. `keys`: of these only."""
        return self.wiring.rows(self.blueprint, keys)

    def device_rows(self, names: Iterable[str] | None = None) -> Iterator[dict[str, Any]]:
        """As `link_rows`."""
        for name in list(self.devices) if names is None else names:
            device, plan = self.devices.get(name), self.blueprint.devices.get(name)
            if device is not None and plan is not None:
                row = {**device.snapshot(self._freshness.clock()), "link": plan.link or ""}
                if (destination := self._destinations.get(name)) is not None:
                    counts = {key: getattr(destination, key) for key in ("done", "refused", "unknown", "waiting")}
                    row["writes"] = {**counts, "took": destination.took.snapshot()}
                yield row

    def route_rows(self) -> Iterator[dict[str, Any]]:
        """As `link_rows`."""
        for unit_id, forward in list(self.forwards.items()):
            plan = self.blueprint.routes.get(unit_id)
            if plan is not None:
                yield {
                    "unit": unit_id,
                    "forward": plan.route.forward,
                    "to_unit": plan.unit_id,
                    "read_only": plan.read_only,
                    **forward.counters.snapshot(),
                }


def keeps(blueprint: Blueprint) -> bool:
    """Whether it needs a state directory."""
    return any(plan.retain or plan.files for plan in blueprint.units.values())


def _tell_device(device: Device, pdu: bytes, answer: bytes | None, hold_s: float) -> None:
    if answer is not None:
        device.reached()
    written(device.blocks, pdu, answer, hold_s)


def _keep(retained: Retained, unit_id: int, table: Table, first: int, count: int) -> None:
    retained.changed(unit_id)
