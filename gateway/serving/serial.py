"""A serial line on which we are some of the units: RTU or ASCII, and a client that we share with others.

The rule: who is not asked is silent. We answer for units of ours only, and only while the client still listens: a
request that comes before the answer to the one before has left means that its client has given up, and an answer now
would be taken for that of another. So at most one request is out, and nothing ever queues. What it began goes on, as
when a TCP client leaves.

Frames are cut by length; silence decides only what becomes of a frame that does not get whole (`modbus.requests`). A
port that vanishes (USB) is opened again; one that is not there when the gateway starts is waited for, because SCADA on
TCP must not go without its values for an adapter that nobody plugged in.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

from gateway import serialport
from gateway.errors import Refused
from gateway.front import events
from gateway.front.counters import LineCounters
from gateway.front.diagnostics import Diagnostics, Sub
from gateway.front.gate import Entry, Gate, Origin
from gateway.interfaces import Later, exception_response
from gateway.modbus import spec
from gateway.modbus.reach import BROADCASTS
from gateway.modbus.requests import MAX_FEED_SIZE, AsciiRequests, requests_of
from gateway.repeat import Repeats
from gateway.serving.doors import Door
from gateway.serving.rows import Seen, row_of

log = logging.getLogger(__name__)

MIN_SILENCE_S = 0.05
"""An RTU frame that pauses for so long is not continued. 3.5 characters would do on the wire, but a USB adapter hands
over what it has every 16 ms, and a busy system adds its own."""
ASCII_SILENCE_S = 1.0
"""The same of ASCII: the guide allows its characters a second (serial line guide 2.5.2)."""
LATE_S = 0.01
"""A timer that comes later than this after its time: the loop stood still, and what came meanwhile is not read yet."""
ECHO_S = 0.03
"""What comes within this after we have sent the same may be an echo: 16 ms of a USB adapter, and ours. A client that
repeats a write so soon is not answered until the first read has shown that its adapter has no echo."""

_RESTART = bytes((spec.DIAGNOSTICS, 0, Sub.RESTART))
"""What alone is listened to in listen-only mode begins with this."""

FIRST_WAIT_S = 0.25
"""Until a port is tried again; twice as long each time."""
MAX_WAIT_S = 4.0
"""At most; also how long a port must have been there before the next loss begins at the start."""
JITTER = 0.2
"""Part of the wait by which it differs, so that many ports behind one hub are not opened in one instant."""


class LineFunctions:
    """The unit that stands in the place of each image of ours for what is about the line (V1.1b3 6.8 to 6.10).

    Devices behind a forward have such functions of their own.
    """

    def __init__(self, diagnostics: Diagnostics) -> None:
        self.functions = {
            spec.DIAGNOSTICS: diagnostics.answer,
            spec.GET_EVENT_COUNTER: diagnostics.event_counter,
            spec.GET_EVENT_LOG: diagnostics.event_log,
        }

    def answer(self, pdu: bytes) -> bytes | None:
        try:
            return self.functions[pdu[0]](pdu)
        except Refused as refusal:
            return exception_response(pdu, refusal.code)

    def may_overtake(self, pdu: bytes) -> bool:
        return False


class SerialLine(asyncio.Protocol):
    """The units of ours on one line. It outlives its port: counters and modes stay when that is opened again."""

    def __init__(self, gate: Gate, door: Door, register: Callable[[], int]) -> None:
        """`register()`: the diagnostic register of function 08."""
        assert door.url.line is not None
        self.counters = LineCounters()
        self.is_listen_only = False
        self.lost = asyncio.Event()
        """The port has vanished, or was closed."""
        self.lost.set()
        self.idle = asyncio.Event()
        """No answer is still to come, or to leave."""
        self.idle.set()
        self.error: Exception | None = None
        self._gate = gate
        self._door = door
        self._is_ascii = door.url.framing == "ascii"
        self._gap_s = 0.0 if self._is_ascii else door.url.line.t35_s
        """Quiet before an answer."""
        self._silence_s = ASCII_SILENCE_S if self._is_ascii else max(MIN_SILENCE_S, door.url.line.t35_s)
        self._requests = requests_of(door.url.framing, has_silence=True)
        self._functions = LineFunctions(Diagnostics(self.counters, register, self))
        self._entry: Entry | None = None
        """What a client of this line may use; None: nothing."""
        self._generation = -1
        """Of the rules by which that was found."""
        self.transport: asyncio.Transport | None = None
        """None: the port is not open."""
        self._later: Later | None = None
        """The answer that is still to come."""
        self._unit_id = 0
        """Whose it is."""
        self._sending: asyncio.TimerHandle | None = None
        """The answer that leaves after the gap."""
        self._silence: asyncio.TimerHandle | None = None
        self._heard_s = 0.0
        """When the last byte came, on the monotonic clock: the loop's may be as coarse as the gap."""
        self._echo = b""
        """What must come first if the adapter hears what it sends."""
        self._tells_echo = False
        """No request is the same bytes as the answer that was sent last."""
        self._echoes: bool | None = None
        """Whether it does; None: not known yet. Answers to writes would be taken for requests, and so for ever."""
        self._sent_s = 0.0
        """When the last answer was all on the wire."""
        self._stopped = False
        self._repeats = Repeats()
        self.heard: tuple[int, bytes] | None = None
        """Unit id and PDU of the last request for us."""
        self.clock = gate.freshness.clock
        self.since_s = self.last_s = self.clock()
        self.seen = Seen()

    @property
    def origin(self) -> Origin:
        """Who asks there."""
        return Origin(self._door.url.path, None, str(self._door.url))

    @property
    def requests(self) -> int:
        return self.counters.requests

    @property
    def exceptions(self) -> int:
        return self.counters.exceptions

    @property
    def waiting(self) -> int:
        """Requests whose answer is still to come."""
        return int(self._later is not None)

    # -- the port -----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.lost.clear()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._withdraw()
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None
        self._echo = b""
        self._requests.silence()
        self._tally()
        self.error = exc
        self.lost.set()

    def data_received(self, data: bytes) -> None:
        now_s = time.monotonic()
        after_silence = bool(self._gap_s) and now_s - self._heard_s >= self._gap_s
        self._heard_s = now_s
        if self._echo and self._echoes is not False and not (data := self._without_echo(data, now_s)):
            return
        requests = self._requests
        self._gate.judge()
        for at in range(0, len(data), MAX_FEED_SIZE):
            part = data[at : at + MAX_FEED_SIZE]
            for unit_id, pdu in requests.feed(part, after_silence=after_silence and not at):
                self._take(unit_id, pdu)
        self._tally()
        if requests.is_waiting and self._silence is None:
            self._await_silence(self._silence_s)

    def _without_echo(self, data: bytes, now_s: float) -> bytes:
        """What is left when that is taken off which we sent, if the adapter hears it; find out whether it does."""
        ours = self._echo
        size = min(len(ours), len(data))
        if data[:size] != ours[:size]:
            self._echo = b""
            if self._tells_echo and self._echoes is None:
                self._echoes = False
            return data
        self._echo = ours[size:]
        is_echo = bool(self._echoes)
        if not self._echo and self._echoes is None:
            if self._tells_echo:
                self._echoes = is_echo = True
                log.info("%s: the adapter hears what it sends: that is left out from now on", self._door.url)
            else:  # of a write, and nobody can tell, but by how soon it came
                is_echo = now_s - self._sent_s < ECHO_S
        return data[size:] if is_echo else data

    def _await_silence(self, delay_s: float, *, again: bool = False) -> None:
        due_s = time.monotonic() + delay_s
        self._silence = asyncio.get_running_loop().call_later(delay_s, self._is_silent, due_s, again)

    def _is_silent(self, due_s: float, again: bool) -> None:
        """Perhaps: bytes may have come since, and the loop may have slept over others."""
        self._silence = None
        now_s = time.monotonic()
        left_s = self._heard_s + self._silence_s - now_s
        if not self._requests.is_waiting:
            return
        if left_s > 0:
            self._await_silence(left_s)
        elif now_s - due_s > LATE_S and not again:
            self._await_silence(LATE_S, again=True)
        else:
            self._gate.judge()
            for unit_id, pdu in self._requests.silence():
                self._take(unit_id, pdu)
            self._tally()

    def _tally(self) -> None:
        """What the receiver has counted."""
        requests, counters = self._requests, self.counters
        counters.heard += requests.heard
        requests.heard = 0
        if requests.errors:
            counters.unread(requests.errors)
            requests.errors = 0
            more = self._repeats.more("noise", self._gate.freshness.clock())
            if more is not None:
                log.warning(
                    "%s: something came that is no %s frame: noise, or another baudrate or parity than this%s",
                    self._door.url,
                    self._door.url.framing.upper(),
                    more,
                )

    # -- requests -----------------------------------------------------------------------------------------------

    def _take(self, unit_id: int, pdu: bytes) -> None:
        """One request on the line, for whomever."""
        self._withdraw()
        entry, counters = self._admitted(), self.counters
        if entry is None or self._stopped:
            return
        if unit_id and not entry.known[unit_id]:
            return
        is_line = pdu[0] in self._functions.functions and unit_id and entry.is_image(unit_id)
        if self.is_listen_only and not (is_line and pdu.startswith(_RESTART)):
            self._count(unit_id, pdu)
            counters.unanswered(received=events.RECEIVED_LISTENING)
        elif not unit_id:
            entry.broadcast(pdu)
            self._count(unit_id, pdu)
            counters.unanswered(received=events.BROADCAST if pdu[0] in BROADCASTS else events.RECEIVED)
        else:
            answer = entry.ask_here(self._functions, unit_id, pdu) if is_line else entry.ask(unit_id, pdu)
            self._count(unit_id, pdu)  # who asks for the counters does not find itself in them
            if isinstance(answer, Later) and not answer.is_settled:
                self._later, self._unit_id = answer, unit_id
                self.idle.clear()
                answer.then(self._settled)
            else:
                self._answer(unit_id, answer)

    def _count(self, unit_id: int, pdu: bytes) -> None:
        self.counters.requests += 1
        self._gate.counters.by_unit[unit_id] += 1
        self.heard = (unit_id, pdu)
        self.last_s = self.clock()

    def _admitted(self) -> Entry | None:
        gate, door = self._gate, self._door
        if self._generation != gate.generation:
            self._generation = gate.generation
            self._entry = gate.admit(self.origin, door.access)
            if self._entry is None:
                log.warning("%s: nobody may do anything there (access): all requests are ignored", door.url)
        return self._entry

    def _settled(self) -> None:
        later, self._later = self._later, None
        if later is not None:
            self._answer(self._unit_id, later)

    def _answer(self, unit_id: int, answer: bytes | Later | None) -> None:
        """It leaves in one write, when the line has been quiet for the gap."""
        if isinstance(answer, Later):
            answer = answer.answer
        if answer is None:
            self.counters.unanswered()
            self.idle.set()
            return
        if answer[0] >= spec.EXCEPTION_BIT:
            self._gate.counters.refused_by_unit[unit_id] += 1
            self.counters.refused(answer[1])
        self._tells_echo = answer[0] in spec.TABLE_BY_READ_FUNCTION
        frame = self._requests.pack(unit_id, answer)
        gap_s = max(0.0, self._heard_s + self._gap_s - time.monotonic())
        self.idle.clear()
        # Rounded up: uvloop's timers know milliseconds only.
        self._sending = asyncio.get_running_loop().call_later(math.ceil(gap_s * 1000) / 1000, self._send, frame)

    def _send(self, frame: bytes) -> None:
        self._sending = None
        self.idle.set()
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        if transport.get_write_buffer_size():  # nobody who takes turns asks while an answer is still leaving
            self.counters.unanswered()
            return
        line = self._door.url.line
        assert line is not None
        self._echo = frame
        self._sent_s = time.monotonic() + line.char_s * len(frame)
        transport.write(frame)

    def _withdraw(self) -> None:
        """Whoever asked does not wait any more."""
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None
            self.counters.unanswered()
        later, self._later = self._later, None
        if later is not None:
            later.abandon()
            self.counters.unanswered()
        self.idle.set()

    # -- for diagnostics and the door ---------------------------------------------------------------------------

    def restart(self, *, clear_log: bool) -> None:
        self.counters.restart(clear_log=clear_log)
        self.is_listen_only = False
        if isinstance(self._requests, AsciiRequests):
            self._requests.restore_delimiter()

    def change_delimiter(self, delimiter: int) -> bool | None:
        return self._requests.change_delimiter(delimiter) if isinstance(self._requests, AsciiRequests) else None

    def stop(self) -> None:
        """Take nothing more."""
        self._stopped = True


