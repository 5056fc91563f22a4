"""What is said on the connection of a link: the order of requests, which answer is whose, and time-outs.

`submit` puts a prepared request into the link's order (`queues`); at most `in_flight` are outstanding, the quiet times
are honoured, every answer is paired by transaction id, unit, function and shape, and each request is called back
exactly once. An answer that lay in our own buffers while the process was stopped is late. A stream that carried an
impossible answer is closed, because the next answer on it could be anybody's (protocol digest 2.4, 6.2, 6.3).

After a time-out some devices answer each request with the data of the one before, under the right transaction id
(protocol digest 6.1): nothing in such an answer shows it, and a wrong value shown as good is worse than none. So a
time-out takes a new connection: nothing more is sent on the old one, what is out is waited for, what waits goes out on
the new one. A late answer can then be nobody's. A line is listened to instead (`listening`), and what a unit answers
after that is not believed unless it cannot be an answer to what it was asked before (`doubts`, `questions`). A unit
that stays silent is demoted (`silence`, `probing`); the others go on.

The rule of the file: this is the way of every request and answer, so no object is made and none is asked that need not
be. That is why the rest of a link is a class above this one (`link`) and not one beside it, and why flags say whether
the slower rules have anything to say at all. No socket here, no task per request: callbacks, and one timer for all
time-outs.
"""

from __future__ import annotations

import abc
import logging
import math
from collections.abc import Callable, Iterable

from gateway.errors import LinkBusy, LinkDown, LinkError, MalformedResponse, RequestTimeout, UnitSilent
from gateway.interfaces import Priority, Request, Scheduler, Timer
from gateway.modbus import mbap, spec
from gateway.modbus.pdu import fault
from gateway.southbound.doubts import Doubts
from gateway.southbound.ledger import MAX_KEPT, Ledger
from gateway.southbound.listening import Listening
from gateway.southbound.probing import Prober
from gateway.southbound.questions import SET_ASIDE, Questions
from gateway.southbound.queues import Queues
from gateway.southbound.seams import MIN_TIMER_S, Carrier, Counters, Line, Settings
from gateway.southbound.silence import Silences

log = logging.getLogger(__name__)

MAX_WAIT_S = 5.0
"""A client's request that could not be sent within this is not sent any more: its client has given up."""
MAX_TRACEBACKS = 10
"""A bug that every answer meets must not fill the disk."""


