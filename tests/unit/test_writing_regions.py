"""What a client's bytes become at the device, tag by tag: types, orders, scales, limits, and what is refused."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import pytest

from gateway.config.load import load
from gateway.modbus.spec import Table
from gateway.values import TYPES, Sentinel, Tag
from gateway.writing.destination import Destination
from gateway.writing.regions import Kind, RawRegion, TagRegion, converter, regions

TENTH = Fraction("0.1")
PERCENT = (Fraction(0), Fraction(100))


def tag(type_: str, **more: object) -> Tag:
    registers = more.pop("registers", TYPES[type_].registers or 3)
    return Tag("t", more.pop("table", Table.HOLDING), 10, registers, type_, **more)  # type: ignore[arg-type]


def f32(value: float) -> str:
    return struct.pack(">f", value).hex()


def put(one: Tag, as_: str | None, limits: object, data: str, *, is_bit: bool = False) -> str | None:
    found = converter(one, as_, limits, is_bit=is_bit)(bytes.fromhex(data))  # type: ignore[arg-type]
    return None if found is None else found.hex()


@pytest.mark.parametrize(
    ("one", "as_", "data", "device"),
    [
        (tag("int16"), None, "fffe", "fffe"),
        (tag("uint16", order="BADC"), None, "1234", "3412"),
        (tag("uint16", order="CDAB"), None, "1234", "1234"),
        (tag("int16", scale=TENTH), None, "0005", "0032"),
        (tag("int16", scale=TENTH), "float32", f32(23.7), "00ed"),
        (tag("int16", scale=TENTH), "float32", f32(-23.75), "ff12"),
        (tag("int16", scale=TENTH, offset=Fraction(-40)), "float32", f32(-40), "0000"),
        (tag("int16", scale=Fraction(3)), None, "0004", "0001"),
        (tag("int16", scale=Fraction(2)), None, "0003", "0002"),
        (tag("int16", scale=Fraction(2)), None, "fffd", "fffe"),
        (tag("uint32", order="CDAB"), None, "12345678", "56781234"),
        (tag("int32"), "int16", "fffe", "fffffffe"),
        (tag("float32", order="CDAB", scale=TENTH), None, f32(1), f32(10)[4:] + f32(10)[:4]),
        (tag("float32"), None, "80000000", "80000000"),
        (tag("float64"), "float32", f32(0.5), struct.pack(">d", 0.5).hex()),
        (tag("int64", order="DCBA"), None, "0102030405060708", "0807060504030201"),
        (tag("uint64", scale=Fraction(10)), "float64", struct.pack(">d", 1e18).hex(), f"{10**17:016x}"),
        (tag("bcd16"), None, "1234", "1234"),
        (tag("bcd16"), "uint16", "04d2", "1234"),
        (tag("uint16"), "bcd16", "1234", "04d2"),
        (tag("bcd32", order="CDAB"), None, "12345678", "56781234"),
        (tag("string"), None, "414243440045", "414243440045"),
        (tag("string", order="BADC"), None, "414243444546", "424144434645"),
        (tag("string", order="CDAB"), None, "414243444546", "414243444546"),
        (tag("bool"), None, "0001", "0001"),
        (tag("bool", order="BADC"), None, "0001", "0100"),
        (tag("bool", table=Table.COILS), None, "0001", "01"),
        (tag("bool", table=Table.COILS), "float32", f32(1), "01"),
        (tag("bool", bit=3), None, "0000", "00"),
        (tag("int16", order="BADC", scale=TENTH), "raw", "1234", "1234"),
        (tag("float32", order="CDAB"), "raw", "00003f80", "00003f80"),
        (tag("bool", bit=3), "raw", "ffff", "ffff"),
        (tag("string", order="BADC"), "raw", "414243444546", "414243444546"),
    ],
)
def test_a_value_is_written_as_the_device_has_it(one: Tag, as_: str | None, data: str, device: str) -> None:
    assert put(one, as_, None, data) == device


@pytest.mark.parametrize(
    ("one", "as_", "limits", "data"),
    [
        (tag("int16"), "float32", None, f32(32767.5)),
        (tag("int16", scale=TENTH), None, None, "0ccd"),
        (tag("uint16"), "int16", None, "ffff"),
        (tag("uint16", offset=Fraction(10)), None, None, "0009"),
        (tag("int16"), "float32", None, "7fc00000"),
        (tag("float32"), None, None, "7f800000"),
        (tag("float32"), None, None, "ff800000"),
        (tag("float32"), "float64", None, struct.pack(">d", 1e39).hex()),
        (tag("float32"), "float64", None, struct.pack(">d", 3.4028235677973366e38).hex()),
        (tag("bcd16"), None, None, "123a"),
        (tag("bcd16"), "uint16", None, "2710"),
        (tag("bcd16"), "raw", None, "a000"),
        (tag("uint16", no_value=(Sentinel(True, 0xFFFF),)), None, None, "ffff"),
        (tag("uint16", scale=TENTH, no_value=(Sentinel(False, 50),)), None, None, "0005"),
        (tag("float32", no_value=(Sentinel(False, Fraction("-9999.9")),)), None, None, f32(-9999.9)),
        (tag("int16", order="BADC", no_value=(Sentinel(True, 0x8000),)), "raw", None, "0080"),
        (tag("float32", order="CDAB"), "raw", None, "00007fc0"),
        (tag("bool"), None, None, "0002"),
        (tag("bool"), None, None, "ff00"),
        (tag("bool"), "float32", None, f32(0.5)),
        (tag("bool", table=Table.COILS), None, None, "0002"),
        (tag("bool", bit=3), None, None, "0008"),
        (tag("int16"), None, PERCENT, "0065"),
        (tag("int16"), None, PERCENT, "ffff"),
        (tag("int16", scale=TENTH), "float32", PERCENT, f32(100.1)),
        (tag("int16", scale=TENTH), "raw", PERCENT, "03e9"),
        (tag("bcd16"), None, PERCENT, "0101"),
    ],
)
def test_what_the_device_cannot_be_told_is_refused(one: Tag, as_: str | None, limits: object, data: str) -> None:
    assert put(one, as_, limits, data) is None


@pytest.mark.parametrize(
    ("one", "as_", "limits", "data"),
    [
        (tag("int16"), None, PERCENT, "0064"),
        (tag("int16"), None, PERCENT, "0000"),
        (tag("int16", scale=TENTH), "raw", PERCENT, "03e8"),
        (tag("int16", scale=TENTH), "raw", (Fraction("23.7"), Fraction("23.7")), "00ed"),
        (tag("int16", scale=TENTH), "float32", (Fraction("23.7"), Fraction("23.7")), f32(23.7)),
        (tag("float32"), None, (Fraction(0), TENTH), f32(0.1)),
        (tag("float32"), None, (Fraction("0.7"), Fraction(1)), f32(0.7)),
        (tag("float32"), "raw", (Fraction(0), TENTH), f32(0.1)),
        (tag("float32", scale=TENTH), "raw", (Fraction("0.7"), Fraction(1)), f32(7)),
        (tag("bcd16"), None, PERCENT, "0100"),
    ],
)
def test_both_ends_of_a_range_can_be_written_in_the_clients_own_type(
    one: Tag, as_: str | None, limits: object, data: str
) -> None:
    assert put(one, as_, limits, data) is not None


@pytest.mark.parametrize(
    ("one", "on", "off"),
    [
        (tag("bool", bit=5), "01", "00"),
        (tag("bool", table=Table.COILS), "01", "00"),
        (tag("bool"), "0001", "0000"),
        (tag("bool", order="BADC"), "0100", "0000"),
    ],
)
def test_a_bit_of_ours_is_a_bit_a_coil_or_a_whole_register_there(one: Tag, on: str, off: str) -> None:
    assert put(one, None, None, "01", is_bit=True) == on
    assert put(one, None, None, "00", is_bit=True) == off


def region(one: Tag, table: Table = Table.HOLDING, bit: int | None = None, **more: object) -> TagRegion:
    return TagRegion(Destination("d", lambda write: None), table, 0, bit, one, **more)  # type: ignore[arg-type]


def test_the_place_and_the_kind_follow_from_the_tag() -> None:
    assert (region(tag("float64")).count, region(tag("float64"), as_="float32").count) == (4, 2)
    assert region(tag("float64"), as_="raw").count == 4
    assert region(tag("bool", bit=3), Table.COILS).kind is Kind.BIT
    assert region(tag("bool", bit=3)).kind is Kind.BIT
    assert region(tag("bool", bit=3), as_="raw").kind is Kind.REGISTERS
    assert region(tag("bool", table=Table.COILS), bit=4).kind is Kind.COIL
    assert region(tag("bool"), bit=4).kind is Kind.REGISTERS


def test_the_bit_of_a_register_with_exchanged_bytes_is_in_the_other_byte() -> None:
    assert region(tag("bool", bit=3)).device_mask == 0x0008
    assert region(tag("bool", bit=3, order="BADC")).device_mask == 0x0800
    assert region(tag("bool", bit=15, order="DCBA")).device_mask == 0x0080


@pytest.mark.parametrize(
    ("one", "more", "passes"),
    [
        (tag("int16"), {}, True),
        (tag("uint16"), {"as_": "uint16"}, True),
        (tag("uint16", order="CDAB"), {}, True),
        (tag("uint16", order="BADC"), {"as_": "raw"}, True),
        (tag("int16", scale=TENTH), {"as_": "raw"}, True),
        (tag("uint16", order="BADC"), {}, False),
        (tag("int16", scale=TENTH), {}, False),
        (tag("int16", offset=Fraction(1)), {}, False),
        (tag("int16"), {"as_": "uint16"}, False),
        (tag("int16"), {"limits": PERCENT}, False),
        (tag("int16", no_value=(Sentinel(True, 0x8000),)), {}, False),
        (tag("bcd16"), {}, False),
        (tag("bool"), {}, False),
        (tag("int32"), {}, False),
    ],
)
def test_a_mask_passes_where_the_register_is_the_same_there(one: Tag, more: dict[str, object], passes: bool) -> None:
    assert region(one, **more).passes_masks is passes


PLANT = """
units: {1: {holding: 1000}}
devices:
  press:
    url: tcp://127.0.0.1:502
    order: CDAB
    poll:
      - {read: holding:0..9, to: holding:100, write: through, latest_only: true, verify: 2s}
      - {read: holding:20..29, to: holding:120}
      - {read: coils:5..6, to: 2/coils:0, write: through}
    tags:
      level: {at: holding:50, type: float32, scale: 0.1, write: true, range: [0, 100], verify: 1s, to: holding:200}
      closed: {at: holding:52, type: int16, to: holding:210}
      lamp: {at: holding:53.4, type: bool, write: true, latest_only: true, to: 2/coils:9}
      copy: {at: holding:54, type: int32, as: raw, write: true, to: holding:220}
