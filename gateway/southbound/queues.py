"""Who is sent next on a link: writes first, then clients' reads and polls in turns, nobody starved. Pure.

Writes overtake everything that waits (rule 36 of the field), but after DUTY of them in a row one of the others has its
turn. Reads that a client asked for through a forward and polls alternate: neither can shut out the other. On a line,
where each unit that is dead costs a time-out, polls of units that are not known to answer have every other turn of the
polls. What is for a unit that is set aside waits beside the queues, and nobody waits behind it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from gateway.interfaces import Priority, Request

DUTY = 5
"""Writes in a row while others wait. Drivers of the field use ten to one; one client that floods a device with writes
would then make each read of the others wait for ten of them, which on a slow machine is more than 50 ms."""
MAX_POLLS = 4096
"""Jobs have one request each, so this is reached by a mistake only."""
MAX_ASKED = 1024
"""Clients' reads: 100 clients with ten each. More is answered 0A at once."""
MAX_WRITES = 1024
"""Writes have places of their own: no flood of reads refuses one. Each unit's writer has one out at a time."""
MAX_ASIDE = MAX_POLLS
"""Of one unit."""


class Queues:
    """What waits on one link."""

    __slots__ = (
        "_aside", "_asks", "_poll_had_its_turn", "_polls", "_unknown", "_unknown_had_its_turn", "_writes",
        "_writes_in_row", "known", "parts", "size",
    )  # fmt: skip

    def __init__(self) -> None:
        self.size = 0
        """How many may go."""
        self.known: set[int] = set()
        """Units that answer, where `parts`."""
        self.parts = False
        """Units that are not known wait for themselves."""
        self._aside: dict[int, list[Request]] = {}
        self._writes: deque[Request] = deque()
        self._asks: deque[Request] = deque()
        self._polls: deque[Request] = deque()
        self._unknown: deque[Request] = deque()
        """Polls, too."""
        self._unknown_had_its_turn = False
        self._writes_in_row = 0
        self._poll_had_its_turn = False

    def __iter__(self) -> Iterator[Request]:
        yield from self._writes
        yield from self._asks
        yield from self._polls
        yield from self._unknown
        for requests in self._aside.values():
            yield from requests

    def put(self, request: Request) -> bool:
        """False: there is no place for it."""
        if self._aside and (aside := self._aside.get(request.unit_id)) is not None:
            if len(aside) >= MAX_ASIDE:
                return False
            aside.append(request)
            return True
        if request.priority == Priority.POLL:
            polls = self._unknown if self.parts and request.unit_id not in self.known else self._polls
            if len(polls) >= MAX_POLLS:
                return False
            polls.append(request)
        elif request.priority == Priority.WRITE:
            if len(self._writes) >= MAX_WRITES:
                return False
            self._writes.append(request)
        else:
            if len(self._asks) >= MAX_ASKED:
                return False
            self._asks.append(request)
        self.size += 1
        return True

    def put_first(self, request: Request) -> None:
        """Before everything else, also of a unit that is set aside. For what the link itself has to ask."""
        self._writes.appendleft(request)
        self._writes_in_row = 0
        self.size += 1

    def pop(self) -> Request:
        """The next one; IndexError when nothing waits."""
        writes, asks, polls = self._writes, self._asks, self._polls
        if self._unknown and (not polls or not self._unknown_had_its_turn):
            polls = self._unknown
        if writes and (self._writes_in_row < DUTY or not (asks or polls)):
            request = writes.popleft()
            self._writes_in_row += 1
        elif asks and (not polls or self._poll_had_its_turn):
            request = asks.popleft()
            self._writes_in_row, self._poll_had_its_turn = 0, False
        else:
            request = polls.popleft()
            self._writes_in_row, self._poll_had_its_turn = 0, True
            self._unknown_had_its_turn = polls is self._unknown
        self.size -= 1
        return request

    def set_aside(self, unit_id: int) -> None:
        """What waits for this unit, and what will, does not go until it is brought back."""
        if unit_id not in self._aside:
            self._aside[unit_id] = self.take(unit_id)

    def is_aside(self, unit_id: int) -> bool:
        return unit_id in self._aside

    def bring_back(self, unit_id: int) -> list[Request]:
        """It goes in its turn again. Returns what there is no place for."""
        return [request for request in self._aside.pop(unit_id, ()) if not self.put(request)]

    def empty(self) -> list[Request]:
        """Remove and return everything. Units that are set aside stay so."""
        taken = list(self)
        for queue in (self._writes, self._asks, self._polls, self._unknown, *self._aside.values()):
            queue.clear()
        self.size = 0
        return taken

    def take(self, unit_id: int) -> list[Request]:
        """Remove and return everything that waits for this unit, in the order it would have gone."""
        aside = self._aside.get(unit_id)
        if aside is not None:
            self._aside[unit_id] = []
            return aside
        taken: list[Request] = []
        for queue in (self._writes, self._asks, self._polls, self._unknown):
            mine = [request for request in queue if request.unit_id == unit_id]
            if mine:
                taken += mine
                left = [request for request in queue if request.unit_id != unit_id]
                queue.clear()
                queue.extend(left)
        self.size -= len(taken)
        return taken
