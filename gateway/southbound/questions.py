"""What a link asks of its own accord on a line, and what has to wait for it.

`doubts` knows whose an answer may be and no link; here is what a link does by that. An answer that may be another's is
dropped and its unit set aside: what is for it waits beside the queues, until a question is answered that settles whose
answers come, or the unit was left alone for long enough. And before the first write of a line of which it is not known
whether its adapter hears what it sends, a read goes out: the echo of a write would be taken for its answer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Protocol

from gateway.errors import LinkBusy, LinkDown, LinkError, RequestTimeout, UnitSilent
from gateway.interfaces import Priority, Request, Scheduler, Timer
from gateway.modbus import spec
from gateway.modbus.pdu import fault, read_request
from gateway.modbus.reach import is_write
from gateway.southbound.doubts import Doubts
from gateway.southbound.queues import Queues
from gateway.southbound.seams import MIN_TIMER_S, Line

UNWRITTEN = read_request(spec.Table.HOLDING, 0, 1)
"""Asked before the first write of a line of which it is not known whether its adapter hears what it sends. Any answer
tells, a refusal too."""
SET_ASIDE = "unit {} is left alone until it is certain which of its answers belongs to which request"


class Asking(Protocol):
    """A link, as far as its questions need it."""

    def dropped(self, request: Request, unit_id: int, pdu: bytes) -> None:
        """What came for this request is not believed."""
        ...

    def unsent(self, request: Request) -> None:
        """It is out no more; its own answer may still come."""
        ...

    def put(self, request: Request, error: LinkError | None) -> None:
        """Let it wait for its turn; `error`: of what was asked before it."""
        ...

    def ask_first(self, request: Request) -> None:
        """Before everything else."""
        ...

    def finish(self, request: Request, answer: bytes | None, error: LinkError | None) -> None: ...
    def pump(self) -> None:
        """Send what may be sent now."""
        ...


class Questions:
    """Of one link."""

    __slots__ = ("_asked", "_doubts", "_found_out", "_link", "_scheduler", "_timers", "_waiting")

    def __init__(self, link: Asking, waiting: Queues, doubts: Doubts, scheduler: Scheduler) -> None:
        self._link = link
        self._waiting = waiting
        self._doubts = doubts
        self._scheduler = scheduler
        self._found_out: set[Request] = set()
        """What goes out when its turn comes, whatever was found out about an echo."""
        self._asked: set[int] = set()
        """Units that are asked something that settles whose answers come."""
        self._timers: dict[int, Timer] = {}
        """When a unit that was set aside is asked again."""

    def close(self) -> None:
        """The link is no more."""
        for timer in self._timers.values():
            timer.cancel()

    # -- echoes -------------------------------------------------------------------------------------------------

    def come_first(self, line: Line, request: Request) -> bool:
        """Whether something else is asked first, because an echo could be taken for the answer to this."""
        if request in self._found_out:
            self._found_out.discard(request)
            return False
        if not request.unit_id or not line.is_unsure(request.pdu):
            return False

        def found_out(answer: bytes | None, error: LinkError | None) -> None:
            if not isinstance(error, LinkDown):
                self._found_out.add(request)
            self._link.put(request, error)

        self._ask(request, UNWRITTEN, found_out)
        return True

    def forget(self, request: Request) -> None:
        """It is over."""
        self._found_out.discard(request)

    # -- answers that may be another's --------------------------------------------------------------------------

    def is_doubtful(self, line: Line, request: Request, unit_id: int, pdu: bytes) -> bool:
        """Whether this may be the answer to something that was asked before. It is dropped then, and the unit set aside
        until that is settled: a read goes out anew, the fate of a write is unknown."""
        doubts, waiting, asked = self._doubts, self._waiting, request.unit_id
        if line.has_ids or not asked:
            waiting.known.add(asked)
            return False
        now_s = self._scheduler.time()
        if not doubts.fits_another(request, unit_id, pdu, now_s):
            if fault(request.pdu, pdu) is None:
                doubts.settle(asked)
                waiting.known.add(asked)
            return False
        self._link.dropped(request, unit_id, pdu)
        is_question = asked in self._asked
        doubts.set_aside(request, now_s)
        waiting.set_aside(asked)
        self._wait_on(asked)
        self._link.unsent(request)
        request.attempts -= 1
        if is_question or is_write(request.pdu) or not waiting.put(request):
            request.attempts += 1
            why = "what came may be the answer to what the unit did not answer in time before"
            self._link.finish(request, None, RequestTimeout(why))
        if question := doubts.question(request, now_s):
            self._asked.add(asked)
            self._ask(request, question, functools.partial(self._answered, asked))
        elif not is_question:
            self._answered(asked, None, UnitSilent(SET_ASIDE.format(asked)))
        return True

    def is_out(self, unit_id: int) -> bool:
        """This unit is asked something that settles whose answers come."""
        return unit_id in self._asked

    def _answered(self, unit_id: int, answer: bytes | None, error: LinkError | None) -> None:
        """What came of the question. Without an answer clients are told at once, for the unit is left alone."""
        self._asked.discard(unit_id)
        self._wait_on(unit_id)
        if error is not None and self._waiting.is_aside(unit_id):
            for request in self._waiting.take(unit_id):
                if request.priority != Priority.POLL or not self._waiting.put(request):
                    self._link.finish(request, None, UnitSilent(SET_ASIDE.format(unit_id)))

    def _ask(self, request: Request, question: bytes, done: Callable[[bytes | None, LinkError | None], None]) -> None:
        """Of the same unit as `request`, and before everything else."""
        asked = Request(request.unit_id, question, request.timeout_s, 0, done, request.quirks, Priority.WRITE)
        self._link.ask_first(asked)

    def _wait_on(self, unit_id: int) -> None:
        """Leave a unit that was set aside alone, or bring it back."""
        timer = self._timers.pop(unit_id, None)
        if timer is not None:
            timer.cancel()
        now_s = self._scheduler.time()
        rest_s = self._doubts.rest_s(unit_id, now_s)
        if rest_s:
            again = functools.partial(self._wait_on, unit_id)
            self._timers[unit_id] = self._scheduler.call_at(now_s + max(rest_s, MIN_TIMER_S), again)
            return
        for request in self._waiting.bring_back(unit_id):
            self._link.finish(request, None, LinkBusy(f"{self._waiting.size} requests are waiting"))
        self._link.pump()
