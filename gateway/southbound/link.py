"""A link: the one connection that all users of a device address share.

`submit` puts a prepared request into the link's order (`queues`); the link keeps at most `in_flight` outstanding,
honours the quiet times, pairs every answer by transaction id, unit, function and shape, and calls back exactly once.
An answer that lay in our own buffers while the process was stopped is late. A stream that carried an impossible answer
is closed, because the next answer on it could be anybody's (protocol digest 2.4, 6.2, 6.3). A unit that stays silent is
demoted (`silence`); the others go on.

After a time-out some devices answer each request with the data of the one before, under the right transaction id
(protocol digest 6.1): nothing in such an answer shows it, and a wrong value shown as good is worse than none. So a
time-out takes a new connection, without a word in the log: nothing more is sent on the old one, what is out is waited
for, what waits goes out on the new one. A late answer can then be nobody's. The field waits for three time-outs before
it reconnects (rule 27); a connection in the same plant costs a millisecond.

On a line (RTU, ASCII) answers have no transaction ids. After a time-out it is listened to, for half the time-out that
passed and as long as bytes still come, and what comes is dropped (protocol digest 3.3). A serial port stays open
meanwhile: to open it anew would clean nothing. What a unit answers after that may still be an answer to what it was
asked before, and is not believed unless it cannot be (`doubts`).

No socket here: a carrier sends bytes and hands over frames, a scheduler tells the time, so every timed rule is tested
without waiting. No task per request either: callbacks, and one timer for all time-outs of the link. Who dials, and when
again, is `connection`.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gateway import clock
from gateway.errors import LinkBusy, LinkDown, LinkError, MalformedResponse, RequestTimeout, UnitSilent
from gateway.interfaces import Priority, Request, Scheduler, Timer
from gateway.modbus import mbap, spec
from gateway.modbus.pdu import fault, read_request
from gateway.modbus.reach import is_write
from gateway.southbound.connection import Keeper
from gateway.southbound.doubts import Doubts
from gateway.southbound.ledger import MAX_KEPT, Ledger
from gateway.southbound.queues import Queues
from gateway.southbound.seams import Carrier, Counters, Dial, Line, NotTrusted, Settings, Watcher
from gateway.southbound.silence import STRIKES, Silences
from gateway.southbound.troubles import Troubles
from gateway.traffic import Exchange, Tap

log = logging.getLogger(__name__)

MAX_WAIT_S = 5.0
"""A client's request that could not be sent within this is not sent any more: its client has given up."""
NOBODY_ASKED_S = 1.0
"""When those who could ask a silent unit had nothing to ask just now."""
MIN_TIMER_S = 0.001
"""Timers of loops are no finer; a check that comes a moment too early is followed by another."""
MIN_LISTEN_S = 0.05
"""After a time-out on a line, and after the last byte that still came."""
MAX_LISTEN_S = 0.5
LISTEN_PART = 0.5
"""Of the time-out that passed."""
MAX_REDIAL_S = 2.0
"""A new connection after a time-out that takes longer, or a handshake, is waited for by nobody."""
MAX_BABBLE_S = 2.0
"""A line on which bytes never end is not waited for: the next request may wake its unit, or fail as well."""
UNWRITTEN = read_request(spec.Table.HOLDING, 0, 1)
"""Asked before the first write of a line of which it is not known whether its adapter hears what it sends. Any answer
tells, a refusal too."""
SET_ASIDE = "unit {} is left alone until it is certain which of its answers belongs to which request"
GIVEN_UP = "the gateway has given up the connection"
"""It stops, or its configuration has another."""
MAX_TRACEBACKS = 10
"""A bug that every answer meets must not fill the disk."""


