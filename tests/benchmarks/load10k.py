"""Time to load a large plant: one YAML of 10,000 tags through `gateway.config.load.load`.

Decision: the file looks like a real one (100 tags per device, scales, units, byte orders, one in four mapped into the
image), because the cost lies in the number of scalars and in the checks over all places, not in the size of the file.
`yaml.compose` as it comes, C loader, resolver and garbage collector included, is timed beside it to give the scale.

Run from the repository root: python -m tests.benchmarks.load10k --help
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.benchmarks import harness
from tests.benchmarks.harness import CannotRun

TAGS_PER_DEVICE = 100
MAPPED_EVERY = 4
MAX_TAGS = 65_536 // 2 * MAPPED_EVERY
"""The mapped ones have two registers each in one input table."""
KEYS_BY_KIND = (
    "type: float32, order: CDAB, unit: bar",
    "type: int32, scale: 0.1, unit: kW, every: 5s",
    "type: uint32, unit: kWh, deadband: 10",
    'type: float32, every: 250ms, description: "motor, drive side"',
)


def plant(tags: int) -> str:
    """The YAML of a plant with so many tags, 100 to a device."""
    return "\n".join(_lines(tags)) + "\n"


def _lines(tags: int) -> Iterator[str]:
    yield 'server: {listen: "tcp://127.0.0.1:5020"}'
    yield "units:"
    yield "  1: {holding: 0..999, input: 0..65535}"
    yield "devices:"
    for number in range(tags):
        device, place = divmod(number, TAGS_PER_DEVICE)
        if place == 0:
            yield f"  device{device:04}:"
            yield f"    url: tcp://10.{device // 250}.{device % 250}.10:502"
            yield "    every: 1s"
            yield "    tags:"
        mapped, rest = divmod(number, MAPPED_EVERY)
        to = f", to: 1/input:{2 * mapped}" if rest == 0 else ""
        kind = KEYS_BY_KIND[number // MAPPED_EVERY % len(KEYS_BY_KIND)]
        yield f"      tag{place:03}: {{at: holding:{2 * place}, {kind}{to}}}"


def _load() -> Callable[[Path], Any]:
    try:
        load: Callable[[Path], Any] = importlib.import_module("gateway.config.load").load
    except (ImportError, AttributeError) as error:
        raise CannotRun(f"gateway.config.load.load is not there: {error}") from None
    return load


def compose(path: Path) -> Any:
    with path.open("rb") as file:
        return yaml.compose(file, getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def time_ms(call: Callable[[Path], Any], path: Path) -> tuple[float, Any]:
    began = time.perf_counter()
    result = call(path)
    return (time.perf_counter() - began) * 1e3, result


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.load10k", description="Load a large YAML.")
    parser.add_argument("--tags", type=int, default=10_000, help="tags in the file (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="loads after the first (default %(default)s)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="only write the YAML, to look at it or to profile")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args()
    if not 1 <= args.tags <= MAX_TAGS or args.rounds < 1:
        parser.error(f"--tags must be within 1..{MAX_TAGS} and --rounds positive")
    text = plant(args.tags)
    if args.write:
        args.write.write_text(text)
        return
    harness.end_on_signals()
    harness.pin_to(harness.choose_cores().client)
    try:
        load = _load()
    except CannotRun as reason:
        sys.exit(f"cannot run: {reason}")
    with harness.temporary_directory() as directory:
        path = directory / "plant.yaml"
        path.write_text(text)
        first_ms, config = time_ms(load, path)
        loaded = sum(len(device.tags) for device in config.devices.values())
        if loaded != args.tags:
            sys.exit(f"cannot run: {loaded} of {args.tags} tags were loaded")
        del config
        load_ms: list[float] = []
        compose_ms: list[float] = []
        for _ in range(args.rounds):
            load_ms.append(time_ms(load, path)[0])
            compose_ms.append(time_ms(compose, path)[0])
    median_ms = statistics.median(load_ms)
    if args.json:
        print(json.dumps({"first_ms": first_ms, "load_ms": load_ms, "compose_ms": compose_ms, "median_ms": median_ms}))
        return
    print(f"{args.tags:,} tags, {len(text) / 1024:,.0f} KB: median {median_ms:,.0f} ms", end=" ")
    print(f"(first {first_ms:,.0f}, least {min(load_ms):,.0f}, most {max(load_ms):,.0f})")
    print(f"plain yaml.compose: median {statistics.median(compose_ms):,.0f} ms")


if __name__ == "__main__":
    main()
