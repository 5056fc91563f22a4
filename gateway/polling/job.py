"""A poll job: one block, read start to start, placed, judged.

The request is prepared once; `poll` submits it, `_done` takes the answer. A block equal to the last one is not decoded
again: only its time moves on. Time stamps and ages are those of the last good read, whatever happened since.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from gateway.errors import LinkError
from gateway.front.freshness import Freshness
from gateway.interfaces import Request, Submit
from gateway.modbus import spec
from gateway.modbus.pdu import read_request
from gateway.polling.device import Device
from gateway.polling.plan import Block
from gateway.polling.sinks import RawSink, TagSink
from gateway.values import Quality, bits_decoder, registers_decoder

log = logging.getLogger(__name__)

REFUSALS = (spec.ILLEGAL_FUNCTION, spec.ILLEGAL_ADDRESS, spec.ILLEGAL_VALUE)
"""The device says that the block itself is wrong; anything else may pass (protocol digest 6.5)."""


class Job:
    """One block of one device. Perishable (freshness), Aging (device) and Source (hub) at once."""

    def __init__(
        self,
        device: Device,
        block: Block,
        submit: Submit,
        freshness: Freshness,
        *,
        unit_id: int,
        timeout_s: float,
        retries: int,
        quirks: frozenset[str],
        stale_s: float,
    ) -> None:
        """Without sinks; `place_raw` and `place_tags` add where the block goes."""
        self.device = device
        self.block = block
        self.request = Request(
            unit_id, read_request(block.table, block.first, block.count), timeout_s, retries, self._done, quirks
        )
        self.expires_s = freshness.clock() + stale_s  # a block that is never read is stale, too
        self.good_s = -math.inf
        self.good_time_ns = 0
        self.stale = False
        self.error = ""
        """Why the last poll failed; empty after a good one."""
        self._submit = submit
        self._freshness = freshness
        self._stale_s = stale_s
        self._raw: RawSink | None = None
        self._tags: Sequence[TagSink] = ()
        self._decode: Callable[[bytes], tuple[Any, ...]] | None = None
        self._last: bytes | None = None
        """What was placed; None: place the next one whatever it is."""
        self._refused = 0
        freshness.watch(self)
        device.jobs.append(self)

    def place_raw(self, sink: RawSink) -> None:
        self._raw = sink

    def place_tags(self, sinks: Sequence[TagSink]) -> None:
        """In order of the block's tags."""
        self._tags = sinks
        decoder = bits_decoder if self.block.table.is_bits else registers_decoder
        self._decode = decoder(self.block.tags, self.block.first)

    def poll(self) -> bool:
        """Read the block. False: the last request is still out, this one is skipped."""
        if self.request.out:
            return False
        self._submit(self.request)
        return True

    @property
    def is_good(self) -> bool:
        """The last poll was good, and its values are not too old."""
        return self.good_time_ns > 0 and not self.error and not self.stale

    def trouble(self) -> tuple[Quality, str]:
        """The quality all its values share, and why."""
        if self._refused:
            return Quality.BAD, f"refused with {spec.exception_text(self._refused)}"
        if self.good_time_ns == 0:
            return Quality.BAD, "waiting"
        if self.stale or self._freshness.clock() >= self.expires_s:
            return Quality.BAD, self.error or "stale"
        return (Quality.UNCERTAIN, self.error) if self.error else (Quality.GOOD, "")

    def _done(self, answer: bytes | None, error: LinkError | None) -> None:
        if answer is None:
            self.error = str(error)
            self.device.failed(self.error)
        elif answer[0] & spec.EXCEPTION_BIT:
            self._exception(answer[1])
        else:
            self._good(answer[2:])

    def _good(self, data: bytes) -> None:
        """A whole block of data: its size was checked by the link against the request."""
        freshness = self._freshness
        if data != self._last:
            self._place(data)
            self._last = data
        now_s = freshness.clock()
        self.good_s = now_s
        self.good_time_ns = time.time_ns()
        freshness.renew(self, now_s + self._stale_s)
        if self.error or self.stale:
            self._recovered()
        self.device.good()

    def _place(self, data: bytes) -> None:
        if self._raw is not None:
            self._raw.take(data)
        if self._decode is not None:
            for sink, raw in zip(self._tags, self._decode(data), strict=True):
                if raw != sink.raw:
                    try:
                        sink.take(raw)
                    except Exception:  # our bug: this tag has no value, the others of the block live on
                        if not sink.is_faulty:
                            log.exception("device %s: bug in the gateway with a tag", self.device.name)
                        sink.fail()

    def _recovered(self) -> None:
        if self._refused:
            log.info("device %s: %s is no longer refused", self.device.name, self._where())
        self.error = ""
        self._refused = 0
        if self.stale:
            self.stale = False
            self.device.review()

    def _exception(self, code: int) -> None:
        """An answer, but no data. Only 01, 02 and 03 say that the block can never be read as it is."""
        self.error = f"refused with {spec.exception_text(code)}"
        self.device.failed(self.error, code)
        if code not in REFUSALS or code == self._refused:
            return
        self._refused = code
        hint = self._gap_hint() if code == spec.ILLEGAL_ADDRESS else ""
        log.warning("device %s: %s is %s%s", self.device.name, self._where(), self.error, hint)
        self._forget()
        self.expires_s = math.inf
        if self._raw is not None:
            self._raw.target.refuse(code)
        for sink in self._tags:
            sink.refuse(code)
        self.stale = True
        self.device.review(told=True)

    def expire(self) -> None:
        """Too old: from now on clients get what `on_stale` says."""
        self.expires_s = math.inf
        self.stale = True
        self._forget()
        if self._raw is not None:
            self._raw.target.lose()
        for sink in self._tags:
            sink.lose()
        self.device.review()
        self.device.expired()

    def _forget(self) -> None:
        self._last = None
        for sink in self._tags:
            sink.forget()

    def _gap_hint(self) -> str:
        """A refused block may be one that has registers nobody asked for."""
        stop = self.block.first
        for tag in self.block.tags:
            if tag.first > stop:
                gap = self.block.table.describe(stop, tag.first - stop)
                return f"; {gap} is read only to save a request: max_gap: 0 leaves it out"
            stop = max(stop, tag.stop)
        return ""

    def _where(self) -> str:
        return self.block.table.describe(self.block.first, self.block.count)
