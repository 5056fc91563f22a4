"""Any PDU to a register image: an answer or silence, never an exception; and the answer that the book prescribes.

The second half plays random requests against a second image that is written for plainness: lists of numbers, one
check after the other in the order of V1.1b3 6. Nothing of the code under test is in it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.interfaces import Unit
from tests.support.core import build_units

SIZE = 300
"""Addresses of each table of unit 1, less the holes below."""
HOLES = {"coils": range(100, 110), "discrete": range(64, 65), "holding": range(140, 150), "input": range(3)}
READ_ONLY = {"coils": range(20, 30), "holding": range(40, 45)}

PLANT = """
units:
  1:
    coils: [0..99, 110..299]
    discrete: [0..63, 65..299]
    holding: [0..139, 150..299]
    input: 3..299
    read_only: [coils:20..29, holding:40..44]
    initial:
      "discrete:0": [true, false, true, true]
      "input:3": [1, 2, 3]
  2: {coils: 0..65535, discrete: 0..65535, holding: 0..65535, input: 0..65535}
  3: {holding: 10}
  5:
    coils: 0..99
    holding: 0..299
    exception_status: coils:8
    files: {1: {}, 4: {records: 300}, 5: {records: 300, read_only: true}}
    fifo: {"holding:100": {from: "holding:1"}, "holding:200": {}}
