"""What a tap shows of a device, over every way that a link may take: the bytes that the device itself saw and sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.clock import now
from gateway.config.urls import parse_device_url
from gateway.errors import RequestTimeout
from gateway.southbound.diallers import make_dialler
from gateway.traffic import Frame, Tap, Wanted
from tests.support.datagrams import UdpDevice
from tests.support.lines import LineDevice, echo_zeros
from tests.support.links import Peer, with_link
from tests.support.serial_pair import SerialPair

LINES = ("rtu", "ascii", "rtu+tcp", "ascii+tcp")
READ, SEVEN = bytes.fromhex("0300070001"), bytes.fromhex("03020007")
WRITE = bytes.fromhex("0600070005")


@pytest.fixture(params=LINES)
def line(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, LineDevice, str]]:
    """URL of ours, the device, what a tap calls it."""
    scheme: str = request.param
    framing = scheme.partition("+")[0]
    if "+" in scheme:
        device = LineDevice(framing)
        yield f"{scheme}://127.0.0.1:{device.port}", device, f"127.0.0.1:{device.port}"
        device.close()
        return
    with SerialPair(tmp_path) as pair:
        device = LineDevice(framing, pair.theirs)
        yield f"{scheme}://{pair.ours}?baudrate=115200&parity=none", device, pair.ours
        device.close()


def look(peer: Peer) -> Tap:
    tap = Tap(1, Wanted(), now)
    peer.link.tap((tap,))
    return tap


def frames(tap: Tap) -> list[Frame]:
    return tap.take(0)[0]


def shown(tap: Tap) -> list[tuple[bool, int, str, str]]:
    return [(frame.is_request, frame.unit_id, frame.pdu.hex(), frame.note) for frame in frames(tap)]


def test_a_line_shows_what_the_device_saw_and_a_broadcast_without_an_answer(line: tuple[str, LineDevice, str]) -> None:
    url, device, where = line

    async def case(peer: Peer) -> None:
        await peer.up()
        tap = look(peer)
        assert await peer.ask(unit=1) == SEVEN
        assert await peer.ask(WRITE, unit=0) == WRITE  # the carrier's word for it
        assert await peer.ask(unit=2) == SEVEN
        assert shown(tap) == [
            (True, 1, READ.hex(), ""),
            (False, 1, SEVEN.hex(), ""),
            (True, 0, WRITE.hex(), ""),
            (True, 2, READ.hex(), ""),
            (False, 2, SEVEN.hex(), ""),
        ]
        assert [(each.unit_id, each.pdu) for each in frames(tap) if each.is_request] == device.requests
        first = frames(tap)[0]
        assert (first.peer, first.tid) == (where, 0)
        assert bool(first.local) == (":" in where)
        assert [each.answer for each in peer.link.exchanges(0)] == [None]
        assert peer.link.snapshot()["took"]["count"] == 2  # how long a broadcast is given is no round trip

    with_link(make_dialler(parse_device_url(url), source=None, keepalive_s=60.0), case)


def test_a_line_that_is_silent_and_noisy_shows_that(line: tuple[str, LineDevice, str]) -> None:
    url, device, _ = line
    device.behave = lambda unit, pdu: (
        b"\xff\x00\xff\x00garbage\r\n" if unit == 9 else device.frame(unit, echo_zeros(pdu))
    )

    async def case(peer: Peer) -> None:
        await peer.up()
        tap = look(peer)
        assert isinstance(await peer.ask(unit=9), RequestTimeout)
        notes = [frame.note for frame in frames(tap)]
        assert notes[0] == ""
        assert notes[-1] == "time-out"
        assert peer.link.exchanges(9)[-1].error.startswith("no answer within")

    with_link(make_dialler(parse_device_url(url), source=None, keepalive_s=60.0), case)


def test_udp_shows_the_ids_that_travelled_and_both_ends() -> None:
    device = UdpDevice()

    async def case(peer: Peer) -> None:
        await peer.up()
        tap = look(peer)
        await peer.ask()
        request, answer = frames(tap)
        assert request.tid == answer.tid == int.from_bytes(device.datagrams[-1][:2], "big")
        assert device.datagrams[-1][7:] == request.pdu
        assert request.peer == f"127.0.0.1:{device.port}"
        assert request.local == "{}:{}".format(*device.peers[-1])

    try:
        with_link(make_dialler(parse_device_url(f"udp://127.0.0.1:{device.port}"), source=None, keepalive_s=60.0), case)
    finally:
        device.close()
