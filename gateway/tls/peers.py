"""Who stands behind a certificate: what the log, the audit and the rules want to know of it."""

from __future__ import annotations

import hashlib
import hmac
from typing import NamedTuple

from gateway.errors import TlsError
from gateway.tls.library import certificate_of
from gateway.tls.roles import Role, role_in

MAX_SUBJECT = 200
"""Characters shown."""


class Peer(NamedTuple):
    """Of the other side's certificate."""

    subject: str
    issuer: bytes
    """DER: with `serial` the one certificate that a CRL means."""
    serial: int
    not_after_s: float
    """POSIX time after which it is not valid."""
    fingerprint: str
    """SHA-256, lower-case hex."""
    role: Role

    @property
    def name(self) -> str:
        """The one certificate of its CA, for people."""
        return f"{self.subject}, serial {self.serial:x}"

    def __str__(self) -> str:
        role = f"role `{self.role.name}`" if self.role.name is not None else self.role.reason
        return f"{self.name}, {role}"


def peer_of(der: bytes) -> Peer:
    """Raises TlsError when the certificate cannot be read."""
    try:
        certificate = certificate_of(der)
        return Peer(
            shown(certificate.subject.rfc4514_string()),
            certificate.issuer.public_bytes(),
            certificate.serial_number,
            certificate.not_valid_after_utc.timestamp(),
            fingerprint(der),
            role_in(certificate),
        )
    except ValueError as error:
        raise TlsError(f"the certificate cannot be read: {error}") from error


def fingerprint(der: bytes) -> str:
    """SHA-256 of a certificate, as lower-case hex."""
    return hashlib.sha256(der).hexdigest()


def same_fingerprint(der: bytes, wanted: str) -> bool:
    """Whether `wanted`, written with or without colons in either case, is that of the certificate."""
    return hmac.compare_digest(fingerprint(der), wanted.replace(":", "").replace(" ", "").lower())


def shown(text: str) -> str:
    """Text that somebody else wrote, fit for one line of a log."""
    return "".join(each if each.isprintable() else "?" for each in text[:MAX_SUBJECT]) or "(no subject)"
