"""The audit: who wrote what, when, and what became of it. Every write of every client, the refused ones too.

The rule of the data path: to be audited costs a write one tuple. It holds what there is, as it is: who, the request,
what our image had there before, the answer. Text is made of it (`line`) by whoever writes the file, in his own thread.
What waits for a device is told when its fate is known, although the client may have gone by then.

How it ended is one word and, unless it is `done`, what the client was told. `refused 02 illegal data address`: nothing
was changed; `unknown 0B gateway target device failed to respond`: it may have been.
"""

from __future__ import annotations

import functools
import json
import struct
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from gateway.bank import Bank
from gateway.errors import NotRead, OutcomeUnknown, Refused
from gateway.front import files
from gateway.front.gate import Origin
from gateway.front.units import Denied, Guard
from gateway.interfaces import Later, Unit
from gateway.modbus import spec
from gateway.modbus.reach import MANY, Touch, is_write, touches
from gateway.modbus.spec import Table

Record = tuple[float, Origin, int, bytes, bytes | None, bytes | None, str | None, float]
"""UTC seconds, origin, unit id, request, old value, answer (None: there was none), why the answer is none of the
device's (None: it is), seconds to the answer."""

AT_ONCE = ""
"""As the why: answered by ourselves, without delay; what we refuse has changed nothing."""
BUG = "a bug in the gateway"
ENDED = "the gateway ended before the answer came"
UNKNOWN = "?"
"""Before a why: it may have been executed."""
DONE = "!"
"""Before a why: it was executed, although the client was told something else."""

_NULL = "null"
_WRAPPED = (Denied, Guard)
_PLACES = {
    spec.WRITE_SINGLE_COIL: (Table.COILS, 1, 0),
    spec.WRITE_SINGLE_REGISTER: (Table.HOLDING, 1, 0),
    spec.WRITE_MULTIPLE_COILS: (Table.COILS, 1, 3),
    spec.WRITE_MULTIPLE_REGISTERS: (Table.HOLDING, 1, 3),
    spec.MASK_WRITE_REGISTER: (Table.HOLDING, 1, 0),
    spec.READ_WRITE_MULTIPLE_REGISTERS: (Table.HOLDING, 5, 7),
}
"""What a function writes: the table, and where the request has the first address and the count (0: there is one)."""
_SINGLE = (spec.WRITE_SINGLE_COIL, spec.WRITE_SINGLE_REGISTER, spec.MASK_WRITE_REGISTER)
_NOWHERE = '"range":null,"table":null,"first":null,"count":null'


class Audit:
    """Told by the gate of each request that may write; tells `append` when it is known how it ended."""

    __slots__ = ("_append", "_begun")

    def __init__(self, append: Callable[[Record], None]) -> None:
        """`append` must not wait."""
        self._append = append
        self._begun: set[_Begun] = set()
        """Writes without an answer: as many as clients may have."""

    def ask(self, origin: Origin, unit_id: int, unit: Unit, pdu: bytes) -> bytes | Later | None:
        """As `Watch.ask`."""
        if pdu[0] in MANY and not is_write(pdu):
            return unit.answer(pdu)
        time_s, begun_s = time.time(), time.perf_counter()
        old = _old(unit, pdu)
        try:
            answer = unit.answer(pdu)
        except Exception:
            self._append((time_s, origin, unit_id, pdu, old, None, UNKNOWN + BUG, time.perf_counter() - begun_s))
            raise
        if isinstance(answer, Later):
            begun = _Begun(self, time_s, begun_s, origin, unit_id, pdu, old)
            self._begun.add(begun)
            answer.also(begun.ended)
        else:
            self._append((time_s, origin, unit_id, pdu, old, answer, AT_ONCE, time.perf_counter() - begun_s))
        return answer

    def told(self, begun: _Begun, record: Record) -> None:
        """A write that was to come is over."""
        self._begun.discard(begun)
        self._append(record)

    def end(self) -> None:
        """The gateway ends: what has no answer now will get none."""
        for begun in list(self._begun):
            begun.tell(None, UNKNOWN + ENDED)


