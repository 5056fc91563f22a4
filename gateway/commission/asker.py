"""Asking gently: a pause between requests, busy devices asked again, a bounded number of requests in all.

The rule of the file: only requests that change nothing pass (`modbus.reach` decides, as it does for rights). An answer
is data or a refusal; no answer is told apart from a device that has gone by asking again what was answered before.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from typing import NamedTuple

from gateway.commission.exchange import Exchange
from gateway.errors import LinkDown, LinkError
from gateway.modbus import spec
from gateway.modbus.pdu import read_request
from gateway.modbus.reach import is_write

BUSY_TRIES = 6
BUSY_S = 0.1
"""The first pause after 05 or 06, doubling: 3 s in all."""
BRIDGE_CODES = (spec.GATEWAY_PATH_UNAVAILABLE, spec.GATEWAY_TARGET_FAILED)
"""What a bridge says of a unit that it cannot reach: no answer of the unit."""
REVIVE_TRIES = 4
REVIVE_S = 0.5
"""The first pause before a device is asked whether it is still there, doubling: 7 s in all with short time-outs."""


class Kind(enum.Enum):
    GOOD = "good"
    REFUSED = "refused"
    NONE = "none"
    """Nothing, a closed connection, or something that is no answer."""


class Answer(NamedTuple):
    kind: Kind
    pdu: bytes = b""
    """Of a good one."""
    code: int = 0
    """The exception, of a refusal."""
    error: LinkError | None = None
    """Why there is none."""

    @property
    def is_good(self) -> bool:
        return self.kind is Kind.GOOD

    @property
    def data(self) -> bytes:
        """Of a good read: registers as on the wire, or bits packed."""
        return self.pdu[2:]

    def describe(self) -> str:
        """In words, for people."""
        if self.kind is Kind.REFUSED:
            return f"exception {spec.exception_text(self.code)}"
        return str(self.error) if self.error is not None else "answers"


class Exhausted(Exception):
    """As many requests were sent as were allowed."""


class Gone(Exception):
    """The device has stopped to answer, also what it answered before."""


class Asker:
    """Asks one device or bridge, one request at a time."""

    def __init__(
        self,
        exchange: Exchange,
        *,
        timeout_s: float,
        pace_s: float = 0.0,
        most: int | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`pace_s`: quiet after each answer; `most` requests in all, then Exhausted."""
        self.exchange = exchange
        self.timeout_s = timeout_s
        self.sent = 0
        self.answered = 0
        self.slowest_s = 0.0
        self.total_s = 0.0
        """Of all answers together."""
        self._pace_s = pace_s
        self._most = most
        self._sleep = sleep
        self._clock = clock
        self._quiet_until_s = 0.0
        self._alive: tuple[int, bytes] | None = None
        """What was answered last: unit id and request."""

    def read(self, unit_id: int, table: spec.Table, first: int, count: int = 1) -> Answer:
        return self.ask(unit_id, read_request(table, first, count))

    def ask(self, unit_id: int, pdu: bytes) -> Answer:
        """One answer; a busy device is asked again. Raises Exhausted, and LinkDown when it cannot be connected."""
        assert not is_write(pdu)
        pause_s = BUSY_S
        for left in range(BUSY_TRIES, 0, -1):
            answer = self._ask(unit_id, pdu)
            if answer.code not in (spec.ACKNOWLEDGE, spec.SERVER_BUSY) or left == 1:
                break
            self._sleep(pause_s)
            pause_s *= 2
        return answer

    def _ask(self, unit_id: int, pdu: bytes) -> Answer:
        if self._most is not None and self.sent >= self._most:
            raise Exhausted
        self._sleep(max(0.0, self._quiet_until_s - self._clock()))
        self.exchange.connect()
        self.sent += 1
        try:
            answer = self.exchange.ask(unit_id, pdu, self.timeout_s)
        except LinkError as error:
            return Answer(Kind.NONE, error=error)
        finally:
            self._quiet_until_s = self._clock() + self._pace_s
        self.answered += 1
        self.slowest_s = max(self.slowest_s, self.exchange.took_s)
        self.total_s += self.exchange.took_s
        if answer[0] & spec.EXCEPTION_BIT:
            if answer[1] not in BRIDGE_CODES:
                self._alive = unit_id, pdu
            return Answer(Kind.REFUSED, code=answer[1])
        self._alive = unit_id, pdu
        return Answer(Kind.GOOD, answer)

    @property
    def mean_s(self) -> float:
        return self.total_s / self.answered if self.answered else 0.0

    def probe(self, unit_id: int, pdu: bytes) -> Answer:
        """As `ask`, of a unit that has answered before: no answer means that this request gets none.

        Raises Gone when the unit does not answer any more what it has answered, after a while neither.
        """
        answer = self._connected(unit_id, pdu)
        if _is_the_units(answer) or self._alive is None or self._alive[0] != unit_id:
            return answer
        alive, pause_s = self._alive, REVIVE_S
        for left in range(REVIVE_TRIES, 0, -1):
            if _is_the_units(self._connected(*alive)):
                return answer
            if left > 1:
                self._sleep(pause_s)
                pause_s *= 2
        raise Gone(f"unit {unit_id} has stopped to answer: {answer.describe()}")

    def _connected(self, unit_id: int, pdu: bytes) -> Answer:
        """A connection that cannot be opened is no answer: it is tried again."""
        try:
            return self.ask(unit_id, pdu)
        except LinkDown as error:
            return Answer(Kind.NONE, error=error)


def _is_the_units(answer: Answer) -> bool:
    """Whether the unit itself has answered, not a bridge for it."""
    return answer.kind is not Kind.NONE and answer.code not in BRIDGE_CODES
