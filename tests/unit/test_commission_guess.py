"""What a place may hold: the ranking, and what is wrong with values."""

from __future__ import annotations

import struct
from fractions import Fraction

import pytest

from gateway.commission.checkup import Reading, judge
from gateway.commission.guess import Guess, guesses
from gateway.modbus.spec import Table
from gateway.values import Sentinel, Tag, encode, reorder

ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")


def registers(data: bytes, first: int = 10) -> dict[int, bytes]:
    return {first + n: data[2 * n : 2 * n + 2] for n in range(len(data) // 2)}


def best(*readings: bytes, near: float | None = None, around: bytes = b"") -> Guess:
    """Of holding:10; `around` follows it."""
    return guesses([registers(each + around) for each in readings], 10, near=near)[0]


def raw(type_: str, value: float, order: str) -> bytes:
    data = encode(type_, value, order)
    assert data is not None
    return data


# -- with a value to look for ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("type_", ["float32", "int32", "uint32", "float64", "int64", "bcd32"])
def test_a_value_is_found_in_every_type_and_order(type_: str, order: str) -> None:
    value = 765432100000 if "64" in type_ else 7654321
    value = 21.4987 if "float" in type_ else value
    found = best(raw(type_, value, order), near=value, around=b"\x12\x34\xff\x00")
    assert found.order == order
    assert found.type in (type_, type_.replace("uint", "int"))
    assert found.address == 10
    assert "is the value given" in found.reasons[0] or "0.0%" in found.reasons[0]


@pytest.mark.parametrize(("scale", "stored"), [("0.1", 215), ("0.01", 2150), ("0.001", 21500), ("10", 2)])
def test_common_scales_are_tried(scale: str, stored: int) -> None:
    near = float(stored * Fraction(scale))
    found = best(raw("int16", stored, "ABCD"), near=near)
    assert (found.type, found.scale, found.value) == ("int16", Fraction(scale), pytest.approx(near))
    assert found.yaml(Table.INPUT) == f"name: {{at: input:10, type: int16, scale: {float(scale):g}}}"


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("type_", "stored", "near", "scale"),
    [
        ("float32", 2150.0, 21.5, "0.01"),
        ("float32", 0.215, 21.5, "100"),
        ("float32", 21500.0, 21.5, "0.001"),
        ("float64", 2150.0, 21.5, "0.01"),
        ("float64", 0.0215, 21.5, "1000"),
        ("int64", 765432100000, 7654321000, "0.01"),
        ("uint64", 123456789012, 123456789.012, "0.001"),
    ],
)
def test_scales_are_tried_of_floats_and_of_64_bits_too(
    type_: str, stored: float, near: float, scale: str, order: str
) -> None:
    found = best(raw(type_, stored, order), near=near, around=b"\x12\x34\xff\x00")
    assert (found.type, found.order, found.scale) == (type_.replace("uint", "int"), order, Fraction(scale))
    assert found.value == pytest.approx(near, rel=1e-6)
    assert "is the value given" in found.reasons[0] or "0.0%" in found.reasons[0]


def test_what_fits_without_a_scale_comes_before_what_needs_one() -> None:
    fits = [guess for guess in guesses([registers(raw("float32", 21.5, "ABCD"))], 10, near=21.5) if guess.score < 0]
    assert (fits[0].type, fits[0].scale) == ("float32", 1)
    assert all(guess.scale != 1 for guess in fits[1:])


def test_without_a_value_to_look_for_no_scales_are_tried() -> None:
    assert {guess.scale for guess in guesses([registers(raw("float32", 2150.0, "ABCD"))], 10)} == {1}


def test_a_negative_value() -> None:
    assert best(raw("int16", -125, "ABCD"), near=-12.5).type == "int16"
    assert best(raw("int16", -125, "BADC"), near=-125).order == "BADC"


def test_a_manual_that_counts_from_one() -> None:
    reading = {9: b"\x41\xac", 10: b"\x00\x00", 11: b"\x00\x00"}
    found = guesses([reading], 10, near=21.5)[0]
    assert (found.address, found.type, found.value) == (9, "float32", 21.5)
    assert "one register before" in found.reasons


def test_nothing_comes_near() -> None:
    assert all(found.score > 0 for found in guesses([registers(b"\x00\x01\x00\x02")], 10, near=5e5))


def test_a_number_next_to_nothing_is_measured_against_a_large_one() -> None:
    least = struct.pack(">d", 5e-324)  # divided by what is looked for, it would be 0
    assert all(found.score > 0 for found in guesses([registers(least)], 10, near=99999))


# -- without ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
def test_a_float_of_sensible_size_is_first(order: str) -> None:
    found = best(raw("float32", 21.5, order))
    assert (found.type, found.order, found.value) == ("float32", order, 21.5)
    assert "few digits" in found.reasons


def test_a_float_that_moves_in_small_steps_is_first() -> None:
    readings = [raw("float32", value, "CDAB") for value in (20.0075, 20.0127, 20.0203)]
    found = best(*readings)
    assert (found.type, found.order) == ("float32", "CDAB")
    assert "moves in small steps" in found.reasons


def test_a_small_number_in_one_register_is_an_integer() -> None:
    found = best(b"\x05\xaa", around=b"\x00\x00\x00\x00")
    assert (found.type, found.value) == ("int16", 1450)
    assert "uint16 reads the same" in found.reasons


def test_text_is_first() -> None:
    found = best(b"EM24-DIN\0\0\0\0")
    assert (found.type, found.value, found.registers) == ("string", "EM24-DIN", 4)
    assert found.yaml(Table.HOLDING) == "name: {at: holding:10..13, type: string}"
    swapped = guesses([registers(reorder(b"EM24-DIN\0\0\0\0", "BADC"))], 10)[:2]
    assert ("string", "BADC", "EM24-DIN") in [(each.type, each.order, each.value) for each in swapped]


def test_what_no_sensor_sends_is_last() -> None:
    nan = struct.pack(">I", 0x7FC00000)
    found = guesses([registers(nan)], 10)
    floats = [each for each in found if each.type == "float32" and each.order == "ABCD"]
    assert not floats[0].is_plausible
    assert floats[0].reasons == ("NaN or infinite",)
    denormal = guesses([registers(b"\x00\x00\x12\x34")], 10)
    assert not next(each for each in denormal if each.type == "float32" and each.order == "ABCD").is_plausible


def test_what_could_not_be_read_is_not_guessed() -> None:
    found = guesses([{10: b"\x00\x07"}], 10)
    assert {each.registers for each in found} == {1}


# -- values of a plant ----------------------------------------------------------------------------------------------


def found_in(data: bytes, **settings: object) -> list[tuple[str, str]]:
    limits = settings.pop("range", None)
    tag = Tag("level", Table.HOLDING, 10, len(data) // 2, **settings)  # type: ignore[arg-type]
    return [(each.kind, each.text) for each in judge(Reading(tag, limits), data)]  # type: ignore[arg-type]


def test_a_value_in_the_wrong_order_is_noticed() -> None:
    ((kind, text),) = found_in(raw("float32", 21.5, "CDAB"), type="float32")
    assert kind == "order"
    assert "with the byte order CDAB it would be 21.5" in text
    assert not found_in(raw("float32", 21.5, "ABCD"), type="float32")
    assert not found_in(raw("float32", 0.0, "ABCD"), type="float32")
    ((kind, text),) = found_in(raw("uint32", 324, "CDAB"), type="uint32")
    assert "CDAB it would be 324" in text


def test_a_value_out_of_its_range_and_no_value() -> None:
    ((kind, text),) = found_in(b"\x00\x63", type="int16", range=(Fraction(0), Fraction(50)))
    assert (kind, text) == ("range", "level is 99, out of its range 0..50")
    ((kind, text),) = found_in(b"\x80\x00", type="int16", no_value=(Sentinel(True, 0x8000),))
    assert kind == "no_value"
    assert "holding:10 (400011) holds 8000, which its `no_value` says is none" in text
    kinds = [kind for kind, _ in found_in(struct.pack(">I", 0x7FC00000), type="float32")]
    assert kinds[0] == "no_value"
    assert found_in(b"\x00\xaf", type="bcd16")[0][0] == "no_value"
