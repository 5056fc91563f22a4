"""Devices on lines, with the real command: pymodbus is several PLCs on a serial port or behind TCP."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.devices import free_port
from tests.support.process import ROOT, running
from tests.support.serial_pair import SerialPair
from tests.support.until import wait_until
from tests.support.wire import Wire

WAYS = ("rtu", "ascii", "rtu+tcp", "ascii+tcp")

PLANT = """
server: {{listen: "tcp://127.0.0.1:0"}}
units:
  10: {{forward: line, to_unit: 0}}
  11: {{forward: line, to_unit: 1}}
  12: {{forward: line, to_unit: 2}}
  19: {{forward: line, to_unit: 9}}
links:
  line: {{url: "{url}"}}
devices:
  one: {{link: line, unit: 1, every: 50ms, timeout: 500ms, poll: [{{read: "holding:0..124", to: "1/holding:0"}}]}}
  two: {{link: line, unit: 2, every: 50ms, timeout: 500ms, poll: [{{read: "coils:0..63", to: "1/coils:0"}}]}}
  dead: {{link: line, unit: 9, every: 50ms, timeout: 200ms, poll: [{{read: "holding:0..9", to: "1/holding:500"}}]}}
"""


@contextmanager
def plcs(where: str, framing: str) -> Iterator[None]:
    """tests/support/pymodbus_line.py."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.pymodbus_line", where, framing],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture(params=WAYS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A way to the PLCs."""
    scheme: str = request.param
    framing, _, tcp = scheme.partition("+")
    with ExitStack() as stack:
        if tcp:
            port = str(free_port())
            stack.enter_context(plcs(port, framing))
            yield f"{scheme}://127.0.0.1:{port}"
        else:
            pair = stack.enter_context(SerialPair(tmp_path))
            stack.enter_context(plcs(pair.theirs, framing))
            yield f"{scheme}://{pair.ours}?baudrate=115200"


def registers(wire: Wire, first: int, count: int, unit: int) -> list[int]:
    answer = wire.ask(b"\x03" + first.to_bytes(2, "big") + count.to_bytes(2, "big"), unit)
    return [int.from_bytes(answer[at : at + 2], "big") for at in range(2, len(answer), 2)] if answer[0] == 3 else []


def test_several_plcs_and_a_dead_one_share_a_line(url: str, tmp_path: Path) -> None:
    with running(PLANT.format(url=url), tmp_path) as gateway, Wire(gateway.port) as wire:
        wait_until(lambda: registers(wire, 0, 125, 1) == [1000 + n for n in range(125)], what="the registers of one")
        wait_until(lambda: wire.ask(bytes.fromhex("0100000009"), 1) == bytes.fromhex("01024900"), what="coils of two")
        assert registers(wire, 0, 1, 11) == [1000]
        assert registers(wire, 0, 1, 12) == [2000]
        gateway.wait_for_log("unit 9 did not answer 3 times in a row")
        for n in range(20):
            assert registers(wire, n, 1, 12) == [2000 + n]
        assert wire.ask(bytes.fromhex("0300000001"), 19) == bytes.fromhex("830B")
        assert wire.ask(bytes.fromhex("03FFFF0001"), 11) == bytes.fromhex("8302"), "the device's own refusal"
        write = bytes.fromhex("0600100539")
        assert wire.ask(write, 12) == write
        assert registers(wire, 16, 1, 12) == [0x0539]
        many = bytes.fromhex("10001100020400010002")
        assert wire.ask(many, 11) == many[:5]
        assert registers(wire, 17, 2, 11) == [1, 2]
        everywhere = bytes.fromhex("0600200017")
        if "+" not in url:  # pymodbus has no broadcasts over TCP
            assert wire.ask(everywhere, 10) == everywhere
            assert registers(wire, 32, 1, 11) == registers(wire, 32, 1, 12) == [0x17]
        assert wire.ask(bytes.fromhex("0300000001"), 10)[0] == 0x83, "nobody answers a broadcast"
    assert gateway.search("Traceback") is None


def test_a_port_that_is_unplugged_and_returns_is_polled_again(tmp_path: Path) -> None:
    with SerialPair(tmp_path) as pair:
        url = f"rtu://{pair.ours}?baudrate=115200"
        with running(PLANT.format(url=url), tmp_path) as gateway, Wire(gateway.port) as wire:
            with plcs(pair.theirs, "rtu"):
                wait_until(lambda: registers(wire, 0, 1, 11) == [1000], what="the register of one")
                pair.unplug()
            wait_until(lambda: wire.ask(bytes.fromhex("0300000001"), 11) == bytes.fromhex("830B"), what="0B")
            gateway.wait_for_log("no such port")
            pair.plug()
            with plcs(pair.theirs, "rtu"):
                wait_until(lambda: registers(wire, 0, 1, 11) == [1000], what="the register of one")
                gateway.wait_for_log("answers again")
        told = [line for line in gateway.log if "no such port" in line]
        assert len(told) == 1, told
