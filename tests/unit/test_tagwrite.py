"""A value in engineering units becomes the request that a Modbus client would send; what cannot be written is said."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from gateway.app.tagwrite import request_of
from gateway.config import model, model_devices
from gateway.config.addresses import parse_address, parse_place
from gateway.errors import AskError
from gateway.places import place_of, resolve_tag

CASES: list[tuple[dict[str, Any], Any, str]] = [
    ({"type": "uint16"}, 7, "06 0064 0007"),
    ({"type": "uint16"}, "7", "06 0064 0007"),
    ({"type": "int16"}, -1, "06 0064 ffff"),
    ({"type": "int16"}, -1.0, "06 0064 ffff"),
    ({"type": "uint32"}, 0x12345678, "10 0064 0002 04 12345678"),
    ({"type": "uint64"}, 2**63 + 1, "10 0064 0004 08 8000000000000001"),
    ({"type": "uint64"}, "18446744073709551615", "10 0064 0004 08 ffffffffffffffff"),
    ({"type": "int64"}, " -9007199254740993 ", "10 0064 0004 08 ffdfffffffffffff"),
    (
        {"type": "int64", "scale": Fraction(1, 10), "as_": "raw"},
        "900719925474099.3",
        "10 0064 0004 08 0020000000000001",
    ),
    ({"type": "uint64", "range": (Fraction(0), Fraction(2**64 - 2))}, 2**64 - 2, "10 0064 0004 08 fffffffffffffffe"),
    ({"type": "float32"}, 12.5, "10 0064 0002 04 41480000"),
    ({"type": "float32", "order": "CDAB"}, 12.5, "10 0064 0002 04 41480000"),  # our image is always ABCD
    ({"type": "float64"}, 0.1, "10 0064 0004 08 3fb999999999999a"),
    ({"type": "bcd16"}, 1234, "06 0064 1234"),
    ({"type": "int16", "scale": Fraction(1, 10), "as_": "float32"}, 12.3, "10 0064 0002 04 4144cccd"),
    ({"type": "int16", "scale": Fraction(1, 10), "as_": "raw"}, 12.3, "06 0064 007b"),
    ({"type": "int16", "scale": Fraction(1, 10)}, 12, "06 0064 000c"),  # without `as`: our image has whole degrees
    ({"type": "uint32", "order": "CDAB", "as_": "raw"}, 1, "10 0064 0002 04 00010000"),
    ({"type": "bool"}, True, "06 0064 0001"),
    ({"type": "bool", "to": "coils:5"}, True, "05 0005 ff00"),
    ({"type": "bool", "to": "coils:5"}, 0, "05 0005 0000"),
    ({"type": "bool", "to": "holding:100.3"}, True, "16 0064 fff7 0008"),
    ({"type": "bool", "to": "holding:100.3"}, False, "16 0064 fff7 0000"),
    ({"type": "string", "at": "holding:0..1"}, "ab", "10 0064 0002 04 61620000"),
    ({"type": "string", "at": "holding:0"}, "ab", "06 0064 6162"),
    ({"type": "float32", "range": (Fraction("0.1"), Fraction(5))}, 0.1, "10 0064 0002 04 3dcccccd"),
]

REFUSED: list[tuple[dict[str, Any], Any, str]] = [
    ({"type": "uint16", "range": (Fraction(0), Fraction(100)), "unit": "bar"}, 101, "101 bar is outside of its range"),
    ({"type": "uint16", "range": (Fraction(0), Fraction(100)), "unit": "bar"}, -1, "0 to 100 bar"),
    ({"type": "uint16"}, 70000, "70000 does not fit uint16"),
    ({"type": "uint16"}, -1, "does not fit uint16"),
    (
        {"type": "int16", "scale": Fraction(1, 10)},
        12.5,
        "a whole number: write 12 or 13, or give the tag `as: float32`",
    ),
    ({"type": "int16"}, -2.5, "write -3 or -2"),
    ({"type": "int16", "scale": Fraction(1, 10), "as_": "raw"}, 4000, "does not fit int16 of the device"),
    ({"type": "float32"}, 1e39, "does not fit float32"),
    ({"type": "float32"}, float("nan"), "is no number"),
    ({"type": "float32"}, "fast", "'fast' is no number"),
    ({"type": "float32"}, "1/0", "is no number"),
    ({"type": "float32"}, "1e999999999", "is no number"),  # as a fraction it would take minutes
    ({"type": "uint64"}, "9" * 500, "is no number"),
    ({"type": "uint64", "range": (Fraction(0), Fraction(2**64 - 2))}, 2**64 - 1, "0 to 18446744073709551614"),
    ({"type": "float32"}, None, "None is no number"),
    ({"type": "float32"}, [1], "is no number"),
    ({"type": "bool", "to": "coils:5"}, 2, "it can be true or false"),
    ({"type": "bool"}, 2, "it can be true or false, not 2"),
    ({"type": "bool", "as_": "float32"}, 7, "it can be true or false, not 7"),
    ({"type": "bool"}, 0.5, "it can be true or false, not 0.5"),
    ({"type": "float32"}, True, "press/level is a number (float32), not true"),
    ({"type": "uint16"}, False, "press/level is a number (uint16), not false"),
    ({"type": "string", "at": "holding:0..1"}, "abcde", "does not fit 4 bytes of text"),
    ({"type": "string", "at": "holding:0..1"}, 5, "write it in quotes"),
]


def request_for(keys: dict[str, Any], value: Any) -> bytes:
    keys = {"at": "holding:0", "to": "holding:100", "write": True, **keys}
    keys["at"], keys["to"] = parse_address(keys["at"]), parse_place(keys["to"])
    configured = model_devices.Tag.model_construct(**keys)
    device = model_devices.Device.model_construct(tags={"level": configured})
    config = model.Config.model_construct(devices={"press": device})
    tag = resolve_tag("level", configured, device)
    place = place_of(config, configured, tag)
    assert place is not None
    return request_of("press/level", tag, configured, place, value)


@pytest.mark.parametrize(("keys", "value", "pdu"), CASES, ids=[f"{keys} {value}" for keys, value, _ in CASES])
def test_the_request_that_a_client_would_send(keys: dict[str, Any], value: Any, pdu: str) -> None:
    assert request_for(keys, value).hex() == pdu.replace(" ", "")


@pytest.mark.parametrize(("keys", "value", "why"), REFUSED, ids=[f"{keys} {value}" for keys, value, _ in REFUSED])
def test_what_cannot_be_written_is_said_in_engineering_units(keys: dict[str, Any], value: Any, why: str) -> None:
    with pytest.raises(AskError) as refused:
        request_for(keys, value)
    assert refused.value.kind == "invalid"
    assert str(refused.value).startswith("press/level")
    assert why in str(refused.value)
