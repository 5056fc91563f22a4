"""`gateway plan`: what devices would be asked and how full that makes each link, without sending anything.

`plan_report` is pure: a configuration and an assumption in, plain data out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.options import JsonOption, PlantArgument
from gateway.cli.progress import Working
from gateway.config.wire import chars, frame_s
from gateway.modbus import spec

if TYPE_CHECKING:
    from gateway.config.addresses import Address
    from gateway.config.model import Config
    from gateway.config.model_devices import Device, Link
    from gateway.config.urls import DeviceUrl
    from gateway.polling.plan import Block

EXIT_CONFIG = 2

ROUND_TRIP = "10ms"
"""What a PLC on a good network takes to answer: one cycle of its program, more or less."""
BYTES_PER_S = 1_250_000.0
"""10 Mbit/s, the port of many a PLC: the longest answer takes 0.2 ms of it."""
FULL_PERCENT = 100.0
MAX_SLOW_DOWN = 5
"""Jobs named for a link that would be overloaded: those that take most of it."""

_MBAP_SIZE = 7
# Of PDUs
_READ_REQUEST_SIZE = 5
_READ_ANSWER_SIZE = 2
"""Without the data."""
_WRITE_SINGLE_SIZE = 5
"""Request and answer alike."""
_WRITE_MULTIPLE_SIZE = 6
"""Without the data."""
_WRITE_MULTIPLE_ANSWER_SIZE = 5
_SINGLE = {spec.Table.COILS: spec.WRITE_SINGLE_COIL, spec.Table.HOLDING: spec.WRITE_SINGLE_REGISTER}
_MULTIPLE = {spec.Table.COILS: spec.WRITE_MULTIPLE_COILS, spec.Table.HOLDING: spec.WRITE_MULTIPLE_REGISTERS}


def plan(
    file: PlantArgument,
    round_trip: Annotated[
        str, typer.Option("--round-trip", metavar="TIME", help="Assumed from a request to its answer.")
    ] = ROUND_TRIP,
    as_json: JsonOption = False,
) -> None:
    """Show what each device would be asked, and the load of each link.

    Nothing is sent. A line for each request: function, addresses in both notations, how often, how much of it nobody
    asked for (read all the same, to save a request). What clients write or forward is not counted.

    Examples:

      gateway plan plant.yaml

      gateway plan plant.yaml --round-trip 35ms
    """
    from gateway.config.durations import parse_duration
    from gateway.config.load import load
    from gateway.errors import ConfigError

    try:
        round_trip_s = parse_duration(round_trip)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--round-trip") from None
    try:
        with Working(f"planning {file}", quiet=as_json):
            config = load(file)
            report = plan_report(config, round_trip_s)
    except ConfigError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(EXIT_CONFIG) from None
    if as_json:
        print(json.dumps(report, indent=2))
        return
    for warning in config.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for line in _page(report):
        print(line)


# -- the report ---------------------------------------------------------------------------------------------------


def plan_report(config: Config, round_trip_s: float) -> dict[str, Any]:
    """What the plant's devices would be asked, and what that comes to when every answer takes `round_trip_s`.

    `busy_s` of a request is the time that it takes of its link: `(round trip + delay + bytes) / in_flight`, at least
    `delay`, which several requests in flight keep, too. Load is the sum of `busy_s` times requests a second. On a
    serial line bytes are characters of the line, with the silence before each frame, and a broadcast waits for the
    turn-round in place of an answer.
    """
    devices = []
    for name, device in config.devices.items():
        link = config.link_of(name)
        requests = list(_requests(config, name))
        for request in requests:
            is_broadcast = device.unit == 0 and link.url.framing != "mbap"
            sizes = request.pop("sizes")[: 1 if is_broadcast else 2]
            request["bytes"] = sum(_on_the_way(link.url, size) for size in sizes)
            request["wire_s"] = sum(frame_s(link.url, size) for size in sizes) or request["bytes"] / BYTES_PER_S
            answered_s = link.url.turnaround_s if is_broadcast else round_trip_s
            alone_s = answered_s + link.delay_s + request["wire_s"]
            request["busy_s"] = max(alone_s / link.in_flight, link.delay_s)
        devices.append(
            {
                "name": name,
                "enabled": device.enabled,
                "link": config.link_key(name),
                "unit": device.unit,
                "requests_per_s": sum(request["per_s"] for request in requests) if device.enabled else 0.0,
                "requests": requests,
            }
        )
    return {
        "assumed": {"round_trip_s": round_trip_s, "bytes_per_s": BYTES_PER_S},
        "devices": devices,
        "links": _links(config, devices),
        "forwards": [{"unit": unit_id, "to": route.forward} for unit_id, route in config.routes.items()],
    }


def _on_the_way(url: DeviceUrl, pdu_size: int) -> int:
    """Bytes of a frame on this way."""
    return pdu_size + _MBAP_SIZE if url.framing == "mbap" else chars(url, pdu_size)


def _requests(config: Config, name: str) -> Iterator[dict[str, Any]]:
    """Every kind of request that device `name` gets without a client's doing."""
    from gateway.polling.assemble import plan_device

    device = config.devices[name]
    for planned in plan_device(config, name):
        yield _read(planned.block)
    for push in device.push:
        yield _write("push", device, push.write, push.every_s, on_change=push.on == "change")
    if device.watchdog is not None:
        yield _write("watchdog", device, device.watchdog.write, device.watchdog.every_s)


