"""Requests on a way without MBAP: any bytes in, the requests among them out (serial line guide 2.5; digest 3.1, 3.5).

On a shared line a server hears everything: requests to others and their answers, too. So what stands at the start is
tried as a request, then as a response, each as long as its function says, and its check sum decides. Where a function
tells no length a frame ends where its own CRC does, when nothing follows or what follows is a frame again: that a CRC
is right somewhere in the middle happens, at 1 in 65536 places.

The rule: a receiver never searches for a frame inside of what it cannot read. RTU begins anew after silence, which only
a serial line has; ASCII at the next colon. What is dropped is counted in `errors`; over TCP, which loses nothing, one
error means that the other end speaks something else.
"""

from __future__ import annotations

from typing import Final, Protocol

from gateway.modbus import ascii, rtu, spec

Frame = tuple[int, bytes]
"""Unit id, PDU."""

MAX_FEED_SIZE: Final = 1024
"""Bytes to feed at once: so many are cut within a few milliseconds whatever they are."""

_DELIMITERS: Final = frozenset(range(0x80)) - frozenset(b":\r0123456789ABCDEFabcdef")
"""What may stand for LF: nothing that a frame has inside, or that 7 data bits do not carry."""
_BETWEEN: Final = b"\r\n\t \0"
"""What may stand between ASCII frames and means nothing."""


class Requests(Protocol):
    """Cuts what comes on a line into requests."""

    errors: int
    """Times that something was no frame, since the start."""
    heard: int
    """Whole frames, whoever they were for or from."""

    @property
    def is_waiting(self) -> bool:
        """Silence would end something: half a frame, or what cannot be one."""
        ...

    def feed(self, data: bytes, *, after_silence: bool = False) -> list[Frame]:
        """The requests that are whole now, oldest first, whichever unit they are for.

        `after_silence`: before these bytes the line was quiet for longer than it is within a frame.
        """
        ...

    def silence(self) -> list[Frame]:
        """Nothing came for so long that what is not whole never will be: the requests in it."""
        ...

    def pack(self, unit_id: int, pdu: bytes) -> bytes:
        """An answer, whole."""
        ...


class RtuRequests:
    """Of an RTU line. Keeps at most two frames' worth of bytes beyond what it is fed."""

    __slots__ = ("_is_lost", "_rest", "errors", "heard")

    def __init__(self) -> None:
        self.errors = 0
        self.heard = 0
        self._rest = b""
        self._is_lost = False
        """What came was no frame: nothing is read until there was silence."""

    @property
    def is_waiting(self) -> bool:
        return bool(self._rest) or self._is_lost

    def feed(self, data: bytes, *, after_silence: bool = False) -> list[Frame]:
        if self._is_lost:
            if not after_silence:
                return []
            self._is_lost = False
        rest, self._rest = self._rest, b""
        cut = _Cut(rest + data)
        if rest and after_silence and not cut.at:
            # Either the second half of a frame that came late, or a frame after noise: what is whole, or can be, wins.
            alone = _Cut(data)
            if not cut.may_grow or alone.at == len(data):
                self.errors += 1
                cut = alone
        self.heard += cut.heard
        if cut.may_grow:
            self._rest = cut.data[cut.at :]
        else:
            self.errors += 1
            self._is_lost = True
        return cut.requests

    def silence(self) -> list[Frame]:
        self._is_lost = False
        rest, self._rest = self._rest, b""
        if not rest:
            return []
        cut = _Cut(rest, is_over=True)
        self.heard += cut.heard
        self.errors += cut.at < len(rest)
        return cut.requests

    def pack(self, unit_id: int, pdu: bytes) -> bytes:
        return rtu.pack(unit_id, pdu)


