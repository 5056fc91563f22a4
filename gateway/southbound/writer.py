"""Writes to one unit: in order, one at a time, whoever they come from (clients' writes through, forwards, pushes).

Each write is a generator of request PDUs (`Steps`), so that read-modify-write is one write that no other comes between.
What may have been executed is never sent again (protocol digest 6.5): only 06, `busy`, which says that it was not
executed, is repeated after a pause. A step that was sent and not answered ends its write with OutcomeUnknown; what
cannot be sent now fails at once and is not kept for later (rule 25 of the field).
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Hashable

from gateway.errors import LinkBusy, LinkDown, LinkError, OutcomeUnknown
from gateway.interfaces import Priority, Request, Scheduler, Steps, Submit, Timer, Write
from gateway.modbus import spec
from gateway.southbound.link import MAX_TRACEBACKS, MAX_WAIT_S

log = logging.getLogger(__name__)

MAX_WAITING = 64
"""Writes that wait for one unit; more are refused with 0A."""
BUSY_PAUSE_S = 0.1
"""Doubled with each repetition."""
MAX_BUSY = 5

_HARMLESS = frozenset(spec.TABLE_BY_READ_FUNCTION)
_NOT_EXECUTED = frozenset((spec.ILLEGAL_FUNCTION, spec.ILLEGAL_ADDRESS, spec.ILLEGAL_VALUE, spec.SERVER_BUSY))
"""Refusals that say that nothing was done; after others (04, 05, 0A, 0B) nobody knows."""

Written = Callable[[bytes, bytes | None, float], None]
"""Called with request PDU, response PDU (None: outcome unknown), and how long polls may still show the old value."""


class _Item:
    """A write in the queue, and those that it replaced."""

    __slots__ = ("replaced", "since_s", "write")

    def __init__(self, write: Write, since_s: float) -> None:
        self.write = write
        self.replaced: list[Write] = []
        self.since_s = since_s

    @property
    def wanted(self) -> bool:
        return self.write.wanted or any(write.wanted for write in self.replaced)


class Writer:
    """The one door for everything that writes to a unit."""

    def __init__(
        self, submit: Submit, scheduler: Scheduler, unit_id: int, timeout_s: float, quirks: frozenset[str] = frozenset()
    ) -> None:
        self.on_written: list[Written] = []
        """Called after each step that wrote or may have, before the write's `done`."""
        self.busy = 0
        """Repetitions because of 06."""
        self.unknown = 0
        self._submit = submit
        self._scheduler = scheduler
        self._unit_id = unit_id
        self.timeout_s = timeout_s
        self.quirks = quirks
        self._waiting: deque[_Item] = deque()
        self._by_key: dict[Hashable, _Item] = {}
        self._item: _Item | None = None
        """The one that is being written."""
        self._steps: Steps | None = None
        self._request: Request | None = None
        self._repeated = 0
        self._pause: Timer | None = None
        self._running = False
        self._faults = 0

    def __len__(self) -> int:
        """Writes that wait or are out."""
        return len(self._waiting) + (self._item is not None)

    def write(self, write: Write) -> None:
        """Bring it to the unit in its turn; `write.done` is called once, from inside when it cannot be sent now."""
        if write.key is not None and (waiting := self._by_key.get(write.key)) is not None:
            waiting.replaced.append(waiting.write)
            waiting.write = write
            if self._waiting[-1] is not waiting:  # what came between must not undo it: it goes behind
                self._waiting.remove(waiting)
                self._waiting.append(waiting)
            return
        if len(self._waiting) >= MAX_WAITING:
            write.done(None, LinkBusy(f"{MAX_WAITING} writes are waiting"))
            return
        item = _Item(write, self._scheduler.time())
        self._waiting.append(item)
        if write.key is not None:
            self._by_key[write.key] = item
        self._run()

    def _run(self) -> None:
        """Begin what waits, until one is out. Never nested: what fails at once is followed by the next here."""
        if self._running:
            return
        self._running = True
        try:
            while self._waiting and self._item is None:
                item = self._waiting.popleft()
                if item.write.key is not None:
                    self._by_key.pop(item.write.key, None)
                self._item = item
                if not item.wanted:
                    self._end(None, LinkDown("its client has gone"))
                elif self._scheduler.time() - item.since_s > MAX_WAIT_S:
                    self._end(None, LinkDown(f"waited {MAX_WAIT_S:g} s for its turn"))
                else:
                    self._steps = item.write.steps()
                    self._step(None)
        finally:
            self._running = False

    def _step(self, answer: bytes | None) -> None:
        """Hand the last answer to the steps, send the next request; or end with what they return."""
        assert self._steps is not None
        try:
            pdu = next(self._steps) if answer is None else self._steps.send(answer)
        except StopIteration as end:
            self._end(end.value, None)
            return
        self._repeated = 0
        self._request = Request(self._unit_id, pdu, self.timeout_s, 0, self._answered, self.quirks, Priority.WRITE)
        self._submit(self._request)

    def _answered(self, answer: bytes | None, error: LinkError | None) -> None:
        request, item = self._request, self._item
        assert request is not None
        assert item is not None
        harmless = request.pdu[0] in _HARMLESS
        if answer is None:
            assert error is not None
            if request.attempts and not harmless:
                self.unknown += 1
                self._tell(request.pdu, None, 0.0)
                error = OutcomeUnknown(str(error))
            self._end(None, error)
            return
        refused = bool(answer[0] & spec.EXCEPTION_BIT)
        if refused and answer[1] == spec.SERVER_BUSY and self._repeated < MAX_BUSY:
            self.busy += 1
            pause_s = BUSY_PAUSE_S * 2**self._repeated
            self._repeated += 1
            self._pause = self._scheduler.call_at(self._scheduler.time() + pause_s, self._repeat)
            return
        if not harmless and not refused:
            self._tell(request.pdu, answer, item.write.hold_s)
        elif not harmless and answer[1] not in _NOT_EXECUTED:
            self._tell(request.pdu, None, 0.0)
        self._step(answer)

    def _repeat(self) -> None:
        """After 06: the same request once more."""
        self._pause = None
        assert self._request is not None
        self._submit(self._request)

    def _tell(self, pdu: bytes, answer: bytes | None, hold_s: float) -> None:
        for written in self.on_written:
            try:
                written(pdu, answer, hold_s)
            except Exception:
                self._fault()

    def _end(self, answer: bytes | None, error: LinkError | None) -> None:
        """Tell everybody who waits for this write, begin the next."""
        item = self._item
        assert item is not None
        self._item = self._steps = self._request = None
        for write in (*item.replaced, item.write):
            try:
                write.done(answer, error)
            except Exception:
                self._fault()
        self._run()

    def _fault(self) -> None:
        self._faults += 1
        if self._faults <= MAX_TRACEBACKS:
            log.exception("unit %d: bug in the gateway after a write", self._unit_id)
