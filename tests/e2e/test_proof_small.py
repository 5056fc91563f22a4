"""The proofs of `tests/proof`, each for a few seconds: that they run, and that nothing is badly wrong.

Their figures mean something only by hand and for longer; the bounds are the same.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.proof import capture, fairness, faults, fuzz, load, power, soak
from tests.proof.harness import CannotRun, Report
from tests.support.needs import missing, require

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc, ptys and signals of Linux")

SEED = 20261121
FLOODS = 3
"""In half a second the p99 is the one slowest answer, and the machine itself may stand still for longer than that."""
DOORS = [name for name in fuzz.NAMES if name.startswith("server:")]
DOORS += ["device:udp", "device:rtu+tcp", "device:rtu", "device:listen+tcp"]


def check(report: Report) -> None:
    assert report.passed, f"\n{report}"


@pytest.fixture
def gcc() -> None:
    require("gcc")


def test_any_bytes_on_every_door(tmp_path: Path) -> None:
    check(fuzz.prove(tmp_path, 0.5, SEED, DOORS, at_once=6))


@pytest.mark.usefixtures("gcc")
def test_many_clients_that_check_everything(tmp_path: Path) -> None:
    check(load.prove(tmp_path, 0.025, count=200))


def test_the_quickstart_with_churn(tmp_path: Path) -> None:
    check(soak.prove(tmp_path, 0.05, SEED, round_s=1.5))


@pytest.mark.usefixtures("gcc")
def test_what_breaks(tmp_path: Path) -> None:
    check(faults.prove(tmp_path, ("killed", "clock", "stopped"), lasts_s=2.6, at_once=3))


def test_kills_while_it_writes(tmp_path: Path) -> None:
    check(power.prove(tmp_path, 4, SEED))


@pytest.mark.usefixtures("gcc")
def test_one_that_floods(tmp_path: Path) -> None:
    chosen = [flood for flood in fairness.FLOODS if flood.name == "writes a forward"]
    for number in range(FLOODS):
        folder = tmp_path / str(number)
        folder.mkdir()
        report = fairness.prove(folder, 0.5, chosen)
        if report.passed:
            return
    check(report)


@pytest.mark.usefixtures("gcc")
def test_what_tshark_thinks_of_our_frames(tmp_path: Path) -> None:
    try:
        check(capture.prove(tmp_path, 0.04, SEED))
    except CannotRun as reason:
        missing(str(reason))
