"""Whose answer is it? On a line, after a unit has not answered in time. Pure: time is an argument.

RTU and ASCII have no transaction ids. A device that hung for a while answers everything that it was asked meanwhile,
one after the other: taken for answers to what is asked now, they would give each read the registers of another, and
confirm writes that were not executed, for as long as the line works. No pause is long enough to exclude that.

So what a unit has not answered is remembered, and the rule is: an answer is believed if no answer to what the unit
still owes could look like it (`fault`); as a line answers in order, that one settles all. Any other is dropped. Then
the unit is asked a question whose answer looks like nothing that it owes: for fewer registers, or with a function that
it does not owe, where a refusal settles all as well.

A device that takes no such question is left alone until it was silent for longer than one is asked that does not
answer (`LONGEST` time-outs; then it is demoted, `silence`). That settles all only if the unit was not asked anything
meanwhile: the silence of a device that hangs says nothing. Its neighbours on the line are asked all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gateway.interfaces import Request
from gateway.modbus import spec
from gateway.modbus.pdu import expected, fault, read_request
from gateway.southbound.silence import STRIKES

MAX_OWED: Final = 16
"""Different requests of one unit. With more, every answer may be another's."""
LONGEST: Final = 1.5 * STRIKES
"""In time-outs, with what a line is listened to after each."""
MAX_WINDOWS: Final = 3
"""A unit from which something always comes is not waited for longer; what it answers is no better then."""
MAX_QUESTIONS: Final = 3
"""That are no help; many a device does not answer what it does not know."""
_QUESTIONS: Final = (
    *(read_request(table, 0, 1) for table in (spec.Table.HOLDING, spec.Table.INPUT, spec.Table.COILS)),
    read_request(spec.Table.DISCRETE, 0, 1),
    bytes((spec.DIAGNOSTICS, 0, 0, 0x55, 0xAA)),
)
"""Harmless, and each of another function."""


class Doubt:
    """Of one unit."""

    __slots__ = ("aside_s", "heard_s", "is_any", "owed", "proves", "questions", "window_s")

    def __init__(self) -> None:
        self.owed: set[bytes] = set()
        """Request PDUs."""
        self.window_s = 0.0
        """How long it may take for an answer."""
        self.is_any = False
        """The device answers as any unit."""
        self.aside_s = 0.0
        """Since when the unit is left alone, on the scheduler's clock."""
        self.heard_s = 0.0
        """When something last came, or did not come, that may be its."""
        self.questions = 0
        """Asked so far."""
        self.proves = False
        """Its silence since then settles all."""


class Doubts:
    """The units of one line that owe answers. Empty while all is well, and then nothing of this costs anything."""

    __slots__ = ("units",)

    def __init__(self) -> None:
        self.units: dict[int, Doubt] = {}

    def owe(self, request: Request, now_s: float) -> None:
        """It was sent, and is not waited for any more. Nobody owes an answer to what all units were told."""
        if not request.unit_id:
            return
        doubt = self.units.setdefault(request.unit_id, Doubt())
        if len(doubt.owed) <= MAX_OWED:
            doubt.owed.add(request.pdu)
        doubt.window_s = max(doubt.window_s, LONGEST * request.timeout_s)
        doubt.is_any |= _is_any(request)
        doubt.heard_s = now_s
        doubt.proves = False

    def fits_another(self, request: Request, unit_id: int, answer: bytes, now_s: float) -> bool:
        """Whether what this unit sent as the answer to `request` may be one that is owed."""
        return any(
            len(doubt.owed) > MAX_OWED or any(fault(pdu, answer) is None for pdu in doubt.owed)
            for doubt in self._about(now_s, request.unit_id, unit_id)
        )

    def settle(self, unit_id: int) -> None:
        """It answered, beyond doubt: everything before that is over."""
        self.units.pop(unit_id, None)

    def set_aside(self, request: Request, now_s: float) -> None:
        """Its answer was dropped: its own is still to come. The unit is left alone from now on."""
        self.owe(request, now_s)
        doubt = self.units[request.unit_id]
        doubt.aside_s = now_s
        doubt.proves = True

    def question(self, request: Request, now_s: float) -> bytes:
        """After `set_aside`: what is answered like nothing that is owed; empty: there is nothing, or it is no help."""
        doubt = self.units[request.unit_id]
        doubt.questions += 1
        if doubt.questions > MAX_QUESTIONS:
            return b""
        all_ = self.units if _is_any(request) else (request.unit_id,)
        owed = {pdu for each in self._about(now_s, *all_) for pdu in each.owed}
        heads, functions = {expected(pdu) for pdu in owed}, {pdu[0] for pdu in owed}
        part = next((part for part in _parts(request.pdu) if expected(part) not in heads), b"")
        if part and doubt.questions == 1:
            return part
        return next((question for question in _QUESTIONS if question[0] not in functions), b"")

    def heard(self, now_s: float) -> None:
        """Something came that nobody asked for."""
        for doubt in self.units.values():
            doubt.heard_s = now_s

    def rest_s(self, unit_id: int, now_s: float) -> float:
        """How long a unit is still to be left alone. 0: it may be asked again."""
        doubt = self.units.get(unit_id)
        if doubt is None:
            return 0.0
        rest_s = doubt.heard_s + doubt.window_s - now_s
        if rest_s > 0:
            return rest_s if now_s - doubt.aside_s < MAX_WINDOWS * doubt.window_s else 0.0
        if doubt.proves:
            del self.units[unit_id]
        return 0.0

    def _about(self, now_s: float, *unit_ids: int) -> Iterator[Doubt]:
        """The doubts of these units, and of those that may answer in their name; a dead one does not for ever."""
        return (
            doubt
            for unit_id, doubt in self.units.items()
            if unit_id in unit_ids or (doubt.is_any and now_s < doubt.heard_s + doubt.window_s)
        )


def _is_any(request: Request) -> bool:
    """Whatever comes is taken for its answer, whichever unit it names."""
    return "any_unit" in request.quirks


def _parts(read: bytes) -> Iterator[bytes]:
    """Reads of fewer registers or bits than this one, which the unit takes; none of what is no read."""
    if expected(read)[1]:
        table, first = spec.TABLE_BY_READ_FUNCTION[read[0]], read[1] << 8 | read[2]
        for count in range((read[3] << 8 | read[4]) - 1, 0, -1):
            yield read_request(table, first, count)
