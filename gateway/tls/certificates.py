"""Our certificate and whom we trust: files of PEM that are read again when they change, as a ready `ssl.SSLContext`.

The rule: whoever begins a handshake asks `Certificates.context()` for the context of that moment. It looks at the
files (a `stat` of each, no more while they are the same), so a certificate that is renewed needs no signal and closes
nobody's connection. New files that do not work leave the old context in use, with one error line; the files are tried
again when they change again, so a line comes once for each change and not with every client. TLS as MB-TCP-Security
v36 wants it: 1.2 or newer, both sides show a certificate, ECDHE with AEAD only, no compression, no renegotiation.
"""

from __future__ import annotations

import logging
import os
import ssl
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from gateway.errors import TlsError
from gateway.tls.chains import judge
from gateway.tls.library import INSTALL, certificates_in
from gateway.tls.peers import Peer
from gateway.tls.revoked import Revoked, day, read_revoked

log = logging.getLogger(__name__)

Side = Literal["server", "client"]
Version = Literal["1.2", "1.3"]

CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!eNULL@SECLEVEL=2"
)
"""Of TLS 1.2: what must be there first (R-14, R-61). The NULL suite that R-67 allows shows everything to everybody and
is not offered. Level 2: keys of at least RSA 2048 or P-256, no SHA-1."""
SESSIONS_S = 24 * 3600.0
"""A context, and with it every session that could be resumed, lives no longer. The library itself lets a ticket live
for two hours, but each resumption of TLS 1.3 gives a new one."""
SOON_S = 30 * 86400.0
"""A certificate that ends within this is told at each load, and a load comes once a day."""
CRL_SOON_S = 3 * 86400.0
"""The same of a CRL; those are often made anew each week."""
FOR_OTHERS = stat.S_IRWXO
FOR_GROUP = stat.S_IRWXG

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class Files(NamedTuple):
    """PEM files."""

    cert: Path
    """Our certificate, with the chain up to the root behind it."""
    key: Path
    ca: Path | None
    """The roots that the other side's certificate must lead to; None: it shows none (browsers)."""
    crl: Path | None = None


class Trouble(NamedTuple):
    """What is wrong with one of the files."""

    key: str
    """`cert`, `key`, `ca` or `crl`: the field of Files."""
    message: str
    """Names the file and says what to do."""
    is_fatal: bool
    """False: it works, and is probably not meant."""


def examine(files: Files, side: Side, *, now_s: float | None = None) -> list[Trouble]:
    """Everything that is wrong with these files; nothing is kept. Raises TlsError without the package it needs."""
    troubles = _unreadable(files)
    if troubles:
        return troubles
    try:
        troubles = _permissions(files.key)
        context = _bare_context(side)
        troubles += _load_pair(context, files)
        if files.ca is not None:
            troubles += _load_ca(context, files.ca) or _load_crl(context, files, files.ca)
        if not any(trouble.is_fatal for trouble in troubles):
            troubles += _times(files, time.time() if now_s is None else now_s)
    except OSError:  # somebody is at them
        return _unreadable(files) or [Trouble("cert", f"{files.cert}: changed while it was read", True)]
    return troubles


