"""A link's rules, on a clock moved by hand and a carrier that is the test."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import LinkBusy, LinkDown, LinkError, MalformedResponse, RequestTimeout
from gateway.interfaces import Request
from gateway.modbus import mbap
from gateway.repeat import REPEAT_S
from gateway.southbound.link import MAX_REDIAL_S, Link
from gateway.southbound.queues import MAX_POLLS
from gateway.southbound.seams import Carrier, Owner, Settings
from tests.support.fake import ManualTime, RecordingCarrier

READ_TWO = bytes.fromhex("0300000002")
TWO = bytes.fromhex("030400010002")


class Case:
    """A connected link and what its requests were told."""

    def __init__(self, **settings: float) -> None:
        self.time = ManualTime()
        self.carrier = RecordingCarrier()
        self.link = Link(
            "link test",
            self._never,
            Settings(**settings),  # type: ignore[arg-type]
            self.time,
            clock=self.time.time,
        )
        self.link.connected(self.carrier)
        self.told: list[tuple[str, bytes | LinkError | None]] = []

    async def _never(self, owner: Owner) -> Carrier:
        raise AssertionError("no test dials")

    def reconnect(self) -> None:
        """The device accepts a new connection."""
        assert self.carrier.closed
        self.carrier = RecordingCarrier()
        self.link.connected(self.carrier)

    def submit(self, name: str = "a", *, unit: int = 1, retries: int = 0, quirks: tuple[str, ...] = ()) -> Request:
        def done(answer: bytes | None, error: LinkError | None) -> None:
            self.told.append((name, answer if error is None else error))

        request = Request(unit, READ_TWO, 1.0, retries, done, frozenset(quirks))
        self.link.submit(request)
        return request

    def sent(self) -> list[mbap.Frame]:
        return mbap.Receiver().feed(self.carrier.take())

    def answer(self, tid: int, pdu: bytes = TWO, unit: int = 1) -> None:
        self.link.received([(tid, unit, pdu)])

    @property
    def errors(self) -> list[type]:
        return [type(result) for _, result in self.told]


def test_one_request_is_out_at_a_time_unless_in_flight_allows_more() -> None:
    case = Case()
    case.submit("a")
    case.submit("b")
    [(tid, unit, pdu)] = case.sent()
    assert (unit, pdu) == (1, READ_TWO)
    case.answer(tid)
    assert case.told == [("a", TWO)]
    assert len(case.sent()) == 1


def test_answers_are_paired_by_transaction_id_in_any_order() -> None:
    case = Case(in_flight=4)
    for name in "abc":
        case.submit(name)
    a, b, c = (tid for tid, _, _ in case.sent())
    case.answer(c)
    case.answer(a)
    case.answer(b)
    assert [name for name, _ in case.told] == ["c", "a", "b"]


def test_after_a_time_out_nothing_is_sent_on_that_connection_and_its_late_answers_are_nobodys() -> None:
    case = Case(in_flight=2)
    case.submit("a")
    case.time.advance(0.5)
    case.submit("b")
    (late, _, _), (other, _, _) = case.sent()
    case.time.advance(0.5)
    assert case.errors == [RequestTimeout]
    case.submit("c")
    assert case.sent() == [], "the connection is to be closed"
    case.answer(late, bytes.fromhex("0304DEADBEEF"))
    assert case.link.counters.late == 1
    assert not case.carrier.closed, "what is out is waited for"
    case.answer(other)
    assert case.told[1:] == [("b", TWO)]
    case.reconnect()
    [(tid, _, _)] = case.sent()
    case.answer(tid)
    assert case.told[2:] == [("c", TWO)]


def test_an_answer_that_waited_in_our_buffers_while_the_process_slept_is_late() -> None:
    case = Case()
    case.submit("a")
    [(tid, _, _)] = case.sent()
    case.time.now_s += 60.0  # stopped: no timer ran
    case.answer(tid)
    assert case.errors == [RequestTimeout]


def test_an_answer_of_another_unit_is_dropped_and_waited_on() -> None:
    case = Case()
    case.submit("a", unit=3)
    [(tid, _, _)] = case.sent()
    case.answer(tid, unit=4)
    assert case.told == []
    assert case.link.counters.foreign == 1
    case.answer(tid, unit=3)
    assert case.told == [("a", TWO)]


@pytest.mark.parametrize(
    "pdu",
    ["040400010002", "0302000100", "03020001", "030400010002FF", "8302FF", "84", "10000000 02"],
)
def test_an_answer_that_does_not_fit_its_request_closes_the_connection(pdu: str) -> None:
    case = Case(in_flight=2)
    case.submit("a")
    case.submit("b")
    (tid, _, _), _ = case.sent()
    case.answer(tid, bytes.fromhex(pdu))
    assert {name: type(result) for name, result in case.told} == {"a": MalformedResponse, "b": LinkDown}
    assert case.carrier.closed
    assert not case.link.up


def test_an_exception_response_is_an_answer_and_keeps_the_connection() -> None:
    case = Case()
    case.submit("a")
    [(tid, _, _)] = case.sent()
    case.answer(tid, b"\x83\x02")
    assert case.told == [("a", b"\x83\x02")]
    assert case.link.up


def test_a_read_is_asked_again_before_it_fails() -> None:
    case = Case()
    case.submit("a", retries=1)
    assert len(case.sent()) == 1
    case.time.advance(1.0)
    case.reconnect()
    assert len(case.sent()) == 1
    assert case.told == []
    case.time.advance(1.0)
    assert case.errors == [RequestTimeout]
    assert "asked 2 times" in str(case.told[0][1])


def test_each_time_out_takes_a_new_connection_and_the_link_stays_up() -> None:
    case = Case()
    for number in range(3):
        assert case.link.counters.redials == number
        case.submit()
        case.time.advance(1.0)
        assert case.link.up
        case.reconnect()
    assert case.link.silent(1)


def test_a_shorter_time_out_behind_a_longer_one_is_kept() -> None:
    case = Case(in_flight=2)
    slow = Request(1, READ_TWO, 5.0, 0, lambda *_: case.told.append(("slow", None)))
    fast = Request(1, READ_TWO, 0.5, 0, lambda *_: case.told.append(("fast", None)))
    case.link.submit(slow)
    case.link.submit(fast)
    case.time.advance(0.5)
    assert [name for name, _ in case.told] == ["fast"]


def test_quiet_times_are_kept_after_connecting_and_between_requests() -> None:
    case = Case(connect_delay_s=2.0, delay_s=0.1)
    case.submit("a")
    case.submit("b")
    assert case.sent() == []
    case.time.advance(2.0)
    [(tid, _, _)] = case.sent()
    case.time.advance(0.5)
    case.answer(tid)
    assert case.sent() == []  # the delay runs from the answer
    case.time.advance(0.1)
    assert len(case.sent()) == 1


def test_a_lost_connection_fails_everything_and_keeps_nothing() -> None:
    case = Case()
    case.submit("a")
    case.submit("b")
    case.link.lost(case.carrier, None)
    assert case.errors == [LinkDown, LinkDown]
    case.submit("c")
    assert case.errors == [LinkDown] * 3
    case.link.connected(RecordingCarrier())
    assert len(case.told) == 3


def test_a_full_queue_refuses() -> None:
    case = Case()
    for _ in range(MAX_POLLS + 1):
        case.submit()
    assert case.told == []
    case.submit()
    assert case.errors == [LinkBusy]


def test_transaction_ids_skip_zero_and_those_still_out() -> None:
    case = Case(in_flight=2)
    case.submit("stays")
    [(stays, _, _)] = case.sent()
    seen = set()
    for _ in range(70_000):
        case.submit("b")
        [(tid, _, _)] = case.sent()
        seen.add(tid)
        case.answer(tid)
        if len(case.told) % 900 == 0:
            case.time.now_s += 0.001
    assert 0 not in seen
    assert stays not in seen
    assert len(seen) == 65_534


def test_transaction_id_zero_is_accepted_only_when_asked_for() -> None:
    strict = Case()
    strict.submit("a")
    strict.answer(0)
    assert strict.told == []
    relaxed = Case()
    relaxed.submit("a", quirks=("tid_zero",))
    relaxed.answer(0)
    assert relaxed.told == [("a", TWO)]


def test_any_unit_is_accepted_only_when_asked_for() -> None:
    case = Case()
    case.submit("a", unit=19, quirks=("any_unit",))
    [(tid, _, _)] = case.sent()
    case.answer(tid, unit=0)
    assert case.told == [("a", TWO)]


def test_with_relaxed_pairing_every_time_out_takes_a_new_connection() -> None:
    case = Case()
    case.submit("a", quirks=("tid_zero",))
    case.time.advance(1.0)
    assert case.errors == [RequestTimeout]
    assert case.carrier.closed


def test_a_request_submitted_from_its_own_answer_goes_out() -> None:
    case = Case()
    request = Request(1, READ_TWO, 1.0, 0, lambda answer, error: case.link.submit(request))
    case.link.submit(request)
    for _ in range(5):
        [(tid, _, _)] = case.sent()
        case.answer(tid)
    assert case.link.answers == 5


def test_a_dead_unit_ahead_of_a_healthy_one_does_not_starve_it() -> None:
    case = Case()
    case.submit("dead", unit=1, retries=1)
    case.submit("dead", unit=1, retries=1)
    case.submit("alive", unit=2)
    asked: list[int] = []
    for _ in range(12):
        for tid, unit, _ in case.sent():
            asked.append(unit)
            if unit == 2:
                case.answer(tid, unit=2)
        case.time.advance(0.5)
        if case.carrier.closed:
            case.reconnect()
    assert asked == [1, 1, 2, 1]  # after three time-outs in a row the dead one is left alone
    assert case.link.up
    assert ("alive", TWO) in case.told


def test_what_waited_behind_time_outs_goes_out_on_the_next_connection() -> None:
    case = Case()
    case.submit("dead", quirks=("any_unit",))
    case.submit("alive", unit=2)
    case.time.advance(1.0)
    assert case.carrier.closed
    assert case.errors == [RequestTimeout]
    case.carrier = RecordingCarrier()
    case.link.connected(case.carrier)
    [(tid, unit, _)] = case.sent()
    assert unit == 2
    case.answer(tid, unit=2)
    assert case.told[1] == ("alive", TWO)


def test_an_idle_connection_that_the_device_closes_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    case = Case()
    for _ in range(3):
        case.submit()
        case.answer(case.sent()[0][0])
        case.link.lost(case.carrier, None)
        case.carrier = RecordingCarrier()
        case.link.connected(case.carrier)
    assert [record for record in caplog.records if record.levelname != "DEBUG"] == []


class Watching:
    """Somebody whose unit is behind the link."""

    def __init__(self, case: Case, unit: int) -> None:
        self.changes = 0
        self.can_probe = True
        case.link.watch(unit, self)

    def link_changed(self) -> None:
        self.changes += 1

    def probe(self) -> None:
        pass


def test_a_time_out_takes_a_new_connection_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    # Later answers on the old one could be those to the requests before (protocol digest 6.1, lag by one).
    case = Case()
    unit = Watching(case, 1)
    case.submit("a", retries=1)
    case.submit("b", unit=2)
    case.sent()
    case.time.advance(1.0)
    assert case.carrier.closed
    assert case.told == []
    case.submit("c")
    case.reconnect()
    for _ in range(3):
        [(tid, answering, _)] = case.sent()
        case.answer(tid, unit=answering)
    assert sorted(name for name, result in case.told if result == TWO) == ["a", "b", "c"]
    assert case.link.counters.redials == 1
    assert unit.changes == 0
    assert caplog.records == []


def test_what_is_told_of_a_time_out_sends_nothing_on_the_connection_that_is_closed() -> None:
    case = Case()
    again = Request(1, READ_TWO, 1.0, 0, lambda answer, error: case.told.append(("again", answer)))
    first = Request(1, READ_TWO, 1.0, 0, lambda answer, error: case.link.submit(again))
    case.link.submit(first)
    case.sent()
    old = case.carrier
    case.time.advance(1.0)
    assert old.take() == b""
    case.reconnect()
    [(tid, _, _)] = case.sent()
    case.answer(tid)
    assert case.told == [("again", TWO)]


def test_a_link_that_ends_while_it_redials_tells_everybody() -> None:
    async def main() -> None:
        never = asyncio.get_running_loop().create_future()

        async def hang(owner: Owner) -> Carrier:
            result: Carrier = await never
            return result

        case = Case()
        case.link.keeper._dials = [hang]
        running = asyncio.create_task(case.link.run())
        case.submit("a")
        case.time.advance(1.0)
        case.submit("b")
        await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert case.errors == [RequestTimeout, LinkDown]

    asyncio.run(main())


def test_what_waited_for_a_new_connection_fails_when_it_cannot_be_made() -> None:
    case = Case()
    Watching(case, 1)
    case.submit("a")
    case.submit("b")
    case.time.advance(1.0)
    case.submit("c")
    case.link.failed("refused the connection")
    assert case.errors == [RequestTimeout, LinkDown, LinkDown]
    case.submit("d")
    assert case.errors[-1] is LinkDown


def lose_and_reconnect(case: Case, error: Exception | None) -> None:
    case.submit("a")
    case.link.lost(case.carrier, error)
    case.carrier = RecordingCarrier()
    case.link.connected(case.carrier)


def answer_one(case: Case) -> None:
    case.submit("a")
    [(tid, _, _)] = case.sent()
    case.answer(tid)


def test_each_kind_of_trouble_is_told_once_until_something_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    case = Case()
    for _ in range(3):
        lose_and_reconnect(case, ConnectionResetError(104, "reset"))
        lose_and_reconnect(case, None)
        case.link.failed("the host does not answer")
        case.link.connected(case.carrier)
    assert len(caplog.records) == 2
    case.time.advance(REPEAT_S + 1)
    lose_and_reconnect(case, None)
    assert len(caplog.records) == 2, "the same outage"
    answer_one(case)
    lose_and_reconnect(case, None)
    assert len(caplog.records) == 3


def test_a_device_that_comes_and_goes_has_a_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    case = Case()
    for _ in range(120):
        lose_and_reconnect(case, None)
        answer_one(case)
        case.time.advance(1.0)
    assert len(caplog.records) in (2, 3)
    assert "59 times since the last line" in caplog.records[1].getMessage()


def test_a_poll_that_nobody_wants_any_more_is_not_sent() -> None:
    case = Case()
    case.submit("out")
    gone = case.submit("gone")
    case.submit("next")
    gone.wanted = False
    [(tid, _, _)] = case.sent()
    case.answer(tid)
    [(tid, _, _)] = case.sent()
    case.answer(tid)
    assert [name for name, result in case.told if result == TWO] == ["out", "next"]
    assert case.link.counters.dropped == 1


# -- lines: no transaction ids ------------------------------------------------------------------------------------


class FakeLine:
    """A line whose bytes are the test's."""

    def __init__(self, *, stays: bool = True, wire_s: float = 0.0) -> None:
        self.has_ids = False
        self.stays = stays
        self.heard_s = 0.0
        self.forgot = 0
        self._wire_s = wire_s

    def is_unsure(self, pdu: bytes) -> bool:
        return False

    def wire_s(self, request: Request) -> float:
        return self._wire_s

    def forget(self) -> None:
        self.forgot += 1


