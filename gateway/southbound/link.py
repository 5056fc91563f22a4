"""A link: the one connection that all users of a device address share.

`submit` puts a prepared request into the link's order; the link keeps at most `in_flight` outstanding, honours the
quiet times, pairs every answer by transaction id, unit, function and shape, and calls back exactly once. An answer
that comes late finds no request any more: its transaction id rests for LATE_S. An answer that lay in our own buffers
while the process was stopped is late, too. A stream that carried an impossible answer is closed, because the next
answer on it could be anybody's (protocol digest 2.4, 6.2, 6.3).

No socket here: a carrier sends bytes and hands over frames, a scheduler tells the time, so every timed rule is tested
without waiting. No task per request either: callbacks, and one timer for all time-outs of the link.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import random
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from gateway import clock
from gateway.errors import LinkBusy, LinkDown, LinkError, MalformedResponse, RequestTimeout
from gateway.interfaces import Request
from gateway.modbus import mbap
from gateway.modbus.pdu import fault

log = logging.getLogger(__name__)

MAX_QUEUED = 4096
"""Requests waiting for their turn; jobs have one each, so this is reached by a mistake only."""
LATE_S = 30.0
"""How long the transaction id of an unanswered request is not used again on its connection."""
TIMEOUTS_TO_RECONNECT = 3
"""In a row, over all units: a connection that is dead without saying so (rule 27 of the field)."""
FIRST_RETRY_S = 0.25
MAX_RETRY_S = 1.5
"""After a refused or lost connection: the host is there, the device returns any moment."""
MAX_RETRY_SILENT_S = 30.0
"""After a connect that nobody answered."""
_BUG = "a bug in the gateway"
MAX_TRACEBACKS = 10
"""A bug that every answer meets must not fill the disk."""
JITTER = 0.2
"""Up to this part of a delay is left out at random, so that many links do not knock at once."""


class Carrier(Protocol):
    """An open connection, as the link sees it."""

    @property
    def closed(self) -> bool: ...
    def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...


class Scheduler(Protocol):
    """What of an asyncio loop the link needs."""

    def time(self) -> float: ...
    def call_at(self, when: float, callback: Callable[[], object], /) -> Timer: ...


class Timer(Protocol):
    def cancel(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Settings:
    """What config.md says of a connection; seconds."""

    connect_delay_s: float = 0.0
    delay_s: float = 0.0
    in_flight: int = 1


class Counters:
    """What happened on a link since the start."""

    __slots__ = ("answers", "connects", "faults", "foreign", "late", "losses", "malformed", "requests", "timeouts")

    def __init__(self) -> None:
        self.requests = 0
        self.answers = 0
        self.timeouts = 0
        self.late = 0
        """Answers whose request had given up, or that nobody asked for: dropped."""
        self.foreign = 0
        """Answers with another unit id than asked: dropped."""
        self.malformed = 0
        self.connects = 0
        self.losses = 0
        self.faults = 0
        """Our bugs."""

    def snapshot(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in self.__slots__}


class Link:
    """One shared way to devices. `run` keeps it connected; `submit` uses it."""

    def __init__(
        self,
        name: str,
        dial: Callable[[Link], Awaitable[Carrier]],
        settings: Settings,
        scheduler: Scheduler,
        *,
        clock: Callable[[], float] = clock.now,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`dial(link)` opens a carrier that calls `received`, `broken` and `lost`; OSError when it cannot.

        `scheduler` times what the link does next, `clock` judges how old an answer is (it runs on during suspend).
        """
        self.name = name
        self.counters = Counters()
        self.up = False
        self.trouble = "connecting"
        """Why it is not up; empty while it is."""
        self.on_change: list[Callable[[bool], None]] = []
        """Called with True when requests may be submitted, with False when not any more."""
        self._dial = dial
        self._settings = settings
        self._scheduler = scheduler
        self._clock = clock
        self._jitter = jitter
        self._carrier: Carrier | None = None
        self._gone = asyncio.Event()
        self._queue: deque[Request] = deque()
        self._pending: dict[int, Request] = {}
        self._resting: dict[int, float] = {}
        self._tid = 0
        self._timeouts_in_row = 0
        self._silent_units: set[int] = set()
        """Those that have not answered since the last answer of anybody."""
        self._quiet_until_s = 0.0
        self._quiet_timer: Timer | None = None
        self._timer: Timer | None = None
        self._timer_s = math.inf
        self._retry_s = FIRST_RETRY_S
        self._told_good = False
        """The log's last word on this link is that it works."""
        self._down_since_s: float | None = None

    # -- requests -----------------------------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Send it in its turn; `request.done` is called once. LinkDown and LinkBusy are told at once, from inside."""
        if not self.up:
            request.done(None, LinkDown(self.trouble or "reconnecting"))
            return
        if len(self._queue) >= MAX_QUEUED:
            request.done(None, LinkBusy(f"{MAX_QUEUED} requests are waiting"))
            return
        request.out = True
        request.attempts = 0
        self._queue.append(request)
        self._pump()

    def _pump(self) -> None:
        """Send what may be sent now."""
        queue, pending = self._queue, self._pending
        if not queue or len(pending) >= self._settings.in_flight or self._carrier is None:
            return
        now_s = self._scheduler.time()
        if now_s < self._quiet_until_s:
            if self._quiet_timer is None:
                self._quiet_timer = self._scheduler.call_at(self._quiet_until_s, self._quiet_is_over)
            return
        data, sent_s, first_due_s = b"", self._clock(), math.inf
        while queue and len(pending) < self._settings.in_flight:
            request = queue.popleft()
            tid = self._next_tid(now_s)
            pending[tid] = request
            request.tid = tid
            request.attempts += 1
            request.sent_s = sent_s
            request.due_s = now_s + request.timeout_s
            first_due_s = min(first_due_s, request.due_s)
            data += tid.to_bytes(2, "big") + request.tail
            self.counters.requests += 1
            if self._settings.delay_s:
                self._quiet_until_s = now_s + self._settings.delay_s
                break
        self._arm(first_due_s)
        self._carrier.write(data)
        if queue and self._settings.delay_s:
            self._pump()

    def _quiet_is_over(self) -> None:
        self._quiet_timer = None
        self._pump()

    def _arm(self, due_s: float) -> None:
        """Check the time-outs at `due_s`, or before."""
        if self._timer is not None:
            if self._timer_s <= due_s:
                return
            self._timer.cancel()
        self._timer_s = due_s
        self._timer = self._scheduler.call_at(due_s, self._check_timeouts)

    def _next_tid(self, now_s: float) -> int:
        """1..65535, none that is pending or may still be answered late; 0 is what some devices answer to anything."""
        resting = self._resting
        while resting and resting[oldest := next(iter(resting))] <= now_s:
            del resting[oldest]
        tid = self._tid
        while True:
            tid = tid + 1 if tid < 0xFFFF else 1
            if tid not in self._pending and tid not in resting:
                self._tid = tid
                return tid

    def received(self, frames: Iterable[mbap.Frame]) -> None:
        """Answers from the carrier, in order."""
        now_s = self._clock()
        for tid, unit_id, pdu in frames:
            request = self._pending.get(tid) or self._alone_with_zero(tid)
            if request is None:
                self.counters.late += 1
                continue
            if unit_id != request.unit_id and "any_unit" not in request.quirks:
                self.counters.foreign += 1
                continue
            if now_s - request.sent_s > request.timeout_s:
                self.counters.late += 1
                self._give_up(request)
                continue
            del self._pending[request.tid]
            why = fault(request.pdu, pdu)
            if why is not None:
                self.counters.malformed += 1
                self._finish(request, None, MalformedResponse(f"unit {unit_id}: {why}"))
                self.broken(f"unit {unit_id}: {why}")
                return
            self.counters.answers += 1
            if self._timeouts_in_row:
                self._timeouts_in_row = 0
                self._silent_units.clear()
            if not self._told_good:
                self._tell_good()
            if self._settings.delay_s:
                self._quiet_until_s = self._scheduler.time() + self._settings.delay_s
            self._finish(request, pdu, None)
        self._pump()

    def _alone_with_zero(self, tid: int) -> Request | None:
        """The one request that accepts an answer with transaction id 0 (in_flight is 1 then)."""
        if tid == 0 and len(self._pending) == 1:
            request = next(iter(self._pending.values()))
            if "tid_zero" in request.quirks:
                return request
        return None

    def _finish(self, request: Request, answer: bytes | None, error: LinkError | None) -> None:
        request.out = False
        try:
            request.done(answer, error)
        except Exception:
            self.counters.faults += 1
            if self.counters.faults <= MAX_TRACEBACKS:
                log.exception("%s: bug in the gateway while taking an answer", self.name)

    def _check_timeouts(self) -> None:
        """Give up or repeat what is overdue; look again when the next one is."""
        self._timer = None
        now_s = self._scheduler.time()
        relaxed = False
        for request in [each for each in self._pending.values() if each.due_s <= now_s]:
            relaxed = relaxed or bool(request.quirks)
            self._give_up(request)
        if self._carrier is not None and (relaxed or self._seems_dead()):
            # With relaxed pairing a late answer could pass for the next one: only a new connection is safe.
            self.broken("no answer" if relaxed else "time-outs in a row", keep_waiting=True)
            return
        if self._pending:
            self._arm(min(request.due_s for request in self._pending.values()))
        self._pump()

    def _seems_dead(self) -> bool:
        """Too many time-outs in a row, and no other unit waits that could show that only some are silent."""
        return self._timeouts_in_row >= TIMEOUTS_TO_RECONNECT and all(
            request.unit_id in self._silent_units for request in (*self._pending.values(), *self._queue)
        )

    def _give_up(self, request: Request) -> None:
        """A time-out: ask again if the request may, else tell it."""
        self._silent_units.add(request.unit_id)
        del self._pending[request.tid]
        self._resting[request.tid] = self._scheduler.time() + LATE_S
        self.counters.timeouts += 1
        self._timeouts_in_row += 1
        if request.attempts <= request.retries:
            self._queue.appendleft(request)
        else:
            error = RequestTimeout(f"no answer within {request.timeout_s:g} s, asked {request.attempts} times")
            self._finish(request, None, error)

    # -- the connection -----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the link connected until cancelled."""
        try:
            while True:
                most_s = await self._connect()
                self._retry_s, delay_s = min(2 * self._retry_s, most_s), min(self._retry_s, most_s)
                await asyncio.sleep(delay_s * (1 - JITTER * self._jitter()))
        finally:
            self.trouble = stopping = "the gateway stops"
            self.broken(stopping)

    async def _connect(self) -> float:
        """One connection from its opening to its end. Returns the longest pause before the next, in seconds."""
        self._gone.clear()
        try:
            carrier = await self._dial(self)
        except TimeoutError:
            self._fail("the host does not answer")
            return MAX_RETRY_SILENT_S
        except ConnectionRefusedError:
            self._fail("refused the connection")
            return MAX_RETRY_S
        except OSError as error:
            self._fail(error.strerror or str(error))
            return MAX_RETRY_SILENT_S if _nobody_there(error) else MAX_RETRY_S
        except Exception:  # a bug here must not end the other links
            if self.trouble != _BUG:
                log.exception("%s: bug in the gateway while connecting", self.name)
            self._fail(_BUG)
            return MAX_RETRY_SILENT_S
        if carrier.closed:
            self._fail("the device closed the connection")
            return MAX_RETRY_S
        self.connected(carrier)
        await self._gone.wait()
        self.counters.losses += 1
        return MAX_RETRY_S

    def connected(self, carrier: Carrier) -> None:
        """The carrier is open: requests may come."""
        now_s = self._scheduler.time()
        self._carrier = carrier
        self._resting.clear()
        self._timeouts_in_row = 0
        self._quiet_until_s = now_s + self._settings.connect_delay_s
        self.counters.connects += 1
        self.up = True
        log.debug("%s: connected", self.name)
        for tell in self.on_change:
            tell(True)
        self._pump()

    def _tell_good(self) -> None:
        """The first answer on a connection: only now it works; many a device accepts and drops."""
        self._told_good = True
        self.trouble = ""
        self._retry_s = FIRST_RETRY_S
        if self._down_since_s is not None:
            log.info("%s: answers again after %.1f s", self.name, self._scheduler.time() - self._down_since_s)
            self._down_since_s = None

    def broken(self, why: str, *, keep_waiting: bool = False) -> None:
        """The connection cannot be trusted any more: close it and dial again.

        `keep_waiting`: what was not sent yet goes out on the next connection if that comes at once.
        """
        carrier = self._carrier
        self._down(why, keep_waiting=keep_waiting)
        if carrier is not None:
            carrier.close()

    def lost(self, carrier: Carrier, error: Exception | None) -> None:
        """The carrier was closed from outside. Many a device does that to an idle connection: no news."""
        if carrier is self._carrier:
            why = f"connection lost: {error}" if error is not None else "the device closed the connection"
            self._down(why, quiet=not self._pending and not self._queue)

    def _fail(self, why: str, *, quiet: bool = False) -> None:
        """Not connected; one line when that, or the kind of its reason (what stands before a colon), is new."""
        if quiet:
            log.debug("%s: %s", self.name, why)
        else:
            if self._down_since_s is None:
                self._down_since_s = self._scheduler.time()
            if self.trouble.partition(":")[0] != why.partition(":")[0]:
                log.warning("%s: %s; trying on", self.name, why)
            self.trouble = why
        self._told_good = False
        self._abandon(self._queue, why)
        for tell in self.on_change:
            tell(False)

    def _down(self, why: str, *, quiet: bool = False, keep_waiting: bool = False) -> None:
        """No connection any more: what was sent fails, and what waited does, unless it is to go out on the next."""
        if self._carrier is None:
            return
        self._carrier = None
        self.up = False
        for timer in (self._timer, self._quiet_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._quiet_timer = None
        waiting = deque[Request]()
        if keep_waiting:
            waiting, self._queue = self._queue, waiting
        sent, self._pending = self._pending, {}
        self._fail(why, quiet=quiet)
        self._abandon(deque(sent.values()), why)
        if keep_waiting:
            self._queue = waiting
        self._gone.set()

    def _abandon(self, requests: deque[Request], why: str) -> None:
        while requests:
            self._finish(requests.popleft(), None, LinkDown(why))


def _nobody_there(error: OSError) -> bool:
    """The name or the host is unknown to the network: knocking every second or two would not help."""
    return isinstance(error, socket.gaierror) or error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH)
