"""A read on its way to the device, and everybody who waits for its answer.

A flight is its own request, so that a forwarded read costs two objects: the flight and who waits. Somebody who asks the
same while it is out joins it: the answer is one round trip old at most. It is taken off the board, and joined by nobody
any more, when a write begins that it may not have seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gateway.errors import LinkError
from gateway.interfaces import Later, Priority, Request

RETRIES = 0
"""A client has a time-out and repetitions of its own; ours would make it wait longer than it does."""

_ASK = Priority.ASK  # an enum's member is looked up slowly


class Airport(Protocol):
    """Where flights come from: the forward."""

    def landed(self, flight: Flight, answer: bytes | None, error: LinkError | None) -> bytes:
        """It is over; returns what its clients get."""
        ...

    def forsaken(self, flight: Flight) -> None:
        """Nobody waits any more, and it was not sent yet."""
        ...


class Waiter(Later):
    """One client's request."""

    __slots__ = ("_flight", "begun_s")

    def __init__(self, flight: Flight, begun_s: float) -> None:
        Later.__init__(self)  # `super()` costs more than what it calls
        self._flight = flight
        self.begun_s = begun_s
        """When it was asked."""

    def abandon(self) -> None:
        super().abandon()
        if not self.is_settled:
            self._flight.leave(self)


class Flight(Request):
    """One read."""

    __slots__ = ("_airport", "_clock", "waiters")

    def __init__(
        self,
        airport: Airport,
        unit_id: int,
        pdu: bytes,
        timeout_s: float,
        quirks: frozenset[str],
        clock: Callable[[], float],
    ) -> None:
        Request.__init__(self, unit_id, pdu, timeout_s, RETRIES, self._landed, quirks, _ASK)
        self._clock = clock
        self._airport = airport
        self.waiters: list[Waiter] = []

    def join(self) -> Waiter:
        """One more who gets the answer."""
        waiter = Waiter(self, self._clock())
        self.waiters.append(waiter)
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Its client has gone."""
        if waiter in self.waiters:
            self.waiters.remove(waiter)
            if not self.waiters and not self.attempts:
                self.wanted = False
                self._airport.forsaken(self)

    def _landed(self, answer: bytes | None, error: LinkError | None) -> None:
        self.done = _over  # no circles: the collector has nothing to do here
        told = self._airport.landed(self, answer, error)
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            waiter.settle(told)


def _over(answer: bytes | None, error: LinkError | None) -> None:
    """A request is called back once."""
