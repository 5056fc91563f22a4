"""What systemd wants to hear of a service, and the sockets that it hands over (sd_notify(3), sd_listen_fds(3)).

The rule: without systemd's variables nothing here does anything, and nothing here has a thread or a timer of its own.
Who turns the loop says so from the loop, or a loop that hangs would look alive. No library: a datagram with a few
words, and descriptors from number 3 on. The variables are taken out of the environment: they are for us alone.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections import deque
from collections.abc import Iterable, MutableMapping, Sequence
from typing import NamedTuple

log = logging.getLogger(__name__)

FIRST_FD = 3
"""SD_LISTEN_FDS_START."""
MAX_FDS = 256
"""More listeners than any plant has; a larger number in LISTEN_FDS is no number of ours."""
MAX_UNSENT = 8
"""Messages that wait because systemd did not take them: it is busy. The oldest are the least true."""
MAX_STATUS = 200
"""Characters of a line for `systemctl status`."""

Environment = MutableMapping[str, str]


class Notifier:
    """Tells systemd how we are. Without NOTIFY_SOCKET it tells nobody."""

    def __init__(self, environ: Environment) -> None:
        self._address = _address(environ.pop("NOTIFY_SOCKET", ""))
        usec, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        ours = self._address is not None and usec.isdecimal() and pid in ("", str(os.getpid()))
        self.watchdog_s = int(usec) / 1e6 if ours else 0.0
        """`alive` must come more often than this; 0: nobody waits for it."""
        self._socket: socket.socket | None = None
        self._unsent: deque[str] = deque(maxlen=MAX_UNSENT)
        self._told = ""

    @property
    def is_wanted(self) -> bool:
        """Somebody listens."""
        return self._address is not None

    def ready(self) -> None:
        """Everything is open; after `reloading`: the new configuration is in use, or refused."""
        self._send("READY=1")

    def reloading(self) -> None:
        """The configuration is read again; `ready` follows."""
        # The time is what Type=notify-reload tells this reload by from an earlier one.
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`; the same line again is not sent."""
        line = " ".join(text.split())[:MAX_STATUS]
        if line != self._told:
            self._told = line
            self._send(f"STATUS={line}")

    def alive(self) -> None:
        """The watchdog's word, to be said by what it watches."""
        self._send("WATCHDOG=1" if self.watchdog_s else "")

    def _send(self, message: str) -> None:
        """In order, and again with the next one what systemd could not take."""
        if self._address is None:
            return
        if message and (message != "WATCHDOG=1" or not self._unsent):
            self._unsent.append(message)
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._socket.setblocking(False)
            while self._unsent:
                self._socket.sendto(self._unsent[0].encode("utf-8", "replace"), self._address)
                self._unsent.popleft()
        except BlockingIOError:
            pass  # its queue is full; the loop does not wait for it
        except OSError as error:
            log.warning("systemd is not told how we are: %s: %s", _shown(self._address), error.strerror or error)
            self.close()
            self._address, self.watchdog_s = None, 0.0

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _address(text: str) -> str | None:
    """Of a datagram socket: a path, or `@NAME` in the abstract namespace; None: there is none for us."""
    if not text or not hasattr(socket, "AF_UNIX"):
        return None
    if text[0] == "@":
        return "\0" + text[1:]
    if text[0] == "/":
        return text
    log.warning("systemd is not told how we are: NOTIFY_SOCKET=%s is neither a path nor @NAME", text)
    return None


def _shown(address: str) -> str:
    return "@" + address[1:] if address[0] == "\0" else address


# -- sockets ---------------------------------------------------------------------------------------------------------


class Place(NamedTuple):
    """Where somebody wants to listen."""

    host: str
    port: int
    kind: socket.SocketKind
    """SOCK_STREAM or SOCK_DGRAM."""
    name: str
    """As the configuration writes it."""


