"""Writes to one unit: in order, one at a time, whoever they come from (clients' writes through, forwards, pushes).

Each write is a generator of request PDUs (`Steps`), so that read-modify-write is one write that no other comes between.
What may have been executed is never sent again (protocol digest 6.5): only 06, `busy`, which says that it was not
executed, is repeated after a pause. A step that was sent and not answered ends its write with OutcomeUnknown; what
cannot be sent now fails at once and is not kept for later (rule 25 of the field). As long as nothing was sent that
writes, a write ends when nobody waits for it any more, and when it is older than MAX_WAIT_S: nobody expects it then.

Writes of one key (`latest_only`) replace each other while they wait, but never past a write without a key: the order of
commands is kept.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Hashable

from gateway.errors import LinkBusy, LinkDown, LinkError, OutcomeUnknown
from gateway.interfaces import Priority, Request, Scheduler, Steps, Submit, Timer, Write
from gateway.modbus import spec
from gateway.southbound.conversation import MAX_TRACEBACKS, MAX_WAIT_S

log = logging.getLogger(__name__)

MAX_WAITING = 64
"""Writes that wait for one unit; more are refused with 0A."""
BUSY_PAUSE_S = 0.1
"""Doubled with each repetition."""
MAX_BUSY = 5

MAX_LINES = 6
"""About unknown outcomes within LINES_S; the next line says how many were not told."""
LINES_S = 60.0

_HARMLESS = frozenset(spec.TABLE_BY_READ_FUNCTION)

Written = Callable[[bytes, bytes | None, float], None]
"""Called with request PDU, response PDU (None: outcome unknown), and how long polls may still show the old value."""


class _Item:
    """A write in the queue, and those that it replaced."""

    __slots__ = ("replaced", "since_s", "write")

    def __init__(self, write: Write, since_s: float) -> None:
        self.write = write
        self.replaced: list[Write] = []
        self.since_s = since_s

    def latest(self) -> Write | None:
        """The latest that somebody still waits for."""
        return next((write for write in (self.write, *reversed(self.replaced)) if write.wanted), None)


class _Step(Request):
    """A request of a write; not wanted any more when nobody waits, unless the write has begun to write."""

    __slots__ = ("_writer",)

    def __init__(self, writer: Writer, pdu: bytes, timeout_s: float) -> None:
        self._writer = writer
        super().__init__(writer.unit_id, pdu, timeout_s, 0, writer.answered, writer.quirks, Priority.WRITE)

    @property
    def wanted(self) -> bool:
        """Asked by the link when its turn comes."""
        return self._writer.why_not() is None

    @wanted.setter
    def wanted(self, wanted: bool) -> None:
        """It follows from the write."""


class Writer:
    """The one door for everything that writes to a unit."""

    def __init__(
        self,
        submit: Submit,
        scheduler: Scheduler,
        unit_id: int,
        timeout_s: float,
        quirks: frozenset[str] = frozenset(),
        name: str = "",
    ) -> None:
        """`name`: of the device or the link, for the log."""
        self.name = name or f"unit {unit_id}"
        self.unit_id = unit_id
        self.on_written: list[Written] = []
        """Called after each step that wrote or may have, before the write's `done`."""
        self.busy = 0
        """Repetitions because of 06."""
        self.unknown = 0
        self._submit = submit
        self._scheduler = scheduler
        self.timeout_s = timeout_s
        self.quirks = quirks
        self._waiting: deque[_Item] = deque()
        self._by_key: dict[Hashable, _Item] = {}
        self._item: _Item | None = None
        """The one that is being written."""
        self._write: Write | None = None
        """What of it is sent."""
        self._has_written = False
        """A step of it was sent that writes."""
        self._deadline: Timer | None = None
        self._lines: list[float] = []
        """When the log had an unknown outcome, of late."""
        self._untold = 0
        self._steps: Steps | None = None
        self._request: Request | None = None
        self._repeated = 0
        self._running = False
        self._faults = 0

    def __len__(self) -> int:
        """Writes that wait or are out."""
        return len(self._waiting) + (self._item is not None)

    def write(self, write: Write) -> None:
        """Bring it to the unit in its turn; `write.done` is called once, from inside when it cannot be sent now."""
        if write.key is not None and (waiting := self._by_key.get(write.key)) is not None:
            behind = []  # what came after it
            for item in reversed(self._waiting):
                if item is waiting:
                    break
                behind.append(item)
            if all(item.write.key is not None for item in behind):
                waiting.replaced.append(waiting.write)
                waiting.write = write
                if behind:  # what came between must not undo it
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
        self._arm()

    def why_not(self) -> str | None:
        """Why the write that is under way is not sent any more; None: it is."""
        item = self._item
        if item is None or self._has_written:
            return None
        if item.latest() is None:
            return "its client has gone"
        if self._scheduler.time() - item.since_s > MAX_WAIT_S:
            return f"it waited {MAX_WAIT_S:g} s for its turn"
        return None

    def _arm(self) -> None:
        """Wake up when the oldest that waits has waited too long."""
        if self._deadline is None and self._waiting:
            first_s = min(item.since_s for item in self._waiting)
            self._deadline = self._scheduler.call_at(first_s + MAX_WAIT_S + 0.001, self._expire)

    def _expire(self) -> None:
        """Refuse what has waited too long, without waiting for its turn."""
        self._deadline = None
        oldest_s = self._scheduler.time() - MAX_WAIT_S
        late = [item for item in self._waiting if item.since_s < oldest_s]
        for item in late:
            self._waiting.remove(item)
            self._forget_key(item)
            self._tell_all(item, None, LinkDown(f"it waited {MAX_WAIT_S:g} s for its turn"))
        self._arm()

    def _forget_key(self, item: _Item) -> None:
        key = item.write.key
        if key is not None and self._by_key.get(key) is item:
            del self._by_key[key]

    def _run(self) -> None:
        """Begin what waits, until one is out. Never nested: what fails at once is followed by the next here."""
        if self._running:
            return
        self._running = True
        try:
            while self._waiting and self._item is None:
                item = self._item = self._waiting.popleft()
                self._forget_key(item)
                self._has_written = False
                self._write = item.latest()
                why_not = self.why_not()
                if self._write is None or why_not is not None:
                    self._end(None, LinkDown(why_not or "its client has gone"))
                else:
                    self._steps = self._write.steps()
                    self._step(None)
        finally:
            self._running = False

    def _step(self, answer: bytes | None) -> None:
        """Hand the last answer to the steps, send the next request; or end with what they return."""
        assert self._steps is not None
        assert self._write is not None
        try:
            pdu = next(self._steps) if answer is None else self._steps.send(answer)
        except StopIteration as end:
            self._end(end.value, None)
            return
        except Exception:
            self._fault()
            self._end(None, LinkDown("a bug in the gateway"))
            return
        self._repeated = 0
        timeout_s = self._write.timeout_s
        self._request = _Step(self, pdu, self.timeout_s if timeout_s is None else timeout_s)
        self._submit(self._request)

    def answered(self, answer: bytes | None, error: LinkError | None) -> None:
        """What became of the request that is out."""
        request, write = self._request, self._write
        assert request is not None
        assert write is not None
        writes = request.pdu[0] not in _HARMLESS
        if answer is None:
            assert error is not None
            if request.attempts and writes:
                self._has_written = True
                self._lose(write, request.pdu, str(error))
                error = OutcomeUnknown(str(error))
            self._end(None, error)
            return
        refused = bool(answer[0] & spec.EXCEPTION_BIT)
        if refused and answer[1] == spec.SERVER_BUSY and self._repeated < MAX_BUSY and self.why_not() is None:
            self.busy += 1
            pause_s = BUSY_PAUSE_S * 2**self._repeated
            self._repeated += 1
            self._scheduler.call_at(self._scheduler.time() + pause_s, self._repeat)
            return
        if writes and not refused:
            self._has_written = True
            self._tell(request.pdu, answer, write.hold_s)
        elif writes and answer[1] not in spec.NOT_EXECUTED:
            self._has_written = True
            self._lose(write, request.pdu, f"the device answered {spec.exception_text(answer[1])}")
        self._step(answer)

    def _repeat(self) -> None:
        """After 06: the same request once more, if somebody still waits for it."""
        assert self._request is not None
        if (why_not := self.why_not()) is not None:
            self._end(None, LinkDown(why_not))
            return
        self._submit(self._request)

    def _lose(self, write: Write, pdu: bytes, why: str) -> None:
        """Nobody knows whether this was executed: whoever reads the unit looks, and the log says so."""
        self.unknown += 1
        self._tell(pdu, None, 0.0)
        if write.is_ours:
            return
        now_s = self._scheduler.time()
        self._lines = [each for each in self._lines if now_s - each < LINES_S]
        if len(self._lines) >= MAX_LINES:
            self._untold += 1
            return
        self._lines.append(now_s)
        more = f" (and {self._untold} more before)" if self._untold else ""
        self._untold = 0
        log.warning("%s: write of %s: outcome unknown: %s%s", self.name, write.what, why, more)

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
        self._item = self._write = self._steps = self._request = None
        self._tell_all(item, answer, error)
        self._run()

    def _tell_all(self, item: _Item, answer: bytes | None, error: LinkError | None) -> None:
        for write in (*item.replaced, item.write):
            try:
                write.done(answer, error)
            except Exception:
                self._fault()

    def _fault(self) -> None:
        self._faults += 1
        if self._faults <= MAX_TRACEBACKS:
            log.exception("%s: bug in the gateway with a write", self.name)
