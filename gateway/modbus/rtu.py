"""RTU framing (serial line guide 2.5.1; protocol digest 3.1, 3.4): address, PDU, CRC-16 with its low byte first.

RTU marks a frame by silence. Silence does not survive TCP, and no program sees 1.5 characters of it behind a USB
adapter, so frames are cut by length: every public function tells its own from its first bytes. Of a function that does
not, a frame is whole when what has come ends in its own CRC and nothing follows: a CRC that ends in 0
(one in 256) is right without that byte, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

from gateway.modbus import spec
from gateway.modbus.pdu import answer_head, expected, fault

MIN_SIZE: Final = 4
"""Bytes of the shortest frame: address, function code, CRC."""
MAX_SIZE: Final = 256
"""Of the longest (V1.1b3 4.1)."""


def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ 0xA001 if value & 1 else value >> 1
        table.append(value)
    return tuple(table)


_CRC = _crc_table()


def crc16(data: bytes, crc: int = 0xFFFF) -> int:
    """CRC-16/MODBUS: start FFFF, polynomial A001 reflected; of a frame with its CRC it is 0. `crc`: of what is before
    `data`."""
    for byte in data:
        crc = (crc >> 8) ^ _CRC[(crc ^ byte) & 0xFF]
    return crc


def crc_ends(data: bytes) -> list[int]:
    """The sizes, MIN_SIZE at least, at which what stands at the start ends in its own CRC."""
    crc = 0xFFFF
    ends = []
    for size, byte in enumerate(data, 1):
        crc = (crc >> 8) ^ _CRC[(crc ^ byte) & 0xFF]
        if not crc and size >= MIN_SIZE:
            ends.append(size)
    return ends


def pack(unit_id: int, pdu: bytes) -> bytes:
    """One frame, whole."""
    frame = bytes((unit_id,)) + pdu
    return frame + crc16(frame).to_bytes(2, "little")


def request_size(frame: bytes) -> int | None:
    """Bytes of the whole frame of a request (CRC included) that begins with these; 0: more must come; None: unknown."""
    if len(frame) < 2:
        return 0
    function = frame[1]
    size = _REQUEST_SIZES.get(function)
    if size is not None:
        return size + 3
    at = _REQUEST_COUNTS.get(function)
    if at is not None:
        return at + 1 + frame[at + 1] + 3 if len(frame) > at + 1 else 0
    if function == spec.ENCAPSULATED_INTERFACE:
        if len(frame) < 3:
            return 0
        return 4 + 3 if frame[2] == spec.READ_DEVICE_IDENTIFICATION else None
    return _diagnostics_size(frame) if function == spec.DIAGNOSTICS else None


def response_size(frame: bytes) -> int | None:
    """As `request_size`, of a response (protocol digest 1.9)."""
    if len(frame) < 2:
        return 0
    function = frame[1]
    if function & spec.EXCEPTION_BIT:
        return 2 + 3
    size = _RESPONSE_SIZES.get(function)
    if size is not None:
        return size + 3
    if function in _RESPONSE_COUNTS:
        return 2 + frame[2] + 3 if len(frame) > 2 else 0
    if function == spec.READ_FIFO_QUEUE:
        return 3 + int.from_bytes(frame[2:4], "big") + 3 if len(frame) > 3 else 0
    if function == spec.ENCAPSULATED_INTERFACE:
        if len(frame) < 3:
            return 0
        return _identification_size(frame) if frame[2] == spec.READ_DEVICE_IDENTIFICATION else None
    return _diagnostics_size(frame) if function == spec.DIAGNOSTICS else None


def _diagnostics_size(frame: bytes) -> int | None:
    """Of either, to function 08: sub-function 00 carries as much as the client likes, all others one word."""
    if len(frame) < 4:
        return 0
    return 5 + 3 if frame[2] or frame[3] else None


def _identification_size(frame: bytes) -> int:
    """Of an answer to 43/14: walk its objects."""
    if len(frame) < 8:
        return 0
    at = 8
    for _ in range(frame[7]):
        if len(frame) < at + 2:
            return 0
        at += 2 + frame[at + 1]
    return at + 2


_REQUEST_SIZES = {
    **dict.fromkeys(range(1, 7), 5),
    spec.READ_EXCEPTION_STATUS: 1,
    spec.GET_EVENT_COUNTER: 1,
    spec.GET_EVENT_LOG: 1,
    spec.REPORT_SERVER_ID: 1,
    spec.MASK_WRITE_REGISTER: 7,
    spec.READ_FIFO_QUEUE: 3,
}
"""PDU sizes."""
_REQUEST_COUNTS = {
    spec.WRITE_MULTIPLE_COILS: 5,
    spec.WRITE_MULTIPLE_REGISTERS: 5,
    spec.READ_FILE_RECORD: 1,
    spec.WRITE_FILE_RECORD: 1,
    spec.READ_WRITE_MULTIPLE_REGISTERS: 9,
}
"""Where in the PDU the count of the bytes behind it stands."""
_RESPONSE_SIZES = {
    spec.WRITE_SINGLE_COIL: 5,
    spec.WRITE_SINGLE_REGISTER: 5,
    spec.READ_EXCEPTION_STATUS: 2,
    spec.GET_EVENT_COUNTER: 5,
    spec.WRITE_MULTIPLE_COILS: 5,
    spec.WRITE_MULTIPLE_REGISTERS: 5,
    spec.MASK_WRITE_REGISTER: 7,
}
_RESPONSE_COUNTS = frozenset(
    (
        *range(1, 5),
        spec.GET_EVENT_LOG,
        spec.REPORT_SERVER_ID,
        spec.READ_FILE_RECORD,
        spec.WRITE_FILE_RECORD,
        spec.READ_WRITE_MULTIPLE_REGISTERS,
    )
)


class _Start:
    """A byte that may be the first of the answer."""

    __slots__ = ("at", "crc", "is_counted", "summed")

    def __init__(self, at: int) -> None:
        self.at = at
        """So many bytes came between the request and it."""
        self.is_counted = False
        """Its head is all there, and right."""
        self.crc = 0xFFFF
        """Of as many bytes from there on as `summed` says; used when nothing tells its size."""
        self.summed = 0


_NOT_YET: Final = 0
_NEVER: Final = -1


class AnswerReceiver:
    """Cuts the answer to one request at a time out of whatever a line brings, however it is split.

    Noise may stand before the answer, so each byte may be its first; but nothing is an answer that does not begin as
    one to this request must (function and byte count, or the echo), has not its length and not the right CRC. What
    begins as one of the unit that was asked hides what stands behind its first byte until it is whole: data may look
    like a frame, too.

    Noise may be made to cost time, so each byte is in the sums of MAX_STARTS starts of either kind at most, once each,
    and after MAX_NOISE bytes nothing is looked at until the next request: a millisecond or two for 1,000 bytes.
    """

    __slots__ = (
        "_data",
        "_gone",
        "_heads",
        "_is_noisy",
        "_looked",
        "_recent",
        "_request",
        "_starts",
        "_unit_id",
        "came",
        "is_open",
        "noise",
    )

    def __init__(self) -> None:
        self.noise = 0
        """Requests for which something came that is no answer, or has a wrong CRC."""
        self.came = 0
        """Bytes since the request."""
        self.is_open = False
        """What came is an answer if nothing follows: take it when there was silence."""
        self._data = b""
        self._gone = 0
        """Bytes that came before `_data`."""
        self._looked = 0
        """So many bytes were tried as the first one."""
        self._starts: list[_Start] = []
        """Those of them that may still be it, in order."""
        self._recent: tuple[deque[int], deque[int]] = (deque(maxlen=MAX_STARTS), deque(maxlen=MAX_STARTS))
        """Where the last ones were that began as an answer of another unit, and of the one that was asked."""
        self._unit_id = 0
        self._request = b""
        self._heads: tuple[bytes, bytes] = (b"", b"")
        """What the PDU of an answer begins with, and that of an exception response."""
        self._is_noisy = False

    def expect(self, unit_id: int, pdu: bytes) -> None:
        """The next answer is to this request; what came before is dropped."""
        self.clear()
        self.came = self._gone = self._looked = 0
        self._forget()
        self._is_noisy = False
        self._unit_id, self._request = unit_id, pdu
        self._heads = (answer_head(pdu), bytes((pdu[0] | spec.EXCEPTION_BIT,)))

    def clear(self) -> None:
        """Drop what came and was not taken."""
        if self._data:
            self._drop(len(self._data))
            self._forget()

    def feed(self, data: bytes) -> None:
        """Bytes as they come; take what they make whole before the next are fed."""
        self.came += len(data)
        self._data += data
        if self.came > MAX_NOISE:
            self.clear()

    def take(self, *, is_silent: bool = False) -> tuple[int, bytes] | None:
        """Unit id and PDU of the next frame that may be the answer, also one of another unit; None: not yet.

        `is_silent`: nothing came for a while.
        """
        self.is_open = False
        undecided: list[_Start] = []
        for start in self._candidates():
            size = self._size_at(start, is_silent=is_silent)
            at = start.at - self._gone
            if size == _NOT_YET:
                undecided.append(start)
                if self._data[at] == self._unit_id:
                    break
            elif size != _NEVER:
                frame = self._data[at : at + size]
                self._drop(at)
                self._data = self._data[size:]
                self._gone += size
                self._forget()
                return frame[0], frame[1:-2]
        self._starts = undecided
        self._drop(undecided[0].at - self._gone if undecided else len(self._data))
        return None

    def _candidates(self) -> Iterator[_Start]:
        """Bytes that were not decided, and behind them those that were not looked at."""
        yield from self._starts
        while (at := self._looked - self._gone) < len(self._data):
            self._looked += 1
            function = self._data[at + 1 : at + 2]
            if self._heads[0].startswith(function) or self._heads[1].startswith(function):
                yield _Start(self._gone + at)

    def _size_at(self, start: _Start, *, is_silent: bool) -> int:
        """Size of the answer that begins there and is whole; _NOT_YET, or _NEVER when none does."""
        at = start.at - self._gone
        frame = self._data[at : at + MAX_SIZE]
        if not start.is_counted:
            for head in self._heads:
                have = frame[1 : 1 + len(head)]
                if head.startswith(have):
                    if len(have) < len(head):
                        return _NOT_YET
                    break
            else:
                return _NEVER
            start.is_counted = True
            recent = self._recent[frame[0] == self._unit_id]
            if len(recent) == MAX_STARTS and recent[0] > start.at - MAX_SIZE:
                return _NEVER
            recent.append(start.at)
        function = frame[1]
        size = len(self._request) + 3 if function == spec.DIAGNOSTICS else response_size(frame)
        if size is None or (not size and function == spec.ENCAPSULATED_INTERFACE):
            # Nobody can say; or its count is one of all objects, not of those in this answer (V1.1b3 6.21, example).
            return self._open_size(start, frame, is_silent=is_silent)
        if size > MAX_SIZE:
            return _NEVER
        if not size or size > len(frame):
            return _NOT_YET
        frame = frame[:size]
        return _NEVER if crc16(frame) or fault(self._request, frame[1:-2]) is not None else size

    def _open_size(self, start: _Start, frame: bytes, *, is_silent: bool) -> int:
        """As `_size_at`, of an answer that only its own CRC and silence end."""
        if len(self._data) - (start.at - self._gone) > MAX_SIZE:
            return _NEVER
        start.crc = crc16(frame[start.summed :], start.crc)
        start.summed = len(frame)
        if start.crc or len(frame) < MIN_SIZE or fault(self._request, frame[1:-2]) is not None:
            return _NOT_YET
        self.is_open = True
        return len(frame) if is_silent else _NOT_YET

    def _drop(self, count: int) -> None:
        if count:
            self._data = self._data[count:]
            self._gone += count
            self.noise += not self._is_noisy
            self._is_noisy = True

    def _forget(self) -> None:
        """None of the bytes that were looked at is a start any more."""
        self._starts = []
        self._looked = self._gone
        for recent in self._recent:
            recent.clear()


MAX_NOISE: Final = 4096
"""Bytes in which the answer to one request is looked for: a second of other people's traffic at 38400 baud."""
MAX_STARTS: Final = 8
"""Of MAX_SIZE bytes, so many may begin as an answer of the unit that was asked does, and as many as one of another;
further ones are noise. By chance 2 of 256 bytes do the latter at most, and 2 of 65536 the former."""


def answer_size(request: bytes) -> int:
    """Bytes of the longest frame that a good answer to this request may be."""
    _, size = expected(request)
    if size:
        return size + 3
    function = request[0]
    if function in _RESPONSE_SIZES:
        return _RESPONSE_SIZES[function] + 3
    if function in (spec.DIAGNOSTICS, spec.WRITE_FILE_RECORD):
        return len(request) + 3
    if function == spec.READ_WRITE_MULTIPLE_REGISTERS and len(request) > 4:
        return min(MAX_SIZE, 2 * request[4] + 5)
    return MAX_SIZE
