"""The one door for every request, from whomever: who asks (origin), whom (unit id), what (PDU).

A client is admitted when it comes, and again when the rules change, and gets an entry: the slots, plans and functions
that it may use. With no rules for it an entry is the bare table of units, so rights that nobody asked for cost nothing;
else it is a view in which every unit asks the rules first, shared by all for whom the same rules are left. What may
change something passes the audit on its way, if there is one. Carriers never look at units directly.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import NamedTuple, Protocol

from gateway.bank import Bank
from gateway.front.access import EVERYTHING, Access, Host, Rights
from gateway.front.counters import Counters
from gateway.front.freshness import Freshness
from gateway.front.units import Denied, Units, View
from gateway.interfaces import Later, Plan, Unit, exception_response
from gateway.modbus import spec
from gateway.modbus.reach import BROADCASTS, MAY_WRITE
from gateway.traffic import Tap, Taps

log = logging.getLogger(__name__)

MAX_TRACEBACKS = 10
"""A bug that every request meets must not fill the disk."""
MAX_VIEWS = 64
"""Views kept although nobody who is connected may need them: a client that connects for each request finds its own.
Those in use are as many as there are clients with rights of different kinds, at most `max_connections`."""
NOT_WATCHED = bytes(256)
WATCHED = bytes((1,)) * 256


class Origin(NamedTuple):
    """Who asks."""

    peer: str
    """For people: `10.1.2.3:51234`, or the serial port's path."""
    host: Host | None
    """None: it came over a serial line."""
    door: str
    """The URL of the listener through which it came."""
    role: str | None = None
    """From its certificate (MB-TCP-Security R-21); None: it has none, or no certificate."""
    certificate: str | None = None
    """Subject and serial number, for people; None: it has shown none."""
    user: str | None = None
    """Who is logged in to the page; None: nobody is, or it is no page."""
    local: str = ""
    """The address of ours that it came to, for traces: `10.0.0.1:502`."""


class Watch(Protocol):
    """The audit, as the gate sees it."""

    def ask(self, origin: Origin, unit_id: int, unit: Unit, pdu: bytes) -> bytes | Later | None:
        """`unit.answer(pdu)`, told to whoever keeps the audit; raises what that raises. `unit_id`: the one meant."""
        ...


class Entry:
    """What one client may use; made by `Gate.admit`. `slots`, `meant`, `known` and `plans` live on over a reload."""

    __slots__ = ("_gate", "_rights", "_units", "_view", "known", "meant", "origin", "plans", "slots", "watched")

    def __init__(self, gate: Gate, origin: Origin, units: Units, rights: Rights, view: View | None) -> None:
        self._gate = gate
        self._units = units
        self._rights = rights
        self._view: Units | View = view or units
        self.origin = origin
        self.slots: list[Unit] = self._view.slots
        """By unit id; every one is filled."""
        self.meant: list[int] = units.meant
        """By unit id: the one that it means, itself but for 0 and 255."""
        self.known: list[bool] = units.known
        """By unit id: whether the configuration has it. On a serial line we are silent for the others."""
        self.plans: dict[bytes, Plan] = self._view.plans
        self.watched = MAY_WRITE if gate.audit is not None else NOT_WATCHED
        """By function code: 1 when `ask` must be used instead of the unit's `answer`."""

    def ask(self, unit_id: int, pdu: bytes, tid: bytes = b"") -> bytes | Later | None:
        """The answer of whoever has this unit id now, audited; a bug is a traceback in the log and 04. Never raises.

        `tid`: the transaction id as it came, where there is one; for traces. Ages are not judged here: `Gate.judge`
        comes before, once for all that arrived together.
        """
        gate, unit = self._gate, self.slots[unit_id]
        try:
            if gate.audit is not None and MAY_WRITE[pdu[0]]:
                return gate.audit.ask(self.origin, self.meant[unit_id], unit, pdu)
            return unit.answer(pdu)
        except Exception:
            return self.fault(unit_id, pdu)

    def is_image(self, unit_id: int) -> bool:
        """Whether a register image of ours has this unit id."""
        return isinstance(self._units.slots[unit_id], Bank)

    def ask_here(self, unit: Unit, unit_id: int, pdu: bytes) -> bytes | Later | None:
        """As `ask`, of `unit` in the place of the one that has this unit id: what is about the carrier."""
        gate, meant = self._gate, self.meant[unit_id]
        if not self._rights.allows(meant, pdu):
            unit = Denied(unit, gate.counters)
        try:
            if gate.audit is not None and MAY_WRITE[pdu[0]]:
                return gate.audit.ask(self.origin, meant, unit, pdu)
            return unit.answer(pdu)
        except Exception:
            return self.fault(unit_id, pdu)

    def broadcast(self, pdu: bytes) -> None:
        """Unit id 0 of a serial line: every image and every forwarded line executes it, and nobody answers. It passes
        by those with a unit that this client may not write. Never raises."""
        if pdu[0] not in BROADCASTS:
            return
        gate = self._gate
        for unit_ids, unit in self._units.broadcasts:
            if not all(self._rights.allows(unit_id, pdu) for unit_id in unit_ids):
                unit = Denied(unit, gate.counters)
            try:
                if gate.audit is not None:
                    gate.audit.ask(self.origin, unit_ids[0] if len(unit_ids) == 1 else 0, unit, pdu)
                else:
                    unit.answer(pdu)
            except Exception:
                self.fault(0, pdu)

    def allows(self, unit_id: int, pdu: bytes) -> bool:
        """Whether the rules let it be asked; for those who want to know before they ask."""
        return self._rights.allows(self.meant[unit_id], pdu)

    def may_overtake(self, unit: Unit, unit_id: int, pdu: bytes) -> bool:
        """Whether it may begin while `unit` has not answered what came before; another unit, or a bug, says no."""
        try:
            return self.slots[unit_id] is unit and unit.may_overtake(pdu)
        except Exception:
            self.fault(unit_id, pdu)
            return False

    def remember(self, key: bytes, unit: Unit, pdu: bytes) -> None:
        """As Units.remember."""
        self._view.remember(key, unit, pdu)

    def fault(self, unit_id: int, pdu: bytes) -> bytes:
        """Our bug, called in its handler: a traceback in the log, 04 to that client, the others live on."""
        counters = self._gate.counters
        counters.faults += 1
        if counters.faults <= MAX_TRACEBACKS:
            log.exception("client %s, unit %d, request %s: bug in the gateway", self.origin.peer, unit_id, pdu.hex())
        return exception_response(pdu, spec.SERVER_FAILURE)


