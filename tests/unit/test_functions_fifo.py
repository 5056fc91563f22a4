"""Queues behind function 24: what fills them, what empties them, what is never in them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bank import Bank, Span
from gateway.front.fifo import Queue, Queues
from gateway.interfaces import Unit
from gateway.modbus import spec
from gateway.modbus.spec import Table
from gateway.polling.sinks import RawPlace
from tests.support.core import build_units
from tests.support.wire import hexed

POINTER = 10


class Plant:
    """A queue of 3 at holding:10 that takes the changes of input:5, which a device fills."""

    def __init__(self, on_stale: str = "error", size: int = 3) -> None:
        self.bank = Bank({Table.HOLDING: [(0, 50)], Table.INPUT: [(0, 20)]})
        (polled, own) = self.bank.claim([(Table.INPUT, 4, 3), (Table.HOLDING, POINTER, 1 + size)])
        self.bank.unblock(own)
        self.raw = RawPlace(self.bank, polled, on_stale)
        self.span: Span = polled
        self.queue = Queue(self.bank, POINTER, size, self.bank, Table.INPUT, 5)
        self.queue.begin()
        self.bank.on_put = self.queue.placed
        self.bank.emptied = {POINTER: self.queue.empty}
        self.bank.serve(spec.READ_FIFO_QUEUE, Queues(self.bank, {POINTER: size}).answer)

    def poll(self, value: int) -> None:
        """The device has answered."""
        self.raw.stretches[0].take(bytes(2) + value.to_bytes(2, "big") + bytes(2))

    def ask(self, request: str) -> str:
        answer = self.bank.answer(hexed(request))
        assert isinstance(answer, bytes)
        return answer.hex()

    def queued(self) -> list[int]:
        """What function 24 tells, and 03 the same."""
        answer = self.ask("18 000A")
        count = int(answer[6:10], 16)
        assert int(answer[2:6], 16) == 2 + 2 * count
        assert self.ask(f"03 000A {1 + count:04x}")[4:] == answer[6:]
        return [int(answer[at : at + 4], 16) for at in range(10, len(answer), 4)]


def test_each_new_value_is_queued_oldest_first_and_a_full_queue_gives_the_oldest_away() -> None:
    plant = Plant()
    assert plant.queued() == []
    for value in (7, 7, 8, 7, 7):
        plant.poll(value)
    assert plant.queued() == [7, 8, 7]
    plant.poll(9)

    assert plant.queued() == [8, 7, 9]


@pytest.mark.parametrize("write", ["06 000A 0000", "10 000A 0001 02 0000"])
@pytest.mark.parametrize("place", [(Table.HOLDING, POINTER, 1), (Table.HOLDING, 0, 50)])
def test_one_that_is_read_only_is_emptied_by_nobody(write: str, place: tuple[Table, int, int]) -> None:
    plant = Plant()
    plant.poll(7)
    plant.bank.protect([place])
    assert plant.ask(write) == f"{int(write[:2], 16) | 0x80:02x}02"
    assert plant.queued() == [7]
    plant.bank.protect([(Table.INPUT, POINTER, 1), (Table.HOLDING, POINTER + 10, 1)])
    assert plant.ask(write)[:2] == write[:2]
    assert plant.queued() == []


@pytest.mark.parametrize("write", ["06 000A 0000", "10 000A 0001 02 0000"])
def test_a_client_empties_it_by_writing_0_to_the_count(write: str) -> None:
    plant = Plant()
    for value in (1, 2):
        plant.poll(value)
    assert plant.ask(write)[:2] == write[:2]

    assert plant.queued() == []
    plant.poll(2)
    assert plant.queued() == [], "no new value"
    plant.poll(3)
    assert plant.queued() == [3]


@pytest.mark.parametrize(
    "write",
    [
        "06 000A 0001",
        "06 000B 0000",
        "10 000A 0002 04 0000 0000",
        "10 000A 0001 02 0002",
        "10 0009 0002 04 0000 0000",
        "16 000A 0000 0000",
        "17 0000 0001 000A 0001 02 0000",
    ],
)
def test_nothing_else_may_be_written_to_it(write: str) -> None:
    plant = Plant()
    plant.poll(1)

    assert plant.ask(write)[2:] == "02"
    assert plant.queued() == [1]


@pytest.mark.parametrize("on_stale", ["error", "hold", "zero"])
def test_a_source_without_a_value_queues_nothing(on_stale: str) -> None:
    plant = Plant(on_stale)
    plant.raw.stretches[0].lose()
    assert plant.queued() == []
    plant.poll(5)
    plant.raw.stretches[0].lose()
    assert plant.queued() == [5]
    plant.poll(5)
    assert plant.queued() == [5], "after the outage it is what it was before"
    plant.raw.stretches[0].lose()
    plant.poll(6)

    assert plant.queued() == [5, 6]


def test_a_refused_source_queues_nothing() -> None:
    plant = Plant()
    plant.poll(5)
    plant.raw.stretches[0].refuse(2)

    assert plant.queued() == [5]


def test_single_bits_of_a_register_are_changes_of_it() -> None:
    plant = Plant()
    plant.bank.put_register_bit(Table.INPUT, 5, 3, True)
    plant.bank.put_register_bit(Table.INPUT, 5, 3, True)
    plant.bank.clear_register_bit(Table.INPUT, 5, 3)

    assert plant.queued() == [8]


def test_other_registers_and_tables_are_no_changes() -> None:
    plant = Plant()
    plant.bank.put_registers(Table.INPUT, 0, b"\1\1" * 5)
    plant.bank.put_registers(Table.INPUT, 6, b"\1\1")
    plant.bank.put_registers(Table.HOLDING, 5, b"\1\1")

    assert plant.queued() == []


@given(values=st.lists(st.integers(0, 3), max_size=60), size=st.integers(1, 31))
def test_it_holds_the_last_changes_in_their_order(values: Sequence[int], size: int) -> None:
    plant = Plant(size=size)
    book: deque[int] = deque(maxlen=size)
    last = None
    for value in values:
        plant.poll(value)
        if value != last:
            book.append(value)
        last = value

    assert plant.queued() == [*book]


# -- as it is configured --------------------------------------------------------------------------------------------

YAML = """
server: {listen: "tcp://127.0.0.1:0", default_unit: 1}
units:
  1:
    holding: 0..99
    initial: {"holding:50": 9, "holding:40": [2, 6, 7]}
    fifo:
      "holding:10": {from: 2/holding:3, size: 4}
      "holding:20": {from: "holding:50", size: 2}
      "holding:40": {size: 5}
  2: {holding: 0..9}
