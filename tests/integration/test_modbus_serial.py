"""modbus-serial from npm as a client: Node-RED and others have it inside, and it sends before it has its answers."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.support.needs import missing, require
from tests.support.process import ROOT

VERSION = "8.0.25"
SCRIPT = ROOT / "tests" / "support" / "modbus_serial_client.js"
CHECKS = 15
QUIETLY = ("--no-audit", "--no-fund", "--ignore-scripts")


def cached(version: str) -> Path:
    """node_modules with modbus-serial in it; fetched once for a machine."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gateway-tests"
    home = base / f"modbus-serial-{version}"
    if not home.exists():
        npm = require("npm")
        base.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=base))
        fetch = [npm, "install", *QUIETLY, "--prefix", str(fresh), f"modbus-serial@{version}"]
        try:
            subprocess.run(fetch, capture_output=True, text=True, timeout=50, check=True)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            shutil.rmtree(fresh)
            missing(f"modbus-serial {version} from npm ({error})")
        try:
            fresh.rename(home)
        except OSError:  # another run was faster
            shutil.rmtree(fresh)
    return home / "node_modules"


@pytest.fixture(scope="module")
def node_modules() -> Path:
    require("node")
    return cached(VERSION)


def test_modbus_serial_reads_writes_and_sends_8_requests_at_once(node_modules: Path, port: int) -> None:
    run = subprocess.run(
        [require("node"), str(SCRIPT), str(port)],
        env=os.environ | {"NODE_PATH": str(node_modules)},
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )

    lines = run.stdout.splitlines()
    assert [line for line in lines if not line.startswith("ok ")] == [], run.stderr
    assert run.returncode == 0, run.stderr
    assert len(lines) == CHECKS
