"""What `gateway record` does: exchanges from a running gateway's traffic, or from a device itself, into a file."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from gateway.cli.asking import POLL_S, Tap, duration, gateway_of, plant_and_filter, tell, until_stopped
from gateway.cli.client import whom
from gateway.cli.options import Asking
from gateway.cli.output import EXIT_USAGE, check_target, fail, open_target, plant_files
from gateway.cli.progress import LINE_EVERY_S
from gateway.config.addresses import Address, parse_address
from gateway.config.durations import format_duration
from gateway.config.sizes import parse_size
from gateway.control.path import ControlError
from gateway.errors import LinkDown, LinkError
from gateway.modbus import spec
from gateway.modbus.pdu import read_request
from gateway.recording import file as recording
from gateway.recording.file import Exchange, Header
from gateway.recording.pairs import DROPPED, NO_ANSWER, Pairs
from gateway.traffic import Frame

PROGRESS_S = 1.0
FULL = "ended as the file has its --max-size"
LEAST_SIZE = 10_000
"""Bytes: the shortest file that has room for a few exchanges."""


def size(option: str, text: str) -> int:
    """Bytes; ends the command with a hint when it is none."""
    try:
        found = parse_size(text)
    except ValueError as error:
        fail(f"{option}: {error}", EXIT_USAGE)
    if found < LEAST_SIZE:
        fail(f"{option} {text}: at least {LEAST_SIZE}B", EXIT_USAGE)
    return found


class Result(NamedTuple):
    """What the command line says of the file, and of what is told."""

    path: Path
    limit: int
    force: bool
    as_json: bool


class _File:
    """A recording that grows; ends the command with a line when it cannot be written."""

    def __init__(self, wanted: Result) -> None:
        self.path = wanted.path
        self.size = 0
        self.exchanges = 0
        self.unanswered = 0
        self.lost = 0
        self.is_full = False
        self._wanted = wanted
        self._header: Header | None = None
        self._is_terminal = sys.stderr.isatty()
        self._began_s = time.monotonic()
        self._told_s = 0.0 if self._is_terminal else self._began_s
        self._end_s = 0.0
        self._file = open_target(wanted.path, force=wanted.force)

    def begin(self, header: Header) -> None:
        self._header = header
        self._write(recording.header_line(header))

    def put(self, exchange: Exchange) -> None:
        if self.is_full:
            return
        self._write(recording.exchange_line(exchange))
        self.exchanges += 1
        self.unanswered += exchange.answer is None
        self._end_s = max(self._end_s, exchange.at_s + exchange.took_s)
        self.is_full = self.size >= self._wanted.limit - recording.MAX_LINE

    def miss(self, at_s: float, lost: int) -> None:
        self.lost += lost
        self._write(recording.lost_line(at_s, lost))

    def flush(self) -> None:
        """Tell how far it is, now and then."""
        now_s = time.monotonic()
        if now_s - self._told_s < (PROGRESS_S if self._is_terminal else LINE_EVERY_S):
            return
        self._told_s = now_s
        told = f"{now_s - self._began_s:.0f} s: {self._told()}"
        if self._is_terminal:
            print(f"\r{told}\x1b[K", end="", file=sys.stderr, flush=True)
        elif not self._wanted.as_json:
            tell(told)

    def end(self, why: str, at_s: float) -> None:
        """The last line, and what there is now. A file without an exchange is of no use and goes away."""
        if self._is_terminal and self._told_s:
            print("\r\x1b[K", end="", file=sys.stderr)
        if not self.exchanges:
            self._file.close()
            with contextlib.suppress(OSError):
                self.path.unlink()
            return
        lasted_s = max(at_s, self._end_s)
        self._write(recording.last_line(lasted_s, why, self.exchanges, self.lost))
        self._file.close()
        if not self._wanted.as_json:
            tell(f"{self.path}: {self._told()}, {format_duration(round(lasted_s, 1))}; {why}")
            return
        assert self._header is not None
        told = {
            "file": str(self.path),
            **self._header._asdict(),
            "exchanges": self.exchanges,
            "unanswered": self.unanswered,
            "lost": self.lost,
            "duration_s": round(lasted_s, 3),
            "bytes": self.size,
            "ended": why,
        }
        print(json.dumps(told, indent=2))

    def _told(self) -> str:
        unanswered = f", {self.unanswered} without an answer" if self.unanswered else ""
        lost = f", {self.lost} frames LOST" if self.lost else ""
        return f"{self.exchanges} exchanges{unanswered}{lost}, {self.size / 1000:.0f} KB"

    def _write(self, line: str) -> None:
        data = line.encode()
        written = 0
        try:
            while written < len(data):
                written += self._file.write(data[written:])
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(self.size)
            fail(f"{self.path}: {error.strerror}: the recording ends here, with {self.exchanges} exchanges")
        self.size += len(data)


# -- from a running gateway -----------------------------------------------------------------------------------------


def from_gateway(
    file: Path | None,
    state_dir: Path | None,
    name: str,
    unit: int | None,
    wanted_file: Result,
    for_s: float | None,
) -> None:
    """What the gateway says to a device, or on a link, and what comes of it."""
    file = None if state_dir is not None else file
    check_target(wanted_file.path, force=wanted_file.force, inputs=plant_files(file))
    asked = gateway_of(file, state_dir, for_s)
    plant, wanted = plant_and_filter(asked, name)
    if unit is not None:
        wanted["unit"] = unit
    try:
        tap = Tap(asked, wanted)
    except ControlError as error:
        fail(str(error))
    link = wanted.get("link") or next(str(row["link"]) for row in plant.devices if row["name"] == name)
    url = plant.urls().get(link, link)
    units = {
        int(row["unit"]) for row in plant.devices if row["link"] == link and wanted.get("device") in (None, row["name"])
    }
    found = _File(wanted_file)
    found.begin(Header(name, url, tuple(sorted(units if unit is None else {unit})), _now()))
    traffic = _Traffic(found)
    why = ""
    with until_stopped(for_s) as is_over:
        try:
            while not found.is_full and not is_over():
                for taken in tap.take(is_over):
                    traffic.take(taken.frames, taken.lost, is_interrupted=taken.is_interrupted)
                    if found.is_full:
                        break
                found.flush()
                time.sleep(POLL_S)
        except ControlError as error:
            why = str(error)
        finally:
            tap.close()
    found.end(why or (FULL if found.is_full else is_over.why), traffic.at_s)
    if traffic.dropped:
        tell(f"left out: {traffic.dropped} frames that were nobody's answer (late, garbled or another's)")
    if why:
        fail(f"the recording ends: {why}")
    is_over.raise_if_unread()
    if not found.exchanges:
        fail(f"nothing was recorded: {name} was not asked for anything; `gateway status` tells whether it is up")


class _Traffic:
    """Frames in, exchanges into the file. The first request is at 0."""

    def __init__(self, found: _File) -> None:
        self.dropped = 0
        self._found = found
        self._pairs = Pairs()
        self._zero_ns = 0

    @property
    def at_s(self) -> float:
        """Since the first request."""
        return max(0, time.time_ns() - self._zero_ns) / 1e9 if self._zero_ns else 0.0

    def take(self, frames: Sequence[Frame], lost: int, *, is_interrupted: bool) -> None:
        if lost or is_interrupted:
            self._pairs.forget()
            self._found.miss(self.at_s, max(lost, 1))
        for frame in frames:
            paired = self._pairs.add(frame)
            if frame.is_request and frame.pdu:
                self._zero_ns = self._zero_ns or frame.time_ns
            elif frame.note in DROPPED:
                self.dropped += 1
            elif (request := paired.request) is not None and paired.took_s is not None:
                is_answer = frame.note not in NO_ANSWER and frame.note != "malformed"
                answer = frame.pdu if is_answer else None
                at_s = (request.time_ns - self._zero_ns) / 1e9
                error = "" if is_answer else f"{frame.note} {frame.pdu.hex()}".strip()
                self._found.put(Exchange(max(0.0, at_s), frame.unit_id, request.pdu, answer, paired.took_s, error))


# -- from a device --------------------------------------------------------------------------------------------------


def from_device(
    url: str, reads: list[str], asking: Asking, every: str, wanted_file: Result, for_s: float | None
) -> None:
    """Read it again and again, start to start."""
    from gateway.cli.ways import exchange_with

    if not reads:
        fail(f"say what to read of {url}: --read holding:0..99", EXIT_USAGE)
    every_s, timeout_s = duration("--every", every), duration("--timeout", asking.timeout)
    assert every_s is not None
    assert timeout_s is not None
    try:
        asked = whom(url, asking)
        requests = [pdu for read in reads for pdu in _requests(parse_address(read))]
    except ValueError as error:
        fail(str(error), EXIT_USAGE)
    check_target(wanted_file.path, force=wanted_file.force, inputs=plant_files(asking.config))
    unit = asked.unit if asking.unit is None else asking.unit
    way = exchange_with(asked, timeout_s)
    try:
        way.connect()
    except LinkDown as error:
        fail(f"{asked.url}: {error}")
    found = _File(wanted_file)
    found.begin(Header(url, str(asked.url), (unit,), _now()))
    zero_s = time.monotonic()
    with until_stopped(for_s) as is_over:
        turn, trouble = 0, ""
        while not found.is_full and not is_over():
            for pdu in requests:
                began_s = time.monotonic()
                answer, error_text = None, ""
                try:
                    answer = way.ask(unit, pdu, timeout_s)
                except LinkError as error:
                    error_text = trouble = str(error)
                took_s = time.monotonic() - began_s
                found.put(Exchange(began_s - zero_s, unit, pdu, answer, took_s, error_text))
                if is_over():
                    break
            found.flush()
            turn = max(turn + 1, int((time.monotonic() - zero_s) / every_s))
            _sleep_until(zero_s + turn * every_s, is_over)
    way.close()
    found.end(FULL if found.is_full else is_over.why, time.monotonic() - zero_s)
    if found.exchanges and found.unanswered == found.exchanges:
        tell(f"nothing was answered; the last: {trouble}")
    is_over.raise_if_unread()


def _requests(address: Address) -> list[bytes]:
    """What reads it, in as many requests as it takes."""
    if address.bit is not None:
        raise ValueError(f"{address.describe()} is one bit of a register: read the register")
    most = spec.MAX_READ_BITS if address.table.is_bits else spec.MAX_READ_REGISTERS
    return [
        read_request(address.table, first, min(most, address.stop - first))
        for first in range(address.first, address.stop, most)
    ]


def _sleep_until(end_s: float, is_over: Callable[[], bool]) -> None:
    while (left_s := end_s - time.monotonic()) > 0 and not is_over():
        time.sleep(min(left_s, POLL_S))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
