"""Addresses, places and ranges: every notation of config.md, and what is said about those that are none."""

from __future__ import annotations

import re

import pytest

from gateway.config.addresses import Address, Place, mistaken_reference, parse_address, parse_place, parse_range
from gateway.modbus.spec import Table

COILS, DISCRETE, HOLDING, INPUT = Table


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("holding:100", Address(HOLDING, 100)),
        ("coils:0", Address(COILS, 0)),
        ("discrete:7", Address(DISCRETE, 7)),
        ("input:30", Address(INPUT, 30)),
        ("holding:0x64", Address(HOLDING, 100)),
        ("holding:0xFFFF", Address(HOLDING, 65535)),
        ("holding:0..99", Address(HOLDING, 0, 100)),
        ("holding:0x10..0x1F", Address(HOLDING, 16, 16)),
        ("holding:5..5", Address(HOLDING, 5)),
        ("coils:8..15", Address(COILS, 8, 8)),
        ("holding:100.3", Address(HOLDING, 100, 1, 3)),
        ("input:0.15", Address(INPUT, 0, 1, 15)),
        ("40101", Address(HOLDING, 100)),
        ("400101", Address(HOLDING, 100)),
        ("30001", Address(INPUT, 0)),
        ("10001", Address(DISCRETE, 0)),
        ("00001", Address(COILS, 0)),
        ("000001", Address(COILS, 0)),
        ("00101", Address(COILS, 100)),
        ("49999", Address(HOLDING, 9998)),
        ("409999", Address(HOLDING, 9998)),
        ("410000", Address(HOLDING, 9999)),
        ("465536", Address(HOLDING, 65535)),
        ("40101..40110", Address(HOLDING, 100, 10)),
        ("400101..400110", Address(HOLDING, 100, 10)),
        ("40101.3", Address(HOLDING, 100, 1, 3)),
        ("40101.10", Address(HOLDING, 100, 1, 10)),
        ("holding:40101", Address(HOLDING, 40101)),
        (" holding:1 ", Address(HOLDING, 1)),
    ],
)
def test_an_address_is_read(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no value; write TABLE:ADDRESS such as `holding:100`"),
        ("100", "`100` does not say which table; write `holding:100`"),
        ("0x64", "write `holding:0x64`"),
        (
            "40000",
            "two readings: references begin at 1, so `40001` is holding:0, the wire address is written `holding:40000`",
        ),
        ("00000", "`00001` is coils:0"),
        ("400000", "`400001` is holding:0"),
        ("465537", "past 465536"),
        ("20001", "`20001` is not a reference"),
        ("49990..50010", "five digits reach no further than 49999"),
        ("40001..30005", "begins in the table holding and ends in the table input"),
        ("holding:65536", "past 65535"),
        ("holding:0..65536", "past 65535"),
        ("holding:400101", "the reference is written without its table: `400101`"),
        ("holding:99999999999999999999", "past 65535"),
        ("holding:10..5", "runs backwards"),
        ("holding:100.16", "bits 0 (least significant) to 15"),
        ("coils:3.1", "coils are bits already; write `coils:3`"),
        ("coils:00101", "two readings: write `coils:101` for the wire address, or `00101` for the reference"),
        ("holdings:5", "unknown table 'holdings'; did you mean `holding:5`?"),
        ("Holding:5", "did you mean `holding:5`?"),
        ("register:5", "the tables are coils, discrete, holding, input"),
        ("holding:0-99", "a range is written with two dots, `holding:0..99`"),
        ("1/holding:0", "has no unit before it"),
        ("holding 5", "write `holding:5`"),
        ("holding:", "is not an address"),
        ("holding:٣", "is not an address"),
        ("holding:-1", "is not an address"),
        ("4010١", "is not an address"),
    ],
)
def test_what_is_no_address_says_what_to_write(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("holding:100", Place(None, Address(HOLDING, 100))),
        ("1/holding:1000", Place(1, Address(HOLDING, 1000))),
        ("255/40001", Place(255, Address(HOLDING, 0))),
        ("0/coils:5", Place(0, Address(COILS, 5))),
        ("3/holding:5.3", Place(3, Address(HOLDING, 5, 1, 3))),
    ],
)
def test_a_place_may_have_a_unit(text: str, place: Place) -> None:
    assert parse_place(text) == place


@pytest.mark.parametrize("text", ["256/holding:0", "x/holding:0", "/holding:0", "-1/holding:0", "1/2/holding:0"])
def test_a_wrong_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="unit"):
        parse_place(text)


@pytest.mark.parametrize(
    ("text", "first_and_count"),
    [("0..1999", (0, 2000)), ("2000", (0, 2000)), ("5..5", (5, 1)), ("0x10..0x1F", (16, 16)), ("65536", (0, 65536))],
)
def test_a_range_of_a_table(text: str, first_and_count: tuple[int, int]) -> None:
    assert parse_range(text) == first_and_count


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0", "no range"),
        ("65537", "a table has 65536 addresses at most"),
        ("0..65536", "past 65535"),
        ("9..0", "write `0..9`"),
        ("holding:0..9", "write `0..9`"),
        ("all", "is not a range"),
    ],
)
def test_a_wrong_range_says_what_to_write(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        parse_range(text)


def test_messages_print_both_notations() -> None:
    assert parse_address("holding:100").describe() == "holding:100 (400101)"
    assert parse_address("coils:0..15").describe() == "coils:0..15 (000001..000016)"
    assert parse_address("40101.3").describe() == "holding:100.3 (400101.3)"
    assert parse_place("1/input:5").describe() == "1/input:5 (300006)"


def test_stop_is_one_past_the_last_address() -> None:
    assert parse_address("holding:10..19").stop == 20


@pytest.mark.parametrize(
    "text", ["holding:40101", "1/holding:40101", "input:30001", "discrete:10001", "holding:40101..40110"]
)
def test_a_reference_behind_its_table_is_asked_about(text: str) -> None:
    assert "is meant, write" in (mistaken_reference(text) or "")


@pytest.mark.parametrize("text", ["holding:100", "440102", "holding:30001", "holding:40000", "holding:50001"])
def test_other_texts_are_not_asked_about(text: str) -> None:
    assert mistaken_reference(text) is None
