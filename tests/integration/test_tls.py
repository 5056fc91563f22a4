"""Modbus/TCP Security on a TLS listener: openssl, Python's ssl and pymodbus as clients, on both loops."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pymodbus.client import AsyncModbusTlsClient

from gateway.config.model_server import Limits
from gateway.serving import tls as serving
from gateway.tls.certificates import Certificates
from gateway.tls.certs import Authority
from gateway.tls.peers import fingerprint
from tests.support.needs import require, require_module
from tests.support.secure import (
    HOST,
    SecureServer,
    SecureWire,
    SlowSecureWire,
    client_context,
    files_of,
    in_a_version_of_the_future,
    self_signed,
    why_refused,
)
from tests.support.until import wait_until
from tests.support.wire import Closed, Wire, adu, hexed

Open = Callable[..., SecureServer]

READ = hexed("03 0000 0002")
WRITE = hexed("06 0000 1234")
READ_MOST = hexed("03 0000 007D")
RULES = [{"role": "operator", "may": "write"}, {"role": ["viewer", "none"], "may": "read"}]
TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A CA, a server, clients; nobody changes them."""
    return _bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture
def own(tmp_path: Path) -> Authority:
    """The same, for a test that changes them."""
    return _bench(tmp_path / "own")


def _bench(folder: Path) -> Authority:
    made = Authority(folder)
    made.make([HOST, "localhost"], ["operator", "viewer"])
    made.add("expired", role="operator", days=-1, ago=timedelta(days=2))
    made.add("future", role="operator", days=2, ago=timedelta(days=-1))
    made.add("revoked", role="operator")
    made.revoke("revoked")
    return made


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Somebody else's."""
    made = Authority(tmp_path_factory.mktemp("stranger"))
    made.make([HOST], ["operator"])
    return made


@pytest.fixture(params=["asyncio", "uvloop"])
def loop_factory(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    if request.param == "asyncio":
        return asyncio.new_event_loop
    require_module("uvloop")
    import uvloop

    return uvloop.new_event_loop  # type: ignore[no-any-return]


@pytest.fixture
def opened(loop_factory: Callable[[], asyncio.AbstractEventLoop], caplog: pytest.LogCaptureFixture) -> Iterator[Open]:
    """`opened(authority, ...)`: a listener with the certificates of the authority."""
    caplog.set_level(logging.INFO, "gateway")
    with ExitStack() as stack:

        def opened(authority: Authority, *, wall: Callable[[], float] = time.time, **more: Any) -> SecureServer:
            certificates = Certificates(files_of(authority), "server", wall=wall)
            return stack.enter_context(SecureServer(certificates, **more).running(loop_factory))

        yield opened


def wait_for_line(caplog: pytest.LogCaptureFixture, pattern: str) -> str:
    def found() -> str:
        return next((text for text in _lines(caplog) if re.search(pattern, text)), "")

    return wait_until(found, 5.0, f"/{pattern}/ in the log")


def _lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in list(caplog.records)]


# -- who is let in --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3], ids=["1.2", "1.3"])
@pytest.mark.parametrize(("name", "may_write"), [("operator", True), ("viewer", False), ("norole", False)])
def test_the_role_in_the_certificate_decides(
    opened: Open, bench: Authority, name: str, may_write: bool, version: ssl.TLSVersion
) -> None:
    server = opened(bench, rules=RULES)

    with SecureWire(server.port, client_context(bench, name, version=version)) as wire:
        assert wire.ask(WRITE) == (WRITE if may_write else hexed("86 01"))
        assert wire.ask(READ)[:2] == hexed("03 04")
        assert server.counters.clients == 1


