"""What answers at an address: which units, who they are, which tables and ranges, how much at once. Never a write.

The rule of the file: what was found is in `Result` from the moment it is known, so that a scan that is ended early has
found what it shows. A refusal is an answer of the unit; 0A and 0B are a bridge's, which has not reached it.

Gentle: one connection, one request at a time, quiet after each answer, and a bound on all of them together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from gateway.commission.asker import BRIDGE_CODES, Answer, Asker, Exhausted, Gone, Kind
from gateway.commission.identity import Identity, ask_identity
from gateway.commission.ranges import PLACES, Map, search
from gateway.errors import LinkDown
from gateway.modbus import spec
from gateway.modbus.pdu import read_request
from gateway.modbus.spec import Table

MAX_REQUESTS = 20_000
"""Of a scan, where the user did not ask for more addresses than that himself: seven minutes at the usual pace."""
REQUESTS_PER_ADDRESS = 2
"""So many for each address that the user names are allowed beyond it."""
MAX_EQUAL = 8
"""From so many units on, all of those that were asked, they are taken for one that does not look at unit ids."""
ON_TCP_TOO = (255, 0)
"""Unit ids of devices that are no bridge (TCP guide 4.4.2), asked when no other one answered."""
_PROBES = (Table.HOLDING, Table.INPUT)


class Span(NamedTuple):
    """What of a table is looked at."""

    table: Table
    first: int = 0
    stop: int = spec.ADDRESSES
    is_all: bool = True
    """The whole table, at the usual places; else every address of the range."""


EVERYTHING = tuple(Span(table) for table in (Table.HOLDING, Table.INPUT, Table.COILS, Table.DISCRETE))


@dataclass(slots=True, eq=False)
class Found:
    """One unit that answers."""

    unit_id: int
    first_answer: str = ""
    """To the first question: `data`, or its refusal."""
    identity: Identity = field(default_factory=lambda: Identity({}))
    maps: list[Map] = field(default_factory=list)
    """Of the tables that were looked at, in order."""
    trouble: str = ""
    """Why it was not looked at further."""

    @property
    def is_whole(self) -> bool:
        return not self.trouble and all(map_.is_whole for map_ in self.maps)


@dataclass(slots=True, eq=False)
class Result:
    """Of a scan, so far."""

    units: list[Found] = field(default_factory=list)
    asked: int = 0
    """Unit ids that were asked."""
    bridged: int = 0
    """Of those, the ones that a bridge said it cannot reach."""
    silent: int = 0
    last_silence: str = ""
    """Why the last of those gave no answer."""
    is_one_for_all: bool = False
    """Every unit id answers: it is one device that does not look at them."""
    trouble: str = ""
    """Why it ended before its end."""
    is_whole: bool = False


class Progress(Protocol):
    """Who is told how far it is."""

    def phase(self, text: str, total: int) -> None: ...
    def step(self) -> None: ...
    def note(self, text: str) -> None:
        """Of the phase: what was found last."""
        ...


class Estimate(NamedTuple):
    """How long it will take, seconds."""

    units_s: float
    """When every unit answers, or the bridge says at once that it cannot reach it."""
    silent_s: float
    """When none does."""
    requests: int
    """For each table of a unit, at least."""
    tables_s: float
    """For those of one unit."""


def estimate(
    units: Sequence[int], spans: Sequence[Span], pace_s: float, timeout_s: float, answer_s: float = 0.01
) -> Estimate:
    """`answer_s`: what one answer is thought to take."""
    requests = sum(len(PLACES) if span.is_all else span.stop - span.first for span in spans)
    each_s = pace_s + answer_s
    return Estimate(
        units_s=len(units) * each_s,
        silent_s=len(units) * (pace_s + timeout_s),
        requests=requests // max(1, len(spans)),
        tables_s=requests * each_s,
    )


def budget(units: Sequence[int], spans: Sequence[Span]) -> int:
    """The most requests of a scan."""
    named = sum(span.stop - span.first for span in spans if not span.is_all)
    return MAX_REQUESTS + len(units) * (1 + REQUESTS_PER_ADDRESS * named)


class Scan:
    """One scan; `run` fills `result`."""

    def __init__(
        self, asker: Asker, units: Sequence[int], spans: Sequence[Span], progress: Progress, *, is_tcp: bool
    ) -> None:
        """`is_tcp`: unit ids 0 and 255 are asked, too, when no other answers."""
        self.result = Result()
        self._asker = asker
        self._units = units
        self._spans = spans
        self._progress = progress
        self._is_tcp = is_tcp

    def run(self) -> None:
        """Raises LinkDown when nothing is connected in the first place; what happens later is told in the result."""
        self._asker.exchange.connect()
        try:
            self._find_units()
            for found in self._looked_into():
                self._look_into(found)
            self.result.is_whole = all(found.is_whole for found in self._looked_into())
        except Exhausted:
            self.result.trouble = (
                f"stopped after {self._asker.sent} requests: name fewer units, or ranges of the tables"
            )
        except LinkDown as error:
            self.result.trouble = f"the connection was lost and could not be opened again: {error}"

    # -- units --------------------------------------------------------------------------------------------------

    def _find_units(self) -> None:
        self._progress.phase("units", len(self._units))
        for unit_id in self._units:
            self._try_unit(unit_id)
            self._progress.step()
        others = [unit_id for unit_id in ON_TCP_TOO if unit_id not in self._units]
        if self._is_tcp and not self.result.units:
            for unit_id in others:
                self._try_unit(unit_id)
        found = self.result.units
        self.result.is_one_for_all = len(found) == self.result.asked >= MAX_EQUAL

    def _try_unit(self, unit_id: int) -> None:
        self.result.asked += 1
        answer = self._first_answer(unit_id)
        if answer.kind is Kind.NONE:
            self.result.silent += 1
            self.result.last_silence = answer.describe()
        elif answer.code in BRIDGE_CODES:
            self.result.bridged += 1
        else:
            self.result.units.append(Found(unit_id, "data" if answer.is_good else answer.describe()))
            self._progress.note(f"unit {unit_id} answers")

    def _first_answer(self, unit_id: int) -> Answer:
        """Of the first table that gets one; a device that drops the connection at one function may answer another."""
        for table in _PROBES:
            answer = self._asker.read(unit_id, table, self._spans[0].first if self._spans[0].table is table else 0)
            if not isinstance(answer.error, LinkDown):
                break
        return answer

    def _looked_into(self) -> list[Found]:
        return self.result.units[:1] if self.result.is_one_for_all else self.result.units

    # -- one unit -----------------------------------------------------------------------------------------------

    def _look_into(self, found: Found) -> None:
        # `probe` tells a request that gets no answer from a unit that has gone by what was answered last: of this unit.
        self._first_answer(found.unit_id)
        try:
            self._progress.phase(f"unit {found.unit_id}: who it is", 1)
            found.identity = ask_identity(self._asker, found.unit_id)
            for span in self._spans:
                self._look_at(found, span)
        except Gone as error:
            found.trouble = str(error)

    def _look_at(self, found: Found, span: Span) -> None:
        known = next((each for each in found.maps if each.table is span.table), None)
        map_ = known or Map(span.table)
        if known is None:
            found.maps.append(map_)
        places = PLACES if span.is_all else None
        total = len(places) if places else span.stop - span.first
        self._progress.phase(f"unit {found.unit_id}: {span.table.word}", total)
        most = spec.MAX_READ_BITS if span.table.is_bits else spec.MAX_READ_REGISTERS
        steps = search(map_, span.first, span.stop, most, places)
        try:
            question = next(steps)
            while True:
                answer = self._asker.probe(found.unit_id, read_request(span.table, question.first, question.count))
                if question.is_seed:
                    self._progress.step()
                question = steps.send(answer)
                self._progress.note(f"{map_.count} found")
        except StopIteration:
            pass
