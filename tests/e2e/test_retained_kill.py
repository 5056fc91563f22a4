"""Retained registers of the running command: a kill, a damaged file, a state directory that cannot be used."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.support.oneshot import gateway as gateway_command
from tests.support.process import running
from tests.support.until import wait_until
from tests.support.wire import Wire

PLANT = """
server: {listen: "tcp://127.0.0.1:0"}
units: {1: {holding: 0..9, coils: 0..9, initial: {"holding:2": 7}, retain: true}}
"""


def test_registers_and_coils_are_there_after_kill_9(tmp_path: Path) -> None:
    file = tmp_path / "state" / "retained-1.bin"
    with running(PLANT, tmp_path, ends_with=-signal.SIGKILL) as gateway, Wire(gateway.port) as wire:
        wire.ask(bytes.fromhex("10 0001 0002 04 1234 5678"))
        wire.ask(bytes.fromhex("05 0003 ff00"))
        wait_until(lambda: file.exists() and b"\x12\x34\x56\x78" in file.read_bytes(), 5.0, "the snapshot")
        wire.ask(bytes.fromhex("06 0005 0009"))
        wait_until(lambda: b"\x00\x09\x00\x00" in file.read_bytes(), 5.0, "the next one")
        gateway.process.kill()
        gateway.process.wait(5.0)
    with running(PLANT, tmp_path) as gateway, Wire(gateway.port) as wire:
        assert wire.ask(bytes.fromhex("03 0001 0002")) == bytes.fromhex("03 04 1234 5678")
        assert wire.ask(bytes.fromhex("03 0005 0001")) == bytes.fromhex("03 02 0009")
        assert wire.ask(bytes.fromhex("01 0003 0001")) == bytes.fromhex("01 01 01")


def test_a_damaged_file_is_told_and_the_older_one_used(tmp_path: Path) -> None:
    file = tmp_path / "state" / "retained-1.bin"
    with running(PLANT, tmp_path) as gateway, Wire(gateway.port) as wire:
        wire.ask(bytes.fromhex("06 0001 1111"))
        wait_until(lambda: file.exists() and b"\x11\x11" in file.read_bytes(), 5.0, "the first snapshot")
        wire.ask(bytes.fromhex("06 0001 2222"))
        wait_until(lambda: b"\x22\x22" in file.read_bytes(), 5.0, "the second")
    data = bytearray(file.read_bytes())
    data[-3] ^= 0x40
    file.write_bytes(data)
    with running(PLANT, tmp_path) as gateway, Wire(gateway.port) as wire:
        assert gateway.search(r"ERROR .*retained registers of unit 1: retained-1.bin .*the snapshot before it is used")
        assert wire.ask(bytes.fromhex("03 0001 0001")) == bytes.fromhex("03 02 1111")


def test_without_a_state_directory_nothing_that_retains_runs_and_everything_else_does(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way", encoding="utf-8")
    (tmp_path / "plant.yaml").write_text(PLANT, encoding="utf-8")
    refused = gateway_command("--config", str(tmp_path / "plant.yaml"))
    assert refused.returncode == 1
    assert "there is a file in its place" in refused.stderr
    with running(PLANT.replace(", retain: true", ""), tmp_path) as gateway, Wire(gateway.port) as wire:
        assert wire.ask(bytes.fromhex("03 0002 0001")) == bytes.fromhex("03 02 0007")
        assert gateway.count("WARNING .*there is a file in its place") == 1
