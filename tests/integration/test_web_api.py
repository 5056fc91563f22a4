"""The page's interface, asked over HTTP: every path is described, answers are what the description says."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.conftest import Start
from tests.support import process
from tests.support.devices import pymodbus_plc
from tests.support.needs import require_module
from tests.support.process import Running
from tests.support.until import wait_until
from tests.support.web import Browser, page_port

OPENAPI = json.loads((Path(__file__).parents[2] / "gateway/web/openapi.json").read_text(encoding="utf-8"))
PLANT = """
server: {listen: "tcp://127.0.0.1:0", identity: {product: Line 3}}
units:
  1: {holding: 0..99}
  5: {forward: press}
web: {listen: "http://127.0.0.1:0", metrics: {tags: true}}
devices:
  mixer:
    url: sim://
    every: 50ms
    tags:
      level: {at: holding:0, type: float32, unit: "%", sim: "sine(20, 80, 2s)", to: 1/input:300}
      target: {at: holding:10, type: int16, write: true, range: [0, 100], to: 1/holding:10}
  press:
    url: sim://
    every: 50ms
    tags:
      name: {at: "holding:0..3", type: string, to: 1/input:310}
      count: {at: holding:9, type: uint16, sim: "4711", to: 1/input:320}
"""


@pytest.fixture(scope="module")
def running(start: Start) -> Running:
    require_module("uvicorn")
    return start(PLANT)


@pytest.fixture(scope="module")
def page(running: Running) -> Browser:
    browser = Browser(page_port(running))
    wait_until(lambda: all(row[2] == "good" for row in browser.get("/api/tags").json["values"]), what="good values")
    return browser


def schema(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}", "components": OPENAPI["components"]}


def is_as_described(found: Any, name: str) -> None:
    jsonschema.Draft202012Validator(schema(name)).validate(found)


def test_the_description_is_one() -> None:
    assert OPENAPI["openapi"] == "3.1.0"
    for each in OPENAPI["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(each)
    told = json.dumps(OPENAPI)
    for name in OPENAPI["components"]["schemas"]:
        assert told.count(name) > 1, f"{name} is used nowhere"


def test_every_path_is_described_and_none_that_is_not_there() -> None:
    require_module("uvicorn")
    from gateway.web.api import ROUTES

    served = {(route.path, method) for route in ROUTES for method in (route.methods or ()) if method != "HEAD"}
    described = {(path, method.upper()) for path, methods in OPENAPI["paths"].items() for method in methods}
    assert served == described


@pytest.mark.parametrize(
    "path",
    [
        "/api/session",
        "/api/state",
        "/api/devices/mixer",
        "/api/tags",
        "/api/units",
        "/api/registers?unit=1&table=input&first=298&count=10",
        "/api/trends?tag=mixer/level&tag=press/name",
        "/api/clients",
        "/api/events?after=0",
        "/healthz",
        "/readyz",
    ],
)
def test_answers_are_as_described(page: Browser, path: str) -> None:
    answer = page.get(path)
    assert answer.status == 200, answer.body
    assert answer.headers["cache-control"] == "no-store"
    route = "/api/devices/{name}" if path.startswith("/api/devices/") else path.partition("?")[0]
    content = OPENAPI["paths"][route]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    is_as_described(answer.json, content["$ref"].rpartition("/")[2])


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("/api/devices/nobody", 404, "nobody"),
        ("/api/nothing", 404, "/api/nothing"),
        ("/api/registers?unit=1&count=1001", 400, "1000"),
        ("/api/registers?unit=x", 400, "unit"),
        ("/api/registers", 400, "unit"),
        ("/api/registers?unit=5", 404, "press"),
        ("/api/registers?unit=1&table=hold", 400, "holding"),
        ("/api/registers?unit=1&first=65530&count=10", 400, "65535"),
        ("/api/trends", 400, "tag"),
        ("/api/trends?tag=mixer/nothing", 404, "nothing"),
        ("/api/trends?tag=mixer/level&from=5&to=1", 400, "from"),
        ("/api/stream?topics=weather", 400, "weather"),
        ("/api/events?after=99999999999999999999999", 400, "whole number"),
        ("/nothing.html", 404, "nothing.html"),
    ],
)
def test_what_cannot_be_answered_says_why(page: Browser, path: str, status: int, told: str) -> None:
    answer = page.get(path)
    assert answer.status == status
    is_as_described(answer.json, "Error")
    assert told in answer.json["error"]


def test_what_is_shown_is_what_there_is(page: Browser) -> None:
    state = page.get("/api/state").json
    assert {row["name"] for row in state["devices"]} == {"mixer", "press"}
    assert state["findings"] == []
    tags = page.get("/api/tags").json
    by_name = {row["name"]: row for row in tags["tags"]}
    assert by_name["target"]["write"] is True
    assert by_name["target"]["range"] == [0, 100]
    values = {row[0]: row[1] for row in tags["values"]}
    assert values[by_name["name"]["i"]] == ""
    assert values[by_name["count"]["i"]] == 4711
    assert 20 <= values[by_name["level"]["i"]] <= 80
    registers = page.get("/api/registers?unit=1&table=input&first=319&count=2").json
    assert (registers["values"], registers["codes"]) == ([None, 4711], [2, 0])
    assert page.get("/api/session").json["gateway"] == "Line 3"


def test_the_stream_tells_what_changes(page: Browser) -> None:
    kinds: dict[str, Any] = {}
    with page.stream() as stream:
        status, headers = stream.head()
        assert status == 200
        assert headers["content-type"].startswith("text/event-stream")
        for name, data in stream.events():
            kinds.setdefault(name, data)
            if kinds.keys() >= {"hello", "ping", "state", "tags", "clients"} and kinds["tags"]["changed"]:
                break
            if name == "tags":
                kinds["tags"] = data
    for name, described in (
        ("hello", "Hello"),
        ("state", "StateChange"),
        ("tags", "TagsChange"),
        ("clients", "ClientsChange"),
    ):
        is_as_described(kinds[name], described)


def test_a_stream_has_the_topics_that_were_asked_for(page: Browser) -> None:
    names = set()
    with page.stream("tags") as stream:
        stream.head()
        for number, (name, _) in enumerate(stream.events()):
            names.add(name)
            if number == 8:
                break
    assert names == {"hello", "ping", "tags"}


def test_metrics_are_text(page: Browser) -> None:
    answer = page.get("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b"gateway_info" in answer.body
    assert b"mixer" in answer.body


def test_the_description_is_served(page: Browser) -> None:
    assert page.get("/api/openapi.json").json == OPENAPI


def test_files_have_a_tag_by_which_they_are_not_sent_again(page: Browser) -> None:
    first = page.get("/")
    assert first.status == 200
    assert first.headers["content-type"] == "text/html; charset=utf-8"
    again = page.get("/", {"If-None-Match": first.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    packed = page.get("/", {"Accept-Encoding": "gzip, br"})
    assert packed.headers["content-encoding"] == "gzip"
    assert len(packed.body) < len(first.body)
    head = page.ask("HEAD", "/")
    assert (head.status, head.body) == (200, b"")
    assert int(head.headers["content-length"]) == len(first.body)


def test_a_tag_that_is_read_again_and_is_the_same_is_told_by_its_block(page: Browser) -> None:
    tags = page.get("/api/tags").json
    index = next(tag["i"] for tag in tags["tags"] if tag["name"] == "count")  # always 4711, read every 50 ms
    block = next(row[5] for row in tags["values"] if row[0] == index)
    read_ms = next(row[3] for row in tags["values"] if row[0] == index)
    with page.stream("tags") as stream:
        stream.head()
        sets = (data for name, data in stream.events() if name == "tags")
        found = [next(data for data in sets if block in dict(data["times"])) for _ in range(3)]
    times = [dict(data["times"])[block] for data in found]
    assert read_ms <= times[0] < times[1] < times[2]
    assert times[2] - times[0] < 3000, "with every set: the age that a page shows is right within a second"
    assert all(dict(data["times"])[block] <= data["now_ms"] for data in found), "no age is below nought"


def test_large_answers_are_packed_for_who_takes_it(page: Browser) -> None:
    packed = page.get("/api/openapi.json", {"Accept-Encoding": "gzip"})
    assert (packed.headers["content-encoding"], packed.headers["vary"]) == ("gzip", "accept-encoding")
    assert int(packed.headers["content-length"]) == len(packed.body) < 20_000
    assert json.loads(gzip.decompress(packed.body)) == OPENAPI
    for headers in ({}, {"Accept-Encoding": "gzip;q=0"}, {"Accept-Encoding": "br"}):
        plain = page.get("/api/openapi.json", headers)
        assert "content-encoding" not in plain.headers
        assert plain.json == OPENAPI
    assert "content-encoding" not in page.get("/api/session", {"Accept-Encoding": "gzip"}).headers, "it is small"
    head = page.ask("HEAD", "/api/openapi.json", headers={"Accept-Encoding": "gzip"})
    assert (head.status, head.body) == (200, b"")


def test_the_clock_of_the_gateway_is_told_in_milliseconds(page: Browser) -> None:
    before_ms = time.time() * 1000
    told_ms = int(page.get("/api/session").headers["x-now-ms"])
    assert before_ms - 1 <= told_ms <= time.time() * 1000


def test_without_users_nobody_writes(page: Browser) -> None:
    session = page.come()
    assert (session["login"], session["user"], session["may_write"]) == (False, None, False)
    answer = page.post("/api/tags/mixer/target", {"value": 5})
    assert answer.status == 403
    assert "web.users" in answer.json["error"]
    assert page.post("/api/login", {"user": "a", "password": "b"}).status == 403
    assert page.ask("DELETE", "/api/tags").status == 405
    assert page.ask("POST", "/").status == 405


def test_a_device_that_dies_is_shown_at_once(tmp_path: Path) -> None:
    """Within 0.3 s of its state: `since_s` of the row says how long it has had it."""
    require_module("uvicorn")
    with pymodbus_plc() as plc:
        yaml = f"""
