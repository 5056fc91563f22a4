"""What lies in the image: who writes where, that no two do, that it is inside what the units declare.

Every place is a span of bits, so that bits in registers and whole registers compare. Spans are sorted once and swept:
10,000 tags cost 10,000 comparisons, not their square.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from gateway.config.addresses import Address, Place
from gateway.config.check_routes import key_of_unit
from gateway.config.model import Config
from gateway.config.model_devices import Device, Tag
from gateway.config.model_units import Unit
from gateway.config.tree import Findings, KeyPath, dotted, find, numbers_left, place_of
from gateway.modbus.spec import ADDRESSES, Table
from gateway.values import TYPES

STATUS_REGISTERS = 8
"""Of a status block (config.md, Devices)."""
_REGISTER_BITS = 16

Image = tuple[int, Table]
"""One table of one unit."""


class Writer(NamedTuple):
    """Someone who writes bits `start`..`stop` (excluded) of a table; `path` is the key that says so."""

    start: int
    stop: int
    path: KeyPath


class Spans:
    """Disjoint spans in order: is this inside, is this touched?"""

    def __init__(self, spans: list[tuple[int, int]]) -> None:
        self.starts: list[int] = []
        self.stops: list[int] = []
        for start, stop in sorted(spans):
            if self.stops and start <= self.stops[-1]:
                self.stops[-1] = max(self.stops[-1], stop)
            else:
                self.starts.append(start)
                self.stops.append(stop)

    def contain(self, start: int, stop: int) -> bool:
        at = bisect_right(self.starts, start) - 1
        return at >= 0 and stop <= self.stops[at]

    def touch(self, start: int, stop: int) -> bool:
        at = bisect_right(self.starts, start) - 1
        if at >= 0 and start < self.stops[at]:
            return True
        return at + 1 < len(self.starts) and self.starts[at + 1] < stop


def check_image(
    config: Config, findings: Findings, broken: frozenset[KeyPath]
) -> tuple[dict[Image, list[Writer]], dict[Image, Spans]]:
    """Who writes the images, and what there is of them: declared or written to."""
    writers = _writers(config, findings, broken)
    _check_units_named(config, writers, findings)
    if not broken & {("server",), ("server", "default_unit"), ("units",)}:
        for image, here in writers.items():
            if image[0] in config.routes:
                for writer in here:
                    _refuse_forwarded(config, image[0], writer.path, findings)
            else:
                _check_declared(config, image, here, findings)
    for image, here in writers.items():
        _check_overlaps(image, here, findings)
    for unit_id, unit in config.units.items():
        mapped = {table: Spans([(w.start, w.stop) for w in writers.get((unit_id, table), ())]) for table in Table}
        # With a part left out, what it would have defined is unknown.
        _check_initial(unit_id, unit, mapped, findings, complete=not broken)
        _check_read_only(unit_id, unit, mapped, findings, complete=not broken)
        if unit.retain and not broken:
            _check_retain(unit_id, unit, mapped, findings)
    _check_pushes(config, writers, findings, broken)
    return writers, _all_existing(config, writers)


def _all_existing(config: Config, writers: dict[Image, list[Writer]]) -> dict[Image, Spans]:
    declared = {(unit_id, table) for unit_id, unit in config.units.items() for table in Table if _ranges(unit, table)}
    return {
        (unit_id, table): _existing(
            config.units.get(unit_id, Unit()),
            table,
            Spans([(writer.start, writer.stop) for writer in writers.get((unit_id, table), ())]),
        )
        for unit_id, table in sorted({*declared, *writers})
    }


def _writers(config: Config, findings: Findings, broken: frozenset[KeyPath]) -> dict[Image, list[Writer]]:
    """Everyone who writes the image, by table; those whose `to` is wrong are told and left out."""
    writers: dict[Image, list[Writer]] = {}

    def add(place: Place | None, count: int | None, path: KeyPath) -> None:
        if place is not None and count is not None:
            address = place.address
            image = (config.unit_of(place), address.table)
            writers.setdefault(image, []).append(Writer(*bits_of(address._replace(count=count)), path))

    here: KeyPath
    add(config.server.status, _status_count(config.server.status, ("server", "status"), findings), ("server", "status"))
    for name, device in config.devices.items():
        path = ("devices", name, "status")
        add(device.status, _status_count(device.status, path, findings), path)
        numbers = numbers_left((*path[:2], "poll"), len(device.poll), broken)
        for number, poll in zip(numbers, device.poll, strict=True):
            here = ("devices", name, "poll", number, "to")
            add(poll.to, _copy_count(poll.read, poll.to.address, "poll", "to", here, findings), here)
        for tag_name, tag in device.tags.items():
            if tag.to is not None:
                here = ("devices", name, "tags", tag_name, "to")
                add(tag.to, _tag_count(tag, tag.to.address, here, findings), here)
    return writers


def bits_of(address: Address) -> tuple[int, int]:
    """The span of an address in bits, from the beginning of its table."""
    if address.table.is_bits:
        return address.first, address.stop
    start = address.first * _REGISTER_BITS
    if address.bit is not None:
        return start + address.bit, start + address.bit + 1
    return start, address.stop * _REGISTER_BITS


def _describe(image: Image, start: int, stop: int) -> str:
    """`1/holding:100 (400101)` for a span of bits."""
    unit_id, table = image
    if not table.is_bits:
        if stop - start == 1:
            return f"{unit_id}/{Address(table, start // _REGISTER_BITS, 1, start % _REGISTER_BITS).describe()}"
        start, stop = start // _REGISTER_BITS, -(-stop // _REGISTER_BITS)
    return f"{unit_id}/{table.describe(start, stop - start)}"


def _status_count(place: Place | None, path: KeyPath, findings: Findings) -> int | None:
    if place is None:
        return None
    address = place.address
    if address.table is not Table.INPUT or address.bit is not None:
        message = f"a status block is {STATUS_REGISTERS} input registers, such as `1/input:9000`"
        findings.error(path, f"{message}; this is {address.describe()}")
        return None
    return _fits(STATUS_REGISTERS, address, "a status block", path, findings)


def _copy_count(theirs: Address, ours: Address, what: str, way: str, path: KeyPath, findings: Findings) -> int | None:
    """Registers or bits that a poll or a push copies as they are; None: it is wrong, and told."""
    if theirs.bit is not None:
        return None  # told already
    if theirs.table.is_bits != ours.table.is_bits:
        kind, where = ("bits", "coils or discrete") if theirs.table.is_bits else ("registers", "holding or input")
        findings.error(path, f"a {what} copies {kind} as they are, {way} {where}; this is {ours.describe()}")
        return None
    if ours.bit is not None:
        findings.error(path, f"a {what} copies whole registers, this is the bit {ours.describe()}")
        return None
    return _fits(theirs.count, ours, f"the {what}", path, findings)


def _tag_count(tag: Tag, target: Address, path: KeyPath, findings: Findings) -> int | None:
    """How many places of the image the tag occupies; None when it cannot lie there."""
    source = tag.at
    if tag.as_ is None and tag.type == "bool":
        kind = "bool"
    elif tag.as_ == "bool" and tag.type != "bool":
        findings.error(
            (*path[:-1], "as"),
            f"{tag.type} is no bool; a bit of it is written `at: {tag.at.table.word}:{tag.at.first}.0`",
        )
        return None
    elif tag.type == "string" and tag.as_ not in (None, "raw"):
        findings.error((*path[:-1], "as"), f"a string is no {tag.as_}; remove the key, or write `as: raw`")
        return None
    else:
        kind = tag.as_ or tag.type
    if kind == "bool":
        return _fits(1, target, "a bool", path, findings)
    if kind == "raw" and source.table.is_bits:
        if not target.table.is_bits:
            findings.error(path, "a raw bit stays a bit: write it to coils or discrete, or remove `as: raw`")
            return None
        return _fits(1, target, "a raw bit", path, findings)
    if target.table.is_bits:
        findings.error(
            path, f"{target.describe()} is a bit, {_article(kind)} does not fit it; write it to holding or input"
        )
        return None
    if target.bit is not None:
        findings.error(
            path, f"{target.describe()} is one bit, {_article(kind)} does not fit it; write a whole register"
        )
        return None
    if _loses_fraction(tag, kind):
        said = (*path[:-1], "as") if tag.as_ else path
        findings.warn(said, f"the image holds {kind}: the fraction of the value is lost; `as: float32` keeps it")
    width = width_of(tag) if kind in ("raw", "string") else TYPES[kind].registers
    return _fits(width, target, _article(kind), path, findings)


def width_of(tag: Tag) -> int:
    """Registers (or the one bit) of the tag at the device."""
    return tag.at.count if tag.type == "string" else TYPES[tag.type].registers


def _article(kind: str) -> str:
    if kind == "raw":
        return "a copy of registers"
    return f"{'an' if kind[0] in 'aeiou' and not kind.startswith('u') else 'a'} {kind}"


def _loses_fraction(tag: Tag, kind: str) -> bool:
    if kind in ("raw", "string") or not TYPES[kind].is_integer:
        return False
    return TYPES[tag.type].is_float or tag.scale.denominator != 1 or tag.offset.denominator != 1


def _fits(count: int, target: Address, what: str, path: KeyPath, findings: Findings) -> int | None:
    """`count` when the target is a start address or a range of that length, and the table is long enough."""
    unit = "bit" if target.table.is_bits else "register"
    if target.count not in (1, count):
        size = f"one {unit}" if count == 1 else f"{count} {unit}s"
        findings.error(path, f"{what} has {size}, this range has {target.count}; the first address is enough")
        return None
    if target.first + count > ADDRESSES:
        findings.error(
            path, f"{what} has {count} {unit}s; from {target.describe()} it runs past 65535, the end of the table"
        )
        return None
    return count


def _ranges(unit: Unit, table: Table) -> tuple[tuple[int, int], ...] | None:
    ranges: tuple[tuple[int, int], ...] | None = getattr(unit, table.word)
    return ranges


def _declared(ranges: tuple[tuple[int, int], ...], table: Table) -> Spans:
    size = 1 if table.is_bits else _REGISTER_BITS
    return Spans([(first * size, (first + count) * size) for first, count in ranges])


def _written(ranges: tuple[tuple[int, int], ...]) -> str:
    return ", ".join(f"{first}..{first + count - 1}" for first, count in ranges)


def _check_units_named(config: Config, writers: dict[Image, list[Writer]], findings: Findings) -> None:
    for (unit_id, _), here in writers.items():
        if unit_id in (0, 255) and unit_id not in config.units and unit_id not in config.routes:
            message = (
                f"clients that ask unit {unit_id} get unit {config.server.default_unit}, unless `units` names {unit_id}"
            )
            findings.warn(here[0].path, message)


def _check_declared(config: Config, image: Image, writers: list[Writer], findings: Findings) -> None:
    unit_id, table = image
    unit = config.units.get(unit_id)
    ranges = _ranges(unit, table) if unit else None
    if ranges is None:
        return
    declared = _declared(ranges, table)
    for writer in writers:
        if not declared.contain(writer.start, writer.stop):
            place = place_of(findings.root, ("units", str(unit_id), table.word))
            findings.error(
                writer.path,
                f"{_describe(image, writer.start, writer.stop)} is outside of what unit {unit_id} declares: "
                f"{table.word}: {_written(ranges)} ({place})",
            )


def _check_overlaps(image: Image, writers: list[Writer], findings: Findings) -> None:
    """Two writers of one bit: told at the one further down, naming the other."""
    ordered = sorted(writers)
    far = ordered[0]  # of those so far the one that reaches furthest
    for writer in ordered[1:]:
        if writer.start < far.stop:
            first, second = sorted((far, writer), key=lambda w: _order(findings, w.path))
            both = _describe(image, writer.start, min(far.stop, writer.stop))
            findings.error(
                second.path,
                f"two write {both}: this and {owner_of(first.path)} ({place_of(findings.root, first.path)})",
            )
        if writer.stop > far.stop:
            far = writer


def _order(findings: Findings, path: KeyPath) -> tuple[int, int, int]:
    mark = place_of(findings.root, path)
    return (findings.files.index(mark.file) if mark.file in findings.files else 0, mark.line, mark.column)


def owner_of(path: KeyPath) -> str:
    """`devices.press.tags.level`, `devices.press.poll[0]`, `devices.press.status`"""
    return dotted(path if path[-1] == "status" else path[:-1])


def _check_initial(unit_id: int, unit: Unit, mapped: dict[Table, Spans], findings: Findings, *, complete: bool) -> None:
    if not unit.initial:
        return
    path = ("units", str(unit_id), "initial")
    seen: dict[Table, list[tuple[int, int]]] = {}
    node = find(findings.root, path)
    keys = list(node.mapping) if node else []
    for key, (address, _) in zip(keys, unit.initial, strict=True):
        table = address.table
        start, stop = bits_of(address)
        here = (*path, key)
        ranges = _ranges(unit, table)
        if mapped[table].touch(start, stop):
            findings.error(
                here, f"{address.describe()} is mapped to a device; `initial` is for registers of our own", key=True
            )
        elif complete and (ranges is None or not _declared(ranges, table).contain(start, stop)):
            if ranges is None:
                hint = f"declare the table: `{table.word}: 0..{max(address.stop - 1, 999)}`"
            else:
                hint = f"the unit declares {table.word}: {_written(ranges)}"
            findings.error(here, f"unit {unit_id} has no {address.describe()}; {hint}", key=True)
        if any(start < other_stop and other_start < stop for other_start, other_stop in seen.get(table, ())):
            findings.error(here, f"{address.describe()} has an initial value already", key=True)
        seen.setdefault(table, []).append((start, stop))


def _check_read_only(
    unit_id: int, unit: Unit, mapped: dict[Table, Spans], findings: Findings, *, complete: bool
) -> None:
    for number, address in enumerate(unit.read_only):
        here = ("units", str(unit_id), "read_only", number)
        table = address.table
        if table in (Table.DISCRETE, Table.INPUT):
            findings.error(here, f"{address.describe()}: clients can never write {table.word}; remove it")
            continue
        if address.bit is not None:
            findings.error(here, f"whole registers are read only: write `{table.word}:{address.first}`")
            continue
        existing = _existing(unit, table, mapped[table])
        if complete and not existing.contain(*bits_of(address)):
            findings.error(
                here,
                f"unit {unit_id} has no {address.describe()}, or not all of it; nothing is declared or mapped there",
            )


def _existing(unit: Unit, table: Table, mapped: Spans) -> Spans:
    """What there is of a table: declared or mapped. A register of which one bit is mapped exists as a whole."""
    declared = _declared(_ranges(unit, table) or (), table)
    size = 1 if table.is_bits else _REGISTER_BITS
    spans = [*zip(declared.starts, declared.stops, strict=True)]
    spans += [(a // size * size, -(-b // size) * size) for a, b in zip(mapped.starts, mapped.stops, strict=True)]
    return Spans(spans)


def _refuse_forwarded(config: Config, unit_id: int, path: KeyPath, findings: Findings) -> None:
    """Nothing of ours lies in a unit that is passed through."""
    place = place_of(findings.root, ("units", str(key_of_unit(config, unit_id))), key=True)
    name = config.routes[unit_id].forward
    default = ""
    if unit_id == config.server.default_unit and "/" not in findings.text(path):
        default = ", the `default_unit`,"
    findings.error(path, f"unit {unit_id}{default} is forwarded to '{name}' ({place}) and has no registers of ours")


def _check_retain(unit_id: int, unit: Unit, mapped: dict[Table, Spans], findings: Findings) -> None:
    """There must be something that clients can write and no device fills."""
    for table in (Table.COILS, Table.HOLDING):
        declared = _declared(_ranges(unit, table) or (), table)
        if any(
            not mapped[table].contain(start, stop) for start, stop in zip(declared.starts, declared.stops, strict=True)
        ):
            return
    findings.error(
        ("units", str(unit_id), "retain"),
        f"unit {unit_id} has no registers of our own that clients can write; declare some, such as `holding: 0..999`",
    )


def _check_pushes(
    config: Config, writers: dict[Image, list[Writer]], findings: Findings, broken: frozenset[KeyPath]
) -> None:
    """That the sources of pushes fit, and that they exist."""
    ordered: dict[Image, list[Writer]] = {}
    for name, device in config.devices.items():
        path = ("devices", name, "push")
        numbers = numbers_left(path, len(device.push), broken)
        for number, push in zip(numbers, device.push, strict=True):
            here = (*path, number, "from")
            if _copy_count(push.write, push.from_.address, "push", "from", here, findings) is None:
                continue
            image = (config.unit_of(push.from_), push.from_.address.table)
            source = Writer(*bits_of(push.from_.address._replace(count=push.write.count)), here)
            if image not in ordered:
                ordered[image] = sorted(writers.get(image, ()))
            if not broken:
                _check_source(config, image, source, ordered[image], findings)
            for writer in _overlapping(ordered[image], source):
                if writer.path[:2] == path[:2] and _comes_from(device, writer.path, push.write, broken):
                    place = place_of(findings.root, writer.path)
                    message = (
                        f"{owner_of(writer.path)} ({place}) fills it from the same registers of the device: "
                        "they would be written back"
                    )
                    findings.warn(here, message)
                    break


def _check_source(config: Config, image: Image, source: Writer, writers: list[Writer], findings: Findings) -> None:
    """The source exists, and something can write it."""
    unit_id, table = image
    if unit_id in config.routes:
        _refuse_forwarded(config, unit_id, source.path, findings)
        return
    unit = config.units.get(unit_id, Unit())
    ranges = _ranges(unit, table)
    mapped = Spans([(writer.start, writer.stop) for writer in writers])
    described = _describe(image, source.start, source.stop)
    if not _existing(unit, table, mapped).contain(source.start, source.stop):
        if ranges is None:
            last = max(-(-source.stop // (1 if table.is_bits else _REGISTER_BITS)) - 1, 999)
            hint = f"declare it: `units: {{{unit_id}: {{{table.word}: 0..{last}}}}}`"
        else:
            place = place_of(findings.root, ("units", str(unit_id), table.word))
            hint = f"the unit declares {table.word}: {_written(ranges)} ({place})"
        findings.error(source.path, f"there is no {described}, or not all of it; {hint}")
    elif table in (Table.DISCRETE, Table.INPUT):
        written = [bits_of(address) for address, _ in unit.initial if address.table is table]
        written += zip(mapped.starts, mapped.stops, strict=True)
        if not Spans(written).contain(source.start, source.stop):
            message = f"clients cannot write {described}, and nothing is mapped to all of it: this never sends anything"
            findings.warn(source.path, message)


def _overlapping(ordered: list[Writer], source: Writer) -> Iterator[Writer]:
    """Of writers side by side those that touch `source`."""
    at = max(bisect_right(ordered, source.start, key=lambda writer: writer.start) - 1, 0)
    for writer in islice(ordered, at, None):
        if writer.start >= source.stop:
            return
        if writer.stop > source.start:
            yield writer


def _comes_from(device: Device, writer: KeyPath, target: Address, broken: frozenset[KeyPath]) -> bool:
    """Whether the poll or tag that has the key `writer` reads what is written at `target`."""
    if writer[2] == "tags":
        tag = device.tags[str(writer[3])]
        read = tag.at._replace(count=width_of(tag))
    elif writer[2] == "poll":
        numbers = numbers_left(writer[:3], len(device.poll), broken)
        read = device.poll[numbers.index(int(writer[3]))].read
    else:
        return False
    start, stop = bits_of(read)
    first, last = bits_of(target)
    return read.table is target.table and start < last and first < stop
