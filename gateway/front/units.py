"""Who answers for each unit id: 256 slots, every one filled, and the standing answers.

A register read that was answered once is remembered as a plan (where its bytes lie), by the bytes that follow the
transaction id. The next client that asks the same gets prefix and slice without a look at unit, function or range. A
plan holds until some part of the image loses its value: then all are forgotten, which is cheap because it is rare.

Clients whom the rules do not allow everything see the same units through a `View`: guards in its slots, and plans of
its own, because what one may read must not be remembered for another.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from weakref import WeakSet

from gateway.bank import Bank
from gateway.front.access import ALLOWED, Rights
from gateway.front.counters import Counters
from gateway.interfaces import Later, Plan, Unit, exception_response
from gateway.modbus import spec

MAX_PLANS = 4096
"""Distinct register reads remembered; more are forgotten and learned again, so that no client can fill the memory."""

DIRECT_UNIT_IDS = (0, 255)
"""`This device` on TCP (TCP guide, unit identifier)."""

UNKNOWN_UNIT_CODES = {
    "gateway_path": spec.GATEWAY_PATH_UNAVAILABLE,
    "target_failed": spec.GATEWAY_TARGET_FAILED,
    "silent": None,
}


class Absent:
    """What a unit id without a unit answers: an exception, or nothing."""

    def __init__(self, code: int | None) -> None:
        self._code = code

    def answer(self, pdu: bytes) -> bytes | None:
        return None if self._code is None else bytes((pdu[0] | spec.EXCEPTION_BIT, self._code))

    def may_overtake(self, pdu: bytes) -> bool:
        return True


class Guard:
    """A unit as clients see it who may not do everything: the rules are asked first (01 where they say no)."""

    __slots__ = ("_counters", "_rights", "_unit_id", "_verdicts", "stands_for", "unit")

    def __init__(self, unit_id: int, unit: Unit, rights: Rights, counters: Counters) -> None:
        self.unit = unit
        self.stands_for: tuple[int, ...] = ()
        """The unit ids of a line (LineGuard)."""
        self._unit_id = unit_id
        self._rights = rights
        self._verdicts = rights.verdicts(unit_id)
        self._counters = counters

    def answer(self, pdu: bytes) -> bytes | Later | None:
        if self._verdicts[pdu[0]] == ALLOWED or self._rights.allows(self._unit_id, pdu, self._room(pdu)):
            return self.unit.answer(pdu)
        self._counters.denied += 1
        return exception_response(pdu, spec.ILLEGAL_FUNCTION)

    def may_overtake(self, pdu: bytes) -> bool:
        return self.unit.may_overtake(pdu)

    def _room(self, pdu: bytes) -> int:
        """The most registers that function 24 gets; a queue of ours may have room for fewer than there can be."""
        if pdu[0] == spec.READ_FIFO_QUEUE and len(pdu) == 3 and isinstance(self.unit, Bank):
            return self.unit.queues.get(pdu[1] << 8 | pdu[2], spec.MAX_QUEUED)
        return spec.MAX_QUEUED


class LineGuard(Guard):
    """The same before a unit that is all units of a line: who may not do it to one of them may not do it to all."""

    __slots__ = ()

    def __init__(
        self, unit_id: int, unit: Unit, rights: Rights, counters: Counters, stands_for: tuple[int, ...]
    ) -> None:
        """`stands_for`: the unit ids of ours that lead to the line."""
        super().__init__(unit_id, unit, rights, counters)
        self.stands_for = stands_for

    def answer(self, pdu: bytes) -> bytes | Later | None:
        if all(self._rights.allows(unit_id, pdu) for unit_id in self.stands_for):
            return super().answer(pdu)
        self._counters.denied += 1
        return exception_response(pdu, spec.ILLEGAL_FUNCTION)


class Denied:
    """In the place of a unit that a client may not ask this: so the audit hears of it as of what a guard refuses."""

    __slots__ = ("_counters", "unit")

    def __init__(self, unit: Unit, counters: Counters) -> None:
        self.unit = unit
        self._counters = counters

    def answer(self, pdu: bytes) -> bytes:
        self._counters.denied += 1
        return exception_response(pdu, spec.ILLEGAL_FUNCTION)

    def may_overtake(self, pdu: bytes) -> bool:
        return True


class Units:
    """The slots and plans that every connection serves from."""

    __slots__ = ("_views", "broadcasts", "known", "lines", "meant", "plans", "slots")

    def __init__(
        self, units: Mapping[int, Unit], default_unit: int, unknown_unit: str, named: Collection[int] = ()
    ) -> None:
        """As `replace`."""
        self.slots: list[Unit] = []
        self.meant: list[int] = []
        """By unit id: the one that it means, itself but for 0 and 255."""
        self.known: list[bool] = []
        """By unit id: whether there is something."""
        self.broadcasts: list[tuple[tuple[int, ...], Unit]] = []
        """Who gets a broadcast of a serial client: each image, each forwarded line once; with the unit ids of ours that
        it stands for, all of which a client must be allowed to write."""
        self.lines: dict[int, tuple[int, ...]] = {}
        """Units of ours that lead to unit 0 of a forwarded line: the unit ids of ours that they stand for."""
        self.plans: dict[bytes, Plan] = {}
        self._views: WeakSet[View] = WeakSet()
        self.replace(units, default_unit, unknown_unit, named)

    def replace(
        self,
        units: Mapping[int, Unit],
        default_unit: int,
        unknown_unit: str,
        named: Collection[int] = (),
        lines: Mapping[int, tuple[int, ...]] | None = None,
    ) -> None:
        """From now on these answer. In place: every connection holds on to `slots` and `plans`.

        Unit ids 0 and 255 mean `default_unit` unless `named`, the keys of the configuration's `units`, has them.
        `lines`: see there.
        """
        absent: Unit = Absent(UNKNOWN_UNIT_CODES[unknown_unit])
        slots = [units.get(unit_id, absent) for unit_id in range(256)]
        meant = list(range(256))
        for unit_id in DIRECT_UNIT_IDS:
            if unit_id not in named:
                slots[unit_id] = slots[default_unit]
                meant[unit_id] = default_unit
        self.slots[:] = slots
        self.meant[:] = meant
        self.known[:] = [unit_id in units for unit_id in range(256)]
        self.lines = dict(lines or {})
        self.forget()
        for view in self._views:
            view.refresh()
        for bank in self.banks():
            bank.on_blocked = self.forget

    def banks(self) -> Iterable[Bank]:
        """The register images, each once."""
        return {id(unit): unit for unit in self.slots if isinstance(unit, Bank)}.values()

    def view(self, rights: Rights, counters: Counters) -> View:
        """The same units for those who have these rights. It goes when nobody holds it any more."""
        view = View(self, rights, counters)
        self._views.add(view)
        return view

    def forget(self) -> None:
        """No plan holds any more, neither here nor in the views."""
        self.plans.clear()
        for view in self._views:
            view.plans.clear()

    def remember(self, key: bytes, unit: Unit, pdu: bytes) -> None:
        """Keep a plan for the frame bytes 2..12 of a register read that `unit` has just answered."""
        _remember(self.plans, key, unit, pdu)


class View:
    """The units as some clients see them: a guard before each that the configuration has, and plans of their own."""

    __slots__ = ("__weakref__", "_counters", "_rights", "_units", "plans", "slots")

    def __init__(self, units: Units, rights: Rights, counters: Counters) -> None:
        self._units = units
        self._rights = rights
        self._counters = counters
        self.slots: list[Unit] = list(units.slots)
        self.plans: dict[bytes, Plan] = {}
        self.refresh()

    def refresh(self) -> None:
        """The units are others. In place; the guard before a unit that stays is the same: its lanes go on."""
        units = self._units
        before = {meant: unit for meant, unit in enumerate(self.slots) if isinstance(unit, Guard)}
        for unit_id, meant in enumerate(units.meant):
            unit = units.slots[meant]
            if units.known[meant]:  # one that is not there is the same nothing for all
                guard, line = before.get(meant), units.lines.get(meant, ())
                if guard is None or guard.unit is not unit or guard.stands_for != line:
                    guard = before[meant] = self._guard(meant, unit, line)
                unit = guard
            self.slots[unit_id] = unit

    def _guard(self, unit_id: int, unit: Unit, line: tuple[int, ...]) -> Guard:
        if line:
            return LineGuard(unit_id, unit, self._rights, self._counters, line)
        return Guard(unit_id, unit, self._rights, self._counters)

    def remember(self, key: bytes, unit: Unit, pdu: bytes) -> None:
        """As Units.remember; `unit` is the guard that let it pass."""
        _remember(self.plans, key, unit.unit if isinstance(unit, Guard) else unit, pdu)


def _remember(plans: dict[bytes, Plan], key: bytes, unit: Unit, pdu: bytes) -> None:
    standing = unit.standing(pdu) if isinstance(unit, Bank) else None
    if standing is None:
        return
    head, memory, start, stop = standing
    if len(plans) >= MAX_PLANS:
        plans.clear()
    size = 1 + len(head) + stop - start
    plans[key] = (b"\0\0" + size.to_bytes(2, "big") + key[4:5] + head, memory, start, stop)
