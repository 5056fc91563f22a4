"""What every way without transaction ids must keep: RTU and ASCII, on a serial port and on TCP, against a real peer.

`WAYS` names each with the function that dials it and whether it is a serial port.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.config.urls import DeviceUrl, Line, parse_device_url
from gateway.errors import LinkError, RequestTimeout, UnitSilent
from gateway.interfaces import Priority
from gateway.modbus import rtu
from gateway.southbound.diallers import make_dialler
from gateway.southbound.framed import MAX_SILENCES
from gateway.southbound.listening import MIN_LISTEN_S
from gateway.southbound.seams import Dial
from tests.support.lines import LineDevice, echo_zeros
from tests.support.links import DEADLINE_S, Peer, with_link
from tests.support.serial_pair import SerialPair

WAYS = ("rtu", "ascii", "rtu+tcp", "ascii+tcp")
READ = bytes.fromhex("0300070001")
SEVEN = bytes.fromhex("03020007")
WRITE = bytes.fromhex("0600070005")
QUESTION = bytes.fromhex("0400000001")
"""What a unit is asked that owes answers of function 03."""
REFUSED = bytes.fromhex("8401")
TRIES = 5
"""Of what cannot be judged when the machine stands still meanwhile."""


def dialler(text: str) -> Dial:
    return make_dialler(parse_device_url(text), source=None, keepalive_s=60.0)


class Way:
    """A device and how to reach it."""

    def __init__(self, scheme: str, device: LineDevice, where: str) -> None:
        self.device = device
        self.is_serial = "+" not in scheme
        settings = "?baudrate=115200&parity=none" if self.is_serial else ""
        self.dial = dialler(f"{scheme}://{where}{settings}")


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Way]:
    scheme: str = request.param
    framing = scheme.partition("+")[0]
    if "+" in scheme:
        device = LineDevice(framing)
        yield Way(scheme, device, f"127.0.0.1:{device.port}")
        device.close()
        return
    with SerialPair(tmp_path) as pair:
        device = LineDevice(framing, pair.theirs)
        yield Way(scheme, device, pair.ours)
        device.close()


async def until(condition: Callable[[], object], what: str) -> None:
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                await asyncio.sleep(0.001)
    except TimeoutError:
        raise AssertionError(what) from None


def test_reads_are_answered_one_after_the_other(way: Way) -> None:
    async def case(peer: Peer) -> None:
        await peer.up()
        asked = [peer.ask(bytes((3, 0, n, 0, 125)), timeout_s=2.0) for n in range(8)]
        assert await asyncio.gather(*asked) == [echo_zeros(bytes((3, 0, n, 0, 125))) for n in range(8)]
        assert peer.link.counters.timeouts == 0

    with_link(way.dial, case, in_flight=8)


def test_an_answer_that_comes_byte_by_byte_is_one(way: Way) -> None:
    def bytewise(unit: int, pdu: bytes) -> None:
        for byte in way.device.frame(unit, echo_zeros(pdu)):
            way.device.send(bytes((byte,)))

    async def case(peer: Peer) -> None:
        await peer.up()
        way.device.behave = bytewise
        assert await peer.ask(timeout_s=2.0) == SEVEN
        assert peer.link.counters.crc_errors == 0

    with_link(way.dial, case)


def test_a_function_that_nobody_knows_is_answered(way: Way) -> None:
    # This CRC ends in 0: without its last byte the frame looks whole, too.
    answer = next(
        pdu for n in range(9999) if (pdu := b"\x41\x00" + n.to_bytes(2, "big")) and rtu.pack(1, pdu).endswith(b"\0")
    )

    def bytewise(unit: int, pdu: bytes) -> None:
        for byte in way.device.frame(unit, answer):
            way.device.send(bytes((byte,)))

    async def case(peer: Peer) -> None:
        await peer.up()
        way.device.behave = bytewise
        assert await peer.ask(bytes.fromhex("4101020304"), timeout_s=2.0) == answer

    with_link(way.dial, case)


def test_noise_around_an_answer_is_dropped_and_counted(way: Way) -> None:
    def noisy(unit: int, pdu: bytes) -> bytes:
        return b"\x00\xff\x01\x03" + way.device.frame(unit, echo_zeros(pdu)) + b"\x00"

    async def case(peer: Peer) -> None:
        await peer.up()
        way.device.behave = noisy
        for _ in range(3):
            assert await peer.ask() == SEVEN
        assert peer.link.counters.crc_errors >= 3
        assert peer.link.counters.timeouts == 0

    with_link(way.dial, case)


def test_a_wrong_checksum_is_no_answer(way: Way) -> None:
    def damaged(unit: int, pdu: bytes) -> bytes:
        frame = way.device.frame(unit, echo_zeros(pdu))
        return frame[:-4] + bytes((frame[-4] ^ 1,)) + frame[-3:]

    async def case(peer: Peer) -> None:
        await peer.up()
        way.device.behave = damaged
        result = await peer.ask()
        assert isinstance(result, RequestTimeout)
        assert "bytes that are no answer to it" in str(result)
        assert peer.link.counters.crc_errors == 1
        way.device.behave = lambda unit, pdu: way.device.frame(unit, echo_zeros(pdu))
        assert await peer.ask() == SEVEN

    with_link(way.dial, case)


def test_a_late_answer_is_never_that_of_the_next_request(way: Way) -> None:
    late = way.device.frame(1, bytes.fromhex("0302DEAD"))
    half = len(late) // 2

    async def case(peer: Peer) -> None:
        await peer.up()
        for number in range(1, 4):
            way.device.behave = lambda unit, pdu: late[:half]
            assert isinstance(await peer.ask(timeout_s=0.2), RequestTimeout)
            way.device.behave = lambda unit, pdu: way.device.frame(unit, REFUSED if pdu == QUESTION else SEVEN)
            asked = len(way.device.asked)
            next_one = asyncio.create_task(peer.ask(timeout_s=0.2))
            await asyncio.sleep(0)
            way.device.send(late[half:])
            way.device.send(late)
            assert await next_one == SEVEN
            assert [pdu for _, pdu in way.device.requests[asked:]] == [READ, QUESTION, READ], "the first may be late"
            assert peer.link.counters.timeouts == number
        if way.is_serial:
            assert peer.link.counters.late >= 3
            assert (peer.link.counters.redials, peer.link.counters.connects) == (0, 1), "the port stays open"
        else:
            assert peer.link.counters.redials == 3

    with_link(way.dial, case)


def test_a_device_that_hung_answers_everything_at_once_and_nothing_of_it_is_taken_for_something_else(way: Way) -> None:
    """What it was asked meanwhile it answers one after the other; its registers have their address as value."""
    hung: list[bytes] = []

    def hang(unit: int, pdu: bytes) -> None:
        hung.append(way.device.frame(unit, echo_zeros(pdu)))

    def awake(unit: int, pdu: bytes) -> bytes:
        answers = b"".join(hung) + way.device.frame(unit, echo_zeros(pdu))
        hung.clear()
        return answers

    reads = [bytes((3, number, 0, 0, 10)) for number in range(8)]

    async def case(peer: Peer) -> None:
        await peer.up()
        way.device.behave = hang
        for read in reads[:2]:
            assert isinstance(await peer.ask(read, timeout_s=0.1), RequestTimeout)
        await until(lambda: len(hung) == 2, "both are asked")
        way.device.behave = awake
        for read in reads * 3:
            assert await peer.ask(read, timeout_s=0.3) == echo_zeros(read)
        assert peer.link.counters.timeouts == 2
        assert peer.link.counters.late >= 1

    with_link(way.dial, case)


def test_a_write_is_not_confirmed_by_the_answer_to_the_one_before_it(way: Way) -> None:
    """The answer to function 16 does not say what was written."""
    first, second = bytes.fromhex("100007000102AAAA"), bytes.fromhex("100007000102BBBB")
    hung: list[bytes] = []

    def hang(unit: int, pdu: bytes) -> None:
        hung.append(way.device.frame(unit, pdu[:5]))

    async def case(peer: Peer) -> None:
        await peer.up()
        way.device.behave = hang
        assert isinstance(await peer.ask(first, timeout_s=0.1), RequestTimeout)
        await until(lambda: hung, "it is asked")
        way.device.behave = lambda unit, pdu: hung.pop() if hung else None  # and not executed
        result = await peer.ask(second, timeout_s=0.2)
        assert isinstance(result, RequestTimeout)
        assert "may be the answer to what the unit did not answer in time" in str(result)
        way.device.behave = lambda unit, pdu: way.device.frame(unit, pdu[:5] if pdu == second else echo_zeros(pdu))
        assert await peer.ask(timeout_s=0.2) == SEVEN
        assert await peer.ask(second, timeout_s=0.2) == second[:5]

    with_link(way.dial, case)


def test_after_a_time_out_the_line_is_listened_to_before_anything_is_sent(way: Way) -> None:
    timeout_s = 0.2

    async def case(peer: Peer) -> None:
        await peer.up()
        way.device.behave = lambda unit, pdu: None
        started_s = time.monotonic()
        assert isinstance(await peer.ask(timeout_s=timeout_s), RequestTimeout)
        way.device.behave = lambda unit, pdu: way.device.frame(unit, echo_zeros(pdu))
        assert await peer.ask(unit=2) == SEVEN
        assert way.device.asked[-1].at_s - started_s >= 1.5 * timeout_s

    with_link(way.dial, case)


def test_bytes_that_still_come_are_waited_for_but_not_for_ever(way: Way) -> None:
    async def case(peer: Peer) -> None:
        await peer.up()
        for number in range(TRIES):
            way.device.behave = lambda unit, pdu: None
            assert isinstance(await peer.ask(unit=10 + number, timeout_s=0.1), RequestTimeout)
            way.device.behave = lambda unit, pdu: way.device.frame(unit, echo_zeros(pdu))
            asked = len(way.device.asked)
            talking = asyncio.create_task(_talk(peer, way.device, 0.4))
            next_one = asyncio.create_task(peer.ask(unit=2, timeout_s=1.0))
            quiet_s, pause_s = await talking
            assert await next_one == SEVEN
            if pause_s < MIN_LISTEN_S:
                assert way.device.asked[asked].at_s >= quiet_s
                break
        else:
            raise AssertionError(f"the machine stood still for {pause_s:.3f} s, {TRIES} times")
        talking = asyncio.create_task(_talk(peer, way.device, 30.0))
        way.device.behave = lambda unit, pdu: None
        assert isinstance(await peer.ask(timeout_s=0.1), RequestTimeout)
        way.device.behave = lambda unit, pdu: way.device.frame(unit, echo_zeros(pdu))
        asked = len(way.device.asked)
        next_one = asyncio.create_task(peer.ask(unit=2, timeout_s=1.0))
        await until(lambda: len(way.device.asked) > asked, "the next request, although the line is never quiet")
        talking.cancel()
        await next_one

    with_link(way.dial, case)


async def _talk(peer: Peer, device: LineDevice, seconds: float) -> tuple[float, float]:
    """Noise every few milliseconds. When the last of it was sent, and the longest that the link heard nothing of it:
    the machine, or the cable, may stand still, and then the line was quiet."""
    begun_s = last_s = now_s = time.monotonic()
    pause_s = 0.0
    while now_s < begun_s + seconds:
        device.send(b"\x55")
        await asyncio.sleep(0.01)
        heard_s = 0.0 if peer.link._line is None else peer.link._line.heard_s
        last_s = max(last_s, heard_s)
        sent_s, now_s = now_s, time.monotonic()
        pause_s = max(pause_s, now_s - last_s)
    return sent_s, pause_s


def test_an_answer_of_another_unit_is_dropped_and_waited_on(way: Way) -> None:
    def both(unit: int, pdu: bytes) -> bytes:
        return way.device.frame(unit + 1, bytes.fromhex("0302DEAD")) + way.device.frame(unit, echo_zeros(pdu))

    async def case(peer: Peer) -> None:
        await peer.up()
        way.device.behave = both
        assert await peer.ask() == SEVEN
        assert peer.link.counters.foreign == 1

    with_link(way.dial, case)


@pytest.mark.parametrize(
    ("pdu", "answer"),
    [("0600070005", "0600070005"), ("100007000102002A", "1000070001"), ("160007FFF00005", "160007FFF00005")],
)
def test_a_broadcast_is_sent_and_answered_by_us_after_the_turn_round_time(way: Way, pdu: str, answer: str) -> None:
    way.device.behave = lambda unit, pdu: way.device.frame(unit, echo_zeros(pdu)) if unit else None

    async def case(peer: Peer) -> None:
        await peer.up()
        started_s = time.monotonic()
        said = asyncio.create_task(peer.ask(bytes.fromhex(pdu), unit=0, timeout_s=0.05 if way.is_serial else 0.5))
        await asyncio.sleep(0)
        assert await peer.ask(unit=1) == SEVEN
        assert said.done(), "the answer comes before the next request is sent"
        assert await said == bytes.fromhex(answer)
        assert way.device.requests[0][0] == 0
        assert way.device.asked[-1].at_s - started_s >= 0.1
        assert peer.link.counters.timeouts == 0

    with_link(way.dial, case)


def test_what_answers_to_a_broadcast_is_nobodys(way: Way) -> None:
    way.device.behave = lambda unit, pdu: way.device.frame(1, pdu)

    async def case(peer: Peer) -> None:
        await peer.up()
        assert await peer.ask(WRITE, unit=0, timeout_s=0.5) == WRITE
        assert peer.link.counters.late == 1

    with_link(way.dial, case)


def test_a_dead_unit_does_not_clog_the_others_of_its_line(way: Way) -> None:
    way.device.behave = lambda unit, pdu: way.device.frame(unit, echo_zeros(pdu)) if unit != 9 else None
    took: list[float] = []

    async def case(peer: Peer) -> None:
        await peer.up()
        assert await peer.ask() == SEVEN
        dead: list[bytes | LinkError] = []
        for _ in range(6):
            dead.append(await peer.ask(unit=9, timeout_s=0.2))
            for unit in (1, 2, 3):
                started_s = time.monotonic()
                assert await peer.ask(unit=unit, timeout_s=1.0, priority=Priority.ASK) == SEVEN
                took.append(time.monotonic() - started_s)
        assert [type(each) for each in dead] == [RequestTimeout] * 3 + [UnitSilent] * 3
        assert peer.link.silent(9)
        assert not peer.link.silent(1)
        assert max(took) < 0.5

    with_link(way.dial, case)


def test_an_adapter_that_hears_what_it_sends_is_not_believed(way: Way) -> None:
    def with_echo(unit: int, pdu: bytes) -> bytes:
        return way.device.frame(unit, pdu) + way.device.frame(unit, echo_zeros(pdu))

    async def case(peer: Peer) -> None:
        await peer.up()
        way.device.behave = with_echo
        assert await peer.ask() == SEVEN
        assert await peer.ask() == SEVEN
        way.device.behave = lambda unit, pdu: way.device.frame(unit, pdu)  # the device itself says nothing
        assert isinstance(await peer.ask(WRITE), RequestTimeout), "an echo is no answer"
        way.device.behave = lambda unit, pdu: 2 * way.device.frame(unit, pdu)
        assert await peer.ask(WRITE, unit=2) == WRITE
        assert peer.link.counters.crc_errors == 0

    with_link(way.dial, case)


def test_the_first_write_of_a_line_is_not_confirmed_by_an_echo(way: Way) -> None:
    """Nothing was read on it before."""

    def with_echo(unit: int, pdu: bytes) -> bytes:
        return way.device.frame(unit, pdu) + (b"" if pdu == WRITE else way.device.frame(unit, echo_zeros(pdu)))

    async def case(peer: Peer) -> None:
        await peer.up()
        way.device.behave = with_echo
        assert isinstance(await peer.ask(WRITE), RequestTimeout)
        assert [pdu for _, pdu in way.device.requests] == [bytes.fromhex("0300000001"), WRITE]

    with_link(way.dial, case)


def test_the_first_write_of_a_line_without_echo_is_confirmed(way: Way) -> None:
    """Whatever it makes of the question that goes before."""

    async def case(peer: Peer) -> None:
        await peer.up()
        way.device.behave = lambda unit, pdu: way.device.frame(unit, pdu if pdu == WRITE else bytes.fromhex("8302"))
        assert await peer.ask(WRITE) == WRITE
        assert await peer.ask(WRITE) == WRITE
        assert [pdu for _, pdu in way.device.requests] == [bytes.fromhex("0300000001"), WRITE, WRITE]

    with_link(way.dial, case)


def test_a_device_that_answers_writes_alone_is_believed_when_no_echo_is_certain(way: Way) -> None:
    """A port of ours that hears nothing has none. Elsewhere the network may have stood still."""

    async def case(peer: Peer) -> None:
        await peer.up()
        way.device.behave = lambda unit, pdu: way.device.frame(unit, pdu) if pdu == WRITE else None
        for unit in range(1, 1 if way.is_serial else MAX_SILENCES):
            assert isinstance(await peer.ask(WRITE, unit=unit), RequestTimeout)
        assert await peer.ask(WRITE, unit=10) == WRITE
        assert await peer.ask(WRITE, unit=10) == WRITE

    with_link(way.dial, case)


def test_an_adapter_without_echo_in_the_place_of_one_with_is_found_out(way: Way) -> None:
    async def case(peer: Peer) -> None:
        await peer.up()
        way.device.behave = lambda unit, pdu: way.device.frame(unit, pdu) + way.device.frame(unit, echo_zeros(pdu))
        assert await peer.ask() == SEVEN
        way.device.behave = lambda unit, pdu: way.device.frame(unit, pdu if pdu == WRITE else echo_zeros(pdu))
        assert await peer.ask() == SEVEN
        assert await peer.ask(WRITE) == WRITE

    with_link(way.dial, case)


def test_nothing_but_writes_goes_to_all_units(way: Way) -> None:
    async def case(peer: Peer) -> None:
        await peer.up()
        assert await peer.ask(unit=0) == bytes.fromhex("8301")
        assert way.device.asked == []

    with_link(way.dial, case)


# -- serial ports alone -------------------------------------------------------------------------------------------


def serial_url(path: str, *, framing: str = "rtu", line: Line | None = None) -> DeviceUrl:
    return DeviceUrl(framing, path=path, line=line or Line(115200))


def test_a_port_that_is_unplugged_and_returns_is_used_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def case(peer: Peer) -> None:
        device = LineDevice("rtu", pair.theirs)
        await peer.up()
        assert await peer.ask() == SEVEN
        device.behave = lambda unit, pdu: None
        out = asyncio.create_task(peer.ask(timeout_s=5.0))
        await until(lambda: len(device.asked) == 2, "the second request")
        pair.unplug()
        assert isinstance(await out, LinkError)
        assert not peer.link.up
        assert "has vanished" in peer.link.trouble
        await until(lambda: "is not there" in peer.link.trouble, "another attempt")
        device.close()
        pair.plug()
        device = LineDevice("rtu", pair.theirs)
        await peer.up()
        assert await peer.ask() == SEVEN
        device.close()

    with SerialPair(tmp_path) as pair:
        with_link(make_dialler(serial_url(pair.ours), source=None, keepalive_s=0), case)
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warned) == 1, warned


def test_a_port_has_one_user_and_the_next_is_told_who(tmp_path: Path) -> None:
    async def second(peer: Peer) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while "in use by another program" not in peer.link.trouble:
                await asyncio.sleep(0.001)
        assert "the gateway itself" in peer.link.trouble

    async def case(peer: Peer) -> None:
        await peer.up()
        await asyncio.to_thread(with_link, make_dialler(serial_url(pair.ours), source=None, keepalive_s=0), second)

    with SerialPair(tmp_path) as pair:
        with_link(make_dialler(serial_url(pair.ours), source=None, keepalive_s=0), case)


def test_rs485_where_the_driver_has_none_says_what_to_do(tmp_path: Path) -> None:
    async def case(peer: Peer) -> None:
        await until(lambda: "no RS-485 direction control" in peer.link.trouble, "the reason is told")

    with SerialPair(tmp_path) as pair:
        url = serial_url(pair.ours, line=Line(rs485=True))
        with_link(make_dialler(url, source=None, keepalive_s=0), case)


def test_requests_are_parted_by_three_and_a_half_characters(tmp_path: Path) -> None:
    line = Line(baudrate=1200, parity="none")
    answered_s: list[float] = []

    def answer(unit: int, pdu: bytes) -> None:
        frame = device.frame(unit, echo_zeros(pdu))
        answered_s.append(time.monotonic())  # before: whoever is held up here has not sent yet
        device.send(frame)

    async def case(peer: Peer) -> None:
        await peer.up()
        asked = [peer.ask(timeout_s=2.0) for _ in range(6)]
        assert await asyncio.gather(*asked) == [SEVEN] * 6
        gaps = [asked.at_s - before for before, asked in zip(answered_s, device.asked[1:], strict=False)]
        assert min(gaps) >= line.t35_s
        assert min(gaps) < line.t35_s + 0.03

    with SerialPair(tmp_path) as pair:
        device = LineDevice("rtu", pair.theirs)
        device.behave = answer
        with_link(make_dialler(serial_url(pair.ours, line=line), source=None, keepalive_s=0), case)
        device.close()


@pytest.mark.parametrize("framing", ["rtu", "ascii"])
def test_the_time_on_a_slow_wire_is_no_time_out(tmp_path: Path, framing: str) -> None:
    # 300 baud: 8 and 25 bytes take more than a second; the device needs next to nothing of the time-out.
    pdu = bytes.fromhex("030007000A")

    async def case(peer: Peer) -> None:
        await peer.up()
        device.behave = lambda unit, pdu: None
        asked = asyncio.create_task(peer.ask(pdu, timeout_s=0.1))
        await until(lambda: device.asked, "the request")
        plain_s = time.monotonic() + 0.3
        await until(lambda: time.monotonic() > plain_s, "more than the time-out")
        device.send(device.frame(1, echo_zeros(pdu)))
        assert await asked == echo_zeros(pdu)
        assert peer.link.counters.late == 0

    with SerialPair(tmp_path) as pair:
        device = LineDevice(framing, pair.theirs)
        url = serial_url(pair.ours, framing=framing, line=Line(baudrate=300, databits=7 if framing == "ascii" else 8))
        with_link(make_dialler(url, source=None, keepalive_s=0), case)
        device.close()


@pytest.mark.parametrize("framing", ["rtu", "ascii"])
def test_over_tcp_too_the_units_get_the_turn_round_time_that_the_url_says(framing: str) -> None:
    async def case(peer: Peer) -> None:
        await peer.up()
        started_s = time.monotonic()
        assert await peer.ask(WRITE, unit=0, timeout_s=2.0) == WRITE
        assert time.monotonic() - started_s >= 0.39, "the clocks of loops are coarse"

    device = LineDevice(framing)
    try:
        with_link(dialler(f"{framing}+tcp://127.0.0.1:{device.port}?turnaround=400ms"), case)
    finally:
        device.close()
