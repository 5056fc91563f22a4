"""The status blocks in our image: claimed, and kept true with the seconds and with each change of a state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from gateway.bank import Bank, Span
from gateway.front.freshness import Freshness, Tick
from gateway.modbus.spec import Table
from gateway.places import Placement

Status = Callable[[float], bytes]
"""The registers of a block at a time on the freshness's clock."""


class _Shown(NamedTuple):
    tick: Tick
    unit_id: int
    span: Span


class Statuses:
    """By name: a device's, or our own."""

    def __init__(self, freshness: Freshness) -> None:
        self._freshness = freshness
        self._shown: dict[str, _Shown] = {}

    def add(self, wanted: Iterable[tuple[str, Placement, Status]], banks: Mapping[int, Bank]) -> None:
        """Claim these places, bank by bank, and keep them true."""
        by_unit: dict[int, list[tuple[str, Placement, Status]]] = {}
        for each in wanted:
            by_unit.setdefault(each[1].unit_id, []).append(each)
        for unit_id, blocks in by_unit.items():
            bank = banks[unit_id]
            spans = bank.claim([(place.table, place.first, place.count) for _, place, _ in blocks])
            for (name, place, status), span in zip(blocks, spans, strict=True):
                bank.unblock(span)
                tick = _tick(bank, place.first, status)
                self._shown[name] = _Shown(tick, unit_id, span)
                self._freshness.every_tick(tick)

    def remove(self, names: Iterable[str]) -> list[tuple[int, Span]]:
        """Show these no longer; (unit id, span) of each is to be given back."""
        gone = [self._shown.pop(name) for name in names]
        for shown in gone:
            self._freshness.forget_tick(shown.tick)
        return [(shown.unit_id, shown.span) for shown in gone]

    def touch(self, name: str) -> None:
        """What this block shows has changed: the next answer shows it. Nothing if there is no such block."""
        if (shown := self._shown.get(name)) is not None:
            self._freshness.touch(shown.tick)


def _tick(bank: Bank, first: int, status: Status) -> Tick:
    return lambda now_s: bank.put_registers(Table.INPUT, first, status(now_s))
