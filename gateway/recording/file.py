"""The file of a recording: lines of JSON, the first about the device, then one for each exchange. Pure: text in, out.

    {"gateway_recording": 1, "device": "press", "url": "tcp://10.0.0.5:502", "units": [1], "begun": "2026-11-21T09:..."}
    {"at_ms": 0.0, "unit": 1, "request": "030000000a", "answer": "0314...", "took_ms": 1.204}
    {"at_ms": 500.1, "unit": 1, "request": "030000000a", "error": "time-out", "took_ms": 1000.0}
    {"at_ms": 812.0, "lost": 12}
    {"at_ms": 60000.2, "ended": "after 60s", "exchanges": 240, "lost": 12}

The rule: what is in the file happened. Frames that the recorder did not get are told as `lost`, where they are missing;
a file without the last line was cut off, and is good up to there. Unknown keys are for later versions and are passed
over, a later version number is not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from gateway.modbus import spec
from gateway.modbus.pdu import fault

VERSION = 1
MAX_EXCHANGES = 1_000_000
"""Of a file that is played: some 200 MB of memory. At ten requests a second a day of a device."""
MAX_LINE = 4096
"""Characters: a request and an answer in hex, twice 506, and words."""
_MARK = "gateway_recording"


class Header(NamedTuple):
    """Whose traffic it is; `begun` is when `at_ms` was 0 (UTC, ISO 8601)."""

    device: str
    url: str
    units: tuple[int, ...]
    begun: str


class Exchange(NamedTuple):
    """A request and what came of it. `answer` None: nothing came, or nothing usable; `error` says what."""

    at_s: float
    """When the request was sent, since the beginning."""
    unit_id: int
    request: bytes
    answer: bytes | None
    took_s: float
    """Until the answer, or until it was given up."""
    error: str = ""


class Recording(NamedTuple):
    header: Header
    exchanges: list[Exchange]
    """In the order of `at_s`."""
    lost: int
    """Frames that the recorder missed."""
    is_whole: bool
    """It has its last line."""
    duration_s: float
    unfit: int = 0
    """Answers that cannot be to their requests: no values are taken from them."""


class NoRecording(Exception):
    """The file cannot be played; the text says which line, and why."""


def header_line(header: Header) -> str:
    return _line({_MARK: VERSION, **header._asdict()})


def exchange_line(exchange: Exchange) -> str:
    row: dict[str, Any] = {
        "at_ms": round(exchange.at_s * 1000, 3),
        "unit": exchange.unit_id,
        "request": exchange.request.hex(),
    }
    if exchange.answer is not None:
        row["answer"] = exchange.answer.hex()
    if exchange.error:
        row["error"] = exchange.error
    row["took_ms"] = round(exchange.took_s * 1000, 3)
    return _line(row)


def lost_line(at_s: float, lost: int) -> str:
    """So many frames are missing here."""
    return _line({"at_ms": round(at_s * 1000, 3), "lost": lost})


def last_line(at_s: float, why: str, exchanges: int, lost: int) -> str:
    return _line({"at_ms": round(at_s * 1000, 3), "ended": why, "exchanges": exchanges, "lost": lost})


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def parse(lines: Iterable[str]) -> Recording:
    """Raises NoRecording. A last line that is cut off is passed over: the recorder was killed."""
    numbered = iter(enumerate(lines, 1))
    first = next(numbered, (1, ""))[1]
    if not first:
        raise NoRecording("the file is empty")
    header = _header(first)
    exchanges: list[Exchange] = []
    lost, duration_s, is_whole = 0, 0.0, False
    for number, row in _rows(numbered):
        try:
            at_s = float(row["at_ms"]) / 1000
            if "request" in row:
                exchanges.append(_exchange(row, at_s))
            elif "ended" in row:
                is_whole = True
            else:
                lost += int(row.get("lost", 0))
        except (KeyError, TypeError, ValueError) as error:
            raise NoRecording(f"line {number}: {_why(error)}") from error
        duration_s = max(duration_s, at_s)
        if len(exchanges) > MAX_EXCHANGES:
            raise NoRecording(f"line {number}: more than {MAX_EXCHANGES} exchanges; cut the file in two")
    if not exchanges:
        raise NoRecording("there is no exchange in it: the device was not asked for anything while it was recorded")
    exchanges.sort(key=lambda each: each.at_s)
    duration_s = max(duration_s, exchanges[-1].at_s + exchanges[-1].took_s)
    unfit = sum(each.answer is not None and fault(each.request, each.answer) is not None for each in exchanges)
    return Recording(header, exchanges, lost, is_whole, duration_s, unfit)


def _rows(numbered: Iterator[tuple[int, str]]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in numbered:
        if not line.strip():
            continue
        try:
            row = json.loads(line) if len(line) <= MAX_LINE else None
        except (ValueError, RecursionError) as error:
            if not line.endswith("\n"):
                return
            why = f"{error.msg} at column {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else str(error)
            raise NoRecording(f"line {number} is no JSON: {why}") from error
        if not isinstance(row, dict):
            raise NoRecording(f"line {number} is no exchange")
        yield number, row


def _header(line: str) -> Header:
    what = "this is no recording of `gateway record`: its first line does not say so"
    try:
        row = json.loads(line[:MAX_LINE])
        version = row[_MARK]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise NoRecording(what) from error
    if version != VERSION:
        raise NoRecording(f"it has version {version}, and this gateway knows version {VERSION}")
    try:
        units = tuple(int(unit) for unit in row["units"])
        return Header(str(row["device"]), str(row["url"]), units, str(row["begun"]))
    except (KeyError, TypeError, ValueError) as error:
        raise NoRecording(f"line 1: {_why(error)}") from error


def _exchange(row: dict[str, Any], at_s: float) -> Exchange:
    request = _pdu("request", row["request"])
    answer = _pdu("answer", row["answer"]) if row.get("answer") is not None else None
    if answer is not None and answer[0] & ~spec.EXCEPTION_BIT != request[0] & ~spec.EXCEPTION_BIT:
        raise ValueError("the answer has another function than the request")
    unit = int(row["unit"])
    if not 0 <= unit <= 255:
        raise ValueError(f"there is no unit {unit}")
    took_s = float(row.get("took_ms", 0.0)) / 1000
    if not (0 <= at_s < float("inf") and 0 <= took_s < float("inf")):
        raise ValueError("a time is not possible")
    return Exchange(at_s, unit, request, answer, took_s, str(row.get("error", "")))


def _pdu(name: str, text: Any) -> bytes:
    try:
        data = bytes.fromhex(text)
    except (ValueError, TypeError) as error:
        raise ValueError(f"`{name}` is no text of hex digits") from error
    if not 1 <= len(data) <= spec.MAX_PDU_SIZE:
        raise ValueError(f"`{name}` has {len(data)} bytes; a PDU has 1..{spec.MAX_PDU_SIZE}")
    return data


def _why(error: Exception) -> str:
    return f"the key {error} is missing" if isinstance(error, KeyError) else str(error)
