"""What `read` and `write` share: whom to ask, one connection of pymodbus's client, its errors in our words, rows.

With `carriers` the only file that knows pymodbus. It is imported when a command runs, so that the gateway starts
without it. Trouble is raised as GatewayError: DeviceRefused when the device said no, LinkError when there was no usable
answer.
"""

from __future__ import annotations

import logging
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.cli.options import Access, Values
from gateway.cli.output import EXIT_USAGE, fail
from gateway.cli.progress import Working
from gateway.config.addresses import Address, mistaken_reference, parse_address
from gateway.config.durations import format_duration, parse_duration
from gateway.config.urls import DeviceUrl, looks_like_a_way, parse_device_url
from gateway.errors import ConfigError, DeviceRefused, LinkDown, LinkError, MalformedResponse, RequestTimeout
from gateway.modbus import spec
from gateway.modbus.spec import Table
from gateway.values import TYPES, Tag, Value, from_raw, registers_decoder

if TYPE_CHECKING:
    from pymodbus.pdu import ModbusPDU

    from gateway.cli.carriers import Client
    from gateway.config.model_tls import Tls
    from gateway.southbound.tls import Trust

ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")


class Whom(NamedTuple):
    """Whom to ask: an address alone, or what the plant's file says of a device."""

    url: DeviceUrl
    unit: int = 1
    order: str = "ABCD"
    trust: Trust | None = None
    most: tuple[int, int] = (spec.MAX_READ_REGISTERS, spec.MAX_READ_BITS)
    """Registers and bits that one request may read."""


class Target(NamedTuple):
    """Whom to ask, and for what."""

    url: DeviceUrl
    unit: int
    address: Address
    timeout_s: float
    type: str
    order: str
    trust: Trust | None = None
    most: tuple[int, int] = (spec.MAX_READ_REGISTERS, spec.MAX_READ_BITS)

    @property
    def size(self) -> int:
        """Registers or bits of one value."""
        if self.address.table.is_bits:
            return 1
        return TYPES[self.type].registers or self.address.count

    @property
    def is_broadcast(self) -> bool:
        """All units of a line are meant, and nobody answers."""
        return self.unit == 0 and self.url.framing != "mbap"

    def describe(self) -> str:
        return f"{self.url} unit {self.unit}"


def whom(name: str, access: Access) -> Whom:
    """The url, or the device of that name in the plant's file. Raises ValueError with a hint."""
    files = (access.cert, access.key, access.ca)
    if access.config is not None:
        if any(files):
            raise ValueError("the plant's file says which certificates; leave out --cert, --key and --ca")
        return _of_plant(name, access.config)
    url = parse_device_url(name if "://" in name or looks_like_a_way(name) else f"tcp://{name}")
    if url.carrier == "sim":
        raise ValueError(f"{name}: a simulated PLC has no address; `gateway simulate` serves them on ports")
    if url.carrier == "dial-in":
        raise ValueError(_dials_in("the device"))
    if url.carrier != "tls":
        if any(files):
            raise ValueError("--cert, --key and --ca are for tls:// urls")
        return Whom(url)
    if access.cert is None or access.key is None or access.ca is None:
        missing = [f"--{key}" for key, file in zip(("cert", "key", "ca"), files, strict=True) if file is None]
        raise ValueError(
            f"tls:// needs certificates, {', '.join(missing)} FILE; or --config FILE and the name of a device in it"
        )
    from gateway.southbound.tls import Trust
    from gateway.tls.certificates import Certificates, Files

    return Whom(url, trust=Trust(Certificates(Files(access.cert, access.key, access.ca), "client")))


