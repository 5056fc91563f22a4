"""The other end of writes: a device by the book that records what it is asked, and who brings writes to it.

Nothing of the code under test is in the device: lists of numbers, one function after the other (V1.1b3 6).
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from gateway.errors import LinkError
from gateway.interfaces import Write

SIZE = 1000


class BookDevice:
    """Coils and holding registers 0..999, all zero."""

    def __init__(self) -> None:
        self.coils = [0] * SIZE
        self.holding = [0] * SIZE
        self.asked: list[bytes] = []
        self.refuses: dict[int, int] = {}
        """Exception codes by function."""

    def take(self) -> list[str]:
        """What it was asked since the last call, as hex."""
        asked = [pdu.hex() for pdu in self.asked]
        self.asked.clear()
        return asked

    def answer(self, pdu: bytes) -> bytes:
        self.asked.append(pdu)
        function, data = pdu[0], pdu[1:]
        if function in self.refuses:
            return bytes((function | 0x80, self.refuses[function]))
        if function == 3:
            first, count = struct.unpack(">HH", data)
            values = self.holding[first : first + count]
            return bytes((3, 2 * count)) + struct.pack(f">{count}H", *values)
        if function == 5:
            address, value = struct.unpack(">HH", data)
            assert value in (0, 0xFF00)
            self.coils[address] = value >> 15
        elif function == 6:
            address, value = struct.unpack(">HH", data)
            self.holding[address] = value
        elif function == 15:
            first, count, size = struct.unpack(">HHB", data[:5])
            assert 1 <= count <= 1968
            assert size == len(data) - 5 == (count + 7) // 8
            self.coils[first : first + count] = [data[5 + i // 8] >> i % 8 & 1 for i in range(count)]
        elif function == 16:
            first, count, size = struct.unpack(">HHB", data[:5])
            assert 1 <= count <= 123
            assert size == len(data) - 5 == 2 * count
            self.holding[first : first + count] = struct.unpack(f">{count}H", data[5:])
        else:
            assert function == 22
            address, and_mask, or_mask = struct.unpack(">HHH", data)
            self.holding[address] = (self.holding[address] & and_mask) | (or_mask & ~and_mask & 0xFFFF)
        assert len(self.coils) == len(self.holding) == SIZE, "a write beyond the end"
        return pdu if function in (5, 6, 22) else pdu[:5]


class Bringer:
    """Brings writes to a device: at once, or when told to (`waits`)."""

    def __init__(self, device: BookDevice) -> None:
        self.device = device
        self.waits = False
        self.fails: LinkError | None = None
        self.waiting: list[Write] = []
        self.on_written: Callable[[bytes], None] | None = None
        """Called with each request that the device has accepted, before the write is done."""

    def __call__(self, write: Write) -> None:
        if self.waits:
            self.waiting.append(write)
        else:
            self._bring(write)

    def run(self) -> None:
        """What waits now is brought."""
        waiting, self.waiting = self.waiting, []
        for write in waiting:
            self._bring(write)

    def _bring(self, write: Write) -> None:
        if self.fails is not None:
            write.done(None, self.fails)
            return
        steps = write.steps()
        request = next(steps)
        while True:
            answer = self.device.answer(request)
            if not answer[0] & 0x80 and request[0] > 4 and self.on_written is not None:
                self.on_written(request)
            try:
                request = steps.send(answer)
            except StopIteration as end:
                write.done(end.value, None)
                return
