"""What a link and those around it know of each other: carriers, settings, counters, watchers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.modbus import mbap


class Carrier(Protocol):
    """An open connection, as the link sees it."""

    owner: Owner
    """Who is told of frames and of the end."""

    @property
    def closed(self) -> bool: ...
    @property
    def unfinished(self) -> int:
        """Bytes of a frame that is not whole yet."""
        ...

    def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...


class Owner(Protocol):
    """What a carrier calls."""

    def received(self, frames: Iterable[mbap.Frame]) -> None: ...
    def broken(self, why: str) -> None: ...
    def lost(self, carrier: Carrier, error: Exception | None) -> None: ...


Dial = Callable[[Any], Awaitable[Carrier]]
"""Opens a carrier for its owner (an Owner); OSError when it cannot."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What config.md says of a connection; seconds."""

    connect_delay_s: float = 0.0
    delay_s: float = 0.0
    in_flight: int = 1


class Counters:
    """What happened on a link since the start, besides requests and answers, which the link counts itself."""

    __slots__ = (
        "connects",
        "demotions",
        "dropped",
        "faults",
        "foreign",
        "late",
        "losses",
        "malformed",
        "redials",
        "timeouts",
    )

    def __init__(self) -> None:
        self.timeouts = 0
        self.late = 0
        """Answers whose request had given up, or that nobody asked for: dropped."""
        self.foreign = 0
        """Answers with another unit id than asked: dropped."""
        self.malformed = 0
        self.connects = 0
        self.losses = 0
        self.redials = 0
        """Connections that we closed after a time-out, because later answers on them could not be trusted."""
        self.demotions = 0
        self.dropped = 0
        """Requests not sent because their client had gone, or had waited too long."""
        self.faults = 0
        """Our bugs."""

    def snapshot(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in self.__slots__}


class Watcher(Protocol):
    """Somebody whose unit is behind the link."""

    def link_changed(self) -> None:
        """Requests may be submitted, or not any more; or the unit was demoted or restored."""
        ...

    @property
    def can_probe(self) -> bool:
        """Whether `probe` can ask something."""
        ...

    def probe(self) -> None:
        """The unit is demoted and may be asked once: submit one request."""
        ...
