"""Writes by name that never became a Modbus request: somebody may not, or it makes no sense. The audit has them, too.

The rule: every attempt of anybody is told, and nobody can fill the audit's file, or push out what others did, by being
refused. So many a minute are told one by one, of one address and of all; then they are counted, and the last of them is
told when the minute is over, with how many were not.
"""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from gateway.bank import Bank
from gateway.front.audit import Record
from gateway.front.gate import Origin
from gateway.interfaces import exception_response
from gateway.modbus import spec
from gateway.places import Placement

MOST_OF_ADDRESS = 20
"""A minute: a person who tries, and wonders why."""
MOST = 100
"""A minute, of all together: 30 KB of the audit's file."""
MINUTE_S = 60.0
MAX_SHOWN = 100
"""Characters of a name or a value that a record repeats; nobody has looked at them."""
CODES = {"invalid": spec.ILLEGAL_VALUE, "missing": spec.ILLEGAL_ADDRESS, "full": spec.SERVER_BUSY}
"""What a Modbus client would have been told, by the kind of an AskError; else 01."""
NOWHERE = bytes((spec.WRITE_SINGLE_REGISTER,))
"""The request for a tag that there is not."""


class Refusals:
    """Of one gateway's page, or of its control socket."""

    def __init__(self, tell: Callable[[Record], None]) -> None:
        self._tell = tell
        self._minute_s = 0.0
        """When this one began."""
        self._told: Counter[str] = Counter()
        """By address, in this minute: as many as were told at the most."""
        self._untold = 0
        self._held: Record | None = None
        """The last that was not told."""
        self._later: asyncio.TimerHandle | None = None

    def add(self, origin: Origin, name: str, value: Any, why: str, request: Request, kind: str = "") -> None:
        """`name`: DEVICE/TAG as it was asked for; `kind`: of an AskError."""
        loop = asyncio.get_running_loop()
        if loop.time() - self._minute_s >= MINUTE_S:
            self.end()
            self._minute_s = loop.time()
        unit_id, pdu, old = request
        shown = f"{name[:MAX_SHOWN]} = {json.dumps(value, default=str)[:MAX_SHOWN]}: {why}"
        answer = exception_response(pdu, CODES.get(kind, spec.ILLEGAL_FUNCTION))
        record = (time.time(), origin, unit_id, pdu, old, answer, shown, 0.0)
        host = str(origin.host)
        if self._told[host] < MOST_OF_ADDRESS and self._told.total() < MOST:
            self._told[host] += 1
            self._tell(record)
            return
        self._untold += 1
        self._held = record
        if self._later is None:
            self._later = loop.call_at(self._minute_s + MINUTE_S, self.end)

    def end(self) -> None:
        """The minute is over, or there will be no more."""
        if self._later is not None:
            self._later.cancel()
        self._later = None
        self._told.clear()
        if self._held is not None:
            *head, why, took_s = self._held
            more = f" ({self._untold - 1} more before it were refused and not told)" if self._untold > 1 else ""
            self._tell((*head, f"{why}{more}", took_s))  # type: ignore[arg-type]
        self._held, self._untold = None, 0


Request = tuple[int, bytes, bytes | None]
"""Unit id, the request that it would have been, what is there now."""


def without_value(place: Placement) -> bytes:
    """A request to this place that says no value: none that was said can be written there."""
    function = spec.WRITE_MULTIPLE_COILS if place.table.is_bits else spec.WRITE_MULTIPLE_REGISTERS
    return struct.pack(">BHHB", function, place.first, place.count, 0)


def there(bank: Bank | None, place: Placement) -> bytes | None:
    """What our image has in this place; None: nothing that is young enough."""
    return None if bank is None else bank.fresh(place.table, place.first, place.count)
