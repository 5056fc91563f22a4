"""A configuration that changes while the gateway runs: only what differs is touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.devices import free_port, scripted
from tests.support.process import ROOT, Running, running
from tests.support.until import wait_until
from tests.support.wire import Wire

PLANT = """
server: {{listen: "tcp://127.0.0.1:0", status: "1/input:0"}}
units:
  1: {{holding: 0..99, initial: {{"holding:50": 7}}}}
devices:
  press:
    url: tcp://127.0.0.1:{a}
    every: 50ms
    poll: [{{read: "holding:0..9", to: "1/holding:0"}}]
  pump:
    url: tcp://127.0.0.1:{b}
    every: 50ms
    tags:
      level: {{at: holding:3, type: uint16, to: 1/input:20}}
"""


def reload(gateway: Running, directory: Path, text: str, expected: str) -> str:
    """Write the plant, SIGHUP, wait for the line that tells of it."""
    seen = len(gateway.log)
    (directory / "plant.yaml").write_text(text, encoding="utf-8")
    gateway.process.send_signal(signal.SIGHUP)
    return wait_until(
        lambda: next((line for line in gateway.log[seen:] if expected in line), None), 5.0, f"'{expected}' in the log"
    )


def status(directory: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "gateway", "status", str(directory / "plant.yaml"), "--json"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    answer = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=30, check=False)
    assert answer.returncode in (0, 3), answer.stderr
    shown: dict[str, Any] = json.loads(answer.stdout)
    return shown


def device(shown: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in shown["devices"] if each["name"] == name)


def test_a_changed_device_restarts_and_everything_else_lives_on(tmp_path: Path) -> None:
    with scripted() as a, scripted() as b:
        text = PLANT.format(a=a.port, b=b.port)
        with running(text, tmp_path) as gateway, Wire(gateway.port) as wire:
            wait_until(lambda: wire.ask(bytes.fromhex("0400140001")) == bytes.fromhex("04020003"), 5.0, "the level")
            wire.ask(bytes.fromhex("0600320063"))  # holding:50 is 99 now
            before = device(status(tmp_path), "press")
            line = reload(gateway, tmp_path, text.replace("at: holding:3", "at: holding:4"), "is running after")
            assert "device pump: 1 of 1 requests new" in line
            assert "press" not in line
            wait_until(lambda: wire.ask(bytes.fromhex("0400140001")) == bytes.fromhex("04020004"), 5.0, "the new level")
            assert wire.ask(bytes.fromhex("0300320001")) == bytes.fromhex("03020063"), "own registers keep their values"
            assert wire.ask(bytes.fromhex("0300000001")) == bytes.fromhex("03020000")
            after = device(status(tmp_path), "press")
            assert after["good_requests"] > before["good_requests"]
            assert after["failed_requests"] == 0
            assert a.connections == 1, "its connection was not touched"
            assert b.connections == 1, "nor that of the device whose tag changed"
            generation = bytes.fromhex("04020001")
            wait_until(lambda: wire.ask(bytes.fromhex("0400070001")) == generation, 2.0, "the generation")


def test_a_wrong_file_changes_nothing_and_says_why(tmp_path: Path) -> None:
    with scripted() as a, scripted() as b:
        text = PLANT.format(a=a.port, b=b.port)
        with running(text, tmp_path) as gateway, Wire(gateway.port) as wire:
            wait_until(lambda: wire.ask(bytes.fromhex("0400140001")) == bytes.fromhex("04020003"), 5.0, "the level")
            wrong = text.replace("type: uint16", "type: uint61").replace("every: 50ms", "every: 5", 1)
            reload(gateway, tmp_path, wrong, "reload refused, nothing has changed: 2 mistakes")
            assert gateway.search(r"plant.yaml:\d+:\d+: devices.pump.tags.level.type: .*uint64|uint16")
            assert wire.ask(bytes.fromhex("0400140001")) == bytes.fromhex("04020003")
            assert "last reload refused" in status(tmp_path)["gateway"]["reload"]
            reload(gateway, tmp_path, text, "nothing has changed")
            assert status(tmp_path)["gateway"]["reload"] == ""


def test_devices_units_and_routes_come_and_go(tmp_path: Path) -> None:
    with scripted() as a, scripted() as b, scripted() as c:
        text = PLANT.format(a=a.port, b=b.port)
        more = text.replace(
            "units:\n", 'units:\n  5: {forward: mixer}\n  7: {holding: 0..9, initial: {"holding:1": 3}}\n'
        )
        more += f"""
  mixer:
    url: tcp://127.0.0.1:{c.port}
    every: 50ms
    tags:
      speed: {{at: holding:8, type: uint16, to: 1/holding:90}}
