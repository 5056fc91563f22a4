"""Certificate files: what is wrong with them, in words, and when they are read again."""

from __future__ import annotations

import logging
import os
import shutil
import ssl
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.errors import TlsError
from gateway.tls.certificates import CIPHERS, SESSIONS_S, Certificates, Files, examine
from gateway.tls.certs import Authority
from tests.support.needs import require


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    authority = Authority(folder)
    authority.make(["127.0.0.1"], ["operator"])
    authority.add("expired", hosts=["127.0.0.1"], days=-1, ago=timedelta(days=2))
    authority.add("future", hosts=["127.0.0.1"], days=60, ago=timedelta(days=-1))
    authority.add("soon", hosts=["127.0.0.1"], days=5)
    other = Authority(folder / "other")
    other.make(["127.0.0.1"], ["operator"])
    return folder


@pytest.fixture
def authority(made: Path, tmp_path: Path) -> Authority:
    """A copy that a test may spoil."""
    shutil.copytree(made, tmp_path / "certs")
    return Authority(tmp_path / "certs")


def files_of(authority: Authority, name: str = "server") -> Files:
    return Files(authority.cert(name), authority.key(name), authority.cert("ca"), authority.crl)


def test_good_files_have_nothing_wrong(authority: Authority) -> None:
    assert examine(files_of(authority), "server") == []
    assert examine(files_of(authority, "operator"), "client") == []


def test_what_is_offered_is_what_the_standard_wants(authority: Authority) -> None:
    context = Certificates(files_of(authority), "server").context()
    suites = [cipher for cipher in context.get_ciphers() if cipher["protocol"] == "TLSv1.2"]

    assert suites[0]["name"] == "ECDHE-ECDSA-AES128-GCM-SHA256"
    assert suites[1]["name"] == "ECDHE-RSA-AES128-GCM-SHA256"
    assert all(cipher["aead"] and cipher["name"].startswith("ECDHE-") for cipher in suites)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.verify_flags & ssl.VERIFY_CRL_CHECK_LEAF
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_COMPRESSION
    assert "SECLEVEL=2" in CIPHERS


def test_the_oldest_version_may_be_1_3(authority: Authority) -> None:
    context = Certificates(files_of(authority), "client", min_version="1.3", check_name=False).context()

    assert context.minimum_version == ssl.TLSVersion.TLSv1_3
    assert not context.check_hostname
    assert Certificates(files_of(authority), "client").context().check_hostname


@pytest.mark.parametrize("key", ["cert", "key", "ca", "crl"])
def test_a_file_that_is_not_there_is_named(authority: Authority, key: str) -> None:
    files = files_of(authority)
    path = getattr(files, key)
    path.unlink()

    (trouble,) = examine(files, "server")

    assert (trouble.key, trouble.is_fatal) == (key, True)
    assert str(path) in trouble.message
    assert "there is no such file" in trouble.message
    with pytest.raises(TlsError, match="there is no such file"):
        Certificates(files, "server").context()


