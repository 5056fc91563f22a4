"""A device played from its recording, with times as arguments: each decision of the player's docstring."""

from __future__ import annotations

import pytest

from gateway.modbus import spec
from gateway.recording.file import Exchange, Header, Recording
from gateway.recording.player import LEAST_DURATION_S, Player, Replay


def pdu(text: str) -> bytes:
    return bytes.fromhex(text)


def exchange(at_s: float, request: str, answer: str | None, took_s: float = 0.01) -> Exchange:
    return Exchange(at_s, 1, pdu(request), None if answer is None else pdu(answer), took_s)


def read(first: int, count: int, function: int = 3) -> bytes:
    return bytes((function,)) + first.to_bytes(2, "big") + count.to_bytes(2, "big")


def player(*exchanges: Exchange) -> Player:
    return Player(exchanges)


MOVING = (
    exchange(0.0, "03 0000 0004", "03 08 0001 0002 0003 0004"),
    exchange(1.0, "03 0000 0004", "03 08 0001 0012 0003 0004"),
    exchange(1.5, "03 0006 0001", "03 02 0066"),
    exchange(2.0, "03 0000 0004", "03 08 0001 0022 0003 0004"),
)


# -- values ---------------------------------------------------------------------------------------------------------


def test_registers_hold_what_they_were_last_seen_with() -> None:
    played = player(*MOVING)
    values = [played.answer(read(0, 4), at_s).answer for at_s in (0.0, 0.99, 1.0, 1.99, 2.0, 500.0)]
    assert values == [MOVING[at].answer for at in (0, 0, 1, 1, 3, 3)]


def test_a_range_inside_of_what_was_seen_is_answered_though_nobody_asked_just_it() -> None:
    played = player(*MOVING)
    assert played.answer(read(1, 2), 0.5).answer == pdu("03 04 0002 0003")
    assert played.answer(read(1, 1), 1.0).answer == pdu("03 02 0012")


def test_a_register_has_its_first_value_before_it_was_first_seen() -> None:
    assert player(*MOVING).answer(read(6, 1), 0.0).answer == pdu("03 02 0066")


@pytest.mark.parametrize("request_pdu", [read(0, 5), read(4, 1), read(5, 2), read(0, 4, 4), read(0, 1, 1)])
def test_what_was_never_seen_is_refused_with_02(request_pdu: bytes) -> None:
    answer = player(*MOVING).answer(request_pdu, 0.0).answer
    assert answer == bytes((request_pdu[0] | spec.EXCEPTION_BIT, spec.ILLEGAL_ADDRESS))


def test_ranges_that_touch_are_one() -> None:
    played = player(exchange(0, "03 0000 0001", "03 02 0001"), exchange(0, "03 0001 0001", "03 02 0002"))
    assert played.answer(read(0, 2), 0.0).answer == pdu("03 04 0001 0002")


def test_bits_are_played_too() -> None:
    played = player(exchange(0, "01 0003 000A", "01 02 FF 01"), exchange(1, "01 0003 000A", "01 02 0F 02"))
    assert played.answer(read(4, 3, 1), 0.0).answer == pdu("01 01 07")
    assert played.answer(read(4, 9, 1), 1.0).answer == pdu("01 02 07 01")


def test_after_rewind_it_is_as_at_first() -> None:
    played = player(*MOVING)
    played.answer(read(0, 4), 2.0)
    played.rewind()
    assert played.answer(read(0, 4), 0.0).answer == MOVING[0].answer


def test_an_answer_that_does_not_fit_its_request_tells_no_values() -> None:
    played = player(exchange(0, "03 0000 0002", "03 02 0001"), *MOVING[2:3])
    assert played.ranges["holding"] == [(6, 7)]


# -- writes ---------------------------------------------------------------------------------------------------------


def test_a_write_inside_of_what_was_seen_stays_until_the_recording_begins_again() -> None:
    played = player(*MOVING)
    assert played.answer(pdu("06 0001 0BAD"), 0.1).answer == pdu("06 0001 0BAD")
    assert played.answer(read(0, 4), 2.0).answer == pdu("03 08 0001 0BAD 0003 0004")
    played.rewind()
    assert played.answer(read(1, 1), 0.0).answer == pdu("03 02 0002")


def test_a_write_outside_of_it_is_refused_with_02() -> None:
    assert player(*MOVING).answer(pdu("06 0063 0001"), 0.0).answer == pdu("86 02")