class LineCase(Case):
    """A link on a line."""

    def __init__(self, *, stays: bool = True, wire_s: float = 0.0, **settings: float) -> None:
        super().__init__(**settings)
        self.line = FakeLine(stays=stays, wire_s=wire_s)
        self.carrier.close()
        self.reconnect()

    def reconnect(self) -> None:
        assert self.carrier.closed
        self.carrier = RecordingCarrier()
        self.carrier.line = self.line
        self.link.connected(self.carrier)

    def hear(self) -> None:
        self.line.heard_s = self.time.now_s


def test_a_line_has_one_request_out_whatever_the_settings_say() -> None:
    case = LineCase(in_flight=4)
    case.submit("a")
    case.submit("b")
    assert len(case.sent()) == 1
    case.link.configure(Settings(in_flight=8))
    assert case.sent() == []
    told = case.link.snapshot()
    assert (told["in_flight"], told["pending"], told["queued"]) == (1, 1, 1)


@pytest.mark.parametrize(("timeout_s", "listen_s"), [(0.02, 0.05), (0.2, 0.1), (0.8, 0.4), (5.0, 0.5)])
def test_after_a_time_out_a_line_is_listened_to_for_half_of_it(timeout_s: float, listen_s: float) -> None:
    case = LineCase()
    case.link.submit(Request(1, READ_TWO, timeout_s, 0, lambda *_: None))
    case.sent()
    case.time.advance(timeout_s)
    assert case.line.forgot == 1
    case.submit("b", unit=2)
    case.time.advance(listen_s - 0.001)
    assert case.sent() == []
    case.time.advance(0.002)
    assert len(case.sent()) == 1
    assert not case.carrier.closed
    assert case.link.counters.redials == 0


