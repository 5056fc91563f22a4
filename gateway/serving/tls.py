"""Modbus/TCP Security: TLS between an accepted connection and `Connection`, and the role of whoever is behind it.

The rule: first the address and a place among the clients, before a byte is read; then the handshake, bounded in number
and time; then the certificate's role, and only then a request. Nobody's handshake holds up the others: one step of one
of them at a time, between which the loop serves.

The loop's own TLS does not do here, as tried with Python 3.11 and uvloop 0.23: `start_tls` closes after a handshake
that failed without the alert that tells the client why (R-10, R-44), uvloop's loses what came before it, and
`create_server(ssl=...)` has one context for ever and shakes hands with everybody. So this is a transport of our own
over `ssl.SSLObject`, with no task and no buffer but the library's; it also costs less: 22 us of processor for a read of
125 registers, where uvloop's takes 40 and plain TCP 13.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import Counter, deque
from typing import Any, cast

from gateway.errors import TlsError
from gateway.serving.clients import Clients
from gateway.serving.connection import Connection
from gateway.serving.doors import Door
from gateway.tls.certificates import Certificates
from gateway.tls.chains import EXPIRED, chain_of
from gateway.tls.peers import Peer, peer_of

HANDSHAKE_S = 10.0
"""For the whole handshake; a client behind a slow radio link needs four round trips."""
MAX_HANDSHAKES = 512
"""In progress at once: what 1,000 clients that come back together after an outage need, and 25 MB. Never more than half
of `max_connections`, so that those who stall leave places to the others."""
STALLED_S = 1.0
"""A handshake that takes longer makes room for a new one when there is none."""
LOOK_S = 30.0
"""How often open connections are looked at: has the certificate's time come, is it revoked."""
RECORD_SIZE = 16 * 1024
"""The most that a record carries (RFC 8446 5.1): one read takes all of it."""

_HEAD_SIZE = 5
"""Of a record: type, version, length (RFC 8446 5.1)."""
_REQUEST_SIZE = 260
"""The longest frame of Modbus/TCP (TCP guide 4.1)."""
_HANDSHAKE_RECORD = 0x16
"""The first byte of TLS (RFC 8446 5.1)."""


