"""What a link remembers of its exchanges and shows to taps; on a clock moved by hand, with a carrier that records."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.errors import LinkError
from gateway.interfaces import Request
from gateway.modbus import mbap
from gateway.southbound.link import Link
from gateway.southbound.seams import Settings
from gateway.traffic import MAX_LAST, Frame, Tap, Wanted
from tests.support.fake import ManualTime, RecordingCarrier

READ, ANSWER, REFUSAL = bytes.fromhex("0300070001"), bytes.fromhex("03020102"), bytes.fromhex("8302")
KEY = "tcp://10.0.0.5:502"


class Carrier(RecordingCarrier):
    ends = ("10.0.0.1:40000", "10.0.0.5:502")


class Line:
    """RTU: no transaction ids."""

    has_ids = False
    stays = True
    heard_s = 0.0

    def is_unsure(self, pdu: bytes) -> bool:
        return False

    def wire_s(self, request: Request) -> float:
        return 0.0

    def forget(self) -> None:
        """It is a test."""


class Case:
    """A link with one connection."""

    def __init__(self, line: Line | None = None, **settings: Any) -> None:
        self.time = ManualTime()
        self.told: list[tuple[bytes | None, LinkError | None]] = []
        self.link = Link(KEY, [], Settings(**settings), self.time, clock=self.time.time)
        self.link.name = "press"  # what the log calls it is not what taps know it by
        self.tap: Tap | None = None
        self.carrier: Carrier
        self.connect(line)

    def connect(self, line: Line | None = None) -> None:
        self.carrier = Carrier()
        self.carrier.line = line
        self.carrier.owner = self.link
        self.link.connected(self.carrier)
        self.time.advance(0.3)  # a line is listened to first

    def look(self, wanted: Wanted = Wanted()) -> None:  # noqa: B008
        self.tap = Tap(1, wanted, self.time.time)
        self.link.tap((self.tap,))

    def ask(self, unit_id: int = 1, pdu: bytes = READ, retries: int = 0) -> Request:
        request = Request(unit_id, pdu, 1.0, retries, lambda answer, error: self.told.append((answer, error)))
        self.link.submit(request)
        return request

    def answer(self, tid: int, unit_id: int = 1, pdu: bytes = ANSWER) -> None:
        self.link.received([(tid, unit_id, pdu)])

    def frames(self) -> list[Frame]:
        assert self.tap is not None
        frames, lost = self.tap.take(0)
        assert not lost
        return frames

    def shown(self) -> list[tuple[str, int, int, str, str]]:
        return [
            ("asks" if frame.is_request else "says", frame.tid, frame.unit_id, frame.pdu.hex(), frame.note)
            for frame in self.frames()
        ]


def test_the_last_exchanges_of_each_unit_are_kept_with_what_came_of_them() -> None:
    case = Case(in_flight=4)
    for unit_id in (1, 2):
        for _ in range(MAX_LAST + 3):
            request = case.ask(unit_id)
            case.time.advance(0.01)
            case.answer(request.tid, unit_id)
    case.answer(case.ask(1).tid, 1, REFUSAL)
    last = case.link.exchanges(1)
    assert len(last) == MAX_LAST
    assert len(case.link.exchanges(2)) == MAX_LAST
    assert case.link.exchanges(3) == []
    assert (last[0].pdu, last[0].answer, last[0].error, last[0].attempts) == (READ, ANSWER, "", 1)
    assert last[0].took_s == pytest.approx(0.01)
    assert last[-1].answer == REFUSAL
    assert [each.time_ns for each in last] == sorted(each.time_ns for each in last)
    took = case.link.snapshot()["took"]
    assert (took["count"], took["buckets"][0], sum(took["buckets"][3:5])) == (23, 1, 22)


def test_a_request_that_failed_is_an_exchange_with_its_reason_once_its_retries_are_over() -> None:
    case = Case()
    case.ask(retries=1)
    case.time.advance(1.1)
    case.connect()
    assert case.link.exchanges(1) == []
    case.time.advance(1.1)
    (failed,) = case.link.exchanges(1)
    assert (failed.answer, failed.attempts) == (None, 2)
    assert "no answer within 1 s" in failed.error
    assert case.link.snapshot()["took"]["count"] == 0


def test_what_was_never_sent_is_no_exchange() -> None:
    case = Case()
    case.link.broken("the stream is out of step")
    case.ask()
    assert len(case.told) == 1
    assert case.link.exchanges(1) == []


def test_without_a_tap_a_request_is_sent_the_moment_it_comes_and_with_one_it_is_shown_as_it_travels() -> None:
    case = Case(in_flight=2)
    before = case.ask()
    case.look()
    first, second = case.ask(), case.ask(3)  # one fits beside what is out
    assert len(case.carrier.sent) == 2
    case.answer(first.tid, 1)
    case.answer(second.tid, 3, REFUSAL)
    case.answer(before.tid)
    assert case.shown() == [
        ("asks", first.tid, 1, READ.hex(), ""),
        ("says", first.tid, 1, ANSWER.hex(), ""),
        ("asks", second.tid, 3, READ.hex(), ""),
        ("says", second.tid, 3, REFUSAL.hex(), ""),
        ("says", before.tid, 1, ANSWER.hex(), ""),
    ]
    (frame, *_) = case.frames()
    assert (frame.side, frame.where, frame.peer, frame.local) == ("device", KEY, "10.0.0.5:502", "10.0.0.1:40000")

    case.link.tap(())
    case.answer(case.ask().tid)
    assert len(case.frames()) == 5


def test_what_was_dropped_is_shown_with_the_reason() -> None:
    case = Case(in_flight=2)
    case.look()
    request = case.ask()
    case.answer(99)  # nobody asked for that
    case.answer(request.tid, 7)  # another unit answers
    case.time.advance(1.1)
    assert [(note, unit_id) for _, _, unit_id, _, note in case.shown()] == [
        ("", 1),
        ("late", 1),
        ("foreign", 7),
        ("time-out", 1),
    ]


def test_a_retry_is_shown_and_so_is_an_answer_that_cannot_be_one() -> None:
    case = Case()
    case.look()
    case.ask(retries=1)
    case.time.advance(1.1)
    case.connect()
    request_tid = case.frames()[-1].tid
    case.answer(request_tid, 1, bytes.fromhex("0306000000000000"))
    notes = [(frame.is_request, frame.note) for frame in case.frames()]
    assert notes == [(True, ""), (False, "time-out"), (True, "retry"), (False, "malformed")]


def test_a_connection_that_ends_takes_its_answers_with_it() -> None:
    case = Case()
    case.look()
    request = case.ask()
    case.link.lost(case.carrier, None)
    assert case.shown()[-1] == ("says", request.tid, 1, "", "lost")


def test_a_line_has_no_transaction_ids_and_nobody_answers_a_broadcast() -> None:
    case = Case(Line())
    case.look()
    write = bytes.fromhex("0600010002")
    request = case.ask(0, write)
    case.answer(request.tid, 0, write)  # made up by the carrier
    read = case.ask(5)
    case.link.noise(1)
    case.answer(read.tid, 5)
    assert case.shown() == [
        ("asks", 0, 0, write.hex(), ""),
        ("asks", 0, 5, READ.hex(), ""),
        ("says", 0, 0, "", "noise"),
        ("says", 0, 5, ANSWER.hex(), ""),
    ]
    assert case.told[0] == (write, None)
    (broadcast,) = case.link.exchanges(0)
    assert (broadcast.answer, broadcast.error) == (None, "")


def test_over_tcp_unit_0_answers_as_any_other() -> None:
    case = Case()
    case.look()
    request = case.ask(0)
    case.answer(request.tid, 0)
    assert [frame.pdu for frame in case.frames()] == [READ, ANSWER]
    assert case.link.exchanges(0)[0].answer == ANSWER


def test_frames_are_whole_as_they_travel() -> None:
    case = Case()
    case.look()
    request = case.ask(9)
    (sent,) = case.carrier.sent
    frame = case.frames()[0]
    assert mbap.Receiver().feed(sent) == [(frame.tid, frame.unit_id, frame.pdu)] == [(request.tid, 9, READ)]
