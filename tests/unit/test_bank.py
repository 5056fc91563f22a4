"""The bank beyond the specification's vectors (those are in tests/conformance): definition, claims, blocked spans."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bank import Bank
from gateway.modbus.spec import Table
from tests.support.wire import hexed


def ask(bank: Bank, request: str) -> str:
    answer = bank.answer(hexed(request))
    assert answer is not None
    return answer.hex()


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        ("03 0000 000A", "0314" + "00" * 20),
        ("03 0009 0001", "03020000"),
        ("03 0009 0002", "8302"),
        ("03 000A 0001", "8302"),
        ("03 0014 0005", "030a" + "00" * 10),
        ("03 FFFF 0001", "8302"),
        ("04 0000 0001", "8402"),
    ],
)
def test_only_defined_ranges_exist(request_: str, answer: str) -> None:
    assert ask(Bank({Table.HOLDING: [(0, 10), (20, 5)]}), request_) == answer


def test_ranges_that_touch_are_one() -> None:
    assert ask(Bank({Table.HOLDING: [(10, 5), (0, 10)]}), "03 0008 0004")[:4] == "0308"


def test_a_whole_table_can_be_defined() -> None:
    bank = Bank({table: [(0, 65536)] for table in Table})
    assert ask(bank, "03 FFFF 0001") == "03020000"
    assert ask(bank, "03 FFFF 0002") == "8302"
    assert ask(bank, "01 0000 07D0")[:4] == "01fa"


def test_claimed_registers_have_no_value_until_unblocked_and_clients_never_write_them() -> None:
    bank = Bank({Table.HOLDING: [(0, 10)]})
    first, second = bank.claim([(Table.HOLDING, 2, 2), (Table.HOLDING, 6, 1)])
    assert ask(bank, "03 0000 0002") == "030400000000"
    assert ask(bank, "03 0001 0002") == "830b"
    assert ask(bank, "03 0003 0001") == "830b"
    bank.put_registers(Table.HOLDING, 2, b"\0\1\0\2")
    bank.unblock(first)
    assert ask(bank, "03 0002 0002") == "030400010002"
    assert ask(bank, "03 0000 000A") == "830b"
    bank.unblock(second)
    assert ask(bank, "03 0000 000A") == "0314" + "0000" * 2 + "00010002" + "0000" * 6
    bank.block(second, 0x04)
    assert ask(bank, "03 0000 000A") == "8304"
    for write in ("06 0002 0001", "10 0001 0002 04 00000000", "16 0006 0000 FFFF", "17 0000 0001 0003 0001 02 0001"):
        assert ask(bank, write)[2:] == "02", write
    assert ask(bank, "10 0004 0002 04 00010002") == "1000040002"


def test_spans_of_single_bits_share_a_register() -> None:
    bank = Bank({Table.INPUT: [(0, 2)]})
    low, high = bank.claim([(Table.INPUT, 0, 1), (Table.INPUT, 0, 1)])
    bank.put_register_bit(Table.INPUT, 0, 0, True)
    bank.put_register_bit(Table.INPUT, 0, 15, True)
    bank.unblock(low)
    assert ask(bank, "04 0000 0001") == "840b"
    bank.unblock(high)
    assert ask(bank, "04 0000 0001") == "04028001"
    bank.put_register_bit(Table.INPUT, 0, 15, False)
    assert ask(bank, "04 0000 0001") == "04020001"


def test_standing_answers_are_void_when_a_span_loses_its_value() -> None:
    bank = Bank({Table.HOLDING: [(0, 10)]})
    void = []
    bank.on_blocked = lambda: void.append(True)
    (span,) = bank.claim([(Table.HOLDING, 0, 2)])
    assert bank.standing(hexed("03 0000 0002")) is None
    bank.unblock(span)
    standing = bank.standing(hexed("03 0000 0002"))
    assert standing is not None
    head, memory, start, stop = standing
    bank.put_registers(Table.HOLDING, 0, b"\1\2\3\4")
    assert head + memory[start:stop] == hexed("03 04 01020304")
    void.clear()
    bank.block(span, 0x0B)
    assert void


@given(
    st.integers(0, 300), st.integers(1, 200), st.integers(0, 300), st.integers(1, 200), st.integers(0, (1 << 200) - 1)
)
def test_bits_read_back_as_written_and_their_neighbours_stay(
    first: int, count: int, read_first: int, read_count: int, bits: int
) -> None:
    model = [False] * 600
    bank = Bank({Table.COILS: [(0, 600)]})
    data = (bits & ((1 << count) - 1)).to_bytes((count + 7) // 8, "little")
    bank.put_bits(Table.COILS, first, count, data)
    for n in range(count):
        model[first + n] = bool(bits >> n & 1)
    answer = bank.answer(b"\x01" + read_first.to_bytes(2, "big") + read_count.to_bytes(2, "big"))
    assert answer is not None
    got = int.from_bytes(answer[2:], "little")
    assert [bool(got >> n & 1) for n in range(8 * (len(answer) - 2))] == (
        model[read_first : read_first + read_count] + [False] * (-read_count % 8)
    )


def test_what_is_held_although_it_is_too_old_is_told() -> None:
    bank = Bank({Table.HOLDING: [(0, 10)]})
    (span,) = bank.claim([(Table.HOLDING, 2, 4)])
    assert bank.look(Table.HOLDING, 1, 3) == ([0, None, None], [0, 11, 11], [False] * 3)
    bank.unblock(span)
    assert bank.look(Table.HOLDING, 1, 6)[2] == [False, True, True, True, True, False]
    span.stale = False
    assert not any(bank.look(Table.HOLDING, 0, 10)[2])
