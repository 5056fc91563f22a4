"""What a reload does to pushes and watchdogs, and what counts as written."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from gateway.app.blueprint import Blueprint
from gateway.app.sending import Sendings
from gateway.bank import Bank
from gateway.config.load import load
from gateway.modbus.spec import Table
from gateway.polling.wheel import Wheel
from gateway.southbound.link import Link
from gateway.writing.destination import Destination
from tests.support.fake import ManualTime
from tests.support.written import BookDevice, Bringer

H = Table.HOLDING

ONE = '{write: "holding:10", from: "1/holding:50", on: change}'
TWO = '{write: "holding:20", from: "1/holding:51", on: change}'
CYCLE = '{write: "holding:30", from: "2/holding:50", every: 1s}'
DOG = 'watchdog: {write: "holding:99", every: 1s}'


class FakeLink:
    """One that is up."""

    def __init__(self) -> None:
        self.up = True
        self.watchers: list[Any] = []

    def watch(self, unit_id: int, watcher: object) -> None:
        self.watchers.append(watcher)

    def unwatch(self, unit_id: int, watcher: object) -> None:
        self.watchers.remove(watcher)

    def silent(self, unit_id: int) -> bool:
        return False


class Plant:
    """Device b, whose sendings change; units 1 and 2, all registers written, each value its address."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "plant.yaml"
        self.time = ManualTime()
        self.wheel = Wheel(self.time)
        self.judged = 0
        self.device = BookDevice()
        self.link = FakeLink()
        self.destination = Destination("b", Bringer(self.device))
        self.banks = {unit_id: self.bank() for unit_id in (1, 2)}
        self.sendings = Sendings(self.wheel, self._judge)
        for unit_id in self.banks:
            self.sendings.written(unit_id).mark(H, 0, 100)
        self.sendings.start()

    @staticmethod
    def bank() -> Bank:
        bank = Bank({H: [(0, 100)]})
        for address in range(100):
            bank.put_registers(H, address, address.to_bytes(2, "big"))
        return bank

    def _judge(self) -> None:
        self.judged += 1

    def blueprint(self, *pushes: str, more: str = "", unit: str = "") -> Blueprint:
        lines = ["units:", f"  1: {{holding: 0..99{unit}}}", "  2: {holding: 0..99}"]
        lines += ["devices:", "  b:", "    url: tcp://127.0.0.1:5020"]
        lines += [f"    {more}", f"    push: [{', '.join(pushes)}]"]
        self._path.write_text("\n".join(lines), encoding="utf-8")
        return Blueprint(load(self._path))

    def change(self, *pushes: str, more: str = "", restarted: bool = False) -> None:
        plan = self.blueprint(*pushes, more=more).devices["b"]
        self.sendings.change("b", plan, self.destination, cast("Link", self.link), self.banks, restarted=restarted)

    def sent(self, seconds: float = 1.1) -> list[str]:
        """What the device was asked in that time, in order of addresses."""
        for _ in range(round(seconds * 100)):
            self.time.advance(0.01)
        return sorted(self.device.take(), key=lambda pdu: pdu[2:6])


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return Plant(tmp_path)


P1, P2, P3 = "06000a0032", "0600140033", "06001e0032"


def dog(count: int) -> str:
    return f"060063{count:04x}"


def test_what_a_reload_did_not_change_is_not_sent_again_and_a_watchdog_counts_on(plant: Plant) -> None:
    plant.change(ONE, CYCLE, more=DOG)
    assert plant.sent(2.0) == [P1, P3, P3, dog(0), dog(1)]
    for number in range(10):
        plant.change(ONE, CYCLE, more=DOG)
        assert plant.sent(1.0) == [P3, dog(number + 2)]
    assert len(plant.link.watchers) == 1
    assert plant.judged


def test_of_a_device_only_what_is_new_is_sent_and_only_what_is_gone_ends(plant: Plant) -> None:
    plant.change(ONE, more=DOG)
    assert plant.sent(1.0) == [P1, dog(0)]
    plant.change(TWO, ONE, more=DOG)
    assert plant.sent(1.0) == [P2, dog(1)]
    plant.change(TWO, more=DOG)
    assert plant.sent(1.0) == [dog(2)]
    for at in (50, 51):
        plant.banks[1].put_registers(H, at, b"\0\1")
    assert plant.sent(1.0) == ["0600140001", dog(3)]
    plant.change(TWO, more='watchdog: {write: "holding:98", every: 1s}')
    assert plant.sent(1.0) == ["0600620000"]
    plant.change(TWO)
    assert plant.sent() == []
    assert len(plant.link.watchers) == 1
    plant.change()
    assert plant.link.watchers == []
    plant.change(TWO)
    assert plant.sent() == ["0600140001"], "a push that was away does not know what the device has"