def _of_plant(name: str, file: Path) -> Whom:
    from gateway.config.explain import suggest
    from gateway.config.load import load

    try:
        config = load(file)
    except ConfigError as error:
        fail(str(error), EXIT_USAGE)
    device = config.devices.get(name)
    if device is None:
        raise ValueError(f"{file} has no device '{name}'; {suggest(name, config.devices)}")
    link = config.link_of(name)
    if link.url.carrier == "sim":
        raise ValueError(f"{name} is simulated inside the gateway; `gateway simulate {file}` serves it on a port")
    if link.url.carrier == "dial-in":
        raise ValueError(_dials_in(name))
    tls = (link.tls or config.tls) if link.url.carrier == "tls" else None
    trust = None if tls is None else trust_of(tls, config.path_of)
    return Whom(link.url, device.unit, device.order, trust, (device.max_registers, device.max_bits))


def _dials_in(who: str) -> str:
    return (
        f"{who} dials in to the gateway and cannot be asked from here; forward a unit id to it in `units`, "
        f"and ask the gateway for that"
    )


def trust_of(tls: Tls, path_of: Callable[[str], Path]) -> Trust:
    """Of a section of the plant's file."""
    from gateway.southbound.tls import Trust
    from gateway.tls.certificates import Certificates, Files

    crl = None if tls.crl is None else path_of(tls.crl)
    files = Files(path_of(tls.cert), path_of(tls.key), path_of(tls.ca), crl)
    is_named = tls.fingerprint is None
    certificates = Certificates(files, "client", min_version=tls.min_version, check_name=is_named)
    return Trust(certificates, tls.name, tls.fingerprint)


def target(name: str, address: str, options: Values, count: int = 1) -> Target:
    """Read the command line; ends the command with a hint when something in it is wrong.

    `count` values are meant when it is more than 1; else the range of the address says how many, one if it is none.
    """
    try:
        asked = whom(name, options)
        at = parse_address(address)
        timeout_s = parse_duration(options.timeout)
    except ValueError as error:
        fail(str(error), EXIT_USAGE)
    type_, order = options.type, options.order or asked.order
    unit = asked.unit if options.unit is None else options.unit
    if timeout_s <= 0:
        fail("--timeout must be longer than 0", EXIT_USAGE)
    if question := mistaken_reference(address):
        print(f"warning: {question}", file=sys.stderr)
    is_bit = at.table.is_bits or at.bit is not None
    kind = type_ or ("bool" if is_bit else "uint16")
    if kind not in TYPES:
        fail(f"--type {kind}: there are {', '.join(TYPES)}", EXIT_USAGE)
    if order not in ORDERS:
        fail(f"--order {order}: there are {', '.join(ORDERS)}", EXIT_USAGE)
    if is_bit and kind != "bool":
        fail(f"{at.describe()} is a bit, not {kind}", EXIT_USAGE)
    size = 1 if is_bit else TYPES[kind].registers or at.count
    if count > 1:
        if at.count not in (1, size):
            fail(f"{at.describe()} says already how many; leave out --count", EXIT_USAGE)
        if at.bit is not None:
            fail(f"{at.describe()} is one bit; leave out --count", EXIT_USAGE)
        if kind == "string":
            fail("--count does not go with strings: the range of the address is the length of one", EXIT_USAGE)
        at = at._replace(count=count * size)
    elif at.count == 1:
        at = at._replace(count=size)
    if at.stop > spec.ADDRESSES:
        fail(f"{at.count} from {at.table.describe(at.first)} is past 65535, the last address of a table", EXIT_USAGE)
    if at.count % size:
        fail(f"{at.describe()}: {at.count} registers are no whole number of {kind} ({size} registers each)", EXIT_USAGE)
    return Target(asked.url, unit, at, timeout_s, kind, order, asked.trust, asked.most)