class SerialDoor:
    """Opens a line's port, and opens it again when it has vanished."""

    names: tuple[str, ...] = ()
    """The log tells when the port is open, not when the listener is."""

    def __init__(self, gate: Gate, door: Door, register: Callable[[], int]) -> None:
        """Called on the loop; `register`: as SerialLine's. OSError when no port at all can be opened here."""
        if not serialport.is_installed():
            raise OSError(serialport.MISSING)
        self.line = SerialLine(gate, door, register)
        self.url = door.url
        self._door = door
        self._task = asyncio.get_running_loop().create_task(self._keep_open(), name=f"listen on {door.url}")

    async def _keep_open(self) -> None:
        url, line = self.url, self.line
        wait_s, is_told = FIRST_WAIT_S, False
        while True:
            try:
                await self._open()
            except OSError as error:
                if not is_told:
                    is_told = True
                    log.warning("cannot listen on %s yet: %s; it is tried on and on", url, _why(error))
            else:
                log.info("listening on %s%s", url, " again" if is_told else "")
                opened_s = time.monotonic()
                await line.lost.wait()
                is_told = True
                log.warning("no longer listening on %s: %s; it is opened again when it is there", url, _why(line.error))
                if time.monotonic() - opened_s >= MAX_WAIT_S:
                    wait_s = FIRST_WAIT_S
            await asyncio.sleep(wait_s * random.uniform(1 - JITTER, 1 + JITTER))
            wait_s = min(2 * wait_s, MAX_WAIT_S)

    async def _open(self) -> None:
        url = self.url
        settings = url.line
        assert settings is not None
        rs485 = serialport.Rs485(settings.rts, settings.rts_before_s, settings.rts_after_s) if settings.rs485 else None
        await serialport.open_port(
            lambda: self.line,
            url.path,
            baudrate=settings.baudrate,
            parity=settings.parity,
            stopbits=settings.stopbits,
            databits=settings.databits,
            rs485=rs485,
        )

    def rows(self) -> Iterator[dict[str, Any]]:
        """As Clients.rows: whoever asks on this line, once he has."""
        line, clock = self.line, self.line.clock
        if line.heard is not None:
            row = row_of(line.origin, self._door, line.since_s, line.last_s, clock(), line.seen, line, line.heard)
            yield {**row, "unfetched": 0}

    def snapshot(self) -> dict[str, Any]:
        """For those who look."""
        counters = self.line.counters
        return {
            "url": str(self.url),
            "open": self.line.transport is not None,
            "heard": counters.heard,
            "requests": counters.requests,
            "exceptions": counters.exceptions,
            "silent": counters.silent,
            "broken": counters.broken,
        }

    def stop(self) -> None:
        """Take nothing more; the answer that is still to come may leave."""
        self.line.stop()

    async def drained(self) -> None:
        """Until it has left the port."""
        await self.line.idle.wait()
        self._task.cancel()
        if self.line.transport is not None:
            self.line.transport.close()
            await self.line.lost.wait()

    def close(self) -> None:
        """At once."""
        self.line.stop()
        self._task.cancel()
        if self.line.transport is not None:
            self.line.transport.abort()


def _why(error: Exception | None) -> str:
    """What went wrong, without the number."""
    return getattr(error, "strerror", None) or str(error) if error is not None else "it was closed"
