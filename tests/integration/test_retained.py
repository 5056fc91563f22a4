"""Retained registers in a process that is killed, on a disk that is full: what was acknowledged is there, and whole.

SIGKILL takes the process, not the system's memory; that the disk has a file before its name changes is for
tests/unit/test_state_snapshots.py to say.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.state.directory import LOCK_NAME, StateDirectory, StateError
from tests.support.process import ROOT, Running
from tests.support.retained_writer import Writer
from tests.support.until import wait_until

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL and limits of a process")

DISK_S = 0.5
"""What one write of 128 KiB may take on a loaded machine, beyond the interval."""


@contextmanager
def writer(directory: Path, *arguments: str) -> Iterator[Running]:
    command = [sys.executable, "-m", "tests.support.retained_writer", *arguments]
    running = Running(command, directory, 0)
    try:
        yield running
    finally:
        running.kill()


def acknowledged(running: Running) -> list[tuple[int, float]]:
    """Values and when they were acknowledged."""
    return [(int(value), float(at_s)) for value, at_s in map(str.split, list(running.output))]


def wait_for_writes(running: Running, for_s: float = 0.0) -> None:
    """Until it has been writing for so long."""
    wait_until(lambda: running.output or running.process.poll() is not None, 20, "the first write")
    assert running.output, running.told()
    end_s = acknowledged(running)[0][1] + for_s
    wait_until(lambda: float(running.output[-1].split()[1]) >= end_s, for_s + 20, f"writes for {for_s:.1f} s")


def kept(directory: Path) -> tuple[int, int]:
    """What the next process finds, in two places; each written before the second."""
    return Writer(directory).values()


@pytest.mark.parametrize(
    ("every_s", "rounds", "least_s", "most_s"),
    [
        (1.0, 2, 1.7, 2.2),  # as it is
        (0.2, 3, 0.9, 1.4),
        (0.0, 8, 0.0, 0.15),  # the disk never rests: a kill comes in the middle of a write
    ],
)
def test_what_was_acknowledged_an_interval_before_a_kill_is_there_and_no_file_is_damaged(
    every_s: float, rounds: int, least_s: float, most_s: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = tmp_path / "state"
    chance = random.Random(int(1000 * every_s))
    last = 0
    for _ in range(rounds):
        enough_s = chance.uniform(least_s, most_s)
        with writer(tmp_path, "write", str(state), str(every_s)) as running:
            wait_for_writes(running, enough_s)
            killed_s = time.monotonic()
            running.kill()
        assert running.process.returncode == -signal.SIGKILL, running.told()
        writes = acknowledged(running)
        assert writes[0][0] == last + 1
        old = [value for value, at_s in writes if at_s < killed_s - every_s - DISK_S]
        block, single = kept(state)
        assert block == single  # both are written before anything else happens: one moment
        assert max(old, default=last) <= block <= writes[-1][0] + 1
        last = block
        assert old or every_s == 0  # else this round could not have failed
    assert last > 0
    assert not caplog.records


def test_the_lock_names_who_has_it_and_ends_with_a_kill(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with writer(tmp_path, "write", str(state), "1") as running:
        wait_for_writes(running)
        with pytest.raises(StateError, match=rf"in use by another gateway \(process {running.process.pid}\)"):
            StateDirectory(state).open()
        running.kill()
    assert (state / LOCK_NAME).read_text() == f"{running.process.pid}\n"  # nobody has tidied up
    directory = StateDirectory(state)
    directory.open()
    directory.close()


def test_a_file_damaged_while_nobody_ran_is_told_and_the_older_one_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = tmp_path / "state"
    with writer(tmp_path, "write", str(state), "0") as running:
        wait_until(lambda: (state / "retained-1.bin.previous").exists(), 20, "two snapshots")
        running.kill()
    newest, _ = kept(state)
    path = state / "retained-1.bin"
    os.truncate(path, path.stat().st_size // 2)
    older, single = kept(state)
    assert 0 < older < newest
    assert older == single
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "retained-1.bin is damaged: " in record.getMessage()
    assert record.getMessage().endswith("the snapshot before it is used")


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_full_disk_is_told_once_costs_no_snapshot_and_is_written_when_there_is_room(
    is_killed: bool, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    command = [sys.executable, "-m", "tests.support.retained_writer", "fill", str(state)]
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH", "")) if part)
    with subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": path}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "full\n"
        if is_killed:
            child.kill()
        else:
            child.stdin.write("go on\n")
            child.stdin.flush()
            assert child.stdout.readline() == "well\n"
            warning, well = child.stdout.read().splitlines()
            assert "File too large: they are tried again every second" in warning
            assert well == "retained registers are written again"
            assert child.wait(10) == 0
    assert kept(state) == ((1, 1) if is_killed else (3, 3))
