"""The ways to devices and for clients, written as URLs.

A way is a framing (MBAP, RTU, ASCII) on a carrier (tcp, udp, tls, a serial line, a device that dials in); the scheme
names both: `tcp://`, `rtu+tcp://`, `rtu:///dev/ttyUSB0`, `listen+tcp://`. Settings stand behind `?` as in any URL. The
rule of the file: what a scheme cannot use is an error that says what it can.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import unquote

from pydantic import AfterValidator, PlainValidator, WithJsonSchema

from gateway.config.durations import format_duration, parse_duration
from gateway.config.scalars import one_or_many, parse_boolean, text_of

Framing = Literal["mbap", "rtu", "ascii"]
Carrier = Literal["tcp", "udp", "tls", "serial", "dial-in", "sim"]
Parity = Literal["none", "even", "odd"]

DEFAULT_PORT = 502
TLS_PORT = 802
"""Modbus/TCP Security (MB-TCP-Security v36)."""

_WAYS: dict[str, tuple[Framing, Carrier]] = {
    "tcp": ("mbap", "tcp"),
    "udp": ("mbap", "udp"),
    "tls": ("mbap", "tls"),
    "rtu+tcp": ("rtu", "tcp"),
    "ascii+tcp": ("ascii", "tcp"),
    "rtu": ("rtu", "serial"),
    "ascii": ("ascii", "serial"),
    "listen+tcp": ("mbap", "dial-in"),
    "listen+rtu+tcp": ("rtu", "dial-in"),
    "listen+ascii+tcp": ("ascii", "dial-in"),
    "sim": ("mbap", "sim"),
}
_LISTEN_SCHEMES = tuple(scheme for scheme, (_, carrier) in _WAYS.items() if carrier not in ("dial-in", "sim"))

FIXED_T35_S = 0.00175
"""3.5 character times above 19200 baud (serial line guide 2.5.1.1)."""
BAUD_RATES = (
    300, 600, 1200, 2400, 4800, 9600, 14400, 19200, 28800, 38400, 57600, 76800, 115200, 230400, 460800, 921600,
)  # fmt: skip
MAX_LABEL_SIZE = 63
"""Of a part of a host name (RFC 1035 2.3.4); the resolver would fail on a longer one."""
TURNAROUND_S = 0.1
"""Quiet time after a broadcast, for the units to be done with it (serial line guide 2.4.1: 100..200 ms)."""
MAX_ID_SIZE = 64
"""Bytes by which a device that dials in tells who it is."""

_HOST = re.compile(r"[^\s/?#@\[\]:]+")
_AUTHORITY = re.compile(r"(\[[^\]]*\]|[^\[\]]*?)(?::([^:\]]*))?")


class Line(NamedTuple):
    """How a serial line is set; the guide's default is 19200 8E1 for RTU, 7E1 for ASCII."""

    baudrate: int = 19200
    parity: Parity = "even"
    stopbits: int = 1
    databits: int = 8
    rs485: bool = False
    """The system switches the direction of the line's driver with RTS (Linux, drivers that can)."""
    rts: Literal["high", "low"] = "high"
    """RTS while sending, with `rs485`."""
    rts_before_s: float = 0.0
    """From RTS to the first bit."""
    rts_after_s: float = 0.0
    """From the last bit to RTS."""

    @property
    def char_s(self) -> float:
        """One character on the wire."""
        return (1 + self.databits + (self.parity != "none") + self.stopbits) / self.baudrate

    @property
    def t35_s(self) -> float:
        """The silence that parts two RTU frames."""
        return 3.5 * 11 / self.baudrate if self.baudrate <= 19200 else FIXED_T35_S


class DeviceUrl(NamedTuple):
    """The way to devices; `sim://` has no host and port 0."""

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""
    """Of a serial port: `/dev/ttyUSB0`, `COM3`."""
    line: Line | None = None
    """Serial lines only."""
    id: bytes = b""
    """What a device that dials in sends first; empty: any that dials in."""
    turnaround_s: float = TURNAROUND_S
    """How long units get after a broadcast; framings of lines only."""

    @property
    def framing(self) -> Framing:
        return _WAYS[self.scheme][0]

    @property
    def carrier(self) -> Carrier:
        return _WAYS[self.scheme][1]

    def __str__(self) -> str:
        settings = _settings(self.scheme, self.line, self.turnaround_s, self.id)
        return _text(self.scheme, self.host, self.port, self.path, settings)


