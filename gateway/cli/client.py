"""What `read` and `write` share: one connection of pymodbus's client, its errors in our words, values and rows.

The only file that knows pymodbus. It is imported when a command runs, so that the gateway starts without it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import typer

from gateway.config.addresses import Address, parse_address
from gateway.config.durations import parse_duration
from gateway.config.urls import DeviceUrl, parse_device_url
from gateway.modbus import spec
from gateway.modbus.spec import Table
from gateway.values import TYPES, Tag, Value, from_raw, registers_decoder

if TYPE_CHECKING:
    from pymodbus.client import ModbusTcpClient
    from pymodbus.pdu import ModbusPDU

EXIT_FAILED = 1
EXIT_USAGE = 2

ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")


class Target(NamedTuple):
    """Whom to ask, and for what."""

    url: DeviceUrl
    unit: int
    address: Address
    timeout_s: float
    type: str
    order: str


def fail(message: str, code: int = EXIT_FAILED) -> NoReturn:
    """End the command with one line."""
    print(message, file=sys.stderr)
    raise typer.Exit(code)


def target(url: str, address: str, unit: int, type_: str | None, order: str, timeout: str) -> Target:
    """Read the command line; ends the command with a hint when something in it is wrong."""
    try:
        parsed_url = parse_device_url(url if "://" in url else f"tcp://{url}")
        if parsed_url.scheme != "tcp":
            raise ValueError(f"{url}: only tcp:// can be asked")
        at = parse_address(address)
        timeout_s = parse_duration(timeout)
    except ValueError as error:
        fail(str(error), EXIT_USAGE)
    if timeout_s <= 0:
        fail("--timeout must be longer than 0", EXIT_USAGE)
    kind = type_ or ("bool" if at.table.is_bits or at.bit is not None else "uint16")
    if kind not in TYPES:
        fail(f"--type {kind}: there are {', '.join(TYPES)}", EXIT_USAGE)
    if order not in ORDERS:
        fail(f"--order {order}: there are {', '.join(ORDERS)}", EXIT_USAGE)
    if (at.table.is_bits or at.bit is not None) and kind != "bool":
        fail(f"{at.describe()} is a bit, not {kind}", EXIT_USAGE)
    registers = TYPES[kind].registers
    if not at.table.is_bits and registers > 1 and at.count == 1:
        at = at._replace(count=registers)
    if at.stop > spec.ADDRESSES or (registers and at.count % registers):
        fail(f"{at.describe()}: {at.count} registers do not hold whole values of {registers} ({kind})", EXIT_USAGE)
    return Target(parsed_url, unit, at, timeout_s, kind, order)


class Asker:
    """One connection to the target; every trouble ends the command with one line."""

    def __init__(self, client: ModbusTcpClient, asked: Target) -> None:
        self._client = client
        self._asked = asked

    def read(self) -> bytes:
        """The target's registers as wire bytes, or its bits packed; in as many requests as it takes."""
        asked = self._asked
        at = asked.address
        client = self._client
        methods: dict[Table, Callable[..., ModbusPDU]] = {
            Table.COILS: client.read_coils,
            Table.DISCRETE: client.read_discrete_inputs,
            Table.HOLDING: client.read_holding_registers,
            Table.INPUT: client.read_input_registers,
        }
        most = spec.MAX_READ_BITS if at.table.is_bits else spec.MAX_READ_REGISTERS
        values: list[Any] = []
        for first in range(at.first, at.stop, most):
            count = min(most, at.stop - first)
            answer = self.ask(methods[at.table], first, count=count)
            values += (answer.bits if at.table.is_bits else answer.registers)[:count]
        if at.table.is_bits:
            return sum(bool(bit) << n for n, bit in enumerate(values)).to_bytes((at.count + 7) // 8, "little")
        return b"".join(value.to_bytes(2, "big") for value in values)

    def write(self, data: bytes) -> None:
        """Write wire bytes (registers) or packed bits at the target, in one request."""
        at, client = self._asked.address, self._client
        if at.table.is_bits:
            bits = [bool(int.from_bytes(data, "little") >> n & 1) for n in range(at.count)]
            if at.count == 1:
                self.ask(client.write_coil, at.first, bits[0])
            else:
                self.ask(client.write_coils, at.first, bits)
            return
        registers = [int.from_bytes(data[n : n + 2], "big") for n in range(0, len(data), 2)]
        if at.bit is not None:
            mask = 1 << at.bit
            self.ask(
                client.mask_write_register,
                address=at.first,
                and_mask=~mask & 0xFFFF,
                or_mask=mask if registers[0] else 0,
            )
        elif len(registers) == 1:
            self.ask(client.write_register, at.first, registers[0])
        else:
            self.ask(client.write_registers, at.first, registers)

    def ask(self, method: Callable[..., ModbusPDU], *arguments: Any, **options: Any) -> ModbusPDU:
        """One request; an exception response or silence ends the command."""
        from pymodbus.exceptions import ModbusException

        asked = self._asked
        where = f"{asked.url} unit {asked.unit}"
        try:
            answer = method(*arguments, device_id=asked.unit, **options)
        except ModbusException as error:
            fail(f"{where}: no usable answer within {asked.timeout_s:g} s ({_cause(error)}); is the unit id right?")
        if answer.isError():
            fail(f"{where}: {asked.address.describe()}: refused with {spec.exception_text(answer.exception_code)}")
        return answer


@contextmanager
def connected(asked: Target) -> Iterator[Asker]:
    """A connection to the target; ends the command with a hint when there is none."""
    from pymodbus.client import ModbusTcpClient

    logging.getLogger("pymodbus").setLevel(logging.CRITICAL + 1)
    client = ModbusTcpClient(asked.url.host, port=asked.url.port, timeout=asked.timeout_s, retries=0)
    try:
        if not client.connect():
            fail(f"{asked.url}: cannot connect: is the device on, are address and port right?")
        yield Asker(client, asked)
    finally:
        client.close()


def _cause(error: Exception) -> str:
    text = str(error).removeprefix("Modbus Error: ")
    return text.removeprefix("[Input/Output] ").removeprefix("[Connection] ")


class Row(NamedTuple):
    """One value as it is shown."""

    at: Address
    value: Value | None
    hex: str


def rows(asked: Target, data: bytes) -> list[Row]:
    """The values in `data`, each with its own address."""
    at = asked.address
    if at.table.is_bits:
        bits = int.from_bytes(data, "little")
        return [Row(Address(at.table, at.first + n), bool(bits >> n & 1), "") for n in range(at.count)]
    size = TYPES[asked.type].registers or at.count
    found = []
    for first in range(at.first, at.stop, size):
        tag = Tag("", at.table, first, size, asked.type, at.bit, asked.order)
        part = data[2 * (first - at.first) : 2 * (first - at.first + size)]
        (raw,) = registers_decoder([tag], first)(part)
        found.append(Row(Address(at.table, first, size, at.bit), from_raw(tag)(raw), part.hex(" ", 2).upper()))
    return found


def show(value: Value | None) -> str:
    """A value for people."""
    if value is None:
        return "no value"
    if isinstance(value, bool):
        return "1" if value else "0"
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def as_json(found: Sequence[Row]) -> list[dict[str, Any]]:
    """The same for programs."""
    return [
        {"table": row.at.table.word, "address": row.at.first, "bit": row.at.bit, "value": row.value, "hex": row.hex}
        for row in found
    ]
