"""A device played from its recording: one `Player` a unit, `Replay` the clock that all of them share. No I/O.

What it answers, as decided:

- **Values** are a timeline: each register and bit holds what it was last seen with, and before it was first seen what
  it was seen with then. Any read inside of what was seen is answered from that, also if nobody asked just this; a read
  that leaves it gets 02, as of a device that has no more.
- **Writes** inside of what was seen are accepted, and what a client writes stays until the recording begins again: a
  simulated device obeys, and what was read back in the recording belongs to another write. What the recorded client
  wrote, and was accepted, changes the timeline.
- **Refusals** are repeated: for the same request while it was refused, and for every one that includes all of a range
  which was refused to the same function. A function that got 01 and never anything else gets 01. A write that touches a
  range whose write was refused is refused too (but 03 is about a value, and is repeated for just that request).
- **Silence** is silence: from a request that was not answered until the next that was, for the whole unit; and for one
  request that was not answered twice in a row, or the last time, all the time between. (While its link was down a
  device was asked nothing: such a time is a gap in the recording, in which the values stay.)
- **Other functions** are answered as recorded, request by request; a request that never was gets 02, a function that
  never was 01.

The rule of the file: what is answered depends on the recording, the time and the clients' writes, on nothing else.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from gateway.bank import Bank, Interval
from gateway.interfaces import Later
from gateway.modbus import spec
from gateway.modbus.pdu import fault
from gateway.modbus.reach import Touch, is_write, touches
from gateway.modbus.spec import Table
from gateway.recording.file import Exchange, Recording

LEAST_DURATION_S = 0.1
"""A recording that is shorter is played in a loop as if it were so long: it must not begin anew at each request."""

_RANGED = frozenset(
    (
        *spec.TABLE_BY_READ_FUNCTION,
        spec.WRITE_SINGLE_COIL,
        spec.WRITE_SINGLE_REGISTER,
        spec.WRITE_MULTIPLE_COILS,
        spec.WRITE_MULTIPLE_REGISTERS,
        spec.MASK_WRITE_REGISTER,
        spec.READ_WRITE_MULTIPLE_REGISTERS,
    )
)
"""Functions that the timeline answers; the others are answered as recorded."""
_ECHO = b"\x08\0\0"


class Played(NamedTuple):
    """What is answered; None: silence. `took_s`: how long the device took for such an answer."""

    answer: bytes | None
    took_s: float


class _History:
    """What became of one request each time it was asked, in order."""

    __slots__ = ("exchanges", "times_s")

    def __init__(self) -> None:
        self.times_s: list[float] = []
        self.exchanges: list[Exchange] = []

    def add(self, exchange: Exchange) -> None:
        self.times_s.append(exchange.at_s)
        self.exchanges.append(exchange)

    def at(self, at_s: float) -> Exchange:
        """The last at this time, before the first that one; the next if it was not answered. If that was not either,
        the request is met with silence here."""
        index = max(0, bisect_right(self.times_s, at_s) - 1)
        if self.exchanges[index].answer is None and index + 1 < len(self.exchanges):
            index += 1
        return self.exchanges[index]


class Player:
    """One unit. Times are seconds since the beginning of the recording, and do not step back but by `rewind`."""

    def __init__(self, exchanges: Sequence[Exchange]) -> None:
        """`exchanges` of this unit, in order."""
        self._exchanges = exchanges
        self._histories: dict[bytes, _History] = {}
        self._refused: dict[int, dict[bytes, tuple[Touch, ...]]] = {}
        """By function: the ranges of requests that were ever refused."""
        self._accepted: dict[int, set[Touch]] = {}
        """By function: what was answered well."""
        self._codes: dict[int, set[int]] = {}
        """By function: exception codes it got, 0 for a good answer."""
        for exchange in exchanges:
            self._learn(exchange)
        self._silent = _silences(exchanges)
        self._silent_from = [first_s for first_s, _ in self._silent]
        self._sightings = [each for each in exchanges if _is_sighting(each)]
        self._bank = Bank(_ranges(self._sightings))
        self._first = _first_sightings(self._sightings)
        self._pinned: dict[Table, set[int]] = {table: set() for table in Table}
        """What clients have written since the beginning."""
        self._next = 0
        self.rewind()

    @property
    def ranges(self) -> dict[str, list[Interval]]:
        """What was seen: by the table's word, (first, stop) in order."""
        return self._bank.ranges()

    def rewind(self) -> None:
        """To the beginning; what clients have written is forgotten."""
        self._bank.on_write = None
        for pinned in self._pinned.values():
            pinned.clear()
        self._next = 0
        for exchange in reversed(self._first):
            self._see(exchange)
        self._bank.on_write = self._written

    def answer(self, pdu: bytes, at_s: float) -> Played:
        """The answer to a request PDU of at least one byte at this time."""
        self._go_on(at_s)
        history = self._histories.get(pdu)
        if self._is_silent(at_s):
            return Played(None, 0.0)
        if history is not None:
            exchange = history.at(at_s)
            took_s = exchange.took_s
            if exchange.answer is None or pdu[0] not in _RANGED or _is_refusal(exchange.answer):
                return Played(exchange.answer, took_s)
        else:
            took_s = self._exchanges[max(0, self._index(at_s))].took_s
            if code := self._refusal(pdu, at_s):
                return Played(bytes((pdu[0] | spec.EXCEPTION_BIT, code)), took_s)
            if pdu[0] not in _RANGED:
                return Played(pdu, took_s)  # an echo that was not asked for just so
        answer = self._bank.answer(pdu)
        assert not isinstance(answer, Later)  # a bank without spans of others waits for nobody
        return Played(answer, took_s)

    # -- what was recorded --------------------------------------------------------------------------------------

    def _learn(self, exchange: Exchange) -> None:
        pdu, answer = exchange.request, exchange.answer
        function = pdu[0]
        history = self._histories.get(pdu)
        if history is None:
            history = self._histories[pdu] = _History()
        history.add(exchange)
        if answer is None:
            return
        code = answer[1] if _is_refusal(answer) and len(answer) > 1 else 0
        self._codes.setdefault(function, set()).add(code)
        found = touches(pdu)
        if not code:
            self._accepted.setdefault(function, set()).update(found)
        elif found and function in _RANGED:
            self._refused.setdefault(function, {})[pdu] = found

    def _index(self, at_s: float) -> int:
        return bisect_right(self._exchanges, at_s, key=lambda each: each.at_s) - 1

    def _is_silent(self, at_s: float) -> bool:
        index = bisect_right(self._silent_from, at_s) - 1
        return index >= 0 and at_s < self._silent[index][1]

    def _refusal(self, pdu: bytes, at_s: float) -> int:
        """The code with which a request is refused that was not recorded just so; 0: the timeline answers it."""
        function = pdu[0]
        codes = self._codes.get(function, set())
        if codes == {spec.ILLEGAL_FUNCTION}:
            return spec.ILLEGAL_FUNCTION
        if function not in _RANGED:
            if pdu.startswith(_ECHO) and 0 in codes:
                return 0
            return spec.ILLEGAL_ADDRESS if codes else spec.ILLEGAL_FUNCTION
        wanted = touches(pdu)
        for refused, ranges in self._refused.get(function, {}).items():
            answer = self._histories[refused].at(at_s).answer
            if answer is None or not _is_refusal(answer):
                continue
            if is_write(pdu):
                fits = answer[1] != spec.ILLEGAL_VALUE and _overlap(wanted, ranges) and not self._was_accepted(pdu)
            else:
                fits = _includes(wanted, ranges)
            if fits:
                return answer[1]
        return 0

    def _was_accepted(self, pdu: bytes) -> bool:
        """All that it touches was once touched, with good success, by one request of its function."""
        accepted = self._accepted.get(pdu[0], ())
        return all(any(_covers(each, touch) for each in accepted) for touch in touches(pdu))

    # -- the timeline -------------------------------------------------------------------------------------------

    def _go_on(self, at_s: float) -> None:
        """Bring the values up to this time."""
        sightings = self._sightings
        if self._next >= len(sightings) or sightings[self._next].at_s > at_s:
            return
        self._bank.on_write = None
        while self._next < len(sightings) and sightings[self._next].at_s <= at_s:
            self._see(sightings[self._next])
            self._next += 1
        self._bank.on_write = self._written

    def _see(self, exchange: Exchange) -> None:
        """The device has these values now; what a client wrote stays."""
        bank = self._bank
        found = touches(exchange.request)
        kept = [
            (touch.table, address, bank.get(touch.table, address, 1))
            for touch in found
            for address in self._pinned_in(touch)
        ]
        if is_write(exchange.request):
            bank.answer(exchange.request)
        if exchange.answer is not None and (read := next((each for each in found if not each.writes), None)):
            self._put(read.table, read.first, read.stop - read.first, exchange.answer[2:])
        for table, address, data in kept:
            self._put(table, address, 1, data)

    def _pinned_in(self, touch: Touch) -> Iterator[int]:
        pinned = self._pinned[touch.table]
        return (address for address in range(touch.first, touch.stop) if address in pinned) if pinned else iter(())

    def _put(self, table: Table, first: int, count: int, data: bytes) -> None:
        if table.is_bits:
            self._bank.put_bits(table, first, count, data)
        else:
            self._bank.put_registers(table, first, data)

    def _written(self, table: Table, first: int, count: int) -> None:
        """By a client."""
        self._pinned[table].update(range(first, first + count))


