"""What a faulty unit does with each request: decisions as data, without a socket or a clock."""

from __future__ import annotations

import struct

import pytest

from gateway.config.model_devices import Faults
from gateway.modbus.spec import Table
from gateway.simulate.faults import FaultyUnit, Manners, Memory, touched
from tests.support.wire import adu, hexed

SILENCE = "silence"
READ = hexed("03 0005 0003")
WRITE = hexed("06 0005 1234")


class Device:
    """A unit with faults, and one connection to it. Reads are answered with the number of the request."""

    def __init__(self, **faults: object) -> None:
        self.executed: list[bytes] = []
        self.unit = FaultyUnit(Faults.model_validate(faults), self._execute)
        self.memory = Memory()
        self._tid = 100

    def _execute(self, pdu: bytes) -> bytes | None:
        self.executed.append(pdu)
        if pdu[0] <= 2:
            return bytes((pdu[0], 2)) + struct.pack(">H", len(self.executed))
        if pdu[0] in (3, 4, 23):
            return bytes((pdu[0], 6)) + struct.pack(">HHH", len(self.executed), 0xA, 0xB)
        return pdu[:5]

    def frame(self, pdu: bytes = READ) -> bytes | None:
        """The bytes that answer it; the request has transaction id 101, 102 ... and unit 7."""
        self._tid += 1
        sending = self.unit.ask(self._tid, 7, pdu, self.memory)
        return None if sending is None else sending.data

    def ask(self, pdu: bytes = READ) -> str:
        """The response PDU of a frame whose header is as it should be."""
        frame = self.frame(pdu)
        if frame is None:
            return SILENCE
        assert frame == adu(self._tid, 7, frame[7:])
        return frame[7:].hex()


def good(number: int) -> str:
    """The answer to READ that was executed as number so."""
    return f"0306{number:04x}000a000b"


def test_without_a_fault_it_answers_at_once_and_as_it_should() -> None:
    device = Device()
    sending = device.unit.ask(9, 7, READ, device.memory)
    assert sending == (0.0, adu(9, 7, bytes.fromhex(good(1))))


def test_a_dead_one_neither_executes_nor_answers() -> None:
    device = Device(dead="true")
    assert [device.ask(WRITE), device.ask()] == [SILENCE, SILENCE]
    assert not device.executed


def test_every_third_request_is_not_answered_but_executed() -> None:
    device = Device(no_answer="3")
    assert [device.ask() for _ in range(6)] == [good(1), good(2), SILENCE, good(4), good(5), SILENCE]
    assert len(device.executed) == 6


def test_one_means_every_request_and_zero_none() -> None:
    assert Device(no_answer="1").ask() == SILENCE
    assert Device(no_answer="0").ask() == good(1)


def test_the_delay_is_that_of_every_answer_and_a_late_one_comes_later_by_late_by() -> None:
    device = Device(delay="200ms", late="2", late_by="1s")
    delays = [device.unit.ask(1, 1, READ, device.memory) for _ in range(4)]
    assert [round(each.delay_s, 6) for each in delays if each] == [0.2, 1.2, 0.2, 1.2]
    assert len(device.executed) == 4, "executed at once"


def test_wrong_transaction_ids_are_the_next_number_and_zero_is_zero() -> None:
    device = Device(wrong_tid="2")
    assert [device.frame()[:2] for _ in range(4)] == [hexed("0065"), hexed("0067"), hexed("0067"), hexed("0069")]  # type: ignore[index]
    last = FaultyUnit(Faults.model_validate({"wrong_tid": "1"}), lambda pdu: pdu).ask(0xFFFF, 1, READ, Memory())
    assert last is not None
    assert last.data[:2] == hexed("0000")
    assert Device(zero_tid="true").frame() == adu(0, 7, bytes.fromhex(good(1)))


def test_a_wrong_unit_is_the_next_one() -> None:
    device = Device(wrong_unit="2")
    assert device.frame() == adu(101, 7, bytes.fromhex(good(1)))
    assert device.frame() == adu(102, 8, bytes.fromhex(good(2)))
    last = device.unit.ask(1, 255, READ, device.memory), device.unit.ask(1, 255, READ, device.memory)
    assert [each.data[6] for each in last if each] == [255, 0]


@pytest.mark.parametrize(
    ("request_pdu", "answer"),
    [
        ("03 0005 0003", "03 04 0001 000A"),
        ("04 0005 0003", "04 04 0001 000A"),
        ("01 0000 0010", "01 00"),
        ("17 0005 0003 0005 0001 02 0000", "17 04 0001 000A"),
        ("06 0005 1234", "06 0005"),
        ("10 0005 0001 02 1234", "10 0005"),
    ],
)
def test_a_short_answer_has_two_bytes_less_and_its_counts_agree(request_pdu: str, answer: str) -> None:
    device = Device(short_frame="1")
    assert device.ask(hexed(request_pdu)) == hexed(answer).hex(), "the header agrees, too"


def test_an_exception_response_has_no_data_to_lose() -> None:
    assert Device(short_frame="1", busy="1").ask() == "8306"


def test_a_wrong_length_is_two_too_many_over_the_right_data() -> None:
    whole = adu(101, 7, bytes.fromhex(good(1)))
    assert Device(wrong_length="1").frame() == whole[:4] + hexed("000B") + whole[6:]


