"""The other way: our registers written to a device, and a counter that shows it that we live.

A push is state, not a queue: what counts is the value now. One write is out at a time; what changed meanwhile, or could
not be sent, is sent as it is when the next write may go. Nothing is sent that nobody has given a value: registers of
ours that were not written since the start, and copies of a device's that are too old.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from gateway import clock
from gateway.bank import Bank
from gateway.errors import LinkDown, LinkError
from gateway.interfaces import Steps, Write, once
from gateway.modbus import spec
from gateway.modbus.spec import ADDRESSES, Table
from gateway.writing.destination import Destination, trouble_of
from gateway.writing.requests import write_registers, write_values

log = logging.getLogger(__name__)

CHECK_S: Final = 0.1
"""How often a push looks whether copies of a device's registers have changed; clients' writes are heard of at once."""
RETRY_S: Final = 10.0
"""After a failure, for a push that has no cycle of its own and whose link did not go down."""

TOLD_S: Final = 60.0
"""Of one push or watchdog that fails again and again there is a line so often, at most."""

_COUNTS: Final = 0x10000
_GIVEN, _KEPT = 1, 2
"""The marks: a value of `initial`, which is in the configuration; one of a client, which is nowhere else."""
_RUNS_KEPT = re.compile(rb"\x02+")


class Written:
    """What of one bank somebody has given a value since the start: clients, `initial`, `retain`."""

    def __init__(self) -> None:
        self._marks: dict[Table, bytearray] = {}
        self._pushes: list[Push] = []

    def mark(self, table: Table, first: int, count: int, *, kept: bool = False) -> None:
        """This has a value: of `initial`, or (`kept`) one that a client wrote, perhaps before the start."""
        marks = self._marks.get(table)
        if marks is None:
            marks = self._marks[table] = bytearray(ADDRESSES)
        marks[first : first + count] = bytes((_KEPT if kept else _GIVEN,)) * count

    def note(self, table: Table, first: int, count: int) -> None:
        """A client has written this (`Bank.on_write`)."""
        self.mark(table, first, count, kept=True)
        for push in self._pushes:
            if push.table is table and push.first < first + count and first < push.stop:
                push.touch()

    def forget(self, table: Table, first: int, count: int) -> None:
        """This has no value any more: it was taken away, or was a copy of a device's and is ours now."""
        marks = self._marks.get(table)
        if marks is not None:
            marks[first : first + count] = bytes(count)

    def keep(self, ranges: Mapping[Table, Iterable[tuple[int, int]]]) -> None:
        """Nothing outside of these (first, stop) ranges has a value any more."""
        for table, marks in self._marks.items():
            kept = bytearray(ADDRESSES)
            for first, stop in ranges.get(table, ()):
                kept[first:stop] = marks[first:stop]
            self._marks[table] = kept

    def missing(self, table: Table, first: int, stop: int) -> bool:
        """Whether something in this range was not written."""
        marks = self._marks.get(table)
        return marks is None or marks.find(0, first, stop) >= 0

    def kept(self, table: Table, first: int, stop: int) -> list[tuple[int, int]]:
        """The (first, stop) parts of this range that a client wrote: what `retain` has to keep."""
        marks = self._marks.get(table)
        return [] if marks is None else [run.span() for run in _RUNS_KEPT.finditer(marks, first, stop)]

    def watch(self, push: Push) -> None:
        self._pushes.append(push)

    def unwatch(self, push: Push) -> None:
        self._pushes.remove(push)


class _Outlet:
    """What pushes and watchdogs have in common: one write out at a time, and its trouble told once.

    What fails now and then is told every TOLD_S at most, and its recovery only after its failure was.
    """

    def __init__(self, destination: Destination, what: str, name: str, now: Callable[[], float]) -> None:
        """`what`: what is written, in both notations; `name`: for the log, what writes it."""
        self._destination = destination
        self._what = what
        self._name = name
        self._write: Write | None = None
        self.is_out = False
        self.trouble = ""
        """Why the last write failed; empty: it did not."""
        self._now = now
        self._told = False
        """The log has it that it fails."""
        self._told_s = -math.inf
        self._untold = 0
        """Failures since the last line about one, without those that it speaks for."""

    def send(self, steps: Callable[[], Steps]) -> None:
        """Only when none is out."""
        self.is_out = True
        write = self._destination.write(steps, self._what, self._done, is_ours=True)
        if self.is_out and self._write is None:  # it may be over already, and the next begun
            self._write = write

    def close(self) -> None:
        """No more; what waits is not sent."""
        if self._write is not None:
            self._write.wanted = False

    def _done(self, answer: bytes | None, error: LinkError | None) -> None:
        self.is_out = False
        self._write = None
        self.trouble = trouble_of(answer, error) or ""
        if isinstance(error, LinkDown):
            pass  # nothing was sent; that the device is away is told by its link
        elif self.trouble and not self._told:
            self._fails()
        elif not self.trouble and self._told:
            self._told = False
            log.info("device %s: %s %s works again", self._destination.name, self._name, self._what)
        self.ended()

    def _fails(self) -> None:
        now_s = self._now()
        if now_s - self._told_s < TOLD_S:
            self._untold += 1
            return
        more = f" ({self._untold} times since)" if self._untold else ""
        self._told, self._told_s, self._untold = True, now_s, 0
        log.warning("device %s: %s %s fails: %s%s", self._destination.name, self._name, self._what, self.trouble, more)

    def ended(self) -> None:
        """The write is over, `trouble` says how."""


