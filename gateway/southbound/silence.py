"""Units that do not answer: left alone, but for single probes. Pure: time is an argument.

After STRIKES time-outs in a row a unit is demoted: its requests fail at once, and only one of them, a probe, goes out
after 10 s, then 20, 40 ... up to 5 minutes. The first answer restores it. Units behind a bridge share its line, so a
probe costs all of them time. Rules that keep that below what anybody notices, where there are others on the link: after
its first time-out a unit is waited for a quarter of it only; a probe waits no longer than a few times the slowest
answer seen on the link (every FULL_PROBE-th its whole time-out, for a unit that has become slow); and after one that
was not answered the link makes no other probe until it was LINK_REST times as long without.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from gateway.interfaces import Request

STRIKES = 3
"""Time-outs in a row, repetitions included (rule 24 of the field)."""
FIRST_PROBE_S = 10.0
MAX_PROBE_S = 300.0
PROBE_FACTOR = 8.0
"""A probe waits so many times the slowest answer seen."""
MIN_PROBE_WAIT_S = 0.1
FULL_PROBE = 4
SUSPECT_PART = 0.25
"""Of its time-out, a unit is waited for that has not answered the last time, where others wait behind it."""
LINK_REST = 50.0
"""Unanswered probes take at most a fiftieth of the link's time."""


class Silence:
    """What is known of one unit that has not answered of late."""

    __slots__ = ("demoted", "interval_s", "probe_s", "probes", "probing", "since_s", "strikes")

    def __init__(self) -> None:
        self.strikes = 0
        self.demoted = False
        self.since_s = 0.0
        self.interval_s = FIRST_PROBE_S
        self.probe_s = math.inf
        """When the next probe is due."""
        self.probes = 0
        self.probing: Request | None = None
        """The probe that is out."""


class Silences:
    """The silent units of one link. Empty while all is well, and then nothing of this costs anything."""

    def __init__(self) -> None:
        self.units: dict[int, Silence] = {}
        self._rest_until_s = -math.inf

    def strike(self, unit_id: int, now_s: float) -> bool:
        """A time-out of this unit. True: it is demoted by it."""
        unit = self.units.setdefault(unit_id, Silence())
        unit.strikes += 1
        if unit.demoted or unit.strikes < STRIKES:
            return False
        unit.demoted = True
        unit.since_s = now_s
        unit.probe_s = now_s + unit.interval_s
        return True

    def answered(self, unit_id: int) -> bool:
        """The unit answered. True: it was demoted until now."""
        unit = self.units.pop(unit_id, None)
        return unit is not None and unit.demoted

    def is_demoted(self, unit_id: int) -> bool:
        unit = self.units.get(unit_id)
        return unit is not None and unit.demoted

    def begin_probe(self, request: Request, now_s: float) -> bool:
        """Whether this request of a demoted unit may go out now, as its probe; it is the unit's probe then."""
        unit = self.units[request.unit_id]
        if now_s < unit.probe_s or now_s < self._rest_until_s or any(other.probing for other in self.units.values()):
            return False
        unit.probing = request
        return True

    def is_probe(self, request: Request) -> bool:
        unit = self.units.get(request.unit_id)
        return unit is not None and unit.probing is request

    def wait_s(self, request: Request, slowest_s: float, *, is_alone: bool) -> float:
        """How long a request that goes out now may wait for its answer, in seconds. `is_alone`: nobody is behind it."""
        unit = self.units.get(request.unit_id)
        timeout_s = request.timeout_s
        if unit is None:
            return timeout_s
        unit.probes += unit.demoted
        if is_alone or not slowest_s or (unit.demoted and unit.probes % FULL_PROBE == 0):
            return timeout_s
        least_s = MIN_PROBE_WAIT_S if unit.demoted else SUSPECT_PART * timeout_s
        return min(timeout_s, max(least_s, PROBE_FACTOR * slowest_s))

    def probe_over(self, request: Request, now_s: float, took_s: float, *, is_alone: bool = False) -> None:
        """If this was a probe: it was not answered (or not sent, `took_s` 0), and the next one comes later. `is_alone`:
        the link has nobody else to be spared."""
        unit = self.units.get(request.unit_id)
        if unit is None or unit.probing is not request:
            return
        unit.probing = None
        if took_s:
            unit.interval_s = min(2 * unit.interval_s, MAX_PROBE_S)
            if not is_alone:
                self._rest_until_s = now_s + LINK_REST * took_s
            unit.probe_s = now_s + unit.interval_s
        else:
            unit.probe_s = now_s + min(unit.interval_s, FIRST_PROBE_S)

    def reconnected(self, now_s: float) -> None:
        """A new connection: every demoted unit may be probed at once, one after the other."""
        self._rest_until_s = -math.inf
        for unit_id, unit in list(self.units.items()):
            unit.probing = None
            unit.strikes = STRIKES if unit.demoted else 0
            if unit.demoted:
                unit.probe_s = now_s
            else:
                del self.units[unit_id]

    def due(self, now_s: float, of: Collection[int]) -> int | None:
        """The unit among `of` whose probe may go out now and has been due for longest; None: none may."""
        if now_s < self._rest_until_s or any(unit.probing for unit in self.units.values()):
            return None
        waiting = [(unit.probe_s, unit_id) for unit_id, unit in self.units.items() if unit.demoted and unit_id in of]
        probe_s, unit_id = min(waiting, default=(math.inf, 0))
        return unit_id if probe_s <= now_s else None

    def next_s(self, of: Collection[int]) -> float:
        """When a probe of one of these units is due next; infinite when none is, or one is out."""
        if any(unit.probing for unit in self.units.values()):
            return math.inf
        probes = (unit.probe_s for unit_id, unit in self.units.items() if unit.demoted and unit_id in of)
        return max(min(probes, default=math.inf), self._rest_until_s)
