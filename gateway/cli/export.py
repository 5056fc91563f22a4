"""`gateway export`: the register map that clients see, in the form that their tools take."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.options import ForceOption, OutputOption, PlantArgument
from gateway.cli.output import check_target, write_target
from gateway.cli.progress import Working
from gateway.maps.registry import FORMATS

if TYPE_CHECKING:
    from gateway.config.model import Config
    from gateway.maps.neutral import Map

EXIT_CONFIG = 2

_UNITS = re.compile(r"(\d{1,3})(?:(?:\.\.|-)(\d{1,3}))?", re.ASCII)
EPILOG = "Formats: " + "; ".join(f"{name}: {form.what}" for name, form in FORMATS.items()) + "."


def export(
    file: PlantArgument,
    form: Annotated[
        str, typer.Option("--format", "-f", metavar="FORMAT", help=f"{', '.join(FORMATS)}.", show_default=False)
    ] = "",
    output: OutputOption = None,
    force: ForceOption = False,
    host: Annotated[
        str | None,
        typer.Option("--host", metavar="NAME", help="What clients dial, NAME or NAME:PORT; default: where it listens."),
    ] = None,
    units: Annotated[
        str | None, typer.Option("--units", metavar="IDS", help="Only these unit ids, such as 1,5..9.")
    ] = None,
    device: Annotated[
        list[str] | None, typer.Option("--device", metavar="NAME", help="Only values of this device; repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Write the register map that clients see, for the tool that they are.

    Addresses, types and byte orders are as the tool counts and names them. What it cannot show is left out, and a line
    on standard error says so. Passwords, keys and addresses of devices are never in it.

    Examples:

      gateway export plant.yaml --format html -o map.html

      gateway export plant.yaml --format node-red --host gw1.plant --device press -o flow.json
    """
    from gateway import __version__
    from gateway.config.load import load_files
    from gateway.errors import ConfigError
    from gateway.maps.dial import parse_host, remarks, target_of
    from gateway.maps.neutral import map_of
    from gateway.maps.registry import writer
    from gateway.maps.target import ExportError

    form = _format(form, as_json=as_json)
    try:
        name, port = (None, None) if host is None else parse_host(host)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--host") from None
    wanted = None if units is None else _unit_ids(units)
    try:
        with Working(f"reading {file}", quiet=as_json):
            config, files = load_files(file)
    except ConfigError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(EXIT_CONFIG) from None
    if output is not None:
        check_target(output, force=force, inputs=files)
    only = None if device is None else _devices(config, device)
    with Working(f"mapping {file}", quiet=as_json):
        served = map_of(config).only(wanted, only)
    if not served.entries:
        _tell([_nothing(config, served, filtered=wanted is not None or device is not None)])
    try:
        with Working(f"writing {form}", quiet=as_json):
            made = writer(form)(served, target_of(config, __version__, name, port, socket.gethostname()))
    except ExportError as error:
        print(f"{file}: {error}", file=sys.stderr)
        raise typer.Exit(EXIT_CONFIG) from None
    disabled = f"disabled, and so left out: {', '.join(served.left_out)}"
    _tell([*remarks(made.dials), *made.notes, *([disabled] if served.left_out else [])])
    if output is None:
        sys.stdout.write(made.text.replace("\r\n", "\n"))  # to a file as it is, line ends too
    else:
        write_target(output, made.text.encode(), force=force)


def _format(form: str, *, as_json: bool) -> str:
    from difflib import get_close_matches

    if as_json:
        if form not in ("", "json"):
            raise typer.BadParameter(f"--json is --format json, this says --format {form}", param_hint="--json")
        return "json"
    if form in FORMATS:
        return form
    if not form:
        raise typer.BadParameter(f"say which, such as `--format csv`: {', '.join(FORMATS)}", param_hint="--format")
    close = get_close_matches(form.lower().replace("_", "-"), FORMATS, n=1)
    hint = f"did you mean `{close[0]}`?" if close else f"there is {', '.join(FORMATS)}"
    raise typer.BadParameter(f"unknown format '{form}'; {hint}", param_hint="--format")


def _unit_ids(text: str) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        match = _UNITS.fullmatch(part.strip())
        first = int(match[1]) if match else 256
        last = int(match[2]) if match and match[2] else first
        if not first <= last <= 255:
            raise typer.BadParameter(f"`{part}` is no unit id: write 0..255, such as 1,5..9", param_hint="--units")
        found.update(range(first, last + 1))
    return found


def _devices(config: Config, names: Iterable[str]) -> Collection[str]:
    from difflib import get_close_matches

    from gateway.maps.neutral import GATEWAY

    known = {*config.devices, GATEWAY}
    for name in names:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean `{close[0]}`?" if close else f"there is {', '.join(sorted(known))}"
            raise typer.BadParameter(f"no device '{name}'; {hint}", param_hint="--device")
    return set(names)


def _nothing(config: Config, served: Map, *, filtered: bool) -> str:
    if filtered:
        return "nothing is left of the map with --units and --device"
    if served.forwards:
        return "units are passed through only: what their registers are, the gateway does not know"
    if any(device.tags for device in config.devices.values()):
        return "no tag has a `to`: clients of the gateway can read none of them"
    return "clients can read nothing here: there are no units, polls or tags"


def _tell(lines: Iterable[str]) -> None:
    for line in lines:
        print(f"note: {line}", file=sys.stderr)
