"""Writes from the page: every digit arrives and is shown, what was not sent is not called unknown, and whoever tries,
whatever becomes of it, is in the audit."""

from __future__ import annotations

import json
import signal
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config.passwords import Password, _hash
from tests.support.devices import echo_zeros, free_port, scripted
from tests.support.needs import require_module
from tests.support.process import Running, running
from tests.support.until import wait_until
from tests.support.web import Answer, Browser, page_port
from tests.support.wire import Wire, adu

WORD = "correct-horse"
LARGEST = 2**64 - 1
UNSAFE = 2**53 + 1


def weak(password: str) -> str:
    """The cheapest text that is allowed: tests log in often."""
    salt = b"tests" * 3 + b"!"
    return str(Password(14, 8, 1, salt, _hash(password, salt, 14, 8, 1, 32)))


USERS = f'{{anna: {{password: "{weak(WORD)}", role: operator}}, vera: {{password: "{weak(WORD)}"}}}}'
PLANT = """
server: {{listen: "tcp://127.0.0.1:0"}}
web: {{listen: "http://127.0.0.1:0", users: {users}}}
devices:
  meter:
    url: sim://
    every: 50ms
    tags:
      energy: {{at: "holding:0", type: uint64, {unit} write: true, range: [0, 18446744073709551615], to: "1/holding:0"}}
      target: {{at: "holding:10", type: int16, write: true, range: [0, 100], to: "1/holding:10"}}
  away:
    url: tcp://127.0.0.1:{away}
    every: 100ms
    timeout: 300ms
    retries: 0
    tags: {{target: {{at: "holding:0", type: int16, write: true, to: "2/holding:0"}}}}
  mute:
    url: tcp://127.0.0.1:{mute}
    every: 60s
    timeout: 300ms
    retries: 0
    tags: {{target: {{at: "holding:0", type: int16, write: true, to: "3/holding:0"}}}}
  deaf:
    url: tcp://127.0.0.1:{deaf}
    every: 50ms
    stale_after: 300ms
    timeout: 100ms
    retries: 0
    tags:
      target: {{at: "holding:0", type: int16, write: true, to: "4/holding:0"}}
      level: {{at: "holding:1", type: int16, to: "4/input:7"}}
      alarm: {{at: "holding:2.3", type: bool, to: "4/discrete:9"}}
"""
IS_DEAF = threading.Event()
"""The device `deaf` is too busy for reads; writes it takes."""
DEAF_HOLDS = bytearray(6)


def mute_for_writes(tid: int, unit: int, pdu: bytes) -> bytes | None:
    return echo_zeros(tid, unit, pdu) if pdu[0] == 3 else None


def deaf_for_reads(tid: int, unit: int, pdu: bytes) -> bytes | None:
    first, number = struct.unpack(">HH", pdu[1:5])
    if pdu[0] != 3:
        DEAF_HOLDS[2 * first : 2 * first + 2] = pdu[3:5]
        return adu(tid, unit, pdu)
    if IS_DEAF.is_set():
        return adu(tid, unit, b"\x83\x06")
    return adu(tid, unit, bytes((3, 2 * number)) + DEAF_HOLDS[2 * first : 2 * (first + number)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("writes")


@pytest.fixture(scope="module")
def yaml() -> Iterator[Callable[[str], str]]:
    with scripted(mute_for_writes) as mute, scripted(deaf_for_reads) as deaf:
        away = free_port()
        yield lambda unit: PLANT.format(users=USERS, away=away, mute=mute.port, deaf=deaf.port, unit=unit)


@pytest.fixture(scope="module")
def gateway(folder: Path, yaml: Callable[[str], str]) -> Iterator[Running]:
    require_module("uvicorn")
    with running(yaml(""), folder) as found:
        yield found


@pytest.fixture(scope="module")
def anna(gateway: Running) -> Browser:
    return logged_in(gateway, "anna")


def logged_in(gateway: Running, user: str) -> Browser:
    browser = Browser(page_port(gateway))
    assert browser.login(user, WORD).status == 200
    return browser


def write(browser: Browser, name: str, value: Any) -> Answer:
    return browser.post(f"/api/tags/{name}", {"value": value})


def shown(browser: Browser, name: str) -> list[Any]:
    """The row of a tag's value."""
    tags = browser.get("/api/tags").json
    index = next(tag["i"] for tag in tags["tags"] if f"{tag['device']}/{tag['name']}" == name)
    row: list[Any] = next(row for row in tags["values"] if row[0] == index)
    return row


def audited(folder: Path, *words: str) -> dict[str, Any]:
    """The newest line of the audit that has all of these."""
    path = folder / "state" / "audit.jsonl"

    def found() -> list[str]:
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if all(word in line for word in words)]

    wait_until(found, what=f"a line of the audit with {words}")
    line: dict[str, Any] = json.loads(found()[-1])
    return line


# -- every digit -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (str(LARGEST), str(LARGEST)),
        (LARGEST - 2, str(LARGEST - 2)),
        (str(UNSAFE), str(UNSAFE)),
        (2**53 - 1, 2**53 - 1),
        ("12", 12),
    ],
)
def test_no_digit_is_lost_on_its_way_to_the_device_and_back(
    anna: Browser, gateway: Running, value: object, told: object
) -> None:
    answer = write(anna, "meter/energy", value)
    assert answer.status == 200, answer.body
    assert answer.json["after"] == told
    wait_until(lambda: shown(anna, "meter/energy")[1:3] == [told, "good"], what="the value, read back")
    with Wire(gateway.port) as client:
        assert client.ask(bytes.fromhex("0300000004"))[2:] == int(str(value)).to_bytes(8, "big")


