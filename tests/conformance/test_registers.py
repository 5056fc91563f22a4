"""What reading and writing does to the four tables: all or nothing, holes, read-only parts, bits at any alignment."""

from __future__ import annotations

import pytest

from tests.conformance.conftest import Ask
from tests.support.wire import hexed

PLANT = """
server: {listen: "tcp://127.0.0.1:0"}
units:
  1:
    coils: [0..63, 80..99]
    discrete: 0..63
    holding: [0..9, 20..29, 100..399]
    input: 0..399
    read_only: [coils:60..63, holding:5..6]
    initial:
      "discrete:0": [true, false, false, true, true, true, false, true]
      "discrete:8": [false, false, true, false, true, true, true, true]
      "holding:5": [555, 666]
      "input:0": 1
  2: {coils: 0..99, holding: 0..9}
  3: {input: 0..9}
"""

READ_ALL = hexed("03 0000 000A")
CLEAR = hexed("10 0000 0005 0A" + "0000" * 5)


def registers(*values: int) -> bytes:
    return b"".join(value.to_bytes(2, "big") for value in values)


def bits(*values: int) -> bytes:
    """Packed as on the wire, the first in the least significant place."""
    packed = sum(bit << place for place, bit in enumerate(values))
    return packed.to_bytes((len(values) + 7) // 8, "little")


def read(ask: Ask, first: int, count: int) -> bytes:
    answer = ask(hexed(f"03 {first:04X} {count:04X}"))
    assert answer[:2] == bytes((3, 2 * count)), answer.hex(" ")
    return answer[2:]


# -- all or nothing


def test_16_into_a_hole_is_refused_whole(ask: Ask) -> None:
    ask(hexed("10 0007 0003 06 0007 0008 0009"))

    assert ask(hexed("10 0007 0004 08 AAAA BBBB CCCC DDDD")) == hexed("90 02")
    assert read(ask, 7, 3) == registers(7, 8, 9)


def test_16_out_of_a_hole_is_refused_whole(ask: Ask) -> None:
    ask(hexed("10 0014 0002 04 0014 0015"))

    assert ask(hexed("10 0013 0003 06 AAAA BBBB CCCC")) == hexed("90 02")
    assert read(ask, 20, 2) == registers(20, 21)


def test_16_across_a_hole_is_refused_whole(ask: Ask) -> None:
    ask(hexed("06 0009 0009"))
    ask(hexed("06 0014 0014"))

    assert ask(hexed("10 0009 000C 18" + "FFFF" * 12)) == hexed("90 02")
    assert read(ask, 9, 1) + read(ask, 20, 1) == registers(9, 20)


def test_15_into_a_hole_is_refused_whole(ask: Ask) -> None:
    ask(hexed("0F 0050 0014 03 00 00 00"))

    assert ask(hexed("0F 005C 0009 02 FF 01")) == hexed("8F 02")
    assert ask(hexed("01 0050 0014")) == hexed("01 03 00 00 00")


def test_23_with_a_bad_read_range_writes_nothing(ask: Ask) -> None:
    ask(CLEAR)

    assert ask(hexed("17 000A 0001 0000 0001 02 FFFF")) == hexed("97 02")
    assert read(ask, 0, 1) == registers(0)


def test_23_with_half_a_write_range_writes_nothing(ask: Ask) -> None:
    ask(hexed("06 0009 0009"))

    assert ask(hexed("17 0000 0001 0009 0002 04 FFFF FFFF")) == hexed("97 02")
    assert read(ask, 9, 1) == registers(9)


@pytest.mark.parametrize("request_", ["03 0009 0002", "03 0009 000C", "03 000A 0001", "03 0013 0002", "03 001D 0002"])
def test_a_read_that_touches_a_hole_is_refused_with_02(ask: Ask, request_: str) -> None:
    assert ask(hexed(request_)) == hexed("83 02")


# -- read-only


@pytest.mark.parametrize(
    ("sentence", "request_", "refusal"),
    [
        ("06 to it", "06 0005 0001", "86 02"),
        ("06 to its last", "06 0006 0001", "86 02"),
        ("16 to it", "10 0005 0002 04 0001 0002", "90 02"),
        ("16 that begins before it", "10 0004 0002 04 0001 0002", "90 02"),
        ("16 that ends behind it", "10 0006 0002 04 0001 0002", "90 02"),
        ("16 around it", "10 0004 0004 08 0001 0002 0003 0004", "90 02"),
        ("22 to it, even when it changes nothing", "16 0005 FFFF 0000", "96 02"),
        ("23 that writes it", "17 0000 0001 0006 0001 02 0001", "97 02"),
        ("05 to it", "05 003C FF00", "85 02"),
        ("15 that ends in it", "0F 0038 0008 01 FF", "8F 02"),
    ],
)
def test_a_write_to_a_read_only_range_is_refused_with_02(ask: Ask, sentence: str, request_: str, refusal: str) -> None:
    ask(hexed("06 0004 0004"))
    ask(hexed("06 0007 0007"))

    assert ask(hexed(request_)) == hexed(refusal), sentence
    assert read(ask, 4, 4) == registers(4, 555, 666, 7), sentence
    assert ask(hexed("01 003C 0004")) == hexed("01 01 00"), sentence


def test_a_wrong_value_for_a_read_only_coil_is_refused_with_03_first(ask: Ask) -> None:
    assert ask(hexed("05 003C 1234")) == hexed("85 03")


def test_the_neighbours_of_a_read_only_range_can_be_written(ask: Ask) -> None:
    assert ask(hexed("10 0003 0002 04 0003 0004")) == hexed("10 0003 0002")
    assert ask(hexed("10 0007 0002 04 0007 0008")) == hexed("10 0007 0002")
    assert read(ask, 3, 6) == registers(3, 4, 555, 666, 7, 8)


def test_23_may_read_what_is_read_only(ask: Ask) -> None:
    assert ask(hexed("17 0005 0002 0000 0001 02 0102")) == hexed("17 04 022B 029A")
    assert read(ask, 0, 1) == registers(0x0102)


# -- tables


def test_the_four_tables_are_separate(ask: Ask) -> None:
    ask(hexed("06 0000 7777"))
    ask(hexed("05 0000 FF00"))
    ask(hexed("05 0001 FF00"))

    assert ask(hexed("03 0000 0001")) == hexed("03 02 7777")
    assert ask(hexed("04 0000 0001")) == hexed("04 02 0001")
    assert ask(hexed("01 0000 0002")) == hexed("01 01 03")
    assert ask(hexed("02 0000 0002")) == hexed("02 01 01")


def test_a_table_that_a_unit_has_not_is_refused_with_02(ask: Ask) -> None:
    assert ask(hexed("04 0000 0001"), 2) == hexed("84 02")
    assert ask(hexed("02 0000 0001"), 2) == hexed("82 02")
    assert ask(hexed("03 0000 0001"), 3) == hexed("83 02")
    assert ask(hexed("06 0000 0001"), 3) == hexed("86 02")
    assert ask(hexed("05 0000 FF00"), 3) == hexed("85 02")


def test_units_do_not_share_registers(ask: Ask) -> None:
    ask(hexed("06 0000 0001"), 1)
    ask(hexed("06 0000 0002"), 2)

    assert ask(hexed("03 0000 0001"), 1) == hexed("03 02 0001")
    assert ask(hexed("03 0000 0001"), 2) == hexed("03 02 0002")


def test_an_answer_asked_twice_shows_what_was_written_in_between(ask: Ask) -> None:
    for value in range(5):
        ask(hexed(f"06 0001 {value:04X}"))
        assert ask(hexed("03 0000 0003"))[4:6] == registers(value)
        ask(hexed(f"16 0001 0000 {value + 100:04X}"))
        assert ask(hexed("03 0000 0003"))[4:6] == registers(value + 100)
        ask(hexed(f"10 0001 0001 02 {value + 200:04X}"))
        assert ask(hexed("03 0000 0003"))[4:6] == registers(value + 200)


# -- registers


def test_the_largest_write_comes_back_in_the_largest_read(ask: Ask) -> None:
    values = registers(*(0x1000 + i for i in range(125)))

    assert ask(hexed("10 0064 007B F6") + values[:246]) == hexed("10 0064 007B")
    assert ask(hexed("10 00DF 0002 04") + values[246:]) == hexed("10 00DF 0002")
    assert ask(hexed("03 0064 007D")) == hexed("03 FA") + values


@pytest.mark.parametrize(
    ("old", "and_mask", "or_mask", "new"),
    [
        (0x0012, 0x00F2, 0x0025, 0x0017),  # the example of V1.1b3 6.16
        (0x1234, 0xFFF0, 0x0005, 0x1235),
        (0xFFFF, 0x0000, 0x0000, 0x0000),
        (0x0000, 0x0000, 0xFFFF, 0xFFFF),
        (0xABCD, 0xFFFF, 0x5432, 0xABCD),
        (0xA5A5, 0x7FFF, 0x8000, 0xA5A5),
        (0x25A5, 0x7FFF, 0x8000, 0xA5A5),
        (0xA5A5, 0x7FFF, 0x0000, 0x25A5),
    ],
)
def test_22_keeps_where_and_is_1_and_takes_or_elsewhere(
    ask: Ask, old: int, and_mask: int, or_mask: int, new: int
) -> None:
    ask(hexed(f"10 0000 0003 06 FFFF {old:04X} FFFF"))
    request = b"\x16\0\1" + registers(and_mask, or_mask)

    assert ask(request) == request
    assert read(ask, 0, 3) == registers(0xFFFF, new, 0xFFFF)


def test_23_writes_first_and_reads_then(ask: Ask) -> None:
    ask(CLEAR)

    assert ask(hexed("17 0000 0004 0001 0002 04 AAAA BBBB")) == hexed("17 08 0000 AAAA BBBB 0000")
    assert read(ask, 0, 4) == registers(0, 0xAAAA, 0xBBBB, 0)


def test_23_at_its_limits_answers_what_it_wrote(ask: Ask) -> None:
    values = registers(*(0x2000 + i for i in range(121)))
    ask(hexed("10 00DD 0004 08 0000 0000 0000 0000"))

    answer = ask(hexed("17 0064 007D 0064 0079 F2") + values)

    assert answer == hexed("17 FA") + values + registers(0, 0, 0, 0)


# -- bits


def test_a_read_of_bits_at_any_alignment_is_packed_from_the_first_with_zeros_above(ask: Ask) -> None:
    pattern = [1, 0, 0, 1, 1, 1, 0, 1, 0, 0, 1, 0, 1, 1, 1, 1, *[0] * 48]

    for first in range(20):
        for count in (*range(1, 26), 44):
            expected = bits(*pattern[first : first + count])
            answer = ask(hexed(f"02 {first:04X} {count:04X}"))
            assert answer == bytes((2, len(expected))) + expected, f"{count} from {first}"


def test_a_write_of_coils_at_any_alignment_changes_them_and_no_neighbour(ask: Ask) -> None:
    pattern = [1, 0, 1, 1, 0, 0, 1, 0, 1, 1, 0, 1, 0, 1, 1, 0, 0, 1]

    for background, filler in ((0, "00"), (1, "FF")):
        for first in range(10):
            for count in (1, 2, 7, 8, 9, 15, 16, 17, 18):
                ask(hexed(f"0F 0000 0028 05 {filler * 5}"))
                data = bits(*pattern[:count])

                assert ask(hexed(f"0F {first:04X} {count:04X} {len(data):02X}") + data)[0] == 0x0F

                image = [background] * 40
                image[first : first + count] = pattern[:count]
                assert ask(hexed("01 0000 0028"))[2:] == bits(*image), f"{count} to {first}"


def test_the_padding_of_a_write_of_coils_is_not_trusted(ask: Ask) -> None:
    ask(hexed("0F 0000 0010 02 00 00"))

    assert ask(hexed("0F 0000 0003 01 FF")) == hexed("0F 0000 0003")
    assert ask(hexed("01 0000 0010")) == hexed("01 02 07 00")


def test_05_changes_one_coil_and_no_neighbour(ask: Ask) -> None:
    for value, filler, expected in (("FF00", "00", 1), ("0000", "FF", 0)):
        for coil in range(20):
            ask(hexed(f"0F 0000 0014 03 {filler * 3}"))
            ask(hexed(f"05 {coil:04X} {value}"))
            image = [1 - expected] * 20
            image[coil] = expected
            assert ask(hexed("01 0000 0014"))[2:] == bits(*image), f"coil {coil}"
