"""Any recording, also of a device that answers nonsense, is played without a bug; any file is a recording or is not."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from gateway.modbus import spec
from gateway.recording.file import Exchange, Header, NoRecording, exchange_line, header_line, parse
from gateway.recording.player import Replay

ADDRESSES = st.sampled_from([0, 1, 2, 7, 8, 100, 65534, 65535])
COUNTS = st.sampled_from([0, 1, 2, 3, 8, 9, 125, 126, 2000, 65535])
FUNCTIONS = st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 15, 16, 17, 20, 22, 23, 24, 43, 0, 100])


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Mostly whole ones, some cut short or with more behind."""
    words = b"".join(draw(part).to_bytes(2, "big") for part in (ADDRESSES, COUNTS, ADDRESSES, COUNTS))
    size = draw(st.sampled_from([0, 2, 4, 4, 4, 8]))
    return bytes((draw(FUNCTIONS),)) + words[:size] + draw(st.binary(max_size=10) if size in (0, 8) else st.just(b""))


@st.composite
def exchanges(draw: st.DrawFn) -> Exchange:
    request = draw(requests())
    count = int.from_bytes(request[3:5], "big") if len(request) >= 5 else 0
    size = draw(st.sampled_from([0, 1, 2, 2 * count, (count + 7) // 8])) % 250
    answer = draw(
        st.one_of(
            st.none(),
            st.just(request[:5]),
            st.just(bytes((request[0], size)) + bytes(range(size))),
            st.builds(lambda code: bytes((request[0] | spec.EXCEPTION_BIT, code)), st.integers(0, 255)),
            st.builds(lambda rest: request[:1] + rest, st.binary(max_size=12)),
        )
    )
    times = st.floats(0, 10, allow_nan=False)
    return Exchange(draw(times), draw(st.integers(0, 2)), request, answer, draw(times))


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@given(
    st.lists(exchanges(), min_size=1, max_size=12),
    st.lists(st.tuples(st.floats(0, 8), st.integers(0, 2), requests()), max_size=12),
)
def test_whatever_was_recorded_is_played(recorded: list[Exchange], asked: list[tuple[float, int, bytes]]) -> None:
    lines = [header_line(Header("d", "sim://", (1,), "")), *map(exchange_line, recorded)]
    clock = Clock()
    replay = Replay(parse(lines), clock)
    for later_s, unit_id, request in asked:
        clock.now_s += later_s
        if unit_id in replay.players:
            answer = replay.answer(unit_id, request).answer
            assert answer is None or (1 <= len(answer) <= spec.MAX_PDU_SIZE and answer[0] & 0x7F == request[0] & 0x7F)


@given(
    st.lists(st.one_of(st.text(max_size=60), st.sampled_from(['{"at_ms": 1e400}', "[]", '{"at_ms": 1, "lost": "x"}'])))
)
def test_whatever_is_in_a_file_it_is_a_recording_or_is_told_not_to_be(texts: list[str]) -> None:
    header = header_line(Header("d", "sim://", (1,), ""))
    for lines in (texts, [header, *(f"{text}\n" for text in texts)]):
        with contextlib.suppress(NoRecording):
            parse(lines)
