"""Certificates to try Modbus/TCP Security with: a CA, a server, clients with roles, a list of the revoked.

For a test bench and a first plant, not a public-key infrastructure: the key of the CA lies beside the rest and belongs
elsewhere afterwards. All is as MB-TCP-Security v36 and RFC 5280 want it: P-256, SHA-256, X.509v3, the role as a
UTF8String in an extension that is not critical (a critical one that nobody knows makes ordinary TLS stacks refuse the
certificate). The server's may dial, too: one `tls` section serves both sides of the gateway.

The rule: a key file is made with mode 0600 before a byte of it is written, and no file is written over unless asked.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gateway.errors import TlsError
from gateway.tls.library import certificates_in, x509
from gateway.tls.peers import fingerprint
from gateway.tls.roles import OID, encode, role_in

CA, SERVER, CRL = "ca", "server", "crl"
NO_ROLE = "norole"
"""The client without a role."""
ROLES = ("operator", "viewer")
DAYS = 825
"""The most that common stacks accept of a server."""
CA_DAYS = 3650
CLOCK_SKEW = timedelta(hours=1)
"""Certificates are valid from so long ago: devices' clocks differ."""
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Authority:
    """A folder with a CA in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def cert(self, name: str) -> Path:
        return self.folder / f"{name}.pem"

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    @property
    def crl(self) -> Path:
        return self.folder / f"{CRL}.pem"

    def make(self, hosts: Sequence[str], roles: Sequence[str], *, days: int = DAYS, force: bool = False) -> list[str]:
        """A CA, a server with these names and addresses, a client for each role and one without, an empty list of the
        revoked. Returns the clients' names. TlsError: nothing was written."""
        clients = {file_name(role): role for role in roles}
        if len(clients) != len(roles) or not clients.keys().isdisjoint((CA, SERVER, CRL, NO_ROLE)):
            raise TlsError(f"the roles {', '.join(roles)} do not give different file names beside {CA} and {SERVER}")
        for host in hosts:
            check_host(host)
        names = [CA, SERVER, *clients, NO_ROLE]
        files = [path for name in names for path in (self.cert(name), self.key(name))] + [self.crl]
        there = [path for path in files if path.exists()]
        if there and not force:
            raise TlsError(f"{there[0]} exists; choose another folder, or write over it with --force")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise TlsError(f"{self.folder}: cannot be made: {error.strerror or error}") from error
        ca_key, ca = self._make_ca(days)
        self._issue(SERVER, ca, ca_key, days, hosts=hosts)
        for name, role in clients.items():
            self._issue(name, ca, ca_key, days, role=role)
        self._issue(NO_ROLE, ca, ca_key, days)
        self._write_crl(ca, ca_key, {})
        return [*clients, NO_ROLE]

    def add(
        self,
        name: str,
        *,
        hosts: Sequence[str] = (),
        role: str | None = None,
        days: float = DAYS,
        ago: timedelta = CLOCK_SKEW,
    ) -> None:
        """One more certificate, written over one of that name: a server with `hosts`, else a client. `ago`: since when
        it is valid."""
        ca, ca_key = self._load_ca()
        self._issue(name, ca, ca_key, days, hosts=hosts, role=role, ago=ago)

    def revoke(self, name: str) -> int:
        """Put a certificate on the list of the revoked; its serial number."""
        ca, ca_key = self._load_ca()
        certificate = load(self.cert(name))
        if certificate.issuer != ca.subject:
            raise TlsError(f"{self.cert(name)} is not by {self.cert(CA)}")
        revoked = {}
        if self.crl.exists():
            try:
                revoked = {
                    entry.serial_number: entry.revocation_date_utc
                    for entry in x509().load_pem_x509_crl(self.crl.read_bytes())
                }
            except (OSError, ValueError) as error:
                raise TlsError(f"{self.crl}: cannot be read: {error}") from error
        serial: int = certificate.serial_number
        revoked.setdefault(serial, datetime.now(UTC))
        self._write_crl(ca, ca_key, revoked)
        return serial

    # -- making -------------------------------------------------------------------------------------------------

    def _make_ca(self, days: int) -> tuple[Any, Any]:
        x = x509()
        key = _new_key()
        name = _subject("gateway test CA")
        builder = (
            _builder(name, name, key.public_key(), max(days, CA_DAYS), CLOCK_SKEW)
            .add_extension(x.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage("key_cert_sign", "crl_sign"), critical=True)
            .add_extension(x.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        certificate = builder.sign(key, _sha256())
        self._write(CA, certificate, key)
        return key, certificate

    def _issue(
        self,
        name: str,
        ca: Any,
        ca_key: Any,
        days: float,
        *,
        hosts: Sequence[str] = (),
        role: str | None = None,
        ago: timedelta = CLOCK_SKEW,
    ) -> None:
        x = x509()
        key = _new_key()
        uses = [x.ExtendedKeyUsageOID.SERVER_AUTH] if hosts else []
        builder = (
            _builder(_subject(name), ca.subject, key.public_key(), days, ago)
            .add_extension(x.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage("digital_signature"), critical=True)
            .add_extension(x.ExtendedKeyUsage([*uses, x.ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(x.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        )
        if hosts:
            builder = builder.add_extension(x.SubjectAlternativeName([_alternative(host) for host in hosts]), False)
        if role is not None:
            value = x.UnrecognizedExtension(x.ObjectIdentifier(OID), encode(role))
            builder = builder.add_extension(value, critical=False)
        self._write(name, builder.sign(ca_key, _sha256()), key, chain=ca)

    def _write(self, name: str, certificate: Any, key: Any, chain: Any = None) -> None:
        from cryptography.hazmat.primitives import serialization

        pem = serialization.Encoding.PEM
        plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        data = certificate.public_bytes(pem)
        if chain is not None:
            data += chain.public_bytes(pem)  # up to the root
        _replace(self.key(name), key.private_bytes(pem, *plain), 0o600)
        _replace(self.cert(name), data, 0o644)

    def _write_crl(self, ca: Any, ca_key: Any, revoked: dict[int, datetime]) -> None:
        from cryptography.hazmat.primitives import serialization

        x = x509()
        now = datetime.now(UTC)
        builder = (
            x.CertificateRevocationListBuilder()
            .issuer_name(ca.subject)
            .last_update(now - CLOCK_SKEW)
            .next_update(ca.not_valid_after_utc)  # nobody would renew the list of a test
            .add_extension(x.CRLNumber(int(now.timestamp())), critical=False)
            .add_extension(x.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        )
        for serial, when in revoked.items():
            entry = x.RevokedCertificateBuilder().serial_number(serial).revocation_date(when).build()
            builder = builder.add_revoked_certificate(entry)
        data = builder.sign(ca_key, _sha256()).public_bytes(serialization.Encoding.PEM)
        _replace(self.crl, data, 0o644)

    def _load_ca(self) -> tuple[Any, Any]:
        from cryptography.hazmat.primitives import serialization

        ca = load(self.cert(CA))
        try:
            key = serialization.load_pem_private_key(self.key(CA).read_bytes(), None)
        except (OSError, ValueError, TypeError) as error:
            hint = "the folder of `gateway certs init` is wanted, with the key of the CA"
            raise TlsError(f"{self.key(CA)}: cannot be read: {error}; {hint}") from error
        return ca, key


def load(path: Path) -> Any:
    """The first certificate of a PEM file. TlsError with what to do."""
    try:
        return certificates_in(path.read_bytes())[0]
    except OSError as error:
        raise TlsError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise TlsError(f"{path}: there is no certificate in it that can be read (PEM): {error}") from error


def about(path: Path) -> dict[str, str | list[str]]:
    """What a certificate says, for people."""
    from cryptography.hazmat.primitives import serialization

    x = x509()
    certificate = load(path)
    role = role_in(certificate)
    names: list[str] = []
    uses: list[str] = []
    try:
        for extension in certificate.extensions:
            if isinstance(extension.value, x.SubjectAlternativeName):
                names = [str(name.value) for name in extension.value]
            elif isinstance(extension.value, x.ExtendedKeyUsage):
                uses = [use._name for use in extension.value]
    except ValueError:
        pass  # the role's reason tells it
    return {
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "serial": f"{certificate.serial_number:x}",
        "names": names,
        "use": uses,
        "role": role.name if role.name is not None else f"none ({role.reason})",
        "valid from": f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M:%SZ}",
        "valid until": f"{certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%SZ}",
        "fingerprint": fingerprint(certificate.public_bytes(serialization.Encoding.DER)),
    }


def file_name(role: str) -> str:
    """What the files of a role's client are called. TlsError: the role cannot be one."""
    try:
        encode(role)
    except ValueError as error:
        raise TlsError(f"`{role}` cannot be a role: {error}") from error
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", role).strip("-.").lower()
    if not _NAME.fullmatch(name):
        raise TlsError(f"`{role}` gives no file name; begin with letters")
    return name


def own_hosts() -> list[str]:
    """The names under which this machine is likely to be dialled."""
    name = socket.gethostname()
    return list(dict.fromkeys(each for each in ("localhost", "127.0.0.1", "::1", name) if each))


def check_host(host: str) -> None:
    """TlsError: it can stand in no certificate."""
    _alternative(host)


def _alternative(host: str) -> Any:
    x = x509()
    try:
        return x.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    if not re.fullmatch(r"[A-Za-z0-9._*-]{1,253}", host):
        raise TlsError(f"`{host}` is neither a name nor an address; write it without scheme and port")
    return x.DNSName(host)


def _new_key() -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _sha256() -> Any:
    from cryptography.hazmat.primitives import hashes

    return hashes.SHA256()


def _subject(name: str) -> Any:
    x = x509()
    return x.Name([x.NameAttribute(x.NameOID.COMMON_NAME, name)])


def _builder(subject: Any, issuer: Any, public_key: Any, days: float, ago: timedelta) -> Any:
    x = x509()
    now = datetime.now(UTC)
    return (
        x.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x.random_serial_number())
        .not_valid_before(now - ago)
        .not_valid_after(now + timedelta(days=days))
    )


_USES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


def _key_usage(*uses: str) -> Any:
    return x509().KeyUsage(**{use: use in uses for use in _USES})


def _replace(path: Path, data: bytes, mode: int) -> None:
    """Write a whole file at once: a gateway that reads it meanwhile sees the old one or the new one."""
    try:
        number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # its mode is 0600
        try:
            with os.fdopen(number, "wb") as file:
                file.write(data)
            os.chmod(name, mode)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise TlsError(f"{path}: cannot be written: {error.strerror or error}") from error
