"""The TCP side over real sockets: splits, joins, broken headers, clients that behave badly, limits.

TCP guide V1.0b 3.1.3 and 4.2, protocol digest 2.1 to 2.5, and what the configuration promises about connections.
"""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.support.process import Running, running
from tests.support.until import wait_until
from tests.support.wire import Adu, Closed, Wire, adu, hexed

PLANT = """
server: {listen: "tcp://127.0.0.1:0"SERVER}
units:
  1: {holding: 0..9999, input: 0..999, initial: {"holding:9000": [1, 2, 3]}}
"""

READ = hexed("03 2328 0003")
ANSWER = hexed("03 06 0001 0002 0003")
READ_MOST = hexed("03 0000 007D")
ANSWER_MOST_SIZE = 9 + 250

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")


def plant(server: str = "") -> str:
    return PLANT.replace("SERVER", f", {server}" if server else "")


@pytest.fixture(scope="module")
def gateway(start: Start) -> Running:
    return start(plant())


@pytest.fixture
def wire(gateway: Running) -> Iterator[Wire]:
    with Wire(gateway.port) as wire:
        yield wire


@pytest.fixture
def turns(gateway: Running) -> Iterator[Callable[[], None]]:
    """Returns when the server has had its turn: whatever was sent before on another connection has been received."""
    with Wire(gateway.port) as other:

        def turns() -> None:
            for _ in range(2):
                other.ask(READ)

        yield turns


def serves(gateway: Running) -> None:
    """Another client is served as if nothing were."""
    with Wire(gateway.port) as other:
        assert other.ask(READ) == ANSWER


# -- splits and joins


def test_a_request_that_arrives_byte_by_byte_is_answered_once_and_whole(wire: Wire, turns: Callable[[], None]) -> None:
    for byte in adu(0x0102, 1, READ):
        wire.send(bytes((byte,)))
        turns()

    assert wire.receive_adu() == (0x0102, 0, 1, ANSWER)
    assert wire.ask(READ) == ANSWER


@pytest.mark.parametrize("unit", [1, 99], ids=["of a unit there is", "of an unknown unit"])
def test_two_requests_split_anywhere_are_answered_in_order(wire: Wire, turns: Callable[[], None], unit: int) -> None:
    stream = adu(1, 1, READ) + adu(2, unit, hexed("10 0000 0001 02 0007")) + adu(3, 1, READ)
    middle = hexed("10 0000 0001") if unit == 1 else hexed("90 0A")

    for cut in range(1, len(stream)):
        wire.send(stream[:cut])
        turns()
        wire.send(stream[cut:])
        answers = [wire.receive_adu() for _ in range(3)]
        assert answers == [(1, 0, 1, ANSWER), (2, 0, unit, middle), (3, 0, 1, ANSWER)], f"cut after {cut} bytes"


def test_a_request_that_ends_in_the_segment_of_the_next_is_answered_at_once(
    wire: Wire, turns: Callable[[], None]
) -> None:
    wire.send(adu(1, 1, READ) + adu(2, 1, READ)[:5])
    assert wire.receive_adu() == (1, 0, 1, ANSWER)

    turns()
    wire.send(adu(2, 1, READ)[5:])
    assert wire.receive_adu() == (2, 0, 1, ANSWER)


def test_5000_pipelined_requests_are_answered_in_order_with_their_transaction_ids(wire: Wire) -> None:
    count = 5000
    requests = b"".join(adu(tid, 1, hexed(f"06 {tid % 5000:04X} {tid ^ 0x5A5A:04X}")) for tid in range(count))
    sender = threading.Thread(target=wire.socket.sendall, args=(requests,))
    sender.start()

    for tid in range(count):
        assert wire.receive_adu() == (tid, 0, 1, hexed(f"06 {tid % 5000:04X} {tid ^ 0x5A5A:04X}"))
    sender.join()


