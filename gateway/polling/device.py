"""What is known of one device as a whole: its state, its counters, and the eight registers that show them.

Clients read the status block while everything else refuses them, so it must never be without a value. It is written
when the state changes and once a second while somebody reads (freshness), never by a poll. Registers that the device is
known to refuse do not make it stale, nor old: the state tells of what it can give.
"""

from __future__ import annotations

import enum
import logging
import math
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from gateway import clock
from gateway.logs import TOLD
from gateway.polling.held import Writable
from gateway.polling.rates import Measured
from gateway.repeat import Repeats

log = logging.getLogger(__name__)

STATUS_REGISTERS = 8
_STATUS = struct.Struct(">HHHHII")
MAX_MISMATCHES = 10
"""Lines in a minute about writes that the device did not take; the job counts them all."""
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
    """Not connected, or silent on a live connection (demoted)."""
    DISABLED = 4


class Block(Writable, Protocol):
    """One planned block of the device, as far as its state needs it."""

    @property
    def good_s(self) -> float:
        """When the oldest part of it was last read well, on the clock of ages; -infinity before."""
        ...

    @property
    def stale(self) -> bool:
        """A part of it is too old, or all of it is refused."""
        ...

    def catch_up(self) -> None:
        """Poll now what is not good."""
        ...

    def probe(self) -> bool:
        """Poll anything of it now. False: there is nothing, or it is out already."""
        ...

    def measured(self) -> Iterator[Measured]:
        """Its requests that have turns."""
        ...

    def rows(self, now_s: float) -> list[dict[str, Any]]:
        """Its requests, as the status snapshot shows them."""
        ...

    def holes(self, now_s: float) -> dict[str, Any] | None:
        """What the device refuses of it, as the status snapshot shows it; None: nothing."""
        ...


class LinkState(Protocol):
    """The device's link, as far as its state needs it."""

    @property
    def up(self) -> bool: ...
    @property
    def trouble(self) -> str: ...
    def silent(self, unit_id: int) -> bool:
        """The unit is demoted."""
        ...


CONNECTING = "connecting"
"""A link's trouble before its first attempt has ended."""
RECONNECTING = "the device closed the connection while nothing was asked; reconnecting"
"""Why it is down when its link has no trouble yet: many a device does that to an idle connection."""


