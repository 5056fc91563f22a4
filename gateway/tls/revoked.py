"""Revoked certificates: the lists (CRL, RFC 5280 5) of a PEM file.

OpenSSL asks them at each handshake. They are read here, too, because a connection stays open for weeks, and because a
list that is too old, or of somebody else, makes OpenSSL refuse every client: that must be told when it is loaded.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from gateway.tls.library import certificates_in, x509

_BEGIN = b"-----BEGIN X509 CRL-----"
_END = b"-----END X509 CRL-----"


class Revoked(NamedTuple):
    """What a CRL file says."""

    certificates: frozenset[tuple[bytes, int]] = frozenset()
    """Issuer in DER and serial number."""
    next_update_s: float = float("inf")
    """POSIX time after which the oldest list counts no more: then nobody can be let in."""


def read_revoked(path: Path, ca: Path) -> Revoked:
    """The lists in a PEM file. ValueError when one is not by a CA of the file `ca`, or none is there."""
    authorities = certificates_in(ca.read_bytes())
    found: set[tuple[bytes, int]] = set()
    next_update_s = float("inf")
    lists = _lists(path.read_bytes())
    if not lists:
        raise ValueError("there is no CRL in it (PEM, `BEGIN X509 CRL`)")
    for each in lists:
        if not any(_signed_by(each, authority) for authority in authorities):
            raise ValueError(f"the CRL of {each.issuer.rfc4514_string()} is not signed by a CA of {ca}")
        issuer = each.issuer.public_bytes()
        found.update((issuer, entry.serial_number) for entry in each)
        if each.next_update_utc is not None:
            next_update_s = min(next_update_s, each.next_update_utc.timestamp())
    return Revoked(frozenset(found), next_update_s)


def _lists(data: bytes) -> list[Any]:
    load = x509().load_pem_x509_crl
    return [load(_BEGIN + part.partition(_END)[0] + _END + b"\n") for part in data.split(_BEGIN)[1:]]


def _signed_by(crl: Any, authority: Any) -> bool:
    if crl.issuer != authority.subject:
        return False
    try:
        return bool(crl.is_signature_valid(authority.public_key()))
    except Exception:  # a kind of key that signs no lists: the library's types
        return False


def day(posix_s: float) -> str:
    """A day, for people."""
    return datetime.fromtimestamp(posix_s, UTC).strftime("%Y-%m-%d")