def test_pipelined_writes_and_reads_see_each_other_in_the_order_they_were_sent(wire: Wire) -> None:
    count = 1000
    requests = b"".join(
        adu(2 * i, 1, hexed(f"06 0005 {i:04X}")) + adu(2 * i + 1, 1, hexed("03 0004 0003")) for i in range(count)
    )
    wire.ask(hexed("10 0004 0003 06 0000 0000 0000"))
    sender = threading.Thread(target=wire.socket.sendall, args=(requests,))
    sender.start()

    for i in range(count):
        assert wire.receive_adu() == (2 * i, 0, 1, hexed(f"06 0005 {i:04X}"))
        assert wire.receive_adu() == (2 * i + 1, 0, 1, hexed(f"03 06 0000 {i:04X} 0000"))
    sender.join()


def test_the_longest_pdu_is_received_whole(wire: Wire) -> None:
    longest = hexed("08 0000") + bytes(range(250))

    assert len(longest) == 253
    assert wire.ask(longest) == longest


def test_all_registers_of_a_write_change_at_once_for_every_reader(gateway: Running) -> None:
    rounds = 300
    with Wire(gateway.port) as writer, Wire(gateway.port) as reader:
        writer.ask(hexed("10 03E8 007B F6") + bytes(246))
        reads = b"".join(adu(tid, 1, hexed("03 03E8 007B")) for tid in range(rounds))
        writes = b"".join(
            adu(tid, 1, hexed("10 03E8 007B F6") + (tid + 1).to_bytes(2, "big") * 123) for tid in range(rounds)
        )
        senders = [
            threading.Thread(target=writer.socket.sendall, args=(writes,)),
            threading.Thread(target=reader.socket.sendall, args=(reads,)),
            threading.Thread(target=lambda: [writer.receive_adu() for _ in range(rounds)]),
        ]
        for sender in senders:
            sender.start()
        torn = [
            answer.pdu.hex()
            for answer in (reader.receive_adu() for _ in range(rounds))
            if answer.pdu[2:4] * 123 != answer.pdu[2:]
        ]
        for sender in senders:
            sender.join()

    assert torn == []


# -- headers that cannot be, and lengths that disagree


BROKEN = [
    ("protocol id 0001", "0009 0001 0006 01 03 2328 0003"),
    ("protocol id FFFF", "0009 FFFF 0006 01 03 2328 0003"),
    ("protocol id 0100", "0009 0100 0006 01 03 2328 0003"),
    ("length 0", "0009 0000 0000 01 03 2328 0003"),
    ("length 1", "0009 0000 0001 01 03 2328 0003"),
    ("length 255", "0009 0000 00FF 01 03 2328 0003"),
    ("length 256", "0009 0000 0100 01 03 2328 0003"),
    ("length 65535", "0009 0000 FFFF 01 03 2328 0003"),
]


@pytest.mark.parametrize(("fault", "frame"), BROKEN, ids=[fault for fault, _ in BROKEN])
def test_a_broken_header_closes_the_connection_after_what_was_good_is_answered(
    gateway: Running, wire: Wire, fault: str, frame: str
) -> None:
    wire.send(adu(1, 1, READ) + adu(2, 1, READ_MOST) + hexed(frame) + adu(3, 1, READ))

    assert wire.receive_adu() == (1, 0, 1, ANSWER)
    assert wire.receive_adu()[:3] == (2, 0, 1)
    wire.expect_close()
    serves(gateway)


def test_a_broken_header_that_comes_in_parts_closes_the_connection(wire: Wire, turns: Callable[[], None]) -> None:
    wire.send(hexed("0009 00"))
    turns()
    wire.send(hexed("07 0006"))

    wire.expect_close()


def test_an_impossible_length_closes_at_once_although_nothing_of_it_has_come(wire: Wire) -> None:
    wire.send(hexed("0009 0000 FFFF"))

    wire.expect_close()


def test_1000_good_requests_before_a_broken_one_are_all_answered(wire: Wire) -> None:
    good = b"".join(adu(tid, 1, READ) for tid in range(1000))
    wire.send(good + hexed("0009 0000 0000"))

    for tid in range(1000):
        assert wire.receive_adu() == (tid, 0, 1, ANSWER)
    wire.expect_close()