def test_a_line_on_which_bytes_still_come_is_listened_to_until_they_end() -> None:
    case = LineCase()
    case.submit("a")
    case.sent()
    case.time.advance(1.0)
    case.submit("b", unit=2)
    for _ in range(100):
        case.time.advance(0.01)
        case.hear()
        assert case.sent() == []
    case.time.advance(0.049)
    assert case.sent() == []
    case.time.advance(0.002)
    assert len(case.sent()) == 1


def test_a_line_that_is_never_quiet_is_sent_on_all_the_same() -> None:
    case = LineCase()
    case.submit("a")
    case.sent()
    case.time.advance(1.0)
    case.submit("b", unit=2)
    waited_s = 0.0
    while not case.sent():
        case.time.advance(0.01)
        case.hear()
        waited_s += 0.01
        assert waited_s < 3.0
    assert waited_s > 2.0


def test_bytes_that_come_long_after_a_time_out_are_waited_for_when_something_is_to_be_sent() -> None:
    case = LineCase()
    case.submit("a")
    case.sent()
    case.time.advance(1.7)
    case.hear()
    case.submit("b", unit=2)
    assert case.sent() == []
    case.time.advance(0.051)
    assert len(case.sent()) == 1


def test_a_line_that_does_not_stay_is_opened_anew_and_then_listened_to() -> None:
    case = LineCase(stays=False)
    case.submit("a", retries=1)
    case.sent()
    case.time.advance(1.0)
    assert case.carrier.closed
    case.reconnect()
    assert case.sent() == []
    case.time.advance(0.501)
    assert len(case.sent()) == 1
    assert case.link.counters.redials == 1


