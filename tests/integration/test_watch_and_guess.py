"""`gateway read --watch` through an outage, and `gateway guess`, with a foreign PLC."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.tls.certs import Authority
from tests.support.devices import PymodbusPlc, pymodbus_plc, scripted
from tests.support.oneshot import gateway
from tests.support.process import ROOT, Running
from tests.support.until import wait_until
from tests.support.wire import adu


@pytest.fixture(scope="module")
def plc() -> Iterator[PymodbusPlc]:
    with pymodbus_plc() as plc:
        yield plc


def watching(plc: PymodbusPlc, *arguments: str) -> Running:
    url = f"127.0.0.1:{plc.port}"
    return Running([sys.executable, "-m", "gateway", "read", url, *arguments], ROOT, 0)


def wait_for(command: Running, text: str) -> None:
    wait_until(lambda: any(text in line for line in list(command.output)), 20, f"{text}{command.told()}")


def test_in_a_pipe_each_change_is_a_line_and_an_outage_is_told_and_survived() -> None:
    with pymodbus_plc() as plc:
        command = watching(plc, "holding:10..11", "--watch=100ms")
        try:
            wait_for(command, "holding:11 (400012)  1011")
            assert gateway("write", f"127.0.0.1:{plc.port}", "holding:10", "55").returncode == 0
            wait_for(command, "holding:10 (400011)  1010 -> 55  0037")
            plc.kill()
            wait_for(command, "asking on")
            plc.start()
            wait_for(command, "answers again after")
            wait_for(command, "holding:10 (400011)  55 -> 1010")
            assert sum("asking on" in line for line in command.output) == 1
            assert command.stop(signal.SIGINT) == 0
            assert not command.log
        finally:
            command.kill()


def test_it_lets_go_of_the_device_when_nobody_reads_the_pipe_any_more(plc: PymodbusPlc) -> None:
    arguments = (sys.executable, "-m", "gateway", "read", f"127.0.0.1:{plc.port}", "holding:12", "--watch=100ms")
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as command:
        assert command.stdout is not None
        assert command.stderr is not None
        try:
            assert b"1012" in command.stdout.readline()
            command.stdout.close()  # the value never changes: nothing is written that could fail
            assert command.wait(20) == 141
            assert command.stderr.read() == b""
        finally:
            command.kill()


def test_for_programs_each_reading_is_an_object(plc: PymodbusPlc) -> None:
    command = watching(plc, "input:7", "--watch", "100ms", "--json")
    try:
        wait_until(lambda: len(command.output) >= 3, 20, "three readings")
        assert command.stop(signal.SIGINT) == 0
    finally:
        command.kill()
    told = [json.loads(line) for line in command.output]
    assert [each["values"][0]["value"] for each in told] == [2007] * len(told)
    assert not any(each["values"][0]["changed"] for each in told)


def test_on_a_terminal_the_values_stay_where_they_are(plc: PymodbusPlc) -> None:
    child, terminal = pty.fork()
    if not child:
        os.chdir(ROOT)
        os.environ |= {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
        url = f"127.0.0.1:{plc.port}"
        os.execv(sys.executable, [sys.executable, "-m", "gateway", "read", url, "holding:10", "--watch=100ms"])
    try:
        shown = b""

        def is_shown() -> bool:
            nonlocal shown
            shown += os.read(terminal, 4096)
            return b"read 3 times" in shown

        wait_until(is_shown, 20, "three readings")
        assert b"holding:10 (400011)" in shown
        assert b"\x1b[1A" in shown  # back up a line, not a new one
        os.kill(child, signal.SIGINT)
    finally:
        os.waitpid(child, 0)
        os.close(terminal)


def test_a_time_that_is_none_and_one_that_is_too_short(plc: PymodbusPlc) -> None:
    url = f"127.0.0.1:{plc.port}"
    assert "a duration needs its unit: `1s`" in gateway("read", url, "holding:0", "--watch=1").stderr
    assert "at least 50ms" in gateway("read", url, "holding:0", "--watch=1ms").stderr


# -- guess ----------------------------------------------------------------------------------------------------------


def test_a_float_with_the_low_word_first_is_guessed(plc: PymodbusPlc) -> None:
    result = gateway(
        "guess", f"127.0.0.1:{plc.port}", "holding:100", "--near", "123", "--reads", "2", "--every", "10ms"
    )
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith("holding:100 (400101): E979 42F6")
    assert lines[1].split(maxsplit=1) == ["123.456", "name: {at: holding:100, type: float32, order: CDAB}"]
    assert "0.4% from the value given" in lines[2]


def test_the_best_guess_for_programs_and_without_a_value(plc: PymodbusPlc) -> None:
    url = f"127.0.0.1:{plc.port}"
    result = gateway("guess", url, "holding:100", "--count", "2", "--reads", "1", "--json")
    told = json.loads(result.stdout)
    best = told["places"][0]["guesses"][0]
    assert (best["type"], best["order"], best["value"]) == ("float32", "CDAB", pytest.approx(123.456))
    assert best["yaml"] == "name: {at: holding:100, type: float32, order: CDAB}"
    assert [place["at"] for place in told["places"]] == ["holding:100", "holding:101"]


def test_a_device_that_refuses_the_neighbours_is_asked_for_less() -> None:
    def behave(tid: int, unit: int, pdu: bytes) -> bytes:
        if pdu[1:] == b"\x00\x0a\x00\x01":
            return adu(tid, unit, b"\x03\x02\x00\xd7")
        return adu(tid, unit, b"\x83\x02")

    with scripted(behave) as device:
        result = gateway("guess", f"127.0.0.1:{device.port}", "holding:10", "--near", "21.5", "--reads", "1")
        assert "name: {at: holding:10, type: int16, scale: 0.1}" in result.stdout, result.stderr
        refused = gateway("guess", f"127.0.0.1:{device.port}", "holding:11")
        assert refused.returncode == 1
        assert "refused with exception 02 illegal data address" in refused.stderr


# -- every way ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["udp", "tls", "rtu+tcp", "ascii+tcp"])
def test_frames_of_our_own_travel_every_way(way: str, tmp_path: Path) -> None:
    files: list[str] = []
    options: list[str] = []
    if way == "tls":
        made = Authority(tmp_path)
        made.make(["127.0.0.1"], ["operator"])
        files = [str(made.cert("server")), str(made.key("server")), str(made.cert("ca"))]
        ours = (made.cert("operator"), made.key("operator"), made.cert("ca"))
        options = [
            part for name, file in zip(("cert", "key", "ca"), ours, strict=True) for part in (f"--{name}", str(file))
        ]
    with pymodbus_plc(way, *files) as plc:
        url = f"{way}://127.0.0.1:{plc.port}"
        tables = ("--tables", "holding:0..219", "--pace", "0s", "--json")
        result = gateway("scan", url, "--units", "1", *tables, *options)
        assert result.returncode == 0, result.stderr
        (unit,) = json.loads(result.stdout)["units"]
        assert unit["tables"]["holding"]["ranges"] == [[0, 199]]
        nearby = gateway("guess", url, "holding:100", "--near", "123.456", "--reads", "1", *options)
        assert "order: CDAB" in nearby.stdout, nearby.stderr