class ListenUrl(NamedTuple):
    """Where we listen; port 0 lets the system choose."""

    host: str
    port: int
    scheme: str = "tcp"
    path: str = ""
    line: Line | None = None

    @property
    def framing(self) -> Framing:
        return _WAYS[self.scheme][0]

    @property
    def carrier(self) -> Carrier:
        return _WAYS[self.scheme][1]

    def __str__(self) -> str:
        return _text(self.scheme, self.host, self.port, self.path, _settings(self.scheme, self.line))


def _text(scheme: str, host: str, port: int, path: str, settings: str) -> str:
    way = _WAYS[scheme][1]
    if way == "sim":
        return "sim://"
    where = path if way == "serial" else f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"{scheme}://{where}{settings}"


def _settings(scheme: str, line: Line | None, turnaround_s: float = TURNAROUND_S, device_id: bytes = b"") -> str:
    """What stands behind `?`: only what differs from the default."""
    found = []
    if line is not None:
        for name, default in _line_default(scheme)._asdict().items():
            value = getattr(line, name)
            if value != default or name == "baudrate":
                text = format_duration(value) if name.endswith("_s") else str(value).lower()
                found.append(f"{name.removesuffix('_s')}={text}")
    if turnaround_s != TURNAROUND_S:
        found.append(f"turnaround={format_duration(turnaround_s)}")
    if device_id:
        printable = all(0x20 < byte < 0x7F and byte not in b"&#?%+" for byte in device_id)
        found.append(f"id={device_id.decode() if printable else '0x' + device_id.hex()}")
    return "?" + "&".join(found) if found else ""


def _line_default(scheme: str) -> Line:
    return Line(databits=7) if _WAYS[scheme][0] == "ascii" else Line()


def parse_device_url(value: Any) -> DeviceUrl:
    """Raises ValueError with what to write instead."""
    text = text_of(value, "a URL such as `tcp://192.168.1.10:502`")
    scheme, rest = _split(text, tuple(_WAYS))
    framing, carrier = _WAYS[scheme]
    if carrier == "sim":
        if rest:
            raise ValueError("the simulated PLC needs no address: write `sim://`")
        return DeviceUrl("sim")
    known = (
        *(_LINE_SETTINGS if carrier == "serial" else ()),
        *(("turnaround",) if framing != "mbap" else ()),
        *(("id",) if carrier == "dial-in" else ()),
    )
    settings: dict[str, str] = {}
    if known:
        rest, settings = _query(text, rest, known)
    turnaround_s = _short("turnaround", settings["turnaround"]) if "turnaround" in settings else TURNAROUND_S
    if carrier == "serial":
        line = _line(text, scheme, rest, settings)
        return DeviceUrl(scheme, path=rest, line=line, turnaround_s=turnaround_s)
    host, port = _host_and_port(text, scheme, rest)
    if port == 0:
        raise ValueError(f"`{text}`: ports are 1..65535")
    return DeviceUrl(
        scheme, host, port, id=_device_id(settings["id"]) if "id" in settings else b"", turnaround_s=turnaround_s
    )


def parse_listen_url(value: Any) -> ListenUrl:
    """Raises ValueError with what to write instead."""
    text = text_of(value, "a URL such as `tcp://0.0.0.0:502`")
    scheme, rest = _split(text, _LISTEN_SCHEMES)
    if _WAYS[scheme][1] == "serial":
        if re.search(r"[?&]turnaround=", rest):
            raise ValueError(
                f"`{text}`: `turnaround` is how long units get after a broadcast of ours: it belongs to the url of a "
                "device, remove it here"
            )
        path, settings = _query(text, rest, _LINE_SETTINGS)
        return ListenUrl("", 0, scheme, path, _line(text, scheme, path, settings))
    if rest.startswith("*"):
        raise ValueError(
            f"`{text}`: for every address write `{scheme}://0.0.0.0{rest[1:]}` or, IPv6 too, `{scheme}://[::]{rest[1:]}`"
        )
    return ListenUrl(*_host_and_port(text, scheme, rest), scheme)