class Link:
    """One shared way to devices. `run` keeps it connected; `submit` uses it."""

    __slots__ = (
        "_carrier",
        "_clock",
        "_decayed_at",
        "_delay_s",
        "_doubt_timers",
        "_drains",
        "_found_out",
        "_has_silent",
        "_has_waiting",
        "_held",
        "_in_flight",
        "_is_ready",
        "_line",
        "_listen_s",
        "_listen_until_s",
        "_pending",
        "_probe_timer",
        "_questions",
        "_quiet_timer",
        "_quiet_until_s",
        "_scheduler",
        "_served",
        "_silences",
        "_tid",
        "_timer",
        "_timer_s",
        "_waiting",
        "_watchers",
        "answers",
        "counters",
        "doubts",
        "ended",
        "is_distrusted",
        "keeper",
        "last_read",
        "ledger",
        "name",
        "redials",
        "requests",
        "settings",
        "slowest_s",
        "trouble",
        "troubles",
        "up",
        "worked",
        "works",
    )

    def __init__(
        self,
        name: str,
        dial: Dial | Sequence[Dial],
        settings: Settings,
        scheduler: Scheduler,
        *,
        prefer_first: bool = True,
        doubts: Doubts | None = None,
        clock: Callable[[], float] = clock.now,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`dial(owner)` opens a carrier that calls `received`, `broken`, `lost` of its owner; OSError when it cannot.

        `doubts`: what was not answered on the same line before this link. `scheduler` times what is done next,
        `clock` judges how old an answer is (it runs on during suspend).
        """
        self.name = name
        self.settings = settings
        self._in_flight = settings.in_flight
        self._delay_s = settings.delay_s
        self.counters = Counters()
        self.requests = 0
        self.answers = 0
        self.up = False
        self.trouble = "connecting"
        """Why it is not up; empty while it is."""
        self.works = False
        """An answer came on this connection, and not only that its way is broken: only now it is known to work."""
        self.worked = False
        """So it was on the connection that ended last."""
        self._served = False
        """So it is on this one."""
        self.slowest_s = 0.0
        """The slowest answer of late."""
        self.last_read: Request | None = None
        """A read that was answered, for those who want to know whether another way works."""
        self.is_distrusted = False
        """The last connection ended because one of us does not trust the other."""
        self.ended = asyncio.Event()
        """The connection is no more."""
        self.ledger = Ledger(name)
        self.keeper = Keeper(self, [dial] if callable(dial) else list(dial), prefer_first=prefer_first, jitter=jitter)
        self._scheduler = scheduler
        self._clock = clock
        self._carrier: Carrier | None = None
        self._line: Line | None = None
        """Of the carrier. What has one takes the slower way through `_pump`; a line is slower still."""
        self._listen_s = 0.0
        """How long the line is listened to after the time-out that was last."""
        self._listen_until_s = 0.0
        """Not longer than this, whatever comes; 0: it is not listened to."""
        self._waiting = Queues()
        self._pending: dict[int, Request] = {}
        self._tid = 0
        self._decayed_at = 0
        """The number of answers when a slow one of long ago was last forgotten a little."""
        self._silences = Silences()
        self.doubts = Doubts() if doubts is None else doubts
        self._found_out: set[Request] = set()
        """What goes out when its turn comes, whatever was found out about an echo."""
        self._questions: set[int] = set()
        """Units that are asked something that settles whose answers come."""
        self._doubt_timers: dict[int, Timer] = {}
        """When a unit that was set aside is asked again."""
        # What the way of nearly every request and answer looks at lies in the link itself: with a thousand links each
        # object more is a miss of the processor's cache.
        self._is_ready = False
        """A request may be sent the moment it comes, if nothing waits and the window is open: the healthy case."""
        self._has_waiting = False
        """Something may be in the queues."""
        self._has_silent = False
        """Some unit has not answered of late."""
        self._watchers: dict[int, list[Watcher]] = {}
        self._held = False
        """Nothing is sent: a change of the connection is on its way."""
        self._drains = False
        """There was a time-out: nothing more is sent on this connection; it is closed when nothing is out any more."""
        self.redials = False
        """The connection was closed by us after a time-out, and the next is on its way; requests wait for it."""
        self._quiet_until_s = 0.0
        self._quiet_timer: Timer | None = None
        self._probe_timer: Timer | None = None
        self._timer: Timer | None = None
        self._timer_s = math.inf
        self.troubles = Troubles(scheduler)

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
            # As `_pump`, in place: this is the way that nearly every request goes.
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
        if self._silences.units and not self._may_ask(request):
            request.done(None, UnitSilent(f"unit {request.unit_id} does not answer"))
            return
        request.out = True
        request.sent_s = self._clock()  # until it is sent: since when it waits
        self._put(request, None)

    def _put(self, request: Request, error: LinkError | None) -> None:
        """In its turn; `error`: of what was asked before it."""
        unit_id = request.unit_id
        if isinstance(error, LinkDown):
            self._finish(request, None, error)
        elif error is not None and self._silences.is_demoted(unit_id) and not self._silences.is_probe(request):
            self._finish(request, None, UnitSilent(f"unit {unit_id} does not answer"))
        elif request.priority != Priority.POLL and unit_id not in self._questions and self._waiting.is_aside(unit_id):
            self._finish(request, None, UnitSilent(SET_ASIDE.format(unit_id)))
        elif not self._waiting.put(request):
            self._finish(request, None, LinkBusy(f"{self._waiting.size} requests are waiting"))
        else:
            self._has_waiting = True
            self._pump()

    def _may_ask(self, request: Request) -> bool:
        """False: the unit is demoted, and this is no probe."""
        unit_id = request.unit_id
        if not self._silences.is_demoted(unit_id):
            return True
        # A write is no probe as long as somebody else can make one: what is known to be down gets none.
        if request.priority == Priority.WRITE and any(each.can_probe for each in self._watchers.get(unit_id, ())):
            return False
        return self._silences.begin_probe(request, self._scheduler.time())

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

    def _pump(self) -> None:
        """Send what may be sent now."""
        self._has_waiting = self._waiting.size > 0
        waiting, pending, in_flight = self._waiting, self._pending, self._in_flight
        if not waiting.size or len(pending) >= in_flight or self._carrier is None or self._held or self._drains:
            return
        if self._listen_until_s:
            self._listen_on()
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
            if self._line is not None and self._is_to_find_out(request):
                continue
            tid = self._tid + 1 if self._tid < 0xFFFF else 1
            while tid in pending:
                tid = tid + 1 if tid < 0xFFFF else 1
            self._tid = request.tid = tid
            pending[tid] = request
            request.attempts += 1
            request.sent_s = clock_s
            timeout_s = self._wait_s(request) if self._has_silent else request.timeout_s
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
            self._pump()

    def _is_to_find_out(self, request: Request) -> bool:
        """Whether something is asked first, because an echo could be taken for the answer. It comes after that."""
        assert self._line is not None
        if request in self._found_out:
            self._found_out.discard(request)
            return False
        if not request.unit_id or not self._line.is_unsure(request.pdu):
            return False

        def found_out(answer: bytes | None, error: LinkError | None) -> None:
            if not isinstance(error, LinkDown):
                self._found_out.add(request)
            self._put(request, error)

        self._ask_first(request, UNWRITTEN, found_out)
        return True

    def _wait_s(self, request: Request) -> float:
        """How long a request that goes out now may wait for its answer, while some unit is silent."""
        if request.priority == Priority.WRITE:
            return request.timeout_s
        if self._silences.is_demoted(request.unit_id) and self._decayed_at != self.answers:
            self._decayed_at = self.answers
            self.slowest_s *= 0.9  # forgets a slow answer of long ago
        return self._silences.wait_s(request, self.slowest_s, is_alone=self._is_alone(request))

    def _is_alone(self, request: Request) -> bool:
        """Nobody uses the link for another unit."""
        others = {each.unit_id for each in (*self._pending.values(), *self._waiting)}
        return others.union(self._watchers) <= {request.unit_id}

    def _still_wanted(self, request: Request, now_s: float) -> bool:
        """Somebody waits for this request, and did not wait too long; else it ends here, unsent."""
        if request.wanted and now_s - request.sent_s <= MAX_WAIT_S:
            return True
        self.counters.dropped += 1
        why = f"waited {MAX_WAIT_S:g} s for its turn" if request.wanted else "its client has gone"
        self._finish(request, None, LinkDown(why))
        return False

    def _quiet_is_over(self) -> None:
        self._quiet_timer = None
        self._review_ready()
        self._pump()

    def _arm(self, due_s: float, now_s: float) -> None:
        """Check the time-outs at `due_s` on the clock, which shows `now_s`; or before."""
        if self._timer is not None:
            if self._timer_s <= due_s:
                return
            self._timer.cancel()
        self._timer_s = due_s
        wait_s = max(due_s - now_s, MIN_TIMER_S)
        self._timer = self._scheduler.call_at(self._scheduler.time() + wait_s, self._check_timeouts)

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
            if self._line is not None and self._is_doubtful(request, unit_id, pdu):
                continue
            del pending[request.tid]
            is_data = len(pdu) == request.size and pdu.startswith(request.head)
            if not is_data and (why := fault(request.pdu, pdu)) is not None:
                self.ledger.came(tid, unit_id, pdu, "malformed")
                self.counters.malformed += 1
                self.broken(f"unit {unit_id}: {why}")  # first: what is told of it must not send on this connection
                self._finish(request, None, MalformedResponse(f"unit {unit_id}: {why}"))
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
            # As `_finish`, in place: this is the way that nearly every answer goes.
            request.out = False
            try:
                request.done(pdu, None)
            except Exception:
                self._fault()
        if self._drains:
            if not pending and self._carrier is not None:
                self._redial()
        elif self._has_waiting:
            self._pump()

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

    def _finish(self, request: Request, answer: bytes | None, error: LinkError | None) -> None:
        request.out = False
        if request.attempts:
            self.ledger.failed(request, str(error), self._clock())
        self._found_out.discard(request)
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

    def _redial(self) -> None:
        """A new connection, because answers on this one cannot be trusted any more. Nothing is out.

        A line that stays is only listened to.
        """
        carrier = self._carrier
        assert carrier is not None
        if self._line is not None and self._line.stays:
            self._drains = False
            self._listen(self._scheduler.time())
            self._pump()
            return
        self.counters.redials += 1
        self.redials = True
        self._let_go()
        self._quiet_timer = self._scheduler.call_at(self._scheduler.time() + MAX_REDIAL_S, self._redial_takes_long)
        carrier.close()
        self.ended.set()

    def _redial_takes_long(self) -> None:
        self._quiet_timer = None
        if self.redials:
            self.failed(f"a new connection takes longer than {MAX_REDIAL_S:g} s")

    def _listen(self, now_s: float) -> None:
        """After a time-out on a line: nothing is sent for now."""
        self._quiet_until_s = max(self._quiet_until_s, now_s + self._listen_s)
        self._listen_until_s = self._quiet_until_s + MAX_BABBLE_S
        self._listen_s = 0.0

    def _listen_on(self) -> None:
        """Something waits: the line must have been quiet for a moment before it is sent."""
        assert self._line is not None
        now_s = self._scheduler.time()
        quiet_s = min(self._line.heard_s + MIN_LISTEN_S, self._listen_until_s)
        self._quiet_until_s = max(self._quiet_until_s, quiet_s)
        if now_s >= self._quiet_until_s:
            self._listen_until_s = 0.0

    def _let_go(self) -> None:
        """There is no connection now."""
        self._carrier = self._line = None
        self._is_ready = self._drains = False
        self.worked = self._served
        for timer in (self._timer, self._quiet_timer, self._probe_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._quiet_timer = self._probe_timer = None
        self._timer_s = math.inf

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
            self._listen_s = min(MAX_LISTEN_S, max(MIN_LISTEN_S, LISTEN_PART * request.timeout_s))
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
            self._finish(request, None, RequestTimeout(why + times))

    # -- answers that may be another's ---------------------------------------------------------------------------

    def _is_doubtful(self, request: Request, unit_id: int, pdu: bytes) -> bool:
        """Whether this may be the answer to something that was asked before. It is dropped then, and the unit set aside
        until that is settled: a read goes out anew, the fate of a write is unknown."""
        line, doubts, asked = self._line, self.doubts, request.unit_id
        assert line is not None
        if line.has_ids or not asked:
            self._waiting.known.add(asked)
            return False
        now_s = self._scheduler.time()
        if not doubts.fits_another(request, unit_id, pdu, now_s):
            if fault(request.pdu, pdu) is None:
                doubts.settle(asked)
                self._waiting.known.add(asked)
            return False
        self.ledger.came(request.tid, unit_id, pdu, "doubtful")
        self.counters.late += 1
        if self._has_silent:
            self._restore(asked)  # it is there
        is_question = asked in self._questions
        doubts.set_aside(request, now_s)
        self._waiting.set_aside(asked)
        self._wait_on(asked)
        del self._pending[request.tid]
        line.forget()
        self._listen_s = MIN_LISTEN_S
        self._listen(now_s)
        request.attempts -= 1
        if is_question or is_write(request.pdu) or not self._waiting.put(request):
            request.attempts += 1
            why = "what came may be the answer to what the unit did not answer in time before"
            self._finish(request, None, RequestTimeout(why))
        if question := doubts.question(request, now_s):
            self._questions.add(asked)
            self._ask_first(request, question, functools.partial(self._questioned, asked))
        elif not is_question:
            self._questioned(asked, None, UnitSilent(SET_ASIDE.format(asked)))
        return True

    def _questioned(self, unit_id: int, answer: bytes | None, error: LinkError | None) -> None:
        """What came of the question. Without an answer clients are told at once, for the unit is left alone."""
        self._questions.discard(unit_id)
        self._wait_on(unit_id)
        if error is not None and self._waiting.is_aside(unit_id):
            for request in self._waiting.take(unit_id):
                if request.priority != Priority.POLL or not self._waiting.put(request):
                    self._finish(request, None, UnitSilent(SET_ASIDE.format(unit_id)))

    def _ask_first(
        self, request: Request, question: bytes, done: Callable[[bytes | None, LinkError | None], None]
    ) -> None:
        """Of the same unit, and before everything else."""
        asked = Request(request.unit_id, question, request.timeout_s, 0, done, request.quirks, Priority.WRITE)
        asked.out = True
        asked.sent_s = self._clock()
        self._waiting.put_first(asked)
        self._has_waiting = True

    def _wait_on(self, unit_id: int) -> None:
        """Leave a unit that was set aside alone, or bring it back."""
        timer = self._doubt_timers.pop(unit_id, None)
        if timer is not None:
            timer.cancel()
        now_s = self._scheduler.time()
        rest_s = self.doubts.rest_s(unit_id, now_s)
        if rest_s:
            again = functools.partial(self._wait_on, unit_id)
            self._doubt_timers[unit_id] = self._scheduler.call_at(now_s + max(rest_s, MIN_TIMER_S), again)
            return
        for request in self._waiting.bring_back(unit_id):
            self._finish(request, None, LinkBusy(f"{self._waiting.size} requests are waiting"))
        self._pump()

    # -- silent units -------------------------------------------------------------------------------------------

    def watch(self, unit_id: int, watcher: Watcher) -> None:
        """Tell it of changes of the link and of this unit."""
        self._watchers.setdefault(unit_id, []).append(watcher)

    def unwatch(self, unit_id: int, watcher: Watcher) -> None:
        """Tell it nothing more."""
        self._watchers[unit_id].remove(watcher)
        if not self._watchers[unit_id]:
            del self._watchers[unit_id]

    def silent(self, unit_id: int) -> bool:
        """Whether the unit is demoted."""
        return self._silences.is_demoted(unit_id)

    def _strike(self, request: Request, why: str) -> None:
        """The unit did not answer this request."""
        unit_id, now_s = request.unit_id, self._scheduler.time()
        self._is_ready, self._has_silent = False, True
        took_s = self._clock() - request.sent_s + self._listen_s
        self._silences.probe_over(request, now_s, took_s, is_alone=self._is_alone(request))
        self._waiting.known.discard(unit_id)
        if self._silences.strike(unit_id, now_s):
            self.counters.demotions += 1
            log.warning(
                "%s: unit %d did not answer %d times in a row (%s): left alone but for single probes",
                self.name,
                unit_id,
                STRIKES,
                why,
            )
            for waiting in self._waiting.take(unit_id):
                self._finish(waiting, None, UnitSilent(f"unit {unit_id} does not answer"))
            self._tell(unit_id)
        if self._silences.is_demoted(unit_id):
            self._arm_probe()

    def _restore(self, unit_id: int) -> None:
        """The unit answered."""
        was_demoted = self._silences.answered(unit_id)
        self._review_ready()
        if was_demoted:
            log.info("%s: unit %d answers again", self.name, unit_id)
            self._tell(unit_id)
            self._arm_probe()

    def _tell(self, unit_id: int | None = None) -> None:
        """Watchers of one unit, or of all."""
        for watched, watchers in list(self._watchers.items()):
            if unit_id is None or watched == unit_id:
                for watcher in list(watchers):
                    watcher.link_changed()

    def _probers(self) -> list[int]:
        """Units that somebody can ask by himself. The others wait for a client, or a write, to ask them."""
        return [unit for unit, watchers in self._watchers.items() if any(each.can_probe for each in watchers)]

    def _arm_probe(self) -> None:
        """Wake up when a demoted unit may be asked."""
        if self._probe_timer is not None:
            self._probe_timer.cancel()
            self._probe_timer = None
        due_s = self._silences.next_s(self._probers())
        if self.up and due_s < math.inf:
            self._probe_timer = self._scheduler.call_at(max(due_s, self._scheduler.time()), self._probe)

    def _probe(self) -> None:
        """Have the longest due of the demoted units asked by one of its watchers."""
        self._probe_timer = None
        now_s = self._scheduler.time()
        unit_id = self._silences.due(now_s, self._probers()) if self.up else None
        if unit_id is None:
            self._arm_probe()
            return
        for watcher in list(self._watchers[unit_id]):
            watcher.probe()
            if not self._silences.is_demoted(unit_id) or self._silences.units[unit_id].probing is not None:
                return
        self._probe_timer = self._scheduler.call_at(now_s + NOBODY_ASKED_S, self._probe)

    # -- the connection -----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the link connected until cancelled."""
        try:
            await self.keeper.run()
        finally:
            self.redials = False
            self.troubles.expected(GIVEN_UP)
            self.broken(GIVEN_UP)
            self.up = False
            self._abandon(self._waiting_now(), GIVEN_UP)
            for timer in self._doubt_timers.values():
                timer.cancel()

    def connected(self, carrier: Carrier) -> None:
        """The carrier is open: requests may come."""
        now_s = self._scheduler.time()
        if self._quiet_timer is not None:  # of a redial
            self._quiet_timer.cancel()
            self._quiet_timer = None
        self._carrier = carrier
        self.ledger.connected(carrier)
        self._line = carrier.line
        self._in_flight = self.settings.in_flight if self._line is None else 1
        self._waiting.parts = self._line is not None
        self._held = self._drains = self._served = False
        self._quiet_until_s = now_s + self.settings.connect_delay_s
        self._listen_until_s = 0.0
        if self._line is not None:
            self._listen(now_s)  # on what time-out was on the connection before
        self.counters.connects += 1
        self.up = True
        self.is_distrusted = False
        self.ended.clear()
        log.debug("%s: connected", self.name)
        redialled, self.redials = self.redials, False
        if not redialled:  # our own doing is no news for anybody, and no new chance for a unit that is silent
            self.works = False
            self._silences.reconnected(now_s)
        self._review_ready()
        if not redialled:
            self._tell()
        self._arm_probe()
        self._pump()

    def _tell_good(self, request: Request, pdu: bytes) -> None:
        """An answer on a connection that is not known to work; many a device accepts and drops."""
        self.trouble = ""
        self.troubles.over(self.name)
        refused = pdu[0] & spec.EXCEPTION_BIT
        if not refused and request.size:
            self.last_read = request
        if not refused or pdu[1] not in (spec.GATEWAY_PATH_UNAVAILABLE, spec.GATEWAY_TARGET_FAILED):
            self.works = self._served = True

    def hold(self) -> bool:
        """Send nothing for now: the connection is about to be replaced. True: nothing is out any more."""
        self._held = self.up
        self._review_ready()
        return not self._pending

    def replace(self, carrier: Carrier) -> None:
        """Go on with this connection, which answers; nothing may be out (`hold`). The old one is closed."""
        old, self._carrier = self._carrier, carrier
        carrier.owner = self
        if old is not None:
            old.close()
        self.connected(carrier)

    def unhold(self) -> None:
        """Go on with the connection there is."""
        self._held = False
        self._review_ready()
        self._pump()

    def broken(self, why: str) -> None:
        """The connection cannot be trusted any more: close it and dial again."""
        carrier = self._carrier
        self._down(why)
        if carrier is not None:
            carrier.close()

    def lost(self, carrier: Carrier, error: Exception | None) -> None:
        """The carrier was closed from outside. Many a device does that to an idle connection: no news."""
        if carrier is not self._carrier:
            return
        self.is_distrusted = isinstance(error, NotTrusted)
        if self.is_distrusted:
            self._down(str(error))
        else:
            why = "the device closed the connection" + (f": {error}" if error is not None else "")
            self._down(why, quiet=not self._pending and not self._waiting.size)

    def waits(self, why: str) -> None:
        """The device is to dial in. Not waited for when there is another address to try."""
        if self.keeper.has_others:
            raise OSError(why)
        self.failed(why)

    def failed(self, why: str, *, quiet: bool = False) -> None:
        """Not connected. One line for each kind of reason (what stands before a colon), at most."""
        if quiet:
            log.debug("%s: %s", self.name, why)
        else:
            self.troubles.tell(self.name, why)
            self.trouble = why
        if self._quiet_timer is not None:
            self._quiet_timer.cancel()
            self._quiet_timer = None
        self.up = self.works = self.redials = False
        self._abandon(self._waiting_now(), why)
        self._tell()

    def _waiting_now(self) -> list[Request]:
        return self._waiting.empty()

    def _down(self, why: str, *, quiet: bool = False) -> None:
        """No connection any more: what was sent fails, and what waited does."""
        if self._carrier is None:
            return
        line = self._line
        self._let_go()
        sent, self._pending = self._pending, {}
        if line is not None and not line.has_ids:
            for request in sent.values():
                self.doubts.owe(request, self._scheduler.time())
        self.failed(why, quiet=quiet)
        self._abandon(list(sent.values()), why)
        self.ended.set()

    def _abandon(self, requests: list[Request], why: str) -> None:
        for request in requests:
            self.ledger.gave_up(request, "lost")
            self._finish(request, None, LinkDown(why))

    # -- for those who look -------------------------------------------------------------------------------------

    def tap(self, taps: tuple[Tap, ...]) -> None:
        """Who looks at what travels, from now on. While somebody does every request takes the way through `_pump`."""
        self.ledger.taps = taps
        self._review_ready()

    def exchanges(self, unit_id: int) -> list[Exchange]:
        """The last of a unit, the newest last."""
        return self.ledger.exchanges(unit_id, self._clock())

    def totals(self) -> dict[str, int]:
        """Everything that is counted, since the start."""
        return {"requests": self.requests, "answers": self.answers, **self.counters.snapshot()}

    def snapshot(self) -> dict[str, Any]:
        """What is known of it, as plain values."""
        now_s = self._scheduler.time()
        return {
            "name": self.name,
            "up": self.up,
            "trouble": "" if self.works else self.trouble,
            "since_s": None if self.troubles.since_s is None else round(now_s - self.troubles.since_s, 1),
            "in_flight": self._in_flight,
            "pending": len(self._pending),
            "queued": self._waiting.size,
            "counters": self.totals(),
            "took": self.ledger.snapshot(),
            "demoted": [
                {
                    "unit": unit_id,
                    "since_s": round(now_s - unit.since_s, 1),
                    "next_probe_s": max(0.0, round(unit.probe_s - now_s, 1)),
                }
                for unit_id, unit in sorted(self._silences.units.items())
                if unit.demoted
            ],
        }
