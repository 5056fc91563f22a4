"""Function 24: queues in holding registers (V1.1b3 6.18), and who fills them.

A queue is a register that counts and the registers behind it, oldest first; they can be read with 03, too. One without
a source is filled by clients, as any registers. One with a source takes each new value of another register, whoever
writes that, and gives the oldest away when it is full; clients may do one thing to it, write 0 to the count (06, or 16
of one register), which empties it. Function 24 itself takes nothing away: its answer may be lost.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.bank import Bank
from gateway.errors import Refused
from gateway.modbus import spec
from gateway.modbus.spec import Table

_REGISTER_SIZE = 2


class Queues:
    """Answers for the queues of one unit."""

    def __init__(self, bank: Bank, sizes: Mapping[int, int]) -> None:
        """`sizes`: the most registers of each queue, by the address that counts them."""
        self._bank = bank
        self._sizes = sizes

    def answer(self, pdu: bytes) -> bytes:
        """Function 24: two bytes of size, the count, the registers. A count beyond the queue is refused with 03."""
        if len(pdu) != 3:
            raise Refused(spec.ILLEGAL_VALUE)
        pointer = pdu[1] << 8 | pdu[2]
        size = self._sizes.get(pointer)
        if size is None:
            raise Refused(spec.ILLEGAL_ADDRESS)
        count = int.from_bytes(self._bank.read(Table.HOLDING, pointer, 1), "big")
        if count > min(size, spec.MAX_QUEUED):
            raise Refused(spec.ILLEGAL_VALUE)
        data = self._bank.read(Table.HOLDING, pointer, 1 + count)
        return pdu[:1] + len(data).to_bytes(2, "big") + data


class Queue:
    """One that takes each new value of a register; both exist, and what it lies in is claimed."""

    def __init__(self, bank: Bank, pointer: int, size: int, source: Bank, table: Table, address: int) -> None:
        self._bank = bank
        self._pointer = pointer
        self._size = size
        self._source = source
        self._table = table
        self._address = address
        self._last: bytes | None = None
        """What the source was when it was looked at last; None: it had no value."""

    def begin(self) -> None:
        """Empty, whatever there was; what the source is now is no news."""
        self.empty()
        spans = self._source.spans_in(self._table, self._address, 1)
        self._last = None if any(span.stale for span in spans) else self._look()

    def empty(self) -> None:
        """Take everything out."""
        self._bank.overwrite(Table.HOLDING, self._pointer, bytes(_REGISTER_SIZE * (1 + self._size)))

    def placed(self, table: Table, first: int, count: int) -> None:
        """These registers of the source's unit were written."""
        if table is not self._table or not first <= self._address < first + count:
            return
        value = self._look()
        if value != self._last:
            self._last = value
            self._take(value)

    def _look(self) -> bytes:
        return self._source.get(self._table, self._address, 1)

    def _take(self, value: bytes) -> None:
        registers = self._bank.get(Table.HOLDING, self._pointer, 1 + self._size)
        count = int.from_bytes(registers[:_REGISTER_SIZE], "big")
        queued = registers[_REGISTER_SIZE : _REGISTER_SIZE * (1 + count)] + value
        queued = queued[-_REGISTER_SIZE * self._size :]
        count = len(queued) // _REGISTER_SIZE
        self._bank.overwrite(Table.HOLDING, self._pointer, count.to_bytes(_REGISTER_SIZE, "big") + queued)