def _split(text: str, schemes: tuple[str, ...]) -> tuple[str, str]:
    scheme, separator, rest = text.partition("://")
    if not separator:
        raise ValueError(f"`{text}` is not a URL; write `{_close(text)}`")
    if scheme not in schemes:
        close_names = difflib.get_close_matches(scheme.lower(), schemes, n=1)
        hint = f"did you mean `{close_names[0]}://`? " if close_names else ""
        raise ValueError(f"`{scheme}://` is not possible here; {hint}now there is {_all_of(schemes)}")
    return scheme, rest


def _close(text: str) -> str:
    """The URL that is probably meant by a text without `://`."""
    if text.startswith(("/dev/", "COM")):
        return f"rtu://{text}"
    scheme, colon, rest = text.partition(":")
    if not colon or scheme not in _WAYS:
        return f"tcp://{text}"
    return _port_url(scheme, rest) if _WAYS[scheme][1] == "serial" else f"{scheme}://{rest.lstrip('/')}"


def looks_like_a_way(text: str) -> bool:
    """Whether a text without `://` is a URL with slashes missing (`rtu:/dev/ttyUSB0`) or a port, not a host.

    `tcp:502` may be a host of that name with a port; it is taken for one.
    """
    scheme, colon, rest = text.partition(":")
    if text.startswith("/dev/") or re.match(r"COM\d", text):
        return True
    return bool(colon) and scheme in _WAYS and not re.fullmatch(r"\d+", rest)


def _port_url(scheme: str, place: str) -> str:
    """Of a serial port, however many slashes were left out."""
    name = place.lstrip("/")
    if re.match(r"COM\d", name):
        return f"{scheme}://{name}"
    return f"{scheme}:///{name}" if "/" in name else f"{scheme}:///dev/{name}"


def _all_of(names: Iterable[str]) -> str:
    quoted = [f"`{name}://`" for name in names]
    return f"{', '.join(quoted[:-1])} and {quoted[-1]}"


