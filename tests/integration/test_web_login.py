"""Who may look and who may write: logins, tokens, origins, and what a write leaves behind."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config.passwords import Password, _hash
from tests.support.needs import require_module
from tests.support.process import Running, running
from tests.support.until import wait_until
from tests.support.web import Browser, page_port

WORD = "correct-horse"
OTHER_WORD = "battery-staple"


def weak(password: str) -> str:
    """The cheapest text that is allowed: tests log in often."""
    salt = b"tests" * 3 + b"!"
    return str(Password(14, 8, 1, salt, _hash(password, salt, 14, 8, 1, 32)))


def plant(users: str, more: str = "") -> str:
    return f"""
server:
  listen: tcp://127.0.0.1:0
  access:
    - {{role: operator, range: ["holding:10..19"], may: write}}
    - {{role: engineer, may: write}}
    - {{may: read}}
web:
  listen: http://127.0.0.1:0
  metrics: {{open: false}}
  users: {users}
{more}
devices:
  mixer:
    url: sim://
    every: 50ms
    tags:
      target: {{at: holding:10, type: int16, scale: 0.1, as: float32, write: true, range: [0, 100], to: 1/holding:10}}
      limit: {{at: holding:20, type: int16, write: true, to: 1/holding:20}}
      level: {{at: holding:30, type: int16, to: 1/input:0}}
