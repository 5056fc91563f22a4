"""`gateway scan`: what answers at an address, and a device section of it."""

from __future__ import annotations

import datetime
import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.options import Access, ForceOption, JsonOption, UrlArgument, grouped
from gateway.cli.output import EXIT_FAILED, EXIT_USAGE, check_target, fail, plant_files, write_target

if TYPE_CHECKING:
    from gateway.cli.client import Whom
    from gateway.commission.asker import Asker
    from gateway.commission.ranges import Map
    from gateway.commission.scan import Estimate, Found, Result, Span

EXIT_INTERRUPTED = 130
MAX_UNIT = 247
TIMEOUT_S = "500ms"
PACE_S = "20ms"
MAX_SHOWN_RANGES = 40
"""Of a table, on the page; --json and --save have all."""
WIDTH = 100


@grouped
def scan(
    url: UrlArgument,
    *,
    units: Annotated[
        str | None,
        typer.Option(
            "--units", "-u", metavar="IDS", help="1..247 (the default), 1,5,10..20; the device's of --config."
        ),
    ] = None,
    tables: Annotated[
        str | None,
        typer.Option(
            "--tables",
            "-t",
            metavar="LIST",
            help="holding,input,coils,discrete; default: all. holding:0..999 looks at every address of it.",
        ),
    ] = None,
    pace: Annotated[str, typer.Option("--pace", metavar="TIME", help="Quiet between requests.")] = PACE_S,
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="TIME", help="The longest wait for an answer.")
    ] = TIMEOUT_S,
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="FILE", help="Write what was found as a plant's file.", readable=False),
    ] = None,
    force: ForceOption = False,
    access: Access,
    as_json: JsonOption = False,
) -> None:
    """Look what answers at an address: units, who they are, tables, ranges.

    Nothing is written to the device. One connection, one request at a time, a pause after each. Of a whole table the
    places are looked at where ranges use to begin, and around what is found; a short range elsewhere is missed. Ctrl-C
    ends it and shows what was found so far.

    Examples:

      gateway scan 192.168.1.10 --save device.yaml

      gateway scan "rtu:///dev/ttyUSB0?baudrate=9600" --units 1..32 --tables holding:0..99,input:0..99
    """
    from gateway.cli import client
    from gateway.cli.progress import Telling
    from gateway.cli.ways import exchange_with
    from gateway.commission.asker import Asker
    from gateway.commission.scan import Scan, budget, estimate
    from gateway.config.durations import parse_duration
    from gateway.errors import LinkDown

    try:
        asked = client.whom(url, access)
        pace_s, timeout_s = parse_duration(pace), parse_duration(timeout)
        spans = parse_tables(tables)
        ids = parse_units(units) if units else [asked.unit] if access.config else list(range(1, MAX_UNIT + 1))
        if 0 in ids and asked.url.framing != "mbap":
            raise ValueError("--units: 0 is a broadcast on a line, to which nobody answers")
        if timeout_s <= 0:
            raise ValueError("--timeout must be longer than 0")
    except ValueError as error:
        fail(str(error), EXIT_USAGE)
    if save is not None:
        check_target(save, force=force, inputs=plant_files(access.config))
    exchange = exchange_with(asked, timeout_s)
    asker = Asker(exchange, timeout_s=timeout_s, pace_s=pace_s, most=budget(ids, spans))
    with Telling(quiet=as_json) as telling:
        if not as_json or sys.stderr.isatty():
            telling.say(_will_take(len(ids), estimate(ids, spans, pace_s, timeout_s)))
        scanning = Scan(asker, ids, spans, telling, is_tcp=asked.url.framing == "mbap" and units is None)
        began = datetime.datetime.now().astimezone()
        interrupted = False
        try:
            scanning.run()
        except KeyboardInterrupt:
            interrupted = True
            scanning.result.trouble = "interrupted"
        except LinkDown as error:
            fail(f"{asked.url}: {error}")
        finally:
            exchange.close()
    result = scanning.result
    seconds = (datetime.datetime.now().astimezone() - began).total_seconds()
    if as_json:
        print(json.dumps(_as_json(asked, result, asker, seconds), indent=2))
    else:
        for line in _page(asked, result, asker, seconds):
            print(line)
    if save is not None:
        _save(save, asked, result, asker, access, began, force=force)
    if interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
    if not result.units or result.trouble:
        raise typer.Exit(EXIT_FAILED)


# -- the command line -----------------------------------------------------------------------------------------------


