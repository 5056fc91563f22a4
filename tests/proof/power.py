"""Kill -9 in a loop while retained registers and files are written: what was acknowledged is there, nothing is damaged.

A client writes ever greater numbers: a block of registers, a single one, coils, and records of a file (function 21).
The kill comes at any moment, sometimes while the gateway is starting. The next start must read back every number that
was acknowledged longer ago than the snapshot interval, whole (a block has one number), and find no damaged file.

A kill leaves what the system was given; what a failing disk or a dying power supply does beyond that, `state.snapshots`
answers with its checksums, and its tests.

Run from the repository root: python -m tests.proof.power --help
"""

from __future__ import annotations

import random
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.proof import harness
from tests.proof.harness import Report
from tests.support.process import Running
from tests.support.wire import Wire

KILLS = 200
MAX_KILLS_OF_A_LANE = 300
"""Numbers have 16 bits, and a life writes up to some two hundred."""
INTERVAL_S = 1.0
"""What the gateway promises: a snapshot each second while something changes (state.keeper)."""
LANES = 2
"""Gateways at the same time, each with a state directory of its own."""
DISK_S = 0.5
"""What the disk may take for a snapshot, on a machine that does other things, too."""
MAX_LIFE_S = 2.5
"""From listening to the kill."""
EARLY = 0.1
"""Share of the kills that come while it starts."""
START_S = 0.6
BLOCK = 100
RECORDS = 100
FILE = 4

PLANT = """
server: {listen: "tcp://127.0.0.1:0"}
units: {1: {holding: 0..999, coils: 0..99, retain: true, files: {4: {records: 1000}}}}
"""
DAMAGE = r"(ERROR|WARNING) .*(retained|file|state)"


class Place(NamedTuple):
    """Something that is written as a whole with one number, and read back."""

    name: str
    write: Callable[[int], bytes]
    read: bytes
    numbers: Callable[[bytes], tuple[int, ...]]
    """All that an answer has: one and the same, or it is torn."""


def _registers(answer: bytes) -> tuple[int, ...]:
    return struct.unpack(f">{len(answer[2:]) // 2}H", answer[2:])


def _record_write(number: int) -> bytes:
    data = struct.pack(">BHHH", 6, FILE, 0, RECORDS) + number.to_bytes(2, "big") * RECORDS
    return bytes((21, len(data))) + data


def _records(answer: bytes) -> tuple[int, ...]:
    return struct.unpack(f">{len(answer[4:]) // 2}H", answer[4:])


PLACES = (
    Place(
        "block of registers",
        lambda number: struct.pack(">BHHB", 16, 0, BLOCK, 2 * BLOCK) + number.to_bytes(2, "big") * BLOCK,
        struct.pack(">BHH", 3, 0, BLOCK),
        _registers,
    ),
    Place("register", lambda n: struct.pack(">BHH", 6, 900, n), struct.pack(">BHH", 3, 900, 1), _registers),
    Place(
        "coils",
        lambda number: struct.pack(">BHHBH", 15, 0, 16, 2, number),
        struct.pack(">BHH", 1, 0, 16),
        _registers,
    ),
    Place("file of records", _record_write, struct.pack(">BBBHHH", 20, 7, 6, FILE, 0, RECORDS), _records),
)


class Tally:
    def __init__(self) -> None:
        self.kills = 0
        self.early = 0
        self.acknowledged = 0
        self.lost: list[str] = []
        self.torn: list[str] = []
        self.damaged: list[str] = []
        self.bugs: list[str] = []
        self.longest_lost_s = 0.0
        """How long before the kill the oldest acknowledged write that is not there was made."""
        self.lock = threading.Lock()


