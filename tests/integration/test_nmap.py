"""nmap's modbus-discover against the command: exactly the configured units answer without an error."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.support.needs import require
from tests.support.process import running

PLANT = """
server: {listen: "tcp://127.0.0.1:0", identity: {vendor: Example Works, product: Line 3}}
units:
  1: {holding: 0..9}
  7: {coils: 0..9}
  246: {input: 0..9}
"""
DEADLINE_S = 50.0


def test_modbus_discover_finds_exactly_the_configured_units(tmp_path: Path) -> None:
    nmap = require("nmap")
    with running(PLANT, tmp_path) as gateway:
        # With `+` the script runs whatever the port is; unprivileged and without ping it only connects.
        command = [nmap, "--unprivileged", "-Pn", "-n", "-p", str(gateway.port), "--script", "+modbus-discover"]
        command += ["--script-args", "modbus-discover.aggressive=true", "127.0.0.1"]
        told = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=True).stdout
    found = re.findall(r"sid 0x([0-9a-f]+): *((?:\n\|_? {4,}.*)*)", told)
    answering = {int(unit, 16) for unit, lines in found if "error" not in lines.lower()}
    assert answering == {1, 7, 246}, told
    assert told.count("Example Works Line 3") == 3, told
    errors = {line for _, lines in found for line in re.findall(r"error: (.*)", lines)}
    assert errors <= {"GATEWAY PATH UNAVAILABLE"}, told
