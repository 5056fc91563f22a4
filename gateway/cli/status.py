"""`gateway status`: ask a running gateway how it is, what is wrong first."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.options import JsonOption, RunningArgument, StateDirOption
from gateway.cli.output import page_console
from gateway.cli.progress import Working
from gateway.control.findings import Finding, findings, percent, rates, span

if TYPE_CHECKING:
    from rich.console import Console

EXIT_UNREACHABLE = 1
EXIT_CONFIG = 2
EXIT_WRONG = 3

DEFAULT_STATE_DIR = "state"
"""Where the gateway puts it when the plant's file does not say."""
MAX_ROWS = 20
"""Of a table without --all; the page stays one that is read at a glance."""
MAX_FINDINGS = 20
LEAST_BLOCK = len("(400001..400050)")
"""The room that a block needs when it is broken between its two notations."""
_WORST_FIRST = ("down", "stale", "waiting", "good", "disabled")
_TURNED_AWAY = (
    ("refused_connections", "clients turned away"),
    ("handshakes_failed", "TLS handshakes failed"),
    ("half", "clients closed for half a request"),
    ("unfetched", "closed for answers not fetched"),
    ("denied", "requests refused by the rules"),
    ("slowed", "times a client was slowed down"),
    ("dropped", "datagrams dropped"),
    ("twins", "of them repetitions of what was being worked on"),
)
"""Counters of the server and what they count."""
_DIALLED_IN = (
    ("unknown", "with an unknown id"),
    ("silent", "without an id in time"),
    ("crowded", "when too many had none yet"),
    ("replaced", "replaced by their own next call"),
)
"""Counters of what was closed, and their words."""
WAITING = "waiting for"
"""How the trouble of a link begins whose device has to dial in."""
_COLOURS = {"down": "red", "stale": "yellow", "waiting": "yellow", "disabled": "dim"}

EPILOG = """Exit codes: 0 all is well; 1 no gateway is running there, or it does not answer; 2 wrong plant file or
command line; 3 something is wrong: the page begins with it."""


