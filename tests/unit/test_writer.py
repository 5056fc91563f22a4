"""Writes to one unit: in order, one at a time, never repeated blindly."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.errors import LinkBusy, LinkDown, LinkError, OutcomeUnknown, RequestTimeout
from gateway.interfaces import Priority, Request, Steps, Write, once
from gateway.southbound.conversation import MAX_WAIT_S
from gateway.southbound.writer import BUSY_PAUSE_S, MAX_BUSY, MAX_LINES, MAX_WAITING, Writer
from tests.support.fake import ManualTime

ONE = bytes.fromhex("0600010001")
TWO = bytes.fromhex("0600020002")
THREE = bytes.fromhex("0600030003")


class Case:
    """A writer on a link that is the test."""

    def __init__(self) -> None:
        self.time = ManualTime()
        self.out: list[Request] = []
        self.refuse: LinkError | None = None
        self.writer = Writer(self._submit, self.time, 3, 1.0)
        self.written: list[tuple[bytes, bytes | None, float]] = []
        self.writer.on_written.append(lambda pdu, answer, hold_s: self.written.append((pdu, answer, hold_s)))
        self.told: list[tuple[str, bytes | LinkError | None]] = []

    def _submit(self, request: Request) -> None:
        assert request.priority == Priority.WRITE
        assert request.retries == 0
        request.attempts = 0
        if self.refuse is not None:
            request.done(None, self.refuse)
        else:
            self.out.append(request)

    def write(
        self, name: str, pdu: bytes, *, key: str | None = None, steps: Callable[[], Steps] | None = None
    ) -> Write:
        def done(answer: bytes | None, error: LinkError | None) -> None:
            self.told.append((name, answer if error is None else error))

        write = Write(steps or once(pdu), "holding:1", done, key=key, hold_s=0.5)
        self.writer.write(write)
        return write

    def answer(self, pdu: bytes | None, error: LinkError | None = None, *, sent: bool = True) -> bytes:
        """The device answers what is out, which is one; its request PDU."""
        [request] = self.out
        self.out.clear()
        request.attempts = int(sent)
        request.done(pdu, error)
        return request.pdu


def test_one_write_is_out_at_a_time_and_they_keep_their_order() -> None:
    case = Case()
    for name, pdu in (("a", ONE), ("b", TWO), ("c", THREE)):
        case.write(name, pdu)
    assert [case.answer(pdu) for pdu in (ONE, TWO, THREE)] == [ONE, TWO, THREE]
    assert case.told == [("a", ONE), ("b", TWO), ("c", THREE)]
    assert case.written == [(ONE, ONE, 0.5), (TWO, TWO, 0.5), (THREE, THREE, 0.5)]


def test_a_refusal_reaches_the_one_who_asked_and_nothing_counts_as_written() -> None:
    case = Case()
    case.write("a", ONE)
    case.answer(b"\x86\x03")
    assert case.told == [("a", b"\x86\x03")]
    assert case.written == []


@pytest.mark.parametrize("code", [4, 5, 0x0A, 0x0B])
def test_after_a_refusal_that_may_have_been_executed_the_registers_are_looked_at(code: int) -> None:
    case = Case()
    case.write("a", ONE)
    case.answer(bytes((0x86, code)))
    assert case.told == [("a", bytes((0x86, code)))]
    assert case.written == [(ONE, None, 0.0)]
    assert case.out == []


def test_a_write_that_was_sent_and_not_answered_is_unknown_and_never_sent_again() -> None:
    case = Case()
    case.write("a", ONE)
    case.answer(None, RequestTimeout("no answer"))
    assert [type(result) for _, result in case.told] == [OutcomeUnknown]
    assert case.written == [(ONE, None, 0.0)]
    case.time.advance(60.0)
    assert case.out == []


def test_a_write_that_was_not_sent_is_known_not_to_have_happened() -> None:
    case = Case()
    case.write("a", ONE)
    case.answer(None, LinkDown("lost"), sent=False)
    assert [type(result) for _, result in case.told] == [LinkDown]
    assert case.written == []


def test_busy_is_asked_again_after_a_pause_that_doubles_and_then_told() -> None:
    case = Case()
    case.write("a", ONE)
    case.write("b", TWO)
    for number in range(MAX_BUSY):
        assert case.answer(b"\x86\x06") == ONE
        case.time.advance(BUSY_PAUSE_S * 2**number - 0.01)
        assert case.out == []
        case.time.advance(0.02)
    assert case.answer(b"\x86\x06") == ONE
    assert case.told == [("a", b"\x86\x06")]
    assert case.answer(TWO) == TWO


def test_what_the_link_refuses_at_once_is_told_and_not_kept() -> None:
    case = Case()
    case.refuse = LinkDown("down")
    for _ in range(3):
        case.write("a", ONE)
    assert [type(result) for _, result in case.told] == [LinkDown] * 3
    case.refuse = None
    case.write("b", TWO)
    assert case.answer(TWO) == TWO


def test_the_latest_of_one_key_replaces_those_that_wait_and_all_get_its_outcome() -> None:
    case = Case()
    case.write("first", ONE, key="k")  # goes out at once
    case.write("old", TWO, key="k")
    case.write("other", bytes.fromhex("0600090009"), key="o")
    case.write("new", THREE, key="k")
    assert case.answer(ONE) == ONE
    assert case.answer(None, LinkDown("x"), sent=False) == bytes.fromhex("0600090009"), (
        "what came between keeps its place"
    )
    assert case.answer(b"\x86\x03") == THREE
    assert [told for told in case.told if told[0] != "other"] == [
        ("first", ONE),
        ("old", b"\x86\x03"),
        ("new", b"\x86\x03"),
    ]


def test_a_write_whose_client_left_before_it_was_begun_is_not_sent() -> None:
    case = Case()
    case.write("a", ONE)
    left = case.write("b", TWO)
    case.write("c", THREE)
    left.wanted = False
    assert case.answer(ONE) == ONE
    assert case.answer(THREE) == THREE
    assert isinstance(dict(case.told)["b"], LinkDown)


def test_nobody_comes_between_the_steps_of_a_write() -> None:
    case = Case()

    def read_modify_write() -> Steps:
        refused = yield bytes.fromhex("160001fffe0001")
        assert refused == b"\x96\x01"
        read = yield bytes.fromhex("0300010001")
        old = int.from_bytes(read[2:4], "big")
        answer = yield b"\x06\0\1" + (old | 1).to_bytes(2, "big")
        return answer

    case.write("bit", b"", steps=read_modify_write)
    case.write("other", TWO)
    case.answer(b"\x96\x01")
    case.answer(bytes.fromhex("03020010"))
    assert case.answer(bytes.fromhex("0600010011")) == bytes.fromhex("0600010011")
    assert case.answer(TWO) == TWO
    assert [pdu for pdu, _, _ in case.written] == [bytes.fromhex("0600010011"), TWO]


def test_the_read_of_a_read_modify_write_that_fails_is_no_unknown_outcome() -> None:
    case = Case()

    def steps() -> Steps:
        yield bytes.fromhex("0300010001")
        raise AssertionError("not reached")

    case.write("bit", b"", steps=steps)
    case.answer(None, RequestTimeout("no answer"))
    assert [type(result) for _, result in case.told] == [RequestTimeout]
    assert case.written == []


def test_a_full_queue_refuses() -> None:
    case = Case()
    for _ in range(MAX_WAITING + 1):
        case.write("a", ONE)
    case.write("b", TWO)
    assert [(name, type(result)) for name, result in case.told] == [("b", LinkBusy)]


def test_a_set_point_is_never_moved_past_a_command() -> None:
    case = Case()
    case.write("out", ONE, key="x")
    case.write("old", ONE, key="k")
    case.write("command", TWO)
    case.write("new", THREE, key="k")
    assert [case.answer(pdu) for pdu in (ONE, ONE, TWO, THREE)] == [ONE, ONE, TWO, THREE]


def test_of_set_points_whose_clients_have_gone_the_latest_that_is_waited_for_is_sent() -> None:
    case = Case()
    case.write("out", ONE, key="x")
    case.write("stays", TWO, key="k")
    case.write("leaves", THREE, key="k").wanted = False
    case.answer(ONE)
    assert case.answer(TWO) == TWO


def test_a_write_that_waits_on_the_link_is_not_wanted_any_more_when_its_client_has_gone() -> None:
    case = Case()
    write = case.write("a", ONE)
    [request] = case.out
    assert request.wanted
    write.wanted = False
    assert not request.wanted


def test_a_busy_device_is_not_asked_again_for_a_client_that_has_gone() -> None:
    case = Case()
    write = case.write("a", ONE)
    case.answer(b"\x86\x06")
    write.wanted = False
    case.time.advance(10.0)
    assert case.out == []
    assert [type(result) for _, result in case.told] == [LinkDown]


def test_what_has_begun_to_write_is_finished_although_its_client_has_gone() -> None:
    case = Case()

    def steps() -> Steps:
        yield ONE
        answer = yield TWO
        return answer

    write = case.write("a", b"", steps=steps)
    write.wanted = False
    case.answer(ONE)
    assert case.out[0].wanted
    assert case.answer(TWO) == TWO


def test_a_write_older_than_its_limit_is_refused_without_its_turn() -> None:
    case = Case()
    case.write("out", ONE)
    case.write("waits", TWO)
    case.time.advance(MAX_WAIT_S + 0.1)
    assert [(name, type(result)) for name, result in case.told] == [("waits", LinkDown)]
    assert not case.out[0].wanted, "and what waits on the link is not sent either"


def test_an_unknown_outcome_is_told_but_not_without_end(caplog: pytest.LogCaptureFixture) -> None:
    case = Case()
    for _ in range(20):
        case.write("a", ONE)
        case.answer(None, RequestTimeout("no answer within 1 s"))
    assert [record.getMessage() for record in caplog.records] == [
        "unit 3: write of holding:1: outcome unknown: no answer within 1 s"
    ] * MAX_LINES


def test_steps_that_fail_by_our_bug_do_not_stop_the_writer() -> None:
    case = Case()

    def steps() -> Steps:
        yield ONE
        raise RuntimeError("bug")

    case.write("a", b"", steps=steps)
    case.answer(ONE)
    case.write("b", TWO)
    assert case.answer(TWO) == TWO
