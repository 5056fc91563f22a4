"""What a link and those around it know of each other: carriers, lines, settings, counters, watchers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from gateway.interfaces import Request
from gateway.modbus import mbap
from gateway.traffic import address_text

MIN_TIMER_S = 0.001
"""Timers of loops are no finer; a check that comes a moment too early is followed by another."""


class Carrier(Protocol):
    """An open connection, as the link sees it."""

    owner: Owner
    """Who is told of frames and of the end."""

    @property
    def line(self) -> Line | None:
        """None: answers carry transaction ids, a late one is known by its own."""
        ...

    @property
    def closed(self) -> bool: ...
    @property
    def ends(self) -> tuple[str, str]:
        """Ours and the other: `10.0.0.1:40312`, `10.0.0.5:502`; of a serial port nothing and its path. For traces."""
        ...

    @property
    def unfinished(self) -> int:
        """Bytes of a frame that is not whole yet."""
        ...

    def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...


class Line(Protocol):
    """What a link must know of a way where one request is out at a time (RTU, ASCII, devices that dial in)."""

    has_ids: bool
    """Answers carry transaction ids all the same: each tells whose it is."""
    stays: bool
    """After a time-out it is only listened to (a serial port). False: it is opened anew, and then listened to."""
    heard_s: float
    """When the last byte came, on the loop's clock."""

    def is_unsure(self, pdu: bytes) -> bool:
        """Whether the echo of the adapter may be taken for the answer to this, until another request was answered."""
        ...

    def wire_s(self, request: Request) -> float:
        """How long request and answer are on the wire; for a broadcast, until the units are done with it."""
        ...

    def forget(self) -> None:
        """What was asked is given up: what comes from now on is nobody's."""
        ...


class Owner(Protocol):
    """What a carrier calls."""

    def received(self, frames: Iterable[mbap.Frame]) -> None: ...
    def noise(self, count: int) -> None:
        """So many times something came that is no frame, or has the wrong checksum; it was dropped."""
        ...

    def broken(self, why: str) -> None: ...
    def lost(self, carrier: Carrier, error: Exception | None) -> None: ...
    def waits(self, why: str) -> None:
        """From within a dial: the other side is to come by itself and is not there; that may take for ever. OSError:
        do not wait for it."""
        ...


Dial = Callable[[Any], Awaitable[Carrier]]
"""Opens a carrier for its owner (an Owner); OSError when it cannot."""


@runtime_checkable
class Seat(Protocol):
    """A dial that keeps something open between two attempts (a listener)."""

    def leave(self) -> None:
        """Its link dials no more."""
        ...


def ends_of(transport: asyncio.BaseTransport | None) -> tuple[str, str]:
    """As Carrier.ends, of a socket; empty where it has none any more."""
    if transport is None:
        return "", ""
    return address_text(transport.get_extra_info("sockname")), address_text(transport.get_extra_info("peername"))


class NotTrusted(OSError):
    """The other side is there, and one of us does not trust the other: to try again soon changes nothing."""


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
        "crc_errors",
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
        """Answers whose request had given up, or may have, or that nobody asked for: dropped."""
        self.foreign = 0
        """Answers with another unit id than asked: dropped."""
        self.malformed = 0
        self.crc_errors = 0
        """Frames of RTU and ASCII with a wrong checksum, and noise: dropped."""
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
