"""Units that do not answer behind a link that lives: demoted, probed, restored; their neighbours hardly notice."""

from __future__ import annotations

import functools
from itertools import pairwise

import pytest

from gateway.errors import LinkBusy, LinkError, RequestTimeout, UnitSilent
from gateway.interfaces import Priority, Request
from gateway.southbound.link import Link
from gateway.southbound.queues import MAX_ASKED
from gateway.southbound.seams import Carrier, Owner, Settings
from gateway.southbound.silence import FIRST_PROBE_S, LINK_REST, MAX_PROBE_S, MIN_PROBE_WAIT_S
from tests.support.fake import ManualTime, RecordingCarrier

READ = bytes.fromhex("0300000001")
ANSWER = bytes.fromhex("03020007")


class Unit:
    """One unit behind the link: polled on demand, told of changes."""

    def __init__(self, plant: Plant, unit_id: int, timeout_s: float = 1.0) -> None:
        self.plant = plant
        self.results: list[bytes | LinkError | None] = []
        self.changes = 0
        self.can_probe = True
        self.request = Request(unit_id, READ, timeout_s, 0, self._done)
        plant.link.watch(unit_id, self)

    def poll(self) -> None:
        if not self.request.out:
            self.plant.link.submit(self.request)

    def link_changed(self) -> None:
        self.changes += 1

    def probe(self) -> None:
        self.poll()

    def _done(self, answer: bytes | None, error: LinkError | None) -> None:
        self.results.append(answer if error is None else error)


class Plant:
    """A bridge whose `dead` units are silent; everything else answers after `delay_s`."""

    def __init__(self, delay_s: float = 0.01) -> None:
        self.time = ManualTime()
        self.carrier = RecordingCarrier()
        self.delay_s = delay_s
        self.dead: set[int] = set()
        self.refusing: set[int] = set()
        """Units for which the bridge itself answers 0B."""
        self.asked: list[tuple[float, int]] = []
        self.link = Link("bridge", self._never, Settings(), self.time, clock=self.time.time)
        self.link.connected(self.carrier)

    async def _never(self, owner: Owner) -> Carrier:
        raise AssertionError("no test dials")

    def run(self, seconds: float) -> None:
        """Let time pass; the bridge answers."""
        until_s = self.time.now_s + seconds
        while self.time.now_s < until_s - 1e-9:
            data = self.carrier.take()
            if data:
                tid, unit_id = data[:2], data[6]
                self.asked.append((self.time.now_s, unit_id))
                if unit_id not in self.dead:
                    pdu = b"\x83\x0b" if unit_id in self.refusing else ANSWER
                    answer = functools.partial(self._answer, tid, unit_id, pdu)
                    self.time.call_at(self.time.now_s + self.delay_s, answer)
            self.time.advance(0.005)
            if self.carrier.closed:
                self.carrier = RecordingCarrier()
                self.link.connected(self.carrier)

    def _answer(self, tid: bytes, unit_id: int, pdu: bytes) -> None:
        self.link.received([(int.from_bytes(tid, "big"), unit_id, pdu)])

    def times(self, unit_id: int) -> list[float]:
        return [at for at, asked in self.asked if asked == unit_id]


def demoted(plant: Plant, unit: Unit, neighbour: Unit) -> None:
    while not plant.link.silent(unit.request.unit_id):
        unit.poll()
        neighbour.poll()
        plant.run(1.1)


@pytest.mark.parametrize("by_exception", [False, True])
def test_a_unit_silent_three_times_is_left_alone_and_its_requests_fail_at_once(by_exception: bool) -> None:
    plant = Plant()
    (plant.refusing if by_exception else plant.dead).add(5)
    unit, neighbour = Unit(plant, 5), Unit(plant, 6)
    demoted(plant, unit, neighbour)
    assert len(plant.times(5)) == 3
    assert unit.changes == 1
    unit.poll()
    assert isinstance(unit.results[-1], UnitSilent)
    write = Request(5, bytes.fromhex("0600000001"), 1.0, 0, unit._done, priority=Priority.WRITE)
    plant.link.submit(write)
    assert isinstance(unit.results[-1], UnitSilent)
    assert write.attempts == 0
    neighbour.poll()
    plant.run(0.1)
    assert neighbour.results[-1] == ANSWER
    assert len(plant.times(5)) == 3


def test_probes_come_after_ten_seconds_doubling_to_five_minutes_and_the_first_answer_restores() -> None:
    plant = Plant()
    plant.dead.add(5)
    unit, neighbour = Unit(plant, 5), Unit(plant, 6)
    demoted(plant, unit, neighbour)
    start_s = plant.times(5)[-1]
    plant.run(1500.0)
    gaps = [b - a for a, b in pairwise([start_s, *plant.times(5)[3:]])]
    assert gaps[0] == pytest.approx(FIRST_PROBE_S, abs=2.5)
    assert gaps[1] == pytest.approx(2 * FIRST_PROBE_S, abs=2.5)
    assert max(gaps) == pytest.approx(MAX_PROBE_S, abs=2.5)
    plant.dead.clear()
    plant.run(MAX_PROBE_S + 5.0)
    assert unit.results[-1] == ANSWER
    assert not plant.link.silent(5)
    assert unit.changes == 2


