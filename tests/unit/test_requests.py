"""Requests out of what a server hears on a line: its own, those of others, their answers, noise."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.modbus import ascii, rtu
from gateway.modbus.requests import AsciiRequests, Frame, Requests, RtuRequests
from tests.support.wire import hexed

READ = hexed("03 006B 0003")
READ_FRAME = hexed("11 03 00 6B 00 03 76 87")
READ_ANSWER_FRAME = hexed("11 03 06 02 2B 00 00 00 64 C8 BA")
REFUSED_FRAME = hexed("11 83 02 C1 34")
BROADCAST_FRAME = hexed("00 06 00 01 00 03 99 DA")
READ_LINE = b":1103006B00037E\r\n"

REQUESTS = [
    READ,
    hexed("05 00AC FF00"),
    hexed("07"),
    hexed("08 0000 A537"),
    hexed("08 0000 0102 0304 0506"),
    hexed("08 000B 0000"),
    hexed("0B"),
    hexed("0F 0013 000A 02 CD 01"),
    hexed("10 0001 007B F6") + bytes(246),
    hexed("14 0E 06 0004 0001 0002 06 0003 0009 0002"),
    hexed("15 0D 06 0004 0007 0003 06AF 04BE 100D"),
    hexed("16 0004 00F2 0025"),
    hexed("17 0003 0006 000E 0003 06 00FF 00FF 00FF"),
    hexed("18 04DE"),
    hexed("2B 0E 01 00"),
    hexed("2B 0D 01 02 03"),
    hexed("41 01"),
    hexed("41") + bytes(range(200)),
]


def bytewise(data: bytes) -> list[bytes]:
    return [bytes((byte,)) for byte in data]


def received(receiver: Requests, *parts: bytes) -> list[Frame]:
    """What is found in these, with silence behind them."""
    return [frame for part in parts for frame in receiver.feed(part)] + receiver.silence()


def all_kinds() -> list[Requests]:
    return [RtuRequests(has_silence=True), RtuRequests(has_silence=False), AsciiRequests()]


@pytest.mark.parametrize("pdu", REQUESTS, ids=lambda pdu: pdu[:4].hex())
def test_a_request_is_found_whole_and_byte_by_byte(pdu: bytes) -> None:
    for receiver in all_kinds():
        frame = receiver.pack(7, pdu)
        assert received(receiver, frame) == [(7, pdu)]
        assert received(receiver, *bytewise(frame)) == [(7, pdu)]
        assert (receiver.errors, receiver.heard, receiver.is_waiting) == (0, 2, False)


@pytest.mark.parametrize("first", REQUESTS, ids=lambda pdu: pdu[:4].hex())
@pytest.mark.parametrize("second", REQUESTS, ids=lambda pdu: pdu[:4].hex())
def test_two_requests_in_one_piece_are_two(first: bytes, second: bytes) -> None:
    for receiver in all_kinds():
        frames = receiver.pack(7, first) + receiver.pack(8, second)
        assert received(receiver, frames) == [(7, first), (8, second)]
        assert received(receiver, frames[:-1], frames[-1:]) == [(7, first), (8, second)]
        assert (receiver.errors, receiver.is_waiting) == (0, False)


def test_what_comes_whole_is_answered_without_waiting_for_silence() -> None:
    waits = [pdu for pdu in REQUESTS if not RtuRequests(has_silence=True).feed(rtu.pack(7, pdu))]
    assert [pdu[:2] for pdu in waits] == [hexed("08 00"), hexed("2B 0D"), hexed("41 01"), hexed("41 00")]
    for pdu in REQUESTS:
        assert RtuRequests(has_silence=False).feed(rtu.pack(7, pdu)) == [(7, pdu)]


def test_bytes_that_come_one_by_one_do_not_end_a_frame_whose_crc_is_right_too_early() -> None:
    """A CRC whose last byte is 0 is right without it, too."""
    pdu = next(
        pdu for pdu in (b"\x41" + number.to_bytes(2, "big") for number in range(1000)) if not rtu.pack(7, pdu)[-1]
    )
    frame = rtu.pack(7, pdu)
    assert rtu.crc_ends(frame) == [len(frame) - 1, len(frame)]

    assert received(RtuRequests(has_silence=True), *bytewise(frame)) == [(7, pdu)]
    assert received(RtuRequests(has_silence=False), frame) == [(7, pdu)]


def with_a_last_byte_of_0(pdus: Iterator[bytes]) -> bytes:
    """The first of these whose frame, without its last byte, has a CRC that is right, too."""
    return next(pdu for pdu in pdus if not rtu.pack(7, pdu)[-1])


REQUEST_LIKE_AN_ANSWER = with_a_last_byte_of_0(hexed("03 02") + number.to_bytes(3, "big") for number in range(65536))
"""Without its last byte it is the answer with one register."""
ANSWER_LIKE_A_REQUEST = with_a_last_byte_of_0(hexed("03 04") + number.to_bytes(4, "big") for number in range(65536))
"""An answer with two registers; without its last byte it is a request."""


def test_a_request_that_is_an_answer_without_its_last_byte_is_found_byte_by_byte() -> None:
    frame = rtu.pack(7, REQUEST_LIKE_AN_ANSWER)
    for receiver in (RtuRequests(has_silence=True), RtuRequests(has_silence=False)):
        assert [found for part in bytewise(frame * 3) for found in receiver.feed(part)] == [
            (7, REQUEST_LIKE_AN_ANSWER)
        ] * 3
        assert (receiver.errors, receiver.heard, receiver.is_waiting) == (0, 3, False)


@pytest.mark.parametrize("behind", [READ_FRAME, BROADCAST_FRAME, rtu.pack(0, hexed("03 04 0000 0000"))])
def test_an_answer_that_is_a_request_without_its_last_byte_leaves_nothing_behind(behind: bytes) -> None:
    answer = rtu.pack(7, ANSWER_LIKE_A_REQUEST)
    for parts in ([answer + behind], [answer, behind], [answer[:-1], answer[-1:] + behind], bytewise(answer + behind)):
        receiver = RtuRequests(has_silence=True)
        found = received(receiver, *parts)
        assert found[-1:] == [(behind[0], behind[1:-2])] or behind[:2] == hexed("00 03")
        assert (receiver.errors, receiver.heard, receiver.is_waiting) == (0, 2, False)
    receiver = RtuRequests(has_silence=True)
    received(receiver, answer[:-1], answer[-1:])
    assert received(receiver, READ_FRAME) == [(17, READ)]
    assert receiver.errors == 0


def test_a_broadcast_behind_an_answer_that_is_a_request_with_its_first_byte_is_found() -> None:
    answer = rtu.pack(7, hexed("03 02 0000"))
    for receiver in (RtuRequests(has_silence=True), RtuRequests(has_silence=False)):
        for parts in ([answer + BROADCAST_FRAME], [answer, BROADCAST_FRAME], bytewise(answer + BROADCAST_FRAME)):
            found = received(receiver, *parts, READ_FRAME)
            assert found[-2:] == [(0, hexed("06 0001 0003")), (17, READ)]
        assert (receiver.errors, receiver.heard, receiver.is_waiting) == (0, 9, False)


def test_vectors_of_the_serial_line_guide() -> None:
    assert RtuRequests(has_silence=True).feed(READ_FRAME + BROADCAST_FRAME) == [(17, READ), (0, hexed("06 0001 0003"))]
    assert AsciiRequests().feed(READ_LINE) == [(17, READ)]
    assert AsciiRequests().pack(17, READ) == READ_LINE


# Not of 05, 06, 08, 20, 21 and 22, which look like requests: to the unit that answers, which is not ours.
ANSWERS = [
    READ_ANSWER_FRAME,
    REFUSED_FRAME,
    rtu.pack(17, hexed("01 02 CD 6B")),
    rtu.pack(17, hexed("03 FA") + bytes(250)),
    rtu.pack(17, hexed("07 6D")),
    rtu.pack(17, hexed("0B 0000 0108")),
    rtu.pack(17, hexed("0C 08 0000 0108 0121 2000")),
    rtu.pack(17, hexed("0F 0013 000A")),
    rtu.pack(17, hexed("10 0001 0002")),
    rtu.pack(17, hexed("11 05 2A FF 475731")),
    rtu.pack(17, hexed("17 0C 00FE 0ACD 0001 0003 000D 00FF")),
    rtu.pack(17, hexed("18 0006 0002 01B8 1284")),
    rtu.pack(17, hexed("2B 0E 01 01 00 00 03 00 02 4142 01 01 43 02 01 44")),
]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda frame: frame[1:4].hex())
def test_answers_of_others_pass_by(answer: bytes) -> None:
    receiver = RtuRequests(has_silence=True)
    for pieces in (
        [answer + READ_FRAME],
        [answer[:3], answer[3:] + READ_FRAME],
        [bytes((b,)) for b in answer + READ_FRAME],
    ):
        assert [found for piece in pieces for found in receiver.feed(piece)] == [(17, READ)]
    assert (receiver.errors, receiver.heard) == (0, 6)


def test_a_wrong_crc_is_dropped_until_there_was_silence() -> None:
    receiver = RtuRequests(has_silence=True)

    assert receiver.feed(READ_FRAME[:-1] + b"\x88") == []
    assert receiver.feed(READ_FRAME) == []
    assert (receiver.errors, receiver.is_waiting) == (1, True)
    assert receiver.silence() == []
    assert receiver.feed(READ_FRAME) == [(17, READ)]
    assert receiver.errors == 1


def test_half_a_frame_is_dropped_after_silence() -> None:
    receiver = RtuRequests(has_silence=True)

    assert receiver.feed(READ_FRAME[:5]) == []
    assert receiver.is_waiting
    assert receiver.silence() == []
    assert (receiver.errors, receiver.is_waiting) == (1, False)
    assert receiver.feed(READ_FRAME) == [(17, READ)]


@pytest.mark.parametrize("noise", [b"\0", b"\xff\xff", b"\x11", b"\x11\x10\0\1\0\1\x02"])
def test_a_frame_after_noise_and_a_short_silence_is_read(noise: bytes) -> None:
    receiver = RtuRequests(has_silence=True)
    receiver.feed(noise)

    assert receiver.feed(READ_FRAME, after_silence=True) == [(17, READ)]
    assert (receiver.errors, receiver.is_waiting) == (1, False)


def test_a_frame_in_two_parts_with_a_short_silence_between_is_one() -> None:
    receiver = RtuRequests(has_silence=True)

    assert receiver.feed(READ_FRAME[:5]) == []
    assert receiver.feed(READ_FRAME[5:], after_silence=True) == [(17, READ)]
    assert receiver.errors == 0


def test_a_frame_of_an_unknown_function_may_have_the_beginning_of_another_behind_it() -> None:
    unknown = rtu.pack(7, hexed("41 01 02"))
    receiver = RtuRequests(has_silence=True)

    found = receiver.feed(unknown + READ_FRAME[:3]) + receiver.feed(READ_FRAME[3:])
    assert found == [(7, hexed("41 01 02")), (17, READ)]
    assert receiver.feed(unknown + READ_FRAME[:3]) == []
    assert receiver.silence() == [(7, hexed("41 01 02"))]
    assert receiver.errors == 1


def test_what_is_longer_than_a_frame_can_be_is_none() -> None:
    receiver = RtuRequests(has_silence=True)

    assert receiver.feed(b"\x07\x41" + bytes(range(250))) == []
    assert receiver.errors == 0
    assert receiver.feed(bytes(10)) == []
    assert receiver.errors == 1
    assert RtuRequests(has_silence=True).feed(hexed("07 10 0000 007D FA") + bytes(250)) == []  # 259 bytes


def test_noise_without_end_is_not_kept() -> None:
    for receiver in (RtuRequests(has_silence=True), RtuRequests(has_silence=False), AsciiRequests()):
        for _ in range(100):
            receiver.feed(b"\x07\x41:" + b"0" * 1000)
        assert len(receiver._rest) <= 2 * ascii.MAX_SIZE


@pytest.mark.parametrize(
    ("line", "errors"),
    [
        (b"noise" + READ_LINE, 1),
        (b"\r\n\r\n" + READ_LINE, 0),
        (READ_LINE.lower(), 0),
        (b":1103006B" + READ_LINE, 1),
        (b":1103006B00037F\r\n" + READ_LINE, 1),
        (b":1103006B0003ZZ\r\n" + READ_LINE, 1),
        (b":1103006B0037E\r\n" + READ_LINE, 1),
        (b":11EF\r\n" + READ_LINE, 1),
        (b":\r\n" + READ_LINE, 1),
        (b":" + b"0" * 512 + b"\r\n" + READ_LINE, 1),
    ],
)
def test_ascii_begins_anew_at_a_colon(line: bytes, errors: int) -> None:
    receiver = AsciiRequests()

    assert receiver.feed(line) == [(17, READ)]
    assert (receiver.errors, receiver.heard, receiver.is_waiting) == (errors, 1, False)


def test_the_longest_frames_fit() -> None:
    pdu = b"\x41" + bytes(252)
    for receiver in all_kinds():
        frame = receiver.pack(247, pdu)
        assert len(frame) == (ascii.MAX_SIZE if isinstance(receiver, AsciiRequests) else rtu.MAX_SIZE)
        assert received(receiver, frame[:-1], frame[-1:]) == [(247, pdu)]


def test_half_an_ascii_frame_is_dropped_after_a_second() -> None:
    receiver = AsciiRequests()

    assert receiver.feed(READ_LINE[:9]) == []
    assert receiver.is_waiting
    assert receiver.silence() == []
    assert receiver.feed(READ_LINE[9:]) == []
    assert receiver.feed(READ_LINE) == [(17, READ)]
    assert receiver.errors == 2


def test_another_delimiter_ends_frames_both_ways() -> None:
    receiver = AsciiRequests()

    assert receiver.change_delimiter(ord(";"))
    assert receiver.feed(READ_LINE[:-1] + b";") == [(17, READ)]
    assert receiver.pack(17, READ) == READ_LINE  # the answer to the request that changed it
    assert receiver.pack(17, READ) == READ_LINE[:-1] + b";"
    receiver.restore_delimiter()
    assert receiver.feed(READ_LINE) == [(17, READ)]
    assert not receiver.change_delimiter(ord("A"))
    assert not receiver.change_delimiter(0x80)
