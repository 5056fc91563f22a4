"""What a scrape of /metrics costs those who read registers: how long 10,000 tags hold the loop.

Decision: the gateway runs in this process, on its own loop, and a task that does nothing but come back measures the
time between two turns of that loop, in processor time of its thread: what other programs take on a busy machine is not
the gateway's. The same is measured without a scrape, because polling 10,000 tags blocks the loop a little, too.
The peer is prometheus_client, which renders a custom collector of the same gauges at one go.

Run from the repository root: python -m tests.benchmarks.metrics --help
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gateway import process
from gateway.app import build
from gateway.config.load import load
from gateway.metrics import Rows, TagRow, render
from gateway.traffic import Histogram
from tests.support.devices import free_port

TAGS_PER_DEVICE = 100
EVERY = "10s"
LIMIT_S = 0.005
"""Longest block that is allowed (issue)."""
SETTLE_S = 1.0
"""Between two looks whether every device was polled."""
SCRAPE_EVERY_S = 0.5
REPORT = (
    "{tags} tags, rendered alone: {render_ms} ms in all, the longest part {longest_part_ms} ms",
    "prometheus_client, at one go, ms: {prometheus_client_ms}",
    "a running gateway, {scrapes} scrapes of {size_kb} KB, {scrape_ms} ms each:",
    "  the loop was held for {longest_block_ms} ms at most, for more than 5 ms {blocks_over_5ms} times",
    "  without scrapes {longest_block_without_ms} ms at most, for more than 5 ms {blocks_over_5ms_without} times",
)


def plant(tags: int, port: int) -> str:
    """Simulated devices with 100 float tags each; they are simulated on the same loop, so they are polled seldom."""
    lines = [
        'server: {listen: "tcp://127.0.0.1:0"}',
        f'web: {{listen: "http://127.0.0.1:{port}", metrics: {{tags: true}}}}',
        "devices:",
    ]
    for number in range(tags):
        device, place = divmod(number, TAGS_PER_DEVICE)
        if place == 0:
            lines += [f"  device{device:04}:", "    url: sim://", f"    every: {EVERY}", "    tags:"]
        lines.append(
            f'      tag{place:03}: {{at: holding:{2 * place}, type: float32, unit: bar, sim: "sine(0, 9, 60s)"}}'
        )
    return "\n".join(lines)


# -- rendering alone -------------------------------------------------------------------------------------------------


def rows(tags: int) -> Iterator[TagRow]:
    for number in range(tags):
        device, place = divmod(number, TAGS_PER_DEVICE)
        yield TagRow(f"device{device:04}", f"tag{place:03}", "bar", number * 0.1, 0)


def ours(tags: int) -> tuple[float, float]:
    """Seconds of the processor for all parts, and for the longest."""
    status: dict[str, Any] = {"gateway": {"version": "0"}}
    begun = before = time.thread_time()
    longest = 0.0
    for _ in render(Rows(status, Histogram().snapshot(), tags=rows(tags))):
        now = time.thread_time()
        longest, before = max(longest, now - before), now
    return time.thread_time() - begun, longest


def peer(tags: int) -> Callable[[], float] | None:
    """Seconds of the processor of prometheus_client for the same values and qualities; None: it is not installed."""
    try:
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.core import GaugeMetricFamily
    except ImportError:
        return None

    class Collector:
        def collect(self) -> Iterator[Any]:
            value = GaugeMetricFamily("gateway_tag_value", "Value.", labels=["device", "tag", "unit"])
            quality = GaugeMetricFamily("gateway_tag_quality", "Quality.", labels=["device", "tag"])
            for row in rows(tags):
                value.add_metric([row.device, row.tag, row.unit], row.value)
                quality.add_metric([row.device, row.tag], row.quality)
            yield value
            yield quality

    registry = CollectorRegistry()
    registry.register(Collector())

    def once() -> float:
        begun = time.thread_time()
        generate_latest(registry)
        return time.thread_time() - begun

    return once


# -- a running gateway -----------------------------------------------------------------------------------------------


class Watch:
    """How long the loop was held, turn by turn, in processor time of its thread."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self.over = 0
        """Turns longer than the limit."""
        self.turns = 0

    async def run(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        before = time.thread_time()
        while time.monotonic() < end_s:
            await asyncio.sleep(0)
            now = time.thread_time()
            took_s, before = now - before, now
            self.turns += 1
            self.longest_s = max(self.longest_s, took_s)
            self.over += took_s > LIMIT_S


SCRAPER = """
import sys, time, urllib.request
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    begun = time.perf_counter()
    with urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/metrics") as answer:
        size = len(answer.read())
    print(size, time.perf_counter() - begun, flush=True)
    time.sleep(float(sys.argv[3]))
"""
"""In a process of its own: what it does is not the gateway's."""


async def begin_scraping(port: int, seconds: float) -> asyncio.subprocess.Process:
    arguments = ("-c", SCRAPER, str(port), str(seconds), str(SCRAPE_EVERY_S))
    return await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)


