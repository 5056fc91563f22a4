"""The UDP listener on real sockets: pymodbus as a client, and datagrams by hand."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from gateway.config.model_server import Limits, Rule
from gateway.front.access import Access
from gateway.serving.udp import MAX_ADDRESSES, MAX_FRAMES, MAX_WAITING_PER_ADDRESS
from tests.support.needs import require_module
from tests.support.served import FIRST_VALUE, IMAGE, LOOPS, SLOW, Served
from tests.support.until import wait_until
from tests.support.wire import adu, hexed

READ, WRITE = hexed("03 0000 0001"), hexed("06 0001 0007")
READ_ANSWER = hexed("03 02 1234")
DEADLINE_S = 5.0


class Datagrams:
    """One client's socket."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(DEADLINE_S)
        self.to = (host, port)

    def send(self, data: bytes) -> None:
        self.socket.sendto(data, self.to)

    def receive(self) -> bytes:
        return self.socket.recv(2048)

    def ask(self, data: bytes) -> bytes:
        self.send(data)
        return self.receive()

    @property
    def has_more(self) -> bool:
        return bool(select.select([self.socket], [], [], 0)[0])

    def close(self) -> None:
        self.socket.close()


@pytest.fixture(params=LOOPS)
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    with Served("udp://127.0.0.1:0", loop=request.param) as served:
        yield served


@pytest.fixture
def client(served: Served) -> Iterator[Datagrams]:
    client = Datagrams(served.port("udp"))
    yield client
    client.close()


def test_pymodbus_reads_and_writes_over_udp(served: Served) -> None:
    require_module("pymodbus")
    from pymodbus.client import ModbusUdpClient

    client = ModbusUdpClient("127.0.0.1", port=served.port("udp"), timeout=DEADLINE_S, retries=0)
    assert client.connect()
    assert client.read_holding_registers(0, count=1, device_id=IMAGE).registers == [FIRST_VALUE]
    assert not client.write_registers(100, list(range(123)), device_id=IMAGE).isError()
    assert client.read_holding_registers(100, count=123, device_id=IMAGE).registers == list(range(123))
    assert not client.write_coils(0, [True, False] * 8, device_id=IMAGE).isError()
    assert client.read_coils(0, count=16, device_id=IMAGE).bits == [True, False] * 8
    assert client.read_holding_registers(2100, count=1, device_id=IMAGE).exception_code == 2
    assert client.read_holding_registers(0, count=1, device_id=77).exception_code == 0x0A
    assert client.read_holding_registers(0, count=1, device_id=SLOW).registers == [1]
    client.close()
    assert served.counters.clients == served.counters.connections == 0
    assert served.counters.requests == 8
    assert served.counters.exceptions == 2


def test_each_request_of_a_datagram_has_an_answer_in_one_of_its_own(client: Datagrams) -> None:
    client.send(b"".join(adu(tid, IMAGE, READ) for tid in range(MAX_FRAMES)))

    answers = {client.receive() for _ in range(MAX_FRAMES)}
    assert answers == {adu(tid, IMAGE, READ_ANSWER) for tid in range(MAX_FRAMES)}


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\0",
        adu(1, IMAGE, READ)[:-1],
        adu(1, IMAGE, READ) + b"\0",
        adu(1, IMAGE, WRITE) + hexed("0002 0001 0006 01 06 0001 0009"),
        adu(1, IMAGE, WRITE) + hexed("0002 0000 0001 01"),
        hexed("0001 0000 00FF") + bytes(255),
        adu(1, IMAGE, hexed("83 02")),
        b"".join(adu(tid, IMAGE, WRITE) for tid in range(MAX_FRAMES + 1)),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_a_datagram_with_something_wrong_is_dropped_as_a_whole(
    served: Served, client: Datagrams, datagram: bytes
) -> None:
    client.send(datagram)

    assert client.ask(adu(2, IMAGE, READ)) == adu(2, IMAGE, READ_ANSWER)
    assert not client.has_more
    assert served.counters.broken == 1
    assert served.counters.requests == 1
    assert served.registers(1, 1) == [0]


