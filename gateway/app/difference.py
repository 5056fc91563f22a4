"""The difference of two blueprints: what must go and what must come for a plant to be another one.

The rule of the file: what is not named here is not touched; its values, counters, connections and turns go on. Pure,
as `blueprint` is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.app.blueprint import MAX_NAMES, Blueprint, DevicePlan
from gateway.polling.key import JobKey


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
