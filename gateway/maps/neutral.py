"""The served register map, told once for all writers: what stands where, as a client reads it.

Pure: a checked Config in, a Map out. The rule of the file: an entry says what is on the wire towards clients, not what
the device has: type and byte order as served, and only the scaling that is still to be done. So a tag is ABCD with
nothing to scale, whatever its device does; `as: raw` keeps the device's order and scale; a poll is registers without a
meaning. Orders are reduced to what they do to that width (`CDAB` of one register is `ABCD`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal

from gateway.config import model_devices, model_units
from gateway.config.addresses import Address
from gateway.config.model import Config
from gateway.maps.image import Image, Spans, common, existing, joined, mapped, without
from gateway.modbus.spec import Table
from gateway.places import Placement, place_of, resolve_tag
from gateway.values import TYPES, Tag

Kind = Literal["tag", "poll", "status", "own"]

_DEVICE_STATUS = (
    ("state", 1, "0 waiting, 1 good, 2 stale, 3 down, 4 disabled", ""),
    ("age", 1, "of the oldest block; 65535: never or more", "s"),
    ("last_exception", 1, "exception code that the device answered last; 0: none", ""),
    ("failures", 1, "in a row", ""),
    ("good_requests", 2, "wraps", ""),
    ("failed_requests", 2, "wraps", ""),
)
"""Name, registers, meaning, unit of what a status block holds (config.md, Devices)."""
_OWN_STATUS = (
    ("heartbeat", 1, "counts up every second, wraps", ""),
    ("uptime", 2, "since the gateway started", "s"),
    ("devices_enabled", 1, "", ""),
    ("devices_good", 1, "", ""),
    ("devices_down", 1, "", ""),
    ("clients", 1, "connected now", ""),
    ("generation", 1, "of the configuration; counts reloads", ""),
)
GATEWAY = "gateway"
"""What stands for a device's name in the gateway's own status."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One value, or one block of registers or bits without a meaning (`poll`, `own`)."""

    kind: Kind
    device: str
    """Whose it is; empty for registers of our own."""
    name: str
    unit: int
    """The unit id that clients ask."""
    table: Table
    first: int
    count: int
    """Registers or bits of `table`."""
    bit: int | None
    """The bit of the register, 0 the least significant; None: all of it."""
    type: str
    """A type of config.md, as served; `raw` for blocks. A bool that fills a register is 0 or 1."""
    order: str
    """As served: ABCD but for `as: raw`."""
    scale: Fraction
    """Still to be done by the client: value = number * scale + offset."""
    offset: Fraction
    engineering: str
    """The unit of the value, for people; empty: none."""
    low: Fraction | None
    """The least value that may be written, scaled; None: no limit but the type's."""
    high: Fraction | None
    writable: bool
    """The registers take writes; whether a client may is said by `access`."""
    every_s: float
    """How often the gateway reads it; 0 for what is always there."""
    description: str
    source: Address | None
    """In the device; None: nowhere."""

    @property
    def stop(self) -> int:
        return self.first + self.count

    @property
    def is_scaled(self) -> bool:
        """Something is left to scale."""
        return self.scale != 1 or self.offset != 0

    @property
    def path(self) -> str:
        """`press.pressure`."""
        return f"{self.device}.{self.name}" if self.device else self.name

    @property
    def reference(self) -> str:
        """The six-digit reference, with the bit behind a point."""
        text = self.table.reference(self.first)
        return text if self.bit is None else f"{text}.{self.bit}"

    @property
    def from_(self) -> str:
        """The device's own address, as it is written in YAML; empty: none."""
        return written(self.source) if self.source else ""


@dataclass(frozen=True, slots=True)
class Map:
    """What a gateway serves, in order of unit, table, address."""

    title: str
    entries: tuple[Entry, ...]
    exists: Mapping[tuple[int, Table], tuple[tuple[int, int], ...]]
    """(first, stop) of what clients can read in one request, gaps between tags included where a range is declared."""
    forwards: tuple[tuple[str, str], ...]
    """(unit ids, to whom) of what is passed through, about which nothing is known here."""
    left_out: tuple[str, ...] = ()
    """Devices that are disabled: their registers have no value."""

    @property
    def units(self) -> tuple[int, ...]:
        return tuple(sorted({entry.unit for entry in self.entries}))

    def values(self) -> Iterator[Entry]:
        """What has a name: tags, status registers, and the single registers or bits of polled blocks."""
        for entry in self.entries:
            if entry.kind == "poll":
                yield from _singles(entry)
            elif entry.kind != "own":
                yield entry

    def is_readable(self, unit: int, table: Table, first: int, stop: int) -> bool:
        """All of these exist: a read of them is not refused with 02."""
        return any(begin <= first and stop <= end for begin, end in self.exists.get((unit, table), ()))

    def only(self, units: Collection[int] | None, devices: Collection[str] | None) -> Map:
        """The part that concerns these units and these devices; None: all."""
        return replace(
            self,
            entries=tuple(
                entry
                for entry in self.entries
                if (units is None or entry.unit in units) and (devices is None or entry.device in devices)
            ),
            exists={key: spans for key, spans in self.exists.items() if units is None or key[0] in units},
            forwards=self.forwards if units is None and devices is None else (),
            left_out=tuple(name for name in self.left_out if devices is None or name in devices),
        )


