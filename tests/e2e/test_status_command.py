"""`gateway status` against a running gateway, and against nothing, and with a plant's file that is broken."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.control.socket import ControlSocket
from tests.support.devices import free_port, pymodbus_plc
from tests.support.oneshot import gateway
from tests.support.process import running
from tests.support.until import wait_until
from tests.support.wire import Wire, hexed

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")

PLANT = """
server: {{listen: "tcp://127.0.0.1:0"}}
devices:
  plc:
    url: tcp://127.0.0.1:{port}
    timeout: 300ms
    every: 100ms
    poll: [{{read: "holding:0..9", to: "holding:0"}}]
"""


def test_it_tells_a_good_plant_then_a_dead_plc_and_what_it_costs(tmp_path: Path) -> None:
    with pymodbus_plc() as plc, running(PLANT.format(port=plc.port), tmp_path):
        file = str(tmp_path / "plant.yaml")
        wait_until(lambda: gateway("status", file).returncode == 0, 10.0, "a good plant")
        socket_mode = os.stat(tmp_path / "state" / "control.sock").st_mode
        assert stat.S_IMODE(socket_mode) == 0o600
        assert stat.S_IMODE(os.stat(tmp_path / "state").st_mode) == 0o700
        output = wait_until(lambda: re.search(r"plc .* 100ms +[\d.]+ of 10 .*", gateway("status", file).stdout))
        assert "holding:0..9 (400001..400010)" in output[0]

        told = json.loads(gateway("status", "--state-dir", str(tmp_path / "state"), "--json").stdout)
        assert {"gateway", "links", "devices", "routes"} <= told.keys()
        (device,) = told["devices"]
        assert (device["name"], device["unit"], device["state"]) == ("plc", 1, "good")
        assert device["jobs"][0]["requested_per_s"] == 10

        plc.kill()

        def refused() -> subprocess.CompletedProcess[str] | None:
            """What is said once it was dialled again in vain."""
            found = gateway("status", file)
            is_known = "no fresh values" in found.stdout and "refused" in found.stdout
            return found if found.returncode == 3 and is_known else None

        result = wait_until(refused, 10.0, "a dead PLC")
        wrong = result.stdout[result.stdout.index("WRONG") : result.stdout.index("links")]
        assert f"tcp://127.0.0.1:{plc.port}" in wrong
        assert "no fresh values from 1 of 1 devices: plc" in wrong
        plc.start()
        wait_until(lambda: gateway("status", file).returncode == 0, 10.0, "a good plant again")


def test_a_disk_that_does_not_take_what_is_to_be_kept_is_ours_and_told_until_it_does(tmp_path: Path) -> None:
    plant = """
server: {listen: "tcp://127.0.0.1:0"}
units: {1: {holding: 0..9, retain: true}}
"""
    audit, retained = tmp_path / "state" / "audit.jsonl", tmp_path / "state" / "retained-1.bin.new"
    with running(plant, tmp_path) as served, Wire(served.port) as wire:
        for path in (audit, retained):
            path.mkdir()  # root writes where it may not: nobody writes into a file that is a directory
        file = str(tmp_path / "plant.yaml")
        assert gateway("status", file).returncode == 0
        assert wire.ask(hexed("06 0000 0001")) == hexed("06 0000 0001")

        def told() -> subprocess.CompletedProcess[str] | None:
            found = gateway("status", file)
            return found if found.returncode == 3 and found.stdout.count("cannot be written") == 2 else None

        text = wait_until(told, 10.0, "both troubles").stdout
        assert re.search(r"us +audit: .*audit\.jsonl cannot be written: Is a directory", text)
        assert "(lines that wait in memory: 1, lost: 0)" in text
        assert re.search(r"us +retained registers of unit 1 cannot be written to .*: Is a directory", text)
        for path in (audit, retained):
            path.rmdir()
        wait_until(lambda: gateway("status", file).returncode == 0, 10.0, "all is well again")


@contextmanager
def told_by(directory: Path, snapshot: dict[str, Any]) -> Iterator[None]:
    """A control socket that tells `snapshot`, in a thread with a loop of its own."""
    loop = asyncio.new_event_loop()
    served = ControlSocket(directory, {"status": lambda request: snapshot})
    loop.run_until_complete(served.open())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(served.close())
        loop.close()


def snapshot(trouble: str) -> dict[str, Any]:
    link = {"name": "press line", "up": not trouble, "trouble": trouble, "load_percent": 1.0}
    return {"gateway": {"version": "1.2.3"}, "links": [link], "devices": [], "routes": []}


@pytest.mark.parametrize(
    ("trouble", "code", "text"),
    [
        ("", 0, "nothing is wrong"),
        ("the host does not answer", 3, "network link press line is down: the host does not"),
    ],
)
def test_the_exit_code_tells_whether_something_is_wrong(tmp_path: Path, trouble: str, code: int, text: str) -> None:
    with told_by(tmp_path, snapshot(trouble)):
        result = gateway("status", "--state-dir", str(tmp_path))
        as_json = gateway("status", "--state-dir", str(tmp_path), "--json")
    assert (result.returncode, result.stderr) == (code, "")
    assert text in result.stdout
    assert "\x1b" not in result.stdout, "no colours in a pipe"
    assert as_json.returncode == code
    assert json.loads(as_json.stdout) == snapshot(trouble)


def test_after_the_end_the_socket_is_gone(tmp_path: Path) -> None:
    with running(PLANT.format(port=free_port()), tmp_path):
        wait_until((tmp_path / "state" / "control.sock").exists, what="the socket, soon after the listener")
    assert not (tmp_path / "state" / "control.sock").exists()
    result = gateway("status", str(tmp_path / "plant.yaml"))
    assert result.returncode == 1
    assert f"no gateway is running with the state directory {tmp_path / 'state'}" in result.stderr


def test_without_a_gateway_it_says_so_and_ends_with_1(tmp_path: Path) -> None:
    result = gateway("status", "--state-dir", str(tmp_path))
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("no gateway is running with the state directory ")


def test_a_broken_plant_file_hints_at_the_state_directory(tmp_path: Path) -> None:
    path = tmp_path / "plant.yaml"
    path.write_text("devices: {d: {ulr: 'sim://'}}\n", encoding="utf-8")
    result = gateway("status", str(path))
    assert result.returncode == 2
    assert "devices.d.ulr" in result.stderr
    assert "ask the one that runs with --state-dir DIR" in result.stderr


def test_a_file_and_a_directory_at_once_are_refused(tmp_path: Path) -> None:
    result = gateway("status", "plant.yaml", "--state-dir", str(tmp_path))
    assert result.returncode == 2
    assert "not both" in result.stderr


@pytest.mark.parametrize(("command", "codes"), [("status", "3 something is wrong"), ("plan", "0 ended as asked")])
def test_help_has_two_examples_and_the_exit_codes(command: str, codes: str) -> None:
    result = gateway(command, "--help")
    assert result.returncode == 0
    examples = result.stdout.split("Examples:")[1].split("\n\n")
    assert all(example.strip().startswith(f"gateway {command} ") for example in examples[1:3])
    assert codes in " ".join(result.stdout.split())
