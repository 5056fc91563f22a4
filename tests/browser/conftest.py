"""A browser and a page to look at, shared by all files here.

Package-wide, not session-wide: Playwright keeps an event loop running in this thread, which other tests must not meet.
Whatever a page of `new_page` says on its console, and every request that fails, is an error of its test.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from tests.browser.looking import DEADLINE_S
from tests.browser.site import OPERATOR, PASSWORD, Site, chromium, served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

NewPage = Callable[..., "Page"]


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="package")
def site(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The plant of site.py with its users. Asks for the browser first: without one nothing is started."""
    with served(tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture(scope="package")
def profiles(browser: Browser) -> Iterator[Profiles]:
    profiles = Profiles(browser)
    yield profiles
    profiles.close()


@pytest.fixture
def new_page(profiles: Profiles, site: Site) -> Iterator[NewPage]:
    """`new_page(path="#/overview", user=OPERATOR, width=1280, dark=False, at=site, allow=None)`: an open page.

    `user`: signed in as; None: nobody. `allow`: a pattern of console messages that belong to the test.
    """
    pages: list[Page] = []
    troubles: list[str] = []

    def new_page(
        path: str = "#/overview",
        *,
        user: str | None = OPERATOR,
        width: int = 1280,
        dark: bool = False,
        at: Site = site,
        allow: str | None = None,
    ) -> Page:
        page = profiles.of(at, user).new_page()
        pages.append(page)
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme="dark" if dark else "light")
        watch(page, troubles, allow)
        page.goto(f"{at.url}/{path}")
        return page

    yield new_page
    for page in pages:
        page.evaluate("localStorage.clear()")
        page.close()
    assert not troubles, "\n".join(troubles)


class Profiles:
    """A profile of the browser for everyone who is signed in: what it has loaded once it does not load again, which is
    half of what a test takes. Who is not signed in, and may come to be, has one of his own each time."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._shared: dict[tuple[str, str | None], BrowserContext] = {}
        self._others: list[BrowserContext] = []

    def of(self, site: Site, user: str | None) -> BrowserContext:
        key = (site.url, user)
        if user is None and site.has_users:
            context = self._browser.new_context()
            self._others.append(context)
        elif key in self._shared:
            return self._shared[key]
        else:
            state = signed_in(self._browser, site, user) if user else None
            context = self._shared[key] = self._browser.new_context(storage_state=state)  # type: ignore[arg-type]
        context.set_default_timeout(1000 * DEADLINE_S)
        return context

    def close(self) -> None:
        for context in (*self._shared.values(), *self._others):
            context.close()


@pytest.fixture
def page(new_page: NewPage) -> Page:
    """The overview, signed in as operator."""
    return new_page()


def signed_in(browser: Browser, site: Site, user: str) -> object:
    """The cookies of `user`; each signs in once, for a password takes its time."""
    if user not in site.states:
        context = browser.new_context()
        session = context.request.get(f"{site.url}/api/session").json()
        answer = context.request.post(
            f"{site.url}/api/login",
            data={"user": user, "password": PASSWORD},
            headers={"X-CSRF-Token": session["csrf"]},
        )
        assert answer.ok, answer.text()
        site.states[user] = context.storage_state()
        context.close()
    return site.states[user]


def watch(page: Page, troubles: list[str], allow: str | None) -> None:
    """Keep what goes wrong in a page; a stream that is closed, a request that nobody wants any more, is no trouble."""

    def say(what: str) -> None:
        if allow is None or not re.search(allow, what):
            troubles.append(what)

    page.on("console", lambda message: message.type in ("error", "warning") and say(f"console: {message.text}"))
    page.on("pageerror", lambda error: say(f"error: {error}"))
    page.on(
        "requestfailed",
        lambda request: "ERR_ABORTED" in (request.failure or "") or say(f"failed: {request.url} {request.failure}"),
    )
