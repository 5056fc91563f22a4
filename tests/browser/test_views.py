"""Overview, device, clients and events show what is, as it changes; and nothing as good that is not known to be."""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import NewPage
from tests.browser.looking import look, wait_for, wait_for_text
from tests.browser.site import Site, served
from tests.support.until import wait_until
from tests.support.wire import adu

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROW = '.devices .row.body[data-key="press"]'
RED_WITHIN_MS = 1_000


def test_a_dead_device_turns_red_within_a_second_of_its_state_and_comes_back(new_page: NewPage, site: Site) -> None:
    page = new_page()
    page.wait_for_selector(f"{ROW}[data-state=good]")
    page.evaluate(
        """selector => { const row = document.querySelector(selector);
             new MutationObserver(() => { if (row.dataset.state === 'down') window.red ??= Date.now() })
               .observe(row, {attributes: true}); }""",
        ROW,
    )
    site.plc.kill()
    try:
        page.wait_for_selector(f"{ROW}[data-state=down]")
        events = page.evaluate("fetch('api/events?after=0').then(answer => answer.json())")["events"]
        down = [each for each in events if each["where"] == "press" and each["details"].get("to") == "down"][-1]
        assert page.evaluate("window.red") - down["time_ms"] < RED_WITHIN_MS
        wait_for_text(page, ".verdict-text", "wrong")
        wait_for_text(page, ".findings", "press")
        assert page.locator(".devices .row.body").first.get_attribute("data-key") == "press", "what is wrong is first"
        assert page.title().startswith("(")
        word = page.locator(f"{ROW} .k-state")
        wait_until(lambda: word.inner_text() == "down", what="a word, not colour alone")  # empty until it is painted
    finally:
        site.plc.revive()
    page.wait_for_selector(f"{ROW}[data-state=good]")


def test_the_overview_finds_and_sorts(page: Page) -> None:
    page.wait_for_selector(ROW)
    page.fill("[data-search]", "tank")
    assert page.locator(".devices .row.body").all_inner_texts()[0].split()[1] == "tank"
    assert "q=tank" in page.url
    page.fill("[data-search]", "no such thing")
    wait_for_text(page, ".list .empty", "Nothing matches")
    page.fill("[data-search]", "")
    names = "[...document.querySelectorAll('.devices .row.body')].map(row => row.dataset.key)"
    page.click(".devices .header button:has-text('Device')")
    assert page.evaluate(names) == ["oven", "press", "spare", "tank"]
    page.click(".devices .header button:has-text('Device')")
    assert page.evaluate(names) == ["tank", "spare", "press", "oven"]
    page.click(".list .segments button:has-text('Links')")
    page.wait_for_selector(".links .row.body >> text=sim://tank")
    page.click(".list .segments button:has-text('Gateway')")
    page.wait_for_selector("text=Forwarded units")


def test_rows_that_do_not_change_are_not_touched(page: Page) -> None:
    page.wait_for_selector(ROW)
    touched = page.evaluate(
        """() => new Promise(resolve => { const seen = new Set(); const list = document.querySelector('.devices');
             new MutationObserver(all => all.forEach(each => seen.add(
                 (each.target.parentElement ?? each.target).closest('.row')?.dataset.key)))
               .observe(list, {subtree: true, childList: true, characterData: true, attributes: true});
             setTimeout(() => resolve([...seen]), 1500); })"""
    )
    assert "tank" in touched
    assert "spare" not in touched


def test_a_device_shows_its_blocks_its_holes_and_what_was_said(new_page: NewPage) -> None:
    page = new_page("#/device/oven")
    wait_for_text(page, ".holes", "02 illegal data address")
    wait_for_text(page, ".holes", "holding:4..5")
    wait_for_text(page, ".jobs", "holding:0..1")
    wait_for_text(page, ".device-tags", "upper")
    wait_for_text(page, ".device-tags", "refused")
    value = page.locator('.device-tags .row:has-text("upper") .k-value strong')
    before = value.inner_text()
    look(page, lambda: value.inner_text() != before, "another value of the tag")
    page.wait_for_selector(".exchanges li >> text=read holding")
    page.click(".exchanges summary >> nth=0")
    wait_for_text(page, ".exchanges details[open] .bytes", "03 00")
    page.keyboard.press("]")
    wait_for(page, "!location.hash.endsWith('oven')")


