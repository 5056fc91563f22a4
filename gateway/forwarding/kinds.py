"""What a function code asks of a device: a read that many may share, a read, or something that may change it. Pure.

What is not known to be a read counts as a write: it keeps its order with all writes to that unit and is never sent
twice. Vendors use the free codes for anything, and some of the public ones change a device although they look like
questions (08 restarts or silences it, 43/13 is CANopen).
"""

from __future__ import annotations

import enum
from collections.abc import Collection

from gateway.modbus import spec


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


READS = frozenset(spec.TABLE_BY_READ_FUNCTION)
ASKS = frozenset((0x07, 0x0B, 0x0C, spec.REPORT_SERVER_ID, 0x14, 0x18))
"""Exception status, event counter, event log, server id, file record, FIFO queue (V1.1b3 6.7, 6.9, 6.10, 6.13-18)."""
MANY = frozenset((spec.DIAGNOSTICS, spec.ENCAPSULATED_INTERFACE))
"""Codes with sub-functions of both kinds."""
HARMLESS_DIAGNOSTICS = frozenset((0x00, 0x02, *range(0x0B, 0x13)))
"""Echo, the diagnostic register, the counters (6.8.1)."""


def kinds(functions: Collection[int] | None, *, read_only: bool) -> bytes:
    """A Kind for every function code; `functions`: those that may pass, None: all of 1..127."""

    def kind(code: int) -> Kind:
        if not 0 < code < spec.EXCEPTION_BIT or (functions is not None and code not in functions):
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
    if pdu[0] == spec.DIAGNOSTICS:
        harmless = len(pdu) >= 3 and pdu[1] << 8 | pdu[2] in HARMLESS_DIAGNOSTICS
    else:
        harmless = len(pdu) >= 2 and pdu[1] == spec.READ_DEVICE_IDENTIFICATION
    if harmless:
        return Kind.ASK
    return Kind.REFUSE if read_only else Kind.WRITE
