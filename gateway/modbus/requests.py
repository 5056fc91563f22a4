"""Requests on a way without MBAP: any bytes in, the requests among them out (serial line guide 2.5; digest 3.1, 3.5).

On a shared line a server hears everything: requests to others and their answers, too. So what stands at the start is
tried as a request, then as a response, each as long as its function says, and its check sum decides. Where a function
tells no length, a frame ends where its own CRC does, if there was silence behind it or what follows is a frame again.
TCP has no silence, there it ends with what came together.

Beware of a CRC whose last byte is 0, as one in 256: it is right without that byte, too, and the bytes of a serial line
may come one by one. So what is whole as one kind and may become whole as the other is not believed at once.

The rule: a receiver never searches for a frame inside of what it cannot read. RTU begins anew after silence, ASCII at
the next colon. What is dropped is counted in `errors`; over TCP, which loses nothing, one error means that the other
end speaks something else.
"""

from __future__ import annotations

import enum
from typing import Final, Protocol

from gateway.modbus import ascii, rtu, spec

Frame = tuple[int, bytes]
"""Unit id, PDU."""

MAX_FEED_SIZE: Final = 256
"""Bytes to feed at once: so many are cut within a few milliseconds whatever they are."""

_ECHO_SIZE: Final = 8
"""Of function 08 sub-function 00 with one word of data. It may have any number of them, but hardly ever does."""
_DELIMITERS: Final = frozenset(range(0x80)) - frozenset(b"\0\r:0123456789ABCDEFabcdef")
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
    """Of RTU. Keeps at most two frames' worth of bytes."""

    __slots__ = ("_has_silence", "_is_lost", "_rest", "_zero", "errors", "heard")

    def __init__(self, *, has_silence: bool) -> None:
        """`has_silence`: of a serial line, where `silence` will be called."""
        self._has_silence = has_silence
        self.errors = 0
        self.heard = 0
        self._rest = b""
        self._is_lost = False
        """What came was no frame: nothing is read until there was silence."""
        self._zero = _Zero.CLEAR

    @property
    def is_waiting(self) -> bool:
        return bool(self._rest) or self._is_lost

    def feed(self, data: bytes, *, after_silence: bool = False) -> list[Frame]:
        if self._is_lost:
            if not after_silence:
                return []
            self._is_lost = False
        rest, self._rest = self._rest, b""
        cut = _Cut(rest + data, ends_here=not self._has_silence, zero=self._zero)
        if rest and after_silence and not cut.at:
            # Either the second half of a frame that came late, or a frame after noise: what is whole, or can be, wins.
            alone = _Cut(data, ends_here=not self._has_silence)
            if not cut.may_grow or alone.at == len(data):
                self.errors += 1
                cut = alone
        self.heard += cut.heard
        self._zero = cut.zero
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
        cut = _Cut(rest, ends_here=True, is_over=True, zero=self._zero)
        self._zero = _Zero.CLEAR
        self.heard += cut.heard
        self.errors += cut.at < len(rest)
        return cut.requests

    def pack(self, unit_id: int, pdu: bytes) -> bytes:
        return rtu.pack(unit_id, pdu)


class AsciiRequests:
    """Of an ASCII line; answers look like requests, but for exception responses. Keeps at most one frame's bytes."""

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
                continue
            self.heard += 1
            if frame[1][0] < spec.EXCEPTION_BIT:
                frames.append(frame)

    def silence(self) -> list[Frame]:
        self.errors += bool(self._rest)
        self._rest = b""
        return []

    def pack(self, unit_id: int, pdu: bytes) -> bytes:
        frame = ascii.pack(unit_id, pdu, self._answers_with)
        self._answers_with = self.delimiter
        return frame


def requests_of(framing: str, *, has_silence: bool) -> Requests:
    """A receiver for `rtu` or `ascii`."""
    return AsciiRequests() if framing == "ascii" else RtuRequests(has_silence=has_silence)


class _Zero(enum.Enum):
    """Whose the 0 is that stands between two frames, or seems to."""

    CLEAR = 0
    TRAILS = 1
    """If one follows: of the frame that was cut, perhaps, which may be an answer that is one byte longer."""
    LEADS = 2
    """Its last byte: of the next frame, perhaps, a broadcast behind an answer that is one byte shorter."""


