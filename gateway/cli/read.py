"""`gateway read`: ask a device once."""

from __future__ import annotations

import json
from typing import Annotated

import typer

UnitOption = Annotated[int, typer.Option("--unit", "-u", min=0, max=255, help="Unit id.")]
TypeOption = Annotated[
    str | None, typer.Option("--type", "-t", help="bool, int16, uint32, float32 ...; default: uint16, bits for bits.")
]
OrderOption = Annotated[str, typer.Option("--order", "-o", help="Byte order: ABCD, CDAB, BADC, DCBA.")]
TimeoutOption = Annotated[str, typer.Option("--timeout", help="How long to wait for an answer.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs.")]
UrlArgument = Annotated[str, typer.Argument(help="tcp://HOST:PORT, HOST:PORT or HOST.", metavar="URL")]


def read(
    url: UrlArgument,
    address: Annotated[str, typer.Argument(help="holding:0..9, input:5, coils:0..15, holding:3.7, 40101 ...")],
    unit: UnitOption = 1,
    type_: TypeOption = None,
    order: OrderOption = "ABCD",
    timeout: TimeoutOption = "2s",
    as_json: JsonOption = False,
) -> None:
    """Read values of a device.

    Examples:

      gateway read tcp://192.168.1.10 holding:0..9 --type float32 --order CDAB

      gateway read 127.0.0.1:5020 40101 --unit 3
    """
    from gateway.cli import client

    asked = client.target(url, address, unit, type_, order, timeout)
    with client.connected(asked) as device:
        data = device.read()
    found = client.rows(asked, data)
    if as_json:
        print(json.dumps(client.as_json(found), indent=2))
        return
    width = max(len(row.at.describe()) for row in found)
    value_width = max(len(client.show(row.value)) for row in found)
    for row in found:
        print(f"{row.at.describe():<{width}}  {client.show(row.value):>{value_width}}  {row.hex}".rstrip())
