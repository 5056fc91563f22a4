"""Whose answer it is, on a line without transaction ids: the link's rules on a clock moved by hand."""

from __future__ import annotations

from gateway.errors import LinkDown, LinkError, RequestTimeout, UnitSilent
from gateway.interfaces import Priority, Request
from gateway.southbound.doubts import LONGEST, MAX_OWED, MAX_QUESTIONS, MAX_WINDOWS
from gateway.southbound.link import Link
from gateway.southbound.listening import MIN_LISTEN_S
from gateway.southbound.seams import Settings
from tests.unit.test_link import LineCase

TWO_AT_0 = bytes.fromhex("0300000002")
TWO_AT_9 = bytes.fromhex("0300090002")
THREE_AT_9 = bytes.fromhex("0300090003")
ONE_AT_9 = bytes.fromhex("0300090001")
OTHER = bytes.fromhex("0400000001")
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


def test_where_there_is_no_shorter_read_another_function_is_asked_and_a_refusal_settles_all() -> None:
    case = Doubting(ONE_AT_9)
    case.ask(ONE_AT_9)
    [(tid, _, _)] = case.sent()
    case.answer(tid, values(1, 0xDEAD))
    tid, _, pdu = case.next_sent()
    assert pdu == OTHER
    case.answer(tid, bytes.fromhex("8402"))
    [(tid, _, pdu)] = case.sent()
    assert pdu == ONE_AT_9
    case.answer(tid, values(1))
    assert case.told == [("a", values(1))]
    assert case.link.counters.timeouts == 1


def test_a_question_whose_refusal_may_be_owed_is_followed_by_another() -> None:
    case = Doubting()
    case.ask(TWO_AT_9)
    [(tid, _, _)] = case.sent()
    case.answer(tid, values(2, 0xDEAD))
    tid, _, pdu = case.next_sent()
    assert pdu == ONE_AT_9
    case.answer(tid, bytes.fromhex("8302"))
    tid, _, pdu = case.next_sent()
    assert pdu == OTHER
    case.answer(tid, bytes.fromhex("8401"))
    [(tid, _, pdu)] = case.sent()
    assert pdu == TWO_AT_9
    case.answer(tid, values(2))
    assert case.told == [("a", values(2))]
    assert case.link.counters.timeouts == 1, "the unit answers"


def no_question_helps(case: Doubting, pdu: bytes) -> int:
    """Every question is met with silence, what is asked for again with an answer. Returns how many there were."""
    for asked in range(20):
        [(tid, unit, sent)] = case.sent()
        assert (unit, sent) == (1, pdu)
        case.answer(tid, values(1, 0xDEAD))
        case.time.advance(MIN_LISTEN_S + 0.002)
        if not case.sent():
            return asked
        case.time.advance(1.0)
        assert case.told == []
        case.time.advance(LONGEST - 0.1)
        assert case.sent() == [], "the unit is left alone"
        case.time.advance(0.1 + 0.002)
    raise AssertionError("it is asked for ever")


def test_a_unit_that_takes_no_question_is_left_alone_as_long_as_an_answer_may_take() -> None:
    case = Doubting(ONE_AT_9)
    case.ask(ONE_AT_9)
    assert no_question_helps(case, ONE_AT_9) == MAX_QUESTIONS
    case.ask(THREE_AT_9, "b")
    case.ask(TWO_AT_0, "neighbour", unit=2)
    [(tid, unit, _)] = case.sent()
    assert unit == 2, "nobody waits for a unit that is left alone"
    case.answer(tid, values(2), unit=2)
    case.time.advance(LONGEST - 0.1)
    assert case.sent() == []
    case.time.advance(0.1)
    for name, pdu, answer in (("a", ONE_AT_9, values(1)), ("b", THREE_AT_9, values(3))):
        [(tid, _, sent)] = case.sent()
        assert sent == pdu
        case.answer(tid, answer)
        assert case.told[-1] == (name, answer), "its silence has settled all"


def test_what_is_still_heard_is_waited_for_but_not_for_ever() -> None:
    case = Doubting(ONE_AT_9)
    case.ask(ONE_AT_9)
    no_question_helps(case, ONE_AT_9)
    waited_s = 0.0
    while not (sent := case.sent()):
        case.answer(999, values(1, 0xDEAD))
        case.time.advance(0.1)
        waited_s += 0.1
        assert waited_s < 2 * MAX_WINDOWS * LONGEST
    assert waited_s > MAX_WINDOWS * LONGEST - 0.2
    case.answer(sent[0][0], values(1, 0xDEAD))
    assert case.told == [], "nothing is settled"


def test_a_write_to_a_unit_that_is_left_alone_fails_at_once() -> None:
    case = Doubting(ONE_AT_9)
    case.ask(ONE_AT_9)
    no_question_helps(case, ONE_AT_9)
    request = case.ask(WRITE, "write", priority=Priority.WRITE)
    assert case.errors == [UnitSilent]
    assert request.attempts == 0
    assert "left alone until it is certain" in str(case.told[0][1])


def test_the_longest_time_out_that_was_not_kept_counts() -> None:
    case = Doubting(ONE_AT_9)
    case.link.submit(Request(1, ONE_AT_9, 0.1, 0, lambda *_: None))
    for _ in range(MAX_QUESTIONS + 1):
        [(tid, _, _)] = case.sent()
        case.answer(tid, values(1, 0xDEAD))
        case.time.advance(MIN_LISTEN_S + 0.002)
        if case.sent():
            case.time.advance(0.1 + LONGEST + 0.002)
    case.time.advance(LONGEST - 0.2)
    assert case.sent() == []


def test_what_all_units_were_told_is_owed_by_nobody() -> None:
    case = LineCase()
    case.link.submit(Request(0, WRITE, 1.0, 0, lambda *_: None))
    [_] = case.sent()
    case.link.broken("the port was closed")
    case.carrier.close()
    case.reconnect()
    told: list[bytes | None] = []
    case.link.submit(Request(0, WRITE, 1.0, 0, lambda answer, error: told.append(answer)))
    [(tid, _, _)] = case.sent()
    case.answer(tid, WRITE[:5], unit=0)
    assert told == [WRITE[:5]]


def test_the_next_link_of_a_line_knows_what_was_not_answered_on_this_one() -> None:
    case = Doubting()
    old = case.link
    case.link = Link("next", case._never, Settings(), case.time, clock=case.time.time, doubts=old.doubts)
    case.carrier.close()
    case.reconnect()
    case.ask(TWO_AT_9)
    [(tid, _, _)] = case.sent()
    case.answer(tid, values(2, 0xDEAD))
    assert case.told == []


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
        case.link.doubts.owe(Request(1, bytes((3, 0, number, 0, 5)), 1.0, 0, lambda *_: None), case.time.now_s)
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
