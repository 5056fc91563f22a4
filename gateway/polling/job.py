"""A poll job: one request of one block, read start to start, placed, judged.

The request is prepared once; `poll` submits it, `_done` takes the answer. The hot path is an answer equal to the last
one while nothing is odd: it is compared, and times and counters move on. Everything else (a failure before, values too
old, a write that lies over the answers (`overlay`), somebody who waits for the verdict) sets `_odd` and takes the long
way. Time stamps and ages are those of the last good read, whatever happened since.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from gateway.errors import LinkError, RequestTimeout
from gateway.front.freshness import Freshness
from gateway.interfaces import Request, Submit, Timer
from gateway.modbus import spec
from gateway.modbus.pdu import read_request
from gateway.polling.device import Device
from gateway.polling.held import Written
from gateway.polling.overlay import Overlay
from gateway.polling.plan import Block
from gateway.polling.rates import Rate
from gateway.polling.sinks import Stretch, TagSink
from gateway.polling.wheel import Turn, Wheel
from gateway.values import Quality, bits_decoder, registers_decoder

log = logging.getLogger(__name__)

REFUSALS = (spec.ILLEGAL_FUNCTION, spec.ILLEGAL_ADDRESS, spec.ILLEGAL_VALUE)
"""The device says that the block itself is wrong; anything else may pass (protocol digest 6.5)."""

BUSY = (spec.ACKNOWLEDGE, spec.SERVER_BUSY)

BUSY_PAUSE_S = 0.1
"""Before a busy device is asked again; doubling (protocol digest 6.5)."""
BUSY_RETRIES = 5
"""In a row; the next turn asks anyway."""

TIMER_SLACK_S = 0.005
"""A loop's timer may come a little before its time on the clock of ages."""

FAILED = -1
"""Of `Owner.answered`: neither data nor a refusal."""

_time_ns = time.time_ns
_EXCEPTION = spec.EXCEPTION_BIT


class Owner(Protocol):
    """Whoever decides what is read in one request: told of refusals, and of what it waits for."""

    def answered(self, job: Job, code: int) -> None:
        """A job with `is_watched`, or one that was refused, was polled: 0 is data, placed; 1, 2, 3 is a refusal;
        FAILED is anything else."""
        ...

    def refused(self, job: Job, code: int) -> None:
        """Any other job was refused with 1, 2 or 3; its values are as they were."""
        ...

    def expired(self, job: Job) -> None:
        """Its values have grown too old."""
        ...


