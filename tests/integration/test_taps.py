"""What clients ask and get, shown while somebody looks: foreign clients over every way, on real sockets.

Beside the bytes on the wire, which the tests know: a tap must show the same, with the ids that travelled.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gateway.clock import now
from gateway.config.model_server import Rule
from gateway.front.access import Access
from gateway.interfaces import Later
from gateway.traffic import Frame, Tap, Taps, Wanted
from tests.support.needs import require_module
from tests.support.served import IMAGE, SLOW, Served
from tests.support.until import wait_until
from tests.support.wire import Adu, Wire, adu, hexed

READ, WRITE = hexed("03 0000 0001"), hexed("06 0001 0007")
READ_ANSWER = hexed("03 02 1234")
URLS = ("tcp://127.0.0.1:0", "udp://127.0.0.1:0", "rtu+tcp://127.0.0.1:0", "ascii+tcp://127.0.0.1:0")


class Looking:
    """A server on every way, and somebody who looks at its clients."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.taps = Taps(now)
        self.taps.changed = served.server.review
        served.gate.taps = self.taps

    def look(self, wanted: Wanted = Wanted()) -> Tap:  # noqa: B008
        tap = self.served.call(lambda: self.taps.open(wanted))
        assert tap is not None
        return tap

    def end(self, tap: Tap) -> None:
        self.served.call(lambda: self.taps.close(tap.number))

    def frames(self, tap: Tap, count: int = 0) -> list[Frame]:
        """What it has seen, `count` of them at least."""
        return wait_until(
            lambda: (
                (frames := self.served.call(lambda: tap.take(0))[0]) is not None
                and len(frames) >= count
                and [*frames, None]
            ),
            what=f"{count} frames",
        )[:-1]  # type: ignore[return-value]

    def rows(self) -> list[dict[str, Any]]:
        return self.served.call(lambda: list(self.served.server.client_rows()))


@pytest.fixture
def looking() -> Iterator[Looking]:
    with Served(*URLS) as served:
        yield Looking(served)


def ask(wire: Wire, tid: int, unit_id: int, pdu: bytes) -> Adu:
    wire.send(adu(tid, unit_id, pdu))
    return wire.receive_adu()


def shown(frames: list[Frame]) -> list[tuple[bool, int, int, str, str]]:
    return [(frame.is_request, frame.tid, frame.unit_id, frame.pdu.hex(), frame.note) for frame in frames]


def test_a_connected_client_is_seen_from_now_on_and_no_more_when_nobody_looks(looking: Looking) -> None:
    with Wire(looking.served.port("tcp")) as wire:
        assert ask(wire, 1, IMAGE, READ).pdu == READ_ANSWER  # its plan is known now
        assert ask(wire, 2, IMAGE, READ).pdu == READ_ANSWER
        tap = looking.look()
        wire.send(adu(7, IMAGE, READ) + adu(8, IMAGE, WRITE) + adu(9, 77, READ))
        assert [wire.receive_adu().pdu for _ in range(3)] == [READ_ANSWER, WRITE, hexed("83 0a")]
        frames = looking.frames(tap, 6)
        assert shown(frames) == [
            (True, 7, IMAGE, READ.hex(), ""),
            (False, 7, IMAGE, READ_ANSWER.hex(), ""),
            (True, 8, IMAGE, WRITE.hex(), ""),
            (False, 8, IMAGE, WRITE.hex(), ""),
            (True, 9, 77, READ.hex(), ""),
            (False, 9, 77, "830a", ""),
        ]
        host, port = wire.socket.getsockname()
        assert {(frame.side, frame.peer, frame.local) for frame in frames} == {
            ("client", f"{host}:{port}", f"127.0.0.1:{looking.served.port('tcp')}")
        }
        looking.end(tap)
        assert ask(wire, 10, IMAGE, READ).pdu == READ_ANSWER
        assert looking.frames(tap) == frames


