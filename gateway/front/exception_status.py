"""Function 07: eight bits that somebody reads first (V1.1b3 6.7). Eight of a unit's own, or else the gateway's state.

The gateway's bits, also the low byte of the diagnostic register (08/02):

    0  a device is down: not connected, or silent
    1  a device is stale: something of it is too old, or refused
    2  the last reload was refused; the configuration before it is running
    3  a bug was hit since the counters were cleared (08/0A)
    4  clients were turned away since the counters were cleared
    5  what must survive a restart could not be written to the disk, and was not since
    6  records of a file are lost (its snapshots were damaged)

Bit 7 is always 0. 1 is bad throughout: 00 is a gateway that has nothing to tell.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

from gateway.bank import Bank
from gateway.errors import Refused
from gateway.modbus import spec
from gateway.modbus.spec import Table

BITS = 8


class Trouble(enum.IntFlag):
    """The gateway's own bits."""

    DEVICE_DOWN = 1 << 0
    DEVICE_STALE = 1 << 1
    RELOAD_REFUSED = 1 << 2
    FAULT = 1 << 3
    CLIENTS_REFUSED = 1 << 4
    NOT_WRITTEN = 1 << 5
    RECORDS_LOST = 1 << 6


def exception_status(bits: Callable[[], int]) -> Callable[[bytes], bytes]:
    """Function 07 with these bits; what `bits()` refuses is refused."""

    def answer(pdu: bytes) -> bytes:
        if len(pdu) != 1:
            raise Refused(spec.ILLEGAL_VALUE)
        return bytes((spec.READ_EXCEPTION_STATUS, bits() & 0xFF))

    return answer


def bits_of(bank: Bank, table: Table, first: int) -> Callable[[], int]:
    """Eight bits of a register image: the lowest is at `first`; of a register, the low byte."""
    if table.is_bits:
        return lambda: bank.read(table, first, BITS)[0]
    return lambda: bank.read(table, first, 1)[1]
