"""`gateway check` of files for other versions: notes beside what it always tells, and nothing that runs on them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from gateway.config.changes import silencer
from tests.support.process import ROOT

OLDER = 'version: "0.2"\nunits: {1: {holding: 10}}\n'


def check(directory: Path, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    (directory / "plant.yaml").write_text(text)
    command = [sys.executable, "-m", "gateway", "check", str(directory / "plant.yaml"), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_an_older_file_is_valid_and_has_notes(tmp_path: Path) -> None:
    done = check(tmp_path, OLDER)
    assert done.returncode == 0
    assert done.stdout.endswith("ok\n")
    first, last = done.stderr.splitlines()
    assert first.startswith("note: ")
    assert "plant.yaml:2:9: units.1: since 0.3 every write of a client is kept in audit.jsonl" in first
    assert last == f"note: these are no mistakes; {silencer()}"


def test_programs_get_them_too(tmp_path: Path) -> None:
    (note,) = json.loads(check(tmp_path, OLDER, "--json").stdout)["notes"]
    assert "since 0.3" in note


def test_a_file_for_a_newer_gateway_is_refused(tmp_path: Path) -> None:
    done = check(tmp_path, OLDER.replace("0.2", "7.0"))
    assert done.returncode == 2
    assert "plant.yaml:1:10: version: the file was written for version 7.0, and this gateway is 0." in done.stderr