def told_by(output: bytes) -> list[tuple[int, float]]:
    """Bytes of each answer, and the seconds until all of it was there."""
    rows = [line.split() for line in output.decode().splitlines()]
    return [(int(size), float(took_s)) for size, took_s in rows]


def _told(running: asyncio.Task[None]) -> None:
    """A gateway that could not run ends the benchmark with its reason."""
    if not running.cancelled() and (error := running.exception()) is not None:
        raise SystemExit(f"the gateway ended: {error!r}")


async def measure(tags: int, seconds: float) -> dict[str, Any]:
    """Without a scrape, then with one every half second."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plant.yaml"
        path.write_text(plant(tags, port))
        gateway = build(load(path))
        gc.collect()
        gc.freeze()  # as the command does
        stop = asyncio.Event()
        running = asyncio.create_task(gateway.run(stop))
        running.add_done_callback(_told)
        while not gateway.page.is_ready or gateway.states()["good"] < tags // TAGS_PER_DEVICE:
            await asyncio.sleep(SETTLE_S)
        quiet, busy = Watch(), Watch()
        await quiet.run(seconds)
        scraper = await begin_scraping(port, seconds)  # to start a process holds the loop, too
        _, (output, _) = await asyncio.gather(busy.run(seconds), scraper.communicate())
        scraped = told_by(output)
        stop.set()
        await running
    return {
        "tags": tags,
        "scrapes": len(scraped),
        "size_kb": max(size for size, _ in scraped) // 1024,
        "scrape_ms": round(statistics.median(took_s for _, took_s in scraped) * 1000, 1),
        "longest_block_ms": round(busy.longest_s * 1000, 2),
        "longest_block_without_ms": round(quiet.longest_s * 1000, 2),
        "blocks_over_5ms": busy.over,
        "blocks_over_5ms_without": quiet.over,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tags", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each of the two measurements")
    parser.add_argument("--rounds", type=int, default=5, help="of rendering alone")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rendered = [ours(arguments.tags) for _ in range(arguments.rounds)]
    found: dict[str, Any] = {
        "render_ms": round(statistics.median(whole for whole, _ in rendered) * 1000, 1),
        "longest_part_ms": round(statistics.median(part for _, part in rendered) * 1000, 3),
    }
    once = peer(arguments.tags)
    found["prometheus_client_ms"] = (
        None if once is None else round(statistics.median(once() for _ in range(arguments.rounds)) * 1000, 1)
    )
    running: dict[str, Any] = {}

    async def run() -> None:
        running.update(await measure(arguments.tags, arguments.seconds))

    process.run_loop(run())
    found |= running
    if arguments.json:
        print(json.dumps(found))
        return 0
    told = {key: "not installed" if value is None else value for key, value in found.items()}
    for line in REPORT:
        print(line.format(**told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
