"""What was written to a polled block, laid over what is read there until the device itself holds it.

The rule of the file: a write counts until an answer that was asked later tells otherwise. Answers whose request left
before show what was written (`held`). If the device then holds something else, a write that was to be verified is
doubted: the log hears it, its tags carry it, until the device holds what was written or it is written anew. Values that
were written pass the deadband of their tags.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

from gateway.polling.device import Device
from gateway.polling.held import Held, Written, hold, shown, touches
from gateway.polling.plan import Block
from gateway.polling.sinks import TagSink

log = logging.getLogger(__name__)


class Overlay:
    """Of one job. Times are on the clock of ages."""

    __slots__ = ("_block", "_device", "_exact_s", "_size", "doubted", "held", "is_exact", "mismatch_count", "tags")

    def __init__(self, device: Device, block: Block, tags: Sequence[TagSink]) -> None:
        self._device = device
        self._block = block
        self._size = (block.count + 7) // 8 if block.table.is_bits else 2 * block.count
        self.tags = tags
        """In order of the block's."""
        self.held: list[Held] = []
        self.doubted: list[Held] = []
        """The device did not take them."""
        self.is_exact = False
        """Values of tags that were written pass the deadband."""
        self._exact_s = -math.inf
        """Until a request that is sent then, or later, is answered."""
        self.mismatch_count = 0
        """Writes that the device did not take (`verify`)."""

    @property
    def is_on(self) -> bool:
        """A write is not confirmed yet, or was not taken."""
        return bool(self.held or self.doubted or self.is_exact)

    def wrote(self, write: Written, now_s: float, hold_s: float) -> Held | None:
        """A write that touches the block has been executed, or may have been (no data). What is to be shown of it."""
        self._exact_s = max(self._exact_s, now_s + hold_s)
        self._let_pass(write.first, write.count)
        block = self._block
        held = hold(write, block.table, block.first, block.count, self._size, now_s + hold_s, verify=hold_s > 0)
        if held is not None:
            self.held = [other for other in self.held if not held.hides(other)]
            self.held.append(held)
            self._end_doubts([other for other in self.doubted if held.hides(other)])
        elif write.data is None:
            self._forget(write)
        return held

    def over(self, answer: bytes, sent_s: float, now_s: float) -> bytes:
        """An answer after a write: with what was written if it was asked before, else as the device holds it."""
        head, data = answer[:2], answer[2:]
        waiting = []
        for held in self.held:
            if sent_s < held.until_s:
                data = held.over(data)
                waiting.append(held)
            elif held.verify and not held.is_in(data):
                self._doubt(held, data, now_s)
        self.held = waiting
        over = [held for held in self.doubted if held.is_in(data)]
        for held in over:
            self._let_pass(held.first, held.count)
        self._end_doubts(over)
        return head + data

    def placed(self, sent_s: float) -> None:
        """The answer to what was asked at `sent_s` is in the tags: what was written before has passed the deadband."""
        if self.is_exact and sent_s >= self._exact_s:
            self.is_exact = False
            for sink in self.tags:
                sink.exact = False

    def _let_pass(self, first: int, count: int) -> None:
        """Tags in there have a value that was written, however near it is to the one before."""
        for sink in self._tags_in(first, count):
            if sink.let_pass():
                self.is_exact = True

    def _forget(self, write: Written) -> None:
        """Nobody knows what `write` has left of the writes before it: the device's next answer is shown there."""
        size, block = self._size, self._block
        touched = touches(write, block.table, block.first, block.count)
        self.held = [left for held in self.held if (left := held.without(touched, size)) is not None]
        if self.doubted:
            self.doubted = [left for held in self.doubted if (left := held.without(touched, size)) is not None]
            self._tell(write.first, write.count, "")

    def _doubt(self, held: Held, data: bytes, now_s: float) -> None:
        """The device does not hold what it was given (`verify`)."""
        table, first = self._block.table, self._block.first
        meant = shown(held.over(data), table, first, held.first, held.count)
        found = shown(data, table, first, held.first, held.count)
        where = table.describe(held.first, held.count)
        more = self._device.mismatches.more((table, held.first, held.count), now_s)
        if more is not None:
            log.warning(
                "device %s: %s was written %s, the device holds %s%s", self._device.name, where, meant, found, more
            )
        self.mismatch_count += 1
        self.doubted.append(held)
        self._tell(held.first, held.count, f"was written {meant}, the device holds {found}")

    def _end_doubts(self, over: Sequence[Held]) -> None:
        for held in over:
            self.doubted.remove(held)
            self._tell(held.first, held.count, "")

    def _tell(self, first: int, count: int, doubt: str) -> None:
        """Tags in there carry this doubt."""
        for sink in self._tags_in(first, count):
            sink.point.doubt = doubt
            sink.point.touch()

    def _tags_in(self, first: int, count: int) -> list[TagSink]:
        return [sink for sink in self.tags if sink.tag.first < first + count and first < sink.tag.stop]
