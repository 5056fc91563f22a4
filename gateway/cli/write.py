"""`gateway write`: write values to a device, read them back, show before and after."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.options import JsonOption, UrlArgument, Values, grouped
from gateway.cli.output import EXIT_FAILED, EXIT_USAGE, fail
from gateway.cli.progress import clear_line

if TYPE_CHECKING:
    from gateway.cli.client import Row, Target

_BITS = {"1": True, "true": True, "on": True, "0": False, "false": False, "off": False}


@grouped
def write(
    url: UrlArgument,
    address: Annotated[
        str,
        typer.Argument(
            metavar="ADDRESS", help="holding:10, coils:3, holding:3.7, 40101 ...: where the first one goes."
        ),
    ],
    values: Annotated[
        list[str], typer.Argument(metavar="VALUE", help="One value or several in a row; bits: 1 or 0, on or off.")
    ],
    options: Values,
    as_json: JsonOption = False,
) -> None:
    """Write values to a device and read them back.

    All go in one request. The exit code is 1 when they read back differently. Unit 0 of a serial line is every unit of
    it: nobody answers, and nothing is read back.

    Examples:

      gateway write 192.168.1.10 holding:10 21.5 --type float32 --order CDAB

      gateway write 127.0.0.1:5020 coils:3 on --unit 3
    """
    from gateway.cli import client
    from gateway.errors import DeviceRefused, LinkError

    if unknown := next((text for text in values if text.startswith("--")), None):
        fail(f"no such option: {unknown.partition('=')[0]}", EXIT_USAGE)
    asked = _target(client.target(url, address, options), len(values))
    data = _data(asked, values)
    before: list[Row] | None = None
    after: list[Row] | None = None
    with client.connected(asked, quiet=as_json) as device:
        if not asked.is_broadcast:
            try:
                before = client.rows(asked, device.read())
            except DeviceRefused as refusal:
                clear_line()
                print(f"before: {refusal}", file=sys.stderr)
        try:
            device.write(data)
        except LinkError as error:
            fail(f"{asked.describe()}: {error}; whether it was written is unknown")
        if before is not None:
            after = client.rows(asked, device.read())
    wanted = client.rows(asked, data)
    differing = [new.at.describe() for new, want in zip(after or (), wanted, strict=False) if _differs(new, want)]
    if as_json:
        shown = {"before": before and client.as_json(before), "after": after and client.as_json(after)}
        print(json.dumps({**shown, "differs": differing}, indent=2))
    else:
        for n, want in enumerate(wanted):
            old = client.show(before[n].value, asked.type) if before else "?"
            new = (
                client.show(after[n].value, asked.type) if after else f"{client.show(want.value, asked.type)} (written)"
            )
            print(f"{want.at.describe()}  {old} -> {new}  {(after or wanted)[n].hex}".rstrip())
    if differing:
        print(f"read back differently from what was written: {', '.join(differing)}", file=sys.stderr)
        raise typer.Exit(EXIT_FAILED)


def _target(asked: Target, count: int) -> Target:
    """`asked` with room for `count` values; ends the command when that cannot be."""
    from gateway.modbus.spec import ADDRESSES, MAX_WRITE_BITS, MAX_WRITE_REGISTERS, Table

    at, size = asked.address, asked.size
    if at.table not in (Table.COILS, Table.HOLDING):
        fail(f"{at.describe()}: only coils and holding registers can be written", EXIT_USAGE)
    if count > 1 and (at.bit is not None or asked.type == "string"):
        fail(f"{at.describe()} takes one value; {count} are given", EXIT_USAGE)
    if at.count not in (size, count * size):
        fail(f"{at.describe()} holds {at.count // size} values, {count} are given", EXIT_USAGE)
    most = MAX_WRITE_BITS if at.table.is_bits else MAX_WRITE_REGISTERS
    if count * size > most:
        what = "bits" if at.table.is_bits else "registers"
        fail(f"one request writes at most {most} {what}; these are {count * size}", EXIT_USAGE)
    if at.first + count * size > ADDRESSES:
        fail(f"{count} values from {at.describe()} are past 65535, the last address of a table", EXIT_USAGE)
    return asked._replace(address=at._replace(count=count * size))


def _differs(new: Row, wanted: Row) -> bool:
    if new.at.bit is not None:
        return new.value != wanted.value
    return new[1:] != wanted[1:]


def _data(asked: Target, values: Sequence[str]) -> bytes:
    """The values as wire bytes or packed bits; ends the command when one of them is none or does not fit."""
    if asked.type != "bool":
        return b"".join(_encoded(asked, text) for text in values)
    bits = [_bit(text) for text in values]
    if asked.address.table.is_bits:
        return sum(bit << n for n, bit in enumerate(bits)).to_bytes((len(bits) + 7) // 8, "little")
    return b"".join((bit << (asked.address.bit or 0)).to_bytes(2, "big") for bit in bits)


def _bit(text: str) -> bool:

    if text.lower() not in _BITS:
        fail(f"`{text}` is no bit; write 1 or 0, on or off", EXIT_USAGE)
    return _BITS[text.lower()]


def _encoded(asked: Target, text: str) -> bytes:
    from gateway.config.scalars import parse_fraction
    from gateway.values import TYPES, encode

    kind = TYPES[asked.type]
    if asked.type == "string":
        data = encode("string", text, asked.order, asked.size)
        hint = f"{2 * asked.size} bytes; a longer range of the address holds more"
    else:
        try:
            number = int(text, 16) if text.lower().startswith("0x") else parse_fraction(text)
        except ValueError:
            fail(f"`{text}` is not a number", EXIT_USAGE)
        if kind.is_integer and number != int(number):
            fail(f"{text} is no whole number; {asked.type} holds no others (--type float32?)", EXIT_USAGE)
        data = encode(asked.type, number, asked.order)
        hint = f"{kind.low}..{kind.high}" if kind.is_integer else "it is too large"
    if data is None:
        fail(f"{text} does not fit {asked.type}: {hint}", EXIT_USAGE)
    return data
