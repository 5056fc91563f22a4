"""What those who watch know: what the stream told last, and what snapshots gave beside it.

The rule: whoever watches knows what was told last, or it is told again. A page loads a snapshot while others are told
differences, and what it found may never be told: a tag that is 0, 1, 0 between two sets is for the stream what it was,
and 1 for whoever loaded then, for good. So a snapshot says what it gave (`gave`), and a tag that was given otherwise
than it was told is told to all, whatever it is by then. Of clients, links, devices and findings, which are few, all is
told again after a snapshot of them (`was_given`). It costs a comparison for each tag of a snapshot and nothing for a
change, and holds for any number of pages that share one stream.
"""

from __future__ import annotations

import time

from gateway.hub import Point, Source
from gateway.web.blocks import Blocks, State

_DOUBTED: State = ()
"""Pages know different things of it: no state is equal to it."""


class Known:
    """Of all who watch one page's gateway."""

    def __init__(self) -> None:
        self.blocks = Blocks()
        self.told: dict[Point, State] = {}
        self.changed: dict[Point, int] = {}
        """To be told, the longest waiting first; when what was told before was still right, in ms, as its block's good
        reads tell it; 0: never."""
        self.right: dict[Source, int] = {}
        """The good read of each block that all tags are told of, or wait in `changed`."""
        self.rows: set[tuple[str, str]] = set()
        """Links and devices that a snapshot gave: they may be gone before the stream hears of them."""
        self._is_watched = False
        self._given: set[str] = set()
        self._put_s: dict[str, float] = {}

    def watch(self) -> None:
        """Somebody does from now on."""
        self._is_watched = True

    def forget(self) -> None:
        """Nobody watches any more."""
        self._is_watched = False
        self.blocks.clear()
        for known in (self.told, self.changed, self.right, self.rows, self._given, self._put_s):
            known.clear()

    # -- snapshots ---------------------------------------------------------------------------------------------------

    def gave(self, point: Point, state: State) -> None:
        """A snapshot did. The point is one of those that there are."""
        if self._is_watched and self.told.setdefault(point, state) != state:
            self.doubt(point)

    def gave_row(self, kind: str, name: str) -> None:
        if self._is_watched:
            self.rows.add((kind, name))

    def was_given(self, topic: str) -> None:
        """Somebody has a snapshot of it now."""
        if self._is_watched:
            self._given.add(topic)

    def is_behind(self, topic: str, begun_s: float) -> bool:
        """Whether what was told since then may be lost for who asks for it only now: he heard it, and what a snapshot
        that is older says goes on top."""
        return self._put_s.get(topic, 0.0) >= begun_s

    # -- the stream --------------------------------------------------------------------------------------------------

    def doubt(self, point: Point) -> None:
        """Tell it, whatever it is."""
        self.told[point] = _DOUBTED
        self.changed.setdefault(point, self.right.get(point.source, 0))

    def take_given(self, topic: str) -> bool:
        """Whether somebody got a snapshot of it since the last time: tell all of it. To be asked before it is made."""
        if topic not in self._given:
            return False
        self._given.remove(topic)
        return True

    def was_put(self, topic: str) -> None:
        """A set of it is with those who watch."""
        self._put_s[topic] = time.monotonic()