class Lane:
    """One state directory through many lives."""

    def __init__(self, directory: Path, seed: str, tally: Tally) -> None:
        self._directory = directory
        self._random = random.Random(seed)
        self._tally = tally
        self._number = 0
        self._sent = dict.fromkeys(PLACES, 0)
        self._acked: dict[Place, list[tuple[int, float]]] = {place: [] for place in PLACES}
        """(number, when) of the acknowledged writes of the life before, and the last one that was read back."""
        self._killed_s = 0.0
        (directory / "plant.yaml").write_text(PLANT, encoding="utf-8")

    def live(self) -> None:
        """Start, look, write, be killed."""
        gateway = Running(
            [sys.executable, "-m", "gateway", "--config", str(self._directory / "plant.yaml")], self._directory, 1
        )
        try:
            if self._random.random() < EARLY:
                time.sleep(self._random.uniform(0, START_S))
                self._kill(gateway, is_early=True)
                return
            gateway.wait_for_start()
            with Wire(gateway.port) as wire:
                self._look(wire)
                self._write(wire, time.monotonic() + self._random.uniform(0, MAX_LIFE_S), gateway)
        finally:
            gateway.kill()
        with self._tally.lock:
            self._tally.damaged += [line for line in gateway.log if harness.matches(DAMAGE, line)]
            self._tally.bugs += [line for line in gateway.log if harness.is_bug(line)]

    def _look(self, wire: Wire) -> None:
        """What the life before has left."""
        for place in PLACES:
            answer = wire.ask(place.read)
            if answer[0] & 0x80:
                self._note(self._tally.lost, f"{place.name}: {answer.hex()}")
                continue
            numbers = place.numbers(answer)
            if len(set(numbers)) != 1:
                self._note(self._tally.torn, f"{place.name}: {sorted(set(numbers))}")
            found = numbers[0]
            acked = self._acked[place]
            must = max((n for n, when_s in acked if when_s <= self._killed_s - INTERVAL_S - DISK_S), default=0)
            if not must <= found <= self._sent[place]:
                self._note(self._tally.lost, f"{place.name}: {found}, not within {must}..{self._sent[place]}")
            missing = [when_s for n, when_s in acked if n > found]
            with self._tally.lock:
                if missing:
                    self._tally.longest_lost_s = max(self._tally.longest_lost_s, self._killed_s - min(missing))
            self._acked[place] = [(found, -1e9)]
            self._sent[place] = found
            self._number = max(self._number, found)

    def _write(self, wire: Wire, until_s: float, gateway: Running) -> None:
        while time.monotonic() < until_s:
            self._number += 1
            for place in PLACES:
                self._sent[place] = self._number
                answer = wire.ask(place.write(self._number))
                if answer[0] & 0x80:
                    self._note(self._tally.lost, f"{place.name}: the write is refused: {answer.hex()}")
                    continue
                self._acked[place].append((self._number, time.monotonic()))
                with self._tally.lock:
                    self._tally.acknowledged += 1
            time.sleep(self._random.choice((0.005, 0.005, 0.01, 0.02)))
        self._kill(gateway, is_early=False)

    def _kill(self, gateway: Running, *, is_early: bool) -> None:
        gateway.process.kill()
        if not is_early:  # a life without a write leaves what the one before did
            self._killed_s = time.monotonic()
        gateway.process.wait()
        with self._tally.lock:
            self._tally.kills += 1
            self._tally.early += is_early

    def _note(self, where: list[str], what: str) -> None:
        with self._tally.lock:
            where.append(what)

    def last_look(self) -> int:
        """After the last kill; returns how many files the state directory has."""
        with harness.own_gateway(PLANT, self._directory) as gateway, Wire(gateway.port) as wire:
            self._look(wire)
            self._tally.damaged += [line for line in list(gateway.log) if harness.matches(DAMAGE, line)]
        return len(list((self._directory / "state").iterdir()))


def prove(directory: Path, kills: int, seed: int, lanes: int = LANES) -> Report:
    report = Report(f"power, kill -9 {kills} times while registers and files are written, seed {seed}")
    tally = Tally()
    errors: list[BaseException] = []
    files: list[int] = []

    def run(number: int) -> None:
        try:
            folder = directory / f"lane{number}"
            folder.mkdir()
            lane = Lane(folder, f"{seed} {number}", tally)
            for done in range(number, kills, lanes):
                lane.live()
                if number == 0 and done and done % 50 == 0:
                    harness.say(f"{tally.kills} kills")
            files.append(lane.last_look())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(lanes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    interval = f"older than {INTERVAL_S:g} s and {DISK_S:g} s for the disk"
    report.check("kills, of which while it started", f"{tally.kills}, {tally.early}", f"{kills}", tally.kills == kills)
    report.check("acknowledged writes", f"{tally.acknowledged:,}", "some", tally.acknowledged > 0)
    for what, found, bound in (
        ("acknowledged and lost", tally.lost, f"0 {interval}"),
        ("torn", tally.torn, "0"),
        ("damaged files", tally.damaged, "0 lines at a start"),
        ("exceptions in the log", tally.bugs, "0"),
    ):
        first = f"; {'; '.join(found[:3])}" if found else ""
        report.check(what, f"{len(found)}{first}", bound, not found)
    report.note("oldest write that a kill cost", f"{tally.longest_lost_s:.2f} s old")
    report.note("files in a state directory", max(files))
    return report


def main() -> None:
    parser = harness.parser("power", "Kill -9 while retained registers and files are written.", seed=True)
    parser.add_argument("--kills", type=int, default=KILLS, help="how many (default %(default)s)")
    parser.add_argument("--lanes", type=int, default=LANES, help="gateways at once (default %(default)s)")
    args = parser.parse_args()
    if args.kills > args.lanes * MAX_KILLS_OF_A_LANE:
        parser.error(f"--kills: at most {MAX_KILLS_OF_A_LANE} for each of --lanes")
    harness.main(lambda directory: prove(directory, args.kills, args.seed, args.lanes))


if __name__ == "__main__":
    main()
