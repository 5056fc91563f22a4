"""What travels, while somebody looks; the last exchanges of each unit, always; and how long answers take.

The rule of the file: who looks may lose frames, the gateway loses no time. A tap is a bounded ring that its reader
empties; what he does not fetch in time is lost and counted, and a tap that nobody empties any more is closed. Without a
tap the hot paths pay one look at an attribute, or nothing. PDUs are kept as they travelled; words are made when they
are shown (`modbus.words`).
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

MAX_LAST = 8
"""Exchanges kept of each unit: enough to see a pattern (every second one late), 2 KB for a unit at most."""
MAX_TAPS = 4
"""A terminal, a page, a capture, and one somebody forgot."""
MAX_FRAMES = 10_000
"""Of one tap, some 2 MB: what 10,000 requests a second make while its reader is away for half a second."""
MAX_TAKEN = 2000
"""Handed over at once: as many as are encoded between two turns of a reader."""
IDLE_S = 10.0
"""A tap that nobody has emptied for so long is closed: its reader has gone."""

BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Upper bounds of all histograms, seconds; one bucket more is for what takes longer. From a PLC in the same cabinet to
a radio modem."""

NOTES = ("retry", "late", "foreign", "doubtful", "malformed", "time-out", "lost", "noise", "unsent", "silent", "left")
"""What is said of a frame beside its bytes. Of a device: sent again; an answer that came too late, with another unit id
than asked, that may be another's, that cannot be an answer (each was dropped); no answer came in time; the connection
ended before it came; bytes that are no frame. Of a client: not answered because it was a broadcast or nobody is there
(silent); it had left before the answer (left)."""


class Exchange(NamedTuple):
    """One request to a device and what came of it."""

    time_ns: int
    """UTC, when it ended."""
    unit_id: int
    pdu: bytes
    answer: bytes | None
    """None: there was none; `error` tells why, and is empty for a broadcast, which nobody answers."""
    error: str
    took_s: float
    """From its last sending to the answer, or until it was given up."""
    attempts: int


class Frame(NamedTuple):
    """One PDU on its way, or what is to be said instead of one (then `pdu` is empty and `note` tells)."""

    number: int
    """From 1, in the order of the tap."""
    time_ns: int
    """UTC."""
    side: str
    """device: between us and a device; client: between a client and us."""
    where: str
    """The device's link, by its key; the client, by its peer."""
    peer: str
    """The other end: `10.0.0.5:502`, or the path of a serial port."""
    local: str
    """Ours: `10.0.0.1:40312`; empty for a serial port."""
    unit_id: int
    """As it travelled there."""
    tid: int
    """Transaction id as it travelled; 0 where there is none (RTU, ASCII)."""
    is_request: bool
    pdu: bytes
    note: str
    """One of NOTES, or empty."""


class Wanted(NamedTuple):
    """What a tap is about. Nothing said: everything on both sides."""

    side: str = ""
    """device, client, or empty for both."""
    link: str | None = None
    """Key of a link; with it `side` is device."""
    unit_id: int | None = None
    """As it travels there: the device's own on the device side, ours on the client side."""
    client: str | None = None
    """A client's address, `10.1.2.3`, or one of its connections, `10.1.2.3:51234`; with it `side` is client."""

    def wants_link(self, key: str) -> bool:
        return self.side != "client" and self.client is None and self.link in (None, key)

    def wants_client(self, peer: str) -> bool:
        if self.side == "device" or self.link is not None:
            return False
        return self.client is None or peer == self.client or peer.rpartition(":")[0].strip("[]") == self.client

    def wants_unit(self, unit_id: int) -> bool:
        return self.unit_id is None or self.unit_id == unit_id