def _query(text: str, rest: str, known: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """What stands before `?`, and the settings behind it."""
    before, _, query = rest.partition("?")
    settings: dict[str, str] = {}
    for part in query.split("&") if query else ():
        name, separator, value = part.partition("=")
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean `{close[0]}`?" if close else f"there is {', '.join(known)}"
            raise ValueError(f"`{text}`: unknown setting `{name}`; {hint}")
        if not separator or not value:
            raise ValueError(f"`{text}`: the setting `{name}` has no value; write `{name}=VALUE`")
        if name in settings:
            raise ValueError(f"`{text}`: the setting `{name}` stands there twice")
        settings[name] = unquote(value)
    return before, settings


_LINE_SETTINGS = ("baudrate", "parity", "stopbits", "databits", "rs485", "rts", "rts_before", "rts_after")


def _line(text: str, scheme: str, path: str, settings: dict[str, str]) -> Line:
    """Of the port at `path`."""
    if not path or path.endswith("/"):
        raise ValueError(f"`{text}` names no port; write `{scheme}:///dev/ttyUSB0` (Windows: `{scheme}://COM3`)")
    if not path.startswith("/") and not re.fullmatch(r"COM\d{1,3}", path, re.ASCII):
        close = _port_url(scheme, path)
        raise ValueError(f"`{text}`: a port's name begins with `/` (three in all): write `{close}`")
    default = _line_default(scheme)
    parity = _one_of("parity", settings.get("parity", default.parity), ("none", "even", "odd"))
    line = Line(
        baudrate=_baudrate(settings.get("baudrate", str(default.baudrate))),
        parity=parity,
        stopbits=int(_one_of("stopbits", settings.get("stopbits", "1"), ("1", "2"))),
        databits=int(_one_of("databits", settings.get("databits", str(default.databits)), ("7", "8"))),
        rs485=parse_boolean(settings.get("rs485", "false")),
        rts=_one_of("rts", settings.get("rts", default.rts), ("high", "low")),
        rts_before_s=_short("rts_before", settings.get("rts_before", "0s")),
        rts_after_s=_short("rts_after", settings.get("rts_after", "0s")),
    )
    if scheme == "rtu" and line.databits != 8:
        raise ValueError(f"`{text}`: RTU sends bytes, it needs `databits=8`; 7 is for `ascii://`")
    if not line.rs485 and not settings.keys().isdisjoint(("rts", "rts_before", "rts_after")):
        raise ValueError(f"`{text}`: rts settings go with `rs485=true`")
    return line


def _one_of(name: str, value: str, possible: tuple[str, ...]) -> Any:
    if value not in possible:
        raise ValueError(f"`{name}={value}`: write {' or '.join(possible)}")
    return value


def _baudrate(value: str) -> int:
    if not re.fullmatch(r"\d{1,7}", value, re.ASCII) or int(value) not in BAUD_RATES:
        raise ValueError(f"`baudrate={value}`: there is {', '.join(map(str, BAUD_RATES))}")
    return int(value)


def _short(name: str, value: str) -> float:
    try:
        seconds = parse_duration(value)
    except ValueError as error:
        raise ValueError(f"`{name}={value}`: {error}") from error
    if seconds > 1:
        raise ValueError(f"`{name}={value}`: at most 1s")
    return seconds


def _device_id(text: str) -> bytes:
    """Plain text, or bytes as `0x..`."""
    is_hex = re.fullmatch(r"0[xX]([0-9A-Fa-f]{2})+", text)
    found = bytes.fromhex(text[2:]) if is_hex else text.encode()
    if len(found) > MAX_ID_SIZE:
        raise ValueError(f"`id={text}`: at most {MAX_ID_SIZE} bytes")
    return found


def _host_and_port(text: str, scheme: str, rest: str) -> tuple[str, int]:
    rest = rest.removesuffix("/")
    for mark, what in (("?", "settings behind `?`"), ("/", "path"), ("@", "user")):
        if mark in rest:
            raise ValueError(f"`{text}`: a {scheme} URL has no {what}; write `{scheme}://HOST:PORT`")
    if rest.count(":") > 1 and not rest.startswith("["):
        raise ValueError(f"`{text}`: an IPv6 address stands in brackets, such as `{scheme}://[::1]:502`")
    match = _AUTHORITY.fullmatch(rest)
    host, port = match.groups() if match else ("", None)
    if host.startswith("["):
        host = host[1:-1]
        if not re.fullmatch(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%\w+)?", host):
            raise ValueError(f"`{text}`: in brackets stands an IPv6 address, such as `{scheme}://[::1]:502`")
    elif not _HOST.fullmatch(host):
        raise ValueError(f"`{text}` has no host; write `{scheme}://HOST:PORT`")
    elif any(not 1 <= len(label) <= MAX_LABEL_SIZE for label in host.removesuffix(".").split(".")):
        raise ValueError(
            f"`{text}`: `{host}` is no host name: each part between dots has 1..{MAX_LABEL_SIZE} characters"
        )
    if port is None:
        return host, TLS_PORT if scheme == "tls" else DEFAULT_PORT
    if not re.fullmatch(r"\d{1,5}", port, re.ASCII) or int(port) > 65535:
        raise ValueError(f"`{text}`: `{port}` is not a port; ports are 1..65535")
    return host, int(port)


def _pattern(schemes: Iterable[str]) -> str:
    """For the JSON Schema: the scheme and the kind of place behind it, where any part may be a variable."""
    behind = {"sim": "", "serial": r"(/|COM|\$\{).+"}
    urls = (re.escape(scheme) + "://" + behind.get(_WAYS[scheme][1], ".+") for scheme in schemes)
    return "^(" + "|".join(urls) + ")$"


DeviceUrlField = Annotated[
    DeviceUrl,
    PlainValidator(parse_device_url),
    WithJsonSchema({"type": "string", "pattern": _pattern(_WAYS)}),
]


def _at_least_one(urls: tuple[DeviceUrl, ...]) -> tuple[DeviceUrl, ...]:
    if not urls:
        raise ValueError("the list is empty; write a URL such as `tcp://192.168.1.10:502`")
    return urls


DeviceUrlsField = Annotated[tuple[DeviceUrlField, ...], one_or_many, AfterValidator(_at_least_one)]
"""One or several, in the order in which they are tried."""
listen_schema = {"type": "string", "pattern": _pattern(_LISTEN_SCHEMES)}
ListenUrlField = Annotated[ListenUrl, PlainValidator(parse_listen_url), WithJsonSchema(listen_schema)]
