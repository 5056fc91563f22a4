"""A device as those see it who write to it: how it wants to be written to, how it went, and what the log says."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from typing import Final

from gateway import clock
from gateway.errors import LinkDown, LinkError, OutcomeUnknown
from gateway.interfaces import Steps, SubmitWrite, Write
from gateway.modbus import spec

log = logging.getLogger(__name__)

MAX_LINES: Final = 6
"""About unknown outcomes, of one device within LINES_S; the next line says how many were not told."""
LINES_S: Final = 60.0

Done = Callable[[bytes | None, LinkError | None], None]


class Destination:
    """One device. Clients' writes, its pushes and its watchdog share it."""

    def __init__(
        self,
        name: str,
        submit: SubmitWrite,
        *,
        force_multiple: bool = False,
        now: Callable[[], float] = clock.now,
    ) -> None:
        """`submit` brings a write to the device's unit in its turn; `force_multiple`: with functions 15 and 16 only."""
        self.name = name
        self.force_multiple = force_multiple
        self.knows_no_mask = False
        """It has refused function 22 with 01."""
        self.done = 0
        self.refused = 0
        """By the device, or not sent."""
        self.unknown = 0
        """Sent, and nobody knows whether it was executed."""
        self.waiting = 0
        self._submit = submit
        self._now = now
        self._lines_since_s = 0.0
        self._lines = 0
        self._untold = 0

    def may_mask(self) -> bool:
        """Whether function 22 may be tried."""
        return not self.force_multiple and not self.knows_no_mask

    def refuses_mask(self) -> None:
        """It has no function 22: from now on its bits are written by reading and writing back."""
        self.knows_no_mask = True

    def write(
        self,
        steps: Callable[[], Steps],
        what: str,
        done: Done,
        *,
        key: Hashable | None = None,
        hold_s: float = 0.0,
        is_ours: bool = False,
    ) -> Write:
        """Bring a write on its way; `done` is called once, perhaps before this returns.

        `is_ours`: no client waits. Whoever began it tells the log, and what could not be sent is no refusal.
        """

        def told(answer: bytes | None, error: LinkError | None) -> None:
            self.waiting -= 1
            self._count(what, answer, error, is_ours=is_ours)
            done(answer, error)

        self.waiting += 1
        write = Write(steps, what, told, key=key, hold_s=hold_s)
        self._submit(write)
        return write

    def _count(self, what: str, answer: bytes | None, error: LinkError | None, *, is_ours: bool) -> None:
        trouble = trouble_of(answer, error)
        if trouble is None:
            self.done += 1
        elif is_unknown(answer, error):
            self.unknown += 1
            if not is_ours:
                self._tell_unknown(what, trouble)
        elif not (is_ours and isinstance(error, LinkDown)):
            self.refused += 1

    def _tell_unknown(self, what: str, trouble: str) -> None:
        now_s = self._now()
        if not self._lines or now_s - self._lines_since_s >= LINES_S:
            self._lines_since_s, self._lines = now_s, 0
        self._lines += 1
        if self._lines > MAX_LINES:
            self._untold += 1
            return
        more = f" (and {self._untold} more before)" if self._untold else ""
        self._untold = 0
        log.warning("device %s: write of %s: outcome unknown: %s%s", self.name, what, trouble, more)


def trouble_of(answer: bytes | None, error: LinkError | None) -> str | None:
    """Why a write did not succeed, for people; None: it did."""
    if answer is None:
        return str(error) or type(error).__name__
    if answer[0] & spec.EXCEPTION_BIT:
        return f"the device answered {spec.exception_text(answer[1])}"
    return None


def is_unknown(answer: bytes | None, error: LinkError | None) -> bool:
    """Whether nobody knows if it was executed; a device that is a gateway itself says so with 0B."""
    if answer is None:
        return isinstance(error, OutcomeUnknown)
    return bool(answer[0] & spec.EXCEPTION_BIT) and answer[1] == spec.GATEWAY_TARGET_FAILED