def test_a_coil_that_is_written_stays() -> None:
    played = player(exchange(0, "01 0000 0008", "01 01 00"), exchange(1, "01 0000 0008", "01 01 F0"))
    played.answer(pdu("05 0001 FF00"), 0.5)
    assert played.answer(read(0, 8, 1), 1.0).answer == pdu("01 01 F2")


def test_what_the_recorded_client_wrote_changes_the_registers_when_it_did() -> None:
    played = player(*MOVING[:1], exchange(0.5, "10 0002 0001 02 0BAD", "10 0002 0001"))
    assert played.answer(read(2, 1), 0.4).answer == pdu("03 02 0003")
    assert played.answer(read(2, 1), 0.5).answer == pdu("03 02 0bad")


def test_registers_that_were_only_written_exist() -> None:
    played = player(exchange(0, "06 0009 0042", "06 0009 0042"))
    assert played.answer(read(9, 1), 0.0).answer == pdu("03 02 0042")


def test_functions_22_and_23_work_on_what_was_seen() -> None:
    played = player(*MOVING)
    assert played.answer(pdu("16 0000 FF00 00AA"), 0.0).answer == pdu("16 0000 FF00 00AA")
    assert played.answer(pdu("17 0000 0002 0003 0001 02 0009"), 0.0).answer == pdu("17 04 00aa 0002")


def test_a_refused_write_is_refused_again_and_so_is_what_touches_its_range() -> None:
    played = player(*MOVING, exchange(3.0, "10 0000 0002 04 00010001", "90 02"))
    assert played.answer(pdu("10 0000 0002 04 00010001"), 0.0).answer == pdu("90 02")
    assert played.answer(pdu("10 0001 0002 04 00070007"), 0.0).answer == pdu("90 02")
    assert played.answer(pdu("10 0002 0001 02 0007"), 0.0).answer == pdu("10 0002 0001")


def test_a_refused_value_is_that_value_alone() -> None:
    played = player(*MOVING, exchange(3.0, "06 0000 FFFF", "86 03"))
    assert played.answer(pdu("06 0000 FFFF"), 0.0).answer == pdu("86 03")
    assert played.answer(pdu("06 0000 0001"), 0.0).answer == pdu("06 0000 0001")


def test_a_write_of_what_was_accepted_before_is_accepted_though_it_touches_a_refused_range() -> None:
    played = player(
        *MOVING, exchange(3.0, "10 0000 0004 08 0001000200030004", "90 02"),
        exchange(3.1, "10 0001 0001 02 0007", "10 0001 0001"),
    )  # fmt: skip
    assert played.answer(pdu("10 0001 0001 02 0055"), 0.0).answer == pdu("10 0001 0001")


# -- refusals -------------------------------------------------------------------------------------------------------


def test_a_refusal_is_repeated_while_it_was_one() -> None:
    played = player(
        exchange(0, "03 0000 0001", "83 06"), exchange(1, "03 0000 0001", "03 02 0007"),
        exchange(2, "03 0000 0001", "83 06"),
    )  # fmt: skip
    assert [played.answer(read(0, 1), at_s).answer for at_s in (0.5, 1.5, 2.5)] == [
        pdu("83 06"), pdu("03 02 0007"), pdu("83 06")
    ]  # fmt: skip


def test_what_includes_a_refused_range_is_refused_with_its_code_and_what_only_touches_it_is_not() -> None:
    played = player(
        exchange(0, "03 0000 000A", "83 04"), exchange(0.1, "03 0000 0004", "03 08 0001 0002 0003 0004"),
        exchange(0.2, "03 0006 0004", "03 08 0001 0002 0003 0004"),
    )  # fmt: skip
    assert played.answer(read(0, 12), 1.0).answer == pdu("83 04")
    assert played.answer(read(2, 2), 1.0).answer == pdu("03 04 0003 0004")


def test_a_function_that_never_was_more_than_01_is_01_for_everything() -> None:
    played = player(*MOVING, exchange(3.0, "17 0000 0001 0000 0001 02 0000", "97 01"))
    assert played.answer(pdu("17 0000 0002 0000 0001 02 0009"), 0.0).answer == pdu("97 01")


# -- silence --------------------------------------------------------------------------------------------------------