class Job:
    """One request. Perishable (freshness) and Source (hub) at once; the group it belongs to decides over it."""

    __slots__ = (
        "_busy_due_s",
        "_busy_in_row",
        "_clock",
        "_decode",
        "_freshness",
        "_last",
        "_odd",
        "_owner",
        "_poll_again",
        "_refused",
        "_stale_s",
        "_stretch",
        "_submit",
        "_tags",
        "_timer",
        "_wheel",
        "asked_s",
        "block",
        "busy_count",
        "device",
        "error",
        "expires_s",
        "good_count",
        "good_s",
        "good_time_ns",
        "is_closed",
        "is_watched",
        "other_count",
        "overlay",
        "poked_s",
        "rate",
        "request",
        "stale",
        "turn",
    )

    def __init__(
        self,
        owner: Owner,
        device: Device,
        block: Block,
        submit: Submit,
        freshness: Freshness,
        wheel: Wheel,
        *,
        unit_id: int,
        timeout_s: float,
        retries: int,
        quirks: frozenset[str],
        stale_s: float,
    ) -> None:
        """Without sinks, not watched by `freshness` and without turns: `place`, `live` and `start` add them."""
        self.device = device
        self.block = block
        self.request = Request(
            unit_id, read_request(block.table, block.first, block.count), timeout_s, retries, self._done, quirks
        )
        self.expires_s = freshness.clock() + stale_s  # a block that is never read is stale, too
        self.good_s = -math.inf
        self.good_time_ns = 0
        self.stale = False
        """Its values are too old, or refused."""
        self.error = ""
        """Why the last poll failed; empty after a good one."""
        self.is_watched = False
        """The owner waits for what the next poll says; set by `watch`."""
        self.is_closed = False
        self.turn: Turn | None = None
        self.rate = Rate()
        self.good_count = 0
        self.other_count = 0
        """Requests that ended otherwise and took time: exceptions and time-outs."""
        self.asked_s = 0.0
        """What all of them took together, from the last sending to the answer."""
        self.busy_count = 0
        self.overlay: Overlay | None = None
        """Of what was written to the block; None until something is."""
        self.poked_s = -math.inf
        """When it was last polled out of its turn, on the clock of ages."""
        self._owner = owner
        self._submit = submit
        self._freshness = freshness
        self._clock = freshness.clock
        self._wheel = wheel
        self._stale_s = stale_s
        self._stretch: Stretch | None = None
        self._tags: Sequence[TagSink] = ()
        self._decode: Callable[[bytes], tuple[Any, ...]] | None = None
        self._last: bytes | None = None
        """The answer that was placed; None: place the next one whatever it is."""
        self._refused = 0
        self._odd = True
        self._poll_again = False
        self._timer: Timer | None = None
        self._busy_in_row = 0
        self._busy_due_s = math.nan

    # -- life ---------------------------------------------------------------------------------------------------

    def place(self, stretch: Stretch | None, tags: Sequence[TagSink]) -> None:
        """Where the block goes; `tags` in order of the block's. What it has read already is placed at once."""
        self._stretch = stretch
        self._tags = tags
        if self.overlay is not None:
            self.overlay.tags = tags
        if tags:
            decoder = bits_decoder if self.block.table.is_bits else registers_decoder
            self._decode = decoder(self.block.tags, self.block.first)
            for sink in tags:
                sink.point.source = self
                sink.point.touch()
            if any(sink.exact for sink in tags):  # written while it was read in another request
                self.overlay = self.overlay or Overlay(self.device, self.block, tags)
                self.overlay.is_exact = self._odd = True
        if self._last is not None:
            self._place(self._last)

    def inherit(self, other: Job) -> None:
        """It reads a part of what `other` read: the values are as old, and as lost, as they were there."""
        self.expires_s, self.stale, self.error = other.expires_s, other.stale, other.error
        self.good_s, self.good_time_ns = other.good_s, other.good_time_ns
        self._refused = other._refused

    def live(self) -> None:
        """Its values grow old from now on."""
        self._freshness.watch(self)

    def start(self) -> None:
        """Poll it at its interval from now on."""
        if self.turn is None:
            self.turn = Turn(self.block.every_s, self.poll)
            self._wheel.add(self.turn)

    def pause(self) -> None:
        """No more turns."""
        if self.turn is not None:
            self._wheel.drop(self.turn)
            self.turn = None

    def close(self) -> None:
        """No more polls; an answer that still comes is ignored. What it placed stays."""
        self.is_closed = True
        self.pause()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.request.wanted = False
        self.request.done = _ignore  # and nothing refers to itself any more
        self._freshness.forget(self)
        self._tags = ()
        self._stretch = self._decode = self.overlay = None

    # -- polling ------------------------------------------------------------------------------------------------

    def poll(self) -> bool:
        """Read the block. False: the last request is still out, this one is skipped."""
        request = self.request
        if request.out:
            return False
        self._submit(request)
        return True

    def poke(self) -> bool:
        """As `poll`, out of its turn."""
        if self.is_closed:
            return False
        self.poked_s = self._clock()
        return self.poll()

    def watch(self) -> bool:
        """As `poke`; the owner is told what it says. False: a request is out already."""
        if self.is_closed or self.request.out:
            return False
        self.is_watched = self._odd = True
        self.poke()
        return True

    def _done(self, answer: bytes | None, error: LinkError | None) -> None:
        if answer is None or answer[0] & _EXCEPTION or self._odd:
            self._done_oddly(answer, error)
            return
        if answer != self._last:
            self._place(answer)
            self._last = answer
        self.good_s = now_s = self._clock()
        self.expires_s = now_s + self._stale_s  # later than it was: freshness need not be told
        self.good_time_ns = _time_ns()
        self.good_count += 1
        self.asked_s += self.request.took_s
        device = self.device
        if device.is_plain:
            device.good_requests += 1
        else:
            device.good()

    def _done_oddly(self, answer: bytes | None, error: LinkError | None) -> None:
        """A failure, or an answer while something is odd."""
        code, awaited = FAILED, self.is_watched or self._refused != 0
        if answer is None:
            self._failed(error)
        elif answer[0] & _EXCEPTION:
            code = self._exception(answer[1])
        else:
            code = 0
            self._good(answer)
        self.is_watched = False
        self._odd = bool(self.error or self.stale or self.is_writing or not self.good_count)
        if awaited:
            self._owner.answered(self, code)
        elif code > 0:
            self._owner.refused(self, code)
        if self._poll_again and not self.is_closed:
            self._poll_again = False
            if answer is not None:  # else it would fail again at once
                self.poke()

    def _good(self, answer: bytes) -> None:
        """A whole block of data: its size was checked by the link against the request."""
        overlay, sent_s = self.overlay, self.request.sent_s
        if overlay is not None and overlay.is_on:
            answer = overlay.over(answer, sent_s, self._clock())
        if answer != self._last or (overlay is not None and overlay.is_exact):
            self._place(answer)
            self._last = answer
        if overlay is not None:
            overlay.placed(sent_s)
        now_s = self._clock()
        self.good_s = now_s
        self.good_time_ns = _time_ns()
        self._freshness.renew(self, now_s + self._stale_s)
        self.good_count += 1
        self.asked_s += self.request.took_s
        was_good = not (self.error or self._refused or self.stale)
        self.error = ""
        self._refused = 0
        self._busy_in_row = 0
        if not was_good:
            self._touch()
        if self.stale:
            self.stale = False
            self.device.review()
        self.device.good()

    def _touch(self) -> None:
        """The quality of its values is another, or why it is."""
        for sink in self._tags:
            sink.point.touch()

    def _failed(self, error: LinkError | None) -> None:
        self._fail(str(error))
        if isinstance(error, RequestTimeout):
            self.other_count += 1
            self.asked_s += self.request.timeout_s * max(self.request.attempts, 1)
        self.device.failed(self.error)

    def _exception(self, code: int) -> int:
        """An answer, but no data. Only 01, 02 and 03 say that the block can never be read as it is: their code."""
        self._fail(f"refused with {spec.exception_text(code)}")
        self.other_count += 1
        self.asked_s += self.request.took_s
        self.device.failed(self.error, code)
        if code in BUSY:
            self.busy_count += 1
            self._ask_busy_again()
        return code if code in REFUSALS else FAILED

    def _fail(self, error: str) -> None:
        if error != self.error:
            self.error = error
            self._touch()

    def _ask_busy_again(self) -> None:
        """After a pause, unless its next turn comes first."""
        due_s = self.turn.due_s if self.turn is not None else math.inf
        if due_s != self._busy_due_s:
            self._busy_due_s, self._busy_in_row = due_s, 0
        pause_s = BUSY_PAUSE_S * 2**self._busy_in_row
        if self._busy_in_row < BUSY_RETRIES and self._wheel.time() + pause_s < due_s:
            self._busy_in_row += 1
            self._poke_in(pause_s)

    def _poke_in(self, delay_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._wheel.later(delay_s, self._timer_ran)

    def _timer_ran(self) -> None:
        self._timer = None
        self._poke_or_again()

    def _poke_or_again(self) -> None:
        """Poll now; if a request is out, once more when it is done."""
        if self.request.out:
            self._poll_again = self._odd = True
        else:
            self.poke()

    # -- what it shows ------------------------------------------------------------------------------------------

    @property
    def is_good(self) -> bool:
        """The last poll was good, and its values are not too old."""
        return self.good_time_ns > 0 and not self.error and not self.stale

    @property
    def is_writing(self) -> bool:
        """A write is not confirmed yet, or was not taken."""
        return self.overlay is not None and self.overlay.is_on

    @property
    def mismatch_count(self) -> int:
        """Writes that the device did not take (`verify`)."""
        return 0 if self.overlay is None else self.overlay.mismatch_count

    @property
    def refused_code(self) -> int:
        """The exception that `block_with` has put on its values; else 0."""
        return self._refused

    def trouble(self) -> tuple[Quality, str]:
        """The quality all its values share, and why."""
        if self._refused:
            return Quality.BAD, f"refused with {spec.exception_text(self._refused)}"
        if self.good_time_ns == 0:
            return Quality.BAD, "waiting"
        if self.stale or self._clock() >= self.expires_s:
            return Quality.BAD, self.error or "stale"
        return (Quality.UNCERTAIN, self.error) if self.error else (Quality.GOOD, "")

    def describe(self) -> str:
        """Both notations."""
        return self.block.table.describe(self.block.first, self.block.count)

    def _place(self, answer: bytes) -> None:
        if self._stretch is not None:
            self._stretch.take(answer[2:])
        if self._decode is not None:
            for sink, raw in zip(self._tags, self._decode(answer[2:]), strict=True):
                if raw != sink.raw:
                    try:
                        sink.take(raw)
                    except Exception:  # our bug: this tag has no value, the others of the block live on
                        if not sink.is_faulty:
                            log.exception("device %s: bug in the gateway with a tag", self.device.name)
                        sink.fail()

    def block_with(self, code: int) -> None:
        """The device refuses it: readers get its code."""
        self._odd = True
        if code == self._refused:
            return
        self._refused = code
        self._forget()
        self.expires_s = math.inf
        if self._stretch is not None:
            self._stretch.refuse(code)
        for sink in self._tags:
            sink.refuse(code)
        self.stale = True
        self._touch()

    def expire(self) -> None:
        """Too old: from now on clients get what `on_stale` says."""
        self.expires_s = math.inf
        self.stale = self._odd = True
        self._forget()
        if self._stretch is not None:
            self._stretch.lose()
        for sink in self._tags:
            sink.lose()
        self._touch()
        self._owner.expired(self)

    def _forget(self) -> None:
        self._last = None
        for sink in self._tags:
            sink.forget()

    # -- writes -------------------------------------------------------------------------------------------------

    def wrote(self, write: Written, hold_s: float, *, asks: bool = True) -> None:
        """A write to its table has been executed, or may have been (no data): show it if its values are shown, and
        (with `asks`) look what the device holds: at once, or after `hold_s` until which polls may read the old value.
        """
        block = self.block
        if write.table is not block.table or not (
            write.first < block.first + block.count and block.first < write.first + write.count
        ):
            return
        if self.overlay is None:
            self.overlay = Overlay(self.device, block, self._tags)
        held = self.overlay.wrote(write, self._clock(), hold_s)
        self._odd = self._odd or self.overlay.is_on
        if held is not None and self._last is not None:  # what has expired is not shown
            self._last = self._last[:2] + held.over(self._last[2:])
            self._place(self._last)
        if not asks:
            return
        if hold_s > 0 and held is not None:
            self._poke_in(hold_s + TIMER_SLACK_S)
        else:
            self._poke_or_again()


def _ignore(answer: bytes | None, error: LinkError | None) -> None:
    """Whoever asked has gone."""
