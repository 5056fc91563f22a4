"""Rows in, the text of a scrape out, in one pass over the rows.

The format wants all samples of a metric together, the rows come a device at a time and are made as they are asked for:
so lines are gathered by metric, and given out when the last row of a kind has come. A part that is empty says no more
than that others may have their turn now; between two parts lie some ten microseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gateway.config.durations import format_duration
from gateway.metrics import families
from gateway.metrics.families import Metric, Row
from gateway.metrics.text import Family, histogram, label, number, sample
from gateway.traffic import BOUNDS_S

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
TAGS_AT_ONCE = 10
"""Between two turns of others; a tag takes some 4 us."""
LINES_AT_ONCE = 100
"""Of one part, some 6 KB: who sends it does so in pieces of that size."""

GOOD = 0


class TagRow(NamedTuple):
    """One tag now."""

    device: str
    tag: str
    unit: str
    """Of the number: bar, kWh; empty: none."""
    value: Any
    quality: int
    """0 good, 1 uncertain, 2 bad."""


class Rows(NamedTuple):
    """What is shown. Rows are as `gateway status --json` has them; iterators are taken an item at a time."""

    status: Mapping[str, Any]
    lag: Mapping[str, Any]
    """Of the loop, as `Histogram.snapshot` has it."""
    units: Iterable[Row] = ()
    """Of unit ids that clients asked: `unit`, `requests`, `exceptions`."""
    tags: Iterable[TagRow] = ()


def render(rows: Rows) -> Iterator[str]:
    """The text in parts; some are empty."""
    status = rows.status
    about = status["gateway"]
    yield _one(families.INFO, label("version", about["version"]), "1")
    for table, row in (
        (families.GATEWAY, about),
        (families.PROCESS, about),
        (families.SERVER, status.get("server", {})),
        (families.AUDIT, status.get("audit", {})),
        (families.DIAL_IN, status.get("dial_in", {})),
        (families.PAGE, status.get("page", {})),
    ):
        table_lines = _Table(table)
        table_lines.add("", row)
        yield from table_lines.parts()
    yield families.LOOP_LAG.head() + _histogram(families.LOOP_LAG, "", rows.lag)
    yield from _simple(families.LINE, status.get("serial", ()), lambda row: label("line", row["url"]))
    yield from _links(status.get("links", ()))
    yield from _devices(status.get("devices", ()))
    yield from _routes(status.get("routes", ()))
    yield from _simple(families.UNIT, rows.units, lambda row: label("unit_id", row["unit"]))
    yield from _tags(rows.tags)


class _Lines:
    """The samples of one family, as they come; joined while they come, so that nothing large is joined or freed at
    once in the end."""

    __slots__ = ("_family", "_lines", "_parts")

    def __init__(self, family: Family) -> None:
        self._family = family
        self._lines: list[str] = []
        self._parts: list[str] = []

    def add(self, line: str) -> None:
        lines = self._lines
        lines.append(line)
        if len(lines) == LINES_AT_ONCE:
            self._parts.append("".join(lines))
            lines.clear()

    def parts(self) -> Iterator[str]:
        """Nothing at all when there is no sample."""
        if self._parts or self._lines:
            yield self._family.head()
            yield from self._parts
            yield "".join(self._lines)


class _Table:
    """The samples of a table of families, a row at a time."""

    __slots__ = ("_lines", "_metrics")

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._lines = {metric.family.name: _Lines(metric.family) for metric in metrics}
        self._metrics = [(metric, self._lines[metric.family.name]) for metric in metrics]

    def add(self, labels: str, row: Row) -> None:
        for metric, lines in self._metrics:
            value = number(metric.value(row))
            if value is not None:
                both = f"{labels},{metric.more}" if labels and metric.more else labels or metric.more
                lines.add(sample(metric.family.name, both, value))

    def parts(self) -> Iterator[str]:
        for lines in self._lines.values():
            yield from lines.parts()


def _one(family: Family, labels: str, value: str) -> str:
    return family.head() + sample(family.name, labels, value)


def _simple(metrics: Sequence[Metric], rows: Iterable[Row], labels: Any) -> Iterator[str]:
    table = _Table(metrics)
    for row in rows:
        table.add(labels(row), row)
        yield ""
    yield from table.parts()


def _links(rows: Iterable[Row]) -> Iterator[str]:
    table, info, took = _Table(families.LINK), _Lines(families.LINK_INFO), _Lines(families.LINK_TOOK)
    for row in rows:
        labels = label("link", row["name"])
        table.add(labels, row)
        info.add(sample(families.LINK_INFO.name, f"{labels},{label('url', row.get('url', ''))}", "1"))
        _add_took(took, families.LINK_TOOK, labels, row)
        yield ""
    yield from info.parts()
    yield from table.parts()
    yield from took.parts()


def _add_took(lines: _Lines, family: Family, labels: str, row: Row) -> None:
    if (took := row.get("took")) is not None:
        lines.add(_histogram(family, labels, took))


def _histogram(family: Family, labels: str, snapshot: Row) -> str:
    return histogram(family.name, labels, BOUNDS_S, snapshot["buckets"], snapshot["sum_s"])


def _devices(rows: Iterable[Row]) -> Iterator[str]:
    table, jobs = _Table(families.DEVICE), _Table(families.JOB)
    info, states = _Lines(families.DEVICE_INFO), _Lines(families.DEVICE_STATE)
    for row in rows:
        name = label("device", row["name"])
        table.add(name, row)
        about = f"{name},{label('link', row.get('link', ''))},{label('unit_id', row['unit'])}"
        info.add(sample(families.DEVICE_INFO.name, about, "1"))
        for state in families.STATES:
            value = "1" if row["state"] == state else "0"
            states.add(f'{families.DEVICE_STATE.name}{{{name},state="{state}"}} {value}\n')
        yield ""
        for labels, job in _job_labels(name, row.get("jobs", ())):
            jobs.add(labels, job)
            yield ""
    yield from info.parts()
    yield from states.parts()
    yield from table.parts()
    yield from jobs.parts()


def _job_labels(device: str, jobs: Iterable[Row]) -> Iterator[tuple[str, Row]]:
    """Each job's own: a block may be polled twice, which a number behind it tells apart."""
    seen: dict[str, int] = {}
    for job in jobs:
        block = str(job["block"]).partition(" ")[0]  # without the reference: it says the same
        interval = label("interval", format_duration(job["every_s"]))
        labels = f"{device},{label('block', block)},{interval}"
        seen[labels] = times = seen.get(labels, 0) + 1
        yield (labels if times == 1 else f"{device},{label('block', f'{block} #{times}')},{interval}"), job


def _routes(rows: Iterable[Row]) -> Iterator[str]:
    table, took = _Table(families.ROUTE), _Lines(families.ROUTE_TOOK)
    for row in rows:
        labels = f"{label('unit_id', row['unit'])},{label('target', row['forward'])}"
        table.add(labels, row)
        _add_took(took, families.ROUTE_TOOK, labels, row)
        yield ""
    yield from table.parts()
    yield from took.parts()


def _tags(rows: Iterable[TagRow]) -> Iterator[str]:
    values, qualities = _Lines(families.TAG_VALUE), _Lines(families.TAG_QUALITY)
    for count, row in enumerate(rows):
        labels = f"{label('device', row.device)},{label('tag', row.tag)}"
        qualities.add(sample(families.TAG_QUALITY.name, labels, str(int(row.quality))))
        value = number(row.value) if row.quality == GOOD else None
        if value is not None:
            full = f"{labels},{label('unit', row.unit)}" if row.unit else labels
            values.add(sample(families.TAG_VALUE.name, full, value))
        if count % TAGS_AT_ONCE == 0:
            yield ""
    yield from values.parts()
    yield from qualities.parts()
