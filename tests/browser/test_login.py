"""The login holds: who is not let in sees nothing, who may only look cannot write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.browser.conftest import NewPage
from tests.browser.looking import look, wait_for
from tests.browser.site import OPERATOR, PASSWORD, VIEWER, Site

if TYPE_CHECKING:
    from playwright.sync_api import Page

ASK = """async ([path, csrf, body]) => { const answer = await fetch(path, body === undefined ? {} : {method: 'POST',
    headers: {'Content-Type': 'application/json', 'X-CSRF-Token': csrf}, body: JSON.stringify(body)});
    return {status: answer.status, json: await answer.json()} }"""


def ask(page: Page, path: str, body: object = None, csrf: str = "") -> Any:
    """A request from inside the page, with its cookie."""
    return page.evaluate(ASK, [path, csrf] if body is None else [path, csrf, body])


def sign_in(page: Page, user: str, password: str) -> None:
    page.fill("input[name=user]", user)
    page.fill("input[name=password]", password)
    page.keyboard.press("Enter")


def test_a_wrong_password_is_refused_the_right_one_lets_in_and_after_logout_nothing_is_left(new_page: NewPage) -> None:
    page = new_page("#/events", user=None, allow="401")
    page.wait_for_selector("form.login")
    assert not page.is_visible("#nav")
    sign_in(page, OPERATOR, "not the password")
    wait_for(page, "document.querySelector('.login-wrong').innerText")
    assert ask(page, "api/state")["status"] == 401
    sign_in(page, OPERATOR, PASSWORD)
    page.wait_for_selector(".view-events h1")  # where he wanted to go
    assert "may write" in page.locator("#user").inner_text()
    assert page.context.cookies()[0]["httpOnly"]
    assert page.context.cookies()[0]["sameSite"] == "Strict"
    page.click("#logout")
    page.wait_for_selector("form.login")
    for path in ("api/state", "api/tags", "api/clients", "api/events?after=0", "api/devices/press"):
        assert ask(page, path)["status"] == 401, path
    assert "press" not in page.inner_text("body")
    page.reload()
    page.wait_for_selector("form.login")


def test_a_viewer_sees_everything_and_cannot_write(new_page: NewPage, site: Site) -> None:
    page = new_page(user=VIEWER, allow="403")
    page.wait_for_selector(".devices .row.body")
    assert "read only" in page.locator("#user").inner_text()
    csrf = ask(page, "api/session")["json"]["csrf"]
    before = len(site.plc.server.executed or ())
    assert ask(page, "api/tags/press/setpoint", {"value": 5}, csrf)["status"] == 403
    written = [pdu for _, pdu in list(site.plc.server.executed or ())[before:] if pdu[0] in (5, 6, 15, 16, 22)]
    assert written == []


def test_a_foreign_page_cannot_write_with_the_cookie_alone(new_page: NewPage) -> None:
    page = new_page(allow="403")
    page.wait_for_selector(".devices .row.body")
    assert ask(page, "api/tags/press/setpoint", {"value": 5}, "not the token")["status"] == 403


def test_a_session_that_ends_elsewhere_ends_here(new_page: NewPage) -> None:
    page = new_page(user=None, allow="401")
    page.wait_for_selector("form.login")
    sign_in(page, VIEWER, PASSWORD)
    page.wait_for_selector(".devices .row.body")
    csrf = ask(page, "api/session")["json"]["csrf"]
    ask(page, "api/logout", {}, csrf)  # another tab of the same browser
    page.wait_for_selector("form.login")
    assert page.locator(".devices").count() == 0


def test_a_question_goes_with_the_session(new_page: NewPage) -> None:
    page = new_page("#/tags?tag=press/setpoint", user=None, allow="401")
    page.wait_for_selector("form.login")
    sign_in(page, OPERATOR, PASSWORD)
    page.click(".detail button:has-text('Write')")
    page.fill("#write-value", "55")
    page.keyboard.press("Enter")
    page.wait_for_selector(".write-question")
    csrf = ask(page, "api/session")["json"]["csrf"]
    ask(page, "api/logout", {}, csrf)  # another tab of the same browser
    page.wait_for_selector("form.login")
    look(page, lambda: page.locator("dialog").count() == 0, "no question over the login")
    page.fill("input[name=user]", OPERATOR)  # nothing lies over it