"""
        with running(text, tmp_path) as gateway, Wire(gateway.port) as wire:
            assert wire.ask(bytes.fromhex("0300000001"), 5) == bytes.fromhex("830a")
            wire.ask(bytes.fromhex("06005a0001"))  # holding:90 is ours
            line = reload(gateway, tmp_path, more, "is running after")
            assert "device mixer added" in line
            assert "route of unit 5 added" in line
            assert "unit 7 added" in line
            wait_until(lambda: wire.ask(bytes.fromhex("03005a0001")) == bytes.fromhex("03020008"), 5.0, "the speed")
            assert wire.ask(bytes.fromhex("06005a0001")) == bytes.fromhex("8602"), "a device's now"
            assert wire.ask(bytes.fromhex("0300040001"), 5) == bytes.fromhex("03020004")
            assert wire.ask(bytes.fromhex("0300010001"), 7) == bytes.fromhex("03020003")
            line = reload(gateway, tmp_path, text, "is running after")
            assert "device mixer removed" in line
            assert wire.ask(bytes.fromhex("0300000001"), 5) == bytes.fromhex("830a")
            assert wire.ask(bytes.fromhex("0300010001"), 7) == bytes.fromhex("830a")
            assert wire.ask(bytes.fromhex("03005a0001")) == bytes.fromhex("03020000"), "ours again, and no old value"
            assert wire.ask(bytes.fromhex("06005a0001")) == bytes.fromhex("06005a0001")
            asked = len(c.requests)
            count = len(a.requests)
            a.wait_for_requests(count + 4)
            assert len(c.requests) == asked, "nobody asks the device that has gone"


def test_a_listener_that_stays_is_not_touched_and_one_that_cannot_open_refuses_the_reload(tmp_path: Path) -> None:
    first, second = free_port(), free_port()
    text = f'server: {{listen: ["tcp://127.0.0.1:{first}"]}}\nunits: {{1: {{holding: 10}}}}\n'
    both = text.replace("]", f', "tcp://127.0.0.1:{second}"]')
    with running(text, tmp_path) as gateway, Wire(first) as wire:
        assert wire.ask(bytes.fromhex("0600010005")) == bytes.fromhex("0600010005")
        reload(gateway, tmp_path, both, "is running after")
        with Wire(second) as other:
            assert other.ask(bytes.fromhex("0300010001")) == bytes.fromhex("03020005")
        assert wire.ask(bytes.fromhex("0300010001")) == bytes.fromhex("03020005"), "the same connection"
        reload(gateway, tmp_path, text, "is running after")
        assert gateway.count("no longer listening") == 1
        with scripted() as owner:  # somebody else has this port
            taken = text.replace("]", f', "tcp://127.0.0.1:{owner.port}"]').replace("holding: 10", "holding: 20")
            reload(gateway, tmp_path, taken, "reload refused, nothing has changed")
            assert wire.ask(bytes.fromhex("03000f0001")) == bytes.fromhex("8302"), "not even the rest of it"


def test_limits_of_the_server_count_for_newcomers(tmp_path: Path) -> None:
    text = 'server: {listen: "tcp://127.0.0.1:0", max_connections: 1}\nunits: {1: {holding: 10}}\n'
    with running(text, tmp_path) as gateway, Wire(gateway.port) as wire:
        wire.ask(bytes.fromhex("0300010001"))
        with Wire(gateway.port) as other:
            other.expect_close()
        reload(gateway, tmp_path, text.replace("max_connections: 1", "max_connections: 2"), "is running after")
        with Wire(gateway.port) as other:
            assert other.ask(bytes.fromhex("0300010001")) == bytes.fromhex("03020000")
        assert wire.ask(bytes.fromhex("0300010001")) == bytes.fromhex("03020000")


def test_with_watch_a_changed_file_or_a_new_include_is_enough(tmp_path: Path) -> None:
    text = 'include: ["lines/*.yaml"]\nserver: {listen: "tcp://127.0.0.1:0"}\n'
    (tmp_path / "lines").mkdir()
    (tmp_path / "lines" / "one.yaml").write_text("units: {1: {holding: 10}}\n", encoding="utf-8")
    with running(text, tmp_path, "--watch") as gateway, Wire(gateway.port) as wire:
        assert wire.ask(bytes.fromhex("0300000001"), 3) == bytes.fromhex("830a")
        (tmp_path / "lines" / "two.yaml").write_text("units: {3: {holding: 10}}\n", encoding="utf-8")
        gateway.wait_for_log("unit 3 added", 10.0)
        assert wire.ask(bytes.fromhex("0300000001"), 3) == bytes.fromhex("03020000")
        (tmp_path / "lines" / "two.yaml").write_text("units: {3: {holding: ten}}\n", encoding="utf-8")
        gateway.wait_for_log("reload refused", 10.0)
        (tmp_path / "lines" / "two.yaml").write_text("units: {3: {holding: 10, input: 5}}\n", encoding="utf-8")
        gateway.wait_for_log("unit 3 changed", 10.0)
        assert wire.ask(bytes.fromhex("0400000001"), 3) == bytes.fromhex("04020000")


def test_retained_registers_and_clients_survive_a_reload(tmp_path: Path) -> None:
    text = 'server: {listen: "tcp://127.0.0.1:0"}\nunits: {1: {holding: 0..9, retain: true}}\n'
    with running(text, tmp_path) as gateway, Wire(gateway.port) as wire:
        wire.ask(bytes.fromhex("0600010005"))
        reload(gateway, tmp_path, text.replace("0..9", "0..19"), "unit 1 changed")
        assert wire.ask(bytes.fromhex("0300010001")) == bytes.fromhex("03020005")
        wire.ask(bytes.fromhex("06000f0006"))
    with running(text.replace("0..9", "0..19"), tmp_path) as gateway, Wire(gateway.port) as wire:
        assert wire.ask(bytes.fromhex("0300010001")) == bytes.fromhex("03020005")
        assert wire.ask(bytes.fromhex("03000f0001")) == bytes.fromhex("03020006")


def test_a_second_gateway_on_the_same_state_directory_is_refused(tmp_path: Path) -> None:
    text = 'server: {listen: "tcp://127.0.0.1:0"}\nunits: {1: {holding: 10}}\n'
    with running(text, tmp_path) as gateway:
        command = [sys.executable, "-m", "gateway", "--config", str(tmp_path / "plant.yaml")]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        second = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=20, check=False)
        assert second.returncode == 1
        assert f"in use by another gateway (process {gateway.process.pid})" in second.stderr
