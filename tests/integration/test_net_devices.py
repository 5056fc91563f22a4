"""Devices over UDP and TLS, and devices that dial in: foreign ones, and ones that do as a test says; on both loops."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.app import LoopTime
from gateway.config.urls import parse_device_url
from gateway.errors import LinkDown, MalformedResponse, RequestTimeout
from gateway.southbound import dialin, dialled
from gateway.southbound import tls as south
from gateway.southbound.dialin import DialIn
from gateway.southbound.diallers import make_dialler
from gateway.southbound.link import Link
from gateway.southbound.seams import Dial, Settings
from gateway.southbound.tcp import Resolver
from gateway.southbound.tls import Trust
from gateway.southbound.udp import udp_dialler
from gateway.tls.certificates import Certificates, Files
from gateway.tls.certs import Authority
from gateway.tls.peers import fingerprint
from tests.support.datagrams import UdpDevice, echo, udp_device
from tests.support.devices import Behaviour, ScriptedDevice, echo_zeros, free_port, pymodbus_plc, scripted
from tests.support.dtu import Dtu
from tests.support.links import DEADLINE_S, Peer, with_link
from tests.support.needs import require_module
from tests.support.process import running
from tests.support.secure import in_a_version_of_the_future
from tests.support.until import wait_until
from tests.support.wire import Wire, adu

READ_TWO = bytes.fromhex("0300000002")
TWO = bytes.fromhex("030403e803e9")
SEVEN = bytes.fromhex("03020007")
HOST = "127.0.0.1"

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine on either loop, on which no exception is left lying."""
    runner: Run = asyncio.run
    if request.param == "uvloop":
        require_module("uvloop")
        import uvloop

        runner = uvloop.run

    def run(case: Coroutine[Any, Any, None]) -> None:
        lying: list[dict[str, Any]] = []

        async def main() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: lying.append(context))
            await case

        runner(main())
        assert not lying

    return run


async def until(condition: Callable[[], object], what: str = "the condition") -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end_s, f"{what}: not within {DEADLINE_S:g} s"
        await asyncio.sleep(0.002)


async def trouble(peer: Peer, text: str) -> str:
    """The link's trouble, once it has this in it."""
    try:
        await until(lambda: text in peer.link.trouble)
    except AssertionError as error:
        raise AssertionError(f"`{text}` is not in `{peer.link.trouble}`") from error
    return peer.link.trouble


# -- UDP ------------------------------------------------------------------------------------------------------------


def udp(port: int, host: str = HOST, source: str | None = None) -> Dial:
    return make_dialler(parse_device_url(f"udp://{host}:{port}"), source=source, keepalive_s=0.0)


def test_a_foreign_udp_device_answers(run: Run) -> None:
    async def case(peer: Peer) -> None:
        await peer.up()
        assert await peer.ask(READ_TWO) == TWO
        refused = await peer.ask(bytes.fromhex("03FFFF0001"))
        assert isinstance(refused, bytes)
        assert refused[0] == 0x83

    with pymodbus_plc("udp") as plc:
        with_link(udp(plc.port), case, run=run)


def test_a_host_that_says_that_nobody_listens_is_told_and_asked_again_until_somebody_does(run: Run) -> None:
    port = free_port()

    async def case(peer: Peer) -> None:
        await peer.up()
        assert isinstance(await peer.ask(timeout_s=2.0), LinkDown)
        assert peer.link.trouble.startswith("refused")
        assert "UDP" in peer.link.trouble
        device = UdpDevice(port=port)
        try:
            await peer.up()
            assert await peer.ask() == SEVEN
        finally:
            device.close()
        assert peer.link.counters.losses == 1

    with_link(udp(port), case, run=run)


def test_a_lost_datagram_is_a_time_out_and_its_repetition_comes_from_another_port(run: Run) -> None:
    def lose_the_first(tid: int, unit: int, pdu: bytes) -> list[bytes]:
        return [] if len(device.datagrams) == 1 else echo(tid, unit, pdu)

    async def case(peer: Peer) -> None:
        await peer.up()
        assert await peer.ask(timeout_s=0.1, retries=1) == SEVEN
        assert len(set(device.peers)) == 2
        assert peer.link.counters.timeouts == peer.link.counters.redials == 1

    with udp_device(lose_the_first) as device:
        with_link(udp(device.port), case, run=run)


def test_an_answer_that_comes_after_the_time_out_reaches_nobody(run: Run) -> None:
    async def case(peer: Peer) -> None:
        await peer.up()
        assert isinstance(await peer.ask(timeout_s=0.05), RequestTimeout)
        await peer.up()
        device.behave = echo
        device.send(adu(int.from_bytes(device.datagrams[0][:2], "big"), 1, bytes.fromhex("0302DEAD")), device.peers[0])
        assert await peer.ask() == SEVEN

    with udp_device(lambda tid, unit, pdu: []) as device:
        with_link(udp(device.port), case, run=run)


def test_a_datagram_that_comes_twice_is_counted_as_late_and_answers_nothing_else(run: Run) -> None:
    async def case(peer: Peer) -> None:
        await peer.up()
        assert await peer.ask() == SEVEN
        assert await peer.ask(bytes.fromhex("0300080001")) == bytes.fromhex("03020008")
        await until(lambda: peer.link.counters.late == 2)
        assert peer.link.counters.redials == 0

    with udp_device(lambda tid, unit, pdu: echo(tid, unit, pdu) * 2) as device:
        with_link(udp(device.port), case, run=run)


@pytest.mark.parametrize(
    "garbage",
    [
        lambda answer: [b"\xff" * 300, answer],
        lambda answer: [answer[:5], answer],
        lambda answer: [answer[:-1], answer],
        lambda answer: [b"", answer],
        lambda answer: [b"\x00" * 2000, answer],
    ],
    ids=["not Modbus", "half a header", "cut off", "empty", "large"],
)
def test_garbage_is_dropped_and_counted_and_the_next_datagram_is_read(
    garbage: Callable[[bytes], list[bytes]], run: Run
) -> None:
    async def case(peer: Peer) -> None:
        await peer.up()
        assert await peer.ask() == SEVEN
        assert peer.link.counters.crc_errors == 1
        assert peer.link.counters.losses == 0

    with udp_device(lambda tid, unit, pdu: garbage(echo_zeros(tid, unit, pdu) or b"")) as device:
        with_link(udp(device.port), case, run=run)