def test_an_answer_that_comes_later_is_seen_when_it_is_there_with_the_id_of_its_request(looking: Looking) -> None:
    looking.served.slow.delay_s = None
    tap = looking.look()
    with Wire(looking.served.port("tcp")) as wire:
        wire.send(adu(0x0102, SLOW, WRITE) + adu(0x0103, SLOW, READ) + adu(0x0104, IMAGE, READ))
        assert wire.receive_adu().tid == 0x0104
        assert shown(looking.frames(tap, 3))[0] == (True, 0x0102, SLOW, WRITE.hex(), "")
        wait_until(lambda: looking.served.slow.laters)
        looking.served.call(looking.served.slow.release)
        assert wire.receive_adu().tid == 0x0102
        wait_until(lambda: looking.served.slow.laters)  # only now the second may begin
        looking.served.call(looking.served.slow.release)
        assert wire.receive_adu().tid == 0x0103
        assert shown(looking.frames(tap, 6)) == [
            (True, 0x0102, SLOW, WRITE.hex(), ""),
            (True, 0x0104, IMAGE, READ.hex(), ""),
            (False, 0x0104, IMAGE, READ_ANSWER.hex(), ""),
            (False, 0x0102, SLOW, WRITE.hex(), ""),
            (True, 0x0103, SLOW, READ.hex(), ""),
            (False, 0x0103, SLOW, "03020002", ""),
        ]


def test_a_client_that_left_before_its_answer_is_told_apart(looking: Looking) -> None:
    looking.served.slow.delay_s = None
    tap = looking.look()
    with Wire(looking.served.port("tcp")) as wire:
        wire.send(adu(1, SLOW, WRITE))
        wait_until(lambda: looking.served.slow.laters)
        wire.abort()
    wait_until(lambda: looking.served.slow.abandoned)
    looking.served.call(looking.served.slow.release)
    assert shown(looking.frames(tap, 2))[1] == (False, 1, SLOW, WRITE.hex(), "left")


def test_udp_clients_are_seen_with_their_ids(looking: Looking) -> None:
    require_module("pymodbus")
    from pymodbus.client import ModbusUdpClient

    client = ModbusUdpClient("127.0.0.1", port=looking.served.port("udp"), timeout=5, retries=0)
    assert client.connect()
    assert client.read_holding_registers(0, count=1, device_id=IMAGE).registers == [0x1234]
    tap = looking.look()
    assert client.read_holding_registers(0, count=1, device_id=IMAGE).registers == [0x1234]
    client.close()
    request, answer = looking.frames(tap, 2)
    assert (request.pdu, answer.pdu, request.tid) == (READ, READ_ANSWER, answer.tid)
    assert request.tid > 0
    (row,) = looking.rows()
    assert (row["way"], row["requests"], row["last"]) == ("udp", 2, "read holding:0 (400001) of unit 1")


@pytest.mark.parametrize("framing", ["rtu", "ascii"])
def test_rtu_and_ascii_have_no_ids_and_a_broadcast_is_silent(looking: Looking, framing: str) -> None:
    require_module("pymodbus")
    from pymodbus import FramerType
    from pymodbus.client import ModbusTcpClient

    port = looking.served.port(f"{framing}+tcp")
    client = ModbusTcpClient("127.0.0.1", port=port, framer=FramerType(framing), timeout=5, retries=0)
    assert client.connect()
    tap = looking.look()
    client.write_register(1, 7, device_id=0, no_response_expected=True)
    assert client.read_holding_registers(0, count=2, device_id=IMAGE).registers == [0x1234, 7]
    client.close()
    assert shown(looking.frames(tap, 3)) == [
        (True, 0, 0, WRITE.hex(), ""),
        (True, 0, IMAGE, "0300000002", ""),
        (False, 0, IMAGE, "030412340007", ""),
    ]


