"""The `cryptography` package, imported only when a certificate is looked into: plants without TLS run without it.

The rule: nobody else imports it. Its absence is an error that says what to install.
"""

from __future__ import annotations

from types import ModuleType

from gateway.errors import TlsError

INSTALL = 'certificates need the package cryptography: pip install "gateway[tls]"'


def x509() -> ModuleType:
    """`cryptography.x509`. TlsError: it is not there."""
    try:
        from cryptography import x509 as found
    except ImportError as error:
        raise TlsError(INSTALL) from error
    return found
