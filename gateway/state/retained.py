"""Registers that survive a restart: those of units with `retain: true` that are our own and that a client wrote.

Mapped registers come from their devices, read-only ones and those that nobody wrote from `initial`; none is kept, or an
`initial` that was edited would never count, and a push would send what nobody gave. The payload is rows of table, first
address, count (">BHI") and the bytes of the wire: the copy on the loop is a few slices, and a row can be read whatever
the unit is declared as by then. When they are written is the keeper's business.
"""

from __future__ import annotations

import functools
import logging
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from gateway.bank import Bank
from gateway.interfaces import Scheduler
from gateway.modbus import spec
from gateway.modbus.spec import Table
from gateway.state.keeper import CLOSE_S, Keeper, Words
from gateway.state.snapshots import SnapshotFile
from gateway.state.worker import Worker

log = logging.getLogger(__name__)

Part = tuple[Table, int, int]
"""Table, first address, count."""
Given = Callable[[int, Table, int, int], Iterable[tuple[int, int]]]
"""Unit id, table, first, stop; the (first, stop) parts of it that clients wrote, in order."""

_WORDS = Words("retained registers", "unit")
_KEPT_TABLES = (Table.COILS, Table.HOLDING)
"""Clients cannot write the others."""
_ROW = struct.Struct(">BHI")


class _Kept:
    """One unit and its file."""

    __slots__ = ("_given", "bank", "file", "parts", "saved", "taken")

    def __init__(self, file: SnapshotFile, given: Callable[[Table, int, int], Iterable[tuple[int, int]]]) -> None:
        self.file = file
        self._given = given
        self.bank: Bank | None = None
        """None: the unit has left; what was taken last is still to be written, or is."""
        self.parts: list[Part] = []
        self.taken: bytes | None = None
        """The last copy, on its way to the disk or there."""
        self.saved: bytes | None = None

    def watch(self, bank: Bank) -> None:
        self.bank = bank
        self.parts = list(_parts(bank))

    def take(self) -> bytes:
        """Copy the registers that were given a value."""
        if self.bank is not None:
            self.taken = _encode(self.bank, self.parts, self._given)
        assert self.taken is not None  # a unit that leaves dirty is copied
        return self.taken


class Retained:
    """Keeps the registers of the units that it watches, in `retained-UNIT.bin`. Lives in one loop, until `close`."""

    def __init__(self, directory: Path, scheduler: Scheduler, given: Given, worker: Worker | None = None) -> None:
        """Opens nothing. `directory` must be ours alone (StateDirectory); `given` is asked when a unit is copied."""
        self._given = given
        self._keeper = Keeper[int](directory, scheduler, _WORDS, worker)
        self._units: dict[int, _Kept] = {}

    # -- start and reload ---------------------------------------------------------------------------------------

    def restore(self, unit_id: int, bank: Bank) -> list[Part]:
        """Put back what was kept of what is still ours, and watch `bank` from now on. Returns what was put back.

        Call it when `initial` is placed and everything mapped is claimed. Damage is an error in the log, never raised.
        """
        kept = self._kept(unit_id)
        kept.watch(bank)
        if kept.taken is not None:  # it was here before: what was taken then may not be on the disk yet
            return _put(bank, kept.parts, _decode(kept.taken))
        payload, problems = kept.file.read()
        rows: list[_Row] = []
        if payload is not None:
            try:
                rows = _decode(payload)
            except (ValueError, struct.error) as error:
                problems.append(f"{kept.file.path.name} is not understood: {error}")
                payload = None
        if problems:
            used = "the snapshot before it is used" if payload is not None else "they start with their initial values"
            log.error("retained registers of unit %d: %s: %s", unit_id, "; ".join(problems), used)
        if payload is not None and not problems:
            kept.saved = payload
        elif payload is not None:  # one whole file is left: let there be two again, with the next round
            self._keeper.renew(unit_id)
        return _put(bank, kept.parts, rows)

    def follow(self, unit_id: int, bank: Bank) -> None:
        """Watch a bank whose registers are right as they are: its unit lives on in another shape, or is kept anew."""
        self._kept(unit_id).watch(bank)
        self.changed(unit_id)

    def drop(self, unit_id: int) -> None:
        """Watch this unit no longer. What has changed until now is still written; its files stay."""
        kept = self._units.get(unit_id)
        if kept is None:
            return
        if self._keeper.is_waiting(unit_id):
            kept.take()
        kept.bank = None

    def _kept(self, unit_id: int) -> _Kept:
        if unit_id not in self._units:
            file = SnapshotFile(self._keeper.directory / f"retained-{unit_id}.bin")
            kept = _Kept(file, functools.partial(self._given, unit_id))
            self._units[unit_id] = self._keeper.kept[unit_id] = kept
        return self._units[unit_id]

    # -- while running ------------------------------------------------------------------------------------------

    def changed(self, unit_id: int) -> None:
        """A client has written own registers of this unit. Cheap: called at every write."""
        self._keeper.changed(unit_id)

    @property
    def is_failing(self) -> bool:
        """Something could not be written, and was not since."""
        return self._keeper.is_failing

    @property
    def trouble(self) -> str:
        """As Keeper's."""
        return self._keeper.trouble

    async def close(self, deadline_s: float = CLOSE_S) -> None:
        """As Keeper's."""
        await self._keeper.close(deadline_s)


