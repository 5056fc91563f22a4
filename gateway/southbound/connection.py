"""Keeping a link connected: dial, wait until the connection ends, dial again; which of several addresses, and when.

Refused and lost connections are tried again after 250 ms, doubling to 1.5 s: the host is there, the device returns any
moment; a serial port that is not there is looked for as often, since somebody is about to plug it in. Hosts that do not
answer double to 30 s. A connection counts as good once something was answered on it; one that was not, or could not be
opened, makes the next address the next to try. With `prefer: first` the first address is tried beside a working later
one every RETURN_S: it must answer a read before the link moves back, between two requests.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from gateway.interfaces import Request
from gateway.modbus import mbap, spec
from gateway.modbus.pdu import fault
from gateway.southbound.seams import NotTrusted, Seat

if TYPE_CHECKING:
    from gateway.southbound.link import Link
    from gateway.southbound.seams import Carrier, Dial

log = logging.getLogger(__name__)

FIRST_RETRY_S = 0.25
MAX_RETRY_S = 1.5
"""After a refused or lost connection."""
MAX_RETRY_SILENT_S = 30.0
"""After a connect that nobody answered."""
JITTER = 0.2
"""Up to this part of a delay is left out at random, so that many links do not knock at once."""
RETURN_S = 30.0
"""How often the first address is tried while a later one works."""
DRAIN_S = 10.0
"""How long a change of the address waits for what is out on the old connection."""
LOOK_S = 0.005
TRIAL_TID = 1
_BUG = "a bug in the gateway"


class Keeper:
    """Of one link."""

    def __init__(self, link: Link, dials: Sequence[Dial], *, prefer_first: bool, jitter: Callable[[], float]) -> None:
        self.at = 0
        """Which address is in use, or tried next."""
        self.prefer_first = prefer_first
        self.return_s = RETURN_S
        self._link = link
        self._dials = dials
        self._jitter = jitter
        self._retry_s = FIRST_RETRY_S
        self._link_worked = False
        """Something was answered on the last connection."""

    async def run(self) -> None:
        """Until cancelled."""
        try:
            await self._keep()
        finally:
            for dial in self._dials:
                if isinstance(dial, Seat):
                    dial.leave()

    @property
    def has_others(self) -> bool:
        """There is more than one address."""
        return len(self._dials) > 1

    async def _keep(self) -> None:
        failed_in_row = 0
        while True:
            most_s = await self._connect()
            if self._link.redials and (self._link_worked or len(self._dials) == 1):
                continue  # our own doing: the same address, and no pause
            if self._link_worked:
                self._retry_s = FIRST_RETRY_S
                failed_in_row = 0
            else:
                failed_in_row += 1
            if len(self._dials) > 1 and not self._link_worked:
                # Each address is tried at once when the one before fails; the pause comes after the last.
                self.at = (self.at + 1) % len(self._dials)
                self._link.redials = False  # another way is another chance for silent units
                if failed_in_row % len(self._dials):
                    await asyncio.sleep(0)
                    continue
            self._retry_s, delay_s = min(2 * self._retry_s, most_s), min(self._retry_s, most_s)
            await asyncio.sleep(delay_s * (1 - JITTER * self._jitter()))

    async def _connect(self) -> float:
        """One connection from its opening to its end. Returns the longest pause before the next, in seconds."""
        link = self._link
        self._link_worked = False
        try:
            carrier = await self._dials[self.at](link)
        except TimeoutError:
            link.failed("the host does not answer")
            return MAX_RETRY_SILENT_S
        except ConnectionRefusedError:
            link.failed("refused the connection")
            return MAX_RETRY_S
        except OSError as error:
            link.failed(error.strerror or str(error))
            return MAX_RETRY_SILENT_S if _is_lasting(error) else MAX_RETRY_S
        except Exception:  # a bug here must not end the other links
            if link.trouble != _BUG:
                log.exception("%s: bug in the gateway while connecting", link.name)
            link.failed(_BUG)
            return MAX_RETRY_SILENT_S
        if carrier.closed:
            link.failed("the device closed the connection")
            return MAX_RETRY_S
        if isinstance(self._dials[self.at], Seat):
            link.redials = False  # it has come by itself, and may be another one: another chance for silent units
        link.connected(carrier)
        if self.at and self.prefer_first:
            await self._until_ended_or_first_is_back()
        else:
            await link.ended.wait()
        self._link_worked = link.worked
        if not link.redials:
            link.counters.losses += 1
        return MAX_RETRY_SILENT_S if link.is_distrusted else MAX_RETRY_S

    async def _until_ended_or_first_is_back(self) -> None:
        """Wait for the end of the connection; move to the first address meanwhile when that answers."""
        link = self._link
        while not link.ended.is_set():
            try:
                async with asyncio.timeout(self.return_s if self.at else None):
                    await link.ended.wait()
            except TimeoutError:
                await self._try_first()

    async def _try_first(self) -> None:
        """Go back to the first address if it answers a read."""
        link = self._link
        carrier = await Trial(link).carrier(self._dials[0])
        if carrier is None:
            link.last_read = None  # it may have been one that nothing answers any more: take another
            return
        try:
            if await self._drained():
                log.info("%s: the first address answers again: going back to it", link.name)
                self.at = 0
                link.replace(carrier)
                carrier = None
        finally:
            if carrier is not None:
                carrier.close()

    async def _drained(self) -> bool:
        """Nothing is out on the connection any more. False: it ended, or that takes too long."""
        link = self._link
        for _ in range(int(DRAIN_S / LOOK_S)):
            if link.ended.is_set() or link.hold():
                return not link.ended.is_set()
            await asyncio.sleep(LOOK_S)
        link.unhold()
        return False


class Trial:
    """The owner of a connection that is tried beside the one in use: it must answer one read."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._request: Request | None = None
        self._answered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def carrier(self, dial: Dial) -> Carrier | None:
        """An open connection on which the read was answered; None when there is none."""
        request = self._request = self._link.last_read
        if request is None:
            return None  # nothing was ever read on this link: no way to know
        try:
            carrier = await dial(self)
        except (OSError, TimeoutError):
            return None
        good = False
        try:
            await asyncio.sleep(self._link.settings.connect_delay_s)
            carrier.write(TRIAL_TID.to_bytes(2, "big") + request.tail)
            wire_s = carrier.line.wire_s(request) if carrier.line is not None else 0.0
            async with asyncio.timeout(request.timeout_s + wire_s):
                good = await self._answered and not carrier.closed
        except TimeoutError:
            pass
        finally:
            if not good:
                carrier.close()
        return carrier if good else None

    def received(self, frames: Iterable[mbap.Frame]) -> None:
        """Data, as asked for; an exception may be a device that is not itself yet."""
        for tid, unit_id, pdu in frames:
            request = self._request
            if request is not None and tid == TRIAL_TID and unit_id == request.unit_id:
                self._tell(not pdu[0] & spec.EXCEPTION_BIT and fault(request.pdu, pdu) is None)

    def noise(self, count: int) -> None:
        """The trial's time-out tells."""

    def broken(self, why: str) -> None:
        self._tell(False)

    def lost(self, carrier: Any, error: Exception | None) -> None:
        self._tell(False)

    def waits(self, why: str) -> None:
        raise OSError(why)

    def _tell(self, answered: bool) -> None:
        if not self._answered.done():
            self._answered.set_result(answered)


def _is_lasting(error: OSError) -> bool:
    """The name or the host is unknown to the network, or a certificate is wrong: knocking every second or two would not
    help."""
    return isinstance(error, socket.gaierror | NotTrusted) or error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH)
