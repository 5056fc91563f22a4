"""PDUs in words: every function of the specification, and anything at all that may come instead."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.modbus.words import answer_text, function_text, request_text

REQUESTS = [
    ("01 0013 0013", "read coils:19..37 (000020..000038)"),
    ("02 00c4 0016", "read discrete:196..217 (100197..100218)"),
    ("03 0000 000a", "read holding:0..9 (400001..400010)"),
    ("03 006b 0001", "read holding:107 (400108)"),
    ("04 0008 0001", "read input:8 (300009)"),
    ("03 0000 0000", "read holding:0 (400001), none"),
    ("03 ffff 0002", "read holding:65535..65536 (465536..465537)"),
    ("03 0000", "read holding registers, malformed: 0000"),
    ("03", "read holding registers, malformed"),
    ("05 00ac ff00", "write coils:172 (000173) = on"),
    ("05 00ac 0000", "write coils:172 (000173) = off"),
    ("05 00ac 1234", "write coils:172 (000173) = 1234 (neither on nor off)"),
    ("06 0001 0003", "write holding:1 (400002) = 0003"),
    ("07", "read exception status"),
    ("07 00", "read exception status, malformed: 00"),
    ("08 0000 a537", "diagnostics 00 echo a537"),
    ("08 0001 0000", "diagnostics 01 restart communications"),
    ("08 0001 ff00", "diagnostics 01 restart communications ff00"),
    ("08 0033 0000", "diagnostics 33 not a standard one"),
    ("0b", "get event counter"),
    ("0c", "get event log"),
    ("0f 0013 000a 02 cd01", "write coils:19..28 (000020..000029) = 10110011 10"),
    ("0f 0013 000a 01 cd", "write coils:19..28 (000020..000029) = 10110011 ... (10) (1 bytes, not 2)"),
    ("10 0001 0002 04 000a 0102", "write holding:1..2 (400002..400003) = 000a 0102"),
    ("10 0001 0003 04 000a 0102", "write holding:1..3 (400002..400004) = 000a 0102 (4 bytes, not 6)"),
    ("10 0001 0002 05 000a 0102", "write multiple registers, malformed: 0001000205000a0102"),
    ("11", "report server id"),
    ("14 0e 06 0004 0001 0002 06 0003 0009 0001", "read file 4 records 1..2; file 3 record 9"),
    ("14 07 05 0004 0001 0000", "read file 4 no records (reference type 5)"),
    ("15 0d 06 0004 0007 0003 06af 04be 100d", "write file 4 records 7..9 = 06af 04be 100d"),
    ("15 0d 06 0004 0007 0004 06af 04be 100d", "write file record, malformed: 0d060004000700" + "0406af04be100d"),
    ("16 0004 00f2 0025", "write holding:4 (400005): and 00f2, or 0025"),
    (
        "17 0003 0006 000e 0003 06 00ff 00ff 00ff",
        "write holding:14..16 (400015..400017) = 00ff 00ff 00ff, then read holding:3..8 (400004..400009)",
    ),
    ("18 04de", "read queue holding:1246 (401247)"),
    ("2b 0e 01 00", "read identification, basic"),
    ("2b 0e 03 80", "read identification, extended from object 80"),
    ("2b 0e 04 01", "read identification, one object 01 (product code)"),
    ("2b 0d 1234", "encapsulated interface 0D: 1234"),
    ("2b", "encapsulated interface, malformed"),
    ("64 0102", "function 64: 0102"),
    ("64", "function 64"),
    ("", "nothing"),
    ("10 0000 0014 28" + "0001" * 20, "write holding:0..19 (400001..400020) = " + "0001 " * 16 + "... (20)"),
]

ANSWERS = [
    ("01 0013 0013", "01 03 cd6b05", "19 bits: 10110011 11010110 101"),
    ("03 006b 0003", "03 06 022b 0000 0064", "3 registers: 022b 0000 0064"),
    ("03 006b 0001", "03 02 022b", "1 register: 022b"),
    ("03 006b 0001", "03 03 022b", "read holding registers, malformed: 03022b"),
    ("03 006b 0001", "83 02", "exception 02 illegal data address"),
    ("03 006b 0001", "83 0b", "exception 0B gateway target device failed to respond"),
    ("03 006b 0001", "83", "exception without a code"),
    ("03 006b 0001", "84 02", "exception 02 illegal data address to function 04, which was not asked"),
    ("03 006b 0001", "04 02 0001", "function 04, which was not asked: 020001"),
    ("05 00ac ff00", "05 00ac ff00", "done"),
    ("06 0001 0003", "06 0001 0004", "done, but another echo: 00010004"),
    ("07", "07 6d", "outputs 01101101"),
    ("08 0000 a537", "08 0000 a537", "diagnostics 00: a537"),
    ("08 000b 0000", "08 000b 0102", "diagnostics 0B: 258"),
    ("0b", "0b ffff 0108", "264 events, busy"),
    ("0c", "0c 08 0000 0108 0121 2000", "264 events, 289 messages; newest first: 2000"),
    ("10 0001 0002 04 000a 0102", "10 0001 0002", "done"),
    ("11", "11 09 47ff 67617465776179", "server id 47ff 'gateway'"),
    ("14 0e 06 0004 0001 0002 06 0003 0009 0001", "14 0a 05 06 0dfe 0020 03 06 33cd", "2 parts: 0dfe 0020; 33cd"),
    ("16 0004 00f2 0025", "16 0004 00f2 0025", "done"),
    ("17 0003 0002 000e 0001 02 00ff", "17 04 00fe 0acd", "2 registers: 00fe 0acd"),
    ("18 04de", "18 0006 0002 01b8 1284", "2 registers queued: 01b8 1284"),
    ("18 04de", "18 0002 0000", "0 registers queued"),
    ("2b 0e 01 00", "2b 0e 01 01 00 00 02 00 04 61636d65 01 02 7834", "vendor 'acme'; product code 'x4'"),
    ("2b 0e 01 00", "2b 0e 01 01 ff 02 01 00 04 61636d65", "vendor 'acme'; more from object 02"),
    ("2b 0e 01 00", "2b 0e 01 01 00 00 01 00 09 6163", "encapsulated interface, malformed: 0e010100000100096163"),
    ("64 01", "64 0102", "function 64: 0102"),
    ("03 0000 0001", "", "nothing"),
]  # fmt: skip


@pytest.mark.parametrize(("pdu", "text"), REQUESTS, ids=[pdu or "nothing" for pdu, _ in REQUESTS])
def test_a_request_in_words(pdu: str, text: str) -> None:
    assert request_text(bytes.fromhex(pdu)) == text


@pytest.mark.parametrize(("request_pdu", "answer_pdu", "text"), ANSWERS, ids=[f"{a}-{b}" for a, b, _ in ANSWERS])
def test_an_answer_in_words(request_pdu: str, answer_pdu: str, text: str) -> None:
    assert answer_text(bytes.fromhex(request_pdu), bytes.fromhex(answer_pdu)) == text


def test_a_function_is_told_by_its_code_and_its_name() -> None:
    assert function_text(3) == "03 read holding registers"
    assert function_text(100) == "64 function 100"


@given(st.binary(max_size=260), st.binary(max_size=260))
def test_any_bytes_give_one_line(request: bytes, answer: bytes) -> None:
    for text in (request_text(request), answer_text(request, answer)):
        assert text
        assert text.isprintable()


@given(st.sampled_from(REQUESTS), st.integers(0, 40), st.binary(max_size=20))
def test_a_request_that_is_cut_or_goes_on_still_has_words(case: tuple[str, str], cut: int, more: bytes) -> None:
    pdu = bytes.fromhex(case[0])
    assert request_text(pdu[:cut] + more).isprintable()
    assert answer_text(pdu, pdu[:cut] + more).isprintable()