def test_a_device_that_there_is_not_is_said_to_be_missing(new_page: NewPage) -> None:
    page = new_page("#/device/nobody", allow="404")
    page.wait_for_selector("text=There is no device nobody")


def test_a_client_appears_with_what_it_asks_and_goes(new_page: NewPage, site: Site) -> None:
    page = new_page("#/clients")
    page.wait_for_selector("text=Nobody is connected")
    with socket.create_connection(("127.0.0.1", site.gateway.port)) as client:
        peer = f"127.0.0.1:{client.getsockname()[1]}"
        client.sendall(adu(1, 1, bytes.fromhex("0400000002")))
        assert client.recv(100)
        wait_for_text(page, f'.clients .row[data-key="{peer}"]', "read input:0..1")
    page.wait_for_selector("text=Nobody is connected")
    page.click("#nav-events")
    wait_for_text(page, ".events", peer)


def test_events_come_newest_first_and_are_filtered(new_page: NewPage, site: Site) -> None:
    page = new_page("#/events?kind=device&q=press")
    page.wait_for_selector(".event")
    page.evaluate("document.querySelector('.events').firstElementChild.dataset.seen = 'yes'")
    site.plc.kill()
    try:
        page.wait_for_selector(".events > li:first-child:not([data-seen]):has-text('down')")
    finally:
        site.plc.revive()
    page.wait_for_selector(".events > li:first-child:has-text('good')")
    texts = page.locator(".event").all_inner_texts()
    assert texts
    assert all("press" in text for text in texts)
    page.select_option("select[aria-label=Level]", "error")
    assert all("press" in text and "down" in text for text in page.locator(".event").all_inner_texts())
    assert "level=error" in page.url


def test_text_of_the_plant_is_never_markup(new_page: NewPage) -> None:
    page = new_page("#/device/%3Cimg%20src%3Dx%3E", allow="404")
    page.wait_for_selector("text=There is no device <img src=x>")
    assert page.locator("main img").count() == 0


@pytest.fixture(scope="module")
def open_site(browser: object, tmp_path_factory: pytest.TempPathFactory) -> object:
    """A page of its own without users, to be killed."""
    with served(tmp_path_factory.mktemp("open"), users=False) as site:
        yield site


def test_without_users_all_may_look_and_a_lost_gateway_is_told(new_page: NewPage, open_site: Site) -> None:
    """Last of this file's: it stops the gateway."""
    page = new_page(at=open_site, user=None, allow="ERR_|Failed to load")
    page.wait_for_selector(f"{ROW}[data-state=good]")
    assert "read only" in page.locator("#user").inner_text()
    assert page.evaluate("document.documentElement.dataset.live") == "yes"
    colour = f"getComputedStyle(document.querySelector('{ROW} span.state')).color"
    good = page.evaluate(colour)
    open_site.gateway.process.send_signal(signal.SIGSTOP)  # as a pulled cable: connected and silent
    page.wait_for_selector("#lost:visible")
    open_site.gateway.process.send_signal(signal.SIGCONT)
    page.wait_for_selector("#lost", state="hidden")
    open_site.gateway.stop()
    page.wait_for_selector("#lost:visible")
    wait_for_text(page, "#lost", "No connection to the gateway since")
    wait_for_text(page, ".verdict-text", "Not known")
    assert page.evaluate(colour) != good
    line = f"getComputedStyle(document.querySelector('{ROW} .k-age')).textDecorationLine"
    assert page.evaluate(line) == "line-through"
