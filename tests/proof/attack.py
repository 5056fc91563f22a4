"""What the fuzz proof sends: frames of the three framings, and everything that can be done to them.

Knows nothing of the code under test. All chance comes from one `random.Random`, so a seed repeats what is sent.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import Literal, NamedTuple

Framing = Literal["mbap", "rtu", "ascii"]

UNITS = (1, 1, 1, 2, 0, 255, 9, 10, 247)
"""Those of the plant more often than others."""
FUNCTIONS = (1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 15, 16, 17, 20, 21, 22, 23, 24, 43)
MAX_DRIP_S = 0.02
"""Between two bytes of a slow client; the whole stays far below what a client may take for a request."""


def crc16(data: bytes) -> bytes:
    """As it travels (serial line guide 6.2.2)."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return struct.pack("<H", crc)


def mbap(tid: int, unit: int, pdu: bytes) -> bytes:
    return struct.pack(">HHHB", tid, 0, len(pdu) + 1 & 0xFFFF, unit) + pdu


def rtu(unit: int, pdu: bytes) -> bytes:
    body = bytes((unit,)) + pdu
    return body + crc16(body)


def ascii_frame(unit: int, pdu: bytes) -> bytes:
    body = bytes((unit,)) + pdu
    return b":" + (body + bytes((-sum(body) & 0xFF,))).hex().upper().encode() + b"\r\n"


def pack(framing: Framing, tid: int, unit: int, pdu: bytes) -> bytes:
    if framing == "mbap":
        return mbap(tid, unit, pdu)
    return rtu(unit, pdu) if framing == "rtu" else ascii_frame(unit, pdu)


class Piece(NamedTuple):
    """Bytes that leave with one write, and the pause behind it."""

    data: bytes
    pause_s: float = 0.0


