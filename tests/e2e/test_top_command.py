"""`gateway top` on a real terminal (a pty), in a pipe and for programs, while gateways come and go."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.devices import free_port
from tests.support.inprocess import command
from tests.support.needs import require_module
from tests.support.oneshot import gateway
from tests.support.process import ROOT, Running, running
from tests.support.until import wait_until

if not hasattr(socket, "AF_UNIX"):
    pytest.skip("needs Unix sockets", allow_module_level=True)

from tests.support.terminal import on_terminal

PLANT = """
server: {listen: "tcp://127.0.0.1:0"}
devices:
  press: {url: "sim://", every: 50ms, poll: [{read: "holding:0..9", to: "holding:0"}]}
"""
LEFT = (b"\x1b[?1049l", b"\x1b[?25h")
"""The usual screen is back, and the cursor."""


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("watched")
    with running(PLANT, directory):
        wait_until(lambda: gateway("status", str(directory / "plant.yaml")).returncode == 0, 10.0, "a good plant")
        yield str(directory / "plant.yaml")


@pytest.mark.parametrize("keys", ["q", "\x03"])
def test_it_shows_the_plant_and_leaves_the_terminal_clean(plant: str, keys: str) -> None:
    require_module("textual")
    with on_terminal("top", plant, "--every", "250ms") as terminal:
        terminal.wait_for("polls ")
        wait_until(lambda: re.search(r"press +1 good +[\d.]+ms", terminal.text), 10.0, "the device's row")
        assert "nothing is wrong" in terminal.text
        assert terminal.is_raw()
        terminal.press("4")
        terminal.wait_for("holding:0..9")
        terminal.press(keys)
        assert terminal.end() == 0
        assert all(sequence in terminal.raw[-400:] for sequence in LEFT)
        assert not terminal.is_raw()
        assert "Traceback" not in terminal.text


def test_it_survives_the_gateways_restart(tmp_path: Path) -> None:
    require_module("textual")
    port = free_port()
    yaml = PLANT.replace("127.0.0.1:0", f"127.0.0.1:{port}")
    file = str(tmp_path / "plant.yaml")
    with running(yaml, tmp_path) as first:
        wait_until(lambda: gateway("status", file).returncode == 0, 10.0, "a good plant")
        with on_terminal("top", file, "--every", "200ms") as terminal:
            terminal.wait_for("press")
            first.stop()
            terminal.wait_for("NO ANSWER")
            again = Running([sys.executable, "-m", "gateway", "--config", file], tmp_path, 1)
            try:
                again.wait_for_start()
                terminal.wait_for("links up; polls")
                terminal.press("q")
                assert terminal.end() == 0
            finally:
                again.stop()


def test_a_gateway_that_hangs_is_told_and_does_not_hold_the_keys(tmp_path: Path) -> None:
    require_module("textual")
    with running(PLANT, tmp_path) as hanging:
        wait_until((tmp_path / "state" / "control.sock").exists, what="the control socket")
        with on_terminal("top", str(tmp_path / "plant.yaml"), "--every", "200ms") as terminal:
            terminal.wait_for("press")
            hanging.process.send_signal(signal.SIGSTOP)
            try:
                terminal.wait_for("it does not answer, it is stopped or overloaded")
                terminal.press("q")
                assert terminal.end() == 0
            finally:
                hanging.process.send_signal(signal.SIGCONT)


def test_a_small_terminal_without_colours_will_do(plant: str) -> None:
    require_module("textual")
    with on_terminal("top", plant, columns=40, lines=10, environ={"NO_COLOR": "1"}) as terminal:
        terminal.wait_for("press")
        terminal.press("\t\t\tq")
        assert terminal.end() == 0
    assert not re.search(rb"\x1b\[[0-9;]*(3[1-7]|9[1-7]|38;)[0-9;]*m", terminal.raw), "colours"


def test_a_terminal_that_can_nothing_gets_the_page_once(plant: str) -> None:
    with on_terminal("top", plant, environ={"TERM": "dumb"}) as terminal:
        assert terminal.end() == 0
    assert "nothing is wrong" in terminal.text
    assert b"\x1b[?1049h" not in terminal.raw


def test_in_a_pipe_it_prints_once_what_status_prints(plant: str) -> None:
    result = gateway("top", plant)
    assert result.returncode == 0
    assert "nothing is wrong: 1 devices good" in result.stdout
    assert "\x1b" not in result.stdout


def test_programs_get_an_object_each_time(plant: str) -> None:
    result = gateway("top", plant, "--json", "--count", "3", "--every", "200ms")
    assert result.returncode == 0
    first, second, third = (json.loads(line) for line in result.stdout.splitlines())
    assert first["rates"]["polls_per_s"] is None
    assert 0 < third["rates"]["polls_per_s"] < 200
    assert {"time", "gateway", "devices", "links", "clients", "events", "findings"} <= first.keys()
    assert any(event["kind"] == "device" for event in first["events"])
    assert second["events"] == [], "only what is new"


def test_programs_hear_of_a_gateway_that_ends_and_of_the_next(tmp_path: Path) -> None:
    with running(PLANT, tmp_path) as first:
        file = str(tmp_path / "plant.yaml")
        wait_until((tmp_path / "state" / "control.sock").exists, what="the control socket")
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "top", file, "--json", "--every", "200ms"],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        try:
            assert "gateway" in json.loads(process.stdout.readline())
            first.stop()
            while "error" not in (row := json.loads(process.stdout.readline())):
                pass
            assert row["error"].startswith("no gateway is running")
        finally:
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=10)
    assert (process.returncode, told) == (0, "")


def test_without_a_gateway_it_says_so(tmp_path: Path) -> None:
    for options in ((), ("--json",)):
        result = command("top", "--state-dir", str(tmp_path), *options)
        assert result.returncode == 1
        assert result.stderr.startswith("no gateway is running with the state directory ")
    with on_terminal("top", "--state-dir", str(tmp_path)) as terminal:
        assert terminal.end() == 1
    assert "no gateway is running" in terminal.text


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--every", "1"], "--every: a duration needs its unit"),
        (["--every", "10ms"], "--every 10ms: at least 200ms"),
        (["--count", "3"], "--count goes with --json"),
    ],
)
def test_what_cannot_be_meant_is_told(plant: str, options: list[str], why: str) -> None:
    result = command("top", plant, *options)
    assert result.returncode == 2
    assert why in result.stderr
