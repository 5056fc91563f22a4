"""A line with devices in virtual time: the real link, carrier and framer on a loop whose clock jumps to what is next.

Half an hour of a line takes two seconds, and the same seed gives the same half hour. The rule: everything of ours is
real, down to the bytes of RTU; what stands in is the loop's clock, the transport and the devices. A device has one
queue, works through it in order and answers in its own time, however late that is: which is what hurts on a line.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest

from gateway.errors import LinkError
from gateway.interfaces import Priority, Request
from gateway.modbus import rtu
from gateway.southbound import framed
from gateway.southbound.framed import FRAMINGS, Echo, FramedCarrier, Pace
from gateway.southbound.link import Link
from gateway.southbound.seams import Settings

T = TypeVar("T")

PORT = Pace(char_s=0.0001, gap_s=0.002, stays=True)
"""A serial port of some 115200 baud."""
STREAM = Pace()
"""The same line behind a serial server: after a time-out it is dialled anew, and what comes late comes all the same."""
TIMER_LATENESS_S = 1e-6
"""No timer of a real loop comes before its time."""


class Clock(selectors.SelectSelector):
    """Where a loop would wait, the time passes."""

    now_s = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing is to come any more"
        if timeout > 0:
            self.now_s += timeout + TIMER_LATENESS_S
        return []


class Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = Clock()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now_s


def play(scenario: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What comes of it, in virtual time. Tasks that it leaves are cancelled."""
    with pytest.MonkeyPatch.context() as patch, asyncio.Runner(loop_factory=Loop) as runner:
        patch.setattr(framed, "time", SimpleNamespace(monotonic=runner.get_loop().time))
        return runner.run(scenario())


def now_s() -> float:
    return asyncio.get_running_loop().time()


class Device:
    """Works through what it is asked, in order. Every register of an answer is the number of its request."""

    def __init__(self, line: VirtualLine, unit_id: int, *, answers_as: int | None = None) -> None:
        self.unit_id = unit_id
        self.asked = 0
        """So many requests were for it."""
        self.takes: Callable[[], float | None] = lambda: 0.01
        """Seconds for the next request; None: that is never answered, though it may be executed."""
        self.is_off: Callable[[], bool] = lambda: False
        self.refuses: Callable[[bytes], bool] = lambda pdu: False
        self.glitch = b""
        """What its driver makes of the moment before it sends."""
        self._line = line
        self._answers_as = unit_id if answers_as is None else answers_as
        self._free_s = 0.0
        self._answers: dict[int, tuple[bytes, bytes]] = {}
        line.devices.append(self)

    def request(self, unit_id: int, pdu: bytes) -> None:
        if unit_id != self.unit_id or self.is_off():
            return
        self.asked += 1
        answer = bytes((pdu[0] | 0x80, 2)) if self.refuses(pdu) else self._answer(pdu)
        self._answers[self.asked] = pdu, answer
        took_s = self.takes()
        if took_s is not None:
            self._free_s = max(now_s(), self._free_s) + took_s
            self._line.put_at(self._free_s, self.glitch + rtu.pack(self._answers_as, answer))

    def gave(self, answer: bytes, pdu: bytes, since: int) -> bool:
        """Whether this is what it answered to this request, after it had been asked `since` others."""
        return any(self._answers[number] == (pdu, answer) for number in range(since + 1, self.asked + 1))

    def _answer(self, pdu: bytes) -> bytes:
        match pdu[0]:
            case 1 | 2:
                size = (pdu[4] + 7) // 8
                return bytes((pdu[0], size)) + bytes((self.asked & 0xFF,)) * size
            case 3 | 4:
                return bytes((pdu[0], 2 * pdu[4])) + (self.asked & 0xFFFF).to_bytes(2, "big") * pdu[4]
            case 5 | 6 | 22:
                return pdu
            case 15 | 16:
                return pdu[:5]
        return bytes((pdu[0] | 0x80, 1))


