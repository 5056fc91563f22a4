"""What a link remembers of its exchanges: the last of each unit, how long answers took; and what it shows to taps.

The rule of the file: on the way of every answer there is one append. The link itself puts what came of a request at the
end of its unit's list (`kept_of`); from time to time `digest` counts how long the answers took and cuts the list back
to the last ones. Everything else (failures, taps) may take longer.

Frames are told with the unit and transaction id as the link has them; that is what travels, but on RTU and ASCII, which
have no ids, and for the answer to a broadcast there, which nobody gave: it is not shown, nor counted.
"""

from __future__ import annotations

import time
from typing import Any

from gateway.interfaces import Request
from gateway.southbound.seams import Carrier
from gateway.traffic import MAX_LAST, Exchange, Histogram, Tap

MAX_KEPT = 3 * MAX_LAST
"""In the list of a unit before it is digested."""

Kept = list[tuple[Any, ...]]
"""(when it ended on the clock of ages, seconds, request, answer, attempts), behind it the error if there was no answer;
the newest last."""


class Ledger:
    """Of one link."""

    __slots__ = ("_carrier", "_counted", "_ends", "_has_no_ids", "_last", "_took", "key", "taps")

    def __init__(self, key: str) -> None:
        self.key = key
        """The link's key in the configuration, which taps know it by."""
        self.taps: tuple[Tap, ...] = ()
        """Who looks at it now."""
        self._took = Histogram()
        self._last: dict[int, Kept] = {}
        """By unit id."""
        self._counted: dict[int, int] = {}
        """By unit id: how many at the head of its list are counted already."""
        self._carrier: Carrier | None = None
        self._has_no_ids = False
        """It is a line: RTU or ASCII."""
        self._ends: tuple[str, str] | None = None
        """Of its connection, once somebody wants to know."""

    # -- the link tells -----------------------------------------------------------------------------------------

    def kept_of(self, request: Request) -> Kept:
        """The list of its unit; the request knows it from now on."""
        kept = self._last.get(request.unit_id)
        if kept is None:
            kept = self._last[request.unit_id] = []
            self._counted[request.unit_id] = 0
        request.kept = kept
        return kept

    def failed(self, request: Request, error: str, now_s: float) -> None:
        """A request that was sent ended without an answer."""
        took_s = max(0.0, now_s - request.sent_s)
        self.kept_of(request).append((now_s, took_s, request.pdu, None, request.attempts, error))
        self.digest(request.unit_id)

    def digest(self, unit_id: int) -> None:
        """Count what is new in a unit's list, keep the last."""
        kept = self._last[unit_id]
        if unit_id or not self._has_no_ids:
            self._took.add_all([each[1] for each in kept[self._counted[unit_id] :] if each[3] is not None])
        del kept[:-MAX_LAST]
        self._counted[unit_id] = len(kept)

    def connected(self, carrier: Carrier) -> None:
        """Frames travel there from now on."""
        self._carrier, self._ends = carrier, None
        self._has_no_ids = carrier.line is not None and not carrier.line.has_ids

    # -- for taps -----------------------------------------------------------------------------------------------

    def sent(self, request: Request) -> None:
        """A request goes out. Called while there are taps only, as `came` for what is believed."""
        self._show(request.unit_id, request.tid, request.pdu, True, "retry" if request.attempts > 1 else "")

    def came(self, tid: int, unit_id: int, pdu: bytes, note: str = "") -> None:
        """An answer, or what looks like one."""
        if unit_id or not self._has_no_ids:  # else the carrier made it up for a broadcast
            self._show(unit_id, tid, pdu, False, note)

    def gave_up(self, request: Request, note: str) -> None:
        """No answer came in time, or the connection ended before it did."""
        if request.attempts:
            self._show(request.unit_id, request.tid, b"", False, note)

    def noise(self) -> None:
        """Bytes came that are no frame."""
        self._show(0, 0, b"", False, "noise")

    def _show(self, unit_id: int, tid: int, pdu: bytes, is_request: bool, note: str) -> None:
        carrier = self._carrier
        if carrier is None or not self.taps:
            return
        if self._ends is None:
            self._ends = carrier.ends
        local, peer = self._ends
        if self._has_no_ids:
            tid = 0
        for tap in self.taps:
            tap.put("device", self.key, peer, local, unit_id, tid, pdu, is_request=is_request, note=note)

    # -- for those who look -------------------------------------------------------------------------------------

    def exchanges(self, unit_id: int, now_s: float) -> list[Exchange]:
        """The last of a unit, the newest last. `now_s`: on the clock of ages."""
        now_ns = time.time_ns()
        found = []
        for ended_s, took_s, pdu, answer, attempts, *error in self._last.get(unit_id, [])[-MAX_LAST:]:
            is_ours = not unit_id and self._has_no_ids
            time_ns = now_ns - int((now_s - ended_s) * 1e9)
            told = None if is_ours else answer
            found.append(Exchange(time_ns, unit_id, pdu, told, error[0] if error else "", took_s, attempts))
        return found

    def snapshot(self) -> dict[str, Any]:
        """How long answers took, from the last sending of a request to its answer."""
        for unit_id in self._last:
            self.digest(unit_id)
        return self._took.snapshot()
