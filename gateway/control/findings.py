"""What is wrong with a running gateway, read out of its status snapshot. Pure: plain data in, sentences out.

The rule of the file: a cause is told once, with what it costs, and says whose it is. A hundred devices behind a link
that is down are one finding of the network's, not a hundred of the PLCs'.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gateway.modbus.spec import exception_text

NETWORK = "network"
PLC = "PLC"
US = "us"
"""The gateway: its configuration, or more polls than a link can carry."""

FULL_PERCENT = 100.0
"""A link that is busier than this cannot do what it is asked to."""
MAX_NAMES = 8
"""Devices named in one finding."""
MAX_JOBS = 5
"""Jobs named for one overloaded link: those that take most of it."""
CONNECTING = "connecting"
"""The trouble of a link that was not connected yet: that is no news."""
REFUSED = "refused the connection"
"""The trouble of a link whose host answers, although no program listens there."""

Data = Mapping[str, Any]


class Finding(NamedTuple):
    """One thing that is wrong: whose it is, what, and lines with more about it."""

    whose: str
    what: str
    more: tuple[str, ...] = ()
    device: str | None = None
    """The one device that it is about, if it is one."""
    link: str | None = None
    """The name of the one link that it is about, if it is one."""


def findings(snapshot: Data) -> list[Finding]:
    """Everything that is wrong, what concerns most first; empty when all is well."""
    return [found for found in steps(snapshot) if found is not None]


def steps(snapshot: Data) -> Iterator[Finding | None]:
    """`findings` one after the other; None between them, where others may have their turn: a thousand links take ten
    milliseconds."""
    links = {str(link["name"]): link for link in snapshot.get("links", ())}
    devices: dict[str, list[Data]] = {name: [] for name in links}
    for device in snapshot.get("devices", ()):
        if device.get("enabled", True):
            devices.setdefault(str(device["link"]), []).append(device)
    broken = set()
    for name, link in links.items():
        yield None
        if finding := _link(link, devices[name]):
            yield finding
            broken.add(name)
    for states in (("down",), ("waiting", "stale")):
        for name, members in devices.items():
            yield None
            if name not in broken:
                yield from _devices(links.get(name, {}), [each for each in members if each["state"] in states])
    for name, link in links.items():
        yield None
        yield from _demoted_strangers(link, devices[name])
    for members in devices.values():
        yield None
        yield from (_hole(device, hole) for device in members for hole in _holes(device))
    for name, link in links.items():
        if _is_overloaded(link):
            yield _overload(link, devices[name])
    for trouble in snapshot.get("gateway", {}).get("troubles", ()):
        yield Finding(US, str(trouble))
    if refused := snapshot.get("gateway", {}).get("reload"):
        yield Finding(US, f"the changed configuration is not in use: {refused}")


def _link(link: Data, devices: Sequence[Data]) -> Finding | None:
    """A link without a connection, or with one on which nobody answers."""
    trouble, name = str(link.get("trouble", "")), str(link["name"])
    if trouble in ("", CONNECTING):
        return None
    silent = [str(device["name"]) for device in devices if device["state"] != "good"]
    if link["up"] and not silent:
        return None  # a device that closes an idle connection, opened again already
    since = f" for {span(link['since_s'])}" if link.get("since_s") is not None else ""
    urls = [str(url) for url in link.get("urls", ())]
    where = name if name.startswith("|".join(urls)) else f"{name} ({', '.join(urls)})"
    if link["up"]:
        what = f"link {where} is connected, but nobody has answered{since}: {trouble}"
    else:
        what = f"link {where} is down{since}: {trouble}"
    more = []
    if trouble.startswith(REFUSED):
        more.append("its host is there, but nothing listens on that port: is the PLC in RUN, is the port right?")
    if silent:
        more.append(f"no fresh values from {len(silent)} of {len(devices)} devices: {_names(silent)}")
    return Finding(PLC if trouble.startswith(REFUSED) or link["up"] else NETWORK, what, tuple(more), link=name)


def _devices(link: Data, devices: Sequence[Data]) -> Iterator[Finding]:
    """Devices that are not well although their link works; those with the same error are told together."""
    together: dict[tuple[str, str, str], list[Data]] = {}
    for device in devices:
        why = _why(device)
        if device["state"] == "waiting" and not why:
            continue  # just started
        whose = US if not why and _is_overloaded(link) else PLC
        together.setdefault((whose, device["state"], why), []).append(device)
    for (whose, state, why), members in together.items():
        reason = why or ("its link is asked for more than it can carry" if whose == US else "no reason is known")
        if len(members) > 1:
            yield Finding(
                whose,
                f"{len(members)} devices are {state}: {reason}",
                (_names([str(each["name"]) for each in members]),),
            )
            continue
        (device,) = members
        probe = _demotion(link, device["unit"])
        more = () if probe is None else (_probes(probe),)
        since = f", last good {span(device['age_s'])} ago" if _is_number(device.get("age_s")) else ", never answered"
        row = int(device.get("failures_in_row", 0))
        times = f" ({row} in a row)" if row > 1 else ""
        yield Finding(
            whose,
            f"{device['name']} (unit {device['unit']}) is {state}{since}: {reason}{times}",
            tuple(more),
            str(device["name"]),
        )


def _why(device: Data) -> str:
    """What a device's last failure was; empty when it did not fail."""
    if error := str(device.get("last_error", "")):
        return error
    if device.get("failures_in_row") and (code := int(device.get("last_exception", 0))):
        return f"exception {exception_text(code)}"
    return ""