class Device:
    """One device's health. Its jobs report to it; the status block and the log tell of it."""

    def __init__(
        self,
        name: str,
        link: LinkState | None,
        on_change: Callable[[], None],
        *,
        unit_id: int,
        clock: Callable[[], float] = clock.now,
    ) -> None:
        """`link` is None when the device is disabled. `on_change()` is called when the state changes; `clock` is that
        of ages."""
        self.name = name
        self.unit_id = unit_id
        self.blocks: list[Block] = []
        self.good_requests = 0
        self.failed_requests = 0
        self.failures_in_row = 0
        self.last_exception = 0
        self.last_error = ""
        self.is_plain = False
        """Good, and its last request was: one more good read changes nothing but a counter. For the jobs' hot path."""
        self._link = link
        self._on_change = on_change
        self.lines = Repeats()
        """What the log was told of it."""
        self.mismatches = Repeats(MAX_MISMATCHES)
        """The same of writes that it did not take."""
        self._clock = clock
        self._told_stale = False
        self._owes_stale = False
        """It is stale and the log does not know, for it was told of the last time just now."""
        self._reached_s = -math.inf
        """When it answered last, as far as is known without its blocks."""
        self._is_reached = False
        """It has answered since the link came up."""
        self._next_probe = 0
        self.state = State.WAITING if link is not None else State.DISABLED
        self.before = self.state
        """The state before the last change."""
        self._since_s = clock()
        """When its state changed."""

    def good(self) -> None:
        """A request was answered with data."""
        self.good_requests += 1
        self.failures_in_row = 0
        self._is_reached = True
        self._reached_s = self._clock()
        if self.state is not State.GOOD:
            self.review()
        self.is_plain = self.state is State.GOOD

    def reached(self) -> None:
        """A write or a forwarded request was answered: all that is known of a device that is not polled."""
        if self._link is None or not self._link.up:
            return
        self._is_reached = True
        self._reached_s = self._clock()
        if not self.blocks and self.state is not State.GOOD:
            self.review()

    def failed(self, error: str, code: int = 0) -> None:
        """A request failed; `code` is the exception the device answered with, if it did."""
        self.is_plain = False
        self.failed_requests += 1
        self.failures_in_row += 1
        self.last_error = error
        if code:
            self.last_exception = code
        if self._owes_stale:
            self._tell_stale(counts=False)

    def expired(self) -> None:
        """A block has grown too old; of a device that never answered this is said here, for its state stays waiting."""
        if self.state is not State.WAITING or self._told_stale:
            return
        more = self.lines.more("waiting", self._clock())
        if more is not None:
            self._told_stale = True
            log.warning("device %s: no good read yet%s%s", self.name, self._why(), more)

    def link_changed(self) -> None:
        """The link came up or went down, or the unit was demoted or restored: what could not be read is read now."""
        self.review()
        if self.is_reachable:
            for block in tuple(self.blocks):
                block.catch_up()

    @property
    def can_probe(self) -> bool:
        """There is something to ask it."""
        return bool(self.blocks)

    def probe(self) -> None:
        """Ask it anything, a block at a time in turn: the link wants to know whether a silent unit is back."""
        for _ in range(len(self.blocks)):
            block = self.blocks[self._next_probe % len(self.blocks)]
            self._next_probe += 1
            if block.probe():
                return

    @property
    def is_reachable(self) -> bool:
        """A request would be sent, as far as is known."""
        return self._link is not None and self._link.up and not self._link.silent(self.unit_id)

    def review(self, *, told: bool = False) -> None:
        """Work out the state anew: a block, or the link, has changed. `told`: the log has the cause already."""
        if self._link is not None and not self._link.up:
            self._is_reached = False
        state = self._state()
        if state is self.state:
            return
        before = self.before = self.state
        self.state = state
        self._since_s = self._clock()
        self._owes_stale = False
        if state is not State.GOOD:
            self.is_plain = False
        if state is State.STALE and before is not State.DOWN and not told:
            self._tell_stale()
        elif state is State.GOOD and self._told_stale:
            self._told_stale = False
            log.info("device %s: good", self.name)
        else:  # the first read at start, or what the link has told
            log.debug("device %s: %s", self.name, state.name.lower())
        self._on_change()

    def _tell_stale(self, *, counts: bool = True) -> None:
        more = self.lines.more("stale", self._clock(), counts=counts)
        self._owes_stale = more is None
        if more is not None:
            self._told_stale = True
            log.warning("device %s: stale%s%s", self.name, self._why(), more, extra=TOLD)

    @property
    def reason(self) -> str:
        """Why its state is what it is; empty while all is well, or nothing is known."""
        if self.state is State.DOWN and self._link is not None and not self._link.up:
            return self._link.trouble or RECONNECTING
        return self.last_error if self.state in (State.DOWN, State.STALE) else ""

    def _why(self) -> str:
        return f" ({self.last_error})" if self.last_error else ""

    def _state(self) -> State:
        if self._link is None:
            return State.DISABLED
        if not self._link.up:
            return State.WAITING if self._link.trouble == CONNECTING else State.DOWN
        if self._link.silent(self.unit_id):
            return State.DOWN
        if not self.blocks:  # it is written or forwarded to, never polled
            return State.GOOD if self._is_reached else State.WAITING
        if not self.good_requests:
            return State.WAITING
        return State.STALE if any(block.stale for block in self.blocks) else State.GOOD

    def age_s(self, now_s: float) -> float:
        """Of the oldest block; infinite while one was never read. Without blocks: since it answered last."""
        return max(now_s - min((block.good_s for block in self.blocks), default=self._reached_s), 0.0)

    def measured(self) -> Iterator[Measured]:
        """Its requests that have turns."""
        for block in self.blocks:
            yield from block.measured()

    def status(self, now_s: float) -> bytes:
        """The eight registers at `now_s`: state, age, last exception, failures in a row, good and failed requests."""
        return _STATUS.pack(
            self.state,
            int(min(self.age_s(now_s), _MOST)),
            self.last_exception,
            min(self.failures_in_row, _MOST),
            self.good_requests & 0xFFFFFFFF,
            self.failed_requests & 0xFFFFFFFF,
        )

    def snapshot(self, now_s: float) -> dict[str, Any]:
        """What is known of it, as plain values for the status command; what the link and the writes tell is not."""
        age_s = self.age_s(now_s)
        return {
            "name": self.name,
            "unit": self.unit_id,
            "enabled": self._link is not None,
            "state": self.state.name.lower(),
            "since_s": round(max(now_s - self._since_s, 0.0), 1),
            "age_s": round(age_s, 3) if math.isfinite(age_s) else None,
            "last_error": self.last_error,
            "last_exception": self.last_exception,
            "failures_in_row": self.failures_in_row,
            "good_requests": self.good_requests,
            "failed_requests": self.failed_requests,
            "jobs": [row for block in self.blocks for row in block.rows(now_s)],
            "holes": [holes for block in self.blocks if (holes := block.holes(now_s)) is not None],
        }


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
