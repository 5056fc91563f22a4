"""What a unit has beside its tables: files (20, 21), queues (24), the bits of function 07; and where files lie.

A file and the audit are plain names in the state directory: nothing of a plant's file leads the gateway anywhere else.
"""

from __future__ import annotations

import re

from gateway.config.addresses import Address
from gateway.config.check_image import Image, Spans, Writer, bits_of, owner_of
from gateway.config.check_routes import key_of_unit
from gateway.config.model import Config
from gateway.config.model_units import Fifo, Unit
from gateway.config.scalars import parse_fifo_pointer
from gateway.config.tree import Findings, KeyPath, dotted, find, place_of
from gateway.modbus.spec import ADDRESSES, Table

_STATUS_BITS = 8
"""Of function 07 (V1.1b3 6.7)."""
_FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}")
"""What every system takes, and what no shell minds."""
_OURS = re.compile(r"lock|control\.sock|retained-.*|.*\.(new|previous|import)", re.IGNORECASE)
"""Names that the gateway itself makes in the state directory."""
_REGISTER_BITS = 16


def check_functions(
    config: Config,
    writers: dict[Image, list[Writer]],
    existing: dict[Image, Spans],
    findings: Findings,
    broken: frozenset[KeyPath],
) -> None:
    """`writers`: who fills the images; `existing`: what lies in them, in bits."""
    _check_names(config, findings)
    for unit_id, unit in config.units.items():
        path = ("units", str(unit_id))
        _check_fifos(config, unit_id, unit, writers, existing, findings, broken)
        if unit.exception_status is not None:
            spans = None if broken else existing.get((unit_id, unit.exception_status.table), Spans([]))
            _check_exception_status(unit.exception_status, unit_id, spans, (*path, "exception_status"), findings)


# -- names of files -------------------------------------------------------------------------------------------------


def _check_names(config: Config, findings: Findings) -> None:
    owners: dict[str, KeyPath] = {}
    names: list[tuple[str, KeyPath, bool]] = []
    if config.audit.enabled:
        names.append((config.audit.path, ("audit", "path"), "path" in config.audit.model_fields_set))
    for unit_id, unit in config.units.items():
        for number, file in unit.files.items():
            path: KeyPath = ("units", str(unit_id), "files", str(number))
            names.append((file.name(unit_id, number), (*path, "path") if file.path else path, file.path is not None))
    for name, path, is_given in names:
        if is_given and not _is_name(name, path, findings):
            continue
        other = owners.setdefault(name.lower(), path)  # one file on systems that fold case
        if other != path:
            who = dotted(other[:-1] if other[-1] == "path" else other)
            findings.error(
                path, f"{who} ({place_of(findings.root, other)}) has the file {name} already", key=not is_given
            )


def _is_name(name: str, path: KeyPath, findings: Findings) -> bool:
    if "/" in name or "\\" in name or name.startswith("."):
        last = re.split(r"[/\\]", name)[-1].lstrip(".") or "recipes.dat"
        findings.error(path, f"`{name}` leads out of `state_dir` or into a folder of it; write a name alone: `{last}`")
    elif not _FILE_NAME.fullmatch(name):
        findings.error(path, f"`{name}` cannot name a file here: use letters, digits, `_`, `-` and `.`, at most 128")
    elif _OURS.fullmatch(name):
        findings.error(path, f"`{name}` is a name of the gateway's own files in `state_dir`; choose another")
    else:
        return True
    return False


# -- queues ---------------------------------------------------------------------------------------------------------


def _check_fifos(
    config: Config,
    unit_id: int,
    unit: Unit,
    writers: dict[Image, list[Writer]],
    existing: dict[Image, Spans],
    findings: Findings,
    broken: frozenset[KeyPath],
) -> None:
    """A queue is its counting register and as many behind it as it has room for; all of them its own."""
    ends: list[tuple[int, int, KeyPath]] = []
    section: KeyPath = ("units", str(unit_id), "fifo")
    node = find(findings.root, section)
    seen: dict[int, KeyPath] = {}
    for key in node.mapping if node else ():
        path: KeyPath = (*section, key)
        if path in broken or section in broken:
            continue
        pointer = parse_fifo_pointer(key)
        if pointer in seen:
            place = place_of(findings.root, seen[pointer], key=True)
            findings.error(path, f"{Table.HOLDING.describe(pointer)} has a queue already ({place})", key=True)
            continue
        seen[pointer] = path
        fifo = unit.fifo[pointer]
        stop = pointer + 1 + fifo.size
        shown = Table.HOLDING.describe(pointer, 1 + fifo.size)
        if stop > ADDRESSES:
            message = f"it counts in {Table.HOLDING.describe(pointer)} and needs {fifo.size} registers behind that, "
            findings.error(path, f"{message}more than the table has", key=True)
            continue
        other = next((each for first, last, each in ends if first < stop and pointer < last), None)
        if other is not None:
            findings.error(
                path, f"{shown} overlap with another queue ({place_of(findings.root, other, key=True)})", key=True
            )
        ends.append((pointer, stop, path))
        if not broken:
            span = Address(Table.HOLDING, pointer, stop - pointer)
            _check_place(unit_id, unit, span, path, writers, findings, takes=fifo.from_ is not None)
        _check_source(config, unit_id, fifo, (pointer, stop), (*path, "from"), existing, findings, broken)