def _demotion(link: Data, unit: int) -> Data | None:
    return next((each for each in link.get("demoted", ()) if each["unit"] == unit), None)


def _probes(demoted: Data) -> str:
    return (
        f"left alone for {span(demoted['since_s'])} but for single probes, the next in {span(demoted['next_probe_s'])}"
    )


def _demoted_strangers(link: Data, devices: Sequence[Data]) -> Iterator[Finding]:
    """Silent units that only forwards use."""
    ours = {device["unit"] for device in devices}
    for each in link.get("demoted", ()):
        if each["unit"] not in ours:
            name = str(link["name"])
            yield Finding(PLC, f"unit {each['unit']} on link {name} does not answer", (_probes(each),), link=name)


def _holes(device: Data) -> Sequence[Data]:
    holes: Sequence[Data] = device.get("holes", ())
    return holes


def _hole(device: Data, hole: Data) -> Finding:
    refused, safe = ", ".join(hole["refused"]), ", ".join(hole["safe"])
    more = [f"safe to read in one request each: {safe}" if safe else "nothing of that block can be read"]
    if _is_number(hole.get("next_try_s")):
        more.append(f"tried again in {span(hole['next_try_s'])}; take it out of the plant's file if it is not there")
    what = f"{device['name']} refuses {refused} of {hole['block']}: exception {exception_text(int(hole['code']))}"
    return Finding(US, what, tuple(more), str(device["name"]))


def _is_overloaded(link: Data) -> bool:
    return float(link.get("load_percent") or 0.0) > FULL_PERCENT


def _overload(link: Data, devices: Sequence[Data]) -> Finding:
    jobs = sorted(
        (
            (_busy_s(job) / int(link.get("in_flight") or 1), str(device["name"]), job)
            for device in devices
            for job in device.get("jobs", ())
        ),
        key=lambda item: -item[0],
    )
    what = f"link {link['name']} is asked for {link['load_percent']:.0f} % of what it can carry"
    lines = [
        f"{name} {job['block']} every {span(job['every_s'])}: {rates(job)} a second, {100 * busy_s:.0f} % of the link"
        for busy_s, name, job in jobs[:MAX_JOBS]
    ]
    if lines:
        lines.insert(0, "slow these down, for they take most of it:" if len(lines) > 1 else "slow this down:")
    return Finding(US, what, tuple(lines), link=str(link["name"]))


def _busy_s(job: Data) -> float:
    """Seconds of each second that a job would keep one of its link's requests in flight."""
    return float(job.get("requested_per_s") or 0.0) * float(job.get("took_s") or 0.0)


def percent(value: Any) -> str:
    """`12%`; `-` before it was measured."""
    return f"{float(value):.0f}%" if _is_number(value) else "-"


def rates(job: Data) -> str:
    """`7.4 of 10`: achieved and requested; `- of 10` before it was measured."""
    achieved = job.get("achieved_per_s")
    got = f"{achieved:.3g}" if isinstance(achieved, int | float) else "-"
    return f"{got} of {float(job.get('requested_per_s') or 0.0):.3g}"


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def span(seconds: float | None) -> str:
    """A time for people, two units at most: `850ms`, `4.2s`, `2m 5s`, `3h 12m`, `12d 3h`; `-` for none."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    if seconds < 0.9995:
        return f"{1000 * seconds:.3g}ms"
    if seconds < 59.95:
        return f"{seconds:.3g}s"
    whole = round(seconds)
    for size, unit, smaller_size, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller_size
            return f"{whole // size}{unit} {rest}{smaller}" if rest else f"{whole // size}{unit}"
    return f"{whole}s"