def test_the_unit_is_silent_from_a_silence_to_the_next_answer() -> None:
    played = player(*MOVING[:1], exchange(1.0, "03 0000 0004", None), exchange(1.2, "03 0006 0001", None), *MOVING[3:])
    answers = [played.answer(read(0, 2), at_s).answer for at_s in (0.9, 1.0, 1.9, 2.0)]
    assert answers == [pdu("03 04 0001 0002"), None, None, pdu("03 04 0001 0022")]


def test_a_silence_at_the_end_lasts() -> None:
    assert player(*MOVING, exchange(3.0, "03 0000 0004", None)).answer(read(0, 1), 99.0).answer is None


def test_a_request_that_never_was_answered_is_not_while_others_are() -> None:
    exchanges = sorted([*MOVING, exchange(0.1, "2B0E0100", None), exchange(1.9, "2B0E0100", None)])
    played = Player(exchanges)
    assert played.answer(pdu("2B0E0100"), 1.5).answer is None
    assert played.answer(read(0, 1), 1.5).answer == pdu("03 02 0001")


# -- other functions ------------------------------------------------------------------------------------------------


def test_other_functions_are_answered_as_recorded() -> None:
    played = player(
        exchange(0, "11", "11 03 41 FF 42"), exchange(1, "11", "11 03 41 00 42"), exchange(1, "07", "87 01")
    )
    assert [played.answer(b"\x11", at_s).answer for at_s in (0.0, 1.0)] == [pdu("1103 41 FF 42"), pdu("1103 41 00 42")]
    assert played.answer(b"\x07", 0.0).answer == pdu("87 01")


def test_one_that_was_never_asked_is_01_and_one_that_was_asked_otherwise_02() -> None:
    played = player(exchange(0, "18 0010", "18 0004 0001 0007"))
    assert played.answer(pdu("18 0011"), 0.0).answer == pdu("98 02")
    assert played.answer(b"\x11", 0.0).answer == pdu("91 01")


def test_an_echo_echoes_whatever_it_is_asked() -> None:
    played = player(exchange(0, "08 0000 1234", "08 0000 1234"))
    assert played.answer(pdu("08 0000 5678"), 0.0).answer == pdu("08 0000 5678")
    assert played.answer(pdu("08 000B 0000"), 0.0).answer == pdu("88 02")


# -- latency, laps --------------------------------------------------------------------------------------------------


def test_it_tells_how_long_the_device_took() -> None:
    played = player(exchange(0, "03 0000 0002", "03 04 0001 0002", 0.02), exchange(1, "03 0000 0002", "83 02", 0.5))
    assert played.answer(read(0, 2), 0.0).took_s == 0.02
    assert played.answer(read(0, 2), 1.0) == (pdu("83 02"), 0.5)
    assert played.answer(read(1, 1), 0.5).took_s == 0.02


def recording(*exchanges: Exchange, duration_s: float) -> Recording:
    return Recording(Header("press", "sim://", (1,), ""), list(exchanges), 0, True, duration_s)


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_it_begins_with_the_first_request_and_again_when_it_is_over() -> None:
    clock = Clock()
    played = Replay(recording(*MOVING, duration_s=3.0), clock)
    clock.now_s = 500.0
    seen = []
    for at_s in (0.0, 1.0, 2.5, 3.0, 4.1, 8.0):
        clock.now_s = 500.0 + at_s
        seen.append(played.answer(1, read(1, 1)).answer[-1])  # type: ignore[index]
    assert seen == [0x02, 0x12, 0x22, 0x02, 0x12, 0x22]
    assert played.lap == 2
    assert played.left_s is None


def test_twice_as_fast_is_half_as_late() -> None:
    clock = Clock()
    played = Replay(recording(*MOVING, duration_s=3.0), clock, speed=2.0)
    assert played.answer(1, read(1, 1)) == (pdu("03 02 0002"), 0.005)
    clock.now_s += 0.5
    assert played.answer(1, read(1, 1)).answer == pdu("03 02 0012")


def test_once_it_stays_at_its_end_and_tells_how_long_it_lasts() -> None:
    clock = Clock()
    played = Replay(recording(*MOVING, duration_s=3.0), clock, is_loop=False)
    assert played.left_s is None, "it has not begun"
    played.answer(1, read(1, 1))
    assert played.left_s == 3.0
    clock.now_s += 10
    assert played.left_s == 0
    assert played.answer(1, read(1, 1)).answer == pdu("03 02 0022")


def test_a_recording_of_one_moment_is_played_all_the_same() -> None:
    assert Replay(recording(MOVING[0], duration_s=0.0), Clock()).duration_s == LEAST_DURATION_S
