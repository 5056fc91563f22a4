"""Chains of open connections, judged again: as a handshake of now would, as far as clock, list and roots go."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.tls.certificates import Certificates, Files
from gateway.tls.certs import Authority, load
from gateway.tls.chains import EXPIRED, REVOKED, TRUSTED, UNKNOWN_ISSUER, chain_of, judge
from tests.support.needs import require_module

DAY_S = 86400.0
Make = Callable[..., Any]


@pytest.fixture(scope="module")
def make() -> Make:
    """`make(name, issuer, days)`: a certificate by an issuer that was made so, or by itself. Keys by name."""
    require_module("cryptography")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    keys: dict[str, Any] = {}

    def make(name: str, issuer: str, days: float = 100.0, *, key: str = "") -> Any:
        for each in (key or name, issuer):
            keys.setdefault(each, ec.generate_private_key(ec.SECP256R1()))
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer.partition("/")[0])]))
            .public_key(keys[key or name].public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=days))
            .sign(keys[issuer], hashes.SHA256())
        )

    return make


def never(issuer: bytes, serial: int) -> bool:
    return False


def judged(chain: list[Any], roots: list[Any], days: float = 0.0) -> int:
    return judge(chain, roots, never, time.time() + days * DAY_S)


def test_a_chain_that_leads_to_a_root_is_trusted_until_one_of_it_expires(make: Make) -> None:
    root, middle = make("root", "root", 300), make("middle", "root", 200)
    leaf = make("leaf", "middle", 100)
    chain = [leaf, middle, root]

    assert judged(chain, [root]) == TRUSTED
    assert judged(chain, [middle]) == TRUSTED
    assert judged([leaf], [leaf]) == TRUSTED, "a self-signed one that is its own root"
    assert judged(chain, [root], days=101) == EXPIRED
    longer = [make("leaf", "middle", 1000), middle, root]
    assert judged(longer, [root], days=201) == EXPIRED
    longest = [make("leaf", "middle", 1000), make("middle", "root", 1000), root]
    assert judged(longest, [root], days=301) == EXPIRED
    assert judged(longest, [make("root", "root", 1000)], days=301) == TRUSTED, "the root was renewed with its key"


def test_a_chain_that_leads_to_none_of_the_roots_is_not(make: Make) -> None:
    root = make("root", "root")
    chain = [make("leaf", "root"), root]

    assert judged(chain, [make("other", "other")]) == UNKNOWN_ISSUER
    assert judged(chain, []) == UNKNOWN_ISSUER
    assert judged([], [root]) == UNKNOWN_ISSUER
    assert judged(chain, [make("root", "root/2", key="root/2")]) == UNKNOWN_ISSUER, "its name alone is nothing"
    assert judged(chain, [make("other", "other"), make("root", "root")]) == TRUSTED


def test_a_revoked_certificate_is_not(make: Make) -> None:
    root, leaf = make("root", "root"), make("leaf", "root")
    revoked = {(leaf.issuer.public_bytes(), leaf.serial_number)}

    assert judge([leaf, root], [root], lambda *issued: issued in revoked, time.time()) == REVOKED
    assert judge([make("leaf", "root"), root], [root], lambda *issued: issued in revoked, time.time()) == TRUSTED


def test_the_chain_of_a_handshake_is_judged_by_the_files_of_now(tmp_path: Path) -> None:
    require_module("cryptography")
    authority = Authority(tmp_path)
    authority.make(["127.0.0.1"], ["operator"])
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(authority.cert("server"), authority.key("server"))
    later_s = 0.0
    ours = Files(authority.cert("operator"), authority.key("operator"), authority.cert("ca"), authority.crl)
    certificates = Certificates(ours, "client", wall=lambda: time.time() + later_s)

    chain = chain_of(shaken(certificates.context(), server))

    assert chain == [load(authority.cert("server")), load(authority.cert("ca"))]
    assert certificates.judge(chain) == TRUSTED
    authority.revoke("server")
    assert certificates.judge(chain) == TRUSTED, "the list is not read yet"
    certificates.context()
    assert certificates.judge(chain) == REVOKED
    authority.add("server", hosts=["127.0.0.1"])
    chain = [load(authority.cert("server")), load(authority.cert("ca"))]
    assert certificates.judge(chain) == TRUSTED
    later_s = 10 * 365 * DAY_S
    assert certificates.judge(chain) == EXPIRED


def shaken(ours: ssl.SSLContext, theirs: ssl.SSLContext) -> ssl.SSLObject:
    """The client's side of a handshake in memory."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ours.wrap_bio(back, there, server_hostname="127.0.0.1")
    sides = [client, theirs.wrap_bio(there, back, server_side=True)]
    while sides:
        side = sides.pop(0)
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            sides.append(side)
    return client
