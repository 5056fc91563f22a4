"""Clients' writes through the running gateway: what the device is asked, what the client gets, what the image shows."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.process import Running, running
from tests.support.sim import serving
from tests.support.until import wait_until
from tests.support.wire import Wire, adu, hexed

PLANT = """
server: {{listen: "tcp://127.0.0.1:0"}}
units:
  1: {{holding: 0..399, coils: 0..9, initial: {{"holding:300": [1, 2]}}}}
  5: {{forward: press, cache: 10s}}
devices:
  press:
    url: tcp://127.0.0.1:{port}
    every: {every}
    retries: 0
    timeout: 500ms
    poll:
      - {{read: holding:0..9, to: 1/holding:0, write: through}}
      - {{read: holding:10..13, to: 1/holding:10}}
    tags:
      mode:  {{at: holding:20, type: uint16, write: true, range: [0, 3], to: 1/holding:100}}
      level: {{at: holding:21, type: int16, scale: 0.1, as: float32, write: true, range: [-50, 100], to: 1/holding:102}}
      start: {{at: holding:30.3, type: bool, write: true, to: 1/coils:0}}
      stop:  {{at: holding:30.4, type: bool, write: true, to: 1/coils:1}}
      speed: {{at: holding:40, type: float32, order: CDAB, write: true, verify: 1s, to: 1/holding:110}}
    {more}
"""
PUSH = """push:
      - {write: holding:60..61, from: 1/holding:300, on: change}
      - {write: holding:70, from: 1/holding:310, on: change}
    watchdog: {write: holding:99, every: 100ms}
