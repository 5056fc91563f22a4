"""What is known of one device as a whole: its state, its counters, and the eight registers that show them.

Clients read the status block while everything else refuses them, so it must never be without a value. It is written
when the state changes and once a second while somebody reads (freshness), never by a poll.
"""

from __future__ import annotations

import enum
import logging
import math
import struct
from collections.abc import Callable, Sequence
from typing import Protocol

log = logging.getLogger(__name__)

STATUS_REGISTERS = 8
_STATUS = struct.Struct(">HHHHII")
_MOST = 0xFFFF
"""A status register stops here: `never, or more`."""


class State(enum.IntEnum):
    """As the status block shows it (config.md)."""

    WAITING = 0
    """No good poll yet, and connected or connecting."""
    GOOD = 1
    STALE = 2
    """A block is older than its limit."""
    DOWN = 3
    """Not connected."""
    DISABLED = 4


class Aging(Protocol):
    """One block of the device, as far as its state needs it."""

    good_s: float
    """When it was last read well, on the clock of ages; -infinity before."""
    stale: bool
    """Too old, or refused."""


class LinkState(Protocol):
    """The device's link, as far as its state needs it."""

    @property
    def up(self) -> bool: ...
    @property
    def trouble(self) -> str: ...


CONNECTING = "connecting"
"""A link's trouble before its first attempt has ended."""


class Device:
    """One device's health. Jobs report to it; the status block and the log tell of it."""

    def __init__(self, name: str, link: LinkState | None, on_change: Callable[[], None]) -> None:
        """`link` is None when the device is disabled. `on_change()` is called when the state changes."""
        self.name = name
        self.jobs: list[Aging] = []
        self.good_requests = 0
        self.failed_requests = 0
        self.failures_in_row = 0
        self.last_exception = 0
        self.last_error = ""
        self._link = link
        self._on_change = on_change
        self._told_stale = False
        self.state = State.WAITING if link is not None else State.DISABLED

    def good(self) -> None:
        """A request was answered with data."""
        self.good_requests += 1
        self.failures_in_row = 0
        if self.state is not State.GOOD:
            self.review()

    def failed(self, error: str, code: int = 0) -> None:
        """A request failed; `code` is the exception the device answered with, if it did."""
        self.failed_requests += 1
        self.failures_in_row += 1
        self.last_error = error
        if code:
            self.last_exception = code

    def expired(self) -> None:
        """A block has grown too old; of a device that never answered this is said here, for its state stays waiting."""
        if self.state is State.WAITING and not self._told_stale:
            self._told_stale = True
            log.warning("device %s: no good read yet%s", self.name, f" ({self.last_error})" if self.last_error else "")

    def review(self, *, told: bool = False) -> None:
        """Work out the state anew: a block, or the link, has changed. `told`: the log has the cause already."""
        state = self._state()
        if state is self.state:
            return
        before, self.state = self.state, state
        if state is State.STALE and before is not State.DOWN and not told:
            self._told_stale = True
            log.warning("device %s: stale%s", self.name, f" ({self.last_error})" if self.last_error else "")
        elif state is State.GOOD and self._told_stale:
            self._told_stale = False
            log.info("device %s: good", self.name)
        else:  # the first read at start, or what the link has told
            log.debug("device %s: %s", self.name, state.name.lower())
        self._on_change()

    def _state(self) -> State:
        if self._link is None:
            return State.DISABLED
        if not self._link.up:
            return State.WAITING if self._link.trouble == CONNECTING else State.DOWN
        if not self.good_requests:
            return State.WAITING
        return State.STALE if any(job.stale for job in self.jobs) else State.GOOD

    def status(self, now_s: float) -> bytes:
        """The eight registers at `now_s`: state, age, last exception, failures in a row, good and failed requests."""
        age_s = now_s - min((job.good_s for job in self.jobs), default=-math.inf)
        return _STATUS.pack(
            self.state,
            int(min(max(age_s, 0.0), _MOST)),
            self.last_exception,
            min(self.failures_in_row, _MOST),
            self.good_requests & 0xFFFFFFFF,
            self.failed_requests & 0xFFFFFFFF,
        )


_GATEWAY_STATUS = struct.Struct(">HIHHHHH")


def gateway_status(uptime_s: float, devices: Sequence[Device], clients: int, generation: int) -> bytes:
    """The gateway's own eight registers: heartbeat, uptime, devices enabled, good, down, clients, generation."""
    states = [device.state for device in devices]
    seconds = int(uptime_s)
    return _GATEWAY_STATUS.pack(
        seconds & 0xFFFF,
        seconds & 0xFFFFFFFF,
        min(len(states) - states.count(State.DISABLED), _MOST),
        min(states.count(State.GOOD), _MOST),
        min(states.count(State.DOWN), _MOST),
        min(clients, _MOST),
        generation & 0xFFFF,
    )
