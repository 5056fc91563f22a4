"""Everything that the answers of one page need, and what holds for it now: a reload changes it in place."""

from __future__ import annotations

import time
from collections import Counter

from gateway.config.model_web import Web
from gateway.config.page import WRITERS
from gateway.web.feed import Feed
from gateway.web.files import Files
from gateway.web.guard import Hosts
from gateway.web.known import Known
from gateway.web.packing import Packer
from gateway.web.seams import Views
from gateway.web.sessions import Session, Sessions
from gateway.web.snapshots import Snapshots


class Desk:
    """Of one page."""

    def __init__(self, views: Views, web: Web) -> None:
        self.views = views
        known = Known()
        self.snapshots = Snapshots(views, known)
        self.packer = Packer()
        self.feed = Feed(views, self.snapshots.joined, self._forget, known)
        self.sessions = Sessions(time.monotonic)
        self.sessions.ended = self.feed.end_session
        self.files = Files()
        self.counters: Counter[str] = Counter()
        """requests, foreign (a name or an origin that is not ours), denied, bugs."""
        self.is_closing = False
        self.web = web
        self.hosts = Hosts(web.listen, web.hosts)
        self.configure(web)

    def configure(self, web: Web) -> None:
        """From now on this holds; streams of those who must ask again end."""
        was_open = not self.web.users
        self.web = web
        self.hosts = Hosts(web.listen, web.hosts)
        self.sessions.configure(web.users, web.session_s)
        if was_open and web.users:
            self.feed.end_session(None)

    def _forget(self) -> None:
        """Nobody watches any more."""
        self.snapshots.forget()
        self.packer.forget()

    @property
    def scheme(self) -> str:
        return self.web.listen.scheme

    def may_write(self, session: Session | None) -> bool:
        """Whether it may try: `access` says what."""
        return session is not None and session.user.role in WRITERS
