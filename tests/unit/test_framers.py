"""RTU and ASCII frames: the specification's bytes, pymodbus as the other opinion, any noise, any split."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pymodbus.framer import FramerAscii, FramerRTU
from pymodbus.pdu import DecodePDU

from gateway.modbus import ascii, rtu
from gateway.modbus.pdu import fault

REQUESTS_AND_ANSWERS = [
    ("010020000D", "01024D13"),
    ("0200640006", "020126"),
    ("03006B0003", "0306022B00000064"),
    ("0400080001", "0402FF06"),
    ("05000CFF00", "05000CFF00"),
    ("06001005DC", "06001005DC"),
    ("07", "0796"),
    ("080000CAFE", "080000CAFE"),
    ("080000CAFE0102", "080000CAFE0102"),
    ("08000B0000", "08000B1234"),
    ("0B", "0B00000108"),
    ("0C", "0C09000001080121408000"),
    ("0F0013000A02CD01", "0F0013000A"),
    ("10010000020442F6E979", "1001000002"),
    ("11", "11052AFF475731"),
    ("140E0600040001000206000300090001", "140A05060D120020030633CD"),
    ("150B0600040007000206AF04BE", "150B0600040007000206AF04BE"),
    ("160004FFF00005", "160004FFF00005"),
    ("1700030004000E00020400FF0102", "17080001000200030004"),
    ("1804DE", "180008000301B812840007"),
    ("2B0E0100", "2B0E0181000003000441636D65010447572D310203312E30"),
]
"""Of the protocol digest, section 1."""
PAIRS = [(bytes.fromhex(request), bytes.fromhex(answer)) for request, answer in REQUESTS_AND_ANSWERS]
IDS = [request for request, _ in REQUESTS_AND_ANSWERS]
FRAMERS: dict[str, tuple[Any, Any]] = {
    "rtu": (rtu.AnswerReceiver, rtu.pack),
    "ascii": (ascii.AnswerReceiver, ascii.pack),
}

pairs = pytest.mark.parametrize(("request_pdu", "answer"), PAIRS, ids=IDS)
framers = pytest.mark.parametrize("framer", sorted(FRAMERS))


def taken(receiver: Any, parts: list[bytes]) -> list[tuple[int, bytes]]:
    """All frames that are cut when these come one after the other."""
    frames = []
    for part in parts:
        receiver.feed(part)
        while (frame := receiver.take()) is not None:
            frames.append(frame)
    return frames


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    return [data[start:stop] for start, stop in itertools.pairwise(edges) if start < stop]


def bytewise(data: bytes) -> list[bytes]:
    return [bytes((byte,)) for byte in data]


@pytest.mark.parametrize(
    ("unit", "pdu", "frame"),
    [
        (17, "03006B0003", "1103006B00037687"),
        (17, "0306022B00000064", "110306022B00000064C8BA"),
        (17, "8302", "118302C134"),
        (1, "0300000001", "010300000001840A"),
        (0, "0600010003", "00060001000399DA"),
    ],
)
def test_rtu_frames_are_those_of_the_digest(unit: int, pdu: str, frame: str) -> None:
    assert rtu.pack(unit, bytes.fromhex(pdu)) == bytes.fromhex(frame)
    assert rtu.crc16(bytes.fromhex(frame)) == 0


def test_the_check_values_of_crc_and_lrc_hold() -> None:
    assert rtu.crc16(b"123456789") == 0x4B37
    assert ascii.pack(17, bytes.fromhex("03006B0003")) == b":1103006B00037E\r\n"


@given(st.integers(0, 255), st.binary(min_size=1, max_size=253))
def test_frames_are_those_that_pymodbus_makes(unit: int, pdu: bytes) -> None:
    assert rtu.pack(unit, pdu) == FramerRTU(DecodePDU(False)).encode(pdu, unit, 0)
    assert ascii.pack(unit, pdu) == FramerAscii(DecodePDU(False)).encode(pdu, unit, 0)


@pairs
def test_every_function_tells_the_size_of_its_frames_as_soon_as_it_can(request_pdu: bytes, answer: bytes) -> None:
    for pdu, size_of in ((request_pdu, rtu.request_size), (answer, rtu.response_size)):
        frame = rtu.pack(17, pdu)
        sizes = {size_of(frame[:count]) for count in range(len(frame) + 1)}
        assert sizes <= {0, None, len(frame)}
        if pdu[:3] == bytes.fromhex("080000"):
            assert size_of(frame) is None, "an echo is as long as the client likes"
        else:
            assert size_of(frame) == len(frame)


@pairs
def test_no_good_answer_is_longer_than_is_reckoned_with(request_pdu: bytes, answer: bytes) -> None:
    assert len(rtu.pack(17, answer)) <= rtu.answer_size(request_pdu) <= rtu.MAX_SIZE


@pairs
def test_pymodbus_tells_the_same_sizes(request_pdu: bytes, answer: bytes) -> None:
    for is_server, pdu, size_of in ((True, request_pdu, rtu.request_size), (False, answer, rtu.response_size)):
        frame = rtu.pack(17, pdu)
        pdu_class = DecodePDU(is_server).lookupPduClass(frame)
        assert pdu_class is not None
        is_echo = pdu[:3] == bytes.fromhex("080000")  # pymodbus takes all of them for one word
        is_fifo = pdu is answer and pdu[0] == 0x18  # and has two bytes less than the example of V1.1b3 6.18
        if not is_echo and not is_fifo:
            assert pdu_class.calculateRtuFrameSize(frame) == size_of(frame)


@framers
@pairs
def test_an_answer_is_cut_out_whatever_stands_around_it(framer: str, request_pdu: bytes, answer: bytes) -> None:
    make, pack = FRAMERS[framer]
    for before, after in ((b"", b""), (b"\x00", b""), (b"\xff\x00\x55", b"\x00"), (b"", b"\xff\xff")):
        for cut in (lambda data: [data], bytewise):
            receiver = make()
            receiver.expect(17, request_pdu)
            assert taken(receiver, [*cut(before + pack(17, answer)), after][: None if after else -1]) == [(17, answer)]
            receiver.clear()
            assert receiver.noise == bool(before or after)


@framers
@pairs
def test_a_refusal_is_an_answer(framer: str, request_pdu: bytes, answer: bytes) -> None:
    make, pack = FRAMERS[framer]
    receiver = make()
    receiver.expect(17, request_pdu)
    refusal = bytes((request_pdu[0] | 0x80, 2))
    assert taken(receiver, bytewise(pack(17, refusal))) == [(17, refusal)]


@framers
@pairs
def test_a_wrong_checksum_is_no_answer_and_hides_none(framer: str, request_pdu: bytes, answer: bytes) -> None:
    make, pack = FRAMERS[framer]
    good = pack(17, answer)
    wrong = bytearray(good)
    wrong[-3] ^= 1
    receiver = make()
    receiver.expect(17, request_pdu)
    assert taken(receiver, [bytes(wrong)]) == []
    assert taken(receiver, bytewise(good)) == [(17, answer)] or framer == "rtu"
    assert receiver.noise == 1


@framers
def test_what_cannot_be_an_answer_to_the_request_is_none(framer: str) -> None:
    make, pack = FRAMERS[framer]
    for other in ("0302000100", "030400010002FF", "04020001", "8402", "830201", "0600000001"):
        receiver = make()
        receiver.expect(17, bytes.fromhex("0300000001"))
        assert taken(receiver, [pack(17, bytes.fromhex(other))]) == [], other


@framers
def test_an_answer_of_another_unit_is_told_and_the_right_one_is_still_found(framer: str) -> None:
    make, pack = FRAMERS[framer]
    receiver = make()
    receiver.expect(17, bytes.fromhex("0300000001"))
    data = pack(3, bytes.fromhex("03020007")) + pack(17, bytes.fromhex("03020008"))
    assert taken(receiver, bytewise(data)) == [(3, bytes.fromhex("03020007")), (17, bytes.fromhex("03020008"))]


def test_a_refusal_inside_the_data_of_an_answer_is_data() -> None:
    inside = rtu.pack(17, bytes.fromhex("8302"))
    answer = bytes((3, 10)) + inside + b"\0" * 5
    request = bytes.fromhex("0300000005")
    frame = rtu.pack(17, answer)
    for cut in range(len(frame)):
        receiver = rtu.AnswerReceiver()
        receiver.expect(17, request)
        assert taken(receiver, [frame[:cut], frame[cut:]]) == [(17, answer)]


def test_the_echo_of_a_read_is_noise_before_its_answer() -> None:
    receiver = rtu.AnswerReceiver()
    request, answer = bytes.fromhex("0300000001"), bytes.fromhex("03020007")
    receiver.expect(17, request)
    assert taken(receiver, bytewise(rtu.pack(17, request) + rtu.pack(17, answer))) == [(17, answer)]


@given(answer=st.binary(max_size=250), cuts=st.lists(st.integers(0, 300), max_size=4))
@example(answer=bytes.fromhex("0093"), cuts=[])
def test_a_function_that_nobody_knows_ends_with_its_own_crc_and_silence(answer: bytes, cuts: list[int]) -> None:
    receiver = rtu.AnswerReceiver()
    receiver.expect(17, bytes.fromhex("41010203"))
    frame = rtu.pack(17, b"\x41" + answer)
    for parts in (split(frame, cuts), bytewise(frame)):
        receiver.expect(17, bytes.fromhex("41010203"))
        assert taken(receiver, parts) == []
        assert receiver.is_open
        assert receiver.take(is_silent=True) == (17, b"\x41" + answer)


def test_silence_alone_makes_no_answer() -> None:
    receiver = rtu.AnswerReceiver()
    receiver.expect(17, bytes.fromhex("41010203"))
    for part in bytewise(rtu.pack(17, bytes.fromhex("410A0B"))[:-1]):
        receiver.feed(part)
        assert receiver.take(is_silent=True) is None
        assert not receiver.is_open


def test_an_identification_whose_count_is_that_of_all_parts_ends_with_its_crc_and_silence() -> None:
    receiver = rtu.AnswerReceiver()
    receiver.expect(17, bytes.fromhex("2B0E0100"))
    answer = bytes.fromhex("2B0E0101FF0203000441636D65")  # three objects, one of them here
    assert taken(receiver, bytewise(rtu.pack(17, answer))) == []
    assert receiver.take(is_silent=True) == (17, answer)


@framers
@given(noise=st.binary(max_size=600), cuts=st.lists(st.integers(0, 10_000), max_size=8))
def test_noise_is_never_an_answer(framer: str, noise: bytes, cuts: list[int]) -> None:
    make, _ = FRAMERS[framer]
    receiver = make()
    receiver.expect(17, bytes.fromhex("03006B0003"))
    assert taken(receiver, split(noise, cuts)) == []


@framers
@given(
    pair=st.sampled_from(PAIRS),
    noise=st.lists(st.integers(0, 255).filter(lambda byte: byte != 0x3A), max_size=20),
    cuts=st.lists(st.integers(0, 10_000), max_size=8),
)
def test_an_answer_behind_noise_is_found_in_any_split(
    framer: str, pair: tuple[bytes, bytes], noise: list[int], cuts: list[int]
) -> None:
    make, pack = FRAMERS[framer]
    request, answer = pair
    noise = [byte for byte in noise if byte != 17]  # else it may begin as an answer does, and hide it
    receiver = make()
    receiver.expect(17, request)
    frames = taken(receiver, split(bytes(noise) + pack(17, answer), cuts))
    assert [frame for frame in frames if frame[0] == 17] == [(17, answer)]


@framers
@given(data=st.binary(max_size=300), pair=st.sampled_from(PAIRS))
def test_whatever_comes_what_is_taken_fits_the_request(framer: str, data: bytes, pair: tuple[bytes, bytes]) -> None:
    make, pack = FRAMERS[framer]
    request, _ = pair
    receiver = make()
    receiver.expect(17, request)
    for _, answer in taken(receiver, [pack(1, data[:253] or b"\0"), data]):
        assert fault(request, answer) is None


LOOKS_LIKE_MANY = [
    ("41010203", b"\x41"),
    ("41010203", b"\x11\x41"),
    ("41010203", b"\x05\x41"),
    ("030000007D", b"\x05\x03\xfa"),
    ("030000007D", b"\x11\x03\xfa"),
    ("11", b"\x05\x11\xf0"),
    ("1804DE", b"\x05\x18\x00\xf0"),
    ("2B0E0100", b"\x05\x2b\x0e\x01"),
]
"""Requests, and what is made to look like the beginning of an answer everywhere."""


@pytest.mark.parametrize(("request_pdu", "pattern"), LOOKS_LIKE_MANY)
@pytest.mark.parametrize("piece", [1, 64, 4096])
def test_noise_that_looks_like_many_answers_costs_little(
    request_pdu: str, pattern: bytes, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    summed = 0
    crc16 = rtu.crc16

    def counting(data: bytes, *before: int) -> int:
        nonlocal summed
        summed += len(data)
        return crc16(data, *before)

    monkeypatch.setattr(rtu, "crc16", counting)
    noise = (pattern * 2048)[:2048]
    receiver = rtu.AnswerReceiver()
    receiver.expect(17, bytes.fromhex(request_pdu))
    assert taken(receiver, [noise[at : at + piece] for at in range(0, len(noise), piece)]) == []
    assert summed <= 2 * rtu.MAX_STARTS * len(noise)


@given(
    pair=st.sampled_from([*PAIRS, (b"\x41\x01", b"\x41\x11\x41\x11\x41")]),
    noise=st.binary(min_size=300, max_size=3000),
    cuts=st.lists(st.integers(0, 10_000), max_size=8),
)
def test_an_answer_behind_much_noise_is_found_in_any_split(
    pair: tuple[bytes, bytes], noise: bytes, cuts: list[int]
) -> None:
    request, answer = pair
    receiver = rtu.AnswerReceiver()
    receiver.expect(17, request)
    found = taken(receiver, split(noise.replace(b"\x11", b"") + rtu.pack(17, answer), cuts))
    if receiver.is_open:
        found += [frame for frame in [receiver.take(is_silent=True)] if frame is not None]
    assert found[-1:] == [(17, answer)]


def test_an_answer_behind_a_flood_of_other_units_beginnings_is_found() -> None:
    request, answer = bytes.fromhex("41010203"), bytes.fromhex("4111411141")
    for piece in (1, 64, 4096):
        receiver = rtu.AnswerReceiver()
        receiver.expect(17, request)
        data = b"\x05\x41" * 1000 + rtu.pack(17, answer)
        assert taken(receiver, [data[at : at + piece] for at in range(0, len(data), piece)]) == []
        assert receiver.take(is_silent=True) == (17, answer)


def test_after_too_much_noise_nothing_is_looked_for_until_the_next_request() -> None:
    request, answer = bytes.fromhex("0300000001"), bytes.fromhex("03020007")
    receiver = rtu.AnswerReceiver()
    receiver.expect(17, request)
    assert taken(receiver, [b"\0" * rtu.MAX_NOISE, rtu.pack(17, answer)]) == []
    receiver.expect(17, request)
    assert taken(receiver, [rtu.pack(17, answer)]) == [(17, answer)]


@framers
def test_noise_without_end_is_not_kept(framer: str) -> None:
    make, _ = FRAMERS[framer]
    receiver = make()
    receiver.expect(17, bytes.fromhex("0300000001"))
    for _ in range(100):
        receiver.feed(b"\x01\x03\x02:" * 250)
        receiver.take()
    kept = receiver._data if framer == "rtu" else receiver._line
    assert len(kept) < 1024
