"""The latest sample of every tag, by device and name, and who wants to hear of changes.

A point is written by the job that reads its tag and read by whoever shows values. Its time is its block's: the last
good read, also when the value did not change.

The rule of subscriptions: a change costs whoever makes it one entry in a set, however many changes there are and
however slow the subscriber is; what he takes is which points changed, not what they were in between. A point that is
read again with the same value has not changed, though its time has.
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


class Subscription:
    """Which points have changed since the last `take`; at most as many as there are."""

    __slots__ = ("_hub", "changed")

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.changed: set[Point] = set()

    def take(self) -> set[Point]:
        """Those whose value, quality or cause is another than at the last `take`, or may be. Points that are no more
        are not in it; `Hub.generation` tells that there are others."""
        changed, self.changed = self.changed, set()
        return changed

    def close(self) -> None:
        """Nothing more. Harmless when it is closed."""
        self._hub.unsubscribe(self)


class Point:
    """One tag's latest value. `cause` is the tag's own trouble (a sentinel, a value that does not fit), `doubt` why a
    value that was read may not be what was meant (a write that the device did not take); else empty."""

    __slots__ = ("_subscriptions", "cause", "changes", "device", "doubt", "index", "source", "tag", "value")

    def __init__(self, source: Source, device: str, tag: str, index: int, subscriptions: list[Subscription]) -> None:
        """`subscriptions`: the hub's own list."""
        self.source = source
        """Another one when the tag moves to another block."""
        self.device = device
        self.tag = tag
        self.index = index
        """Its own while the tag lives; small, and given to another tag afterwards."""
        self.value: Value | None = None
        self.cause = ""
        self.doubt = ""
        self.changes = 0
        """Values it had."""
        self._subscriptions = subscriptions

    def touch(self) -> None:
        """Its value, quality or cause is another."""
        for subscription in self._subscriptions:
            subscription.changed.add(self)

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
        self.generation = 0
        """Another one: points came or went, and indexes may mean others."""
        self._subscriptions: list[Subscription] = []
        self._next_index = 0
        self._free: list[int] = []
        """Indexes of points that are no more."""

    def point(self, device: str, tag: str, source: Source) -> Point:
        """Make (or replace) a tag's point. The one that replaces another has its index."""
        tags = self.points.setdefault(device, {})
        before = tags.get(tag)
        if before is not None:
            index = before.index
            self._drop(before)
        elif self._free:
            index = self._free.pop()
        else:
            index = self._next_index
            self._next_index += 1
        point = tags[tag] = Point(source, device, tag, index, self._subscriptions)
        self.generation += 1
        return point

    def remove(self, device: str, tag: str, point: Point) -> None:
        """The tag is not read any more. A point that has replaced this one stays."""
        tags = self.points.get(device)
        if tags is None or tags.get(tag) is not point:
            return
        del tags[tag]
        if not tags:
            del self.points[device]
        self._free.append(point.index)
        self._drop(point)
        self.generation += 1

    def sample(self, device: str, tag: str) -> Sample:
        """KeyError when there is no such tag."""
        return self.points[device][tag].sample()

    def subscribe(self) -> Subscription:
        """Hear of changes from now on. Whoever subscribes closes it."""
        subscription = Subscription(self)
        self._subscriptions.append(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    def _drop(self, point: Point) -> None:
        for subscription in self._subscriptions:
            subscription.changed.discard(point)
