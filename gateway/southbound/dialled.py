"""The carriers on a connection that a device has opened to us: MBAP, or RTU and ASCII.

The rule: such a connection is dear. A cellular device may need minutes to dial in again, so after a time-out the link
listens until it is quiet and goes on, as on a serial port (seams.Line), with MBAP too; only after MAX_UNHEARD requests
in a row for which not one byte came is the connection taken for dead, and after one when somebody waits for its place
(dialin) and nothing was heard for RECENT_S. That is also why there is one request at a time.

Many of these devices repeat the text by which they registered while nothing else is to be sent. Between two frames of
MBAP it is taken out, however it is split; RTU and ASCII find their frames behind anything, and a repeated id is only
kept from being counted as noise.
"""

from __future__ import annotations

import asyncio
import math
from typing import cast

from gateway.interfaces import Request
from gateway.modbus import mbap
from gateway.southbound.framed import FRAMINGS, FramedCarrier, Pace
from gateway.southbound.seams import Owner
from gateway.southbound.tcp import TcpCarrier

MAX_UNHEARD = 3
"""Requests in a row (rule 27 of the field: three time-outs)."""
RECENT_S = 5.0
"""What was heard in that time works: one unit of several behind it may be silent. Longer, and a device that lost its
power while it was polled every second would wait for more than the three time-outs."""


class Patience:
    """With a connection that does not answer."""

    __slots__ = ("is_short", "unheard")

    def __init__(self) -> None:
        self.is_short = False
        """Somebody waits for its place."""
        self.unheard = 0
        """Requests in a row for which not one byte came, with the one that is out."""

    def lasts(self, heard_s: float) -> bool:
        """Whether the connection stays when the request that is out is not answered; `heard_s`: as of seams.Line."""
        is_recent = asyncio.get_running_loop().time() - heard_s <= RECENT_S
        return self.unheard < (1 if self.is_short and not is_recent else MAX_UNHEARD)


class MbapDialledIn(TcpCarrier):
    """MBAP. It is its own Line (seams)."""

    __slots__ = ("_heartbeats", "_patience", "has_ids", "heard_s", "stays")

    def __init__(self, owner: Owner, device_id: bytes) -> None:
        super().__init__(owner)
        self.has_ids = True
        self.stays = True
        self.heard_s = -math.inf
        self._patience = Patience()
        self._heartbeats = Heartbeats(device_id) if device_id else None

    @property
    def line(self) -> MbapDialledIn:  # type: ignore[override]
        return self

    @property
    def unfinished(self) -> int:
        return super().unfinished + (len(self._heartbeats.held) if self._heartbeats is not None else 0)

    def is_unsure(self, pdu: bytes) -> bool:
        return False

    def wire_s(self, request: Request) -> float:
        return 0.0

    def forget(self) -> None:
        """Its transaction id tells what comes too late."""

    def hurry(self, is_short: bool) -> None:
        """Somebody waits for its place, or not any more."""
        self._patience.is_short = is_short
        self.stays = self._patience.lasts(self.heard_s)

    def write(self, data: bytes) -> None:
        self._patience.unheard += 1
        self.stays = self._patience.lasts(self.heard_s)
        super().write(data)

    def data_received(self, data: bytes) -> None:
        self._patience.unheard, self.stays = 0, True
        self.heard_s = asyncio.get_running_loop().time()
        if self._heartbeats is not None:
            data = self._heartbeats.without(data)
        if data:
            super().data_received(data)


class FramedDialledIn(FramedCarrier):
    """RTU or ASCII."""

    __slots__ = ("_id", "_patience")

    def __init__(self, owner: Owner, framing: str, device_id: bytes, name: str, turnaround_s: float) -> None:
        super().__init__(owner, FRAMINGS[framing], Pace(turnaround_s=turnaround_s, stays=True), name)
        self.heard_s = -math.inf
        self._id = device_id
        self._patience = Patience()

    def hurry(self, is_short: bool) -> None:
        """Somebody waits for its place, or not any more."""
        self._patience.is_short = is_short
        self.stays = self._patience.lasts(self.heard_s)

    def write(self, data: bytes) -> None:
        if data[mbap.LENGTH_SEEN_SIZE]:  # nobody answers a broadcast
            self._patience.unheard += 1
            self.stays = self._patience.lasts(self.heard_s)
        super().write(data)

    def data_received(self, data: bytes) -> None:
        self._patience.unheard, self.stays = 0, True
        if data != self._id or self.unfinished:
            super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.stays = False  # it is no port of ours that went away
        super().connection_lost(exc)


class Heartbeats:
    """Takes an id out of a stream of MBAP frames wherever it stands between two of them."""

    __slots__ = ("_id", "_left", "held")

    def __init__(self, device_id: bytes) -> None:
        self._id = device_id
        self._left = 0
        """Bytes of the frame that is passed on now."""
        self.held = b""
        """Not to be told yet: the beginning of a header, or of the id. Less than both together."""

    def without(self, data: bytes) -> bytes:
        """What of the stream can be passed on now. What is neither frame nor id is: the receiver will see it."""
        data = self.held + data
        self.held = b""
        out, at = b"", 0
        while at < len(data):
            if self._left:
                passed = data[at : at + self._left]
                out += passed
                at += len(passed)
                self._left -= len(passed)
                continue
            rest = data[at : at + max(mbap.LENGTH_SEEN_SIZE, len(self._id))]
            size = _frame_size(rest)
            if size is not None and not size:
                self.held = rest
                break
            if size:
                self._left = size
            elif rest.startswith(self._id):
                at += len(self._id)
            elif self._id.startswith(rest):
                self.held = rest
                break
            else:
                return out + data[at:]
        return out


def _frame_size(head: bytes) -> int | None:
    """Of the frame that begins so; 0: too few bytes to tell; None: none begins so."""
    if head[2:4] != b"\0\0"[: len(head[2:4])]:
        return None
    if len(head) < mbap.LENGTH_SEEN_SIZE:
        return 0
    _, length = cast("tuple[int, int]", mbap.PROTOCOL_AND_LENGTH.unpack_from(head, 2))
    return mbap.LENGTH_SEEN_SIZE + length if mbap.MIN_LENGTH <= length <= mbap.MAX_LENGTH else None
