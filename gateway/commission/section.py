"""What a scan found -> the text of a plant's file: a device for each unit, its ranges polled into our image. Pure.

The rule of the file: what it writes is a whole configuration that `gateway check` accepts, and a run of it serves each
value at the unit id and address at which the device has it. Where that unit id is taken (`taken`) or is none of ours
(0, 255), the next free one is used. There is no `server` in it, so that it can be included in a plant as it is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Sequence

from gateway.commission.ranges import Map
from gateway.commission.scan import Found, Result
from gateway.config.changes import this_version
from gateway.config.durations import format_duration
from gateway.config.urls import DeviceUrl
from gateway.modbus import spec

USUAL_EVERY_S = 1.0
MOST_LOAD = 0.5
"""The part of a link's time that the polls may take; more is left to writes, and to a device that has a bad day."""
ROUND_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)
USUAL_TIMEOUT_S = 1.0
SLOW_TIMES = 3
"""The time-out is at least so many times the slowest answer."""
MAX_UNIT = 247
SAFE_LIMIT = 1
"""Registers that are read at once where nothing else is known."""


def section(
    url: DeviceUrl,
    result: Result,
    *,
    found_by: str,
    slowest_s: float = 0.0,
    mean_s: float = 0.0,
    quirks: Collection[str] = (),
    taken_units: Collection[int] = (),
    taken_names: Collection[str] = (),
    tls: Sequence[str] = (),
) -> str:
    """`found_by`: the command and when it ran, for the head. `tls`: cert, key and ca, of `tls://`."""
    units = [found for found in result.units if any(map_.ranges for map_ in found.maps)]
    return "\n".join(_lines(url, result, units, found_by, slowest_s, mean_s, quirks, taken_units, taken_names, tls)) + (
        "\n"
    )


def _lines(
    url: DeviceUrl,
    result: Result,
    units: Sequence[Found],
    found_by: str,
    slowest_s: float,
    mean_s: float,
    quirks: Collection[str],
    taken_units: Collection[int],
    taken_names: Collection[str],
    tls: Sequence[str],
) -> Iterator[str]:
    yield f"# {_comment(found_by)}"
    yield "# Try it:     gateway --config THIS_FILE --listen tcp://127.0.0.1:5020"
    yield "# Use it:     `include: [THIS_FILE]` in a plant's file, or copy what follows; what is not needed, take out."
    if result.trouble or not result.is_whole:
        yield f"# The scan did not come to its end{': ' if result.trouble else '.'}{_comment(result.trouble)}"
    if result.is_one_for_all:
        yield "# It answers to every unit id alike: one device that does not look at them."
    yield ""
    yield f'version: "{this_version()}"'
    yield ""
    if tls:
        yield f"tls: {{cert: {_quoted(tls[0])}, key: {_quoted(tls[1])}, ca: {_quoted(tls[2])}}}"
        yield ""
    if not units:
        yield "devices: {}                              # nothing was found that can be read"
        return
    yield "devices:"
    every_s = _every_s(units, mean_s)
    images, names = set(taken_units), set(taken_names)
    for found in units:
        image = _free(found.unit_id, images)
        images.add(image)
        name = _name(found, names)
        names.add(name)
        yield from _device(name, url, found, image, every_s, slowest_s, quirks)


def _device(
    name: str, url: DeviceUrl, found: Found, image: int, every_s: float, slowest_s: float, quirks: Collection[str]
) -> Iterator[str]:
    yield f"  {name}:"
    if who := found.identity.describe():
        yield f"    # it says it is: {_comment(who)}"
    if found.trouble:
        yield f"    # not looked at to the end: {_comment(found.trouble)}"
    yield f"    url: {_quoted(str(url))}"
    yield f"    unit: {found.unit_id}"
    for key, default, text in (
        ("max_registers", spec.MAX_READ_REGISTERS, "registers"),
        ("max_bits", spec.MAX_READ_BITS, "bits"),
    ):
        limits = [map_.limit for map_ in found.maps if map_.limit and map_.table.is_bits == (key == "max_bits")]
        if limits and min(limits) < default:
            yield f"    {key}: {min(limits)}{' ' * 20}# it gives no more {text} in one request"
    if slowest_s * SLOW_TIMES > USUAL_TIMEOUT_S:
        timeout = format_duration(math.ceil(slowest_s * SLOW_TIMES))
        yield f"    timeout: {timeout}                      # its slowest answer took {slowest_s:.2g} s"
    if quirks:
        yield f"    accept: [{', '.join(sorted(quirks))}]"
    yield f"    every: {format_duration(every_s)}" + (
        ""
        if every_s == USUAL_EVERY_S
        else f"                        # more often would take over {MOST_LOAD:.0%} of its time"
    )
    yield "    poll:"
    for map_ in found.maps:
        yield from _polls(map_, image)


def _polls(map_: Map, image: int) -> Iterator[str]:
    word = map_.table.word
    if not map_.ranges:
        return
    what = "bits" if map_.table.is_bits else "registers"
    yield f"      # {word}: {map_.count} {what[:-1] if map_.count == 1 else what}"
    for first, stop in map_.ranges:
        at = f"{word}:{first}..{stop - 1}" if stop - first > 1 else f"{word}:{first}"
        yield f"      - {{read: {at}, to: {image}/{word}:{first}}}"


def _every_s(units: Sequence[Found], mean_s: float) -> float:
    """So that all of it takes at most MOST_LOAD of the time."""
    needed_s = requests(units) * mean_s / MOST_LOAD
    return float(next((each for each in ROUND_S if each >= needed_s), ROUND_S[-1]))


def requests(units: Sequence[Found]) -> int:
    """That one round of polls takes."""
    count = 0
    for found in units:
        for map_ in found.maps:
            most = map_.limit or (spec.MAX_READ_BITS if map_.table.is_bits else spec.MAX_READ_REGISTERS)
            count += sum(-(-(stop - first) // most) for first, stop in map_.ranges)
    return count


def _free(unit_id: int, taken: Collection[int]) -> int:
    """The unit of ours that shows it: its own id where that is possible."""
    if 1 <= unit_id <= MAX_UNIT and unit_id not in taken:
        return unit_id
    return next((each for each in range(1, MAX_UNIT + 1) if each not in taken), unit_id)


def _name(found: Found, taken: Collection[str]) -> str:
    """What it is called: its product, or its unit id."""
    product = found.identity.objects.get("product", "")
    base = re.sub(r"[^A-Za-z0-9_-]+", "_", product).strip("_-").lower()[:40] if product else ""
    base = base if re.match("[a-z]", base) else f"unit{found.unit_id}"
    if base not in taken:
        return base
    tried = (f"{base}_{n}" for n in (found.unit_id, *range(2, 1000)))
    return next(name for name in tried if name not in taken)


def _comment(text: str) -> str:
    """One line, whatever a device sent."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{escaped}"'
