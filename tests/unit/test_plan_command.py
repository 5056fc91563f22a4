"""`gateway plan`'s report: what devices would be asked, and the load of each link, as a reader would reckon it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.cli.plan import plan_report
from tests.support.config.plants import plant

ROUND_TRIP_S = 0.01


def report(folder: Path, text: str, round_trip_s: float = ROUND_TRIP_S) -> dict[str, Any]:
    return plan_report(plant(folder, text), round_trip_s)


def requests(folder: Path, device: str) -> list[dict[str, Any]]:
    """The requests of one device, written as the inside of its YAML mapping."""
    (told,) = report(folder, f"units: {{1: {{holding: 0..9999}}}}\ndevices: {{d: {{url: 'tcp://a', {device}}}}}")[
        "devices"
    ]
    found: list[dict[str, Any]] = told["requests"]
    return found


def link(folder: Path, text: str, round_trip_s: float = ROUND_TRIP_S) -> dict[str, Any]:
    (told,) = report(folder, text, round_trip_s)["links"]
    assert isinstance(told, dict)
    return told


def test_a_raw_poll_is_split_and_wastes_nothing(tmp_path: Path) -> None:
    first, second = requests(tmp_path, "poll: [{read: 'holding:0..149', to: 'holding:0', every: 500ms}]")
    assert first == {
        "kind": "read",
        "function": 3,
        "block": "holding:0..124 (400001..400125)",
        "every_s": 0.5,
        "on_change": False,
        "per_s": 2.0,
        "count": 125,
        "of": "registers",
        "wasted": 0,
        "bytes": 12 + 9 + 250,
        "wire_s": pytest.approx(271 / 1_250_000),
        "busy_s": pytest.approx(ROUND_TRIP_S + 271 / 1_250_000),
    }
    assert (second["block"], second["count"]) == ("holding:125..149 (400126..400150)", 25)


def test_registers_that_nobody_asked_for_are_wasted(tmp_path: Path) -> None:
    tags = "a: {at: 'holding:0', type: float32}, b: {at: 'holding:1', type: int16}, c: {at: 'holding:10', type: int16}"
    (block,) = requests(tmp_path, f"tags: {{{tags}}}")
    assert (block["count"], block["wasted"]) == (11, 11 - 3), "b lies inside a"


def test_bits_are_counted_as_bits(tmp_path: Path) -> None:
    (block,) = requests(tmp_path, "tags: {a: {at: 'coils:0', type: bool}, b: {at: 'coils:20', type: bool}}")
    assert (block["function"], block["of"], block["count"], block["wasted"]) == (1, "bits", 21, 19)
    assert block["bytes"] == 12 + 9 + 3


@pytest.mark.parametrize(
    ("device", "function", "count", "bytes_"),
    [
        ("push: [{write: 'holding:7', from: 'holding:0', every: 10s}]", 6, 1, 24),
        ("push: [{write: 'coils:7', from: '2/coils:0', every: 10s}]", 5, 1, 24),
        ("force_multiple: true, push: [{write: 'holding:7', from: 'holding:0', every: 10s}]", 16, 1, 13 + 2 + 12),
        ("push: [{write: 'holding:7..8', from: 'holding:0', every: 10s}]", 16, 2, 13 + 4 + 12),
        ("push: [{write: 'coils:0..8', from: '2/coils:0', every: 10s}]", 15, 9, 13 + 2 + 12),
        ("watchdog: {write: 'holding:99', every: 10s}", 6, 1, 24),
    ],
)
def test_cyclic_writes_are_counted(tmp_path: Path, device: str, function: int, count: int, bytes_: int) -> None:
    text = f"units: {{1: {{holding: 0..9}}, 2: {{coils: 0..9}}}}\ndevices: {{d: {{url: 'tcp://a', {device}}}}}"
    ((write,),) = [told["requests"] for told in report(tmp_path, text)["devices"]]
    assert write["kind"] in ("push", "watchdog")
    assert (write["function"], write["count"], write["bytes"]) == (function, count, bytes_)
    assert write["per_s"] == pytest.approx(0.1)


def test_a_push_on_change_only_has_no_rate(tmp_path: Path) -> None:
    (push,) = requests(tmp_path, "push: [{write: 'holding:7', from: 'holding:0', on: change}]")
    assert (push["on_change"], push["every_s"], push["per_s"]) == (True, None, 0.0)


POLLED = "poll: [{read: 'holding:0', to: '1/holding:%d', every: 100ms}]"
BYTES_S = (12 + 11) / 1_250_000
"""The time of one register's request and answer on the wire."""


