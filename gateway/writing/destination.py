"""A device as those see it who write to it: how it wants to be written to, and how it went."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from gateway import clock
from gateway.errors import LinkDown, LinkError, OutcomeUnknown
from gateway.interfaces import Steps, SubmitWrite, Write
from gateway.modbus import spec
from gateway.traffic import Histogram

Done = Callable[[bytes | None, LinkError | None], None]


class Destination:
    """One device. Clients' writes, its pushes and its watchdog share it."""

    def __init__(self, name: str, submit: SubmitWrite, *, force_multiple: bool = False) -> None:
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
        """Waiting for their turn, or out."""
        self.took = Histogram()
        """How long clients' writes took, from the request to the outcome."""
        self._submit = submit

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

        begun_s = clock.now()

        def told(answer: bytes | None, error: LinkError | None) -> None:
            if not is_ours:
                self.took.add(clock.now() - begun_s)
            self.waiting -= 1
            self._count(answer, error, is_ours=is_ours)
            done(answer, error)

        self.waiting += 1
        write = Write(steps, what, told, key=key, hold_s=hold_s, is_ours=is_ours)
        self._submit(write)
        return write

    def _count(self, answer: bytes | None, error: LinkError | None, *, is_ours: bool) -> None:
        if trouble_of(answer, error) is None:
            self.done += 1
        elif is_unknown(answer, error):
            self.unknown += 1
        elif not (is_ours and isinstance(error, LinkDown)):
            self.refused += 1


def trouble_of(answer: bytes | None, error: LinkError | None) -> str | None:
    """Why a write did not succeed, for people; None: it did."""
    if answer is None:
        return str(error) or type(error).__name__
    if answer[0] & spec.EXCEPTION_BIT:
        return f"the device answered {spec.exception_text(answer[1])}"
    return None


def is_unknown(answer: bytes | None, error: LinkError | None) -> bool:
    """Whether nobody knows if it was executed: no answer, or a refusal that does not say that nothing was done."""
    if answer is None:
        return isinstance(error, OutcomeUnknown)
    if not answer[0] & spec.EXCEPTION_BIT or answer[1] in spec.NOT_EXECUTED:
        return False
    # A read, changed and written back that failed at the read has written nothing.
    return answer[0] & ~spec.EXCEPTION_BIT not in spec.TABLE_BY_READ_FUNCTION
