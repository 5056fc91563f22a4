"""`gateway read` and `gateway write` against devices that are not ours, and against those that misbehave."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.devices import Behaviour, PymodbusPlc, ScriptedDevice, echo_zeros, free_port, pymodbus_plc, scripted
from tests.support.needs import require
from tests.support.oneshot import gateway
from tests.support.wire import adu

READ, WRITE_ONE, WRITE_MANY = 3, 6, 16


@pytest.fixture(scope="module")
def plc() -> Iterator[PymodbusPlc]:
    with pymodbus_plc() as plc:
        yield plc


def mbpoll(plc: PymodbusPlc, *arguments: str) -> str:
    """What a third program finds in the PLC."""
    command = [require("mbpoll"), "-m", "tcp", "-p", str(plc.port), "-0", "-1", "-q", *arguments, "127.0.0.1"]
    return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout


def lines(*arguments: str) -> list[list[str]]:
    """The rows of a `read` that succeeds, cut at blanks."""
    result = gateway("read", *arguments)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return [line.split() for line in result.stdout.splitlines()]


# -- reading --------------------------------------------------------------------------------------------------------


def test_registers_are_shown_with_both_notations_and_hex(plc: PymodbusPlc) -> None:
    assert lines(f"tcp://127.0.0.1:{plc.port}", "holding:0..1") == [
        ["holding:0", "(400001)", "1000", "03E8"],
        ["holding:1", "(400002)", "1001", "03E9"],
    ]


def test_a_reference_and_a_count_and_a_url_without_scheme(plc: PymodbusPlc) -> None:
    found = lines(f"127.0.0.1:{plc.port}", "30008", "--count", "3")
    assert found[0] == ["input:7", "(300008)", "2007", "07D7"]
    assert [row[2] for row in found] == ["2007", "2008", "2009"]


def test_a_type_takes_the_registers_it_needs_in_the_order_given(plc: PymodbusPlc) -> None:
    (row,) = lines(f"127.0.0.1:{plc.port}", "holding:100", "--type", "float32", "--order", "CDAB")
    assert row == ["holding:100..101", "(400101..400102)", "123.456", "E979", "42F6"]


def test_a_range_holds_as_many_values_as_fit(plc: PymodbusPlc) -> None:
    found = lines(f"127.0.0.1:{plc.port}", "holding:0..3", "-t", "uint32")
    assert [int(row[2]) for row in found] == [1000 << 16 | 1001, 1002 << 16 | 1003]


def test_long_ranges_are_read_in_parts(plc: PymodbusPlc) -> None:
    found = lines(f"127.0.0.1:{plc.port}", "holding:102..199")
    assert [int(row[2]) for row in found] == list(range(1102, 1200))
    assert len(lines(f"127.0.0.1:{plc.port}", "input:0..199")) == 200  # more than 125


def test_bits_and_bits_in_registers(plc: PymodbusPlc) -> None:
    assert [row[2] for row in lines(f"127.0.0.1:{plc.port}", "coils:0..6")] == list("1001001")
    assert [row[2] for row in lines(f"127.0.0.1:{plc.port}", "discrete:3", "-n", "2")] == ["1", "0"]
    assert lines(f"127.0.0.1:{plc.port}", "holding:0.3")[0][:3] == ["holding:0.3", "(400001.3)", "1"]  # 1000 = 3E8h


def test_json_is_for_programs(plc: PymodbusPlc) -> None:
    result = gateway("read", f"127.0.0.1:{plc.port}", "holding:5", "--json")
    told = json.loads(result.stdout)
    assert (told["url"], told["unit"]) == (f"tcp://127.0.0.1:{plc.port}", 1)
    assert told["values"] == [
        {"at": "holding:5 (400006)", "table": "holding", "address": 5, "bit": None, "value": 1005, "hex": "03ED"}
    ]


# -- writing --------------------------------------------------------------------------------------------------------


def test_a_written_value_is_read_back_and_a_third_program_finds_it(plc: PymodbusPlc) -> None:
    url = f"127.0.0.1:{plc.port}"
    result = gateway("write", url, "holding:110", "21.5", "--type", "float32", "--order", "CDAB")
    assert result.returncode == 0, result.stderr
    assert result.stdout.split()[-4:] == ["->", "21.5", "0000", "41AC"]
    assert "21.5" in mbpoll(plc, "-t", "4:float", "-r", "110")  # mbpoll's float is low word first


def test_negative_and_many_values(plc: PymodbusPlc) -> None:
    result = gateway("write", f"127.0.0.1:{plc.port}", "40121", "-5", "0x7FFF", "12", "--type", "int16")
    assert result.returncode == 0, result.stderr
    assert [line.split()[-2] for line in result.stdout.splitlines()] == ["-5", "32767", "12"]
    assert "65531 (-5)" in mbpoll(plc, "-t", "4", "-r", "120")


def test_coils_one_and_many(plc: PymodbusPlc) -> None:
    url = f"127.0.0.1:{plc.port}"
    assert gateway("write", url, "coils:40", "on").returncode == 0
    assert gateway("write", url, "coils:41..43", "1", "0", "true").returncode == 0
    assert [row[2] for row in lines(url, "coils:40..43")] == ["1", "1", "0", "1"]


def test_a_bit_of_a_register_leaves_the_others_alone(plc: PymodbusPlc) -> None:
    url = f"127.0.0.1:{plc.port}"
    assert gateway("write", url, "holding:130", "0x00FF").returncode == 0
    result = gateway("write", url, "holding:130.15", "1")
    assert result.returncode == 0, result.stderr
    assert result.stdout.split()[2:] == ["0", "->", "1", "80FF"]
    assert gateway("write", url, "holding:130.0", "off").returncode == 0
    assert lines(url, "holding:130")[0][-1] == "80FE"


def test_a_text(plc: PymodbusPlc) -> None:
    url = f"127.0.0.1:{plc.port}"
    assert gateway("write", url, "holding:140..143", "PUMP 7", "--type", "string").returncode == 0
    assert lines(url, "holding:140..143", "--type", "string")[0][2:4] == ["PUMP", "7"]
    assert gateway("write", url, "holding:140", "0x1B5B", "0x324A").returncode == 0
    assert lines(url, "holding:140..141", "--type", "string")[0][2] == "?[2J", "a device's text would clear the screen"


def test_json_has_before_and_after(plc: PymodbusPlc) -> None:
    result = gateway("write", f"127.0.0.1:{plc.port}", "holding:150", "7", "--json")
    told = json.loads(result.stdout)
    assert (told["before"][0]["value"], told["after"][0]["value"], told["differs"]) == (1150, 7, [])


# -- devices in trouble ---------------------------------------------------------------------------------------------


def refuse(code: int) -> Behaviour:
    return lambda tid, unit, pdu: adu(tid, unit, bytes((pdu[0] | 0x80, code)))


def one_line(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    return result.stderr


def read_scripted(behave: Behaviour, *arguments: str) -> str:
    with scripted(behave) as device:
        return one_line(gateway("read", f"127.0.0.1:{device.port}", "holding:5", *arguments))


def test_nobody_listens() -> None:
    port = free_port()
    told = one_line(gateway("read", f"127.0.0.1:{port}", "holding:0"))
    assert told == f"tcp://127.0.0.1:{port}: refused the connection: is the device on, is the port right?\n"


def test_no_such_host() -> None:
    assert "there is no host named plc.invalid" in one_line(gateway("read", "plc.invalid", "holding:0"))


def test_the_device_refuses() -> None:
    assert "unit 1: holding:5 (400006): refused with 02 illegal data address" in read_scripted(refuse(2))
    assert "refused with 63 not a standard code" in read_scripted(refuse(0x63))


def test_the_device_is_silent() -> None:
    told = read_scripted(lambda tid, unit, pdu: None, "--timeout", "200ms", "--unit", "9")
    assert "unit 9: connected, but no usable answer within 200ms" in told


@pytest.mark.parametrize(
    "answer",
    [
        bytes.fromhex("0001 0000 0007 01 03 04 0001 0002"),  # two registers for one
        bytes.fromhex("0001 0000 0003 01 03 00"),  # none
        bytes.fromhex("0001 0000 0004 01 03 02 00"),  # half a register
        bytes.fromhex("0001 0000 0002 01 03"),
        bytes.fromhex("0001 0000 0006 01 06 0005 0001"),  # another function
        bytes.fromhex("0001 0000 0002 01 83"),
        bytes.fromhex("0001 0000 0005 02 03 02 0001"),  # another unit
        bytes.fromhex("0001 1234 0005 01 03 02 0001"),  # another protocol
        bytes.fromhex("01 03 02 0001 7984"),  # RTU in TCP
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\xff" * 300,
    ],
)
def test_an_answer_that_is_none_is_one_line(answer: bytes) -> None:
    assert "127.0.0.1" in read_scripted(lambda tid, unit, pdu: answer, "--timeout", "200ms")


def test_what_speaks_something_else_is_not_told_to_be_silent() -> None:
    told = read_scripted(lambda tid, unit, pdu: b"\x01\x03\x02\x00\x07\xf9\x86\x00\x00\x00", "--timeout", "200ms")
    assert "what came within 200ms is no answer to this: is it Modbus in this framing, and this the right port?" in told


def test_the_device_hangs_up() -> None:
    def hang_up(tid: int, unit: int, pdu: bytes) -> bytes | None:
        device.drop()
        return None

    with scripted(hang_up) as device:
        told = one_line(gateway("read", f"127.0.0.1:{device.port}", "holding:5"))
    assert "closed the connection" in told or "connection was lost" in told


def write_scripted(behave: Behaviour, *arguments: str) -> tuple[subprocess.CompletedProcess[str], ScriptedDevice]:
    with scripted(behave) as device:
        return gateway("write", f"127.0.0.1:{device.port}", "holding:5", "7", *arguments), device


def test_what_reads_back_differently_is_said() -> None:
    def stubborn(tid: int, unit: int, pdu: bytes) -> bytes | None:
        return adu(tid, unit, pdu) if pdu[0] == WRITE_ONE else echo_zeros(tid, unit, pdu)

    result, _ = write_scripted(stubborn)
    assert "5 -> 5" in result.stdout
    assert one_line(result) == "read back differently from what was written: holding:5 (400006)\n"


def test_a_register_that_cannot_be_read_can_be_written() -> None:
    def write_only(tid: int, unit: int, pdu: bytes) -> bytes | None:
        return refuse(2)(tid, unit, pdu) if pdu[0] == READ else adu(tid, unit, pdu)

    result, device = write_scripted(write_only)
    assert result.returncode == 0
    assert "refused with 02" in result.stderr
    assert "? -> 7 (written)" in result.stdout
    assert [pdu[0] for _, _, pdu in device.requests] == [READ, WRITE_ONE]


def test_a_refused_write_changes_nothing_and_says_so() -> None:
    def read_only(tid: int, unit: int, pdu: bytes) -> bytes | None:
        return echo_zeros(tid, unit, pdu) if pdu[0] == READ else refuse(1)(tid, unit, pdu)

    result, _ = write_scripted(read_only)
    assert "holding:5 (400006): refused with 01 illegal function" in one_line(result)


def test_a_write_without_an_answer_has_an_unknown_outcome_and_is_not_repeated() -> None:
    def deaf(tid: int, unit: int, pdu: bytes) -> bytes | None:
        return echo_zeros(tid, unit, pdu) if pdu[0] == READ else None

    result, device = write_scripted(deaf, "--timeout", "200ms")
    assert "whether it was written is unknown" in one_line(result)
    assert [pdu[0] for _, _, pdu in device.requests] == [READ, WRITE_ONE]


# -- the user's mistakes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ("read 127.0.0.1 100", "holding:100"),
        ("read 127.0.0.1 40000", "40001"),
        ("read 127.0.0.1 holdin:1", "did you mean `holding:1`"),
        ("read http://127.0.0.1 holding:1", "tcp://"),
        ("read sim:// holding:1", "gateway simulate"),
        ("read 127.0.0.1:99999 holding:1", "1..65535"),
        ("read 127.0.0.1 holding:1 --type flot32", "float32"),
        ("read 127.0.0.1 coils:1 --type int16", "is a bit"),
        ("read 127.0.0.1 holding:1 --order ABDC", "CDAB"),
        ("read 127.0.0.1 holding:0..8 --type float32", "9 registers"),
        ("read 127.0.0.1 holding:65535 --type float32", "past 65535"),
        ("read 127.0.0.1 holding:0..8 --count 3", "leave out --count"),
        ("read 127.0.0.1 holding:1 --timeout 5", "5s"),
        ("read 127.0.0.1 holding:1 --unit 256", "255"),
        ("write 127.0.0.1 input:1 5", "only coils and holding registers"),
        ("write 127.0.0.1 holding:1 -5", "0..65535"),
        ("write 127.0.0.1 holding:1 21.5", "float32"),
        ("write 127.0.0.1 holding:1 high", "`high` is not a number"),
        ("write 127.0.0.1 holding:1 0xZZ", "`0xZZ` is not a number"),
        ("write 127.0.0.1 holding:1 1e39 --type float32", "too large"),
        ("write 127.0.0.1 coils:1 2", "write 1 or 0"),
        ("write 127.0.0.1 holding:1..2 5 6 7", "3 are given"),
        ("write 127.0.0.1 holding:1.5 1 1", "one value"),
        ("write 127.0.0.1 holding:1..2 PUMPE --type string", "4 bytes"),
        ("write 127.0.0.1 holding:65535 1 2", "past 65535"),
        ("write 127.0.0.1 holding:1 5 --tpye int16", "--tpye"),
        ("write 127.0.0.1 holding:1", "VALUE"),
        ("write 127.0.0.1 holding:0 " + "1 " * 124, "at most 123"),
    ],
)
def test_a_wrong_command_line_is_told_before_anything_is_sent(arguments: str, hint: str) -> None:
    result = gateway(*arguments.split())
    assert result.returncode == 2
    assert result.stdout == ""
    assert hint in result.stderr


def test_a_mistaken_reference_is_questioned(plc: PymodbusPlc) -> None:
    result = gateway("read", f"127.0.0.1:{plc.port}", "holding:40001")
    assert "if the reference 40001 is meant" in result.stderr
