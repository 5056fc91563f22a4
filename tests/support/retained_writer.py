"""A process that keeps registers, for tests that kill it or fill its disk: `python -m tests.support.retained_writer`.

`write DIRECTORY EVERY_S`: count up from what was kept, in all registers that it writes; a line `VALUE MONOTONIC_S`
after each answer. `fill DIRECTORY`: the disk takes one snapshot, then no more until its warning was heard, then again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from gateway.bank import Bank
from gateway.modbus.spec import Table
from gateway.state import keeper, retained
from gateway.state.directory import StateDirectory
from gateway.state.snapshots import SnapshotFile

UNIT = 1
BLOCK = 100
"""Registers that one request writes, from 0; another one writes holding:60000."""
SINGLE = 60000
PACE_S = 0.001
DEADLINE_S = 10.0


class LoopTime:
    def time(self) -> float:
        return asyncio.get_running_loop().time()

    def call_at(self, when: float, callback: Callable[[], object], /) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_at(when, callback)


def everything(unit_id: int, table: Table, first: int, stop: int) -> list[tuple[int, int]]:
    return [(first, stop)]


class Writer:
    """A unit with every register there is, and its one client."""

    def __init__(self, directory: Path) -> None:
        self.bank = Bank({Table.HOLDING: [(0, 65536)]})
        self.retained = retained.Retained(directory, LoopTime(), everything)
        self.bank.on_write = lambda table, first, count: self.retained.changed(UNIT)
        self.restored = self.retained.restore(UNIT, self.bank)

    def values(self) -> tuple[int, int]:
        """The block's, whose registers are all the same, and the single register's."""
        block = self.bank.get(Table.HOLDING, 0, BLOCK)
        assert block == block[:2] * BLOCK, block.hex()
        return int.from_bytes(block[:2], "big"), int.from_bytes(self.bank.get(Table.HOLDING, SINGLE, 1), "big")

    def write(self, value: int) -> None:
        data = value.to_bytes(2, "big")
        head = b"\x10" + (0).to_bytes(2, "big") + BLOCK.to_bytes(2, "big")
        assert self.bank.answer(head + bytes((2 * BLOCK,)) + data * BLOCK) == head
        single = b"\x06" + SINGLE.to_bytes(2, "big") + data
        assert self.bank.answer(single) == single


async def write(directory: Path) -> None:
    writer = Writer(directory)
    value = max(writer.values())
    while True:
        value += 1
        writer.write(value)
        os.write(1, f"{value} {time.monotonic()}\n".encode())
        await asyncio.sleep(PACE_S)


async def fill(directory: Path) -> None:
    """Python ignores SIGXFSZ, so a file beyond the limit is an error of its write, as on a full disk."""
    import resource  # not on Windows, whose tests import this module, too

    warnings: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: warnings.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("gateway").addHandler(handler)
    path = directory / f"retained-{UNIT}.bin"
    writer = Writer(directory)
    writer.write(1)
    await until(path.exists)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    writer.write(2)
    await until(lambda: bool(warnings))
    saved, problems = SnapshotFile(path).read()
    assert saved is not None
    assert saved[7:9] == b"\0\1", "the snapshot before is whole, in its place"
    assert not problems
    print("full", flush=True)
    writer.write(3)
    sys.stdin.readline()  # meanwhile the test may kill us; the loop stands still, the thread does not
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    await until(lambda: len(warnings) > 1)
    print("well", flush=True)
    await writer.retained.close()
    for line in warnings:
        print(line, flush=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(PACE_S)


def main() -> None:
    logging.basicConfig(level=logging.INFO)
    what, name, *more = sys.argv[1:]
    state = StateDirectory(Path(name))
    state.open()
    if what == "write":
        keeper.EVERY_S = float(more[0])
        asyncio.run(write(state.path))
    else:
        asyncio.run(fill(state.path))
    state.close()


if __name__ == "__main__":
    main()
