"""What devices are sent on our own account: pushes and watchdogs, with their turns and what they must hear of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import NamedTuple

from gateway.app.blueprint import Blueprint, DevicePlan, PushPlan
from gateway.bank import Bank
from gateway.config.model_devices import Watchdog as WatchdogConfig
from gateway.modbus.spec import Table
from gateway.polling.wheel import Turn, Wheel
from gateway.southbound.link import Link
from gateway.writing.destination import Destination
from gateway.writing.push import CHECK_S, Push, Watchdog, Written

Hook = Callable[[Table, int, int], None]


class _LivePush(NamedTuple):
    push: Push
    bank: Bank
    turns: list[Turn]


class _LiveWatchdog(NamedTuple):
    watchdog: Watchdog
    config: WatchdogConfig
    turn: Turn


class _Sending:
    """Of one device; a Watcher of its link."""

    def __init__(self, link: Link, unit_id: int) -> None:
        self.pushes: dict[PushPlan, _LivePush] = {}
        """The same plan is the same push: what it has sent counts on. How it is sent its destination says each time."""
        self.watchdog: _LiveWatchdog | None = None
        self.link = link
        self.unit_id = unit_id

    def turns(self) -> list[Turn]:
        """All of them."""
        turns = [turn for live in self.pushes.values() for turn in live.turns]
        return turns if self.watchdog is None else [*turns, self.watchdog.turn]

    def link_changed(self) -> None:
        up = self.link.up and not self.link.silent(self.unit_id)
        for live in list(self.pushes.values()):
            live.push.link_changed(up)

    @property
    def can_probe(self) -> bool:
        """Writes are no probes."""
        return False

    def probe(self) -> None:
        """Never called."""


class Sendings:
    """Of all devices, by name."""

    def __init__(self, wheel: Wheel, judge: Callable[[], None]) -> None:
        """`judge()`: what is old is told; called before our image is sent."""
        self._wheel = wheel
        self._judge = judge
        self._by_device: dict[str, _Sending] = {}
        self._written: dict[int, Written] = {}
        """What of each unit's own registers has been given a value."""
        self._started = False

    # -- what is sent -------------------------------------------------------------------------------------------

    def start(self) -> None:
        """From now on there are turns."""
        self._started = True
        for sending in self._by_device.values():
            for turn in sending.turns():
                self._wheel.add(turn)

    def change(
        self,
        name: str,
        plan: DevicePlan,
        destination: Destination,
        link: Link,
        banks: Mapping[int, Bank],
        *,
        restarted: bool,
    ) -> None:
        """From now on device `name` is sent what `plan` says. What it was sent before and is sent now goes on as it is,
        unless the device was `restarted`: `destination` or `link` are others."""
        if restarted or not (plan.pushes or plan.watchdog is not None):
            self.close(name)
        if not (plan.pushes or plan.watchdog is not None):
            return
        sending = self._by_device.get(name)
        if sending is None:
            sending = self._by_device[name] = _Sending(link, plan.unit_id)
            link.watch(plan.unit_id, sending)
        self._change_pushes(sending, plan.pushes, destination, banks)
        self._change_watchdog(sending, plan.watchdog, destination)

    def close(self, name: str) -> None:
        """Nothing more for this device."""
        sending = self._by_device.pop(name, None)
        if sending is None:
            return
        sending.link.unwatch(sending.unit_id, sending)
        for live in sending.pushes.values():
            self._end(live.push, live.turns)
        if sending.watchdog is not None:
            self._end(sending.watchdog.watchdog, [sending.watchdog.turn])

    def _change_pushes(
        self, sending: _Sending, plans: tuple[PushPlan, ...], destination: Destination, banks: Mapping[int, Bank]
    ) -> None:
        wanted = dict.fromkeys(plans)
        for plan, live in list(sending.pushes.items()):
            if plan not in wanted or live.bank is not banks[plan.source_unit]:
                self._end(live.push, live.turns)
                del sending.pushes[plan]
        for plan in wanted:
            if plan not in sending.pushes:
                sending.pushes[plan] = self._push(plan, destination, banks[plan.source_unit])

    def _push(self, plan: PushPlan, destination: Destination, bank: Bank) -> _LivePush:
        config, source = plan.push, plan.push.from_.address
        push = Push(
            bank,
            source.table,
            source.first,
            config.write.count,
            self.written(plan.source_unit),
            destination,
            config.write.table,
            config.write.first,
            on_change=config.on == "change",
            has_cycle=config.every_s is not None,
            soon=_soon,
            judge=self._judge,
        )
        live = _LivePush(push, bank, [])
        if config.on == "change":
            live.turns.append(self._turn(CHECK_S, push.check))
        if config.every_s is not None:
            live.turns.append(self._turn(config.every_s, push.tick))
        return live

    def _change_watchdog(self, sending: _Sending, wanted: WatchdogConfig | None, destination: Destination) -> None:
        live = sending.watchdog
        if (live.config if live is not None else None) == wanted:
            return
        if live is not None:
            self._end(live.watchdog, [live.turn])
            sending.watchdog = None
        if wanted is not None:
            watchdog = Watchdog(destination, wanted.write.first)
            sending.watchdog = _LiveWatchdog(watchdog, wanted, self._turn(wanted.every_s, watchdog.tick))

    def _turn(self, period_s: float, run: Callable[[], bool]) -> Turn:
        turn = Turn(period_s, run)
        if self._started:
            self._wheel.add(turn)
        return turn

    def _end(self, outlet: Push | Watchdog, turns: list[Turn]) -> None:
        for turn in turns:
            self._wheel.drop(turn)
        outlet.close()

    # -- what has a value ---------------------------------------------------------------------------------------

    def written(self, unit_id: int) -> Written:
        """What of a unit's own registers has a value."""
        return self._written.setdefault(unit_id, Written())

    def keep(self, unit_id: int, *ranges: Mapping[Table, list[tuple[int, int]]]) -> None:
        """What of a unit has been given a value keeps it only where it was ours before and is now."""
        if (written := self._written.get(unit_id)) is not None:
            for each in ranges:
                written.keep(each)

    def restored(self, unit_id: int, table: Table, first: int, count: int) -> None:
        """This was written by a client before the start, and put back: it counts, and is kept again."""
        self.written(unit_id).mark(table, first, count, kept=True)

    def given(self, unit_id: int, table: Table, first: int, stop: int) -> list[tuple[int, int]]:
        """The (first, stop) parts of this range that clients wrote, now or before the start."""
        written = self._written.get(unit_id)
        return [] if written is None else written.kept(table, first, stop)

    def hook(self, unit_id: int, blueprint: Blueprint) -> Hook | None:
        """Who wants to hear of clients' writes to this unit: its pushes, and what is retained of it; None: nobody."""
        pushed = any(
            push.source_unit == unit_id for plan in blueprint.devices.values() for push in plan.pushes if plan.link
        )
        return self.written(unit_id).note if pushed or blueprint.units[unit_id].retain else None


def _soon(callback: Callable[[], object]) -> object:
    return asyncio.get_running_loop().call_soon(callback)
