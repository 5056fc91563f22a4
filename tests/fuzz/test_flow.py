"""One connection on a transport that fills and drains as hypothesis likes: no request lost, none read while it is full.

The transport is ours, because no real socket can be told when to be full; what it promises is what asyncio's promise:
`pause_writing` once above the high-water mark, `resume_writing` once below the low one, nothing after `close`.
"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.app import Gateway, build
from gateway.config.load import load
from gateway.config.urls import ListenUrl
from gateway.serving.connection import Connection
from gateway.serving.doors import Door
from tests.support.fake import Pipe
from tests.support.wire import adu

HIGH_WATER = 65536
LONGEST_TURN = 150_000
"""What one turn may add to what is written: 512 answers of 260 bytes, with some room."""

SMALL, LARGE = b"\x03\0\0\0\1", b"\x03\0\0\0\x7d"

PLANT = "units: {1: {holding: 0..199}}\n"


class Tank(Pipe):
    """Is full until the test lets it flow."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 40000), "socket": socket.socket()})
        self.protocol: Connection | None = None
        self.level = 0
        self.full = False

    def write(self, data: Any) -> None:
        super().write(data)
        self.level += len(data)
        if self.level > HIGH_WATER and not self.full:
            self.full = True
            assert self.protocol is not None
            self.protocol.pause_writing()

    def drain(self, count: int) -> None:
        self.level = max(0, self.level - count)
        if self.full and self.level <= HIGH_WATER // 4:
            self.full = False
            assert self.protocol is not None
            self.protocol.resume_writing()

    def get_write_buffer_size(self) -> int:
        return self.level


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    path: Path = tmp_path_factory.mktemp("flow") / "plant.yaml"
    path.write_text(PLANT)
    return build(load(path))


segments = st.tuples(
    st.sampled_from(["segment"]),
    st.lists(
        st.tuples(st.sampled_from([SMALL, LARGE]), st.sampled_from([0, 1, 2, 100, 400, 511, 512, 513, 1024])),
        max_size=3,
    ),
    st.integers(0, 11),
)
drains = st.tuples(st.sampled_from(["drain"]), st.sampled_from([1, 1000, 50_000, 70_000, 200_000, 10_000_000]))
steps = st.lists(st.one_of(segments, segments, drains), max_size=12)

FULL_IN_THE_SECOND_TURN = [("segment", [(SMALL, 512), (LARGE, 300)], 0), ("segment", [(LARGE, 400)], 0)] * 3


@given(steps=steps, half_closes=st.booleans())
@example(steps=FULL_IN_THE_SECOND_TURN, half_closes=False)
@example(steps=FULL_IN_THE_SECOND_TURN, half_closes=True)
@settings(max_examples=settings().max_examples // 4)
def test_whenever_a_transport_is_full_nothing_more_is_read_and_every_answer_comes_in_order(
    gateway: Gateway, steps: list[Any], half_closes: bool
) -> None:
    asyncio.run(play(gateway, steps, half_closes))


async def play(gateway: Gateway, steps: list[Any], half_closes: bool) -> None:
    tank = Tank()
    connection = tank.protocol = Connection(gateway.server._clients, Door(ListenUrl("127.0.0.1", 0)))
    connection.connection_made(tank)
    sizes: list[int] = []
    stream = bytearray()
    """Sent by the client and not yet read."""
    try:
        for step in steps:
            if step[0] == "segment":
                for pdu, count in step[1]:
                    for _ in range(count):
                        stream += adu(len(sizes) & 0xFFFF, 1, pdu)
                        sizes.append(4 if pdu == SMALL else 252)
                late = min(step[2], len(stream))
                await give(connection, tank, stream, len(stream) - late)
            else:
                tank.drain(step[1])
            await turns(tank)
        while stream and not tank.closed:  # the client reads everything at last
            await give(connection, tank, stream, len(stream))
            await turns(tank)
            tank.drain(100_000)
            await turns(tank)
        for _ in range(100):
            tank.drain(100_000)
            await turns(tank)
        if half_closes:
            assert tank.reading, "a client that reads everything is read again"
            if not connection.eof_received():
                tank.close()
            await turns(tank)
            assert tank.closed
        else:
            assert tank.reading
            assert not tank.closed
        check(bytes(tank.written), sizes)
    finally:
        connection.connection_lost(None)
        tank.get_extra_info("socket").close()


async def give(connection: Connection, tank: Tank, stream: bytearray, count: int) -> None:
    """Hand over `count` bytes as a loop would: only while it reads."""
    while count and tank.reading:
        part = bytes(stream[: min(count, 16384)])
        del stream[: len(part)]
        count -= len(part)
        connection.data_received(part)
        judge(tank)


async def turns(tank: Tank) -> None:
    for _ in range(80):
        await asyncio.sleep(0)
        judge(tank)


def judge(tank: Tank) -> None:
    assert not (tank.full and tank.reading), "reads on although its client does not fetch the answers"
    assert tank.level <= HIGH_WATER + LONGEST_TURN, f"{tank.level} bytes kept"


def check(written: bytes, sizes: list[int]) -> None:
    at = 0
    for tid, size in enumerate(sizes):
        head = written[at : at + 9]
        assert head == (tid & 0xFFFF).to_bytes(2, "big") + bytes((0, 0, 0, size + 1, 1, 3, size - 2)), f"answer {tid}"
        at += 7 + size
    assert at == len(written), "more was written than asked for"
