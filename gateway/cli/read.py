"""`gateway read`: ask a device once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

UnitOption = Annotated[
    int | None, typer.Option("--unit", "-u", min=0, max=255, metavar="ID", help="Unit id. Default: 1, or the device's.")
]
TypeOption = Annotated[
    str | None,
    typer.Option("--type", "-t", metavar="TYPE", help="bool int16 uint32 float32 ... Default: uint16, bool for bits."),
]
OrderOption = Annotated[
    str | None,
    typer.Option("--order", "-o", metavar="ORDER", help="ABCD CDAB BADC DCBA. Default: ABCD, or the device's."),
]
TimeoutOption = Annotated[str, typer.Option("--timeout", metavar="TIME", help="The longest wait for an answer.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs.")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", help="A plant's file: URL names a device in it.")
]
CertOption = Annotated[Path | None, typer.Option("--cert", metavar="FILE", help="Our certificate, for tls://.")]
KeyOption = Annotated[Path | None, typer.Option("--key", metavar="FILE", help="Its key.")]
CaOption = Annotated[Path | None, typer.Option("--ca", metavar="FILE", help="Whom to trust.")]
UrlArgument = Annotated[
    str,
    typer.Argument(
        help="tcp://HOST:PORT, HOST:PORT or HOST; udp:// tls:// rtu+tcp:// ascii+tcp://; rtu:///dev/ttyUSB0 "
        "ascii:///dev/ttyUSB0, with ?baudrate=9600&parity=none; or the name of a device, with --config.",
        metavar="URL",
    ),
]


def read(
    url: UrlArgument,
    address: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="holding:0..9, input:5, coils:0..15, holding:3.7, 40101 ...")
    ],
    unit: UnitOption = None,
    type_: TypeOption = None,
    order: OrderOption = None,
    count: Annotated[
        int, typer.Option("--count", "-n", min=1, max=65536, metavar="N", help="Values from ADDRESS on.")
    ] = 1,
    timeout: TimeoutOption = "2s",
    config: ConfigOption = None,
    cert: CertOption = None,
    key: KeyOption = None,
    ca: CaOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read values of a device.

    A line for each: its address in both notations, the value, the registers in hex.

    Examples:

      gateway read tcp://192.168.1.10 holding:0..9 --type float32 --order CDAB

      gateway read 127.0.0.1:5020 40101 --unit 3 --count 20

      gateway read "rtu:///dev/ttyUSB0?baudrate=9600" input:0..3 --unit 17

      gateway read press holding:10 --config plant.yaml
    """
    from gateway.cli import client

    asked = client.target(url, address, client.Options(unit, type_, order, timeout, config, cert, key, ca), count)
    if asked.is_broadcast:
        client.fail("unit 0 is a broadcast on a line, to which nobody answers; say which --unit", client.EXIT_USAGE)
    with client.connected(asked) as device:
        data = device.read()
    found = client.rows(asked, data)
    if as_json:
        print(json.dumps(client.as_json(found), indent=2))
        return
    shown = [(row.at.describe(), client.show(row.value, asked.type), row.hex) for row in found]
    width = max(len(at) for at, _, _ in shown)
    value_width = max(len(value) for _, value, _ in shown)
    for at, value, registers in shown:
        print(f"{at:<{width}}  {value:>{value_width}}  {registers}".rstrip())