@pytest.mark.parametrize("fault", ["no_answer", "late"])
def test_after_an_answer_that_was_not_in_time_a_lagging_device_answers_with_the_one_before(fault: str) -> None:
    device = Device(lag="true", **{fault: "3"})
    assert [device.ask() for _ in range(2)] == [good(1), good(2)]
    assert device.ask() == (SILENCE if fault == "no_answer" else good(3)), "late_by is in its time, not in its bytes"
    assert [device.ask() for _ in range(2)] == [good(3), good(4)], "the data of the request before, our transaction id"
    device.memory = Memory()  # the next connection
    assert device.ask() == (SILENCE if fault == "no_answer" else good(6))


def test_a_lag_is_forgotten_with_the_connection() -> None:
    device = Device(lag="true", no_answer="2")
    assert [device.ask(), device.ask(), device.ask()] == [good(1), SILENCE, good(2)]
    device.memory = Memory()
    assert [device.ask(), device.ask()] == [SILENCE, good(4)], "its fourth request is not answered, and lags again"
    device = Device(lag="true", no_answer="3")
    assert [device.ask() for _ in range(3)] == [good(1), good(2), SILENCE]
    device.memory = Memory()
    assert [device.ask() for _ in range(2)] == [good(4), good(5)]


def test_a_device_that_only_lags_when_late_never_does_without_being_late() -> None:
    device = Device(lag="true")
    assert [device.ask() for _ in range(3)] == [good(1), good(2), good(3)]


def test_a_busy_one_says_06_and_does_nothing() -> None:
    device = Device(busy="2")
    assert [device.ask(), device.ask(WRITE), device.ask()] == [good(1), "8606", good(2)]
    assert WRITE not in device.executed


@pytest.mark.parametrize(
    ("request_pdu", "code"),
    [
        ("03 000A 0001", 2),  # the first of holding:10..12
        ("03 0000 000B", 2),  # its end touches
        ("03 000C 0003", 2),
        ("03 0000 000A", 0),
        ("03 000D 0001", 0),
        ("04 000A 0001", 0),  # another table
        ("06 000B 000A", 2),
        ("06 0009 000B", 0),  # the value is no address
        ("10 0009 0002 04 0000 0000", 2),
        ("16 000C 0000 0000", 2),
        ("16 000D 000A 000A", 0),
        ("17 000A 0001 0030 0001 02 0000", 2),  # the read part
        ("17 0030 0001 000A 0001 02 0000", 2),  # the write part
        ("17 0030 0001 0031 0001 02 0000", 0),
        ("01 0005 0001", 4),
        ("05 0005 FF00", 4),
        ("0F 0000 0008 01 FF", 4),
        ("05 0004 0005", 0),
        ("02 0005 0001", 0),
        ("03 0014 0001", 3),
        ("03 0000 0020", 2),  # two ranges: the first that was written
    ],
)
def test_requests_that_touch_a_refused_range_get_its_code_and_do_nothing(request_pdu: str, code: int) -> None:
    device = Device(refuse={"holding:10..12": "2", "coils:5": "4", "holding:20": "3"})
    pdu = hexed(request_pdu)
    answer = device.ask(pdu)
    if code:
        assert answer == bytes((pdu[0] | 0x80, code)).hex()
    assert device.executed == ([] if code else [pdu])


def test_functions_it_does_not_have_get_01() -> None:
    device = Device(no_functions=["5", "6", "22"])
    assert [device.ask(hexed(each)) for each in ("05 0000 FF00", "06 0000 0000", "16 0000 0000 0000")] == [
        "8501",
        "8601",
        "9601",
    ]
    assert not device.executed
    assert device.ask() == good(1)


@pytest.mark.parametrize(
    ("request_pdu", "code"),
    [
        ("03 0000 0032", 0),
        ("03 0000 0033", 2),
        ("04 0000 0033", 2),
        ("17 0000 0033 0000 0001 02 0000", 2),
        ("01 0000 0320", 0),  # 50 times 16
        ("01 0000 0321", 2),
        ("02 0000 0321", 2),
        ("06 0000 FFFF", 0),
        ("10 0000 0001 02 FFFF", 0),
    ],
)
def test_more_registers_than_it_reads_are_refused_with_02(request_pdu: str, code: int) -> None:
    device = Device(max_registers="50")
    pdu = hexed(request_pdu)
    assert (device.ask(pdu) == bytes((pdu[0] | 0x80, 2)).hex()) == bool(code)


def test_what_is_too_short_or_has_no_addresses_touches_nothing() -> None:
    for request in ("03", "03 0000 00", "17 0000 0001 0000", "2B 0E 01 00", "08 0000 1234", "41 0000 0001"):
        assert touched(hexed(request)) == []
        assert Device(refuse={"holding:0": "2"}, max_registers="1").ask(hexed(request)) != "8302"
    assert touched(hexed("0F 0003 0008 01 FF")) == [(Table.COILS, 3, 8)]


def test_a_listener_is_as_bad_as_its_worst_unit() -> None:
    faults = [
        Faults.model_validate(each)
        for each in ({"split": "on", "idle_close": "3s"}, {"join": "on"}, {"idle_close": "2s"})
    ]
    assert Manners.of(faults) == Manners(split=True, join=True, idle_close_s=2.0)
    assert Manners.of([]) == Manners()
    assert Manners.of([Faults.model_validate({"one_connection": "yes", "one_at_a_time": "yes"})]) == Manners(
        one_connection=True, one_at_a_time=True
    )
