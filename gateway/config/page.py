"""The page's own notation: the address it is found at, the names it may be called by, its users."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import PlainValidator, WithJsonSchema

from gateway.config.scalars import text_of

Scheme = Literal["http", "https"]
UserRole = Literal["viewer", "operator", "engineer"]
WRITERS: frozenset[str] = frozenset(("operator", "engineer"))
"""The roles that may write; what they may write is said by `access`."""

DEFAULT_PORTS = {"http": 80, "https": 443}
MAX_NAME_SIZE = 253
"""Of a host (RFC 1035)."""

_URL = re.compile(r"(?P<scheme>[a-zA-Z+]+)://(?P<host>\[[^\]\s]+\]|[^:/?#@\[\]\s]+)(?::(?P<port>[^/?#]*))?/?")
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?", re.ASCII)


class WebUrl(NamedTuple):
    """Where the page listens; port 0 lets the system choose."""

    scheme: Scheme
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether nobody but this machine reaches it."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether a name or an address means this machine alone."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def parse_web_url(value: Any) -> WebUrl:
    """Raises ValueError with what to write instead."""
    text = text_of(value, "a URL such as `http://127.0.0.1:8080`")
    match = _URL.fullmatch(text)
    if match is None:
        if "://" not in text:
            raise ValueError(f"`{text}` is not a URL; write `http://{text.lstrip('/')}`")
        raise ValueError(f"`{text}` is no address to listen on; write `http://HOST:PORT`, without a path or a user")
    scheme = match["scheme"].lower()
    if scheme not in DEFAULT_PORTS:
        raise ValueError(f"`{scheme}://` is not possible here; there is `http://` and `https://`")
    host = match["host"]
    if host == "*":
        raise ValueError(f"`{text}`: for every address write `{scheme}://0.0.0.0`, or with IPv6 `{scheme}://[::]`")
    if host.startswith("["):
        host = host[1:-1]
        try:
            ip_address(host)
        except ValueError as error:
            raise ValueError(
                f"`{text}`: in brackets stands an IPv6 address, such as `{scheme}://[::1]:8080`"
            ) from error
    elif not is_host_name(host):
        raise ValueError(f"`{text}`: `{host}` is neither a name nor an address of this machine")
    port = match["port"]
    if port is None:
        return WebUrl("https" if scheme == "https" else "http", host, DEFAULT_PORTS[scheme])
    if not re.fullmatch(r"\d{1,5}", port, re.ASCII) or int(port) > 65535:
        raise ValueError(f"`{text}`: `{port}` is not a port; ports are 1..65535")
    return WebUrl("https" if scheme == "https" else "http", host, int(port))


def is_host_name(text: str) -> bool:
    """A name, or an IPv4 address."""
    return len(text) <= MAX_NAME_SIZE and _HOST.fullmatch(text) is not None


def _host_name(value: Any) -> str:
    text = text_of(value, "a name such as `gateway.plant.local`")
    if not is_host_name(text):
        raise ValueError(f"`{text}` is no host name; write it alone, without scheme, port or path")
    return text.lower().rstrip(".")


_USER = re.compile(r"[A-Za-z0-9_.@-]{1,64}")


def parse_user_name(value: Any) -> str:
    """Raises ValueError with what to write instead."""
    text = str(value)
    if not _USER.fullmatch(text):
        raise ValueError(f"`{text}` cannot be a user's name: use letters, digits, `_`, `-`, `.` and `@`, at most 64")
    return text


WebUrlField = Annotated[
    WebUrl,
    PlainValidator(parse_web_url),
    WithJsonSchema({"type": "string", "pattern": r"^(https?://.+|\$\{.+)$"}),
]
HostNameField = Annotated[str, PlainValidator(_host_name), WithJsonSchema({"type": "string"})]
UserName = Annotated[str, PlainValidator(parse_user_name)]
