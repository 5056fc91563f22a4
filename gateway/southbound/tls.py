"""The way to a device of Modbus/TCP Security: TCP, the TLS handshake with both sides' certificates, then MBAP as ever.

The rule: nothing of Modbus leaves before the device has proven who it is. Its certificate leads to one of our roots and
has the name that we dial, or is the very one whose fingerprint is configured. The library decides that (OpenSSL through
`ssl`); what is here says in words what the matter is and whose clock, file or setting has to change.

With TLS 1.3 our side of the handshake is over before the device has looked at our certificate: that it refuses it shows
only when we first read. So a connection that ends with such an alert is told as a refusal, not as a lost connection,
and not tried again soon: each attempt costs a small device a second of its processor.

A connection stays open for weeks, and its device is judged again every LOOK_S: one whose certificate has expired, is
revoked by now or leads to none of our roots of now is left, and told as in a handshake.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeVar

from gateway.errors import TlsError
from gateway.keepalive import set_keepalive
from gateway.southbound.seams import NotTrusted, Owner
from gateway.southbound.tcp import CONNECT_TIMEOUT_S, Resolver, TcpCarrier
from gateway.tls.certificates import Certificates
from gateway.tls.chains import chain_of
from gateway.tls.peers import fingerprint, same_fingerprint, shown

log = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT_S = 10.0
"""A small controller takes seconds for one with RSA."""
LOOK_S = 30.0
"""How often the device of an open connection is judged again; a `stat` of each file."""
MAX_NAMES = 5
"""Of a certificate, told when ours is not among them."""

P = TypeVar("P", bound=asyncio.Protocol)

_NOT_TLS = "perhaps it does not speak TLS on this port"
_EXPIRED, _NOT_YET, _CRL_NOT_YET, _CRL_EXPIRED = 10, 9, 11, 12
_SELF_SIGNED, _OTHER_NAME, _OTHER_ADDRESS = 18, 62, 64
_UNKNOWN_CA = (2, 19, 20, 21)
_VERIFY = {
    _SELF_SIGNED: "the device's certificate is self-signed: to trust it, give it as `ca`",
    **dict.fromkeys(_UNKNOWN_CA, "the device's certificate was issued by a CA that is not in `ca`"),
    3: "the CRL of the device's CA is not in `crl`",
    23: "the device's certificate has been revoked",
    26: "the device's certificate is not one for servers: its extended key usage has no serverAuth",
    66: "the device's key is too weak: RSA 2048 or P-256 is the least",
    67: "the key of the device's CA is too weak: RSA 2048 or P-256 is the least",
    68: "the signature of the device's certificate is too weak: SHA-256 is the least",
}
"""By X509_V_ERR_... of OpenSSL (x509_vfy.h)."""
_CLOCK = {
    _EXPIRED: "the device's certificate has expired",
    _NOT_YET: "the device's certificate is not valid yet",
    _CRL_NOT_YET: "the CRL is not valid yet",
    _CRL_EXPIRED: "the CRL has expired",
}
_ALERTS = {
    "UNKNOWN_CA": "the device refused our certificate: it does not know the CA that has issued it",
    "CERTIFICATE_EXPIRED": "the device refused our certificate: by the device's clock it is not valid now",
    "CERTIFICATE_REVOKED": "the device refused our certificate: it has been revoked",
    "CERTIFICATE_REQUIRED": "the device refused the connection: it did not get a certificate that it asked for",
    "CERTIFICATE_UNKNOWN": "the device refused our certificate: it does not say why",
    "BAD_CERTIFICATE": "the device refused our certificate: something in it is not as the device wants it",
    "UNSUPPORTED_CERTIFICATE": "the device refused our certificate: it is of a kind that the device does not support",
    "ACCESS_DENIED": "the device refused our certificate: it is valid, but has no access",
    "DECRYPT_ERROR": "the device refused our certificate: it could not check the signature with our key",
    "HANDSHAKE_FAILURE": "the device refused the TLS handshake: no cipher or kind of certificate suits both sides",
    "PROTOCOL_VERSION": "the device speaks no version of TLS that we do: see `min_version`",
}
"""By the alert of TLS (RFC 8446 6.2), as the library spells it."""
_REASONS = {
    "UNSUPPORTED_PROTOCOL": _ALERTS["PROTOCOL_VERSION"],
    "WRONG_VERSION_NUMBER": f"the device's answer to the TLS handshake is not TLS: {_NOT_TLS}",
    "HTTP_REQUEST": f"the device's answer to the TLS handshake is not TLS: {_NOT_TLS}",
}


class Trust(NamedTuple):
    """What makes us believe that a device is the one that is meant."""

    certificates: Certificates
    """Of a client; with `check_name` unless there is a pin."""
    name: str | None = None
    """In the device's certificate; None: the host that is dialled."""
    pin: str | None = None
    """SHA-256 of the device's certificate in hex, in place of its name."""


