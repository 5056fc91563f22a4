"""The TCP carrier of a link: MBAP frames on one connection, opened anew each time (names are resolved anew, too)."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Callable
from typing import Any, cast

from gateway.keepalive import set_keepalive
from gateway.modbus import mbap
from gateway.southbound.framed import FramedCarrier
from gateway.southbound.seams import Carrier, Dial, Owner, ends_of

CONNECT_TIMEOUT_S = 5.0
"""For name and handshake; a host in the same plant answers in milliseconds (protocol digest 2.5)."""
READ_SIZE = 16 * 1024
"""Plain asyncio would take a 256 KiB buffer for every read."""


class TcpCarrier(asyncio.Protocol):
    """One connection of a link."""

    __slots__ = ("_batch", "_parts", "_receiver", "_transport", "owner")
    line = None

    def __init__(self, owner: Owner, *, batch: bool = False) -> None:
        """`batch`: what is written in one turn of the loop leaves in one segment (a system call less for each)."""
        self.owner = owner
        self._batch = batch
        self._parts: list[bytes] = []
        self._receiver = mbap.Receiver()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if hasattr(transport, "max_size"):
            transport.max_size = READ_SIZE

    def data_received(self, data: bytes) -> None:
        try:
            frames = self._receiver.feed(data)
        except mbap.BrokenStream as broken:
            self.owner.received(broken.frames)
            self.owner.broken(str(broken))
            return
        self.owner.received(frames)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.owner.lost(self, exc)

    @property
    def closed(self) -> bool:
        return self._transport is None

    @property
    def ends(self) -> tuple[str, str]:
        return ends_of(self._transport)

    @property
    def unfinished(self) -> int:
        return self._receiver.unfinished

    def write(self, data: bytes) -> None:
        """One segment if the system can; nothing after the connection is gone (`lost` is on its way then)."""
        if self._batch:
            if not self._parts:
                asyncio.get_running_loop().call_soon(self._flush)
            self._parts.append(data)
        elif self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _flush(self) -> None:
        parts, self._parts = self._parts, []
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(parts))

    def close(self) -> None:
        """At once: what was written and not sent is not wanted any more."""
        if self._transport is not None:
            self._transport.abort()


class Resolver:
    """Looks one name up anew for each connection, but never twice at once: a look-up cannot be cancelled, and those
    of a name server that does not answer would pile up until no other name is resolved either."""

    def __init__(self) -> None:
        self._lookup: asyncio.Future[list[tuple[Any, ...]]] | None = None

    async def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of `host`, in the system's order; of an IP address itself, without a look-up.

        OSError when it has none.
        """
        if _is_ip_address(host):
            return [host]
        if self._lookup is None:
            self._lookup = asyncio.ensure_future(
                asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
            )
            self._lookup.add_done_callback(self._done)
        try:
            return [info[4][0] for info in await asyncio.shield(self._lookup)]
        except UnicodeError as error:
            raise OSError(f"{host} is no host name: {error}") from error

    def _done(self, lookup: asyncio.Future[list[tuple[Any, ...]]]) -> None:
        self._lookup = None
        if not lookup.cancelled():
            lookup.exception()  # seen: the dialler that asked may have given up


def _is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def tcp_dialler(
    address: Callable[[], tuple[str, int]],
    source: str | None,
    keepalive_s: float,
    *,
    batch: bool = False,
    make: Callable[[Owner], TcpCarrier | FramedCarrier] | None = None,
) -> Dial:
    """What a link, or a trial beside it, dials with. `address()` is asked at each attempt.

    `make(owner)`: the carrier, where it is not MBAP; `batch` as TcpCarrier's.
    """

    resolver = Resolver()

    def carrier_of(owner: Owner) -> TcpCarrier | FramedCarrier:
        return TcpCarrier(owner, batch=batch) if make is None else make(owner)

    async def dial(owner: Owner) -> Carrier:
        host, port = address()
        loop = asyncio.get_running_loop()
        local = (source, 0) if source else None
        refused: OSError | None = None
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            for found in await resolver.addresses(host, port):
                try:
                    transport, carrier = await loop.create_connection(
                        lambda: carrier_of(owner), found, port, local_addr=local
                    )
                    break
                except OSError as error:
                    refused = error
            else:
                raise refused or OSError(f"{host} has no address")
        sock = transport.get_extra_info("socket")
        with contextlib.suppress(OSError):  # it may be gone already
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            set_keepalive(sock, keepalive_s)
        return carrier

    return dial