def test_an_answer_that_does_not_fit_its_request_is_no_answer(run: Run) -> None:
    async def case(peer: Peer) -> None:
        await peer.up()
        assert isinstance(await peer.ask(), MalformedResponse)

    with udp_device(lambda tid, unit, pdu: [adu(tid, unit, bytes.fromhex("04020007"))]) as device:
        with_link(udp(device.port), case, run=run)


def test_each_request_has_its_own_datagram_and_one_datagram_may_have_several_answers(run: Run) -> None:
    held: list[bytes] = []

    def together(tid: int, unit: int, pdu: bytes) -> list[bytes]:
        held.insert(0, echo_zeros(tid, unit, pdu) or b"")
        return [b"".join(held)] if len(held) == 4 else []

    async def case(peer: Peer) -> None:
        await peer.up()
        asked = [peer.ask(bytes((3, 0, n, 0, 1)), timeout_s=3.0) for n in range(4)]
        assert await asyncio.gather(*asked) == [bytes((3, 2, 0, n)) for n in range(4)]
        assert {len(datagram) for datagram in device.datagrams} == {12}

    with udp_device(together) as device:
        with_link(udp(device.port), case, run=run, in_flight=4)


def test_requests_that_waited_together_leave_in_a_datagram_each(run: Run) -> None:
    async def case(peer: Peer) -> None:
        await peer.up()
        device.behave = lambda tid, unit, pdu: []  # one slow answer holds the other requests up
        first = asyncio.ensure_future(peer.ask(timeout_s=0.2))
        await until(lambda: device.datagrams)
        device.behave = echo
        asked = [asyncio.ensure_future(peer.ask(bytes((3, 0, n, 0, 1)), timeout_s=2.0)) for n in range(6)]
        assert isinstance(await first, RequestTimeout)
        assert await asyncio.gather(*asked) == [bytes((3, 2, 0, n)) for n in range(6)]
        assert {len(datagram) for datagram in device.datagrams} == {12}

    with udp_device() as device:
        with_link(udp(device.port), case, run=run, in_flight=6)


def test_datagrams_leave_from_the_source_address(run: Run) -> None:
    async def case(peer: Peer) -> None:
        await peer.up()
        assert await peer.ask() == SEVEN
        assert device.peers[0][0] == "127.0.0.9"

    with udp_device() as device:
        with_link(udp(device.port, source="127.0.0.9"), case, run=run)


