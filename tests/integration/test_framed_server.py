"""RTU and ASCII over TCP on real sockets: pymodbus as a client, and bytes by hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from gateway.config.model_server import Limits
from gateway.modbus import ascii, rtu
from tests.support.needs import require_module
from tests.support.served import FIRST_VALUE, IMAGE, LOOPS, OTHER_IMAGE, SLOW, Served
from tests.support.until import wait_until
from tests.support.wire import Wire, hexed

READ, WRITE = hexed("03 0000 0001"), hexed("06 0001 0007")
READ_ANSWER = hexed("03 02 1234")
PACK: dict[str, Callable[[int, bytes], bytes]] = {"rtu": rtu.pack, "ascii": ascii.pack}


@pytest.fixture(params=LOOPS)
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    with Served("rtu+tcp://127.0.0.1:0", "ascii+tcp://127.0.0.1:0", loop=request.param) as served:
        yield served


@pytest.fixture(params=["rtu", "ascii"])
def framing(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def pack(framing: str) -> Callable[[int, bytes], bytes]:
    return PACK[framing]


@pytest.fixture
def wire(served: Served, framing: str) -> Iterator[Wire]:
    with Wire(served.port(f"{framing}+tcp")) as wire:
        yield wire


def expect(wire: Wire, *frames: bytes) -> None:
    """These and nothing before them."""
    whole = b"".join(frames)
    assert wire.receive(len(whole)) == whole


def test_pymodbus_reads_and_writes(served: Served, framing: str) -> None:
    require_module("pymodbus")
    from pymodbus import FramerType
    from pymodbus.client import ModbusTcpClient

    framer = FramerType.RTU if framing == "rtu" else FramerType.ASCII
    port = served.port(f"{framing}+tcp")
    client = ModbusTcpClient("127.0.0.1", port=port, framer=framer, timeout=5, retries=0)
    assert client.connect()
    assert client.read_holding_registers(0, count=1, device_id=IMAGE).registers == [FIRST_VALUE]
    assert not client.write_registers(100, list(range(123)), device_id=IMAGE).isError()
    assert client.read_holding_registers(100, count=123, device_id=IMAGE).registers == list(range(123))
    assert not client.write_coils(0, [True, False] * 8, device_id=IMAGE).isError()
    assert client.read_coils(0, count=16, device_id=IMAGE).bits == [True, False] * 8
    assert not client.mask_write_register(address=3, and_mask=0, or_mask=5, device_id=IMAGE).isError()
    assert client.readwrite_registers(
        read_address=3, read_count=1, write_address=4, values=[6], device_id=IMAGE
    ).registers == [5]
    assert client.read_holding_registers(2100, count=1, device_id=IMAGE).exception_code == 2
    assert client.read_holding_registers(0, count=1, device_id=SLOW).registers == [1]
    client.close()
    assert served.counters.requests == 9


def test_bytes_one_at_a_time_are_a_request(wire: Wire, pack: Callable[[int, bytes], bytes]) -> None:
    for byte in pack(IMAGE, READ):
        wire.send(bytes((byte,)))
    expect(wire, pack(IMAGE, READ_ANSWER))


def test_requests_sent_at_once_are_answered_in_order(wire: Wire, pack: Callable[[int, bytes], bytes]) -> None:
    wire.send(pack(IMAGE, WRITE) + pack(IMAGE, hexed("03 0001 0001")) + pack(IMAGE, hexed("41")) + pack(IMAGE, READ))
    expect(
        wire,
        pack(IMAGE, WRITE),
        pack(IMAGE, hexed("03 02 0007")),
        pack(IMAGE, hexed("C1 01")),
        pack(IMAGE, READ_ANSWER),
    )


def test_thousands_of_requests_sent_at_once_are_all_answered(
    served: Served, wire: Wire, pack: Callable[[int, bytes], bytes]
) -> None:
    count = 3000
    wire.send(pack(IMAGE, READ) * count)
    expect(wire, pack(IMAGE, READ_ANSWER) * count)
    assert served.counters.requests == count


def test_a_slow_answer_holds_up_those_behind_it(
    served: Served, wire: Wire, pack: Callable[[int, bytes], bytes]
) -> None:
    served.slow.delay_s = None
    wire.send(pack(SLOW, READ) + pack(IMAGE, READ) + pack(SLOW, WRITE))
    wait_until(lambda: served.slow.asked == [READ])
    wire.send(pack(IMAGE, READ))
    served.slow.delay_s = 0.01
    served.call(served.slow.release)
    expect(wire, pack(SLOW, hexed("03 02 0001")), pack(IMAGE, READ_ANSWER), pack(SLOW, WRITE), pack(IMAGE, READ_ANSWER))


def test_a_client_that_floods_behind_a_slow_answer_is_not_read(
    served: Served, wire: Wire, pack: Callable[[int, bytes], bytes]
) -> None:
    served.slow.delay_s = None
    wire.send(pack(SLOW, READ))
    wait_until(lambda: served.slow.asked)
    count = 2000
    wire.send(pack(IMAGE, READ) * count)
    wait_until(lambda: served.counters.held)
    served.call(served.slow.release)
    expect(wire, pack(SLOW, hexed("03 02 0001")), pack(IMAGE, READ_ANSWER) * count)


def test_a_client_that_goes_leaves_nothing_behind(
    served: Served, wire: Wire, pack: Callable[[int, bytes], bytes]
) -> None:
    served.slow.delay_s = None
    wire.send(pack(SLOW, READ) + pack(SLOW, READ))
    wait_until(lambda: served.slow.asked)
    wire.abort()
    wait_until(lambda: served.slow.abandoned == 1)
    wait_until(lambda: not served.counters.clients)
    assert served.slow.asked == [READ]


def test_a_half_closed_client_gets_its_answers(served: Served, wire: Wire, pack: Callable[[int, bytes], bytes]) -> None:
    served.slow.delay_s = 0.05
    wire.send(pack(SLOW, READ) + pack(IMAGE, READ))
    wire.half_close()
    expect(wire, pack(SLOW, hexed("03 02 0001")), pack(IMAGE, READ_ANSWER))
    wire.expect_close()


@pytest.mark.parametrize("unit_id", [2, 77, 247, 255])
def test_other_units_are_not_answered_for(
    unit_id: int, served: Served, wire: Wire, pack: Callable[[int, bytes], bytes]
) -> None:
    wire.send(pack(unit_id, WRITE) + pack(IMAGE, READ))
    expect(wire, pack(IMAGE, READ_ANSWER))
    assert served.registers(1, 1) == [0]


def test_a_broadcast_is_executed_by_all_and_answered_by_none(
    served: Served, wire: Wire, pack: Callable[[int, bytes], bytes]
) -> None:
    wire.send(
        pack(0, WRITE) + pack(0, READ) + pack(0, hexed("08 0004 0000")) + pack(OTHER_IMAGE, hexed("03 0001 0001"))
    )
    expect(wire, pack(OTHER_IMAGE, hexed("03 02 0007")))
    assert served.registers(1, 1) == [7]
    assert served.line.asked == [WRITE]
    assert served.slow.asked == []


@pytest.mark.parametrize("listen_only", [hexed("08 0004 0000"), hexed("08 0001 0000")])
def test_a_tcp_client_cannot_silence_us(listen_only: bytes, wire: Wire, pack: Callable[[int, bytes], bytes]) -> None:
    wire.send(pack(IMAGE, listen_only) + pack(IMAGE, READ))
    expect(wire, pack(IMAGE, hexed("88 01")), pack(IMAGE, READ_ANSWER))


GARBAGE = {
    "rtu": [
        rtu.pack(IMAGE, WRITE)[:-1] + b"\0",
        hexed("0001 0000 0006 01 03 0000 0001") + bytes(300),
        b"GET / HTTP/1.1\r\nHost: " + b"x" * 256,
        b"\xff" * 2000,
    ],
    "ascii": [
        b":0106000100FF\r\n:01060001000700\r\n",
        b"GET / HTTP/1.1\r\n",
        b":" + b"0" * 2000,
        bytes(range(256)) * 4,
    ],
}


@pytest.mark.parametrize("number", range(4))
def test_what_is_no_frame_ends_the_connection(number: int, served: Served, wire: Wire, framing: str) -> None:
    wire.send(PACK[framing](IMAGE, READ) + GARBAGE[framing][number])
    expect(wire, PACK[framing](IMAGE, READ_ANSWER))
    wire.expect_close()
    wait_until(lambda: not served.counters.clients)
    assert served.counters.broken == 1
    assert served.log.count(f"this is no {framing.upper()} frame; closing the connection") == 1
    assert served.registers(1, 1) == [0]


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\n\r\n", rtu.pack(IMAGE, WRITE)[:-1]])
def test_half_a_frame_is_ended_by_the_limit_of_its_time(start: bytes) -> None:
    with Served("rtu+tcp://127.0.0.1:0", limits=Limits.model_construct(half_request_s=0.1)) as served:
        with Wire(served.port("rtu+tcp")) as wire:
            wire.send(start)
            wire.expect_close()
            assert served.counters.half == 1


def test_who_waits_for_answers_does_not_owe_the_rest_of_a_request(
    framing: str, pack: Callable[[int, bytes], bytes]
) -> None:
    """So many pipelined requests that some lie cut in half with us, and take longer than half a request may."""
    limits = Limits.model_construct(half_request_s=0.1)
    with Served(f"{framing}+tcp://127.0.0.1:0", limits=limits) as served:
        served.slow.delay_s = 0.02
        writes = [hexed(f"10 {number:04X} 0001 02 0007") for number in range(40)]
        with Wire(served.port(f"{framing}+tcp")) as wire:
            wire.send(b"".join(pack(SLOW, write) for write in writes))
            expect(wire, *(pack(SLOW, write) for write in writes))
            wire.send(pack(SLOW, READ)[:-1])
            wire.expect_close()
            assert served.counters.half == 1


def test_requests_per_second_hold_and_nothing_is_lost(framing: str, pack: Callable[[int, bytes], bytes]) -> None:
    with Served(f"{framing}+tcp://127.0.0.1:0", limits=Limits.model_construct(requests_per_second=50)) as served:
        with Wire(served.port(f"{framing}+tcp")) as wire:
            begun_s = time.monotonic()
            wire.send(pack(IMAGE, READ) * 75)
            expect(wire, pack(IMAGE, READ_ANSWER) * 75)
            assert time.monotonic() - begun_s > 0.4
            assert served.counters.slowed


def test_the_answer_to_a_request_before_garbage_still_comes(
    served: Served, wire: Wire, pack: Callable[[int, bytes], bytes]
) -> None:
    served.slow.delay_s = 0.05
    wire.send(pack(SLOW, READ) + b"\xff" * 600)
    expect(wire, pack(SLOW, hexed("03 02 0001")))
    wire.expect_close()


def test_answers_of_others_behind_a_serial_server_pass_by(served: Served) -> None:
    with Wire(served.port("rtu+tcp")) as wire:
        others = [hexed("03 006B 0003"), hexed("03 06 022B 0000 0064"), hexed("83 02"), hexed("10 0001 0002")]
        wire.send(b"".join(rtu.pack(17, pdu) for pdu in others) + rtu.pack(IMAGE, READ))
        expect(wire, rtu.pack(IMAGE, READ_ANSWER))


def test_a_client_that_does_not_fetch_its_answers_is_not_served_on(
    served: Served, framing: str, pack: Callable[[int, bytes], bytes]
) -> None:
    with Wire(served.port(f"{framing}+tcp"), receive_buffer=4096) as wire:
        request, count = pack(IMAGE, hexed("03 0000 007D")), 40_000
        sender = threading.Thread(target=lambda: wire.socket.sendall(request * count), daemon=True)
        sender.start()
        wait_until(lambda: served.counters.requests and _stands_still(served))
        assert served.counters.requests < count
        answer = pack(IMAGE, b"\x03\xfa" + hexed("1234") + bytes(248))
        assert wire.receive(2000 * len(answer)) == answer * 2000


def _stands_still(served: Served) -> bool:
    before = served.counters.requests
    for _ in range(50):
        served.call(lambda: None)
    return before == served.counters.requests


def test_a_reload_keeps_the_client_and_its_answer(
    served: Served, wire: Wire, pack: Callable[[int, bytes], bytes], framing: str
) -> None:
    served.slow.delay_s = None
    wire.send(pack(SLOW, READ) + pack(IMAGE, READ))
    wait_until(lambda: served.slow.asked)
    served.listen("udp://127.0.0.1:0")
    served.call(served.slow.release)
    expect(wire, pack(SLOW, hexed("03 02 0001")), pack(IMAGE, READ_ANSWER))
    wait_until(lambda: served.log.count(rf"^no longer listening on {framing}\+tcp://127"))


def test_an_answer_still_to_come_leaves_before_the_end(
    served: Served, wire: Wire, pack: Callable[[int, bytes], bytes]
) -> None:
    served.slow.delay_s = None
    wire.send(pack(SLOW, READ) + pack(IMAGE, READ))
    wait_until(lambda: served.slow.asked)

    async def end() -> None:
        served.server.stop_accepting()
        served.loop.call_later(0.05, served.slow.release)
        await served.server.drained(5.0)

    served.run(end())
    expect(wire, pack(SLOW, hexed("03 02 0001")))
    wire.expect_close()