@pytest.mark.parametrize(
    ("key", "content", "message"),
    [
        ("cert", b"", "there is no certificate in it"),
        ("cert", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be read as"),
        ("key", b"hello", "there is no private key in it"),
        ("ca", b"hello", "there is no certificate in it"),
        ("crl", b"hello", "no certificate or crl found"),
        ("crl", b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", "crl.pem"),
    ],
)
def test_a_file_with_something_else_in_it_is_named(
    authority: Authority, key: str, content: bytes, message: str
) -> None:
    files = files_of(authority)
    getattr(files, key).write_bytes(content)

    (trouble,) = examine(files, "server")

    assert (trouble.key, trouble.is_fatal) == (key, True)
    assert message in trouble.message


def test_files_that_were_exchanged_are_told(authority: Authority) -> None:
    files = files_of(authority)

    *_, trouble = examine(files._replace(cert=files.key, key=files.cert), "server")

    assert trouble.message.endswith("there is no certificate in it (PEM, `BEGIN CERTIFICATE`)")


def test_a_key_of_another_certificate_is_told(authority: Authority) -> None:
    (trouble,) = examine(files_of(authority)._replace(key=authority.key("operator")), "server")

    assert trouble.key == "key"
    assert "is not the key of" in trouble.message


def test_a_list_of_another_ca_is_told_because_it_would_refuse_everybody(authority: Authority) -> None:
    crl = authority.folder / "other" / "crl.pem"

    (trouble,) = examine(files_of(authority)._replace(crl=crl), "server")

    assert trouble.key == "crl"
    assert "is not signed by a CA of" in trouble.message


def test_several_lists_in_one_file_are_all_read(authority: Authority) -> None:
    authority.revoke("operator")
    other = authority.folder / "other"
    files = files_of(authority)
    assert files.crl is not None
    files.crl.write_bytes((other / "crl.pem").read_bytes() + files.crl.read_bytes())
    files.ca.write_bytes((other / "ca.pem").read_bytes() + files.ca.read_bytes())

    assert examine(files, "server") == []


def test_a_key_with_a_passphrase_is_refused_and_not_asked_for(authority: Authority) -> None:
    key, locked = authority.key("server"), authority.key("locked")
    arguments = [require("openssl"), "pkey", "-in", key, "-aes256", "-passout", "pass:secret", "-out", locked]
    subprocess.run(arguments, check=True, capture_output=True, timeout=20)
    locked.replace(key)

    (trouble,) = examine(files_of(authority), "server")

    assert "has a passphrase, which nobody can type here" in trouble.message
    assert "openssl pkey" in trouble.message


def test_a_weak_key_is_refused(authority: Authority) -> None:
    cert, key = authority.cert("server"), authority.key("server")
    command = "req -x509 -newkey rsa:1024 -nodes -days 2 -subj /CN=weak -batch"
    arguments = [require("openssl"), *command.split(), "-keyout", str(key), "-out", str(cert)]
    subprocess.run(arguments, check=True, capture_output=True, timeout=20)

    (trouble,) = examine(files_of(authority), "server")

    assert "too weak; RSA 2048 or P-256" in trouble.message


@pytest.mark.parametrize(
    ("mode", "fatal"), [(0o600, None), (0o400, None), (0o640, False), (0o644, True), (0o602, True)]
)
def test_a_key_for_others_is_refused_and_one_for_a_group_told(
    authority: Authority, mode: int, fatal: bool | None
) -> None:
    authority.key("server").chmod(mode)

    troubles = examine(files_of(authority), "server")

    assert [trouble.is_fatal for trouble in troubles] == ([] if fatal is None else [fatal])
    assert all(f"mode {mode:04o}" in trouble.message and "chmod 600" in trouble.message for trouble in troubles)


@pytest.mark.parametrize(
    ("name", "message"),
    [("expired", "was valid until"), ("future", "is valid from"), ("soon", "is valid until")],
)
def test_a_certificate_out_of_its_time_is_told_and_used(
    authority: Authority, name: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    files = files_of(authority, name)

    (trouble,) = examine(files, "server")

    assert (trouble.key, trouble.is_fatal) == ("cert", False)
    assert message in trouble.message
    Certificates(files, "server").context()
    assert message in caplog.text


def test_a_list_that_is_too_old_is_told(authority: Authority) -> None:
    ten_years_s = 3651 * 86400.0
    now_s = os.path.getmtime(authority.crl)

    messages = [trouble.message for trouble in examine(files_of(authority), "server", now_s=now_s + ten_years_s)]

    assert any("until it is, everybody is refused" in message for message in messages)


# -- reading again --------------------------------------------------------------------------------------------------


def test_the_context_is_the_same_until_a_file_changes(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    certificates = Certificates(files_of(authority), "server")
    first = certificates.context()

    assert certificates.context() is first
    authority.add("server", hosts=["127.0.0.1"])
    second = certificates.context()
    assert second is not first
    assert certificates.context() is second
    assert certificates.generation == 2
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("key", ["cert", "key", "ca", "crl"])
def test_a_file_that_goes_leaves_the_old_context_with_one_line(
    authority: Authority, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    files = files_of(authority)
    certificates = Certificates(files, "server")
    first = certificates.context()
    path = getattr(files, key)
    data, mode = path.read_bytes(), path.stat().st_mode
    path.unlink()

    for _ in range(5):
        assert certificates.context() is first
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "there is no such file" in caplog.text

    path.write_bytes(data)
    path.chmod(mode)
    assert certificates.context() is not first


def test_a_file_replaced_within_the_same_second_and_of_the_same_size_is_seen(authority: Authority) -> None:
    certificates = Certificates(files_of(authority), "server")
    first = certificates.context()
    cert, key = authority.cert("server"), authority.key("server")
    times = [(path, path.stat()) for path in (cert, key)]
    data = [path.read_bytes() for path in (cert, key)]
    for (path, stat), content in zip(times, data, strict=True):
        new = path.with_suffix(".new")
        new.write_bytes(content)
        new.chmod(0o600)
        os.utime(new, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        new.replace(path)

    assert certificates.context() is not first


def test_a_key_that_others_may_read_from_now_on_is_not_taken(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    certificates = Certificates(files_of(authority), "server")
    first = certificates.context()
    authority.add("server", hosts=["127.0.0.1"])
    authority.key("server").chmod(0o644)

    assert certificates.context() is first
    assert "chmod 600" in caplog.text


def test_a_context_and_its_sessions_live_for_a_day(authority: Authority) -> None:
    now_s = 0.0
    certificates = Certificates(files_of(authority), "server", clock=lambda: now_s)
    first = certificates.context()

    now_s = SESSIONS_S
    assert certificates.context() is first
    now_s += 1
    assert certificates.context() is not first