DISAGREEING = [
    ("shorter than a read needs", "03 2328 00", "83 03"),
    ("longer than a read needs", "03 2328 0003 0000", "83 03"),
    ("a function alone", "03", "83 03"),
    ("shorter than its byte count says", "10 0000 0002 04 0000", "90 03"),
    ("longer than its byte count says", "10 0000 0001 02 0000 0000", "90 03"),
    ("as long as can be", "03 2328 0003" + "00" * 248, "83 03"),
]


@pytest.mark.parametrize(("how", "pdu", "refusal"), DISAGREEING, ids=[how for how, _, _ in DISAGREEING])
def test_a_frame_whose_length_disagrees_with_its_pdu_is_refused_and_consumed_whole(
    wire: Wire, how: str, pdu: str, refusal: str
) -> None:
    wire.send(adu(1, 1, hexed(pdu)) + adu(2, 1, READ))

    assert wire.receive_adu() == (1, 0, 1, hexed(refusal))
    assert wire.receive_adu() == (2, 0, 1, ANSWER)


# -- clients that leave


def test_a_client_that_closes_its_sending_side_still_gets_all_answers(wire: Wire) -> None:
    wire.send(b"".join(adu(tid, 1, READ) for tid in range(100)))
    wire.half_close()

    for tid in range(100):
        assert wire.receive_adu() == (tid, 0, 1, ANSWER)
    wire.expect_close()


@pytest.mark.parametrize("count", [512, 513, 2000, 5000])
def test_a_client_that_reads_only_after_closing_its_sending_side_gets_all_answers(gateway: Running, count: int) -> None:
    with Wire(gateway.port) as wire:
        wire.send(b"".join(adu(tid, 1, READ) for tid in range(count)))
        wire.half_close()
        serves(gateway)

        for tid in range(count):
            assert wire.receive_adu() == (tid, 0, 1, ANSWER)
        wire.expect_close()


