"""What was asked for and what is achieved: rates of the jobs, load of the links, and a warning that names the culprits.

Jobs count plain integers; here the differences are taken, a share of the jobs at every tick so that no tick holds the
loop up. A link's load is what its jobs ask of it: for each, the time of a request and the quiet time after it, divided
by the requests in flight but at least the quiet time, over its interval. Above 100 % no order of asking fits. With
several requests in flight a request's time holds the waiting inside the device, too, so the warning also wants turns
that were skipped.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterator, Sequence
from typing import Protocol

from gateway.interfaces import Request, Scheduler
from gateway.polling.wheel import Turn

log = logging.getLogger(__name__)

SHARES = 4
"""In so many ticks all jobs are measured once."""
WINDOW_S = 10.0
WINDOW_INTERVALS = 3
"""Rates are those of the last WINDOW_S, or of so many intervals if that is longer; at least of the half."""
OVERLOAD_S = 30.0
"""A link is over its limit for so long before the log says so, and below it before it says that it is over."""
FITS_PERCENT = 95.0
"""Below it an overload is over."""
BIGGEST = 3
"""Jobs named in the warning."""
SMOOTHING = 0.3
"""Weight of the newest in the average of times and lags."""


class Rate:
    """What is measured of one job."""

    __slots__ = (
        "_asked",
        "_asked_s",
        "_early",
        "_late",
        "achieved_per_s",
        "lag_s",
        "overload_percent",
        "skips",
        "took_s",
    )

    def __init__(self) -> None:
        self.achieved_per_s: float | None = None
        """Good reads; None before it was measured."""
        self.overload_percent = 0.0
        """Turns that were skipped of those that came."""
        self.lag_s = 0.0
        """How late its requests are sent against its grid."""
        self.took_s: float | None = None
        """From sending to the answer; None before the first."""
        self.skips = False
        """A turn was skipped in the window."""
        self._early: tuple[float, int, int, int] | None = None
        self._late: tuple[float, int, int, int] | None = None
        """(when, good reads, runs, skipped turns): the begin of the window, and of the next."""
        self._asked = 0
        self._asked_s = 0.0


class Measured(Protocol):
    """A job, as far as it is measured."""

    @property
    def good_count(self) -> int: ...
    @property
    def other_count(self) -> int: ...
    @property
    def asked_s(self) -> float: ...
    @property
    def poked_s(self) -> float: ...
    @property
    def rate(self) -> Rate: ...
    @property
    def turn(self) -> Turn | None: ...
    @property
    def request(self) -> Request: ...
    def describe(self) -> str: ...


class Measurable(Protocol):
    """A device, as far as it is measured."""

    @property
    def name(self) -> str: ...
    @property
    def is_reachable(self) -> bool: ...
    def measured(self) -> Iterator[Measured]:
        """Its jobs that have turns."""
        ...


def measure(job: Measured, now_s: float, wheel_s: float) -> None:
    """Bring `job.rate` up to date. `now_s` on the clock of ages, `wheel_s` the same moment on the wheel's."""
    turn, rate = job.turn, job.rate
    if turn is None:
        return
    period_s = turn.period_s
    now = (now_s, job.good_count, turn.runs, turn.skipped)
    if rate._early is None:
        rate._early = now
    elapsed_s = now_s - rate._early[0]
    if elapsed_s >= period_s and elapsed_s > 0:
        good, runs, skipped = (now[i] - rate._early[i] for i in (1, 2, 3))
        # a read or two at the borders of the window belong to its neighbours
        full = good + 1 >= elapsed_s / period_s
        rate.achieved_per_s = min(good / elapsed_s, 1 / period_s) if not full else 1 / period_s
        rate.overload_percent = 100.0 * skipped / (runs + skipped) if runs + skipped else 0.0
        rate.skips = skipped > 0
    half_s = max(WINDOW_S, WINDOW_INTERVALS * period_s) / 2
    if rate._late is None or now_s - rate._late[0] >= half_s:
        rate._early, rate._late = (rate._late or rate._early), now
    asked = job.good_count + job.other_count
    if asked != rate._asked:
        took_s = (job.asked_s - rate._asked_s) / (asked - rate._asked)
        rate.took_s = took_s if rate.took_s is None else rate.took_s + SMOOTHING * (took_s - rate.took_s)
        rate._asked, rate._asked_s = asked, job.asked_s
    if turn.runs or turn.skipped:
        due_s = turn.due_s - period_s + now_s - wheel_s
        request = job.request
        if job.poked_s < due_s:
            sent = request.sent_s >= due_s - period_s / 2 and not (request.out and request.attempts == 0)
            lag_s = max((request.sent_s if sent else now_s) - due_s, 0.0)
            if sent or request.out:
                rate.lag_s += SMOOTHING * (lag_s - rate.lag_s)


