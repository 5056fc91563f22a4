"""A simulated unit on a clock moved by hand, and which registers a plant's simulation has."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from gateway.config.load import load
from gateway.simulate.plant import simulated
from gateway.simulate.plc import Plc
from gateway.simulate.server import SimServer

ILLEGAL_ADDRESS = 2


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def servers(tmp_path: Path, clock: Clock) -> Servers:
    return Servers(tmp_path, clock)


class Servers:
    def __init__(self, directory: Path, clock: Clock) -> None:
        self._path = directory / "plant.yaml"
        self._clock = clock

    def __call__(self, devices: str) -> dict[str, SimServer]:
        """The simulations of a plant with these devices."""
        self._path.write_text(f"devices:\n{devices}", encoding="utf-8")
        config = load(self._path)
        return simulated(config, config.devices, self._clock)

    def plc(self, body: str, *, unit: int = 1) -> Plc:
        """The one device of a plant; `body` are its keys in flow style."""
        (server,) = self(f"  press: {{url: 'sim://', {body}}}").values()
        return server.plcs[unit]


def registers(plc: Plc, first: int, count: int = 1, function: int = 3) -> bytes:
    """The wire bytes, or the exception response as it is."""
    answer = plc.answer(struct.pack(">BHH", function, first, count))
    assert answer is not None
    return answer if answer[0] & 0x80 else answer[2:]


def refused(plc: Plc, first: int, count: int = 1, function: int = 3) -> bool:
    return registers(plc, first, count, function) == bytes((function | 0x80, ILLEGAL_ADDRESS))


def test_values_move_with_the_clock(servers: Servers, clock: Clock) -> None:
    plc = servers.plc("tags: {level: {at: holding:0, type: float32, sim: 'ramp(0, 60, 60s)'}}")
    assert registers(plc, 0, 2) == struct.pack(">f", 0)
    clock.now_s += 15
    assert registers(plc, 0, 2) == struct.pack(">f", 15)


def test_within_ten_milliseconds_everybody_sees_the_same_value(servers: Servers, clock: Clock) -> None:
    plc = servers.plc("tags: {level: {at: holding:0, type: float32, sim: 'ramp(0, 60, 60s)'}}")
    first = registers(plc, 0, 2)
    clock.now_s += 0.009
    assert registers(plc, 0, 2) == first
    clock.now_s += 0.002
    assert registers(plc, 0, 2) != first


@pytest.mark.parametrize(
    ("tag", "wire"),
    [
        ("type: uint16, sim: 1234", "04D2"),
        ("type: int16, scale: 0.1, sim: 237.4", "0946"),
        ("type: int16, scale: 0.1, offset: -50, sim: 0", "01F4"),
        ("type: int16, order: BADC, sim: 1", "0100"),
        ("type: int16, sim: 2.5", "0003"),
        ("type: int16, sim: 99999", "7FFF"),
        ("type: int16, sim: -99999", "8000"),
        ("type: uint16, sim: -1", "0000"),
        ("type: uint32, order: CDAB, sim: 65538", "00020001"),
        ("type: float32, order: CDAB, sim: 123.456", "E97942F6"),
        ("type: float32, sim: 1e300", "7F7FFFFF"),
        ("type: float64, order: DCBA, sim: 1", "000000000000F03F"),
        ("type: uint64, sim: 4294967296", "0000000100000000"),
        ("type: bcd16, sim: 1234", "1234"),
        ("type: bcd32, sim: 123456789", "99999999"),
    ],
)
def test_a_signal_arrives_as_the_device_would_hold_it(servers: Servers, tag: str, wire: str) -> None:
    plc = servers.plc(f"tags: {{it: {{at: holding:7, {tag}}}}}")
    assert registers(plc, 7, len(wire) // 4) == bytes.fromhex(wire)


def test_the_order_of_a_device_is_that_of_its_tags(servers: Servers) -> None:
    plc = servers.plc("order: CDAB, tags: {it: {at: input:0, type: uint32, sim: 65538}}")
    assert registers(plc, 0, 2, function=4) == bytes.fromhex("00020001")


def test_a_counter_wraps_at_the_end_of_its_type(servers: Servers, clock: Clock) -> None:
    plc = servers.plc("tags: {strokes: {at: holding:0, type: uint16, sim: 'counter(1, 65535)'}}")
    assert registers(plc, 0) == b"\xff\xff"
    clock.now_s += 2
    assert registers(plc, 0) == b"\x00\x01"


def test_bits_move_and_their_neighbours_stay(servers: Servers, clock: Clock) -> None:
    plc = servers.plc(
        "tags: {run: {at: coils:3, type: bool, sim: 'square(10s)'}, "
        "alarm: {at: holding:5.12, type: bool, sim: 'square(10s)'}, ok: {at: holding:5.0, type: bool, sim: on}}"
    )
    assert registers(plc, 3, 1, function=1) == b"\x00"
    assert registers(plc, 5) == b"\x00\x01"
    clock.now_s += 5
    assert registers(plc, 3, 1, function=1) == b"\x01"
    assert registers(plc, 5) == b"\x10\x01"


def test_what_has_no_signal_is_zero_until_it_is_written(servers: Servers) -> None:
    plc = servers.plc("tags: {setpoint: {at: holding:20, type: int16}}")
    assert registers(plc, 20) == b"\0\0"
    assert plc.answer(bytes.fromhex("06 0014 1234")) == bytes.fromhex("06 0014 1234")
    assert registers(plc, 20) == b"\x12\x34"


@pytest.mark.parametrize(
    ("request_pdu", "held"),
    [
        ("06 0001 AAAA", "0000 AAAA 0000"),  # single
        ("10 0000 0003 06 1111 2222 3333", "1111 2222 3333"),  # multiple
        ("16 0001 0000 5555", "0000 5555 0000"),  # masked
        ("17 0001 0001 0001 0001 02 7777", "0000 7777 0000"),  # read and write
    ],
)
def test_a_write_ends_the_signals_it_touches_and_is_held(
    servers: Servers, clock: Clock, request_pdu: str, held: str
) -> None:
    plc = servers.plc(
        "tags: {a: {at: holding:0, type: uint16, sim: 'counter(1)'}, "
        "b: {at: holding:1, type: uint32, sim: 'counter(1)'}, c: {at: holding:3, type: uint16, sim: 'counter(1)'}}"
    )
    answer = plc.answer(bytes.fromhex(request_pdu))
    assert answer is not None
    assert not answer[0] & 0x80
    clock.now_s += 100
    assert registers(plc, 1, 2) == bytes.fromhex(held)[2:], "b was touched, all of it"
    assert registers(plc, 3) == b"\0\x64", "c was not"
    assert registers(plc, 0) == (bytes.fromhex(held)[:2] if request_pdu.startswith("10") else b"\0\x64")


def test_a_refused_write_ends_no_signal(servers: Servers, clock: Clock) -> None:
    plc = servers.plc("tags: {a: {at: holding:0, type: uint16, sim: 'counter(1)'}}")
    assert plc.answer(bytes.fromhex("10 0000 0002 04 1111 2222")) == b"\x90\x02"
    clock.now_s += 9
    assert registers(plc, 0) == b"\0\x09"


def test_a_written_coil_is_held(servers: Servers, clock: Clock) -> None:
    plc = servers.plc("tags: {run: {at: coils:0, type: bool, sim: 'square(2s)'}}")
    assert plc.answer(bytes.fromhex("05 0000 FF00"))
    assert [registers(plc, 0, 1, function=1) for clock.now_s in (2000, 2001, 2002.5)] == [b"\x01"] * 3


def test_a_long_value_moves_although_only_its_end_is_read(servers: Servers, clock: Clock) -> None:
    plc = servers.plc("tags: {energy: {at: holding:0, type: uint64, sim: 'counter(1)'}}")
    clock.now_s += 7
    assert registers(plc, 3) == b"\0\x07"


def test_its_registers_are_those_that_tags_and_polls_name(servers: Servers) -> None:
    plc = servers.plc(
        "unit: 9, max_gap: 0, poll: [{read: 'holding:10..19', to: 'holding:0'}, {read: 'coils:8..15', to: 'coils:0'}],"
        "tags: {a: {at: holding:20, type: uint32}, b: {at: 'input:5..8', type: string}}",
        unit=9,
    )
    assert len(registers(plc, 10, 12)) == 24, "what touches is one range"
    assert refused(plc, 9)
    assert refused(plc, 22)
    assert len(registers(plc, 5, 4, function=4)) == 8
    assert refused(plc, 9, function=4)
    assert len(registers(plc, 8, 8, function=1)) == 1
    assert refused(plc, 7, function=1)
    assert refused(plc, 0, function=2)


def test_gaps_that_the_gateway_may_read_across_exist(servers: Servers) -> None:
    plc = servers.plc(
        "max_gap: 4, tags: {a: {at: holding:0, type: int16}, b: {at: holding:5, type: int16}, "
        "c: {at: holding:11, type: int16}, d: {at: coils:0, type: bool}, e: {at: coils:65, type: bool}}"
    )
    assert len(registers(plc, 0, 6)) == 12
    assert refused(plc, 6)
    assert len(registers(plc, 11)) == 2
    assert len(registers(plc, 0, 66, function=1)) == 9, "a gap of bits is 16 times as long"


def test_devices_that_share_a_link_share_a_server(servers: Servers) -> None:
    found = servers(
        """
  a: {url: "tcp://10.0.0.1", unit: 1, tags: {x: {at: "holding:0", type: uint16, sim: 11}}}
  b: {url: "tcp://10.0.0.1", unit: 2, tags: {x: {at: "holding:0", type: uint16, sim: 22}}}
  c: {url: "tcp://10.0.0.1", unit: 1, tags: {y: {at: "holding:50", type: uint16, sim: 33}}}
  d: {url: "tcp://10.0.0.2", unit: 1, tags: {x: {at: "holding:0", type: uint16, sim: 44}}}
