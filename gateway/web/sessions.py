"""Who is logged in, and who may try to: sessions in memory, and how often a password may be guessed.

The rule: a cookie is a number that nobody can guess, known here by its hash alone; it ends with its time, a logout, a
reload that takes the user away or gives him another password or role, and with the gateway. To try a password costs a
third of a second of one thread and 32 MiB, so one is tried at a time, few may wait, and whoever guesses waits longer
each time: his address, and the name he tries, each for itself. A name that there is not costs the same.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import NamedTuple

from gateway.config.model_web import User
from gateway.config.passwords import MAX_PASSWORD, NOBODY

MAX_SESSIONS = 512
"""Of all users; the oldest ends when there are more."""
MAX_PER_USER = 32
"""Of one user, so that nobody ends the others' by logging in over and over."""
TOKEN_SIZE = 32
MAX_TRYING = 8
"""Passwords that wait for their third of a second; who comes then is told to come again."""
FREE_FAILURES = 4
"""Slips of the pen; after them each failure doubles the wait."""
FIRST_WAIT_S = 1.0
MAX_ADDRESS_WAIT_S = 300.0
MAX_USER_WAIT_S = 15.0
"""Of a name, whoever tries it: long enough that nobody guesses (6,000 a day), short enough that nobody locks a
colleague out by guessing wrong."""
FORGET_S = 900.0
"""After this long without a failure everything is as at the beginning."""
MAX_REMEMBERED = 4096
"""Addresses and names; those that failed longest ago are forgotten."""
PREFIX_V6 = 64
"""Of an IPv6 address: what one customer has."""


LINES_PER_MINUTE = 30
"""Of the log, about logins: who guesses must not fill the disk."""

log = logging.getLogger(__name__)


class Session:
    """One login."""

    __slots__ = ("csrf", "key", "name", "until_s", "user", "writing")

    def __init__(self, key: bytes, name: str, user: User, until_s: float) -> None:
        self.key = key
        self.name = name
        self.user = user
        self.until_s = until_s
        self.csrf = secrets.token_urlsafe(TOKEN_SIZE)
        """What a page must send beside the cookie: a foreign page cannot read it."""
        self.writing = 0
        """Writes of this session that have no answer yet."""


class Refusal(NamedTuple):
    """A login that failed."""

    status: int
    message: str
    wait_s: float = 0.0


class _Failures:
    __slots__ = ("count", "last_s", "until_s")

    def __init__(self) -> None:
        self.count = 0
        self.last_s = 0.0
        self.until_s = 0.0


class Throttle:
    """How long somebody who failed must wait."""

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self._failures: OrderedDict[str, _Failures] = OrderedDict()

    def wait_s(self, who: str, now_s: float) -> float:
        """0: he may try now."""
        found = self._failures.get(who)
        return 0.0 if found is None else max(found.until_s - now_s, 0.0)

    def failed(self, who: str, now_s: float) -> None:
        found = self._failures.setdefault(who, _Failures())
        if now_s - found.last_s > FORGET_S:
            found.count = 0
        found.count += 1
        found.last_s = now_s
        beyond = found.count - FREE_FAILURES
        if beyond > 0:
            found.until_s = now_s + min(FIRST_WAIT_S * 2.0 ** min(beyond - 1, 20), self._most_s)
        self._failures.move_to_end(who)
        if len(self._failures) > MAX_REMEMBERED:
            self._failures.popitem(last=False)

    def good(self, who: str) -> None:
        self._failures.pop(who, None)


