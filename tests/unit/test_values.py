"""Register bytes <-> values: the worked examples of the field (protocol digest 5.2-5.5), and the edges."""

from __future__ import annotations

import math
import struct
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.modbus.spec import Table
from gateway.values import (
    TYPES,
    Sentinel,
    Tag,
    bits_decoder,
    encode,
    from_raw,
    registers_decoder,
    reorder,
    round_half_away,
    to_raw,
)


def tag(type_: str, first: int = 0, **more: object) -> Tag:
    registers = more.pop("registers", TYPES[type_].registers or 4)
    return Tag("t", Table.HOLDING, first, registers, type_, **more)  # type: ignore[arg-type]


def value_of(one: Tag, wire: str) -> object:
    (raw,) = registers_decoder([one], one.first)(bytes.fromhex(wire))
    return from_raw(one)(raw)


@pytest.mark.parametrize(
    ("type_", "order", "wire", "value"),
    [
        ("float32", "ABCD", "42F6E979", 123.456),
        ("float32", "CDAB", "E97942F6", 123.456),
        ("float32", "BADC", "F64279E9", 123.456),
        ("float32", "DCBA", "79E9F642", 123.456),
        ("float32", "CDAB", "0000BFC0", -1.5),
        ("int32", "ABCD", "12345678", 305419896),
        ("int32", "CDAB", "1DC0FFFE", -123456),
        ("int32", "BADC", "FEFFC01D", -123456),
        ("int32", "DCBA", "C01DFEFF", -123456),
        ("uint32", "CDAB", "5E00B2D0", 3000000000),
        ("int64", "ABCD", "112210F47DE98115", 1234567890123456789),
        ("int64", "CDAB", "81157DE910F41122", 1234567890123456789),
        ("int64", "BADC", "2211F410E97D1581", 1234567890123456789),
        ("int64", "DCBA", "1581E97DF4102211", 1234567890123456789),
        ("float64", "CDAB", "BE771A9FDD2F405E", 123.456),
        ("int16", "ABCD", "FF06", -250),
        ("int16", "BADC", "06FF", -250),
        ("uint16", "DCBA", "0100", 1),
        ("bcd16", "ABCD", "1234", 1234),
        ("bcd16", "ABCD", "12A4", None),
        ("bcd32", "ABCD", "12345678", 12345678),
        ("bcd32", "CDAB", "56781234", 12345678),
        ("float32", "ABCD", "7FC00000", None),
        ("float32", "ABCD", "FFFFFFFF", None),
        ("float32", "ABCD", "7F800000", None),
        ("bool", "ABCD", "0002", True),
        ("bool", "ABCD", "0000", False),
    ],
)
def test_wire_bytes_are_read_as_the_type_and_order_say(type_: str, order: str, wire: str, value: object) -> None:
    got = value_of(tag(type_, order=order), wire)
    assert got == pytest.approx(value, rel=1e-6) if type_.startswith("float") and value is not None else got == value
    assert type(got) is type(value)


def test_strings_are_cut_at_the_first_nul_and_trimmed() -> None:
    assert value_of(tag("string", registers=3), "504D35353630") == "PM5560"
    assert value_of(tag("string", registers=4, order="BADC"), "4D50353530360000") == "PM5560"
    assert value_of(tag("string", registers=4, order="DCBA"), "4D50353530360000") == "PM5560"
    assert value_of(tag("string", registers=3, order="CDAB"), "504D35353630") == "PM5560", "characters have no words"
    assert value_of(tag("string", registers=3), "4142 0043 4344".replace(" ", "")) == "AB"
    assert value_of(tag("string", registers=3), "414220202020") == "AB"


@pytest.mark.parametrize(("bit", "value"), [(0, True), (3, True), (1, False), (15, False)])
def test_bit_zero_is_the_least_significant(bit: int, value: bool) -> None:
    assert value_of(tag("bool", bit=bit), "0009") is value