class AsciiRequests:
    """Of an ASCII line; other units' answers look like requests to them. Keeps at most one frame's worth of bytes."""

    __slots__ = ("_answers_with", "_rest", "delimiter", "errors", "heard")

    def __init__(self) -> None:
        self.errors = 0
        self.heard = 0
        self.delimiter = b"\n"
        """The character behind CR; function 08 sub-function 03 changes it (V1.1b3 6.8)."""
        self._answers_with = b"\n"
        self._rest = b""
        """From a colon on, without an end."""

    @property
    def is_waiting(self) -> bool:
        return bool(self._rest)

    def change_delimiter(self, delimiter: int) -> bool:
        """From the next request on, and from the answer after the next; False: this cannot be one."""
        if delimiter not in _DELIMITERS:
            return False
        self.delimiter = bytes((delimiter,))
        return True

    def restore_delimiter(self) -> None:
        """LF again, as `change_delimiter`."""
        self.delimiter = b"\n"

    def feed(self, data: bytes, *, after_silence: bool = False) -> list[Frame]:
        end = b"\r" + self.delimiter
        between = _BETWEEN + self.delimiter
        data, self._rest = self._rest + data, b""
        frames: list[Frame] = []
        while True:
            noise, colon, data = data.partition(ascii.START)
            self.errors += bool(noise.strip(between))
            if not colon:
                return frames
            stop = data.find(end)
            again = data.find(ascii.START, 0, stop if stop >= 0 else None)
            if again >= 0:  # a frame begins wherever its colon stands
                self.errors += 1
                data = data[again:]
                continue
            if stop < 0:
                if len(data) < ascii.MAX_SIZE:
                    self._rest = ascii.START + data
                else:
                    self.errors += 1
                return frames
            frame = ascii.unpack(data[:stop]) if stop <= ascii.MAX_SIZE - 3 else None
            data = data[stop + len(end) :]
            if frame is None:
                self.errors += 1
            else:
                self.heard += 1
                frames.append(frame)

    def silence(self) -> list[Frame]:
        self.errors += bool(self._rest)
        self._rest = b""
        return []

    def pack(self, unit_id: int, pdu: bytes) -> bytes:
        frame = ascii.pack(unit_id, pdu, self._answers_with)
        self._answers_with = self.delimiter
        return frame


def requests_of(framing: str) -> Requests:
    """A receiver for `rtu` or `ascii`."""
    return AsciiRequests() if framing == "ascii" else RtuRequests()


class _Cut:
    """The whole frames at the start of `data`."""

    __slots__ = ("at", "data", "heard", "may_grow", "requests")

    def __init__(self, data: bytes, *, is_over: bool = False) -> None:
        self.data = data
        self.at = 0
        """Where they end."""
        self.heard = 0
        self.requests: list[Frame] = []
        self.may_grow = True
        """What follows, if anything, may be the beginning of a frame."""
        while self.at < len(data):
            size, is_request = _first(data[self.at : self.at + 2 * rtu.MAX_SIZE], is_over=is_over)
            if size <= 0:
                self.may_grow = not size
                break
            if is_request:
                self.requests.append((data[self.at], data[self.at + 1 : self.at + size - 2]))
            self.heard += 1
            self.at += size


def _first(data: bytes, *, is_over: bool) -> tuple[int, bool]:
    """Size of the frame at the start, and whether it is a request; 0: it may not be whole yet; -1: there is none."""
    head = data[: rtu.MAX_SIZE]
    known = _by_length(head)
    if known is not None:
        return known
    ends = rtu.crc_ends(head)
    if not ends:
        return (0 if len(head) < rtu.MAX_SIZE else -1), False
    if ends[-1] == len(data):
        return ends[-1], True
    for end in ends:
        if _is_frame(data[end:]):
            return end, True
    return (ends[0] if is_over or len(data) > rtu.MAX_SIZE else 0), True


def _is_frame(data: bytes) -> bool:
    """Whether a whole frame stands at the start."""
    head = data[: rtu.MAX_SIZE]
    known = _by_length(head)
    return known[0] > 0 if known is not None else bool(rtu.crc_ends(head))


def _by_length(head: bytes) -> tuple[int, bool] | None:
    """As `_first`, of a function that tells how long its frames are; None: it does not."""
    if len(head) < 2:
        return 0, False
    sizes = [(rtu.response_size(head), False)]
    if head[1] < spec.EXCEPTION_BIT:
        sizes.insert(0, (rtu.request_size(head), True))
    may_grow = False
    for size, is_request in sizes:
        if size is None:
            return None
        if not 0 < size <= len(head):
            may_grow |= size <= rtu.MAX_SIZE and len(head) < rtu.MAX_SIZE
        elif size >= rtu.MIN_SIZE and not rtu.crc16(head[:size]):
            return size, is_request
    return (0 if may_grow else -1), False
