"""Everything that people and programs may ask of a running gateway: the one object from which the control socket, the
page and the metrics show things.

The rule of the file: answers are plain JSON values (control/socket.py), and whatever grows with the plant is an
iterator whose items are made one at a time, so that whoever sends them lets the loop serve registers in between. What
cannot be answered is an AskError whose text a person understands. Nobody here writes but through the gate.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from gateway import __version__, clock, process
from gateway.app.tagwrite import TagWriter
from gateway.control.findings import Finding, findings
from gateway.errors import AskError
from gateway.events import Event
from gateway.front.gate import Origin
from gateway.hub import Point, Subscription
from gateway.modbus import spec
from gateway.modbus.pdu import read_request
from gateway.modbus.words import answer_text, request_text
from gateway.places import place_of, resolve_tag
from gateway.traffic import MAX_TAKEN, MAX_TAPS, Exchange, Frame, Wanted
from gateway.values import Quality

if TYPE_CHECKING:
    from gateway.app.gateway import Gateway

QUALITIES = tuple(quality.name.lower() for quality in Quality)
"""By the number of a quality: good, uncertain, bad."""
MAX_REGISTERS = 1000
"""Of one table asked for at once: more than a screen shows."""
MAX_SERIES = 50
"""Tags of one question for trends; each may have thousands of points."""
MAX_POINTS = 4000
"""Of one series: more than a screen has columns."""

Row = dict[str, Any]


class Views:
    """Of one gateway; a reload changes what they show."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._writer = TagWriter(gateway)

    @property
    def boot(self) -> str:
        """Of this process: another one, and the gateway was started anew."""
        return self._gateway.service.boot

    # -- the gateway as a whole ---------------------------------------------------------------------------------

    def gateway(self) -> Row:
        """About the process and its configuration."""
        gateway = self._gateway
        return {
            "version": __version__,
            "boot": self.boot,
            "pid": os.getpid(),
            "tasks": len(asyncio.all_tasks()),
            "open_files": process.open_files(),
            "memory_kb": process.memory_kb(),
            "uptime_s": round(clock.now() - gateway.started_s, 1),
            "generation": gateway.generation,
            "config": str(gateway.path.resolve()),
            "clients": gateway.counters.clients,
            "requests": gateway.requests,
            "exceptions": gateway.exceptions,
            "listen": gateway.listens_at(),
            "reload": f"last reload refused: {gateway.refusal}" if gateway.refusal else "",
            "troubles": gateway.troubles(),
        }

    def status(self) -> Row:
        """What `gateway status` shows."""
        gateway = self._gateway
        return {
            "gateway": self.gateway(),
            "server": gateway.counters.snapshot(),
            "audit": gateway.audit_counters(),
            "serial": [line.snapshot() for line in gateway.server.lines],
            "dial_in": gateway.plant.wiring.dial_in.counters.snapshot(),
            "links": self.links(),
            "devices": self.devices(),
            "routes": self.routes(),
            **({} if (page := gateway.page.snapshot()) is None else {"page": page}),
        }

    def links(self) -> Iterator[Row]:
        """One row for each link, as in `gateway status --json`."""
        return self._gateway.plant.link_rows()

    def devices(self) -> Iterator[Row]:
        """One row for each device, as in `gateway status --json`: jobs and holes are in it."""
        return self._gateway.plant.device_rows()

    def routes(self) -> Iterator[Row]:
        """One row for each forwarded unit."""
        return self._gateway.plant.route_rows()

    def findings(self, links: Iterable[Row], devices: Iterable[Row], gateway: Row | None = None) -> list[Row]:
        """What is wrong, read out of rows that were made already: what concerns most comes first."""
        snapshot = {"links": list(links), "devices": list(devices), "gateway": gateway or self.gateway()}
        return [finding_row(each) for each in findings(snapshot)]

    # -- one device ---------------------------------------------------------------------------------------------

    def device(self, name: str) -> Row:
        """All about one: its row, jobs and holes, the last exchanges of its unit in words, the indexes of its tags."""
        plant = self._gateway.plant
        row = next((row for row in plant.device_rows([name])), None)
        if row is None:
            raise AskError("missing", f"there is no device {name}")
        plan = plant.blueprint.devices[name]
        link = plant.links.get(plan.link or "")
        exchanges = [] if link is None else link.exchanges(plan.unit_id)
        points = self._gateway.hub.points.get(name, {})
        return {
            "device": {key: value for key, value in row.items() if key not in ("jobs", "holes")},
            "jobs": row["jobs"],
            "holes": row["holes"],
            "exchanges": [_exchange(each) for each in reversed(exchanges)],
            "tags": [point.index for point in points.values()],
            "link": next(plant.link_rows([plan.link]), None) if plan.link else None,
        }

    # -- tags ---------------------------------------------------------------------------------------------------

    @property
    def generation(self) -> int:
        """Another one: there are other tags, or their indexes mean others."""
        return self._gateway.hub.generation

    def subscribe(self) -> Subscription:
        """Which points change from now on; to be closed."""
        return self._gateway.hub.subscribe()

    def tags(self) -> Iterator[Row]:
        """What is fixed about each tag: `i`, its index, is what `values` and changes call it."""
        gateway, config = self._gateway, self._gateway.config
        for name, device in config.devices.items():
            for tag_name, tag in device.tags.items():
                point = gateway.hub.points.get(name, {}).get(tag_name)
                if point is None:  # its device is not enabled
                    continue
                place = place_of(config, tag, resolve_tag(tag_name, tag, device))
                to = tag.to.address.describe() if tag.to is not None else None
                yield {
                    "i": point.index,
                    "device": name,
                    "name": tag_name,
                    "at": tag.at.describe(),
                    "type": tag.type,
                    "unit": tag.unit or "",
                    "description": tag.description or "",
                    "to": None if place is None else f"{place.unit_id}/{to}",
                    "as": tag.as_,
                    "write": tag.write and place is not None,
                    "range": None if tag.range is None else [_number(limit) for limit in tag.range],
                    "order": tag.order or device.order,
                    "scale": float(tag.scale),
                    "offset": float(tag.offset),
                    "every_s": device.every_s if tag.every_s is None else tag.every_s,
                }

    def values(self) -> Iterator[list[Any]]:
        """`value_of` of each tag."""
        for points in list(self._gateway.hub.points.values()):
            for point in list(points.values()):
                yield self.value_of(point)

    def value_of(self, point: Point) -> list[Any]:
        """`[index, value or null, quality, ms since 1970 of the last good read or null, cause]`."""
        value, quality, time_ns, cause = point.sample()
        return [point.index, value, QUALITIES[quality], time_ns // 1_000_000 or None, cause]

    async def write_tag(self, origin: Origin, device: str, tag: str, value: Any) -> Row:
        """Write a value in engineering units, as a client would: `outcome`, `before`, `after`. AskError: it was not
        written, or nobody knows whether it was."""
        return await self._writer.write(origin, device, tag, value)

    def refuse_write(self, origin: Origin, device: str, tag: str, value: Any, why: str) -> None:
        """Somebody wants to write and may not: the audit has it, as long as they are not too many."""
        self._writer.refuse(origin, device, tag, value, why)

    def end(self) -> None:
        """Nobody asks any more: what is still to be told is told."""
        self._writer.refusals.end()

    def trends(self, names: Iterable[str], from_ms: int | None, to_ms: int | None, points: int) -> Iterator[Row]:
        """For each `DEVICE/TAG` times and least, greatest and last value; null where there was no good one."""
        trends = self._gateway.trending.trends
        if trends is None:
            raise AskError("missing", "nothing is kept for trends: there is no `web` section, or its `trend` is 0s")
        wanted = list(names)
        if len(wanted) > MAX_SERIES:
            raise AskError("invalid", f"{len(wanted)} tags at once; {MAX_SERIES} are the most")
        now_ms = time.time_ns() // 1_000_000
        to_ms = now_ms if to_ms is None else to_ms
        from_ms = to_ms - int(trends.keep_s * 1000) if from_ms is None else from_ms
        if from_ms >= to_ms:
            raise AskError("invalid", "`from` must be before `to`")
        keys = [self._tag_of(name) for name in wanted]

        def rows() -> Iterator[Row]:
            config = self._gateway.config
            for name, (device, tag) in zip(wanted, keys, strict=True):
                times, least, greatest, last = trends.series(
                    (device, tag), from_ms, to_ms, max(1, min(points, MAX_POINTS))
                )
                found = config.devices.get(device)
                configured = found.tags.get(tag) if found is not None else None
                unit = configured.unit or "" if configured is not None else ""
                yield {"tag": name, "unit": unit, "t": times, "min": least, "max": greatest, "last": last}

        return rows()

    def _tag_of(self, name: str) -> tuple[str, str]:
        """`DEVICE/TAG`."""
        device, _, tag = name.partition("/")
        if tag not in self._gateway.config.devices[device].tags if device in self._gateway.config.devices else True:
            raise AskError("missing", f"there is no tag {name}; write DEVICE/TAG")
        return device, tag

    # -- units --------------------------------------------------------------------------------------------------

    def units(self) -> Iterator[Row]:
        """Each unit id that clients may ask: our image with its tables, or a forward; and what was asked of it."""
        gateway = self._gateway
        plant, counters = gateway.plant, gateway.counters
        plans = plant.blueprint.routes
        meant = gateway.units.meant
        for unit_id in sorted({*plant.banks, *plans}):
            asked_as = [other for other in range(256) if meant[other] == unit_id]
            row: Row = {
                "unit": unit_id,
                "kind": "image" if unit_id in plant.banks else "forward",
                "tables": {},
                "forward": None,
                "requests": sum(counters.by_unit[other] for other in asked_as),
                "exceptions": sum(counters.refused_by_unit[other] for other in asked_as),
            }
            if unit_id in plant.banks:
                ranges = plant.banks[unit_id].ranges()
                row["tables"] = {
                    table: [[first, stop - 1] for first, stop in found] for table, found in ranges.items() if found
                }
            else:
                row["forward"] = plans[unit_id].route.forward
                row["to_unit"] = plans[unit_id].unit_id
            yield row

    def registers(self, origin: Origin, unit: int, table: str, first: int, count: int) -> Row:
        """What a client from `origin` would read of our image now, one by one: `values`, and `codes` where there is
        none (the exception that he would get; 0: there is a value). `held`: a value that is too old (`on_stale`)."""
        gateway = self._gateway
        place = spec.TABLE_BY_WORD.get(table)
        if place is None:
            raise AskError("invalid", f"there is no table {table!r}; there are {', '.join(spec.TABLE_BY_WORD)}")
        if not 1 <= count <= MAX_REGISTERS:
            raise AskError("invalid", f"count {count}: 1 to {MAX_REGISTERS} can be shown at once")
        if not 0 <= first <= first + count <= spec.ADDRESSES:
            raise AskError("invalid", f"addresses of a table are 0 to {spec.ADDRESSES - 1}")
        bank = gateway.plant.banks.get(unit)
        if bank is None:
            forward = gateway.plant.blueprint.routes.get(unit)
            why = f"unit {unit} is passed through to {forward.route.forward}" if forward else f"there is no unit {unit}"
            raise AskError("missing", f"{why}: only register images of ours can be shown")
        entry = gateway.gate.admit(origin)
        gateway.gate.judge()
        most = spec.MAX_READ_BITS if place.is_bits else spec.MAX_READ_REGISTERS
        may = entry is not None and all(
            entry.allows(unit, read_request(place, at, min(most, first + count - at)))
            for at in range(first, first + count, most)
        )
        if not may:
            raise AskError("denied", f"`server.access` does not let you read {table} of unit {unit}")
        values, codes, held = bank.look(place, first, count)
        return {"unit": unit, "table": table, "first": first, "values": values, "codes": codes, "held": held}

    # -- clients and events -------------------------------------------------------------------------------------

    def clients(self) -> Iterator[Row]:
        """One row for each client that is connected, has sent datagrams of late, or is a serial line."""
        return self._gateway.server.client_rows()

    def events(self, after: int = 0) -> Row:
        """What has happened after event `after`, oldest first. `lost_before`: of those with lower numbers some are not
        kept any more."""
        events = self._gateway.news.events
        return {
            "boot": self.boot,
            "events": map(_event, events.walk(after)),
            "last": events.last,
            "lost_before": events.lost_before,
        }

    @property
    def last_event(self) -> int:
        """Number of the newest: another one, and there is something to fetch."""
        return self._gateway.news.events.last

    # -- traffic ------------------------------------------------------------------------------------------------

    def trace_open(self, wanted: Mapping[str, Any]) -> Row:
        """Begin to look at traffic: `device` (a name), `link` (its key), `client` (an address, with or without port),
        `unit`, `side` (device or client); nothing: everything. `trace_take` it more often than every 10 s."""
        tap = self._gateway.news.taps.open(self._wanted(wanted))
        if tap is None:
            raise AskError("full", f"{MAX_TAPS} traces are open already: close one of them, or wait 10 s")
        return {"tap": tap.number}

    def trace_take(self, tap: int, after: int = 0, limit: int = MAX_TAKEN) -> Row:
        """The frames after number `after` of a trace; `lost`: how many before them nobody took in time."""
        found = self._gateway.news.taps.get(tap)
        if found is None:
            raise AskError("missing", f"there is no trace {tap}: nobody took its frames for 10 s, or it was closed")
        frames, lost = found.take(after, limit)
        return {"frames": map(_frame, frames), "lost": lost}

    def trace_close(self, tap: int) -> Row:
        """Look no more. One that is closed already is closed."""
        self._gateway.news.taps.close(tap)
        return {}

    def _wanted(self, wanted: Mapping[str, Any]) -> Wanted:
        if unknown := wanted.keys() - {"device", "link", "client", "unit", "side"}:
            raise AskError("invalid", f"a trace has no {min(unknown)}: device, link, client, unit or side can be said")
        plant = self._gateway.plant
        device, link, client, unit, side = (wanted.get(key) for key in ("device", "link", "client", "unit", "side"))
        if side not in (None, "", "device", "client"):
            raise AskError("invalid", f"side {side!r}: it is device or client")
        if unit is not None and (isinstance(unit, bool) or not isinstance(unit, int) or not 0 <= unit <= 255):
            raise AskError("invalid", f"unit {unit!r}: it is a number, 0 to 255")
        if device is not None:
            plan = plant.blueprint.devices.get(str(device))
            if plan is None or plan.link is None:
                why = "is disabled" if plan is not None else "is not in the configuration"
                raise AskError("missing", f"device {device} {why}")
            link, unit = plan.link, plan.unit_id if unit is None else unit
        elif link is not None and link not in plant.links:
            raise AskError("missing", f"there is no link {link}; there are {', '.join(plant.links) or 'none'}")
        if link is not None and (client is not None or side == "client"):
            raise AskError("invalid", "say a device, or a client: these are different wires")
        return Wanted(str(side or ""), link, unit, None if client is None else str(client))


def _number(exact: Fraction) -> int | float:
    """Whole numbers keep every digit."""
    return exact.numerator if exact.denominator == 1 else float(exact)


def finding_row(each: Finding) -> Row:
    return {"whose": each.whose, "text": each.what, "more": list(each.more), "device": each.device, "link": each.link}


def _exchange(each: Exchange) -> Row:
    return {
        "time_ms": each.time_ns // 1_000_000,
        "unit": each.unit_id,
        "request": request_text(each.pdu),
        "answer": "" if each.answer is None else answer_text(each.pdu, each.answer),
        "error": each.error,
        "took_ms": round(each.took_s * 1000, 3),
        "attempts": each.attempts,
        "hex_request": each.pdu.hex(),
        "hex_answer": None if each.answer is None else each.answer.hex(),
    }


def _event(event: Event) -> Row:
    return {
        "number": event.number,
        "time_ms": event.time_ns // 1_000_000,
        "kind": event.kind,
        "where": event.where,
        "level": event.level,
        "text": event.text,
        "details": event.details,
    }


def _frame(frame: Frame) -> Row:
    """As Frame, `pdu` in hex."""
    return {**frame._asdict(), "pdu": frame.pdu.hex()}