def test_nobody_waits_long_for_a_new_connection_after_a_time_out() -> None:
    """The device takes no connection, or does not finish its handshake."""
    case = Case()
    case.submit("a", retries=1)
    case.sent()
    case.time.advance(1.0)
    assert case.carrier.closed
    case.time.advance(MAX_REDIAL_S - 0.01)
    case.submit("b")
    assert case.told == []
    case.time.advance(0.01)
    assert case.errors == [LinkDown, LinkDown]
    case.submit("c")
    assert case.errors[2:] == [LinkDown], "not later than at once"
    case.reconnect()
    case.submit("d")
    [(tid, _, _)] = case.sent()
    case.answer(tid)
    assert case.told[3:] == [("d", TWO)]


def test_the_time_on_the_wire_is_no_part_of_the_time_out() -> None:
    case = LineCase(wire_s=2.0)
    case.submit("a")
    [(tid, _, _)] = case.sent()
    case.time.advance(2.9)
    case.answer(tid)
    case.submit("b")
    case.sent()
    case.time.advance(2.9)
    assert case.told == [("a", TWO)]
    case.time.advance(0.2)
    assert case.errors[1:] == [RequestTimeout]
    assert "within 3 s" in str(case.told[1][1])


def test_an_answer_older_than_time_out_and_wire_is_late() -> None:
    case = LineCase(wire_s=2.0)
    case.submit("a")
    [(tid, _, _)] = case.sent()
    case.time.now_s += 3.1  # stopped: no timer ran
    case.answer(tid)
    assert case.errors == [RequestTimeout]
    assert case.link.counters.late == 1


def test_a_line_that_works_is_not_listened_to() -> None:
    case = LineCase()
    for _ in range(3):
        case.submit("a")
        [(tid, _, _)] = case.sent()
        case.hear()
        case.answer(tid)
    assert len(case.told) == 3