def _read(block: Block) -> dict[str, Any]:
    is_bits = block.table.is_bits
    data_size = (block.count + 7) // 8 if is_bits else 2 * block.count
    return {
        "kind": "read",
        "function": block.table.read_function,
        "block": block.table.describe(block.first, block.count),
        "every_s": block.every_s,
        "on_change": False,
        "per_s": 1 / block.every_s,
        "count": block.count,
        "of": "bits" if is_bits else "registers",
        "wasted": block.count - _asked(block),
        "sizes": (_READ_REQUEST_SIZE, _READ_ANSWER_SIZE + data_size),
    }


def _asked(block: Block) -> int:
    """How many registers or bits of a block a tag is in; all of a raw one."""
    if not block.tags:
        return block.count
    return len({address for tag in block.tags for address in range(tag.first, tag.stop)})


def _write(kind: str, device: Device, at: Address, every_s: float | None, *, on_change: bool = False) -> dict[str, Any]:
    is_bits, is_single = at.table.is_bits, at.count == 1 and not device.force_multiple
    if is_single:
        sizes = (_WRITE_SINGLE_SIZE, _WRITE_SINGLE_SIZE)
    else:
        data_size = (at.count + 7) // 8 if is_bits else 2 * at.count
        sizes = (_WRITE_MULTIPLE_SIZE + data_size, _WRITE_MULTIPLE_ANSWER_SIZE)
    return {
        "kind": kind,
        "function": (_SINGLE if is_single else _MULTIPLE)[at.table],
        "block": at.describe(),
        "every_s": every_s,
        "on_change": on_change,
        "per_s": 1 / every_s if every_s else 0.0,
        "count": at.count,
        "of": "bits" if is_bits else "registers",
        "wasted": 0,
        "sizes": sizes,
    }


