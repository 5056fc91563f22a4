"""Traced frames as a capture file that Wireshark and tshark dissect without a setting. Pure: frames in, bytes out.

The rule of the file: whatever way a frame really went, it is written as Modbus TCP to port 502, because that is what
dissectors know by themselves: a packet of its own with true addresses where there are any, the real time in ns and
sequence numbers without a gap, so that each request is found by its answer. No handshake is made up: the gateway did
not see one. What is not true is told in the file: each link, and the clients, are an interface that has the true url
as its name, and the first packet of each conversation says in its comment who really talked to whom.

Addresses where there are none (serial lines, an end that is not known) are those kept for documentation (RFC 5737,
RFC 3849), which nobody has. So are the control socket and, of a browser's requests, the page: neither is an address
that serves or asks Modbus, and 127.0.0.1 would be taken for a client on this machine.

The format is pcapng (draft-ietf-opsawg-pcapng): classic pcap has neither names nor comments.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import NamedTuple, Protocol

from gateway.modbus import mbap

SERVER_PORT = 502
"""Where dissectors expect Modbus TCP."""
MAX_CONVERSATIONS = 10_000
"""Whose sequence numbers are kept; a client that connects anew for each request makes one each. The oldest is
forgotten, and counts from 1 again if it is heard of again."""
FIRST_MADE_UP_PORT = 49152
"""Of the range for clients' own ports (RFC 6335 6)."""
MADE_UP_PORTS = 0x10000 - FIRST_MADE_UP_PORT

