"""Large answers as gzip, for who takes it: ten thousand tags are three megabytes of JSON, or a seventh of that.

The rule: nothing is compressed in the loop. A thread does it, at the quickest level, one answer at a time; meanwhile
the interpreter serves others, for zlib lets go of its lock. An answer that many share is compressed once.
"""

from __future__ import annotations

import asyncio
import zlib

FROM = 16 * 1024
"""Bytes. A smaller answer takes a moment on any way, and a thread more."""
LEVEL = 1
"""The others take two to ten times as long, for a tenth less."""
_GZIP = 16 + zlib.MAX_WBITS

Data = bytes | bytearray


class Packer:
    """Of one page."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._last: tuple[Data, bytes] | None = None
        """What was packed last: of answers that are shared, it is wanted again at once."""

    async def pack(self, data: Data) -> bytes:
        """`data` does not change any more."""
        async with self._turn:
            if self._last is None or self._last[0] is not data:
                self._last = (data, await asyncio.to_thread(_packed, data))
            return self._last[1]

    def forget(self) -> None:
        """Nobody watches any more."""
        self._last = None


def _packed(data: Data) -> bytes:
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP)
    return packer.compress(data) + packer.flush()


def takes_gzip(accepted: str) -> bool:
    """Whether this value of the header Accept-Encoding lets us."""
    for part in accepted.lower().split(","):
        name, _, quality = part.partition(";")
        if name.strip() in ("gzip", "*"):
            return quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
