"""Sessions and how often a password may be guessed, with a clock that a test moves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.config.model_web import User
from gateway.config.page import WebUrl
from gateway.config.passwords import Password, _hash
from gateway.web import sessions as file
from gateway.web.guard import Hosts, is_own_origin
from gateway.web.sessions import Refusal, Session, Sessions, Throttle, network_of

SALT = b"s" * 16


def user(password: str, role: str = "viewer") -> User:
    known = Password(14, 8, 1, SALT, _hash(password, SALT, 14, 8, 1, 32))
    return User.model_construct(password=known, role=role)


ANNA, BERT = user("anna's password", "operator"), user("bert's password")


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(clock: Clock) -> Sessions:
    made = Sessions(clock)
    made.configure({"anna": ANNA, "bert": BERT}, 3600.0)
    return made


def login(sessions: Sessions, name: str, password: str, address: str = "10.0.0.1") -> Any:
    return asyncio.run(sessions.login(name, password, address))


def test_a_session_lasts_as_long_as_it_may(sessions: Sessions, clock: Clock) -> None:
    ended: list[Session] = []
    sessions.ended = ended.append
    cookie, session = login(sessions, "anna", "anna's password")
    assert sessions.find(cookie) is session
    assert not sessions.is_over(session)
    clock.now_s += 3599
    assert sessions.find(cookie) is session
    clock.now_s += 1
    assert sessions.is_over(session)
    assert sessions.find(cookie) is None
    assert ended == [session]
    assert sessions.find(None) is None


def test_tokens_are_of_one_session(sessions: Sessions) -> None:
    _, anna = login(sessions, "anna", "anna's password")
    _, bert = login(sessions, "bert", "bert's password")
    assert sessions.is_csrf(anna, anna.csrf)
    assert not sessions.is_csrf(anna, bert.csrf)
    assert not sessions.is_csrf(anna, sessions.visitor_csrf())
    assert not sessions.is_csrf(anna, None)
    assert not sessions.is_csrf(None, "\u00fc")
    assert sessions.is_csrf(None, sessions.visitor_csrf())


def test_another_password_or_role_ends_the_session_and_nothing_else_does(sessions: Sessions) -> None:
    anna, bert = (login(sessions, name, f"{name}'s password")[0] for name in ("anna", "bert"))
    sessions.configure({"anna": ANNA, "bert": BERT, "emil": BERT}, 60.0)
    assert sessions.find(anna)
    assert sessions.find(bert)
    sessions.configure({"anna": user("anna's password", "engineer"), "bert": BERT}, 3600.0)
    assert sessions.find(anna) is None
    assert sessions.find(bert)
    sessions.configure({}, 3600.0)
    assert sessions.find(bert) is None
    assert len(sessions) == 0


def test_sessions_are_bounded_and_nobody_ends_the_others(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "MAX_PER_USER", 2)
    bert = login(sessions, "bert", "bert's password")[0]
    annas = [login(sessions, "anna", "anna's password")[0] for _ in range(4)]
    assert [sessions.find(cookie) is not None for cookie in annas] == [False, False, True, True]
    assert sessions.find(bert)
    monkeypatch.setattr(file, "MAX_SESSIONS", 3)
    login(sessions, "bert", "bert's password")
    assert len(sessions) == 3


def test_whoever_guesses_waits_longer_each_time(sessions: Sessions, clock: Clock) -> None:
    waits = []
    for _ in range(8):
        answer = login(sessions, "anna", "wrong")
        assert isinstance(answer, Refusal)
        assert answer.status == 401
        refused = login(sessions, "anna", "anna's password")
        if isinstance(refused, Refusal):
            assert refused.status == 429
            waits.append(refused.wait_s)
            clock.now_s += refused.wait_s
        else:
            waits.append(0.0)
    assert waits == [0.0] * 8  # the right password in between makes good


def test_waits_grow_and_are_bounded() -> None:
    throttle, now_s, waits = Throttle(15.0), 0.0, []
    for _ in range(12):
        throttle.failed("x", now_s)
        waits.append(throttle.wait_s("x", now_s))
        now_s += waits[-1]
    assert waits == [0, 0, 0, 0, 1, 2, 4, 8, 15, 15, 15, 15]
    assert throttle.wait_s("y", now_s) == 0
    throttle.failed("x", now_s + file.FORGET_S + 1)
    assert throttle.wait_s("x", now_s + file.FORGET_S + 1) == 0


def test_addresses_and_names_wait_each_for_itself(sessions: Sessions, clock: Clock) -> None:
    for number in range(5):
        login(sessions, f"nobody{number}", "wrong", "10.0.0.1")
    assert login(sessions, "anna", "anna's password", "10.0.0.1").status == 429
    assert not isinstance(login(sessions, "anna", "anna's password", "10.0.0.2"), Refusal)
    for number in range(5):
        login(sessions, "bert", "wrong", f"10.0.1.{number}")
    refused = login(sessions, "bert", "bert's password", "10.0.0.3")
    assert refused.status == 429
    clock.now_s += file.MAX_USER_WAIT_S
    assert not isinstance(login(sessions, "bert", "bert's password", "10.0.0.3"), Refusal)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "MAX_REMEMBERED", 10)
    throttle = Throttle(15.0)
    for number in range(100):
        throttle.failed(str(number), 0.0)
    assert len(throttle._failures) == 10


def test_few_may_wait_for_their_turn(sessions: Sessions) -> None:
    async def many() -> list[Any]:
        tries = [sessions.login("anna", "anna's password", f"10.0.0.{number}") for number in range(12)]
        return await asyncio.gather(*tries)

    statuses = [answer.status if isinstance(answer, Refusal) else 200 for answer in asyncio.run(many())]
    assert sorted(statuses) == [200] * file.MAX_TRYING + [503] * (12 - file.MAX_TRYING)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("?", "?"),
    ],
)
def test_what_one_person_has_of_addresses(address: str, network: str) -> None:
    assert network_of(address) == network


# -- names and origins -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "is_known"),
    [
        ("gw.plant.local:8080", True),
        ("GW.plant.local.", True),
        ("scada", True),
        ("localhost:1", True),
        ("192.168.1.5", True),
        ("[fe80::1]:8080", True),
        ("evil.example", False),
        ("gw.plant.local.evil.example", False),
        ("gw.plant.local@evil.example", False),
        ("gw.plant.local:8080:80", False),
        ("", False),
        (None, False),
        ("[::1", False),
        ("gw.plant.local\x00", False),
    ],
)
def test_names_that_are_ours(header: str | None, is_known: bool) -> None:
    hosts = Hosts(WebUrl("http", "gw.plant.local", 8080), ["scada"])
    assert hosts.knows(header) is is_known


@pytest.mark.parametrize(
    ("origin", "site", "is_own"),
    [
        (None, None, True),  # a program
        ("http://gw:8080", "same-origin", True),
        ("https://gw:8080", None, True),  # a proxy in front of us
        ("HTTP://GW:8080", None, True),
        ("http://gw", None, False),
        ("http://gw:8080.evil.example", None, False),
        ("http://evil.example", None, False),
        ("null", None, False),
        ("", None, False),
        ("http://gw:8080", "cross-site", False),
        (None, "same-site", False),
        (None, "none", True),
        ("ftp://gw:8080", None, False),
    ],
)
def test_origins_that_are_ours(origin: str | None, site: str | None, is_own: bool) -> None:
    assert is_own_origin(origin, site, "gw:8080", "http") is is_own
