"""What no single key can judge: devices that share a connection, intervals, names; and the order of all judgements.

The rule of these files: a finding names the key, what it disagrees with and where that stands. `broken` has the parts
that were left out because they are wrong already; nothing is concluded from their absence.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.config.changes import check_version
from gateway.config.check_functions import check_functions
from gateway.config.check_image import check_image
from gateway.config.check_references import warn_mistaken_references
from gateway.config.check_rights import check_rights
from gateway.config.check_routes import check_units, forwarded_to
from gateway.config.check_server import check_server
from gateway.config.check_tags import check_poll, check_tag
from gateway.config.check_times import MIN_INTERVAL_S, MIN_KEEPALIVE_S, at_least
from gateway.config.check_tls import check_tls
from gateway.config.check_ways import check_ways
from gateway.config.check_web import check_web
from gateway.config.check_writes import (
    check_poll_write,
    check_push,
    check_tag_write,
    check_watchdog,
    warn_shared_targets,
)
from gateway.config.durations import format_duration
from gateway.config.explain import meant_by, suggest
from gateway.config.model import Config
from gateway.config.model_devices import Device, Link
from gateway.config.model_tls import Tls
from gateway.config.tree import Findings, KeyPath, numbers_left, place_of
from gateway.config.urls import DeviceUrl

_SOURCE_KEYS = ("source", "keepalive", "connect_delay", "delay", "in_flight", "prefer", "tls")
"""What belongs to a connection, not to a unit behind it."""

Broken = frozenset[KeyPath]


def check(config: Config, findings: Findings, broken: Broken) -> None:
    """Adds every mistake and warning that concerns more than one key."""
    check_version(config, findings)
    check_server(config, findings)
    check_ways(config, findings, broken)
    check_tls(config, findings, broken)
    check_web(config, findings, broken)
    check_units(config, findings, broken)
    _check_links(config, findings)
    forwarded = forwarded_to(config)
    for name, device in config.devices.items():
        _check_device(config, name, device, forwarded, findings, broken)
    _check_shared(config, findings, broken)
    writers, existing = check_image(config, findings, broken)
    check_functions(config, writers, existing, findings, broken)
    check_rights(config, existing, findings, broken)
    warn_mistaken_references(config, findings)


def _check_links(config: Config, findings: Findings) -> None:
    used = {device.link for device in config.devices.values()} | forwarded_to(config)
    by_url: dict[DeviceUrl, str] = {}
    for name, link in config.links.items():
        path = ("links", name)
        if name in config.devices:
            other = place_of(findings.root, ("devices", name), key=True)
            findings.error(path, f"a device has this name too ({other}); names of links and devices differ", key=True)
        _check_urls(link, path, findings)
        if link.urls[0].scheme == "sim" and len(link.urls) == 1:
            findings.error(
                (*path, "url"), "a simulated PLC belongs to one device: write `url: sim://` there, without a link"
            )
        else:
            first = _shares_address(by_url, name, link.urls)
            if first is not None:
                message = f"the link '{first}' has {_this(link)} too; each opens a connection of its own"
                findings.warn((*path, "url"), message)
        if name not in used:
            message = f"no device uses this link; write `link: {name}` at one, or `forward: {name}` in `units`"
            findings.warn(path, message, key=True)
        at_least(findings, (*path, "keepalive"), link.keepalive_s, MIN_KEEPALIVE_S, off=True)


def _check_urls(way: Link | Device, path: KeyPath, findings: Findings) -> None:
    """Several addresses are different ones of one real device."""
    urls = way.urls
    if len(urls) > 1:
        for number, url in enumerate(urls):
            if url.scheme == "sim":
                message = "a simulated PLC has no second address: write `url: sim://` alone, or remove it here"
                findings.error((*path, "url", number), message)
            elif url in urls[:number]:
                findings.error((*path, "url", number), f"{url} stands here twice")
    elif "prefer" in way.model_fields_set and urls:
        findings.error((*path, "prefer"), "is for several addresses, and there is one; remove the key", key=True)


def _shares_address(first_by_url: dict[DeviceUrl, str], name: str, urls: Sequence[DeviceUrl]) -> str | None:
    """Whose address one of `urls` was before; from now on they are those of `name`, too.

    Where two ways to one address cannot even be opened, `check_ways` has an error for it.
    """
    many = [url for url in urls if url.carrier not in ("serial", "dial-in")]
    known = [first for url in many if (first := first_by_url.setdefault(url, name)) != name]
    return known[0] if known else None


def _this(way: Link | Device) -> str:
    return "this url" if len(way.urls) == 1 else "one of these addresses"


def _check_device(
    config: Config, name: str, device: Device, forwarded: frozenset[str], findings: Findings, broken: Broken
) -> None:
    path = ("devices", name)
    _check_way(config, name, device, findings, broken)
    at_least(findings, (*path, "every"), device.every_s, MIN_INTERVAL_S)
    at_least(findings, (*path, "timeout"), device.timeout_s, MIN_INTERVAL_S)
    if device.keepalive_s is not None:
        at_least(findings, (*path, "keepalive"), device.keepalive_s, MIN_KEEPALIVE_S, off=True)
    slowest_s = 0.0
    slowest: KeyPath = path
    unseen = 0
    jobs: list[tuple[KeyPath, float | None]] = []
    numbers = numbers_left((*path, "poll"), len(device.poll), broken)
    for number, poll in zip(numbers, device.poll, strict=True):
        poll_path = (*path, "poll", number)
        check_poll(poll, poll_path, findings)
        check_poll_write(poll, poll_path, findings)
        jobs.append((poll_path, poll.every_s))
    for tag_name, tag in device.tags.items():
        tag_path = (*path, "tags", tag_name)
        check_tag(tag, device, tag_path, findings)
        check_tag_write(tag, tag_path, findings)
        jobs.append((tag_path, tag.every_s))
        unseen += tag.to is None
    for job_path, every_s in jobs:
        if every_s is not None:
            at_least(findings, (*job_path, "every"), every_s, MIN_INTERVAL_S)
        interval_s = device.every_s if every_s is None else every_s
        if interval_s > slowest_s:
            slowest_s, slowest = interval_s, job_path
    _check_stale(device, path, slowest_s, slowest, findings, broken)
    if unseen:
        count = f"{unseen} of {len(device.tags)} tags have" if len(device.tags) > 1 else "the tag has"
        findings.warn((*path, "tags"), f"{count} no `to`: no client can read what is polled for it", key=True)
    _check_writes(device, path, findings, broken)
    idle = not jobs and not device.push and device.watchdog is None and name not in forwarded
    if idle and not any(cut[:2] == path or cut[0] == "units" for cut in broken):
        message = "nothing is read from this device: it has no `poll` and no `tags`, and no unit is forwarded to it"
        findings.warn(path, message, key=True)


def _check_writes(device: Device, path: KeyPath, findings: Findings, broken: Broken) -> None:
    numbers = numbers_left((*path, "push"), len(device.push), broken)
    for number, push in zip(numbers, device.push, strict=True):
        check_push(push, device, (*path, "push", number), findings)
    if device.watchdog is not None:
        check_watchdog(device.watchdog, (*path, "watchdog"), findings)
    warn_shared_targets(device, path, findings, broken)


def _check_way(config: Config, name: str, device: Device, findings: Findings, broken: Broken) -> None:
    """Either a url or a link, and only what goes with it."""
    path = ("devices", name)
    if device.link is None:
        _check_urls(device, path, findings)
    if device.url is not None and device.link is not None:
        findings.error((*path, "link"), "`url` and `link` exclude each other: the link has the url")
    if device.url is None and device.link is None and not _is_told(path, broken):
        message = "the key 'url' is missing; write for example `url: tcp://192.168.1.10:502`, or a `link`"
        findings.error(path, message, key=True)
    in_flight = device.in_flight
    if device.link is not None and device.url is None:
        link = config.links.get(device.link)
        if link is None:
            if not broken & {("links",), ("links", device.link)}:
                findings.error((*path, "link"), f"unknown link '{device.link}'; {suggest(device.link, config.links)}")
            return
        in_flight = link.in_flight
        for key in _SOURCE_KEYS:
            if _given(device, key) is not None:
                findings.error((*path, key), f"belongs to the connection: write it at links.{device.link}", key=True)
    if device.accept and (in_flight or 1) != 1:
        findings.error(
            (*path, "accept"),
            f"{' and '.join(device.accept)}: answers can be told apart only with `in_flight: 1`, this is {in_flight}",
        )


def _is_told(path: KeyPath, broken: Broken) -> bool:
    """The key that leads to the device was wrong or misspelt, or a file was, which was said already."""
    wrong = [str(cut[2]) for cut in broken if cut[:2] == path and len(cut) == 3]
    return any(key == "profile" or meant_by(key, ("url", "link")) for key in wrong)


def _check_stale(
    device: Device, path: KeyPath, slowest_s: float, slowest: KeyPath, findings: Findings, broken: Broken
) -> None:
    """Values must not grow stale between two good polls of the slowest job."""
    limit_s = device.stale_after_s
    if limit_s is None or limit_s >= slowest_s or (*path, "every") in broken:
        return
    name = slowest[-1] if slowest[-2] == "tags" else f"poll[{slowest[-1]}]"
    findings.error(
        (*path, "stale_after"),
        f"{format_duration(limit_s)} is shorter than the interval of {name} ({format_duration(slowest_s)}): "
        "its values would be stale between two good polls",
    )


def _check_shared(config: Config, findings: Findings, broken: Broken) -> None:
    """Devices with the same url share one connection and must agree on it."""
    linked: dict[DeviceUrl, str] = {}
    for name, link in config.links.items():
        _shares_address(linked, name, link.urls)
    by_urls: dict[tuple[DeviceUrl, ...], str] = {}
    by_url: dict[DeviceUrl, str] = {}
    for name, device in config.devices.items():
        if device.link is not None or not device.urls or device.urls[0].scheme == "sim":
            continue
        path = ("devices", name)
        link_name = next((linked[url] for url in device.urls if url in linked), None)
        if link_name is not None:
            message = (
                f"links.{link_name} has {_this(device)} too; each opens a connection of its own: "
                f"write `link: {link_name}`"
            )
            findings.warn((*path, "url"), message)
        other = _shares_address(by_url, name, device.urls)
        first = by_urls.setdefault(device.urls, name)
        if other is not None and other != first and config.devices[other].urls != device.urls:
            place = place_of(findings.root, ("devices", other, "url"))
            message = (
                f"{other} ({place}) has {_this(device)} in another list; each opens a connection of its own: "
                "write the same list in both to share one"
            )
            findings.warn((*path, "url"), message)
        if first == name:
            continue
        for key in _SOURCE_KEYS:
            ours, theirs = _effective(config, name, key), _effective(config, first, key)
            if ours != theirs and not broken & {(*path, key), ("devices", first, key)}:
                place = place_of(findings.root, ("devices", first, key))
                differ = f"'{key}' is {ours} here and {theirs} for {first} ({place})"
                findings.error((*path, key), f"devices with the same url share one connection: {differ}")


def _given(device: Device, key: str) -> object:
    return getattr(device, _attribute(key))


def _attribute(key: str) -> str:
    return key if key in ("source", "in_flight", "prefer", "tls") else f"{key}_s"


def _effective(config: Config, name: str, key: str) -> str:
    value = getattr(config.link_of(name), _attribute(key))
    if isinstance(value, Tls):
        return str(value)
    if value is None:
        return "the plant's" if key == "tls" else "any address"
    return format_duration(value) if isinstance(value, float) else str(value)