class _Begun:
    """A write whose answer is still to come."""

    __slots__ = ("_audit", "_begun_s", "_old", "_origin", "_pdu", "_time_s", "_unit_id")

    def __init__(
        self, audit: Audit, time_s: float, begun_s: float, origin: Origin, unit_id: int, pdu: bytes, old: bytes | None
    ) -> None:
        self._audit = audit
        self._time_s = time_s
        self._begun_s = begun_s
        self._origin = origin
        self._unit_id = unit_id
        self._pdu = pdu
        self._old = old

    def ended(self, later: Later) -> None:
        error = later.error
        if error is None:
            self.tell(later.answer, None)
        else:
            mark = UNKNOWN if isinstance(error, OutcomeUnknown) else DONE if isinstance(error, NotRead) else ""
            self.tell(later.answer, f"{mark}{error}")

    def tell(self, answer: bytes | None, why: str | None) -> None:
        took_s = time.perf_counter() - self._begun_s
        record = (self._time_s, self._origin, self._unit_id, self._pdu, self._old, answer, why, took_s)
        self._audit.told(self, record)


def _old(unit: Unit, pdu: bytes) -> bytes | None:
    """What our image, or our files, have where a request writes; None: it is none of ours, or no value is young."""
    bank = unit.unit if isinstance(unit, _WRAPPED) else unit
    if not isinstance(bank, Bank):
        return None
    if pdu[0] == spec.WRITE_FILE_RECORD:
        return None if bank.recorded is None else bank.recorded(pdu)
    place = _PLACES.get(pdu[0])
    if place is None:
        return None
    table, first_at, count_at = place
    if len(pdu) < max(first_at, count_at) + 2:
        return None
    count = pdu[count_at] << 8 | pdu[count_at + 1] if count_at else 1
    return bank.fresh(table, pdu[first_at] << 8 | pdu[first_at + 1], count)


# -- text, for the thread that writes it ------------------------------------------------------------------------


def line(record: Record) -> str:
    """One JSON object. Registers are numbers, coils 0 and 1; what has no range is told as the bytes of the request.
    Records have `file` and `record` besides; of a request with several parts each of these is a list."""
    time_s, origin, unit_id, pdu, old, answer, why, took_s = record
    where, before, after = _of_files(pdu, old) if pdu[0] == spec.WRITE_FILE_RECORD else _of_table(pdu, old)
    parts = [f'{{"time":"{utc(time_s)}",{_who(origin)},"unit":{unit_id},"function":{pdu[0]},{where}']
    parts.append(f',"old":{before},"new":{after}')
    if pdu[0] == spec.MASK_WRITE_REGISTER and len(pdu) == 7:
        parts.append(f',"and_mask":{pdu[3] << 8 | pdu[4]},"or_mask":{pdu[5] << 8 | pdu[6]}')
    elif after == _NULL:
        parts.append(f',"pdu":"{pdu.hex()}"')
    parts.append(f',"outcome":"{outcome(answer, why)}"')
    if why:
        parts.append(f',"why":{json.dumps(why.removeprefix(UNKNOWN).removeprefix(DONE))}')
    parts.append(f',"took_ms":{took_s * 1000:.3f}}}')
    return "".join(parts)


def lost_line(count: int) -> str:
    """Where so many lines are missing."""
    return f'{{"time":"{utc(time.time())}","lost":{count}}}'


def outcome(answer: bytes | None, why: str | None) -> str:
    """`done`, or whether nothing was changed or nobody knows, and what the client was told."""
    if (answer is not None and not answer[0] & spec.EXCEPTION_BIT) or (why or "").startswith(DONE):
        return "done"
    told = "" if answer is None else f" {spec.exception_text(answer[1])}"
    is_known = not (why or "").startswith(UNKNOWN)
    if why is None and answer is not None:  # the device's own word
        is_known = answer[1] in spec.NOT_EXECUTED
    if answer is None and is_known:
        return "not answered"
    return f"{'refused' if is_known else 'unknown'}{told}"


def utc(time_s: float) -> str:
    """`2026-11-21T09:30:00.123Z`."""
    seconds, milliseconds = divmod(int(time_s * 1000), 1000)
    return f"{_second(seconds)}.{milliseconds:03d}Z"


