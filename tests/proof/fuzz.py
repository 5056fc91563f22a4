"""Any bytes in any split, on every door for clients and as answers on every way to a device.

For each door one gateway that has it. While it is attacked a client on another door checks values that nothing may
change, own ones and those of a healthy device of a foreign make; from time to time an honest client asks through the
attacked door itself. It holds when our log has no exception, no honest answer was wrong or lost, and memory is flat.

A door is one row of a table: a scheme that the gateway does not know is told as a failure, with its reason.

Run from the repository root: python -m tests.proof.fuzz --help
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import select
import socket
import ssl
import struct
import sys
import threading
import time
import tty
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

from tests.proof import certificates, harness
from tests.proof.attack import Attack, Framing, Piece, pack
from tests.proof.harness import HOST, CannotRun, Control, Question, Report, Vitals, exactly
from tests.support.devices import free_port, pymodbus_plc
from tests.support.until import wait_until
from tests.support.wire import Wire

MINUTES = 10.0
ATTACKERS = {"tcp": 6, "tls": 4, "udp": 3, "serial": 1}
HOSTILE = {"tcp": 16, "tls": 8, "udp": 16, "serial": 2, "dial-in": 8}
"""Devices; after an impossible answer a way is tried again only after a pause, so one alone would rest mostly."""
HONEST_EVERY = 40
"""Strokes of the first attacker between two honest questions through the attacked door."""
HONEST_S = 5.0
QUIET_S = 0.3
"""Silence after which a line is free for an honest question."""
MAX_GROWTH_KB = 4096.0
"""Of memory, after the first third: what the allocator moves to and fro. A leak of 100 bytes a stroke would pass it."""
LEAST_STROKES_PER_S = 1.0
"""Fewer, and the door was hardly attacked at all. Ways to devices rest between time-outs and reconnects."""
UNITS_OF_A_LINE = 8
"""Devices on each serial line: one that is silent is left alone for long, the next one's turn comes at once."""

KNOWN = bytes(range(1, 21))
"""Ten registers that no client may change."""


class Door(NamedTuple):
    scheme: str
    carrier: Literal["tcp", "udp", "tls", "serial", "dial-in"]
    framing: Framing


SERVER_DOORS = (
    Door("tcp", "tcp", "mbap"),
    Door("udp", "udp", "mbap"),
    Door("tls", "tls", "mbap"),
    Door("rtu+tcp", "tcp", "rtu"),
    Door("ascii+tcp", "tcp", "ascii"),
    Door("rtu", "serial", "rtu"),
    Door("ascii", "serial", "ascii"),
)
DEVICE_DOORS = (
    *SERVER_DOORS,
    Door("listen+tcp", "dial-in", "mbap"),
    Door("listen+rtu+tcp", "dial-in", "rtu"),
    Door("listen+ascii+tcp", "dial-in", "ascii"),
)
NAMES = tuple([f"server:{door.scheme}" for door in SERVER_DOORS] + [f"device:{door.scheme}" for door in DEVICE_DOORS])


class Tally:
    """What was done to a door, and what was wrong."""

    def __init__(self) -> None:
        self.strokes = 0
        self.bytes = 0
        self.honest = 0
        self.wrong: list[str] = []
        self._lock = threading.Lock()

    def stroke(self, pieces: Sequence[Piece]) -> None:
        with self._lock:
            self.strokes += 1
            self.bytes += sum(len(piece.data) for piece in pieces)


Attacker = Callable[[threading.Event], None]


