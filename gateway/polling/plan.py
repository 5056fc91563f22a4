"""Tags and polls of one device -> the fewest read requests. Pure: values in, values out.

Tags with the same table and interval share blocks. Sorted by address, a block grows while the gap to the next tag is
at most `max_gap` and the block stays within the device's limit; a value is never split. That is the fewest requests
there are for those rules: a block that ends as late as it can never needs one more. Every request costs the same from
1 to 125 registers (a round trip), so registers nobody asked for are cheaper than a request.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gateway.modbus import spec
from gateway.modbus.spec import Table
from gateway.values import Tag

BITS_PER_REGISTER = 16
"""A gap in a bit table may be that much longer: a byte on the wire is a byte."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a device allows in one request, and what may be read though nobody asked."""

    max_registers: int = spec.MAX_READ_REGISTERS
    max_bits: int = spec.MAX_READ_BITS
    max_gap: int = 16

    def most(self, table: Table) -> int:
        return self.max_bits if table.is_bits else self.max_registers

    def gap(self, table: Table) -> int:
        return self.max_gap * BITS_PER_REGISTER if table.is_bits else self.max_gap


@dataclass(frozen=True, slots=True)
class Block:
    """One read request of the device: `count` registers or bits from `first`, every `every_s`."""

    table: Table
    first: int
    count: int
    every_s: float
    tags: tuple[Tag, ...] = field(default=())
    """In order of their addresses; none in a raw block."""


def plan_tags(tags: Iterable[tuple[Tag, float]], limits: Limits) -> list[Block]:
    """Blocks for (tag, interval in seconds), in order of table, interval, address."""
    groups: dict[tuple[Table, float], list[Tag]] = {}
    for tag, every_s in tags:
        groups.setdefault((tag.table, every_s), []).append(tag)
    blocks = []
    for (table, every_s), group in sorted(groups.items(), key=lambda item: item[0]):
        group.sort(key=lambda tag: (tag.first, tag.stop))
        for members in _split(group, limits.most(table), limits.gap(table)):
            first = members[0].first
            stop = max(tag.stop for tag in members)
            blocks.append(Block(table, first, stop - first, every_s, tuple(members)))
    return blocks


def _split(tags: Sequence[Tag], most: int, max_gap: int) -> Iterable[list[Tag]]:
    """Runs of tags that one request can carry; `tags` sorted by address."""
    members: list[Tag] = []
    stop = 0
    for tag in tags:
        if members and (tag.first - stop > max_gap or max(stop, tag.stop) - members[0].first > most):
            yield members
            members = []
        stop = max(stop, tag.stop) if members else tag.stop
        members.append(tag)
    if members:
        yield members


def plan_poll(table: Table, first: int, count: int, every_s: float, limits: Limits) -> list[Block]:
    """A raw range as blocks of at most the device's limit, in order."""
    most = limits.most(table)
    return [
        Block(table, start, min(most, first + count - start), every_s) for start in range(first, first + count, most)
    ]
