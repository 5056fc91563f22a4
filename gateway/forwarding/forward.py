"""A transparent unit: what a client asks goes to a device as raw PDU, and the answer comes back as it is.

Any function code passes; nothing is translated but the unit id. Reads are asked once for all who ask the same at the
same time, and may be kept for a moment (`cache`). What may change the device goes through the unit's writer, in one
order with everybody else's writes. A client that sends several requests at once finds them done in its order: reads
overtake reads and writes follow writes, but neither passes the other on its way.

Value of a read, in one sentence: it was on the device at some moment after the last write that had been answered when
the read was asked, less the `cache` time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from gateway.errors import LinkError
from gateway.forwarding.flight import Flight
from gateway.forwarding.kinds import Kind, kind_of, kinds
from gateway.interfaces import Later, Submit, SubmitWrite, Write, exception_code, exception_response, once
from gateway.modbus import spec
from gateway.modbus.reach import describe
from gateway.traffic import Histogram

MAX_CACHED = 256
"""Answers kept per forward, at most 65 KB; the oldest is dropped: it has the least time to live."""
MAX_WRITES_AHEAD = 16
"""Writes of one client that wait for the device at once. A writer has places for 64, and others want some, too."""

_EXCEPTION = spec.EXCEPTION_BIT
_READ, _ASK, _WRITE, _LOOK = int(Kind.READ), int(Kind.ASK), int(Kind.WRITE), int(Kind.LOOK)


class Counters:
    """What came through a forward since the start."""

    __slots__ = ("cached", "failed", "refused", "requests", "shared", "took")

    def __init__(self) -> None:
        self.requests = 0
        self.shared = 0
        """Answered with the answer to another client's request that was on its way."""
        self.cached = 0
        """Answered with an answer that was kept."""
        self.refused = 0
        """Not passed on: 01."""
        self.failed = 0
        """Without an answer of the device: 0A and 0B."""
        self.took = Histogram()
        """How long clients waited for their answers, whatever these were; refusals and kept answers take no time."""

    def snapshot(self) -> dict[str, Any]:
        counts = {name: getattr(self, name) for name in self.__slots__ if name != "took"}
        return {**counts, "took": self.took.snapshot()}


