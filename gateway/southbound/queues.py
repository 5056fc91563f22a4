"""Who is sent next on a link: writes first, then clients' reads and polls in turns, nobody starved. Pure.

Writes overtake everything that waits (rule 36 of the field), but after DUTY of them in a row one of the others has its
turn. Reads that a client asked for through a forward and polls alternate: neither can shut out the other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from gateway.interfaces import Priority, Request

DUTY = 10
"""Writes in a row while others wait; ten to one is what drivers of the field use."""
MAX_POLLS = 4096
"""Jobs have one request each, so this is reached by a mistake only."""
MAX_ASKED = 1024
"""Writes and clients' reads together: 100 clients with ten each. More is answered 0A at once."""


class Queues:
    """What waits on one link."""

    __slots__ = ("_asks", "_poll_had_its_turn", "_polls", "_writes", "_writes_in_row")

    def __init__(self) -> None:
        self._writes: deque[Request] = deque()
        self._asks: deque[Request] = deque()
        self._polls: deque[Request] = deque()
        self._writes_in_row = 0
        self._poll_had_its_turn = False

    def __len__(self) -> int:
        return len(self._writes) + len(self._asks) + len(self._polls)

    def __iter__(self) -> Iterator[Request]:
        yield from self._writes
        yield from self._asks
        yield from self._polls

    def put(self, request: Request) -> bool:
        """False: there is no place for it."""
        if request.priority == Priority.POLL:
            if len(self._polls) >= MAX_POLLS:
                return False
            self._polls.append(request)
            return True
        if len(self._writes) + len(self._asks) >= MAX_ASKED:
            return False
        (self._writes if request.priority == Priority.WRITE else self._asks).append(request)
        return True

    def pop(self) -> Request:
        """The next one; IndexError when nothing waits."""
        others = self._asks or self._polls
        if self._writes and (self._writes_in_row < DUTY or not others):
            self._writes_in_row += 1
            return self._writes.popleft()
        self._writes_in_row = 0
        if self._asks and (not self._polls or self._poll_had_its_turn):
            self._poll_had_its_turn = False
            return self._asks.popleft()
        self._poll_had_its_turn = True
        return self._polls.popleft()

    def take(self, unit_id: int) -> list[Request]:
        """Remove and return everything that waits for this unit, in the order it would have gone."""
        taken: list[Request] = []
        for queue in (self._writes, self._asks, self._polls):
            mine = [request for request in queue if request.unit_id == unit_id]
            if mine:
                taken += mine
                left = [request for request in queue if request.unit_id != unit_id]
                queue.clear()
                queue.extend(left)
        return taken
