"""Whatever a client sends to whatever units, and in whatever order they answer: each unit keeps the order."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from gateway.interfaces import Later
from tests.support.wire import adu
from tests.unit.test_lanes import Client, Slow, make_clients, reply

AT_ONCE, FREE, STRICT, MIXED = 1, 2, 3, 4


class Moody(Slow):
    """By the last byte of the request: answers at once, later, settled already, or after settling what is out."""

    def answer(self, pdu: bytes) -> bytes | Later | None:
        mood = pdu[-1] % 5
        if mood == 0:
            self.asked.append(pdu)
            return reply(pdu)
        if mood == 1:
            self.settle(*self.laters)
        later = super().answer(pdu)
        if mood == 2:
            self.settle(pdu)
        return later

    def may_overtake(self, pdu: bytes) -> bool:
        return pdu[-1] % 2 == 0


class AtOnce(Slow):
    def answer(self, pdu: bytes) -> bytes | Later | None:
        self.asked.append(pdu)
        return reply(pdu)


sends = st.lists(st.tuples(st.sampled_from([AT_ONCE, FREE, STRICT, MIXED, 0, 255]), st.integers(0, 9)), max_size=12)
steps = st.lists(st.one_of(sends, st.integers(0, 50)), max_size=20)


@given(steps=steps, half_closes=st.booleans())
def test_answers_of_each_unit_leave_in_the_order_of_its_requests(
    steps: list[list[tuple[int, int]] | int], half_closes: bool
) -> None:
    asyncio.run(play(steps, half_closes=half_closes))


async def play(steps: list[list[tuple[int, int]] | int], *, half_closes: bool) -> None:
    units = {AT_ONCE: AtOnce(), FREE: Slow(), STRICT: Slow(overtakes=False), MIXED: Moody()}
    server = make_clients(dict(units), default_unit=MIXED)
    client = Client(server)
    expected: dict[int, bytes] = defaultdict(bytes)
    tid = 0
    for step in steps:
        if isinstance(step, int):
            out = [(unit, pdu) for unit in units.values() for pdu in unit.laters]
            if out:
                unit, pdu = out[step % len(out)]
                unit.settle(pdu)
            continue
        frames = b""
        for unit_id, number in step:
            tid += 1
            frame_pdu = b"\x01" + tid.to_bytes(2, "big") + bytes((number,))
            frames += adu(tid, unit_id, frame_pdu)
            expected[MIXED if unit_id in (0, 255) else unit_id] += adu(tid, unit_id, reply(frame_pdu))
        client.send(frames)
    if half_closes:
        client.connection.eof_received()
    while any(unit.laters for unit in units.values()):
        for unit in units.values():
            unit.settle(*unit.laters)
    got: dict[int, bytes] = defaultdict(bytes)
    data = await client.take()
    while data:
        size = 6 + int.from_bytes(data[4:6], "big")
        frame, data = data[:size], data[size:]
        got[MIXED if frame[6] in (0, 255) else frame[6]] += frame
    assert got == expected
    assert client.connection.waiting == 0
    assert client.wire.closed is half_closes
