"""What a device may answer to the public functions: good answers pass, malformed ones are noticed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.interfaces import Unit
from gateway.modbus.pdu import fault
from tests.support.core import build_units
from tests.support.wire import hexed

GOOD = [
    ("03 006B 0003", "03 06 022B 0000 0064"),
    ("01 0020 000D", "01 02 4D13"),
    ("07", "07 96"),
    ("08 0000 CAFE", "08 0000 CAFE"),
    ("08 0000 0102 0304", "08 0000 0102 0304"),
    ("08 000B 0000", "08 000B 1234"),
    ("08 0001 FF00", "08 0001 FF00"),
    ("08 0015 0000", "08 0015 00 11 22 33"),  # not public: nobody knows how long it is
    ("0B", "0B 0000 0108"),
    ("0C", "0C 09 0000 0108 0121 40 80 00"),
    ("0C", "0C 06 0000 0108 0121"),
    ("11", "11 05 2A FF 47 57 31"),
    ("11", "11 00"),
    ("14 0E 06 0004 0001 0002 06 0003 0009 0001", "14 0A 05 06 0D12 0020 03 06 33CD"),
    ("15 0B 06 0004 0007 0002 06AF 04BE", "15 0B 06 0004 0007 0002 06AF 04BE"),
    ("16 0004 FFF0 0005", "16 0004 FFF0 0005"),
    ("17 0003 0004 000E 0002 04 00FF 0102", "17 08 0001 0002 0003 0004"),
    ("18 04DE", "18 0008 0003 01B8 1284 0007"),
    ("18 04DE", "18 0002 0000"),
    ("2B 0E 01 00", "2B 0E 01 81 00 00 03 00 04 41636D65 01 04 47572D31 02 03 312E30"),
    ("2B 0E 04 00", "2B 0E 04 81 00 00 01 00 00"),
    ("2B 0D 01 02 03", "2B 0D FF"),
    ("41 00", "41"),
    *((f"{function:02X} 0000", f"{function | 0x80:02X} 01") for function in (7, 8, 11, 12, 17, 20, 21, 22, 23, 24, 43)),
    # what is malformed itself is judged by its code alone
    ("03 006B", "03 00"),
    ("03", "03 02 0000"),
    ("17 0000 0001", "17 00"),
    ("14 07 06 0004", "14 00"),
    ("14", "14"),
]


@pytest.mark.parametrize(("request_", "answer"), GOOD)
def test_a_good_answer_passes(request_: str, answer: str) -> None:
    assert fault(hexed(request_), hexed(answer)) is None


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        ("07", "07"),
        ("07", "07 96 00"),
        ("07", "87 01 00"),
        ("07", "08 96"),
        ("08 0000 CAFE", "08 0000 CAFF"),
        ("08 0000 CAFE", "08 0000 CAFE 00"),
        ("08 0000 CAFE", "08 0001 CAFE"),
        ("08 000B 0000", "08 000C 0000"),
        ("08 000B 0000", "08 000B"),
        ("08 000B 0000", "08 000B 0000 00"),
        ("08 000B 0000", "08"),
        ("0B", "0B 0000 01"),
        ("0B", "0B 0000 0108 00"),
        ("0C", "0C 09 0000 0108 0121 40 80"),
        ("0C", "0C 05 0000 0108 01"),
        ("0C", "0C"),
        ("0C", "0C 47 0000 0108 0121 " + "40" * 65),
        ("11", "11 05 2A FF 47 57"),
        ("11", "11"),
        ("14 0E 06 0004 0001 0002 06 0003 0009 0001", "14 06 05 06 0D12 0020"),
        ("14 0E 06 0004 0001 0002 06 0003 0009 0001", "14 0A 05 07 0D12 0020 03 06 33CD"),
        ("14 0E 06 0004 0001 0002 06 0003 0009 0001", "14 0A 03 06 0D12 05 06 0020 33CD"),
        ("14 0E 06 0004 0001 0002 06 0003 0009 0001", "14 0B 05 06 0D12 0020 03 06 33CD 00"),
        ("14 07 06 0004 0001 0002", "14 06 05 06 0D12 00"),
        ("15 0B 06 0004 0007 0002 06AF 04BE", "15 0B 06 0004 0007 0002 06AF 04BF"),
        ("15 0B 06 0004 0007 0002 06AF 04BE", "15 0B 06 0004 0007 0002 06AF"),
        ("16 0004 FFF0 0005", "16 0004 FFF0 0006"),
        ("16 0004 FFF0 0005", "16 0004"),
        ("17 0003 0004 000E 0002 04 00FF 0102", "17 06 0001 0002 0003"),
        ("17 0003 0004 000E 0002 04 00FF 0102", "17 08 0001 0002 0003"),
        ("18 04DE", "18 0008 0003 01B8 1284"),
        ("18 04DE", "18 0006 0003 01B8 1284 0007"),
        ("18 04DE", "18 0002"),
        ("18 04DE", "18 0042 0020 " + "0000" * 32),
        ("2B 0E 01 00", "2B 0D 01 81 00 00 00"),
        ("2B 0E 01 00", "2B 0E 02 81 00 00 00"),
        ("2B 0E 01 00", "2B 0E 01 81 00 00"),
        ("2B 0E 01 00", "2B 0E 01 81 00 00 01 00 05 41636D65"),
        ("2B 0E 01 00", "2B 0E 01 81 00 00 01 00"),
        ("2B 0E 04 01", "2B 0E 04 81 00 00 01 00 04 41636D65"),
        ("2B 0E 04 01", "2B 0E 04 81 00 00 00"),
        ("2B 0E 04 01", "2B 0E 04 81 00 00 02 01 01 41 02 01 42"),
        ("2B 0E 04 01", "2B 0E 04 81 00 00 01 01 01 41 02 01 42"),
        ("2B 0E 04 01", "2B 0E 04 81 00 00 03 01 01 41"),
        ("2B 0E 04 01", "2B 0E 04 81 FF 02 01 01 01 41"),
        ("2B 0E 04 00", "2B 0E 04 01 00 00 03 00 01 41 01 01 42 02 01 43"),
        ("2B 0E 01 00", "2B 0E 01 81 00 00 01 00 01 41 01 01 42"),
        ("2B 0E 01 00", "2B 0E 01 81 00 00 03 00 01 41 01 01 42"),
        ("2B 0E 01 00", "2B 0E 01 81 FF 01 01 00 01 41 01 01 42"),
        ("2B 0E 01 00", "2B 0E 01 81 FF 00 03 00 01 41"),
        ("2B 0E 03 02", "2B 0E 03 83 FF 01 03 02 01 41"),
        ("2B 0E 03 02", "2B 0E 03 83 FF 02 00"),
        ("2B 0D 01", "2B 0E"),
    ],
)
def test_a_malformed_answer_is_noticed(request_: str, answer: str) -> None:
    assert fault(hexed(request_), hexed(answer))


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        ("2B 0E 04 80", "2B 0E 04 83 00 00 01 80 00"),
        ("2B 0E 04 01", "2B 0E 04 01 00 02 01 01 01 41"),  # names the next one though nothing follows
        ("2B 0E 01 00", "2B 0E 01 01 FF 02 03 00 01 41 01 01 42"),  # the count of all parts: the example of 6.21
        ("2B 0E 01 02", "2B 0E 01 01 00 00 03 02 01 43"),
        ("2B 0E 01 00", "2B 0E 01 01 FF 02 02 00 01 41 01 01 42"),
        ("2B 0E 01 07", "2B 0E 01 01 00 00 03 00 01 41 01 01 42 02 01 43"),  # begun anew
        ("2B 0E 01 07", "2B 0E 01 01 FF 01 01 00 01 41"),
        ("2B 0E 03 00", "2B 0E 03 82 00 00 02 80 01 41 80 01 42"),  # one object twice
        ("2B 0E 03 00", "2B 0E 03 82 00 07 01 00 01 41"),
        ("2B 0E 02 00", "2B 0E 02 00 00 00 00"),
    ],
)
def test_an_identification_that_a_device_may_well_give_is_believed(request_: str, answer: str) -> None:
    assert fault(hexed(request_), hexed(answer)) is None


PLANT = """
server: {identity: {application: Boilers}}
units:
  1:
    coils: 0..999
    discrete: 0..999
    holding: 0..999
    input: 0..999
    files: {4: {records: 500}}
    fifo: {"holding:100": {}}
    initial: {"holding:100": [2, 7, 8]}
