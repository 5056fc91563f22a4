"""Functions 07, 17 and 43/14: how we are, and who."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.app import build
from gateway.app.gateway import Gateway
from gateway.bank import Bank
from gateway.config.load import load
from gateway.errors import Refused
from gateway.front.exception_status import Trouble, bits_of, exception_status
from gateway.front.identity import Identity
from gateway.modbus.spec import Table
from gateway.polling.device import State
from tests.support.wire import hexed

STATUS = hexed("07")


def plant(directory: Path, yaml: str) -> Gateway:
    path = directory / "plant.yaml"
    path.write_text(yaml, encoding="utf-8")
    return build(load(path))


def ask(gateway: Gateway, request: bytes = STATUS, unit: int = 1) -> bytes:
    answer = gateway.units.slots[unit].answer(request)
    assert isinstance(answer, bytes)
    return answer


# -- 07 -------------------------------------------------------------------------------------------------------------

TROUBLED = """
units:
  1: {holding: 0..9, files: {4: {records: 10}}}
devices:
  press: {url: "tcp://127.0.0.1:1", poll: [{read: "holding:0", to: "1/input:0"}]}
  mixer: {url: "tcp://127.0.0.1:2", poll: [{read: "holding:0", to: "1/input:1"}]}
"""


def test_each_trouble_of_the_gateway_has_its_bit_and_leaves_it(tmp_path: Path) -> None:
    gateway = plant(tmp_path, TROUBLED)
    press, mixer = gateway.plant.devices["press"], gateway.plant.devices["mixer"]

    def shown(register: bool = True) -> int:
        answer = ask(gateway)
        assert ask(gateway, hexed("08 0002 0000")) == hexed("08 0002 00") + answer[1:]
        return answer[1]

    def become(device: object, state: State) -> None:
        device.state = state  # type: ignore[attr-defined]
        gateway.plant._state_changed("press")

    assert shown() == 0, "waiting is no trouble"
    become(press, State.DOWN)
    assert shown() == Trouble.DEVICE_DOWN == 0x01
    become(mixer, State.STALE)
    assert shown() == 0x03
    become(press, State.GOOD)
    assert shown() == Trouble.DEVICE_STALE == 0x02
    become(mixer, State.DISABLED)
    assert shown() == 0
    gateway.refused("the file is wrong")
    assert shown() == Trouble.RELOAD_REFUSED == 0x04
    gateway.plant.functions.reload_refused = False
    gateway.counters.faults += 1
    assert shown() == Trouble.FAULT == 0x08
    gateway.counters.refused_connections += 1
    assert shown() == 0x18
    assert ask(gateway, hexed("08 000A 0000")) == hexed("08 000A 0000")
    assert shown() == 0, "function 08 clears what is remembered"


def test_records_that_are_lost_and_state_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    gateway = plant(tmp_path, TROUBLED)
    content = gateway.plant.functions._contents["file-1-4.dat"]
    content.lose()
    assert ask(gateway)[1] == Trouble.RECORDS_LOST == 0x40
    content.write(0, bytes(20))
    assert ask(gateway)[1] == 0
    gateway._retained._keeper._failing[1] = "No space left on device"
    assert ask(gateway)[1] == Trouble.NOT_WRITTEN == 0x20
    gateway._retained._keeper._failing.clear()
    gateway._records._keeper._failing["file-1-4.dat"] = "No space left on device"
    assert ask(gateway)[1] == 0x20


def test_eight_bits_of_the_image_stand_in_the_place_of_ours(tmp_path: Path) -> None:
    gateway = plant(
        tmp_path,
        """
units:
  1: {coils: 0..99, exception_status: "coils:5", initial: {"coils:5": [true, false, true, true, false, true, true]}}
  2: {holding: 0..9, exception_status: "holding:3", initial: {"holding:3": 0x12A5}}
  3: {holding: 0..9}
