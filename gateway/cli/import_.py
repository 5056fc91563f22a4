"""`gateway import`: a table of registers becomes a device section."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gateway.cli.options import ForceOption, OutputOption
from gateway.cli.output import EXIT_FAILED, check_target, write_target
from gateway.cli.progress import Working

if TYPE_CHECKING:
    from gateway.maps.readers.imported import Imported
    from gateway.maps.readers.rows import Trouble
    from gateway.maps.readers.section import Section

EXIT_CONFIG, EXIT_PARTLY = 2, 3
MAX_SHOWN = 50
"""Rows that are named; a file of another kind has thousands that say the same."""

MAX_DEVICES = 5
"""Named in the last line; more are counted."""

EPILOG = """Exit codes: 0 all of it; 1 a file could not be read or written; 2 no such table, or a wrong command line; 3
written, but rows were left out."""

KINDS = ("csv", "kepware")
ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The CSV file.", readable=False)],
    url: Annotated[str, typer.Option("--url", metavar="URL", help="Of the device, such as tcp://192.168.1.10.")],
    kind: Annotated[
        str | None, typer.Option("--kind", metavar="KIND", help="csv (ours) or kepware; default: what its columns say.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Of the device.")] = None,
    unit: Annotated[
        int | None, typer.Option("--unit", min=0, max=255, help="The device's unit id; default: the table's, or 1.")
    ] = None,
    to: Annotated[
        int | None, typer.Option("--to", min=0, max=255, help="The gateway's unit id that serves it; default: --unit.")
    ] = None,
    order: Annotated[
        str | None, typer.Option("--order", metavar="ORDER", help="Byte order of a Kepware device; default: ABCD.")
    ] = None,
    output: OutputOption = None,
    force: ForceOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="The section and what was left out, for programs.")] = False,
) -> None:
    """Make a device section of a table of registers: our own CSV, or Kepware's.

    Clients find the values at the gateway where they are in the device. Rows that cannot be taken are listed with their
    lines; the rest is written. Use it with `include: [press.yaml]`, or paste it.

    Examples:

      gateway import tags.csv --url tcp://192.168.1.10 --name press -o press.yaml

      gateway import kepware.csv --url tcp://192.168.1.10 --name press --order CDAB -o press.yaml
    """
    from gateway.config.urls import parse_device_url
    from gateway.maps.readers.rows import TableError
    from gateway.maps.readers.section import section

    try:
        parse_device_url(url)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--url") from None
    for option, value, known in (("--kind", kind, KINDS), ("--order", order, ORDERS)):
        if value is not None and value not in known:
            raise typer.BadParameter(f"'{value}': there is {', '.join(known)}", param_hint=option)
    if output is not None:
        check_target(output, force=force, inputs=(file,))
    try:
        with Working(f"reading {file}", quiet=as_json):
            found = _read(file, kind, order)
    except TableError as error:
        _fail(file, [error.trouble], as_json=as_json)
    except OSError as error:
        print(f"{file}: cannot be read: {error.strerror or error}", file=sys.stderr)
        raise typer.Exit(EXIT_FAILED) from None
    if not found.devices:
        _fail(file, found.left_out or [_nothing()], as_json=as_json)
    _name(found, name, file)
    for device in found.devices:
        device.unit = device.unit if unit is None else unit
    with Working("checking what was made of it", quiet=as_json):
        made = section(found.devices, url, to, file.name)
        wrong = _judge(made.text)
    if as_json:
        told = {
            "ok": not wrong,
            "section": made.text,
            "tags": found.tags,
            "notes": [*found.notes, *made.notes, *wrong],
            "left_out": [trouble._asdict() for trouble in found.left_out],
        }
        print(json.dumps(told, indent=2))
    else:
        _tell(file, found, made, wrong)
    if output is not None:
        write_target(output, made.text.encode(), force=force)
    elif not as_json:
        sys.stdout.write(made.text)
    if wrong:
        raise typer.Exit(EXIT_CONFIG)
    if found.left_out:
        raise typer.Exit(EXIT_PARTLY)


def _read(file: Path, kind: str | None, order: str | None) -> Imported:
    """Raises TableError, OSError."""
    from gateway.maps.readers import kepware, own_csv
    from gateway.maps.readers.rows import MAX_BYTES, TableError, Trouble, read_table

    with file.open("rb") as opened:
        data = opened.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise TableError(Trouble(1, 1, f"is larger than {MAX_BYTES >> 20} MiB; this is no table of registers"))
    table = read_table(data, {*kepware.NUMBERS, *own_csv.NUMBERS})
    if kind is None:
        kind = _kind(table.columns.keys())
    if kind == "kepware":
        found = kepware.read(table)
        for device in found.devices:
            device.order = order
        if order is not None:
            found.notes = [note for note in found.notes if "--order" not in note]
        return found
    if order is not None:
        raise typer.BadParameter("a csv of ours names the order of each value", param_hint="--order")
    return own_csv.read(table)


def _kind(columns: object) -> Literal["csv", "kepware"]:
    from gateway.maps.readers import kepware

    return "kepware" if isinstance(columns, type({}.keys())) and columns >= kepware.MARKS else "csv"


def _name(found: Imported, name: str | None, file: Path) -> None:
    """Every device gets one: what was said, what the table says, or the file's."""
    from gateway.maps.readers.imported import device_name

    alone = len(found.devices) == 1
    for device in found.devices:
        if name is not None:
            device.name = name if alone else f"{name}_{device.name or 'device'}"
        elif not device.name:
            device.name = device_name(file.stem)