class TlsClients:
    """All clients of all TLS listeners of one gateway, those in their handshake included."""

    def __init__(self, clients: Clients) -> None:
        self.clients = clients
        self._shaking: dict[TlsStream, float] = {}
        """Those in their handshake, the oldest first, and when they came."""
        self._ready: deque[TlsStream] = deque()
        """Those of them that have received something."""
        self._open: set[TlsStream] = set()
        """Those that have shown who they are."""
        self._next_look: asyncio.TimerHandle | None = None

    def protocol(self, door: Door) -> asyncio.Protocol:
        """For a connection that was accepted at this door, which has certificates."""
        return TlsStream(self, door)

    def begin(self, stream: TlsStream) -> bool:
        """A handshake begins; False: there are too many, none of which may be ended for it."""
        most = max(1, min(MAX_HANDSHAKES, self.clients.max_connections // 2))
        if len(self._shaking) >= most and not self._make_room(stream):
            return False
        self._shaking[stream] = self._now_s()
        return True

    def ready(self, stream: TlsStream) -> None:
        """There is something for its next step, which comes in its turn: keys and chains take two milliseconds."""
        if not self._ready:
            asyncio.get_running_loop().call_soon(self._step)
        self._ready.append(stream)

    def known(self, stream: TlsStream) -> None:
        """Its handshake is done."""
        del self._shaking[stream]
        self._open.add(stream)
        if self._next_look is None:
            self._next_look = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def gone(self, stream: TlsStream) -> None:
        """Its connection is no more."""
        self._shaking.pop(stream, None)
        self._open.discard(stream)

    def look(self) -> None:
        """Close connections whose certificate is not valid any more; load certificates that have changed."""
        for certificates in {stream.certificates for stream in self._open}:
            with contextlib.suppress(TlsError):  # it has told that
                certificates.context()
        for stream in list(self._open):
            if why := stream.why_not_valid():
                stream.fail(why)

    def _look(self) -> None:
        self._next_look = None
        self.look()
        if self._open:
            self._next_look = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def _step(self) -> None:
        stream = self._ready.popleft()
        if self._ready:
            asyncio.get_running_loop().call_soon(self._step)
        stream.shake()

    def _make_room(self, newcomer: TlsStream) -> bool:
        """End the oldest handshake of the address that has clearly more of them than the newcomer's, or else the oldest
        of all if it has stalled. One address that opens many thus takes nothing from another."""
        counts = Counter(stream.host for stream in self._shaking)
        busiest, count = counts.most_common(1)[0]
        oldest = next(iter(self._shaking))
        if count > counts[newcomer.host] + 1:
            oldest = next(stream for stream in self._shaking if stream.host == busiest)
        elif self._now_s() - self._shaking[oldest] < STALLED_S:
            return False
        del self._shaking[oldest]  # at once: its end comes later
        oldest.fail("its TLS handshake made room for a new one")
        return True

    def _now_s(self) -> float:
        return self.clients.gate.freshness.clock()


class Records:
    """Where one ends and the next begins, which the library does not tell.

    A record may carry hundreds of requests, none of which can be read before all of it is there. Over a slow line that
    takes its time: as long as a request's worth of it comes in the time of a request, it is not late.
    """

    __slots__ = ("_came", "_head", "_missing", "half_since_s")

    def __init__(self) -> None:
        self._head = b""
        """Of the last one, which is not whole."""
        self._missing = 0
        """Bytes of the last one that are still to come, when its head is whole."""
        self._came = 0
        """Bytes of it since `half_since_s`."""
        self.half_since_s: float | None = None
        """Since when there is a part of the last one, or of a request's worth of it; None: it is whole."""

    def feed(self, data: bytes, now_s: float) -> None:
        """This has come."""
        self._came += len(data)
        data, end = self._head + data, self._missing
        while end <= len(data):
            if end:  # another one is whole
                self.half_since_s = None
            if end + _HEAD_SIZE > len(data):
                break
            end += _HEAD_SIZE + int.from_bytes(data[end + 3 : end + _HEAD_SIZE], "big")
        self._head, self._missing = data[end:], max(0, end - len(data))
        if (self._head or self._missing) and (self.half_since_s is None or self._came >= _REQUEST_SIZE):
            self.half_since_s, self._came = now_s, 0

    def resume(self, now_s: float) -> None:
        """Nothing was read until now."""
        if self.half_since_s is not None:
            self.half_since_s = now_s


class TlsConnection(Connection):
    """A client whose requests come through TLS: it takes a place when it comes and is told later who it is."""

    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.last_s = self._clients.gate.freshness.clock()
        if not self._clients.knock(self, self._transport, self._door):
            self._transport.abort()
            self._transport = None

    def half_since_s(self) -> float | None:
        """A part of a record is a part of a request, too."""
        half_since_s = super().half_since_s()
        if half_since_s is None and self._transport is not None:
            return cast(TlsStream, self._transport).half_since_s
        return half_since_s

    @property
    def is_in(self) -> bool:
        """Whether it has a place."""
        return self._transport is not None

    def introduce(self, peer: Peer | None, version: str) -> bool:
        """It is known who it is; False: it may do nothing here."""
        if peer is None:
            entry = self._clients.introduce(self, None, None, f"no certificate, {version}")
        else:
            entry = self._clients.introduce(self, peer.role.name, peer.name, f"{peer}, {version}")
        if entry is None:
            return False
        self.last_s = self._clients.gate.freshness.clock()
        self.admit(entry)
        return True


class TlsStream(asyncio.Transport, asyncio.Protocol):
    """TLS on one accepted connection: the protocol of the socket's transport, and the transport of a `Connection`."""

    def __init__(self, all_: TlsClients, door: Door) -> None:
        super().__init__()
        self._door = door
        self.host = ""
        """The client's address."""
        self.peer: Peer | None = None
        """Who has shown a certificate; None: nobody yet."""
        self._chain: list[Any] = []
        """From it to one of our CAs; empty where the library keeps none (a session that was resumed)."""
        self._all = all_
        self._connection = TlsConnection(all_.clients, door)
        self._raw: asyncio.Transport
        """Of the socket; `connection_made` has it."""
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._ssl: ssl.SSLObject | None = None
        self._records = Records()
        self._is_shaking = True
        self._has_begun = False
        """Something has come."""
        self._is_closing = False
        self._has_ended = False
        """The client sends nothing more."""
        self._deadline: asyncio.TimerHandle | None = None
        self._why: TlsError | None = None
        """Why we close it."""

    @property
    def certificates(self) -> Certificates:
        """Of its door: those of now, which after a reload may be others than those it came with."""
        assert self._door.certificates is not None  # a TLS listener without them is not opened
        return self._door.certificates

    @property
    def half_since_s(self) -> float | None:
        """When the record began of which only a part has come; None: there is none, or its rest may lie with us. A
        handshake has a deadline of its own."""
        return None if self._is_shaking or not self._raw.is_reading() else self._records.half_since_s

    # -- the socket's protocol ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = cast(asyncio.Transport, transport)
        self.host = str((transport.get_extra_info("peername") or ("?",))[0])
        self._connection.connection_made(self)
        if not self._connection.is_in:
            return
        if not self._all.begin(self):
            self.fail("too many TLS handshakes are in progress")
            return
        try:
            context = self.certificates.context()
        except TlsError as error:
            self.fail(str(error))
            return
        self._ssl = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._deadline = asyncio.get_running_loop().call_later(HANDSHAKE_S, self._late)

    def data_received(self, data: bytes) -> None:
        if self._is_closing or self._has_ended:
            return
        if not self._is_shaking:
            self._records.feed(data, self._now_s())
            self._incoming.write(data)
            self._read()
            return
        if not self._has_begun and data[0] != _HANDSHAKE_RECORD:
            modbus = "plain Modbus" if data[2:4] == b"\0\0" and len(data) >= 4 else "something else"
            self.fail(f"it speaks {modbus}, and this port wants TLS")
            return
        self._has_begun = True
        self._records.feed(data, self._now_s())
        self._incoming.write(data)
        self._raw.pause_reading()
        self._all.ready(self)

    def eof_received(self) -> bool:
        if self._is_closing:
            return False
        if self._is_shaking:
            self.fail(_LEFT)
            return False
        self._end_of_input()
        return True  # `Connection` closes when everything is answered

    def connection_lost(self, exc: Exception | None) -> None:
        if self._is_shaking and not self._is_closing:
            self._note(_LEFT)
        self._is_closing = True
        if self._deadline is not None:
            self._deadline.cancel()
        self._all.gone(self)
        self._connection.connection_lost(self._why or exc)

    def pause_writing(self) -> None:
        if not self._is_shaking:
            self._connection.pause_writing()

    def resume_writing(self) -> None:
        if not self._is_shaking:
            self._connection.resume_writing()

    # -- handshake ----------------------------------------------------------------------------------------------

    def shake(self) -> None:
        """The next step, with what has come."""
        if self._is_closing or not self._is_shaking or self._ssl is None:
            return
        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            self._raw.resume_reading()
            return
        except ssl.SSLError as error:
            self._flush()  # the alert
            self.fail(why_failed(error))
            return
        self._flush()
        self._identify(self._ssl)

    def _identify(self, tls: ssl.SSLObject) -> None:
        """The handshake is done: who is it, and what comes next."""
        der = tls.getpeercert(True)
        if der is not None:  # None: a session was resumed by a library that does not keep it; then it has no role
            try:
                self.peer = peer_of(der)
            except TlsError as error:
                self.fail(str(error))
                return
            with contextlib.suppress(TlsError):  # what only the library can read is judged by its own certificate
                self._chain = chain_of(tls)
            if why := self.why_not_valid():  # a session that is resumed is not verified again
                self.fail(why)
                return
        if not self._connection.introduce(self.peer, tls.version() or "TLS"):
            self.abort()
            return
        self._is_shaking = False
        if self._deadline is not None:
            self._deadline.cancel()
        self._all.known(self)
        self.resume_reading()
        self._read()  # requests may have come with its last message

    def _late(self) -> None:
        self.fail(f"its TLS handshake took longer than {HANDSHAKE_S:g} s")

    def why_not_valid(self) -> str:
        """What is wrong with the client's certificate now; empty: nothing."""
        peer, certificates = self.peer, self.certificates
        if peer is None:
            return ""
        if certificates.is_revoked(peer):
            return f"its certificate is revoked ({peer})"
        if certificates.is_over(peer):
            return f"its certificate has expired ({peer})"
        if self._chain and (code := certificates.judge(self._chain)):
            what = "one that it leads to has expired" if code == EXPIRED else "it leads to no CA of ours any more"
            return f"its certificate is not trusted: {what} ({peer})"
        return ""

    def fail(self, why: str) -> None:
        """Close it; `why` is told where its end is told."""
        if self._is_closing:
            return
        self._note(why)
        self.close()
        if self._raw.get_write_buffer_size():  # what it does not fetch is dropped
            self._raw.abort()

    def _note(self, why: str) -> None:
        if self._is_shaking:
            why = f"TLS handshake failed: {why}"
            self._all.clients.counters.handshakes_failed += 1
        self._why = TlsError(why)

    # -- data ---------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        """Hand on all whole records that have come, as one piece."""
        tls, incoming = self._ssl, self._incoming
        assert tls is not None
        parts: list[bytes] = []
        ended, broken = False, ""
        try:
            while incoming.pending and not ended:
                part = tls.read(RECORD_SIZE)
                if part:
                    parts.append(part)
                else:
                    ended = True  # close_notify
        except ssl.SSLWantReadError:  # the rest of a record is still to come
            pass
        except ssl.SSLError as error:
            broken = _reason(error)
        if self._outgoing.pending:  # the library's own answer: to a new key, or an alert
            self._flush()
        if parts:
            self._connection.data_received(parts[0] if len(parts) == 1 else b"".join(parts))
        if broken:
            self._all.clients.counters.unread()
            self.fail(f"TLS: {broken}")
        elif ended and not self._is_closing:
            self._end_of_input()

    def _end_of_input(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._connection.eof_received()

    def _now_s(self) -> float:
        return self._all.clients.gate.freshness.clock()

    def _flush(self) -> None:
        if self._outgoing.pending and not self._raw.is_closing():
            self._raw.write(self._outgoing.read())

    # -- the transport of Connection ----------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_closing or self._ssl is None:
            return
        try:
            sent = self._ssl.write(data)
            while sent < len(data):  # a record at a time
                sent += self._ssl.write(memoryview(data)[sent:])
        except ssl.SSLError as error:
            self.fail(f"TLS: {_reason(error)}")
            return
        self._raw.write(self._outgoing.read())

    def close(self) -> None:
        """Say that it is the end, and end when what was written has left; nobody waits for the client to say it too."""
        if self._is_closing:
            return
        self._is_closing = True
        if not self._is_shaking and self._ssl is not None:
            with contextlib.suppress(ssl.SSLError):  # the client's own word has not come, or the stream is broken
                self._ssl.unwrap()
        self._flush()
        self._raw.close()

    def abort(self) -> None:
        self._is_closing = True
        self._raw.abort()

    def is_closing(self) -> bool:
        return self._is_closing or self._raw.is_closing()

    def pause_reading(self) -> None:
        self._raw.pause_reading()

    def resume_reading(self) -> None:
        if not self._raw.is_reading():
            self._records.resume(self._now_s())
        self._raw.resume_reading()

    def is_reading(self) -> bool:
        return self._raw.is_reading()

    def get_write_buffer_size(self) -> int:
        return self._raw.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._raw.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._raw.set_write_buffer_limits(high, low)

    @property
    def max_size(self) -> int:
        return getattr(self._raw, "max_size", 0)

    @max_size.setter
    def max_size(self, size: int) -> None:
        if hasattr(self._raw, "max_size"):
            self._raw.max_size = size

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._ssl if name == "ssl_object" else self._raw.get_extra_info(name, default)


# -- words ----------------------------------------------------------------------------------------------------------

_LEFT = "it ended the connection before it was done"
_VERIFY = {
    3: "there is no CRL of its CA",
    9: "its certificate is not valid yet; is the clock right?",
    10: "its certificate has expired",
    12: "the CRL is too old: nobody is let in until there is a new one",
    18: "its certificate is self-signed, and not one of those we trust",
    19: "its certificate is of a CA that we do not trust",
    20: "its certificate is of a CA that we do not trust",
    21: "its certificate is of a CA that we do not trust",
    23: "its certificate is revoked",
    26: "its certificate is not for clients (extended key usage)",
}
"""By the number of x509_vfy.h."""
_REASONS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it showed no certificate, and both sides must",
    "UNSUPPORTED_PROTOCOL": "it speaks only versions of TLS that are too old",
    "VERSION_TOO_LOW": "it speaks only versions of TLS that are too old",
    "NO_SHARED_CIPHER": "it knows no cipher suite that is good enough",
    "HTTP_REQUEST": "it speaks HTTP",
}


def why_failed(error: ssl.SSLError) -> str:
    """What a failed handshake means, for people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _VERIFY.get(error.verify_code, f"its certificate is refused: {error.verify_message}")
    reason = error.reason or ""
    if "ALERT" in reason:
        said = reason.partition("ALERT_")[2].lower().replace("_", " ")
        asked = "; does it trust the CA of our certificate?" if "certificate" in said or said == "unknown ca" else ""
        return f"it ended it, saying `{said}`{asked}"
    return _REASONS.get(reason, _reason(error))


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).lower().replace("_", " ")
