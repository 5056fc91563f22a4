"""The log: one line per change of state, on standard error, as text or as JSON lines. Silent while healthy.

Lines are written by a thread of their own: a terminal that is paused, or a pipe that nobody empties, must not hold up
the gateway. What does not fit the bounded queue is dropped, and the next line that does says how many.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

_STDERR = 2
LEVELS = (logging.INFO, logging.DEBUG)
"""By the number of `-v`."""
MAX_WAITING = 10_000
"""Lines not written yet."""
TOLD = {"told": True}
"""As `extra` of a line: what it says is an event already, in words of its own (gateway.events)."""
FLUSH_S = 1.0
"""How long the end waits for the last lines."""


class TextFormatter(logging.Formatter):
    """`2026-11-21T09:30:00.123Z WARNING device press: stale`: UTC, milliseconds."""

    def format(self, record: logging.LogRecord) -> str:
        text = f"{_utc(record)} {record.levelname:<7} {record.getMessage()}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class JsonFormatter(logging.Formatter):
    """One object per line: time, level, logger, message and, for our bugs, traceback."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": _utc(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)


def _utc(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Writer(logging.Handler):
    """Formats where the line is said, writes in its own thread."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: queue.Queue[str | None] = queue.Queue(MAX_WAITING)
        self._dropped = 0
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._dropped and self._lines.qsize() < MAX_WAITING // 2:
                dropped, self._dropped = self._dropped, 0
                self._lines.put_nowait(f"({dropped} lines of the log were dropped: nobody took them)")
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self._dropped += 1

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                # Not sys.stderr: a thread that hangs in its buffer would abort the interpreter's own end.
                data = (line + "\n").encode("utf-8", "backslashreplace")
                while data:
                    data = data[os.write(_STDERR, data) :]
            except OSError:  # a full disk, a closed pipe: the gateway goes on without its log
                self._dropped += 1

    def finish(self) -> None:
        """Write what waits, for FLUSH_S at most."""
        try:
            self._lines.put(None, timeout=FLUSH_S)
        except queue.Full:
            return
        self._thread.join(FLUSH_S)


@contextmanager
def set_up(log_format: str, verbose: int) -> Iterator[None]:
    """Send everything the gateway says to standard error. `log_format`: text or json; `verbose`: the number of -v."""
    writer = _Writer()
    writer.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [writer]
    root.setLevel(logging.WARNING)
    logging.getLogger("gateway").setLevel(LEVELS[min(verbose, len(LEVELS) - 1)])
    try:
        yield
    finally:
        writer.finish()
