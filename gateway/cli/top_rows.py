"""What `gateway top` shows, as plain rows: snapshots of a running gateway in, tables out. Pure: no terminal, no clock.

The rule of the file: a row is text as it is shown, its colour, and for every column what it is sorted by, so that
whatever draws it needs to know nothing of Modbus. Rates are differences of two snapshots of the same process; counters
that fell belong to another one, and give no rate.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from gateway.control.findings import Finding, findings, percent, rates, span

Data = Mapping[str, Any]

_WORST_FIRST = ("down", "stale", "waiting", "good", "disabled")
_COLOURS = {"down": "red", "stale": "yellow", "waiting": "yellow", "disabled": "dim"}
_LEVELS = {"error": "red", "warning": "yellow"}


class Column(NamedTuple):
    """`rank`: what is left out first when there is too little room has the highest; 0 is always shown."""

    name: str
    is_number: bool = False
    rank: int = 0


class Row(NamedTuple):
    cells: tuple[str, ...]
    keys: tuple[Any, ...]
    """What each cell is sorted by."""
    colour: str = ""
    """red, yellow, dim, or none."""
    name: str = ""
    """What it is about; stays the same from one snapshot to the next."""


class View(NamedTuple):
    """One table; rows come with what is worst first."""

    title: str
    columns: tuple[Column, ...]
    rows: list[Row]


class Look(NamedTuple):
    """What was asked of a gateway at one time; `at_s` on any clock that does not step."""

    at_s: float
    status: Data
    clients: Sequence[Data] = ()
    events: Sequence[Data] = ()
    """The newest last."""


class Rates(NamedTuple):
    """A second, since the look before; None: not known yet."""

    requests: float | None
    exceptions: float | None
    polls: float | None
    failures: float | None

    def as_json(self) -> dict[str, float | None]:
        return {f"{name}_per_s": None if each is None else round(each, 2) for name, each in self._asdict().items()}


def rates_of(look: Look, before: Look | None) -> Rates:
    """Clients' requests, and polls of devices."""

    def total(of: Data, part: str, key: str) -> float:
        return float(sum(int(row.get(key, 0)) for row in of.get(part, ())))

    def gateway(of: Data, key: str) -> float:
        return float(of.get("gateway", {}).get(key, 0))

    def rate(value: float, value_before: float | None) -> float | None:
        return _rate(value, value_before, look, before)

    now, then = look.status, before.status if before is not None and is_same(look, before) else {}
    if not then:
        return Rates(None, None, None, None)
    return Rates(
        rate(gateway(now, "requests"), gateway(then, "requests")),
        rate(gateway(now, "exceptions"), gateway(then, "exceptions")),
        rate(total(now, "devices", "good_requests"), total(then, "devices", "good_requests")),
        rate(total(now, "devices", "failed_requests"), total(then, "devices", "failed_requests")),
    )


def is_same(look: Look, before: Look) -> bool:
    """Of the same process."""
    return bool(boot_of(look.status) == boot_of(before.status))


def boot_of(status: Data) -> Any:
    """Which start of the gateway: in a container every one has the same pid."""
    return status.get("gateway", {}).get("boot")


def _rate(value: float, value_before: float | None, look: Look, before: Look | None) -> float | None:
    if before is None or value_before is None or value < value_before or look.at_s <= before.at_s:
        return None
    return (value - value_before) / (look.at_s - before.at_s)


def head(look: Look, before: Look | None) -> list[str]:
    """Two lines: which gateway, and what it does."""
    gateway, found = look.status.get("gateway", {}), rates_of(look, before)
    devices = list(look.status.get("devices", ()))
    states = {state: sum(device["state"] == state for device in devices) for state in _WORST_FIRST}
    counted = ", ".join(f"{count} {state}" for state, count in states.items() if count) or "no devices"
    links = list(look.status.get("links", ()))
    up = sum(bool(link["up"]) for link in links)
    return [
        f"gateway {gateway.get('version', '')} up {span(gateway.get('uptime_s'))}, {_memory(gateway)}; "
        f"{gateway.get('clients', 0)} clients, requests {per_s(found.requests)}, exceptions {per_s(found.exceptions)}; "
        f"{gateway.get('config', '')}",
        f"{counted}; {up}/{len(links)} links up; polls {per_s(found.polls)}, failed {per_s(found.failures)}",
    ]


