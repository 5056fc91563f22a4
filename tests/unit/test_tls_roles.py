"""The role in a client's certificate: the bytes of MB-TCP-Security, and what is no role."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.tls.peers import peer_of
from gateway.tls.roles import OID, decode, encode, role_of
from tests.support.wire import hexed

OPERATOR = hexed("0C 08 4F 70 65 72 61 74 6F 72")
EXTENSION = hexed("30 19 06 0B 2B 06 01 04 01 83 89 0C 86 22 01 04 0A 0C 08 4F 70 65 72 61 74 6F 72")
"""The extension for the role "Operator", as it travels (R-21, R-22)."""


def certificate(*values: bytes) -> bytes:
    """DER of a certificate with these role extensions; the library makes no two of one kind, so they are told apart by
    their last byte first, which is then put right."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "pump house\n7")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(0x1234)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
    )
    for number, value in enumerate(values):
        oid = x509.ObjectIdentifier(f"{OID.rpartition('.')[0]}.{number + 1}")
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, value), critical=False)
    der = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    return der.replace(hexed("83 89 0C 86 22 02"), hexed("83 89 0C 86 22 01"))


def test_the_role_of_the_standards_example_is_found() -> None:
    der = certificate(OPERATOR)

    assert EXTENSION in der
    assert role_of(der) == "Operator"


def test_a_certificate_without_the_extension_has_no_role_and_says_so() -> None:
    peer = peer_of(certificate())

    assert peer.role == (None, "the certificate has no role")
    assert str(peer) == "CN=pump house?7, serial 1234, the certificate has no role"


def test_two_roles_are_none() -> None:
    der = certificate(OPERATOR, encode("viewer"))

    assert der.count(hexed("06 0B 2B 06 01 04 01 83 89 0C 86 22 01")) == 2
    assert role_of(der) is None
    assert "cannot be read" in peer_of(der).role.reason


@pytest.mark.parametrize("data", [b"", b"0", bytes(100), EXTENSION])
def test_what_is_no_certificate_has_no_role(data: bytes) -> None:
    assert role_of(data) is None


@pytest.mark.parametrize(
    ("value", "role"),
    [
        (OPERATOR, "Operator"),
        (hexed("0C 01 61"), "a"),
        (hexed("0C 03 E2 82 AC"), "€"),
        (b"\x0c\x0fadmin, operator", "admin, operator"),  # one role, not a list
        (b"\x0c\x7f" + b"x" * 127, "x" * 127),
        (b"\x0c\x81\x80" + b"x" * 128, "x" * 128),
        (b"\x0c\x81\xff" + b"x" * 255, "x" * 255),
    ],
)
def test_a_utf8_string_is_a_role_and_is_written_the_same_way(value: bytes, role: str) -> None:
    assert decode(value) == role
    assert encode(role) == value


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"", "too short"),
        (b"\x0c", "too short"),
        (b"\x0c\x00", "empty"),
        (hexed("04 08 4F 70 65 72 61 74 6F 72"), "tag 04 instead of 0C"),  # OCTET STRING, seen in the field
        (hexed("13 08 4F 70 65 72 61 74 6F 72"), "tag 13 instead of 0C"),  # PrintableString
        (hexed("30 0A 0C 08 4F 70 65 72 61 74 6F 72"), "tag 30"),
        (hexed("0C 09 4F 70 65 72 61 74 6F 72"), "says 9 bytes, there are 8"),
        (hexed("0C 07 4F 70 65 72 61 74 6F 72"), "says 7 bytes, there are 8"),
        (OPERATOR + OPERATOR, "says 8 bytes, there are 18"),
        (hexed("0C 81 08 4F 70 65 72 61 74 6F 72"), "not DER"),  # a length below 128 in the long form
        (hexed("0C 80 4F 00 00"), "not DER"),
        (hexed("0C 81"), "not DER"),
        (b"\x0c\x82\x01\x00" + b"x" * 256, "longer than 255"),
        (b"\x0c\x84\xff\xff\xff\xff", "longer than 255"),
        (hexed("0C 02 C3 28"), "not UTF-8"),
        (hexed("0C 03 61 00 62"), "control characters"),
        (hexed("0C 03 61 0A 62"), "control characters"),
        (hexed("0C 04 6E 6F 6E 65"), "how rules name clients without a role"),
    ],
)
def test_anything_else_is_none(value: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        decode(value)
    assert role_of(certificate(value)) is None


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 256, "none"])
def test_what_cannot_be_read_is_not_written(name: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        encode(name)
