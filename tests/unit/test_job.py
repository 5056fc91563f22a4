"""Jobs, sinks, freshness and device states together, on a clock moved by hand: what a client may read, and when."""

from __future__ import annotations

from fractions import Fraction

import pytest

from gateway.bank import Bank
from gateway.errors import LinkDown, RequestTimeout
from gateway.front.freshness import Freshness
from gateway.hub import Hub
from gateway.interfaces import Request
from gateway.modbus.spec import Table
from gateway.places import Placement
from gateway.polling.assemble import make_group
from gateway.polling.device import Device, State
from gateway.polling.job import Job
from gateway.polling.key import JobKey, PlannedBlock
from gateway.polling.plan import Block
from gateway.polling.wheel import Wheel
from gateway.values import Quality, Sentinel, Tag
from tests.support.fake import ManualTime

STALE_S = 5.0
READ = bytes.fromhex("0400000001")
"""Our own input register 0, where every case here places its value."""


class FakeLink:
    up = True
    trouble = ""
    is_silent = False

    def silent(self, unit_id: int) -> bool:
        return self.is_silent


class Case:
    """One device with one block of one tag (or raw), served at input:0."""

    def __init__(self, on_stale: str = "error", *, raw: bool = False, **tag: object) -> None:
        self.time = ManualTime(1000.0)
        self.freshness = Freshness(self.time.time)
        self.bank = Bank({Table.INPUT: [(0, 10)]})
        (self.span,) = self.bank.claim([(Table.INPUT, 0, 1)])
        self.link = FakeLink()
        self.device = Device("press", self.link, lambda: None, unit_id=1)
        self.hub = Hub()
        self.request: Request | None = None
        one = Tag("level", Table.HOLDING, 7, 1, "int16", **tag)  # type: ignore[arg-type]
        block = Block(Table.HOLDING, 7, 1, 1.0, () if raw else (one,))
        place = Placement(1, Table.INPUT, 0, 1)
        plan = PlannedBlock(block, place) if raw else PlannedBlock(block, None, (place,))
        key = JobKey("press", "press", plan, (None,), 1, 1.0, 0, frozenset(), STALE_S, on_stale)
        self.wheel = Wheel(self.time)
        self.group = make_group(
            key,
            self.device,
            self._submit,
            self.freshness,
            self.wheel,
            self.hub,
            {1: self.bank},
            {place: self.span},
        )

    @property
    def now_s(self) -> float:
        return self.time.now_s

    @now_s.setter
    def now_s(self, now_s: float) -> None:
        """Moved without a timer, as in a process that slept."""
        self.time.now_s = now_s

    @property
    def job(self) -> Job:
        (job,) = self.group.jobs
        return job

    def _submit(self, request: Request) -> None:
        self.request = request
        request.sent_s = self.now_s
        request.out = True

    def poll(self, registers: str | None = None, *, exception: int = 0, error: Exception | None = None) -> None:
        assert self.job.poll()
        assert self.request is not None
        self.request.out = False
        if error is not None:
            self.request.done(None, error)  # type: ignore[arg-type]
        elif exception:
            self.request.done(bytes((0x83, exception)), None)
        else:
            data = bytes.fromhex(registers or "")
            self.request.done(bytes((3, len(data))) + data, None)

    def read(self) -> str:
        """What a client gets now, as the server asks: age first."""
        if self.now_s >= self.freshness.until_s:
            self.freshness.judge(self.now_s)
        answer = self.bank.answer(READ)
        assert answer is not None
        return answer.hex()

    @property
    def quality(self) -> Quality:
        return self.hub.sample("press", "level").quality


def test_before_the_first_good_poll_there_is_no_value_whatever_on_stale_says() -> None:
    for policy in ("error", "hold", "zero"):
        case = Case(policy)
        assert case.read() == "840b"
        case.now_s += 100
        assert case.read() == "840b"
        assert case.hub.sample("press", "level").value is None


@pytest.mark.parametrize(("policy", "answer"), [("error", "840b"), ("hold", "040204d2"), ("zero", "04020000")])
@pytest.mark.parametrize("raw", [False, True])
def test_a_value_is_served_until_its_limit_and_then_as_on_stale_says(policy: str, answer: str, raw: bool) -> None:
    case = Case(policy, raw=raw)
    case.poll("04D2")
    assert case.read() == "040204d2"
    case.now_s += STALE_S - 0.01
    assert case.read() == "040204d2"
    case.now_s += 0.01
    assert case.read() == answer
    assert case.device.state is State.STALE
    case.poll("04D2")  # the same bytes as before the outage
    assert case.read() == "040204d2"
    assert case.device.state is State.GOOD


def test_a_process_that_slept_serves_nothing_old_although_no_timer_ran() -> None:
    case = Case()
    case.poll("04D2")
    assert case.read() == "040204d2"
    case.now_s += 3600
    assert case.read() == "840b"


