"""Functions 08, 11 and 12 of one way to us (V1.1b3 6.8 to 6.10): all of TCP together, or one serial line.

A TCP connection is no bus, and the numbers a technician wants are about the box: so over a network there is one set for
all clients. There 03 and 04 are refused with 01, for they belong to a serial line's port, and no client may take the
gateway away from the others. A restart (01) is granted: it sets counters to 0 and, on demand, clears the log;
connections stay.

The status word of 11 and 12 is always 0000: it says whether a program command is under way, and we know none. A write
that is on its way to a device has a client that waits for its answer.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Protocol

from gateway.errors import Refused
from gateway.front import events
from gateway.front.counters import Traffic
from gateway.modbus import spec


class Sub(enum.IntEnum):
    """The sub-functions of 08 that are no counters."""

    ECHO = 0x00
    RESTART = 0x01
    REGISTER = 0x02
    DELIMITER = 0x03
    LISTEN_ONLY = 0x04
    CLEAR = 0x0A
    CLEAR_OVERRUNS = 0x14


COUNTERS: dict[int, Callable[[Traffic], int]] = {
    0x0B: lambda traffic: traffic.messages,
    0x0C: lambda traffic: traffic.broken,
    0x0D: lambda traffic: traffic.exceptions,
    0x0E: lambda traffic: traffic.requests,
    0x0F: lambda traffic: traffic.silent,
    0x10: lambda traffic: traffic.naks,
    0x11: lambda traffic: traffic.busy,
    0x12: lambda traffic: traffic.overruns,
}
_NO_DATA = b"\0\0"
_AND_THE_LOG = b"\xff\0"
_READY = b"\0\0"


class Port(Protocol):
    """The port of a serial line, as far as clients rule it."""

    is_listen_only: bool
    """It hears and counts, and does and answers nothing, until it is restarted."""

    @property
    def counters(self) -> Traffic: ...

    def restart(self, *, clear_log: bool) -> None:
        """As it was after the start, counters too."""
        ...

    def change_delimiter(self, delimiter: int) -> bool | None:
        """From the next frame on; False: this cannot be one; None: this line has none (RTU)."""
        ...


class Diagnostics:
    """Answers 08, 11 and 12 from the counters of one way."""

    def __init__(self, traffic: Traffic, register: Callable[[], int], port: Port | None = None) -> None:
        """`register()`: the diagnostic register, 16 bits. `port`: of a serial line."""
        self._traffic = traffic
        self._register = register
        self._port = port
        self._do: dict[int, Callable[[bytes], bytes | None]] = {
            Sub.ECHO: _echo,
            Sub.RESTART: self._restart,
            Sub.REGISTER: self._tell_register,
            Sub.CLEAR: self._clear,
            Sub.CLEAR_OVERRUNS: self._clear_overruns,
        }
        if port is not None:
            self._do[Sub.DELIMITER] = self._change_delimiter
            self._do[Sub.LISTEN_ONLY] = self._listen_only

    def answer(self, pdu: bytes) -> bytes | None:
        """08, sub-function, data; counters come back modulo 65536. None: it must not be answered."""
        if len(pdu) < 3:
            raise Refused(spec.ILLEGAL_VALUE)
        sub = pdu[1] << 8 | pdu[2]
        if (do := self._do.get(sub)) is not None:
            return do(pdu)
        if (counter := COUNTERS.get(sub)) is None:
            raise Refused(spec.ILLEGAL_FUNCTION)
        _check_no_data(pdu)
        return pdu[:3] + _word(counter(self._traffic))

    def event_counter(self, pdu: bytes) -> bytes:
        """Function 11: status and the count of completions, which this does not raise."""
        if len(pdu) != 1:
            raise Refused(spec.ILLEGAL_VALUE)
        completions = self._traffic.completions
        self._traffic.fetches += 1
        return pdu + _READY + _word(completions)

    def event_log(self, pdu: bytes) -> bytes:
        """Function 12: status, completions, messages, and the events, newest first; without this request's own."""
        if len(pdu) != 1:
            raise Refused(spec.ILLEGAL_VALUE)
        traffic = self._traffic
        data = _READY + _word(traffic.completions) + _word(traffic.messages) + traffic.events.log(traffic.requests)
        return pdu + bytes((len(data),)) + data

    # -- what 08 does -------------------------------------------------------------------------------------------

    def _restart(self, pdu: bytes) -> bytes | None:
        """Communications begin anew; who only listened until now does not answer (6.8.1, 01)."""
        if pdu[3:] not in (_NO_DATA, _AND_THE_LOG):
            raise Refused(spec.ILLEGAL_VALUE)
        clear_log = pdu[3:] == _AND_THE_LOG
        port = self._port
        if port is None:
            self._traffic.restart(clear_log=clear_log)
            return pdu
        only_listened = port.is_listen_only
        port.restart(clear_log=clear_log)
        return None if only_listened else pdu

    def _tell_register(self, pdu: bytes) -> bytes:
        _check_no_data(pdu)
        return pdu[:3] + _word(self._register())

    def _change_delimiter(self, pdu: bytes) -> bytes:
        assert self._port is not None
        if len(pdu) != 5 or pdu[4]:
            raise Refused(spec.ILLEGAL_VALUE)
        is_changed = self._port.change_delimiter(pdu[3])
        if is_changed is None:
            raise Refused(spec.ILLEGAL_FUNCTION)
        if not is_changed:
            raise Refused(spec.ILLEGAL_VALUE)
        return pdu

    def _listen_only(self, pdu: bytes) -> None:
        assert self._port is not None
        _check_no_data(pdu)
        self._port.is_listen_only = True
        self._traffic.events.add(self._traffic.requests, events.LISTENS)

    def _clear(self, pdu: bytes) -> bytes:
        _check_no_data(pdu)
        self._traffic.clear()
        return pdu

    def _clear_overruns(self, pdu: bytes) -> bytes:
        _check_no_data(pdu)
        self._traffic.overruns = 0
        return pdu


def _echo(pdu: bytes) -> bytes:
    """Any even amount of data."""
    if len(pdu) < 5 or len(pdu) % 2 == 0:
        raise Refused(spec.ILLEGAL_VALUE)
    return pdu


def _check_no_data(pdu: bytes) -> None:
    if pdu[3:] != _NO_DATA:
        raise Refused(spec.ILLEGAL_VALUE)


def _word(number: int) -> bytes:
    return (number & 0xFFFF).to_bytes(2, "big")
