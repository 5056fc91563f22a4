"""`gateway check`: validate a plant and show what it comes to."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.options import JsonOption, PlantArgument
from gateway.cli.output import page_console
from gateway.cli.progress import Working

if TYPE_CHECKING:
    from gateway.config.model import Config
    from gateway.config.model_units import Unit
    from gateway.config.model_web import Web

EXIT_CONFIG = 2
MAX_RULES = 12
"""Of a list of rules; more are told by their number alone, the file has them."""


def check(
    file: PlantArgument,
    tags: Annotated[bool, typer.Option("--tags", help="List every tag and where clients find it.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Validate a plant and show what it comes to.

    Every mistake comes at once, with file, line and column. Certificates are looked into, nothing else is opened. Of an
    older file it tells what has changed since it was written.

    Examples:

      gateway check plant.yaml

      gateway check plant.yaml --tags
    """
    from gateway.config.changes import silencer
    from gateway.config.load import load
    from gateway.config.needs import errors, unmet, warnings
    from gateway.errors import ConfigError

    try:
        with Working(f"looking into {file}", quiet=as_json):
            config = load(file)
            found = unmet(config)
            if problems := errors(found):
                raise ConfigError(problems)
            summary = _summary(config)
    except ConfigError as error:
        if as_json:
            print(json.dumps({"ok": False, "problems": [problem._asdict() for problem in error.problems]}, indent=2))
        else:
            for problem in error.problems:
                print(problem, file=sys.stderr)
            count = len(error.problems)
            print(f"{count} {'mistake' if count == 1 else 'mistakes'}; nothing was started", file=sys.stderr)
        raise typer.Exit(EXIT_CONFIG) from None
    warned = (*config.warnings, *warnings(found))
    if as_json:
        told = {"ok": True, "warnings": warned, "notes": config.notes, **summary, "tags": list(_tags(config))}
        print(json.dumps(told, indent=2))
        return
    for warning in warned:
        print(f"warning: {warning}", file=sys.stderr)
    for note in config.notes:
        print(f"note: {note}", file=sys.stderr)
    if config.notes:
        print(f"note: these are no mistakes; {silencer()}", file=sys.stderr)
    _print(config, summary, with_tags=tags)


def _summary(config: Config) -> dict[str, Any]:
    """What the plant comes to, as plain data."""
    from gateway.app import build
    from gateway.cli.rights import rights
    from gateway.config.model_units import Route
    from gateway.polling.assemble import plan_device

    devices = {}
    for name, device in config.devices.items():
        blocks = [planned.block for planned in plan_device(config, name)]
        devices[name] = {
            "enabled": device.enabled,
            "link": config.link_key(name),
            "unit": device.unit,
            "polls": len(device.poll),
            "tags": len(device.tags),
            "writable": sum(poll.write is not None for poll in device.poll)
            + sum(t.write for t in device.tags.values()),
            "pushes": len(device.push) + (device.watchdog is not None),
            "intervals_s": sorted({block.every_s for block in blocks}),
            "requests": len(blocks),
            "requests_per_s": round(sum(1 / block.every_s for block in blocks), 3),
        }
    units = {
        unit_id: {table: [f"{first}..{stop - 1}" for first, stop in ranges] for table, ranges in bank.ranges().items()}
        for unit_id, bank in build(config).plant.banks.items()
    }
    beside = {unit_id: found for unit_id, unit in config.units.items() if (found := _beside(unit_id, unit))}
    routes = {
        str(ids): {
            "forward": route.forward,
            "to_unit": route.to_unit,
            "read_only": route.read_only,
            "functions": route.functions,
            "cache_s": route.cache_s,
        }
        for ids, route in config.sections.items()
        if isinstance(route, Route)
    }
    return {
        "listen": [str(url) for url in config.server.listen],
        "access": rights(config),
        "audit": config.audit.path if config.audit.enabled else None,
        "web": None if config.web is None else _page(config.web),
        "units": units,
        "beside": beside,
        "forwarded": routes,
        "devices": devices,
    }


def _page(web: Web) -> dict[str, Any]:
    return {"listen": str(web.listen), "users": {name: user.role for name, user in web.users.items()}}


def _beside(unit_id: int, unit: Unit) -> dict[str, Any]:
    """What a unit has beside its tables."""
    from gateway.modbus.spec import Table

    files = {
        str(number): {"records": file.records, "path": file.name(unit_id, number), "read_only": file.read_only}
        for number, file in unit.files.items()
    }
    queues = [Table.HOLDING.describe(pointer, 1 + fifo.size) for pointer, fifo in unit.fifo.items()]
    return {key: value for key, value in (("files", files), ("queues", queues)) if value}


