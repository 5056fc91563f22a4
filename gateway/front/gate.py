"""The one door for every request, from whomever: who asks (origin), whom (unit id), what (PDU).

A client is admitted once, when it comes, and gets an entry: the slots, plans and functions that it may use. With no
rules an entry is the bare table of units, so rights that nobody asked for cost nothing; with rules it is a table of its
own in which every unit asks them first (`access`). What may change something passes the audit on its way, if there is
one. Carriers never look at units directly.
"""

from __future__ import annotations

import logging
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple, Protocol

from gateway.front.counters import Counters
from gateway.front.freshness import Freshness
from gateway.front.units import Units
from gateway.interfaces import Later, Plan, Unit, exception_response
from gateway.modbus import spec
from gateway.modbus.reach import MAY_WRITE

log = logging.getLogger(__name__)

MAX_TRACEBACKS = 10
"""A bug that every request meets must not fill the disk."""
NOT_WATCHED = bytes(256)


class Origin(NamedTuple):
    """Who asks."""

    peer: str
    """For people: `10.1.2.3:51234`, or the serial port's path."""
    host: IPv4Address | IPv6Address | None
    """None: it came over a serial line."""
    door: str
    """The URL of the listener through which it came."""
    role: str | None = None
    """From its certificate (MB-TCP-Security R-21); None: it has none, or no certificate."""


class Watch(Protocol):
    """The audit, as the gate sees it."""

    def ask(self, origin: Origin, unit_id: int, unit: Unit, pdu: bytes) -> bytes | Later | None:
        """`unit.answer(pdu)`, told to whoever keeps the audit; raises what that raises."""
        ...


class Entry:
    """What one client may use; made by `Gate.admit`. `slots`, `meant`, `known` and `plans` live on over a reload."""

    __slots__ = ("_gate", "_units", "known", "meant", "origin", "plans", "slots", "watched")

    def __init__(self, gate: Gate, origin: Origin, units: Units) -> None:
        self._gate = gate
        self._units = units
        self.origin = origin
        self.slots: list[Unit] = units.slots
        """By unit id; every one is filled."""
        self.meant: list[int] = units.meant
        """By unit id: the one that it means, itself but for 0 and 255."""
        self.known: list[bool] = units.known
        """By unit id: whether the configuration has it. On a serial line we are silent for the others."""
        self.plans: dict[bytes, Plan] = units.plans
        self.watched = MAY_WRITE if gate.audit is not None else NOT_WATCHED
        """By function code: 1 when `ask` must be used instead of the unit's `answer`."""

    def ask(self, unit_id: int, pdu: bytes) -> bytes | Later | None:
        """The answer of whoever has this unit id now, audited; a bug is a traceback in the log and 04. Never raises.

        Ages are not judged here: `Gate.judge` comes before, once for all that arrived together.
        """
        gate, unit = self._gate, self.slots[unit_id]
        try:
            if gate.audit is not None and MAY_WRITE[pdu[0]]:
                return gate.audit.ask(self.origin, unit_id, unit, pdu)
            return unit.answer(pdu)
        except Exception:
            return self.fault(unit_id, pdu)

    def may_overtake(self, unit: Unit, unit_id: int, pdu: bytes) -> bool:
        """Whether it may begin while `unit` has not answered what came before; another unit, or a bug, says no."""
        try:
            return self.slots[unit_id] is unit and unit.may_overtake(pdu)
        except Exception:
            self.fault(unit_id, pdu)
            return False

    def remember(self, key: bytes, unit: Unit, pdu: bytes) -> None:
        """As Units.remember."""
        self._units.remember(key, unit, pdu)

    def fault(self, unit_id: int, pdu: bytes) -> bytes:
        """Our bug, called in its handler: a traceback in the log, 04 to that client, the others live on."""
        counters = self._gate.counters
        counters.faults += 1
        if counters.faults <= MAX_TRACEBACKS:
            log.exception("client %s, unit %d, request %s: bug in the gateway", self.origin.peer, unit_id, pdu.hex())
        return exception_response(pdu, spec.SERVER_FAILURE)


class Gate:
    """Admits clients."""

    __slots__ = ("audit", "counters", "freshness", "units")

    def __init__(self, units: Units, freshness: Freshness, counters: Counters, audit: Watch | None = None) -> None:
        self.units = units
        self.freshness = freshness
        self.counters = counters
        self.audit = audit

    def judge(self) -> float:
        """Before answering what has arrived: what is too old now has no value. Returns the time on the clock."""
        now_s = self.freshness.clock()
        if now_s >= self.freshness.until_s:
            self.freshness.judge(now_s)
        return now_s

    def admit(self, origin: Origin) -> Entry | None:
        """A client's way in; None: it may do nothing here, close it."""
        return Entry(self, origin, self.units)