"""

public = st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 15, 16, 17, 20, 21, 22, 23, 24, 43])
word = st.sampled_from([0, 1, 2, 4, 6, 100, 0xFF00])


@pytest.fixture(scope="module")
def unit(tmp_path_factory: pytest.TempPathFactory) -> Unit:
    return build_units(PLANT, tmp_path_factory.mktemp("core"))[1]


@given(function=public, words=st.lists(word, max_size=4), rest=st.binary(max_size=30))
def test_whatever_our_units_answer_belongs_to_what_was_asked(
    unit: Unit, function: int, words: list[int], rest: bytes
) -> None:
    request = bytes((function,)) + b"".join(each.to_bytes(2, "big") for each in words) + rest
    answer = unit.answer(request)
    assert isinstance(answer, bytes)

    assert fault(request, answer) is None


@pytest.mark.parametrize(
    "request_",
    [
        "01 0020 000D",
        "05 000C FF00",
        "0F 0013 000A 02 CD01",
        "03 0000 007D",
        "16 0004 FFF0 0005",
        "07",
        "0B",
        "0C",
        "11",
        "08 0000 CAFE",
        "08 000B 0000",
        "14 0E 06 0004 0001 0002 06 0004 0009 0001",
        "15 09 06 0004 0007 0001 06AF",
        "18 0064",
        "17 0003 0004 000E 0002 04 00FF 0102",
        "2B 0E 01 00",
        "2B 0E 02 00",
        "2B 0E 04 06",
    ],
)
def test_our_own_good_answers_belong_and_no_other_length_of_them_does(unit: Unit, request_: str) -> None:
    request = hexed(request_)
    answer = unit.answer(request)
    assert isinstance(answer, bytes)
    assert answer[0] == request[0]

    assert fault(request, answer) is None
    assert fault(request, answer[:-1]) is not None
    assert fault(request, answer + b"\0") is not None


@given(request_=st.binary(min_size=1, max_size=253), answer=st.binary(min_size=1, max_size=253), same=st.booleans())
def test_any_bytes_are_judged(request_: bytes, answer: bytes, same: bool) -> None:
    if same:
        answer = request_[:1] + answer
    why = fault(request_, answer)

    assert why is None or why