@pytest.mark.parametrize(
    ("settings", "round_trip_s", "busy_s"),
    [
        ("", 0.01, 0.01 + BYTES_S),
        ("", 0.1, 0.1 + BYTES_S),
        ("delay: 5ms", 0.01, 0.015 + BYTES_S),
        ("in_flight: 4", 0.01, (0.01 + BYTES_S) / 4),
        ("in_flight: 4, delay: 8ms", 0.01, 0.008),  # quiet between requests, however many are out
    ],
)
def test_load_is_the_time_that_requests_take_of_their_link(
    tmp_path: Path, settings: str, round_trip_s: float, busy_s: float
) -> None:
    text = f"devices: {{d: {{url: 'tcp://a', {settings + ', ' if settings else ''}{POLLED % 0}}}}}"
    told = link(tmp_path, text, round_trip_s)
    assert told["load_percent"] == pytest.approx(100 * 10 * busy_s)
    assert told["requests_per_s"] == pytest.approx(10)


def test_devices_of_one_link_share_its_load_and_disabled_ones_have_none(tmp_path: Path) -> None:
    devices = [f"d{number}: {{url: 'tcp://a', unit: {number}, {POLLED % number}}}" for number in (1, 2)]
    disabled = f"off: {{url: 'tcp://a', enabled: false, {POLLED % 3}}}"
    told = link(tmp_path, f"devices: {{{', '.join([*devices, disabled])}}}")
    assert told["devices"] == 2
    assert told["load_percent"] == pytest.approx(2 * 10 * 100 * (ROUND_TRIP_S + BYTES_S))
    assert told["slow_down"] == []


def test_an_overloaded_link_names_what_takes_most_of_it(tmp_path: Path) -> None:
    polls = ["{read: 'holding:0', to: '1/holding:0', every: 1s}", "{read: 'holding:9', to: '1/holding:1', every: 10ms}"]
    told = link(tmp_path, f"devices: {{d: {{url: 'tcp://a', poll: [{', '.join(polls)}]}}}}")
    assert told["load_percent"] == pytest.approx(101 * 100 * (ROUND_TRIP_S + BYTES_S))
    assert [share["block"] for share in told["slow_down"]] == ["holding:9 (400010)", "holding:0 (400001)"]
    assert told["slow_down"][0]["percent"] == pytest.approx(100 * 100 * (ROUND_TRIP_S + BYTES_S))


LINE = "rtu:///dev/ttyUSB0?baudrate=9600&parity=even"
CHAR_S, GAP_S = 11 / 9600, 3.5 * 11 / 9600


def test_on_a_serial_line_every_character_counts(tmp_path: Path) -> None:
    told = link(tmp_path, f"devices: {{d: {{url: '{LINE}', {POLLED % 0}}}}}")
    wire_s = (8 + 7) * CHAR_S + 2 * GAP_S
    assert told["wire_percent"] == pytest.approx(100 * 10 * wire_s)
    assert told["load_percent"] == pytest.approx(100 * 10 * (wire_s + ROUND_TRIP_S))
    assert told["baudrate"] == 9600


def test_ascii_takes_twice_the_characters_and_no_silence(tmp_path: Path) -> None:
    told = link(tmp_path, f"devices: {{d: {{url: 'ascii:///dev/ttyUSB0?baudrate=9600', {POLLED % 0}}}}}")
    assert told["wire_percent"] == pytest.approx(100 * 10 * (17 + 15) * 10 / 9600)


def test_a_broadcast_waits_for_the_turn_round_in_place_of_an_answer(tmp_path: Path) -> None:
    text = f"units: {{1: {{holding: 9}}}}\ndevices: {{all: {{url: '{LINE}&turnaround=150ms', unit: 0, %s}}}}"
    told = link(tmp_path, text % "push: [{write: 'holding:7', from: 'holding:0', every: 1s}]")
    assert told["load_percent"] == pytest.approx(100 * (8 * CHAR_S + GAP_S + 0.15))


def test_frames_in_tcp_have_no_header_and_no_line(tmp_path: Path) -> None:
    (told,) = report(tmp_path, f"devices: {{d: {{url: 'rtu+tcp://a', {POLLED % 0}}}}}")["devices"]
    assert told["requests"][0]["bytes"] == 8 + 7
    (link_,) = report(tmp_path, f"devices: {{d: {{url: 'rtu+tcp://a', {POLLED % 0}}}}}")["links"]
    assert link_["baudrate"] is None


def test_forwards_are_named_because_nobody_knows_their_load(tmp_path: Path) -> None:
    text = f"units: {{5: {{forward: d}}, 10..11: {{forward: d}}}}\ndevices: {{d: {{url: 'tcp://a', {POLLED % 0}}}}}"
    assert report(tmp_path, text)["forwards"] == [{"unit": unit_id, "to": "d"} for unit_id in (5, 10, 11)]