def test_of_a_names_addresses_the_next_is_used_when_one_does_not_answer(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `localhost`, which is ::1 first on many systems, and many a device has IPv4 only."""

    async def addresses(self: Resolver, host: str, port: int) -> list[str]:
        return ["127.0.0.2", HOST]

    monkeypatch.setattr(Resolver, "addresses", addresses)

    async def case(peer: Peer) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while await peer.ask(timeout_s=0.1) != SEVEN:
                await asyncio.sleep(0.01)

        assert {peer.link.counters.losses, len(device.peers)} == {1}

    with udp_device() as device:
        with_link(udp(device.port, "press.plant"), case, run=run)


def test_a_stranger_who_sends_to_our_port_is_not_heard(run: Run) -> None:
    def let_a_stranger_answer(tid: int, unit: int, pdu: bytes) -> list[bytes]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(adu(tid, unit, bytes.fromhex("0302DEAD")), device.peers[-1])
        return echo(tid, unit, pdu)

    async def case(peer: Peer) -> None:
        await peer.up()
        assert await peer.ask() == SEVEN
        assert peer.link.counters.late == 0

    with udp_device(let_a_stranger_answer) as device:
        with_link(udp(device.port), case, run=run)


def test_a_name_that_cannot_be_resolved_is_told(run: Run) -> None:
    async def case(peer: Peer) -> None:
        await until(lambda: peer.link.trouble not in ("", "connecting"))

    with_link(udp_dialler(lambda: ("no-such-host.invalid", 502), None), case, run=run)


# -- TLS ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    require_module("cryptography")
    made = Authority(tmp_path_factory.mktemp("ca"))
    made.make([HOST, "press.plant"], ["operator"])
    made.add("elsewhere", hosts=["other.plant", "10.0.0.1"])
    made.add("over", hosts=[HOST], ago=timedelta(days=9), days=-1)
    made.add("early", hosts=[HOST], ago=timedelta(days=-5))
    made.add("ours-over", role="operator", ago=timedelta(days=9), days=-1)
    return made


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Another CA."""
    made = Authority(tmp_path_factory.mktemp("others"))
    made.make([HOST], ["operator"])
    return made


def trust(
    authority: Authority, *, name: str | None = None, pin: str | None = None, us: str = "operator", **more: Any
) -> Trust:
    files = Files(authority.cert(us), authority.key(us), more.pop("ca", authority.cert("ca")), more.pop("crl", None))
    return Trust(Certificates(files, "client", check_name=pin is None, **more), name, pin)


def secure(port: int, trusted: Trust, host: str = HOST) -> Dial:
    return make_dialler(parse_device_url(f"tls://{host}:{port}"), source=None, keepalive_s=60.0, trust=trusted)


@contextlib.contextmanager
def secure_device(
    authority: Authority,
    cert: str = "server",
    behave: Behaviour = echo_zeros,
    *,
    ca: Authority | None = None,
    version: ssl.TLSVersion | None = None,
) -> Iterator[ScriptedDevice]:
    """A device that asks for a client certificate of `ca`; `version`: the only one that it speaks."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.cert(cert), authority.key(cert))
    context.load_verify_locations((ca or authority).cert("ca"))
    context.verify_mode = ssl.CERT_REQUIRED
    if version is not None:
        context.minimum_version = context.maximum_version = version
    device = ScriptedDevice(behave, wrap=lambda plain: context.wrap_socket(plain, server_side=True))
    try:
        yield device
    finally:
        device.close()


VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])


def test_a_foreign_tls_device_answers(authority: Authority, run: Run) -> None:
    async def case(peer: Peer) -> None:
        await peer.up()
        assert await peer.ask(READ_TWO) == TWO

    files = [authority.cert("server"), authority.key("server"), authority.cert("ca")]
    with pymodbus_plc("tls", *map(str, files)) as plc:
        with_link(secure(plc.port, trust(authority)), case, run=run)


@VERSIONS
def test_a_device_over_tls_that_dies_and_stalls_is_as_one_over_tcp(
    authority: Authority, run: Run, version: ssl.TLSVersion
) -> None:
    async def case(peer: Peer) -> None:
        await peer.up()
        assert await peer.ask(timeout_s=2.0) == SEVEN
        device.behave = lambda tid, unit, pdu: None
        assert isinstance(await peer.ask(timeout_s=0.1), RequestTimeout)
        device.behave = lambda tid, unit, pdu: device.drop()
        await peer.up()
        assert isinstance(await peer.ask(timeout_s=2.0), LinkDown)
        device.behave = echo_zeros
        await peer.up()
        assert await peer.ask(timeout_s=2.0) == SEVEN

    with secure_device(authority, version=version) as device:
        with_link(secure(device.port, trust(authority)), case, run=run)


def test_the_name_in_the_certificate_may_be_another_than_the_host(authority: Authority, run: Run) -> None:
    async def case(peer: Peer) -> None:
        await peer.up()
        assert await peer.ask(timeout_s=2.0) == SEVEN

    with secure_device(authority, "elsewhere") as device:
        with_link(secure(device.port, trust(authority, name="other.plant")), case, run=run)


def refused(dial: Dial, text: str, run: Run) -> str:
    """What the link says when it cannot trust, or is not trusted."""
    found = ""

    async def case(peer: Peer) -> None:
        nonlocal found
        async with asyncio.timeout(DEADLINE_S):
            while text not in peer.link.trouble:
                if peer.link.up:  # with TLS 1.3 it is, until the device has looked at our certificate
                    await peer.ask(timeout_s=1.0)
                await asyncio.sleep(0.002)
        found = peer.link.trouble
        assert not peer.link.works

    with_link(dial, case, run=run)
    return found


def test_another_name_is_refused_and_those_in_the_certificate_are_told(authority: Authority, run: Run) -> None:
    with secure_device(authority, "elsewhere") as device:
        told = refused(secure(device.port, trust(authority)), "is not for `127.0.0.1`", run)
        assert "it has other.plant, 10.0.0.1" in told
        assert not device.requests, "nothing was asked"


def test_an_expired_certificate_is_told_with_our_clock(authority: Authority, run: Run) -> None:
    with secure_device(authority, "over") as device:
        told = refused(secure(device.port, trust(authority)), "has expired", run)
        assert "by this machine's clock it is 20" in told


def test_a_certificate_of_the_future_is_told_with_our_clock(authority: Authority, run: Run) -> None:
    with secure_device(authority, "early") as device:
        told = refused(secure(device.port, trust(authority)), "is not valid yet", run)
        assert "by this machine's clock it is 20" in told


def test_a_certificate_of_an_unknown_ca_is_refused(authority: Authority, others: Authority, run: Run) -> None:
    with secure_device(others, ca=authority) as device:
        refused(secure(device.port, trust(authority)), "a CA that is not in `ca`", run)
        assert not device.requests


def test_a_revoked_certificate_is_refused(tmp_path: Path, run: Run) -> None:
    require_module("cryptography")
    authority = Authority(tmp_path / "ca")
    authority.make([HOST], ["operator"])
    authority.revoke("server")
    with secure_device(authority) as device:
        refused(secure(device.port, trust(authority, crl=authority.crl)), "has been revoked", run)


def test_a_pin_stands_for_the_name_and_not_for_the_ca(authority: Authority, others: Authority, run: Run) -> None:
    pin = fingerprint(ssl.PEM_cert_to_DER_cert(authority.cert("elsewhere").read_text().partition("-----END")[0] + END))

    async def case(peer: Peer) -> None:
        await peer.up()
        assert await peer.ask(timeout_s=2.0) == SEVEN

    with secure_device(authority, "elsewhere") as device:
        with_link(secure(device.port, trust(authority, pin=pin.upper())), case, run=run)
    with secure_device(authority) as device:
        told = refused(secure(device.port, trust(authority, pin=pin)), "another fingerprint", run)
        assert len(told.rpartition(": ")[2]) == 64, "the one that it has"
        assert not device.requests
    with secure_device(others, ca=authority) as device:
        refused(secure(device.port, trust(authority, pin=pin)), "a CA that is not in `ca`", run)


END = "-----END CERTIFICATE-----\n"


@VERSIONS
def test_a_device_that_does_not_know_our_ca_is_told_as_refusing_and_not_hammered(
    authority: Authority, others: Authority, run: Run, version: ssl.TLSVersion
) -> None:
    with secure_device(authority, ca=others, version=version) as device:
        refused(secure(device.port, trust(authority)), "refused our certificate: it does not know the CA", run)
        assert device.connections <= 3


@VERSIONS
def test_a_device_to_which_our_certificate_has_expired_is_told_with_its_clock(
    authority: Authority, run: Run, version: ssl.TLSVersion
) -> None:
    with secure_device(authority, version=version) as device:
        refused(secure(device.port, trust(authority, us="ours-over")), "by the device's clock", run)


def test_a_device_that_speaks_older_versions_only_is_told(authority: Authority, run: Run) -> None:
    with secure_device(authority, version=ssl.TLSVersion.TLSv1_2) as device:
        refused(secure(device.port, trust(authority, min_version="1.3")), "no version of TLS that we do", run)


def test_a_device_that_closes_instead_of_a_handshake_is_told(authority: Authority, run: Run) -> None:
    with secure_device(authority) as device:
        device._wrap = _hang_up
        refused(secure(device.port, trust(authority)), "closed the connection in the TLS handshake", run)


def _hang_up(plain: socket.socket) -> socket.socket:
    plain.recv(4096)
    raise OSError


def test_a_device_that_speaks_something_else_there_is_told(authority: Authority, run: Run) -> None:
    def answer(plain: socket.socket) -> socket.socket:
        plain.recv(4096)
        plain.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        return plain

    with secure_device(authority) as device:
        device._wrap = answer
        refused(secure(device.port, trust(authority)), "is not TLS", run)


def test_a_handshake_that_is_never_finished_ends(
    authority: Authority, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(south, "HANDSHAKE_TIMEOUT_S", 0.2)
    with scripted() as device:
        device._wrap = _keep(threading.Event())
        refused(secure(device.port, trust(authority)), "has not finished the TLS handshake within 0.2 s", run)


def _keep(never: threading.Event) -> Callable[[socket.socket], socket.socket]:
    def keep(plain: socket.socket) -> socket.socket:
        never.wait(DEADLINE_S)
        raise OSError

    return keep


def test_a_port_that_nobody_listens_on_is_told_as_over_tcp(authority: Authority, run: Run) -> None:
    assert refused(secure(free_port(), trust(authority)), "refused", run) == "refused the connection"


def test_files_that_do_not_work_are_the_links_trouble(authority: Authority, tmp_path: Path, run: Run) -> None:
    told = refused(secure(free_port(), trust(authority, ca=tmp_path / "none.pem")), "none.pem", run)
    assert "there is no such file" in told


def test_our_certificate_is_read_anew_when_it_was_renewed(tmp_path: Path, authority: Authority, run: Run) -> None:
    ours = Authority(tmp_path / "ca")
    ours.make([HOST], ["operator"])
    ours.add("operator", role="operator", ago=timedelta(days=9), days=-1)
    trusted = trust(ours)

    async def case(peer: Peer) -> None:
        await trouble(peer, "by the device's clock")
        ours.add("operator", role="operator")
        await until(lambda: peer.link.up)
        assert await peer.ask(timeout_s=2.0) == SEVEN

    with secure_device(ours, version=ssl.TLSVersion.TLSv1_2) as device:
        with_link(secure(device.port, trusted), case, run=run)


class Aging:
    """What a test does to the certificates behind an open connection."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder / "ca")
        self.authority.make([HOST], ["operator"])
        self.folder = folder
        self.later_s = 0.0

    def trust(self) -> Trust:
        return trust(self.authority, crl=self.authority.crl, wall=lambda: time.time() + self.later_s)

    def revoke(self) -> None:
        self.authority.revoke("server")

    def pass_ten_years(self) -> None:
        self.later_s = 10 * 365 * 86400.0

    def replace_our_ca(self) -> None:
        """And our certificate and list with it."""
        other = Authority(self.folder / "other")
        other.make([HOST], ["operator"])
        for path in other.folder.iterdir():
            shutil.copy2(path, self.authority.folder / path.name)


@pytest.mark.parametrize(
    ("age", "told"),
    [
        (Aging.revoke, "the device's certificate has been revoked"),
        (Aging.pass_ten_years, "the device's certificate has expired: by this machine's clock"),
        (Aging.replace_our_ca, "the device's certificate was issued by a CA that is not in `ca`"),
    ],
    ids=["revoked", "expired", "another CA"],
)
def test_a_device_that_is_not_trusted_any_more_is_left(
    tmp_path: Path, run: Run, age: Callable[[Aging], None], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_module("cryptography")
    monkeypatch.setattr(south, "LOOK_S", 0.02)
    aging = Aging(tmp_path)

    async def case(peer: Peer) -> None:
        await peer.up()
        assert await peer.ask(timeout_s=2.0) == SEVEN
        age(aging)
        await trouble(peer, told)
        assert not peer.link.up
        assert peer.link.is_distrusted

    with secure_device(aging.authority) as device:
        with_link(secure(device.port, aging.trust()), case, run=run)
        assert len(device.requests) == 1


def test_a_connection_stays_when_our_certificate_and_list_are_new_and_the_device_is_trusted_as_before(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_module("cryptography")
    monkeypatch.setattr(south, "LOOK_S", 0.01)
    aging = Aging(tmp_path)
    trusted = aging.trust()

    async def case(peer: Peer) -> None:
        await peer.up()
        assert await peer.ask(timeout_s=2.0) == SEVEN
        aging.authority.add("operator", role="operator")
        await until(lambda: trusted.certificates.generation == 2)
        aging.authority.revoke("norole")
        await until(lambda: trusted.certificates.generation == 3)
        assert await peer.ask(timeout_s=2.0) == SEVEN
        assert peer.link.counters.losses == 0

    with secure_device(aging.authority) as device:
        with_link(secure(device.port, trusted), case, run=run)
        assert device.connections == 1


@pytest.mark.parametrize("is_ours", [False, True], ids=["the device", "the gateway"])
def test_a_connection_that_ends_is_not_looked_at_any_more(tmp_path: Path, run: Run, is_ours: bool) -> None:
    require_module("cryptography")
    aging = Aging(tmp_path)

    async def case(peer: Peer) -> None:
        for _ in range(3):
            await peer.up()
            assert await peer.ask(timeout_s=2.0) == SEVEN  # the device has it, too
            carrier = peer.link._carrier
            assert isinstance(carrier, south.TlsCarrier)
            timer = carrier._next_look
            assert timer is not None
            if is_ours:
                peer.link.broken("a test")
            else:
                device.drop()
            await until(timer.cancelled)
            assert carrier._next_look is None
            await peer.up(False)

    with secure_device(aging.authority) as device:
        with_link(secure(device.port, aging.trust()), case, run=run)


def test_a_device_whose_certificate_only_openssl_can_read_works_and_is_told_once(
    tmp_path: Path, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    require_module("cryptography")
    aging = Aging(tmp_path)
    in_a_version_of_the_future(aging.authority, "server")

    async def case(peer: Peer) -> None:
        for _ in range(2):
            await peer.up()
            assert await peer.ask(timeout_s=2.0) == SEVEN
            peer.link.broken("a test")
            await peer.up(False)

    with secure_device(aging.authority) as device:
        with_link(secure(device.port, aging.trust()), case, run=run)
    told = [record.getMessage() for record in caplog.records if "not in between" in record.getMessage()]
    assert len(told) == 1
    assert "cannot be read" in told[0]


# -- devices that dial in -------------------------------------------------------------------------------------------


MEETING = "127.0.0.77"
"""Where devices dial in: an address on which no other test of this machine takes the port away."""


class Ports:
    """A registry with one port, and links on it."""

    def __init__(self) -> None:
        self.dial_in = DialIn()
        self.port = free_port()
        self.devices: list[Dtu] = []

    def dial(self, query: str = "", scheme: str = "listen+tcp") -> Dial:
        url = parse_device_url(f"{scheme}://{MEETING}:{self.port}{query}")
        return make_dialler(url, source=None, keepalive_s=60.0, dial_in=self.dial_in)

    @property
    def counters(self) -> dialin.Counters:
        return self.dial_in.counters

    async def device(self, device: int | None, *first: bytes) -> Dtu:
        """One that dials in as soon as there is somebody to dial."""
        end_s = time.monotonic() + DEADLINE_S
        while True:
            try:
                self.devices.append(Dtu((MEETING, self.port), device, *first))
                return self.devices[-1]
            except ConnectionRefusedError:
                assert time.monotonic() < end_s, "nobody listens"
                await asyncio.sleep(0.01)

    def with_link(self, dial: Dial | list[Dial], case: Callable[[Peer], Coroutine[Any, Any, None]], run: Run) -> None:
        """Run `case` with a running link, then close all."""

        async def main() -> None:
            try:
                await nested(dial, case)
            finally:
                self.dial_in.close()

        run(main())


async def nested(dial: Dial | list[Dial], case: Callable[[Peer], Coroutine[Any, Any, None]]) -> None:
    """As `with_link`, on the loop that runs."""
    link = Link("link test", dial, Settings(), LoopTime())
    running = asyncio.create_task(link.run())
    try:
        await case(Peer(link))
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
def ports() -> Iterator[Ports]:
    made = Ports()
    yield made
    for device in made.devices:
        device.close()


@pytest.mark.parametrize(
    ("scheme", "way"), [("listen+tcp", "tcp"), ("listen+rtu+tcp", "rtu+tcp"), ("listen+ascii+tcp", "ascii+tcp")]
)
def test_a_foreign_device_dials_in_and_is_polled(ports: Ports, run: Run, scheme: str, way: str) -> None:
    async def case(peer: Peer) -> None:
        assert "(id meter7)" in await trouble(peer, f"waiting for the device to dial in to {MEETING}:{ports.port}")
        assert isinstance(await peer.ask(), LinkDown)
        dtu = await ports.device(plc.port, b"meter7")
        await peer.up()
        assert await peer.ask(READ_TWO, timeout_s=2.0) == TWO
        dtu.close()
        await trouble(peer, "waiting for the device to dial in")
        await ports.device(plc.port, b"meter7")
        await peer.up()
        assert await peer.ask(READ_TWO, timeout_s=2.0) == TWO

    with pymodbus_plc(way) as plc:
        ports.with_link(ports.dial("?id=meter7", scheme), case, run)


def test_an_id_may_come_byte_by_byte(ports: Ports, run: Run) -> None:
    async def case(peer: Peer) -> None:
        await ports.device(device.port, *(bytes((byte,)) for byte in b"meter7"))
        await peer.up()
        assert await peer.ask() == SEVEN

    with scripted() as device:
        ports.with_link(ports.dial("?id=0x6d6574657237"), case, run)


def test_what_follows_the_id_belongs_to_the_stream(ports: Ports, run: Run) -> None:
    async def case(peer: Peer) -> None:
        dtu = await ports.device(None, b"meter7" + adu(0, 1, SEVEN)[:5])
        await peer.up()
        asked = asyncio.ensure_future(peer.ask(timeout_s=2.0))
        await until(lambda: dtu.came)
        dtu.send(adu(0, 1, SEVEN)[5:] + adu(int.from_bytes(dtu.came[:2], "big"), 1, SEVEN))
        assert await asked == SEVEN
        assert peer.link.counters.late == 1, "a frame that nobody had asked for, its first half right behind the id"

    ports.with_link(ports.dial("?id=meter7"), case, run)


def test_a_wrong_id_is_closed_and_told_once(ports: Ports, run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def case(peer: Peer) -> None:
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                stranger = await ports.device(None, b"GET / HTTP/1.0\r\n")
                await until(stranger.is_closed.is_set)
        assert ports.counters.unknown == 3
        told = [record.getMessage() for record in caplog.records if "no link has" in record.getMessage()]
        assert len(told) == 1
        assert "0x474554202f" in told[0], "GET /"
        await ports.device(device.port, b"meter7")
        await peer.up()
        assert await peer.ask() == SEVEN

    with scripted() as device:
        ports.with_link(ports.dial("?id=meter7"), case, run)


def test_a_device_that_does_not_say_who_it_is_is_closed_in_time(
    ports: Ports, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialin, "ID_TIMEOUT_S", 0.1)

    async def case(peer: Peer) -> None:
        silent = await ports.device(None)
        half = await ports.device(None, b"met")
        await until(lambda: silent.is_closed.is_set() and half.is_closed.is_set())
        assert (ports.counters.silent, ports.counters.unknown) == (1, 1)

    ports.with_link(ports.dial("?id=meter7"), case, run)


def test_a_link_without_an_id_takes_whoever_dials_in(ports: Ports, run: Run) -> None:
    async def case(peer: Peer) -> None:
        await ports.device(device.port)
        await peer.up()
        assert await peer.ask() == SEVEN

    with scripted() as device:
        ports.with_link(ports.dial(), case, run)


def test_beside_links_with_ids_a_link_without_takes_who_is_not_one_of_them(
    ports: Ports, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialin, "ID_TIMEOUT_S", 0.1)

    async def case(anybody: Peer) -> None:
        async def meter(named: Peer) -> None:
            await trouble(named, "waiting")
            await ports.device(device.port)
            await anybody.up()
            assert await anybody.ask() == SEVEN
            assert not named.link.up
            await ports.device(device.port, b"meter7")
            await named.up()
            assert await named.ask() == SEVEN
            assert await anybody.ask() == SEVEN
            await ports.device(device.port, b"another")
            await until(lambda: ports.counters.waited == 1)
            assert await anybody.ask() == SEVEN
            assert device.connections == 3, "two that answer, one that waits"

        await nested(ports.dial("?id=meter7"), meter)

    with scripted() as device:
        ports.with_link(ports.dial(), case, run)


SCHEMES = pytest.mark.parametrize(("scheme", "way"), [("listen+tcp", "tcp"), ("listen+rtu+tcp", "rtu+tcp")])


@SCHEMES
def test_whoever_calls_a_port_without_an_id_does_not_cut_off_the_device_that_works(
    ports: Ports, run: Run, scheme: str, way: str
) -> None:
    async def case(peer: Peer) -> None:
        await ports.device(plc.port)
        await peer.up()
        for number in range(1, 4):
            scan = await ports.device(None)
            await until(lambda number=number: ports.counters.waited == number)
            assert await peer.ask(READ_TWO, timeout_s=2.0) == TWO
            if number % 2:
                scan.close(reset=number == 1)
        assert await peer.ask(READ_TWO, timeout_s=2.0) == TWO
        assert peer.link.counters.losses == peer.link.counters.redials == peer.link.counters.timeouts == 0

    with pymodbus_plc(way) as plc:
        ports.with_link(ports.dial(scheme=scheme), case, run)


@pytest.mark.parametrize("scheme", ["listen+rtu+tcp", "listen+ascii+tcp"])
def test_units_behind_a_device_that_dials_in_get_the_turn_round_time_of_the_url(
    ports: Ports, run: Run, scheme: str
) -> None:
    write = bytes.fromhex("0600070005")

    async def case(peer: Peer) -> None:
        await ports.device(None)
        await peer.up()
        started_s = time.monotonic()
        assert await peer.ask(write, unit=0, timeout_s=2.0) == write
        assert time.monotonic() - started_s >= 0.39, "the clocks of loops are coarse"

    ports.with_link(ports.dial("?turnaround=400ms", scheme), case, run)


def test_of_those_that_wait_for_the_place_of_another_the_newest_stays(ports: Ports, run: Run) -> None:
    async def case(peer: Peer) -> None:
        works = await ports.device(device.port)
        await peer.up()
        first = await ports.device(None)
        await until(lambda: ports.counters.waited == 1)
        await ports.device(device.port)
        await until(first.is_closed.is_set)
        assert ports.counters.replaced == 1
        assert await peer.ask() == SEVEN
        works.close()
        await peer.up(False)
        await peer.up()
        assert await peer.ask() == SEVEN, "the one that waited has the place"
        assert device.connections == 2

    with scripted() as device:
        ports.with_link(ports.dial(), case, run)


@SCHEMES
def test_a_device_that_lost_its_power_without_a_word_is_back_after_one_time_out(
    ports: Ports, run: Run, monkeypatch: pytest.MonkeyPatch, scheme: str, way: str
) -> None:
    monkeypatch.setattr(dialled, "RECENT_S", 0.0)

    async def case(peer: Peer) -> None:
        old = await ports.device(plc.port)
        await peer.up()
        assert await peer.ask(READ_TWO, timeout_s=2.0) == TWO
        old.hang()
        await ports.device(plc.port)
        await until(lambda: ports.counters.waited == 1)
        assert not old.is_closed.is_set(), "it is asked first"
        assert await peer.ask(READ_TWO, timeout_s=0.2, retries=1) == TWO, "answered by the newcomer"
        await until(old.is_closed.is_set)
        assert peer.link.counters.timeouts == 1
        assert ports.counters.replaced == 0

    with pymodbus_plc(way) as plc:
        ports.with_link(ports.dial(scheme=scheme), case, run)


@SCHEMES
def test_a_device_is_let_in_though_nobody_asks_anything_when_the_old_connection_does_not_answer(
    ports: Ports, run: Run, monkeypatch: pytest.MonkeyPatch, scheme: str, way: str
) -> None:
    monkeypatch.setattr(dialled, "RECENT_S", 0.2)

    async def case(peer: Peer) -> None:
        old = await ports.device(plc.port)
        await peer.up()
        assert await peer.ask(READ_TWO, timeout_s=1.0) == TWO
        old.hang()
        await ports.device(plc.port)
        await until(old.is_closed.is_set)
        await until(lambda: peer.link.up and peer.link.counters.connects == 2)
        assert peer.link.counters.timeouts == 1
        assert await peer.ask(READ_TWO, timeout_s=2.0) == TWO

    with pymodbus_plc(way) as plc:
        ports.with_link(ports.dial(scheme=scheme), case, run)


@SCHEMES
def test_an_idle_device_that_works_is_asked_once_for_each_newcomer_and_stays(
    ports: Ports, run: Run, monkeypatch: pytest.MonkeyPatch, scheme: str, way: str
) -> None:
    monkeypatch.setattr(dialled, "RECENT_S", 0.1)

    async def case(peer: Peer) -> None:
        works = await ports.device(plc.port)
        await peer.up()
        assert await peer.ask(READ_TWO, timeout_s=2.0) == TWO
        for number in (1, 2):
            await ports.device(None)
            await until(lambda number=number: peer.link.answers == 1 + number)
        assert not works.is_closed.is_set()
        assert await peer.ask(READ_TWO, timeout_s=2.0) == TWO
        assert peer.link.requests == 4
        assert peer.link.counters.losses == peer.link.counters.redials == peer.link.counters.timeouts == 0

    with pymodbus_plc(way) as plc:
        ports.with_link(ports.dial(scheme=scheme), case, run)


BABBLES = pytest.mark.parametrize(
    ("scheme", "way", "babble"),
    [
        ("listen+tcp", "tcp", adu(0x7777, 1, SEVEN)),
        ("listen+tcp", "tcp", adu(0, 1, READ_TWO)),
        ("listen+tcp", "tcp", adu(0x7777, 1, SEVEN)[:3]),
        ("listen+rtu+tcp", "rtu+tcp", b"hello"),
        ("listen+ascii+tcp", "ascii+tcp", b"hello"),
    ],
    ids=["tcp", "tcp that asks us", "tcp, half a frame", "rtu", "ascii"],
)


@BABBLES
def test_whoever_talks_and_does_not_answer_does_not_keep_the_device_out(
    ports: Ports, run: Run, scheme: str, way: str, babble: bytes
) -> None:
    async def case(peer: Peer) -> None:
        talks = await ports.device(None)
        await peer.up()
        await ports.device(plc.port)
        await until(lambda: ports.counters.waited == 1)
        asked = asyncio.ensure_future(peer.ask(READ_TWO, timeout_s=0.3, retries=1))
        await until(lambda: talks.came)
        talks.send(babble)
        assert await asked == TWO, "repeated, and answered by the newcomer"
        await until(talks.is_closed.is_set)

    with pymodbus_plc(way) as plc:
        ports.with_link(ports.dial(scheme=scheme), case, run)


@BABBLES
def test_who_comes_behind_one_that_was_asked_and_only_talks_has_the_place_at_once(
    ports: Ports, run: Run, scheme: str, way: str, babble: bytes
) -> None:
    async def case(peer: Peer) -> None:
        talks = await ports.device(None)
        await peer.up()
        asked = asyncio.ensure_future(peer.ask(READ_TWO, timeout_s=0.3))
        await until(lambda: talks.came)
        talks.send(babble)
        assert isinstance(await asked, RequestTimeout)
        assert not talks.is_closed.is_set(), "nobody else is there, and it is no silent one"
        await ports.device(plc.port)
        await until(talks.is_closed.is_set)
        await until(lambda: peer.link.up and peer.link.counters.connects == 2)
        assert await peer.ask(READ_TWO, timeout_s=2.0) == TWO
        assert peer.link.counters.timeouts == 1

    with pymodbus_plc(way) as plc:
        ports.with_link(ports.dial(scheme=scheme), case, run)


@SCHEMES
def test_a_silent_unit_behind_a_device_that_works_gives_its_place_to_nobody(
    ports: Ports, run: Run, scheme: str, way: str
) -> None:
    async def case(peer: Peer) -> None:
        dtu = await ports.device(plc.port)
        await peer.up()
        assert await peer.ask(READ_TWO, timeout_s=2.0) == TWO
        await ports.device(None)
        await until(lambda: ports.counters.waited == 1)
        dtu.hang()
        assert isinstance(await peer.ask(timeout_s=0.1), RequestTimeout)
        dtu.hang(False)
        assert not dtu.is_closed.is_set()
        assert await peer.ask(READ_TWO, timeout_s=2.0) == TWO
        assert peer.link.counters.redials == 0

    with pymodbus_plc(way) as plc:
        ports.with_link(ports.dial(scheme=scheme), case, run)


def test_a_unit_that_strangers_did_not_answer_for_is_asked_at_once_when_the_device_has_the_place(
    ports: Ports, run: Run
) -> None:
    async def case(peer: Peer) -> None:
        await ports.device(None)
        await peer.up()
        for number in range(1, 4):
            await ports.device(None if number < 3 else device.port)
            await until(lambda number=number: ports.counters.waited == number)
            assert isinstance(await peer.ask(timeout_s=0.05), RequestTimeout)
            await until(lambda number=number: peer.link.counters.connects == number + 1)
        assert not peer.link.silent(1)
        assert await peer.ask(timeout_s=2.0) == SEVEN

    with scripted() as device:
        ports.with_link(ports.dial(), case, run)


def test_the_newest_connection_of_an_id_wins(ports: Ports, run: Run) -> None:
    async def case(peer: Peer) -> None:
        old = await ports.device(None, b"meter7")
        await peer.up()
        asked = asyncio.ensure_future(peer.ask(timeout_s=3.0))
        await until(lambda: old.came)
        await ports.device(device.port, b"meter7")
        assert isinstance(await asked, LinkDown)
        assert "has dialled in again" in str(await asked)
        await until(old.is_closed.is_set)
        await peer.up()
        assert await peer.ask() == SEVEN
        assert ports.counters.replaced == 1

    with scripted() as device:
        ports.with_link(ports.dial("?id=meter7"), case, run)


@pytest.mark.parametrize(("scheme", "way"), [("listen+tcp", "tcp"), ("listen+rtu+tcp", "rtu+tcp")])
def test_an_id_that_is_repeated_between_answers_disturbs_nothing(ports: Ports, run: Run, scheme: str, way: str) -> None:
    async def case(peer: Peer) -> None:
        dtu = await ports.device(plc.port, b"meter7")
        await peer.up()
        for before, behind in ((b"", b""), (b"meter7", b""), (b"", b"meter7"), (b"meter7" * 2, b"meter7")):
            dtu.before_answers, dtu.behind_answers = before, behind
            assert await peer.ask(READ_TWO, timeout_s=2.0) == TWO
            dtu.send(b"meter7")
            dtu.send(b"met")
            dtu.send(b"er7")
        assert peer.link.counters.losses == peer.link.counters.timeouts == 0

    with pymodbus_plc(way) as plc:
        ports.with_link(ports.dial("?id=meter7", scheme), case, run)


@pytest.mark.parametrize("scheme", ["listen+tcp", "listen+rtu+tcp"])
def test_after_a_time_out_the_connection_stays_and_after_three_without_a_byte_it_is_closed(
    ports: Ports, run: Run, scheme: str
) -> None:
    async def case(peer: Peer) -> None:
        dtu = await ports.device(None, b"meter7")
        await peer.up()
        for n in range(dialled.MAX_UNHEARD - 1):
            assert isinstance(await peer.ask(unit=1 + n, timeout_s=0.1), RequestTimeout)
        assert not dtu.is_closed.is_set()
        dtu.send(b"meter7")  # the cabinet is alive, whatever the meter behind it is
        await until(lambda: peer.link.up)
        for n in range(dialled.MAX_UNHEARD - 1):
            assert isinstance(await peer.ask(unit=11 + n, timeout_s=0.1), RequestTimeout)
        assert not dtu.is_closed.is_set()
        assert peer.link.counters.redials == 0
        assert isinstance(await peer.ask(unit=20, timeout_s=0.1), RequestTimeout)
        await until(dtu.is_closed.is_set)
        await trouble(peer, "waiting for the device to dial in")

    ports.with_link(ports.dial("?id=meter7", scheme), case, run)


def test_a_late_answer_on_a_connection_that_stays_reaches_nobody(ports: Ports, run: Run) -> None:
    held: list[bytes] = []

    def hold(tid: int, unit: int, pdu: bytes) -> None:
        held.append(adu(tid, unit, bytes.fromhex("0302DEAD")))

    def late_then_right(tid: int, unit: int, pdu: bytes) -> bytes:
        return held.pop() + adu(tid, unit, SEVEN)

    async def case(peer: Peer) -> None:
        await ports.device(device.port, b"meter7")
        await peer.up()
        device.behave = hold
        assert isinstance(await peer.ask(timeout_s=0.1), RequestTimeout)
        device.behave = late_then_right
        assert await peer.ask(timeout_s=2.0) == SEVEN
        assert peer.link.counters.late == 1
        assert peer.link.counters.redials == 0
        assert device.connections == 1

    with scripted() as device:
        ports.with_link(ports.dial("?id=meter7"), case, run)


@pytest.mark.parametrize("scheme", ["listen+tcp", "listen+rtu+tcp"])
def test_garbage_is_no_answer_and_the_device_may_dial_in_again(ports: Ports, run: Run, scheme: str) -> None:
    async def case(peer: Peer) -> None:
        dtu = await ports.device(garbler.port, b"meter7")
        await peer.up()
        assert isinstance(await peer.ask(timeout_s=0.2), LinkDown | RequestTimeout | MalformedResponse)
        dtu.close()
        way = "tcp" if scheme == "listen+tcp" else "rtu+tcp"
        with pymodbus_plc(way) as plc:
            await ports.device(plc.port, b"meter7")
            await until(lambda: peer.link.up and ports.counters.calls == 2)
            async with asyncio.timeout(DEADLINE_S):
                while await peer.ask(READ_TWO, timeout_s=1.0) != TWO:
                    await asyncio.sleep(0.01)

    with Garbler() as garbler:
        ports.with_link(ports.dial("?id=meter7", scheme), case, run)


class Garbler:
    """Answers everything with the same bytes."""

    def __enter__(self) -> Garbler:
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            with connection:
                while connection.recv(4096):
                    connection.sendall(b"\xff" * 64)

    def __exit__(self, *exc: object) -> None:
        self._listener.close()


def test_of_many_that_do_not_say_who_they_are_the_oldest_go_and_a_device_still_gets_in(
    ports: Ports, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialin, "MAX_STRANGERS", 4)

    async def case(peer: Peer) -> None:
        strangers = [await ports.device(None) for _ in range(7)]
        await until(lambda: sum(each.is_closed.is_set() for each in strangers) == 3)
        assert ports.counters.crowded == 3
        await ports.device(device.port, b"meter7")
        await peer.up()
        assert await peer.ask() == SEVEN

    with scripted() as device:
        ports.with_link(ports.dial("?id=meter7"), case, run)


def test_a_port_that_is_taken_is_the_links_trouble_and_opened_when_it_is_free(ports: Ports, run: Run) -> None:
    async def case(peer: Peer) -> None:
        told = await trouble(peer, "cannot listen for the device")
        assert "has this port" in told
        taken.close()
        await ports.device(device.port, b"meter7")
        await peer.up()
        assert await peer.ask() == SEVEN

    with scripted() as device, socket.create_server((MEETING, ports.port)) as taken:
        ports.with_link(ports.dial("?id=meter7"), case, run)


def test_a_port_closes_with_its_last_link_and_opens_with_the_next(
    ports: Ports, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialin, "LINGER_S", 0.05)

    def listens() -> bool:
        try:
            socket.create_connection((MEETING, ports.port), 1.0).close()
        except ConnectionRefusedError:
            return False
        return True

    async def answers(peer: Peer) -> None:
        await ports.device(device.port, b"meter7")
        await peer.up()
        assert await peer.ask() == SEVEN

    async def case(other: Peer) -> None:
        await nested(ports.dial("?id=meter7"), answers)
        assert listens(), "another link has a seat here"

    async def main() -> None:
        await nested(ports.dial("?id=pump"), case)
        await until(lambda: not listens())
        await nested(ports.dial("?id=meter7"), answers)
        ports.dial_in.close()

    with scripted() as device:
        run(main())


PLANT = """
server: {{listen: "tcp://127.0.0.1:0"}}
tls: {{cert: {ca}/operator.pem, key: {ca}/operator.key, ca: {ca}/ca.pem}}
devices:
  udp: {{url: "udp://127.0.0.1:{udp}", every: 100ms, poll: [{{read: "holding:0..9", to: "holding:0"}}]}}
  tls: {{url: "tls://127.0.0.1:{tls}", every: 100ms, poll: [{{read: "holding:0..9", to: "holding:10"}}]}}
  meter:
    url: listen+rtu+tcp://127.0.0.77:{port}?id=meter7
    every: 100ms
    poll: [{{read: "holding:0..9", to: "holding:20"}}]
  any:
    url: listen+tcp://127.0.0.77:{free}
    every: 100ms
    poll: [{{read: "holding:0..9", to: "holding:30"}}]
"""


def test_the_command_polls_them_all(authority: Authority, tmp_path: Path) -> None:
    files = [str(path) for path in (authority.cert("server"), authority.key("server"), authority.cert("ca"))]
    with contextlib.ExitStack() as stack:
        by_udp = stack.enter_context(pymodbus_plc("udp"))
        by_tls = stack.enter_context(pymodbus_plc("tls", *files))
        by_rtu = stack.enter_context(pymodbus_plc("rtu+tcp"))
        by_tcp = stack.enter_context(pymodbus_plc())
        port, free = free_port(), free_port()
        yaml = PLANT.format(ca=authority.folder, udp=by_udp.port, tls=by_tls.port, port=port, free=free)
        gateway = stack.enter_context(running(yaml, tmp_path))
        wire = stack.enter_context(Wire(gateway.port))
        wait_until(lambda: gateway.count("listening on .* for devices that dial in") == 2, what="both ports")
        stack.callback(Dtu((MEETING, port), by_rtu.port, b"meter7").close)
        stack.callback(Dtu((MEETING, free), by_tcp.port).close)
        for first in (0, 10, 20, 30):
            pdu = bytes((3, 0, first, 0, 2))
            wait_until(lambda pdu=pdu: wire.ask(pdu) == TWO, what=f"holding:{first}")
        assert gateway.count("waiting for the device to dial in") <= 2
        assert not gateway.count("Traceback")


def test_where_there_is_another_address_nobody_waits_for_the_device(ports: Ports, run: Run) -> None:
    async def case(peer: Peer) -> None:
        await peer.up()
        assert await peer.ask() == SEVEN
        assert device.connections == 1

    with scripted() as device:
        other = make_dialler(parse_device_url(f"tcp://{HOST}:{device.port}"), source=None, keepalive_s=60.0)
        ports.with_link([ports.dial("?id=meter7"), other], case, run)