def _judge(made: str) -> list[str]:
    """What `gateway check` would say of a plant that is this section alone."""
    from gateway.config.load import load
    from gateway.errors import ConfigError

    with TemporaryDirectory() as folder:
        path = Path(folder) / "section.yaml"
        path.write_text(made, encoding="utf-8")
        try:
            load(path, environ={})
        except ConfigError as error:
            return [f"line {problem.line}: {problem.path}: {problem.message}" for problem in error.problems]
    return []


def _nothing() -> Trouble:
    from gateway.maps.readers.rows import Trouble

    return Trouble(1, 1, "has a heading, but no row below it")


def _fail(file: Path, troubles: Sequence[Trouble], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"ok": False, "left_out": [trouble._asdict() for trouble in troubles]}, indent=2))
    else:
        _list(file, troubles)
    raise typer.Exit(EXIT_CONFIG)


def _list(file: Path, troubles: Sequence[Trouble]) -> None:
    for trouble in troubles[:MAX_SHOWN]:
        print(f"{file}:{trouble.line}:{trouble.column}: {trouble.message}", file=sys.stderr)
    if len(troubles) > MAX_SHOWN:
        print(f"{file}: and {len(troubles) - MAX_SHOWN} rows more (--json lists all)", file=sys.stderr)


def _tell(file: Path, found: Imported, made: Section, wrong: Sequence[str]) -> None:
    _list(file, found.left_out)
    for note in (*found.notes, *made.notes):
        print(f"note: {note}", file=sys.stderr)
    for problem in wrong:
        print(f"`gateway check` would refuse this; {problem}", file=sys.stderr)
    polls = sum(len(device.polls) for device in found.devices)
    names = ", ".join(device.name for device in found.devices[:MAX_DEVICES])
    names += f" and {len(found.devices) - MAX_DEVICES} devices more" if len(found.devices) > MAX_DEVICES else ""
    blocks = f" and {_counted(polls, 'block')}" if polls else ""
    left = f"; {_counted(len(found.left_out), 'row')} left out" if found.left_out else ""
    print(f"{_counted(found.tags, 'tag')}{blocks} of {names}{left}", file=sys.stderr)


def _counted(count: int, what: str) -> str:
    """`1 tag`, `2 tags`."""
    return f"{count} {what}{'' if count == 1 else 's'}"
