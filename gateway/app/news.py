"""What happens, told to those who keep it: the events that people see, and the audit's file. And who looks at traffic.

The rule: whoever has news calls one method here and knows nothing of who listens. A write costs its client one entry in
the file's queue and one among the events; its text is made when somebody looks.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from gateway import clock
from gateway.events import Events, Told
from gateway.front import audit
from gateway.polling.device import RECONNECTING, Device, State
from gateway.traffic import Taps

MAX_VALUES = 8
"""Of a write that are told in its line; its details have all."""

_LEVELS = {State.DOWN: "error", State.STALE: "warning"}


class Journal(Protocol):
    """The audit's file."""

    def append(self, record: audit.Record) -> None: ...


class News:
    """Of one gateway."""

    def __init__(self) -> None:
        self.events = Events(clock.now, _write_told)
        self.taps = Taps(clock.now)
        self.journal: Journal | None = None
        """None: the audit's file is off."""
        self._handler = _Handler(self.events)

    # -- life ---------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """The gateway's own warnings and errors are events from now on."""
        logging.getLogger("gateway").addHandler(self._handler)

    def end(self) -> None:
        logging.getLogger("gateway").removeHandler(self._handler)

    def tick(self) -> None:
        """Once a second."""
        self.events.tick()
        self.taps.review()

    # -- who has news -------------------------------------------------------------------------------------------

    def device_changed(self, device: Device) -> None:
        """Its state is another."""
        before, after = device.before.name.lower(), device.state.name.lower()
        reason = device.reason
        text = f"{before} -> {after}{f': {reason}' if reason else ''}"
        level = _LEVELS.get(device.state, "info") if reason != RECONNECTING else "info"
        self.events.add("device", device.name, level, text, **{"from": before, "to": after, "reason": reason})

    def link_changed(self, key: str, level: str, text: str) -> None:
        """It does not work any more, for another reason than before; or it works again."""
        self.events.add("link", key, level, text)

    def client(self, peer: str, text: str) -> None:
        """A client came, went, or was refused."""
        self.events.add("client", peer, "info", text)

    def reloaded(self, path: Path, generation: int, lines: Sequence[str]) -> None:
        """Another configuration runs."""
        text = f"configuration {generation} is running: {'; '.join(lines)}"
        self.events.add("reload", path.name, "info", text, generation=generation, changes=list(lines))

    def not_reloaded(self, path: Path, why: str) -> None:
        """The configuration is the one before."""
        self.events.add("reload", path.name, "error", f"reload refused, nothing has changed: {why}", why=why)

    def written(self, record: audit.Record) -> None:
        """A client's write is over, however it ended."""
        if self.journal is not None:
            self.journal.append(record)
        self.events.note(record)


def _write_told(record: audit.Record) -> tuple[int, Told]:
    details: dict[str, Any] = json.loads(audit.line(record))
    del details["time"]
    outcome = str(details["outcome"])
    level = "info" if outcome == "done" else "error" if outcome.startswith("unknown") else "warning"
    what = details["range"] or f"function {details['function']:02X}"
    change = f": {_values(details['old'])} -> {_values(details['new'])}" if details["new"] is not None else ""
    why = f" ({details['why']})" if "why" in details else ""
    by = f", by {user}" if (user := details.get("user")) else ""
    text = f"unit {details['unit']} {what}{change}: {outcome}{why}{by}"
    return int(record[0] * 1e9), (str(details["client"]), level, text, details)


def _values(values: Any) -> str:
    if not isinstance(values, list):
        return "?" if values is None else str(values)
    more = f" ... ({len(values)})" if len(values) > MAX_VALUES else ""
    return " ".join(map(str, values[:MAX_VALUES])) + more


class _Handler(logging.Handler):
    """Our own warnings and errors as events; may be called from any thread."""

    def __init__(self, events: Events) -> None:
        super().__init__(logging.WARNING)
        self._events = events

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "told", False):
            return
        level = "error" if record.levelno >= logging.ERROR else "warning"
        where = record.name.removeprefix("gateway.").partition(".")[0]  # the room: `polling`, `web`
        self._events.add("gateway", where, level, record.getMessage())
