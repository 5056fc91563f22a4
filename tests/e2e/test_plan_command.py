"""`gateway plan` as a user sees it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.oneshot import gateway

PLANT = """\
units: {1: {holding: 0..99}, 10..20: {forward: bridge}, 30: {forward: press}}
links: {bridge: {url: tcp://192.168.1.50}}
devices:
  press:
    url: tcp://192.168.1.10
    unit: 3
    poll: [{read: holding:0..9, to: holding:0, every: 20ms}]
    push: [{write: holding:70, from: holding:50, on: change, every: 10s}]
    tags:
      pressure: {at: holding:60, type: float32, every: 2s, to: holding:80}
      level: {at: holding:64, type: int16, every: 2s, to: holding:82}
  away: {enabled: false, url: "sim://", tags: {x: {at: holding:0, type: uint16, to: holding:84}}}
"""


def plan(directory: Path, yaml: str, *arguments: str, code: int = 0) -> tuple[str, str]:
    path = directory / "plant.yaml"
    path.write_text(yaml, encoding="utf-8")
    result = gateway("plan", str(path), *arguments)
    assert result.returncode == code, result.stderr
    return result.stdout, result.stderr


def test_every_request_stands_on_a_line_with_both_notations(tmp_path: Path) -> None:
    output, errors = plan(tmp_path, PLANT)
    assert errors == ""
    lines = [" ".join(line.split()) for line in output.splitlines()]
    assert lines[:5] == [
        "press, unit 3 on tcp://192.168.1.10:502: 3 requests, 50.6 a second, 15 registers read (2 of them wasted)",
        "03 holding:0..9 (400001..400010) every 20ms 50/s 10 registers",
        "03 holding:60..64 (400061..400065) every 2s 0.5/s 5 registers 2 wasted",
        "06 holding:70 (400071) push every 10s, on change 0.1/s 1 register",
        "",
    ]
    assert "away, unit 1 on sim://away: disabled, it gets nothing of this" in lines
    assert "load at 10ms per answer (--round-trip says another):" in lines
    assert "tcp://192.168.1.10:502: 50.8 %, 50.6 requests/s of 1 device, 1 in flight" in lines
    assert lines[-1].endswith("comes on top: units 10..20 to bridge, unit 30 to press")


def test_a_slower_device_overloads_the_link_and_the_worst_job_is_named(tmp_path: Path) -> None:
    output, _ = plan(tmp_path, PLANT, "--round-trip", "35ms")
    warning, *jobs = output[output.index("warning: ") :].splitlines()
    assert "link tcp://192.168.1.10:502 would be asked for 177 % of what it can carry" in warning
    assert "Intervals 1.8 times as long would do" in warning
    assert jobs[0] == "  press holding:0..9 (400001..400010) every 20ms: 175 % of the link"


def test_a_serial_line_that_cannot_carry_it_is_told(tmp_path: Path) -> None:
    line = "url: 'rtu:///dev/ttyUSB0?baudrate=9600'"
    output, errors = plan(
        tmp_path,
        "units: {1: {input: 0..999}}\n"
        f"devices: {{meter: {{{line}, every: 500ms, poll: [{{read: input:0..249, to: input:0}}]}}}}\n",
    )
    assert "is read every 500ms and takes 619ms on the wire at 9600 baud" in errors
    name = "rtu:///dev/ttyUSB0?baudrate=9600"
    assert f"  {name}: 128 % (bytes at 9600 baud alone 124 %), 4 requests/s of 1 device, 1 in flight" in output
    assert f"warning: link {name} would be asked for 128 % of what it can carry" in output
    assert "Intervals 1.3 times as long would do, or a faster line. Slow these down first:" in output


def test_json_has_it_all(tmp_path: Path) -> None:
    output, _ = plan(tmp_path, PLANT, "--json", "--round-trip", "20ms")
    told = json.loads(output)
    assert told["assumed"]["round_trip_s"] == 0.02
    assert [device["name"] for device in told["devices"]] == ["press", "away"]
    assert told["links"][0]["load_percent"] > 100


def test_a_plant_without_devices_asks_nothing(tmp_path: Path) -> None:
    output, _ = plan(tmp_path, "units: {1: {holding: 0..9}}\n")
    assert output == "no device is enabled: nothing is asked\n"


def test_a_wrong_plant_or_time_ends_with_2(tmp_path: Path) -> None:
    _, errors = plan(tmp_path, "devices: {d: {ulr: 'sim://'}}\n", code=2)
    assert "devices.d.ulr" in errors
    _, errors = plan(tmp_path, PLANT, "--round-trip", "10", code=2)
    assert "needs its unit" in errors