def test_a_certificate_without_a_role_that_the_rules_want_is_closed_after_its_handshake(
    opened: Open, bench: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    server = opened(bench, rules=RULES[:1])

    with SecureWire(server.port, client_context(bench, "operator")) as wire:
        assert wire.ask(WRITE) == WRITE
    with SecureWire(server.port, client_context(bench, "norole", version=TLS_1_2)) as wire:
        wire.expect_close()
    wait_for_line(caplog, "refused: it may do nothing here")
    assert server.counters.handshakes_failed == 0


def test_an_address_that_may_do_nothing_is_closed_before_its_handshake(opened: Open, bench: Authority) -> None:
    server = opened(bench, rules=[{"from": "127.0.0.2", "role": "operator", "may": "write"}])

    with Wire(server.port) as wire:
        wire.expect_close()
    with SecureWire(server.port, client_context(bench, "operator"), source="127.0.0.2") as secure:
        assert secure.ask(WRITE) == WRITE
    assert (server.counters.unwelcome, server.counters.connections) == (1, 1)


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3], ids=["1.2", "1.3"])
@pytest.mark.parametrize(
    ("name", "alert", "line"),
    [
        (None, {TLS_1_2: "HANDSHAKE_FAILURE", TLS_1_3: "CERTIFICATE_REQUIRED"}, "it showed no certificate"),
        ("expired", "CERTIFICATE_EXPIRED", "its certificate has expired"),
        ("future", "BAD_CERTIFICATE", "its certificate is not valid yet"),
        ("revoked", "CERTIFICATE_REVOKED", "its certificate is revoked"),
    ],
)
def test_who_shows_no_good_certificate_gets_an_alert_and_one_line_tells_it(
    opened: Open,
    bench: Authority,
    caplog: pytest.LogCaptureFixture,
    name: str | None,
    alert: Any,
    line: str,
    version: ssl.TLSVersion,
) -> None:
    server = opened(bench)

    reason = why_refused(server.port, client_context(bench, name, version=version))

    assert (alert if isinstance(alert, str) else alert[version]) in reason
    wait_for_line(caplog, f"disconnected: TLS handshake failed: {line}")
    assert len(_lines(caplog)) == 1
    assert (server.counters.handshakes_failed, server.counters.requests) == (1, 0)


