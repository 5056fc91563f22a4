"""How short a time may be: below these limits nothing gets faster, and a slip of the pen is more likely."""

from __future__ import annotations

from gateway.config.durations import format_duration
from gateway.config.tree import Findings, KeyPath

MIN_INTERVAL_S = 0.010
"""The shortest `every` and `timeout`: below it a PLC answers no faster and the event loop only polls itself."""
MIN_KEEPALIVE_S = 1.0
"""TCP keep-alive is set in whole seconds."""
MIN_WATCHDOG_S = 0.100
"""Of a counter that a PLC looks at once per second or so."""
MAX_CACHE_S = 3600.0
"""Of answers that a forward repeats: older ones are nobody's idea of a value."""


def at_least(findings: Findings, path: KeyPath, seconds: float, least_s: float, *, off: bool = False) -> None:
    """`off`: 0 is allowed, too."""
    if seconds < least_s and not (off and seconds == 0):
        words = " or 0 (off)" if off else ""
        findings.error(path, f"must be at least {format_duration(least_s)}{words}, this is {format_duration(seconds)}")


def at_most(findings: Findings, path: KeyPath, seconds: float, most_s: float) -> None:
    if seconds > most_s:
        findings.error(path, f"must be at most {format_duration(most_s)}, this is {format_duration(seconds)}")
