"""What the log hears of a block that the device does not answer in one request: what is refused, what is safe to read.

The rule of the file: a line is told when everything is known, and once; what it named is told again when it is read
again. A device that changes its mind all the time fills no log (`repeat`).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

from gateway.modbus import spec
from gateway.polling.device import Device
from gateway.polling.holes import Finding, Part, Split
from gateway.polling.plan import Block

log = logging.getLogger(__name__)

MAX_RANGES = 12
"""Named in a line of the log."""


class Telling:
    """Of one planned block."""

    __slots__ = ("_block", "_device", "_found", "_healed", "_told")

    def __init__(self, device: Device, block: Block) -> None:
        self._device = device
        self._block = block
        self._found: object = None
        """What was known to be refused when everything was known last."""
        self._told: object = None
        """The same, as the log has it."""
        self._healed: dict[int, int] = {}
        """First address and count of what the log believes to be refused and is read again."""

    @property
    def has_found(self) -> bool:
        """Everything was known once."""
        return self._found is not None

    def refused_again(self, part: Part) -> bool:
        """It is refused; whether the log believes so still."""
        return self._healed.pop(part.first, None) is not None

    def healed(self, part: Part, now_s: float) -> None:
        """What the log believes to be refused is read again."""
        self._healed[part.first] = part.count
        self._told = None
        self._tell_healed(now_s)

    def tell(self, split: Split, now_s: float) -> tuple[bool, float]:
        """Everything is known: one line, what is refused, and what is safe to read in one request. Whether it was said
        just now, and when there is more to tell; infinite: nothing is left."""
        self._tell_healed(now_s)
        healed_s = self._device.lines.due_s(self._line("healed")) if self._healed else math.inf
        refused, safe = split.refused(), split.safe()
        finding = (tuple(refused), len(safe) if not refused else 0)
        is_new, self._found = finding != self._found, finding
        if finding == self._told:
            return False, healed_s
        line = self._line("refused")
        more = self._device.lines.more(line, now_s, counts=is_new)
        if more is None:
            return False, min(self._device.lines.due_s(line), healed_s)
        self._told = finding
        self._say(split, more)
        return True, healed_s

    def whole(self, now_s: float, *, is_news: bool) -> None:
        """It is read in one request again: nothing is refused any more. `is_news`: it was read in several before."""
        if is_news:
            log.debug("device %s: %s is read in one request again", self._device.name, self._where())
        self._tell_healed(now_s, is_last=True)
        self._found = self._told = None

    def _tell_healed(self, now_s: float, *, is_last: bool = False) -> None:
        """One line: what was told to be refused is read again. `is_last`: nothing is refused any more."""
        if not self._healed:
            return
        more = self._device.lines.more(self._line("healed"), now_s, counts=False)
        if more is None and not is_last:
            return
        ranges: list[tuple[int, int]] = []
        for first, count in sorted(self._healed.items()):
            if ranges and sum(ranges[-1]) == first:
                ranges[-1] = (ranges[-1][0], ranges[-1][1] + count)
            else:
                ranges.append((first, count))
        self._healed.clear()
        where = _some([self._block.table.describe(first, count) for first, count in ranges])
        log.info("device %s: %s %s no longer refused", self._device.name, where, "is" if len(ranges) == 1 else "are")

    def _line(self, kind: str) -> tuple[object, ...]:
        """What its lines of this kind are told apart by from others of the device."""
        return (kind, self._block.table, self._block.first, self._block.count, self._block.every_s)

    def _say(self, split: Split, more: str) -> None:
        refused, safe = split.refused(), split.safe()
        describe = self._block.table.describe
        if not refused:
            log.warning(
                "device %s: %s is refused in one request and read in %d: %s%s%s",
                self._device.name,
                self._where(),
                len(safe),
                _some([describe(first, count) for first, count in safe]),
                self._advice(split),
                more,
            )
            return
        codes: dict[int, list[str]] = {}
        for first, count, code in refused:
            codes.setdefault(code, []).append(describe(first, count))
        what = "; ".join(
            f"{_some(ranges)} {'is' if len(ranges) == 1 else 'are'} refused with {spec.exception_text(code)}"
            for code, ranges in codes.items()
        )
        rest = ""
        if safe:
            rest = f"; safe to read in one request: {_some([describe(first, count) for first, count in safe])}"
        elif len(split.parts) > 1:
            rest = "; nothing of it can be read"
        log.warning("device %s: %s%s%s", self._device.name, what, rest, more)

    def _advice(self, split: Split) -> str:
        most = f"max_{'bits' if self._block.table.is_bits else 'registers'}: {max(count for _, count in split.safe())}"
        return {
            Finding.GAP: "; the device does not have what lies between them: max_gap: 0 leaves it out",
            Finding.LIMIT: f"; the device seems to answer no more at once: {most}",
            Finding.EITHER: "; the device does not have what lies between them (max_gap: 0 leaves it out), "
            f"or answers no more at once ({most})",
            Finding.NONE: "",
        }[split.finding()]

    def _where(self) -> str:
        return self._block.table.describe(self._block.first, self._block.count)


def _some(ranges: Sequence[str]) -> str:
    more = f" and {len(ranges) - MAX_RANGES} more" if len(ranges) > MAX_RANGES else ""
    return ", ".join(ranges[:MAX_RANGES]) + more
