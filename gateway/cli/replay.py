"""`gateway replay`: a recording, served as a simulated device."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.errors import ListenError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.config.urls import ListenUrl
    from gateway.recording.file import Recording
    from gateway.recording.player import Replay

MOST_SPEED = 1000.0
LOOK_S = 0.1
"""How often it is looked whether it has begun."""
SOON_S = 0.001
"""Timers may come a moment early."""
MAX_RANGES = 8
"""Of one table told in a line."""


def replay(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A recording that `gateway record` has made.", readable=False)
    ],
    listen: Annotated[
        str, typer.Option("--listen", metavar="URL", help="Where to serve it; port 0 takes a free one.")
    ] = "tcp://127.0.0.1:15020",
    speed: Annotated[
        float, typer.Option("--speed", min=0.001, max=MOST_SPEED, metavar="N", help="Twice as fast: 2.")
    ] = 1.0,
    loop: Annotated[bool, typer.Option("--loop/--once", help="Begin again at the end, or stop there.")] = True,
    latency: Annotated[bool, typer.Option("--latency", help="Answer as late as the device did.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: what is served, then what was asked.")] = False,
) -> None:
    """Serve a recording as a simulated device.

    Registers and bits change as they were seen to, from the first request on. Reads of anything inside of what was seen
    are answered, other ranges are refused with 02; what the device refused is refused, where it was silent there is
    silence, other functions are answered as recorded. Writes inside of what was seen are accepted and stay until the
    recording begins again, but those that the device refused. Units have the ids that they had. Ctrl-C ends it.

    Examples:

      gateway replay press.rec

      gateway replay press.rec --listen tcp://127.0.0.1:1502 --speed 10 --once --latency
    """
    import asyncio

    from gateway.cli.output import EXIT_FAILED, EXIT_USAGE, fail
    from gateway.config.urls import parse_listen_url
    from gateway.recording.file import NoRecording, parse

    try:
        url = parse_listen_url(listen)
    except ValueError as error:
        fail(f"--listen: {error}", EXIT_USAGE)
    if url.scheme != "tcp":
        fail(f"--listen {listen}: a recording is served over tcp:// only", EXIT_USAGE)
    try:
        with file.open(encoding="utf-8", errors="replace") as lines:
            recording = parse(lines)
    except OSError as error:
        fail(f"{file}: cannot be read: {error.strerror}", EXIT_USAGE)
    except NoRecording as error:
        fail(f"{file}: {error}", EXIT_USAGE)
    try:
        asyncio.run(_serve(recording, url, speed, loop=loop, latency=latency, as_json=as_json))
    except ListenError as error:
        fail(str(error), EXIT_FAILED)


class _Unit:
    """One unit of a recording, as the simulation's server asks it."""

    def __init__(self, replay: Replay, unit_id: int, delay: list[float]) -> None:
        self._replay = replay
        self._unit_id = unit_id
        self._delay = delay

    def answer(self, pdu: bytes) -> bytes | None:
        played = self._replay.answer(self._unit_id, pdu)
        self._delay[0] = played.took_s
        return played.answer


async def _serve(
    recording: Recording, url: ListenUrl, speed: float, *, loop: bool, latency: bool, as_json: bool
) -> None:
    import asyncio
    import contextlib

    from gateway import clock
    from gateway.cli.simulate import start
    from gateway.process import stopped_by_signals
    from gateway.recording.player import Replay
    from gateway.simulate.server import SimServer

    played = Replay(recording, clock.now, speed=speed, is_loop=loop)
    delay = [0.0]
    units = {unit_id: _Unit(played, unit_id, delay) for unit_id in played.players}
    server = SimServer(units, delay_s=(lambda: delay[0]) if latency else (lambda: 0.0))
    stop = asyncio.Event()
    with stopped_by_signals(stop):
        await start(server, url.host, url.port, "--listen")
        try:
            _tell(recording, played, url._replace(port=server.port), as_json=as_json)
            while not stop.is_set() and played.left_s != 0:
                wait_s = None if loop else LOOK_S if played.left_s is None else played.left_s + SOON_S
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), wait_s)
        finally:
            await server.stop()
    requests = sum(server.requests.values())
    if as_json:
        print(json.dumps({"requests": requests, "laps": played.lap}), flush=True)
    else:
        print(f"ended: {requests} requests were answered or met with silence", flush=True)


def _tell(recording: Recording, played: Replay, url: ListenUrl, *, as_json: bool) -> None:
    header = recording.header
    if as_json:
        told: dict[str, Any] = {
            "listening": str(url),
            "device": header.device,
            "url": header.url,
            "begun": header.begun,
            "duration_s": round(played.duration_s, 3),
            "exchanges": len(recording.exchanges),
            "lost": recording.lost,
            "whole": recording.is_whole,
            "unfit": recording.unfit,
            "units": {
                str(unit_id): {
                    table: [[first, stop - 1] for first, stop in found]
                    for table, found in player.ranges.items()
                    if found
                }
                for unit_id, player in played.players.items()
            },
        }
        print(json.dumps(told), flush=True)
        return
    from gateway.control.findings import span

    print(
        f"{header.device} ({header.url}), recorded {header.begun}: {len(recording.exchanges)} exchanges in "
        f"{span(played.duration_s)}, at {url}"
    )
    for unit_id, player in sorted(played.players.items()):
        seen = [_ranges(table, found) for table, found in player.ranges.items() if found]
        print(f"  unit {unit_id}: {', '.join(seen) or 'no registers; other functions as recorded'}")
    sys.stdout.flush()
    if recording.lost:
        print(f"warning: the recorder missed {recording.lost} frames: values may change late", file=sys.stderr)
    if recording.unfit:
        unfit = f"{recording.unfit} of {len(recording.exchanges)} answers cannot be to their requests"
        print(f"warning: {unfit}: no values are taken from them; was the file edited?", file=sys.stderr)
    if not recording.is_whole:
        print("warning: the recording was cut off; it is played as far as it goes", file=sys.stderr)


def _ranges(table: str, found: Sequence[tuple[int, int]]) -> str:
    texts = [f"{first}..{stop - 1}" if stop - first > 1 else str(first) for first, stop in found[:MAX_RANGES]]
    more = f" and {len(found) - MAX_RANGES} more" if len(found) > MAX_RANGES else ""
    return f"{table}:{','.join(texts)}{more}"
