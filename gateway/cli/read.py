"""`gateway read`: ask a device, once or on the spot again and again."""

from __future__ import annotations

import datetime
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from gateway.cli.options import JsonOption, UrlArgument, Values, grouped
from gateway.cli.output import EXIT_USAGE, fail, nobody_reads

if TYPE_CHECKING:
    from gateway.cli.client import Row, Target

WATCH_S = "1s"
LEAST_WATCH_S = 0.05
"""More often is a benchmark, and no kindness to a PLC."""


class WithWatch(TyperCommand):
    """`--watch` alone, or with a time behind it in either way."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """`--watch` becomes `--watch=1s`, which the parser can read."""
        joined: list[str] = []
        for arg in args:
            if joined and joined[-1] == "--watch" and re.fullmatch(r"\d+(\.\d+)?[a-z]+", arg):
                joined[-1] = f"--watch={arg}"
            else:
                joined.append(arg)
        return super().parse_args(ctx, [f"--watch={WATCH_S}" if arg == "--watch" else arg for arg in joined])


@grouped
def read(
    url: UrlArgument,
    address: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="holding:0..9, input:5, coils:0..15, holding:3.7, 40101 ...")
    ],
    options: Values,
    count: Annotated[
        int, typer.Option("--count", "-n", min=1, max=65536, metavar="N", help="Values from ADDRESS on.")
    ] = 1,
    watch: Annotated[
        str | None,
        typer.Option("--watch", metavar="[=TIME]", help="Again and again, every 1s or TIME; Ctrl-C ends it."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Read values of a device.

    A line for each: its address in both notations, the value, the registers in hex. With --watch the values change on
    the spot, what has changed is marked, and a device that goes away is asked until it is back; in a pipe there is a
    line for each value that has changed. --json prints one object, with --watch one on each line.

    Examples:

      gateway read tcp://192.168.1.10 holding:0..9 --type float32 --order CDAB

      gateway read 127.0.0.1:5020 40101 --unit 3 --count 20 --watch

      gateway read "rtu:///dev/ttyUSB0?baudrate=9600" input:0..3 --unit 17

      gateway read press holding:10 --config plant.yaml --watch=250ms --json
    """
    from gateway.cli import client
    from gateway.config.durations import parse_duration

    asked = client.target(url, address, options, count)
    if asked.is_broadcast:
        fail("unit 0 is a broadcast on a line, to which nobody answers; say which --unit", EXIT_USAGE)
    if watch is not None:
        try:
            every_s = parse_duration(watch)
        except ValueError as error:
            fail(f"--watch: {error}", EXIT_USAGE)
        if every_s < LEAST_WATCH_S:
            fail(f"--watch={watch}: at least 50ms", EXIT_USAGE)
        _watch(asked, every_s, as_json=as_json)
        return
    with client.connected(asked, quiet=as_json) as device:
        data = device.read()
    found = client.rows(asked, data)
    if as_json:
        print(json.dumps(_as_json(asked, found), indent=2))
        return
    for line in _lines(asked, found):
        print(line)


def _as_json(asked: Target, found: Sequence[Row]) -> dict[str, Any]:
    from gateway.cli import client

    return {
        "url": str(asked.url),
        "unit": asked.unit,
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        "values": client.as_json(found),
    }


def _lines(asked: Target, found: Sequence[Row]) -> list[str]:
    from gateway.cli import client

    shown = [(row.at.describe(), client.show(row.value, asked.type), row.hex) for row in found]
    width = max(len(at) for at, _, _ in shown)
    value_width = max(len(value) for _, value, _ in shown)
    return [f"{at:<{width}}  {value:>{value_width}}  {registers}".rstrip() for at, value, registers in shown]


# -- again and again ------------------------------------------------------------------------------------------------


def _watch(asked: Target, every_s: float, *, as_json: bool) -> None:
    """Until Ctrl-C. A device that is away is told once, and asked on."""
    from gateway.cli import client

    next_s = time.monotonic()
    try:
        with _shown(asked, as_json=as_json) as show, client.reconnecting(asked) as device:
            while not nobody_reads():  # what never changes is never written: a device's only connection would be kept
                try:
                    show.values(client.rows(asked, device.read()))
                except client.FAILURES as error:
                    show.away(str(error))
                next_s += every_s
                now_s = time.monotonic()
                if next_s < now_s:  # late ones are left out, not caught up on
                    next_s = now_s
                time.sleep(next_s - now_s)
            raise BrokenPipeError  # as if there had been something to write
    except KeyboardInterrupt:
        pass


