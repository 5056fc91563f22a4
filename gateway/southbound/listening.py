"""How long a line is listened to before something is sent on it again. Pure: time is an argument.

On a line (RTU, ASCII) answers have no transaction ids. After a time-out nothing is sent for half the time-out that
passed, and as long as bytes still come; what comes is dropped (protocol digest 3.3). A line on which bytes never end is
not waited for.
"""

from __future__ import annotations

MIN_LISTEN_S = 0.05
"""After a time-out on a line, and after the last byte that still came."""
MAX_LISTEN_S = 0.5
LISTEN_PART = 0.5
"""Of the time-out that passed."""
MAX_BABBLE_S = 2.0
"""A line on which bytes never end is not waited for: the next request may wake its unit, or fail as well."""


class Listening:
    """Of one link. It says until when its line is to be quiet; the link keeps that with its other quiet times."""

    __slots__ = ("owed_s", "until_s")

    def __init__(self) -> None:
        self.owed_s = 0.0
        """How long the line is to be listened to after the time-out that was last."""
        self.until_s = 0.0
        """Not longer than this, whatever comes; 0: it is not listened to."""

    def timed_out(self, timeout_s: float) -> None:
        """So long was waited for an answer in vain."""
        self.owed_s = min(MAX_LISTEN_S, max(MIN_LISTEN_S, LISTEN_PART * timeout_s))

    def doubted(self) -> None:
        """What came may be another's answer: its own may be on the way."""
        self.owed_s = MIN_LISTEN_S

    def begin(self, now_s: float, quiet_until_s: float) -> float:
        """Listen for what is owed, or until `quiet_until_s`. Until when nothing is sent."""
        quiet_until_s = max(quiet_until_s, now_s + self.owed_s)
        self.until_s = quiet_until_s + MAX_BABBLE_S
        self.owed_s = 0.0
        return quiet_until_s

    def go_on(self, now_s: float, quiet_until_s: float, heard_s: float) -> float:
        """Something waits: the line, which heard its last byte at `heard_s`, must have been quiet for a moment before
        it is sent. Until when nothing is."""
        quiet_until_s = max(quiet_until_s, min(heard_s + MIN_LISTEN_S, self.until_s))
        if now_s >= quiet_until_s:
            self.until_s = 0.0
        return quiet_until_s
