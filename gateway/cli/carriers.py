"""pymodbus's clients on sockets and ports that `ways` opened.

Its own `connect` keeps to itself why it failed. Of a stream it reads what has come and matches frames in it, also over
TLS: its TLS client would take a record for a frame. Imported when a command asks a device, and not before.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

from pymodbus import FramerType
from pymodbus.client import ModbusSerialClient, ModbusTcpClient
from pymodbus.exceptions import ConnectionException

from gateway.cli import ways
from gateway.config.urls import DeviceUrl
from gateway.config.wire import exchange_s
from gateway.modbus.spec import MAX_PDU_SIZE

if TYPE_CHECKING:
    from gateway.southbound.tls import Trust

Client = ModbusTcpClient | ModbusSerialClient

_FRAMERS = {"mbap": FramerType.SOCKET, "rtu": FramerType.RTU, "ascii": FramerType.ASCII}
_PARITIES = {"none": "N", "even": "E", "odd": "O"}


def connect(url: DeviceUrl, timeout_s: float, trust: Trust | None = None) -> Client:
    """A client that is connected. LinkDown says why there is none. `trust`: of `tls://`."""
    if url.carrier == "serial":
        return _serial(url, timeout_s)
    sock = ways.open_socket(url, timeout_s, trust)
    client = _SocketClient(url.host, framer=_FRAMERS[url.framing], port=url.port, timeout=timeout_s, retries=0)
    sock.settimeout(timeout_s)
    client.socket = sock
    return client


def close(client: Client) -> None:
    """The socket or the port; whatever state it is in."""
    if client.socket is not None:
        with contextlib.suppress(OSError):
            client.socket.close()


class _SocketClient(ModbusTcpClient):
    """pymodbus's, reading what there is at once: the frames are found in it by whoever asked."""

    received = 0
    """Bytes so far. pymodbus keeps to itself that what came was no answer."""

    def recv(self, size: int | None) -> bytes:
        """Empty: nothing came within the time-out."""
        if self.socket is None:
            raise ConnectionException("closed")
        try:
            data = self.socket.recv(ways.READ_SIZE)
        except TimeoutError:
            return b""
        if not data and self.socket.type == socket.SOCK_STREAM:
            raise ConnectionException("closed")
        self.received += len(data)
        return data


def _serial(url: DeviceUrl, timeout_s: float) -> Client:
    line = url.line
    assert line is not None
    port = ways.open_port(url)
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