def test_the_stream_and_the_range_tell_every_digit(anna: Browser) -> None:
    assert write(anna, "meter/energy", 5).status == 200
    limits = next(tag["range"] for tag in anna.get("/api/tags").json["tags"] if tag["name"] == "energy")
    assert limits == [0, str(LARGEST)]
    wait_until(lambda: shown(anna, "meter/energy")[1] == 5, what="another value")
    with anna.stream("tags") as stream:
        stream.head()
        events = stream.events()
        assert next(data for name, data in events if name == "hello")["boot"] == anna.get("/api/tags").json["boot"]
        assert write(anna, "meter/energy", str(UNSAFE)).status == 200
        rows = (row for name, data in events if name == "tags" for row in data["changed"])
        assert next(row[1] for row in rows if isinstance(row[1], str)) == str(UNSAFE)


def test_a_number_that_would_take_minutes_to_read_is_none(anna: Browser) -> None:
    assert write(anna, "meter/energy", "1e999999999").status == 400


# -- what became of it -------------------------------------------------------------------------------------------------


def test_what_was_not_sent_is_refused_and_not_unknown(anna: Browser, folder: Path) -> None:
    wait_until(lambda: _state(anna, "away") == "down", what="a device that is away")
    answer = write(anna, "away/target", 7)
    assert (answer.status, answer.json["code"]) == (409, 11), answer.body
    assert "nothing was sent, away cannot be reached" in answer.json["error"]
    line = audited(folder, '"unit":2', '"new":[7]')
    assert line["outcome"] == "refused 0B gateway target device failed to respond"


def test_what_was_sent_and_not_answered_is_unknown(anna: Browser, folder: Path) -> None:
    wait_until(lambda: _state(anna, "mute") == "good", what="a device that answers")
    answer = write(anna, "mute/target", 8)
    assert (answer.status, answer.json["code"]) == (504, 11), answer.body
    assert "nobody knows" in answer.json["error"]
    assert audited(folder, '"unit":3', '"new":[8]')["outcome"].startswith("unknown 0B")


def test_a_value_that_is_too_old_is_not_told_as_what_was_there(anna: Browser, folder: Path) -> None:
    IS_DEAF.clear()
    wait_until(lambda: shown(anna, "deaf/target")[2] == "good", what="a first value")
    answer = write(anna, "deaf/target", 50)
    assert (answer.json["before"], answer.json["after"]) == (0, 50)
    IS_DEAF.set()
    wait_until(lambda: shown(anna, "deaf/target")[2] == "bad", what="a value that is too old")
    answer = write(anna, "deaf/target", 777)
    assert answer.status == 200, answer.body
    assert answer.json == {"outcome": "done", "before": None, "after": None}
    assert audited(folder, '"unit":4', "[777]")["old"] is None
    IS_DEAF.clear()


def _state(browser: Browser, device: str) -> str:
    return next(row["state"] for row in browser.get("/api/state").json["devices"] if row["name"] == device)


# -- the audit ---------------------------------------------------------------------------------------------------------