server: {{listen: "tcp://127.0.0.1:0"}}
web: {{listen: "http://127.0.0.1:0"}}
devices:
  dead:
    url: tcp://127.0.0.1:{plc.port}
    timeout: 300ms
    every: 100ms
    tags: {{level: {{at: "holding:0", type: int16, to: "1/input:0"}}}}
  alive: {{url: "sim://", every: 100ms, poll: [{{read: "holding:0..9", to: "1/holding:0"}}]}}
"""
        with process.running(yaml, tmp_path) as gateway:
            page = Browser(page_port(gateway))
            wait_until(lambda: {row["state"] for row in page.get("/api/state").json["devices"]} == {"good"})
            with page.stream("state,tags,events") as stream:
                stream.head()
                events = stream.events(20)
                next(data for name, data in events if name == "state")
                plc.kill()
                rows = (row for name, data in events if name == "state" for row in data["devices"])
                row = next(row for row in rows if row["state"] == "down")
                assert row["name"] == "dead"
                assert row["since_s"] < 0.6  # 0.3 on a machine that does nothing else
                found = next(data["findings"] for name, data in events if name == "state" and data.get("findings"))
                assert any(f"{plc.port}" in finding["text"] or finding["device"] == "dead" for finding in found)
                bad = (row for name, data in events if name == "tags" for row in data["changed"] if row[2] != "good")
                assert next(bad)[4]