@functools.lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@functools.lru_cache(maxsize=1024)
def _who(origin: Origin) -> str:
    client, role, door = map(json.dumps, (origin.peer, origin.role, origin.door))
    shown = "" if origin.certificate is None else f',"certificate":{json.dumps(origin.certificate)}'
    user = "" if origin.user is None else f',"user":{json.dumps(origin.user)}'
    return f'"client":{client}{user},"role":{role}{shown},"door":{door}'


def _of_table(pdu: bytes, old: bytes | None) -> tuple[str, str, str]:
    """Where a request writes, what was there, what is to be there."""
    if pdu[0] == spec.READ_WRITE_MULTIPLE_REGISTERS:
        where, written = _place(pdu[:9])
    elif pdu[0] in _SINGLE and len(pdu) >= 5:
        where, written = _place(pdu[:3] + b"\0\0")  # not its value: there are too many to remember them all
    else:
        where, written = _place(pdu[:5])
    if written is None:
        return where, _NULL, _NULL
    before = None if old is None else _numbers(written, old)
    return where, _list(before), _list(_new(written, pdu, before))


def _of_files(pdu: bytes, old: bytes | None) -> tuple[str, str, str]:
    """As `_of_table`, of function 21."""
    try:
        parts = files.written(pdu)
    except Refused:
        return _NOWHERE, _NULL, _NULL
    shown = ", ".join(f"file {number} record {first}..{first + count - 1}" for (_, number, first, count), _ in parts)
    _, numbers, firsts, counts = zip(*(fields for fields, _ in parts), strict=True)
    where = f'"range":"{shown}","table":null,"first":null,"count":{_each(counts)}'
    after = [_list(_registers(data)) for _, data in parts]
    before, at = [], 0
    for count in counts:
        before.append(_NULL if old is None else _list(_registers(old[at : at + 2 * count])))
        at += 2 * count
    told = _NULL if old is None else _each(before)
    return f'{where},"file":{_each(numbers)},"record":{_each(firsts)}', told, _each(after)


def _each(values: Sequence[object]) -> str:
    """One as it is, several as a list."""
    return str(values[0]) if len(values) == 1 else f"[{','.join(map(str, values))}]"


@functools.lru_cache(maxsize=1024)
def _place(pdu: bytes) -> tuple[str, Touch | None]:
    """Where a request writes, of which no more need be given than says so."""
    touched = touches(pdu)  # a write's own range comes last
    if not touched or not touched[-1].writes:
        return _NOWHERE, None
    table, first, stop, _ = touched[-1]
    count = stop - first
    where = f'"range":"{table.describe(first, count)}","table":"{table.word}","first":{first},"count":{count}'
    return where, touched[-1]


def _list(numbers: list[int] | None) -> str:
    return _NULL if numbers is None else str(numbers)


def _numbers(written: Touch, data: bytes) -> list[int] | None:
    """Wire bytes as numbers; None when they are not as many as the range has."""
    count = written.stop - written.first
    if written.table.is_bits:
        if len(data) != (count + 7) // 8:
            return None
        bits = int.from_bytes(data, "little")
        return [bits >> at & 1 for at in range(count)]
    return _registers(data) if len(data) == 2 * count else None


def _registers(data: bytes) -> list[int]:
    return list(struct.unpack(f">{len(data) // 2}H", data))


def _new(written: Touch, pdu: bytes, before: list[int] | None) -> list[int] | None:
    """What the request wants to be there; None when it does not say it whole."""
    function = pdu[0]
    if function == spec.WRITE_SINGLE_COIL:
        return {b"\xff\x00": [1], b"\x00\x00": [0]}.get(pdu[3:])
    if function == spec.MASK_WRITE_REGISTER:
        if before is None or len(pdu) != 7:
            return None
        and_mask, or_mask = pdu[3] << 8 | pdu[4], pdu[5] << 8 | pdu[6]
        return [before[0] & and_mask | or_mask & ~and_mask & 0xFFFF]
    if function == spec.WRITE_SINGLE_REGISTER:
        return _numbers(written, pdu[3:])
    return _numbers(written, pdu[10:] if function == spec.READ_WRITE_MULTIPLE_REGISTERS else pdu[6:])
