"""The listener of simulated PLCs: a few lines on `modbus.mbap`, without log; only our own machine asks.

Not the gateway's server, which counts, logs and guards for people: a simulation stands on the devices' side. What a
device does wrong is decided in `faults`; here it is carried out, with one timer for the answers of a connection that
wait, and everything that waits is counted and limited.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter, deque
from collections.abc import Callable, Mapping, MutableSequence
from functools import partial
from typing import Protocol, cast

from gateway.config.model_devices import Faults
from gateway.modbus import spec
from gateway.modbus.mbap import BrokenStream, Frame, Receiver, pack
from gateway.simulate.faults import FaultyUnit, Manners, Memory, Sending

LOOPBACK = "127.0.0.1"

MAX_WAITING = 64
"""Answers of one connection that wait for their time; with so many it is not read. No client has more outstanding."""
MAX_HELD_BYTES = MAX_WAITING * 260
"""Of answers that wait for others, or leave byte by byte; the same limit in bytes."""
JOIN_S = 0.005
"""How long `join` waits for answers that could leave together."""
_SOON_S = 0.001
"""uvloop's timers may come half a millisecond early."""


class Answering(Protocol):
    """A unit: a simulated PLC, or one that is played from a recording."""

    def answer(self, pdu: bytes) -> bytes | None:
        """The response PDU to a request PDU of at least one byte; None: silence."""
        ...


def _at_once() -> float:
    return 0.0


class SimServer:
    """Serves `plcs` by unit id; others get exception 0B, as behind a bridge whose line is silent.

    Connections of a listener are treated as the `faults` of any of its units ask for. The registers live as long as
    this object: a server that was stopped and started again is the same plant.
    """

    def __init__(
        self,
        plcs: Mapping[int, Answering],
        faults: Mapping[int, Faults] | None = None,
        *,
        delay_s: Callable[[], float] = _at_once,
    ) -> None:
        """`delay_s()`: how long the answer that was just made takes to leave, of units without faults."""
        faults = faults or {}
        self._delay_s = delay_s
        self.plcs = plcs
        self.port = 0
        """Where it listens; 0 before `start`."""
        self.manners = Manners.of(faults.values())
        self.requests: Counter[int] = Counter()
        """By unit id: what arrived and was not dropped."""
        self.executed: MutableSequence[tuple[int, bytes]] | None = None
        """Set to a list or deque, every request (unit id, PDU) is added when it is executed. None: nobody wants it."""
        self.connections = 0
        """Accepted, since the start."""
        self.turned_away = 0
        """Connections closed at once: another was open (`one_connection`)."""
        self.dropped = 0
        """Requests that came while another was worked on (`one_at_a_time`)."""
        self.working = 0
        """Requests whose answer has not left."""
        self._faulty = {unit_id: FaultyUnit(each, partial(self._execute, unit_id)) for unit_id, each in faults.items()}
        self._listener: asyncio.Server | None = None
        self._open: set[_Connection] = set()

    async def start(self, host: str = LOOPBACK, port: int = 0) -> None:
        """Listen, if it does not yet; port 0 takes a free one. Raises OSError when it cannot."""
        if self._listener is not None:
            return
        self._listener = await asyncio.get_running_loop().create_server(lambda: _Connection(self), host, port)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the listener and every connection; what has not left never will."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        listener.close()
        for connection in list(self._open):
            connection.abort()
        await listener.wait_closed()

    def enter(self, connection: _Connection) -> bool:
        """Whether the newcomer may stay."""
        if self.manners.one_connection and self._open:
            self.turned_away += 1
            return False
        self.connections += 1
        self._open.add(connection)
        return True

    def leave(self, connection: _Connection) -> None:
        self._open.discard(connection)

    def ask(self, frame: Frame, memories: dict[int, Memory]) -> Sending | None:
        """What one request is answered with; None: silence. `memories` are those of its connection, by unit id."""
        tid, unit_id, pdu = frame
        if self.manners.one_at_a_time and self.working:
            self.dropped += 1
            return None
        self.requests[unit_id] += 1
        faulty = self._faulty.get(unit_id)
        if faulty is None:
            answer = self._execute(unit_id, pdu)
            sending = None if answer is None else Sending(self._delay_s(), pack(tid, unit_id, answer))
        else:
            sending = faulty.ask(tid, unit_id, pdu, memories.setdefault(unit_id, Memory()))
        if sending is not None:
            self.working += 1
        return sending

    def _execute(self, unit_id: int, pdu: bytes) -> bytes | None:
        plc = self.plcs.get(unit_id)
        if plc is None:
            return bytes((pdu[0] | spec.EXCEPTION_BIT, spec.GATEWAY_TARGET_FAILED))
        if self.executed is not None:
            self.executed.append((unit_id, pdu))
        return plc.answer(pdu)