"""


USERS = f"""
    anna: {{password: "{weak(WORD)}", role: operator}}
    vera: {{password: "{weak(WORD)}"}}
    emil: {{password: "{weak(WORD)}", role: engineer}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def gateway(folder: Path) -> Iterator[Running]:
    require_module("uvicorn")
    with running(plant(USERS), folder) as found:
        yield found


@pytest.fixture
def visitor(gateway: Running) -> Browser:
    return Browser(page_port(gateway))


def logged_in(visitor: Browser, user: str) -> Browser:
    browser = Browser(visitor.port)
    assert browser.login(user, WORD).status == 200
    return browser


# -- looking -----------------------------------------------------------------------------------------------------------


def test_who_is_not_logged_in_sees_nothing(visitor: Browser) -> None:
    session = visitor.come()
    assert (session["login"], session["user"], session["role"], session["may_write"]) == (True, None, None, False)
    for path in ("state", "tags", "devices/mixer", "units", "registers?unit=1", "trends?tag=mixer/level", "clients"):
        assert visitor.get(f"/api/{path}").status == 401, path
    for path in ("/api/events", "/api/stream", "/metrics"):
        assert visitor.get(path).status == 401, path
    for path in ("/", "/healthz", "/readyz", "/api/openapi.json"):
        assert visitor.get(path).status == 200, path


def test_a_login_sets_a_cookie_that_holds_up(visitor: Browser) -> None:
    answer = visitor.login("anna", WORD)
    assert answer.status == 200
    cookie = answer.headers["set-cookie"]
    assert re.match(r"gateway-\d+=[A-Za-z0-9_-]{43}; ", cookie)
    assert {"Path=/", "HttpOnly", "SameSite=Strict", "Max-Age=43200"} <= set(cookie.split("; "))
    assert "Secure" not in cookie  # of plain http browsers would not send it back
    session = visitor.get("/api/session").json
    assert (session["user"], session["role"], session["may_write"]) == ("anna", "operator", True)
    assert session["csrf"] == visitor.csrf
    assert visitor.get("/api/state").status == 200
    assert visitor.get("/metrics").status == 200


def test_a_cookie_is_worth_nothing_after_the_logout(visitor: Browser) -> None:
    anna = logged_in(visitor, "anna")
    with anna.stream("tags") as stream:
        assert stream.head()[0] == 200
        assert anna.post("/api/logout").status == 200
        assert [name for name, _ in stream.events() if name == "resync"] == []  # it ends
    assert anna.get("/api/state").status == 401
    assert anna.get("/api/session").json["user"] is None


def test_a_login_ends_the_session_before_it(visitor: Browser) -> None:
    anna = logged_in(visitor, "anna")
    before = anna.cookie
    assert anna.login("vera", WORD).status == 200
    assert anna.cookie != before
    visitor.cookie = before
    assert visitor.get("/api/state").status == 401


def test_a_cookie_that_somebody_made_up_is_nobodys(visitor: Browser) -> None:
    name = logged_in(visitor, "anna").cookie.partition("=")[0]
    for value in ("x" * 43, "", "../../etc", "%00", "\xff"):
        visitor.cookie = f"{name}={value}"
        assert visitor.get("/api/state").status == 401


# -- writing -----------------------------------------------------------------------------------------------------------


def test_a_write_lands_in_the_device_and_the_audit_says_whose_it_was(
    visitor: Browser, gateway: Running, folder: Path
) -> None:
    anna = logged_in(visitor, "anna")
    answer = anna.post("/api/tags/mixer/target", {"value": 12.5})
    assert answer.status == 200, answer.body
    assert answer.json["outcome"] == "done"
    wait_until(
        lambda: 12.5 in [row[1] for row in anna.get("/api/tags").json["values"]], what="the new value, read back"
    )
    audit = folder / "state" / "audit.jsonl"
    wait_until(lambda: audit.exists() and "anna" in audit.read_text(), what="a line of the audit")
    line = next(json.loads(text) for text in audit.read_text().splitlines() if "anna" in text)
    assert line["door"].startswith("http://127.0.0.1:")
    assert line["client"].startswith("127.0.0.1:")
    assert (line["user"], line["role"], line["outcome"], line["range"]) == (
        "anna", "operator", "done", "holding:10..11 (400011..400012)",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("user", "tag", "value", "status"),
    [
        ("vera", "target", 1, 403),  # a viewer, whatever the rules say
        ("anna", "limit", 1, 403),  # not in the operators' range
        ("anna", "level", 1, 403),  # no `write`
        ("anna", "target", 100.1, 400),
        ("anna", "target", "much", 400),
        ("anna", "target", None, 400),
        ("anna", "nothing", 1, 404),
        ("emil", "limit", 40000, 400),
        ("emil", "limit", 7, 200),
    ],
)
def test_who_may_write_what(visitor: Browser, user: str, tag: str, value: object, status: int) -> None:
    answer = logged_in(visitor, user).post(f"/api/tags/mixer/{tag}", {"value": value})
    assert answer.status == status, answer.body
    assert status == 200 or answer.json["error"]


def test_the_event_of_a_write_says_who_wrote(visitor: Browser) -> None:
    anna = logged_in(visitor, "anna")
    assert anna.post("/api/tags/mixer/target", {"value": 12.5}).status == 200
    wait_until(
        lambda: any(
            event["kind"] == "write" and event["text"].endswith(": done, by anna")
            for event in anna.get("/api/events").json["events"]
        ),
        what="the write among the events",
    )


def test_what_was_looked_at_before_a_reload_is_not_written(visitor: Browser) -> None:
    """The tag may have another unit, or place, since."""
    anna = logged_in(visitor, "anna")
    generation = anna.get("/api/tags").json["generation"]
    assert anna.post("/api/tags/mixer/target", {"value": 12.5, "generation": generation}).status == 200
    answer = anna.post("/api/tags/mixer/target", {"value": 99, "generation": generation - 1})
    assert (answer.status, answer.json["code"]) == (409, "changed")
    assert "configuration has changed" in answer.json["error"]


def test_the_registers_are_shown_by_the_rules_for_the_role(visitor: Browser) -> None:
    found = logged_in(visitor, "vera").get("/api/registers?unit=1&table=holding&first=10&count=2")
    assert found.status == 200


# -- foreign pages -----------------------------------------------------------------------------------------------------


def test_a_write_without_the_token_is_refused(visitor: Browser) -> None:
    anna = logged_in(visitor, "anna")
    value = {"value": 50}
    for token in ("", "x", visitor.come()["csrf"]):
        answer = anna.post("/api/tags/mixer/target", value, {"X-CSRF-Token": token})
        assert (answer.status, answer.json["code"]) == (403, "csrf")
    assert anna.post("/api/logout", headers={"X-CSRF-Token": "x"}).status == 403
    assert anna.get("/api/state").status == 200
    visitor.csrf = ""
    assert visitor.post("/api/login", {"user": "anna", "password": WORD}).status == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1"},
    ],
)
def test_a_write_from_a_foreign_page_is_refused_although_it_had_the_token(
    visitor: Browser, headers: dict[str, str]
) -> None:
    answer = logged_in(visitor, "anna").post("/api/tags/mixer/target", {"value": 50}, headers)
    assert (answer.status, answer.json["code"]) == (403, "origin")


