"""A serial port as a transport: what asyncio promises of one, on ptys; by the loop and by threads (as on Windows)."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway import serialport
from tests.support.serial_pair import SerialPair

DEADLINE_S = 5.0
RUNNERS: dict[str, Callable[[Coroutine[Any, Any, None]], None]] = {"asyncio": asyncio.run}
with contextlib.suppress(ImportError):
    import uvloop

    RUNNERS["uvloop"] = uvloop.run


class Recorder(asyncio.Protocol):
    """What the transport says."""

    def __init__(self) -> None:
        self.data = b""
        self.transport: asyncio.BaseTransport | None = None
        self.lost: list[Exception | None] = []
        self.paused = 0
        self.resumed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert not self.lost
        self.data += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)

    def pause_writing(self) -> None:
        self.paused += 1

    def resume_writing(self) -> None:
        self.resumed += 1


class Case:
    def __init__(self, pair: SerialPair, run: Callable[[Coroutine[Any, Any, None]], None], threaded: bool) -> None:
        self.pair = pair
        self._run = run
        self.threaded = threaded

    def run(self, test: Callable[[asyncio.Transport, Recorder, int], Coroutine[Any, Any, None]]) -> None:
        """`test(transport, protocol, descriptor)`: the descriptor is of the other end."""

        async def main() -> None:
            other = os.open(self.pair.theirs, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
            try:
                transport, protocol = await serialport.open_port(Recorder, self.pair.ours, threaded=self.threaded)
                assert protocol.transport is transport
                await test(transport, protocol, other)
                transport.abort()
                await until(lambda: protocol.lost, "connection_lost")
                assert len(protocol.lost) == 1
            finally:
                os.close(other)

        self._run(main())


@pytest.fixture(params=[(loop, kind) for loop in RUNNERS for kind in ("by the loop", "by threads")], ids=" ".join)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    loop, kind = request.param
    with SerialPair(tmp_path) as pair:
        yield Case(pair, RUNNERS[loop], kind == "by threads")


async def until(condition: Callable[[], object], what: str) -> None:
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                await asyncio.sleep(0.001)
    except TimeoutError:
        raise AssertionError(what) from None


def all_there(descriptor: int, found: bytearray) -> bytearray:
    with contextlib.suppress(BlockingIOError):
        found += os.read(descriptor, 65536)
    return found


def test_bytes_go_both_ways_as_they_are(case: Case) -> None:
    every = bytes(range(256))

    async def test(transport: asyncio.Transport, protocol: Recorder, other: int) -> None:
        os.write(other, every)
        await until(lambda: protocol.data == every, "what the other end wrote")
        transport.write(every)
        found = bytearray()
        await until(lambda: all_there(other, found) == every, "what we wrote")

    case.run(test)


def test_reading_stops_and_goes_on_when_told_to(case: Case) -> None:
    async def test(transport: asyncio.Transport, protocol: Recorder, other: int) -> None:
        transport.pause_reading()
        assert not transport.is_reading()
        os.write(other, b"before")
        transport.write(b"x")
        found = bytearray()
        await until(lambda: all_there(other, found), "a sign that the line works")
        if not case.threaded:  # a thread may be reading already
            assert protocol.data == b""
        transport.resume_reading()
        assert transport.is_reading()
        await until(lambda: protocol.data == b"before", "what came meanwhile")

    case.run(test)


def test_what_is_written_and_then_closed_is_sent(case: Case) -> None:
    async def test(transport: asyncio.Transport, protocol: Recorder, other: int) -> None:
        transport.write(b"y" * 3000)
        transport.close()
        assert transport.is_closing()
        transport.write(b"never")
        found = bytearray()
        await until(lambda: protocol.lost, "connection_lost")
        await until(lambda: len(all_there(other, found)) >= 3000, "all of it")
        assert bytes(found) == b"y" * 3000
        assert protocol.lost == [None]

    case.run(test)


def test_a_port_that_takes_nothing_stops_the_writer_and_is_given_up_in_the_end(tmp_path: Path) -> None:
    # A pty without socat behind it: nobody takes what is written.
    async def main() -> None:
        ours, theirs = os.openpty()
        os.set_blocking(ours, False)
        transport, protocol = await serialport.open_port(Recorder, os.ttyname(theirs))
        while not protocol.paused:
            transport.write(b"z" * 1000)
        waiting = transport.get_write_buffer_size()
        assert waiting > serialport.HIGH_WATER
        found = bytearray()
        await until(lambda: all_there(ours, found) and protocol.resumed, "that it goes on")
        while not transport.is_closing():
            transport.write(b"z" * 1000)
            assert transport.get_write_buffer_size() <= serialport.MAX_UNSENT + 1000
        await until(lambda: protocol.lost, "connection_lost")
        assert "takes nothing any more" in str(protocol.lost[0])
        os.close(ours)
        os.close(theirs)

    asyncio.run(main())


def test_a_port_that_vanishes_is_lost_with_a_reason(case: Case) -> None:
    async def test(transport: asyncio.Transport, protocol: Recorder, other: int) -> None:
        case.pair.unplug()
        await until(lambda: protocol.lost, "connection_lost")
        [error] = protocol.lost
        assert isinstance(error, OSError)
        assert "has vanished" in str(error)
        assert transport.is_closing()
        transport.write(b"nobody reads this")

    case.run(test)


def test_abort_ends_at_once_and_only_once(case: Case) -> None:
    async def test(transport: asyncio.Transport, protocol: Recorder, other: int) -> None:
        transport.write(b"x" * 1000)
        transport.abort()
        transport.abort()
        transport.close()
        assert protocol.lost == [], "not from inside the call"
        await until(lambda: protocol.lost, "connection_lost")
        assert protocol.lost == [None]

    case.run(test)


def test_a_port_is_free_again_when_it_was_closed(case: Case) -> None:
    async def test(transport: asyncio.Transport, protocol: Recorder, other: int) -> None:
        with pytest.raises(OSError, match="in use by another program"):
            await serialport.open_port(Recorder, case.pair.ours)
        transport.abort()
        await until(lambda: protocol.lost, "connection_lost")
        again = None
        async with asyncio.timeout(DEADLINE_S):
            while again is None:
                with contextlib.suppress(OSError):
                    again, _ = await serialport.open_port(Recorder, case.pair.ours, threaded=case.threaded)
        again.abort()

    case.run(test)


def test_what_cannot_be_opened_says_what_to_do(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError, match=r"no such port: .*missing is not there; plugged in"):
            await serialport.open_port(Recorder, str(tmp_path / "missing"))
        (tmp_path / "file").write_text("no port")
        with pytest.raises(OSError, match="cannot be used as a serial port"):
            await serialport.open_port(Recorder, str(tmp_path / "file"))

    asyncio.run(main())


@pytest.mark.skipif(os.getuid() == 0, reason="root may open everything")
def test_a_port_that_is_not_ours_names_the_group(tmp_path: Path) -> None:
    async def main() -> None:
        port = tmp_path / "port"
        port.touch(0)
        with pytest.raises(PermissionError, match=r"no right to open it: .* belongs to user"):
            await serialport.open_port(Recorder, str(port))

    asyncio.run(main())


def test_an_opening_that_nobody_waits_for_any_more_leaves_no_port_open(tmp_path: Path) -> None:
    async def main() -> None:
        with SerialPair(tmp_path) as pair:
            opening = asyncio.ensure_future(serialport.open_port(Recorder, pair.ours))
            await asyncio.sleep(0)
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
            again = None
            async with asyncio.timeout(DEADLINE_S):
                while again is None:
                    await asyncio.sleep(0.001)
                    with contextlib.suppress(OSError):
                        again, _ = await serialport.open_port(Recorder, pair.ours)
            again.abort()

    asyncio.run(main())
