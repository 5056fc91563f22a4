"""The `cryptography` package, imported only when a certificate is looked into: plants without TLS run without it.

The rule: nobody else imports it. Its absence is an error that says what to install.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from gateway.errors import TlsError

INSTALL = 'certificates need the package cryptography: pip install "gateway[tls]"'


def x509() -> ModuleType:
    """`cryptography.x509`. TlsError: it is not there."""
    try:
        from cryptography import x509 as found
    except ImportError as error:
        raise TlsError(INSTALL) from error
    return found


def certificate_of(der: bytes) -> Any:
    """A certificate as it travels. ValueError: it cannot be read; OpenSSL reads some that this library does not."""
    load = x509().load_der_x509_certificate
    try:
        return load(der)
    except Exception as error:  # besides ValueError, types of the library's own
        raise ValueError(str(error)) from error


def certificates_in(pem: bytes) -> list[Any]:
    """All of a file, one at least. ValueError as `certificate_of`."""
    load = x509().load_pem_x509_certificates
    try:
        return list(load(pem))
    except Exception as error:
        raise ValueError(str(error)) from error