def test_scale_and_offset_are_exact_and_integers_stay_integers() -> None:
    assert value_of(tag("int16", scale=Fraction("0.1")), "0946") == 237.4
    assert value_of(tag("int16", scale=Fraction(2), offset=Fraction(-5)), "FFFF") == -7
    assert type(value_of(tag("int16", scale=Fraction(2)), "0001")) is int
    assert value_of(tag("uint64", scale=Fraction(10)), "FFFFFFFFFFFFFFFF") == 10 * (2**64 - 1)


@pytest.mark.parametrize(
    ("type_", "sentinel", "wire"),
    [
        ("int16", Sentinel(True, 0x8000), "8000"),
        ("uint16", Sentinel(True, 0xFFFF), "FFFF"),
        ("int16", Sentinel(False, -32768), "8000"),
        ("int32", Sentinel(True, 0x80000000), "80000000"),
        ("float32", Sentinel(False, Fraction("-9999.9")), struct.pack(">f", -9999.9).hex()),
        ("bcd16", Sentinel(False, 9999), "9999"),
        ("bcd16", Sentinel(True, 0xFFFF), "FFFF"),
    ],
)
def test_a_sentinel_is_no_value(type_: str, sentinel: Sentinel, wire: str) -> None:
    assert value_of(tag(type_, no_value=(sentinel,)), wire) is None
    assert value_of(tag(type_, no_value=(sentinel,)), "0001" * (len(wire) // 4)) is not None


@pytest.mark.parametrize(
    ("type_", "value"),
    [("int16", 32768), ("uint16", -1), ("uint16", 65535.5), ("bcd16", 10000), ("bool", 2), ("float32", 1e39)],
)
def test_what_does_not_fit_is_not_encoded(type_: str, value: float) -> None:
    assert encode(type_, value) is None
    assert encode("int16", math.nan) is None
    assert encode("bcd16", False) == b"\0\0"
    assert encode("int16", math.inf) is None


def test_rounding_is_half_away_from_zero() -> None:
    assert [round_half_away(x) for x in (2.5, -2.5, 0.49, -0.5, 1e15 + 0.5)] == [3, -3, 0, -1, 10**15 + 1]


def test_neighbours_gaps_and_swapped_tags_are_decoded_in_one_go() -> None:
    data = bytes.fromhex("0001 FFFF 42F6E979 00000000 E97942F6 8000".replace(" ", ""))
    plain = [tag("uint16", 10), tag("int16", 11), tag("float32", 12), tag("uint16", 18)]
    assert registers_decoder(plain, 10)(data) == (1, -1, pytest.approx(123.456, rel=1e-6), 0x8000)
    mixed = [tag("uint16", 10), tag("bool", 10, bit=0), tag("float32", 16, order="CDAB")]
    assert registers_decoder(mixed, 10)(data) == (1, 1, pytest.approx(123.456, rel=1e-6))


def test_bits_are_unpacked_least_significant_first() -> None:
    tags = [Tag(str(n), Table.COILS, n, 1, "bool") for n in (32, 34, 44)]
    assert bits_decoder(tags, 32)(bytes.fromhex("4D13")) == (True, True, True)
    assert bits_decoder([Tag("a", Table.COILS, 33, 1, "bool")], 32)(bytes.fromhex("4D13")) == (False,)


@given(
    st.sampled_from([name for name, kind in TYPES.items() if kind.is_integer and name != "bool"]),
    st.sampled_from(["ABCD", "CDAB", "BADC", "DCBA"]),
    st.data(),
)
def test_every_integer_survives_the_way_out_and_back(type_: str, order: str, data: st.DataObject) -> None:
    kind = TYPES[type_]
    assert kind.low is not None
    assert kind.high is not None
    value = data.draw(st.integers(kind.low, kind.high))
    wire = encode(type_, value, order)
    assert wire is not None
    assert reorder(reorder(wire, order), order) == wire
    assert value_of(tag(type_, order=order), wire.hex()) == value


numbers = [name for name in TYPES if name not in ("bool", "string")]
orders = st.sampled_from(["ABCD", "CDAB", "BADC", "DCBA"])
scales = st.sampled_from(["1", "0.1", "0.01", "3", "-0.5", "1/3"]).map(Fraction)


@given(st.sampled_from(numbers), orders, scales, st.sampled_from(["0", "-40", "0.5", "1000"]), st.data())
def test_what_was_read_can_be_written_back(
    type_: str, order: str, scale: Fraction, offset: str, data: st.DataObject
) -> None:
    one = tag(type_, order=order, scale=scale, offset=Fraction(offset))
    kind = TYPES[type_]
    if kind.is_float:
        raw = data.draw(st.floats(-(2.0**100), 2.0**100, width=32))
        wire = encode(type_, raw, order)
    else:
        assert kind.low is not None
        assert kind.high is not None
        # Beyond 2**53 a value with a fraction is no float any more: what is read is not what the device has.
        exact = kind if scale.denominator == Fraction(offset).denominator == 1 else TYPES["int32"]
        assert exact.low is not None
        assert exact.high is not None
        low, high = max(kind.low, exact.low), min(kind.high, exact.high)
        wire = encode(type_, data.draw(st.integers(low, high)), order)
    assert wire is not None
    value = value_of(one, wire.hex())
    assert isinstance(value, int | float)

    written = to_raw(one)(value)

    assert written is not None
    again = value_of(one, written.hex())
    assert again == (pytest.approx(value, rel=1e-14, abs=1e-11) if kind.is_float else value)
    if not kind.is_float:
        assert written == wire


@given(st.sampled_from(["float32", "float64"]), orders, st.data())
def test_an_unscaled_float_is_written_back_bit_by_bit(type_: str, order: str, data: st.DataObject) -> None:
    width = 32 if type_ == "float32" else 64
    value = data.draw(st.floats(allow_nan=False, allow_infinity=False, width=width))  # type: ignore[call-overload]
    assert to_raw(tag(type_, order=order))(value) == encode(type_, value, order)


@given(
    st.integers(0, 6).flatmap(lambda size: st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=size)),
    orders,
)
def test_a_text_is_written_back(text: str, order: str) -> None:
    one = tag("string", registers=3, order=order)
    wire = to_raw(one)(text)
    assert wire is not None
    assert len(wire) == 6
    assert value_of(one, wire.hex()) == text


@pytest.mark.parametrize(
    ("one", "value"),
    [
        (tag("int16"), 32768),
        (tag("int16", scale=Fraction("0.1")), 3276.75),
        (tag("uint16"), -0.5),
        (tag("uint16"), math.nan),
        (tag("float32"), math.nan),
        (tag("float32"), math.inf),
        (tag("float32"), 1e39),
        (tag("float32", scale=Fraction("0.1")), 1e38),
        (tag("bcd16"), 10000),
        (tag("bool"), 2),
        (tag("bool"), 0.5),
        (tag("int16"), "1"),
        (tag("string", registers=2), "12345"),
        (tag("uint16", no_value=(Sentinel(True, 0xFFFF),)), 65535),
        (tag("int16", scale=Fraction("0.1"), no_value=(Sentinel(False, 50),)), 5),
    ],
)
def test_what_the_device_cannot_hold_or_would_not_mean_is_not_written(one: Tag, value: float | str) -> None:
    assert to_raw(one)(value) is None


def test_values_are_rounded_half_away_to_what_the_device_can_hold() -> None:
    one = tag("int16", scale=Fraction("0.1"))
    wires = [to_raw(one)(value) for value in (0.25, -0.25, 0.2, Fraction("0.349999"))]
    assert wires == [b"\0\3", b"\xff\xfd", b"\0\2", b"\0\3"]
