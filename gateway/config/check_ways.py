"""The ways, of clients to us and of us to devices: that no two want one port, that each setting means something there.

A serial port is opened once, by a listener or by one link. A network port is listened on once, but devices that dial in
share theirs. What a way cannot use is an error, not a key that does nothing.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import NamedTuple

from gateway.config.durations import format_duration
from gateway.config.model import Config
from gateway.config.model_devices import Device, Link
from gateway.config.tree import Findings, KeyPath, find, numbers_left, place_of
from gateway.config.urls import DeviceUrl, ListenUrl
from gateway.config.wire import exchange_s
from gateway.modbus.spec import Table

LAST_LINE_UNIT = 247
"""Unit ids above it are reserved on serial lines (serial line guide 2.2)."""
_READ_SIZE = 5
_ANSWER_SIZE = 2
"""PDU of a read, and of its answer without the data."""
_WILDCARDS = {"0.0.0.0": ".", "::": ":"}
"""Every address of a family, and what the addresses of that family have in them."""
_KEEPALIVE_CARRIERS = frozenset(("tcp", "tls", "dial-in", "sim"))
_SOURCE_CARRIERS = frozenset(("tcp", "tls", "udp", "sim"))
_WORDS = {"serial": "a serial line", "udp": "UDP", "dial-in": "a device that dials in"}


class Use(NamedTuple):
    """Someone who opens a way."""

    owner: str
    """For messages: `press`, `links.boilers`, `the listener`."""
    key: str
    """What is equal opens it once."""
    urls: tuple[DeviceUrl | ListenUrl, ...]
    path: KeyPath
    """The key that has the urls."""
    is_listener: bool = False


def check_ways(config: Config, findings: Findings, broken: frozenset[KeyPath]) -> None:
    uses = list(_uses(config, findings, broken))
    _check_twice(uses, findings)
    _check_serial_ports(uses, findings)
    _check_network_ports(uses, findings)
    _check_dial_in(uses, findings)
    for name, link in config.links.items():
        _check_settings(link, ("links", name), findings)
    for name, device in config.devices.items():
        if device.link is None:
            _check_settings(device, ("devices", name), findings)
        way = config.links.get(device.link) if device.link is not None else device
        if way is not None and way.urls:
            _check_unit(device, way.urls, ("devices", name), findings)
            _warn_slow_line(device, way.urls, ("devices", name), findings, broken)


def listener_path(findings: Findings, number: int) -> KeyPath:
    """The key that has the url of a listener: its own when the listener is a section, else its place in the list."""
    path: KeyPath = ("server", "listen", number)
    node = find(findings.root, path)
    return (*path, "url") if node is not None and node.mapping else path


def _uses(config: Config, findings: Findings, broken: frozenset[KeyPath]) -> Iterator[Use]:
    """Each way that is opened, once."""
    if not broken & {("server",), ("server", "listen")}:
        for number, listener in enumerate(config.server.listen):
            key = f"listen {number}"
            yield Use("the listener", key, (listener.url,), listener_path(findings, number), is_listener=True)
    for name, link in config.links.items():
        yield Use(f"links.{name}", name, link.urls, ("links", name, "url"))
    seen = set()
    for name, device in config.devices.items():
        if device.link is None and device.urls:
            key = config.link_key(name)
            if key not in seen:
                seen.add(key)
                yield Use(name, key, device.urls, ("devices", name, "url"))


# -- ports ----------------------------------------------------------------------------------------------------------


def _check_twice(uses: list[Use], findings: Findings) -> None:
    seen: set[DeviceUrl | ListenUrl] = set()
    for use in uses:
        if use.is_listener:
            (url,) = use.urls
            if (url.port or url.path) and url in seen:
                findings.error(use.path, f"{url} stands here twice")
            seen.add(url)


def _check_serial_ports(uses: list[Use], findings: Findings) -> None:
    """One line has one speed, one framing and one side of ours."""
    first_by_port: dict[str, tuple[Use, DeviceUrl | ListenUrl]] = {}
    for use in uses:
        for url in use.urls:
            if url.carrier != "serial":
                continue
            first, other = first_by_port.setdefault(_port(url.path), (use, url))
            if first.key == use.key or (use.is_listener and first.is_listener and url == other):
                continue
            place = place_of(findings.root, first.path)
            is_equal = _settings(url) == _settings(other)
            if use.is_listener and first.is_listener:
                message = f"the port {url.path} has a listener already ({place})"
                message += f", which calls it {other.path}" if is_equal else f" with other settings: {other}"
            elif first.is_listener:
                message = (
                    f"on the port {url.path} clients ask us ({place}): behind a line are clients or devices, not both"
                )
            elif not is_equal:
                message = (
                    f"{first.owner} has this port with other settings ({place}): {other}; a line has one speed and one "
                    "framing: write the same url in both"
                )
            else:
                hint = (
                    f"write `link: {first.key}`"
                    if first.owner == f"links.{first.key}"
                    else f"write the same {'list' if other.path == url.path else 'name'} in both"
                )
                called = f" as {other.path}" if other.path != url.path else ""
                message = (
                    f"{first.owner} has this port too{called} ({place}), and it is opened once: {hint} to share it"
                )
            findings.error(use.path, message)
            break


def _port(path: str) -> str:
    """However it is written. What names of this machine lead to the same port only the machine knows (`needs`)."""
    return "/" + posixpath.normpath(path).lstrip("/") if path.startswith("/") else path


def _settings(url: DeviceUrl | ListenUrl) -> tuple[object, ...]:
    return (url.scheme, url.line, url.turnaround_s if isinstance(url, DeviceUrl) else None)


def _check_network_ports(uses: list[Use], findings: Findings) -> None:
    """Listeners, and ports on which devices dial in: of one host and port there is one socket."""
    taken: dict[tuple[bool, int], dict[tuple[str, bool], Use]] = {}
    told: set[DeviceUrl | ListenUrl] = set()
    for use in uses:
        for url in use.urls:
            if not url.port or not (use.is_listener or url.carrier == "dial-in"):
                continue
            here = taken.setdefault((url.carrier == "udp", url.port), {})
            for (host, is_listener), first in here.items():
                is_shared = host == url.host and not (use.is_listener or is_listener)
                if is_shared or not _meet(host, url.host) or first is use or url in told:
                    continue
                if use.is_listener and url == first.urls[0]:
                    continue  # told already
                told.add(url)
                place = place_of(findings.root, first.path)
                if use.is_listener or not is_listener:
                    other = next(each for each in first.urls if each.port == url.port)
                    message = f"{other} ({place}) has this port already, one of both cannot be opened"
                else:
                    message = f"on port {url.port} clients ask us ({place}); devices that dial in need another port"
                findings.error(use.path, message)
            here.setdefault((url.host, use.is_listener), use)


def _meet(host: str, other: str) -> bool:
    """Whether the system would refuse to listen on both."""
    if host == other:
        return True
    return any(
        (one == wildcard and family in two and two not in _WILDCARDS)
        for wildcard, family in _WILDCARDS.items()
        for one, two in ((host, other), (other, host))
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"


def _check_dial_in(uses: list[Use], findings: Findings) -> None:
    """Who dials in is known by the port and the id."""
    first_by_id: dict[tuple[str, int, bytes], Use] = {}
    for use in uses:
        for url in use.urls:
            if isinstance(url, DeviceUrl) and url.carrier == "dial-in":
                if not url.id and not _is_loopback(url.host):
                    findings.warn(
                        use.path,
                        f"{url} has no id: whoever reaches this port is taken for the device. Write `?id=...` if it "
                        "sends one, or listen on an address that only the device reaches",
                    )
                first = first_by_id.setdefault((url.host, url.port, url.id), use)
                if first.key != use.key:
                    place = place_of(findings.root, first.path)
                    who = f"the device with the id `{url.id.decode(errors='replace')}`" if url.id else "any device"
                    findings.error(
                        use.path,
                        f"{first.owner} ({place}) waits for {who} on port {url.port} too: write another `?id=...` in "
                        "one of them, or the same url in both to share it",
                    )


# -- settings -------------------------------------------------------------------------------------------------------


def _check_settings(way: Link | Device, path: KeyPath, findings: Findings) -> None:
    """Keys that the carriers and framings of this way cannot use."""
    carriers = {url.carrier for url in way.urls}
    if not carriers:
        return
    given = way.model_fields_set
    kind = " and ".join(sorted(_WORDS.get(carrier, carrier) for carrier in carriers))
    if "keepalive_s" in given and not carriers & _KEEPALIVE_CARRIERS:
        findings.error((*path, "keepalive"), f"{kind} has no TCP connection to keep alive; remove the key", key=True)
    if "source" in given and not carriers & _SOURCE_CARRIERS:
        findings.error((*path, "source"), f"{kind} has no local address to choose; remove the key", key=True)
    framing = _framing(way.urls)
    if framing is not None and (way.in_flight or 1) > 1:
        findings.error(
            (*path, "in_flight"),
            f"{framing.upper()} frames carry no transaction id, so one request is out at a time; remove the key",
        )
    elif "dial-in" in carriers and (way.in_flight or 1) > 1:
        findings.error(
            (*path, "in_flight"), "a device that dials in is asked one request at a time; remove the key", key=True
        )


def _framing(urls: tuple[DeviceUrl, ...]) -> str | None:
    """The framing without transaction ids that one of the addresses has."""
    return next((url.framing for url in urls if url.framing != "mbap"), None)


def _check_unit(device: Device, urls: tuple[DeviceUrl, ...], path: KeyPath, findings: Findings) -> None:
    """What unit ids mean on a line, and what its frames have not."""
    framing = _framing(urls)
    if framing is None:
        return
    if device.unit == 0 and (device.poll or device.tags):
        findings.error(
            (*path, "unit"),
            "unit 0 is a broadcast here, to which nobody answers: polls and tags need a unit id of 1..247; "
            "`push` and `watchdog` may go to 0",
        )
    if device.unit > LAST_LINE_UNIT:
        findings.warn((*path, "unit"), f"unit ids of a serial line end at {LAST_LINE_UNIT}; {device.unit} is reserved")
    if "tid_zero" in device.accept:
        findings.error((*path, "accept"), f"tid_zero: {framing.upper()} frames carry no transaction id; remove it")


def _warn_slow_line(
    device: Device, urls: tuple[DeviceUrl, ...], path: KeyPath, findings: Findings, broken: frozenset[KeyPath]
) -> None:
    """An interval that is shorter than request and answer are on the wire is never kept."""
    url = urls[0]
    line = url.line
    if line is None:
        return

    def warn(here: KeyPath, table: Table, count: int, every_s: float | None) -> None:
        interval_s = device.every_s if every_s is None else every_s
        took_s = _reading_s(url, device, table, count)
        if took_s > interval_s:
            findings.warn(
                (*here, "every") if every_s is not None else here,
                f"is read every {format_duration(interval_s)} and takes {took_s * 1000:.0f}ms on the wire at "
                f"{line.baudrate} baud",
            )

    numbers = numbers_left((*path, "poll"), len(device.poll), broken)
    for number, poll in zip(numbers, device.poll, strict=True):
        warn((*path, "poll", number), poll.read.table, poll.read.count, poll.every_s)
    for name, tag in device.tags.items():
        warn((*path, "tags", name), tag.at.table, tag.at.count, tag.every_s)


def _reading_s(url: DeviceUrl, device: Device, table: Table, count: int) -> float:
    """In as many requests as the device allows."""
    most = device.max_bits if table.is_bits else device.max_registers
    size: Callable[[int], int] = (lambda n: (n + 7) // 8) if table.is_bits else (lambda n: 2 * n)
    whole, rest = divmod(count, most)
    took_s = whole * exchange_s(url, _READ_SIZE, _ANSWER_SIZE + size(most))
    return took_s + (exchange_s(url, _READ_SIZE, _ANSWER_SIZE + size(rest)) if rest else 0.0)