@contextlib.contextmanager
def at_work(attackers: Sequence[Attacker]) -> Iterator[None]:
    """All of them, each in a thread of its own, until the block ends. What one of them raises is a bug of the proof."""
    end = threading.Event()
    threads = [threading.Thread(target=each, args=(end,), daemon=True) for each in attackers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        end.set()
        for thread in threads:
            thread.join(20.0)


# -- lines ------------------------------------------------------------------------------------------------------


class Pty:
    """A serial port for the gateway (`path`) and its other end for us."""

    def __init__(self) -> None:
        self.ours, self._theirs = os.openpty()
        tty.setraw(self._theirs)
        tty.setraw(self.ours)
        os.set_blocking(self.ours, False)
        self.path = os.ttyname(self._theirs)

    def send(self, data: bytes) -> None:
        """What does not fit in time is dropped, as on a line that nobody reads."""
        until_s = time.monotonic() + 1.0
        while data and time.monotonic() < until_s:
            select.select([], [self.ours], [], 0.1)
            with contextlib.suppress(BlockingIOError):
                data = data[os.write(self.ours, data[:1024]) :]

    def receive(self, within_s: float) -> bytes:
        """What is there, or comes within that time; empty: nothing."""
        readable, _, _ = select.select([self.ours], [], [], within_s)
        if not readable:
            return b""
        with contextlib.suppress(BlockingIOError):
            return os.read(self.ours, 4096)
        return b""

    def wait_for_silence(self) -> None:
        while self.receive(QUIET_S):
            pass

    def close(self) -> None:
        os.close(self.ours)
        os.close(self._theirs)


@contextlib.contextmanager
def ways(door: Door, count: int) -> Iterator[list[Pty]]:
    """A pty for each serial way, none for others."""
    found = [Pty() for _ in range(count)] if door.carrier == "serial" else []
    try:
        yield found
    finally:
        for pty in found:
            pty.close()


# -- the doors for clients --------------------------------------------------------------------------------------

SERVER_PLANT = """
server:
  listen: ["tcp://127.0.0.1:0", "{url}"]
  status: 2/input:0
{tls}
units:
  1:
    coils: 0..999
    discrete: 0..99
    holding: 0..999
    input: 0..299
    initial: {{"holding:500": {known}, "input:0": {known}}}
    read_only: [holding:500..599]
  9: {{forward: plc}}
devices:
  plc: {{url: "tcp://127.0.0.1:{plc}", every: 100ms, poll: [{{read: "input:0..9", to: "1/input:200"}}]}}
"""

READ_KNOWN = struct.pack(">BHH", 3, 500, 10)
ANSWER_KNOWN = bytes((3, 20)) + KNOWN
FOREIGN = struct.pack(">10H", *range(2000, 2010))
"""What the healthy device holds in input:0..9, where no forwarded write reaches it."""


def questions() -> list[Question]:
    return [
        Question(1, READ_KNOWN, exactly(ANSWER_KNOWN)),
        Question(1, struct.pack(">BHH", 4, 0, 10), exactly(bytes((4, 20)) + KNOWN)),
        Question(1, struct.pack(">BHH", 4, 200, 10), exactly(bytes((4, 20)) + FOREIGN)),
    ]


def known_registers() -> str:
    return str(list(struct.unpack(">10H", KNOWN)))


def attack_server(
    door: Door, port: int, pty: Pty | None, client: ssl.SSLContext | None, seed: str, number: int, tally: Tally
) -> Attacker:
    attack = Attack(f"{seed} {number}", door.framing)
    one = {"udp": _udp_stroke, "serial": _serial_stroke}.get(door.carrier, _stream_stroke)

    def run(end: threading.Event) -> None:
        strokes = 0
        held: list[socket.socket] = []
        while not end.is_set():
            pieces = attack.stroke()
            with contextlib.suppress(OSError):  # it may be closed while it is still being sent to
                one(Target(port, pty, client, held, attack.random), pieces)
            tally.stroke(pieces)
            strokes += 1
            if number == 0 and strokes % HONEST_EVERY == 0:
                wrong = ask_honestly(door, port, pty, client)
                tally.honest += 1
                if wrong:
                    tally.wrong.append(wrong)
        for each in held:
            each.close()

    return run


class Target(NamedTuple):
    port: int
    pty: Pty | None
    client: ssl.SSLContext | None
    held: list[socket.socket]
    """Connections that are left idle, with half a frame, or with answers that nobody fetches."""
    random: random.Random


MAX_HELD = 20


def _connect(port: int, client: ssl.SSLContext | None, timeout_s: float = HONEST_S) -> socket.socket:
    plain = socket.create_connection((HOST, port), timeout_s)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if client is None:
        return plain
    try:
        return client.wrap_socket(plain, server_hostname="localhost")
    except BaseException:
        plain.close()
        raise


def _stream_stroke(target: Target, pieces: Sequence[Piece]) -> None:
    rnd = target.random
    in_clear = rnd.random() < 0.3  # to a TLS door: what is no handshake
    connection = _connect(target.port, None if in_clear else target.client)
    connection.settimeout(0.2)
    for data, pause_s in pieces:
        connection.sendall(data)
        if pause_s:
            time.sleep(pause_s)
    how = rnd.randrange(5)
    if how == 0:  # leave it as it is
        target.held.append(connection)
        if len(target.held) > MAX_HELD:
            target.held.pop(0).close()
        return
    if how == 1:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif how in (2, 3):
        if how == 2 and not isinstance(connection, ssl.SSLSocket):
            connection.shutdown(socket.SHUT_WR)
        connection.settimeout(0.02)
        with contextlib.suppress(OSError):
            while connection.recv(65536):
                pass
    connection.close()


def _udp_stroke(target: Target, pieces: Sequence[Piece]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect((HOST, target.port))
        for data, pause_s in pieces:
            sender.send(data[:60_000])
            time.sleep(pause_s or 0.0005)  # what the system drops attacks nobody


def _serial_stroke(target: Target, pieces: Sequence[Piece]) -> None:
    assert target.pty is not None
    for data, pause_s in pieces:
        target.pty.send(data[:2000])
        time.sleep(pause_s)
    while target.pty.receive(target.random.choice((0.0, 0.005, 0.05))):
        pass


RESTART = bytes.fromhex("0800010000")
"""Restart communications (V1.1b3 6.8.1)."""


def ask_honestly(door: Door, port: int, pty: Pty | None, client: ssl.SSLContext | None) -> str:
    """Through the attacked door; empty: the answer was right. Datagrams and lines may lose one, and are asked again."""
    request = pack(door.framing, 7, 1, READ_KNOWN)
    expected = pack(door.framing, 7, 1, ANSWER_KNOWN)
    got = b""
    for attempt in range(3 if door.carrier in ("udp", "serial") else 1):
        if attempt and pty is not None:  # an attacker may have asked for silence (08/04), which ends by 08/01
            pty.wait_for_silence()
            pty.send(pack(door.framing, 7, 1, RESTART))
        try:
            got = _exchange(door, port, pty, client, request, len(expected))
        except OSError as error:
            got = b""
            wrong = f"an honest client: {error}"
        else:
            wrong = "" if got == expected else f"an honest client got {got.hex()} instead of {expected.hex()}"
        if not wrong:
            return ""
    return wrong


def _exchange(
    door: Door, port: int, pty: Pty | None, client: ssl.SSLContext | None, request: bytes, size: int
) -> bytes:
    got = b""
    if pty is not None:
        pty.wait_for_silence()
        pty.send(request)
        until_s = time.monotonic() + HONEST_S
        while len(got) < size and time.monotonic() < until_s:
            got += pty.receive(0.5)
        return got
    if door.carrier == "udp":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.settimeout(HONEST_S / 3)
            sender.connect((HOST, port))
            sender.send(request)
            return sender.recv(65536)
    with _connect(port, client) as connection:
        connection.sendall(request)
        while len(got) < size and (part := connection.recv(size - len(got))):
            got += part
    return got


def prove_server(door: Door, name: str, seconds: float, seed: int, directory: Path, plc: int, report: Report) -> None:
    port = free_port()
    with ways(door, 1) as ptys:
        url = f"{door.scheme}://{ptys[0].path}?baudrate=115200" if ptys else f"{door.scheme}://{HOST}:{port}"
        is_secure = door.carrier == "tls"
        tls = certificates.section(directory) if is_secure else ""
        client = certificates.client_context(directory) if is_secure else None
        yaml = SERVER_PLANT.format(url=url, known=known_registers(), plc=plc, tls=tls)
        tally = Tally()
        attackers = [
            attack_server(door, port, ptys[0] if ptys else None, client, f"{seed} {name}", number, tally)
            for number in range(ATTACKERS[door.carrier])
        ]
        judge(name, yaml, directory, seconds, attackers, (), tally, report)


# -- the ways to devices ----------------------------------------------------------------------------------------

DEVICE_PLANT = """
server:
  listen: ["tcp://127.0.0.1:0"]
{tls}
units:
  1:
    coils: 0..99
    holding: 0..999
    input: 0..999
    initial: {{"holding:500": {known}, "input:0": {known}}}
    read_only: [holding:500..599]
{routes}
devices:
  plc: {{url: "tcp://127.0.0.1:{plc}", every: 100ms, poll: [{{read: "input:0..9", to: "1/input:200"}}]}}
{devices}
"""
ROUTE = "  {unit}: {{forward: h{number}, timeout: 200ms}}"
DEVICE = """
  h{number}:
    url: "{url}"
    unit: {unit}
    timeout: 100ms
    every: 20ms
    poll:
      - {{read: "holding:0..9", to: "1/input:{first}"}}
      - {{read: "coils:0..9", to: "1/discrete:{first}"}}
    push: [{{write: "holding:50..51", from: "1/holding:0", every: 100ms}}]
"""
FIRST_ROUTE = 20


def right_answer(framing: Framing, request: bytes) -> bytes | None:
    """By the book, as a frame; None: the request is not whole."""
    if framing == "mbap":
        tid, unit, pdu = int.from_bytes(request[:2], "big"), request[6] if len(request) > 6 else 0, request[7:]
    elif framing == "rtu":
        tid, unit, pdu = 0, request[0], request[1:-2]
    else:
        try:
            body = bytes.fromhex(request.strip()[1:].decode())
        except ValueError:
            return None
        tid, unit, pdu = 0, body[0] if body else 0, body[1:-1]
    if len(pdu) < 5:
        return None
    function, first, count = struct.unpack_from(">BHH", pdu)
    if function in (1, 2) and count <= 2000:
        answer = bytes((function, (count + 7) // 8)) + bytes((count + 7) // 8)
    elif function in (3, 4) and count <= 125:
        answer = bytes((function, 2 * count)) + struct.pack(f">{count}H", *((first + n) & 0xFFFF for n in range(count)))
    elif function in (5, 6, 15, 16):
        answer = pdu[:5]
    else:
        answer = bytes((function | 0x80, 1))
    return pack(framing, tid, unit, answer)


def bad_answer(attack: Attack, request: bytes) -> list[Piece] | None:
    """What a hostile device sends; now and then it is right. None: it hangs up."""
    right = right_answer(attack.framing, request)
    chance = attack.random.random()
    if chance < 0.55 and right is not None:
        return [Piece(right)]
    if chance < 0.60:
        return []
    if chance < 0.65:
        return None
    return attack.spoil(right or request)


def hostile_stream(connection: socket.socket, attack: Attack, tally: Tally, end: threading.Event) -> None:
    """One connection of the gateway, until it is closed."""
    with contextlib.suppress(OSError), connection:
        connection.settimeout(0.5)
        if attack.random.random() < 0.1:  # before it was asked for anything
            connection.sendall(attack.request())
        while not end.is_set():
            try:
                request = connection.recv(4096)
            except TimeoutError:
                continue
            if not request:
                return
            pieces = bad_answer(attack, request)
            if pieces is None:
                return
            for data, pause_s in pieces:
                connection.sendall(data)
                time.sleep(pause_s)
            tally.stroke(pieces)


def hostile_listener(
    listener: socket.socket, attack: Attack, server: ssl.SSLContext | None, tally: Tally, end: threading.Event
) -> None:
    listener.settimeout(0.2)
    with listener:
        while not end.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = listener.accept()
                if server is not None and attack.random.random() < 0.9:
                    try:
                        connection.settimeout(2.0)
                        connection = server.wrap_socket(connection, server_side=True)
                    except OSError:
                        connection.close()
                        continue
                hostile_stream(connection, attack, tally, end)


def hostile_datagrams(receiver: socket.socket, attack: Attack, tally: Tally, end: threading.Event) -> None:
    receiver.settimeout(0.2)
    with receiver:
        while not end.is_set():
            try:
                request, peer = receiver.recvfrom(65536)
            except (TimeoutError, ConnectionError):
                continue
            pieces = bad_answer(attack, request) or []
            for data, pause_s in pieces:
                with contextlib.suppress(OSError):
                    receiver.sendto(data[:60_000], peer)
                time.sleep(pause_s)
            tally.stroke(pieces)


def hostile_line(pty: Pty, attack: Attack, tally: Tally, end: threading.Event) -> None:
    while not end.is_set():
        request = pty.receive(0.2)
        if not request:
            continue
        pieces = bad_answer(attack, request) or []
        for data, pause_s in pieces:
            pty.send(data[:600])
            time.sleep(pause_s)
        tally.stroke(pieces)


def hostile_caller(port: int, who: bytes, attack: Attack, tally: Tally, end: threading.Event) -> None:
    """A device that dials in, says who it is (or does not), and misbehaves."""
    while not end.is_set():
        with contextlib.suppress(OSError):
            connection = _connect(port, None)
            chance = attack.random.random()
            connection.sendall(who if chance < 0.7 else attack.request() if chance < 0.9 else b"")
            hostile_stream(connection, attack, tally, end)
        end.wait(0.05)


def prove_device(door: Door, name: str, seconds: float, seed: int, directory: Path, plc: int, report: Report) -> None:
    count = HOSTILE[door.carrier]
    tally = Tally()
    attackers: list[Attacker] = []
    urls: list[str] = []
    called = free_port()
    is_secure = door.carrier == "tls"
    tls = certificates.section(directory) if is_secure else ""
    server = certificates.device_context(directory) if is_secure else None
    with ways(door, count) as ptys:
        for number in range(count):
            attack = Attack(f"{seed} {name} {number}", door.framing)
            if door.carrier == "serial":
                urls.append(f"{door.scheme}://{ptys[number].path}?baudrate=115200")
                attackers.append(functools.partial(hostile_line, ptys[number], attack, tally))
            elif door.carrier == "dial-in":
                urls.append(f"{door.scheme}://{HOST}:{called}?id=meter{number}")
                attackers.append(functools.partial(hostile_caller, called, f"meter{number}".encode(), attack, tally))
            elif door.carrier == "udp":
                receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                receiver.bind((HOST, 0))
                urls.append(f"{door.scheme}://{HOST}:{receiver.getsockname()[1]}")
                attackers.append(functools.partial(hostile_datagrams, receiver, attack, tally))
            else:
                listener = socket.create_server((HOST, 0))
                urls.append(f"{door.scheme}://{HOST}:{listener.getsockname()[1]}")
                attackers.append(functools.partial(hostile_listener, listener, attack, server, tally))
        each = range(1, UNITS_OF_A_LINE + 1) if door.carrier == "serial" else (1,)
        ways_to = list(enumerate((url, unit) for url in urls for unit in each))
        devices = "".join(
            DEVICE.format(number=number, url=url, unit=unit, first=300 + 10 * number) for number, (url, unit) in ways_to
        )
        routes = "\n".join(ROUTE.format(unit=FIRST_ROUTE + number, number=number) for number, _ in ways_to)
        yaml = DEVICE_PLANT.format(known=known_registers(), plc=plc, tls=tls, devices=devices, routes=routes)
        others = [ask(number) for number, _ in ways_to for ask in (through, served)]
        judge(name, yaml, directory, seconds, attackers, others, tally, report)


def through(number: int) -> Question:
    """Whatever the hostile device says: what reaches a client answers what it asked, or refuses it."""

    def judge(answer: bytes) -> str | None:
        return None if answer[0] in (3, 0x83) else f"{answer.hex()} to a request of function 3"

    return Question(FIRST_ROUTE + number, struct.pack(">BHH", 3, 7, 3), judge)


def served(number: int) -> Question:
    """Its registers in the image: ten, or refused."""

    def judge(answer: bytes) -> str | None:
        right = answer[0] == 0x84 or (answer[:2] == b"\x04\x14" and len(answer) == 22)
        return None if right else f"{answer.hex()} to a read of ten registers"

    return Question(1, struct.pack(">BHH", 4, 300 + 10 * number, 10), judge)


# -- the verdict ------------------------------------------------------------------------------------------------


def judge(
    name: str,
    yaml: str,
    directory: Path,
    seconds: float,
    attackers: Sequence[Attacker],
    others: Sequence[Question],
    tally: Tally,
    report: Report,
) -> None:
    """Attack the gateway of `yaml`, which has this door, and add one finding.

    `others`: what a second control client asks, which may have to wait for hostile devices.
    """
    with harness.own_gateway(yaml, directory) as gateway:
        wait_for_the_plc(gateway.port)
        controls = [Control(gateway.port, ask) for ask in (questions(), others) if ask]
        with Vitals(gateway.process.pid, 0.2) as vitals, contextlib.ExitStack() as stack:
            for control in controls:
                stack.enter_context(control)
            with at_work(attackers):
                time.sleep(seconds)
    bugs = [line for line in gateway.log if harness.is_bug(line)]
    growth_kb = vitals.growth_kb()
    wrong = sum(control.complaints for control in controls) + len(tally.wrong)
    asked = sum(control.asked for control in controls) + tally.honest
    figure = (
        f"{tally.strokes:>7,} strokes, {tally.bytes / 1e6:>6.1f} MB; honest {asked:>6,}, "
        f"wrong {wrong}; exceptions {len(bugs)}; memory {growth_kb:+6,.0f} kB"
    )
    holds = not wrong and not bugs and growth_kb <= MAX_GROWTH_KB and tally.strokes >= seconds * LEAST_STROKES_PER_S
    report.check(name, figure, "", holds and all(control.asked for control in controls))
    complaints = [each for control in controls for each in control.first_complaints]
    for each in [*complaints, *tally.wrong[: harness.MAX_COMPLAINTS], *bugs[: harness.MAX_COMPLAINTS]]:
        report.note("", each)


def wait_for_the_plc(port: int) -> None:
    """Until the healthy device was read for the first time."""
    with Wire(port) as wire:
        wait_until(lambda: wire.ask(struct.pack(">BHH", 4, 200, 10))[0] == 4, 10.0, "the healthy device")


def prove(directory: Path, seconds: float, seed: int, names: Sequence[str] = NAMES, at_once: int = 1) -> Report:
    """`seconds` for each door, `at_once` doors at the same time."""
    report = Report(
        f"fuzz, seed {seed}, {seconds:g} s for each door "
        f"(bounds: no honest answer wrong or lost, no exception, memory at most +{MAX_GROWTH_KB:,.0f} kB)"
    )
    if sys.platform != "linux":
        report.cannot("fuzz", "it needs Linux: /proc and ptys")
        return report
    rows = [(f"server:{door.scheme}", door, prove_server) for door in SERVER_DOORS]
    rows += [(f"device:{door.scheme}", door, prove_device) for door in DEVICE_DOORS]

    def one(row: tuple[str, Door, Callable[..., None]], plc: int) -> None:
        name, door, prove_it = row
        folder = directory / name.replace(":", "-")
        folder.mkdir()
        try:
            prove_it(door, name, seconds, seed, folder, plc, report)
        except CannotRun as reason:
            report.check(name, f"not there: {reason}", "", False)
        harness.say(f"{name} done")

    with pymodbus_plc() as plc, ThreadPoolExecutor(at_once) as pool:
        list(pool.map(lambda row: one(row, plc.port), [row for row in rows if row[0] in names]))
    return report


def main() -> None:
    parser = harness.parser("fuzz", "Any bytes on every door.", minutes=MINUTES, seed=True)
    parser.add_argument(
        "--doors", nargs="+", choices=NAMES, default=NAMES, metavar="DOOR", help=f"of: {' '.join(NAMES)}"
    )
    args = parser.parse_args()
    seconds = args.minutes * 60 / len(args.doors)
    harness.main(lambda directory: prove(directory, seconds, args.seed, args.doors))


if __name__ == "__main__":
    main()
