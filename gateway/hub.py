"""The latest sample of every tag, by device and name.

A point is written by the job that reads its tag and read by whoever shows values. Its time is its block's: the last
good read, also when the value did not change. Subscriptions come with the first publisher.
"""

from __future__ import annotations

from typing import Protocol

from gateway.values import Quality, Sample, Value


class Source(Protocol):
    """What a block tells about all its points."""

    good_time_ns: int
    """UTC of the last good read; 0 before it."""

    def trouble(self) -> tuple[Quality, str]:
        """The quality that the block gives its points, and why."""
        ...


class Point:
    """One tag's latest value. `cause` is the tag's own trouble (a sentinel, a value that does not fit), `doubt` why a
    value that was read may not be what was meant (a write that the device did not take); else empty."""

    __slots__ = ("cause", "changes", "doubt", "source", "value")

    def __init__(self, source: Source) -> None:
        self.source = source
        """Another one when the tag moves to another block."""
        self.value: Value | None = None
        self.cause = ""
        self.doubt = ""
        self.changes = 0

    def sample(self) -> Sample:
        quality, cause = self.source.trouble()
        if self.cause and quality is not Quality.BAD:
            quality, cause = Quality.BAD, self.cause
        elif self.doubt and quality is Quality.GOOD:
            quality, cause = Quality.UNCERTAIN, self.doubt
        return Sample(self.value, quality, self.source.good_time_ns, cause)


class Hub:
    """All points: `points[device][tag]`."""

    def __init__(self) -> None:
        self.points: dict[str, dict[str, Point]] = {}

    def point(self, device: str, tag: str, source: Source) -> Point:
        """Make (or replace) a tag's point."""
        point = self.points.setdefault(device, {})[tag] = Point(source)
        return point

    def remove(self, device: str, tag: str, point: Point) -> None:
        """The tag is not read any more. A point that has replaced this one stays."""
        tags = self.points.get(device)
        if tags is None or tags.get(tag) is not point:
            return
        del tags[tag]
        if not tags:
            del self.points[device]

    def sample(self, device: str, tag: str) -> Sample:
        """KeyError when there is no such tag."""
        return self.points[device][tag].sample()
