"""mbpoll as a client: the tool people have at hand."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.support.needs import require


def mbpoll(port: int, *arguments: str, unit: int = 1) -> subprocess.CompletedProcess[str]:
    """One run of it, with zero-based addresses."""
    return subprocess.run(
        [require("mbpoll"), "-m", "tcp", "-p", str(port), "-a", str(unit), "-0", "-1", "-q", *arguments],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


COILS, DISCRETE, INPUT, HOLDING = "-t0", "-t1", "-t3", "-t4"


def read(port: int, kind: str, first: int, count: int, *more: str) -> list[str]:
    """The values mbpoll shows, as it shows them."""
    run = mbpoll(port, kind, "-r", str(first), "-c", str(count), *more, "127.0.0.1")
    assert run.returncode == 0, run.stderr
    return re.findall(r"^\[\d+\]:\s+(\S+)", run.stdout, re.MULTILINE)


def write(port: int, kind: str, first: int, *values: str, more: tuple[str, ...] = ()) -> None:
    run = mbpoll(port, kind, "-r", str(first), *more, "127.0.0.1", "--", *values)
    assert run.returncode == 0, run.stderr
    assert f"Written {len(values)} reference" in run.stdout


def test_mbpoll_reads_all_four_tables(port: int) -> None:
    assert read(port, DISCRETE, 0, 6) == ["0", "1", "1", "0", "0", "1"]
    assert read(port, INPUT, 0, 2) == ["555", "0"]
    assert read(port, "-t3:hex", 2, 1) == ["0xFF06"]
    assert read(port, HOLDING, 500, 3) == ["5", "6", "7"]
    assert read(port, COILS, 1990, 3) == ["0", "0", "0"]


def test_mbpoll_reads_125_registers(port: int) -> None:
    assert len(read(port, INPUT, 0, 125)) == 125


def test_mbpoll_writes_one_register_and_reads_it_back(port: int) -> None:
    write(port, HOLDING, 16, "1500")

    assert read(port, HOLDING, 15, 3) == ["0", "1500", "0"]


def test_mbpoll_writes_registers_and_reads_them_back(port: int) -> None:
    write(port, HOLDING, 20, "11", "12", "13")

    assert read(port, HOLDING, 20, 4) == ["11", "12", "13", "0"]


def test_mbpoll_writes_coils_and_reads_them_back(port: int) -> None:
    write(port, COILS, 3, "1")
    assert read(port, COILS, 2, 3) == ["0", "1", "0"]
    write(port, COILS, 10, "1", "0", "1", "1")
    assert read(port, COILS, 10, 5) == ["1", "0", "1", "1", "0"]


def test_mbpoll_reads_and_writes_floats_and_long_integers(port: int) -> None:
    assert float(read(port, "-t4:float", 100, 1, "-B")[0]) == pytest.approx(123.456)
    write(port, "-t4:float", 40, "-2.5", more=("-B",))
    assert read(port, "-t4:hex", 40, 2) == ["0xC020", "0x0000"]
    write(port, "-t4:int", 44, "-100000", more=("-B",))
    assert read(port, "-t4:int", 44, 1, "-B") == ["-100000"]


@pytest.mark.parametrize(
    ("arguments", "unit", "reason"),
    [
        ((HOLDING, "-r", "1000", "-c", "1", "127.0.0.1"), 1, "Illegal data address"),
        ((INPUT, "-r", "999", "-c", "2", "127.0.0.1"), 1, "Illegal data address"),
        ((HOLDING, "-r", "500", "127.0.0.1", "9"), 1, "Illegal data address"),
        ((HOLDING, "-r", "0", "-c", "1", "127.0.0.1"), 77, "Gateway path unavailable"),
    ],
)
def test_mbpoll_is_told_why_it_is_refused(port: int, arguments: tuple[str, ...], unit: int, reason: str) -> None:
    run = mbpoll(port, *arguments, unit=unit)

    assert run.returncode != 0
    assert reason.lower() in run.stderr.lower()
