"""Any bytes in any split: the same frames, and the stream breaks at the same place or not at all."""

from __future__ import annotations

import itertools
import struct

from hypothesis import example, given
from hypothesis import strategies as st

from gateway.modbus.mbap import BrokenStream, Receiver
from tests.support.wire import adu

Frame = tuple[int, int, bytes]

frames = st.lists(
    st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFF), st.binary(min_size=1, max_size=253)), max_size=8
)
headers = st.tuples(
    st.integers(0, 0xFFFF),
    st.sampled_from([0, 0, 0, 0, 0, 0, 1, 256, 0xFFFF]),
    st.one_of(st.integers(0, 12), st.sampled_from([253, 254, 255, 256, 0x0600, 0xFFFF])),
).map(lambda fields: struct.pack(">HHH", *fields))
streams = st.one_of(
    st.binary(max_size=600),
    st.lists(st.one_of(headers, st.binary(max_size=260), frames.map(lambda fs: b"".join(adu(*f) for f in fs)))).map(
        b"".join
    ),
)
cuts = st.lists(st.integers(0, 3000), max_size=12)


def pieces(stream: bytes, at: list[int]) -> list[bytes]:
    """`stream` cut at these places (counted modulo its length)."""
    places = sorted({place % (len(stream) + 1) for place in at} | {0, len(stream)})
    return [stream[first:last] for first, last in itertools.pairwise(places)]


def received(parts: list[bytes]) -> tuple[list[Frame], bool]:
    """All frames of a stream that arrives in these parts, and whether it broke."""
    receiver = Receiver()
    found: list[Frame] = []
    for part in parts:
        try:
            found += receiver.feed(part)
        except BrokenStream as broken:
            return found + broken.frames, True
    return found, False


def cut_by_the_book(stream: bytes) -> tuple[list[Frame], bool]:
    """TCP guide V1.0b 3.1.3, as plainly as it can be written."""
    found = []
    while len(stream) >= 6:
        tid, protocol, length = struct.unpack(">HHH", stream[:6])
        if protocol != 0 or not 2 <= length <= 254:
            return found, True
        if len(stream) < 6 + length:
            break
        found.append((tid, stream[6], stream[7 : 6 + length]))
        stream = stream[6 + length :]
    return found, False


@given(streams, cuts)
@example(b"\0\1\0\0\0\6\1\3\0\0\0\1\0\1\0\1", [1, 6, 7, 11, 12, 13])
def test_any_bytes_in_any_split_give_the_frames_of_the_book(stream: bytes, at: list[int]) -> None:
    assert received(pieces(stream, at)) == cut_by_the_book(stream)


@given(streams)
def test_any_bytes_one_at_a_time_give_the_frames_of_the_book(stream: bytes) -> None:
    assert received([bytes((byte,)) for byte in stream]) == cut_by_the_book(stream)


@given(frames, cuts)
def test_what_was_sent_as_frames_is_received_as_frames(sent: list[Frame], at: list[int]) -> None:
    assert received(pieces(b"".join(adu(*frame) for frame in sent), at)) == (sent, False)