def parse_units(text: str) -> list[int]:
    """`1..247`, `1,5,10..20`. Raises ValueError."""
    ids: list[int] = []
    for part in text.split(","):
        first, dots, last = part.strip().partition("..")
        if not first.isdecimal() or (dots and not last.isdecimal()):
            hint = f"; a range is written `{part.strip().replace('-', '..')}`" if "-" in part else ""
            raise ValueError(f"--units: `{part.strip()}` is no unit id: write 1..247, or 1,5,10..20{hint}")
        start, end = int(first), int(last or first)
        if end > 255 or start > end:
            raise ValueError(f"--units: `{part.strip()}`: unit ids are 0..255, the lower one first")
        ids += [unit_id for unit_id in range(start, end + 1) if unit_id not in ids]
    return ids


def parse_tables(text: str | None) -> list[Span]:
    """`holding,input:0..99`. Raises ValueError."""
    from gateway.commission.scan import EVERYTHING, Span
    from gateway.config.addresses import parse_address
    from gateway.config.explain import suggest
    from gateway.modbus.spec import TABLE_BY_WORD

    if text is None:
        return list(EVERYTHING)
    spans = []
    for part in text.split(","):
        word = part.strip()
        if word in TABLE_BY_WORD:
            spans.append(Span(TABLE_BY_WORD[word]))
        elif ":" in word or word.isdecimal() or ".." in word:
            at = parse_address(word)
            spans.append(Span(at.table, at.first, at.stop, is_all=False))
        else:
            raise ValueError(f"--tables: there is no table '{word}'; {suggest(word, TABLE_BY_WORD)}")
    return spans


# -- what is shown --------------------------------------------------------------------------------------------------


def _will_take(units: int, will: Estimate) -> str:
    asks = f"asks {units} unit {'id' if units == 1 else 'ids'}"
    if units > 1 and will.silent_s >= 1:
        asks += f" ({_span(will.units_s)}, or {_span(will.silent_s)} if most are silent)"
    return (
        f"{asks}, then {_span(will.tables_s)} or more for each that answers, if an answer takes 10 ms.\n"
        "Ctrl-C ends it and shows what was found."
    )


def _span(seconds: float) -> str:
    if seconds < 1:
        return "less than 1 s"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _page(asked: Whom, result: Result, asker: Asker, seconds: float) -> Iterator[str]:
    yield str(asked.url)
    for found in result.units[:1] if result.is_one_for_all else result.units:
        yield from _unit(found)
    if result.is_one_for_all:
        yield (
            f"all {result.asked} unit ids answer: one device that does not look at them, or a bridge that answers for\n"
            f"others; only unit {result.units[0].unit_id} was looked into (--units says another)"
        )
    elif not result.units:
        yield from _nobody(asked, result, asker.timeout_s)
    elif result.asked > 1:
        others = [f"{result.silent} silent"] if result.silent else []
        others += [f"{result.bridged} that the bridge cannot reach"] if result.bridged else []
        yield f"of {result.asked} unit ids {len(result.units)} answered" + (f"; {', '.join(others)}" if others else "")
    if asker.exchange.quirks:
        quirks = ", ".join(sorted(asker.exchange.quirks))
        yield f"it needs `accept: [{quirks}]`: its answers carry another id than they were asked with"
    told = f"{_counted(asker.sent, 'requests')} in {seconds:.0f} s"
    if asker.answered:
        told += f"; the slowest answer took {asker.slowest_s * 1000:.0f} ms"
    if asker.exchange.connections > 1:
        told += f"; {asker.exchange.connections} connections"
    yield told
    if result.trouble:
        yield f"NOT WHOLE: {result.trouble}"


def _nobody(asked: Whom, result: Result, timeout_s: float) -> Iterator[str]:
    from gateway.config.durations import format_duration

    if result.bridged:
        yield f"no unit answers: a bridge is there, and says of {result.bridged} unit ids that it cannot reach them"
        return
    yield f"no unit answers; the last: {result.last_silence}"
    if asked.url.line is not None:
        yield "are baud rate, parity and stop bits those of the devices (`?baudrate=9600&parity=none`),"
        yield "A and B not exchanged, the line powered?"
    elif asked.url.carrier == "tcp":
        yield "is it Modbus in this framing (rtu+tcp://, ascii+tcp://)?"
        yield f"is {format_duration(timeout_s)} long enough for it (--timeout)?"


def _unit(found: Found) -> Iterator[str]:
    who = found.identity.describe()
    yield f"unit {found.unit_id}" + (f": {who}" if who else "")
    for name, text in found.identity.objects.items():
        if name not in ("vendor", "product", "revision"):
            yield f"  {name}: {text}"
    if not found.maps:
        yield "  not looked into"
    for map_ in found.maps:
        yield from _table(map_)
    if found.trouble:
        yield f"  NOT WHOLE: {found.trouble}"


