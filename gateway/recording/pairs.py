"""Which answer belongs to which request, out of traced frames. Pure.

A trace is a list of frames as they travelled: requests and answers of many conversations, some sent again, some never
answered, some answered too late, and some lost on the way to whoever looks. The rule: by transaction id where there is
one, else in order, within one conversation and unit; what is not certain is told as not known, and everything that
waits for its answer is bounded.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import NamedTuple

from gateway.traffic import Frame

MAX_OPEN = 20_000
"""Requests without an answer yet, and as many that were given up and may get a late one; the oldest are forgotten."""
NO_ANSWER = frozenset(("time-out", "lost", "unsent", "silent", "left"))
"""Notes that say that a request got none."""
DROPPED = frozenset(("late", "foreign", "doubtful", "noise"))
"""Notes of what came and was nobody's answer. A malformed one is the end of its request."""

_Key = tuple[str, str, str, int, int]


class Paired(NamedTuple):
    """A frame, with the request that it belongs to."""

    frame: Frame
    request: Frame | None
    """Of an answer, or of what is told instead of one; None: not known."""

    @property
    def took_s(self) -> float | None:
        return None if self.request is None else (self.frame.time_ns - self.request.time_ns) / 1e9


class Pairs:
    """Frames in, in the order of the trace; each comes out with its request."""

    def __init__(self) -> None:
        self._open: OrderedDict[_Key, deque[Frame]] = OrderedDict()
        self._given_up: OrderedDict[_Key, Frame] = OrderedDict()
        self._waiting = 0

    def add(self, frame: Frame) -> Paired:
        key = (frame.side, frame.where, frame.local, frame.unit_id, frame.tid)
        if frame.is_request and frame.pdu:
            self._wait(key, frame)
            return Paired(frame, None)
        if frame.note in DROPPED:
            return Paired(frame, self._late(key) if frame.note == "late" else None)
        request = self._next(key)
        if frame.note in NO_ANSWER and request is not None:
            self._given_up[key] = request
            self._given_up.move_to_end(key)
            while len(self._given_up) > MAX_OPEN:
                self._given_up.popitem(last=False)
        is_whole = frame.pdu and frame.note != "malformed"
        if request is not None and is_whole and frame.pdu[0] & 0x7F != request.pdu[0] & 0x7F:
            request = None  # frames between were lost, and a transaction id has come round
        return Paired(frame, request)

    def _late(self, key: _Key) -> Frame | None:
        """What a late answer belongs to: it is told before or after its request was given up."""
        waiting = self._open.get(key)
        return self._given_up.get(key) or (waiting[0] if waiting else None)

    def forget(self) -> None:
        """Frames were lost: what waits may have been answered among them."""
        self._open.clear()
        self._waiting = 0

    def _wait(self, key: _Key, frame: Frame) -> None:
        waiting = self._open.setdefault(key, deque())
        if frame.side == "device":  # one transaction id, or one unit of a line, has one request out: others are gone
            self._waiting -= len(waiting)
            waiting.clear()
        waiting.append(frame)
        self._waiting += 1
        while self._waiting > MAX_OPEN:
            oldest, frames = next(iter(self._open.items()))
            frames.popleft()
            self._waiting -= 1
            if not frames:
                del self._open[oldest]

    def _next(self, key: _Key) -> Frame | None:
        waiting = self._open.get(key)
        if not waiting:
            # Some devices answer with transaction id 0, or another unit; then only one request can be out.
            others = [other for other in self._open if other[:3] == key[:3]] if key[0] == "device" else []
            if len(others) != 1:
                return None
            (key,) = others
            waiting = self._open[key]
        self._waiting -= 1
        frame = waiting.popleft()
        if not waiting:
            del self._open[key]
        return frame
