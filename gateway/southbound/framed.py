"""The carrier that speaks RTU or ASCII, on any stream of bytes: TCP, a serial port, a device that dialled in.

A link writes MBAP frames and is given them, whatever the carrier: here the header is taken off, and the one request
that is out is remembered for its answer. So one link serves every way, and what is said of time-outs, silent units and
order holds for all.

What is no whole frame, has a wrong checksum or cannot be an answer to what is out, is dropped and counted: the request
times out, as if nothing had come. Most serial lines carry noise, and half of an answer is none. A write to unit id 0 is
answered by nobody (serial line guide 2.1): when the units had their time for it, the carrier itself gives the answer
that one of them would have given.

Some two-wire adapters hear what they send. That of a read is noise; but the answer to a write of one register is the
same bytes as its request, and an echo would be taken for the device's word. What the adapter does shows with every
request whose answer is not the same bytes (`Echo`), and is known to all connections of a link. As long as it is not,
the first of such answers is taken for the echo, and only a second for the device's: the link asks something else first.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol, cast

from gateway.interfaces import Request, exception_response
from gateway.modbus import ascii, rtu, spec
from gateway.modbus.mbap import LENGTH_SEEN_SIZE
from gateway.modbus.pdu import fault
from gateway.modbus.reach import BROADCASTS
from gateway.southbound.seams import Owner, ends_of

log = logging.getLogger(__name__)

READ_SIZE = 4096
"""Plain asyncio would take a 256 KiB buffer for every read."""
NOBODY = -1
"""In the place of a transaction id: nothing that is out has it."""
TURNAROUND_S = 0.1
"""The least of what the serial line guide advises after a broadcast (2.4.1: 100..200 ms)."""
MAX_SILENCES = 3
"""On which nothing came: then no echo will. One will do at a port of ours; elsewhere it may be the network that stood
still, and each of these was on a connection of its own."""
BURST_S = 0.05
"""Bytes that nobody asked for count once, as one late answer, unless they are so far apart."""
SILENCE_S = 0.05
"""Behind an answer that only silence ends; adapters hold bytes back for 16 ms, and so may a network."""
MAX_GAP_WAIT_S = 0.1
"""So much longer than its gap a request waits for quiet, on a line that never is."""


class Receiver(Protocol):
    """What cuts answers (`rtu.AnswerReceiver`, `ascii.AnswerReceiver`)."""

    noise: int
    came: int

    @property
    def is_open(self) -> bool: ...

    def expect(self, unit_id: int, pdu: bytes) -> None: ...
    def clear(self) -> None: ...
    def feed(self, data: bytes) -> None: ...
    def take(self, *, is_silent: bool = False) -> tuple[int, bytes] | None: ...


class Echo:
    """Whether the adapter of one way hears what it sends."""

    __slots__ = ("is_heard", "silences")

    def __init__(self) -> None:
        self.is_heard: bool | None = None
        """None: not known yet."""
        self.silences = 0
        """Requests in a row that would have told, and on which nothing came at all."""


class Framing(NamedTuple):
    pack: Callable[[int, bytes], bytes]
    """Unit id, PDU -> frame."""
    receiver: Callable[[], Receiver]
    characters: Callable[[int], int]
    """On the wire, of what is a frame of so many bytes in RTU."""


FRAMINGS = {
    "rtu": Framing(rtu.pack, rtu.AnswerReceiver, lambda size: size),
    # Two for each byte but one (its checksum is that much shorter), colon, CR, LF.
    "ascii": Framing(ascii.pack, ascii.AnswerReceiver, lambda size: 2 * size + 1),
}


class Pace(NamedTuple):
    """What times a line needs; seconds. A stream that is no serial port has none of ours."""

    char_s: float = 0.0
    """One character on the wire."""
    gap_s: float = 0.0
    """Quiet before each request (RTU: 3.5 characters)."""
    turnaround_s: float = TURNAROUND_S
    stays: bool = False
    """As Line.stays."""


STREAM = Pace()
"""Of TCP: the serial line is behind it, and somebody else keeps its times."""


class FramedCarrier(asyncio.Protocol):
    """One connection of a link. It is its own Line (seams)."""

    __slots__ = (
        "_closed",
        "_echo",
        "_echo_at",
        "_frame",
        "_framing",
        "_is_echoed",
        "_is_late",
        "_name",
        "_pace",
        "_receiver",
        "_tells_echo",
        "_tid",
        "_timer",
        "_transport",
        "_unit_id",
        "_used_s",
        "has_ids",
        "heard_s",
        "owner",
        "stays",
    )

    def __init__(
        self, owner: Owner, framing: Framing, pace: Pace = STREAM, name: str = "", echo: Echo | None = None
    ) -> None:
        """`name`: of the port or host, for the log; `echo`: what the connections before this one have found out."""
        self.owner = owner
        self.has_ids = False
        self.stays = pace.stays
        self.heard_s = 0.0
        self._name = name
        self._framing = framing
        self._pace = pace
        self._receiver = framing.receiver()
        self._transport: asyncio.Transport | None = None
        self._tid = NOBODY
        """Of the request that is out."""
        self._unit_id = 0
        self._used_s = 0.0
        """Until when the line was used: the last byte that came, or the last that we sent; on the monotonic clock,
        which is finer than the loop's."""
        self._timer: asyncio.TimerHandle | None = None
        """What is next for the request: it is sent after the gap, a broadcast is done, an answer has silence behind."""
        self._frame = b""
        """What we sent last."""
        self._echo_at: int | None = None
        """So many bytes of it have come back, and nothing else; None: something else did."""
        self._echo = Echo() if echo is None else echo
        self._is_echoed = False
        """All of it has come back, and was taken for the echo."""
        self._tells_echo = False
        """No answer to the request that is out is the same bytes as the request."""
        self._is_late = False
        """Something comes that nobody asked for, and was counted."""
        self._closed = False

    # -- what the link asks -------------------------------------------------------------------------------------

    @property
    def line(self) -> FramedCarrier:
        return self

    @property
    def closed(self) -> bool:
        return self._transport is None

    @property
    def ends(self) -> tuple[str, str]:
        local, peer = ends_of(self._transport)
        return local, peer or self._name

    @property
    def unfinished(self) -> int:
        """Bytes that came since the request."""
        return self._receiver.came + (self._echo_at or 0)

    def is_unsure(self, pdu: bytes) -> bool:
        return self._echo.is_heard is None and not _tells_echo(pdu)

    def wire_s(self, request: Request) -> float:
        """Both frames and the quiet before them; of a broadcast its frame and the time that it is given."""
        pace, characters = self._pace, self._framing.characters
        sent_s = pace.gap_s + pace.char_s * characters(len(request.pdu) + rtu.MIN_SIZE - 1)
        if not request.unit_id:
            return sent_s + pace.turnaround_s
        return sent_s + pace.char_s * characters(rtu.answer_size(request.pdu))

    def write(self, data: bytes) -> None:
        """One MBAP frame. The request before it is over."""
        tid, unit_id, pdu = data[0] << 8 | data[1], data[LENGTH_SEEN_SIZE], data[LENGTH_SEEN_SIZE + 1 :]
        self.forget()
        if not unit_id and pdu[0] not in BROADCASTS:
            asyncio.get_running_loop().call_soon(self._refuse, tid, pdu)
            return
        frame = self._framing.pack(unit_id, pdu)
        self._send_when_quiet(tid, unit_id, pdu, frame, time.monotonic() + self._pace.gap_s + MAX_GAP_WAIT_S)

    def forget(self) -> None:
        self._stop_timer()
        if self._tid != NOBODY and self._tells_echo and not self._is_echoed and not self.unfinished:
            self._echo.silences += 1
            if self._echo.is_heard is None and self._echo.silences >= (1 if self._pace.char_s else MAX_SILENCES):
                self._echo.is_heard = False
        self._tid = NOBODY
        self._echo_at = None
        self._receiver.clear()
        self._tell_noise()

    def close(self) -> None:
        """At once: what was written and not sent is not wanted any more."""
        self._closed = True
        self._stop_timer()
        self._tid = NOBODY
        if self._transport is not None:
            self._transport.abort()

    # -- sending ------------------------------------------------------------------------------------------------

    def _send_when_quiet(self, tid: int, unit_id: int, pdu: bytes, frame: bytes, latest_s: float) -> None:
        self._timer = None
        if self._transport is None or self._transport.is_closing():
            return
        pace, now_s = self._pace, time.monotonic()
        quiet_s = min(self._used_s + pace.gap_s, latest_s)
        if pace.gap_s and now_s < quiet_s:
            self._timer = asyncio.get_running_loop().call_later(
                quiet_s - now_s, self._send_when_quiet, tid, unit_id, pdu, frame, latest_s
            )
            return
        self._receiver.expect(unit_id, pdu)
        self._tells_echo = _tells_echo(pdu)
        self._tid, self._unit_id, self._is_late = tid, unit_id, False
        self._frame, self._echo_at, self._is_echoed = frame, 0, False
        self._used_s = now_s + pace.char_s * len(frame)
        self._transport.write(frame)
        if not unit_id:
            self._timer = asyncio.get_running_loop().call_later(
                self._used_s - now_s + pace.turnaround_s, self._answer_broadcast, pdu
            )

    def _refuse(self, tid: int, pdu: bytes) -> None:
        """Nobody would answer it, and no answer may be invented."""
        if self._transport is not None:
            self.owner.received([(tid, 0, exception_response(pdu, spec.ILLEGAL_FUNCTION))])

    def _answer_broadcast(self, pdu: bytes) -> None:
        """The units had their time."""
        tid = self._tid
        self.forget()
        is_range = pdu[0] in (spec.WRITE_MULTIPLE_COILS, spec.WRITE_MULTIPLE_REGISTERS)
        self.owner.received([(tid, 0, pdu[:5] if is_range else pdu)])

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- what comes ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if hasattr(transport, "max_size"):
            transport.max_size = READ_SIZE

    def data_received(self, data: bytes) -> None:
        if self._tells_echo:
            self._echo.silences = 0
        now_s = time.monotonic()
        quiet_s, self._used_s = now_s - self._used_s, now_s
        self.heard_s = asyncio.get_running_loop().time()
        if self._echo_at is not None and not (data := self._without_echo(data)):
            return
        tid = self._tid
        if tid == NOBODY or not self._unit_id:  # nothing is out, or what nobody answers
            if not self._is_late or quiet_s > BURST_S:
                self._is_late = True
                self.owner.received([(NOBODY, 0, b"\0")])
            return
        self._receiver.feed(data)
        self._take()

    def _take(self, *, is_silent: bool = False) -> None:
        tid = self._tid
        while self._tid == tid and (answer := self._receiver.take(is_silent=is_silent)) is not None:
            unit_id, pdu = answer
            if unit_id == self._unit_id:
                if self._tells_echo and not self._is_echoed and self._echo.is_heard is not False:
                    self._look_for_echo(len(self._framing.pack(unit_id, pdu)))
                self._tid = NOBODY
                self._receiver.clear()
                self._answered()
            self.owner.received([(tid, unit_id, pdu)])
        self._tell_noise()
        if self._tid == tid and self._receiver.is_open:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_later(SILENCE_S, self._after_silence)

    def _answered(self) -> None:
        """The unit that was asked has sent something whole."""

    def _after_silence(self) -> None:
        """Nothing followed what may be a whole answer of a length that nobody knows."""
        self._timer = None
        self._take(is_silent=True)

    def _without_echo(self, data: bytes) -> bytes:
        """What may be an answer, without the echo if there is one."""
        assert self._echo_at is not None
        at, echo = self._echo_at, self._echo
        rest = self._frame[at:]
        if len(data) < len(rest) and rest.startswith(data):
            self._echo_at = at + len(data)
            return b""
        self._echo_at = None
        if not data.startswith(rest) or not (self._tells_echo or echo.is_heard is not False):
            return self._frame[:at] + data  # the answer, or noise
        self._is_echoed = True
        if self._tells_echo and not echo.is_heard:
            log.info("%s: the adapter hears what it sends: that is left out from now on", self._name)
            echo.is_heard = True
        return data[len(rest) :]

    def _look_for_echo(self, size: int) -> None:
        """An answer of that size has come, without an echo before it: there is none, or noise has spoilt it."""
        if self._receiver.came == size:
            self._echo.is_heard = False

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._stop_timer()
        self._tid = NOBODY
        if self.stays and not self._closed:
            self._echo.is_heard = None  # whoever plugs it in again may plug in another
            why = exc.strerror if isinstance(exc, OSError) else None
            self.owner.broken(why or str(exc or "the port was closed"))
        else:
            self.owner.lost(self, exc)

    def _tell_noise(self) -> None:
        if self._receiver.noise:
            count, self._receiver.noise = self._receiver.noise, 0
            self.owner.noise(count)


def _tells_echo(pdu: bytes) -> bool:
    """Whether no answer to this request is the same bytes."""
    return fault(pdu, pdu) is not None