def test_whoever_may_not_is_in_the_audit(gateway: Running, folder: Path) -> None:
    vera = logged_in(gateway, "vera")
    denied = vera.get("/api/state").json["page"]["denied"]
    assert write(vera, "meter/target", 41).status == 403
    line = audited(folder, '"user":"vera"', "[41]")
    assert line["client"].startswith("127.0.0.1:")
    assert line["door"] == f"http://127.0.0.1:{vera.port}", "the port that it has, not the 0 of the file"
    assert (line["role"], line["unit"], line["range"]) == ("viewer", 1, "holding:10 (400011)")
    assert (line["old"], line["new"], line["outcome"]) == ([0], [41], "refused 01 illegal function")
    assert line["why"] == "meter/target = 41: vera may only look: writing needs the role operator or engineer"
    wait_until(lambda: vera.get("/api/state").json["page"]["denied"] == denied + 1, what="it is counted")


@pytest.mark.parametrize(
    ("name", "value", "status", "unit", "why"),
    [
        ("meter/target", 101, 400, 1, "outside of its range"),
        ("meter/target", "fast", 400, 1, "'fast' is no number"),
        ("meter/nothing", 102, 404, 0, "there is no tag"),
        ("meter/target", None, 400, 1, "send "),
    ],
)
def test_what_makes_no_sense_is_in_the_audit(
    anna: Browser, folder: Path, name: str, value: object, status: int, unit: int, why: str
) -> None:
    assert write(anna, name, value).status == status
    line = audited(folder, '"user":"anna"', json.dumps(f"{name} = {json.dumps(value)}: ")[1:-1])
    assert (line["unit"], line["outcome"].split()[0]) == (unit, "refused")
    assert why in line["why"]
    assert unit == 0 or line["range"] == "holding:10 (400011)"


@pytest.mark.parametrize(
    ("name", "value", "where"),
    [("level", 7, "input:7 (300008) of unit 4"), ("alarm", True, "discrete:9 (100010) of unit 4")],
)
def test_a_tag_where_no_request_can_write_is_audited_with_its_true_place(
    anna: Browser, folder: Path, name: str, value: object, where: str
) -> None:
    assert write(anna, f"deaf/{name}", value).status == 403
    line = audited(folder, f"deaf/{name} = ")
    assert (line["unit"], line["outcome"].split()[0]) == (4, "refused")
    assert (line["range"], line["table"], line["old"], line["new"]) == (None, None, None, None)
    assert line["why"].endswith(f"it is shown at {where}")


def test_true_is_no_number(anna: Browser) -> None:
    answer = write(anna, "meter/target", True)
    assert (answer.status, answer.json["error"]) == (400, "meter/target is a number (int16), not true")
    assert write(anna, "meter/target", 1).status == 200


def test_nobody_in_particular_is_in_the_audit_and_a_flood_of_him_is_not(gateway: Running, folder: Path) -> None:
    stranger = Browser(page_port(gateway))
    stranger.come()
    path = folder / "state" / "audit.jsonl"
    assert write(stranger, "meter/target", 77).status == 401
    line = audited(folder, "[77]")
    assert (line["role"], line.get("user"), line["outcome"].split()[0]) == (None, None, "refused")
    stranger.csrf = "forged"
    size = path.stat().st_size
    for _ in range(60):
        assert write(stranger, "meter/target", 78).status == 403
    assert path.stat().st_size - size < 20 * 700
    assert stranger.get("/api/session").status == 200


# -- after a reload ----------------------------------------------------------------------------------------------------


def test_another_unit_has_no_past(anna: Browser, gateway: Running, folder: Path, yaml: Callable[[str], str]) -> None:
    def past(name: str) -> list[Any]:
        series = anna.get(f"/api/trends?tag={name}").json["series"][0]
        return [value for value in series["last"] if value is not None]

    assert write(anna, "meter/energy", 20).status == 200
    wait_until(lambda: 20 in past("meter/energy") and len(past("meter/energy")) > 2, what="a past")
    before = len(past("meter/target"))
    assert write(anna, "meter/energy", 68).status == 200
    wait_until(lambda: shown(anna, "meter/energy")[1] == 68, what="the value, read back")
    (folder / "plant.yaml").write_text(yaml('unit: "°F",'), encoding="utf-8")
    gateway.process.send_signal(signal.SIGHUP)
    wait_until(lambda: anna.get("/api/trends?tag=meter/energy").json["series"][0]["unit"] == "°F", what="the reload")
    assert set(past("meter/energy")) <= {68}
    wait_until(lambda: past("meter/energy"), what="a new past")
    assert 20 not in past("meter/energy")
    assert len(past("meter/target")) >= before, "the others keep theirs"
