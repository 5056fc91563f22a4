"""Who a connection is, and what of its stream is no frame; whole datagrams and halves: bytes in, bytes out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.modbus import mbap
from gateway.southbound.dialin import shown, whose
from gateway.southbound.dialled import Heartbeats
from gateway.southbound.udp import cut

FRAME = mbap.pack(0x1501, 7, bytes.fromhex("03020007"))
OTHER = mbap.pack(0x1502, 7, bytes.fromhex("8302"))


def test_an_id_is_known_by_the_first_bytes_and_what_follows_belongs_to_the_stream() -> None:
    assert whose(b"meter7", [b"meter7", b"pump"], is_all=False) == b"meter7"
    assert whose(b"meter7" + FRAME, [b"meter7"], is_all=False) == b"meter7"


def test_a_part_of_an_id_waits_for_the_rest_until_its_time_is_over() -> None:
    assert whose(b"met", [b"meter7"], is_all=False) is None
    assert whose(b"met", [b"meter7"], is_all=True) == b""
    assert whose(b"", [b"meter7"], is_all=False) is None


def test_what_can_be_no_id_is_known_at_once() -> None:
    assert whose(b"GET / HTTP", [b"meter7"], is_all=False) == b""


def test_of_two_ids_that_begin_alike_the_longer_is_waited_for_and_the_shorter_taken_when_it_does_not_come() -> None:
    ids = [b"meter1", b"meter10"]
    assert whose(b"meter1", ids, is_all=False) is None
    assert whose(b"meter1", ids, is_all=True) == b"meter1"
    assert whose(b"meter10", ids, is_all=False) == b"meter10"
    assert whose(b"meter12", ids, is_all=False) == b"meter1"


def test_an_id_is_shown_as_it_is_written_and_never_breaks_a_line() -> None:
    assert shown(b"meter7") == "meter7"
    assert shown(b"a\nb") == "0x610a62"
    assert shown(b"x" * 100) == "x" * 64 + "..."


@given(
    st.lists(st.sampled_from(["frame", "other", "id"]), max_size=12),
    st.data(),
    st.sampled_from([b"meter7", b"\x00\x01\xff\xff\xff\xff", b"ab", b"7" * 15, b"\x15\x01\x07"]),
)
def test_ids_between_frames_are_taken_out_however_the_stream_is_split(
    parts: list[str], data: st.DataObject, device_id: bytes
) -> None:
    pieces = {"frame": FRAME, "other": OTHER, "id": device_id}
    stream = b"".join(pieces[part] for part in parts)
    heartbeats, out, at = Heartbeats(device_id), b"", 0
    while at < len(stream):
        size = data.draw(st.integers(1, len(stream) - at))
        out += heartbeats.without(stream[at : at + size])
        at += size
    wanted = b"".join(pieces[part] for part in parts if part != "id")
    assert out == wanted
    assert len(heartbeats.held) <= len(device_id) + mbap.LENGTH_SEEN_SIZE


@given(st.binary(max_size=300), st.data())
def test_whatever_a_device_sends_is_passed_on_or_held_and_no_byte_comes_twice(
    stream: bytes, data: st.DataObject
) -> None:
    heartbeats, out, at = Heartbeats(b"meter7"), b"", 0
    while at < len(stream):
        size = data.draw(st.integers(1, len(stream) - at))
        out += heartbeats.without(stream[at : at + size])
        at += size
    assert len(heartbeats.held) <= 12
    if b"meter7" not in stream:
        assert out + heartbeats.held == stream


def test_a_device_that_sends_its_id_as_part_of_its_data_is_not_cut() -> None:
    frame = mbap.pack(1, 1, b"\x03\x06meter7")
    assert Heartbeats(b"meter7").without(b"meter7" + frame + b"meter7") == frame


@pytest.mark.parametrize(
    ("datagram", "frames", "is_clean"),
    [
        (FRAME, 1, True),
        (FRAME + OTHER, 2, True),
        (b"", 0, False),
        (FRAME[:-1], 0, False),
        (FRAME + OTHER[:4], 1, False),
        (FRAME + b"\xff" * 20, 1, False),
        (b"\xff" * 20, 0, False),
    ],
    ids=["one", "two", "none", "half", "one and a half", "one and garbage", "garbage"],
)
def test_a_datagram_stands_for_itself(datagram: bytes, frames: int, is_clean: bool) -> None:
    found = cut(datagram)
    assert (len(found[0]), found[1]) == (frames, is_clean)
