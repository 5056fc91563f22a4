"""The carriers on a connection that a device has opened to us: MBAP, or RTU and ASCII.

The rule: such a connection is dear. A cellular device may need minutes to dial in again, so after a time-out the link
listens until it is quiet and goes on, as on a serial port (seams.Line), with MBAP too; only after MAX_UNHEARD requests
in a row for which not one byte came is the connection taken for dead. Any byte shows that it is not, an id that is
repeated as well: to close it would bring nothing back. That is also why there is one request at a time.

When somebody waits for its place (dialin), that is not enough: who says something each second and answers nothing may
be anybody, and the device stands outside. Then only an answer counts: one request without, and none for RECENT_S
before, and the place is the other's.

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
from gateway.modbus.pdu import fault
from gateway.southbound.framed import FRAMINGS, NOBODY, FramedCarrier, Pace
from gateway.southbound.seams import Owner
from gateway.southbound.tcp import TcpCarrier

MAX_UNHEARD = 3
"""Requests in a row (rule 27 of the field: three time-outs)."""
RECENT_S = 5.0
"""What has answered in that time works: one unit of several behind it may be silent. Longer, and a device that lost its
power while it was polled every second would wait for more than the three time-outs."""


class Patience:
    """With a connection that does not answer."""

    __slots__ = ("answered_s", "is_short", "unanswered", "unheard")

    def __init__(self) -> None:
        self.is_short = False
        """Somebody waits for its place."""
        self.unheard = 0
        """Requests in a row for which not one byte came, with the one that is out."""
        self.unanswered = 0
        """Requests in a row that were not answered, with the one that is out."""
        self.answered_s = -math.inf
        """When the last was, on the loop's clock."""

    def asked(self) -> None:
        self.unheard += 1
        self.unanswered += 1

    def answered(self) -> None:
        self.unheard = self.unanswered = 0
        self.answered_s = asyncio.get_running_loop().time()

    def lasts(self) -> bool:
        """Whether the connection stays when the request that is out is not answered."""
        if self.is_short and self.unanswered and self.recent_s() <= 0:
            return False
        return self.unheard < MAX_UNHEARD

    def recent_s(self) -> float:
        """So much longer the last answer shows that it works; not above 0: no longer."""
        return self.answered_s + RECENT_S - asyncio.get_running_loop().time()


class MbapDialledIn(TcpCarrier):
    """MBAP. It is its own Line (seams)."""

    __slots__ = ("_asked", "_heartbeats", "has_ids", "heard_s", "is_out", "patience", "stays")

    def __init__(self, owner: Owner, device_id: bytes) -> None:
        super().__init__(owner)
        self.has_ids = True
        self.stays = True
        self.heard_s = -math.inf
        self.patience = Patience()
        self.is_out = False
        """A request is, that may be answered yet."""
        self._asked = b""
        """The frame of the last."""
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
        self.is_out = False

    def hurry(self, is_short: bool) -> None:
        """Somebody waits for its place, or not any more."""
        self.patience.is_short = is_short
        self.stays = self.patience.lasts()

    def write(self, data: bytes) -> None:
        self.patience.asked()
        self.stays = self.patience.lasts()
        self._asked, self.is_out = data, True
        super().write(data)

    def data_received(self, data: bytes) -> None:
        self.patience.unheard = 0
        self.stays = self.patience.lasts()
        self.heard_s = asyncio.get_running_loop().time()
        if self._heartbeats is not None:
            data = self._heartbeats.without(data)
        if not data:
            return
        broken: mbap.BrokenStream | None = None
        try:
            frames = self._receiver.feed(data)
        except mbap.BrokenStream as error:
            frames, broken = error.frames, error
        if any(self._is_answer(frame) for frame in frames):
            self.is_out = False
            self.patience.answered()
            self.stays = True
        self.owner.received(frames)
        if broken is not None:
            self.owner.broken(str(broken))

    def _is_answer(self, frame: mbap.Frame) -> bool:
        """To what was asked last, in time or not. Requests of its own, frames that it pushes, are none."""
        tid, _, pdu = frame
        asked = self._asked
        return (
            bool(asked)
            and tid in (int.from_bytes(asked[:2], "big"), 0)  # 0: a quirk of some, which the link may allow
            and fault(asked[mbap.LENGTH_SEEN_SIZE + 1 :], pdu) is None
        )


class FramedDialledIn(FramedCarrier):
    """RTU or ASCII."""

    __slots__ = ("_id", "patience")

    def __init__(self, owner: Owner, framing: str, device_id: bytes, name: str, turnaround_s: float) -> None:
        super().__init__(owner, FRAMINGS[framing], Pace(turnaround_s=turnaround_s, stays=True), name)
        self.heard_s = -math.inf
        self.patience = Patience()
        self._id = device_id

    @property
    def is_out(self) -> bool:
        """A request is, that may be answered yet."""
        return self._tid != NOBODY

    def hurry(self, is_short: bool) -> None:
        """Somebody waits for its place, or not any more."""
        self.patience.is_short = is_short
        self.stays = self.patience.lasts()

    def write(self, data: bytes) -> None:
        if data[mbap.LENGTH_SEEN_SIZE]:  # nobody answers a broadcast
            self.patience.asked()
            self.stays = self.patience.lasts()
        super().write(data)

    def data_received(self, data: bytes) -> None:
        self.patience.unheard = 0
        self.stays = self.patience.lasts()
        if data != self._id or self.unfinished:
            super().data_received(data)

    def _answered(self) -> None:
        self.patience.answered()
        self.stays = True

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