class Conversation(abc.ABC):
    """Of a link with its devices, on whatever connection there is."""

    __slots__ = (
        "_carrier", "_clock", "_delay_s", "_drains", "_has_silent", "_has_waiting", "_held", "_in_flight",
        "_is_ready", "_line", "_listening", "_pending", "_prober", "_questions", "_quiet_timer", "_quiet_until_s",
        "_scheduler", "_served", "_silences", "_tid", "_timer", "_timer_s", "_waiting", "answers", "counters",
        "doubts", "last_read", "ledger", "name", "requests", "settings", "slowest_s", "trouble", "up",
    )  # fmt: skip

    def __init__(
        self, name: str, settings: Settings, scheduler: Scheduler, doubts: Doubts, clock: Callable[[], float]
    ) -> None:
        self.name = name
        self.settings = settings
        self.counters = Counters()
        self.requests = 0
        self.answers = 0
        self.up = False
        self.trouble = "connecting"
        """Why it is not up; empty while it is."""
        self.slowest_s = 0.0
        """The slowest answer of late."""
        self.last_read: Request | None = None
        """A read that was answered, for those who want to know whether another way works."""
        self.ledger = Ledger(name)
        self.doubts = doubts
        self._in_flight = settings.in_flight
        self._delay_s = settings.delay_s
        self._scheduler = scheduler
        self._clock = clock
        self._carrier: Carrier | None = None
        self._line: Line | None = None
        """Of the carrier. What has one takes the slower way through `pump`; a line is slower still."""
        self._served = False
        """An answer came on this connection, and not only that its way is broken."""
        self._waiting = Queues()
        self._pending: dict[int, Request] = {}
        self._tid = 0
        # What the way of nearly every request and answer looks at lies in the link itself: with a thousand links each
        # object more is a miss of the processor's cache.
        self._is_ready = False
        """A request may be sent the moment it comes, if nothing waits and the window is open: the healthy case."""
        self._has_waiting = False
        """Something may be in the queues."""
        self._has_silent = False
        """Some unit has not answered of late."""
        self._held = False
        """Nothing is sent: a change of the connection is on its way."""
        self._drains = False
        """There was a time-out: nothing more is sent on this connection; it is closed when nothing is out any more."""
        self._quiet_until_s = 0.0
        self._quiet_timer: Timer | None = None
        self._timer: Timer | None = None
        self._timer_s = math.inf
        self._listening = Listening()
        self._silences = Silences()
        self._prober = Prober(self, self._silences, scheduler)
        self._questions = Questions(self, self._waiting, doubts, scheduler)

    # -- what the link decides ----------------------------------------------------------------------------------

    @abc.abstractmethod
    def broken(self, why: str) -> None:
        """The connection cannot be trusted any more."""

    @abc.abstractmethod
    def _redial(self) -> None:
        """Nothing is out any more on a connection of which no answer can be trusted: take another."""

    @abc.abstractmethod
    def _tell_good(self, request: Request, pdu: bytes) -> None:
        """An answer on a connection that is not known to work."""

    # -- the connection -----------------------------------------------------------------------------------------

    def _begin(self, carrier: Carrier) -> None:
        """Talk there from now on, after the quiet time that the settings want."""
        now_s = self._scheduler.time()
        if self._quiet_timer is not None:
            self._quiet_timer.cancel()
            self._quiet_timer = None
        self._carrier = carrier
        self.ledger.connected(carrier)
        self._line = carrier.line
        self._in_flight = self.settings.in_flight if self._line is None else 1
        self._waiting.parts = self._line is not None
        self._held = self._drains = self._served = False
        self._quiet_until_s = now_s + self.settings.connect_delay_s
        self._listening.until_s = 0.0
        if self._line is not None:
            self._listen(now_s)  # on what time-out was on the connection before

    def _end(self) -> None:
        """There is no connection now. What is out stays so."""
        self._carrier = self._line = None
        self._is_ready = self._drains = False
        for timer in (self._timer, self._quiet_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._quiet_timer = None
        self._timer_s = math.inf
        self._prober.stop()

    def configure(self, settings: Settings) -> None:
        """Other settings from now on, while it runs."""
        self.settings = settings
        self._in_flight = settings.in_flight if self._line is None else 1
        self._delay_s = settings.delay_s
        self._review_ready()

    # -- requests -----------------------------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Send it in its turn; `request.done` is called once. LinkDown, UnitSilent and LinkBusy come from inside."""
        request.attempts = 0
        pending = self._pending
        if self._is_ready and not self._has_waiting and len(pending) < self._in_flight:
            # As `pump`, in place: this is the way that nearly every request goes.
            tid = self._tid + 1 if self._tid < 0xFFFF else 1
            while tid in pending:
                tid = tid + 1 if tid < 0xFFFF else 1
            self._tid = request.tid = tid
            pending[tid] = request
            request.out = True
            request.attempts = 1
            request.sent_s = clock_s = self._clock()
            request.due_s = due_s = clock_s + request.timeout_s
            self.requests += 1
            if due_s < self._timer_s:
                self._arm(due_s, clock_s)
            self._carrier.write(tid.to_bytes(2, "big") + request.tail)  # type: ignore[union-attr]
            return
        if not self.up:
            request.done(None, LinkDown(self.trouble or "reconnecting"))
            return
        if self._silences.units and not self._prober.may_ask(request):
            request.done(None, _silent(request.unit_id))
            return
        request.out = True
        request.sent_s = self._clock()  # until it is sent: since when it waits
        self.put(request, None)

    def put(self, request: Request, error: LinkError | None) -> None:
        """Let it wait for its turn; `error`: of what was asked before it."""
        unit_id = request.unit_id
        if isinstance(error, LinkDown):
            self.finish(request, None, error)
        elif error is not None and self._silences.is_demoted(unit_id) and not self._silences.is_probe(request):
            self.finish(request, None, _silent(unit_id))
        elif (
            request.priority != Priority.POLL
            and self._waiting.is_aside(unit_id)
            and not self._questions.is_out(unit_id)
        ):
            self.finish(request, None, UnitSilent(SET_ASIDE.format(unit_id)))
        elif not self._waiting.put(request):
            self.finish(request, None, LinkBusy(f"{self._waiting.size} requests are waiting"))
        else:
            self._has_waiting = True
            self.pump()

    def ask_first(self, request: Request) -> None:
        """Before everything else, in its turn."""
        request.out = True
        request.sent_s = self._clock()
        self._waiting.put_first(request)
        self._has_waiting = True

    def _review_ready(self) -> None:
        """After each change of what `_is_ready` and `_has_silent` depend on."""
        self._has_silent = bool(self._silences.units)
        self._is_ready = (
            self._carrier is not None
            and self._line is None
            and not self._held
            and not self._drains
            and not self._silences.units
            and not self._delay_s
            and self._quiet_timer is None
            and not self.ledger.taps
            and self._quiet_until_s <= self._scheduler.time()
        )

    def pump(self) -> None:
        """Send what may be sent now."""
        self._has_waiting = self._waiting.size > 0
        waiting, pending, in_flight = self._waiting, self._pending, self._in_flight
        if not waiting.size or len(pending) >= in_flight or self._carrier is None or self._held or self._drains:
            return
        if self._line is not None and self._listening.until_s:
            self._quiet_until_s = self._listening.go_on(self._scheduler.time(), self._quiet_until_s, self._line.heard_s)
        if self._quiet_until_s and self._scheduler.time() < self._quiet_until_s:
            if self._quiet_timer is None:
                self._quiet_timer = self._scheduler.call_at(self._quiet_until_s, self._quiet_is_over)
            return
        if not self._is_ready:
            self._review_ready()
        data, clock_s, first_due_s = b"", self._clock(), math.inf
        while waiting.size and len(pending) < in_flight:
            request = waiting.pop()
            if (request.priority != Priority.POLL or not request.wanted) and not self._still_wanted(request, clock_s):
                continue
            if self._line is not None and self._questions.come_first(self._line, request):
                continue
            tid = self._tid + 1 if self._tid < 0xFFFF else 1
            while tid in pending:
                tid = tid + 1 if tid < 0xFFFF else 1
            self._tid = request.tid = tid
            pending[tid] = request
            request.attempts += 1
            request.sent_s = clock_s
            timeout_s = self._prober.wait_s(request) if self._has_silent else request.timeout_s
            if self._line is not None:
                timeout_s += self._line.wire_s(request)
            request.due_s = due_s = clock_s + timeout_s
            if due_s < first_due_s:
                first_due_s = due_s
            data += tid.to_bytes(2, "big") + request.tail
            self.requests += 1
            if self.ledger.taps:
                self.ledger.sent(request)
            if self._delay_s:
                self._quiet_until_s = self._scheduler.time() + self._delay_s
                break
        self._has_waiting = waiting.size > 0
        if not data:
            return
        if first_due_s < self._timer_s:
            self._arm(first_due_s, clock_s)
        self._carrier.write(data)
        if self._delay_s and waiting.size:
            self.pump()

    def _still_wanted(self, request: Request, now_s: float) -> bool:
        """Somebody waits for this request, and did not wait too long; else it ends here, unsent."""
        if request.wanted and now_s - request.sent_s <= MAX_WAIT_S:
            return True
        self.counters.dropped += 1
        why = f"waited {MAX_WAIT_S:g} s for its turn" if request.wanted else "its client has gone"
        self.finish(request, None, LinkDown(why))
        return False

    def _quiet_is_over(self) -> None:
        self._quiet_timer = None
        self._review_ready()
        self.pump()

    # -- answers ------------------------------------------------------------------------------------------------

    def received(self, frames: Iterable[mbap.Frame]) -> None:
        """Answers from the carrier, in order."""
        now_s = self._clock()
        pending, ledger = self._pending, self.ledger
        for tid, unit_id, pdu in frames:
            request = pending.get(tid) or self._alone_with_zero(tid)
            if request is None:
                self.ledger.came(tid, unit_id, pdu, "late")
                self.counters.late += 1
                self.doubts.heard(self._scheduler.time())
                continue
            if unit_id != request.unit_id and "any_unit" not in request.quirks:
                self.ledger.came(tid, unit_id, pdu, "foreign")
                self.counters.foreign += 1
                self.doubts.heard(self._scheduler.time())
                continue
            took_s = now_s - request.sent_s
            if took_s > request.timeout_s and took_s > self._most_s(request):
                self.ledger.came(tid, unit_id, pdu, "late")
                self.counters.late += 1
                self._give_up(request)
                continue
            if self._line is not None and self._questions.is_doubtful(self._line, request, unit_id, pdu):
                continue
            del pending[request.tid]
            is_data = len(pdu) == request.size and pdu.startswith(request.head)
            if not is_data and (why := fault(request.pdu, pdu)) is not None:
                self.ledger.came(tid, unit_id, pdu, "malformed")
                self.counters.malformed += 1
                self.broken(f"unit {unit_id}: {why}")  # first: what is told of it must not send on this connection
                self.finish(request, None, MalformedResponse(f"unit {unit_id}: {why}"))
                return
            self.answers += 1
            request.took_s = took_s
            kept = request.kept or ledger.kept_of(request)
            kept.append((now_s, took_s, request.pdu, pdu, request.attempts))
            if len(kept) > MAX_KEPT:
                ledger.digest(request.unit_id)
            if ledger.taps:
                ledger.came(tid, unit_id, pdu)
            if took_s > self.slowest_s:
                self.slowest_s = took_s
            if not self._served or self.last_read is None:
                self._tell_good(request, pdu)
            if self._delay_s:
                self._quiet_until_s = self._scheduler.time() + self._delay_s
            if pdu[0] & spec.EXCEPTION_BIT and pdu[1] == spec.GATEWAY_TARGET_FAILED:
                self._strike(request, "its bridge answers 0B")  # which says what a time-out says
            elif self._has_silent:
                self._restore(request.unit_id)
            # As `finish`, in place: this is the way that nearly every answer goes.
            request.out = False
            try:
                request.done(pdu, None)
            except Exception:
                self._fault()
        if self._drains:
            if not pending and self._carrier is not None:
                self._redial()
        elif self._has_waiting:
            self.pump()

    def noise(self, count: int) -> None:
        """From a carrier of RTU or ASCII."""
        self.counters.crc_errors += count
        self.ledger.noise()
        self.doubts.heard(self._scheduler.time())

    def _most_s(self, request: Request) -> float:
        """How old an answer may be: the request's time-out, and on a serial line the time on the wire."""
        return request.timeout_s + (0.0 if self._line is None else self._line.wire_s(request))

    def _alone_with_zero(self, tid: int) -> Request | None:
        """The one request that accepts an answer with transaction id 0 (in_flight is 1 then)."""
        if tid == 0 and len(self._pending) == 1:
            request = next(iter(self._pending.values()))
            if "tid_zero" in request.quirks:
                return request
        return None

    def finish(self, request: Request, answer: bytes | None, error: LinkError | None) -> None:
        request.out = False
        if request.attempts:
            self.ledger.failed(request, str(error), self._clock())
        self._questions.forget(request)
        if self._silences.units:
            self._silences.probe_over(request, self._scheduler.time(), 0.0)
        try:
            request.done(answer, error)
        except Exception:
            self._fault()

    def _fault(self) -> None:
        self.counters.faults += 1
        if self.counters.faults <= MAX_TRACEBACKS:
            log.exception("%s: bug in the gateway while taking an answer", self.name)

    # -- time-outs ----------------------------------------------------------------------------------------------

    def _arm(self, due_s: float, now_s: float) -> None:
        """Check the time-outs at `due_s` on the clock, which shows `now_s`; or before."""
        if self._timer is not None:
            if self._timer_s <= due_s:
                return
            self._timer.cancel()
        self._timer_s = due_s
        wait_s = max(due_s - now_s, MIN_TIMER_S)
        self._timer = self._scheduler.call_at(self._scheduler.time() + wait_s, self._check_timeouts)

    def _check_timeouts(self) -> None:
        """Give up or repeat what is overdue; look again when the next one is."""
        self._timer = None
        self._timer_s = math.inf
        now_s = self._clock()
        for request in [each for each in self._pending.values() if each.due_s <= now_s]:
            self._give_up(request)
        if self._pending:
            self._arm(min(request.due_s for request in self._pending.values()), now_s)
        elif self._drains and self._carrier is not None:
            self._redial()

    def _give_up(self, request: Request) -> None:
        """A time-out: ask again if the request may, behind those that wait, else tell it."""
        del self._pending[request.tid]
        self._drains, self._is_ready = True, False
        self.counters.timeouts += 1
        self.ledger.gave_up(request, "time-out")
        waited_s = min(self._clock() - request.sent_s, self._most_s(request))
        came = self._carrier.unfinished if self._carrier is not None else 0
        why = f"no answer within {waited_s:.3g} s"
        if self._line is not None:
            why += f", only {came} bytes that are no answer to it" if came else ""
            self._line.forget()
            if not self._line.has_ids:
                self.doubts.owe(request, self._scheduler.time())
            self._listening.timed_out(request.timeout_s)
        else:
            why += f", only {came} bytes of a frame that its header says is longer" if came else ""
        self._strike(request, why)
        if (
            request.attempts <= request.retries
            and not self._silences.is_demoted(request.unit_id)
            and self._waiting.put(request)
        ):
            self._has_waiting = True
        else:
            times = f", asked {request.attempts} times" if request.attempts > 1 else ""
            self.finish(request, None, RequestTimeout(why + times))

    # -- for its parts ------------------------------------------------------------------------------------------

    def asked_units(self) -> set[int]:
        """Those for which something waits or is out."""
        return {each.unit_id for each in (*self._pending.values(), *self._waiting)}

    def turn_away(self, unit_id: int) -> None:
        """What waits for this unit, which is silent, is told so."""
        for request in self._waiting.take(unit_id):
            self.finish(request, None, _silent(unit_id))

    def dropped(self, request: Request, unit_id: int, pdu: bytes) -> None:
        """What came for this request is not believed."""
        self.ledger.came(request.tid, unit_id, pdu, "doubtful")
        self.counters.late += 1
        if self._has_silent:
            self._restore(request.unit_id)  # it is there

    def unsent(self, request: Request) -> None:
        """It is out no more; its own answer may still come: the line is listened to."""
        assert self._line is not None
        del self._pending[request.tid]
        self._line.forget()
        self._listening.doubted()
        self._listen(self._scheduler.time())

    def _listen(self, now_s: float) -> None:
        """Nothing is sent on this line for now."""
        self._quiet_until_s = self._listening.begin(now_s, self._quiet_until_s)

    def _strike(self, request: Request, why: str) -> None:
        """The unit did not answer this request."""
        self._is_ready, self._has_silent = False, True
        self._waiting.known.discard(request.unit_id)
        self._prober.strike(request, self._clock() - request.sent_s + self._listening.owed_s, why)

    def _restore(self, unit_id: int) -> None:
        """The unit answered."""
        was_demoted = self._silences.answered(unit_id)
        self._review_ready()
        if was_demoted:
            self._prober.returned(unit_id)


def _silent(unit_id: int) -> UnitSilent:
    return UnitSilent(f"unit {unit_id} does not answer")