"""


class Plant:
    """A gateway, a client of it, and the simulated device behind it."""

    def __init__(self, gateway: Running, wire: Wire, executed: list[tuple[int, bytes]]) -> None:
        self.gateway, self.wire = gateway, wire
        self._executed = executed

    def ask(self, text: str, unit: int = 1) -> str:
        return self.wire.ask(hexed(text), unit).hex()

    def writes(self) -> list[str]:
        """What the device was asked to write, in order; the watchdog apart."""
        return [pdu.hex() for _, pdu in list(self._executed) if pdu[0] > 4 and pdu[1:3] != b"\0\x63"]

    def beats(self) -> list[int]:
        return [int.from_bytes(pdu[3:5], "big") for _, pdu in list(self._executed) if pdu[1:3] == b"\0\x63"]


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    with started(tmp_path) as plant:
        yield plant


@contextmanager
def started(
    directory: Path, faults: dict[str, object] | None = None, every: str = "50ms", more: str = ""
) -> Iterator[Plant]:
    with serving({1: faults or {}}) as device:
        assert device.executed is not None
        yaml = PLANT.format(port=device.port, every=every, more=more)
        with running(yaml, directory) as gateway, Wire(gateway.port) as wire:
            plant = Plant(gateway, wire, device.executed)
            wait_until(lambda: plant.ask("03 0064 0001")[:2] == "03", 5.0, "the tags")
            wait_until(lambda: plant.ask("03 0000 000e")[:2] == "03", 5.0, "the polls")
            yield plant


@pytest.mark.parametrize(
    ("request_", "sent", "answer", "read", "seen"),
    [
        ("06 0003 1234", "0600031234", "0600031234", "03 0003 0001", "03021234"),
        ("10 0002 0002 04 0001 0002", "10000200020400010002", "1000020002", "03 0002 0002", "030400010002"),
        ("16 0003 ff00 00aa", "160003ff0000aa", "160003ff0000aa", "03 0003 0001", "030200aa"),
        ("17 0000 0002 0001 0001 02 0007", "100001000102" + "0007", "170400000007", "03 0001 0001", "03020007"),
        ("06 0064 0003", "0600140003", "0600640003", "03 0064 0001", "03020003"),
        ("10 0066 0002 04 42480000", "06001501f4", "1000660002", "03 0066 0002", "030442480000"),
        (
            "10 0066 0002 04 42483d71",
            "06001501f5",
            "1000660002",
            "03 0066 0002",
            "030442486666",
        ),
        ("05 0000 ff00", "16001efff70008", "050000ff00", "01 0000 0002", "010101"),
        ("0f 0000 0002 01 03", "16001effe70018", "0f00000002", "01 0000 0002", "010103"),
        ("10 006e 0002 04 41480000", "100028000204" + "00004148", "10006e0002", "03 006e 0002", "030441480000"),
    ],
    ids=["06", "16", "22", "23", "tag", "scaled", "rounded", "bit", "two bits", "float CDAB"],
)
def test_a_write_reaches_the_device_and_then_the_image(
    plant: Plant, request_: str, sent: str, answer: str, read: str, seen: str
) -> None:
    assert plant.ask(request_) == answer
    assert plant.writes() == [sent]
    assert plant.ask(read) == seen, "at once"
    count = len(plant.writes())
    wait_until(lambda: plant.ask(read) == seen, 5.0, "still")
    assert len(plant.writes()) == count


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ("06 000b 0001", "02"),
        ("10 0008 0004 08 0001 0002 0003 0004", "02"),
        ("06 0066 0001", "02"),
        ("10 0064 0002 04 0001 0001", "02"),
        ("06 0064 0004", "03"),
        ("10 0066 0002 04 42ca0000", "03"),
        ("10 0066 0002 04 7fc00000", "03"),
        ("10 0000 0002 03 0001 00", "03"),
        ("05 0000 1234", "03"),
    ],
    ids=["no write", "two owners", "half a tag", "tag and ours", "range", "range, scaled", "NaN", "size", "coil value"],
)
def test_what_cannot_be_written_is_refused_and_changes_nothing(plant: Plant, request_: str, code: str) -> None:
    before = plant.ask("03 0000 000e")
    pdu = hexed(request_)
    assert plant.ask(request_) == f"{pdu[0] | 0x80:02x}{code}"
    assert plant.writes() == []
    assert plant.ask("03 0000 000e") == before


def test_the_devices_own_refusal_reaches_the_client(tmp_path: Path) -> None:
    with started(tmp_path, {"no_functions": ["6"], "refuse": {"holding:80": "4"}}) as plant:
        assert plant.ask("06 0005 0001") == "8601"
        assert plant.ask("10 0005 0001 02 0001") == "1000050001"
        assert plant.ask("10 0050 0001 02 0001", 5) == "9004"


def test_a_bit_is_read_changed_and_written_back_where_22_is_refused(tmp_path: Path) -> None:
    with started(tmp_path, {"no_functions": ["22"]}) as plant:
        assert plant.ask("06 001e 8000", 5) == "06001e8000"
        assert plant.ask("05 0000 ff00") == "050000ff00"
        assert plant.ask("05 0001 ff00") == "050001ff00"
        assert plant.ask("05 0000 0000") == "0500000000"
        wanted = ["06001e8000", "16001efff70008", "06001e8008", "06001e8018", "06001e8010"]
        assert [pdu for pdu in plant.writes() if pdu[:2] != "03"] in (wanted, [wanted[0], *wanted[2:]])


def test_a_write_empties_the_forwards_cache_whoever_wrote(plant: Plant) -> None:
    assert plant.ask("03 0003 0001", 5) == "03020000"
    assert plant.ask("06 0003 0011") == "0600030011"
    assert plant.ask("03 0003 0001", 5) == "03020011"
    assert plant.ask("06 0003 0022", 5) == "0600030022"
    assert plant.ask("03 0003 0001", 5) == "03020022"
    assert plant.ask("03 0003 0001") == "03020022", "the image has it, too"


def test_a_read_pipelined_behind_a_write_sees_what_was_written(plant: Plant) -> None:
    for value in range(1, 40):
        data = struct.pack(">H", value)
        plant.wire.send(adu(2 * value, 1, b"\x06\0\x03" + data) + adu(2 * value + 1, 1, hexed("03 0003 0001")))
        first, second = plant.wire.receive_adu(), plant.wire.receive_adu()
        assert (first.tid, first.pdu) == (2 * value, b"\x06\0\x03" + data)
        assert (second.tid, second.pdu) == (2 * value + 1, b"\x03\x02" + data)


def test_with_verify_a_device_that_does_not_keep_a_value_is_told(tmp_path: Path) -> None:
    with started(tmp_path) as plant:
        assert plant.ask("10 006e 0002 04 41480000") == "10006e0002"
        # The PLC's program puts another value there behind our back: as a write of somebody else.
        with Wire(plant_port(plant)) as other:
            assert other.ask(hexed("10 0028 0002 04 0000 4120")) == hexed("10 0028 0002")
        assert plant.ask("03 006e 0002") == "030441480000", "what was written, until it is read back"
        plant.gateway.wait_for_log(r"holding:40\.\.41 .*was written .*the device holds", 5.0)
        assert plant.ask("03 006e 0002") == "030441200000", "the device's own"


def plant_port(plant: Plant) -> int:
    """The device's port, from the plant's file."""
    path = Path(plant.gateway.process.args[-1])  # type: ignore[index,arg-type]
    text = path.read_text(encoding="utf-8")
    return int(text.split("url: tcp://127.0.0.1:")[1].split("\n")[0])


def test_a_push_is_silent_until_every_register_has_a_value_and_the_watchdog_counts(tmp_path: Path) -> None:
    with started(tmp_path, more=PUSH) as plant:
        wait_until(lambda: len(plant.beats()) >= 5, 5.0, "five beats")
        assert plant.beats()[:5] == [0, 1, 2, 3, 4]
        wait_until(lambda: "10003c00020400010002" in plant.writes(), 5.0, "what `initial` gave")
        assert not [pdu for pdu in plant.writes() if pdu[2:6] == "0046"], "nobody has written 310 yet"
        assert plant.ask("06 0136 0005") == "0601360005"
        wait_until(lambda: "0600460005" in plant.writes(), 5.0, "the push")
        assert plant.ask("06 012d 0009") == "06012d0009"
        wait_until(lambda: "10003c00020400010009" in plant.writes(), 5.0, "the change")
        assert len(plant.writes()) == 3