class Forward:
    """The way from one unit id of ours to one unit of a link."""

    def __init__(
        self,
        submit: Submit,
        write: SubmitWrite,
        unit_id: int,
        timeout_s: float,
        clock: Callable[[], float],
        *,
        quirks: frozenset[str] = frozenset(),
        read_only: bool = False,
        functions: Collection[int] | None = None,
        cache_s: float = 0.0,
        is_broadcast: bool = False,
    ) -> None:
        """`unit_id` is the device's; `functions` those that may pass, None: all. Time is the clock's.

        `is_broadcast`: the unit id 0 of a serial line, which means all of its units.

        `written` must be called after every write to that unit, whoever it was, before its outcome is told.
        """
        self.counters = Counters()
        self.reached: Callable[[], None] | None = None
        """Called when the device has answered, of a device that nobody polls."""
        self._submit = submit
        self._write = write
        self._unit_id = unit_id
        self.timeout_s = timeout_s
        self._clock = clock
        self._quirks = quirks
        self._read_only = read_only
        self._kinds = kinds(functions, read_only=read_only, is_broadcast=is_broadcast)
        self._cache_s = cache_s
        self._cache: dict[bytes, tuple[bytes, float]] = {}
        """By request: the answer and until when it is good. Oldest first, because all live equally long."""
        self._no_cache_until_s = 0.0
        """A write is being verified until then: the device may still answer with the old value."""
        self._flights: dict[bytes, Flight] = {}
        """By request: those that may be joined, and whose answer may be kept."""
        self._reading = 0
        """Reads that are out."""
        self._writing = 0
        """Writes of ours that wait or are out."""

    # -- clients ------------------------------------------------------------------------------------------------

    def answer(self, pdu: bytes) -> bytes | Later | None:
        """Passes it on; what it is known at once to come to nothing is answered at once."""
        counters = self.counters
        counters.requests += 1
        kind = self._kinds[pdu[0]] if pdu else 0
        if kind == _READ:
            if self._cache_s and (kept := self._kept(pdu)) is not None:
                counters.cached += 1
                counters.took.add(0.0)
                return kept
            flight = self._flights.get(pdu)
            if flight is not None:
                counters.shared += 1
                return flight.join()
            return self._fly(pdu, shared=True)
        if kind == _LOOK:
            kind = kind_of(pdu, read_only=self._read_only)
        if kind == _ASK:
            return self._fly(pdu, shared=False)
        if kind == _WRITE:
            passage = Passage(self, pdu)
            self._begin_write(passage)
            return passage.answer if passage.is_settled else passage
        counters.refused += 1
        return exception_response(pdu or b"\0", spec.ILLEGAL_FUNCTION)

    def may_overtake(self, pdu: bytes) -> bool:
        """Reads pass when no write is on its way, writes when no read is: a client's requests are done in its order."""
        kind = self._kinds[pdu[0]] if pdu else 0
        if kind == _LOOK:
            kind = kind_of(pdu, read_only=self._read_only)
        if kind == _WRITE:
            return not self._reading and self._writing < MAX_WRITES_AHEAD
        return not self._writing

    # -- reads --------------------------------------------------------------------------------------------------

    def _fly(self, pdu: bytes, *, shared: bool) -> bytes | Later | None:
        flight = Flight(self, self._unit_id, pdu, self.timeout_s, self._quirks, self._clock)
        waiter = flight.join()
        if shared:
            self._flights[pdu] = flight
        self._reading += 1
        self._submit(flight)
        return waiter.answer if waiter.is_settled else waiter

    def landed(self, flight: Flight, answer: bytes | None, error: LinkError | None) -> bytes:
        """A flight is over: what its clients get."""
        now_s = self._clock()
        for waiter in flight.waiters:
            self.counters.took.add(now_s - waiter.begun_s)
        self._reading -= 1
        pdu = flight.pdu
        if self._flights.get(pdu) is flight:
            del self._flights[pdu]
            if self._cache_s and answer is not None and answer[0] < _EXCEPTION and not self._writing:
                self._keep(pdu, answer)
        if answer is not None:
            if self.reached is not None:
                self.reached()
            return answer
        assert error is not None
        self.counters.failed += len(flight.waiters)
        return exception_response(pdu, exception_code(error))

    def forsaken(self, flight: Flight) -> None:
        """It will not be sent: nobody may join it any more."""
        if self._flights.get(flight.pdu) is flight:
            del self._flights[flight.pdu]

    # -- the cache ----------------------------------------------------------------------------------------------

    def _kept(self, pdu: bytes) -> bytes | None:
        kept = self._cache.get(pdu)
        if kept is None:
            return None
        answer, until_s = kept
        if self._clock() < until_s:
            return answer
        del self._cache[pdu]
        return None

    def _keep(self, pdu: bytes, answer: bytes) -> None:
        now_s = self._clock()
        if now_s < self._no_cache_until_s:
            return
        cache = self._cache
        if len(cache) >= MAX_CACHED:
            del cache[next(iter(cache))]
        cache[pdu] = (answer, now_s + self._cache_s)

    def _forget(self) -> None:
        """The unit changes: no read that began before is joined any more, nor kept when it lands."""
        self._flights.clear()
        self._cache.clear()

    # -- writes -------------------------------------------------------------------------------------------------

    def now_s(self) -> float:
        return self._clock()

    def _begin_write(self, passage: Passage) -> None:
        self._forget()
        self._writing += 1
        self._write(passage.write)

    def write_ended(self, pdu: bytes, begun_s: float, answer: bytes | None, error: LinkError | None) -> bytes:
        """A write of ours is over, and `written` has heard of it: what its client gets."""
        self.counters.took.add(self._clock() - begun_s)
        self._writing -= 1
        if answer is not None:
            return answer
        assert error is not None
        self.counters.failed += 1
        return exception_response(pdu, exception_code(error))

    def written(self, pdu: bytes, answer: bytes | None, hold_s: float) -> None:
        """Somebody wrote to the unit, or may have; reads of the next `hold_s` may still show what was before."""
        self._forget()
        if hold_s:
            self._no_cache_until_s = max(self._no_cache_until_s, self._clock() + hold_s)


class Passage(Later):
    """A client's write on its way through the writer."""

    __slots__ = ("_begun_s", "_forward", "_pdu", "write")

    def __init__(self, forward: Forward, pdu: bytes) -> None:
        super().__init__()
        self._forward = forward
        self._pdu = pdu
        self._begun_s = forward.now_s()
        self.write = Write(once(pdu), describe(pdu), self._ended, timeout_s=forward.timeout_s)

    def _ended(self, answer: bytes | None, error: LinkError | None) -> None:
        self.write.done = _over  # no circles: the collector has nothing to do here
        self.error = error
        self.settle(self._forward.write_ended(self._pdu, self._begun_s, answer, error))

    def abandon(self) -> None:
        super().abandon()
        self.write.wanted = False


def _over(answer: bytes | None, error: LinkError | None) -> None:
    """A write is called back once."""
