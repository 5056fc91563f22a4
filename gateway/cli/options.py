"""Options and arguments that several commands have, each in one place: the same name means the same everywhere.

What always comes together is a group: a frozen dataclass whose fields are options. A command that is `grouped` takes
the group as one argument, and the command line has each field as an option of its own.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

UrlArgument = Annotated[
    str,
    typer.Argument(
        help="tcp://HOST:PORT, HOST:PORT or HOST; udp:// tls:// rtu+tcp:// ascii+tcp://; rtu:///dev/ttyUSB0 "
        "ascii:///dev/ttyUSB0, with ?baudrate=9600&parity=none; or the name of a device, with --config.",
        metavar="URL",
    ),
]
# Whether a file may be read is found out by whoever reads it, who says more about it (`readable=False`).
PlantArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The plant's YAML file.", readable=False)]
RunningArgument = Annotated[
    Path | None,
    typer.Argument(metavar="FILE", help="The plant's YAML file; read for its state_dir only.", readable=False),
]
StateDirOption = Annotated[
    Path | None,
    typer.Option(
        "--state-dir",
        metavar="DIR",
        help="Instead of FILE. Without both: ./state",
        show_default=False,
        readable=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs.")]
OutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Where to; default: standard output.", readable=False),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Write over a file that is there.")]
UnitOption = Annotated[
    int | None, typer.Option("--unit", "-u", min=0, max=255, metavar="ID", help="Unit id. Default: 1, or the device's.")
]
TimeoutOption = Annotated[str, typer.Option("--timeout", metavar="TIME", help="The longest wait for an answer.")]
TypeOption = Annotated[
    str | None,
    typer.Option("--type", "-t", metavar="TYPE", help="bool int16 uint32 float32 ... Default: uint16, bool for bits."),
]
OrderOption = Annotated[
    str | None,
    typer.Option("--order", "-o", metavar="ORDER", help="ABCD CDAB BADC DCBA. Default: ABCD, or the device's."),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="A plant's file: URL names a device in it.", readable=False),
]
CertOption = Annotated[
    Path | None, typer.Option("--cert", metavar="FILE", help="Our certificate, for tls://.", readable=False)
]
KeyOption = Annotated[Path | None, typer.Option("--key", metavar="FILE", help="Its key.", readable=False)]
CaOption = Annotated[Path | None, typer.Option("--ca", metavar="FILE", help="Whom to trust.", readable=False)]


@dataclasses.dataclass(frozen=True)
class Access:
    """What lets us in where URL leads: certificates, or the plant's file that knows them."""

    config: ConfigOption = None
    cert: CertOption = None
    key: KeyOption = None
    ca: CaOption = None


@dataclasses.dataclass(frozen=True)
class Asking(Access):
    """And one unit of it."""

    unit: UnitOption = None
    timeout: TimeoutOption = "2s"


@dataclasses.dataclass(frozen=True)
class Values(Asking):
    """And what its registers hold."""

    type: TypeOption = None
    order: OrderOption = None


_GROUPS = (Access, Asking, Values)


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """`command` as typer takes it: the options of its group stand where the group stands."""
    signature = inspect.signature(command, eval_str=True)
    (place,) = (each for each in signature.parameters.values() if each.annotation in _GROUPS)
    options = list(_options(place.annotation))
    names = [option.name for option in options]

    def called(**given: Any) -> None:
        group = place.annotation(**{name: given.pop(name) for name in names})
        command(**given, **{place.name: group})

    shown: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        shown += options if parameter is place else [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
    called.__doc__ = command.__doc__
    called.__name__ = command.__name__
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    called.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    return called


def _options(group: type[Access]) -> Iterator[inspect.Parameter]:
    """Its fields, those of the narrower group first: they are what a command is about."""
    hints = get_type_hints(group, include_extras=True)
    for part in group.__mro__[:-1]:
        inherited = {field.name for base in part.__bases__ if base is not object for field in dataclasses.fields(base)}
        for field in dataclasses.fields(part):
            if field.name not in inherited:
                kind = inspect.Parameter.KEYWORD_ONLY
                yield inspect.Parameter(field.name, kind, default=field.default, annotation=hints[field.name])
