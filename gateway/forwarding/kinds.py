"""What a function code asks of a device: a read that many may share, a read, or something that may change it. Pure.

What is not known to be a read counts as a write (`modbus.reach`): it keeps its order with all writes to that unit and
is never sent twice.
"""

from __future__ import annotations

import enum
from collections.abc import Collection

from gateway.modbus import spec
from gateway.modbus.reach import ASKS, BROADCASTS, MANY, READS, is_write


class Kind(enum.IntEnum):
    """How a request is passed on."""

    REFUSE = 0
    """Not at all: 01."""
    READ = 1
    """Identical ones in flight are asked once, and the answer may be kept."""
    ASK = 2
    """Harmless, but each is asked: its answer may differ from one time to the next (logs, counters, queues)."""
    WRITE = 3
    LOOK = 4
    """Its sub-function decides: `kind_of`."""


def kinds(functions: Collection[int] | None, *, read_only: bool, is_broadcast: bool = False) -> bytes:
    """A Kind for every function code; `functions`: those that may pass, None: all of 1..127.

    `is_broadcast`: to all units of a serial line, of which none answers: there is nothing to read.
    """

    def kind(code: int) -> Kind:
        if not 0 < code < spec.EXCEPTION_BIT or (functions is not None and code not in functions):
            return Kind.REFUSE
        if is_broadcast and code not in BROADCASTS:
            return Kind.REFUSE
        if code in READS:
            return Kind.READ
        if code in ASKS:
            return Kind.ASK
        if code in MANY:
            return Kind.LOOK
        return Kind.REFUSE if read_only else Kind.WRITE

    return bytes(map(kind, range(256)))


def kind_of(pdu: bytes, *, read_only: bool) -> Kind:
    """The kind of a request whose function code leaves it open."""
    if not is_write(pdu):
        return Kind.ASK
    return Kind.REFUSE if read_only else Kind.WRITE
