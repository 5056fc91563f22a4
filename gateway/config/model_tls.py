"""Sections of the configuration: certificates, ours and others'."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import WithJsonSchema

from gateway.config.scalars import TextField
from gateway.config.section import Section

TlsVersion = Annotated[Literal["1.2", "1.3"], WithJsonSchema({"enum": ["1.2", "1.3", 1.2, 1.3]})]


class Tls(Section):
    """Certificates, for both sides of Modbus/TCP Security. Files are relative to the first YAML file."""

    cert: TextField
    """Our certificate, PEM, with the chain up to the root behind it."""
    key: TextField
    """Its private key, PEM; readable by its owner alone."""
    ca: TextField
    """The roots that the other side's certificate must lead to, PEM."""
    crl: TextField | None = None
    """Revoked certificates of these roots, PEM."""
    min_version: TlsVersion = "1.2"
    """The oldest version of TLS that is spoken."""
    name: TextField | None = None
    """Of a device: the name or address in its certificate; default: the host of its url."""
    fingerprint: TextField | None = None
    """Of a device: SHA-256 of its certificate in hex, in place of its name."""

    def __str__(self) -> str:
        """What was given, as it is written."""
        return ", ".join(
            f"{key}: {getattr(self, key)}" for key in type(self).model_fields if key in self.model_fields_set
        )


class PageTls(Section):
    """The certificate of an `https://` page. Files are relative to the first YAML file."""

    cert: TextField
    """The certificate, PEM, with the chain behind it."""
    key: TextField
    """Its private key, PEM; readable by its owner alone."""