class Handed(NamedTuple):
    """One socket that was handed over, open as long as we live: a listener that a reload takes away and another one
    brings back finds it again, and who connects meanwhile is not refused."""

    socket: socket.socket
    name: str
    """FileDescriptorName, or the socket unit's name."""
    address: tuple[object, ...]
    """As the system has it; empty: none of TCP or UDP."""

    def __str__(self) -> str:
        if not self.address:
            return f"a socket that is neither TCP nor UDP ({self.name})"
        host, port = self.address[:2]
        way = "udp" if self.socket.type == socket.SOCK_DGRAM else "tcp"
        return f"{way} {f'[{host}]' if ':' in str(host) else host}:{port} ({self.name})"


class HandedOver:
    """The sockets that systemd, or whoever started us, has opened for us. Usually none."""

    def __init__(self, sockets: Sequence[Handed] = ()) -> None:
        self._sockets = sockets

    @classmethod
    def of(cls, environ: Environment) -> HandedOver:
        """Those that LISTEN_FDS tells of, when LISTEN_PID says that they are for this process. Take them once."""
        count, pid = environ.pop("LISTEN_FDS", ""), environ.pop("LISTEN_PID", "")
        names = environ.pop("LISTEN_FDNAMES", "").split(":")
        if pid != str(os.getpid()) or not count.isdecimal() or int(count) > MAX_FDS:
            return cls()
        found = []
        for number in range(int(count)):
            name = names[number] if number < len(names) and names[number] else f"number {number + 1}"
            try:
                sock = socket.socket(fileno=FIRST_FD + number)
            except OSError as error:
                log.warning("descriptor %d that was handed over (%s) is no socket: %s", FIRST_FD + number, name, error)
                continue
            sock.set_inheritable(False)
            sock.setblocking(False)
            is_ip = sock.family in (socket.AF_INET, socket.AF_INET6)
            found.append(Handed(sock, name, sock.getsockname() if is_ip else ()))
        return cls(found)

    async def take(self, place: Place) -> list[socket.socket]:
        """Copies of the sockets for this place, to be closed by the caller; empty: it must open its own.

        When the place is a name with several addresses, those that are handed over are all there is to listen on.
        """
        return [each.socket.dup() for each in await self._at(place)]

    async def _at(self, place: Place) -> list[Handed]:
        near = [each for each in self._sockets if _may_be(each, place)]
        if not near:
            return []  # without a look-up
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(place.host, place.port, type=place.kind, flags=socket.AI_PASSIVE)
        except OSError:
            return []  # who opens it himself will say so
        addresses = {address for *_, address in found}
        return [each for each in near if each.address in addresses]

    async def strangers(self, places: Iterable[Place]) -> list[str]:
        """A line for each socket that nobody wants: its clients would be kept waiting for ever."""
        places = list(places)
        wanted = {id(each.socket) for place in places for each in await self._at(place)} if self._sockets else set()
        return [_stranger(each, places) for each in self._sockets if id(each.socket) not in wanted]


NOTHING_HANDED_OVER = HandedOver()


def _may_be(handed: Handed, place: Place) -> bool:
    """All but the host fits."""
    if not handed.address or handed.address[1] != place.port or handed.socket.type != place.kind:
        return False
    return place.kind == socket.SOCK_DGRAM or _accepts(handed.socket)


def _accepts(sock: socket.socket) -> bool:
    """It is a listening socket, not a connection."""
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def _stranger(handed: Handed, places: Sequence[Place]) -> str:
    """What is wrong with it and what to do."""
    if handed.address and handed.socket.type == socket.SOCK_STREAM and not _accepts(handed.socket):
        return f"systemd hands over {handed}, which is a connection: write Accept=no into the socket unit"
    near = next((place for place in places if _may_be(handed, place)), None)
    if near is not None:
        word = "ListenDatagram" if near.kind == socket.SOCK_DGRAM else "ListenStream"
        host = f"[{near.host}]" if ":" in near.host else near.host
        return (
            f"systemd hands over {handed}, and {near.name} is another address: nobody answers there. Write "
            f"{word}={host}:{near.port} into the socket unit"
        )
    there_is = ", ".join(place.name for place in places) or "none"
    return (
        f"systemd hands over {handed}, which is none of our listeners ({there_is}): clients that connect there wait "
        "for ever. Take it out of the socket unit, or write it into the plant's file"
    )
