"""How the one-off commands get to a device: a socket or a port that is opened here, or one line that says why not.

Blocking, and without pymodbus: `carriers` puts its clients on what is opened here (`read`, `write`); `scan`, `guess`
and `doctor` send frames of our own on it (`commission.exchange` says why).
"""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gateway import serialport
from gateway.config.durations import format_duration
from gateway.config.urls import DeviceUrl
from gateway.errors import LinkDown, TlsError

if TYPE_CHECKING:
    from gateway.cli.client import Whom
    from gateway.commission.exchange import Exchange
    from gateway.southbound.tls import Trust

READ_SIZE = 4096
LEAST_WAIT_S = 0.001
"""0 would make a socket one that does not wait at all, which fails in other words."""


def open_socket(url: DeviceUrl, timeout_s: float, trust: Trust | None = None, source: str | None = None) -> Any:
    """Of every way that is no serial line. LinkDown says why there is none. `trust`: of `tls://`."""
    try:
        if url.carrier == "udp":
            return _datagrams(url, source)
        stream = _stream(url, timeout_s, source)
        if url.carrier == "tls":
            assert trust is not None
            return _secured(url, stream, trust)
        return stream
    except OSError as error:
        raise LinkDown(_no_connection(url, timeout_s, error)) from error


def open_port(url: DeviceUrl) -> Any:
    """A serial port of pyserial, set as `url` says. LinkDown says why there is none."""
    line = url.line
    assert line is not None
    try:
        return serialport.open_blocking(
            url.path,
            baudrate=line.baudrate,
            parity=line.parity,
            stopbits=line.stopbits,
            databits=line.databits,
            rs485=serialport.Rs485(line.rts, line.rts_before_s, line.rts_after_s) if line.rs485 else None,
        )
    except OSError as error:
        raise LinkDown(strerror(error)) from error


def exchange_with(asked: Whom, timeout_s: float, source: str | None = None) -> Exchange:
    """Frames of our own to whom the command line means; connects with the first request."""
    from gateway.commission.exchange import Exchange

    return Exchange(asked.url, opener(asked.url, timeout_s, asked.trust, source))


def opener(
    url: DeviceUrl, timeout_s: float, trust: Trust | None, source: str | None = None
) -> Callable[[], _OnSocket | _OnPort]:
    """What opens a channel to `url`, as often as it is called; LinkDown says why there is none."""
    if url.carrier == "serial":
        return lambda: _OnPort(url, open_port(url))
    return lambda: _OnSocket(url, open_socket(url, timeout_s, trust, source))


class _OnSocket:
    """commission.exchange.Channel of a socket."""

    def __init__(self, url: DeviceUrl, sock: socket.socket) -> None:
        self._url = url
        self._socket = sock

    def send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise LinkDown(why_lost(self._url, error)) from error

    def receive(self, wait_s: float) -> bytes:
        try:
            self._socket.settimeout(max(wait_s, LEAST_WAIT_S))
            data = self._socket.recv(READ_SIZE)
        except TimeoutError:
            return b""
        except OSError as error:
            raise LinkDown(why_lost(self._url, error)) from error
        if not data and self._url.carrier != "udp":
            raise LinkDown("closed the connection without an answer")
        return data

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()


class _OnPort:
    """commission.exchange.Channel of a serial port."""

    def __init__(self, url: DeviceUrl, port: Any) -> None:
        self._url = url
        self._port = port

    def send(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except OSError as error:  # pyserial's are
            raise LinkDown(why_lost(self._url, error)) from error

    def receive(self, wait_s: float) -> bytes:
        try:
            self._port.timeout = max(wait_s, LEAST_WAIT_S)
            data: bytes = self._port.read(max(1, self._port.in_waiting))
        except OSError as error:
            raise LinkDown(why_lost(self._url, error)) from error
        return data

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._port.close()


# -- sockets --------------------------------------------------------------------------------------------------------


def _stream(url: DeviceUrl, timeout_s: float, source: str | None) -> socket.socket:
    sock = socket.create_connection(
        (url.host, url.port), timeout=timeout_s, source_address=None if source is None else (source, 0)
    )
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _datagrams(url: DeviceUrl, source: str | None) -> socket.socket:
    """Connected: answers of others are not heard, and that nobody listens there is."""
    (family, *_, address), *_ = socket.getaddrinfo(url.host, url.port, type=socket.SOCK_DGRAM)
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if source is not None:
            sock.bind((source, 0))
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock


def _secured(url: DeviceUrl, sock: socket.socket, trust: Trust) -> socket.socket:
    """TLS on a connection: the device is the one that is meant, or LinkDown."""
    from gateway.southbound.tls import why_failed, why_not_trusted
    from gateway.tls.peers import fingerprint, same_fingerprint

    wanted = trust.name or url.host.partition("%")[0].removesuffix(".")
    try:
        secured = trust.certificates.context().wrap_socket(sock, server_hostname=wanted)
    except TlsError as error:
        sock.close()
        raise LinkDown(str(error)) from error
    except ssl.SSLCertVerificationError as error:
        raise LinkDown(why_not_trusted(error, wanted, [])) from error
    except (ssl.SSLEOFError, ConnectionResetError) as error:
        raise LinkDown("closed the connection in the TLS handshake: perhaps it speaks no TLS on this port") from error
    except ssl.SSLError as error:
        raise LinkDown(why_failed(error)) from error
    der = secured.getpeercert(True) or b""
    if trust.pin is not None and not same_fingerprint(der, trust.pin):
        secured.close()
        raise LinkDown(f"the device's certificate has another fingerprint: {fingerprint(der)}")
    return secured


# -- in words -------------------------------------------------------------------------------------------------------


def why_lost(url: DeviceUrl, error: OSError) -> str:
    """What ended a connection that was there."""
    if isinstance(error, ssl.SSLError):
        from gateway.southbound.tls import why_failed

        return why_failed(error)
    if url.carrier == "udp" and isinstance(error, ConnectionRefusedError):
        return "nobody listens there: is the device on, is the port right?"
    return f"the connection was lost: {strerror(error)}"


def _no_connection(url: DeviceUrl, timeout_s: float, error: OSError) -> str:
    """Why, and what to look at."""
    if isinstance(error, TimeoutError):
        waited = format_duration(timeout_s)
        return f"does not answer within {waited}: is the address right, the device on, no firewall between?"
    if isinstance(error, ConnectionRefusedError):
        return "refused the connection: is the device on, is the port right?"
    if isinstance(error, socket.gaierror):
        return f"there is no host named {url.host}"
    if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return f"no way to it ({strerror(error)}): are the address and this machine's network right?"
    return f"cannot connect: {strerror(error)}"


def strerror(error: OSError) -> str:
    return error.strerror or str(error)