class Asker:
    """One connection to the target."""

    def __init__(self, client: Client, asked: Target, working: Working | None = None) -> None:
        self._client = client
        self._asked = asked
        self._working = working

    def read(self) -> bytes:
        """The target's registers as wire bytes, or its bits packed; in as many requests as it takes."""
        at, client = self._asked.address, self._client
        methods: dict[Table, Callable[..., ModbusPDU]] = {
            Table.COILS: client.read_coils,
            Table.DISCRETE: client.read_discrete_inputs,
            Table.HOLDING: client.read_holding_registers,
            Table.INPUT: client.read_input_registers,
        }
        most = self._asked.most[at.table.is_bits]
        values: list[int] = []
        for first in range(at.first, at.stop, most):
            count = min(most, at.stop - first)
            self._tell(f"reading, {first - at.first} of {at.count} done" if at.count > most else "reading")
            answer = self._ask(
                Address(at.table, first, count), at.table.read_function, methods[at.table], first, count=count
            )
            got = answer.bits if at.table.is_bits else answer.registers
            if len(got) != ((count + 7) // 8 * 8 if at.table.is_bits else count):
                raise MalformedResponse(f"asked for {count} from {at.table.describe(first)}, answered {len(got)}")
            values += got[:count]
        if at.table.is_bits:
            return sum(bool(bit) << n for n, bit in enumerate(values)).to_bytes((at.count + 7) // 8, "little")
        return struct.pack(f">{at.count}H", *values)

    def write(self, data: bytes) -> None:
        """Write wire bytes (registers) or packed bits at the target, in one request; of a bit only that bit counts."""
        at, client = self._asked.address, self._client
        self._tell("writing")
        if at.table.is_bits:
            bits = [bool(int.from_bytes(data, "little") >> n & 1) for n in range(at.count)]
            if at.count == 1:
                self._ask(at, spec.WRITE_SINGLE_COIL, client.write_coil, at.first, bits[0])
            else:
                self._ask(at, spec.WRITE_MULTIPLE_COILS, client.write_coils, at.first, bits)
            return
        registers = list(struct.unpack(f">{at.count}H", data))
        if at.bit is not None:
            mask = 1 << at.bit
            masks = {"and_mask": ~mask & 0xFFFF, "or_mask": registers[0] & mask}
            self._ask(at, spec.MASK_WRITE_REGISTER, client.mask_write_register, address=at.first, **masks)
        elif len(registers) == 1:
            self._ask(at, spec.WRITE_SINGLE_REGISTER, client.write_register, at.first, registers[0])
        else:
            self._ask(at, spec.WRITE_MULTIPLE_REGISTERS, client.write_registers, at.first, registers)

    def _tell(self, what: str) -> None:
        if self._working is not None:
            self._working.text = f"{self._asked.describe()}: {what}"

    def _ask(
        self, at: Address, function: int, method: Callable[..., ModbusPDU], *arguments: Any, **options: Any
    ) -> ModbusPDU:
        """One request. Raises DeviceRefused, RequestTimeout, LinkDown or MalformedResponse."""
        from pymodbus.exceptions import ConnectionException, ModbusException

        from gateway.cli.ways import why_lost

        asked = self._asked
        if asked.is_broadcast:
            options["no_response_expected"] = True
        waited = format_duration(asked.timeout_s)
        received = getattr(self._client, "received", 0)
        try:
            answer = method(*arguments, device_id=asked.unit, **options)
        except ConnectionException:
            raise LinkDown("closed the connection without an answer") from None
        except ModbusException as error:
            if "No response" in str(error):
                if getattr(self._client, "received", 0) > received:
                    hint = "is it Modbus in this framing, and this the right port?"
                    raise MalformedResponse(f"what came within {waited} is no answer to this: {hint}") from None
                hint = "is the unit id right? Longer: --timeout"
                raise RequestTimeout(f"connected, but no usable answer within {waited}: {hint}") from None
            raise MalformedResponse(f"an answer that is none: {error}") from None
        except OSError as error:
            raise LinkDown(why_lost(asked.url, error)) from None
        except (ValueError, IndexError, struct.error):  # what pymodbus's decoders raise on some broken answers
            raise MalformedResponse("an answer that is no Modbus: is this the right port?") from None
        if asked.is_broadcast:
            return answer  # None
        if answer.function_code & ~spec.EXCEPTION_BIT != function:  # pymodbus matches transaction and unit only
            raise MalformedResponse(f"function {answer.function_code:02X} answered to {function:02X}")
        if answer.isError():
            raise Refusal(asked.unit, at, function, answer.exception_code)
        return answer


class Refusal(DeviceRefused):
    """DeviceRefused, with what was asked for."""

    def __init__(self, unit_id: int, at: Address, function_code: int, code: int) -> None:
        super().__init__(unit_id, function_code, code)
        self.at = at

    def __str__(self) -> str:
        return f"{self.at.describe()}: refused with {spec.exception_text(self.code)}"


@contextmanager
def connected(asked: Target, *, quiet: bool = False) -> Iterator[Asker]:
    """A connection to the target. What goes wrong with it or on it ends the command with one line.

    `quiet`: as Working's.
    """
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL + 1)  # it logs packets on errors; ours is one line
    from gateway.cli import carriers

    with Working(f"{asked.url}: connecting", quiet=quiet) as working:
        try:
            client = carriers.connect(asked.url, asked.timeout_s, asked.trust)
        except LinkError as error:
            fail(f"{asked.url}: {error}")
        try:
            yield Asker(client, asked, working)
        except (DeviceRefused, LinkError) as error:
            fail(f"{asked.describe()}: {error}")
        finally:
            carriers.close(client)


FAILURES = (DeviceRefused, LinkError)
"""What `reconnecting` asks on after."""


@contextmanager
def reconnecting(asked: Target) -> Iterator[Reconnecting]:
    """As `connected`, for who asks again and again."""
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL + 1)
    asker = Reconnecting(asked)
    try:
        yield asker
    finally:
        asker.close()