"""
    )
    assert list(found) == ["tcp://10.0.0.1:502", "tcp://10.0.0.2:502"]
    first, second = found.values()
    assert sorted(first.plcs) == [1, 2]
    assert registers(first.plcs[1], 0) == b"\0\x0b"
    assert registers(first.plcs[1], 50) == b"\0\x21", "two devices of one unit are one PLC"
    assert registers(first.plcs[2], 0) == b"\0\x16"
    assert registers(second.plcs[1], 0) == b"\0\x2c"


def test_what_is_pushed_and_the_watchdog_have_registers(servers: Servers) -> None:
    (server,) = servers(
        """
  press:
    url: sim://
    max_gap: 16
    tags: {a: {at: holding:0, type: int16}}
    watchdog: {write: holding:9}
    push:
      - {write: holding:20..21, from: 1/holding:300, on: change}
      - {write: coils:4, from: 1/coils:0, every: 1s}
units: {1: {holding: 0..999, coils: 0..9}}
"""
    ).values()
    plc = server.plcs[1]
    assert registers(plc, 9) == b"\0\0"
    assert len(registers(plc, 20, 2)) == 4
    assert registers(plc, 4, function=1) == b"\0"
    assert refused(plc, 1), "a read never crosses to what is only written"
    assert refused(plc, 22)


def test_a_device_of_which_nothing_is_known_has_a_thousand_of_everything(servers: Servers) -> None:
    plc = servers.plc("watchdog: {write: holding:2000}")
    for function in (1, 2, 3, 4):
        assert len(registers(plc, 992, 8, function)) == (1 if function <= 2 else 16)
        assert refused(plc, 1000, 1, function)
    assert registers(plc, 2000) == b"\0\0"


def test_units_behind_a_named_link_are_simulated_when_a_route_reaches_them(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "plant.yaml"
    path.write_text(
        """
