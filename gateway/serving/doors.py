"""A door: one place where clients come in, and what holds for those who come through it."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.config.urls import ListenUrl
from gateway.front.access import Access
from gateway.tls.certificates import Certificates


@dataclass(slots=True, eq=False)
class Door:
    """One listener of the configuration. It lives as long as its socket does and is known by itself: a reload changes
    what holds behind it in place, for those too who have come in."""

    url: ListenUrl
    access: Access | None = None
    """Who may do what; None: the gate's own rules (`server.access`)."""
    certificates: Certificates | None = None
    """Of a TLS listener, which always has them: ours, and whom we trust."""

    def change(self, to: Door) -> None:
        """From now on what holds for `to` holds here."""
        self.access = to.access
        self.certificates = to.certificates
