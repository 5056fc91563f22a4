"""Retained registers of the running command: a kill, a damaged file, a state directory that cannot be used."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.support.devices import ScriptedDevice
from tests.support.oneshot import gateway as gateway_command
from tests.support.process import running
from tests.support.until import wait_until
from tests.support.wire import Wire, adu

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
        wait_until(lambda: b"\x00\x05\x00\x00\x00\x01\x00\x09" in file.read_bytes(), 5.0, "the next one")
        gateway.process.kill()
        gateway.process.wait(5.0)
    with running(PLANT, tmp_path) as gateway, Wire(gateway.port) as wire:
        assert wire.ask(bytes.fromhex("03 0001 0002")) == bytes.fromhex("03 04 1234 5678")
        assert wire.ask(bytes.fromhex("03 0005 0001")) == bytes.fromhex("03 02 0009")
        assert wire.ask(bytes.fromhex("01 0003 0001")) == bytes.fromhex("01 01 01")


def test_what_nobody_wrote_is_neither_kept_nor_pushed_after_a_restart(tmp_path: Path) -> None:
    asked: list[str] = []

    def behave(tid: int, unit: int, pdu: bytes) -> bytes:
        asked.append(pdu.hex())
        return adu(tid, unit, pdu)

    device = ScriptedDevice(behave)
    plant = f"""{PLANT}
devices:
  press:
    url: tcp://127.0.0.1:{device.port}
    push:
      - {{write: "holding:70", from: "1/holding:3", on: change, every: 200ms}}
      - {{write: "holding:71", from: "1/holding:4", on: change, every: 200ms}}
      - {{write: "holding:72", from: "1/holding:2", on: change, every: 200ms}}
"""
    file = tmp_path / "state" / "retained-1.bin"
    try:
        with running(plant, tmp_path) as gateway, Wire(gateway.port) as wire:
            wire.ask(bytes.fromhex("06 0004 0029"))
            wait_until(lambda: "0600470029" in asked and "0600480007" in asked, 5.0, "the pushes")
            wait_until(lambda: file.exists() and b"\x00\x29" in file.read_bytes(), 5.0, "the snapshot")
        asked.clear()
        with (
            running(plant.replace('"holding:2": 7', '"holding:2": 8'), tmp_path) as gateway,
            Wire(gateway.port) as wire,
        ):
            assert wire.ask(bytes.fromhex("03 0002 0003")) == bytes.fromhex("03 06 0008 0000 0029")
            wait_until(lambda: asked.count("0600470029") > 3 and asked.count("0600480008") > 3, 5.0, "the pushes")
    finally:
        device.close()
    assert set(asked) == {"0600470029", "0600480008"}, "0 in holding:3 is not a value that anybody gave"


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