class Replay:
    """A recording that runs: its players by unit id, and where it is."""

    def __init__(
        self, recording: Recording, now: Callable[[], float], *, speed: float = 1.0, is_loop: bool = True
    ) -> None:
        """It begins with the first request: whoever polls it sees it from the start."""
        by_unit: dict[int, list[Exchange]] = {}
        for exchange in recording.exchanges:
            by_unit.setdefault(exchange.unit_id, []).append(exchange)
        self.players = {unit_id: Player(exchanges) for unit_id, exchanges in by_unit.items()}
        self.duration_s = max(recording.duration_s, LEAST_DURATION_S)
        self.lap = 0
        """How often it was played to its end."""
        self._now = now
        self._speed = speed
        self._is_loop = is_loop
        self._start_s: float | None = None

    @property
    def left_s(self) -> float | None:
        """Seconds of real time until it is over; None: it has not begun, or is played for ever."""
        if self._is_loop or self._start_s is None:
            return None
        return max(0.0, self._start_s + self.duration_s / self._speed - self._now())

    def position_s(self) -> float:
        """Where it is, in seconds of the recording; asking begins it."""
        now_s = self._now()
        if self._start_s is None:
            self._start_s = now_s
        passed_s = (now_s - self._start_s) * self._speed
        if not self._is_loop:
            return min(passed_s, self.duration_s)
        lap, at_s = divmod(passed_s, self.duration_s)
        if lap != self.lap:
            self.lap = int(lap)
            for player in self.players.values():
                player.rewind()
        return at_s

    def answer(self, unit_id: int, pdu: bytes) -> Played:
        """Of one of the `players`, now; `took_s` in real time."""
        played = self.players[unit_id].answer(pdu, self.position_s())
        return played._replace(took_s=played.took_s / self._speed)


