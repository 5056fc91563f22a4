"""Places for connections: who must make room, who takes too long. A real server in a loop of ours, with short times."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from gateway.config.page import WebUrl
from tests.support.needs import require_module

require_module("uvicorn")

from gateway.web import connections  # noqa: E402
from gateway.web.connections import Places  # noqa: E402
from gateway.web.listener import Listener  # noqa: E402

DEADLINE_S = 5.0
BIG = b"x" * 4_000_000


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("REQUEST_S", 0.2),
        ("UNFETCHED_S", 0.2),
        ("LOOK_S", 0.05),
        ("MAX_CONNECTIONS", 6),
        ("MAX_PER_ADDRESS", 4),
    ):
        monkeypatch.setattr(connections, name, value)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """`/big`: more than fits any buffer; `/never`: no answer; `/body`: when all of it is there."""
    if scope["path"] == "/never":
        await asyncio.Event().wait()
    while scope["path"] == "/body" and (await receive()).get("more_body"):
        pass
    body = BIG if scope["path"] == "/big" else b"ok"
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[tuple[Places, int]]:
    places = Places(app)
    listener = await Listener.open(places, WebUrl("http", "127.0.0.1", 0), None)
    try:
        yield places, listener.ends[0][1]
    finally:
        await listener.close()
        await places.close(0.2)
        assert not places.connected


def run(test: Callable[[Places, int], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(DEADLINE_S), serving() as (places, port):
            await test(places, port)

    asyncio.run(main())


async def connect(port: int, data: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    return reader, writer


async def is_closed(reader: asyncio.StreamReader) -> bool:
    with contextlib.suppress(ConnectionError):
        await reader.read()
    return True


def get(path: str = "/") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n12",
        get() + b"GET / HT",  # kept after an answer, and then half a request
    ],
)
def test_a_request_must_come_in_time(sent: bytes) -> None:
    async def test(places: Places, port: int) -> None:
        reader, _ = await connect(port, sent)
        assert await is_closed(reader)
        assert places.counters["slow"] == 1

    run(test)


def test_drops_do_not_make_it_later() -> None:
    async def test(places: Places, port: int) -> None:
        reader, writer = await connect(port, b"GET / HTTP/1.1\r\n")
        closed = asyncio.create_task(is_closed(reader))
        while not closed.done():
            writer.write(b"X: y\r\n")
            await asyncio.sleep(0.02)
        assert places.counters["slow"] == 1

    run(test)


def test_a_connection_is_kept_for_the_next_request() -> None:
    async def test(places: Places, port: int) -> None:
        reader, writer = await connect(port, get())
        await reader.readuntil(b"ok")
        await asyncio.sleep(3 * connections.REQUEST_S)  # the time in which nothing must happen
        writer.write(get())
        await reader.readuntil(b"ok")
        assert places.counters["slow"] == 0

    run(test)


def test_an_answer_must_be_fetched() -> None:
    async def test(places: Places, port: int) -> None:
        _reader, writer = await connect(port, get("/big"))
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        while places.connected or not places.counters["connections"]:
            await asyncio.sleep(0.01)
        assert places.counters["unfetched"] == 1

    run(test)


def test_who_waits_longest_makes_room_and_who_works_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_S", 10 * DEADLINE_S)

    async def test(places: Places, port: int) -> None:
        busy = await connect(port, get("/never"))
        waiting = [await connect(port) for _ in range(3)]
        while len(places.connected) < 4:
            await asyncio.sleep(0)
        newcomer = await connect(port, get())
        await newcomer[0].readuntil(b"ok")
        assert await is_closed(waiting[0][0])
        assert places.counters["evicted"] == 1
        assert not busy[0].at_eof()

    run(test)


def test_where_all_work_the_newcomer_is_refused() -> None:
    async def test(places: Places, port: int) -> None:
        busy = [await connect(port, get("/never")) for _ in range(4)]
        while sum(not each.is_waiting for each in places.connected) < 4:
            await asyncio.sleep(0)
        reader, _ = await connect(port, get())
        assert await is_closed(reader)
        assert places.counters["refused"] == 1
        assert not any(each.at_eof() for each, _ in busy)

    run(test)


@pytest.mark.parametrize("size", [connections.MAX_HEAD + 2 * connections.PIECE, 200_000])
def test_a_head_has_a_size(size: int) -> None:
    async def test(places: Places, port: int) -> None:
        reader, _ = await connect(port, b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * size + b"\r\n\r\n")
        answer = b""
        with contextlib.suppress(ConnectionError):
            answer = await reader.read()
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
        assert places.counters["bad"] == 1

    run(test)


def test_the_end_waits_for_answers_that_are_made_and_no_longer() -> None:
    async def test(places: Places, port: int) -> None:
        reader, _ = await connect(port, get("/never"))
        while not places.state.tasks:
            await asyncio.sleep(0)
        begun_s = asyncio.get_running_loop().time()
        await places.close(0.1)
        assert asyncio.get_running_loop().time() - begun_s < 1
        assert await is_closed(reader)

    run(test)