def test_our_own_page_is_none(visitor: Browser) -> None:
    headers = {"Origin": f"http://127.0.0.1:{visitor.port}", "Sec-Fetch-Site": "same-origin"}
    assert logged_in(visitor, "anna").post("/api/tags/mixer/target", {"value": 50}, headers).status == 200


def test_a_form_of_a_foreign_page_is_no_json(visitor: Browser) -> None:
    headers = {"Content-Type": "text/plain"}
    assert logged_in(visitor, "anna").post("/api/tags/mixer/target", b'{"value": 5}', headers).status == 415


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "", "127.0.0.1.evil.example", "a b", "[::1", "x" * 300]
)
def test_another_name_is_not_answered(visitor: Browser, host: str) -> None:
    for path in ("/", "/api/session", "/healthz"):
        assert visitor.get(path, {"Host": host or " "}).status in (400, 421)


@pytest.mark.parametrize("host", ["localhost:{}", "127.0.0.1", "[::1]:{}", "10.1.2.3:{}", "LOCALHOST:{}"])
def test_addresses_and_localhost_are_always_ours(visitor: Browser, host: str) -> None:
    assert visitor.get("/api/session", {"Host": host.format(visitor.port)}).status == 200


# -- guessing, reloads -------------------------------------------------------------------------------------------------


def test_whoever_guesses_waits_and_a_name_that_there_is_not_costs_the_same(tmp_path: Path) -> None:
    require_module("uvicorn")
    with running(plant(USERS), tmp_path) as gateway:
        browser = Browser(page_port(gateway))
        told = {browser.login(name, "wrong-password").json["error"] for name in ("anna", "nobody", "anna", "vera", "x")}
        assert told == {"user or password is wrong"}
        answer = browser.login("anna", WORD)
        assert answer.status == 429
        assert 1 <= int(answer.headers["retry-after"]) <= 3
        assert browser.get("/api/state").status == 401


def test_a_reload_ends_sessions_of_users_that_have_changed(tmp_path: Path) -> None:
    require_module("uvicorn")
    path = tmp_path / "plant.yaml"
    with running(plant(USERS), tmp_path) as gateway:
        visitor = Browser(page_port(gateway))
        anna, vera, emil = (logged_in(visitor, name) for name in ("anna", "vera", "emil"))
        with anna.stream("tags") as stream:
            stream.head()
            changed = f"""
    anna: {{password: "{weak(OTHER_WORD)}", role: operator}}
    emil: {{password: "{weak(WORD)}", role: engineer}}
"""
            path.write_text(plant(changed), encoding="utf-8")
            gateway.process.send_signal(signal.SIGHUP)
            list(stream.events())  # it ends
        gateway.wait_for_log(r"configuration 1 is running.*web changed")
        assert anna.get("/api/state").status == 401
        assert vera.get("/api/state").status == 401
        assert emil.get("/api/state").status == 200
        assert anna.login("anna", WORD).status == 401
        assert anna.login("anna", OTHER_WORD).status == 200