def status(
    file: RunningArgument = None,
    state_dir: StateDirOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Every row of the tables, not the worst 20.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Ask a running gateway how it is: what is wrong first.

    Each thing that is wrong says whose it is: the network's, a PLC's, or ours. Then come links, devices, jobs (the rate
    they are asked for and the one they reach), routes. Only the user who runs the gateway may ask it.

    Examples:

      gateway status plant.yaml

      gateway status --state-dir /var/lib/gateway --json
    """
    from gateway.control.client import ask
    from gateway.control.path import ControlError

    try:
        with Working("asking the gateway", quiet=as_json):
            snapshot = ask(state_dir_of(file, state_dir), "status")
    except ControlError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(EXIT_UNREACHABLE) from None
    found = findings(snapshot)
    if as_json:
        print(json.dumps(snapshot, indent=2))
    else:
        show(snapshot, found, page_console(), everything=everything)
    if found:
        raise typer.Exit(EXIT_WRONG)


def state_dir_of(file: Path | None, given: Path | None) -> Path:
    """What to ask; ends the command when the plant's file does not tell."""
    if file is not None and given is not None:
        raise typer.BadParameter("say FILE or --state-dir, not both")
    if file is None:
        return given or Path(DEFAULT_STATE_DIR)
    from gateway.config.load import load
    from gateway.control.path import SOCKET_NAME
    from gateway.errors import ConfigError

    try:
        return load(file).state_path
    except ConfigError as error:
        print(error, file=sys.stderr)
        usual = file.parent / DEFAULT_STATE_DIR
        print(f"{file} has mistakes, so it does not tell where the gateway keeps its state; ", end="", file=sys.stderr)
        if (
            usual / SOCKET_NAME
        ).exists():  # the one that runs has read a better file, and this is when one wants to know
            print(f"asking the one of {usual}", file=sys.stderr)
            return usual
        print("ask the one that runs with --state-dir DIR", file=sys.stderr)
        raise typer.Exit(EXIT_CONFIG) from None


def show(snapshot: Mapping[str, Any], found: Sequence[Finding], console: Console, *, everything: bool = False) -> None:
    """The page: `found` first, then the tables, the worst rows first; all rows with `everything`."""
    most = None if everything else MAX_ROWS
    links = list(snapshot.get("links", ()))
    devices = sorted(snapshot.get("devices", ()), key=lambda device: _rank(device["state"]))
    _head(snapshot.get("gateway", {}), console)
    _turned_away(
        snapshot.get("server", {}),
        snapshot.get("audit", {}),
        snapshot.get("serial", ()),
        snapshot.get("dial_in", {}),
        console,
    )
    _show_findings(found, links, devices, console, None if everything else MAX_FINDINGS)
    _show_links(
        sorted(links, key=lambda link: (bool(link["up"]), -float(link.get("load_percent") or 0))), console, most
    )
    _show_devices(devices, console, most)
    _show_jobs(devices, console, most)
    _show_routes(list(snapshot.get("routes", ())), console, most)


def _rank(state: str) -> int:
    return _WORST_FIRST.index(state) if state in _WORST_FIRST else 0


def _head(gateway: Mapping[str, Any], console: Console) -> None:
    console.print(
        f"gateway {gateway.get('version', '')}, process {gateway.get('pid', '?')}, up {span(gateway.get('uptime_s'))}: "
        f"{gateway.get('config', '')}, generation {gateway.get('generation', '?')}"
    )
    console.print(
        f"serves {', '.join(gateway.get('listen', ()))}: {gateway.get('clients', 0)} clients connected, "
        f"{gateway.get('requests', 0)} requests, {gateway.get('exceptions', 0)} answered with an exception"
    )


def _turned_away(
    server: Mapping[str, Any],
    audit: Mapping[str, Any],
    lines: Sequence[Mapping[str, Any]],
    dial_in: Mapping[str, Any],
    console: Console,
) -> None:
    """What clients and those who called did not get, since the start, and how serial lines of clients are; a line only
    when there is something."""
    told = [f"{server[name]} {words}" for name, words in _TURNED_AWAY if server.get(name)]
    if told:
        console.print(f"beside that: {', '.join(told)}")
    for line in lines:
        told_of = "open" if line["open"] else "NOT OPEN"
        console.print(
            f"{line['url']} is {told_of}: {line['requests']} requests for us, {line['exceptions']} answered with an "
            f"exception; {line['heard']} frames heard, {line['broken']} unreadable"
        )
    if any(dial_in.get(name) for name, _ in _DIALLED_IN):
        told = [f"{dial_in[name]} {words}" for name, words in _DIALLED_IN if dial_in.get(name)]
        console.print(f"devices that dialled in: {', '.join(told)}")
    if audit.get("lost"):
        console.print(f"the audit has lost {audit['lost']} of {audit['lost'] + audit.get('lines', 0)} lines")


def _show_findings(
    found: Sequence[Finding],
    links: Sequence[Mapping[str, Any]],
    devices: Sequence[Mapping[str, Any]],
    console: Console,
    most: int | None,
) -> None:
    from rich.padding import Padding
    from rich.table import Table

    console.print()
    if not found:
        waiting = sum(device["state"] == "waiting" for device in devices)
        more = f", {waiting} waiting for the first answer" if waiting else ""
        good = sum(device["state"] == "good" for device in devices)
        up = sum(bool(link["up"]) for link in links)
        console.print(f"nothing is wrong: {good} devices good{more}, {up} of {len(links)} links up", style="green")
        return
    counts: dict[str, int] = {}
    for finding in found:
        counts[finding.whose] = counts.get(finding.whose, 0) + 1
    console.print("WRONG: " + ", ".join(f"{count} {whose}" for whose, count in counts.items()), style="bold red")
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column(overflow="fold")
    for finding in found[:most]:
        grid.add_row(f" {finding.whose}", finding.what)
        for line in finding.more:
            grid.add_row("", Padding(line, (0, 0, 0, 2)))
    console.print(grid)
    if most is not None and len(found) > most:
        console.print(f" and {len(found) - most} more: --all shows them")


Row = tuple[str | None, Sequence[str]]
"""Colour, cells."""


def _table(
    title: str, columns: Sequence[str], rows: Iterable[Row], console: Console, most: int | None, *, folds: int
) -> None:
    """A table whose first `folds` columns give way when there is too little room; nothing when there are no rows.

    A column that begins with `>` holds numbers; the last one folds when it does not begin so.
    """
    from rich import box
    from rich.table import Table

    kept = list(rows)
    if not kept:
        return
    console.print()
    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, padding=0)
    for number, column in enumerate(columns):
        if column.startswith(">"):
            made.add_column(column[1:], justify="right", no_wrap=True)
        else:
            least = LEAST_BLOCK if column == "block" else None
            made.add_column(column, overflow="fold", min_width=least, no_wrap=folds <= number < len(columns) - 1)
    for colour, cells in kept[:most]:
        made.add_row(*cells, style=colour)
    console.print(made)
    if most is not None and len(kept) > most:
        console.print(f"and {len(kept) - most} more, in no worse state: --all shows them")


