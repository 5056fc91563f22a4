"""The UDP carrier of a link: MBAP frames in datagrams, one in each that we send.

The rule: a datagram stands for itself. What is lost is a time-out, what comes twice is late, what is no whole frame is
dropped and counted, and the datagrams behind it are read as if nothing had been. "Connecting" is a socket that takes
datagrams of that one address only; nothing is sent for it, so a link is up before anybody knows whether the device is
there, and learns it from the first answer or from the ICMP message that nobody listens. After a time-out the link opens
another socket: another port of ours, which an answer to the old one cannot reach.

Of a name's several addresses one is used until it fails: without a handshake they cannot be tried one after the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

from gateway.modbus import mbap
from gateway.southbound.seams import Owner, ends_of
from gateway.southbound.tcp import CONNECT_TIMEOUT_S, Resolver


class UdpCarrier(asyncio.DatagramProtocol):
    """One socket of a link."""

    __slots__ = ("_transport", "heard", "owner")
    line = None
    unfinished = 0
    """A datagram has whole frames, or none."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.heard = False
        """The device sent something."""
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: object) -> None:
        # Never cut off: both loops read with more than a datagram can have.
        self.heard = True
        frames, is_clean = cut(data)
        if not is_clean:
            self.owner.noise(1)
        if frames:
            self.owner.received(frames)

    def error_received(self, exc: Exception) -> None:
        """ICMP has an answer to what was sent; or the system did not send it."""
        if self._transport is not None and not self._transport.is_closing():
            self.owner.broken(_why(exc))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.owner.lost(self, exc)

    @property
    def closed(self) -> bool:
        return self._transport is None

    @property
    def ends(self) -> tuple[str, str]:
        return ends_of(self._transport)

    def write(self, data: bytes) -> None:
        """Each frame of `data` in a datagram of its own; nothing after the end (`lost` is on its way then)."""
        while data and self._transport is not None and not self._transport.is_closing():
            size = mbap.LENGTH_SEEN_SIZE + int.from_bytes(data[4:6], "big")
            frame, data = data[:size], data[size:]
            try:
                self._transport.sendto(frame)
            except OSError as error:  # uvloop raises what asyncio hands to `error_received`
                asyncio.get_running_loop().call_soon(self.error_received, error)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def cut(data: bytes) -> tuple[list[mbap.Frame], bool]:
    """The frames of one datagram, and whether they were all of it; what stands behind an impossible header is lost."""
    receiver = mbap.Receiver()
    try:
        frames = receiver.feed(data)
    except mbap.BrokenStream as broken:
        return broken.frames, False
    return frames, bool(data) and not receiver.unfinished


def _why(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "refused: the host is there, but nothing listens on this UDP port"
    return f"no way to send datagrams: {getattr(error, 'strerror', None) or error}"


def udp_dialler(address: Callable[[], tuple[str, int]], source: str | None) -> Callable[[Owner], Awaitable[UdpCarrier]]:
    """What a link, or a trial beside it, dials with. `address()` is asked at each attempt."""

    resolver = Resolver()
    last: UdpCarrier | None = None
    attempt = 0

    async def dial(owner: Owner) -> UdpCarrier:
        nonlocal last, attempt
        host, port = address()
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            found = await resolver.addresses(host, port)
        if last is not None and not last.heard:
            attempt += 1
        sock = _connected([(found[(attempt + n) % len(found)], port) for n in range(len(found))], source)
        try:
            _, carrier = await asyncio.get_running_loop().create_datagram_endpoint(lambda: UdpCarrier(owner), sock=sock)
        except BaseException:
            sock.close()
            raise
        last = carrier
        return carrier

    return dial


def _connected(addresses: Sequence[tuple[str, int]], source: str | None) -> socket.socket:
    """A socket that sends to the first of these that there is a way to, and hears nobody else."""
    refused = OSError("the name has no address")
    for address in addresses:
        with contextlib.ExitStack() as undo:
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
            sock = undo.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            sock.setblocking(False)
            try:
                if source:
                    sock.bind((source, 0))
                sock.connect(address)
            except OSError as error:
                refused = error
                continue
            undo.pop_all()
            return sock
    raise refused
