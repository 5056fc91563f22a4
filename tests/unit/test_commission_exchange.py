"""One request and its answer, whatever comes; and who a unit says it is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.commission.asker import Asker, Gone, Kind
from gateway.commission.exchange import Exchange
from gateway.commission.identity import ask_identity, parse_objects, readable, server_id
from gateway.config.urls import parse_device_url
from gateway.errors import LinkDown, LinkError, MalformedResponse, RequestTimeout
from gateway.modbus import ascii, mbap, rtu
from gateway.modbus.spec import Table

READ_ONE = b"\x03\x00\x00\x00\x01"
SEVEN = b"\x03\x02\x00\x07"
ILLEGAL = b"\x83\x02"
Answers = Callable[[int, int, bytes], list[bytes]]
"""(transaction id, unit id, PDU) -> what comes, piece by piece; b"" is a wait for nothing."""


class Scripted:
    """A channel whose other end is `answers`; its time goes by when nothing comes."""

    def __init__(self, scheme: str, answers: Answers) -> None:
        self.scheme = scheme
        self.answers = answers
        self.now_s = 0.0
        self.opened = self.closed = 0
        self.waiting: list[bytes] = []
        self.asked: list[tuple[int, bytes]] = []

    def open(self) -> Scripted:
        self.opened += 1
        self.waiting = []
        return self

    def send(self, data: bytes) -> None:
        tid, unit, pdu = 0, data[0], data[1:-2]
        if self.scheme == "tcp":
            tid, unit, pdu = int.from_bytes(data[:2], "big"), data[6], data[7:]
        elif self.scheme == "ascii+tcp":
            frame = ascii.unpack(data[1:-2])
            assert frame is not None
            unit, pdu = frame
        self.asked.append((unit, pdu))
        self.waiting += self.answers(tid, unit, pdu)

    def receive(self, wait_s: float) -> bytes:
        data = self.waiting.pop(0) if self.waiting else b""
        if data == b"closed":
            raise LinkDown("closed the connection without an answer")
        if not data:
            self.now_s += wait_s
        return data

    def close(self) -> None:
        self.closed += 1

    def exchange(self) -> Exchange:
        return Exchange(parse_device_url(f"{self.scheme}://plc"), lambda: self.open(), clock=lambda: self.now_s)

    def asker(self) -> Asker:
        def sleep(seconds: float) -> None:
            self.now_s += seconds

        return Asker(self.exchange(), timeout_s=1.0, sleep=sleep, clock=lambda: self.now_s)


def test_an_answer_in_pieces() -> None:
    device = Scripted("tcp", lambda tid, unit, pdu: [each.to_bytes(1, "big") for each in mbap.pack(tid, unit, SEVEN)])
    assert device.exchange().ask(1, READ_ONE, 1.0) == SEVEN


@pytest.mark.parametrize("scheme", ["tcp", "rtu+tcp", "ascii+tcp"])
def test_silence_and_refusals_in_every_framing(scheme: str) -> None:
    pack = {"rtu+tcp": rtu.pack, "ascii+tcp": ascii.pack}.get(scheme)

    def answers(tid: int, unit: int, pdu: bytes) -> list[bytes]:
        return [pack(unit, ILLEGAL) if pack else mbap.pack(tid, unit, ILLEGAL)]

    assert Scripted(scheme, answers).exchange().ask(1, READ_ONE, 1.0) == ILLEGAL
    with pytest.raises(RequestTimeout, match="no answer within 500ms"):
        Scripted(scheme, lambda tid, unit, pdu: []).exchange().ask(1, READ_ONE, 0.5)


def test_a_late_answer_is_not_taken_for_the_next() -> None:
    late: list[bytes] = []

    def answers(tid: int, unit: int, pdu: bytes) -> list[bytes]:
        if not late:
            late.append(mbap.pack(tid, unit, b"\x03\x02\x00\x01"))
            return []
        return [late[0], mbap.pack(tid, unit, SEVEN)]

    exchange = Scripted("tcp", answers).exchange()
    with pytest.raises(RequestTimeout):
        exchange.ask(1, READ_ONE, 1.0)
    assert exchange.ask(1, READ_ONE, 1.0) == SEVEN
    assert not exchange.quirks


def test_a_late_answer_on_a_way_without_ids_is_waited_for_and_dropped() -> None:
    device = Scripted("rtu+tcp", lambda tid, unit, pdu: [])
    exchange = device.exchange()
    with pytest.raises(RequestTimeout):
        exchange.ask(1, READ_ONE, 1.0)
    device.waiting = [rtu.pack(1, b"\x03\x02\x00\x01")]
    device.answers = lambda tid, unit, pdu: [rtu.pack(unit, SEVEN)]
    assert exchange.ask(1, READ_ONE, 1.0) == SEVEN


def test_an_answer_of_another_unit_on_a_line_is_not_ours() -> None:
    device = Scripted("rtu+tcp", lambda tid, unit, pdu: [rtu.pack(9, SEVEN) + rtu.pack(unit, b"\x03\x02\x00\x08")])
    assert device.exchange().ask(1, READ_ONE, 1.0) == b"\x03\x02\x00\x08"


def test_quirks_are_noticed_and_forgiven() -> None:
    exchange = Scripted("tcp", lambda tid, unit, pdu: [mbap.pack(0, unit, SEVEN)]).exchange()
    assert exchange.ask(1, READ_ONE, 1.0) == SEVEN
    assert exchange.quirks == {"tid_zero"}
    exchange = Scripted("tcp", lambda tid, unit, pdu: [mbap.pack(tid, 1, SEVEN)]).exchange()
    assert exchange.ask(5, READ_ONE, 1.0) == SEVEN
    assert exchange.quirks == {"any_unit"}


@pytest.mark.parametrize(
    ("came", "told"),
    [
        (b"HTTP/1.0 400 Bad Request\r\n", "web server"),
        (b"\x15\x03\x03\x00\x02\x02\x16", "TLS"),
        (b":010302", "ASCII"),
        (b"\x00\x01\x00\x00\xff\xff\x01\x03", "impossible"),
    ],
)
def test_what_talks_something_else(came: bytes, told: str) -> None:
    device = Scripted("tcp", lambda tid, unit, pdu: [came])
    exchange = device.exchange()
    with pytest.raises(MalformedResponse, match=told):
        exchange.ask(1, READ_ONE, 1.0)
    assert device.closed == 1
    device.answers = lambda tid, unit, pdu: [mbap.pack(tid, unit, SEVEN)]
    assert exchange.ask(1, READ_ONE, 1.0) == SEVEN
    assert exchange.connections == 2


def test_garbage_on_a_line_is_shown() -> None:
    with pytest.raises(MalformedResponse, match=r"3 bytes came .* \(FE FE 00\)"):
        Scripted("rtu+tcp", lambda tid, unit, pdu: [b"\xfe\xfe\x00"]).exchange().ask(1, READ_ONE, 1.0)


# -- asking gently --------------------------------------------------------------------------------------------------


def test_a_busy_device_is_asked_again() -> None:
    answers = [b"\x83\x06", b"\x83\x06", SEVEN]
    device = Scripted("tcp", lambda tid, unit, pdu: [mbap.pack(tid, unit, answers.pop(0))])
    assert device.asker().read(1, Table.HOLDING, 0).pdu == SEVEN
    assert device.now_s >= 0.3


def test_a_request_that_ends_the_connection_is_told_from_a_device_that_has_gone() -> None:
    alive = True

    def answers(tid: int, unit: int, pdu: bytes) -> list[bytes]:
        if pdu[2] == 9 or not alive:
            return [b"closed"]
        return [mbap.pack(tid, unit, SEVEN)]

    device = Scripted("tcp", answers)
    asker = device.asker()
    assert asker.read(1, Table.HOLDING, 0).is_good
    assert asker.probe(1, b"\x03\x00\x09\x00\x01").kind is Kind.NONE
    alive = False
    with pytest.raises(Gone, match="unit 1 has stopped to answer"):
        asker.probe(1, READ_ONE)


def test_nothing_is_written_ever() -> None:
    with pytest.raises(AssertionError):
        Scripted("tcp", lambda tid, unit, pdu: []).asker().ask(1, b"\x06\x00\x00\x00\x01")


# -- who it is ------------------------------------------------------------------------------------------------------

OBJECTS = bytes.fromhex("2B0E0101000003") + b"\x00\x04Acme\x01\x02X1\x02\x031.0"


def test_objects_of_an_identification_and_a_stream_that_never_ends() -> None:
    assert parse_objects(OBJECTS) == {"vendor": "Acme", "product": "X1", "revision": "1.0"}
    assert parse_objects(OBJECTS[:-2]) == {"vendor": "Acme", "product": "X1"}

    def answers(tid: int, unit: int, pdu: bytes) -> list[bytes]:
        if pdu[0] == 0x11:
            return [mbap.pack(tid, unit, b"\x11\x07\x01\xff" + b"PLC-7")]
        endless = b"\x2b\x0e" + pdu[2:3] + b"\x01\xff" + bytes((pdu[3] + 1, 1, pdu[3], 1)) + b"A"
        return [mbap.pack(tid, unit, endless)]

    device = Scripted("tcp", answers)
    identity = ask_identity(device.asker(), 1)
    assert identity.server_id == "PLC-7"
    assert len(device.asked) < 12


def test_texts_of_devices_are_one_line() -> None:
    assert readable(b"Acme\0\0") == "Acme"
    assert readable(b"\xff\xfe\x01") == ""
    assert readable(b"a\nb") == ""
    assert server_id(b"\x11\x02\x01\xff") == ""
    assert server_id(b"\x11\x05PLC7\xff") == "PLC7"


# -- any bytes ------------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    scheme=st.sampled_from(["tcp", "rtu+tcp", "ascii+tcp"]),
    request=st.sampled_from([READ_ONE, b"\x11", b"\x2b\x0e\x01\x00", b"\x01\x00\x00\x00\x10"]),
    came=st.lists(st.binary(max_size=40), max_size=4),
    is_framed=st.booleans(),
)
def test_whatever_comes_is_an_answer_or_a_trouble_of_the_link(
    scheme: str, request: bytes, came: list[bytes], is_framed: bool
) -> None:
    pack = {"rtu+tcp": rtu.pack, "ascii+tcp": ascii.pack}.get(scheme)

    def answers(tid: int, unit: int, pdu: bytes) -> list[bytes]:
        if not is_framed:
            return came
        pdus = [pdu[:1] + each for each in came]
        return [pack(unit, each) if pack else mbap.pack(tid, unit, each) for each in pdus]

    device = Scripted(scheme, answers)
    try:
        answer = device.exchange().ask(1, request, 1.0)
    except LinkError:
        pass
    else:
        assert answer[0] & 0x7F == request[0]
    with contextlib.suppress(Gone):
        ask_identity(device.asker(), 1)