def test_certificates_of_another_ca_and_of_none_are_refused(
    opened: Open, bench: Authority, stranger: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = opened(bench)
    alone = client_context(bench, None)
    alone.load_cert_chain(*self_signed(tmp_path))

    assert "UNKNOWN_CA" in why_refused(server.port, client_context(stranger, "operator", ca=bench))
    wait_for_line(caplog, "of a CA that we do not trust")
    assert "UNKNOWN_CA" in why_refused(server.port, alone)
    wait_for_line(caplog, "its certificate is self-signed")


def test_a_client_that_does_not_trust_us_is_told_in_words(
    opened: Open, bench: Authority, stranger: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    server = opened(bench)

    assert "CERTIFICATE_VERIFY_FAILED" in why_refused(server.port, client_context(bench, "operator", ca=stranger))

    wait_for_line(caplog, "saying `unknown ca`; does it trust the CA of our certificate")


def test_a_server_certificate_may_dial_too_but_a_clients_may_not_listen(opened: Open, bench: Authority) -> None:
    server = opened(bench)

    with SecureWire(server.port, client_context(bench, "server")) as wire:
        assert wire.ask(READ)[:2] == hexed("03 04")
    server.door.certificates = Certificates(files_of(bench, "operator"), "server")
    with pytest.raises(ssl.SSLCertVerificationError, match="unsuitable certificate purpose"):
        SecureWire(server.port, client_context(bench, "operator"))


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_old_versions_are_refused_with_an_alert(
    opened: Open, bench: Authority, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = opened(bench)

    told = s_client(server.port, bench, "operator", version, "-cipher", "DEFAULT@SECLEVEL=0")

    assert "alert protocol version" in told
    wait_for_line(caplog, "it speaks only versions of TLS that are too old")


@pytest.mark.parametrize(
    ("version", "suite"),
    [
        ("-tls1_2", "ECDHE-ECDSA-AES128-GCM-SHA256"),
        ("-tls1_2", "ECDHE-ECDSA-CHACHA20-POLY1305"),
        ("-tls1_3", "TLS_AES_128_GCM_SHA256"),
    ],
)
def test_openssl_reads_a_register(opened: Open, bench: Authority, version: str, suite: str) -> None:
    server = opened(bench)
    option = "-cipher" if version == "-tls1_2" else "-ciphersuites"
    arguments = [*connect(server.port, bench, "operator"), version, option, suite, "-quiet"]

    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(adu(1, 1, READ))
        client.stdin.flush()
        answer = client.stdout.read(13)
        client.kill()
    assert answer == adu(1, 1, hexed("03 04 0000 0000"))


def test_suites_without_forward_secrecy_or_authenticated_encryption_are_refused(opened: Open, bench: Authority) -> None:
    server = opened(bench)

    for suite in ("ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES128-SHA", "AES128-GCM-SHA256"):
        assert "alert handshake failure" in s_client(server.port, bench, "operator", "-tls1_2", "-cipher", suite)


def test_a_client_cannot_renegotiate(opened: Open, bench: Authority) -> None:
    server = opened(bench)

    told = s_client(server.port, bench, "operator", "-tls1_2", sends=b"R\n")

    assert "no renegotiation" in told
    assert "Secure Renegotiation IS supported" in told  # RFC 5746
    assert "Compression: NONE" in told


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3], ids=["1.2", "1.3"])
def test_pymodbus_reads_and_writes(opened: Open, bench: Authority, version: ssl.TLSVersion) -> None:
    server = opened(bench, rules=RULES)
    context = client_context(bench, "operator", version=version)

    async def main() -> None:
        client = AsyncModbusTlsClient(HOST, port=server.port, sslctx=context, timeout=3, retries=0)
        assert await client.connect()
        assert not (await client.write_registers(10, [1, 2, 3], device_id=1)).isError()
        read = await client.read_holding_registers(10, count=3, device_id=1)
        client.close()
        assert read.registers == [1, 2, 3]

    asyncio.run(main())


def test_a_certificate_that_only_openssl_can_read_is_refused_with_one_line(
    opened: Open, own: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    in_a_version_of_the_future(own, "operator")
    server = opened(own)

    with SecureWire(server.port, client_context(own, "operator", version=TLS_1_2)) as wire:
        wire.expect_close()
    wait_for_line(caplog, "disconnected: TLS handshake failed: the certificate cannot be read: 3 is not a valid")
    wait_until(lambda: server.counters.clients == 0, 5.0, "its place free")


# -- sessions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tickets", [True, False], ids=["tickets", "session ids"])
@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3], ids=["1.2", "1.3"])
def test_a_session_that_is_resumed_keeps_its_role(
    opened: Open, bench: Authority, version: ssl.TLSVersion, tickets: bool, caplog: pytest.LogCaptureFixture
) -> None:
    server = opened(bench, rules=RULES)
    context = client_context(bench, "operator", version=version)
    if not tickets:
        context.options |= ssl.OP_NO_TICKET
    with SecureWire(server.port, context) as wire:
        assert wire.ask(WRITE) == WRITE
        session = wire.tls.session

    with SecureWire(server.port, context, session=session) as wire:
        assert wire.tls.session_reused
        assert wire.ask(WRITE) == WRITE
    assert len([line for line in _lines(caplog) if "connected: CN=operator" in line]) == 2


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3], ids=["1.2", "1.3"])
def test_no_session_outlives_its_certificate(
    opened: Open, bench: Authority, version: ssl.TLSVersion, caplog: pytest.LogCaptureFixture
) -> None:
    later_s = 0.0
    server = opened(bench, wall=lambda: time.time() + later_s)
    context = client_context(bench, "operator", version=version)
    with SecureWire(server.port, context) as wire:
        wire.ask(READ)
        session = wire.tls.session

    later_s = 10 * 365 * 86400.0
    with (
        pytest.raises((ssl.SSLError, ConnectionError, Closed)),
        SecureWire(server.port, context, session=session) as wire,
    ):
        wire.ask(READ)
    wait_for_line(caplog, r"its certificate has expired \(CN=operator")
    assert server.counters.requests == 1


def test_no_session_outlives_a_new_list_of_the_revoked(opened: Open, own: Authority) -> None:
    server = opened(own)
    context = client_context(own, "operator", version=TLS_1_2)
    with SecureWire(server.port, context) as wire:
        wire.ask(READ)
        session = wire.tls.session
    own.revoke("operator")

    with pytest.raises(ssl.SSLError, match="REVOKED"):
        SecureWire(server.port, context, session=session)


# -- files that change ----------------------------------------------------------------------------------------------