"""


def test_regions_are_what_the_file_opens_for_writing(tmp_path: Path) -> None:
    path = tmp_path / "plant.yaml"
    path.write_text(PLANT, encoding="utf-8")
    press = Destination("press", lambda write: None)
    found = regions(load(path), "press", press)
    assert set(found) == {1, 2}
    raw, level, copy = found[1]
    assert isinstance(raw, RawRegion)
    assert (raw.table, raw.first, raw.count, raw.device_first) == (Table.HOLDING, 100, 10, 0)
    assert (raw.latest_only, raw.hold_s) == (True, 2.0)
    assert isinstance(level, TagRegion)
    assert (level.first, level.count, level.tag.first, level.hold_s) == (200, 2, 50, 1.0)
    assert level.convert(bytes.fromhex(f32(100))) == bytes.fromhex("0000447a")
    assert level.convert(bytes.fromhex(f32(101))) is None
    assert isinstance(copy, TagRegion)
    assert copy.convert(b"\1\2\3\4") == b"\1\2\3\4"
    coils, lamp = found[2]
    assert (coils.table, coils.first, coils.count) == (Table.COILS, 0, 2)
    assert isinstance(lamp, TagRegion)
    assert (lamp.first, lamp.bit, lamp.tag.bit, lamp.latest_only, lamp.kind) == (9, None, 4, True, Kind.BIT)
    assert all(region.destination is press for some in found.values() for region in some)