@linux_only
def test_a_paused_client_that_closes_its_sending_side_still_gets_all_answers(gateway: Running) -> None:
    with Wire(gateway.port, receive_buffer=4096) as wire:
        sent = fill(gateway, wire)

        def close_later() -> None:
            wire.socket.sendall(BLOCK[sent % len(BLOCK) :][: -sent % 12])
            wire.half_close()

        wire.socket.settimeout(10.0)
        closer = threading.Thread(target=close_later)
        closer.start()
        for index in range((sent + 11) // 12):
            answer = wire.receive_adu()
            assert (answer.tid, len(answer.pdu)) == (index % 1024, 252)
        wire.expect_close()
        closer.join()


def test_half_a_request_before_the_end_is_forgotten(gateway: Running, wire: Wire) -> None:
    wire.send(adu(1, 1, READ) + adu(2, 1, READ)[:9])
    wire.half_close()

    assert wire.receive_adu() == (1, 0, 1, ANSWER)
    wire.expect_close()
    serves(gateway)


def test_clients_that_vanish_with_a_reset_disturb_nobody(gateway: Running) -> None:
    for size in (0, 5, 12, 12_000):
        wire = Wire(gateway.port)
        wire.send((adu(1, 1, READ_MOST) * 1000)[:size])
        wire.abort()
    serves(gateway)


# -- clients that do not read


BLOCK = b"".join(adu(tid, 1, READ_MOST) for tid in range(1024))
ENOUGH = 4_000_000
"""Bytes of requests that nobody should take from a client that does not read: their answers are 86 MB."""


def unread(gateway: Running, wire: Wire) -> int:
    """Bytes of `wire` that have arrived at the gateway's socket and were not read from it (proc(5), /proc/net/tcp)."""
    ends = f":{gateway.port:04X}", f":{wire.local_port:04X}"
    for row in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, queues, *_ = row.split()
        if (local[-5:], remote[-5:]) == ends:
            return int(queues.split(":")[1], 16)
    raise AssertionError("the gateway has closed the connection")


def fill(gateway: Running, deaf: Wire) -> int:
    """Send reads of 125 registers until the gateway leaves them unread. How many bytes were sent; others are served."""
    deaf.socket.setblocking(False)
    sent = steady = left = 0
    with Wire(gateway.port) as other:

        def paused() -> bool:
            nonlocal sent, steady, left
            before, left = left, unread(gateway, deaf)
            steady = steady + 1 if left and left == before else 0
            if not left:
                with contextlib.suppress(BlockingIOError):
                    sent += deaf.socket.send(BLOCK[sent % len(BLOCK) :][: 1000 + sent % 4999])
            for _ in range(10):
                assert other.ask(READ) == ANSWER
            assert sent < ENOUGH, "a client that does not read is not paused"
            return steady > 5

        wait_until(paused, 15.0, "the gateway stops reading from a client that does not read")
    return sent


@linux_only
def test_a_client_that_does_not_read_is_paused_and_gets_everything_later(gateway: Running) -> None:
    with Wire(gateway.port, receive_buffer=4096) as deaf:
        serves(gateway)
        before = gateway.rss_bytes()
        sent = fill(gateway, deaf)
        grown = gateway.rss_bytes() - before
        assert grown < 8_000_000, f"{grown} bytes kept for {sent // 12} requests of a client that does not read"

        for index in range(sent // 12):
            answer = deaf.receive_adu()
            assert (answer.tid, len(answer.pdu)) == (index % 1024, 252)
        rest = BLOCK[sent % len(BLOCK) :][: -sent % 12]
        deaf.send(rest + adu(7, 1, READ))
        if rest:
            assert len(deaf.receive_adu().pdu) == 252
        assert deaf.receive_adu() == (7, 0, 1, ANSWER)


@linux_only
def test_a_client_that_never_reads_does_not_keep_it_from_ending(start: Start) -> None:
    gateway = start(plant())
    with Wire(gateway.port, receive_buffer=4096) as deaf:
        fill(gateway, deaf)
        serves(gateway)

        assert gateway.stop() == 0


# -- many clients, limits


@contextlib.contextmanager
def many_clients(port: int, count: int) -> Iterator[list[socket.socket]]:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 200
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"this process may open {hard} files, {wanted} are needed")
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    clients: list[socket.socket] = []
    try:
        for _ in range(count):
            clients.append(socket.create_connection(("127.0.0.1", port), 5.0))
        yield clients
    finally:
        for client in clients:
            client.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@linux_only
def test_1000_idle_clients_cost_little_while_one_is_served(start: Start) -> None:
    with many_clients(1, 0):  # raises the limit of files before the gateway inherits it
        pass
    gateway = start(plant("max_connections: 1001"))
    with Wire(gateway.port) as busy:
        busy.ask(READ)
        before = gateway.rss_bytes()
        with many_clients(gateway.port, 1000) as idle:
            last = idle[-1]
            last.sendall(adu(7, 1, READ))
            assert last.recv(100) == adu(7, 1, ANSWER), "the last one came in, so all did"
            for _ in range(200):
                assert busy.ask(READ) == ANSWER
            grown = gateway.rss_bytes() - before
            assert grown < 1000 * 4096, f"{grown / 1000:.0f} bytes for an idle client"


def test_a_newcomer_beyond_the_limit_is_closed_at_once_and_told_once(start: Start) -> None:
    gateway = start(plant("max_connections: 3"))
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Wire(gateway.port)) for _ in range(3)]
        for client in clients:
            assert client.ask(READ) == ANSWER
        newcomers = []
        for _ in range(5):
            with Wire(gateway.port) as newcomer:
                newcomers.append(newcomer.local_port)
                newcomer.expect_close()
        for client in clients:
            assert client.ask(READ) == ANSWER

        gateway.wait_for_log(f"127.0.0.1:{newcomers[0]}.*refused")
        told = [line for line in gateway.log if "refused" in line or "max_connections" in line]
        assert len(told) == 1, "one line, not one for each"

        clients[0].close()
        wait_until(lambda: served(gateway.port), what="a place that became free is given to the next")


def served(port: int) -> bool:
    with Wire(port) as wire:
        try:
            return wire.ask(READ) == ANSWER
        except (Closed, ConnectionError):
            return False