class Wire(asyncio.Transport):
    """One connection to the line."""

    def __init__(self, devices: list[Device], carrier: FramedCarrier) -> None:
        super().__init__()
        self._devices, self._carrier, self._is_closed = devices, carrier, False

    def is_closing(self) -> bool:
        return self._is_closed

    def abort(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            asyncio.get_running_loop().call_soon(self._carrier.connection_lost, None)

    def write(self, data: Any) -> None:
        for device in self._devices:
            device.request(data[0], bytes(data[1:-2]))

    def put(self, data: bytes) -> None:
        if not self._is_closed:
            self._carrier.data_received(data)


class VirtualLine:
    """Devices, and the link to them; within `play`."""

    def __init__(self, pace: Pace = PORT) -> None:
        self.devices: list[Device] = []
        self.began_s = now_s()
        self._pace, self._echo = pace, Echo()
        self._wire: Wire | None = None
        loop = asyncio.get_running_loop()
        self.link = Link("line", self._dial, Settings(), loop, clock=loop.time, jitter=lambda: 0.0)
        self._tasks = [loop.create_task(self.link.run())]

    @property
    def at_s(self) -> float:
        """Since it began."""
        return now_s() - self.began_s

    def put_at(self, when_s: float, data: bytes) -> None:
        """On whatever connection there is then."""
        asyncio.get_running_loop().call_at(when_s, self._put, data)

    def keep(self, task: Coroutine[Any, Any, None]) -> None:
        """Run it as long as the line."""
        self._tasks.append(asyncio.get_running_loop().create_task(task))

    async def run(self, seconds: float) -> None:
        """Let it run on; what went wrong in a task is raised."""
        done, _ = await asyncio.wait(self._tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()

    async def _dial(self, owner: Any) -> FramedCarrier:
        carrier = FramedCarrier(owner, FRAMINGS["rtu"], self._pace, "line", self._echo)
        self._wire = Wire(self.devices, carrier)
        carrier.connection_made(self._wire)
        return carrier

    def _put(self, data: bytes) -> None:
        if self._wire is not None:
            self._wire.put(data)


Heard = Callable[[bytes | None, LinkError | None], None]


class Poll:
    """One prepared request every `period_s`, that probes when its unit is silent."""

    can_probe = True

    def __init__(
        self,
        line: VirtualLine,
        unit_id: int,
        pdu: bytes,
        period_s: float,
        *,
        timeout_s: float = 1.0,
        quirks: frozenset[str] = frozenset(),
        starts: Callable[[], None] = lambda: None,
        heard: Heard = lambda answer, error: None,
    ) -> None:
        """`starts()` is called before it is asked, `heard` with what comes of it."""
        self.good_s: list[float] = []
        """When it was answered, since the line began."""
        self._line, self._period_s, self._starts, self._heard = line, period_s, starts, heard
        self._request = Request(unit_id, pdu, timeout_s, 1, self._done, quirks, Priority.POLL)
        line.link.watch(unit_id, self)
        line.keep(self._run())

    def link_changed(self) -> None:
        """It asks in its own time."""

    def probe(self) -> None:
        if not self._request.out:
            self._starts()
            self._line.link.submit(self._request)

    def _done(self, answer: bytes | None, error: LinkError | None) -> None:
        if answer is not None:
            self.good_s.append(self._line.at_s)
        self._heard(answer, error)

    async def _run(self) -> None:
        while True:
            self.probe()
            await asyncio.sleep(self._period_s)


async def ask(link: Link, request: tuple[int, bytes], timeout_s: float, quirks: frozenset[str]) -> bytes | LinkError:
    """What a client is told; a write overtakes as writes do."""
    unit_id, pdu = request
    told: asyncio.Future[bytes | LinkError] = asyncio.get_running_loop().create_future()

    def done(answer: bytes | None, error: LinkError | None) -> None:
        outcome = answer if error is None else error
        assert outcome is not None
        if not told.cancelled():
            told.set_result(outcome)

    priority = Priority.ASK if pdu[0] in (1, 2, 3, 4, 0x41) else Priority.WRITE
    link.submit(Request(unit_id, pdu, timeout_s, 0, done, quirks, priority))
    return await told