def test_certificates_are_renewed_under_a_client_that_stays(
    opened: Open, own: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    server = opened(own)
    context = client_context(own, "operator")
    with SecureWire(server.port, context) as stays:
        old = stays.tls.getpeercert(True)
        assert stays.ask(WRITE) == WRITE

        own.add("server", hosts=[HOST])
        with SecureWire(server.port, context) as wire:
            assert wire.tls.getpeercert(True) != old
            assert wire.ask(READ) == hexed("03 04 1234 0000")

        assert stays.ask(READ) == hexed("03 04 1234 0000")
    assert len([line for line in _lines(caplog) if "certificates were loaded" in line]) == 1


def test_files_that_do_not_work_leave_the_old_ones_in_use_until_they_do(
    opened: Open, own: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    server = opened(own)
    context = client_context(own, "operator")
    with SecureWire(server.port, context) as wire:
        first = wire.tls.getpeercert(True)
    assert first is not None
    whole = own.cert("server").read_bytes()

    for written in (whole[: len(whole) // 3], own.cert("operator").read_bytes(), b""):
        own.cert("server").write_bytes(written)
        for _ in range(3):
            with SecureWire(server.port, context) as wire:
                assert fingerprint(wire.tls.getpeercert(True) or b"") == fingerprint(first)
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 3
    assert "is not the key of" in errors[1]
    assert all("the certificates that were loaded before stay in use" in error for error in errors)

    own.add("server", hosts=[HOST])
    with SecureWire(server.port, context) as wire:
        assert wire.tls.getpeercert(True) != first
    wait_for_line(caplog, "certificates were loaded again")


def test_an_open_connection_whose_certificate_is_revoked_or_expires_is_closed(
    opened: Open, own: Authority, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "LOOK_S", 0.02)
    later_s = 0.0
    server = opened(own, wall=lambda: time.time() + later_s)
    with (
        SecureWire(server.port, client_context(own, "operator")) as operator,
        SecureWire(server.port, client_context(own, "viewer")) as viewer,
    ):
        assert operator.ask(READ) == viewer.ask(READ)

        own.revoke("operator")
        operator.expect_close()
        wait_for_line(caplog, r"disconnected: its certificate is revoked \(CN=operator")
        assert viewer.ask(READ)[:1] == b"\x03"

        later_s = 10 * 365 * 86400.0
        viewer.expect_close()
        wait_for_line(caplog, r"disconnected: its certificate has expired \(CN=viewer")


def test_a_client_of_a_ca_that_is_ours_no_more_is_closed(
    opened: Open, own: Authority, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(serving, "LOOK_S", 0.02)
    server = opened(own)
    with SecureWire(server.port, client_context(own, "operator")) as operator:
        assert operator.ask(READ)[:1] == b"\x03"
        other = Authority(tmp_path / "other")
        other.make([HOST], ["operator"])
        for path in other.folder.iterdir():
            shutil.copy2(path, own.folder / path.name)
        operator.expect_close()
        wait_for_line(caplog, r"not trusted: it leads to no CA of ours any more \(CN=operator")
        with SecureWire(server.port, client_context(other, "operator")) as welcome:
            assert welcome.ask(READ)[:1] == b"\x03"


# -- what is no handshake -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (adu(1, 1, READ), "it speaks plain Modbus, and this port wants TLS"),
        (b"GET / HTTP/1.1\r\n\r\n", "it speaks something else"),
        (b"\x16\x03\x01\x00\x05hello", "TLS handshake failed: "),
        (b"\x16" + b"\xff" * 300, "TLS handshake failed: "),
        (b"\x00", "it speaks something else"),
        (b"", "before it was done"),
    ],
)
def test_what_is_no_tls_is_closed_with_one_line(
    opened: Open, bench: Authority, data: bytes, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = opened(bench)

    with Wire(server.port) as wire:
        wire.send(data)
        if not data:
            wire.half_close()
        try:
            while wire.socket.recv(1000):
                pass  # an alert
        except ConnectionError:
            pass
    wait_for_line(caplog, line)
    assert len(_lines(caplog)) == 1
    assert server.counters.handshakes_failed == 1


def test_garbage_within_an_open_connection_ends_it_alone(
    opened: Open, bench: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    server = opened(bench)
    context = client_context(bench, "operator")
    with SecureWire(server.port, context) as stays, SecureWire(server.port, context) as wire:
        wire.ask(READ)
        with socket.socket(fileno=wire.tls.detach()) as bare:
            bare.settimeout(5.0)
            bare.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
            while bare.recv(1000):
                pass
        wait_for_line(caplog, "disconnected: TLS: ")
        assert stays.ask(READ)[:1] == b"\x03"


def test_handshakes_that_stall_do_not_keep_others_out(opened: Open, bench: Authority) -> None:
    server = opened(bench)
    with ExitStack() as stack:
        for number in range(200):
            wire = stack.enter_context(Wire(server.port))
            if number % 2:
                wire.send(b"\x16\x03\x01\x02\x00\x01")
        wait_until(lambda: server.counters.clients == 200, 5.0, "200 handshakes in progress")

        began_s = time.monotonic()
        with SecureWire(server.port, client_context(bench, "operator")) as secure:
            assert secure.ask(WRITE) == WRITE
        assert time.monotonic() - began_s < 1.0


@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.2"])
def test_handshakes_that_stall_make_room_when_there_are_too_many(
    opened: Open, bench: Authority, source: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    if source == "127.0.0.1":
        monkeypatch.setattr(serving, "STALLED_S", 0.0)
    server = opened(bench, max_connections=20)
    with ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(Wire(server.port))
        ours = server.counters
        wait_until(lambda: ours.connections + ours.refused_connections == 60, 5.0, "60 clients seen")
        wait_until(lambda: ours.clients == 10, 5.0, "half of the places taken")

        with SecureWire(server.port, client_context(bench, "operator"), source=source) as secure:
            assert secure.ask(WRITE) == WRITE
        wait_for_line(caplog, "made room for a new one")


def test_a_handshake_has_a_deadline(
    opened: Open, bench: Authority, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "HANDSHAKE_S", 0.1)
    server = opened(bench)

    with Wire(server.port) as wire:
        wire.expect_close()
    wait_for_line(caplog, "its TLS handshake took longer than 0.1 s")
    wait_until(lambda: server.counters.clients == 0, 5.0, "its place free")


# -- the stream -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3], ids=["1.2", "1.3"])
def test_requests_and_answers_may_be_split_over_records_in_any_way(
    opened: Open, bench: Authority, version: ssl.TLSVersion
) -> None:
    server = opened(bench)
    with SecureWire(server.port, client_context(bench, "operator", version=version)) as wire:
        for byte in adu(7, 1, READ):
            wire.send(bytes([byte]))
        assert wire.receive_adu().tid == 7

        wire.send(b"".join(adu(tid, 1, READ_MOST) for tid in range(2000)))  # answers of many records
        for tid in range(2000):
            assert wire.receive_adu()[:3] == (tid, 0, 1)


def test_a_request_that_comes_with_the_end_of_the_handshake_is_answered(opened: Open, bench: Authority) -> None:
    """With TLS 1.3 a client may send it in the same segment as its certificate."""
    server = opened(bench)
    with SlowSecureWire(server.port, client_context(bench, "operator", version=TLS_1_3)) as wire:
        wire.send(wire.sealed(adu(1, 1, READ) + adu(2, 1, READ)))
        answer = hexed("03 04 0000 0000")
        assert wire.opened(26) == adu(1, 1, answer) + adu(2, 1, answer)


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3], ids=["1.2", "1.3"])
@pytest.mark.parametrize("size", [1, 5, 10])
def test_a_part_of_a_record_does_not_keep_its_place(
    opened: Open, bench: Authority, caplog: pytest.LogCaptureFixture, size: int, version: ssl.TLSVersion
) -> None:
    server = opened(bench, limits=Limits.model_construct(half_request_s=0.2))
    context = client_context(bench, "operator", version=version)
    with SlowSecureWire(server.port, context) as wire, SecureWire(server.port, context) as other:
        wire.send(wire.sealed(adu(1, 1, READ)))
        assert wire.opened(13)[7:] == hexed("03 04 0000 0000")
        wire.send(wire.sealed(adu(2, 1, READ))[:size])
        wait_for_line(caplog, "sent a part of a request 0.2 s ago and not its rest")
        wait_until(lambda: server.counters.clients == 1, 5.0, "its place free")
        assert server.counters.half == 1
        assert other.ask(READ)[:1] == b"\x03", "who only says nothing may stay"


def test_a_client_that_sends_a_record_byte_by_byte_is_not_waited_for(opened: Open, bench: Authority) -> None:
    server = opened(bench, limits=Limits.model_construct(half_request_s=0.2))
    with SlowSecureWire(server.port, client_context(bench, "operator")) as wire:
        wire.send(wire.sealed(adu(1, 1, READ)))
        wire.opened(13)
        record = iter(wire.sealed(adu(2, 1, READ) * 1000))

        def is_closed() -> bool:
            with contextlib.suppress(ConnectionError):
                wire.send(bytes((next(record),)))
            return server.counters.half == 1

        wait_until(is_closed, 5.0, "the end of a client that sends a byte now and then")


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3], ids=["1.2", "1.3"])
def test_a_long_record_over_a_slow_line_is_waited_for(opened: Open, bench: Authority, version: ssl.TLSVersion) -> None:
    """A thousand requests that a client wrote at once: none can be read before all of them are there."""
    server = opened(bench, limits=Limits.model_construct(half_request_s=0.2))
    with SlowSecureWire(server.port, client_context(bench, "operator", version=version)) as wire:
        rest = wire.sealed(adu(1, 1, READ) * 1000)
        begun_s = time.monotonic()

        def is_sent() -> bool:
            nonlocal rest
            wire.send(rest[:300])
            rest = rest[300:]
            return not rest

        wait_until(is_sent, 20.0, "all of it is sent")
        assert time.monotonic() - begun_s > 0.3, "it took longer than half a request may"
        assert wire.opened(13_000) == adu(1, 1, hexed("03 04 0000 0000")) * 1000
        assert server.counters.half == 0


def test_a_client_that_says_goodbye_gets_what_it_asked_for(opened: Open, bench: Authority) -> None:
    server = opened(bench)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context(bench, "operator", version=TLS_1_3).wrap_bio(incoming, outgoing, server_hostname=HOST)
    with Wire(server.port) as wire:
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                wire.send(outgoing.read())
                incoming.write(wire.socket.recv(65536))
            else:
                break
        tls.write(adu(1, 1, READ))
        with pytest.raises(ssl.SSLWantReadError):
            tls.unwrap()  # close_notify
        wire.send(outgoing.read())
        received = b""
        while data := wire.socket.recv(65536):
            received += data
    incoming.write(received)
    wait_until(lambda: server.counters.clients == 0, 5.0, "its end")
    assert server.counters.requests == 1
    assert len(received) > 13


def test_a_client_that_does_not_fetch_its_answers_is_not_read_any_more(opened: Open, bench: Authority) -> None:
    server = opened(bench)
    context = client_context(bench, "operator")
    with SecureWire(server.port, context) as wire, SecureWire(server.port, context) as other:
        wire.socket.setblocking(False)
        chunk = adu(1, 1, READ_MOST) * 1000

        def is_full() -> bool:
            try:
                while True:
                    wire.socket.send(chunk)
            except ssl.SSLWantWriteError:
                return server.counters.requests == before

        before = -1
        while not is_full():
            before = server.counters.requests
        assert other.ask(READ)[:1] == b"\x03"
        for _ in range(1000):
            assert wire.receive_adu().pdu[:2] == hexed("03 FA")


# -- openssl --------------------------------------------------------------------------------------------------------


def connect(port: int, authority: Authority, name: str) -> list[str]:
    certificate = ["-cert", str(authority.cert(name)), "-key", str(authority.key(name))]
    trust = ["-CAfile", str(authority.cert("ca")), "-verify_return_error"]
    return [require("openssl"), "s_client", "-connect", f"{HOST}:{port}", *certificate, *trust]


def s_client(port: int, authority: Authority, name: str, *arguments: str, sends: bytes = b"") -> str:
    """Everything that openssl says."""
    run = subprocess.run(
        [*connect(port, authority, name), *arguments], input=sends, capture_output=True, timeout=20, check=False
    )
    return (run.stdout + run.stderr).decode(errors="replace")
