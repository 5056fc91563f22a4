"""The listener of simulated PLCs: a few lines on `modbus.mbap`, without limits and log; only our own machine asks.

Not the gateway's server, which counts, logs and guards for people: a simulation stands on the devices' side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import cast

from gateway.modbus import spec
from gateway.modbus.mbap import BrokenStream, Receiver, pack
from gateway.simulate.plc import Plc

LOOPBACK = "127.0.0.1"


class SimServer:
    """Serves `plcs` by unit id; others get exception 0B, as behind a bridge whose line is silent."""

    def __init__(self, plcs: Mapping[int, Plc]) -> None:
        self.plcs = plcs
        self.port = 0
        """Where it listens; 0 before `start`."""
        self._listener: asyncio.Server | None = None
        self._connections: set[_Connection] = set()

    async def start(self, host: str = LOOPBACK, port: int = 0) -> None:
        """Listen; port 0 takes a free one. Raises OSError when it cannot."""
        self._listener = await asyncio.get_running_loop().create_server(lambda: _Connection(self), host, port)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the listener and every connection."""
        if self._listener is None:
            return
        self._listener.close()
        for connection in list(self._connections):
            connection.abort()
        await self._listener.wait_closed()
        self._listener = None

    def enter(self, connection: _Connection) -> None:
        self._connections.add(connection)

    def leave(self, connection: _Connection) -> None:
        self._connections.discard(connection)

    def answer(self, unit_id: int, pdu: bytes) -> bytes | None:
        plc = self.plcs.get(unit_id)
        if plc is None:
            return bytes((pdu[0] | spec.EXCEPTION_BIT, spec.GATEWAY_TARGET_FAILED))
        return plc.answer(pdu)


class _Connection(asyncio.Protocol):
    """One client. Not read while it does not fetch its answers."""

    def __init__(self, server: SimServer) -> None:
        self._server = server
        self._receiver = Receiver()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._server.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._server.leave(self)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        broken = False
        try:
            frames = self._receiver.feed(data)
        except BrokenStream as stream:
            frames, broken = stream.frames, True
        answers = [(tid, unit_id, self._server.answer(unit_id, pdu)) for tid, unit_id, pdu in frames]
        self._transport.write(b"".join(pack(tid, unit_id, pdu) for tid, unit_id, pdu in answers if pdu is not None))
        if broken:
            self._transport.close()

    def pause_writing(self) -> None:
        assert self._transport is not None
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        assert self._transport is not None
        self._transport.resume_reading()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
