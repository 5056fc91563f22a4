"""Lines whose devices hang, forget and answer late, by chance and in virtual time: who is told what?

The rule: whoever is given an answer is given what his unit answered to just this request, asked after he had asked. So
no value of other registers or of before, and no write confirmed that was not executed. The devices know what they
answered to what; and most polls must be good where devices mostly are, so nothing is right by never answering. The
scenarios that follow are of units that are well again, or always were: how soon they are served is part of the rule.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import pytest

from gateway.errors import LinkError
from gateway.southbound.listening import MAX_LISTEN_S
from tests.support.virtual_line import PORT, STREAM, Device, Poll, VirtualLine, ask, play

SEEDS = range(13, 15)
"""Of each mode, on each way. With these the first version of `doubts` fails in `one`, `any` and `mixed`."""
SPAN_S = 300.0
"""Of each: half a second of ours."""
TIMEOUT_S = 1.0
SETTLED_S = 6.0
"""Behind a probe whose answer may be to an earlier request: one more question, or the longest that one waits for it."""

Random = random.Random


class Pace(NamedTuple):
    """How long a device takes for one request, by chance."""

    lost: float = 0.01
    """So often it never answers."""
    hangs: float = 0.02
    """So often it takes as many seconds as `hang` draws."""
    hang: Callable[[Random], float] = lambda rnd: rnd.uniform(0, 4)

    def takes(self, rnd: Random) -> float | None:
        drawn = rnd.random()
        if drawn < self.lost:
            return None
        return self.hang(rnd) if drawn < self.lost + self.hangs else rnd.uniform(0.001, 0.05)


def plain(rnd: Random, value: bytes) -> bytes:
    """What a client asks: reads, and writes of one register by two functions."""
    drawn = rnd.random()
    if drawn < 0.6:
        return bytes((3, 0, rnd.randrange(100), 0, 2))
    return b"\x06\0\x07" + value if drawn < 0.8 else b"\x10\0\x07\0\1\2" + value


def mixed(rnd: Random, value: bytes) -> bytes:
    """Any function, one that nobody knows too."""
    if rnd.random() < 0.7:
        return plain(rnd, value)
    others = (
        b"\x16\0\x07" + value + b"\0\1",
        b"\x05\0\1" + rnd.choice((b"\xff\0", b"\0\0")),
        b"\x0f\0\1\0\1\1\1",
        b"\x41" + value,
        b"\x04\0\5\0\2",
        b"\x01\0\5\0\7",
    )
    return rnd.choice(others)


class Mode(NamedTuple):
    pace: Pace = Pace()
    asks: Callable[[Random, bytes], bytes] = plain
    units: tuple[int, ...] = (1, 2, 3)
    refuse: tuple[int, ...] = (1,)
    """Half of what is read of them in other sizes than the polls'."""
    client_s: float = TIMEOUT_S
    """A client's time-out."""
    any_unit: bool = False
    """Unit 3 answers as 7, and its users accept that."""
    good: float = 0.7
    """At least this part of the time that is polled."""


MODES = {
    "plain": Mode(),
    "one": Mode(Pace(0.02, 0.05, lambda rnd: rnd.uniform(1, 3)), units=(1,), good=0.4),
    "short": Mode(Pace(0.0, 0.05, lambda rnd: rnd.uniform(0.5, 5.9)), client_s=0.2, good=0.1),
    "chaos": Mode(Pace(hang=lambda rnd: rnd.choice((2, 5, 11, 21, 40)) * rnd.random()), refuse=(1, 2, 3), good=0.1),
    "any": Mode(any_unit=True),
    "mixed": Mode(Pace(0.02, 0.2, lambda rnd: rnd.uniform(0.1, 1.8)), asks=mixed, client_s=0.2, good=0.1),
}


class Users:
    """Polls and a client of each unit of one line, and what they were told."""

    def __init__(self, mode: Mode, rnd: Random, line: VirtualLine) -> None:
        self.told: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.polled_s = self.good_s = 0.0
        """The time between two outcomes of each poll, and as much of it as ended with an answer."""
        self._mode, self._rnd, self._line, self._value = mode, rnd, line, 0
        for unit_id in mode.units:
            is_any = mode.any_unit and unit_id == 3
            device = Device(line, unit_id, answers_as=7 if is_any else None)
            device.takes = lambda: mode.pace.takes(rnd)
            if unit_id in mode.refuse:
                device.refuses = lambda pdu: pdu[0] == 3 and pdu[4] != 2 and rnd.random() < 0.5
            quirks = frozenset({"any_unit"}) if is_any else frozenset[str]()
            for address in (0, 10, 20):
                self._poll(device, bytes((3, 0, address, 0, 2)), quirks)
            line.keep(self._ask_on(device, quirks))

    def _poll(self, device: Device, pdu: bytes, quirks: frozenset[str]) -> None:
        since, heard_s = 0, 0.0

        def starts() -> None:
            nonlocal since
            since = device.asked

        def heard(answer: bytes | None, error: LinkError | None) -> None:
            nonlocal heard_s
            passed_s, heard_s = self._line.at_s - heard_s, self._line.at_s
            self.polled_s += passed_s
            self.good_s += passed_s if answer else 0.0
            self._judge("poll", device, pdu, since, answer or error)

        period_s = self._rnd.choice((0.02, 0.5, 1.0, 3.0))
        Poll(self._line, device.unit_id, pdu, period_s, timeout_s=TIMEOUT_S, quirks=quirks, starts=starts, heard=heard)

    async def _ask_on(self, device: Device, quirks: frozenset[str]) -> None:
        while True:
            await asyncio.sleep(self._rnd.expovariate(1))
            self._value += 1
            pdu, since = self._mode.asks(self._rnd, self._value.to_bytes(2, "big")), device.asked
            outcome = await ask(self._line.link, (device.unit_id, pdu), self._mode.client_s, quirks)
            self._judge(f"client {pdu[0]}", device, pdu, since, outcome)

    def _judge(self, who: str, device: Device, pdu: bytes, since: int, outcome: bytes | LinkError | None) -> None:
        if not isinstance(outcome, bytes):
            self.told[f"{who} {type(outcome).__name__}"] += 1
            return
        self.told[f"{who} good"] += 1
        if not device.gave(outcome, pdu, since):
            at = f"{self._line.at_s:.2f} s, unit {device.unit_id}"
            self.wrong.append(f"{at}: {pdu.hex()} was given {outcome.hex()}, asked when {since} had been")


