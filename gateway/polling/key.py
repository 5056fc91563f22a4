"""What makes a polled block what it is, as one comparable value: at a reload, the same key means that it lives on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.places import Placement
from gateway.polling.plan import Block


@dataclass(frozen=True, slots=True)
class PlannedBlock:
    """A block and where it goes: the whole of it (raw), or each of its tags (None: not served)."""

    block: Block
    raw: Placement | None
    tags: tuple[Placement | None, ...] = ()

    def placements(self) -> Iterator[Placement]:
        if self.raw is not None:
            yield self.raw
        yield from (placement for placement in self.tags if placement is not None)


@dataclass(frozen=True, slots=True)
class JobKey:
    """One planned block of one device with all that decides how it is read and placed. Hashable, equal by value."""

    device: str
    link: str
    """The key of its link."""
    plan: PlannedBlock
    as_: tuple[str | None, ...]
    """Of each tag of the block: its type in the image."""
    unit_id: int
    timeout_s: float
    retries: int
    quirks: frozenset[str]
    stale_s: float
    on_stale: str