class Reconnecting:
    """Reads the target, connecting when it is not connected; FAILURES are raised, and the next read tries anew."""

    def __init__(self, asked: Target) -> None:
        self._asked = asked
        self._client: Client | None = None

    def read(self) -> bytes:
        from gateway.cli import carriers

        if self._client is None:
            self._client = carriers.connect(self._asked.url, self._asked.timeout_s, self._asked.trust)
        try:
            return Asker(self._client, self._asked).read()
        except LinkError:
            self.close()  # after a time-out, too: a late answer must not be taken for the next
            raise

    def close(self) -> None:
        from gateway.cli import carriers

        if self._client is not None:
            carriers.close(self._client)
            self._client = None


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
    size = asked.size
    tag = Tag("", at.table, 0, size, asked.type, at.bit, asked.order)
    decode, value = registers_decoder([tag], 0), from_raw(tag)
    found = []
    for start in range(0, at.count, size):
        part = data[2 * start : 2 * (start + size)]
        (raw,) = decode(part)
        found.append(Row(Address(at.table, at.first + start, size, at.bit), value(raw), part.hex(" ", 2).upper()))
    return found


def show(value: Value | None, type_: str) -> str:
    """A value for people; a float with as many digits as its type carries, a text that cannot command a terminal."""
    if value is None:
        return "no value"
    if isinstance(value, bool):
        return "1" if value else "0"
    if type_ == "float32":
        told = (text for digits in (6, 7, 8, 9) if _float32(text := f"{value:.{digits}g}") == value)
        return next(told, f"{value:.7g}")  # a scaled one is no float32 any more
    return "".join(char if char.isprintable() else "?" for char in str(value))


def _float32(text: str) -> float:
    (value,) = struct.unpack(">f", struct.pack(">f", float(text)))
    return float(value)


def as_json(found: Sequence[Row]) -> list[dict[str, Any]]:
    """The same for programs."""
    return [
        {
            "at": row.at.describe(),
            "table": row.at.table.word,
            "address": row.at.first,
            "bit": row.at.bit,
            "value": row.value,
            "hex": row.hex,
        }
        for row in found
    ]
