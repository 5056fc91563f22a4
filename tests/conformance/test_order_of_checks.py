"""Which exception a wrong request gets: function (01), then quantity, value and size (03), then address (02).

V1.1b3 6, the diagrams of each function; protocol digest 1.3. Unit 1 has addresses 0..9999 of every table, unit 2 all
65536 holding registers and inputs, coils and discrete inputs. A request wrong twice shows which check comes first.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.conformance.conftest import Ask
from tests.support.wire import hexed

PLANT = """
server: {listen: "tcp://127.0.0.1:0"}
units:
  1: {coils: 0..9999, discrete: 0..9999, holding: 0..9999, input: 0..9999}
  2: {coils: 0..65535, discrete: 0..65535, holding: 0..65535, input: 0..65535}
  3:
    holding: 0..99
    files: {4: {records: 10}, 5: {records: 10, read_only: true}, 9: {}}
    fifo: {"holding:10": {size: 4}, "holding:20": {size: 4}, "holding:30": {}}
    initial: {"holding:10": 4, "holding:20": 5, "holding:30": 32}
"""

OK = 0
FUNCTION, ADDRESS, VALUE = 1, 2, 3

WHOLE = 2
"""The unit that has every address."""
KEPT = 3
"""The unit that has files and queues."""


class Case(NamedTuple):
    sentence: str
    request: bytes
    code: int
    unit: int = 1


def case(sentence: str, request: str, code: int, unit: int = 1) -> Case:
    return Case(sentence, hexed(request), code, unit)


def zeros(count: int) -> str:
    return "00" * count


def reads(function: str, most: int) -> list[Case]:
    """What functions 01 to 04 have in common."""
    over, top = f"{most + 1:04X}", f"{most:04X}"
    return [
        case(f"{function}: quantity 0 at a bad address is a bad value", f"{function} 4000 0000", VALUE),
        case(f"{function}: quantity 0 at a good address is a bad value", f"{function} 0000 0000", VALUE),
        case(f"{function}: one too many at a bad address is a bad value", f"{function} 4000 {over}", VALUE),
        case(f"{function}: one too many at a good address is a bad value", f"{function} 0000 {over}", VALUE),
        case(f"{function}: quantity FFFF is a bad value", f"{function} 0000 FFFF", VALUE, WHOLE),
        case(f"{function}: one is allowed", f"{function} 0000 0001", OK),
        case(f"{function}: the most is allowed", f"{function} 0000 {top}", OK),
        case(f"{function}: the last address is there", f"{function} 270F 0001", OK),
        case(f"{function}: the first address behind is not", f"{function} 2710 0001", ADDRESS),
        case(f"{function}: a range that ends one behind is a bad address", f"{function} 270F 0002", ADDRESS),
        case(f"{function}: the most at the end is a bad address", f"{function} 270E {top}", ADDRESS),
        case(f"{function}: address FFFF is there", f"{function} FFFF 0001", OK, WHOLE),
        case(f"{function}: an end at 65536 is there", f"{function} {65536 - most:04X} {top}", OK, WHOLE),
        case(f"{function}: addresses do not wrap", f"{function} FFFF 0002", ADDRESS, WHOLE),
        case(f"{function}: the most does not wrap", f"{function} {65537 - most:04X} {top}", ADDRESS, WHOLE),
        case(f"{function}: no address at all is too short", f"{function}", VALUE),
        case(f"{function}: no quantity is too short", f"{function} 0000", VALUE),
        case(f"{function}: half a quantity is too short", f"{function} 0000 00", VALUE),
        case(f"{function}: too short at a bad address is a bad value", f"{function} 4000 00", VALUE),
        case(f"{function}: a byte too many", f"{function} 0000 0001 00", VALUE),
        case(f"{function}: a byte too many at a bad address is a bad value", f"{function} 4000 0001 00", VALUE),
    ]


CASES = [
    *reads("01", 2000),
    *reads("02", 2000),
    *reads("03", 125),
    *reads("04", 125),
    # 05
    case("05: a bad value at a bad address is a bad value", "05 4000 0001", VALUE),
    case("05: FF01 is a bad value", "05 0000 FF01", VALUE),
    case("05: 00FF is a bad value", "05 0000 00FF", VALUE),
    case("05: 0100 is a bad value", "05 0000 0100", VALUE),
    case("05: FFFF is a bad value", "05 0000 FFFF", VALUE),
    case("05: a good value at a bad address is a bad address", "05 2710 FF00", ADDRESS),
    case("05: the last address is there", "05 270F 0000", OK),
    case("05: address FFFF is there", "05 FFFF 0000", OK, WHOLE),
    case("05: too short", "05 0000 FF", VALUE),
    case("05: no value at a bad address is a bad value", "05 4000", VALUE),
    case("05: a byte too many", "05 0000 FF00 00", VALUE),
    # 06
    case("06: a bad address", "06 2710 0000", ADDRESS),
    case("06: the last address is there", "06 270F 0000", OK),
    case("06: address FFFF is there", "06 FFFF 0000", OK, WHOLE),
    case("06: too short", "06 0000 00", VALUE),
    case("06: too short at a bad address is a bad value", "06 4000 00", VALUE),
    case("06: a byte too many", "06 0000 0000 00", VALUE),
    # 15
    case("15: quantity 0 at a bad address is a bad value", "0F 4000 0000 00", VALUE),
    case("15: quantity 0 is a bad value", "0F 0000 0000 00", VALUE),
    case("15: quantity 0 with a byte is a bad value", "0F 0000 0000 01 00", VALUE),
    case("15: 1969 at a bad address is a bad value", f"0F 4000 07B1 F7 {zeros(247)}", VALUE),
    case("15: 1969 is a bad value", f"0F 0000 07B1 F7 {zeros(247)}", VALUE),
    case("15: 1968 is allowed", f"0F 0000 07B0 F6 {zeros(246)}", OK),
    case("15: 1 is allowed", "0F 0000 0001 01 00", OK),
    case("15: 8 in one byte is allowed", "0F 0000 0008 01 00", OK),
    case("15: 9 in one byte is a bad value", "0F 0000 0009 01 00", VALUE),
    case("15: 8 in two bytes is a bad value", "0F 0000 0008 02 00 00", VALUE),
    case("15: 8 in two bytes at a bad address is a bad value", "0F 4000 0008 02 00 00", VALUE),
    case("15: byte count 2 with one byte is a bad value", "0F 0000 000A 02 00", VALUE),
    case("15: byte count 1 with two bytes is a bad value", "0F 0000 0008 01 00 00", VALUE),
    case("15: byte count 0 is a bad value", "0F 0000 0008 00", VALUE),
    case("15: 2049 in one byte is a bad value, the byte count does not wrap", "0F 0000 0801 01 00", VALUE),
    case("15: no byte count is too short", "0F 0000 0008", VALUE),
    case("15: no byte count at a bad address is a bad value", "0F 4000 0008", VALUE),
    case("15: a good request at a bad address is a bad address", "0F 2710 0008 01 00", ADDRESS),
    case("15: a range that ends one behind is a bad address", "0F 2709 0008 01 00", ADDRESS),
    case("15: a range that ends at the end is there", "0F 2708 0008 01 00", OK),
    case("15: addresses do not wrap", "0F FFFF 0002 01 00", ADDRESS, WHOLE),
    # 16
    case("16: quantity 0 at a bad address is a bad value", "10 4000 0000 00", VALUE),
    case("16: quantity 0 is a bad value", "10 0000 0000 00", VALUE),
    case("16: quantity 0 with a register is a bad value", "10 0000 0000 02 0000", VALUE),
    case("16: 123 is allowed", f"10 0000 007B F6 {zeros(246)}", OK),
    case("16: 124 is a bad value, whatever the byte count", f"10 0000 007C F6 {zeros(246)}", VALUE),
    case("16: 124 cannot fit, and is a bad value", f"10 0000 007C F8 {zeros(247)}", VALUE),
    case("16: 124 at a bad address is a bad value", f"10 4000 007C F7 {zeros(247)}", VALUE),
    case("16: 129 in two bytes is a bad value, the byte count does not wrap", "10 0000 0081 02 0000", VALUE),
    case("16: 32769 in two bytes is a bad value, the byte count does not wrap", "10 0000 8001 02 0000", VALUE),
    case("16: an odd byte count is a bad value", "10 0000 0001 03 000000", VALUE),
    case("16: an odd byte count at a bad address is a bad value", "10 4000 0001 03 000000", VALUE),
    case("16: byte count 4 with one register is a bad value", "10 0000 0002 04 0000", VALUE),
    case("16: byte count 2 with two registers is a bad value", "10 0000 0001 02 0000 0000", VALUE),
    case("16: two registers announced as one is a bad value", "10 0000 0001 04 0000 0000", VALUE),
    case("16: byte count 0 is a bad value", "10 0000 0001 00", VALUE),
    case("16: no byte count is too short", "10 0000 0001", VALUE),
    case("16: half an address is too short", "10 40", VALUE),
    case("16: a good request at a bad address is a bad address", "10 2710 0001 02 0000", ADDRESS),
    case("16: a range that ends one behind is a bad address", "10 270F 0002 04 0000 0000", ADDRESS),
    case("16: a range that ends at the end is there", "10 270E 0002 04 0000 0000", OK),
    case("16: addresses do not wrap", "10 FFFF 0002 04 0000 0000", ADDRESS, WHOLE),
    # 22
    case("22: a bad address", "16 2710 FFFF 0000", ADDRESS),
    case("22: the last address is there", "16 270F FFFF 0000", OK),
    case("22: any masks are good values", "16 0000 FFFF FFFF", OK),
    case("22: too short", "16 0000 FFFF", VALUE),
    case("22: too short at a bad address is a bad value", "16 4000 FFFF 00", VALUE),
    case("22: a byte too many", "16 0000 FFFF 0000 00", VALUE),
    # 23
    case("23: reading 0 at a bad address is a bad value", "17 4000 0000 0000 0001 02 0000", VALUE),
    case("23: reading 126 at a bad address is a bad value", "17 4000 007E 0000 0001 02 0000", VALUE),
    case("23: reading 126 and writing at a bad address is a bad value", "17 0000 007E 4000 0001 02 0000", VALUE),
    case("23: writing 0 at a bad address is a bad value", "17 0000 0001 4000 0000 00", VALUE),
    case("23: writing 122 is a bad value", f"17 0000 0001 0000 007A F2 {zeros(242)}", VALUE),
    case("23: writing 122 while reading at a bad address is a bad value", f"17 4000 0001 0000 007A F3 {zeros(243)}", 3),
    case("23: reading 125 and writing 121 is allowed", f"17 0000 007D 0000 0079 F2 {zeros(242)}", OK),
    case("23: writing 129 in two bytes is a bad value, no wrapping", "17 0000 0001 0000 0081 02 0000", VALUE),
    case("23: an odd byte count is a bad value", "17 0000 0001 0000 0001 03 000000", VALUE),
    case("23: byte count 4 with one register is a bad value", "17 0000 0001 0000 0002 04 0000", VALUE),
    case("23: byte count 4 for one register is a bad value", "17 0000 0001 0000 0001 04 0000", VALUE),
    case("23: byte count 0 for one register is a bad value", "17 0000 0001 0000 0001 00 0000", VALUE),
    case("23: byte count 2 with two registers is a bad value", "17 0000 0001 0000 0001 02 0000 0000", VALUE),
    case("23: a wrong byte count at a bad address is a bad value", "17 4000 0001 4000 0001 04 0000 0000", VALUE),
    case("23: no byte count is too short", "17 0000 0001 0000 0001", VALUE),
    case("23: too short at a bad address is a bad value", "17 4000 0001 4000", VALUE),
    case("23: reading at a bad address", "17 2710 0001 0000 0001 02 0000", ADDRESS),
    case("23: reading one behind the end", "17 270F 0002 0000 0001 02 0000", ADDRESS),
    case("23: writing at a bad address", "17 0000 0001 2710 0001 02 0000", ADDRESS),
    case("23: writing one behind the end", "17 0000 0001 270F 0002 04 0000 0000", ADDRESS),
    case("23: what it reads does not wrap", "17 FFFF 0002 0000 0001 02 0000", ADDRESS, WHOLE),
    case("23: what it writes does not wrap", "17 0000 0001 FFFF 0002 04 0000 0000", ADDRESS, WHOLE),
    # 08
    case("08: no sub-function is too short", "08", VALUE),
    case("08: half a sub-function is too short", "08 00", VALUE),
    case("08/0: an odd number of bytes is a bad value", "08 0000 CA", VALUE),
    case("08/0: three bytes are a bad value", "08 0000 CAFE00", VALUE),
    case("08/0: two bytes are allowed", "08 0000 0000", OK),
    case("08/0: 250 bytes are allowed", f"08 0000 {zeros(250)}", OK),
    case("08/1: restart is allowed", "08 0001 0000", OK),
    case("08/1: restart with clearing is allowed", "08 0001 FF00", OK),
    case("08/1: restart with other data is a bad value", "08 0001 1234", VALUE),
    case("08/1: restart without data is a bad value", "08 0001", VALUE),
    case("08/2: the diagnostic register is read", "08 0002 0000", OK),
    case("08/2: data that is not 0000 is bad", "08 0002 0001", VALUE),
    case("08/3: the ASCII delimiter is refused over a network", "08 0003 0D00", FUNCTION),
    case("08/3: bad data for a bad sub-function is a bad function", "08 0003 0D0D", FUNCTION),
    case("08/4: listen only is refused over a network", "08 0004 0000", FUNCTION),
    case("08/5: a reserved sub-function is refused", "08 0005 0000", FUNCTION),
    case("08/9: a reserved sub-function is refused", "08 0009 0000", FUNCTION),
    case("08/13: a reserved sub-function is refused", "08 0013 0000", FUNCTION),
    case("08/14: clearing the overrun counter is allowed", "08 0014 0000", OK),
    case("08/14: data that is not 0000 is bad", "08 0014 0001", VALUE),
    case("08/15: a reserved sub-function is refused", "08 0015 0000", FUNCTION),
    case("08/FFFF: a reserved sub-function is refused", "08 FFFF 0000", FUNCTION),
    case("08/0A: data other than 0000 is a bad value", "08 000A 0001", VALUE),
    case("08/0A: no data is a bad value", "08 000A", VALUE),
    *(case(f"08/{sub:02X}: data that is not 0000 is bad", f"08 00{sub:02X} 0001", 3) for sub in range(0x0B, 0x13)),
    *(case(f"08/{sub:02X}: four bytes are a bad value", f"08 00{sub:02X} 0000 0000", 3) for sub in range(0x0B, 0x13)),
    *(case(f"08/{sub:02X}: the counter is read", f"08 00{sub:02X} 0000", OK) for sub in range(0x0B, 0x13)),
    # 17
    case("17: data is a bad value", "11 00", VALUE),
    case("17: nothing but the function is allowed", "11", OK),
    # 43
    case("43: no MEI type is too short", "2B", VALUE),
    case("43/13 is refused", "2B 0D", FUNCTION),
    case("43/255 is refused", "2B FF 01 00", FUNCTION),
    case("43: a bad MEI type with a bad read code is a bad function", "2B 0F 09 00", FUNCTION),
    case("43/14: no read code is too short", "2B 0E", VALUE),
    case("43/14: no object is too short", "2B 0E 01", VALUE),
    case("43/14: a byte too many", "2B 0E 01 00 00", VALUE),
    case("43/14: read code 0 is a bad value", "2B 0E 00 00", VALUE),
    case("43/14: a bad read code for an unknown object is a bad value", "2B 0E 05 7F", VALUE),
    case("43/14: an unknown object read alone is a bad address", "2B 0E 04 7F", ADDRESS),
    case("43/14: a stream from an unknown object starts over", "2B 0E 01 7F", OK),
    # 7, 11, 12
    *(case(f"{function}: data is a bad value", f"{function} 00", VALUE) for function in ("07", "0B", "0C")),
    *(case(f"{function}: nothing but the function is allowed", function, OK) for function in ("07", "0B", "0C")),
    # 20
    case("20: a unit without files does not have the function", "14 07 06 0004 0000 0001", FUNCTION),
    case("20: no byte count is too short", "14", VALUE, KEPT),
    case("20: byte count 0 is a bad value", "14 00", VALUE, KEPT),
    case("20: byte count 6 is a bad value", "14 06 06 0004 0000 00", VALUE, KEPT),
    case("20: byte count 8 is a bad value", "14 08 06 0004 0000 0001 00", VALUE, KEPT),
    case("20: 7 bytes and one more are a bad value", "14 07 06 0004 0000 0001 00", VALUE, KEPT),
    case("20: 14 bytes of which 7 are there are a bad value", "14 0E 06 0004 0000 0001", VALUE, KEPT),
    case("20: a bad reference type in a bad structure is a bad value", "14 08 05 0004 0000 0001 00", VALUE, KEPT),
    case("20: reference type 5 is a bad address", "14 07 05 0004 0000 0001", ADDRESS, KEPT),
    case("20: file 0 is a bad address", "14 07 06 0000 0000 0001", ADDRESS, KEPT),
    case("20: a file that is not there is a bad address", "14 07 06 0003 0000 0001", ADDRESS, KEPT),
    case("20: the last record is there", "14 07 06 0004 0009 0001", OK, KEPT),
    case("20: the first record behind is not", "14 07 06 0004 000A 0001", ADDRESS, KEPT),
    case("20: records that end one behind are a bad address", "14 07 06 0004 0009 0002", ADDRESS, KEPT),
    case("20: record 9999 of a whole file is there", "14 07 06 0009 270F 0001", OK, KEPT),
    case("20: record 10000 is not", "14 07 06 0009 2710 0001", ADDRESS, KEPT),
    case("20: records do not end behind 9999", "14 07 06 0009 270F 0002", ADDRESS, KEPT),
    case("20: records do not wrap", "14 07 06 0009 FFFF 0002", ADDRESS, KEPT),
    case("20: no records are a bad value", "14 07 06 0004 0000 0000", VALUE, KEPT),
    case("20: no records of a bad file are a bad value", "14 07 06 0003 0000 0000", VALUE, KEPT),
    case("20: 124 records fit an answer", "14 07 06 0009 0000 007C", OK, KEPT),
    case("20: 125 records do not, and are a bad value", "14 07 06 0009 0000 007D", VALUE, KEPT),
    case("20: 125 records of a bad file are a bad value", "14 07 06 0003 0000 007D", VALUE, KEPT),
    case("20: FFFF records are a bad value", "14 07 06 0009 0000 FFFF", VALUE, KEPT),
    case("20: 35 parts are allowed", f"14 F5 {'06 0004 0000 0001' * 35}", OK, KEPT),
    case("20: two parts with 122 records fit", "14 0E 06 0009 0000 0079 06 0004 0000 0001", OK, KEPT),
    case("20: two parts with 125 records do not", "14 0E 06 0009 0000 007C 06 0004 0000 0001", VALUE, KEPT),
    case("20: one bad part is enough", "14 0E 06 0004 0000 0001 06 0004 000A 0001", ADDRESS, KEPT),
    case("20: a file that is read only can be read", "14 07 06 0005 0000 0001", OK, KEPT),
    # 21
    case("21: a unit without files does not have the function", "15 09 06 0004 0000 0001 0000", FUNCTION),
    case("21: no byte count is too short", "15", VALUE, KEPT),
    case("21: byte count 7 is a bad value", "15 07 06 0004 0000 0000", VALUE, KEPT),
    case("21: byte count 8 is a bad value", "15 08 06 0004 0000 0001 00", VALUE, KEPT),
    case("21: more bytes than counted are a bad value", "15 09 06 0004 0000 0001 0000 00", VALUE, KEPT),
    case("21: fewer bytes than counted are a bad value", "15 0B 06 0004 0000 0002 0000", VALUE, KEPT),
    case("21: fewer registers than said are a bad value", "15 0B 06 0004 0000 0003 0000 0000", VALUE, KEPT),
    case("21: more registers than said are a bad value", "15 0B 06 0004 0000 0001 0000 0000", VALUE, KEPT),
    case("21: half a second part is a bad value", "15 0C 06 0004 0000 0001 0000 06 0004", VALUE, KEPT),
    case("21: a part without registers is a bad value", "15 10 06 0004 0000 0001 0000 06 0004 0001 0000", VALUE, KEPT),
    case(
        "21: a bad reference type in a bad structure is a bad value", "15 0B 05 0004 0000 0003 0000 0000", VALUE, KEPT
    ),
    case("21: reference type 7 is a bad address", "15 09 07 0004 0000 0001 0000", ADDRESS, KEPT),
    case("21: file 0 is a bad address", "15 09 06 0000 0000 0001 0000", ADDRESS, KEPT),
    case("21: a file that is not there is a bad address", "15 09 06 0003 0000 0001 0000", ADDRESS, KEPT),
    case("21: a file that is read only is a bad address", "15 09 06 0005 0000 0001 0000", ADDRESS, KEPT),
    case("21: the last record is there", "15 09 06 0004 0009 0001 0000", OK, KEPT),
    case("21: the first record behind is not", "15 09 06 0004 000A 0001 0000", ADDRESS, KEPT),
    case("21: records that end one behind are a bad address", "15 0B 06 0004 0009 0002 0000 0000", ADDRESS, KEPT),
    case("21: 122 records are allowed", f"15 FB 06 0009 0000 007A {zeros(244)}", OK, KEPT),
    # 24
    case("24: a unit without queues does not have the function", "18 000A", FUNCTION),
    case("24: no address is too short", "18", VALUE, KEPT),
    case("24: half an address is too short", "18 00", VALUE, KEPT),
    case("24: a byte too many", "18 000A 00", VALUE, KEPT),
    case("24: a register without a queue is a bad address", "18 000B", ADDRESS, KEPT),
    case("24: a register that is not there is a bad address", "18 4000", ADDRESS, KEPT),
    case("24: a full queue is read", "18 000A", OK, KEPT),
    case("24: a count beyond the queue is a bad value", "18 0014", VALUE, KEPT),
    case("24: a count of 32 is a bad value", "18 001E", VALUE, KEPT),
]

SERVED = {1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 15, 16, 17, 22, 23, 43}
"""By a unit without files and queues."""


def sentence(case: Case) -> str:
    return case.sentence


@pytest.mark.parametrize("case", CASES, ids=sentence)
def test_the_request_gets_the_code_of_the_first_check_it_fails(ask: Ask, case: Case) -> None:
    answer = ask(case.request, case.unit)

    function = case.request[0]
    if case.code == OK:
        assert answer[0] == function, f"refused with {answer.hex(' ')}"
        assert len(answer) > 2 or function in (1, 2, 7)
    else:
        assert answer.hex(" ") == bytes((function | 0x80, case.code)).hex(" ")


@pytest.mark.parametrize("function", sorted({*range(1, 128)} - SERVED))
def test_a_function_that_is_not_served_is_refused_with_01_whatever_follows(ask: Ask, function: int) -> None:
    refused = bytes((function | 0x80, FUNCTION))

    for rest in ("", "00", "FFFF FFFF", "0000 0001", zeros(252)):
        assert ask(bytes((function,)) + hexed(rest)) == refused


@pytest.mark.parametrize("function", [0x00, *range(0x80, 0x100, 0x11), 0x83, 0x90, 0xAB, 0xFF])
def test_a_code_that_is_no_function_is_refused_with_01(ask: Ask, function: int) -> None:
    for rest in ("", "0000 0001"):
        assert ask(bytes((function,)) + hexed(rest)) == bytes((function | 0x80, FUNCTION))


def test_what_was_refused_has_changed_nothing(ask: Ask) -> None:
    ask(hexed("10 0000 0004 08 1111 2222 3333 4444"))
    ask(hexed("0F 0000 0010 02 A5 5A"))

    for wrong in CASES:
        if wrong.code != OK:
            ask(wrong.request)

    assert ask(hexed("03 0000 0004")) == hexed("03 08 1111 2222 3333 4444")
    assert ask(hexed("01 0000 0010")) == hexed("01 02 A5 5A")
