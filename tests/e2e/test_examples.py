"""Every example plant loads without a warning and runs with its devices simulated; the quickstart's values move."""

from __future__ import annotations

import functools
import os
import shutil
import sys
from pathlib import Path

import pytest

from gateway.config.load import load
from tests.support.process import ROOT, Running, alive
from tests.support.until import wait_until
from tests.support.wire import Wire, hexed

GOOD = hexed("04 02 0001")
EXAMPLES = sorted((ROOT / "config").glob("*.yaml"))


MISBEHAVES = ("faults",)
"""Its devices are meant to make the log speak."""


def run_example(path: Path, directory: Path) -> Running:
    """The example in a copy of its folder: its state lies beside it, and only one gateway may have that."""
    folder = directory / "config"
    if not folder.exists():
        shutil.copytree(path.parent, folder, ignore=shutil.ignore_patterns("state"))
        for each in folder.glob("*.yaml"):  # the port may be somebody's on this machine
            text = each.read_text(encoding="utf-8")
            each.write_text(text.replace("127.0.0.1:8080", "127.0.0.1:0"), encoding="utf-8")
    path = folder / path.name
    arguments = ["--config", str(path), "--simulate", "--listen", "tcp://127.0.0.1:0"]
    return Running([sys.executable, "-m", "gateway", *arguments], directory, 1)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_loads_without_a_warning_and_every_device_turns_good(path: Path, tmp_path: Path) -> None:
    config = load(path)
    assert config.warnings == ()
    command = run_example(path, tmp_path)
    alive.append(command)
    try:
        command.wait_for_start()
        with Wire(command.port) as wire:
            for name, device in config.devices.items():
                if device.status is None:
                    continue
                request = b"\x04" + device.status.address.first.to_bytes(2, "big") + b"\0\1"
                state = functools.partial(wire.ask, request, config.unit_of(device.status))
                wait_until(lambda ask=state: ask() == GOOD, 8.0, f"{name} good")  # type: ignore[misc]
        if path.stem in MISBEHAVES:
            command.wait_for_log("dead.*did not answer 3 times in a row", 10.0)
            command.wait_for_log(r"holes: holding:4\.\.5 .*is refused with 02 .*safe to read in one request", 10.0)
        assert command.stop() == 0
        assert not command.search("ERROR|Traceback"), command.told()
        assert path.stem in MISBEHAVES or not command.search("WARNING"), command.told()
    finally:
        alive.remove(command)
        command.kill()


def test_the_quickstarts_values_move(tmp_path: Path) -> None:
    command = run_example(ROOT / "config/quickstart.yaml", tmp_path)
    try:
        command.wait_for_start()
        with Wire(command.port) as wire:
            values = set()

            def moved() -> bool:
                answer = wire.ask(hexed("04 0000 0002"))
                if answer[0] == 4:
                    values.add(answer)
                return len(values) >= 4

            wait_until(moved, 8.0, "four different pressures")
            assert hexed("04 04 00000000") not in values
        assert command.stop() == 0
    finally:
        command.kill()


def test_everything_works_on_plain_asyncio_too(tmp_path: Path) -> None:
    (tmp_path / "uvloop.py").write_text("raise ImportError('not on this machine')\n")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(tmp_path)
    try:
        command = run_example(ROOT / "config/quickstart.yaml", tmp_path)
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    try:
        command.wait_for_start()
        with Wire(command.port) as wire:
            wait_until(lambda: wire.ask(hexed("04 0000 0002"))[0] == 4, 8.0, "a value")
            wire.send(hexed("0001 0000 0006 01 04 0000 0002") * 2000)
            for _ in range(2000):
                assert wire.receive_adu().pdu[:2] == hexed("04 04")
            wire.send(hexed("0007 0000 0006 01 04 0064 0001"))
            wire.half_close()
            assert wire.receive_adu().tid == 7
        assert command.stop() == 0
    finally:
        command.kill()
