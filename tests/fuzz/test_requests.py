"""Any bytes in any split on a line: never an exception, never more kept than two frames; frames are found as sent."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.modbus import ascii, rtu
from gateway.modbus.requests import AsciiRequests, Requests, RtuRequests
from tests.fuzz.test_receiver import pieces

Frame = tuple[int, bytes]
Make = Callable[[], Requests]

words = st.integers(0, 0xFFFF).map(lambda word: word.to_bytes(2, "big"))


def counted(function: int, head: int) -> st.SearchStrategy[bytes]:
    """A request with `head` bytes, a byte count and so many bytes."""
    most = 253 - head - 2
    return st.tuples(st.binary(min_size=head, max_size=head), st.binary(max_size=most)).map(
        lambda parts: bytes((function,)) + parts[0] + bytes((len(parts[1]),)) + parts[1]
    )


requests = st.one_of(
    st.tuples(st.integers(1, 6), words, words).map(lambda parts: bytes((parts[0],)) + parts[1] + parts[2]),
    st.sampled_from([b"\x07", b"\x0b", b"\x0c", b"\x11", b"\x2b\x0e\x01\x00"]),
    st.tuples(st.integers(1, 0x14), words).map(lambda parts: b"\x08\0" + bytes((parts[0],)) + parts[1]),
    counted(0x0F, 4),
    counted(0x10, 4),
    counted(0x14, 0),
    counted(0x15, 0),
    counted(0x17, 8),
    st.binary(min_size=6, max_size=6).map(lambda data: b"\x16" + data),
    words.map(lambda word: b"\x18" + word),
)
unknown = st.tuples(st.sampled_from([0x41, 0x48, 0x64, 0x6E]), st.binary(max_size=30)).map(
    lambda parts: bytes((parts[0],)) + parts[1]
)


def is_plain(frame: Frame) -> bool:
    """Its CRC is right at its end only, or one byte early. Elsewhere it is so at 1 of 65536 places, and nothing can be
    told apart there."""
    packed = rtu.pack(*frame)
    return set(rtu.crc_ends(packed)) <= {len(packed), len(packed) - 1}


frame = st.tuples(st.integers(0, 255), st.one_of(requests, unknown)).filter(is_plain)
frames = st.lists(frame, max_size=6)
plain_frames = st.lists(st.tuples(st.integers(0, 255), requests).filter(is_plain), max_size=6)
answers = st.tuples(st.integers(1, 4), st.binary(max_size=250)).map(
    lambda parts: bytes((parts[0], len(parts[1]))) + parts[1]
)
cuts = st.lists(st.integers(0, 3000), max_size=12)
streams = st.one_of(
    st.binary(max_size=600),
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.text(":0123456789ABCDEFabcdef\r\n", max_size=60).map(str.encode),
            frames.map(lambda some: b"".join(rtu.pack(*frame) for frame in some)),
            frames.map(lambda some: b"".join(ascii.pack(*frame) for frame in some)),
        ),
        max_size=8,
    ).map(b"".join),
)


def received(make: Make, parts: list[bytes]) -> list[Frame]:
    receiver = make()
    found = [frame for part in parts for frame in receiver.feed(part)] + receiver.silence()
    assert receiver.errors == 0
    assert not receiver.is_waiting
    return found


def line() -> RtuRequests:
    return RtuRequests(has_silence=True)


def stream() -> RtuRequests:
    return RtuRequests(has_silence=False)


@pytest.mark.parametrize("make", [line, stream, AsciiRequests])
@given(sent=plain_frames, at=cuts)
def test_what_was_sent_as_frames_is_received_as_frames(make: Make, sent: list[Frame], at: list[int]) -> None:
    sent_bytes = b"".join(make().pack(*frame) for frame in sent)
    assert received(make, pieces(sent_bytes, at)) == sent


@given(frame=frame, at=cuts)
def test_a_frame_with_silence_behind_it_is_found_whatever_its_function(frame: Frame, at: list[int]) -> None:
    assert received(line, pieces(rtu.pack(*frame), at)) == [frame]


@given(
    sent=plain_frames, between=st.lists(st.tuples(st.integers(1, 247), answers).filter(is_plain), max_size=6), at=cuts
)
def test_answers_of_others_between_them_change_nothing(sent: list[Frame], between: list[Frame], at: list[int]) -> None:
    assume(not set(sent) & set(between))  # an answer with three bytes may be the very bytes of a request
    heard = b""
    for number, frame in enumerate(sent):
        heard += rtu.pack(*frame)
        if number < len(between):
            heard += rtu.pack(*between[number])
    assert [frame for frame in received(line, pieces(heard, at)) if frame in sent] == sent


@pytest.mark.parametrize("make", [line, stream, AsciiRequests])
@given(heard=streams, at=cuts, silences=st.sets(st.integers(0, 12)), fresh=st.sets(st.integers(0, 12)))
def test_any_bytes_are_read_without_an_exception_and_nothing_piles_up(
    make: Callable[[], RtuRequests | AsciiRequests], heard: bytes, at: list[int], silences: set[int], fresh: set[int]
) -> None:
    receiver = make()
    for number, piece in enumerate(pieces(heard, at)):
        for unit_id, pdu in receiver.feed(piece, after_silence=number in fresh):
            assert 0 <= unit_id <= 255
            assert 1 <= len(pdu) <= 253
        assert len(receiver._rest) <= 2 * rtu.MAX_SIZE + 1
        if number in silences:
            receiver.silence()
            assert not receiver.is_waiting
    receiver.silence()
    frame = receiver.pack(1, b"\x03\0\0\0\1")
    assert receiver.feed(frame) == [(1, b"\x03\0\0\0\1")]


def test_pymodbus_packs_as_we_do() -> None:
    from pymodbus.framer import FramerAscii, FramerRTU
    from pymodbus.pdu import DecodePDU
    from pymodbus.pdu.register_message import WriteMultipleRegistersRequest

    @given(
        unit_id=st.integers(0, 255),
        first=st.integers(0, 0xFFFF),
        values=st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=123),
    )
    def compare(unit_id: int, first: int, values: list[int]) -> None:
        message = WriteMultipleRegistersRequest(address=first, registers=values, dev_id=unit_id)
        pdu = b"\x10" + message.encode()
        for framer, receiver in ((FramerRTU, line()), (FramerAscii, AsciiRequests())):
            frame = framer(DecodePDU(True)).buildFrame(message)
            assert receiver.feed(frame) == [(unit_id, pdu)]
            assert receiver.pack(unit_id, pdu) == frame

    compare()
