"""What changed since the version that a plant's file was written for, as far as it concerns that very file.

The rule of the table: only what an unchanged file now does otherwise, told only where the file has it, with what to do.
What is new without touching older files stands in CHANGELOG.md. No key was renamed or taken away so far.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from gateway import __version__
from gateway.config.model import Config
from gateway.config.model_devices import Link
from gateway.config.model_units import Route
from gateway.config.scalars import parse_version
from gateway.config.tree import Findings, KeyPath, dotted, place_of
from gateway.errors import Problem

MAX_PLACES = 5
"""Of one change; a plant of a thousand devices that are all alike has one thing to think about, not a thousand."""


class Change(NamedTuple):
    """One thing that is otherwise now."""

    since: str
    """The first version that does so."""
    what: str
    """What it does now, and what to do about it."""
    where: Callable[[Config], Iterator[KeyPath]]
    """The places of a file that it concerns."""


def _gaps(config: Config) -> Iterator[KeyPath]:
    for name, device in config.devices.items():
        if "max_gap" in device.model_fields_set and device.max_gap == 0:
            yield "devices", name, "max_gap"


def _pauses(config: Config) -> Iterator[KeyPath]:
    ways: list[tuple[KeyPath, Link | Any]] = [(("links", name), link) for name, link in config.links.items()]
    ways += [(("devices", name), device) for name, device in config.devices.items()]
    for path, way in ways:
        if way.connect_delay_s and any(url.carrier in ("tcp", "tls") for url in way.urls):
            yield *path, "connect_delay"


def _writable(config: Config) -> Iterator[KeyPath]:
    """The first place where a client may write, if nothing is said about the audit."""
    if "audit" in config.model_fields_set:
        return
    for key, section in config.sections.items():
        if not section.read_only if isinstance(section, Route) else section.coils or section.holding:
            yield "units", str(key)
            return
    for name, device in config.devices.items():
        for number, poll in enumerate(device.poll):
            if poll.write is not None:
                yield "devices", name, "poll", number, "write"
                return
        for tag_name, tag in device.tags.items():
            if tag.write:
                yield "devices", name, "tags", tag_name, "write"
                return


CHANGES: tuple[Change, ...] = (
    Change(
        "0.2",
        "a register that the device refuses is found and left out by itself, its block is read around it; without "
        "`max_gap: 0` fewer requests are sent",
        _gaps,
    ),
    Change(
        "0.2",
        "a time-out takes a new connection at once (it took three in a row), and then waits this long again, for every "
        "unit behind it; make it as short as the device allows",
        _pauses,
    ),
    Change(
        "0.3",
        "every write of a client is kept in audit.jsonl in the state directory, up to 110 MB; `audit: {enabled: "
        "false}` keeps none, `max_size` and `keep` of `audit` make it smaller",
        _writable,
    ),
)
"""Oldest first."""


def notes(config: Config, findings: Findings) -> tuple[str, ...]:
    """A line for each place of this file that newer versions treat otherwise than the one it was written for; all there
    are when it does not say for which."""
    written_for = numbers(config.version) if config.version is not None else (0,)
    told = []
    for change in CHANGES:
        if numbers(change.since) > written_for:
            places = list(change.where(config))
            lines = [
                str(Problem(*place_of(findings.root, path), dotted(path), f"since {change.since} {change.what}"))
                for path in places[:MAX_PLACES]
            ]
            if len(places) > MAX_PLACES:
                lines[-1] += f" (and at {len(places) - MAX_PLACES} places more)"
            told += lines
    return tuple(told)


def silencer() -> str:
    """What to write so that these notes are not told again."""
    return f'write `version: "{this_version()}"` into the file, and they are not told again'


def check_version(config: Config, findings: Findings) -> None:
    """A file for a newer gateway may mean what we do not know: an error, first of all that follow from it."""
    if config.version is not None and is_newer(config.version):
        findings.error(("version",), too_new(config.version))


def is_newer(version: str) -> bool:
    """Than this gateway."""
    return numbers(version) > numbers(__version__)[: len(numbers(version))]


def too_new(version: str) -> str:
    """What to do about it."""
    return (
        f"the file was written for version {version}, and this gateway is {__version__}: run a gateway that "
        "is as new, or take out what this one does not know and write its version here"
    )


def is_older(version: str, other: object) -> bool:
    """False, too, when `other` is no version."""
    try:
        return numbers(version) < numbers(parse_version(other))
    except ValueError:
        return False


def this_version() -> str:
    """What a file that is written now has as its `version`."""
    return _short(__version__)


def numbers(version: str) -> tuple[int, ...]:
    """`0.4.1` -> (0, 4, 1)"""
    return tuple(map(int, version.split(".")))


def _short(version: str) -> str:
    return ".".join(version.split(".")[:2])