"""


@pytest.fixture
def units(tmp_path: Path) -> Sequence[Unit]:
    return build_units(YAML, tmp_path)


def ask(units: Sequence[Unit], request: str, unit: int = 1) -> str:
    answer = units[unit].answer(hexed(request))
    assert isinstance(answer, bytes)
    return answer.hex(" ", 2)


def test_what_clients_write_is_queued_too(units: Sequence[Unit]) -> None:
    for request in ("06 0003 0001", "10 0002 0003 06 0000 0002 0000", "16 0003 0000 0003", "06 0004 0008"):
        ask(units, request, unit=2)
    ask(units, "17 0000 0001 0003 0001 02 0004", unit=2)

    assert units[1].answer(hexed("18 000A")) == hexed("18 000A 0004 0001 0002 0003 0004")


def test_the_value_at_the_start_is_no_change(units: Sequence[Unit]) -> None:
    assert units[1].answer(hexed("18 0014")) == hexed("18 0002 0000")
    ask(units, "06 0032 0009")
    assert units[1].answer(hexed("18 0014")) == hexed("18 0002 0000")
    ask(units, "06 0032 000A")
    assert units[1].answer(hexed("18 0014")) == hexed("18 0004 0001 000A")


def test_a_queue_without_a_source_is_what_clients_write(units: Sequence[Unit]) -> None:
    assert units[1].answer(hexed("18 0028")) == hexed("18 0006 0002 0006 0007")
    ask(units, "10 0028 0002 04 0001 0005")
    assert units[1].answer(hexed("18 0028")) == hexed("18 0004 0001 0005")
    ask(units, "06 0028 0006")
    assert units[1].answer(hexed("18 0028")) == hexed("98 03"), "it has room for 5"


def test_only_a_unit_with_queues_has_the_function(units: Sequence[Unit]) -> None:
    assert units[2].answer(hexed("18 000A")) == hexed("98 01")
    assert units[1].answer(hexed("18 000B")) == hexed("98 02")
