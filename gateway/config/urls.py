"""The ways to devices and for clients, written as URLs.

The rule of the file: a scheme that is not built yet is an error that says what is possible now.
"""

from __future__ import annotations

import difflib
import re
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, PlainValidator, WithJsonSchema

from gateway.config.scalars import one_or_many, text_of

DEFAULT_PORT = 502
_HOST = re.compile(r"[^\s/?#@\[\]:]+")
_AUTHORITY = re.compile(r"(\[[^\]]*\]|[^\[\]]*?)(?::([^:\]]*))?")


class DeviceUrl(NamedTuple):
    """The way to devices: `tcp://host:port`, or `sim://` (no host, port 0)."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        return "sim://" if self.scheme == "sim" else f"{self.scheme}://{_authority(self.host, self.port)}"


class ListenUrl(NamedTuple):
    """Where we listen; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"tcp://{_authority(self.host, self.port)}"


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_device_url(value: Any) -> DeviceUrl:
    """Raises ValueError with what to write instead."""
    text = text_of(value, "a URL such as `tcp://192.168.1.10:502`")
    scheme, rest = _split(text, ("tcp", "sim"))
    if scheme == "sim":
        if rest:
            raise ValueError("the simulated PLC needs no address: write `sim://`")
        return DeviceUrl("sim", "", 0)
    host, port = _host_and_port(text, rest)
    if port == 0:
        raise ValueError(f"`{text}`: ports are 1..65535")
    return DeviceUrl("tcp", host, port)


def parse_listen_url(value: Any) -> ListenUrl:
    """Raises ValueError with what to write instead."""
    text = text_of(value, "a URL such as `tcp://0.0.0.0:502`")
    _, rest = _split(text, ("tcp",))
    if rest.startswith("*"):
        raise ValueError(
            f"`{text}`: for every address write `tcp://0.0.0.0{rest[1:]}` or, IPv6 too, `tcp://[::]{rest[1:]}`"
        )
    return ListenUrl(*_host_and_port(text, rest))


def _split(text: str, schemes: tuple[str, ...]) -> tuple[str, str]:
    scheme, separator, rest = text.partition("://")
    if not separator:
        raise ValueError(f"`{text}` is not a URL; write `tcp://{text}`")
    if scheme not in schemes:
        close = difflib.get_close_matches(scheme.lower(), schemes, n=1)
        hint = f"did you mean `{close[0]}://`? " if close else ""
        possible = " and ".join(f"`{name}://`" for name in schemes)
        raise ValueError(f"`{scheme}://` is not possible here; {hint}now there is {possible}")
    return scheme, rest


MAX_LABEL_SIZE = 63
"""Of a part of a host name (RFC 1035 2.3.4); the resolver would fail on a longer one."""


def _host_and_port(text: str, rest: str) -> tuple[str, int]:
    rest = rest.removesuffix("/")
    for mark, what in (("?", "settings behind `?`"), ("/", "path"), ("@", "user")):
        if mark in rest:
            raise ValueError(f"`{text}`: a tcp URL has no {what}; write `tcp://HOST:PORT`")
    if rest.count(":") > 1 and not rest.startswith("["):
        raise ValueError(f"`{text}`: an IPv6 address stands in brackets, such as `tcp://[::1]:502`")
    match = _AUTHORITY.fullmatch(rest)
    host, port = match.groups() if match else ("", None)
    if host.startswith("["):
        host = host[1:-1]
        if not re.fullmatch(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%\w+)?", host):
            raise ValueError(f"`{text}`: in brackets stands an IPv6 address, such as `tcp://[::1]:502`")
    elif not _HOST.fullmatch(host):
        raise ValueError(f"`{text}` has no host; write `tcp://HOST:PORT`")
    elif any(not 1 <= len(label) <= MAX_LABEL_SIZE for label in host.removesuffix(".").split(".")):
        raise ValueError(
            f"`{text}`: `{host}` is no host name: each part between dots has 1..{MAX_LABEL_SIZE} characters"
        )
    if port is None:
        return host, DEFAULT_PORT
    if not re.fullmatch(r"\d{1,5}", port, re.ASCII) or int(port) > 65535:
        raise ValueError(f"`{text}`: `{port}` is not a port; ports are 1..65535")
    return host, int(port)


DeviceUrlField = Annotated[
    DeviceUrl, PlainValidator(parse_device_url), WithJsonSchema({"type": "string", "pattern": r"^(tcp://.+|sim://)$"})
]


def _at_least_one(urls: tuple[DeviceUrl, ...]) -> tuple[DeviceUrl, ...]:
    if not urls:
        raise ValueError("the list is empty; write a URL such as `tcp://192.168.1.10:502`")
    return urls


DeviceUrlsField = Annotated[tuple[DeviceUrlField, ...], one_or_many, AfterValidator(_at_least_one)]
"""One or several, in the order in which they are tried."""
ListenUrlField = Annotated[
    ListenUrl, PlainValidator(parse_listen_url), WithJsonSchema({"type": "string", "pattern": r"^tcp://.+$"})
]