class _Cut:
    """The whole frames at the start of `data`."""

    __slots__ = ("at", "data", "heard", "may_grow", "requests", "zero")

    def __init__(self, data: bytes, *, ends_here: bool, is_over: bool = False, zero: _Zero = _Zero.CLEAR) -> None:
        """`ends_here`: a frame may, that nothing follows; `is_over`: nothing will ever follow."""
        self.data = data
        self.at = 0
        """Where they end."""
        self.heard = 0
        self.requests: list[Frame] = []
        self.may_grow = True
        """What follows, if anything, may be the beginning of a frame."""
        self.zero = zero
        """Behind the last of them."""
        while self.at < len(data):
            head = data[self.at : self.at + 2 * rtu.MAX_SIZE]
            size, is_request = _first(head, ends_here=ends_here, is_over=is_over)
            moved = 0
            if size <= 0 and self.zero != _Zero.CLEAR:
                other = _other(head, self.zero)
                other_size, is_request = _first(other, ends_here=ends_here, is_over=is_over)
                if other_size > 0:
                    moved = len(head) - len(other)
                    head, size = other, other_size
                elif is_over and not other:
                    self.at += 1
                    break
                else:
                    size = max(size, other_size)
            if size <= 0:
                self.may_grow = not size
                break
            if is_request:
                self.requests.append((head[0], head[1 : size - 2]))
            self.zero = _zero_behind(head, size) if is_request else _Zero.CLEAR
            self.heard += 1
            self.at += size + moved


def _other(head: bytes, zero: _Zero) -> bytes:
    """The next frame, if the 0 belongs to the other one of the two."""
    if zero == _Zero.LEADS:
        return b"\0" + head
    return head[1:] if not head[0] else head


def _zero_behind(head: bytes, size: int) -> _Zero:
    """After a request of this size."""
    response = rtu.response_size(head)
    if response == size + 1:
        return _Zero.TRAILS
    return _Zero.LEADS if response == size - 1 and not head[size - 1] else _Zero.CLEAR


def _first(data: bytes, *, ends_here: bool, is_over: bool) -> tuple[int, bool]:
    """Size of the frame at the start, and whether it is a request; 0: it may not be whole yet; -1: there is none."""
    head = data[: rtu.MAX_SIZE]
    if len(head) < 2:
        return 0, False
    request = rtu.request_size(head) if head[1] < spec.EXCEPTION_BIT else rtu.MAX_SIZE + 1
    response = rtu.response_size(head)
    if request is None or response is None:
        return _by_crc(data, ends_here=ends_here, is_over=is_over)
    if _is_whole(head, request):
        return request, True
    may_be_request = _may_grow(head, request)
    if not _is_whole(head, response):
        return (0 if may_be_request or _may_grow(head, response) else -1), False
    if may_be_request and not is_over and (request == response + 1 or not ends_here):
        return (response if _is_frame(data[response:]) else 0), False
    return response, False


MAX_ENDS = 8
"""Behind a frame of a function that does not tell its length every 0 is another end; no other bytes make so many."""


def _by_crc(data: bytes, *, ends_here: bool, is_over: bool) -> tuple[int, bool]:
    """As `_first`, of a function that does not tell how long it is."""
    head = data[: rtu.MAX_SIZE]
    if head[1] == spec.DIAGNOSTICS and _is_whole(head, _ECHO_SIZE):
        return _ECHO_SIZE, True
    ends = rtu.crc_ends(head)
    if not ends:
        return (0 if len(head) < rtu.MAX_SIZE else -1), False
    if ends_here and ends[-1] == len(data):
        return ends[-1], True
    for end in ends[:MAX_ENDS]:
        if _is_frame(data[end:]):
            return end, True
    return (ends[0] if is_over or len(data) > rtu.MAX_SIZE else 0), True


def _is_frame(data: bytes) -> bool:
    """Whether a whole frame stands at the start."""
    head = data[: rtu.MAX_SIZE]
    if len(head) < rtu.MIN_SIZE:
        return False
    sizes = (rtu.request_size(head), rtu.response_size(head))
    if None in sizes:
        return bool(rtu.crc_ends(head))
    return any(_is_whole(head, size) for size in sizes if size is not None)


def _is_whole(head: bytes, size: int) -> bool:
    return rtu.MIN_SIZE <= size <= len(head) and not rtu.crc16(head[:size])


def _may_grow(head: bytes, size: int) -> bool:
    """Whether a frame of this size (0: not known yet) may begin so and not be whole."""
    return len(head) < rtu.MAX_SIZE and (not size or len(head) < size <= rtu.MAX_SIZE)
