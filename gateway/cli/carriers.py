"""How the one-off commands reach a device: pymodbus's clients on sockets and ports that are opened here.

Its own `connect` keeps to itself why it failed. Of a stream it reads what has come and matches frames in it, also over
TLS: its TLS client would take a record for a frame. Imported when a command asks a device, and not before.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
from typing import TYPE_CHECKING, Any

from pymodbus import FramerType
from pymodbus.client import ModbusSerialClient, ModbusTcpClient
from pymodbus.exceptions import ConnectionException

from gateway import serialport
from gateway.config.durations import format_duration
from gateway.config.urls import DeviceUrl
from gateway.config.wire import exchange_s
from gateway.errors import LinkDown, TlsError
from gateway.modbus.spec import MAX_PDU_SIZE

if TYPE_CHECKING:
    from gateway.southbound.tls import Trust

Client = ModbusTcpClient | ModbusSerialClient

READ_SIZE = 4096
_FRAMERS = {"mbap": FramerType.SOCKET, "rtu": FramerType.RTU, "ascii": FramerType.ASCII}
_PARITIES = {"none": "N", "even": "E", "odd": "O"}


def connect(url: DeviceUrl, timeout_s: float, trust: Trust | None = None) -> Client:
    """A client that is connected. LinkDown says why there is none. `trust`: of `tls://`."""
    try:
        match url.carrier:
            case "serial":
                return _serial(url, timeout_s)
            case "udp":
                return _on_socket(url, _datagrams(url), timeout_s)
            case "tls":
                assert trust is not None
                return _on_socket(url, _secured(url, _stream(url, timeout_s), trust), timeout_s)
            case _:
                return _on_socket(url, _stream(url, timeout_s), timeout_s)
    except OSError as error:
        raise LinkDown(_no_connection(url, timeout_s, error)) from error


def close(client: Client) -> None:
    """The socket or the port; whatever state it is in."""
    if client.socket is not None:
        with contextlib.suppress(OSError):
            client.socket.close()


# -- sockets --------------------------------------------------------------------------------------------------------


class _SocketClient(ModbusTcpClient):
    """pymodbus's, reading what there is at once: the frames are found in it by whoever asked."""

    def recv(self, size: int | None) -> bytes:
        """Empty: nothing came within the time-out."""
        if self.socket is None:
            raise ConnectionException("closed")
        try:
            data = self.socket.recv(READ_SIZE)
        except TimeoutError:
            return b""
        if not data and self.socket.type == socket.SOCK_STREAM:
            raise ConnectionException("closed")
        return data


def _on_socket(url: DeviceUrl, sock: socket.socket, timeout_s: float) -> Client:
    client = _SocketClient(url.host, framer=_FRAMERS[url.framing], port=url.port, timeout=timeout_s, retries=0)
    sock.settimeout(timeout_s)
    client.socket = sock
    return client


def _stream(url: DeviceUrl, timeout_s: float) -> socket.socket:
    sock = socket.create_connection((url.host, url.port), timeout=timeout_s)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _datagrams(url: DeviceUrl) -> socket.socket:
    """Connected: answers of others are not heard, and that nobody listens there is."""
    (family, *_, address), *_ = socket.getaddrinfo(url.host, url.port, type=socket.SOCK_DGRAM)
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
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


def why_lost(url: DeviceUrl, error: OSError) -> str:
    """What ended a connection that was there."""
    if isinstance(error, ssl.SSLError):
        from gateway.southbound.tls import why_failed

        return why_failed(error)
    if url.carrier == "udp" and isinstance(error, ConnectionRefusedError):
        return "nobody listens there: is the device on, is the port right?"
    return f"the connection was lost: {strerror(error)}"


# -- serial ports ---------------------------------------------------------------------------------------------------


def _serial(url: DeviceUrl, timeout_s: float) -> Client:
    line = url.line
    assert line is not None
    port: Any = serialport.open_blocking(
        url.path,
        baudrate=line.baudrate,
        parity=line.parity,
        stopbits=line.stopbits,
        databits=line.databits,
        rs485=serialport.Rs485(line.rts, line.rts_before_s, line.rts_after_s) if line.rs485 else None,
    )
    whole_s = timeout_s + exchange_s(url, MAX_PDU_SIZE, MAX_PDU_SIZE)
    client = ModbusSerialClient(
        url.path,
        framer=_FRAMERS[url.framing],
        baudrate=line.baudrate,
        bytesize=line.databits,
        parity=_PARITIES[line.parity],
        stopbits=line.stopbits,
        timeout=whole_s,
        retries=0,
    )
    port.timeout = port.write_timeout = whole_s
    client.socket = port
    return client


# -- in words -------------------------------------------------------------------------------------------------------


def _no_connection(url: DeviceUrl, timeout_s: float, error: OSError) -> str:
    """Why, and what to look at."""
    if url.carrier == "serial":
        return strerror(error)
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