def test_a_request_that_comes_again_while_it_is_worked_on_is_done_once(served: Served, client: Datagrams) -> None:
    served.slow.delay_s = None
    for _ in range(3):
        client.send(adu(1, SLOW, WRITE))
    client.send(adu(2, SLOW, WRITE))
    wait_until(lambda: served.counters.requests == 2)
    wait_until(lambda: served.counters.twins == 2)
    assert served.slow.asked == [WRITE]

    served.slow.delay_s = 0.0
    served.call(served.slow.release)

    assert {client.receive(), client.receive()} == {adu(1, SLOW, WRITE), adu(2, SLOW, WRITE)}
    assert served.slow.asked == [WRITE, WRITE]
    assert not client.has_more
    assert client.ask(adu(1, SLOW, WRITE)) == adu(1, SLOW, WRITE)
    assert len(served.slow.asked) == 3


def test_the_same_request_of_another_client_is_another(served: Served, client: Datagrams) -> None:
    served.slow.delay_s = None
    other = Datagrams(served.port("udp"))
    client.send(adu(1, SLOW, READ))
    other.send(adu(1, SLOW, READ))
    wait_until(lambda: len(served.slow.asked) == 2)
    served.call(served.slow.release)

    assert client.receive() == other.receive() == adu(1, SLOW, hexed("03 02 0002"))
    other.close()


def test_who_waits_for_a_slow_device_gets_the_image_meanwhile(served: Served, client: Datagrams) -> None:
    served.slow.delay_s = None
    client.send(adu(1, SLOW, READ))

    assert client.ask(adu(2, IMAGE, READ)) == adu(2, IMAGE, READ_ANSWER)
    served.call(served.slow.release)
    assert client.receive() == adu(1, SLOW, hexed("03 02 0001"))


def test_more_than_may_wait_are_dropped_and_counted(served: Served, client: Datagrams) -> None:
    served.slow.delay_s = None
    for tid in range(MAX_WAITING_PER_ADDRESS + 3):
        client.send(adu(tid, SLOW, READ))
    wait_until(lambda: served.counters.dropped == 3)

    served.slow.delay_s = 0.0
    served.call(served.slow.release)
    answers = {client.receive()[:2] for _ in range(MAX_WAITING_PER_ADDRESS)}
    assert answers == {tid.to_bytes(2, "big") for tid in range(MAX_WAITING_PER_ADDRESS)}
    assert client.ask(adu(99, SLOW, READ))[:2] == b"\0\x63"


def test_addresses_are_forgotten_and_still_answered(served: Served) -> None:
    first = Datagrams(served.port("udp"))
    assert first.ask(adu(1, IMAGE, READ)) == adu(1, IMAGE, READ_ANSWER)
    for tid in range(MAX_ADDRESSES + 10):
        other = Datagrams(served.port("udp"))
        assert other.ask(adu(tid, IMAGE, READ)) == adu(tid, IMAGE, READ_ANSWER)
        other.close()
    assert first.ask(adu(2, IMAGE, READ)) == adu(2, IMAGE, READ_ANSWER)
    first.close()


def test_a_server_never_answers_itself(served: Served) -> None:
    """A datagram with the sender forged: as if a socket of ours on that port had sent it."""
    port = served.port("udp")
    other = Datagrams(port)
    other.socket.bind(("127.0.0.2", port))
    other.send(adu(1, IMAGE, WRITE))
    wait_until(lambda: served.counters.dropped == 1)

    assert not other.has_more
    assert served.registers(1, 1) == [0]
    other.close()


def test_answers_still_to_come_leave_before_the_end(served: Served, client: Datagrams) -> None:
    served.slow.delay_s = None
    client.send(adu(1, SLOW, READ))
    wait_until(lambda: served.slow.asked)

    async def end() -> None:
        served.server.stop_accepting()
        served.loop.call_later(0.05, served.slow.release)
        await served.server.drained(5.0)

    begun_s = time.monotonic()
    served.run(end())
    assert time.monotonic() - begun_s < 4
    assert client.receive() == adu(1, SLOW, hexed("03 02 0001"))
    client.send(adu(2, IMAGE, READ))
    wait_until(lambda: served.counters.dropped == 1)