def test_only_the_client_and_unit_that_are_wanted_are_seen(looking: Looking) -> None:
    with Wire(looking.served.port("tcp")) as first, Wire(looking.served.port("tcp")) as second:
        peer = "{}:{}".format(*second.socket.getsockname())
        one, unit = looking.look(Wanted(client=peer)), looking.look(Wanted(unit_id=9))
        others = looking.look(Wanted("device"))
        for wire in (first, second):
            ask(wire, 1, IMAGE, READ)
            ask(wire, 2, 9, READ)
        assert {frame.peer for frame in looking.frames(one, 4)} == {peer}
        assert [frame.unit_id for frame in looking.frames(unit, 4)] == [9] * 4
        assert looking.frames(others) == []


def test_what_the_rules_refuse_is_seen_and_the_rules_hold_while_somebody_looks(looking: Looking) -> None:
    looking.served.gate.access = Access([Rule.model_validate({"may": "read"})])
    looking.served.call(looking.served.server.review)
    tap = looking.look()
    with Wire(looking.served.port("tcp")) as wire:
        assert ask(wire, 1, IMAGE, WRITE).pdu == hexed("86 01")
        assert ask(wire, 2, IMAGE, READ).pdu == READ_ANSWER
    assert [frame.pdu.hex() for frame in looking.frames(tap, 4)] == [WRITE.hex(), "8601", READ.hex(), "03021234"]
    assert looking.served.counters.denied == 1


def test_a_tap_and_the_audit_both_hear_of_an_answer_that_comes_later() -> None:
    later, heard = Later(), []
    later.also(lambda settled: heard.append("audit"))
    later.also(lambda settled: heard.append("tap"))
    later.then(lambda: heard.append("client"))
    later.settle(b"\1")
    later.also(lambda settled: heard.append("late"))
    assert heard == ["audit", "tap", "client", "late"]


# -- counters and rows --------------------------------------------------------------------------------------------


def test_requests_and_exceptions_are_counted_by_unit_and_by_client_over_every_way(looking: Looking) -> None:
    counters = looking.served.counters
    with Wire(looking.served.port("tcp")) as wire:
        for tid in range(3):
            ask(wire, tid, IMAGE, READ)
        ask(wire, 4, 9, READ)
        ask(wire, 5, 77, READ)
        # Many at once, from plans and not, of several units.
        frames = [adu(9, IMAGE, READ), adu(10, IMAGE, READ), adu(11, 9, READ), adu(12, IMAGE, hexed("03 ffff 0001"))]
        wire.send(b"".join(frames * 5))
        for _ in range(20):
            wire.receive_adu()
        ask(wire, 30, SLOW, READ)
        assert (counters.by_unit[IMAGE], counters.by_unit[9], counters.by_unit[77]) == (3 + 15, 1 + 5, 1)
        assert counters.by_unit[SLOW] == 1
        assert (counters.refused_by_unit[IMAGE], counters.refused_by_unit[77]) == (5, 1)
        assert sum(counters.by_unit) == counters.requests
        assert sum(counters.refused_by_unit) == counters.exceptions
        (row,) = looking.rows()
        assert (row["requests"], row["exceptions"], row["waiting"]) == (counters.requests, counters.exceptions, 0)
        assert row["last"] == f"read holding:0 (400001) of unit {SLOW}"
        assert row["address"] == "127.0.0.1"
        assert row["way"] == "tcp"


def test_what_a_client_asks_is_seen_as_long_as_somebody_looks(looking: Looking) -> None:
    with Wire(looking.served.port("tcp")) as wire:
        assert wait_until(looking.rows)[0]["last"] == ""
        for first in range(20):
            ask(wire, first, IMAGE, hexed(f"03 {first:04x} 0001"))
            looking.rows()
        ask(wire, 99, IMAGE, hexed("03 0013 0001"))
        (row,) = looking.rows()
        assert row["seen"][0] == row["last"] == "read holding:19 (400020) of unit 1"
        assert len(row["seen"]) == 12
        assert row["since_s"] >= row["idle_s"] >= 0
