"""A dead unit costs its neighbours nothing they notice; a slow one delays nobody but itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.devices import ScriptedDevice, echo_zeros, free_port
from tests.support.process import ROOT, running
from tests.support.until import wait_until
from tests.support.wire import Wire, adu

EVERY_S = 0.2
WINDOW_S = 4.0
WINDOWS = 3
UNITS = 20


class Bridge(ScriptedDevice):
    """Units behind one connection, one request at a time; the dead ones are silent."""

    def __init__(self, port: int = 0) -> None:
        self.dead: set[int] = set()
        super().__init__(self._answer, port)

    def _answer(self, tid: int, unit: int, pdu: bytes) -> bytes | None:
        return None if unit in self.dead else echo_zeros(tid, unit, pdu)

    def rate(self, seconds: float) -> dict[int, float]:
        """Requests per second of each unit over a window."""
        start, begun_s = len(self.requests), time.monotonic()
        wait_until(lambda: time.monotonic() - begun_s >= seconds, seconds + 5.0, "the end of the window")
        counts: dict[int, int] = {}
        for _, unit, _ in self.requests[start:]:
            counts[unit] = counts.get(unit, 0) + 1
        elapsed_s = time.monotonic() - begun_s
        return {unit: count / elapsed_s for unit, count in counts.items()}

    def undisturbed(self, share: Callable[[dict[int, float]], float], least: float) -> dict[int, float]:
        """The rates of the first of a few windows in which `share` of them is at least that; the machine itself may
        stand still for longer than a poll's interval in one of them."""
        seen = []
        for _ in range(WINDOWS):
            rates = self.rate(WINDOW_S)
            seen.append(share(rates))
            if seen[-1] >= least:
                return rates
        raise AssertionError(f"{seen} of the rate, not {least}")


def states(directory: Path) -> dict[str, str]:
    command = [sys.executable, "-m", "gateway", "status", str(directory / "plant.yaml"), "--json"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    answer = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=30, check=False)
    shown: dict[str, Any] = json.loads(answer.stdout)
    return {device["name"]: device["state"] for device in shown["devices"]}


def test_nineteen_devices_keep_their_rate_when_one_dies_and_fourteen_when_five_more_do(tmp_path: Path) -> None:
    bridge = Bridge()
    devices = "\n".join(
        f"  u{unit}: {{url: 'tcp://127.0.0.1:{bridge.port}', unit: {unit}, every: {int(EVERY_S * 1000)}ms, "
        f"timeout: 500ms, poll: [{{read: 'holding:0..9', to: '1/holding:{unit * 10}'}}]}}"
        for unit in range(1, UNITS + 1)
    )
    plant = f"server: {{listen: 'tcp://127.0.0.1:0'}}\ndevices:\n{devices}\n"
    try:
        with running(plant, tmp_path) as gateway:
            wait_until(lambda: set(states(tmp_path).values()) == {"good"}, 10.0, "all good")
            healthy = bridge.undisturbed(lambda rates: min(rates.values()) * EVERY_S, 0.95)
            for dead in ({7}, {7, 8, 9, 10, 11, 12}):
                bridge.dead = dead
                names = {f"u{unit}" for unit in dead}

                def down(names: set[str] = names) -> bool:
                    return {name for name, state in states(tmp_path).items() if state == "down"} == names

                wait_until(down, 30.0, f"{sorted(names)} down")
                living = [unit for unit in range(1, UNITS + 1) if unit not in dead]

                def kept(rates: dict[int, float], living: list[int] = living) -> float:
                    return sum(rates[unit] for unit in living) / sum(healthy[unit] for unit in living)

                bridge.undisturbed(kept, 0.99)
            assert gateway.count("left alone but for single probes") == 6
    finally:
        bridge.close()


def test_a_slow_unit_never_delays_the_answers_of_another_on_the_same_client_connection(tmp_path: Path) -> None:
    def slow(tid: int, unit: int, pdu: bytes) -> bytes | None:
        time.sleep(0.4)
        return adu(tid, unit, b"\x03\x02\0\x05")

    lame, quick = ScriptedDevice(slow), ScriptedDevice(echo_zeros)
    plant = f"""
server: {{listen: "tcp://127.0.0.1:0"}}
units: {{1: {{holding: 10}}, 5: {{forward: slow}}, 6: {{forward: fast}}}}
devices:
  slow: {{url: "tcp://127.0.0.1:{lame.port}"}}
  fast: {{url: "tcp://127.0.0.1:{quick.port}"}}
"""
    read = bytes.fromhex("0300070001")
    try:
        with running(plant, tmp_path) as gateway, Wire(gateway.port) as wire:
            wait_until(lambda: wire.ask(read, 6) == bytes.fromhex("03020007"), 5.0, "the fast one")
            wait_until(lambda: wire.ask(read, 5) == bytes.fromhex("03020005"), 5.0, "the slow one")
            asked = adu(1, 5, read) + b"".join(adu(10 + n, 6, read) + adu(30 + n, 1, read) for n in range(10))
            wire.send(asked)
            answers = [wire.receive_adu() for _ in range(21)]
            assert [answer.tid for answer in answers][-1] == 1, "the slow one comes last"
            assert [answer.tid for answer in answers if answer.unit == 6] == list(range(10, 20))
            assert [answer.tid for answer in answers if answer.unit == 1] == list(range(30, 40))
    finally:
        lame.close()
        quick.close()


def test_a_second_address_is_used_while_the_first_fails(tmp_path: Path) -> None:
    first = free_port()
    spare = ScriptedDevice(lambda tid, unit, pdu: adu(tid, unit, b"\x03\x02\0\x02"))
    plant = f"""
server: {{listen: "tcp://127.0.0.1:0"}}
devices:
  pump:
    url: ["tcp://127.0.0.1:{first}", "tcp://127.0.0.1:{spare.port}"]
    every: 50ms
    poll: [{{read: "holding:0", to: "1/holding:0"}}]
"""
    read = bytes.fromhex("0300000001")
    try:
        with running(plant, tmp_path) as gateway, Wire(gateway.port) as wire:
            wait_until(lambda: wire.ask(read) == bytes.fromhex("03020002"), 5.0, "the second address")
            command = [sys.executable, "-m", "gateway", "status", str(tmp_path / "plant.yaml"), "--json"]
            environment = os.environ | {"PYTHONPATH": str(ROOT)}
            shown = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=30, check=False)
            assert json.loads(shown.stdout)["links"][0]["url"] == f"tcp://127.0.0.1:{spare.port}"
    finally:
        spare.close()