class Push(_Outlet):
    """Registers or bits of ours, written to the device when they change, in a cycle, or both."""

    def __init__(
        self,
        bank: Bank,
        table: Table,
        first: int,
        count: int,
        written: Written,
        destination: Destination,
        device_table: Table,
        device_first: int,
        *,
        on_change: bool,
        has_cycle: bool,
        soon: Callable[[Callable[[], object]], object],
        judge: Callable[[], None],
        now: Callable[[], float] = clock.now,
    ) -> None:
        """`count` places of our `table` go to `device_first`; `soon(callback)` calls when this event is over.
        `judge()`: what is old is told; called before the image is read, also by a process that has slept.

        Wants `check` called every CHECK_S, `tick` in its cycle if it has one.
        """
        super().__init__(destination, device_table.describe(device_first, count), "push to", now)
        self.table, self.first, self.stop = table, first, first + count
        self.closed = False
        self._bank = bank
        self._written = written
        self._device_table, self._device_first = device_table, device_first
        self._on_change = on_change
        self._has_cycle = has_cycle
        self._soon = soon
        self._judge = judge
        self._called = False
        self._sent: bytes | None = None
        """What the device has, as far as we know; None: unknown."""
        self._out: bytes = b""
        self._retry_s = 0.0
        written.watch(self)

    def touch(self) -> None:
        """A source was written by a client: look when all requests that came together are done."""
        if self._on_change and not self._called:
            self._called = True
            self._soon(self._look)

    def check(self) -> bool:
        """Send if the source differs from what the device has. False: the last write is still out."""
        if self.is_out:
            return False
        if self._on_change and (not self.trouble or self._now() >= self._retry_s):
            self._send_changed()
        return True

    def tick(self) -> bool:
        """Send whatever the source is now. False: the last write is still out."""
        if self.is_out:
            return False
        if self._is_ready():
            self._send(self._value())
        return True

    def link_changed(self, up: bool) -> None:
        """The device can be reached again, or not: what could not be sent is sent as it is now."""
        if up and self.trouble:
            self._retry_s = 0.0
            if not self.is_out and self._is_ready():
                self._send(self._value())

    def close(self) -> None:
        super().close()
        self.closed = True
        self._written.unwatch(self)

    def ended(self) -> None:
        if not self.trouble:
            self._sent = self._out
            if self._on_change:
                self._send_changed()  # it may have changed meanwhile
            return
        self._sent = None
        # With a cycle the next turn is the repetition: never sooner.
        self._retry_s = float("inf") if self._has_cycle else self._now() + RETRY_S

    def _look(self) -> None:
        self._called = False
        if self._on_change and not self.is_out:
            self._send_changed()

    def _send_changed(self) -> None:
        if self._is_ready() and (value := self._value()) != self._sent:
            self._send(value)

    def _send(self, value: bytes) -> None:
        self._out = value
        self.send(self._steps(value))

    def _value(self) -> bytes:
        return self._bank.get(self.table, self.first, self.stop - self.first)

    def _is_ready(self) -> bool:
        """Whether every source has a value that counts."""
        if self.closed:
            return False
        self._judge()
        spans = self._bank.spans_in(self.table, self.first, self.stop - self.first)
        if any(span.code or span.stale for span in spans):
            return False
        at = self.first
        for span in spans:
            if at < span.first and self._written.missing(self.table, at, span.first):
                return False
            at = max(at, span.stop)
        return at >= self.stop or not self._written.missing(self.table, at, self.stop)

    def _steps(self, value: bytes) -> Callable[[], Steps]:
        """One request, or as many as the length takes, with nobody in between; the first refusal ends it."""
        table, first, count = self._device_table, self._device_first, self.stop - self.first
        multiple = self._destination.force_multiple
        most = spec.MAX_WRITE_BITS if table.is_bits else spec.MAX_WRITE_REGISTERS
        requests = []
        for at in range(0, count, most):
            size = min(most, count - at)
            part = value[at // 8 :] if table.is_bits else value[2 * at : 2 * (at + size)]
            requests.append(write_values(table, first + at, size, part, multiple=multiple))

        def steps() -> Steps:
            answer = b""
            for request in requests:
                answer = yield request
                if answer[0] & spec.EXCEPTION_BIT:
                    break
            return answer

        return steps


class Watchdog(_Outlet):
    """A register of the device that counts up while the gateway is well: 0..65535 and around."""

    def __init__(self, destination: Destination, address: int, now: Callable[[], float] = clock.now) -> None:
        """`address`: a holding register. Wants `tick` called in its cycle."""
        super().__init__(destination, Table.HOLDING.describe(address), "watchdog", now)
        self._address = address
        self.count = 0
        """The value to be written next."""

    def tick(self) -> bool:
        """Write the next number. False: the last is still out."""
        if self.is_out:
            return False
        data = self.count.to_bytes(2, "big")
        self.count = (self.count + 1) % _COUNTS
        self.send(once(write_registers(self._address, data, multiple=self._destination.force_multiple)))
        return True