def _tags(config: Config) -> Iterator[dict[str, Any]]:
    """Every tag of every device, as plain data."""
    for device_name, device in config.devices.items():
        for name, tag in device.tags.items():
            yield {
                "device": device_name,
                "tag": name,
                "at": tag.at.describe(),
                "type": tag.type,
                "order": tag.order or device.order,
                "unit": tag.unit,
                "every_s": device.every_s if tag.every_s is None else tag.every_s,
                "to": f"{config.unit_of(tag.to)}/{tag.to.address.describe()}" if tag.to is not None else None,
                "as": tag.as_,
                "description": tag.description,
            }


def _print(config: Config, summary: dict[str, Any], *, with_tags: bool) -> None:
    from rich.table import Table

    from gateway.config.durations import format_duration

    console = page_console()

    def table(title: str, *columns: str) -> Table:
        made = Table(title=title, title_justify="left")
        for column in columns:
            made.add_column(column, overflow="fold")
        return made

    console.print(f"listens on {', '.join(summary['listen'])}")
    for each in summary["access"]:
        where = f" on {', '.join(each['listen'])}" if len(summary["access"]) > 1 else ""
        rules = each["rules"]
        more = f"; and {len(rules) - MAX_RULES} rules more" if len(rules) > MAX_RULES else ""
        console.print(
            f"{rules[0]}{where}" if len(rules) == 1 else f"who may do what{where}, the first that fits:{more}"
        )
        for rule in rules[:MAX_RULES] if len(rules) > 1 else ():
            console.print(f"  {rule}")
    console.print(
        f"who wrote what is kept in {summary['audit']}" if summary["audit"] else "writes are not kept (audit)"
    )
    if (web := summary["web"]) is not None:
        users = ", ".join(f"{name} ({role})" for name, role in web["users"].items())
        console.print(f"the page is at {web['listen']}, {f'for {users}' if users else 'without users: it only shows'}")
    units = table("units", "unit", "coils", "discrete", "holding", "input")
    for unit_id, tables in summary["units"].items():
        ranges = (", ".join(tables[word]) or "-" for word in ("coils", "discrete", "holding", "input"))
        units.add_row(str(unit_id), *ranges)
    console.print(units)
    for unit_id, found in summary["beside"].items():
        for number, file in found.get("files", {}).items():
            only = ", read only" if file["read_only"] else ""
            console.print(f"unit {unit_id}: file {number}, {file['records']} records{only}, in {file['path']}")
        for queue in found.get("queues", ()):
            console.print(f"unit {unit_id}: queue {queue}")
    if summary["forwarded"]:
        forwarded = table("forwarded units", "unit", "to", "as unit", "passes", "cache")
        for ids, route in summary["forwarded"].items():
            codes = ", ".join(map(str, route["functions"])) if route["functions"] else "every function"
            passes = "reads" if route["read_only"] and not route["functions"] else codes
            cache = format_duration(route["cache_s"]) if route["cache_s"] else "-"
            to_unit = "-" if route["to_unit"] is None else str(route["to_unit"])
            forwarded.add_row(ids, route["forward"], to_unit, passes, cache)
        console.print(forwarded)
    names = ("device", "link", "unit", "polls", "tags", "writable", "sent", "every", "requests", "a second")
    devices = table("devices", *names)
    for name, device in summary["devices"].items():
        every = ", ".join(format_duration(interval_s) for interval_s in device["intervals_s"])
        rate = f"{device['requests_per_s']:g}" if device["enabled"] else "disabled"
        counts = (device[key] for key in ("unit", "polls", "tags", "writable", "pushes"))
        columns = (device["link"], *counts, every, device["requests"], rate)
        devices.add_row(name, *(str(column) for column in columns))
    console.print(devices)
    if with_tags:
        _print_tags(config)
    console.print("ok")


def _print_tags(config: Config) -> None:
    """A line for each, in columns; no rich table, which takes seconds for the thousands that a plant may have."""
    from gateway.config.durations import format_duration

    rows = [("device", "tag", "at", "type", "order", "every", "served at", "unit")]
    for tag in _tags(config):
        kind = tag["type"] if tag["as"] is None else f"{tag['type']} as {tag['as']}"
        every, to, unit = format_duration(tag["every_s"]), tag["to"] or "-", tag["unit"] or ""
        rows.append((tag["device"], tag["tag"], tag["at"], kind, tag["order"], every, to, unit))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