def test_an_idle_client_is_closed_and_a_busy_one_is_not(start: Start) -> None:
    gateway = start(plant("idle_timeout: 300ms"))
    with Wire(gateway.port) as busy, Wire(gateway.port) as idle, Wire(gateway.port) as half:
        assert idle.ask(READ) == ANSWER
        half.send(adu(1, 1, READ)[:7])
        ends = {idle.local_port: idle, half.local_port: half}

        def ended() -> bool:
            assert busy.ask(READ) == ANSWER
            return all(gateway.search(f"127.0.0.1:{port} disconnected") for port in ends)

        wait_until(ended, 5.0, "the end of two clients that send nothing")
        for wire in ends.values():
            wire.expect_close()
        assert busy.ask(READ) == ANSWER


@linux_only
def test_an_idle_client_that_does_not_read_is_closed_too(tmp_path: Path) -> None:
    with running(plant(), tmp_path) as gateway, Wire(gateway.port, receive_buffer=4096) as deaf:
        port = deaf.local_port
        fill(gateway, deaf)  # takes its time: nobody is idle before it is done
        (tmp_path / "plant.yaml").write_text(plant("idle_timeout: 300ms"), encoding="utf-8")
        gateway.process.send_signal(signal.SIGHUP)

        gateway.wait_for_log(f"127.0.0.1:{port} disconnected")
        assert gateway.count(f"127.0.0.1:{port} sent nothing") <= 1, "told once"


# -- listeners and what the log tells


def test_several_listeners_serve_the_same_registers(start: Start) -> None:
    gateway = start(
        "server: {listen: [tcp://127.0.0.1:0, tcp://127.0.0.1:0, tcp://127.0.0.1:0]}\nunits: {1: {holding: 10}}\n",
        listeners=3,
    )
    ports = gateway.ports
    assert len(set(ports)) == 3
    with Wire(ports[0]) as one, Wire(ports[1]) as two, Wire(ports[2]) as three:
        assert one.ask(hexed("06 0001 1234")) == hexed("06 0001 1234")
        assert two.ask(hexed("03 0001 0001")) == hexed("03 02 1234")
        assert three.ask(hexed("06 0001 4321")) == hexed("06 0001 4321")
        assert one.ask(hexed("03 0001 0001")) == hexed("03 02 4321")


def test_an_ipv6_listener_serves_and_names_its_clients(start: Start) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no ::1")
    gateway = start('server: {listen: "tcp://[::1]:0"}\nunits: {1: {holding: 10}}\n')
    assert gateway.listening()[0][0] == "[::1]"
    with Wire(gateway.port, "::1") as wire:
        assert wire.ask(hexed("03 0000 0001")) == hexed("03 02 0000")
        gateway.wait_for_log(re.escape(f"[::1]:{wire.local_port}"))


def test_the_log_names_address_and_port_of_a_client_that_comes_and_goes(start: Start) -> None:
    gateway = start(plant())
    with Wire(gateway.port) as wire:
        port = wire.local_port
        gateway.wait_for_log(f"127.0.0.1:{port} connected")
    gateway.wait_for_log(f"127.0.0.1:{port} disconnected")


def test_the_log_tells_whose_stream_was_closed_and_why(start: Start) -> None:
    gateway = start(plant())
    with Wire(gateway.port) as wire:
        port = wire.local_port
        wire.send(hexed("0009 0001 0006 01 03 2328 0003"))
        wire.expect_close()
    gateway.wait_for_log(f"127.0.0.1:{port}.*protocol id 0001")
    with Wire(gateway.port) as wire:
        port = wire.local_port
        wire.send(hexed("0009 0000 00FF"))
        wire.expect_close()
    gateway.wait_for_log(f"127.0.0.1:{port}.*length 255")


def test_clients_that_come_and_go_do_not_fill_the_log(start: Start) -> None:
    gateway = start(plant())
    for _ in range(500):
        with Wire(gateway.port) as wire:
            assert wire.ask(READ) == ANSWER

    assert len(gateway.log) < 250


def test_a_request_is_answered_whatever_the_transaction_id(wire: Wire) -> None:
    for tid in (0, 1, 0x7FFF, 0x8000, 0xFFFF):
        wire.send(adu(tid, 1, READ))
        assert wire.receive_adu() == Adu(tid, 0, 1, ANSWER)
