"""Durations, numbers, URLs, signals: texts in, values out, and messages that say what to write."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

import pytest

from gateway.config.durations import format_duration, parse_duration
from gateway.config.scalars import parse_boolean, parse_fraction, parse_integer, parse_sentinel
from gateway.config.signals import Signal, parse_signal
from gateway.config.urls import DeviceUrl, ListenUrl, parse_device_url, parse_listen_url
from gateway.values import Sentinel


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("1s", 1.0),
        ("1.5s", 1.5),
        ("5m", 300.0),
        ("2h", 7200.0),
        ("30d", 2_592_000.0),
        ("0", 0.0),
        ("0s", 0.0),
        ("10 s", 10.0),
    ],
)
def test_a_duration(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("5", "a duration needs its unit: `5s` for seconds or `5ms` for milliseconds"),
        ("1.5", "a duration needs its unit"),
        ("", "has no value"),
        ("5 minutes", "is not a duration"),
        ("-1s", "is not a duration"),
        ("1h30m", "is not a duration"),
        ("nan", "is not a duration"),
        ("99999d", "more than ten years"),
    ],
)
def test_a_wrong_duration(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        parse_duration(text)


@pytest.mark.parametrize("text", ["250ms", "0s", "1s", "1.5s", "90s", "5m", "2h", "30d"])
def test_messages_write_durations_as_users_do(text: str) -> None:
    assert format_duration(parse_duration(text)) == text


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("on", True), ("Yes", True), ("no", False), ("OFF", False)]
)
def test_a_boolean(text: str, value: bool) -> None:
    assert parse_boolean(text) is value


@pytest.mark.parametrize(("text", "value"), [("5", 5), ("0x10", 16), ("-3", -3), ("010", 10), ("1_000", 1000)])
def test_an_integer(text: str, value: int) -> None:
    assert parse_integer(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.1", Fraction(1, 10)), ("1/3", Fraction(1, 3)), ("-2.5e-3", Fraction(-1, 400)), ("10", Fraction(10))],
)
def test_a_fraction_is_exact(text: str, value: Fraction) -> None:
    assert parse_fraction(text) == value


@pytest.mark.parametrize("text", ["1e999999999", "nan", "inf", "1/0", "0x10", "", "ten"])
def test_what_is_no_number_is_refused_at_once(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_fraction(text)


def test_a_decimal_comma_is_named() -> None:
    with pytest.raises(ValueError, match=r"decimals have a point: `0\.1`"):
        parse_fraction("0,1")


def test_sentinels_are_bits_in_hexadecimal_and_numbers_in_decimal() -> None:
    assert parse_sentinel("0x8000") == Sentinel(True, 0x8000)
    assert parse_sentinel("-9999") == Sentinel(False, -9999)
    assert parse_sentinel("999.9") == Sentinel(False, Fraction(9999, 10))


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("tcp://192.168.1.10:502", DeviceUrl("tcp", "192.168.1.10", 502)),
        ("tcp://plc-3.plant.local", DeviceUrl("tcp", "plc-3.plant.local", 502)),
        ("tcp://[::1]:1502", DeviceUrl("tcp", "::1", 1502)),
        ("tcp://[fe80::1%eth0]", DeviceUrl("tcp", "fe80::1%eth0", 502)),
        ("tcp://host/", DeviceUrl("tcp", "host", 502)),
        ("sim://", DeviceUrl("sim", "", 0)),
    ],
)
def test_a_device_url(text: str, url: DeviceUrl) -> None:
    assert parse_device_url(text) == url


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("192.168.1.10", "is not a URL; write `tcp://192.168.1.10`"),
        ("mqtt://host", "`mqtt://` is not possible here; now there is `tcp://`, `udp://`, `tls://`, `rtu+tcp://`"),
        ("tpc://host", "did you mean `tcp://`?"),
        ("rtu://dev/ttyUSB0", "write `rtu:///dev/ttyUSB0`"),
        ("rtu://ttyUSB0", "write `rtu:///dev/ttyUSB0`"),
        ("rtu:/dev/ttyUSB0", "is not a URL; write `rtu:///dev/ttyUSB0`"),
        ("ascii:/dev/ttyUSB0?baudrate=9600", "is not a URL; write `ascii:///dev/ttyUSB0?baudrate=9600`"),
        ("rtu:COM3", "is not a URL; write `rtu://COM3`"),
        ("udp:192.168.1.10:502", "is not a URL; write `udp://192.168.1.10:502`"),
        ("plc-3:502", "is not a URL; write `tcp://plc-3:502`"),
        ("rtu+tcp://host?baudrate=9600", "unknown setting `baudrate`; there is turnaround"),
        ("rtu+tcp://host?turnaround=2s", "`turnaround=2s`: at most 1s"),
        ("udp://host?turnaround=1s", "a udp URL has no settings"),
        ("listen+tcp://0.0.0.0:9000?turnaround=1s", "unknown setting `turnaround`; there is id"),
        ("rtu:///dev/ttyUSB0?baud=9600", "unknown setting `baud`; did you mean `baudrate`?"),
        ("rtu:///dev/ttyUSB0?databits=7", "RTU sends bytes, it needs `databits=8`"),
        ("rtu:///dev/ttyUSB0?baudrate=9601", "`baudrate=9601`: there is 300, 600"),
        ("rtu:///dev/ttyUSB0?rts=low", "rts settings go with `rs485=true`"),
        ("tcp://host?baudrate=9600", "a tcp URL has no settings"),
        ("tcp://", "has no host"),
        ("tcp://:502", "has no host"),
        ("tcp://host:0", "ports are 1..65535"),
        ("tcp://host:99999", "ports are 1..65535"),
        ("tcp://host:abc", "`abc` is not a port"),
        ("tcp://::1:502", "an IPv6 address stands in brackets"),
        ("tcp://[host]:502", "in brackets stands an IPv6 address"),
        ("tcp://host?timeout=1s", "has no settings behind `?`"),
        ("tcp://host/path", "has no path"),
        ("sim://plc", "write `sim://`"),
    ],
)
def test_a_wrong_device_url(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        parse_device_url(text)


@pytest.mark.parametrize(
    "text",
    [
        "rtu:///dev/ttyUSB0?baudrate=9600&turnaround=150ms",
        "rtu+tcp://host:502?turnaround=150ms",
        "ascii+tcp://host:502?turnaround=150ms",
        "listen+rtu+tcp://0.0.0.0:9000?turnaround=150ms&id=m1",
    ],
)
def test_how_long_units_get_after_a_broadcast_stands_in_the_url_of_every_line(text: str) -> None:
    url = parse_device_url(text)
    assert url.turnaround_s == 0.15
    assert str(url) == text
    assert parse_device_url(text.replace("turnaround=150ms", "turnaround=100ms")).turnaround_s == 0.1


def test_who_is_one_of_the_devices_of_a_line_sends_no_broadcasts() -> None:
    with pytest.raises(
        ValueError, match=r"`turnaround` is how long units get after a broadcast of ours: it belongs to"
    ):
        parse_listen_url("rtu:///dev/ttyS0?baudrate=9600&turnaround=500ms")


def test_a_listen_url() -> None:
    assert parse_listen_url("tcp://0.0.0.0:502") == ListenUrl("0.0.0.0", 502)
    assert parse_listen_url("tcp://[::]:0") == ListenUrl("::", 0)
    assert str(parse_listen_url("tcp://[::]:502")) == "tcp://[::]:502"
    with pytest.raises(ValueError, match=r"write `tcp://0\.0\.0\.0:502`"):
        parse_listen_url("tcp://*:502")
    with pytest.raises(ValueError, match="now there is `tcp://`"):
        parse_listen_url("sim://")


@pytest.mark.parametrize(
    ("text", "signal"),
    [
        ("sine(20, 80, 60s)", Signal("sine", (20.0, 80.0, 60.0))),
        ("ramp(0,10,250ms)", Signal("ramp", (0.0, 10.0, 0.25))),
        ("square(1, 5, 10s)", Signal("square", (1.0, 5.0, 10.0))),
        ("square(10s)", Signal("square", (0.0, 1.0, 10.0))),
        ("walk(15, 35, 0.5)", Signal("walk", (15.0, 35.0, 0.5))),
        ("counter(3)", Signal("counter", (3.0, 0.0))),
        ("counter(3, 100)", Signal("counter", (3.0, 100.0))),
        ("constant(7)", Signal("constant", (7.0,))),
        ("7.5", Signal("constant", (7.5,))),
        ("on", Signal("constant", (1.0,))),
    ],
)
def test_a_signal(text: str, signal: Signal) -> None:
    assert parse_signal(text) == signal


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sin(0, 1, 1s)", "unknown signal 'sin'; did you mean 'sine'?"),
        ("sine(0, 1)", "has 2 arguments; write sine(low, high, period)"),
        ("square()", "write square(period) or square(low, high, period)"),
        ("sine(0, 1, 60)", "its period: a duration needs its unit"),
        ("sine(0, 1, 0s)", "must be longer than 0"),
        ("sine(9, 1, 1s)", "low is above high"),
        ("walk(0, 1, 0)", "a step is more than 0"),
        ("constant(nan)", "not a finite number"),
        ("hello", "`hello` is not a signal"),
    ],
)
def test_a_wrong_signal(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        parse_signal(text)


@pytest.mark.parametrize("value", [[], {}])
@pytest.mark.parametrize("parse", [parse_boolean, parse_integer, parse_fraction, parse_device_url])
def test_a_list_or_mapping_is_no_scalar(parse: Any, value: Any) -> None:
    with pytest.raises(ValueError, match=r"is a (list|mapping); expected"):
        parse(value)
