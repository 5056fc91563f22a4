"""Modbus/TCP Security by hand: certificates to test with, a server in a thread on either loop, a client of `ssl`."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from gateway.bank import Bank
from gateway.clock import now
from gateway.config.model_server import Limits, Rule
from gateway.config.urls import ListenUrl
from gateway.front.access import Access
from gateway.front.counters import Counters
from gateway.front.freshness import Freshness
from gateway.front.gate import Gate
from gateway.front.units import Units
from gateway.modbus.spec import Table
from gateway.serving.clients import Clients
from gateway.serving.doors import Door
from gateway.serving.tls import TlsClients
from gateway.tls.certificates import Certificates, Files
from gateway.tls.certs import Authority, load
from tests.support.needs import require
from tests.support.wire import Closed, Wire

HOST = "127.0.0.1"


def files_of(authority: Authority, name: str = "server", *, crl: bool = True) -> Files:
    return Files(authority.cert(name), authority.key(name), authority.cert("ca"), authority.crl if crl else None)


def client_context(
    authority: Authority,
    name: str | None,
    *,
    ca: Authority | None = None,
    version: ssl.TLSVersion | None = None,
) -> ssl.SSLContext:
    """Of a client with the certificate `name`, or None, that trusts the server's CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations((ca or authority).cert("ca"))
    if name is not None:
        context.load_cert_chain(authority.cert(name), authority.key(name))
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


class SecureWire(Wire):
    """A client over TLS."""

    def __init__(
        self,
        port: int,
        context: ssl.SSLContext,
        *,
        session: ssl.SSLSession | None = None,
        source: str | None = None,
    ) -> None:
        super().__init__(port, HOST, source=source)
        try:
            self.tls = context.wrap_socket(self.socket, server_hostname=HOST, session=session)
        except BaseException:
            self.socket.close()
            raise
        self.socket = self.tls


class SlowSecureWire(Wire):
    """The same without a socket of the library's: what is sent, and when, is the test's."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        super().__init__(port, HOST)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=HOST)
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self.send(self._outgoing.read())
                self._incoming.write(self.socket.recv(65536))
            else:
                break

    def sealed(self, data: bytes) -> bytes:
        """Records with it, to be sent; behind what is left of the handshake."""
        self._tls.write(data)
        return self._outgoing.read()

    def opened(self, count: int) -> bytes:
        """Exactly so many bytes of what has come."""
        data = b""
        while len(data) < count:
            try:
                data += self._tls.read(count - len(data))
            except ssl.SSLWantReadError:
                received = self.socket.recv(65536)
                if not received:
                    raise Closed(f"closed after {len(data)} of {count} bytes") from None
                self._incoming.write(received)
        return data


def why_refused(port: int, context: ssl.SSLContext) -> str:
    """What becomes of a client that asks something: the library's word for the alert it gets."""
    try:
        with SecureWire(port, context) as wire:
            # With TLS 1.3 a client is done before the server has seen its certificate.
            wire.socket.sendall(bytes.fromhex("0001 0000 0006 01 03 0000 0001"))
            answer = wire.socket.recv(100)
            raise AssertionError(f"let in, and told {answer.hex()}")
    except ssl.SSLError as error:
        return error.reason or str(error)


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate that nobody has issued, and its key."""
    cert, key = folder / "alone.pem", folder / "alone.key"
    command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=alone -batch"
    arguments = [require("openssl"), *command.split(), "-keyout", str(key), "-out", str(cert)]
    subprocess.run(arguments, check=True, capture_output=True, timeout=30)
    return cert, key


def in_a_version_of_the_future(authority: Authority, name: str) -> None:
    """Make a certificate one of X.509 version 4, by the CA as ever: OpenSSL does not mind, `cryptography` does."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = serialization.load_pem_private_key(authority.key("ca").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    signed = load(authority.cert(name)).tbs_certificate_bytes
    assert signed.count(_VERSION_3) == 1
    signed = signed.replace(_VERSION_3, _VERSION_3[:-1] + b"\x03")
    signature = key.sign(signed, ec.ECDSA(hashes.SHA256()))
    der = _der(0x30, signed + _ECDSA_WITH_SHA256 + _der(0x03, b"\0" + signature))
    authority.cert(name).write_text(ssl.DER_cert_to_PEM_cert(der) + authority.cert("ca").read_text())


_VERSION_3 = bytes.fromhex("A003020102")
_ECDSA_WITH_SHA256 = bytes.fromhex("300A06082A8648CE3D040302")


def _der(tag: int, value: bytes) -> bytes:
    size = len(value)
    return bytes((tag, *((size,) if size < 0x80 else (0x82, *size.to_bytes(2, "big"))))) + value


class SecureServer:
    """A TLS listener with a thousand holding registers behind it, in a loop of its own."""

    def __init__(
        self,
        certificates: Certificates,
        rules: Sequence[dict[str, Any]] | None = None,
        max_connections: int = 1000,
        limits: Limits | None = None,
    ) -> None:
        self.counters = Counters()
        bank = Bank({Table.HOLDING: [(0, 1000)]})
        gate = Gate(Units({1: bank}, 1, "gateway_path"), Freshness(now), self.counters)
        self.clients = Clients(
            gate, max_connections=max_connections, idle_timeout_s=0.0, keepalive_s=0.0, limits=limits
        )
        self.tls = TlsClients(self.clients)
        access = None if rules is None else Access(Rule.model_validate(rule) for rule in rules)
        self.door = Door(ListenUrl(HOST, 0, "tls"), access, certificates)
        self.port = 0
        self.failures: list[dict[str, Any]] = []
        """What the loop was told of exceptions that nobody took."""

    @contextlib.contextmanager
    def running(self, loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> Iterator[SecureServer]:
        started: Future[None] = Future()

        async def main() -> None:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, what: self.failures.append(what))
            self._loop, self._stop = loop, asyncio.Event()
            try:
                listener = await loop.create_server(lambda: self.tls.protocol(self.door), HOST, 0, backlog=1024)
                self.port = listener.sockets[0].getsockname()[1]
                self.clients.review()  # from now on it is looked who takes too long
            except BaseException as error:
                started.set_exception(error)
                raise
            started.set_result(None)
            await self._stop.wait()
            listener.close()
            self.clients.close()
            async with asyncio.timeout(5.0):
                while self.counters.clients:
                    await asyncio.sleep(0.001)

        def run() -> None:
            with asyncio.Runner(loop_factory=loop_factory) as runner:
                runner.run(main())

        thread = threading.Thread(target=run)
        thread.start()
        try:
            started.result(10.0)
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._stop.set)
            thread.join(10.0)
        assert not thread.is_alive()
        assert not self.failures, self.failures

    def call(self, function: Callable[[], object]) -> None:
        """In its loop, done when this returns."""
        done: Future[None] = Future()

        def there() -> None:
            try:
                function()
            except BaseException as error:
                done.set_exception(error)
            else:
                done.set_result(None)

        self._loop.call_soon_threadsafe(there)
        done.result(5.0)
