"""A reload of a large plant of which one device changes: what its neighbours and an open client notice.

A client reads a register of the gateway's own every 5 ms on one connection; all devices are polled. Then the YAML gets
another unit id for one device, the process gets SIGHUP, and the farm sees when that unit is asked for the first time:
this is the time to apply, from outside. Before it, a window without a reload is counted: what the machine does anyway.

Run from the repository root: python -m tests.benchmarks.reload --help
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks import farm as farms
from tests.benchmarks import harness
from tests.benchmarks.farm import Farm
from tests.benchmarks.harness import CannotRun, Server
from tests.benchmarks.server import machine, say

ALL_POLLED_DEADLINE_S = 60.0
WARMUP_S = 1.0
LAST_WORDS_S = 1.0
"""For a gateway that closed the client's connection, to end."""
CLIENT_EVERY_S = 0.005
VALUE = 4711
OWN = 60_000
"""A register of the gateway itself, beyond all that is mapped."""
UNITS = 2
"""Of each device in the farm; the changed device goes from one to the other."""


class Run(NamedTuple):
    """A window, with a reload or without."""

    gap_ms: float
    """The longest time between two answers to the client."""
    wait_ms: float
    """The longest time the client waited for one."""
    reads: int
    missed: int
    """Polls missed by the devices that did not change."""
    devices_missing: int
    """How many of them missed any."""
    device_gap_ms: float
    """The longest gap any of them saw."""
    applied_ms: float
    """From SIGHUP to the first request to the new unit; 0 without a reload."""


def plant(ports: Sequence[int], unit_of_first: int, listen: int, args: argparse.Namespace) -> str:
    lines = [
        f'server: {{listen: "tcp://127.0.0.1:{listen}"}}',
        f"units: {{1: {{holding: 0..65535, initial: {{'holding:{OWN}': {VALUE}}}}}}}",
        "devices:",
    ]
    for number, port in enumerate(ports):
        to = number * args.registers
        lines.append(f"  d{number}:")
        lines.append(f"    url: tcp://127.0.0.1:{port}")
        lines.append(f"    unit: {unit_of_first if number == 0 else 1}")
        lines.append(f"    every: {args.period:g}ms")
        lines.append(f"    poll: [{{read: 'holding:0..{args.registers - 1}', to: '1/holding:{to}'}}]")
    return "\n".join(lines) + "\n"


def watch(client: socket.socket, seconds: float, act: Callable[[], None]) -> tuple[float, float, int]:
    """Read every 5 ms; `act` in between, after a tenth of the time. Longest gap and wait (s), and reads."""
    began = before = time.perf_counter()
    longest_gap, longest_wait, reads, acted = 0.0, 0.0, 0, False
    due = began
    while before - began < seconds:
        asked = time.perf_counter()
        if harness.ask(client, harness.read_registers(OWN, 1)) != bytes([3, 2]) + VALUE.to_bytes(2, "big"):
            raise CannotRun("gives the client another value than its own")
        now = time.perf_counter()
        longest_wait = max(longest_wait, now - asked)
        longest_gap = max(longest_gap, now - before)
        before = now
        reads += 1
        if not acted and now - began > seconds / 10:
            acted = True
            act()
        due = max(due + CLIENT_EVERY_S, now - CLIENT_EVERY_S)
        time.sleep(max(0.0, due - time.perf_counter()))
    return longest_gap, longest_wait, reads


def look(
    client: socket.socket, farm: Farm, gateway: Server, new_unit: int, act: Callable[[], None], args: argparse.Namespace
) -> Run:
    """A window around `act`. `new_unit` 0: nothing is reloaded. Raises CannotRun."""
    acted = 0.0

    def do() -> None:
        nonlocal acted
        acted = time.perf_counter()
        act()

    farm.begin()
    farm_began = time.perf_counter()
    try:
        gap_s, wait_s, reads = watch(client, args.seconds, do)
    except OSError as error:
        gateway.check_lives(within_s=LAST_WORDS_S)
        raise CannotRun(f"the client's connection: {error}") from None
    gateway.check_lives()
    seen = farm.devices(args.period / 1000)
    others = seen[UNITS::UNITS]  # unit 1 of each port but the first
    applied_ms = 0.0
    if new_unit:
        first_us = seen[new_unit - 1].first_us
        if first_us < 0:
            raise CannotRun(f"does not apply the change within {0.9 * args.seconds:.1f} s after SIGHUP")
        applied_ms = first_us / 1e3 - (acted - farm_began) * 1e3
    return Run(
        gap_ms=gap_s * 1e3,
        wait_ms=wait_s * 1e3,
        reads=reads,
        missed=sum(one.missed for one in others),
        devices_missing=sum(one.missed > 0 for one in others),
        device_gap_ms=max((one.longest_gap_us for one in others), default=0) / 1e3,
        applied_ms=applied_ms,
    )


