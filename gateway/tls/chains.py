"""What the other side has shown, judged again: a connection stays open for weeks, OpenSSL judges only handshakes.

The rule: what a handshake of now would refuse because a clock or a file of ours has moved on since is not trusted any
more, and nothing else: its time, the list of the revoked, the roots. Names, uses and the strength of keys do not
change. Only a list that is too old (which refuses every newcomer) ends nobody's connection: it says nothing about them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from gateway.errors import TlsError
from gateway.tls.library import certificate_of

TRUSTED = 0
EXPIRED = 10
UNKNOWN_ISSUER = 20
REVOKED = 23
"""X509_V_OK and X509_V_ERR_...: as a handshake numbers it (`SSLCertVerificationError.verify_code`, x509_vfy.h)."""

_DER = 2  # ENCODING_DER of `_ssl`


def chain_of(tls: Any) -> list[Any]:
    """The other side's certificate and what led from it to one of our roots, that included, in the handshake of this
    `ssl.SSLObject`. TlsError: one cannot be read."""
    if hasattr(tls, "get_verified_chain"):  # since Python 3.13
        ders = tls.get_verified_chain() or []
    else:
        ders = [each.public_bytes(_DER) for each in tls._sslobj.get_verified_chain() or []]
    try:
        return [certificate_of(bytes(der)) for der in ders]
    except ValueError as error:
        raise TlsError(f"the certificate cannot be read: {error}") from error


def judge(chain: Sequence[Any], roots: Collection[Any], is_revoked: Callable[[bytes, int], bool], now_s: float) -> int:
    """What a handshake would find wrong with this chain now, by its number. `is_revoked` is asked for the first
    certificate, with its issuer in DER and its serial number."""
    if chain and is_revoked(chain[0].issuer.public_bytes(), chain[0].serial_number):
        return REVOKED
    found = UNKNOWN_ISSUER
    for certificate in chain:
        if _is_over(certificate, now_s):
            return EXPIRED
        if certificate in roots:
            return TRUSTED
        for root in roots:
            if _is_by(certificate, root):
                if not _is_over(root, now_s):
                    return TRUSTED
                found = EXPIRED
    return found


def _is_over(certificate: Any, now_s: float) -> bool:
    return bool(now_s >= certificate.not_valid_after_utc.timestamp())


def _is_by(certificate: Any, root: Any) -> bool:
    if certificate.issuer != root.subject:
        return False
    try:
        certificate.verify_directly_issued_by(root)
    except Exception:  # another key, or of a kind that signs nothing: the library's types
        return False
    return True
