"""The requests of one client to one unit that are not answered yet: a lane, there only while an answer is missing.

The rule: the answers of a lane leave in the order of its requests. Work on a request begins at once when everything
before it has begun and the unit lets it overtake; otherwise it begins when everything before it is answered. Units
never wait for each other: each has its own lane. Nothing here has a limit of its own; the connection takes at most
MAX_WAITING requests that wait.
"""

from __future__ import annotations

from typing import Protocol

from gateway.interfaces import Later, Unit
from gateway.modbus import mbap

_tail = mbap.TAIL.pack


class Client(Protocol):
    """The connection, as its lanes see it."""

    def ask(self, unit_id: int, pdu: bytes, tid: bytes) -> bytes | Later | None:
        """The answer of whoever has this unit id now; never raises."""
        ...

    def may_overtake(self, unit: Unit, unit_id: int, pdu: bytes) -> bool:
        """What `unit`, whose answers are still to come, says of it, if it still has this unit id; never raises."""
        ...

    def deliver(self, lane: Lane, frames: list[bytes], answered: int, *, is_empty: bool) -> None:
        """Whole frames for the client, in order; so many requests of this lane wait no more. Empty: it is over."""
        ...


class Lane:
    """Oldest first: what has begun, with its answer or a Later, then what has not. Its first one is not settled."""

    __slots__ = ("_begun", "_client", "_moving", "_unit", "_waiting", "key")

    def __init__(self, client: Client, key: int, unit: Unit, tid: bytes, unit_id: int, later: Later) -> None:
        """For a request whose answer is still to come; transaction id and unit id as the client wrote them.

        `key`: the unit id that is meant. A reload may give it to another unit; the answers keep their order.
        """
        self.key = key
        self._unit = unit
        self._client = client
        self._begun: list[tuple[bytes, int, bytes | Later | None]] = [(tid, unit_id, later)]
        self._waiting: list[tuple[bytes, int, bytes]] = []
        self._moving = False
        """A unit is being asked: what is settled meanwhile, from inside, is looked at afterwards."""
        later.then(self._advance)

    def take(self, tid: bytes, unit_id: int, pdu: bytes) -> None:
        """One more request of the client."""
        client = self._client
        if self._waiting or not client.may_overtake(self._unit, unit_id, pdu):
            self._waiting.append((tid, unit_id, pdu))
            return
        self._moving = True
        answer = client.ask(unit_id, pdu, tid)
        self._moving = False
        self._begun.append((tid, unit_id, answer))
        first = self._begun[0][2]
        if not isinstance(first, Later) or first.is_settled:
            self._advance()

    def abandon(self) -> None:
        """The client has gone: nothing more is asked for it."""
        begun, self._begun = self._begun, []
        self._waiting = []
        for _, _, answer in begun:
            if isinstance(answer, Later):
                answer.abandon()

    def _advance(self) -> None:
        """The first one is settled: deliver what is answered, begin what may begin."""
        if self._moving:
            return
        client, begun, waiting = self._client, self._begun, self._waiting
        self._moving = True
        frames: list[bytes] = []
        answered = 0
        while True:
            while begun:
                tid, unit_id, answer = begun[0]
                if isinstance(answer, Later):
                    if not answer.is_settled:
                        answer.then(self._advance)
                        break
                    answer = answer.answer
                del begun[0]
                answered += 1
                if answer is not None:
                    frames.append(tid + _tail(0, len(answer) + 1, unit_id) + answer)
            if not waiting or (begun and not client.may_overtake(self._unit, waiting[0][1], waiting[0][2])):
                break
            tid, unit_id, pdu = waiting.pop(0)
            begun.append((tid, unit_id, client.ask(unit_id, pdu, tid)))
        self._moving = False
        client.deliver(self, frames, answered, is_empty=not begun)