""",
    )
    gateway.refused("something else")

    assert ask(gateway) == hexed("07 6D")
    assert ask(gateway, unit=2) == hexed("07 A5")
    assert ask(gateway, unit=3) == hexed("07 04")
    ask(gateway, hexed("05 000C FF00"))
    assert ask(gateway) == hexed("07 ED")


def test_bits_without_a_value_are_refused_as_their_readers_are() -> None:
    bank = Bank({Table.DISCRETE: [(0, 20)]})
    (span,) = bank.claim([(Table.DISCRETE, 10, 2)])
    status = exception_status(bits_of(bank, Table.DISCRETE, 3))
    with pytest.raises(Refused) as refused:
        status(STATUS)
    assert refused.value.code == 0x0B
    bank.unblock(span)
    bank.put_bit(Table.DISCRETE, 10, True)

    assert status(STATUS) == hexed("07 80")


# -- 43/14 and 17 ---------------------------------------------------------------------------------------------------


def objects(answer: bytes) -> dict[int, bytes]:
    found, at = {}, 7
    while at < len(answer):
        found[answer[at]] = answer[at + 2 : at + 2 + answer[at + 1]]
        at += 2 + answer[at + 1]
    assert len(found) == answer[6]
    return found


FULL = """
server:
  identity:
    vendor: Acme
    product: GW-1
    revision: "1.0"
    vendor_url: https://acme.example
    product_name: Gateway One
    model: One
    application: Boiler house
units: {1: {holding: 0..9}}
"""


def test_regular_objects_are_told_when_there_are_some(tmp_path: Path) -> None:
    gateway = plant(tmp_path, FULL)
    basic = {0: b"Acme", 1: b"GW-1", 2: b"1.0"}
    regular = basic | {3: b"https://acme.example", 4: b"Gateway One", 5: b"One", 6: b"Boiler house"}

    for code, found in ((1, basic), (2, regular), (3, regular)):
        answer = ask(gateway, bytes((0x2B, 0x0E, code, 0)))
        assert answer[:6] == bytes((0x2B, 0x0E, code, 0x82, 0, 0)), "regular, by stream and one by one"
        assert objects(answer) == found
    assert objects(ask(gateway, hexed("2B 0E 02 05"))) == {5: b"One", 6: b"Boiler house"}
    assert objects(ask(gateway, hexed("2B 0E 01 05"))) == basic, "a stream of basic objects does not know it"
    assert ask(gateway, hexed("2B 0E 04 06")) == hexed("2B 0E 04 82 00 00 01 06 0C") + b"Boiler house"
    assert ask(gateway, hexed("2B 0E 04 07")) == hexed("AB 02")


def test_a_missing_regular_object_is_left_out() -> None:
    identity = Identity("V", "P", "1", None, None, "M", None)

    assert objects(identity.answer(hexed("2B 0E 02 00"))) == {0: b"V", 1: b"P", 2: b"1", 5: b"M"}
    assert objects(identity.answer(hexed("2B 0E 02 04")))[0] == b"V", "an unknown one starts over"


texts = st.one_of(st.none(), st.text(max_size=260))


@given(basic=st.lists(st.text(max_size=260), min_size=3, max_size=3), regular=st.lists(texts, max_size=4))
def test_a_stream_brings_every_object_whole_in_as_many_answers_as_it_takes(
    basic: list[str], regular: list[str | None]
) -> None:
    identity = Identity(*basic, *regular)
    found: dict[int, bytes] = {}
    following, more = 0, 0xFF
    while more:
        answer = identity.answer(bytes((0x2B, 0x0E, 2, following)))
        assert len(answer) <= 253
        assert not found or min(objects(answer)) > max(found), "it goes on"
        found |= objects(answer)
        more, following = answer[4:6]

    given_texts = dict(enumerate((*basic, *regular)))
    assert found == {n: t.encode("ascii", "replace")[:244] for n, t in given_texts.items() if t is not None}
    report = identity.report(hexed("11"))
    assert report[1] == len(report) - 2
    assert len(report) <= 253


@given(st.binary(max_size=252))
def test_any_bytes_are_answered_or_refused(data: bytes) -> None:
    identity = Identity("V" * 244, "P" * 244, "R" * 244, "U")
    for function, answer in ((0x2B, identity.answer), (0x11, identity.report)):
        with contextlib.suppress(Refused):
            assert len(answer(bytes((function,)) + data)) <= 253