def test_time_stamps_are_those_of_the_last_good_read() -> None:
    case = Case()
    case.poll("04D2")
    stamp = case.hub.sample("press", "level").time_ns
    assert stamp > 0
    case.poll(error=RequestTimeout("no answer"))
    case.poll(exception=4)
    assert case.hub.sample("press", "level").time_ns == stamp
    case.poll("04D2")
    assert case.hub.sample("press", "level").time_ns > stamp


def test_quality_is_uncertain_after_a_failed_poll_and_bad_when_too_old() -> None:
    case = Case()
    assert case.quality is Quality.BAD
    case.poll("04D2")
    assert case.quality is Quality.GOOD
    case.poll(error=LinkDown("refused"))
    assert case.quality is Quality.UNCERTAIN
    assert case.hub.sample("press", "level").cause == "refused"
    case.now_s += STALE_S
    assert case.quality is Quality.BAD  # judged by the clock, not only by timers
    case.poll("04D2")
    assert case.quality is Quality.GOOD


@pytest.mark.parametrize("code", [1, 2, 3])
def test_a_block_the_device_refuses_answers_with_the_devices_code(code: int) -> None:
    case = Case("hold")
    case.poll("04D2")
    case.poll(exception=code)
    assert case.read() == f"84{code:02x}"
    assert case.quality is Quality.BAD
    case.poll("04D2")
    assert case.read() == "040204d2"


@pytest.mark.parametrize("code", [4, 5, 6, 8, 10, 11])
def test_an_exception_that_may_pass_never_produces_a_value_and_keeps_the_last(code: int) -> None:
    case = Case()
    case.poll("04D2")
    case.poll(exception=code)
    assert case.read() == "040204d2"
    assert case.quality is Quality.UNCERTAIN
    case.now_s += STALE_S
    assert case.read() == "840b"


def test_a_sentinel_makes_its_registers_stale_at_once() -> None:
    case = Case(no_value=(Sentinel(True, 0x8000),))
    case.poll("04D2")
    case.poll("8000")
    assert case.read() == "840b"
    assert case.hub.sample("press", "level")[1:2] == (Quality.BAD,)
    assert case.hub.sample("press", "level").cause == "no value"
    case.poll("04D2")
    assert case.read() == "040204d2"


def test_what_does_not_fit_is_bad_never_wrapped() -> None:
    case = Case(scale=Fraction(10))
    case.poll("0064")
    assert case.read() == "040203e8"
    case.poll("7FFF")
    assert case.read() == "840b"
    assert "does not fit" in case.hub.sample("press", "level").cause


def test_the_deadband_holds_the_value_for_image_and_hub_alike() -> None:
    case = Case(deadband=5.0)
    case.poll("0064")
    case.poll("0069")
    assert case.read() == "04020064"
    assert case.hub.sample("press", "level").value == 100
    case.poll("006A")
    assert case.read() == "0402006a"
    case.now_s += STALE_S
    assert case.read() == "840b"
    case.poll("0068")  # after an outage the value is placed whatever it is
    assert case.read() == "04020068"


def test_a_poll_whose_last_one_is_out_is_skipped() -> None:
    case = Case()
    assert case.job.poll()
    assert not case.job.poll()


def test_the_status_block_tells_state_age_exception_and_counts() -> None:
    case = Case()
    assert case.device.status(case.now_s).hex() == "0000ffff" + "0000" * 2 + "00000000" * 2
    case.poll("04D2")
    case.now_s += 3.9
    assert case.device.status(case.now_s).hex() == "00010003" + "0000" * 2 + "00000001" + "00000000"
    case.poll(exception=6)
    assert case.device.status(case.now_s).hex() == "00010003" + "00060001" + "00000001" + "00000001"
    case.now_s += 10
    case.read()
    assert case.device.status(case.now_s)[:4].hex() == "0002000d"
    case.link.up = False
    case.link.trouble = "refused the connection"
    case.device.review()
    assert case.device.status(case.now_s)[:2].hex() == "0003"


def test_a_disabled_device_shows_four_and_never() -> None:
    assert Device("press", None, lambda: None, unit_id=1).status(0.0)[:4].hex() == "0004ffff"


def test_a_device_that_never_answered_stays_waiting_and_the_log_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    case = Case()
    for _ in range(3):
        case.poll(error=RequestTimeout("no answer within 1 s"))
        case.now_s += STALE_S
        case.read()
    assert case.device.state is State.WAITING
    assert [record.getMessage() for record in caplog.records] == [
        "device press: no good read yet (no answer within 1 s)"
    ]


def test_a_bug_with_one_tag_leaves_the_time_of_its_block_and_its_readers_without_a_value() -> None:
    case = Case()
    case.poll("04D2")
    sink = case.job._tags[0]
    sink._convert = lambda raw: 1 // 0  # type: ignore[assignment, attr-defined]
    case.poll("04D3")
    assert case.read() == "840b"
    assert case.device.status(case.now_s)[:4].hex() == "00010000"
    assert "bug" in case.hub.sample("press", "level").cause