class Attack:
    """An endless supply of strokes: what is sent over one connection, piece by piece."""

    def __init__(self, seed: object, framing: Framing) -> None:
        self.random = random.Random(f"{seed}")
        self.framing = framing
        self._ways: tuple[Callable[[bytes], list[Piece]], ...] = (
            self._plain,
            self._mutated,
            self._mutated,
            self._garbage_inside,
            self._truncated,
            self._lying,
            self._glued,
            self._dripping,
            self._noise,
            self._many,
        )

    def stroke(self) -> list[Piece]:
        """Requests, more or less."""
        return self.random.choice(self._ways)(self.request())

    def spoil(self, frame: bytes) -> list[Piece]:
        """`frame`, which was right, made wrong in one way or another (or sent as it is)."""
        return self.random.choice(self._ways)(frame)

    # -- requests -----------------------------------------------------------------------------------------------

    def request(self) -> bytes:
        """A whole frame around a request that may be right."""
        return pack(self.framing, self.random.getrandbits(16), self.random.choice(UNITS), self.pdu())

    def pdu(self) -> bytes:
        rnd = self.random
        function = rnd.choice(FUNCTIONS) if rnd.random() < 0.9 else rnd.randrange(256)
        address = rnd.choice((0, 1, 5, 99, 100, 500, 65535, rnd.getrandbits(16)))
        count = rnd.choice((0, 1, 2, 10, 125, 126, 2000, 2001, 65535, rnd.getrandbits(16)))
        value = rnd.choice((0, 0xFF00, rnd.getrandbits(16)))
        if function in (1, 2, 3, 4):
            return struct.pack(">BHH", function, address, count)
        if function in (5, 6):
            return struct.pack(">BHH", function, address, value)
        if function in (15, 16):
            size = rnd.choice((0, 1, 2, 20, 246, rnd.randrange(256)))
            data = rnd.randbytes(rnd.choice((size, size, size, rnd.randrange(247))))
            return (struct.pack(">BHHB", function, address, rnd.choice((size // 2, count)), size) + data)[:253]
        if function == 22:
            return struct.pack(">BHHH", function, address, value, rnd.getrandbits(16))
        if function == 23:
            size = rnd.choice((0, 2, 20, rnd.randrange(243)))
            head = struct.pack(">BHHHHB", function, address, count, rnd.choice((0, 100)), size // 2, size)
            return (head + rnd.randbytes(size))[:253]
        if function in (20, 21):
            number, record, length = rnd.choice((1, 4, 0, 65535)), rnd.choice((0, 5, 9999, 10000)), rnd.randrange(130)
            part = struct.pack(">BHHH", rnd.choice((6, 6, 6, 7)), number, record, length)
            data = part + (rnd.randbytes(2 * length) if function == 21 else b"")
            data *= rnd.choice((1, 1, 2, 35))
            return (bytes((function, rnd.choice((len(data) & 0xFF, rnd.randrange(256))))) + data)[:253]
        if function == 24:
            return struct.pack(">BH", function, address)
        if function == 8:
            return struct.pack(
                ">BHH", function, rnd.choice((0, 1, 2, 3, 4, 10, 11, 20, 21, rnd.getrandbits(16))), value
            )
        if function == 43:
            return bytes((43, rnd.choice((14, 13, rnd.randrange(256))), rnd.randrange(6), rnd.randrange(256)))
        return bytes((function,)) + rnd.randbytes(rnd.choice((0, 0, 1, 4, 252)))

    # -- what is done to a frame --------------------------------------------------------------------------------

    def _plain(self, frame: bytes) -> list[Piece]:
        return self._split(frame)

    def _mutated(self, frame: bytes) -> list[Piece]:
        rnd, data = self.random, bytearray(frame)
        for _ in range(rnd.choice((1, 1, 1, 2, 5, 20))):
            at = rnd.randrange(len(data) + 1)
            what = rnd.randrange(4)
            if what == 0 and at < len(data):
                data[at] ^= 1 << rnd.randrange(8)
            elif what == 1 and at < len(data):
                data[at] = rnd.randrange(256)
            elif what == 2:
                data[at:at] = rnd.randbytes(rnd.choice((1, 1, 2, 30)))
            else:
                del data[at : at + rnd.choice((1, 1, 2, 30))]
        return self._split(bytes(data))

    def _garbage_inside(self, frame: bytes) -> list[Piece]:
        """The frame is right, what it carries is not: what a check of the frame alone lets through."""
        rnd = self.random
        pdu = rnd.randbytes(rnd.choice((1, 2, 5, rnd.randrange(1, 254))))
        tid = int.from_bytes(frame[:2], "big")  # of the frame that is spoilt: an answer with it is looked at
        unit = frame[6] if self.framing == "mbap" and len(frame) > 6 else rnd.choice(UNITS)
        return self._split(pack(self.framing, tid, unit, pdu))

    def _truncated(self, frame: bytes) -> list[Piece]:
        return self._split(frame[: self.random.randrange(len(frame) + 1)])

    def _lying(self, frame: bytes) -> list[Piece]:
        """A length that is not so: in the header where there is one, else in the data."""
        rnd, data = self.random, bytearray(frame)
        if self.framing == "mbap" and len(data) >= 7:
            length = rnd.choice((0, 1, 2, 3, 253, 254, 255, 256, 260, 0xFFFF, rnd.getrandbits(16), len(data) - 7))
            data[4:6] = struct.pack(">H", length)
            if rnd.random() < 0.2:
                data[2:4] = rnd.randbytes(2)
        elif len(data) > 8:
            data[rnd.randrange(2, 9)] = rnd.choice((0, 1, 255, rnd.randrange(256)))
        return self._split(bytes(data))

    def _glued(self, frame: bytes) -> list[Piece]:
        more = [self.request() for _ in range(self.random.randrange(1, 20))]
        noise = self.random.randbytes(self.random.choice((0, 0, 1, 7, 300)))
        return self._split(frame + b"".join(more) + noise)

    def _dripping(self, frame: bytes) -> list[Piece]:
        pause_s = self.random.uniform(0, MAX_DRIP_S)
        return [Piece(frame[at : at + 1], pause_s) for at in range(min(len(frame), 40))]

    def _noise(self, _frame: bytes) -> list[Piece]:
        return self._split(self.random.randbytes(self.random.choice((1, 6, 7, 8, 260, 5000))))

    def _many(self, frame: bytes) -> list[Piece]:
        return [Piece(frame * self.random.randrange(1, 400))]

    def _split(self, data: bytes) -> list[Piece]:
        rnd = self.random
        cuts = sorted(rnd.randrange(len(data) + 1) for _ in range(rnd.choice((0, 0, 0, 1, 2, 5))))
        parts = [data[first:stop] for first, stop in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        return [Piece(part, rnd.choice((0.0, 0.0, 0.001, 0.005))) for part in parts if part]