def _table(map_: Map) -> Iterator[str]:
    from gateway.modbus.spec import MAX_READ_BITS, MAX_READ_REGISTERS, exception_text

    word = f"  {map_.table.word:<9}"
    if not map_.ranges:
        why = "nothing found"
        if map_.code:
            why = f"refused: {exception_text(map_.code)}" + ("" if map_.code == 1 else f" at {map_.places} places")
        elif map_.silent:
            why = f"no answer at {map_.silent} places"
        yield word + why
        return
    what = "bits" if map_.table.is_bits else "registers"
    most = MAX_READ_BITS if map_.table.is_bits else MAX_READ_REGISTERS
    limit = f", at most {map_.limit} in one request" if map_.limit else f", {most} in one request" * (map_.most == most)
    pairs = ", two at least" if map_.width == 2 else ""
    yield f"{word}{_counted(map_.count, what)} in {_counted(len(map_.ranges), 'ranges')}{limit}{pairs}"
    shown = [f"{first}..{stop - 1}" if stop - first > 1 else str(first) for first, stop in map_.ranges]
    more = len(shown) - MAX_SHOWN_RANGES
    line = ""
    for n, text in enumerate(shown[:MAX_SHOWN_RANGES]):
        end = "" if n + 1 == min(len(shown), MAX_SHOWN_RANGES) else ","
        if len(line) + len(text) > WIDTH - 32:
            yield " " * 11 + line.rstrip()
            line = ""
        line += f"{text}{end} "
    yield " " * 11 + line.rstrip()
    if more > 0:
        yield " " * 11 + f"and {more} more (--json)"
    if not map_.is_whole:
        yield " " * 11 + "not looked at to the end"


def _counted(count: int, what: str) -> str:
    """`1 range`, `2 ranges`."""
    return f"{count} {what.removesuffix('s') if count == 1 else what}"


def _as_json(asked: Whom, result: Result, asker: Asker, seconds: float) -> dict[str, Any]:
    return {
        "url": str(asked.url),
        "whole": result.is_whole,
        "trouble": result.trouble,
        "units": [
            {
                "unit": found.unit_id,
                "first_answer": found.first_answer,
                "identity": found.identity.objects,
                "server_id": found.identity.server_id,
                "tables": {
                    map_.table.word: {
                        "ranges": [[first, stop - 1] for first, stop in map_.ranges],
                        "count": map_.count,
                        "limit": map_.limit,
                        "refused": map_.code or None,
                        "least": map_.width,
                        "whole": map_.is_whole,
                    }
                    for map_ in found.maps
                },
                "trouble": found.trouble,
            }
            for found in result.units
        ],
        "answers_every_unit": result.is_one_for_all,
        "asked": result.asked,
        "silent": result.silent,
        "bridged": result.bridged,
        "quirks": sorted(asker.exchange.quirks),
        "requests": asker.sent,
        "connections": asker.exchange.connections,
        "seconds": round(seconds, 3),
        "slowest_ms": round(asker.slowest_s * 1000, 3),
    }


# -- the file -------------------------------------------------------------------------------------------------------


def _save(
    path: Path,
    asked: Whom,
    result: Result,
    asker: Asker,
    access: Access,
    began: datetime.datetime,
    *,
    force: bool,
) -> None:
    from gateway.commission.section import requests, section

    if not any(map_.ranges for found in result.units for map_ in found.maps):
        print(f"nothing was found that can be read: {path} was not written", file=sys.stderr)
        return
    taken_units, taken_names = _taken(access.config)
    files = (access.cert, access.key, access.ca)
    text = section(
        asked.url,
        result,
        found_by=f"Found by `gateway scan {shlex.quote(str(asked.url))}` on {began:%Y-%m-%d %H:%M}.",
        slowest_s=asker.slowest_s,
        mean_s=asker.mean_s,
        quirks=asker.exchange.quirks,
        taken_units=taken_units,
        taken_names=taken_names,
        tls=[str(file.resolve()) for file in files if file is not None],
    )
    write_target(path, text.encode(), force=force)
    told = f"{path} is written ({_counted(requests(result.units), 'requests')} a round)"
    print(f"{told}; try it: gateway --config {shlex.quote(str(path))} --listen tcp://127.0.0.1:5020", file=sys.stderr)


def _taken(file: Path | None) -> tuple[set[int], set[str]]:
    """Unit ids and names that the plant has, which the new section must not use."""
    if file is None:
        return set(), set()
    from gateway.app import build
    from gateway.config.load import load

    config = load(file)
    return {*build(config).plant.banks, *config.routes}, {*config.devices, *config.links}