class _Shown:
    """What was shown last: what changes against it, and since when the device is away."""

    def __init__(self, asked: Target) -> None:
        self._asked = asked
        self._last: list[Row] | None = None
        self._away_s: float | None = None
        self._reads = self._changes = 0

    def values(self, found: list[Row]) -> None:
        """They were read."""
        last, self._last = self._last, found
        back_s = None if self._away_s is None else time.monotonic() - self._away_s
        self._away_s = None
        self._reads += 1
        changed = [last is not None and row[1:] != old[1:] for row, old in zip(found, last or found, strict=True)]
        self._changes += any(changed)
        self._show(found, last or found, changed, back_s)

    def away(self, why: str) -> None:
        """They could not be."""
        is_new = self._away_s is None
        if self._away_s is None:
            self._away_s = time.monotonic()
        self._show_away(why, time.monotonic() - self._away_s, is_new=is_new)

    def _show(self, found: list[Row], last: list[Row], changed: list[bool], back_s: float | None) -> None:
        raise NotImplementedError

    def _show_away(self, why: str, away_s: float, *, is_new: bool) -> None:
        raise NotImplementedError


class _AsLines(_Shown):
    """A line for what has changed; at first all."""

    def _show(self, found: list[Row], last: list[Row], changed: list[bool], back_s: float | None) -> None:
        from gateway.cli import client

        if back_s is not None:
            print(f"{_clock()}  answers again after {back_s:.1f} s", flush=True)
        if self._reads == 1:
            for line in _lines(self._asked, found):
                print(f"{_clock()}  {line}", flush=True)
            return
        type_ = self._asked.type
        for row, old, is_changed in zip(found, last, changed, strict=True):
            if is_changed:
                was, now = client.show(old.value, type_), client.show(row.value, type_)
                print(f"{_clock()}  {row.at.describe()}  {was} -> {now}  {row.hex}".rstrip(), flush=True)

    def _show_away(self, why: str, away_s: float, *, is_new: bool) -> None:
        if is_new:
            print(f"{_clock()}  {why}; asking on", flush=True)


class _AsJson(_Shown):
    """An object a line, for each time that it was asked."""

    def _show(self, found: list[Row], last: list[Row], changed: list[bool], back_s: float | None) -> None:
        told = _as_json(self._asked, found)
        for row, is_changed in zip(told["values"], changed, strict=True):
            row["changed"] = is_changed
        print(json.dumps(told), flush=True)

    def _show_away(self, why: str, away_s: float, *, is_new: bool) -> None:
        told = _as_json(self._asked, ())
        print(json.dumps({**told, "values": None, "error": why, "away_s": round(away_s, 3)}), flush=True)


class _OnTheSpot(_Shown):
    """A table that stays where it is, on a terminal."""

    def __init__(self, asked: Target, live: Any) -> None:
        super().__init__(asked)
        self._live = live
        self._marks: list[bool] = []

    def _show(self, found: list[Row], last: list[Row], changed: list[bool], back_s: float | None) -> None:
        self._marks = changed
        self._draw(f"{_clock()}  read {self._reads} times, changed {self._changes} times")

    def _show_away(self, why: str, away_s: float, *, is_new: bool) -> None:
        old = " (these values are old)" if self._last else ""
        self._draw(f"{_clock()}  NO ANSWER for {away_s:.0f} s: {why}{old}", away=True)

    def _draw(self, foot: str, *, away: bool = False) -> None:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        from gateway.cli import client

        table = Table(box=None, show_header=False, pad_edge=False)
        for _ in range(4):
            table.add_column(no_wrap=True)
        for row, is_changed in zip(self._last or (), self._marks, strict=False):
            style = "dim" if away else "bold yellow" if is_changed else ""
            cells = (row.at.describe(), client.show(row.value, self._asked.type), row.hex, "*" if is_changed else " ")
            table.add_row(*(Text(cell, style=style) for cell in cells))
        self._live.update(Group(table, Text(foot, style="bold red" if away else "dim")), refresh=True)


@contextmanager
def _shown(asked: Target, *, as_json: bool) -> Iterator[_Shown]:
    if as_json:
        yield _AsJson(asked)
    elif not sys.stdout.isatty():
        yield _AsLines(asked)
    else:
        from rich.live import Live

        with Live(auto_refresh=False, vertical_overflow="crop") as live:
            yield _OnTheSpot(asked, live)


def _clock() -> str:
    return f"{datetime.datetime.now().astimezone():%H:%M:%S}"
