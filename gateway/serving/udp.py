"""Clients that send datagrams: each with one or several MBAP frames, each answer in a datagram of its own.

The rule: nobody is believed to be who he says he is. A datagram is whole or it is nothing; what is wrong is dropped and
counted, never answered; what could make us answer ourselves, or many, is dropped. Nobody is connected: what is kept of
an address is what it may do, and the requests whose answer is still to come, all of it bounded.

A client that hears nothing sends again. While the first of such twins is being worked on the second is dropped, so that
a write does not happen twice; one answer is enough for both.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import OrderedDict
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any, cast

from gateway.front.gate import Entry, Origin
from gateway.interfaces import Later, Unit
from gateway.modbus import mbap, spec
from gateway.serving.clients import Clients, host_of
from gateway.serving.doors import Door
from gateway.serving.lanes import Lane
from gateway.serving.listeners import name_of, place_of
from gateway.serving.rows import Seen, row_of
from gateway.systemd import HandedOver
from gateway.traffic import address_text

MAX_FRAMES = 16
"""Requests in one datagram: as many as a TCP server may have at once (NumberMaxOfServerTransaction, TCP guide 4.3).
Answers are up to 22 times as long, and go to whoever was forged as the sender."""
RECENT_S = 60.0
"""Who sends datagrams is not connected: so long after his last one he is listed among the clients."""
MAX_WAITING_PER_ADDRESS = 16
"""Requests of one address and port whose answer is still to come."""
MAX_WAITING = 512
"""Of all together; fewer than addresses are remembered, so that one of those has nothing to wait for."""
MAX_ADDRESSES = 1024
"""Remembered; the one that was silent for longest is forgotten, and costs a look at the rules when it comes again."""

_EVERYBODY = IPv4Address("255.255.255.255")

_tail = mbap.TAIL.pack

Address = tuple[Any, ...]
"""As the system has it: host, port, and for IPv6 two more."""


class UdpListener:
    """One URL, and its sockets: one for each address that its host name has."""

    def __init__(self, sockets: list[Datagrams], scheme: str) -> None:
        self._sockets = sockets
        self.names = [name_of(scheme, each.address) for each in sockets]

    @classmethod
    async def open(cls, clients: Clients, door: Door, handed_over: HandedOver) -> UdpListener:
        """OSError: it cannot be opened. What was handed over for this place is listened on."""
        loop, url = asyncio.get_running_loop(), door.url
        sockets: list[Datagrams] = []
        handed = await handed_over.take(place_of(url))
        try:
            while handed:
                sockets.append(await cls._open(clients, door, handed[-1]))
                handed.pop()
            if sockets:
                return cls(sockets, url.scheme)
            found = await loop.getaddrinfo(url.host, url.port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
            for family, _, _, _, address in dict.fromkeys(found):
                sock = socket.socket(family, socket.SOCK_DGRAM)
                try:
                    sock.setblocking(False)
                    if family == socket.AF_INET6:  # as listeners of TCP are
                        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    sock.bind(address)
                except BaseException:
                    sock.close()
                    raise
                sockets.append(await cls._open(clients, door, sock))
        except BaseException:
            for sock in handed:
                sock.close()
            for each in sockets:
                each.close()
            raise
        return cls(sockets, url.scheme)

    @staticmethod
    async def _open(clients: Clients, door: Door, sock: socket.socket) -> Datagrams:
        loop = asyncio.get_running_loop()
        _, datagrams = await loop.create_datagram_endpoint(lambda: Datagrams(clients, door), sock=sock)
        return datagrams

    def rows(self) -> Iterator[dict[str, Any]]:
        """Who has sent something of late, for those who look."""
        for each in self._sockets:
            yield from each.rows()

    def stop(self) -> None:
        for each in self._sockets:
            each.stop()

    async def drained(self) -> None:
        for each in self._sockets:
            await each.drained()

    def close(self) -> None:
        for each in self._sockets:
            each.close()


class Datagrams(asyncio.DatagramProtocol):
    """All clients of one socket."""

    def __init__(self, clients: Clients, door: Door) -> None:
        self.clients = clients
        self.door = door
        self.waiting = 0
        """Requests of all whose answer is still to come."""
        self.transport: asyncio.DatagramTransport | None = None
        self.address: Address = ()
        """Ours."""
        self._senders: OrderedDict[Address, Sender] = OrderedDict()
        """The one that was silent for longest first."""
        self._generation = clients.gate.generation
        self._stopped = False
        self._idle = asyncio.Event()
        self._idle.set()
        """Nothing waits for an answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)
        self.address = self.transport.get_extra_info("sockname")

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        senders, self._senders = self._senders, OrderedDict()
        for sender in senders.values():
            sender.abandon()
        self.answered(self.waiting)

    def error_received(self, exc: Exception) -> None:
        """ICMP tells that an answer found nobody. The client's time-out is all that follows."""

    def datagram_received(self, data: bytes, address: Address) -> None:
        clients = self.clients
        frames = cut(data)
        if frames is None:
            clients.counters.unread()
            return
        sender = self._sender(address)
        entry = sender.entry
        if entry is None or self._stopped:
            clients.counters.dropped += 1
            return
        clients.gate.judge()
        host = entry.origin.host
        for frame in frames:
            if self.waiting >= MAX_WAITING or sender.waiting >= MAX_WAITING_PER_ADDRESS:
                clients.counters.dropped += 1
            elif clients.allows(host):
                sender.take(*frame)

    def _sender(self, address: Address) -> Sender:
        """What is known of whoever sends from there."""
        self.renew()
        senders = self._senders
        sender = senders.get(address)
        if sender is None:
            if len(senders) >= MAX_ADDRESSES:
                oldest = next((each for each in senders.values() if not each.waiting), None)
                if oldest is not None:
                    del senders[oldest.address]
            sender = senders[address] = Sender(self, address, self._admit(address))
        else:
            senders.move_to_end(address)
        return sender

    def renew(self) -> None:
        """Before an entry is used: other rules may hold by now, also for what waits."""
        generation = self.clients.gate.generation
        if generation != self._generation:
            self._generation = generation
            for sender in self._senders.values():
                sender.entry = self._admit(sender.address)

    def _admit(self, address: Address) -> Entry | None:
        """What it may do; None: nothing, or it is nobody who could be answered."""
        host = host_of(address[0])
        if host is None or not address[1] or host.is_multicast or host.is_unspecified or host == _EVERYBODY:
            return None
        if self._is_ours(address):
            return None
        peer = name_of("udp", address).removeprefix("udp://")
        origin = Origin(peer, host, str(self.door.url), local=address_text(self.address))
        return self.clients.gate.admit(origin, self.door.access)

    def _is_ours(self, address: Address) -> bool:
        """Whether answers would come back as requests, and so for ever (a forged sender, or two sockets of ours)."""
        if address[1] != self.address[1]:
            return False
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address[0], 0))  # possible with this machine's own addresses only
            return True
        return False

    def send(self, frame: bytes, address: Address) -> None:
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        with contextlib.suppress(OSError):  # uvloop raises what asyncio hands to `error_received`
            transport.sendto(frame, address)

    def rows(self) -> Iterator[dict[str, Any]]:
        """As Clients.rows: those who may do something and were heard of within RECENT_S."""
        clock = self.clients.gate.freshness.clock
        for sender in list(self._senders.values()):
            if sender.entry is not None and sender.heard is not None and clock() - sender.last_s < RECENT_S:
                origin, heard = sender.entry.origin, sender.heard
                row = row_of(origin, self.door, sender.since_s, sender.last_s, clock(), sender.seen, sender, heard)
                yield {**row, "unfetched": 0}

    # -- what waits ---------------------------------------------------------------------------------------------

    def began(self) -> None:
        """A request whose answer is still to come."""
        self.waiting += 1
        self._idle.clear()

    def answered(self, requests: int) -> None:
        """So many wait no more."""
        self.waiting -= requests
        if not self.waiting:
            self._idle.set()

    def stop(self) -> None:
        """Take nothing more; answers still to come may leave."""
        self._stopped = True

    async def drained(self) -> None:
        """Until nothing waits for an answer."""
        await self._idle.wait()

    def close(self) -> None:
        self._stopped = True
        if self.transport is not None:
            self.transport.abort()