def _check_place(
    unit_id: int,
    unit: Unit,
    place: Address,
    path: KeyPath,
    writers: dict[Image, list[Writer]],
    findings: Findings,
    *,
    takes: bool,
) -> None:
    """`takes`: it is filled by us."""
    start, stop = bits_of(place)
    ranges = unit.holding
    if ranges is None:
        message = (
            f"needs {place.describe()} in unit {unit_id}; declare the table: `holding: 0..{max(place.stop - 1, 999)}`"
        )
        findings.error(path, message, key=True)
    elif not any(first <= place.first and place.stop <= first + count for first, count in ranges):
        declared = ", ".join(f"{first}..{first + count - 1}" for first, count in ranges)
        findings.error(
            path, f"needs {place.describe()}, with all it has room for; the unit declares holding: {declared}", key=True
        )
    for writer in writers.get((unit_id, Table.HOLDING), ()):
        if writer.start < stop and start < writer.stop:
            at = place_of(findings.root, writer.path)
            findings.error(
                path, f"{place.describe()} are its own, and {owner_of(writer.path)} ({at}) writes there", key=True
            )
            break
    if takes and any(each.table is Table.HOLDING and _meet(each, place) for each, _ in unit.initial):
        findings.error(path, f"with `from` the queue begins empty; {place.describe()} have no `initial`", key=True)


def _meet(one: Address, other: Address) -> bool:
    return one.first < other.stop and other.first < one.stop


def _check_source(
    config: Config,
    unit_id: int,
    fifo: Fifo,
    own: tuple[int, int],
    path: KeyPath,
    existing: dict[Image, Spans],
    findings: Findings,
    broken: frozenset[KeyPath],
) -> None:
    """One register of ours that is there, and not one of the queue."""
    if fifo.from_ is None:
        return
    source, source_unit = fifo.from_.address, config.unit_of(fifo.from_)
    if source.table.is_bits or source.bit is not None or source.count != 1:
        findings.error(path, f"a queue takes the changes of one register; this is {source.describe()}")
    elif source_unit in config.routes:
        place = place_of(findings.root, ("units", str(key_of_unit(config, source_unit))), key=True)
        findings.error(path, f"unit {source_unit} is forwarded ({place}) and has no registers of ours")
    elif source_unit == unit_id and source.table is Table.HOLDING and own[0] <= source.first < own[1]:
        findings.error(
            path,
            f"{source.describe()} is one of the queue's own; without the key what clients write there is queued",
        )
    elif source.table is Table.HOLDING and (other := _taker(config, source_unit, source.first, findings)) is not None:
        place = place_of(findings.root, other, key=True)
        findings.error(path, f"{source.describe()} lies in a queue that we fill ({place}); name what that one takes")
    elif not broken and not existing.get((source_unit, source.table), Spans([])).contain(*bits_of(source)):
        findings.error(path, f"there is no {source_unit}/{source.describe()}; nothing is declared or mapped there")


def _taker(config: Config, unit_id: int, address: int, findings: Findings) -> KeyPath | None:
    """The queue with a source in which a holding register lies: what it takes is no change for another."""
    section: KeyPath = ("units", str(unit_id), "fifo")
    node = find(findings.root, section)
    fifos = config.units[unit_id].fifo if unit_id in config.units else {}
    for key in node.mapping if node else ():
        pointer = parse_fifo_pointer(key)
        fifo = fifos.get(pointer)
        if fifo is not None and fifo.from_ is not None and pointer <= address <= pointer + fifo.size:
            return (*section, key)
    return None


# -- function 07 ----------------------------------------------------------------------------------------------------


def _check_exception_status(
    address: Address, unit_id: int, spans: Spans | None, path: KeyPath, findings: Findings
) -> None:
    """`spans`: what the unit has of the table; None: not known."""
    if not address.table.is_bits:
        if address.bit is not None or address.count != 1:
            message = f"the low byte of one register is told, such as `holding:5`; this is {address.describe()}"
            findings.error(path, message)
        elif spans is not None and not spans.contain(*bits_of(address)):
            findings.error(path, f"unit {unit_id} has no {address.describe()}; nothing is declared or mapped there")
        return
    if address.count not in (1, _STATUS_BITS):
        findings.error(path, f"these are {address.count} bits, function 07 tells {_STATUS_BITS}; the first is enough")
        return
    whole = address._replace(count=_STATUS_BITS)
    if whole.stop > ADDRESSES:
        findings.error(path, f"{_STATUS_BITS} bits from {address.describe()} run past 65535, the end of the table")
    elif spans is not None and not spans.contain(*bits_of(whole)):
        findings.error(
            path, f"unit {unit_id} has no {whole.describe()}, or not all of it; nothing is declared or mapped there"
        )
