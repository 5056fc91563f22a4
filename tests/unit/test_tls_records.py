"""Where records of TLS end: since when a client owes the rest of one."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.serving.tls import Records
from tests.support.wire import hexed


def record(size: int, kind: int = 0x17) -> bytes:
    """RFC 8446 5.1."""
    return bytes((kind, 3, 3)) + size.to_bytes(2, "big") + bytes(size)


def fed(*parts: bytes) -> float | None:
    """One part a second, the first at 1."""
    records = Records()
    for second, part in enumerate(parts, 1):
        records.feed(part, float(second))
    return records.half_since_s


@pytest.mark.parametrize(
    ("parts", "since_s"),
    [
        ([record(30)], None),
        ([record(30) + record(0) + record(16_640)], None),
        ([record(30) + b"\x17"], 1.0),
        ([record(30)[:5]], 1.0),
        ([record(0)[:4]], 1.0),
        ([record(30)[:5], bytes(29)], 1.0),
        ([record(30)[:5], bytes(30)], None),
        ([record(30)[:7], bytes(28)], None),
        ([record(30)[:7], bytes(28) + record(30)[:6]], 2.0),
        ([record(30)[:7], bytes(28), record(30)[:6]], 3.0),
        ([record(30)[:3], record(30)[3:] + record(5)[:1], record(5)[1:]], None),
        ([record(30), b"", b"\x17", b""], 3.0),
        ([hexed("16 03 01")], 1.0),
    ],
)
def test_it_is_known_since_when_the_rest_of_a_record_is_missing(parts: list[bytes], since_s: float | None) -> None:
    assert fed(*parts) == since_s


def test_drops_do_not_put_it_off_and_a_requests_worth_does() -> None:
    data = record(2000)
    assert fed(*(bytes((byte,)) for byte in data[:259])) == 1.0
    assert fed(data[:100], *[bytes(26)] * 9) == 1.0
    assert fed(data[:100], *[bytes(26)] * 10) == 11.0
    assert fed(*[data[at : at + 300] for at in range(0, 1800, 300)]) == 6.0
    assert fed(*[data[at : at + 300] for at in range(0, 1800, 300)], bytes(1), bytes(1)) == 6.0


def test_what_was_not_read_was_not_owed() -> None:
    records = Records()
    records.resume(1.0)
    assert records.half_since_s is None
    records.feed(record(30)[:9], 2.0)
    records.resume(3.0)
    assert records.half_since_s == 3.0


@given(
    sizes=st.lists(st.integers(0, 600), max_size=8), cuts=st.lists(st.integers(0, 5000), max_size=30), end=st.integers()
)
def test_any_split_ends_where_the_whole_does(sizes: list[int], cuts: list[int], end: int) -> None:
    whole = b"".join(map(record, sizes))
    data = whole[: end % (len(whole) + 1)]
    ends = [0]
    for size in sizes:
        ends.append(ends[-1] + 5 + size)
    at = sorted({0, *(cut for cut in cuts if cut < len(data)), len(data)})
    parts = [data[first:stop] for first, stop in pairwise(at)]
    assert (fed(*parts) is None) == (len(data) in ends)
