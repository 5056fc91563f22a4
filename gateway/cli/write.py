"""`gateway write`: write values to a device, read them back, show before and after."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.read import JsonOption, OrderOption, TimeoutOption, TypeOption, UnitOption, UrlArgument

if TYPE_CHECKING:
    from gateway.cli.client import Target

EXIT_FAILED = 1
EXIT_USAGE = 2
_BITS = {"1": True, "true": True, "on": True, "0": False, "false": False, "off": False}


def write(
    url: UrlArgument,
    address: Annotated[
        str, typer.Argument(help="holding:10, coils:3, holding:3.7, 40101 ...; the first of many values.")
    ],
    values: Annotated[list[str], typer.Argument(help="One value or several in a row; bits: 1 or 0, on or off.")],
    unit: UnitOption = 1,
    type_: TypeOption = None,
    order: OrderOption = "ABCD",
    timeout: TimeoutOption = "2s",
    as_json: JsonOption = False,
) -> None:
    """Write values to a device and read them back. Exit code 1 when they read back differently.

    Examples:

      gateway write tcp://192.168.1.10 holding:10 21.5 --type float32 --order CDAB

      gateway write 127.0.0.1:5020 coils:3 on --unit 3
    """
    from gateway.cli import client
    from gateway.modbus.spec import MAX_WRITE_BITS, MAX_WRITE_REGISTERS, Table
    from gateway.values import TYPES

    asked = client.target(url, address, unit, type_, order, timeout)
    at = asked.address
    if at.table not in (Table.COILS, Table.HOLDING):
        client.fail(f"{at.describe()}: only coils and holding registers can be written", EXIT_USAGE)
    size = 1 if at.table.is_bits else TYPES[asked.type].registers or at.count
    count = size * len(values)
    if at.count not in (size, count):
        client.fail(f"{at.describe()} holds {at.count // size} values, {len(values)} are given", EXIT_USAGE)
    if at.bit is not None and len(values) > 1:
        client.fail("one bit of a register takes one value", EXIT_USAGE)
    most = MAX_WRITE_BITS if at.table.is_bits else MAX_WRITE_REGISTERS
    if count > most:
        client.fail(f"one request writes at most {most}; these are {count}", EXIT_USAGE)
    asked = asked._replace(address=at._replace(count=count))
    data = _data(asked, values)
    with client.connected(asked) as device:
        before = client.rows(asked, device.read())
        device.write(data)
        after = client.rows(asked, device.read())
    wanted = client.rows(asked, data) if asked.address.bit is None else None
    wrong = [
        new.at.describe()
        for n, new in enumerate(after)
        if (new != wanted[n] if wanted is not None else bool(new.value) != any(data))
    ]
    if as_json:
        print(
            json.dumps({"before": client.as_json(before), "after": client.as_json(after), "differs": wrong}, indent=2)
        )
    else:
        for old, new in zip(before, after, strict=True):
            print(f"{new.at.describe()}  {client.show(old.value)} -> {client.show(new.value)}  {new.hex}".rstrip())
    if wrong:
        print(f"read back differently from what was written: {', '.join(wrong)}", file=sys.stderr)
        raise typer.Exit(EXIT_FAILED)


def _data(asked: Target, values: Sequence[str]) -> bytes:
    """The values as wire bytes or packed bits; ends the command when one of them is none or does not fit."""
    from gateway.cli import client
    from gateway.config.scalars import parse_fraction
    from gateway.values import encode

    at = asked.address
    if asked.type == "bool":
        unknown = [text for text in values if text.lower() not in _BITS]
        if unknown:
            client.fail(f"'{unknown[0]}' is no bit; write 1 or 0", EXIT_USAGE)
        bits = [_BITS[text.lower()] for text in values]
        if at.table.is_bits:
            return sum(bit << n for n, bit in enumerate(bits)).to_bytes((len(bits) + 7) // 8, "little")
        return b"".join(b"\0\1" if bit else b"\0\0" for bit in bits)
    parts = []
    for text in values:
        if asked.type == "string":
            part = encode("string", text, asked.order, at.count // len(values))
        else:
            try:
                number = int(text, 16) if text.lower().startswith("0x") else parse_fraction(text)
            except ValueError as error:
                client.fail(str(error), EXIT_USAGE)
            part = encode(asked.type, number, asked.order)
        if part is None:
            client.fail(f"{text} does not fit {asked.type}", EXIT_USAGE)
        parts.append(part)
    return b"".join(parts)
