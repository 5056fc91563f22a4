"""What the page asks of the running gateway: one object, of which it knows no more than this."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Iterator
from typing import Any, Protocol

from gateway.front.gate import Origin
from gateway.hub import Point, Subscription

Row = dict[str, Any]
"""Plain JSON values; the value of a key may be an iterator, for a list that is made an item at a time."""


class Views(Protocol):
    """What is asked; AskError when it cannot be answered. Iterators walk over copies: they may be left half way, and
    taken up later."""

    @property
    def name(self) -> str:
        """Of this gateway, for people."""
        ...

    @property
    def version(self) -> str: ...

    @property
    def boot(self) -> str:
        """Another one: the gateway was started anew, and counts from the beginning."""
        ...

    @property
    def is_ready(self) -> bool:
        """Its listeners are open, and it is not about to end."""
        ...

    # -- the gateway, its links and devices ------------------------------------------------------------------------

    def gateway(self) -> Row: ...

    def status(self) -> Row:
        """As `gateway status --json`."""
        ...

    def states(self) -> Iterator[tuple[str, str, object]]:
        """("links" or "devices", name, what is another when its state is), of all; cheap."""
        ...

    def row(self, kind: str, name: str) -> Row | None:
        """One of the rows of `status`; None: it is gone."""
        ...

    def look_for_trouble(self, links: Iterable[Row], devices: Iterable[Row], gateway: Row) -> Iterator[Row | None]:
        """What is wrong according to these rows: {"whose", "text", "more", "device", "link"}. None between them: a good
        moment for others to have their turn."""
        ...

    def device(self, name: str) -> Row: ...

    # -- tags --------------------------------------------------------------------------------------------------------

    @property
    def generation(self) -> int:
        """Another one: there are other tags, or what is fixed about them is another."""
        ...

    def subscribe(self) -> Subscription: ...

    def points(self) -> list[Point]:
        """All of them."""
        ...

    def tags(self) -> Iterator[Row]:
        """What does not change while `generation` stands still."""
        ...

    def trends(self, names: Iterable[str], from_ms: int | None, to_ms: int | None, points: int) -> Iterator[Row]: ...

    def write_tag(self, origin: Origin, device: str, tag: str, value: Any) -> Awaitable[Row]: ...

    def refuse_write(self, origin: Origin, device: str, tag: str, value: Any, why: str) -> None:
        """For the audit: somebody wants to, and is not let."""
        ...

    # -- the rest ----------------------------------------------------------------------------------------------------

    def units(self) -> Iterator[Row]: ...

    def registers(self, origin: Origin, unit: int, table: str, first: int, count: int) -> Row: ...

    def clients(self) -> Iterator[Row]: ...

    def client_counters(self) -> Row: ...

    def events(self, after: int = 0) -> Row: ...

    @property
    def last_event(self) -> int: ...

    def metrics(self, *, tags: bool) -> Iterator[str]:
        """The text for Prometheus in parts; some are empty."""
        ...