links: {boilers: {url: "tcp://10.0.0.1"}, other: {url: "tcp://10.0.0.2"}}
devices: {b10: {link: boilers, unit: 10, tags: {t: {at: holding:0, type: int16, sim: 5}}}}
units: {10..12: {forward: boilers}, 13: {forward: boilers, to_unit: 99}, 20: {forward: other}, 30: {forward: b10}}
""",
        encoding="utf-8",
    )
    config = load(path)
    (server,) = simulated(config, ["b10"], clock, links=["boilers"]).values()
    assert sorted(server.plcs) == [10, 11, 12, 99]
    assert refused(server.plcs[10], 1), "a unit that is a device has what the device names"
    assert len(registers(server.plcs[99], 999)) == 2
    assert list(simulated(config, ["b10"], clock)["boilers"].plcs) == [10]


def test_faults_of_two_devices_that_are_one_plc_are_those_of_either(servers: Servers) -> None:
    (server,) = servers(
        """
  a: {url: "tcp://10.0.0.1", faults: {no_functions: [4], busy: 2}, tags: {x: {at: "holding:0", type: uint16}}}
  b: {url: "tcp://10.0.0.1", faults: {busy: 1, split: on}, tags: {y: {at: "input:0", type: uint16}}}
  c: {url: "tcp://10.0.0.1", unit: 2, faults: {one_connection: on}, tags: {y: {at: "input:0", type: uint16}}}
"""
    ).values()
    answers = [server.ask((1, 1, bytes.fromhex(pdu)), {}) for pdu in ("04 0000 0001", "03 0000 0001")]
    assert [each.data[7:].hex() for each in answers if each] == ["8401", "8306"]
    assert (server.manners.split, server.manners.one_connection, server.manners.join) == (True, True, False)
    assert dict(server.requests) == {1: 2}


def test_what_is_executed_is_told_in_order_when_somebody_wants_it(servers: Servers) -> None:
    (server,) = servers(
        """
  a:
    url: tcp://10.0.0.1
    faults: {no_answer: 2, refuse: {"holding:1": 2}}
    tags: {x: {at: "holding:0", type: uint16}}
"""
    ).values()
    executed = server.executed = []
    pdus = [bytes.fromhex(pdu) for pdu in ("06 0000 0001", "06 0000 0002", "06 0001 0003", "03 0000 0001")]
    answers = [server.ask((1, 1, pdu), {}) for pdu in pdus]
    assert [each and each.data[7:].hex() for each in answers] == ["0600000001", None, "8602", None]
    assert executed == [(1, pdus[0]), (1, pdus[1]), (1, pdus[3])], "silence is no proof"
    assert registers(server.plcs[1], 0) == b"\0\x02"
