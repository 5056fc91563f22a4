"""What function 08 counts, over sockets: the messages and exceptions of the whole gateway (V1.1b3 6.8)."""

from __future__ import annotations

import pytest

from tests.conftest import Start
from tests.support.wire import Wire, adu, hexed

PLANT = """
server: {listen: "tcp://127.0.0.1:0", unknown_unit: silent}
units: {1: {holding: 0..9}}
"""

MESSAGES, ERRORS, EXCEPTIONS, SERVED, SILENT = 0x0B, 0x0C, 0x0D, 0x0E, 0x0F


@pytest.fixture(scope="module")
def port(start: Start) -> int:
    return start(PLANT).port


def counter(wire: Wire, sub: int) -> int:
    return int.from_bytes(wire.ask(bytes((8, 0, sub, 0, 0)))[3:], "big")


def test_messages_are_counted_whoever_sends_them(port: int) -> None:
    with Wire(port) as one, Wire(port) as other:
        before = counter(one, MESSAGES), counter(one, SERVED)
        for _ in range(10):
            other.ask(hexed("03 0000 0001"))
        after = counter(one, MESSAGES), counter(one, SERVED)

    assert after[0] - before[0] == 12
    assert after[1] - before[1] == 12


def test_exceptions_are_counted(port: int) -> None:
    with Wire(port) as wire:
        before = counter(wire, EXCEPTIONS)
        for _ in range(3):
            assert wire.ask(hexed("03 0000 0000")) == hexed("83 03")
        wire.ask(hexed("03 0000 0001"))

        assert counter(wire, EXCEPTIONS) - before == 3


def test_requests_that_were_not_answered_are_counted(port: int) -> None:
    with Wire(port) as wire:
        before = counter(wire, SILENT)
        wire.send(adu(1, 99, hexed("03 0000 0001")))

        assert counter(wire, SILENT) - before == 1


def test_streams_that_could_not_be_read_are_counted(port: int) -> None:
    with Wire(port) as wire, Wire(port) as broken:
        before = counter(wire, ERRORS)
        broken.send(hexed("0001 0000 0000 01"))
        broken.expect_close()

        assert counter(wire, ERRORS) - before == 1


def test_0a_sets_them_to_0(port: int) -> None:
    with Wire(port) as wire:
        wire.ask(hexed("03 0000 0000"))
        assert counter(wire, EXCEPTIONS) > 0
        assert wire.ask(hexed("08 000A 0000")) == hexed("08 000A 0000")

        assert counter(wire, EXCEPTIONS) == 0
        assert counter(wire, MESSAGES) <= 3
