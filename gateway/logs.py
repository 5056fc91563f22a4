"""The log: one line per change of state, on standard error, as text or as JSON lines. Silent while healthy."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

LEVELS = (logging.INFO, logging.DEBUG)
"""By the number of `-v`."""


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


def set_up(log_format: str, verbose: int) -> None:
    """Send everything the gateway says to standard error. `log_format`: text or json; `verbose`: the number of -v."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("gateway").setLevel(LEVELS[min(verbose, len(LEVELS) - 1)])
    logging.raiseExceptions = False  # a full disk behind the log must not stop the gateway