class Tap:
    """Frames for one reader."""

    def __init__(self, number: int, wanted: Wanted, clock: Callable[[], float], max_frames: int = MAX_FRAMES) -> None:
        self.number = number
        self.wanted = wanted
        self.frames = 0
        """Seen so far; the number of the newest."""
        self._clock = clock
        self._taken_s = clock()
        self._ring: deque[Frame] = deque(maxlen=max_frames)

    def put(
        self,
        side: str,
        where: str,
        peer: str,
        local: str,
        unit_id: int,
        tid: int,
        pdu: bytes,
        *,
        is_request: bool,
        note: str = "",
    ) -> None:
        """A frame travels just now. Whether the link or client is wanted was looked at before."""
        if not self.wanted.wants_unit(unit_id):
            return
        self.frames += 1
        self._ring.append(
            Frame(self.frames, time.time_ns(), side, where, peer, local, unit_id, tid, is_request, pdu, note)
        )

    def take(self, after: int, limit: int = MAX_TAKEN) -> tuple[list[Frame], int]:
        """The frames behind number `after` (what the reader has already), `limit` of them at most; and how many after
        `after` were lost before these. What is before is forgotten."""
        self._taken_s = self._clock()
        ring = self._ring
        while ring and ring[0].number <= after:
            ring.popleft()
        first = ring[0].number if ring else self.frames + 1
        lost = max(0, first - 1 - max(0, after))
        limit = max(0, min(limit, MAX_TAKEN))
        return [frame for frame, _ in zip(ring, range(limit), strict=False)], lost

    @property
    def has_expired(self) -> bool:
        """Nobody empties it any more."""
        return self._clock() - self._taken_s > IDLE_S


class Taps:
    """All that are open. `changed` is called when there are others: links and clients must be told."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.changed: Callable[[], None] = _nothing
        self._clock = clock
        self._open: dict[int, Tap] = {}
        self._next = 1

    def __len__(self) -> int:
        return len(self._open)

    def open(self, wanted: Wanted) -> Tap | None:
        """None: MAX_TAPS are open."""
        self.review()
        if len(self._open) >= MAX_TAPS:
            return None
        tap = self._open[self._next] = Tap(self._next, wanted, self._clock)
        self._next += 1
        self.changed()
        return tap

    def get(self, number: int) -> Tap | None:
        """None: it was closed, or there never was one."""
        return self._open.get(number)

    def close(self, number: int) -> None:
        """Unknown ones are ignored."""
        if self._open.pop(number, None) is not None:
            self.changed()

    def review(self) -> None:
        """Close what nobody empties any more; call it once a second."""
        for number in [number for number, tap in self._open.items() if tap.has_expired]:
            self.close(number)

    def of_link(self, key: str) -> tuple[Tap, ...]:
        """Those that want to see this link."""
        return tuple(tap for tap in self._open.values() if tap.wanted.wants_link(key))

    def of_client(self, peer: str) -> tuple[Tap, ...]:
        """Those that want to see this client."""
        return tuple(tap for tap in self._open.values() if tap.wanted.wants_client(peer))


class Histogram:
    """How long something took, as counts in the buckets of BOUNDS_S."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        """Each bucket for itself, not added up; the last: longer than all bounds."""
        self.sum_s = 0.0

    def add(self, took_s: float) -> None:
        self.counts[bisect_left(BOUNDS_S, took_s)] += 1
        self.sum_s += took_s

    def add_all(self, many: list[float]) -> None:
        """As `add` of each, several at the price of one: they are mostly alike. The list is sorted."""
        many.sort()
        self.sum_s += sum(many)
        at, end = 0, len(many)
        while at < end:
            bucket = bisect_left(BOUNDS_S, many[at])
            stop = bisect_right(many, BOUNDS_S[bucket], at) if bucket < len(BOUNDS_S) else end
            self.counts[bucket] += stop - at
            at = stop

    @property
    def count(self) -> int:
        return sum(self.counts)

    def snapshot(self) -> dict[str, Any]:
        """As plain values: `buckets` in the order of BOUNDS_S, not added up, one more at the end."""
        return {"buckets": list(self.counts), "sum_s": round(self.sum_s, 6), "count": self.count}


def quantile_s(buckets: Iterable[int], part: float) -> float | None:
    """About how long `part` (0.99) of all took at most: the bound of the bucket; None: nothing was counted. What took
    longer than all bounds is told as twice the last."""
    counts = list(buckets)
    left = part * sum(counts)
    if not left:
        return None
    for bound_s, count in zip((*BOUNDS_S, 2 * BOUNDS_S[-1]), counts, strict=True):
        left -= count
        if left <= 0:
            return bound_s
    return 2 * BOUNDS_S[-1]


def address_text(address: Any) -> str:
    """A socket's address as traces and lists have it: `10.0.0.5:502`, `[fd00::5]:502`; empty for none."""
    if not isinstance(address, tuple) or len(address) < 2:
        return ""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


def _nothing() -> None:
    """Nobody need be told."""