def measure(args: argparse.Namespace) -> tuple[list[Run], list[Run]]:
    """Windows without and with a reload, in turns. Raises CannotRun."""
    cores = harness.choose_cores()
    if cores.client is None:
        say("only one core: gateway, client and devices share it, and the figures tell little")
    harness.raise_file_limit()
    harness.pin_to(cores.client)
    quiet: list[Run] = []
    reloads: list[Run] = []
    with harness.temporary_directory() as directory:
        program = harness.compile_c("device_farm", directory)
        config = directory / "plant.yaml"
        with farms.running(program, cores.client, ports=args.devices, units=UNITS) as farm:
            listen = harness.free_port()  # now: the farm has taken its thousand
            config.write_text(plant(farm.ports, 1, listen, args))
            command = harness.gateway_command(config)
            with harness.running(command, listen, cores.server, directory / "log") as gateway:
                farm.wait_until(
                    "polling every device",
                    lambda report: report.devices_asked == args.devices,
                    ALL_POLLED_DEADLINE_S,
                    gateway.check_lives,
                )
                time.sleep(WARMUP_S)
                with harness.connect(listen) as client:
                    for turn in range(args.rounds):
                        quiet.append(look(client, farm, gateway, 0, lambda: None, args))
                        unit = 2 - turn % 2
                        text = plant(farm.ports, unit, listen, args)

                        def change(text: str = text) -> None:
                            replace(config, text)
                            gateway.send_signal(signal.SIGHUP)

                        reloads.append(look(client, farm, gateway, unit, change, args))
                        say(f"round {turn + 1}/{args.rounds}")
    return quiet, reloads


def replace(path: Path, text: str) -> None:
    """As an editor saves: never half a file."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def median(runs: Sequence[Run], of: str) -> float:
    return float(statistics.median(getattr(run, of) for run in runs))


def table(quiet: Sequence[Run], reloads: Sequence[Run]) -> str:
    lines = [
        f"  {'window':<10}{'client gap ms':>15}{'worst':>8}{'wait ms':>9}{'reads':>8}{'missed polls':>14}"
        f"{'devices':>9}{'device gap ms':>15}{'applied ms':>12}"
    ]
    for name, runs in (("quiet", quiet), ("reload", reloads)):
        lines.append(
            f"  {name:<10}{median(runs, 'gap_ms'):>15.1f}{max(run.gap_ms for run in runs):>8.1f}"
            f"{median(runs, 'wait_ms'):>9.1f}{median(runs, 'reads'):>8,.0f}{median(runs, 'missed'):>14,.0f}"
            f"{median(runs, 'devices_missing'):>9,.0f}{median(runs, 'device_gap_ms'):>15.0f}"
            f"{median(runs, 'applied_ms'):>12,.0f}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.reload", description="A reload, seen from outside."
    )
    parser.add_argument("--devices", type=int, default=1000, help="devices (default %(default)s)")
    parser.add_argument("--registers", type=int, default=10, help="registers per poll (default %(default)s)")
    parser.add_argument("--period", type=float, default=1000.0, help="of every device, in ms (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of a window (default %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=3, help="reloads, of which medians are shown (default %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    if args.rounds < 1 or args.seconds <= 0 or args.period < 10 or args.devices < 1:
        parser.error("--rounds, --seconds and --devices must be positive, --period 10 or more")
    if not 1 <= args.registers <= 125 or args.devices * args.registers > OWN:
        parser.error(f"devices x registers must not exceed {OWN:,}, 125 in one poll")
    harness.end_on_signals()
    try:
        quiet, reloads = measure(args)
    except CannotRun as missing:
        sys.exit(f"cannot run: {missing}")
    except KeyboardInterrupt:
        sys.exit(130)
    if args.json:
        both = {"quiet": [run._asdict() for run in quiet], "reload": [run._asdict() for run in reloads]}
        print(json.dumps({"machine": machine(), "settings": vars(args)} | both, indent=1))
        return
    print(
        f"{args.devices:,} devices every {args.period:g} ms, one of which changes; a client reads every 5 ms; medians"
    )
    print(table(quiet, reloads))


if __name__ == "__main__":
    main()
