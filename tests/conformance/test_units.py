"""Which unit answers: 0 and 255 are the default unit unless named, an unknown one is answered as configured."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Start
from tests.support.core import build_units
from tests.support.wire import Wire, adu, hexed

READ = hexed("03 0000 0001")


def plant(server: str = "", more: str = "") -> str:
    return f"""
server: {{listen: "tcp://127.0.0.1:0", default_unit: 7{server}}}
units:
  1: {{holding: 0..9, initial: {{"holding:0": 1}}}}
  7: {{holding: 0..9, initial: {{"holding:0": 7}}}}
  247: {{holding: 0..9, initial: {{"holding:0": 247}}}}
{more}
"""


def register(answer: bytes | None) -> int:
    assert answer is not None
    assert answer[:2] == hexed("03 02"), answer.hex(" ")
    return int.from_bytes(answer[2:], "big")


@pytest.mark.parametrize(("unit", "value"), [(0, 7), (255, 7), (7, 7), (1, 1), (247, 247)])
def test_a_unit_id_reaches_its_unit(tmp_path: Path, unit: int, value: int) -> None:
    assert register(build_units(plant(), tmp_path)[unit].answer(READ)) == value


def test_a_unit_0_or_255_of_its_own_is_served_instead_of_the_default(tmp_path: Path) -> None:
    own = """
  0: {holding: 0..9, initial: {"holding:0": 1000}}
  255: {holding: 0..9, initial: {"holding:0": 1255}}
"""
    units = build_units(plant(more=own), tmp_path)

    assert [register(units[unit].answer(READ)) for unit in (0, 255, 7)] == [1000, 1255, 7]


@pytest.mark.parametrize(
    ("unknown_unit", "answers"),
    [("gateway_path", ["83 0A", "90 0A", "C1 0A"]), ("target_failed", ["83 0B", "90 0B", "C1 0B"])],
)
@pytest.mark.parametrize("unit", [2, 17, 246, 248, 254])
def test_an_unknown_unit_is_refused_whatever_is_asked(
    tmp_path: Path, unit: int, unknown_unit: str, answers: list[str]
) -> None:
    absent = build_units(plant(f", unknown_unit: {unknown_unit}"), tmp_path)[unit]

    given = [absent.answer(hexed(request)) for request in ("03 0000 0001", "10 0000", "41")]

    assert given == [hexed(answer) for answer in answers]


def test_an_unknown_unit_is_refused_with_0a_by_default(tmp_path: Path) -> None:
    assert build_units(plant(), tmp_path)[99].answer(READ) == hexed("83 0A")


def test_an_unknown_unit_is_silent_when_told_so(tmp_path: Path) -> None:
    assert build_units(plant(", unknown_unit: silent"), tmp_path)[99].answer(READ) is None


def test_the_answer_carries_the_unit_id_of_the_request(start: Start) -> None:
    with Wire(start(plant()).port) as wire:
        for _ in range(2):  # the second time may take a shorter way
            for unit, value in ((0, 7), (255, 7), (7, 7), (1, 1)):
                wire.send(adu(100 + unit, unit, READ))
                assert wire.receive_adu() == (100 + unit, 0, unit, hexed(f"03 02 {value:04X}"))
        wire.send(adu(9, 99, READ))
        assert wire.receive_adu() == (9, 0, 99, hexed("83 0A"))


def test_a_silent_unit_keeps_nobody_waiting(start: Start) -> None:
    with Wire(start(plant(", unknown_unit: silent")).port) as wire:
        wire.send(adu(1, 99, READ) + adu(2, 1, READ) + adu(3, 98, hexed("41")) + adu(4, 7, READ))

        assert wire.receive_adu() == (2, 0, 1, hexed("03 02 0001"))
        assert wire.receive_adu() == (4, 0, 7, hexed("03 02 0007"))
