"""Silent units at work: who waits how long for them, who asks them again, and who is told.

`silence` knows the rules and no link; here is what a link does by them. A unit that is demoted turns away what waits
for it, and when its probe is due one of those who watch it is made to ask: a probe is a request that somebody has a use
for. Units that nobody watches wait for a client, or a write, to ask them.
"""

from __future__ import annotations

import logging
import math
from typing import Protocol

from gateway.interfaces import Priority, Request, Scheduler, Timer
from gateway.southbound.seams import Counters, Watcher
from gateway.southbound.silence import STRIKES, Silences

log = logging.getLogger(__name__)

NOBODY_ASKED_S = 1.0
"""When those who could ask a silent unit had nothing to ask just now."""
FORGET = 0.9
"""Of the slowest answer, this is left for the next probe: one of long ago is forgotten a little each time."""


class Asked(Protocol):
    """A link, as far as its silent units need it."""

    name: str
    up: bool
    answers: int
    slowest_s: float
    counters: Counters

    def asked_units(self) -> set[int]:
        """Those for which something waits or is out."""
        ...

    def turn_away(self, unit_id: int) -> None:
        """What waits for this unit, which is silent, is told so."""
        ...


class Prober:
    """Of one link."""

    __slots__ = ("_decayed_at", "_link", "_scheduler", "_silences", "_timer", "_watchers")

    def __init__(self, link: Asked, silences: Silences, scheduler: Scheduler) -> None:
        self._link = link
        self._silences = silences
        self._scheduler = scheduler
        self._watchers: dict[int, list[Watcher]] = {}
        self._timer: Timer | None = None
        self._decayed_at = 0
        """The number of answers when a slow one of long ago was last forgotten a little."""

    # -- who watches --------------------------------------------------------------------------------------------

    def watch(self, unit_id: int, watcher: Watcher) -> None:
        """Tell it of changes of the link and of this unit."""
        self._watchers.setdefault(unit_id, []).append(watcher)

    def unwatch(self, unit_id: int, watcher: Watcher) -> None:
        """Tell it nothing more."""
        self._watchers[unit_id].remove(watcher)
        if not self._watchers[unit_id]:
            del self._watchers[unit_id]

    def tell(self, unit_id: int | None = None) -> None:
        """Watchers of one unit, or of all, that something has changed."""
        for watched, watchers in list(self._watchers.items()):
            if unit_id is None or watched == unit_id:
                for watcher in list(watchers):
                    watcher.link_changed()

    # -- requests -----------------------------------------------------------------------------------------------

    def may_ask(self, request: Request) -> bool:
        """False: the unit is demoted, and this is no probe."""
        unit_id = request.unit_id
        if not self._silences.is_demoted(unit_id):
            return True
        # A write is no probe as long as somebody else can make one: what is known to be down gets none.
        if request.priority == Priority.WRITE and any(each.can_probe for each in self._watchers.get(unit_id, ())):
            return False
        return self._silences.begin_probe(request, self._scheduler.time())

    def wait_s(self, request: Request) -> float:
        """How long a request that goes out now may wait for its answer, while some unit is silent."""
        if request.priority == Priority.WRITE:
            return request.timeout_s
        link = self._link
        if self._silences.is_demoted(request.unit_id) and self._decayed_at != link.answers:
            self._decayed_at = link.answers
            link.slowest_s *= FORGET
        return self._silences.wait_s(request, link.slowest_s, is_alone=self._is_alone(request))

    def _is_alone(self, request: Request) -> bool:
        """Nobody uses the link for another unit."""
        return self._link.asked_units().union(self._watchers) <= {request.unit_id}

    # -- units --------------------------------------------------------------------------------------------------

    def strike(self, request: Request, took_s: float, why: str) -> None:
        """The unit did not answer this request, which took the link so long."""
        unit_id, now_s = request.unit_id, self._scheduler.time()
        self._silences.probe_over(request, now_s, took_s, is_alone=self._is_alone(request))
        if self._silences.strike(unit_id, now_s):
            self._link.counters.demotions += 1
            log.warning(
                "%s: unit %d did not answer %d times in a row (%s): left alone but for single probes",
                self._link.name,
                unit_id,
                STRIKES,
                why,
            )
            self._link.turn_away(unit_id)
            self.tell(unit_id)
        if self._silences.is_demoted(unit_id):
            self.arm()

    def returned(self, unit_id: int) -> None:
        """A unit that was demoted has answered."""
        log.info("%s: unit %d answers again", self._link.name, unit_id)
        self.tell(unit_id)
        self.arm()

    # -- probes -------------------------------------------------------------------------------------------------

    def arm(self) -> None:
        """Wake up when a demoted unit may be asked."""
        self.stop()
        due_s = self._silences.next_s(self._probers())
        if self._link.up and due_s < math.inf:
            self._timer = self._scheduler.call_at(max(due_s, self._scheduler.time()), self._probe)

    def stop(self) -> None:
        """No probes for now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _probe(self) -> None:
        """Have the longest due of the demoted units asked by one of its watchers."""
        self._timer = None
        now_s = self._scheduler.time()
        unit_id = self._silences.due(now_s, self._probers()) if self._link.up else None
        if unit_id is None:
            self.arm()
            return
        for watcher in list(self._watchers[unit_id]):
            watcher.probe()
            if not self._silences.is_demoted(unit_id) or self._silences.units[unit_id].probing is not None:
                return
        self._timer = self._scheduler.call_at(now_s + NOBODY_ASKED_S, self._probe)

    def _probers(self) -> list[int]:
        """Units that somebody can ask by himself. The others wait for a client, or a write, to ask them."""
        return [unit for unit, watchers in self._watchers.items() if any(each.can_probe for each in watchers)]
