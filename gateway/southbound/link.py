"""A link: the one connection that all users of a device address share, from `connected` until it is lost or given up.

The rule of the file: whoever is told that a link works, or why not, is told here, and once. What is asked and answered
meanwhile is `conversation`; who dials, and when again, is `connection`; what the log hears is `troubles`.

A connection that is given up after a time-out (`conversation`) is replaced without a word in the log, and requests wait
for the next one. The field waits for three time-outs before it reconnects (rule 27); a connection in the same plant
costs a millisecond. A serial port stays open: to open it anew would clean nothing.

No socket here: a carrier sends bytes and hands over frames, a scheduler tells the time, so every timed rule is tested
without waiting.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from typing import Any

from gateway import clock
from gateway.errors import LinkDown
from gateway.interfaces import Request, Scheduler, Timer
from gateway.modbus import spec
from gateway.southbound.connection import Keeper
from gateway.southbound.conversation import Conversation
from gateway.southbound.doubts import Doubts
from gateway.southbound.seams import Carrier, Dial, NotTrusted, Settings, Watcher
from gateway.southbound.troubles import Troubles
from gateway.traffic import Exchange, Tap

log = logging.getLogger(__name__)

MAX_REDIAL_S = 2.0
"""A new connection after a time-out that takes longer, or a handshake, is waited for by nobody."""
GIVEN_UP = "the gateway has given up the connection"
"""It stops, or its configuration has another."""


class Link(Conversation):
    """One shared way to devices. `run` keeps it connected; `submit` uses it."""

    __slots__ = ("_redial_timer", "ended", "is_distrusted", "keeper", "redials", "troubles", "worked", "works")

    def __init__(
        self,
        name: str,
        dial: Dial | Sequence[Dial],
        settings: Settings,
        scheduler: Scheduler,
        *,
        prefer_first: bool = True,
        doubts: Doubts | None = None,
        clock: Callable[[], float] = clock.now,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`dial(owner)` opens a carrier that calls `received`, `broken`, `lost` of its owner; OSError when it cannot.

        `doubts`: what was not answered on the same line before this link. `scheduler` times what is done next,
        `clock` judges how old an answer is (it runs on during suspend).
        """
        super().__init__(name, settings, scheduler, Doubts() if doubts is None else doubts, clock)
        self.works = False
        """An answer came on this connection, and not only that its way is broken: only now it is known to work."""
        self.worked = False
        """So it was on the connection that ended last."""
        self.is_distrusted = False
        """The last connection ended because one of us does not trust the other."""
        self.redials = False
        """The connection was closed by us after a time-out, and the next is on its way; requests wait for it."""
        self.ended = asyncio.Event()
        """The connection is no more."""
        self.keeper = Keeper(self, [dial] if callable(dial) else list(dial), prefer_first=prefer_first, jitter=jitter)
        self.troubles = Troubles(scheduler)
        self._redial_timer: Timer | None = None

    async def run(self) -> None:
        """Keep the link connected until cancelled."""
        try:
            await self.keeper.run()
        finally:
            self.redials = False
            self.troubles.expected(GIVEN_UP)
            self.broken(GIVEN_UP)
            self.up = False
            self._abandon(self._waiting.empty(), GIVEN_UP)
            self._questions.close()

    # -- it comes -----------------------------------------------------------------------------------------------

    def connected(self, carrier: Carrier) -> None:
        """The carrier is open: requests may come."""
        self._stop_redial_timer()
        self._begin(carrier)
        self.counters.connects += 1
        self.up = True
        self.is_distrusted = False
        self.ended.clear()
        log.debug("%s: connected", self.name)
        redialled, self.redials = self.redials, False
        if not redialled:  # our own doing is no news for anybody, and no new chance for a unit that is silent
            self.works = False
            self._silences.reconnected(self._scheduler.time())
        self._review_ready()
        if not redialled:
            self._prober.tell()
        self._prober.arm()
        self.pump()

    def _tell_good(self, request: Request, pdu: bytes) -> None:
        """An answer on a connection that is not known to work; many a device accepts and drops."""
        self.trouble = ""
        self.troubles.over(self.name)
        refused = pdu[0] & spec.EXCEPTION_BIT
        if not refused and request.size:
            self.last_read = request
        if not refused or pdu[1] not in (spec.GATEWAY_PATH_UNAVAILABLE, spec.GATEWAY_TARGET_FAILED):
            self.works = self._served = True

    # -- another takes its place --------------------------------------------------------------------------------

    def hold(self) -> bool:
        """Send nothing for now: the connection is about to be replaced. True: nothing is out any more."""
        self._held = self.up
        self._review_ready()
        return not self._pending

    def replace(self, carrier: Carrier) -> None:
        """Go on with this connection, which answers; nothing may be out (`hold`). The old one is closed."""
        old, self._carrier = self._carrier, carrier
        carrier.owner = self
        if old is not None:
            old.close()
        self.connected(carrier)

    def unhold(self) -> None:
        """Go on with the connection there is."""
        self._held = False
        self._review_ready()
        self.pump()

    def _redial(self) -> None:
        """A new connection, because answers on this one cannot be trusted any more. Nothing is out.

        A line that stays is only listened to.
        """
        carrier = self._carrier
        assert carrier is not None
        if self._line is not None and self._line.stays:
            self._drains = False
            self._listen(self._scheduler.time())
            self.pump()
            return
        self.counters.redials += 1
        self.redials = True
        self._let_go()
        self._redial_timer = self._scheduler.call_at(self._scheduler.time() + MAX_REDIAL_S, self._redial_takes_long)
        carrier.close()
        self.ended.set()

    def _redial_takes_long(self) -> None:
        self._redial_timer = None
        if self.redials:
            self.failed(f"a new connection takes longer than {MAX_REDIAL_S:g} s")

    # -- it goes ------------------------------------------------------------------------------------------------

    def broken(self, why: str) -> None:
        """The connection cannot be trusted any more: close it and dial again."""
        carrier = self._carrier
        self._down(why)
        if carrier is not None:
            carrier.close()

    def lost(self, carrier: Carrier, error: Exception | None) -> None:
        """The carrier was closed from outside. Many a device does that to an idle connection: no news."""
        if carrier is not self._carrier:
            return
        self.is_distrusted = isinstance(error, NotTrusted)
        if self.is_distrusted:
            self._down(str(error))
        else:
            why = "the device closed the connection" + (f": {error}" if error is not None else "")
            self._down(why, quiet=not self._pending and not self._waiting.size)

    def waits(self, why: str) -> None:
        """The device is to dial in. Not waited for when there is another address to try."""
        if self.keeper.has_others:
            raise OSError(why)
        self.failed(why)

    def failed(self, why: str, *, quiet: bool = False) -> None:
        """Not connected. One line for each kind of reason (what stands before a colon), at most."""
        if quiet:
            log.debug("%s: %s", self.name, why)
        else:
            self.troubles.tell(self.name, why)
            self.trouble = why
        self._stop_redial_timer()
        self.up = self.works = self.redials = False
        self._abandon(self._waiting.empty(), why)
        self._prober.tell()

    def _down(self, why: str, *, quiet: bool = False) -> None:
        """No connection any more: what was sent fails, and what waited does."""
        if self._carrier is None:
            return
        line = self._line
        self._let_go()
        sent, self._pending = self._pending, {}
        if line is not None and not line.has_ids:
            for request in sent.values():
                self.doubts.owe(request, self._scheduler.time())
        self.failed(why, quiet=quiet)
        self._abandon(list(sent.values()), why)
        self.ended.set()

    def _abandon(self, requests: list[Request], why: str) -> None:
        for request in requests:
            self.ledger.gave_up(request, "lost")
            self.finish(request, None, LinkDown(why))

    def _let_go(self) -> None:
        """There is no connection now."""
        self._end()
        self.worked = self._served

    def _stop_redial_timer(self) -> None:
        if self._redial_timer is not None:
            self._redial_timer.cancel()
            self._redial_timer = None

    # -- units --------------------------------------------------------------------------------------------------

    def watch(self, unit_id: int, watcher: Watcher) -> None:
        """Tell it of changes of the link and of this unit."""
        self._prober.watch(unit_id, watcher)

    def unwatch(self, unit_id: int, watcher: Watcher) -> None:
        """Tell it nothing more."""
        self._prober.unwatch(unit_id, watcher)

    def silent(self, unit_id: int) -> bool:
        """Whether the unit is demoted."""
        return self._silences.is_demoted(unit_id)

    # -- for those who look -------------------------------------------------------------------------------------

    def tap(self, taps: tuple[Tap, ...]) -> None:
        """Who looks at what travels, from now on. While somebody does every request takes the way through `pump`."""
        self.ledger.taps = taps
        self._review_ready()

    def exchanges(self, unit_id: int) -> list[Exchange]:
        """The last of a unit, the newest last."""
        return self.ledger.exchanges(unit_id, self._clock())

    def totals(self) -> dict[str, int]:
        """Everything that is counted, since the start."""
        return {"requests": self.requests, "answers": self.answers, **self.counters.snapshot()}

    def snapshot(self) -> dict[str, Any]:
        """What is known of it, as plain values."""
        now_s = self._scheduler.time()
        return {
            "name": self.name,
            "up": self.up,
            "trouble": "" if self.works else self.trouble,
            "since_s": None if self.troubles.since_s is None else round(now_s - self.troubles.since_s, 1),
            "in_flight": self._in_flight,
            "pending": len(self._pending),
            "queued": self._waiting.size,
            "counters": self.totals(),
            "took": self.ledger.snapshot(),
            "demoted": [
                {
                    "unit": unit_id,
                    "since_s": round(now_s - unit.since_s, 1),
                    "next_probe_s": max(0.0, round(unit.probe_s - now_s, 1)),
                }
                for unit_id, unit in sorted(self._silences.units.items())
                if unit.demoted
            ],
        }
