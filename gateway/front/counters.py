"""What the serving side counts: plain ints, written by one thread, wrapped only where they are shown."""

from __future__ import annotations


class Counters:
    """Since the start, or since function 08 sub-function 0A cleared the first five (V1.1b3 6.8)."""

    __slots__ = (
        "broken",
        "clients",
        "connections",
        "exceptions",
        "faults",
        "held",
        "refused_connections",
        "requests",
        "silent",
    )

    def __init__(self) -> None:
        self.clients = 0
        """Connected now."""
        self.connections = 0
        """Accepted since the start."""
        self.refused_connections = 0
        """Closed at once because `max_connections` were there."""
        self.held = 0
        """How often a client was not read any more because too many of its requests had no answer yet."""
        self.clear()

    def clear(self) -> None:
        """What diagnostics may clear; connections are not communication counters."""
        self.requests = 0
        self.exceptions = 0
        self.silent = 0
        self.broken = 0
        """Streams closed for an impossible header."""
        self.faults = 0
        """Answered with 04: our bugs."""

    def snapshot(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in self.__slots__}
