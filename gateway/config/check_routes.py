"""The section `units`: that every unit id is named once, and that what is passed through has somewhere to go."""

from __future__ import annotations

from gateway.config.check_times import MAX_CACHE_S, MIN_INTERVAL_S, at_least, at_most
from gateway.config.explain import suggest
from gateway.config.model import Config
from gateway.config.model_units import Route
from gateway.config.scalars import UnitIds
from gateway.config.tree import Findings, KeyPath, place_of
from gateway.modbus.reach import BROADCASTS, MANY, MAY_WRITE


def check_units(config: Config, findings: Findings, broken: frozenset[KeyPath]) -> None:
    """`broken`: what was left out; a name is not called unknown when it may stand there."""
    _check_ids(config, findings)
    for key, section in config.sections.items():
        path = ("units", str(key))
        if isinstance(section, Route):
            _check_route(config, key, section, path, findings, broken)
        elif key.first != key.last:
            message = (
                f"a range of unit ids is for forwarding: write `forward: NAME`, or a register image under one unit id, "
                f"such as `{key.first}:`"
            )
            findings.error(path, message, key=True)
    _warn_dumb_broadcasts(config, findings)


def forwarded_to(config: Config) -> frozenset[str]:
    """The names of devices and links that routes use."""
    return frozenset(section.forward for section in config.sections.values() if isinstance(section, Route))


def key_of_unit(config: Config, unit_id: int) -> UnitIds:
    """The key of `units` that names a unit id; there is one."""
    return next(key for key in config.sections if unit_id in key.ids)


def _check_ids(config: Config, findings: Findings) -> None:
    """Each unit id once; the second is told, naming the first in the file."""
    seen: dict[int, UnitIds] = {}
    for key in config.sections:
        first = next((seen[unit_id] for unit_id in key.ids if unit_id in seen), None)
        if first is None:
            seen.update(dict.fromkeys(key.ids, key))
            continue
        twice = UnitIds(max(first.first, key.first), min(first.last, key.last))
        many = "unit ids" if twice.first != twice.last else "unit id"
        place = place_of(findings.root, ("units", str(first)), key=True)
        findings.error(
            ("units", str(key)),
            f"the {many} {twice} stand{'s' * (many == 'unit id')} in `{first}` too ({place})",
            key=True,
        )


def _check_route(
    config: Config, key: UnitIds, route: Route, path: KeyPath, findings: Findings, broken: frozenset[KeyPath]
) -> None:
    name = route.forward
    here = (*path, "forward")
    device, link = config.devices.get(name), config.links.get(name)
    if device is None and link is None:
        unknown = {("devices",), ("links",), ("devices", name), ("links", name)}
        if not broken & unknown:
            message = f"there is no device and no link '{name}'; {suggest(name, {**config.devices, **config.links})}"
            findings.error(here, message)
    elif device is not None and not device.enabled:
        place = place_of(findings.root, ("devices", name, "enabled"))
        findings.warn(here, f"the device '{name}' is disabled ({place}): clients get exception 0B")
    if key.first != key.last:
        if route.to_unit is not None:
            message = (
                f"all unit ids of `{key}` reach the one unit {route.to_unit}; without `to_unit` each keeps its own"
            )
            findings.warn((*path, "to_unit"), message if link else message.partition(";")[0])
        elif device is not None:
            hint = f"; `forward: {device.link}`, its link, passes them unchanged" if device.link else ""
            findings.warn(here, f"all unit ids of `{key}` reach the one unit {device.unit} of '{name}'{hint}")
    if route.functions is not None:
        if not route.functions:
            findings.error(
                (*path, "functions"), "the list is empty: nothing would pass; remove the key for all functions"
            )
        elif route.read_only and all(MAY_WRITE[code] and code not in MANY for code in route.functions):
            findings.warn((*path, "functions"), "these functions write, and `read_only` refuses them: nothing passes")
    at_most(findings, (*path, "cache"), route.cache_s, MAX_CACHE_S)
    if route.timeout_s is not None:
        at_least(findings, (*path, "timeout"), route.timeout_s, MIN_INTERVAL_S)


def _warn_dumb_broadcasts(config: Config, findings: Findings) -> None:
    """What leads to unit 0 of a line, all of its units, passes what all routes to that line let pass."""
    by_line: dict[str, list[tuple[UnitIds, Route]]] = {}
    to_all: list[tuple[UnitIds, str]] = []
    for key, route in config.sections.items():
        if isinstance(route, Route) and (line := _line(config, route)) is not None:
            by_line.setdefault(line, []).append((key, route))
            device = config.devices.get(route.forward)
            own = route.to_unit if device is None or route.to_unit is not None else device.unit
            if own == 0 or (own is None and key.first == 0):
                to_all.append((key, line))
    for key, line in to_all:
        passing = set(BROADCASTS)
        for other, route in by_line[line]:
            if route.functions is not None:
                passing &= set(route.functions)
            if route.read_only or not passing:
                place = place_of(findings.root, ("units", str(other), "read_only" if route.read_only else "functions"))
                who = "this" if other == key else f"`{other}`"
                what = "is read-only" if route.read_only else "lets no function of a broadcast (5, 6, 15, 16, 22) pass"
                findings.warn(
                    ("units", str(key), "forward"),
                    f"unit 0 of a line is all of its units, and passes what all routes to it let pass: {who} {what} "
                    f"({place}), so nothing passes",
                )
                break


def _line(config: Config, route: Route) -> str | None:
    """The connection that it leads to, if unit 0 is a broadcast there."""
    device = config.devices.get(route.forward)
    if device is None:
        link = config.links.get(route.forward)
        key = route.forward
    elif (device.link is None and not device.urls) or (device.link is not None and device.link not in config.links):
        return None
    else:
        link, key = config.link_of(route.forward), config.link_key(route.forward)
    return key if link is not None and any(url.framing != "mbap" for url in link.urls) else None
