"""Who the server is (43/14, 17) and what it counts (08): V1.1b3 6.21, 6.13, 6.8."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.conftest import Ask
from tests.support.core import build_units
from tests.support.wire import hexed

PLANT = """
server:
  listen: tcp://127.0.0.1:0
  identity: {vendor: Acme, product: GW-1, revision: "1.0"}
units:
  1: {holding: 0..9}
  2: {holding: 0..9}
"""


def objects(answer: bytes) -> dict[int, bytes]:
    """The objects of a 43/14 response, after its head has been checked."""
    assert answer[:2] == hexed("2B 0E"), answer.hex(" ")
    assert len(answer) <= 253
    found, at = {}, 7
    while at < len(answer):
        number, size = answer[at], answer[at + 1]
        found[number] = answer[at + 2 : at + 2 + size]
        assert len(found[number]) == size, "an object was split"
        at += 2 + size
    assert len(found) == answer[6], "the count is that of this response"
    return found


@pytest.mark.parametrize("unknown", [0x03, 0x7F, 0x80, 0xFF])
def test_a_stream_from_an_unknown_object_starts_over_at_0(ask: Ask, unknown: int) -> None:
    assert ask(bytes((0x2B, 0x0E, 1, unknown))) == ask(hexed("2B 0E 01 00"))


def test_a_stream_may_begin_at_any_known_object(ask: Ask) -> None:
    assert ask(hexed("2B 0E 01 01")) == hexed("2B 0E 01 81 00 00 02 01 04 47572D31 02 03 312E30")
    assert ask(hexed("2B 0E 01 02")) == hexed("2B 0E 01 81 00 00 01 02 03 312E30")


@pytest.mark.parametrize("code", [2, 3])
def test_a_level_above_ours_is_answered_with_what_there_is(ask: Ask, code: int) -> None:
    answer = ask(bytes((0x2B, 0x0E, code, 0)))

    assert answer[2] == code
    assert answer[3] in (0x81, 0x82, 0x83)
    found = objects(answer)
    assert [found[0], found[1], found[2]] == [b"Acme", b"GW-1", b"1.0"]
    assert all(number < 0x80 for number in found) or answer[3] == 0x83


@pytest.mark.parametrize(("number", "text"), [(0, b"Acme"), (1, b"GW-1"), (2, b"1.0")])
def test_every_basic_object_can_be_read_alone(ask: Ask, number: int, text: bytes) -> None:
    answer = ask(bytes((0x2B, 0x0E, 4, number)))

    assert answer[4:6] == b"\0\0", "no more follows"
    assert objects(answer) == {number: text}


def test_objects_that_do_not_fit_one_response_follow_in_the_next(tmp_path: Path) -> None:
    texts = {0: b"V" * 120, 1: b"P" * 120, 2: b"R" * 120}
    identity = f"{{vendor: {texts[0].decode()}, product: {texts[1].decode()}, revision: {texts[2].decode()}}}"
    unit = build_units(f"server: {{identity: {identity}}}\nunits: {{1: {{holding: 0..9}}}}\n", tmp_path)[1]

    collected: dict[int, bytes] = {}
    following, more, rounds = 0, 0xFF, 0
    while more == 0xFF:
        answer = unit.answer(bytes((0x2B, 0x0E, 1, following)))
        assert answer is not None
        collected |= objects(answer)
        more, following = answer[4], answer[5]
        rounds += 1
        assert rounds <= 3, "the stream does not end"

    assert (more, following) == (0, 0)
    assert collected == texts
    assert rounds == 2


def test_17_tells_its_size_a_server_id_and_that_it_runs(ask: Ask) -> None:
    answer = ask(hexed("11"))

    assert answer[0] == 0x11
    assert answer[1] == len(answer) - 2
    assert answer[3] == 0xFF, "the run indicator follows a server id of one byte"
    assert b"GW-1" in answer[4:]


def test_08_echoes_any_even_amount_of_data(ask: Ask) -> None:
    for size in (2, 4, 100, 250):
        request = hexed("08 0000") + bytes(i & 0xFF for i in range(size))
        assert ask(request) == request


def counter(ask: Ask, sub: int) -> int:
    answer = ask(bytes((8, 0, sub, 0, 0)))
    assert answer[:3] == bytes((8, 0, sub))
    assert len(answer) == 5
    return int.from_bytes(answer[3:], "big")


@pytest.mark.parametrize("sub", range(0x0B, 0x13))
def test_08_reads_a_counter_of_two_bytes(ask: Ask, sub: int) -> None:
    counter(ask, sub)


@pytest.mark.parametrize("sub", [0x0C, 0x0F, 0x10, 0x11, 0x12])
def test_08_counts_none_of_what_did_not_happen(ask: Ask, sub: int) -> None:
    assert counter(ask, sub) == 0


def test_08_clears_with_an_echo(ask: Ask) -> None:
    assert ask(hexed("08 000A 0000")) == hexed("08 000A 0000")
