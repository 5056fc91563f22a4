"""Any bytes in any split to the real command over a socket: what the core would answer, frame by frame, and no harm."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.interfaces import Unit
from tests.conftest import Start
from tests.fuzz.test_receiver import cut_by_the_book, cuts, pieces
from tests.support.core import build_units
from tests.support.wire import Closed, Wire, adu, hexed

PLANT = """
server: {listen: "tcp://127.0.0.1:0", unknown_unit: silent}
units:
  1: {coils: 0..99, holding: [0..99, 110..299], input: 0..299, read_only: [holding:40..44]}
  2: {coils: 0..99, holding: 0..9}
"""


@pytest.fixture(scope="module")
def port(start: Start) -> int:
    return start(PLANT).port


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Unit]:
    """The same plant in this process; it hears exactly what the command hears."""
    return build_units(PLANT, tmp_path_factory.mktemp("core"))


address = st.one_of(st.integers(0, 5), st.integers(0, 301))
count = st.one_of(st.integers(1, 5), st.integers(0, 127))
value = st.integers(0, 0xFFFF)
pdus = st.one_of(
    st.builds(lambda f, a, c: struct.pack(">BHH", f, a, c), st.sampled_from([1, 3, 3, 3, 4, 4]), address, count),
    st.builds(lambda a, v: struct.pack(">BHH", 6, a, v), address, value),
    st.builds(lambda a, v, w: struct.pack(">BHHBHH", 16, a, 2, 4, v, w), address, value, value),
    st.builds(lambda a, v: struct.pack(">BHHH", 22, a, v, v ^ 0xFFFF), address, value),
    st.binary(min_size=1, max_size=253),
)
unit_ids = st.sampled_from([1, 1, 1, 2, 0, 255, 9])
good = st.lists(st.builds(adu, value, unit_ids, pdus), max_size=15).map(b"".join)
repeated = st.builds(lambda frame, times: frame * times, st.builds(adu, value, unit_ids, pdus), st.integers(1, 600))
noise = st.one_of(
    st.just(b""), st.binary(max_size=40), st.just(hexed("0001 0000 0000")), st.just(hexed("0001 0001 0006"))
)


@given(parts=st.lists(st.one_of(good, good, repeated), max_size=4), end=noise, at=cuts)
@settings(max_examples=settings().max_examples // 3)
def test_any_stream_is_answered_as_the_core_answers_its_frames(
    port: int, units: Sequence[Unit], parts: list[bytes], end: bytes, at: list[int]
) -> None:
    stream = b"".join(parts) + end
    frames, broken = cut_by_the_book(stream)
    expected = []
    for tid, unit_id, pdu in frames:
        answer = units[unit_id].answer(pdu)
        if answer is not None:
            expected.append((tid, 0, unit_id, answer))

    with Wire(port) as wire:
        with contextlib.suppress(OSError):  # a broken stream may be closed while it is still being sent
            for piece in pieces(stream, at):
                wire.send(piece)
            wire.half_close()
        answers = []
        with contextlib.suppress(Closed):
            while True:
                answers.append(wire.receive_adu())

    assert answers == expected[: len(answers)], "what is answered is answered as the core does"
    if not broken:
        assert len(answers) == len(expected)
    with Wire(port) as other:
        assert other.ask(hexed("03 0000 0001"), 2)[:2] == hexed("03 02")
