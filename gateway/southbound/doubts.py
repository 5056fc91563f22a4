"""Whose answer is it? On a line, after a unit has not answered in time. Pure: time is an argument.

RTU and ASCII have no transaction ids. A device that hung for a while answers everything that it was asked meanwhile,
one after the other: taken for answers to what is asked now, they would give each read the registers of another, and
confirm writes that were not executed, for as long as the line works. No pause is long enough to exclude that.

So what a unit has not answered is remembered, and the rule is: an answer is believed if no answer to what the unit
still owes could look like it (`fault`); as a line answers in order, that one settles all. Any other is dropped. The
unit is then left alone until it was silent for as long as its answer may have taken, which is as old as what it owes:
by then everything that it was asked is answered, or lost. Its neighbours on the line are asked meanwhile, for answers
name their unit. Mostly that wait is short, for a part of a read is asked for whose answer is like none that is owed
(`question`). A unit that is slower than `LONGEST` time-outs has long been demoted (`silence`).
"""

from __future__ import annotations

from typing import Final

from gateway.interfaces import Request
from gateway.modbus import spec
from gateway.modbus.pdu import expected, fault, read_request
from gateway.southbound.silence import STRIKES

MAX_OWED: Final = 16
"""Different requests of one unit. With more, every answer may be another's."""
LONGEST: Final = 1.5 * STRIKES
"""In time-outs, with what a line is listened to after each: so long a unit is asked that does not answer."""
MAX_ASIDE_S: Final = 15.0
"""A unit from which something always comes is not waited for longer; what it answers is no better then."""


class Doubt:
    """Of one unit."""

    __slots__ = ("aside_s", "heard_s", "is_any", "owed", "window_s")

    def __init__(self) -> None:
        self.owed: dict[bytes, float] = {}
        """Request PDUs and when each was sent first, on the clock of `Request.sent_s`."""
        self.aside_s: float | None = None
        """Since when the unit is left alone; None: it was not yet."""
        self.heard_s = 0.0
        """When something last came, or did not come, that may be its. On the scheduler's clock, as `aside_s`."""
        self.window_s = 0.0
        self.is_any = False
        """The device answers as any unit."""


class Doubts:
    """The units of one line that owe answers. Empty while all is well, and then nothing of this costs anything."""

    __slots__ = ("units",)

    def __init__(self) -> None:
        self.units: dict[int, Doubt] = {}

    def owe(self, request: Request, now_s: float) -> None:
        """It was sent, and is not waited for any more. A silence that was to settle all begins anew."""
        doubt = self.units.setdefault(request.unit_id, Doubt())
        doubt.heard_s = now_s
        if len(doubt.owed) <= MAX_OWED:
            doubt.owed.setdefault(request.pdu, request.sent_s)

    def fits_another(self, request: Request, answer: bytes) -> bool:
        """Whether what came as the answer to `request` may be one that its unit owes."""
        return any(
            len(doubt.owed) > MAX_OWED or any(fault(pdu, answer) is None for pdu in doubt.owed)
            for doubt in self._of(request)
        )

    def settle(self, request: Request) -> None:
        """It was answered, beyond doubt: everything before it is over."""
        if _is_any(request):
            self.units.clear()
        else:
            self.units.pop(request.unit_id, None)

    def set_aside(self, request: Request, clock_s: float, now_s: float) -> bool:
        """Its answer was dropped: leave the unit alone, and see how long. False: it was, and that did not help.

        `clock_s`: as `Request.sent_s`; `now_s`: on the scheduler's clock.
        """
        doubt = self.units.setdefault(request.unit_id, Doubt())
        is_first = doubt.aside_s is None
        first_s = min((sent_s for each in self._of(request) for sent_s in each.owed.values()), default=request.sent_s)
        self.owe(request, now_s)
        doubt.is_any = _is_any(request)
        doubt.aside_s = now_s
        doubt.window_s = min(clock_s - first_s, LONGEST * request.timeout_s)
        return is_first

    def question(self, request: Request, last_read: Request | None) -> bytes:
        """After `set_aside`: a read that the unit takes, with data like none that it owes; empty: none is known."""
        asked = request.pdu
        if request.size == 0 and last_read is not None and last_read.unit_id == request.unit_id:
            asked = last_read.pdu
        if len(asked) != 5 or asked[0] not in spec.TABLE_BY_READ_FUNCTION:
            return b""
        heads = [expected(pdu) for doubt in self._of(request) for pdu in doubt.owed]
        table, first, count = spec.TABLE_BY_READ_FUNCTION[asked[0]], asked[1] << 8 | asked[2], asked[3] << 8 | asked[4]
        for fewer in range(count, 0, -1):
            question = read_request(table, first, fewer)
            if expected(question) not in heads:
                return question
        return b""

    def heard(self, now_s: float) -> None:
        """Something came that nobody asked for."""
        for doubt in self.units.values():
            doubt.heard_s = now_s

    def rest_s(self, unit_id: int, now_s: float) -> float:
        """How long a unit is still to be left alone. 0: it may be asked again, and has settled all if it was silent."""
        doubt = self.units.get(unit_id)
        if doubt is None or doubt.aside_s is None:
            return 0.0
        rest_s = doubt.heard_s + doubt.window_s - now_s
        if rest_s <= 0:
            if doubt.is_any:
                self.units.clear()
            else:
                del self.units[unit_id]
        elif now_s - doubt.aside_s >= MAX_ASIDE_S:
            return 0.0
        return max(rest_s, 0.0)

    def _of(self, request: Request) -> list[Doubt]:
        """What may be taken for its answer."""
        if _is_any(request):
            return list(self.units.values())
        doubt = self.units.get(request.unit_id)
        return [] if doubt is None else [doubt]


def _is_any(request: Request) -> bool:
    """Whatever comes is taken for its answer, whichever unit it names."""
    return "any_unit" in request.quirks