def _show_links(links: Sequence[Mapping[str, Any]], console: Console, most: int | None) -> None:
    is_garbled = any(_garbled(link) for link in links)

    def row(link: Mapping[str, Any]) -> Row:
        counters = link.get("counters", {})
        since = f" {span(link['since_s'])}" if link.get("since_s") is not None and not link["up"] else ""
        word = "waiting" if str(link.get("trouble", "")).startswith(WAITING) else "down"
        urls = list(link.get("urls", ()))
        via = f" via {link['url']}" if len(urls) > 1 or (urls and urls[0] != link["name"]) else ""
        counted = (str(counters.get(name, 0)) for name in ("requests", "timeouts", "late", "losses"))
        load, state = percent(link.get("load_percent")), "up" if link["up"] else f"{word}{since}"
        garbled = (str(_garbled(link)),) if is_garbled else ()
        cells = (f"{link['name']}{via}", state, load, str(link.get("queued", 0)), *counted, *garbled)
        return None if link["up"] else "yellow" if word == "waiting" else "red", cells

    columns = ["link", "state", ">load", ">queued", ">requests", ">time-outs", ">late", ">losses"]
    columns += [">garbled"] if is_garbled else []
    _table("links", columns, map(row, links), console, most, folds=2)


def _garbled(link: Mapping[str, Any]) -> int:
    """Frames with a wrong checksum, and noise, on a line."""
    return int(link.get("counters", {}).get("crc_errors", 0))


def _show_devices(devices: Sequence[Mapping[str, Any]], console: Console, most: int | None) -> None:
    def row(device: Mapping[str, Any]) -> Row:
        writes = device.get("writes", {})
        written = f"{writes.get('done', 0)}"
        for word in ("refused", "unknown", "waiting"):
            if writes.get(word):
                written += f", {writes[word]} {word}"
        counted = (str(device.get("good_requests", 0)), str(device.get("failed_requests", 0)))
        cells = (device["name"], str(device["unit"]), device["state"], span(device.get("age_s")), *counted, written)
        return _COLOURS.get(device["state"]), (*cells, str(device.get("last_error", "")))

    columns = ("device", ">unit", ">state", ">age", ">good", ">failed", "writes", "last error")
    _table("devices", columns, map(row, devices), console, most, folds=8)


def _show_jobs(devices: Sequence[Mapping[str, Any]], console: Console, most: int | None) -> None:
    def behind(item: tuple[str, Mapping[str, Any]]) -> tuple[bool, float]:
        job = item[1]
        asked = float(job.get("requested_per_s") or 0)
        achieved = job.get("achieved_per_s")
        return not job.get("error"), float(achieved) / asked if asked and achieved is not None else 1.0

    def row(item: tuple[str, Mapping[str, Any]]) -> Row:
        name, job = item
        is_known = job.get("achieved_per_s") is not None
        skipped = percent(job.get("overload_percent")) if is_known else "-"  # of the turns that came
        times = (span(job.get("lag_s")), span(job.get("took_s")))
        cells = (name, str(job["block"]), span(job.get("every_s")), rates(job), *times, skipped)
        return "yellow" if job.get("error") else None, cells

    jobs = [(str(device["name"]), job) for device in devices for job in device.get("jobs", ())]
    columns = ("device", "block", ">every", ">a second", ">lag", ">took", ">skipped")
    _table("jobs", columns, map(row, sorted(jobs, key=behind)), console, most, folds=2)


def _show_routes(routes: Sequence[Mapping[str, Any]], console: Console, most: int | None) -> None:
    def row(route: Mapping[str, Any]) -> Row:
        there = "same" if route.get("to_unit") is None else str(route["to_unit"])
        access = "read" if route.get("read_only") else "all"
        counted = (str(route.get(name, 0)) for name in ("requests", "shared", "cached", "refused", "failed"))
        return None, (str(route["unit"]), str(route["forward"]), there, access, *counted)

    columns = (">unit", "forward", ">there", ">may", ">requests", ">shared", ">cached", ">refused", ">failed")
    _table("routes", columns, map(row, routes), console, most, folds=2)
