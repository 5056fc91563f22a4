"""Function 08 (V1.1b3 6.8), as far as it means something on TCP.

Echo and the counters are served. What restarts or silences a server (01, 04) or belongs to a serial line's ASCII mode
(03) is refused with 01: no client may take the gateway away from the others. The counters are those of the whole
gateway: a TCP connection is no bus, and the numbers a technician wants are about the box.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.errors import Refused
from gateway.front.counters import Counters
from gateway.modbus import spec

_ECHO = 0x00
_CLEAR = 0x0A


class Diagnostics:
    """Answers function 08 from the gateway's counters."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._read: dict[int, Callable[[], int]] = {
            0x0B: lambda: counters.requests + counters.broken,  # bus messages seen
            0x0C: lambda: counters.broken,  # communication errors: frames no server could read
            0x0D: lambda: counters.exceptions,
            0x0E: lambda: counters.requests,  # messages addressed to this server
            0x0F: lambda: counters.silent,
            0x10: lambda: 0,  # negative acknowledge: never sent (the code left the specification)
            0x11: lambda: 0,  # busy: never sent by a register image
            0x12: lambda: 0,  # character overrun: TCP has none
        }

    def answer(self, pdu: bytes) -> bytes:
        """08, sub-function, data of an even number of bytes; counters come back modulo 65536."""
        if len(pdu) < 3:
            raise Refused(spec.ILLEGAL_VALUE)
        sub = pdu[1] << 8 | pdu[2]
        if sub == _ECHO:
            if len(pdu) < 5 or len(pdu) % 2 == 0:
                raise Refused(spec.ILLEGAL_VALUE)
            return pdu
        if sub != _CLEAR and sub not in self._read:
            raise Refused(spec.ILLEGAL_FUNCTION)
        if pdu[3:] != b"\0\0":
            raise Refused(spec.ILLEGAL_VALUE)
        if sub == _CLEAR:
            self._counters.clear()
            return pdu
        return pdu[:3] + (self._read[sub]() & 0xFFFF).to_bytes(2, "big")