class TlsCarrier(TcpCarrier):
    """One connection of a link; the bytes are plain here."""

    __slots__ = ("_heard", "_next_look", "_why")

    def __init__(self, owner: Owner, *, batch: bool = False) -> None:
        super().__init__(owner, batch=batch)
        self._heard = False
        self._next_look: asyncio.TimerHandle | None = None
        self._why: NotTrusted | None = None
        """Why we have left it."""

    def watch(self, certificates: Certificates) -> None:
        """The handshake is done: judge the device again from time to time. TlsError: its certificate is unreadable."""
        assert self._transport is not None
        chain = chain_of(self._transport.get_extra_info("ssl_object"))
        self._next_look = asyncio.get_running_loop().call_later(LOOK_S, self._look, certificates, chain)

    def _look(self, certificates: Certificates, chain: list[Any]) -> None:
        with contextlib.suppress(TlsError):  # it has told that
            certificates.context()  # of files that have changed
        if not (code := certificates.judge(chain)):
            self._next_look = asyncio.get_running_loop().call_later(LOOK_S, self._look, certificates, chain)
            return
        self._next_look = None
        self._why = NotTrusted(_in_words(code))
        self.close()

    def data_received(self, data: bytes) -> None:
        self._heard = True
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._look_no_more()
        if self._why is not None:
            exc = self._why
        elif isinstance(exc, ssl.SSLError):
            exc = NotTrusted(why_failed(exc)) if _is_refusal(exc) else OSError(why_failed(exc))
        elif not self._heard:
            exc = OSError("it has not answered anything, perhaps it does not accept our certificate")
        super().connection_lost(exc)

    def close(self) -> None:
        self._look_no_more()
        super().close()

    def _look_no_more(self) -> None:
        if self._next_look is not None:
            self._next_look.cancel()
            self._next_look = None


def tls_dialler(
    address: Callable[[], tuple[str, int]],
    source: str | None,
    keepalive_s: float,
    trust: Trust,
    *,
    batch: bool = False,
) -> Callable[[Owner], Awaitable[TlsCarrier]]:
    """What a link, or a trial beside it, dials with. `address()` is asked at each attempt; `batch` as TcpCarrier's."""

    certificates, name, pin = trust
    resolver = Resolver()
    is_told = False

    async def dial(owner: Owner) -> TlsCarrier:
        nonlocal is_told
        host, port = address()
        wanted = name or host.partition("%")[0].removesuffix(".")
        try:
            context = certificates.context()
        except TlsError as error:
            raise NotTrusted(str(error)) from error
        sock = await _connected(resolver, host, port, source)
        try:
            transport, carrier = await _handshake(sock, context, wanted, lambda: TlsCarrier(owner, batch=batch))
        except ssl.SSLCertVerificationError as error:
            names: list[str] = []
            if error.verify_code in (_OTHER_NAME, _OTHER_ADDRESS):
                with contextlib.suppress(OSError, TlsError):
                    names = await _names(await _connected(resolver, host, port, source), certificates, wanted)
            raise NotTrusted(why_not_trusted(error, wanted, names)) from error
        except ssl.SSLEOFError as error:
            raise OSError(f"the device closed the connection in the TLS handshake: {_NOT_TLS}") from error
        except ssl.SSLError as error:
            raise NotTrusted(why_failed(error)) from error
        except ValueError as error:
            raise NotTrusted(f"`{wanted}` cannot be the name in a certificate: {error}") from error
        except ConnectionAbortedError as error:
            late = f"the device has not finished the TLS handshake within {HANDSHAKE_TIMEOUT_S:g} s"
            raise OSError(f"{late}: {_NOT_TLS}") from error
        except ConnectionError as error:
            raise OSError(f"the device closed the connection in the TLS handshake: {_NOT_TLS}") from error
        if pin is not None:
            der = transport.get_extra_info("ssl_object").getpeercert(True)
            if not same_fingerprint(der, pin):
                transport.abort()
                raise NotTrusted(f"the device's certificate has another fingerprint: {fingerprint(der)}")
        with contextlib.suppress(OSError):  # it may be gone already
            set_keepalive(transport.get_extra_info("socket"), keepalive_s)
        if not carrier.closed:
            try:
                carrier.watch(certificates)
            except TlsError as error:  # OpenSSL could read it, and trusts it
                if not is_told:
                    log.warning("%s:%d: %s; it is judged at each handshake and not in between", host, port, error)
                is_told = True
        return carrier

    return dial


