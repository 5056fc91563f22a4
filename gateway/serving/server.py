"""The serving side as a whole: its listeners and their clients."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.front.gate import Gate
from gateway.serving.clients import Clients
from gateway.serving.connection import Connection
from gateway.serving.doors import Door
from gateway.serving.listeners import Listeners


class Server:
    """All listeners of one gateway and all their clients."""

    def __init__(
        self, gate: Gate, *, max_connections: int, idle_timeout_s: float, keepalive_s: float, backlog: int
    ) -> None:
        self.gate = gate
        self._clients = Clients(
            gate, max_connections=max_connections, idle_timeout_s=idle_timeout_s, keepalive_s=keepalive_s
        )
        self._backlog = backlog
        self._listeners = Listeners(lambda door: Connection(self._clients, door))

    async def listen(self, doors: Iterable[Door]) -> None:
        """Listen on these and no others; one that stays is not touched. ListenError: all is as it was."""
        await self._listeners.listen(doors, self._backlog)
        self._clients.check_idle()

    def configure(self, *, max_connections: int, idle_timeout_s: float, keepalive_s: float, backlog: int) -> None:
        """From now on these hold: for clients that come, for listeners that are opened, and for who is idle."""
        self._clients.configure(max_connections=max_connections, idle_timeout_s=idle_timeout_s, keepalive_s=keepalive_s)
        self._backlog = backlog

    def stop_accepting(self) -> None:
        """Close the listeners; clients stay."""
        self._listeners.close()

    async def drained(self, deadline_s: float) -> None:
        """Take nothing more from any client; return when all answers still to come have left, or at the deadline."""
        await self._clients.drained(deadline_s)

    async def close(self) -> None:
        """Close the listeners and the clients."""
        self.stop_accepting()
        self._clients.close()
