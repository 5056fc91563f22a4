"""Who is examined and what is told of it: links, devices, the requests of their plan, findings. Plain data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.commission.checkup import Finding, Reading
from gateway.commission.exchange import Channel
from gateway.commission.parts import Item
from gateway.config.urls import DeviceUrl
from gateway.modbus.spec import Table

MAX_HINTS = 8
"""Of one kind and device; more are counted."""

Opener = Callable[[DeviceUrl], Callable[[], Channel]]
"""What opens a channel to a url; LinkDown says why there is none."""


class Read(NamedTuple):
    """One request of the plan."""

    table: Table
    first: int
    count: int  # type: ignore[assignment]  # tuple.count() is not missed
    items: tuple[Item, ...]
    """What must not be cut."""
    readings: tuple[Reading, ...] = ()

    def describe(self) -> str:
        return self.table.describe(self.first, self.count)


class Patient(NamedTuple):
    """One device, as the gateway would ask it."""

    name: str
    unit_id: int
    timeout_s: float
    retries: int
    max_registers: int
    max_bits: int
    accept: tuple[str, ...]
    reads: tuple[Read, ...]


class Way(NamedTuple):
    """A link and all devices on it."""

    key: str
    urls: tuple[DeviceUrl, ...]
    opener: Opener
    connect_delay_s: float
    delay_s: float
    patients: tuple[Patient, ...]


@dataclass(slots=True, eq=False)
class Report:
    """Of one device, or of a link without one."""

    name: str
    where: str
    unit_id: int | None
    findings: list[Finding] = field(default_factory=list)
    reads: list[dict[str, object]] = field(default_factory=list)
    """Each request of the plan: block, `good`, `parts`, `refused`, `silent` or `not asked`, ms."""
    values: int = 0
    """Tags that have a value."""
    tags: int = 0
    slowest_s: float = 0.0
    is_connected: bool = False
    """By one of its addresses at least."""

    @property
    def is_wrong(self) -> bool:
        return any(finding.level == "wrong" for finding in self.findings)

    def add(self, level: str, kind: str, text: str, change: str = "") -> None:
        """Hints of a kind are bounded; the last one tells how many more."""
        same = [finding for finding in self.findings if finding.kind == kind]
        if level == "hint" and len(same) >= MAX_HINTS:
            self.hidden[kind] = self.hidden.get(kind, 0) + 1
            return
        self.findings.append(Finding(level, kind, text, change))

    hidden: dict[str, int] = field(default_factory=dict)
    """Hints beyond MAX_HINTS, by kind."""
