"""What `gateway top` asks a running gateway for, once an interval; and how it prints that for programs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from gateway.cli.asking import Asked, until_stopped
from gateway.cli.output import fail
from gateway.cli.top_rows import Data, Look, boot_of, is_same, rates_of
from gateway.control.findings import findings
from gateway.control.path import ControlError

MAX_EVENTS = 500
"""Kept to look back at; the gateway itself has more."""
STEP_S = 0.1
"""How soon the end is noticed."""


@dataclass
class Looker:
    """Looks again and again. After a failure it may look on: the gateway may have come back."""

    asked: Asked
    clock: Callable[[], float] = time.monotonic
    _events: list[Mapping[str, Any]] = field(default_factory=list)
    _boot: Any = None

    def look(self) -> Look:
        """Raises ControlError when no gateway answers."""
        status: Data = self.asked.ask("status")
        at_s = self.clock()
        boot = boot_of(status)
        if boot != self._boot:
            self._boot = boot
            self._events.clear()  # another process counts its own from 1
        clients = self.asked.ask("clients")["clients"]
        after = self._events[-1]["number"] if self._events else 0
        told = self.asked.ask("events", after=after)
        if told.get("boot") != boot:  # it was started anew in between, and the number means another event there
            self._boot = told.get("boot")
            self._events.clear()
            told = self.asked.ask("events", after=0)
        self._events += told["events"]
        del self._events[:-MAX_EVENTS]
        return Look(at_s, status, clients, list(self._events))


def print_json(looker: Looker, every_s: float, count: int | None) -> None:
    """An object a line: the status, what is wrong, rates, clients, new events. Ends the command when no gateway runs at
    first; later an object says so, and it looks on."""
    before: Look | None = None
    shown, seen = 0, 0
    with until_stopped() as is_over:
        next_s = time.monotonic()
        while not is_over():
            row: dict[str, Any] = {"time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")}
            try:
                look = looker.look()
            except ControlError as error:
                if not shown:
                    fail(str(error))
                row["error"], before = str(error), None
            else:
                if before is None or not is_same(look, before):
                    seen = 0
                row["rates"] = rates_of(look, before).as_json()
                row["findings"] = [
                    {"whose": each.whose, "text": each.what, "more": each.more} for each in findings(look.status)
                ]
                row |= look.status
                row["clients"] = look.clients
                row["events"] = [event for event in look.events if event["number"] > seen]
                seen = look.events[-1]["number"] if look.events else seen
                before = look
            print(json.dumps(row, ensure_ascii=False), flush=True)
            shown += 1
            if shown == count:
                return
            next_s = max(next_s + every_s, time.monotonic())
            while (left_s := next_s - time.monotonic()) > 0 and not is_over():
                time.sleep(min(left_s, STEP_S))
    is_over.raise_if_unread()
