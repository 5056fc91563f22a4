"""One polled device on a clock moved by hand: a PLC that refuses, is busy or silent; a client that reads our image."""

from __future__ import annotations

from gateway.bank import Bank
from gateway.errors import RequestTimeout
from gateway.front.freshness import Freshness
from gateway.hub import Hub
from gateway.interfaces import Request
from gateway.modbus import spec
from gateway.modbus.spec import Table
from gateway.places import Placement
from gateway.polling.assemble import make_group
from gateway.polling.device import Device
from gateway.polling.group import Group
from gateway.polling.key import JobKey, PlannedBlock
from gateway.polling.plan import Block
from gateway.polling.wheel import Wheel
from gateway.values import Quality, Tag
from tests.support.fake import ManualTime

STALE_S = 5.0


class Plc:
    """Registers that hold their address plus 1000, and reasons to refuse. Coils are on at odd addresses."""

    def __init__(self) -> None:
        self.values: dict[int, int] = {}
        self.missing: dict[int, int] = {}
        """Exception codes by address: a request that touches one gets it."""
        self.refuse_all = 0
        """An exception code for everything."""
        self.answers: list[int] = []
        """Exception codes for the next requests, 0 a good one."""
        self.most = 2000
        """More in one request is refused with 03."""
        self.is_silent = False

    def answer(self, pdu: bytes) -> bytes | None:
        function, first, count = pdu[0], int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big")
        if self.is_silent:
            return None
        code = self.answers.pop(0) if self.answers else self.refuse_all
        if count > self.most:
            code = code or spec.ILLEGAL_VALUE
        code = code or next((self.missing[a] for a in range(first, first + count) if a in self.missing), 0)
        if code:
            return bytes((function | 0x80, code))
        if function in (spec.READ_COILS, spec.READ_DISCRETE_INPUTS):
            bits = sum((a & 1) << i for i, a in enumerate(range(first, first + count)))
            data = bits.to_bytes((count + 7) // 8, "little")
        else:
            data = b"".join(self.values.get(a, a + 1000).to_bytes(2, "big") for a in range(first, first + count))
        return bytes((function, len(data))) + data


class Link:
    """Answers what is asked after `took_s`."""

    def __init__(self, time: ManualTime, plc: Plc) -> None:
        self.up = True
        self.trouble = ""
        self.silent_units: set[int] = set()
        self.took_s = 0.01
        self.asked: list[tuple[float, int, int]] = []
        """(when, first, count) of every request."""
        self.requests: list[Request] = []
        self._time = time
        self._plc = plc

    def silent(self, unit_id: int) -> bool:
        return unit_id in self.silent_units

    def submit(self, request: Request) -> None:
        request.out = True
        request.attempts = 1
        request.sent_s = self._time.now_s
        self.requests.append(request)
        first, count = int.from_bytes(request.pdu[1:3], "big"), int.from_bytes(request.pdu[3:5], "big")
        self.asked.append((self._time.now_s, first, count))
        answer = self._plc.answer(request.pdu)
        took_s = self.took_s if answer is not None else request.timeout_s

        def done() -> None:
            request.out = False
            request.took_s = took_s
            request.done(answer, None if answer is not None else RequestTimeout("no answer"))

        self._time.call_at(self._time.now_s + took_s, done)

    def take(self) -> list[tuple[int, int]]:
        """(first, count) of what was asked since the last call."""
        asked = [(first, count) for _, first, count in self.asked]
        self.asked.clear()
        return asked


class Polled:
    """One planned block: raw (`count` from `first`) at the same addresses of our input registers, or tags."""

    def __init__(
        self,
        first: int = 0,
        count: int = 10,
        *,
        tags: list[Tag] | None = None,
        every_s: float = 1.0,
        table: Table = Table.HOLDING,
        on_stale: str = "error",
        stale_s: float = STALE_S,
    ) -> None:
        self.time = ManualTime(1000.0)
        self.plc = Plc()
        self.link = Link(self.time, self.plc)
        self.freshness = Freshness(self.time.time)
        self.image = Table.DISCRETE if table.is_bits else Table.INPUT
        self.bank = Bank({self.image: [(0, 3000)]})
        self.wheel = Wheel(self.time)
        self.hub = Hub()
        self.device = Device("press", self.link, lambda: None, unit_id=1)
        if tags:
            first, stop = tags[0].first, max(tag.stop for tag in tags)
            block = Block(table, first, stop - first, every_s, tuple(tags))
            places = tuple(Placement(1, self.image, tag.first, tag.registers) for tag in tags)
            plan = PlannedBlock(block, None, places)
        else:
            plan = PlannedBlock(Block(table, first, count, every_s), Placement(1, self.image, first, count))
        wanted = list(plan.placements())
        claimed = self.bank.claim([(place.table, place.first, place.count) for place in wanted])
        self.spans = dict(zip(wanted, claimed, strict=True))
        as_ = (None,) * len(plan.tags)
        self.key = JobKey("press", "press", plan, as_, 1, 1.0, 0, frozenset(), stale_s, on_stale)
        self.group: Group = make_group(
            self.key, self.device, self.link.submit, self.freshness, self.wheel, self.hub, {1: self.bank}, self.spans
        )
        self.group.start()

    def run(self, seconds: float) -> None:
        """Let time pass; ages are judged every tenth of a second."""
        end_s = self.time.now_s + seconds
        while self.time.now_s < end_s - 1e-9:
            self.time.advance(min(0.1, end_s - self.time.now_s))
            self.freshness.judge(self.time.now_s)

    def read(self, first: int, count: int = 1) -> list[int] | int:
        """What a client gets: the values, or the exception code."""
        if self.time.now_s >= self.freshness.until_s:
            self.freshness.judge(self.time.now_s)
        pdu = bytes((self.image.read_function,)) + first.to_bytes(2, "big") + count.to_bytes(2, "big")
        answer = self.bank.answer(pdu)
        assert isinstance(answer, bytes)
        if answer[0] & 0x80:
            return answer[1]
        if self.image.is_bits:
            return [answer[2 + (i >> 3)] >> (i & 7) & 1 for i in range(count)]
        return [answer[i] << 8 | answer[i + 1] for i in range(2, len(answer), 2)]

    def each(self, first: int, count: int) -> list[int]:
        """One by one: the values, or minus the exception codes."""
        found = [self.read(address) for address in range(first, first + count)]
        return [-value if isinstance(value, int) else value[0] for value in found]

    def quality(self, tag: str) -> Quality:
        return self.hub.sample("press", tag).quality
