"""Before anything is answered: is this meant for us, and does it come from our own page?

A foreign page that a browser shows can send requests to any address its machine reaches. It cannot read our answers, so
it knows no token, and it cannot hide where it comes from. What it can do is give its own name our address (DNS
rebinding), so a name that we do not go by is not answered; an address cannot be rebound and always is.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from gateway.config.page import WebUrl, is_loopback

HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)
"""Of every answer. Nothing is loaded from elsewhere, nothing runs that does not lie in a file of ours."""

_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::(?P<port>\d{1,5}))?", re.ASCII)


class Hosts:
    """The names that this page goes by."""

    def __init__(self, listen: WebUrl, names: Iterable[str]) -> None:
        own = socket.gethostname().lower()
        self._names = {*names, listen.host.lower(), own, f"{own}.local"}
        """A name that nobody can give himself: an attacker's page has his own."""

    def knows(self, header: str | None) -> bool:
        """Whether this value of `Host` means us."""
        match = _HOST.fullmatch(header or "")
        if match is None:
            return False
        host = match["host"].lower().rstrip(".")
        if host.startswith("["):
            host = host[1:-1]
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return is_loopback(host) or host in self._names
        return True


def is_own_origin(origin: str | None, site: str | None, host: str, scheme: str) -> bool:
    """Whether a request that changes something may come from there. `origin`, `site`: the headers Origin and
    Sec-Fetch-Site, which browsers send and pages cannot forge; programs send neither."""
    if site is not None and site not in ("same-origin", "none"):
        return False
    if origin is None:
        return True
    parts = urlsplit(origin)
    # A proxy in front of us may speak https: the name is what counts, and nobody gets a name of ours over http.
    return parts.scheme in (scheme, "https") and parts.netloc.lower() == host.lower()