def _is_refusal(answer: bytes) -> bool:
    return bool(answer[0] & spec.EXCEPTION_BIT)


def _is_sighting(exchange: Exchange) -> bool:
    """It tells values: a good answer to a read, or to a write, that fits its request."""
    pdu, answer = exchange.request, exchange.answer
    if answer is None or pdu[0] not in _RANGED or _is_refusal(answer) or fault(pdu, answer) is not None:
        return False
    found = touches(pdu)
    if not found or any(touch.stop > spec.ADDRESSES for touch in found):
        return False
    read = next((touch for touch in found if not touch.writes), None)
    return read is None or len(answer) == 2 + _size(read)


def _size(touch: Touch) -> int:
    """Bytes of its values."""
    count = touch.stop - touch.first
    return (count + 7) // 8 if touch.table.is_bits else 2 * count


def _ranges(sightings: Iterable[Exchange]) -> dict[Table, list[tuple[int, int]]]:
    seen: dict[Table, set[Interval]] = {}
    for exchange in sightings:
        for touch in touches(exchange.request):
            seen.setdefault(touch.table, set()).add((touch.first, touch.stop))
    return {table: [(first, stop - first) for first, stop in found] for table, found in seen.items()}


def _first_sightings(sightings: Iterable[Exchange]) -> list[Exchange]:
    """Those in which something is seen for the first time, in order."""
    seen: dict[Table, bytearray] = {table: bytearray(spec.ADDRESSES) for table in Table}
    found = []
    for exchange in sightings:
        is_new = False
        for touch in touches(exchange.request):
            part = seen[touch.table]
            size = touch.stop - touch.first
            if part.count(1, touch.first, touch.stop) < size:
                is_new = True
                part[touch.first : touch.stop] = b"\1" * size
        if is_new:
            found.append(exchange)
    return found


def _silences(exchanges: Sequence[Exchange]) -> list[tuple[float, float]]:
    """From a request that was not answered until the next that was; the last perhaps for ever."""
    found: list[tuple[float, float]] = []
    since_s: float | None = None
    for exchange in exchanges:
        if exchange.answer is None:
            since_s = exchange.at_s if since_s is None else since_s
        elif since_s is not None:
            found.append((since_s, exchange.at_s))
            since_s = None
    if since_s is not None:
        found.append((since_s, float("inf")))
    return found


def _covers(outer: Touch, inner: Touch) -> bool:
    return outer.table is inner.table and outer.first <= inner.first and inner.stop <= outer.stop


def _includes(wanted: Sequence[Touch], refused: Sequence[Touch]) -> bool:
    return all(any(_covers(touch, each) for touch in wanted) for each in refused)


def _overlap(wanted: Sequence[Touch], refused: Sequence[Touch]) -> bool:
    return any(
        touch.table is each.table and touch.first < each.stop and each.first < touch.stop
        for touch in wanted
        for each in refused
    )
