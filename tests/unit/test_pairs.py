"""Which answer belongs to which request, with frames lost, late, sent again and without transaction ids."""

from __future__ import annotations

import pytest

from gateway.recording import pairs
from gateway.recording.pairs import Pairs
from gateway.traffic import Frame

READ = bytes.fromhex("0300000002")
OTHER = bytes.fromhex("0400000002")
ANSWER = bytes.fromhex("030400010002")


def sent(tid: int, pdu: bytes = READ, *, at_ms: int = 0, side: str = "device", unit: int = 1, note: str = "") -> Frame:
    return Frame(1, at_ms * 1_000_000, side, "there", "10.0.0.5:502", "10.0.0.1:40000", unit, tid, True, pdu, note)


def came(
    tid: int, pdu: bytes = ANSWER, *, at_ms: int = 5, side: str = "device", unit: int = 1, note: str = ""
) -> Frame:
    return sent(tid, pdu, at_ms=at_ms, side=side, unit=unit, note=note)._replace(is_request=False)


def requests(*frames: Frame) -> list[Frame | None]:
    found = Pairs()
    return [found.add(frame).request for frame in frames if True]


def test_answers_are_found_by_their_transaction_id_in_any_order() -> None:
    first, second = sent(1), sent(2, OTHER)
    assert requests(first, second, came(2, b"\x84\x02"), came(1)) == [None, None, second, first]


def test_it_tells_how_long_it_took() -> None:
    found = Pairs()
    assert found.add(sent(1, at_ms=100)).took_s is None
    assert found.add(came(1, at_ms=112)).took_s == pytest.approx(0.012)


def test_without_transaction_ids_a_line_has_one_request_out() -> None:
    lost, asked = sent(0, at_ms=0), sent(0, at_ms=50)
    assert requests(lost, asked, came(0)) == [None, None, asked]


def test_requests_of_a_client_with_the_same_id_are_answered_in_order() -> None:
    first, second = sent(0, side="client"), sent(0, side="client", at_ms=1)
    answers = came(0, side="client"), came(0, side="client")
    assert requests(first, second, *answers) == [None, None, first, second]


def test_a_time_out_belongs_to_its_request_and_so_does_the_late_answer_after_it() -> None:
    asked = sent(7)
    assert requests(asked, came(7, b"", note="time-out"), came(7, note="late")) == [None, asked, asked]


def test_a_late_answer_may_be_told_before_its_time_out() -> None:
    asked = sent(7)
    assert requests(asked, came(7, note="late"), came(7, b"", note="time-out")) == [None, asked, asked]


def test_what_is_nobodys_answer_takes_no_request() -> None:
    asked = sent(7)
    assert requests(asked, came(7, unit=9, note="foreign"), came(0, b"", note="noise"), came(7)) == [
        None, None, None, asked
    ]  # fmt: skip


def test_a_malformed_answer_ends_its_request() -> None:
    asked = sent(7)
    assert requests(asked, came(7, OTHER, note="malformed"), came(7)) == [None, asked, None]


def test_a_device_that_answers_with_id_0_is_understood_while_one_request_is_out() -> None:
    asked = sent(7)
    assert requests(asked, came(0)) == [None, asked]
    assert requests(sent(7), sent(8), came(0)) == [None, None, None]


def test_an_answer_of_another_function_is_not_believed() -> None:
    assert requests(sent(7), came(7, b"\x84\x02")) == [None, None]


def test_after_frames_were_lost_nothing_that_waits_is_believed() -> None:
    found = Pairs()
    found.add(sent(7))
    found.forget()
    assert found.add(came(7)).request is None


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "MAX_OPEN", 2)
    found = Pairs()
    asked = [sent(tid) for tid in (1, 2, 3)]
    for frame in asked:
        found.add(frame)
    assert [found.add(came(tid, OTHER, side="client")).request for tid in (9,)] == [None]
    assert found.add(came(1)._replace(local="x")).request is None
    assert [found.add(came(tid)).request for tid in (2, 3)] == asked[1:]
