"""Whose answer it is, on a line without transaction ids: the link's rules on a clock moved by hand."""

from __future__ import annotations

import pytest

from gateway.errors import LinkDown, LinkError, RequestTimeout
from gateway.interfaces import Priority, Request
from gateway.southbound.doubts import LONGEST, MAX_ASIDE_S, MAX_OWED
from gateway.southbound.link import MIN_LISTEN_S
from tests.unit.test_link import LineCase

TWO_AT_0 = bytes.fromhex("0300000002")
TWO_AT_9 = bytes.fromhex("0300090002")
THREE_AT_9 = bytes.fromhex("0300090003")
ONE_AT_9 = bytes.fromhex("0300090001")
WRITE = bytes.fromhex("100007000102BBBB")
LISTEN_S = 0.5


def values(count: int, value: int = 7) -> bytes:
    return bytes((3, 2 * count)) + count * value.to_bytes(2, "big")


class Doubting(LineCase):
    """A line on which unit 1 has not answered `TWO_AT_0` in time, and what its link sends next."""

    def __init__(self, owed: bytes = TWO_AT_0) -> None:
        super().__init__()
        self.ask(owed, "owed")
        self.sent()
        self.time.advance(1.0)
        assert self.errors == [RequestTimeout]
        self.told.clear()
        self.time.advance(LISTEN_S)

    def ask(self, pdu: bytes, name: str = "a", *, unit: int = 1, priority: Priority = Priority.POLL) -> Request:
        def done(answer: bytes | None, error: LinkError | None) -> None:
            self.told.append((name, answer if error is None else error))

        request = Request(unit, pdu, 1.0, 0, done, priority=priority)
        self.link.submit(request)
        return request

    def next_sent(self) -> tuple[int, int, bytes]:
        """The one request that goes out, after a short silence."""
        self.time.advance(MIN_LISTEN_S + 0.002)
        [sent] = self.sent()
        return sent


def test_an_answer_like_none_that_is_owed_is_believed_and_settles_all() -> None:
    case = Doubting()
    case.ask(THREE_AT_9)
    [(tid, _, _)] = case.sent()
    case.answer(tid, values(3))
    assert case.told == [("a", values(3))]
    case.ask(TWO_AT_9, "b")
    [(tid, _, _)] = case.sent()
    case.answer(tid, values(2))
    assert case.told[1:] == [("b", values(2))]
    assert case.link.counters.late == 0


def test_an_answer_that_may_be_owed_is_dropped_and_a_part_asked_for_that_is_like_no_other() -> None:
    case = Doubting()
    case.ask(TWO_AT_9)
    [(tid, _, _)] = case.sent()
    case.answer(tid, values(2, 0xDEAD))
    assert case.told == []
    assert case.link.counters.late == 1
    assert case.sent() == [], "what still comes is listened to first"
    tid, unit, pdu = case.next_sent()
    assert (unit, pdu) == (1, ONE_AT_9)
    case.answer(tid, values(1))
    [(tid, _, pdu)] = case.sent()
    assert pdu == TWO_AT_9
    case.answer(tid, values(2))
    assert case.told == [("a", values(2))]
    assert case.link.counters.timeouts == 1


def test_where_no_question_is_known_the_unit_is_left_alone_as_long_as_its_answer_may_take() -> None:
    case = Doubting(ONE_AT_9)
    asked_s = case.time.now_s - 1.0 - LISTEN_S
    case.ask(ONE_AT_9)
    [(tid, _, _)] = case.sent()
    case.time.advance(0.2)
    case.answer(tid, values(1, 0xDEAD))
    case.ask(THREE_AT_9, "b")
    case.ask(TWO_AT_0, "neighbour", unit=2)
    tid, unit, _ = case.next_sent()
    assert unit == 2, "nobody waits for a unit that is left alone"
    case.answer(tid, values(2), unit=2)
    took_s = case.time.now_s - MIN_LISTEN_S - 0.002 - asked_s
    case.time.advance(took_s - MIN_LISTEN_S - 0.01)
    assert case.sent() == []
    case.time.advance(0.02)
    for name, pdu, answer in (("a", ONE_AT_9, values(1)), ("b", THREE_AT_9, values(3))):
        [(tid, _, sent)] = case.sent()
        assert sent == pdu
        case.answer(tid, answer)
        assert case.told[-1] == (name, answer)