class _Connection(asyncio.Protocol):
    """One client. Not read while it does not fetch its answers, or while too many of them wait for their time."""

    def __init__(self, server: SimServer) -> None:
        self._server = server
        self._manners = server.manners
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._receiver = Receiver()
        self._broken = False
        self._memories: dict[int, Memory] = {}
        self._frames: deque[Frame] = deque()
        """Received and not looked at yet: there is no room for their answers. At most what one read brought."""
        self._waiting: list[tuple[float, int, bytes]] = []
        """A heap of answers by the time at which they leave; those of the same time in order."""
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = 0.0
        self._held = bytearray()
        """Of `join`: what leaves together."""
        self._trickle = bytearray()
        """Of `split`: what leaves byte by byte."""
        self._flow: asyncio.Handle | None = None
        """The next step of either."""
        self._idle: asyncio.TimerHandle | None = None
        self._heard_s = 0.0
        self._is_choked = False
        self._is_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if not self._server.enter(self):
            self._transport.close()
            self._transport = None
        elif self._manners.idle_close_s:
            self._heard_s = self._loop.time()
            self._watch_idleness()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        self._transport = None
        self._server.leave(self)

    def _forget(self) -> None:
        """What has not left never will."""
        for handle in (self._timer, self._flow, self._idle):
            if handle is not None:
                handle.cancel()
        self._server.working -= len(self._waiting)
        self._waiting.clear()
        self._frames.clear()

    def data_received(self, data: bytes) -> None:
        if self._manners.idle_close_s:
            self._heard_s = self._loop.time()
        try:
            self._frames.extend(self._receiver.feed(data))
        except BrokenStream as stream:
            self._frames.extend(stream.frames)
            self._broken = True
        self._work()

    def _work(self) -> None:
        """Answer what was received as far as there is room, each now or at its time."""
        if self._transport is None or self._transport.is_closing():
            return
        now: list[bytes] = []
        while self._frames and len(self._waiting) < MAX_WAITING and not self._is_holding_much:
            sending = self._server.ask(self._frames.popleft(), self._memories)
            if sending is None:
                continue
            if sending.delay_s:
                self._count += 1
                heapq.heappush(self._waiting, (self._loop.time() + sending.delay_s, self._count, sending.data))
            else:
                now.append(sending.data)
        if now:
            self._send(now)
        self._arm()
        self._review()

    @property
    def _is_holding_much(self) -> bool:
        return len(self._held) + len(self._trickle) > MAX_HELD_BYTES

    def _arm(self) -> None:
        """Wake when the first answer that waits is due."""
        if not self._waiting:
            return
        due_s = self._waiting[0][0]
        if self._timer is not None:
            if self._timer_s <= due_s:
                return
            self._timer.cancel()
        self._timer_s = due_s
        self._timer = self._loop.call_at(due_s, self._send_due)

    def _send_due(self) -> None:
        self._timer = None
        until_s = self._loop.time() + _SOON_S
        due: list[bytes] = []
        while self._waiting and self._waiting[0][0] <= until_s:
            due.append(heapq.heappop(self._waiting)[2])
        if due:
            self._send(due)
        self._work()

    def _send(self, answers: list[bytes]) -> None:
        """These answers leave, in this order."""
        self._server.working -= len(answers)
        if not self._manners.join:
            self._emit(b"".join(answers))
            return
        for answer in answers:
            self._held += answer
        if self._flow is None:
            self._flow = self._loop.call_later(JOIN_S, self._release)

    def _release(self) -> None:
        self._flow = None
        data, self._held = bytes(self._held), bytearray()
        self._emit(data)
        self._work()

    def _emit(self, data: bytes) -> None:
        assert self._transport is not None
        if not self._manners.split:
            self._transport.write(data)
            return
        self._trickle += data
        if self._flow is None:
            self._drip()

    def _drip(self) -> None:
        """One byte, and the next in the next turn of the loop: a transport may join what is written in one.

        Not with `call_soon`: asyncio would run that before a reader on the same loop sees the byte before. No-delay is
        on for every TCP transport of asyncio and uvloop.
        """
        self._flow = None
        assert self._transport is not None
        self._transport.write(bytes(self._trickle[:1]))
        del self._trickle[:1]
        if self._trickle:
            self._flow = self._loop.call_later(0, self._drip)
        elif self._held:
            self._flow = self._loop.call_later(JOIN_S, self._release)
        else:
            self._work()

    def _review(self) -> None:
        """Read on or not; end a broken stream when all before it was answered."""
        assert self._transport is not None
        if self._transport.is_closing():
            return
        if self._broken and not (self._frames or self._waiting or self._held or self._trickle):
            self._transport.close()
            return
        pause = self._broken or self._is_choked or bool(self._frames)
        if pause != self._is_paused:
            self._is_paused = pause
            (self._transport.pause_reading if pause else self._transport.resume_reading)()

    def pause_writing(self) -> None:
        self._is_choked = True
        self._review()

    def resume_writing(self) -> None:
        self._is_choked = False
        self._review()

    def _watch_idleness(self) -> None:
        """Close when nothing came for `idle_close`; else look again when that could be."""
        assert self._transport is not None
        left_s = self._heard_s + self._manners.idle_close_s - self._loop.time()
        if left_s <= 0:
            self._forget()
            self._transport.close()
        else:
            self._idle = self._loop.call_later(left_s + _SOON_S, self._watch_idleness)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
