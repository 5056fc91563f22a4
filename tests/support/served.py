"""The serving side alone, on a loop in a thread of its own, so that clients that block can be tested against it.

Behind it: an image, a device that takes its time, and a line of which only broadcasts are told.
"""

from __future__ import annotations

import asyncio
import logging
import re
import struct
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Self, TypeVar

from gateway.bank import Bank
from gateway.clock import now
from gateway.config.model_server import Limits
from gateway.config.urls import parse_listen_url
from gateway.front.counters import Counters
from gateway.front.freshness import Freshness
from gateway.front.gate import Gate
from gateway.front.units import Units
from gateway.interfaces import Later
from gateway.modbus.spec import Table
from gateway.serving.doors import Door
from gateway.serving.server import Server
from tests.support.needs import require_module
from tests.support.until import wait_until

T = TypeVar("T")

IMAGE, SLOW, OTHER_IMAGE = 1, 5, 9
LOOPS = ("asyncio", "uvloop")
FIRST_VALUE = 0x1234


def new_loop(name: str) -> asyncio.AbstractEventLoop:
    if name == "asyncio":
        return asyncio.new_event_loop()
    require_module("uvloop")
    import uvloop

    return uvloop.new_event_loop()


class SlowUnit:
    """Answers when it is told to, or after `delay_s`; function 03 with how many requests it has had, others with an
    echo."""

    def __init__(self) -> None:
        self.delay_s: float | None = 0.0
        """None: `release` answers."""
        self.asked: list[bytes] = []
        self.laters: list[tuple[bytes, Later]] = []
        self.abandoned = 0

    def answer(self, pdu: bytes) -> Later:
        self.asked.append(pdu)
        later = Later(self._left)
        if self.delay_s is None:
            self.laters.append((pdu, later))
        else:
            asyncio.get_running_loop().call_later(self.delay_s, self._settle, pdu, later, len(self.asked))
        return later

    def may_overtake(self, pdu: bytes) -> bool:
        return False

    def release(self) -> None:
        """Answer all that wait."""
        laters, self.laters = self.laters, []
        for pdu, later in laters:
            self._settle(pdu, later, len(self.asked))

    def _settle(self, pdu: bytes, later: Later, asked: int) -> None:
        later.settle(bytes((3, 2)) + struct.pack(">H", asked) if pdu[0] == 3 else pdu)

    def _left(self) -> None:
        self.abandoned += 1


class ToldUnit:
    """A forwarded line, as a broadcast sees it: never answers in time."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def answer(self, pdu: bytes) -> Later:
        self.asked.append(pdu)
        return Later()

    def may_overtake(self, pdu: bytes) -> bool:
        return False


class Served:
    """`with Served("rtu+tcp://127.0.0.1:0") as served:` listens there."""

    def __init__(self, *urls: str, loop: str = "asyncio", limits: Limits | None = None) -> None:
        self.bank = Bank({table: [(0, 2100)] for table in Table})
        self.bank.put_registers(Table.HOLDING, 0, struct.pack(">H", FIRST_VALUE))
        self.other_bank = Bank({Table.HOLDING: [(0, 10)]})
        self.slow, self.line = SlowUnit(), ToldUnit()
        self.units = Units({IMAGE: self.bank, SLOW: self.slow, OTHER_IMAGE: self.other_bank}, IMAGE, "gateway_path")
        self.units.broadcasts = [((IMAGE,), self.bank), ((OTHER_IMAGE,), self.other_bank), ((SLOW,), self.line)]
        self.counters = Counters()
        self.gate = Gate(self.units, Freshness(now), self.counters)
        self.server = Server(
            self.gate, max_connections=10, idle_timeout_s=0.0, keepalive_s=0.0, backlog=10, limits=limits
        )
        self.log = Log()
        self.loop = new_loop(loop)
        self._urls = urls
        self._level = logging.NOTSET
        self._thread = threading.Thread(target=self.loop.run_forever, name="served", daemon=True)

    def __enter__(self) -> Self:
        root = logging.getLogger("gateway")
        self._level = root.level
        root.addHandler(self.log)
        root.setLevel(logging.INFO)
        self._thread.start()
        self.listen(*self._urls)
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            self.run(self.server.close())
            # What was closed tells so in the next turns.
            wait_until(lambda: self.run(_tasks()) == 1, what="the end of all tasks of the server")
        finally:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(5)
            self.loop.close()
            root = logging.getLogger("gateway")
            root.removeHandler(self.log)
            root.setLevel(self._level)
        assert not self.log.tracebacks, self.log.tracebacks

    def listen(self, *urls: str) -> None:
        """On these from now on; a serial port is not open yet when this returns."""
        self.run(self.server.listen([Door(parse_listen_url(url)) for url in urls]))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work` on the loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    def call(self, function: Callable[[], T]) -> T:
        """The result of `function()` on the loop."""

        async def called() -> T:
            return function()

        return self.run(called())

    def port(self, scheme: str) -> int:
        """That of the listener of this scheme which was opened last."""
        found = [
            match[1]
            for line in self.log.lines
            if (match := re.search(rf"^listening on {re.escape(scheme)}://.*:(\d+)$", line))
        ]
        return int(found[-1])

    def registers(self, first: int, count: int, bank: Bank | None = None) -> list[int]:
        """What the image holds."""
        data = (bank or self.bank).get(Table.HOLDING, first, count)
        return list(struct.unpack(f">{count}H", data))

    def wait_for_log(self, pattern: str) -> str:
        return wait_until(lambda: next((line for line in self.log.lines if re.search(pattern, line)), ""), what=pattern)


async def _tasks() -> int:
    return len(asyncio.all_tasks())


class Log(logging.Handler):
    """The lines, as people see them."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.tracebacks: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        if record.exc_info:
            self.tracebacks.append(self.format(record))

    def count(self, patterns: str) -> int:
        return sum(1 for line in list(self.lines) if re.search(patterns, line))


def registers_of(answer: bytes) -> Sequence[int]:
    """Of the PDU of an answer to function 03 or 04."""
    return struct.unpack(f">{answer[1] // 2}H", answer[2:])