def test_what_is_still_heard_is_waited_for_but_not_for_ever() -> None:
    case = Doubting(ONE_AT_9)
    case.ask(ONE_AT_9)
    [(tid, _, _)] = case.sent()
    case.answer(tid, values(1, 0xDEAD))
    waited_s = 0.0
    while not (sent := case.sent()):
        case.answer(999, values(1, 0xDEAD))
        case.time.advance(0.1)
        waited_s += 0.1
        assert waited_s < 2 * MAX_ASIDE_S
    assert waited_s > MAX_ASIDE_S - 0.2
    case.answer(sent[0][0], values(1, 0xDEAD))
    assert case.errors == [RequestTimeout], "nothing is settled, and it counts as a time-out"
    case.time.advance(LONGEST + 0.1)
    case.ask(ONE_AT_9, "b")
    tid, _, _ = case.next_sent()
    case.answer(tid, values(1))
    assert case.told[1:] == [("b", values(1))], "it was silent for long enough"


@pytest.mark.parametrize("answer", ["8302", "830B"])
def test_a_question_that_is_refused_settles_nothing_and_is_no_time_out(answer: str) -> None:
    case = Doubting()
    case.ask(TWO_AT_9)
    [(tid, _, _)] = case.sent()
    case.answer(tid, values(2, 0xDEAD))
    tid, _, _ = case.next_sent()
    case.answer(tid, bytes.fromhex(answer))
    assert (case.told, case.link.counters.timeouts) == ([], 1)
    case.time.advance(1.4)
    assert case.sent() == []
    case.time.advance(0.2)
    [(tid, _, _)] = case.sent()
    case.answer(tid, values(2))
    assert case.told == [("a", values(2))]


def test_a_question_that_is_not_answered_is_a_time_out_and_the_unit_is_waited_for() -> None:
    case = Doubting()
    case.ask(TWO_AT_9)
    [(tid, _, _)] = case.sent()
    case.answer(tid, values(2, 0xDEAD))
    case.next_sent()
    case.time.advance(1.0)
    assert case.link.counters.timeouts == 2
    case.time.advance(1.4)
    assert case.sent() == [], "the silence begins anew"
    case.time.advance(0.2)
    [(tid, _, pdu)] = case.sent()
    assert pdu == TWO_AT_9
    case.answer(tid, values(2))
    assert case.told == [("a", values(2))]


def test_of_a_write_whose_answer_may_be_owed_nobody_knows() -> None:
    case = Doubting(bytes.fromhex("100007000102AAAA"))
    request = case.ask(WRITE, priority=Priority.WRITE)
    [(tid, _, _)] = case.sent()
    case.answer(tid, WRITE[:5])
    assert case.errors == [RequestTimeout]
    assert request.attempts == 1, "it was sent: its outcome is unknown"


def test_what_was_out_when_the_line_was_lost_is_owed() -> None:
    case = LineCase()
    case.submit("a")
    [_] = case.sent()
    case.link.broken("the port was closed")
    assert case.errors == [LinkDown]
    case.carrier.close()
    case.reconnect()
    case.submit("b")
    [(tid, _, _)] = case.sent()
    case.answer(tid, values(2, 0xDEAD))
    assert case.errors == [LinkDown]
    assert case.link.counters.late == 1


def test_after_too_many_different_requests_nothing_is_believed_before_a_silence() -> None:
    case = Doubting()
    for number in range(MAX_OWED + 1):
        case.link._owe(Request(1, bytes((3, 0, number, 0, 5)), 1.0, 0, lambda *_: None))
    case.ask(THREE_AT_9)
    [(tid, _, _)] = case.sent()
    case.answer(tid, values(3))
    assert case.told == []


def test_where_answers_carry_ids_nothing_is_doubted() -> None:
    case = LineCase()
    case.line.has_ids = True
    case.submit("a")
    case.sent()
    case.time.advance(1.0 + LISTEN_S)
    case.submit("b")
    [(tid, _, _)] = case.sent()
    case.answer(tid, values(2))
    assert case.told[1:] == [("b", values(2))]
