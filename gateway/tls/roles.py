"""The role of a client: one UTF-8 text in its certificate (MB-TCP-Security v36, R-20..R-23 and R-65).

The rule: whatever is not exactly as written there is no role, with a reason for the log. A client without a role is let
in and may do what the rules give to those without one (R-23); it is never given somebody else's role by a lenient
reading. Some field software writes the text as another ASN.1 type; that is no role either.
"""

from __future__ import annotations

from typing import Any, NamedTuple

OID = "1.3.6.1.4.1.50316.802.1"
NO_ROLE = "none"
"""How rules name clients without a role: nobody may claim it as one."""
MAX_ROLE_SIZE = 255
"""Bytes. The standard has no limit; a name that stands in rules and in every line of the audit has one."""

_UTF8_STRING = 0x0C
_SHORT_FORM = 0x80
"""Lengths below it are one byte (X.690 8.1.3.4)."""
_ONE_BYTE_LENGTH = 0x81
"""One more byte has the length, which then is at least 128 (X.690 10.1)."""


class Role(NamedTuple):
    """`name` None: there is none, `reason` says why."""

    name: str | None
    reason: str = ""


def role_in(certificate: Any) -> Role:
    """The role in a `cryptography` certificate; never raises."""
    try:
        values = [extension.value.value for extension in certificate.extensions if extension.oid.dotted_string == OID]
    except Exception as error:  # an extension that stands there twice, or one that cannot be read: the library's types
        return Role(None, f"the extensions of the certificate cannot be read: {error}")
    if not values:
        return Role(None, "the certificate has no role")
    if len(values) > 1:
        return Role(None, "the certificate has several roles")
    try:
        return Role(decode(values[0]))
    except ValueError as error:
        return Role(None, f"the role in the certificate is not valid: {error}")


def role_of(der: bytes) -> str | None:
    """The role in a certificate as it travels; None: it has none."""
    from gateway.tls.library import certificate_of

    try:
        certificate = certificate_of(der)
    except ValueError:
        return None
    return role_in(certificate).name


def decode(value: bytes) -> str:
    """The role in a DER UTF8String, which must be all of `value`. ValueError with what is wrong."""
    if len(value) < 2:
        raise ValueError("too short")
    if value[0] != _UTF8_STRING:
        raise ValueError(f"ASN.1 tag {value[0]:02X} instead of 0C (UTF8String)")
    size, start = value[1], 2
    if size >= _SHORT_FORM:
        if size != _ONE_BYTE_LENGTH or len(value) < 3 or value[2] < _SHORT_FORM:
            raise ValueError(f"its length is not DER, or it is longer than {MAX_ROLE_SIZE} bytes")
        size, start = value[2], 3
    if len(value) - start != size:
        raise ValueError(f"its length says {size} bytes, there are {len(value) - start}")
    if not size:
        raise ValueError("empty")
    try:
        text = value[start:].decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    if not text.isprintable():
        raise ValueError("it has control characters")
    if text == NO_ROLE:
        raise ValueError("that is how rules name clients without a role")
    return text


def encode(name: str) -> bytes:
    """The DER UTF8String of a role. ValueError: it cannot be one."""
    text = name.encode("utf-8")
    length = bytes([len(text)]) if len(text) < _SHORT_FORM else bytes([_ONE_BYTE_LENGTH, min(len(text), MAX_ROLE_SIZE)])
    value = bytes([_UTF8_STRING]) + length + text
    decode(value)
    return value
