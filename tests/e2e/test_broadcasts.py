"""Writes to unit 0 of a forwarded line, from a client over TCP: all its units are meant, and so are their limits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.test_reload import reload
from tests.support.lines import LineDevice, echo_zeros
from tests.support.process import running
from tests.support.until import wait_until
from tests.support.wire import Wire, hexed

PLANT = """
server: {{listen: tcp://127.0.0.1:0, access: {access}}}
units:
  0: {{forward: bus}}
  7: {{forward: all}}
  8: {{forward: bus, to_unit: 0}}
  17: {{forward: bus{more}}}
links: {{bus: {{url: "rtu+tcp://127.0.0.1:{port}?turnaround=10ms"}}}}
devices: {{all: {{link: bus, unit: 0}}}}
"""
ALL = "[{may: write}]"
WRITE, READ = hexed("06 0005 0001"), hexed("03 0005 0001")
IDS = (0, 7, 8)


@pytest.fixture
def device() -> Iterator[LineDevice]:
    with closing(LineDevice("rtu")) as made:
        made.behave = lambda unit, pdu: made.frame(unit, echo_zeros(pdu) if pdu[0] == 3 else pdu) if unit else None
        yield made


@pytest.mark.parametrize(
    ("access", "more"),
    [
        (ALL, ", read_only: true"),
        (ALL, ", functions: [3, 16]"),
        ("[{unit: 17, may: read}, {may: write}]", ""),
        ("[{unit: 17, range: holding:5, may: nothing}, {may: write}]", ""),
    ],
)
def test_what_one_unit_of_a_line_refuses_nobody_gets_past_by_writing_to_all(
    tmp_path: Path, device: LineDevice, access: str, more: str
) -> None:
    refusing = PLANT.format(access=access, more=more, port=device.port)
    with running(PLANT.format(access=ALL, more="", port=device.port), tmp_path) as gateway, Wire(gateway.port) as wire:
        wait_until(lambda: wire.ask(WRITE, 0) == WRITE, what="the connection to the line")
        for unit_id in IDS[1:]:
            assert wire.ask(WRITE, unit_id) == WRITE
            assert wire.ask(READ, unit_id) == hexed("83 01"), "there is nobody who would answer"
        device.wait_for_requests(len(IDS))
        assert device.requests == [(0, WRITE)] * len(IDS)
        reload(gateway, tmp_path, refusing, "is running")
        for unit_id in (*IDS, 17):
            assert wire.ask(WRITE, unit_id) == hexed("86 01")
        assert device.requests == [(0, WRITE)] * len(IDS)
