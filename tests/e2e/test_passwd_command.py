"""`gateway passwd`: typed twice at a terminal, or from standard input; what it prints works in a plant."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.config.load import load
from gateway.config.passwords import parse_password
from tests.support.process import ROOT

WORD = "correct-horse"


def passwd(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", "passwd", *arguments],
        input=given,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_what_it_prints_works_in_a_plant(tmp_path: Path) -> None:
    found = passwd("anna", "--role", "operator", "--stdin", given=f"{WORD}\nmore\n")
    assert found.returncode == 0, found.stderr
    path = tmp_path / "plant.yaml"
    path.write_text(f"web:\n  users:\n    {found.stdout}", encoding="utf-8")
    web = load(path).web
    assert web is not None
    assert web.users["anna"].role == "operator"
    assert web.users["anna"].password.fits(WORD)


def test_for_programs() -> None:
    found = json.loads(passwd("--stdin", "--json", given=WORD).stdout)
    assert list(found) == ["password"]
    assert parse_password(found["password"]).fits(WORD)


@pytest.mark.parametrize(
    ("arguments", "given", "code", "told"),
    [
        (("--stdin",), "short\n", 1, "8 to 1024 characters"),
        (("--stdin",), "", 1, "8 to 1024 characters"),
        (("--stdin",), "x" * 5000, 1, "4096 bytes"),
        ((), WORD, 1, "--stdin"),
        (("anna", "--role", "boss", "--stdin"), WORD, 2, "viewer, operator, engineer"),
        (("a b", "--stdin"), WORD, 2, "cannot be a user's name"),
    ],
)
def test_what_cannot_be_says_why(arguments: tuple[str, ...], given: str, code: int, told: str) -> None:
    found = passwd(*arguments, given=given)
    assert (found.returncode, found.stdout) == (code, "")
    assert told in " ".join(found.stderr.split())


@pytest.mark.parametrize(("second", "code"), [(WORD, 0), ("battery-staple", 1)])
def test_typed_twice_and_never_shown(second: str, code: int) -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "passwd"],
        stdin=slave,
        stdout=subprocess.PIPE,
        stderr=slave,
        cwd=ROOT,
        start_new_session=True,
        text=True,
    )
    os.close(slave)
    screen = ""
    for prompt, typed in (("Password: ", WORD), ("Once more: ", second)):
        while prompt not in screen:
            screen += os.read(master, 1000).decode()
        os.write(master, f"{typed}\n".encode())
    assert process.stdout is not None
    printed = process.stdout.read()
    assert process.wait(30) == code
    os.close(master)
    assert WORD not in screen + printed
    if not code:
        assert parse_password(printed.strip()).fits(WORD)
