"""Our units on a serial line, over a pty pair: mbpoll, pymodbus and libmodbus as clients, and bytes by hand."""

from __future__ import annotations

import os
import re
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway import serialport
from gateway.errors import ListenError
from gateway.modbus import ascii, rtu
from tests.support.needs import require, require_module
from tests.support.serial_pair import SerialPair
from tests.support.served import FIRST_VALUE, IMAGE, LOOPS, OTHER_IMAGE, SLOW, Served
from tests.support.until import wait_until
from tests.support.wire import hexed

READ, WRITE = hexed("03 0000 0001"), hexed("06 0001 0007")
READ_ANSWER = hexed("03 02 1234")
SETTINGS = "baudrate=115200"
RETRY_S = 0.25
PACK: dict[str, Callable[[int, bytes], bytes]] = {"rtu": rtu.pack, "ascii": ascii.pack}


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[SerialPair]:
    require_module("serial")
    with SerialPair(tmp_path) as pair:
        yield pair


@pytest.fixture(params=["rtu", "ascii"])
def framing(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def pack(framing: str) -> Callable[[int, bytes], bytes]:
    return PACK[framing]


@pytest.fixture(params=LOOPS)
def served(request: pytest.FixtureRequest, pair: SerialPair, framing: str) -> Iterator[Served]:
    with Served(f"{framing}://{pair.ours}?{SETTINGS}", loop=request.param) as served:
        served.wait_for_log(rf"^listening on {framing}:///")
        yield served


class Port:
    """The client's end, by hand."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY)

    def send(self, *frames: bytes) -> None:
        os.write(self._descriptor, b"".join(frames))

    def receive(self, count: int, deadline_s: float = 5.0) -> bytes:
        end_s = time.monotonic() + deadline_s
        data = b""
        while len(data) < count:
            ready, _, _ = select.select([self._descriptor], [], [], max(0.0, end_s - time.monotonic()))
            assert ready, f"{len(data)} of {count} bytes: {data.hex(' ')}"
            data += os.read(self._descriptor, count - len(data))
        return data

    def expect(self, frame: bytes) -> None:
        assert self.receive(len(frame)) == frame

    def ask(self, request: bytes, answer: bytes) -> None:
        self.send(request)
        self.expect(answer)

    def ask_on(self, request: bytes, answer: bytes) -> None:
        """As clients do: again when there is no answer in time."""
        for _ in range(20):
            self.send(request)
            if select.select([self._descriptor], [], [], RETRY_S)[0]:
                self.expect(answer)
                return
        raise AssertionError("no answer")

    @property
    def has_more(self) -> bool:
        return bool(select.select([self._descriptor], [], [], 0)[0])

    def close(self) -> None:
        os.close(self._descriptor)


@pytest.fixture
def port(served: Served, pair: SerialPair) -> Iterator[Port]:
    port = Port(pair.theirs)
    yield port
    port.close()


def counters_of(served: Served) -> Any:
    return served.server.lines[0].line.counters


# -- foreign clients ------------------------------------------------------------------------------------------------


def test_pymodbus_reads_and_writes(served: Served, pair: SerialPair, framing: str) -> None:
    require_module("pymodbus")
    require_module("serial")
    from pymodbus import FramerType
    from pymodbus.client import ModbusSerialClient

    framer = FramerType.RTU if framing == "rtu" else FramerType.ASCII
    client = ModbusSerialClient(pair.theirs, framer=framer, baudrate=115200, timeout=5, retries=0)
    assert client.connect()
    assert client.read_holding_registers(0, count=1, device_id=IMAGE).registers == [FIRST_VALUE]
    assert not client.write_registers(100, list(range(123)), device_id=IMAGE).isError()
    assert client.read_holding_registers(100, count=123, device_id=IMAGE).registers == list(range(123))
    assert client.read_holding_registers(0, count=125, device_id=IMAGE).registers[0] == FIRST_VALUE
    assert not client.write_coils(0, [True, False] * 8, device_id=IMAGE).isError()
    assert client.read_coils(0, count=16, device_id=IMAGE).bits == [True, False] * 8
    assert not client.mask_write_register(address=3, and_mask=0, or_mask=5, device_id=IMAGE).isError()
    assert client.read_holding_registers(2100, count=1, device_id=IMAGE).exception_code == 2
    assert client.read_holding_registers(0, count=1, device_id=SLOW).registers == [1]
    assert client.diag_query_data(b"\xca\xfe", device_id=IMAGE).message == b"\xca\xfe"
    assert client.diag_read_bus_message_count(device_id=IMAGE).message == 10
    assert client.diag_read_bus_exception_error_count(device_id=IMAGE).message == 1
    client.write_register(7, 77, device_id=0, no_response_expected=True)
    assert client.read_holding_registers(7, count=1, device_id=OTHER_IMAGE).registers == [77]
    assert client.read_holding_registers(7, count=1, device_id=IMAGE).registers == [77]
    client.close()
    assert counters_of(served).broken == 0


@pytest.fixture(params=LOOPS)
def rtu_served(request: pytest.FixtureRequest, pair: SerialPair) -> Iterator[Served]:
    with Served(f"rtu://{pair.ours}?{SETTINGS}", loop=request.param) as served:
        served.wait_for_log("^listening on rtu:///")
        yield served


def test_mbpoll_reads_and_writes(rtu_served: Served, pair: SerialPair) -> None:
    def poll(*arguments: str, unit: int = IMAGE) -> subprocess.CompletedProcess[str]:
        command = [require("mbpoll"), "-m", "rtu", "-b", "115200", "-P", "even", "-a", str(unit), "-0", "-1", "-q"]
        return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=20, check=False)

    written = poll("-t4", "-r", "20", pair.theirs, "--", "11", "12", "13")
    assert "Written 3 reference" in written.stdout, written.stderr
    read = poll("-t4", "-r", "20", "-c", "4", pair.theirs)
    assert re.findall(r"^\[\d+\]:\s+(\S+)", read.stdout, re.MULTILINE) == ["11", "12", "13", "0"]
    assert "Illegal data address" in poll("-t4", "-r", "3000", "-c", "1", pair.theirs).stderr
    assert "timed out" in poll("-t4", "-r", "0", "-c", "1", "-o", "0.2", pair.theirs, unit=77).stderr
    assert counters_of(rtu_served).exceptions == 1


LIBMODBUS = r"""
#include <modbus.h>
#include <stdio.h>
int main(int argc, char **argv) {
    uint16_t values[125] = {1, 2, 3};
    modbus_t *ctx = modbus_new_rtu(argv[1], 115200, 'E', 8, 1);
    (void)argc;
    modbus_set_slave(ctx, 1);
    modbus_set_response_timeout(ctx, 5, 0);
    if (modbus_connect(ctx)) return 1;
    if (modbus_write_registers(ctx, 50, 123, values) != 123) return 2;
    if (modbus_write_and_read_registers(ctx, 60, 2, values, 50, 125, values) != 125) return 3;
    if (values[2] != 3) return 4;
    if (modbus_read_registers(ctx, 5000, 1, values) != -1) return 5;
    printf("%d %d\n", modbus_read_registers(ctx, 60, 2, values), values[1]);
    modbus_close(ctx);
    modbus_free(ctx);
    return 0;
}
"""


def test_libmodbus_reads_and_writes(rtu_served: Served, pair: SerialPair, tmp_path: Path) -> None:
    (tmp_path / "client.c").write_text(LIBMODBUS)
    flags = subprocess.run(
        [require("pkg-config"), "--cflags", "--libs", "libmodbus"], capture_output=True, text=True, check=True
    )
    program = tmp_path / "client"
    build = [require("gcc"), str(tmp_path / "client.c"), "-o", str(program), *flags.stdout.split()]
    subprocess.run(build, check=True, timeout=30)
    run = subprocess.run([str(program), pair.theirs], capture_output=True, text=True, timeout=20, check=False)
    assert (run.returncode, run.stdout) == (0, "2 2\n")


# -- a line that is shared ------------------------------------------------------------------------------------------


def test_bytes_one_at_a_time_are_a_request(port: Port, pack: Callable[[int, bytes], bytes]) -> None:
    for byte in pack(IMAGE, READ):
        port.send(bytes((byte,)))
    port.expect(pack(IMAGE, READ_ANSWER))


def test_what_others_are_asked_and_answer_passes_by(
    served: Served, port: Port, pack: Callable[[int, bytes], bytes]
) -> None:
    for pieces in range(1, 4):
        others = (
            pack(17, hexed("03 006B 0003")) + pack(17, hexed("03 06 022B 0000 0064")) + pack(17, hexed("06 0001 0009"))
        )
        others += pack(17, hexed("06 0001 0009")) + pack(18, hexed("2B 0E 01 00")) + pack(18, hexed("AB 01"))
        size = len(others) // pieces
        for at in range(0, len(others), size):
            port.send(others[at : at + size])
        port.ask(pack(IMAGE, READ), pack(IMAGE, READ_ANSWER))
    assert not port.has_more
    assert counters_of(served).heard == 21
    assert counters_of(served).requests == 3
    assert served.registers(1, 1) == [0]


def test_a_broadcast_is_executed_by_all_and_answered_by_none(
    served: Served, port: Port, pack: Callable[[int, bytes], bytes]
) -> None:
    port.send(pack(0, WRITE))
    port.send(pack(0, READ))
    port.ask(pack(OTHER_IMAGE, hexed("03 0001 0001")), pack(OTHER_IMAGE, hexed("03 02 0007")))
    assert served.registers(1, 1) == [7]
    assert served.line.asked == [WRITE]
    assert (counters_of(served).requests, counters_of(served).silent, counters_of(served).broadcasts) == (3, 2, 1)


def test_after_garbage_and_silence_requests_are_answered_again(
    served: Served, port: Port, pack: Callable[[int, bytes], bytes]
) -> None:
    for number, garbage in enumerate(
        (pack(IMAGE, WRITE)[:-3] + b"\0\0\0", b"\xff\x00:\xff\r\n", b"\x01\x03", b":0106"), 1
    ):
        port.send(garbage)
        wait_until(lambda number=number: counters_of(served).broken >= number)
        port.ask_on(pack(IMAGE, READ), pack(IMAGE, READ_ANSWER))
    assert served.registers(1, 1) == [0]
    assert served.log.count("something came that is no") == 1


def test_an_unknown_function_is_refused(port: Port, pack: Callable[[int, bytes], bytes]) -> None:
    port.ask(pack(IMAGE, hexed("41 01 02")), pack(IMAGE, hexed("C1 01")))
    port.ask(pack(IMAGE, READ), pack(IMAGE, READ_ANSWER))


def test_the_longest_frames_fit(served: Served, port: Port, pack: Callable[[int, bytes], bytes]) -> None:
    values = bytes(range(246))
    port.ask(pack(IMAGE, hexed("10 0000 007B F6") + values), pack(IMAGE, hexed("10 0000 007B")))
    port.ask(pack(IMAGE, hexed("03 0000 007D")), pack(IMAGE, b"\x03\xfa" + values + bytes(4)))
    longest = b"\x41" + bytes(252)
    port.ask(pack(IMAGE, longest), pack(IMAGE, hexed("C1 01")))
    assert counters_of(served).broken == 0


def test_an_answer_that_comes_too_late_is_not_sent(
    served: Served, port: Port, pack: Callable[[int, bytes], bytes]
) -> None:
    """The client has given up and asks somebody else: an answer now would be taken for that one's."""
    served.slow.delay_s = None
    port.send(pack(SLOW, READ))
    wait_until(lambda: served.slow.asked)
    port.send(pack(17, READ))
    wait_until(lambda: served.slow.abandoned == 1)
    served.slow.delay_s = 0.01
    served.call(served.slow.release)
    port.ask(pack(SLOW, READ), pack(SLOW, hexed("03 02 0002")))
    assert not port.has_more
    assert counters_of(served).silent == 1


def test_a_slow_answer_is_sent_when_it_comes(served: Served, port: Port, pack: Callable[[int, bytes], bytes]) -> None:
    served.slow.delay_s = 0.2
    port.ask(pack(SLOW, READ), pack(SLOW, hexed("03 02 0001")))


def test_listen_only_is_ended_by_a_restart_and_nothing_else(
    served: Served, port: Port, pack: Callable[[int, bytes], bytes]
) -> None:
    port.send(pack(IMAGE, hexed("08 0004 0000")))
    port.send(pack(IMAGE, WRITE))
    port.send(pack(0, WRITE))
    port.send(pack(SLOW, READ))
    port.send(pack(IMAGE, hexed("08 000B 0000")))
    wait_until(lambda: counters_of(served).silent == 5)
    port.send(pack(IMAGE, hexed("08 0001 0000")))
    port.ask(pack(IMAGE, hexed("03 0001 0001")), pack(IMAGE, hexed("03 02 0000")))
    assert not port.has_more
    assert served.slow.asked == served.line.asked == []
    assert counters_of(served).requests == 2  # the restart and the read


def test_a_restart_is_answered_and_clears_the_counters(
    served: Served, port: Port, framing: str, pack: Callable[[int, bytes], bytes]
) -> None:
    port.ask(pack(IMAGE, READ), pack(IMAGE, READ_ANSWER))
    port.ask(pack(OTHER_IMAGE, hexed("08 0001 FF00")), pack(OTHER_IMAGE, hexed("08 0001 FF00")))
    port.ask(pack(IMAGE, hexed("08 000E 0000")), pack(IMAGE, hexed("08 000E 0001")))
    no_delimiter = hexed("88 03") if framing == "ascii" else hexed("88 01")
    port.ask(pack(IMAGE, hexed("08 0003 0000")), pack(IMAGE, no_delimiter))
    port.ask(pack(IMAGE, hexed("0B")), pack(IMAGE, hexed("0B 0000 0002")))
    port.ask(pack(IMAGE, hexed("0C")), pack(IMAGE, hexed("0C 0F 0000 0002 0004 40 80 41 80 40 80 40 80 00")))


def test_the_ascii_delimiter_can_be_changed_and_comes_back(pair: SerialPair) -> None:
    with Served(f"ascii://{pair.ours}?{SETTINGS}") as served:
        served.wait_for_log("^listening on ascii:///")
        port = Port(pair.theirs)
        change = hexed("08 0003 3B00")
        port.ask(ascii.pack(IMAGE, change), ascii.pack(IMAGE, change))
        port.ask(ascii.pack(IMAGE, READ, b";"), ascii.pack(IMAGE, READ_ANSWER, b";"))
        restart = hexed("08 0001 0000")
        port.ask(ascii.pack(IMAGE, restart, b";"), ascii.pack(IMAGE, restart, b";"))
        port.ask(ascii.pack(IMAGE, READ), ascii.pack(IMAGE, READ_ANSWER))
        port.close()


def test_lower_case_is_read_too(pair: SerialPair) -> None:
    with Served(f"ascii://{pair.ours}?{SETTINGS}") as served:
        served.wait_for_log("^listening on ascii:///")
        port = Port(pair.theirs)
        port.ask(ascii.pack(IMAGE, hexed("03 000A 0001")).lower(), ascii.pack(IMAGE, hexed("03 02 0000")))
        port.close()


# -- ports that go and come -----------------------------------------------------------------------------------------


def test_a_port_that_vanishes_is_opened_again(
    served: Served, port: Port, pair: SerialPair, pack: Callable[[int, bytes], bytes]
) -> None:
    port.ask(pack(IMAGE, READ), pack(IMAGE, READ_ANSWER))
    for times in (1, 2):
        pair.unplug()
        wait_until(lambda times=times: served.log.count("^no longer listening on .* vanished") == times)
        pair.plug()
        wait_until(lambda times=times: served.log.count("^listening on .* again$") == times, 10)
        back = Port(pair.theirs)
        back.ask(pack(IMAGE, READ), pack(IMAGE, READ_ANSWER))
        back.close()
    assert counters_of(served).requests == 3


def test_without_the_extra_the_error_names_it(pair: SerialPair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serialport, "is_installed", lambda: False)
    with Served("tcp://127.0.0.1:0") as served:
        with pytest.raises(ListenError, match=r'cannot listen on rtu:///.*: .* pip install "gateway\[serial\]"'):
            served.listen(f"rtu://{pair.ours}")


def test_a_port_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    require_module("serial")
    pair = SerialPair(tmp_path)
    with Served("tcp://127.0.0.1:0", f"rtu://{pair.ours}?{SETTINGS}") as served:
        line = served.wait_for_log("^cannot listen on rtu:///.* yet: no such port: ")
        assert "plugged in?" in line
        assert served.port("tcp")
        with pair:
            served.wait_for_log("^listening on rtu:///.* again$")
            port = Port(pair.theirs)
            port.ask(rtu.pack(IMAGE, READ), rtu.pack(IMAGE, READ_ANSWER))
            port.close()
        assert served.log.count("^cannot listen on rtu") == 1


def test_a_reload_with_other_settings_opens_the_port_anew_and_one_without_does_not(
    served: Served, port: Port, pair: SerialPair, framing: str, pack: Callable[[int, bytes], bytes]
) -> None:
    port.ask(pack(IMAGE, READ), pack(IMAGE, READ_ANSWER))
    served.listen(f"{framing}://{pair.ours}?{SETTINGS}", "tcp://127.0.0.1:0")
    port.ask(pack(IMAGE, READ), pack(IMAGE, READ_ANSWER))
    assert counters_of(served).requests == 2
    served.listen(f"{framing}://{pair.ours}?baudrate=9600")
    served.wait_for_log(r"^no longer listening on .*115200")
    served.wait_for_log(r"^listening on .*9600")
    port.ask(pack(IMAGE, READ), pack(IMAGE, READ_ANSWER))
    assert counters_of(served).requests == 1
    served.listen("tcp://127.0.0.1:0")
    assert served.server.lines == []


def test_a_listener_that_cannot_be_opened_leaves_the_serial_line_as_it_was(
    served: Served, port: Port, pair: SerialPair, framing: str, pack: Callable[[int, bytes], bytes]
) -> None:
    with pytest.raises(ListenError, match="no address 192"):
        served.listen(f"{framing}://{pair.ours}?baudrate=9600", "tcp://192.0.2.1:5020")
    wait_until(lambda: served.log.count("^listening on .*115200") == 2)
    port.ask(pack(IMAGE, READ), pack(IMAGE, READ_ANSWER))


def test_an_answer_still_to_come_leaves_before_the_end(
    served: Served, port: Port, pack: Callable[[int, bytes], bytes]
) -> None:
    served.slow.delay_s = None
    port.send(pack(SLOW, READ))
    wait_until(lambda: served.slow.asked)

    async def end() -> None:
        served.server.stop_accepting()
        served.loop.call_later(0.05, served.slow.release)
        await served.server.drained(5.0)

    served.run(end())
    port.expect(pack(SLOW, hexed("03 02 0001")))