class TappedEntry(Entry):
    """The same, while somebody looks at what this client asks and gets. Every request takes the way through here."""

    __slots__ = ("_taps",)

    def __init__(
        self, gate: Gate, origin: Origin, units: Units, rights: Rights, view: View | None, taps: tuple[Tap, ...]
    ) -> None:
        super().__init__(gate, origin, units, rights, view)
        self._taps = taps
        self.plans = {}
        self.watched = WATCHED

    def ask(self, unit_id: int, pdu: bytes, tid: bytes = b"") -> bytes | Later | None:
        number = int.from_bytes(tid, "big")
        self._show(unit_id, number, pdu, is_request=True)
        return self._shown(unit_id, number, super().ask(unit_id, pdu, tid))

    def ask_here(self, unit: Unit, unit_id: int, pdu: bytes) -> bytes | Later | None:
        self._show(unit_id, 0, pdu, is_request=True)
        return self._shown(unit_id, 0, super().ask_here(unit, unit_id, pdu))

    def broadcast(self, pdu: bytes) -> None:
        self._show(0, 0, pdu, is_request=True)
        super().broadcast(pdu)

    def remember(self, key: bytes, unit: Unit, pdu: bytes) -> None:
        """What is answered without being asked is not seen."""

    def _shown(self, unit_id: int, number: int, answer: bytes | Later | None) -> bytes | Later | None:
        """The answer is shown when it leaves: one that is still to come, when it is there."""
        if isinstance(answer, Later):

            def settled(later: Later) -> None:
                note = "left" if not later.wanted else "silent" if later.answer is None else ""
                self._show(unit_id, number, later.answer or b"", is_request=False, note=note)

            answer.also(settled)
        else:
            note = "silent" if answer is None else ""
            self._show(unit_id, number, answer or b"", is_request=False, note=note)
        return answer

    def _show(self, unit_id: int, number: int, pdu: bytes, *, is_request: bool, note: str = "") -> None:
        peer, local = self.origin.peer, self.origin.local
        for tap in self._taps:
            tap.put("client", peer, peer, local, unit_id, number, pdu, is_request=is_request, note=note)


class Gate:
    """Admits clients."""

    __slots__ = ("_views", "access", "audit", "counters", "freshness", "generation", "taps", "units")

    def __init__(self, units: Units, freshness: Freshness, counters: Counters, audit: Watch | None = None) -> None:
        self.units = units
        self.freshness = freshness
        self.counters = counters
        self.audit = audit
        self.access = Access()
        """`server.access`: for whoever comes through a door without rules of its own."""
        self.taps: Taps | None = None
        """Who may look at what clients ask; None: nobody ever will."""
        self.generation = 0
        """Another one: what was admitted before must be admitted anew before it is served again."""
        self._views: OrderedDict[Rights, View] = OrderedDict()

    def judge(self) -> float:
        """Before answering what has arrived: what is too old now has no value. Returns the time on the clock."""
        now_s = self.freshness.clock()
        if now_s >= self.freshness.until_s:
            self.freshness.judge(now_s)
        return now_s

    def admit(self, origin: Origin, access: Access | None = None) -> Entry | None:
        """A client's way in, by the rules of its door (None: the gate's); None: it may do nothing here, close it."""
        rights = (access or self.access).rights(origin.host, origin.role)
        if rights is None:
            return None
        view = None if rights is EVERYTHING else self._view(rights)
        if self.taps is not None and (taps := self.taps.of_client(origin.peer)):
            return TappedEntry(self, origin, self.units, rights, view, taps)
        return Entry(self, origin, self.units, rights, view)

    def welcomes(self, origin: Origin, access: Access | None = None) -> bool:
        """Whether it is worth while to find out who this is: somebody from there may do something."""
        return (access or self.access).welcomes(origin.host)

    def _view(self, rights: Rights) -> View:
        views = self._views
        view = views.get(rights)
        if view is None:
            view = views[rights] = self.units.view(rights, self.counters)
            if len(views) > MAX_VIEWS:
                views.popitem(last=False)
        views.move_to_end(rights)
        return view