def test_a_probe_waits_a_few_times_the_slowest_answer_and_every_fourth_its_whole_time_out() -> None:
    plant = Plant()
    plant.dead.add(5)
    unit, neighbour = Unit(plant, 5), Unit(plant, 6)
    demoted(plant, unit, neighbour)
    waits = []
    for _ in range(4):
        count = len(unit.results)
        plant.run(MAX_PROBE_S + 0.5)
        waits += [str(result) for result in unit.results[count:] if isinstance(result, RequestTimeout)]
    seconds = [float(text.split()[3]) for text in waits]
    assert MIN_PROBE_WAIT_S <= seconds[0] < 0.25
    assert seconds[3] == pytest.approx(1.0, abs=0.01)


def test_probes_of_many_silent_units_do_not_follow_each_other_closely() -> None:
    plant = Plant()
    neighbour = Unit(plant, 100)
    units = [Unit(plant, number) for number in range(1, 7)]
    plant.dead.update(range(1, 7))
    for _ in range(3):
        for unit in units:
            unit.poll()
        neighbour.poll()
        plant.run(7.0)
    assert all(plant.link.silent(number) for number in range(1, 7))
    begin = len(plant.asked)
    plant.run(120.0)
    probes = [at for at, unit_id in plant.asked[begin:] if unit_id != 100]
    assert {unit_id for _, unit_id in plant.asked[begin:]} >= set(range(1, 7))
    assert min(b - a for a, b in pairwise(probes)) >= LINK_REST * MIN_PROBE_WAIT_S - 0.01


def test_a_new_connection_is_a_new_chance_for_a_silent_unit() -> None:
    plant = Plant()
    plant.dead.add(5)
    unit, neighbour = Unit(plant, 5), Unit(plant, 6)
    demoted(plant, unit, neighbour)
    plant.dead.clear()
    plant.link.broken("test")
    plant.run(0.1)
    assert unit.results[-1] == ANSWER


def test_good_answers_in_between_keep_a_unit_that_refuses_one_block_with_0b() -> None:
    plant = Plant()
    unit = Unit(plant, 5)
    for _ in range(6):
        plant.refusing = {5}
        unit.poll()
        plant.run(0.1)
        plant.refusing = set()
        unit.poll()
        plant.run(0.1)
    assert not plant.link.silent(5)


def test_a_unit_that_nobody_can_ask_by_himself_is_probed_by_the_next_request_a_write_too() -> None:
    plant = Plant()
    plant.dead.add(5)
    unit, neighbour = Unit(plant, 5), Unit(plant, 6)
    unit.can_probe = False
    demoted(plant, unit, neighbour)
    plant.dead.clear()
    plant.run(FIRST_PROBE_S + 1.0)
    assert len(plant.times(5)) == 3, "nobody asked"
    write = Request(5, bytes.fromhex("0300000001"), 1.0, 0, unit._done, priority=Priority.WRITE)
    plant.link.submit(write)
    plant.run(0.1)
    assert unit.results[-1] == ANSWER
    assert not plant.link.silent(5)


def test_a_probe_that_finds_no_place_in_the_queue_does_not_end_all_probes() -> None:
    plant = Plant()
    plant.dead.add(5)
    unit, neighbour = Unit(plant, 5), Unit(plant, 6)
    demoted(plant, unit, neighbour)
    unit.can_probe = False
    plant.time.now_s += FIRST_PROBE_S + 60.0
    told: list[LinkError | None] = []
    for _ in range(MAX_ASKED + 1):
        request = Request(6, READ, 1.0, 0, lambda answer, error: None, priority=Priority.ASK)
        plant.link.submit(request)
    probe = Request(5, READ, 1.0, 0, lambda answer, error: told.append(error), priority=Priority.ASK)
    plant.link.submit(probe)
    assert isinstance(told[0], LinkBusy)
    plant.dead.clear()
    plant.run(60.0)
    plant.link.submit(probe)
    plant.run(0.1)
    assert told[1:] == [None]


def test_the_slowest_answer_is_not_forgotten_by_the_polls_of_neighbours() -> None:
    plant = Plant(delay_s=0.05)
    plant.dead.add(5)
    unit, neighbour = Unit(plant, 5), Unit(plant, 6)
    demoted(plant, unit, neighbour)
    slowest_s = plant.link.slowest_s
    plant.delay_s = 0.0
    for _ in range(50):
        neighbour.poll()
        plant.run(0.02)
    assert plant.link.slowest_s == slowest_s