_Row = tuple[Table, int, int, bytes]
"""A part and its bytes: registers as on the wire, or packed bits."""


def _parts(bank: Bank) -> Iterator[Part]:
    """What is our own and open to clients' writes, in order."""
    own = bank.own_ranges()
    for table in _KEPT_TABLES:
        for first, stop in own[table]:
            yield from ((table, begin, end - begin) for begin, end in _writable(bank, table, first, stop))


def _writable(bank: Bank, table: Table, first: int, stop: int) -> Iterator[tuple[int, int]]:
    """The (first, stop) pairs of a range that are not read-only; whole steps where they can be."""
    begin = first
    at = first
    while at < stop:
        step = min(spec.MAX_READ_BITS, stop - at)
        if bank.may_write(table, at, step):
            at += step
        elif bank.may_write(table, at, 1):
            at += 1
        else:
            if begin < at:
                yield begin, at
            at += 1
            begin = at
    if begin < stop:
        yield begin, stop


def _encode(bank: Bank, parts: list[Part], given: Callable[[Table, int, int], Iterable[tuple[int, int]]]) -> bytes:
    pieces: list[bytes] = []
    for table, first, count in parts:
        if table.is_bits:
            for begin, end in given(table, first, first + count):
                pieces += (_ROW.pack(table, begin, end - begin), bank.get(table, begin, end - begin))
            continue
        data = bank.get(table, first, count)  # once: whoever writes every other register makes many rows
        for begin, end in given(table, first, first + count):
            pieces += (_ROW.pack(table, begin, end - begin), data[2 * (begin - first) : 2 * (end - first)])
    return b"".join(pieces)


def _decode(payload: bytes) -> list[_Row]:
    """Raises ValueError or struct.error for what `_encode` does not make."""
    rows: list[_Row] = []
    at = 0
    while at < len(payload):
        number, first, count = _ROW.unpack_from(payload, at)
        table = Table(number)
        at += _ROW.size
        size = (count + 7) // 8 if table.is_bits else 2 * count
        if table not in _KEPT_TABLES or first + count > spec.ADDRESSES or at + size > len(payload):
            raise ValueError(f"{table.word} from {first}, {count} of them")
        rows.append((table, first, count, payload[at : at + size]))
        at += size
    return rows


def _put(bank: Bank, parts: list[Part], rows: list[_Row]) -> list[Part]:
    """Place what of `rows` lies in `parts`, both in order; returns what that is."""
    placed: list[Part] = []
    at = 0
    for table, first, count, data in rows:
        while at < len(parts) and (parts[at][0], parts[at][1] + parts[at][2]) <= (table, first):
            at += 1
        candidate = at
        while candidate < len(parts) and (parts[candidate][0], parts[candidate][1]) < (table, first + count):
            _, part_first, part_count = parts[candidate]
            candidate += 1
            begin, end = max(first, part_first), min(first + count, part_first + part_count)
            if table.is_bits:
                bits = int.from_bytes(data, "little") >> (begin - first)
                bank.put_bits(table, begin, end - begin, bits.to_bytes(len(data), "little"))
            else:
                bank.put_registers(table, begin, data[2 * (begin - first) : 2 * (end - first)])
            placed.append((table, begin, end - begin))
    return placed
