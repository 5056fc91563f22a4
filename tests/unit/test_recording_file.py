"""The file of a recording: what is written is read back, what is wrong is told with its line."""

from __future__ import annotations

import pytest

from gateway.recording.file import (
    Exchange,
    Header,
    NoRecording,
    exchange_line,
    header_line,
    last_line,
    lost_line,
    parse,
)

HEADER = Header("press", "tcp://10.0.0.5:502", (1,), "2026-11-21T09:30:00.123Z")
GOOD = Exchange(0.25, 1, bytes.fromhex("0300000001"), bytes.fromhex("03020007"), 0.0125)
SILENT = Exchange(1.5, 1, bytes.fromhex("0300000001"), None, 1.0, "time-out")
REFUSED = Exchange(0.1, 1, bytes.fromhex("0300000001"), b"\x83\x02", 0.001)


def test_what_is_written_is_read_back_in_the_order_of_its_times() -> None:
    lines = [header_line(HEADER), *map(exchange_line, (GOOD, SILENT, REFUSED)), lost_line(2.0, 12)]
    found = parse([*lines, last_line(60.0, "ended", 3, 12)])
    assert found.header == HEADER
    assert found.exchanges == [REFUSED, GOOD, SILENT]
    assert (found.lost, found.is_whole, found.duration_s) == (12, True, 60.0)


def test_a_file_that_was_cut_off_is_good_up_to_there() -> None:
    found = parse([header_line(HEADER), exchange_line(GOOD), exchange_line(SILENT)[:30]])
    assert found.exchanges == [GOOD]
    assert not found.is_whole
    assert found.duration_s == GOOD.at_s + GOOD.took_s


def test_keys_and_lines_of_later_versions_are_passed_over() -> None:
    more = '{"at_ms": 1, "unit": 1, "request": "07", "answer": "0700", "took_ms": 1, "later": true}\n'
    found = parse([header_line(HEADER), '{"at_ms": 0, "mark": "a person says something"}\n', more, "\n"])
    assert [each.request for each in found.exchanges] == [b"\x07"]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{no json\n", "line 2 is no JSON: "),
        ("[1]\n", "line 2 is no exchange"),
        ("x" * 5000 + "\n", "line 2 is no exchange"),
        ('{"unit": 1, "request": "03"}\n', "line 2: the key 'at_ms' is missing"),
        ('{"at_ms": 0, "request": "03"}\n', "line 2: the key 'unit' is missing"),
        ('{"at_ms": 0, "unit": 1, "request": "0"}\n', "line 2: "),
        ('{"at_ms": 0, "unit": 1, "request": ""}\n', "line 2: `request` has 0 bytes"),
        ('{"at_ms": 0, "unit": 256, "request": "03"}\n', "line 2: there is no unit 256"),
        ('{"at_ms": -1, "unit": 1, "request": "03"}\n', "line 2: a time is not possible"),
        ('{"at_ms": NaN, "unit": 1, "request": "03"}\n', "line 2: a time is not possible"),
        ('{"at_ms": 0, "unit": 1, "request": "03", "answer": "84 02"}\n', "line 2: the answer has another function"),
        ("", "there is no exchange in it"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(line: str, why: str) -> None:
    with pytest.raises(NoRecording) as error:
        parse([header_line(HEADER), line] if line else [header_line(HEADER)])
    assert str(error.value).startswith(why)


def test_answers_that_cannot_be_to_their_requests_are_counted() -> None:
    fits = Exchange(0.0, 1, bytes.fromhex("0300000002"), bytes.fromhex("030400010002"), 0.001)
    unfit = fits._replace(at_s=1.0, answer=bytes.fromhex("030200010002"))
    found = parse([header_line(HEADER), exchange_line(fits), exchange_line(unfit), last_line(2.0, "", 2, 0)])
    assert (found.unfit, found.is_whole, len(found.exchanges)) == (1, True, 2)


@pytest.mark.parametrize("line", ["", "devices:\n", "{}\n", '{"gateway_recording": 2}\n', "[]\n", "\0\xff\n"])
def test_what_is_no_recording_is_told_so(line: str) -> None:
    with pytest.raises(NoRecording, match=r"^(this is no recording|it has version 2|the file is empty)"):
        parse([line] if line else [])
