"""What a dead device costs its neighbours: their achieved rates before and after, as the devices saw them.

Twenty devices are polled; one stops answering, then five more. `apart`: each has a connection of its own. `bridge`: all
are unit ids behind one connection, with one request in flight and with 16. Twice after each death a window is counted:
one that begins with the death, when the gateway has to find it out, and one after it should have settled.

Decision: a dead device accepts and never answers, the worst kind for a shared connection. The farm is the witness.
Rates are those of the fourteen that live throughout, against the same devices in the window before any death.

Run from the repository root: python -m tests.benchmarks.isolation --help
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks import farm as farms
from tests.benchmarks import harness
from tests.benchmarks.farm import Farm, Seen
from tests.benchmarks.harness import CannotRun
from tests.benchmarks.server import machine, say

DEVICES = 20
DEAD_FIRST = 1
DEAD_LATER = 5
REGISTERS = 10
ALL_POLLED_DEADLINE_S = 20.0
WARMUP_S = 1.0


class Scene(NamedTuple):
    name: str
    shared: bool
    """All behind one connection."""
    in_flight: int


SCENES = (Scene("apart", False, 1), Scene("bridge-1", True, 1), Scene("bridge-16", True, 16))


class Window(NamedTuple):
    """The living devices in a window."""

    scene: str
    what: str
    polls_per_s: float
    share: float
    """Of the rate before."""
    worst: float
    """The share of the device that has the least."""
    missed: int
    longest_gap_ms: float
    dead_per_s: float
    """What is still asked of the dead ones, each."""


def config_of(scene: Scene, ports: Sequence[int], listen: int, args: argparse.Namespace) -> str:
    lines = [f'server: {{listen: "tcp://127.0.0.1:{listen}"}}', "devices:"]
    for number in range(DEVICES):
        port, unit = (ports[0], number + 1) if scene.shared else (ports[number], 1)
        lines.append(f"  d{number}:")
        lines.append(f"    {{url: 'tcp://127.0.0.1:{port}', unit: {unit}, in_flight: {scene.in_flight},")
        lines.append(f"     timeout: {args.timeout:g}ms, every: {args.period:g}ms,")
        first = number * REGISTERS
        lines.append(f"     poll: [{{read: 'holding:0..{REGISTERS - 1}', to: '1/holding:{first}'}}]}}")
    return "\n".join(lines) + "\n"


def count(farm: Farm, seconds: float, period_s: float) -> list[Seen]:
    farm.begin()
    time.sleep(seconds)
    return farm.devices(period_s)


def play(scene: Scene, program: Path, cores: harness.Cores, directory: Path, args: argparse.Namespace) -> list[Window]:
    """All windows of a scene. Raises CannotRun."""
    period_s = args.period / 1000
    ports, units = (1, DEVICES) if scene.shared else (DEVICES, 1)
    config = directory / f"{scene.name}.yaml"
    with farms.running(program, cores.client, ports=ports, units=units, delay_us=args.delay) as farm:
        listen = harness.free_port()
        config.write_text(config_of(scene, farm.ports, listen, args))
        command = harness.gateway_command(config)
        with harness.running(command, listen, cores.server, directory / f"{scene.name}.log") as gateway:
            farm.wait_until(
                "polling every device",
                lambda report: report.devices_asked == DEVICES,
                ALL_POLLED_DEADLINE_S,
                gateway.check_lives,
            )
            time.sleep(WARMUP_S)
            before = count(farm, args.seconds, period_s)[DEAD_FIRST + DEAD_LATER :]
            if not all(seen.requests for seen in before):
                raise CannotRun("not every device is polled before any is dead")
            windows: list[Window] = []

            def look(what: str, dead: int) -> None:
                seen = count(farm, args.seconds, period_s)
                living = seen[DEAD_FIRST + DEAD_LATER :]
                shares = [now.requests / was.requests for now, was in zip(living, before, strict=True)]
                windows.append(
                    Window(
                        scene=scene.name,
                        what=what,
                        polls_per_s=sum(one.requests for one in living) / args.seconds,
                        share=sum(one.requests for one in living) / sum(one.requests for one in before),
                        worst=min(shares),
                        missed=sum(one.missed for one in living),
                        longest_gap_ms=max(one.longest_gap_us for one in living) / 1e3,
                        dead_per_s=sum(one.requests for one in seen[:dead]) / args.seconds / dead if dead else 0.0,
                    )
                )
                gateway.check_lives()

            look("none dead", 0)
            for first, more in ((0, DEAD_FIRST), (DEAD_FIRST, DEAD_LATER)):
                dead = first + more
                farm.silence(first, more)
                look(f"{dead} dead, at once", dead)
                time.sleep(args.settle)
                look(f"{dead} dead, settled", dead)
            return windows


def table(windows: Sequence[Window]) -> str:
    head = f"  {'scene':<12}{'':<20}{'polls/s':>9}{'of before':>11}{'worst':>9}{'missed':>8}{'gap ms':>9}{'dead/s':>8}"
    lines = [head]
    for w in windows:
        lines.append(
            f"  {w.scene:<12}{w.what:<20}{w.polls_per_s:>9,.1f}{w.share:>11.1%}{w.worst:>9.1%}{w.missed:>8,}"
            f"{w.longest_gap_ms:>9,.0f}{w.dead_per_s:>8.2f}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.isolation", description="The dead and the living."
    )
    names = [scene.name for scene in SCENES]
    parser.add_argument("--seconds", type=float, default=10.0, help="of each window (default %(default)s)")
    parser.add_argument("--settle", type=float, default=10.0, help="between the two windows (default %(default)s)")
    parser.add_argument("--period", type=float, default=100.0, help="of every device, in ms (default %(default)s)")
    parser.add_argument("--timeout", type=float, default=250.0, help="of every device, in ms (default %(default)s)")
    parser.add_argument("--delay", type=int, default=1000, help="of each answer, in microseconds (default %(default)s)")
    parser.add_argument(
        "--only", nargs="+", choices=names, default=names, metavar="SCENE", help=f"of: {', '.join(names)}"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    if args.seconds <= 0 or args.settle < 0 or args.period < 10 or args.timeout < 10:
        parser.error("--seconds must be positive, --settle not negative, --period and --timeout 10 or more")
    harness.end_on_signals()
    cores = harness.choose_cores()
    harness.pin_to(cores.client)
    windows: list[Window] = []
    failed: dict[str, str] = {}
    try:
        with harness.temporary_directory() as directory:
            program = harness.compile_c("device_farm", directory)
            for scene in SCENES:
                if scene.name not in args.only:
                    continue
                try:
                    windows += play(scene, program, cores, directory, args)
                except CannotRun as reason:
                    failed[scene.name] = str(reason)
                say(f"{scene.name}{' failed' if scene.name in failed else ''}")
    except CannotRun as missing:
        sys.exit(f"cannot run: {missing}")
    except KeyboardInterrupt:
        sys.exit(130)
    if args.json:
        every = [window._asdict() for window in windows]
        print(json.dumps({"machine": machine(), "settings": vars(args), "failed": failed, "windows": every}, indent=1))
        return
    print(
        f"{DEVICES} devices every {args.period:g} ms, time-out {args.timeout:g} ms, an answer takes {args.delay:,} us; "
        f"figures of the {DEVICES - DEAD_FIRST - DEAD_LATER} that live throughout"
    )
    print(table(windows))
    for what, why in failed.items():
        print(f"{what}: {why}")


if __name__ == "__main__":
    main()