class Sessions:
    """All of one page."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._users: Mapping[str, User] = {}
        self._nobody = NOBODY
        """Tried for names that there are not: it takes as long."""
        self._lasts_s = 0.0
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()
        """By the hash of the cookie, the oldest first."""
        self._by_address = Throttle(MAX_ADDRESS_WAIT_S)
        self._by_name = Throttle(MAX_USER_WAIT_S)
        self._turn = asyncio.Lock()
        self._trying = 0
        self._secret = secrets.token_bytes(TOKEN_SIZE)
        self._said = 0
        self._said_since_s = float("-inf")
        self.failures = 0
        self.logins = 0
        self.ended: Callable[[Session], None] = lambda _: None
        """Told of each session that is over."""

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def has_users(self) -> bool:
        return bool(self._users)

    def configure(self, users: Mapping[str, User], lasts_s: float) -> None:
        """These may log in from now on; sessions of users that are gone, or have another password or role, end."""
        self._users = dict(users)
        for user in users.values():  # they are mostly made by the same command, with the same parameters
            self._nobody = NOBODY._replace(log2_n=user.password.log2_n, r=user.password.r, p=user.password.p)
        self._lasts_s = lasts_s
        for session in list(self._sessions.values()):
            if users.get(session.name) != session.user:
                self.end(session)

    def find(self, cookie: str | None) -> Session | None:
        """Whose cookie this is; None: nobody's, or not any more."""
        session = self._sessions.get(_key(cookie)) if cookie else None
        if session is not None and self._clock() >= session.until_s:
            self.end(session)
            return None
        return session

    def is_over(self, session: Session) -> bool:
        return self._clock() >= session.until_s or self._sessions.get(session.key) is not session

    def end(self, session: Session) -> None:
        """Harmless when it is over."""
        if self._sessions.pop(session.key, None) is not None:
            self.ended(session)

    # -- tokens -----------------------------------------------------------------------------------------------------

    def visitor_csrf(self) -> str:
        """For who is not logged in: the same for all; a page of another origin cannot read it."""
        return hmac.new(self._secret, b"visitor", hashlib.sha256).hexdigest()

    def is_csrf(self, session: Session | None, token: str | None) -> bool:
        wanted = self.visitor_csrf() if session is None else session.csrf
        return token is not None and hmac.compare_digest(wanted.encode(), token.encode())

    # -- login ------------------------------------------------------------------------------------------------------

    async def login(self, name: str, password: str, address: str) -> tuple[str, Session] | Refusal:
        """The new cookie and its session."""
        who, now_s = network_of(address), self._clock()
        wait_s = max(self._by_address.wait_s(who, now_s), self._by_name.wait_s(name, now_s))
        if wait_s > 0:
            return Refusal(429, f"too many wrong passwords: try again in {wait_s:.0f} s", wait_s)
        if self._trying >= MAX_TRYING:
            return Refusal(503, "others are logging in: try again in a few seconds", 3.0)
        self._trying += 1
        try:
            async with self._turn:
                user = self._users.get(name)
                known = self._nobody if user is None else user.password
                is_right = len(password) <= MAX_PASSWORD and await asyncio.to_thread(known.fits, password)
        finally:
            self._trying -= 1
        now_s = self._clock()
        user_now = self._users.get(name)  # a reload may have come between
        if user is None or not is_right or user_now != user:
            self.failures += 1
            self._say(logging.WARNING, "the page: a wrong password for %r from %s", name[:64], address)
            self._by_address.failed(who, now_s)
            self._by_name.failed(name[:64], now_s)
            return Refusal(401, "user or password is wrong")
        self._by_address.good(who)
        self._by_name.good(name)
        self.logins += 1
        self._say(logging.INFO, "the page: %r (%s) logged in from %s", name, user.role, address)
        return self._begin(name, user)

    def _say(self, level: int, text: str, *arguments: object) -> None:
        now_s = self._clock()
        if now_s - self._said_since_s >= 60.0:
            self._said, self._said_since_s = 0, now_s
        self._said += 1
        if self._said <= LINES_PER_MINUTE:
            log.log(level, text, *arguments)
        elif self._said == LINES_PER_MINUTE + 1:
            log.warning("the page: more logins than that, and wrong passwords, are not told for a minute")

    def _begin(self, name: str, user: User) -> tuple[str, Session]:
        cookie = secrets.token_urlsafe(TOKEN_SIZE)
        session = Session(_key(cookie), name, user, self._clock() + self._lasts_s)
        ours = [each for each in self._sessions.values() if each.name == name]
        if len(ours) >= MAX_PER_USER:
            self.end(ours[0])
        if len(self._sessions) >= MAX_SESSIONS:
            self.end(next(iter(self._sessions.values())))
        self._sessions[session.key] = session
        return cookie, session


def _key(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode("utf-8", "surrogatepass")).digest()


def network_of(address: str) -> str:
    """What one person has of addresses."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if found.version == 4:
        return address
    mapped = found.ipv4_mapped
    return str(mapped or ipaddress.ip_network((found, PREFIX_V6), strict=False))