"""


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Unit]:
    return build_units(PLANT, tmp_path_factory.mktemp("core"))


word = st.one_of(
    st.integers(0, SIZE + 2),
    st.integers(0, 0xFFFF),
    st.sampled_from([0, 1, 2, 121, 123, 125, 126, 1968, 2000, 0xFF00, 0xFFFF]),
)
functions = st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 15, 16, 17, 20, 21, 22, 23, 24, 43])


def packed(function: int, words: list[int], rest: bytes) -> bytes:
    return (bytes((function,)) + struct.pack(f">{len(words)}H", *words) + rest)[:253]


@st.composite
def of_files(draw: st.DrawFn) -> bytes:
    """Function 20 or 21, mostly as it should be."""
    function = draw(st.sampled_from([20, 21]))
    body = b""
    for _ in range(draw(st.integers(0, 36))):
        count = draw(st.integers(0, 130))
        body += struct.pack(">BHHH", draw(st.sampled_from([6] * 9 + [0])), draw(st.integers(0, 6)), draw(word), count)
        if function == 21:
            body += bytes(2 * count)
    return (bytes((function, len(body) + draw(st.sampled_from([0] * 9 + [1])) & 0xFF)) + body)[:253]


anything = st.one_of(
    st.binary(min_size=1, max_size=253),
    of_files(),
    st.builds(lambda sub, data: struct.pack(">BH", 8, sub) + data, st.integers(0, 0x16), st.binary(max_size=4)),
    st.builds(packed, st.one_of(functions, st.integers(0, 255)), st.lists(word, max_size=6), st.binary(max_size=253)),
)


@given(pdu=anything, unit_id=st.sampled_from([0, 1, 2, 3, 4, 5, 5, 255]))
def test_any_pdu_gets_a_response_or_an_exception_of_its_function(
    units: Sequence[Unit], pdu: bytes, unit_id: int
) -> None:
    answer = units[unit_id].answer(pdu)

    if answer is None:
        return
    assert isinstance(answer, bytes)
    assert 2 <= len(answer) <= 253
    assert answer[0] in (pdu[0], pdu[0] | 0x80)
    if answer[0] & 0x80:
        assert len(answer) == 2
        assert answer[1] in (1, 2, 3, 4, 5, 6, 8, 0x0A, 0x0B)


class Refusal(Exception):
    pass


class Book:
    """Unit 1 by the book."""

    def __init__(self) -> None:
        self.tables: dict[str, list[int]] = {name: [0] * SIZE for name in ("coils", "discrete", "holding", "input")}
        self.tables["discrete"][0:4] = [1, 0, 1, 1]
        self.tables["input"][3:6] = [1, 2, 3]

    def answer(self, pdu: bytes) -> bytes:
        try:
            return self._answer(pdu)
        except Refusal as refusal:
            return bytes((pdu[0] | 0x80, int(str(refusal))))

    def _answer(self, pdu: bytes) -> bytes:
        function, data = pdu[0], pdu[1:]
        if function in (1, 2, 3, 4):
            name = ("coils", "discrete", "holding", "input")[function - 1]
            check(len(data) == 4, 3)
            first, count = struct.unpack(">HH", data)
            check(1 <= count <= (2000 if function <= 2 else 125), 3)
            values = self.read(name, first, count)
            if function <= 2:
                octets = bytes(
                    sum(bit << place for place, bit in enumerate(values[at : at + 8])) for at in range(0, count, 8)
                )
            else:
                octets = struct.pack(f">{count}H", *values)
            return bytes((function, len(octets))) + octets
        if function in (5, 6):
            check(len(data) == 4, 3)
            address, value = struct.unpack(">HH", data)
            check(function == 6 or value in (0, 0xFF00), 3)
            self.write("coils" if function == 5 else "holding", address, [value if function == 6 else value >> 15])
            return pdu
        if function in (15, 16):
            check(len(data) >= 5, 3)
            first, count, size = struct.unpack(">HHB", data[:5])
            octets = data[5:]
            if function == 15:
                check(1 <= count <= 1968 and size == len(octets) == (count + 7) // 8, 3)
                self.write("coils", first, [octets[i // 8] >> i % 8 & 1 for i in range(count)])
            else:
                check(1 <= count <= 123 and size == len(octets) == 2 * count, 3)
                self.write("holding", first, list(struct.unpack(f">{count}H", octets)))
            return pdu[:5]
        if function == 22:
            check(len(data) == 6, 3)
            address, and_mask, or_mask = struct.unpack(">HHH", data)
            self.check_write("holding", address, 1)
            old = self.tables["holding"][address]
            self.write("holding", address, [(old & and_mask) | (or_mask & (0xFFFF - and_mask))])
            return pdu
        assert function == 23
        check(len(data) >= 9, 3)
        read_first, read_count, first, count, size = struct.unpack(">HHHHB", data[:9])
        octets = data[9:]
        check(1 <= read_count <= 125 and 1 <= count <= 121 and size == len(octets) == 2 * count, 3)
        self.read("holding", read_first, read_count)
        self.write("holding", first, list(struct.unpack(f">{count}H", octets)))
        return bytes((23, 2 * read_count)) + struct.pack(
            f">{read_count}H", *self.read("holding", read_first, read_count)
        )

    def read(self, name: str, first: int, count: int) -> list[int]:
        for address in range(first, first + count):
            check(address < SIZE and address not in HOLES[name], 2)
        return self.tables[name][first : first + count]

    def write(self, name: str, first: int, values: list[int]) -> None:
        self.check_write(name, first, len(values))
        self.tables[name][first : first + len(values)] = values

    def check_write(self, name: str, first: int, count: int) -> None:
        self.read(name, first, count)
        for address in range(first, first + count):
            check(address not in READ_ONLY[name], 2)


def check(good: bool, code: int) -> None:
    if not good:
        raise Refusal(code)


address = st.one_of(st.integers(0, SIZE + 2), st.sampled_from([0xFFFF, 0xFFFE, 0x8000]))
count = st.one_of(st.integers(1, 20), st.integers(0, 130), st.sampled_from([0, 1968, 1969, 2000, 2001, 0x8001, 0xFFFF]))
off = st.sampled_from([0] * 9 + [1, -1, 2])
"""By how much a byte count or a size is wrong: mostly not at all."""


@st.composite
def writes(draw: st.DrawFn, function: int) -> bytes:
    quantity = draw(st.one_of(st.integers(1, 20), st.integers(0, 123)))
    size = (quantity + 7) // 8 if function == 15 else 2 * quantity
    octets = draw(st.binary(min_size=size, max_size=size))
    octets = (octets + b"\xaa\xaa")[: max(0, size + draw(off))]
    claimed = (size + draw(off)) & 0xFF
    head = struct.pack(">HHB", draw(address), (quantity + draw(off)) & 0xFFFF, claimed)
    if function == 23:
        head = struct.pack(">HH", draw(address), draw(st.one_of(st.integers(1, 20), count))) + head
    return (bytes((function,)) + head + octets)[:253]


requests = st.one_of(
    st.builds(lambda f, a, c: struct.pack(">BHH", f, a, c), st.integers(1, 4), address, count),
    st.builds(lambda a, v: struct.pack(">BHH", 5, a, v), address, st.sampled_from([0, 0xFF00, 0xFF00, 1, 0xFFFF])),
    st.builds(lambda a, v: struct.pack(">BHH", 6, a, v), address, st.integers(0, 0xFFFF)),
    st.builds(
        lambda a, m, o: struct.pack(">BHHH", 22, a, m, o), address, st.integers(0, 0xFFFF), st.integers(0, 0xFFFF)
    ),
    writes(15),
    writes(16),
    writes(23),
    st.builds(
        packed, st.sampled_from([1, 2, 3, 4, 5, 6, 15, 16, 22, 23]), st.lists(word, max_size=6), st.binary(max_size=9)
    ),
)


@given(conversation=st.lists(requests, min_size=1, max_size=30))
def test_any_conversation_goes_as_the_book_prescribes(
    tmp_path_factory: pytest.TempPathFactory, conversation: list[bytes]
) -> None:
    unit, book = fresh(tmp_path_factory), Book()

    for number, pdu in enumerate(conversation):
        answer = unit.answer(pdu)
        assert answer is not None
        assert answer.hex(" ") == book.answer(pdu).hex(" "), f"request {number}: {pdu.hex(' ')}"
    for first in range(3, SIZE, 60):
        for function in (1, 2, 3, 4):
            for start in (first, first + 7):
                pdu = struct.pack(">BHH", function, start, 23)
                assert unit.answer(pdu) == book.answer(pdu), f"afterwards: {pdu.hex(' ')}"


def fresh(tmp_path_factory: pytest.TempPathFactory) -> Unit:
    return build_units(PLANT.replace("0..65535", "0..9"), tmp_path_factory.getbasetemp())[1]