class Sender:
    """One address and port."""

    __slots__ = (
        "_begun",
        "_lanes",
        "_socket",
        "address",
        "entry",
        "exceptions",
        "heard",
        "last_s",
        "requests",
        "seen",
        "since_s",
        "waiting",
    )

    def __init__(self, socket: Datagrams, address: Address, entry: Entry | None) -> None:
        self._socket = socket
        self.address = address
        self.entry = entry
        """None: it may do nothing."""
        self._lanes: dict[int, Lane] = {}
        """By the unit id that is meant."""
        self._begun: dict[int, list[tuple[bytes, int, bytes]]] = {}
        """The requests of each lane, oldest first."""
        self.waiting = 0
        self.requests = 0
        self.exceptions = 0
        self.since_s = self.last_s = socket.clients.gate.freshness.clock()
        self.heard: tuple[int, bytes] | None = None
        """Unit id and PDU of its last request."""
        self.seen = Seen()

    def take(self, tid: bytes, unit_id: int, pdu: bytes) -> None:
        """One request."""
        entry, counters = self.entry, self._socket.clients.counters
        assert entry is not None
        self.requests += 1
        self.heard = (unit_id, pdu)
        self.last_s = self._socket.clients.gate.freshness.clock()
        key = entry.meant[unit_id]
        lane = self._lanes.get(key)
        if lane is not None:
            begun = self._begun[key]
            if (tid, unit_id, pdu) in begun:
                counters.twins += 1
                return
            counters.asked(unit_id)
            self._wait(begun, (tid, unit_id, pdu))
            lane.take(tid, unit_id, pdu)
            return
        unit = entry.slots[unit_id]
        answer = entry.ask(unit_id, pdu, tid)
        counters.asked(unit_id)  # not before: who asks for the counters is not in them
        if isinstance(answer, Later):
            if not answer.is_settled:
                self._begun[key] = []
                self._wait(self._begun[key], (tid, unit_id, pdu))
                self._lanes[key] = Lane(self, key, unit, tid, unit_id, answer)
                return
            answer = answer.answer
        if answer is None:
            counters.unanswered()
        else:
            self._send(tid + _tail(0, len(answer) + 1, unit_id) + answer)

    def _wait(self, begun: list[tuple[bytes, int, bytes]], request: tuple[bytes, int, bytes]) -> None:
        begun.append(request)
        self.waiting += 1
        self._socket.began()

    def _send(self, frame: bytes) -> None:
        if frame[7] >= spec.EXCEPTION_BIT:
            counters = self._socket.clients.counters
            self.exceptions += 1
            counters.refused_by_unit[frame[6]] += 1
            counters.refused(frame[8])
        self._socket.send(frame, self.address)

    def abandon(self) -> None:
        """The socket is closed: nothing more is asked, nothing answered."""
        lanes = list(self._lanes.values())
        self._lanes.clear()
        self._begun.clear()
        self.waiting = 0
        for lane in lanes:
            lane.abandon()

    # -- lanes --------------------------------------------------------------------------------------------------

    def ask(self, unit_id: int, pdu: bytes, tid: bytes) -> bytes | Later | None:
        """The answer of whoever has this unit id now, judged by its age now; None: a reload took its rights."""
        self._socket.renew()
        if self.entry is None:
            return None
        self._socket.clients.gate.judge()
        return self.entry.ask(unit_id, pdu, tid)

    def may_overtake(self, unit: Unit, unit_id: int, pdu: bytes) -> bool:
        """Whether it may begin while the unit has not answered what came before."""
        self._socket.renew()
        return self.entry is not None and self.entry.may_overtake(unit, unit_id, pdu)

    def deliver(self, lane: Lane, frames: list[bytes], answered: int, *, is_empty: bool) -> None:
        """What a lane has: whole frames in order; `answered` requests wait no more."""
        self.waiting -= answered
        for _ in range(answered - len(frames)):
            self._socket.clients.counters.unanswered()
        for frame in frames:
            self._send(frame)
        if is_empty:
            del self._lanes[lane.key], self._begun[lane.key]
        else:
            del self._begun[lane.key][:answered]
        self._socket.answered(answered)


def cut(data: bytes) -> list[tuple[bytes, int, bytes]] | None:
    """Transaction id, unit id and PDU of each request in a datagram; None: it is not wholly made of requests.

    An exception response is none: answered, two servers would go on for ever.
    """
    frames: list[tuple[bytes, int, bytes]] = []
    at = 0
    while at < len(data):
        if len(data) - at < mbap.LENGTH_SEEN_SIZE or len(frames) == MAX_FRAMES:
            return None
        protocol, length = mbap.PROTOCOL_AND_LENGTH.unpack_from(data, at + 2)
        stop = at + 6 + length
        if protocol or not mbap.MIN_LENGTH <= length <= mbap.MAX_LENGTH or stop > len(data):
            return None
        if data[at + 7] >= spec.EXCEPTION_BIT:
            return None
        frames.append((data[at : at + 2], data[at + 6], data[at + 7 : stop]))
        at = stop
    return frames or None