_SECTION_HEADER, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_BYTE_ORDER_MAGIC = 0x1A2B3C4D
_LINKTYPE_RAW = 101
"""A packet begins with its IPv4 or IPv6 header: there is no Ethernet to make up."""
_NS_RESOLUTION = b"\x09"
_OPTION_COMMENT, _OPTION_NAME, _OPTION_DESCRIPTION, _OPTION_RESOLUTION, _OPTION_FLAGS, _OPTION_PROGRAM = (
    1,
    2,
    3,
    9,
    2,
    4,
)
_INBOUND, _OUTBOUND = 1, 2
_PSH_ACK = 0x18
_WINDOW = 0xFFFF
_TCP = 6
_HOPS = 64
_MAX_OPTION = 1000
"""Bytes of a name or comment."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_UNKNOWN_SERVER = (ipaddress.ip_address("198.51.100.1"), ipaddress.ip_address("2001:db8::1"))
_UNKNOWN_CLIENT = (ipaddress.ip_address("203.0.113.1"), ipaddress.ip_address("2001:db8::2"))


class Traced(Protocol):
    """What of a frame is written; `gateway.traffic.Frame` is one."""

    @property
    def time_ns(self) -> int: ...
    @property
    def side(self) -> str: ...
    @property
    def where(self) -> str: ...
    @property
    def peer(self) -> str: ...
    @property
    def local(self) -> str: ...
    @property
    def unit_id(self) -> int: ...
    @property
    def tid(self) -> int: ...
    @property
    def is_request(self) -> bool: ...
    @property
    def pdu(self) -> bytes: ...
    @property
    def note(self) -> str: ...


class _End(NamedTuple):
    address: Address
    port: int


class _Conversation:
    """A client and a server as they are written, and how many bytes each has sent."""

    __slots__ = ("client", "sent", "server")

    def __init__(self, client: _End, server: _End) -> None:
        self.client = client
        self.server = server
        self.sent = [1, 1]
        """Next sequence number of the client's and of the server's side."""


class Pcap:
    """One capture. `head()` first, then what `frame` returns, one after the other."""

    def __init__(self, program: str = "") -> None:
        self._program = program
        self._interfaces: dict[str, int] = {}
        self._conversations: dict[tuple[str, str, str, str], _Conversation] = {}
        self._taken: set[tuple[_End, _End]] = set()
        self._made_up = 0

    def head(self) -> bytes:
        """The section header; its length is not known, as of every capture that grows."""
        body = struct.pack("<IHHq", _BYTE_ORDER_MAGIC, 1, 0, -1)
        return _block(_SECTION_HEADER, body + _options([(_OPTION_PROGRAM, self._program.encode())]))

    def frame(self, frame: Traced, url: str = "", comment: str = "") -> bytes:
        """The blocks of one frame; nothing for one without bytes (a time-out). `url`: the true way of its link."""
        if not frame.pdu:
            return b""
        name = frame.where if frame.side == "device" else "clients"
        data = b""
        interface = self._interfaces.get(name)
        if interface is None:
            interface = self._interfaces[name] = len(self._interfaces)
            data = _interface(name, url if frame.side == "device" else "clients of the gateway")
        conversation = self._conversations.get(key := (frame.side, frame.where, frame.peer, frame.local))
        told = [text for text in (frame.note, comment) if text]
        if conversation is None:
            conversation = self._conversations[key] = self._new(frame)
            told.append(_really(frame, url))
        packet = _packet(conversation, frame)
        outbound = frame.is_request == (frame.side == "device")
        options = [(_OPTION_COMMENT, "; ".join(told).encode())] if told else []
        options.append((_OPTION_FLAGS, struct.pack("<I", _OUTBOUND if outbound else _INBOUND)))
        high, low = divmod(max(0, frame.time_ns), 1 << 32)
        head = struct.pack("<IIIII", interface, high, low, len(packet), len(packet))
        return data + _block(_PACKET, head + _padded(packet) + _options(options))

    def _new(self, frame: Traced) -> _Conversation:
        if len(self._conversations) >= MAX_CONVERSATIONS:
            old = self._conversations.pop(next(iter(self._conversations)))
            self._taken.discard((old.client, old.server))
        local, peer = _parsed(frame.local), _parsed(frame.peer)
        client, server = (local, peer) if frame.side == "device" else (peer, local)
        is_v6 = any(end is not None and end.address.version == 6 for end in (client, server))
        client_address = _in_family(client, _UNKNOWN_CLIENT, is_v6=is_v6)
        written_server = _End(_in_family(server, _UNKNOWN_SERVER, is_v6=is_v6), SERVER_PORT)
        port = client.port if client is not None else 0
        while port in (0, SERVER_PORT) or (_End(client_address, port), written_server) in self._taken:
            port = FIRST_MADE_UP_PORT + self._made_up % MADE_UP_PORTS
            self._made_up += 1
        written_client = _End(client_address, port)
        self._taken.add((written_client, written_server))
        return _Conversation(written_client, written_server)


def _parsed(text: str) -> _End | None:
    """`10.0.0.5:502`, `[fe80::1%eth0]:502`; None for what is no address, such as a serial port or a name."""
    host, _, port = text.rpartition(":")
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
        number = int(port)
    except ValueError:
        return None
    if address.version == 6 and (mapped := address.ipv4_mapped) is not None:
        return _End(mapped, number & 0xFFFF)
    return _End(address, number & 0xFFFF)


def _in_family(end: _End | None, unknown: tuple[Address, Address], *, is_v6: bool) -> Address:
    """Both ends of a packet are of one family."""
    if end is None or end.address.is_unspecified:
        return unknown[is_v6]
    if is_v6 and end.address.version == 4:
        return ipaddress.IPv6Address(b"\0" * 10 + b"\xff\xff" + end.address.packed)
    return end.address


def _really(frame: Traced, url: str) -> str:
    way = f" by {url}" if url else ""
    here, there = frame.local or "the gateway", frame.peer or frame.where
    asker, asked = (here, there) if frame.side == "device" else (there, here)
    return f"really {asker} to {asked}{way}"


# -- blocks ---------------------------------------------------------------------------------------------------------


def _interface(name: str, description: str) -> bytes:
    options = [(_OPTION_NAME, name.encode()), (_OPTION_DESCRIPTION, description.encode())]
    options.append((_OPTION_RESOLUTION, _NS_RESOLUTION))
    return _block(_INTERFACE, struct.pack("<HHI", _LINKTYPE_RAW, 0, 0) + _options(options))


def _block(kind: int, body: bytes) -> bytes:
    size = 12 + len(body)
    return struct.pack("<II", kind, size) + body + struct.pack("<I", size)


def _options(options: list[tuple[int, bytes]]) -> bytes:
    """Each option with its length, padded to whole words; then the end of options. Empty ones are left out."""
    made = b""
    for code, value in options:
        cut = value[:_MAX_OPTION].decode(errors="ignore").encode() if len(value) > _MAX_OPTION else value
        if cut:
            made += struct.pack("<HH", code, len(cut)) + _padded(cut)
    return made + bytes(4) if made else b""


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


# -- packets --------------------------------------------------------------------------------------------------------


def _packet(conversation: _Conversation, frame: Traced) -> bytes:
    """The frame as one TCP segment on IP."""
    payload = mbap.pack(frame.tid & 0xFFFF, frame.unit_id & 0xFF, frame.pdu)
    side = 0 if frame.is_request else 1
    source, target = conversation.client, conversation.server
    if side:
        source, target = target, source
    sequence, acknowledged = conversation.sent[side], conversation.sent[1 - side]
    conversation.sent[side] = sequence + len(payload) & 0xFFFFFFFF
    offset_and_flags = 5 << 12 | _PSH_ACK
    tcp = struct.pack(">HHIIHHHH", source.port, target.port, sequence, acknowledged, offset_and_flags, _WINDOW, 0, 0)
    pseudo = source.address.packed + target.address.packed + struct.pack(">II", len(tcp) + len(payload), _TCP)
    tcp = tcp[:16] + struct.pack(">H", _checksum(pseudo + tcp + payload)) + tcp[18:] + payload
    if source.address.version == 6:
        return struct.pack(">IHBB", 6 << 28, len(tcp), _TCP, _HOPS) + pseudo[:32] + tcp
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0x4000, _HOPS, _TCP, 0) + pseudo[:8]
    return head[:10] + struct.pack(">H", _checksum(head)) + head[12:] + tcp


def _checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071)."""
    words = data + bytes(len(data) % 2)
    total: int = sum(struct.unpack(f">{len(words) // 2}H", words))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
