"""Who answers for each unit id: 256 slots, every one filled, and the standing answers.

A register read that was answered once is remembered as a plan (where its bytes lie), by the bytes that follow the
transaction id. The next client that asks the same gets prefix and slice without a look at unit, function or range. A
plan holds until some part of the image loses its value: then all are forgotten, which is cheap because it is rare.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from gateway.bank import Bank
from gateway.interfaces import Plan, Unit
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


class Units:
    """The slots and plans that every connection serves from."""

    __slots__ = ("known", "meant", "plans", "slots")

    def __init__(
        self, units: Mapping[int, Unit], default_unit: int, unknown_unit: str, named: Collection[int] = ()
    ) -> None:
        """As `replace`."""
        self.slots: list[Unit] = []
        self.meant: list[int] = []
        """By unit id: the one that it means, itself but for 0 and 255."""
        self.known: list[bool] = []
        """By unit id: whether there is something."""
        self.plans: dict[bytes, Plan] = {}
        self.replace(units, default_unit, unknown_unit, named)

    def replace(
        self, units: Mapping[int, Unit], default_unit: int, unknown_unit: str, named: Collection[int] = ()
    ) -> None:
        """From now on these answer. In place: every connection holds on to `slots` and `plans`.

        Unit ids 0 and 255 mean `default_unit` unless `named`, the keys of the configuration's `units`, has them.
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
        self.plans.clear()
        for bank in self.banks():
            bank.on_blocked = self.plans.clear

    def banks(self) -> Iterable[Bank]:
        """The register images, each once."""
        return {id(unit): unit for unit in self.slots if isinstance(unit, Bank)}.values()

    def remember(self, key: bytes, unit: Unit, pdu: bytes) -> None:
        """Keep a plan for the frame bytes 2..12 of a register read that `unit` has just answered."""
        standing = unit.standing(pdu) if isinstance(unit, Bank) else None
        if standing is None:
            return
        head, memory, start, stop = standing
        if len(self.plans) >= MAX_PLANS:
            self.plans.clear()
        size = 1 + len(head) + stop - start
        self.plans[key] = (b"\0\0" + size.to_bytes(2, "big") + key[4:5] + head, memory, start, stop)
