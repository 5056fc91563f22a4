"""The page's shell: every view opens without a word on the console, in light and dark, wide and narrow, by keyboard."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import NewPage
from tests.browser.looking import wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Page

VIEWS = ["overview", "device", "tags", "registers", "trends", "clients", "events"]


def go(page: Page, view: str, more: str = "") -> None:
    page.evaluate("hash => { location.hash = hash }", f"#/{view}{more}")
    page.wait_for_selector(f"main .view-{view} h1")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_view_opens_without_a_complaint_and_never_scrolls_sideways(new_page: NewPage, dark: bool) -> None:
    page = new_page("#/device/tank", dark=dark)
    for view in VIEWS:
        go(page, view, "/press" if view == "device" else "")
        for width in (1280,) if dark else (1280, 768, 360):  # colours do not move anything
            page.set_viewport_size({"width": width, "height": 740})
            assert too_wide(page) == [], f"{view} at {width}"


def too_wide(page: Page) -> list[str]:
    """What makes the page scroll sideways."""
    found: list[str] = page.evaluate(
        """() => document.documentElement.scrollWidth <= document.documentElement.clientWidth ? [] :
           [...document.querySelectorAll('main *')].filter(each =>
               each.getBoundingClientRect().right > document.documentElement.clientWidth)
           .map(each => each.className || each.tagName).slice(0, 5).concat('the page')"""
    )
    return found


def test_dark_and_light_follow_the_system_and_the_choice_is_kept(new_page: NewPage) -> None:
    page = new_page(dark=True)
    page.wait_for_selector(".view-overview h1")
    assert ground(page) == "rgb(12, 17, 22)"
    page.click("#theme")
    assert ground(page) == "rgb(238, 241, 244)"
    page.reload()
    page.wait_for_selector(".view-overview h1")
    assert ground(page) == "rgb(238, 241, 244)"
    page.click("#theme")
    assert ground(page) == "rgb(12, 17, 22)"


def ground(page: Page) -> str:
    return str(page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--bg')")).strip() and str(
        page.evaluate(
            """() => { const probe = document.body.appendChild(document.createElement('i'));
                       probe.style.background = 'var(--bg)';
                       const colour = getComputedStyle(probe).backgroundColor; probe.remove(); return colour; }"""
        )
    )


def test_the_keyboard_alone_reaches_everything(page: Page) -> None:
    page.wait_for_selector(".devices .row.body")
    page.keyboard.press("Tab")  # the skip link comes first
    assert page.evaluate("document.activeElement.id") == "skip"
    for number, view in enumerate(VIEWS, 1):
        page.keyboard.press(str(number))
        page.wait_for_selector(f"main .view-{view} h1")
    page.keyboard.press("g")
    page.keyboard.press("o")
    page.wait_for_selector(".view-overview .devices .row.body")
    page.keyboard.press("/")
    page.keyboard.type("oven")
    wait_for(page, "document.querySelectorAll('.devices .row.body').length === 1")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement === document.body")
    page.keyboard.press("/")
    for _ in range(20):  # through the sortable columns to the device
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className") == "name":
            break
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) == "solid", "what has the focus shows it"
    page.keyboard.press("Enter")
    page.wait_for_selector(".view-device h1:text-is('oven')")
    page.keyboard.press("?")
    page.wait_for_selector("dialog[open]")
    assert page.evaluate("document.querySelector('dialog').contains(document.activeElement)")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")


def test_a_narrow_screen_folds_the_navigation(new_page: NewPage) -> None:
    page = new_page(width=360)
    page.wait_for_selector(".devices .row.body")
    assert not page.is_visible("#nav")
    page.click("#menu")
    page.click("#nav-events")
    page.wait_for_selector(".view-events h1")
    assert not page.is_visible("#nav")
    assert too_wide(page) == []


def test_the_views_and_states_are_named_for_those_who_do_not_see(page: Page) -> None:
    page.wait_for_selector(".devices .row.body")
    assert page.get_by_role("navigation", name="Views").is_visible()
    assert page.get_by_role("main").is_visible()
    table = page.get_by_role("table", name="Devices")
    assert re.search("good", table.get_by_role("row").filter(has_text="tank").inner_text())
    assert page.get_by_role("link", name="Overview", exact=False).first.get_attribute("aria-current") == "page"
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, a, input, select')].filter(each => each.checkVisibility()
             && !each.textContent.trim() && !each.ariaLabel && !each.labels?.length).map(each => each.outerHTML)"""
    )
    assert nameless == []


def test_a_view_that_there_is_not_leads_to_the_overview(new_page: NewPage) -> None:
    page = new_page("#/nonsense/%E0%A4%A")
    page.wait_for_selector(".view-overview h1")
