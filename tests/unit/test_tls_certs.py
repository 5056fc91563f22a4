"""The certificates that `gateway certs init` makes: openssl finds them good, keys are for their owner alone."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from gateway.errors import TlsError
from gateway.tls.certs import Authority, about
from gateway.tls.revoked import read_revoked
from tests.support.needs import require


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    authority = Authority(tmp_path_factory.mktemp("certs"))
    assert authority.make(["gateway.local", "127.0.0.1", "::1"], ["operator", "Shift Leader"]) == [
        "operator",
        "shift-leader",
        "norole",
    ]
    return authority


def openssl(*arguments: str | Path) -> str:
    run = subprocess.run([require("openssl"), *arguments], capture_output=True, text=True, timeout=20, check=False)
    return run.stdout + run.stderr


@pytest.mark.parametrize(
    ("name", "purpose"),
    [("server", "sslserver"), ("server", "sslclient"), ("operator", "sslclient"), ("norole", "sslclient")],
)
def test_openssl_finds_them_good_strictly(made: Authority, name: str, purpose: str) -> None:
    told = openssl(
        "verify", "-x509_strict", "-crl_check", "-CRLfile", made.crl, "-CAfile", made.cert("ca"), "-purpose", purpose,
        made.cert(name),
    )  # fmt: skip

    assert told.strip().endswith(": OK")


def test_a_client_is_no_server_and_nobody_but_the_ca_is_one(made: Authority) -> None:
    verify = ("verify", "-CAfile", made.cert("ca"))

    assert "unsuitable certificate purpose" in openssl(*verify, "-purpose", "sslserver", made.cert("operator"))
    assert "CA:TRUE, pathlen:0" in openssl("x509", "-in", made.cert("ca"), "-noout", "-text")
    for name in ("server", "operator", "norole"):
        assert "CA:FALSE" in openssl("x509", "-in", made.cert(name), "-noout", "-text")


def test_they_are_as_the_standard_wants_them(made: Authority) -> None:
    text = openssl("x509", "-in", made.cert("operator"), "-noout", "-text")

    for wanted in ("Version: 3", "ecdsa-with-SHA256", "ASN1 OID: prime256v1", "Digital Signature"):
        assert wanted in text
    assert "1.3.6.1.4.1.50316.802.1: \n" in text  # not critical
    names = about(made.cert("server"))["names"]
    assert names == ["gateway.local", "127.0.0.1", "::1"]
    assert made.cert("server").read_text().count("BEGIN CERTIFICATE") == 2  # up to the root


def test_each_client_has_its_role(made: Authority) -> None:
    assert about(made.cert("operator"))["role"] == "operator"
    assert about(made.cert("shift-leader"))["role"] == "Shift Leader"
    assert str(about(made.cert("norole"))["role"]).startswith("none")
    assert str(about(made.cert("server"))["role"]).startswith("none")


def test_keys_are_for_their_owner_alone(made: Authority) -> None:
    keys = sorted(made.folder.glob("*.key"))

    assert [key.stem for key in keys] == ["ca", "norole", "operator", "server", "shift-leader"]
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}


def test_nothing_is_written_over_unless_asked(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.key("ca").write_text("precious")

    with pytest.raises(TlsError, match=r"ca\.key exists.*--force"):
        authority.make(["localhost"], ["operator"])
    assert [path.name for path in tmp_path.iterdir()] == ["ca.key"]
    authority.make(["localhost"], ["operator"], force=True)
    assert "PRIVATE KEY" in authority.key("ca").read_text()
    assert stat.S_IMODE(authority.key("ca").stat().st_mode) == 0o600


def test_a_certificate_is_revoked_once_and_the_others_are_not(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.make(["localhost"], ["operator", "viewer"])
    assert read_revoked(authority.crl, authority.cert("ca")).certificates == frozenset()

    first = authority.revoke("viewer")
    assert authority.revoke("viewer") == first
    authority.revoke("norole")

    revoked = read_revoked(authority.crl, authority.cert("ca")).certificates
    assert len(revoked) == 2
    verify = ("verify", "-crl_check", "-CRLfile", authority.crl, "-CAfile", authority.cert("ca"))
    assert "certificate revoked" in openssl(*verify, authority.cert("viewer"))
    assert openssl(*verify, authority.cert("operator")).strip().endswith(": OK")


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        (["operator", "Operator"], "do not give different file names"),
        (["server"], "do not give different file names"),
        ([""], "cannot be a role"),
        (["€"], "gives no file name"),
        (["a\nb"], "cannot be a role"),
        (["operator", "none"], "cannot be a role"),
    ],
)
def test_roles_that_cannot_be_are_refused_before_anything_is_written(
    tmp_path: Path, roles: list[str], message: str
) -> None:
    with pytest.raises(TlsError, match=message):
        Authority(tmp_path / "certs").make(["localhost"], roles)
    assert not (tmp_path / "certs").exists()


def test_a_host_that_cannot_be_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(TlsError, match="neither a name nor an address"):
        Authority(tmp_path / "certs").make(["tcp://gateway"], ["operator"])
    assert not (tmp_path / "certs").exists()


def test_a_certificate_of_somebody_else_is_not_revoked_here(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    ours.make(["localhost"], ["operator"])
    theirs.make(["localhost"], ["operator"])
    alone = ours.cert("alone")
    command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=alone -batch"
    openssl(*command.split(), "-keyout", ours.key("alone"), "-out", alone)

    with pytest.raises(TlsError, match="is not by"):
        ours.revoke("alone")
    with pytest.raises(TlsError, match="cannot be read"):
        ours.revoke("nobody")
