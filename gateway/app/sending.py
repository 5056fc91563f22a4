"""What devices are sent on our own account: pushes and watchdogs, with their turns and what they must hear of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from gateway.app.blueprint import Blueprint, DevicePlan
from gateway.bank import Bank
from gateway.modbus.spec import Table
from gateway.polling.wheel import Turn, Wheel
from gateway.southbound.link import Link
from gateway.writing.destination import Destination
from gateway.writing.push import CHECK_S, Push, Watchdog, Written

Hook = Callable[[Table, int, int], None]


class _Sending:
    """Of one device; a Watcher of its link."""

    def __init__(self, link: Link, unit_id: int) -> None:
        self.pushes: list[Push] = []
        self.turns: list[Turn] = []
        self.watchdog: Watchdog | None = None
        self.link = link
        self.unit_id = unit_id

    def link_changed(self) -> None:
        up = self.link.up and not self.link.silent(self.unit_id)
        for push in self.pushes:
            push.link_changed(up)

    def probe(self) -> None:
        """Writes are no probes."""


class Sendings:
    """Of all devices, by name."""

    def __init__(self, wheel: Wheel) -> None:
        self._wheel = wheel
        self._by_device: dict[str, _Sending] = {}
        self._written: dict[int, Written] = {}
        """What of each unit's own registers has been given a value."""
        self._started = False

    def start(self) -> None:
        """From now on there are turns."""
        self._started = True
        for sending in self._by_device.values():
            for turn in sending.turns:
                self._wheel.add(turn)

    def open(
        self, name: str, plan: DevicePlan, destination: Destination, link: Link, banks: Mapping[int, Bank]
    ) -> None:
        """Everything that device `name` is sent."""
        if not plan.pushes and plan.watchdog is None:
            return
        sending = self._by_device[name] = _Sending(link, plan.unit_id)
        for push_plan in plan.pushes:
            push, source = push_plan.push, push_plan.push.from_.address
            live = Push(
                banks[push_plan.source_unit],
                source.table,
                source.first,
                push.write.count,
                self.written(push_plan.source_unit),
                destination,
                push.write.table,
                push.write.first,
                on_change=push.on == "change",
                has_cycle=push.every_s is not None,
                soon=_soon,
            )
            sending.pushes.append(live)
            if push.on == "change":
                sending.turns.append(Turn(CHECK_S, live.check))
            if push.every_s is not None:
                sending.turns.append(Turn(push.every_s, live.tick))
        if plan.watchdog is not None:
            sending.watchdog = Watchdog(destination, plan.watchdog.write.first)
            sending.turns.append(Turn(plan.watchdog.every_s, sending.watchdog.tick))
        link.watch(plan.unit_id, sending)
        if self._started:
            for turn in sending.turns:
                self._wheel.add(turn)

    def close(self, name: str) -> None:
        """Nothing more for this device."""
        sending = self._by_device.pop(name, None)
        if sending is None:
            return
        sending.link.unwatch(sending.unit_id, sending)
        for turn in sending.turns:
            self._wheel.drop(turn)
        for outlet in (*sending.pushes, *([sending.watchdog] if sending.watchdog else [])):
            outlet.close()

    def written(self, unit_id: int) -> Written:
        """What of a unit's own registers has a value."""
        return self._written.setdefault(unit_id, Written())

    def keep(self, unit_id: int, *ranges: Mapping[Table, list[tuple[int, int]]]) -> None:
        """What of a unit has been given a value keeps it only where it was ours before and is now."""
        if (written := self._written.get(unit_id)) is not None:
            for each in ranges:
                written.keep(each)

    def hook(self, unit_id: int, blueprint: Blueprint) -> Hook | None:
        """Who wants to hear of clients' writes to this unit; None: nobody."""
        pushed = any(
            push.source_unit == unit_id for plan in blueprint.devices.values() for push in plan.pushes if plan.link
        )
        return self.written(unit_id).note if pushed else None


def _soon(callback: Callable[[], object]) -> object:
    return asyncio.get_running_loop().call_soon(callback)
