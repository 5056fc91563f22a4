"""Registers that survive a restart: those of units with `retain: true` that are our own and that a client wrote.

A change is on the disk at once when the second before was quiet, else with the next snapshot, one second after the last
began: a power cut costs at most a second and the time that the disk takes. A unit is copied in one go, so a snapshot is
one moment of it; the disk is waited for in the room's thread, one file at a time. What equals the last snapshot is not
written: clients that repeat their set-points wear out no flash.

Mapped registers come from their devices, read-only ones and those that nobody wrote from `initial`; none is kept, or an
`initial` that was edited would never count, and a push would send what nobody gave. The payload is rows of table, first
address, count (">BHI") and the bytes of the wire: the copy on the loop is a few slices, and a row can be read whatever
the unit is declared as by then.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from gateway.bank import Bank
from gateway.interfaces import Scheduler, Timer
from gateway.modbus import spec
from gateway.modbus.spec import Table
from gateway.state.snapshots import SnapshotFile
from gateway.state.worker import DiskThread, Worker

log = logging.getLogger(__name__)

EVERY_S = 1.0
"""From the begin of one snapshot to the next of the same unit, at least; after a failure, too."""
HANGS_S = 10.0
"""A disk that takes longer for one file is worth a line."""
CLOSE_S = 2.0
"""How long the end waits for the disk; the whole end must come within 5 s (README)."""

Part = tuple[Table, int, int]
"""Table, first address, count."""
Given = Callable[[int, Table, int, int], Iterable[tuple[int, int]]]
"""Unit id, table, first, stop; the (first, stop) parts of it that clients wrote, in order."""

_KEPT_TABLES = (Table.COILS, Table.HOLDING)
"""Clients cannot write the others."""
_ROW = struct.Struct(">BHI")


class _Kept:
    """One unit and its file."""

    __slots__ = ("bank", "file", "parts", "saved", "taken")

    def __init__(self, file: SnapshotFile) -> None:
        self.file = file
        self.bank: Bank | None = None
        """None: the unit has left; what was taken last is still to be written, or is."""
        self.parts: list[Part] = []
        self.taken: bytes | None = None
        """The last copy, on its way to the disk or there."""
        self.saved: bytes | None = None
        """What the file has; None: not known, or to be written anew."""

    def watch(self, bank: Bank) -> None:
        self.bank = bank
        self.parts = list(_parts(bank))

    def take(self, given: Callable[[Table, int, int], Iterable[tuple[int, int]]]) -> bytes:
        """Copy the registers that were `given` a value."""
        if self.bank is not None:
            self.taken = _encode(self.bank, self.parts, given)
        assert self.taken is not None  # a unit that leaves dirty is copied
        return self.taken


class Retained:
    """Keeps the registers of the units that it watches, in `retained-UNIT.bin`. Lives in one loop, until `close`."""

    def __init__(self, directory: Path, scheduler: Scheduler, given: Given, worker: Worker | None = None) -> None:
        """Opens nothing. `directory` must be ours alone (StateDirectory); `given` is asked when a unit is copied."""
        self._directory = directory
        self._scheduler = scheduler
        self._given = given
        self._worker = worker or DiskThread()
        self._units: dict[int, _Kept] = {}
        self._dirty: set[int] = set()
        self._is_quiet = True
        """No round is armed or under way: the next change arms one."""
        self._timer: Timer | None = None
        self._due_s = -math.inf
        """When the next round may begin."""
        self._round: list[int] = []
        """Units of this round that are still to be copied."""
        self._writing: int | None = None
        """The unit that the thread works on."""
        self._watch: Timer | None = None
        self._failing: dict[int, str] = {}
        """Units that could not be written, and why."""
        self._closing: asyncio.Event | None = None
        """Set at the end of each round, once we close."""

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
            self._dirty.add(unit_id)
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
        if unit_id in self._dirty or unit_id in self._round:
            self._take(unit_id, kept)
        kept.bank = None

    def _kept(self, unit_id: int) -> _Kept:
        if unit_id not in self._units:
            self._units[unit_id] = _Kept(SnapshotFile(self._directory / f"retained-{unit_id}.bin"))
        return self._units[unit_id]

    # -- while running ------------------------------------------------------------------------------------------

    def changed(self, unit_id: int) -> None:
        """A client has written own registers of this unit. Cheap: called at every write."""
        self._dirty.add(unit_id)
        if self._is_quiet:
            self._is_quiet = False
            self._arm()

    def _arm(self) -> None:
        self._timer = self._scheduler.call_at(max(self._scheduler.time(), self._due_s), self._begin)

    def _begin(self) -> None:
        """A round: every unit that has changed, one after the other."""
        self._timer = None
        self._due_s = self._scheduler.time() + EVERY_S
        self._round = sorted(self._dirty)
        self._dirty.clear()
        self._next()

    def _next(self) -> None:
        while self._round:
            unit_id = self._round.pop()
            kept = self._units.get(unit_id)
            if kept is None:
                continue
            payload = self._take(unit_id, kept)
            if payload != kept.saved:
                self._write(unit_id, kept, payload)
                return
        self._end()

    def _take(self, unit_id: int, kept: _Kept) -> bytes:
        return kept.take(functools.partial(self._given, unit_id))

    def _write(self, unit_id: int, kept: _Kept, payload: bytes) -> None:
        def done(error: Exception | None) -> None:
            kept.saved = payload if error is None else None  # a name may have changed before it failed
            self._written(unit_id, error)

        self._writing = unit_id
        self._watch = self._scheduler.call_at(self._scheduler.time() + HANGS_S, self._hangs)
        self._worker.submit(functools.partial(kept.file.write, payload), done)

    def _written(self, unit_id: int, error: Exception | None) -> None:
        self._writing = None
        if self._watch is not None:
            self._watch.cancel()
        if error is not None:
            self._dirty.add(unit_id)
            self._trouble(unit_id, error)
        elif self._failing.pop(unit_id, None) is not None and not self._failing:
            log.info("retained registers are written again")
        self._next()

    def _end(self) -> None:
        if self._closing is not None:
            self._closing.set()
        elif self._dirty:
            self._arm()
        else:
            self._is_quiet = True

    def _hangs(self) -> None:
        if self._writing is not None:
            self._trouble(self._writing, TimeoutError(f"the disk has not answered for {HANGS_S:g} s"))

    def _trouble(self, unit_id: int, error: Exception) -> None:
        """One line for all units that fail for the same reason; `close` says what was lost at the end."""
        reason = _reason(error)
        if reason not in self._failing.values() and self._closing is None:
            log.warning(
                "retained registers of unit %d cannot be written to %s: %s: they are tried again every second, until "
                "then a restart brings back older values",
                unit_id,
                self._directory,
                reason,
                exc_info=None if isinstance(error, OSError) else error,  # else our bug
            )
        self._failing[unit_id] = reason

    # -- stop ---------------------------------------------------------------------------------------------------

    async def close(self, deadline_s: float = CLOSE_S) -> None:
        """Write what has changed, each unit once, and end. What the disk did not take by then is told and lost."""
        is_under_way = not self._is_quiet and self._timer is None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._is_quiet = False  # no more rounds but ours
        ended = self._closing = asyncio.Event()
        try:
            async with asyncio.timeout(deadline_s):
                if is_under_way:
                    await ended.wait()
                    ended.clear()
                self._begin()
                await ended.wait()
        except TimeoutError:
            if self._writing is not None:
                self._failing[self._writing] = f"the disk did not answer within {deadline_s:g} s"
        finally:
            self._worker.stop()
            if self._watch is not None:
                self._watch.cancel()
            self._tell_what_is_lost()

    def _tell_what_is_lost(self) -> None:
        lost = {*self._dirty, *self._round} & self._units.keys()
        if self._writing is not None:
            lost.add(self._writing)
        if lost:
            reasons = dict.fromkeys(self._failing.values()) or ["there was no time"]
            log.error(
                "retained registers of unit %s were not written to %s: %s: the next start brings back older values",
                ", ".join(str(unit_id) for unit_id in sorted(lost)),
                self._directory,
                "; ".join(reasons),
            )


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


def _reason(error: Exception) -> str:
    """Without the file's name: the same for all units."""
    return (error.strerror or str(error)) if isinstance(error, OSError) else f"a bug: {error!r}"
