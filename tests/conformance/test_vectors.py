"""Every worked example of the protocol digest, byte for byte, through the core and over a socket."""

from __future__ import annotations

import pytest

from tests.conformance import vectors
from tests.conformance.conftest import Ask
from tests.conformance.vectors import CONVERSATIONS, VECTORS, Conversation, Vector
from tests.conftest import Start
from tests.support.wire import Wire, adu, hexed

PLANT = vectors.PLANT


def sentence(case: Vector | Conversation) -> str:
    return case.sentence


@pytest.fixture(scope="module")
def port(start: Start) -> int:
    return start(PLANT).port


@pytest.mark.parametrize("vector", VECTORS, ids=sentence)
def test_the_example_is_answered_byte_for_byte(ask: Ask, vector: Vector) -> None:
    for request in vector.first:
        ask(hexed(request), vector.unit)
    request, response = vectors.pdus(vector)

    assert ask(request, vector.unit).hex(" ") == response.hex(" ")
    for read, shown in vector.then:
        assert ask(hexed(read), vector.unit).hex(" ") == hexed(shown).hex(" "), f"read back with {read}"


@pytest.mark.parametrize("vector", VECTORS, ids=sentence)
def test_the_frame_on_the_wire_is_exactly_header_and_answer(port: int, vector: Vector) -> None:
    request, response = vectors.pdus(vector)
    expected = adu(0x1234, vector.unit, response)
    with Wire(port) as wire:
        for before in vector.first:
            wire.ask(hexed(before), vector.unit)
        wire.send(adu(0x1234, vector.unit, request))
        wire.half_close()

        assert wire.receive(len(expected)).hex(" ") == expected.hex(" ")
        wire.expect_close()


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=sentence)
def test_the_segment_of_the_tcp_guide_is_answered_byte_for_byte(port: int, conversation: Conversation) -> None:
    expected = hexed(conversation.answers)
    with Wire(port) as wire:
        wire.send(hexed(conversation.segment))
        wire.half_close()

        assert wire.receive(len(expected)).hex(" ") == expected.hex(" ")
        wire.expect_close()
