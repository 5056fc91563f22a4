"""A libmodbus C program as a client: it checks header, function, counts and echo of every answer."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.needs import missing, require
from tests.support.process import ROOT

SOURCE = ROOT / "tests" / "support" / "libmodbus_client.c"
CHECKS = 32


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client, compiled."""
    compiler = require("gcc")
    probe = [compiler, "-E", "-include", "modbus/modbus.h", "-x", "c", "/dev/null"]
    if subprocess.run(probe, capture_output=True, check=False, timeout=20).returncode:
        missing("libmodbus-dev")
    target = tmp_path_factory.mktemp("libmodbus") / "client"
    built = subprocess.run(
        [compiler, "-Wall", "-Wextra", str(SOURCE), "-o", str(target), "-lmodbus"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert not built.stderr
    return target


def test_libmodbus_reads_writes_and_is_refused_as_it_expects(program: Path, port: int) -> None:
    run = subprocess.run([program, str(port)], capture_output=True, text=True, timeout=30, check=False)

    lines = run.stdout.splitlines()
    assert [line for line in lines if not line.startswith("ok ")] == []
    assert run.returncode == 0, run.stderr
    assert len(lines) == CHECKS