async def _connected(resolver: Resolver, host: str, port: int, source: str | None) -> socket.socket:
    """A TCP connection to the first address of `host` that takes it. OSError; TimeoutError: none answers."""
    refused = OSError(f"{host} has no address")
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        for found in await resolver.addresses(host, port):
            with contextlib.ExitStack() as undo:
                family = socket.AF_INET6 if ":" in found else socket.AF_INET
                sock = undo.enter_context(socket.socket(family, socket.SOCK_STREAM))
                sock.setblocking(False)
                try:
                    if source:
                        sock.bind((source, 0))
                    await asyncio.get_running_loop().sock_connect(sock, (found, port))
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                except OSError as error:
                    refused = error
                    continue
                undo.pop_all()
                return sock
    raise refused


async def _handshake(
    sock: socket.socket, context: ssl.SSLContext, wanted: str, protocol: Callable[[], P]
) -> tuple[asyncio.Transport, P]:
    """TLS on a connection; the socket is the transport's, or closed."""
    try:
        return await asyncio.get_running_loop().create_connection(
            protocol, sock=sock, ssl=context, server_hostname=wanted, ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S
        )
    except BaseException:
        sock.close()
        raise


async def _names(sock: socket.socket, certificates: Certificates, wanted: str) -> list[str]:
    """The names in the device's certificate, for whoever has to write one of them: from one more handshake, because a
    certificate that was not accepted is not shown."""
    lenient = Certificates(certificates.files, "client", min_version=certificates.min_version, check_name=False)
    transport, _ = await _handshake(sock, lenient.context(), wanted, asyncio.Protocol)
    found = transport.get_extra_info("peercert")
    transport.abort()
    return [shown(value) for kind, value in found.get("subjectAltName", ()) if kind in ("DNS", "IP Address")]


# -- in words -------------------------------------------------------------------------------------------------------


def why_not_trusted(error: ssl.SSLCertVerificationError, wanted: str, names: list[str]) -> str:
    """What is wrong with the device's certificate. `names`: those in it, if they are known."""
    code = error.verify_code
    if code in (_OTHER_NAME, _OTHER_ADDRESS):
        more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
        has = f"it has {', '.join(names[:MAX_NAMES])}{more}" if names else "it has none, or was not shown again"
        return f"the device's certificate is not for `{wanted}`: {has}; the one that is meant goes into `tls.name`"
    return _in_words(code, error.verify_message)


def _in_words(code: int, message: str = "") -> str:
    """A number of x509_vfy.h; `message`: the library's words for it."""
    if code in _CLOCK:
        return f"{_CLOCK[code]}: by this machine's clock it is {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC"
    return _VERIFY.get(code) or f"the device's certificate cannot be trusted: {message}"


def why_failed(error: ssl.SSLError) -> str:
    """What ended a handshake, or a connection, besides the device's certificate."""
    reason = error.reason or ""
    alert = reason.partition("ALERT_")[2]
    found = _ALERTS.get(alert) or _REASONS.get(reason)
    return found or f"TLS failed: {(alert or reason or str(error)).lower().replace('_', ' ')}"


def _is_refusal(error: ssl.SSLError) -> bool:
    return (error.reason or "").partition("ALERT_")[2] in _ALERTS