@pytest.mark.parametrize("way", ["port", "stream"])
@pytest.mark.parametrize("name", MODES)
def test_nobody_is_given_the_answer_to_something_else(name: str, way: str) -> None:
    mode = MODES[name]
    for seed in SEEDS:

        async def scenario(seed: int = seed) -> tuple[Users, VirtualLine]:
            line = VirtualLine(PORT if way == "port" else STREAM)
            users = Users(mode, Random(seed), line)
            await line.run(SPAN_S)
            return users, line

        users, line = play(scenario)
        told, where = users.told, f"{name}, {way}, seed {seed}"
        assert not users.wrong, f"{where}: {len(users.wrong)} wrong answers, the first: {users.wrong[:3]}"
        assert not line.link.counters.faults, f"{where}: exceptions in the gateway"
        good = users.good_s / users.polled_s
        print(f"{where}: {good:.0%} good, {dict(told)}")
        assert good > mode.good, f"{where}: {good:.0%} good, {dict(told)}"
        assert told["client 3 good"], f"{where}: {dict(told)}"
        assert told["client 6 good"], f"{where}: {dict(told)}"


@pytest.mark.parametrize("off_s", [0.5, 3.0], ids=["one request lost", "demoted"])
@pytest.mark.parametrize("count", [1, 10])
def test_a_unit_that_was_away_is_soon_served_although_a_zero_comes_before_each_answer(count: int, off_s: float) -> None:
    """As the drivers of many two-wire lines make it; a unit of ten registers here refuses to be asked for less."""
    bound_s = 30.0

    async def scenario() -> list[float]:
        line = VirtualLine()
        pdu = bytes((3, 0, 0, 0, count))
        device, neighbour = Device(line, 1), Device(line, 2)
        device.is_off = lambda: 4.95 < line.at_s < 4.95 + off_s
        device.refuses = lambda asked: asked[4] != count
        device.glitch = neighbour.glitch = b"\0"
        poll, _ = Poll(line, 1, pdu, 1.0), Poll(line, 2, pdu, 1.0)
        await line.run(4.95 + off_s + 2 * bound_s)
        assert line.link.counters.timeouts, "nothing was lost"
        return [at_s - 4.95 - off_s for at_s in poll.good_s if at_s > 4.95 + off_s]

    back_s = play(scenario)
    print(f"{count} registers, off for {off_s:g} s: back after {back_s[:1]} s")
    assert back_s
    assert back_s[0] < bound_s
    assert max(b - a for a, b in itertools.pairwise(back_s)) < 2.0, "and it stays served"


@pytest.mark.parametrize("count", [1, 10])
def test_a_lone_unit_is_back_with_the_probe_that_is_next_when_it_has_power(count: int) -> None:
    """Whatever it was asked before; a unit of ten registers here refuses to be asked for less."""
    off_s, most_s = 60.0, 300.0

    async def scenario() -> tuple[float, float]:
        line = VirtualLine()
        device = Device(line, 1)
        device.is_off = lambda: 5.0 < line.at_s < 5.0 + off_s
        device.refuses = lambda asked: asked[4] != count
        poll = Poll(line, 1, bytes((3, 0, 0, 0, count)), 1.0)
        await line.run(5.0 + off_s)
        next_s: float = line.link.snapshot()["demoted"][0]["next_probe_s"]
        await line.run(most_s)
        return next_s, min((at_s - 5.0 - off_s for at_s in poll.good_s if at_s > 5.0 + off_s), default=most_s)

    next_s, back_s = play(scenario)
    print(f"{count} registers: back after {back_s:.1f} s, the next probe was due after {next_s:.1f} s")
    assert back_s < next_s + SETTLED_S


def test_thirty_dead_units_cost_a_healthy_one_a_time_out_and_never_two_in_a_row() -> None:
    period_s = 0.02

    async def scenario() -> list[float]:
        line = VirtualLine()
        Device(line, 1)
        healthy = Poll(line, 1, b"\3\0\0\0\2", period_s, timeout_s=TIMEOUT_S)
        for unit_id in range(50, 80):
            Poll(line, unit_id, b"\3\0\0\0\2", 1.0, timeout_s=TIMEOUT_S)
        await line.run(180.0)
        return healthy.good_s

    good_s = play(scenario)
    longest_s = max(b - a for a, b in itertools.pairwise(good_s))
    print(f"first answer after {good_s[0]:.2f} s, then at most {longest_s:.2f} s without, {len(good_s)} answers")
    assert longest_s < TIMEOUT_S + MAX_LISTEN_S + 5 * period_s, f"{longest_s:.2f} s"