def test_how_one_register_is_written_may_change_under_a_push(plant: Plant) -> None:
    plant.change(ONE, CYCLE, more=DOG)
    assert plant.sent(1.0) == [P1, P3, dog(0)]
    plant.destination.force_multiple = True
    plant.change(ONE, CYCLE, more=DOG + "\n    force_multiple: true")
    assert plant.sent(1.0) == ["10001e0001020032", "1000630001020001"]


def test_a_device_that_was_restarted_is_sent_everything_anew(plant: Plant) -> None:
    plant.change(ONE, more=DOG)
    plant.sent(1.0)
    before, plant.link = plant.link, FakeLink()
    old, plant.device = plant.device, BookDevice()
    plant.destination = Destination("b", Bringer(plant.device))
    plant.change(ONE, more=DOG, restarted=True)
    assert plant.sent(1.0) == [P1, dog(0)]
    assert before.watchers == old.take() == []
    assert len(plant.link.watchers) == 1


def test_another_image_under_the_same_unit_is_another_source(plant: Plant) -> None:
    plant.change(ONE, CYCLE)
    plant.sent(1.0)
    plant.banks[1] = plant.bank()
    plant.banks[1].put_registers(H, 50, b"\0\1")
    plant.change(ONE, CYCLE)
    assert plant.sent(1.0) == ["06000a0001", P3]


def test_a_closed_device_is_sent_nothing(plant: Plant) -> None:
    plant.change(ONE, CYCLE, more=DOG)
    plant.sendings.close("b")
    plant.sendings.close("b")
    assert plant.sent() == []
    assert plant.link.watchers == []


def test_before_the_start_there_are_no_turns(plant: Plant) -> None:
    plant.sendings = Sendings(plant.wheel, plant._judge)
    plant.sendings.written(1).mark(H, 0, 100)
    plant.change(ONE, more=DOG)
    assert plant.sent() == []
    plant.sendings.start()
    assert plant.sent(1.0) == [P1, dog(0)]


def test_a_link_that_comes_back_is_told_to_every_push(plant: Plant) -> None:
    plant.device.refuses = {6: 4}
    plant.change(ONE)
    assert plant.sent() == [P1]
    plant.device.refuses = {}
    (watcher,) = plant.link.watchers
    watcher.link_changed()
    assert plant.device.take() == [P1]


def test_an_edited_time_or_source_is_another_push(plant: Plant) -> None:
    plant.change(ONE)
    plant.sent()
    plant.change(ONE.replace(":50", ":51"))
    assert plant.sent() == ["06000a0033"]


# -- what has a value ---------------------------------------------------------------------------------------------


def test_only_what_clients_wrote_or_was_put_back_is_given(plant: Plant) -> None:
    sendings = plant.sendings
    assert sendings.given(1, H, 0, 100) == [], "`initial` is in the configuration"
    sendings.restored(1, H, 5, 2)
    hook = sendings.hook(1, plant.blueprint(ONE))
    assert hook is not None
    hook(H, 7, 1)
    hook(H, 20, 1)
    assert sendings.given(1, H, 0, 100) == [(5, 8), (20, 21)]
    assert sendings.given(1, H, 6, 20) == [(6, 8)]
    assert sendings.given(2, H, 0, 100) == sendings.given(3, H, 0, 100) == []
    sendings.keep(1, {H: [(0, 100)]}, {H: [(0, 7)]})
    assert sendings.given(1, H, 0, 100) == [(5, 7)]


@pytest.mark.parametrize(
    ("pushes", "unit", "hooked"),
    [([], "", []), ([ONE], "", [1]), ([CYCLE], "", [2]), ([], ", retain: true", [1])],
)
def test_who_wants_to_hear_of_clients_writes(plant: Plant, pushes: list[str], unit: str, hooked: list[int]) -> None:
    blueprint = plant.blueprint(*pushes, unit=unit)
    assert [unit_id for unit_id in (1, 2) if plant.sendings.hook(unit_id, blueprint) is not None] == hooked