def test_a_reload_keeps_a_listener_and_what_waits_on_it(served: Served, client: Datagrams) -> None:
    served.slow.delay_s = None
    client.send(adu(1, SLOW, READ))
    wait_until(lambda: served.slow.asked)
    served.listen("udp://127.0.0.1:0", "tcp://127.0.0.1:0")
    served.call(served.slow.release)

    assert client.receive() == adu(1, SLOW, hexed("03 02 0001"))
    served.listen("tcp://127.0.0.1:0")
    assert served.log.count(rf"^no longer listening on udp://127.0.0.1:{served.port('udp')}$") == 1


def test_a_port_in_use_is_told_with_its_owner(served: Served) -> None:
    port = served.port("udp")
    with pytest.raises(Exception, match=rf"cannot listen on udp://127.0.0.1:{port}: the port is in use by .*process"):
        served.listen("udp://127.0.0.1:0", f"udp://127.0.0.1:{port}")
    client = Datagrams(port)
    assert client.ask(adu(1, IMAGE, READ)) == adu(1, IMAGE, READ_ANSWER)
    client.close()


def test_ipv6_is_served_too() -> None:
    with Served("udp://[::1]:0") as served:
        client = Datagrams(served.port("udp"), "::1")
        assert client.ask(adu(1, IMAGE, READ)) == adu(1, IMAGE, READ_ANSWER)
        client.close()


def test_the_longest_frames_fit(served: Served, client: Datagrams) -> None:
    values = bytes(range(246))
    assert client.ask(adu(1, IMAGE, hexed("10 0000 007B F6") + values)) == adu(1, IMAGE, hexed("10 0000 007B"))
    answer = client.ask(adu(2, IMAGE, hexed("03 0000 007D")))
    assert answer == adu(2, IMAGE, b"\x03\xfa" + values + bytes(4))
    assert struct.unpack(">H", answer[4:6]) == (253,)


def test_requests_per_second_hold() -> None:
    with Served("udp://127.0.0.1:0", limits=Limits.model_construct(requests_per_second=5)) as served:
        client = Datagrams(served.port("udp"))
        for tid in range(50):
            client.send(adu(tid, IMAGE, READ))
        wait_until(lambda: served.counters.requests + served.counters.dropped == 50)
        assert served.counters.requests < 10
        client.close()


def only(served: Served, may: str, network: str = "127.0.0.0/8") -> None:
    """From now on, as after a reload."""

    def change() -> None:
        served.gate.access = Access((Rule.model_validate({"from": network, "may": may}),))
        served.gate.generation += 1

    served.call(change)


def test_rules_hold_and_change_with_a_reload(served: Served, client: Datagrams) -> None:
    assert client.ask(adu(1, IMAGE, WRITE)) == adu(1, IMAGE, WRITE)
    only(served, "read")
    assert client.ask(adu(2, IMAGE, READ)) == adu(2, IMAGE, READ_ANSWER)
    assert client.ask(adu(3, IMAGE, WRITE)) == adu(3, IMAGE, hexed("86 01"))
    only(served, "write", "10.0.0.0/8")
    client.send(adu(4, IMAGE, READ))
    wait_until(lambda: served.counters.dropped == 1)
    assert not client.has_more


def test_what_waits_for_its_turn_is_judged_by_the_rules_of_its_turn(served: Served, client: Datagrams) -> None:
    served.slow.delay_s = None
    client.send(adu(1, SLOW, READ))
    client.send(adu(2, SLOW, WRITE))
    wait_until(lambda: served.counters.requests == 2)
    only(served, "read")
    served.call(served.slow.release)

    assert {client.receive(), client.receive()} == {adu(1, SLOW, hexed("03 02 0001")), adu(2, SLOW, hexed("86 01"))}
    assert served.slow.asked == [READ]


def test_what_waits_is_not_asked_for_who_may_do_nothing_any_more(served: Served, client: Datagrams) -> None:
    served.slow.delay_s = None
    client.send(adu(1, SLOW, READ))
    client.send(adu(2, SLOW, WRITE))
    wait_until(lambda: served.counters.requests == 2)
    only(served, "write", "10.0.0.0/8")
    served.call(served.slow.release)

    assert client.receive() == adu(1, SLOW, hexed("03 02 0001"))
    assert served.slow.asked == [READ]
    assert not client.has_more