def _links(config: Config, devices: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each link that an enabled device uses, and its load."""
    members: dict[str, list[dict[str, Any]]] = {}
    for device in devices:
        if device["enabled"]:
            members.setdefault(device["link"], []).append(device)
    return [_link(name, config.link_of(users[0]["name"]), users) for name, users in members.items()]


def _link(name: str, settings: Link, devices: Sequence[dict[str, Any]]) -> dict[str, Any]:
    shares = sorted(
        (
            {
                "device": device["name"],
                "kind": request["kind"],
                "block": request["block"],
                "every_s": request["every_s"],
                "percent": 100 * request["per_s"] * request["busy_s"],
                "wire_percent": 100 * request["per_s"] * request["wire_s"],
            }
            for device in devices
            for request in device["requests"]
        ),
        key=lambda share: -share["percent"],
    )
    load_percent = sum(share["percent"] for share in shares)
    return {
        "name": name,
        "urls": [str(url) for url in settings.urls],
        "devices": len(devices),
        "in_flight": settings.in_flight,
        "delay_s": settings.delay_s,
        "framing": settings.url.framing,
        "baudrate": None if settings.url.line is None else settings.url.line.baudrate,
        "wire_percent": sum(share["wire_percent"] for share in shares),
        "requests_per_s": sum(device["requests_per_s"] for device in devices),
        "load_percent": load_percent,
        "slow_down": shares[:MAX_SLOW_DOWN] if load_percent > FULL_PERCENT else [],
    }


# -- the page -----------------------------------------------------------------------------------------------------


def _page(report: dict[str, Any]) -> Iterator[str]:
    """Lines of plain text; no rich table, which takes seconds for the thousands of requests that a plant may have."""
    from gateway.config.durations import format_duration

    cells = [[_cells(request) for request in device["requests"]] for device in report["devices"]]
    widths = [max(map(len, column)) for column in zip(*(row for rows in cells for row in rows), strict=True)]
    for device, rows in zip(report["devices"], cells, strict=True):
        yield f"{device['name']}, unit {device['unit']} on {device['link']}: {_sum(device)}"
        for row in rows:
            yield ("  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))).rstrip()
        yield ""
    if not report["links"]:
        yield "no device is enabled: nothing is asked"
        return
    assumed = report["assumed"]
    yield f"load at {format_duration(assumed['round_trip_s'])} per answer (--round-trip says another):"
    for link in report["links"]:
        yield "  " + _link_line(link)
    if report["forwards"]:
        yield f"what clients ask through forwards comes on top: {', '.join(_forwards(report['forwards']))}"
    for link in report["links"]:
        yield from _warning(link)


def _cells(request: dict[str, Any]) -> tuple[str, ...]:
    from gateway.config.durations import format_duration

    when = [f"every {format_duration(request['every_s'])}"] if request["every_s"] else []
    when += ["on change"] if request["on_change"] else []
    what = "" if request["kind"] == "read" else f" {request['kind']}"
    waste = f"{request['wasted']} wasted" if request["wasted"] else ""
    rate = f"{request['per_s']:.4g}/s" if request["per_s"] else ""
    size = _counted(request["count"], request["of"])
    return f"{request['function']:02d}", f"{request['block']}{what}", ", ".join(when), rate, size, waste


def _counted(count: int, what: str) -> str:
    """`1 register`, `2 registers`."""
    return f"{count} {what[:-1] if count == 1 else what}"


def _sum(device: dict[str, Any]) -> str:
    """What all of a device's requests come to, in words."""
    reads = [request for request in device["requests"] if request["kind"] == "read"]
    told = [f"{_counted(len(device['requests']), 'requests')}, {device['requests_per_s']:.4g} a second"]
    for unit in ("registers", "bits"):
        count = sum(request["count"] for request in reads if request["of"] == unit)
        wasted = sum(request["wasted"] for request in reads if request["of"] == unit)
        if count:
            told.append(f"{_counted(count, unit)} read" + (f" ({wasted} of them wasted)" if wasted else ""))
    return ", ".join(told) if device["enabled"] else "disabled, it gets nothing of this"


def _forwards(forwards: Sequence[dict[str, Any]]) -> Iterator[str]:
    """`unit 5 to press`, `units 10..20 to boilers`: neighbours with the same way in one."""
    runs: list[tuple[int, int, str]] = []
    for forward in sorted(forwards, key=lambda forward: int(forward["unit"])):
        unit_id, to = int(forward["unit"]), str(forward["to"])
        if runs and runs[-1][1:] == (unit_id - 1, to):
            runs[-1] = (runs[-1][0], unit_id, to)
        else:
            runs.append((unit_id, unit_id, to))
    for first, last, to in runs:
        yield f"unit {first} to {to}" if first == last else f"units {first}..{last} to {to}"


def _link_line(link: dict[str, Any]) -> str:
    from gateway.config.durations import format_duration

    is_named = not link["name"].startswith("|".join(link["urls"]))
    name = f"{link['name']} ({', '.join(link['urls'])})" if is_named else link["name"]
    devices = _counted(link["devices"], "devices")
    settings = f"{link['in_flight']} in flight"
    if link["delay_s"]:
        settings += f", delay {format_duration(link['delay_s'])}"
    load = f"{link['load_percent']:.3g} %"
    if link["baudrate"]:
        load += f" (bytes at {link['baudrate']} baud alone {link['wire_percent']:.3g} %)"
    return f"{name}: {load}, {link['requests_per_s']:.4g} requests/s of {devices}, {settings}"


def _warning(link: dict[str, Any]) -> Iterator[str]:
    from gateway.config.durations import format_duration

    if not link["slow_down"]:
        return
    factor = link["load_percent"] / FULL_PERCENT
    other = ", or a faster line" if link["baudrate"] else ""
    if link["framing"] == "mbap":
        other = ", or a larger in_flight if the device takes it"
    yield (
        f"warning: link {link['name']} would be asked for {link['load_percent']:.0f} % of what it can carry. Intervals "
        f"{factor:.1f} times as long would do{other}. Slow these down first:"
    )
    for share in link["slow_down"]:
        what = "" if share["kind"] == "read" else f" {share['kind']}"
        every = format_duration(share["every_s"])
        yield f"  {share['device']}{what} {share['block']} every {every}: {share['percent']:.0f} % of the link"
