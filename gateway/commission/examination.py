"""One device on a connection: what the gateway would read is read once, and what fails is asked about further.

The rule of the file: it ends with findings that say whose fault it is and what to write instead. Nothing is written to
the device. What costs time (another unit id, another framing, more patience) is tried only when nothing was answered.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from gateway.commission.asker import BRIDGE_CODES, Answer, Asker, Kind
from gateway.commission.checkup import judge, readings_in, value_of
from gateway.commission.exchange import Channel, Exchange
from gateway.commission.parts import Parts, take_apart
from gateway.commission.patients import Patient, Read, Report, Way
from gateway.config.addresses import mistaken_reference
from gateway.config.durations import format_duration
from gateway.config.urls import DeviceUrl
from gateway.errors import LinkDown, MalformedResponse
from gateway.modbus import spec
from gateway.modbus.pdu import read_request
from gateway.modbus.spec import Table

PATIENCE = 4
"""A unit that is silent is asked once more with so many times its time-out: perhaps it is slow."""
LEAST_PATIENCE_S = 2.0
MOST_PATIENCE_S = 10.0
OTHER_UNITS = (1, 255, 0)
"""What devices use that are asked for the wrong unit id; 0 not on a line, where nobody answers it."""
SLOW_PART = 0.5
"""An answer that takes so much of the time-out will one day take all of it."""
ROOM = 3
"""A time-out is to be so many times the slowest answer."""
_SCHEMES = {"mbap": "tcp", "rtu": "rtu+tcp", "ascii": "ascii+tcp"}
_SIBLINGS = {
    Table.HOLDING: Table.INPUT,
    Table.INPUT: Table.HOLDING,
    Table.COILS: Table.DISCRETE,
    Table.DISCRETE: Table.COILS,
}
_SIGN = Read(Table.HOLDING, 0, 1, ((0, 1),))
"""What a device is asked of which the gateway reads nothing: any answer will do."""


def exchange_of(way: Way, url: DeviceUrl, sleep: Callable[[float], None]) -> Exchange:
    open_ = way.opener(url)

    def opened() -> Channel:
        channel = open_()
        sleep(way.connect_delay_s)
        return channel

    return Exchange(url, opened)


class Examination:
    """Of one device on a connection."""

    def __init__(
        self,
        way: Way,
        patient: Patient,
        report: Report,
        exchange: Exchange,
        on_read: Callable[[], None],
        sleep: Callable[[float], None],
    ) -> None:
        self._way = way
        self._patient = patient
        self._report = report
        self._exchange = exchange
        self._on_read = on_read
        self._sleep = sleep
        self._asker = Asker(exchange, timeout_s=patient.timeout_s, pace_s=way.delay_s, sleep=sleep)
        self._has_answered = False
        self._limits: dict[bool, int] = {}
        """Found lengths, of registers (False) and bits (True)."""

    def run(self) -> None:
        patient, report = self._patient, self._report
        report.tags = sum(len(read.readings) for read in patient.reads)
        is_lost = False
        for read in patient.reads:
            if is_lost:
                report.reads.append({"block": read.describe(), "outcome": "not asked"})
            else:
                is_lost = self._read(read)
            self._on_read()
        if not patient.reads:
            self._look_for_sign()
        self._look_at_times()
        self._look_at_quirks()

    # -- one request of the plan --------------------------------------------------------------------------------

    def _read(self, read: Read) -> bool:
        """Whether nothing more need be asked: the device does not answer at all."""
        answer = self._ask(read.table, read.first, read.count)
        outcome = {Kind.GOOD: "good", Kind.REFUSED: "refused", Kind.NONE: "silent"}[answer.kind]
        row: dict[str, object] = {"block": read.describe(), "outcome": outcome}
        if answer.kind is not Kind.NONE:
            row["ms"] = round(self._exchange.took_s * 1000, 3)
        self._report.reads.append(row)
        if answer.is_good:
            self._judge(read, _known(read.table, read.first, read.count, answer.data))
        elif answer.code in BRIDGE_CODES:
            self._unreached(answer)
            return not self._has_answered
        elif answer.kind is Kind.REFUSED:
            self._refused(read, answer, row)
        elif self._has_answered:
            self._report.add(
                "wrong", "silent", f"{read.describe()}: {answer.describe()}; other requests are answered", _MUTE
            )
        elif self._silent(read, answer):
            self._report.reads.pop()
            return self._read(read)
        else:
            return True
        self._has_answered = self._has_answered or answer.kind is not Kind.NONE
        return False

    def _ask(self, table: Table, first: int, count: int) -> Answer:
        """As the gateway: again after no answer, as often as `retries` says."""
        answer = Answer(Kind.NONE)
        for _ in range(self._patient.retries + 1):
            try:
                answer = self._asker.read(self._patient.unit_id, table, first, count)
            except LinkDown as error:
                answer = Answer(Kind.NONE, error=error)
            if answer.kind is not Kind.NONE:
                break
        return answer

    def _judge(self, read: Read, known: dict[int, bytes]) -> None:
        for reading, data in readings_in(read.readings, known):
            self._report.values += value_of(reading.tag, data) is not None
            for finding in judge(reading, data):
                self._report.add(*finding)

    def _look_for_sign(self) -> None:
        """A device without reads (pushes, forwards): does it answer anything?"""
        answer = self._ask(Table.HOLDING, 0, 1)
        if answer.code in BRIDGE_CODES:
            self._unreached(answer)
        elif answer.kind is Kind.NONE:
            self._silent(_SIGN, answer)

    # -- refused ------------------------------------------------------------------------------------------------

    def _refused(self, read: Read, answer: Answer, row: dict[str, object]) -> None:
        self._has_answered = True
        if answer.code not in (spec.ILLEGAL_ADDRESS, spec.ILLEGAL_VALUE, spec.SERVER_FAILURE):
            self._report.add(
                "wrong",
                _KINDS.get(answer.code, "exception"),
                f"{read.describe()}: {answer.describe()}",
                self._advice(read, answer),
            )
            return
        parts = self._apart(read)
        row["parts"] = [read.table.describe(first, stop - first) for first, stop in parts.good]
        if parts.good:
            row["outcome"] = "parts"
        known: dict[int, bytes] = {}
        for first, stop in parts.good:
            again = self._ask(read.table, first, stop - first)
            if again.is_good:
                known |= _known(read.table, first, stop - first, again.data)
        self._judge(read, known)
        self._tell_parts(read, parts, answer)

    def _apart(self, read: Read) -> Parts:
        steps = take_apart(read.items)
        try:
            question = next(steps)
            while True:
                question = steps.send(self._ask(read.table, question.first, question.count))
        except StopIteration as end:
            parts: Parts = end.value
            return parts

    def _tell_parts(self, read: Read, parts: Parts, answer: Answer) -> None:
        report, why = self._report, answer.describe()
        is_bits = read.table.is_bits
        if parts.limit is not None:
            key, now = (
                ("max_bits", self._patient.max_bits) if is_bits else ("max_registers", self._patient.max_registers)
            )
            if self._limits.get(is_bits) != parts.limit:
                self._limits[is_bits] = parts.limit
                text = f"it reads {parts.limit} at once and no more ({read.describe()}: {why}; {key} is {now})"
                report.add("wrong", "limit", text, f"{key}: {parts.limit}")
        if parts.gap is not None:
            first, stop = parts.gap
            text = f"refuses {read.table.describe(first, stop - first)}, which lies between tags ({why})"
            report.add("hint", "gap", text, "max_gap: 0; without it the gateway finds out by itself")
            return
        if not parts.good:
            report.add("wrong", "address", f"refuses all of {read.describe()}: {why}", self._elsewhere(read))
            return
        for first, stop, code in parts.refused:
            of = self._named(read, first, stop)
            text = f"refuses {read.table.describe(first, stop - first)}{of}: exception {spec.exception_text(code)}"
            safe = ", ".join(_range(a, b) for a, b in parts.good)
            report.add("wrong", "address", text, f"{_HOLE}; safe to read in one request each: {read.table.word}:{safe}")
        if not parts.refused and parts.limit is None and parts.is_whole:
            report.add("hint", "address", f"{read.describe()}: {why} as a whole, and yet each part of it can be read")
        if not parts.is_whole:
            report.add("hint", "address", f"{read.describe()} was not looked at to its end")

    def _named(self, read: Read, first: int, stop: int) -> str:
        names = [each.tag.name for each in read.readings if each.tag.first < stop and each.tag.stop > first]
        return f" ({', '.join(names[:5])}{' ...' if len(names) > 5 else ''})" if names else ""

    def _elsewhere(self, read: Read) -> str:
        """Where what was asked for may be meant: counted from 1, another table, a reference taken for an address."""
        hints = []
        if question := mistaken_reference(f"{read.table.word}:{read.first}"):
            hints.append(question)
        if read.first and self._ask(read.table, read.first - 1, 1).is_good:
            before = read.table.describe(read.first - 1)
            hints.append(f"{before} answers: does the manual count from 1? Then all addresses are one less")
        sibling = _SIBLINGS[read.table]
        if self._ask(sibling, read.first, 1).is_good:
            hints.append(f"{sibling.describe(read.first)} answers: is it the table {sibling.word}?")
        return (
            "; ".join(hints)
            or f"look at its manual, or what there is: gateway scan ... --units {self._patient.unit_id}"
        )

    def _advice(self, read: Read, answer: Answer) -> str:
        if answer.code == spec.ILLEGAL_FUNCTION:
            sibling = _SIBLINGS[read.table]
            if self._ask(sibling, read.first, 1).is_good:
                return f"it has no {read.table.word}, but {sibling.describe(read.first)} answers: is it that table?"
            return f"it does not know function {read.table.read_function:02d}: is it another table?"
        if answer.code in (spec.SERVER_BUSY, spec.ACKNOWLEDGE):
            return "it is busy for seconds: ask it less often (`every`), or give it quiet (`delay: 50ms`)"
        return "what that means is in its manual"

    # -- no answer ----------------------------------------------------------------------------------------------

    def _unreached(self, answer: Answer) -> None:
        text = f"a bridge answers that it cannot reach unit {self._patient.unit_id}: {answer.describe()}"
        change = "is the unit id right, the device on, its line connected?"
        if (unit := self._other_unit()) is not None:
            change = f"unit {unit} answers: unit: {unit}"
        self._report.add("wrong", "unit", text, change)

    def _silent(self, read: Read, answer: Answer) -> bool:
        """The first request got no answer: why. Whether it answers after all."""
        report, patient, error = self._report, self._patient, answer.error
        if isinstance(error, LinkDown):
            report.add(
                "wrong",
                "closed",
                str(error),
                "another program may hold its only connection (a running gateway?), or it is no Modbus"
                if self._exchange.url.line is None
                else "",
            )
            return False
        if isinstance(error, MalformedResponse):
            report.add("wrong", "garbled", str(error), self._garbled())
            return False
        if self._is_slow(read):
            return True
        if (unit := self._other_unit()) is not None:
            text = f"connects, but unit {patient.unit_id} is silent; unit {unit} answers"
            report.add("wrong", "unit", text, f"unit: {unit}")
            return False
        if (url := self._other_framing(read)) is not None:
            text = f"connects, but is silent: it speaks {_WORDS[url.framing]}"
            report.add("wrong", "framing", text, f'url: "{url}"')
            return False
        waited = format_duration(self._patience_s())
        tried = [str(unit) for unit in self._others()]
        text = f"connects, but unit {patient.unit_id} is silent, for {waited}, and so are units {', '.join(tried)}"
        report.add("wrong", "silent", text, self._silence())
        return False

    def _patience_s(self) -> float:
        return min(MOST_PATIENCE_S, max(LEAST_PATIENCE_S, PATIENCE * self._patient.timeout_s))

    def _is_slow(self, read: Read) -> bool:
        """Whether it answers when it is given more time."""
        for _ in range(2):  # the first may have waited behind those that were given up
            answer = self._once(self._exchange, self._patient.unit_id, read, self._patience_s())
            if answer.kind is Kind.NONE:
                return False
        took_s = self._exchange.took_s
        text = f"answers after {took_s:.2g} s, its time-out is {format_duration(self._patient.timeout_s)}"
        self._report.add("wrong", "slow", text, f"timeout: {_room(took_s)}")
        self._has_answered = True
        self._asker.timeout_s = self._patience_s()
        return True

    def _others(self) -> list[int]:
        is_line = self._exchange.url.framing != "mbap"
        return [unit for unit in OTHER_UNITS if unit != self._patient.unit_id and not (is_line and unit == 0)]

    def _other_unit(self) -> int | None:
        """A unit id that does answer."""
        read = self._patient.reads[0] if self._patient.reads else _SIGN
        for unit in self._others():
            answer = self._once(self._exchange, unit, read, self._patient.timeout_s)
            if answer.kind is not Kind.NONE and answer.code not in BRIDGE_CODES:
                return unit
        return None

    def _other_framing(self, read: Read) -> DeviceUrl | None:
        """The url in whose framing it does answer."""
        url = self._exchange.url
        if url.carrier != "tcp":
            return None
        self._exchange.close()  # it may allow one connection
        for framing, scheme in _SCHEMES.items():
            if framing == url.framing:
                continue
            other = url._replace(scheme=scheme)
            exchange = exchange_of(self._way, other, self._sleep)
            try:
                if self._once(exchange, self._patient.unit_id, read, self._patient.timeout_s).kind is not Kind.NONE:
                    return other
            finally:
                exchange.close()
        return None

    def _once(self, exchange: Exchange, unit_id: int, read: Read, timeout_s: float) -> Answer:
        asker = Asker(exchange, timeout_s=timeout_s, sleep=self._sleep)
        try:
            return asker.ask(unit_id, read_request(read.table, read.first, read.count))
        except LinkDown as error:
            return Answer(Kind.NONE, error=error)

    def _garbled(self) -> str:
        url = self._exchange.url
        if url.line is not None:
            return (
                f"bytes come that make no frame: is it {url.line.baudrate} baud, parity {url.line.parity}, "
                f"{url.line.stopbits} stop bit(s)? Do two units have the id {self._patient.unit_id}?"
            )
        read = self._patient.reads[0] if self._patient.reads else _SIGN
        if (other := self._other_framing(read)) is not None:
            return f'it speaks {_WORDS[other.framing]}: url: "{other}"'
        return ""

    def _silence(self) -> str:
        line = self._exchange.url.line
        if line is not None:
            return (
                f"is it unit {self._patient.unit_id}, at {line.baudrate} baud, parity {line.parity}? Are A and B not "
                "exchanged? gateway scan looks for units"
            )
        return "is the unit id right, is it Modbus on this port? gateway scan looks for units"

    # -- at the end ---------------------------------------------------------------------------------------------

    def _look_at_times(self) -> None:
        slowest_s = self._report.slowest_s = self._asker.slowest_s
        timeout_s = self._patient.timeout_s
        if slowest_s > SLOW_PART * timeout_s and not any(finding.kind == "slow" for finding in self._report.findings):
            text = f"its slowest answer took {slowest_s:.2g} s of the {format_duration(timeout_s)} that it has"
            self._report.add("hint", "slow", text, f"timeout: {_room(slowest_s)}")

    def _look_at_quirks(self) -> None:
        missing = sorted(self._exchange.quirks - set(self._patient.accept))
        if missing:
            text = f"its answers carry another {' and '.join(_QUIRKS[each] for each in missing)} than was asked with"
            self._report.add("wrong", "quirk", text, f"accept: [{', '.join(missing)}]")


_HOLE = "take it out of the file if the device does not have it; the gateway reads around it"
_MUTE = "take it out of the file if the device does not have it: the gateway cannot read around what gets no answer"
_KINDS = {spec.ILLEGAL_FUNCTION: "function", spec.SERVER_BUSY: "busy", spec.ACKNOWLEDGE: "busy"}
_WORDS = {"mbap": "Modbus TCP", "rtu": "RTU over TCP", "ascii": "ASCII over TCP"}
_QUIRKS = {"tid_zero": "transaction id", "any_unit": "unit id"}


def _known(table: Table, first: int, count: int, data: bytes) -> dict[int, bytes]:
    """By address: two bytes of a register, one (0 or 1) of a bit."""
    if table.is_bits:
        bits = int.from_bytes(data, "little")
        return {first + n: bytes((bits >> n & 1,)) for n in range(count)}
    return {first + n: data[2 * n : 2 * n + 2] for n in range(count)}


def _range(first: int, stop: int) -> str:
    return f"{first}..{stop - 1}" if stop - first > 1 else str(first)


def _room(took_s: float) -> str:
    """A time-out with room for an answer that took so long."""
    return format_duration(max(1, math.ceil(took_s * ROOM)))
