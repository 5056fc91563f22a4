"""The serving side as a whole: its listeners and their clients. Which carrier is opened by whom stands here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from gateway.config.model_server import Limits
from gateway.errors import TlsError
from gateway.front.counters import LineCounters
from gateway.front.gate import Gate
from gateway.serving.clients import Clients
from gateway.serving.connection import Connection
from gateway.serving.doors import Door
from gateway.serving.framed import Framed
from gateway.serving.listeners import Accepting, Listeners
from gateway.serving.serial import SerialDoor
from gateway.serving.tls import TlsClients
from gateway.serving.udp import UdpListener
from gateway.systemd import NOTHING_HANDED_OVER, HandedOver


class Server:
    """All listeners of one gateway and all their clients."""

    def __init__(
        self,
        gate: Gate,
        *,
        max_connections: int,
        idle_timeout_s: float,
        keepalive_s: float,
        backlog: int,
        limits: Limits | None = None,
        register: Callable[[], int] = lambda: 0,
        handed_over: HandedOver = NOTHING_HANDED_OVER,
    ) -> None:
        """`register()`: what serial lines tell as the diagnostic register of function 08. `handed_over`: sockets that
        are open already, to be used where a listener has the same address."""
        self.gate = gate
        self._handed_over = handed_over
        self.by_line: dict[str, LineCounters] = {}
        """What each serial line has counted, by its url, also when it is closed."""
        self._register = register
        self._clients = Clients(
            gate,
            max_connections=max_connections,
            idle_timeout_s=idle_timeout_s,
            keepalive_s=keepalive_s,
            limits=limits,
        )
        self._backlog = backlog
        self._tls = TlsClients(self._clients)
        self._listeners = Listeners(
            {"tcp": self._open_tcp, "tls": self._open_tls, "udp": self._open_udp, "serial": self._open_serial}
        )

    async def _open_tcp(self, door: Door, backlog: int) -> Accepting:
        kind = Connection if door.url.framing == "mbap" else Framed
        return await Accepting.open(lambda: kind(self._clients, door), door, backlog, self._handed_over)

    async def _open_tls(self, door: Door, backlog: int) -> Accepting:
        return await Accepting.open(lambda: self._tls.protocol(door), door, backlog, self._handed_over)

    async def _open_udp(self, door: Door, _backlog: int) -> UdpListener:
        return await UdpListener.open(self._clients, door, self._handed_over)

    async def _open_serial(self, door: Door, _backlog: int) -> SerialDoor:
        serial = SerialDoor(self.gate, door, self._register)
        self.by_line[str(door.url)] = serial.line.counters
        return serial

    async def listen(
        self, doors: Iterable[Door], backlog: int | None = None, then: Callable[[], None] | None = None
    ) -> None:
        """Listen on these and no others; one that stays is not touched. ListenError, TlsError: all is as it was.

        `then` is called when all are open, before everybody who is connected is judged by the rules that hold now.
        """
        doors = list(doors)
        for door in doors:
            if door.url.carrier == "tls" and door.certificates is None:
                raise TlsError(
                    f"{door.url} needs certificates: write `tls` with cert, key and ca into the plant's file"
                )
        await self._listeners.listen(doors, self._backlog if backlog is None else backlog)
        if then is not None:
            then()
        self._clients.review()

    def configure(
        self,
        *,
        max_connections: int,
        idle_timeout_s: float,
        keepalive_s: float,
        backlog: int,
        limits: Limits | None = None,
    ) -> None:
        """From now on these hold: for clients that come, for those that are there, for listeners that are opened."""
        self._clients.configure(
            max_connections=max_connections, idle_timeout_s=idle_timeout_s, keepalive_s=keepalive_s, limits=limits
        )
        self._backlog = backlog

    @property
    def lines(self) -> list[SerialDoor]:
        """The serial lines on which we are some of the units, for those who look."""
        return [listener for listener in self._listeners.opened if isinstance(listener, SerialDoor)]

    @property
    def names(self) -> list[str]:
        """Where it listens, as the log tells it: with the ports that the system gave."""
        return [name for listener in self._listeners.opened for name in listener.names]

    def hear(self, heard: Callable[[str, str], None]) -> None:
        """Call it with peer and text for each line about a client that comes, goes or is refused; so many a minute."""
        self._clients.heard = heard

    def review(self) -> None:
        """What a client may do, or who looks at it, may be another: admit all of them anew."""
        self._clients.review()

    def client_rows(self) -> Iterator[dict[str, Any]]:
        """Who is served, for those who look, one at a time: connections, senders of datagrams, serial lines."""
        yield from self._clients.rows()
        for listener in list(self._listeners.opened):
            if isinstance(listener, UdpListener | SerialDoor):
                yield from listener.rows()

    def stop_accepting(self) -> None:
        """Nobody new comes in; clients stay."""
        self._listeners.stop()

    async def drained(self, deadline_s: float) -> None:
        """Take nothing more from any client; return when all answers still to come have left, or at the deadline."""
        await asyncio.gather(self._clients.drained(deadline_s), self._listeners.drained(deadline_s))

    async def close(self) -> None:
        """Close the listeners and the clients."""
        self._listeners.close()
        self._clients.close()