def written(address: Address) -> str:
    """As it stands in YAML: `holding:10`, `holding:10..17`, `holding:10.3`."""
    text = f"{address.table.word}:{address.first}"
    if address.bit is not None:
        return f"{text}.{address.bit}"
    return text if address.count == 1 else f"{text}..{address.stop - 1}"


def map_of(config: Config) -> Map:
    """Everything that clients of this plant can read."""
    entries = [*_statuses(config)]
    for name, device in config.devices.items():
        if device.enabled:
            entries += _polled(config, name, device)
            entries += _tagged(config, name, device)
    read_only = _read_only(config)
    entries = [
        replace(entry, writable=False) if entry.writable and _touches(read_only, entry) else entry for entry in entries
    ]
    exists, own = existing(config, mapped(config))
    entries += _own(config, own)
    entries.sort(key=lambda entry: (entry.unit, entry.table, entry.first, -1 if entry.bit is None else entry.bit))
    return Map(
        title=config.server.identity.product,
        entries=tuple(entries),
        exists=exists,
        forwards=tuple(
            (str(ids), route.forward) for ids, route in config.sections.items() if isinstance(route, model_units.Route)
        ),
        left_out=tuple(name for name, device in config.devices.items() if not device.enabled),
    )


def as_json(served: Map) -> dict[str, Any]:
    """The map as plain data. Fractions are numbers where that is exact, else `1/3`."""
    return {
        "title": served.title,
        "entries": [
            {
                "kind": entry.kind,
                "device": entry.device or None,
                "name": entry.name,
                "unit_id": entry.unit,
                "table": entry.table.word,
                "address": entry.first,
                "count": entry.count,
                "bit": entry.bit,
                "reference": entry.reference,
                "type": entry.type,
                "order": entry.order,
                "scale": number_or_text(entry.scale),
                "offset": number_or_text(entry.offset),
                "unit": entry.engineering or None,
                "range": None if entry.low is None else [number_or_text(entry.low), number_or_text(entry.high or 0)],
                "writable": entry.writable,
                "every_s": entry.every_s or None,
                "description": entry.description or None,
                "source": entry.from_ or None,
            }
            for entry in served.entries
        ],
        "readable": [
            {"unit_id": unit, "table": table.word, "first": first, "last": stop - 1}
            for (unit, table), spans in served.exists.items()
            for first, stop in spans
        ],
        "forwarded": [{"unit_ids": ids, "to": to} for ids, to in served.forwards],
        "disabled": list(served.left_out),
    }


def decimal(number: Fraction | int) -> str:
    """`0.1`, `12`, or `1/3` where no decimal is exact. As the YAML reads it."""
    exact = Fraction(number)
    places = 0
    while (exact * 10**places).denominator != 1:
        places += 1
        if places > _MAX_PLACES:
            return f"{exact.numerator}/{exact.denominator}"
    digits = f"{abs(int(exact * 10**places)):0{places + 1}d}"
    sign = "-" if exact < 0 else ""
    return sign + (f"{digits[:-places]}.{digits[-places:]}" if places else digits)


_MAX_PLACES = 18
"""Behind the point; what needs more of them is written as a quotient."""


def number_or_text(number: Fraction | int) -> int | float | str:
    """For JSON: a number when it reads back as the same one, else the text of `decimal`."""
    exact = Fraction(number)
    if exact.denominator == 1:
        return int(exact)
    return float(exact) if Fraction(str(float(exact))) == exact else decimal(exact)


def as_served(type_name: str, order: str) -> str:
    """What `order` does to this type: one register has no words, characters have none either."""
    if type_name != "string" and TYPES[type_name].registers != 1:
        return order
    return "BADC" if order in ("BADC", "DCBA") else "ABCD"


# -- the parts ----------------------------------------------------------------------------------------------------


def _entry(kind: Kind, device: str, name: str, unit: int, table: Table, first: int, **more: Any) -> Entry:
    defaults: dict[str, Any] = {
        "count": 1,
        "bit": None,
        "type": "uint16",
        "order": "ABCD",
        "scale": Fraction(1),
        "offset": Fraction(0),
        "engineering": "",
        "low": None,
        "high": None,
        "writable": False,
        "every_s": 0.0,
        "description": "",
        "source": None,
    }
    return Entry(kind=kind, device=device, name=name, unit=unit, table=table, first=first, **(defaults | more))