def _memory(gateway: Data) -> str:
    memory_kb = gateway.get("memory_kb")
    return f"{memory_kb / 1024:.0f} MB" if isinstance(memory_kb, int | float) else f"process {gateway.get('pid', '?')}"


def per_s(rate: float | None) -> str:
    """`12.3/s`; `-` for none."""
    return "-" if rate is None else f"{_short(rate)}/s"


def _short(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 99.5 or value == 0 else f"{value:.{2 if value < 10 else 3}g}"


def views(look: Look, before: Look | None) -> list[View]:
    """All tables; `before` gives the rates."""
    if before is not None and not is_same(look, before):
        before = None
    status = look.status
    made = [
        _wrong(findings(status)),
        _devices(look, before),
        _links(look, before),
        _jobs(list(status.get("devices", ()))),
        _clients(look, before),
        _events(look.events),
    ]
    if status.get("routes"):
        made.append(_routes(look, before))
    return made


def _wrong(found: Sequence[Finding]) -> View:
    rows = []
    for number, finding in enumerate(found):
        rows.append(Row((finding.whose, finding.what), (number, number), "red", f"{number}"))
        rows += [Row(("", f"  {line}"), (number, number), "", f"{number}") for line in finding.more]
    return View("wrong", (Column("whose"), Column("what")), rows)


def _by_name(rows: Iterable[Data], key: str = "name") -> dict[Any, Data]:
    return {row.get(key): row for row in rows}


def _devices(look: Look, before: Look | None) -> View:
    columns = (
        Column("device"), Column("unit", True, 3), Column("state"), Column("age", True), Column("asked/s", True, 2),
        Column("got/s", True), Column("failed/s", True), Column("failed", True, 4), Column("writes", True, 5),
        Column("last error", rank=1),
    )  # fmt: skip
    earlier = _by_name(before.status.get("devices", ())) if before is not None else {}
    rows = []
    for device in look.status.get("devices", ()):
        jobs = list(device.get("jobs", ()))
        asked = sum(float(job.get("requested_per_s") or 0) for job in jobs)
        measured = [float(job["achieved_per_s"]) for job in jobs if job.get("achieved_per_s") is not None]
        got = sum(measured) if measured or not jobs else None
        was = earlier.get(device["name"], {}).get("failed_requests")
        failed = _rate(float(device.get("failed_requests", 0)), was, look, before)
        age_s, written = device.get("age_s"), int(device.get("writes", {}).get("done", 0))
        state, error = str(device["state"]), str(device.get("last_error", ""))
        rank = _WORST_FIRST.index(state) if state in _WORST_FIRST else 0
        cells = (
            str(device["name"]), str(device["unit"]), state, span(age_s), _short(asked), _short(got), _short(failed),
            str(device.get("failed_requests", 0)), str(written), error,
        )  # fmt: skip
        keys = (
            device["name"], device["unit"], rank, _number(age_s), asked, _number(got), _number(failed),
            device.get("failed_requests", 0), written, error,
        )  # fmt: skip
        rows.append(Row(cells, keys, _COLOURS.get(state, "yellow" if failed else ""), str(device["name"])))
    rows.sort(key=lambda row: (row.keys[2], -row.keys[6] if row.keys[6] > 0 else 0))
    return View("devices", columns, rows)


def _links(look: Look, before: Look | None) -> View:
    columns = (
        Column("link"), Column("state"), Column("load", True), Column("queued", True, 4), Column("requests/s", True),
        Column("time-outs", True), Column("late", True, 3), Column("losses", True, 2), Column("garbled", True, 5),
        Column("trouble", rank=1),
    )  # fmt: skip
    earlier = _by_name(before.status.get("links", ())) if before is not None else {}
    rows = []
    for link in look.status.get("links", ()):
        counters, name = link.get("counters", {}), str(link["name"])
        was = earlier.get(name, {}).get("counters", {}).get("requests")
        rate = _rate(float(counters.get("requests", 0)), was, look, before)
        load, trouble, is_up = _number(link.get("load_percent")), str(link.get("trouble", "")), bool(link["up"])
        state = "up" if is_up else f"down {span(link['since_s'])}" if link.get("since_s") is not None else "down"
        counts = [int(counters.get(key, 0)) for key in ("timeouts", "late", "losses", "crc_errors")]
        queued = int(link.get("queued", 0))
        cells = (name, state, percent(link.get("load_percent")), str(queued), _short(rate))
        keys = (name, is_up, load, queued, _number(rate))
        colour = "red" if not is_up else "yellow" if load > 100 else ""
        rows.append(Row((*cells, *map(str, counts), trouble), (*keys, *counts, trouble), colour, name))
    rows.sort(key=lambda row: (row.keys[1], -row.keys[2]))
    return View("links", columns, rows)


def _jobs(devices: Sequence[Data]) -> View:
    columns = (
        Column("device"), Column("block"), Column("every", True), Column("a second", True), Column("lag", True, 3),
        Column("took", True), Column("skipped", True, 2), Column("error", rank=1),
    )  # fmt: skip
    rows = []
    for device in devices:
        for job in device.get("jobs", ()):
            asked, got = float(job.get("requested_per_s") or 0), job.get("achieved_per_s")
            skipped, error = float(job.get("overload_percent") or 0), str(job.get("error") or "")
            times = (job.get("lag_s"), job.get("took_s"))
            cells = (
                str(device["name"]), str(job["block"]), span(job.get("every_s")), rates(job), *map(span, times),
                "-" if got is None else f"{skipped:.0f}%", error,
            )  # fmt: skip
            part = float(got) / asked if asked and got is not None else 1.0
            keys = (
                device["name"],
                job["block"],
                _number(job.get("every_s")),
                part,
                *map(_number, times),
                skipped,
                error,
            )
            rows.append(Row(cells, keys, "yellow" if error else "", f"{device['name']} {job['block']}"))
    rows.sort(key=lambda row: (not row.cells[-1], row.keys[3]))
    return View("jobs", columns, rows)


def _clients(look: Look, before: Look | None) -> View:
    columns = (
        Column("client"), Column("by", rank=2), Column("role", rank=3), Column("since", True, 4), Column("idle", True),
        Column("requests/s", True), Column("exceptions", True), Column("waiting", True, 5), Column("last", rank=1),
    )  # fmt: skip
    earlier = _by_name(before.clients, "peer") if before is not None else {}
    rows = []
    for client in look.clients:
        peer = str(client.get("peer", ""))
        was = earlier.get(client.get("peer"), {}).get("requests")
        rate = _rate(float(client.get("requests", 0)), was, look, before)
        since_s, idle_s = client.get("since_s"), client.get("idle_s")
        exceptions, waiting = int(client.get("exceptions", 0)), int(client.get("waiting", 0))
        role, last = str(client.get("role") or ""), str(client.get("last") or "")
        way = str(client.get("way") or "")
        cells = (
            peer, way, role, span(since_s), span(idle_s), _short(rate),
            str(exceptions), str(waiting), last,
        )  # fmt: skip
        keys = (peer, way, role, _number(since_s), _number(idle_s), _number(rate), exceptions, waiting, last)
        rows.append(Row(cells, keys, "", peer))
    rows.sort(key=lambda row: -row.keys[5])
    return View("clients", columns, rows)


def _events(events: Sequence[Data]) -> View:
    columns = (Column("time"), Column("kind", rank=2), Column("where"), Column("what"))
    rows = []
    for event in reversed(events):
        time_text, number = _clock_time(event.get("time_ms", 0)), event.get("number", 0)
        cells = (time_text, str(event.get("kind", "")), str(event.get("where", "")), str(event.get("text", "")))
        rows.append(Row(cells, (number, *cells[1:]), _LEVELS.get(str(event.get("level")), ""), str(number)))
    return View("events", columns, rows)


def _clock_time(time_ms: Any) -> str:
    """Hours to seconds, here."""
    return time.strftime("%H:%M:%S", time.localtime(float(time_ms) / 1000))


def _routes(look: Look, before: Look | None) -> View:
    columns = (
        Column("unit", True), Column("forward"), Column("there", True, 3), Column("requests/s", True),
        Column("shared", True, 2), Column("cached", True, 2), Column("refused", True), Column("failed", True),
    )  # fmt: skip
    earlier = _by_name(before.status.get("routes", ()), "unit") if before is not None else {}
    rows = []
    for route in look.status.get("routes", ()):
        was = earlier.get(route["unit"], {}).get("requests")
        rate = _rate(float(route.get("requests", 0)), was, look, before)
        counts = [int(route.get(key, 0)) for key in ("shared", "cached", "refused", "failed")]
        there = "same" if route.get("to_unit") is None else str(route["to_unit"])
        cells = (str(route["unit"]), str(route["forward"]), there, _short(rate))
        keys = (route["unit"], route["forward"], there, _number(rate))
        rows.append(Row((*cells, *map(str, counts)), (*keys, *counts), "", str(route["unit"])))
    rows.sort(key=lambda row: -row.keys[-1])
    return View("routes", columns, rows)


def _number(value: Any) -> float:
    """To sort by; what is not known comes last."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else -1.0


# -- tables ---------------------------------------------------------------------------------------------------------


def chosen(view: View, words: str, column: int | None, *, is_reversed: bool) -> list[Row]:
    """The rows that have all `words` in some cell, sorted by a column (numbers: the highest first), or as they come."""
    wanted = words.lower().split()
    rows = [row for row in view.rows if all(any(word in cell.lower() for cell in row.cells) for word in wanted)]
    if column is not None and column < len(view.columns):
        highest_first = view.columns[column].is_number
        rows.sort(key=lambda row: (isinstance(row.keys[column], str), row.keys[column]), reverse=highest_first)
    return rows[::-1] if is_reversed else rows


def laid_out(view: View, rows: Iterable[Row], width: int) -> list[tuple[int, int]]:
    """(column, its width) of those that fit into `width`: those of the highest rank are left out first, then the widest
    of the rest are cut short."""
    rows = list(rows)
    columns = list(range(len(view.columns)))
    needed = [max((len(view.columns[at].name), *(len(row.cells[at]) for row in rows))) for at in columns]
    least = {at: min(needed[at], _LEAST_WIDTH) for at in columns if not view.columns[at].is_number}

    def room(kept: Sequence[int]) -> int:
        return sum(least.get(at, needed[at]) for at in kept) + len(kept) - 1

    while room(columns) > width and any(view.columns[at].rank for at in columns):
        columns.remove(max(columns, key=lambda at: view.columns[at].rank))
    spare = width - room(columns)
    widths = {at: least.get(at, needed[at]) for at in columns}
    for at in columns:  # the first columns say which row it is; the last one takes what is left
        more = min(spare, needed[at] - widths[at])
        if more > 0:
            widths[at] += more
            spare -= more
    return [(at, widths[at]) for at in columns]


_LEAST_WIDTH = 12
"""Characters of a text that tell something."""


def line(view: View, cells: Sequence[str], layout: Sequence[tuple[int, int]]) -> str:
    """One line of a table."""
    return " ".join(_cell(cells[at], width, is_number=view.columns[at].is_number) for at, width in layout).rstrip()


def _cell(text: str, width: int, *, is_number: bool) -> str:
    if len(text) > width:
        return text[: max(0, width - 1)] + "~"
    return text.rjust(width) if is_number else text.ljust(width)