class Certificates:
    """The files of one `tls` section, for one side."""

    def __init__(
        self,
        files: Files,
        side: Side,
        *,
        min_version: Version = "1.2",
        check_name: bool = True,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Opens nothing. `check_name`, of a client: the name that is dialled must stand in the server's certificate;
        False when its fingerprint is compared instead (`peers.same_fingerprint`)."""
        self.files = files
        self.side = side
        self.min_version = min_version
        self.check_name = check_name
        self.generation = 0
        """Counts the contexts that were taken into use."""
        self._clock = clock
        self._wall = wall
        self._context: ssl.SSLContext | None = None
        self._revoked = Revoked()
        self._roots: list[Any] = []
        self._made_s = 0.0
        self._seen: tuple[object, ...] = ()
        """What the files were like when they were tried last."""
        self._trouble = ""
        """Why the last try failed."""

    def context(self) -> ssl.SSLContext:
        """For a handshake that begins now. TlsError: the files do not work, and there is no older context."""
        seen = tuple(_look(path) for path in self.files if path is not None)
        if self._context is None:
            self._take(seen)
        elif seen != self._seen or self._clock() - self._made_s > SESSIONS_S:
            was = self._trouble
            try:
                self._take(seen)
            except TlsError as error:
                self._made_s = self._clock()  # the old ones once more, for a day
                if str(error) != was:
                    log.error("%s; the certificates that were loaded before stay in use", error)
                self._trouble = str(error)
            else:
                again = " again" if was else ""
                log.info("%s: the certificates were loaded%s; open connections stay", self.files.cert, again)
        assert self._context is not None
        return self._context

    def is_revoked(self, peer: Peer) -> bool:
        """Whether the CRL in use names it; always False without one."""
        return (peer.issuer, peer.serial) in self._revoked.certificates

    def is_over(self, peer: Peer) -> bool:
        """Whether its time has come."""
        return self._wall() >= peer.not_after_s

    def judge(self, chain: Sequence[Any]) -> int:
        """What a handshake would find wrong with a chain (`chains.chain_of`) now, by its number; 0: nothing."""
        return judge(chain, self._roots, lambda *issued: issued in self._revoked.certificates, self._wall())

    def _take(self, seen: tuple[object, ...]) -> None:
        """Take the files into use. TlsError: nothing has changed but what was seen."""
        self._seen = seen  # looked at before they are read: a change meanwhile is seen the next time
        troubles = examine(self.files, self.side, now_s=self._wall())
        fatal = [trouble.message for trouble in troubles if trouble.is_fatal]
        if fatal:
            raise TlsError("; ".join(fatal))
        context, roots, revoked = self._load()
        for trouble in troubles:
            log.warning("%s", trouble.message)
        self._context, self._roots, self._revoked = context, roots, revoked
        self._made_s, self._trouble = self._clock(), ""
        self.generation += 1

    def _load(self) -> tuple[ssl.SSLContext, list[Any], Revoked]:
        files = self.files
        context = _bare_context(self.side)
        context.minimum_version = _VERSIONS[self.min_version]
        if self.side == "client":
            context.check_hostname = self.check_name
        try:
            context.load_cert_chain(files.cert, files.key, _no_password)
            if files.ca is None:
                context.verify_mode = ssl.CERT_NONE
                return context, [], Revoked()
            context.load_verify_locations(files.ca)
            roots = certificates_in(files.ca.read_bytes())
            if files.crl is None:
                return context, roots, Revoked()
            context.load_verify_locations(files.crl)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
            return context, roots, read_revoked(files.crl, files.ca)
        except (OSError, ValueError) as error:  # they were examined a moment ago: somebody is writing them
            raise TlsError(f"{files.cert}: changed while it was read: {error}") from error


def _look(path: Path) -> object:
    """What tells one content of a file from another; None: there is none that we may see."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev, found.st_mode


def _bare_context(side: Side) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if side == "server" else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.verify_mode = ssl.CERT_REQUIRED
    context.options |= (
        ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_SINGLE_ECDH_USE
    )
    return context


# -- what may be wrong ----------------------------------------------------------------------------------------------


def _unreadable(files: Files) -> list[Trouble]:
    troubles = []
    for key, path in files._asdict().items():
        if path is None:
            continue
        try:
            path.read_bytes()
        except FileNotFoundError:
            hint = "write the path of the file, or make one to try it with: `gateway certs init`"
            troubles.append(Trouble(key, f"{path}: there is no such file; {hint}", True))
        except PermissionError:
            troubles.append(Trouble(key, f"{path}: the gateway's user may not read it; change its owner", True))
        except OSError as error:
            troubles.append(Trouble(key, f"{path}: cannot be read: {error.strerror or error}", True))
    return troubles


def _permissions(key: Path) -> list[Trouble]:
    """Others never need a key: an error. A group may be meant (Debian's ssl-cert, a mounted secret): a warning."""
    if os.name == "nt":  # its modes say nothing about who may read
        return []
    mode = stat.S_IMODE(key.stat().st_mode)
    told = f"{key}: mode {mode:04o} lets"
    if mode & FOR_OTHERS:
        return [Trouble("key", f"{told} every user of this machine at the key; chmod 600 {key}", True)]
    if mode & FOR_GROUP:
        return [Trouble("key", f"{told} the file's group at the key; chmod 600 {key} if that is not meant", False)]
    return []


def _no_password() -> str:
    raise TlsError("the key has a passphrase, which nobody can type here")


def _load_pair(context: ssl.SSLContext, files: Files) -> list[Trouble]:
    cert, key = files.cert, files.key
    if b"-----BEGIN CERTIFICATE-----" not in cert.read_bytes():
        return [Trouble("cert", f"{cert}: there is no certificate in it (PEM, `BEGIN CERTIFICATE`)", True)]
    if b"PRIVATE KEY-----" not in key.read_bytes():
        return [Trouble("key", f"{key}: there is no private key in it (PEM, `BEGIN PRIVATE KEY`)", True)]
    try:
        context.load_cert_chain(cert, key, _no_password)
    except TlsError as error:
        plain = f"write it without: openssl pkey -in {key} -out PLAIN, chmod 600 PLAIN"
        return [Trouble("key", f"{key}: {error}; {plain}", True)]
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return [Trouble("key", f"{key}: is not the key of {cert}; write the two that belong together", True)]
        if error.reason in ("EE_KEY_TOO_SMALL", "CA_MD_TOO_WEAK", "CA_KEY_TOO_SMALL"):
            weak = "its key or its signature is too weak; RSA 2048 or P-256 and SHA-256 are the least"
            return [Trouble("cert", f"{cert}: {weak}", True)]
        return [Trouble("cert", f"{cert} and {key}: cannot be read as a certificate and its key: {_why(error)}", True)]
    return []


def _load_ca(context: ssl.SSLContext, ca: Path) -> list[Trouble]:
    try:
        context.load_verify_locations(ca)
        certificates_in(ca.read_bytes())
    except (ssl.SSLError, ValueError) as error:
        return [Trouble("ca", f"{ca}: there is no certificate in it that can be read: {_why(error)}", True)]
    return []


def _load_crl(context: ssl.SSLContext, files: Files, ca: Path) -> list[Trouble]:
    if files.crl is None:
        return []
    try:
        context.load_verify_locations(files.crl)
        read_revoked(files.crl, ca)
    except (ssl.SSLError, ValueError) as error:
        return [Trouble("crl", f"{files.crl}: {_why(error)}", True)]
    return []


def _times(files: Files, now_s: float) -> list[Trouble]:
    """What is over, or soon will be. Not fatal: the gateway's other listeners must run, and a clock may be wrong."""
    try:
        ours = certificates_in(files.cert.read_bytes())[0]
    except ValueError as error:
        return [Trouble("cert", f"{files.cert}: cannot be read: {error}", True)]
    troubles = []
    before_s, after_s = ours.not_valid_before_utc.timestamp(), ours.not_valid_after_utc.timestamp()
    if now_s < before_s:
        late = f"is valid from {day(before_s)} on only; is this machine's clock right?"
        troubles.append(Trouble("cert", f"{files.cert}: {late}", False))
    elif now_s >= after_s:
        over = f"was valid until {day(after_s)}: the other side will refuse it; renew it"
        troubles.append(Trouble("cert", f"{files.cert}: {over}", False))
    elif after_s - now_s < SOON_S:
        troubles.append(Trouble("cert", f"{files.cert}: is valid until {day(after_s)} only; renew it", False))
    if files.crl is not None and files.ca is not None:
        next_s = read_revoked(files.crl, files.ca).next_update_s
        if now_s >= next_s:
            old = f"was to be renewed by {day(next_s)}: until it is, everybody is refused"
            troubles.append(Trouble("crl", f"{files.crl}: {old}", False))
        elif next_s - now_s < CRL_SOON_S:
            soon = f"must be renewed by {day(next_s)}; after that everybody is refused"
            troubles.append(Trouble("crl", f"{files.crl}: {soon}", False))
    return troubles


def _why(error: Exception) -> str:
    """What the library says, in its words."""
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return str(error)


__all__ = ["CIPHERS", "INSTALL", "Certificates", "Files", "Side", "Trouble", "Version", "examine"]