def _statuses(config: Config) -> Iterator[Entry]:
    if (place := config.server.status) is not None:
        yield from _status(GATEWAY, "", config.unit_of(place), place.address.first, _OWN_STATUS)
    for name, device in config.devices.items():
        if device.status is not None:
            yield from _status(
                name, "status_", config.unit_of(device.status), device.status.address.first, _DEVICE_STATUS
            )


def _status(
    device: str, prefix: str, unit: int, first: int, parts: Iterable[tuple[str, int, str, str]]
) -> Iterator[Entry]:
    for name, count, meaning, engineering in parts:
        kind = "uint32" if count == 2 else "uint16"
        more = {"count": count, "type": kind, "description": meaning, "engineering": engineering}
        yield _entry("status", device, prefix + name, unit, Table.INPUT, first, **more)
        first += count


def _polled(config: Config, name: str, device: model_devices.Device) -> Iterator[Entry]:
    for poll in device.poll:
        read = poll.read
        yield _entry(
            "poll",
            name,
            f"{read.table.word}_{read.first}" + (f"_{read.stop - 1}" if read.count > 1 else ""),
            config.unit_of(poll.to),
            poll.to.address.table,
            poll.to.address.first,
            count=read.count,
            type="raw",
            writable=poll.write is not None,
            every_s=device.every_s if poll.every_s is None else poll.every_s,
            source=read,
        )


def _tagged(config: Config, device_name: str, device: model_devices.Device) -> Iterator[Entry]:
    for name, configured in device.tags.items():
        tag = resolve_tag(name, configured, device)
        place = place_of(config, configured, tag)
        if place is not None:
            low, high = configured.range or (None, None)
            yield _entry(
                "tag",
                device_name,
                name,
                place.unit_id,
                place.table,
                place.first,
                count=place.count,
                engineering=configured.unit or "",
                low=low,
                high=high,
                writable=configured.write,
                every_s=device.every_s if configured.every_s is None else configured.every_s,
                description=configured.description or "",
                source=configured.at,
                **_shape(tag, configured, place),
            )


def _shape(tag: Tag, configured: model_devices.Tag, place: Placement) -> dict[str, Any]:
    """Type, order, bit and what is left to scale, as they stand in the image."""
    if place.table.is_bits or place.bit is not None:
        return {"type": "bool", "bit": place.bit}
    if configured.as_ != "raw":
        return {"type": configured.as_ or tag.type}
    if tag.type == "bool":
        if tag.table.is_bits:
            return {"type": "bool"}
        if tag.bit is None:
            return {"type": "uint16"}  # true is whatever is not 0, which is no bool to other tools
        return {"type": "bool", "bit": tag.bit ^ 8 if tag.swaps_bytes else tag.bit}
    return {
        "type": tag.type,
        "order": as_served(tag.type, tag.order),
        "scale": tag.scale,
        "offset": tag.offset,
    }


def _singles(block: Entry) -> Iterator[Entry]:
    """The registers or bits of a polled block, named by the device's own addresses."""
    assert block.source is not None
    kind = "bool" if block.table.is_bits else "uint16"
    for number in range(block.count):
        at = block.source.first + number
        yield replace(
            block,
            name=f"{block.source.table.word}_{at}",
            first=block.first + number,
            count=1,
            type=kind,
            source=Address(block.source.table, at),
        )


# -- what is ours ---------------------------------------------------------------------------------------------------


def _read_only(config: Config) -> dict[Image, Spans]:
    found: dict[Image, Spans] = {}
    for unit_id, unit in config.units.items():
        for address in unit.read_only:
            found.setdefault((unit_id, address.table), []).append((address.first, address.stop))
    return found


def _touches(spans: Mapping[Image, Spans], entry: Entry) -> bool:
    return any(first < entry.stop and entry.first < stop for first, stop in spans.get((entry.unit, entry.table), ()))


def _own(config: Config, own: Mapping[Image, Spans]) -> Iterator[Entry]:
    """What clients keep there, cut where it becomes read-only."""
    read_only = _read_only(config)
    for (unit, table), spans in own.items():
        locked = joined(read_only.get((unit, table), []))
        can_write = table in (Table.COILS, Table.HOLDING)
        parts = [(span, can_write) for span in without(spans, locked)]
        parts += [(span, False) for span in common(spans, locked)]
        for (first, stop), writable in sorted(parts):
            name = f"own_{table.word}_{first}" + (f"_{stop - 1}" if stop - first > 1 else "")
            yield _entry("own", "", name, unit, table, first, count=stop - first, type="raw", writable=writable)
