"""A reload gives a tag's index to another: no name ever stands beside another tag's value, nor is the other written."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import NewPage
from tests.browser.looking import look, wait_for, wait_for_text
from tests.browser.site import Site, served
from tests.support.until import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

HEAD = """
units: {{1: {{holding: 0..9}}}}
devices:
  silo:
    url: sim://
    every: 200ms
    tags:
"""
FIRST = '      cold: {{at: holding:0, type: int16, sim: "constant(11)", unit: "°C", to: 1/holding:0, write: true}}\n'
SECOND = '      warm: {{at: holding:1, type: int16, sim: "constant(22)", unit: "°C", to: 1/holding:1, write: true}}\n'
THIRD = '      hot: {{at: holding:2, type: int16, sim: "constant(33)", unit: "°C", to: 1/holding:2, write: true}}\n'
ALL = HEAD + FIRST + SECOND

Reload = Callable[[str], None]


@pytest.fixture
def site(browser: object, tmp_path: Path) -> Iterator[Site]:
    """Stands before the shared one: its plant changes."""
    with served(tmp_path, devices=ALL) as site:
        yield site


@pytest.fixture
def reload(site: Site, tmp_path: Path) -> Reload:
    path = tmp_path / "plant.yaml"
    head = path.read_text(encoding="utf-8").partition("units:")[0]

    def reload(devices: str) -> None:
        before = site.gateway.count("is running after")
        path.write_text(head + devices.format(), encoding="utf-8")
        site.gateway.process.send_signal(signal.SIGHUP)
        wait_until(lambda: site.gateway.count("is running after") > before, what="another configuration")

    return reload


def indexes(page: Page) -> dict[str, int]:
    answer = page.request.get(page.evaluate("location.origin") + "/api/tags").json()
    return {tag["name"]: tag["i"] for tag in answer["tags"]}


def test_a_device_shows_each_value_at_its_tag(new_page: NewPage, reload: Reload) -> None:
    page = new_page("#/device/silo")
    rows = page.locator(".device-tags .row.body")
    look(page, lambda: rows.count() == 2 and "22 °C" in rows.nth(1).inner_text(), "both tags")
    before = indexes(page)
    reload(HEAD + THIRD + FIRST)
    assert indexes(page)["hot"] in before.values(), "it has the index of one that is gone, or of one that moved"

    def shown() -> list[str]:
        return [" ".join(row.inner_text().split()) for row in rows.all()]

    look(page, lambda: any("33 °C" in row for row in shown()), "the new tag's value")
    for row in shown():
        assert row.startswith("hot") == ("33 °C" in row) == ("holding:2" in row), row
        assert row.startswith("cold") == ("11 °C" in row) == ("holding:0" in row), row


def test_who_is_about_to_write_a_tag_sees_that_tag_or_none(new_page: NewPage, reload: Reload) -> None:
    page = new_page("#/tags", allow="404")
    page.click('button[aria-label="Write silo/warm"]')
    page.fill("#write-value", "5")
    page.keyboard.press("Enter")
    wait_for_text(page, ".write-question", "22")
    reload(HEAD + FIRST + SECOND + THIRD)
    wait_for_text(page, ".vgrid-body", "hot")
    assert "22" in page.locator(".write-question .write-now").inner_text(), "the same tag, whatever its index"
    assert page.locator("button:has-text('Write now')").is_visible()
    reload(HEAD + FIRST + THIRD)
    wait_for_text(page, ".write-dialog", "another or gone")
    assert page.locator("button:has-text('Write now')").count() == 0
    assert "33" not in page.locator(".write-dialog").inner_text()


def test_a_tag_that_means_something_else_is_not_written_with_the_old_number(new_page: NewPage, reload: Reload) -> None:
    page = new_page("#/tags", allow="404")
    page.click('button[aria-label="Write silo/warm"]')
    page.fill("#write-value", "5")
    page.keyboard.press("Enter")
    wait_for_text(page, ".write-question", "5 °C")
    page.route("**/api/tags", lambda _: None)  # it waits for the new ones when it is to send
    reload(HEAD + FIRST + SECOND.replace("°C", "°F"))
    wait_for(page, "document.documentElement.dataset.live === 'no'")
    page.click("button:has-text('Write now')")
    wait_for_text(page, ".write-dialog", "nothing was sent")


def test_the_open_tag_has_its_new_unit(new_page: NewPage, reload: Reload) -> None:
    page = new_page("#/tags?tag=silo/warm", allow="404")
    wait_for_text(page, ".detail-unit", "°C")
    reload(HEAD + FIRST + SECOND.replace("°C", "°F"))
    wait_for_text(page, ".detail-unit", "°F")


def test_nothing_is_live_while_the_tags_cannot_be_loaded(new_page: NewPage, reload: Reload) -> None:
    """What is shown is of before, and changes are not for it; it is asked for again until it comes."""
    page = new_page("#/tags", allow="503|404")
    wait_for_text(page, ".vgrid-body", "warm")
    asked: list[str] = []

    def refuse(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(status=503, json={"error": "too many answers are being made"})

    page.route("**/api/tags", refuse)
    reload(HEAD + FIRST + THIRD)
    wait_for(page, "document.querySelector('.vgrid-body .c-value').dataset.quality === 'old'")
    look(page, lambda: len(asked) > 1, "another try")
    assert page.evaluate("document.documentElement.dataset.live") == "no"
    page.unroute("**/api/tags")
    wait_for_text(page, ".vgrid-body", "hot")
    wait_for(page, "document.querySelector('.vgrid-body .c-value').dataset.quality === 'good'")