class _Load:
    """One link, and how long it has been over its limit."""

    def __init__(self, name: str, in_flight: int, delay_s: float, devices: Sequence[Measurable]) -> None:
        self.name = name
        self.in_flight = in_flight
        self.delay_s = delay_s
        self.devices = devices
        self.percent = 0.0
        self.is_known = False
        """An answer was measured, or there is nothing to measure."""
        self.since_s: float | None = None
        """Since when the next word of the log is due."""
        self.is_told = False

    def share(self, job: Measured) -> float:
        """Of the link's time, in percent."""
        turn, took_s = job.turn, job.rate.took_s
        if turn is None or took_s is None:
            return 0.0
        # The quiet time is kept between any two requests, however many are in flight.
        busy_s = max((took_s + self.delay_s) / self.in_flight, self.delay_s)
        return 100.0 * busy_s / turn.period_s

    def jobs(self) -> list[tuple[float, Measurable, Measured]]:
        """(share, device, job) of all that are asked; nobody asks a unit that is demoted."""
        return [(self.share(j), d, j) for d in self.devices if d.is_reachable for j in d.measured()]


class Rates:
    """All jobs and links. `tick` is called every second."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._loads: dict[Hashable, _Load] = {}
        self._queue: list[Hashable] = []
        """The keys of those that are still to be measured in this round."""

    def watch(self, key: Hashable, name: str, in_flight: int, delay_s: float, devices: Sequence[Measurable]) -> None:
        """Measure a link and its devices (a live list); at a reload again, with what has changed."""
        load = _Load(name, in_flight, delay_s, devices)
        before = self._loads.get(key)
        if before is not None:
            load.percent, load.is_known = before.percent, before.is_known
            load.since_s, load.is_told = before.since_s, before.is_told
        self._loads[key] = load

    def forget(self, key: Hashable) -> None:
        """The link is gone."""
        self._loads.pop(key, None)

    def load_percent(self, key: Hashable) -> float | None:
        """As of the last measurement, None before the first; 0 for a link that is not watched."""
        load = self._loads.get(key)
        if load is None:
            return 0.0
        return load.percent if load.is_known else None

    def tick(self, now_s: float) -> None:
        """Measure a share of the links. `now_s` on the clock of ages."""
        if not self._queue:
            self._queue = list(self._loads)
        wheel_s = self._scheduler.time()
        for _ in range(-(-len(self._loads) // SHARES)):
            if not self._queue:
                return
            load = self._loads.get(self._queue.pop())
            if load is not None:
                self._measure(load, now_s, wheel_s)

    def _measure(self, load: _Load, now_s: float, wheel_s: float) -> None:
        for device in load.devices:
            for job in device.measured():
                measure(job, now_s, wheel_s)
        jobs = load.jobs()
        load.percent = sum(share for share, _, _ in jobs)
        load.is_known = load.is_known or not jobs or any(job.rate.took_s is not None for _, _, job in jobs)
        skips = any(job.rate.skips for _, _, job in jobs)
        changes = load.percent < FITS_PERCENT if load.is_told else load.percent > 100.0 and skips
        if not changes:
            load.since_s = None
        elif load.since_s is None:
            load.since_s = now_s
        elif now_s - load.since_s >= OVERLOAD_S:
            load.since_s = None
            load.is_told = not load.is_told
            self._tell(load, jobs)

    def _tell(self, load: _Load, jobs: list[tuple[float, Measurable, Measured]]) -> None:
        if not load.is_told:
            log.info("%s: no longer overloaded, %.0f %% of its time is asked for", load.name, load.percent)
            return
        jobs.sort(key=lambda job: -job[0])
        most = "; ".join(_share(*job) for job in jobs[:BIGGEST])
        more = f"; and {len(jobs) - BIGGEST} more" if len(jobs) > BIGGEST else ""
        log.warning(
            "%s: overloaded, its polls ask for %.0f %% of its time: %s%s. "
            "All would fit with intervals %.1f times as long",
            load.name,
            load.percent,
            most,
            more,
            load.percent / 100.0 + 0.05,
        )


def _share(share: float, device: Measurable, job: Measured) -> str:
    assert job.turn is not None
    took_ms = 1000 * (job.rate.took_s or 0.0)
    return (
        f"device {device.name} {job.describe()} every {job.turn.period_s:g} s takes {took_ms:.0f} ms, "
        f"{share:.0f} % (at most every {share / 100.0 * job.turn.period_s:.3g} s if it were alone)"
    )
