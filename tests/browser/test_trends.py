"""Trends: lines of several tags are drawn, with gaps, grow by themselves, and are looked at closely."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.browser.conftest import NewPage
from tests.browser.looking import wait_for, wait_for_text
from tests.support.until import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Page

TWO = "#/trends?min=5&tag=tank/level&tag=oven/upper"
DRAWN = """() => { const canvas = document.querySelector('.trend-plot canvas'); if (!canvas) return [0, 0];
    const style = getComputedStyle(document.documentElement);
    const wanted = [1, 2].map(each => style.getPropertyValue(`--series-${each}`).trim())
        .map(color => [1, 3, 5].map(at => parseInt(color.slice(at, at + 2), 16)));
    const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    const left = Math.round(canvas.width * 0.1), right = Math.round(canvas.width * 0.93);
    return wanted.map(([r, g, b]) => { let count = 0;
        for (let at = 0; at < data.length; at += 4) { const x = (at / 4) % canvas.width;
            if (x > left && x < right && data[at] === r && data[at + 1] === g && data[at + 2] === b) count++; }
        return count; }); }"""
"""How many pixels of the plot have the colours of the first two lines."""
READS = "willReadFrequently"
"""What the browser says of a test that looks at pixels."""


def range_of(page: Page) -> tuple[int, int]:
    query = dict(part.split("=") for part in page.evaluate("location.hash").partition("?")[2].split("&"))
    return int(query.get("from", 0)), int(query.get("to", 0))


def test_several_lines_are_drawn_and_go_on(new_page: NewPage) -> None:
    page = new_page(TWO, allow=READS)
    wait_until(lambda: all(count > 20 for count in page.evaluate(DRAWN)), what="pixels of both lines")
    wait_for_text(page, ".trend-legend", "tank/level")
    assert page.locator(".trend-legend tbody tr").count() == 2
    value = page.locator(".trend-legend tbody .tag-value").first
    first = value.inner_text()
    wait_until(lambda: value.inner_text() != first, what="a value that moves")
    before = page.evaluate(DRAWN)
    wait_until(lambda: page.evaluate(DRAWN) != before, what="a line that grows")


def test_dragging_and_the_wheel_zoom_and_follow_ends_it(new_page: NewPage) -> None:
    page = new_page(TWO, allow=READS)
    over = page.locator(".u-over")
    over.wait_for()
    wait_for(page, "document.querySelector('.head-note').textContent.includes('the last')")
    box = over.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 0.5 * box["width"], middle)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.75 * box["width"], middle, steps=4)
    page.mouse.up()
    wait_until(lambda: range_of(page) != (0, 0), what="a range in the address")
    begin, end = range_of(page)
    assert 60_000 < end - begin < 90_000, "a quarter of five minutes"
    page.mouse.move(box["x"] + 0.5 * box["width"], middle)
    page.mouse.wheel(0, -200)
    wait_until(lambda: range_of(page)[1] - range_of(page)[0] < end - begin, what="a closer look")
    closer = range_of(page)
    page.focus(".trend-plot")
    page.keyboard.press("-")
    wait_until(lambda: range_of(page)[1] - range_of(page)[0] > closer[1] - closer[0], what="a wider look")
    assert page.locator("button:has-text('Follow')").get_attribute("aria-pressed") == "false"
    page.keyboard.press("0")
    wait_until(lambda: range_of(page) == (0, 0), what="following")


def test_tags_are_added_hidden_removed_and_kept_in_the_address(new_page: NewPage) -> None:
    page = new_page("#/trends")
    wait_for_text(page, ".trend-empty", "Choose tags")
    page.fill(".picker input", "oven lower")
    page.wait_for_selector(".picker-list li:has-text('lower')")
    page.keyboard.press("Enter")
    page.wait_for_selector(".trend-legend tr:has-text('oven/lower')")
    assert "tag=oven%2Flower" in page.evaluate("location.hash")
    page.fill(".picker input", "press running")
    page.wait_for_selector(".picker-list li:has-text('running')")
    page.keyboard.press("Enter")
    page.wait_for_selector(".trend-legend tr:has-text('press/running')")
    show = page.locator(".trend-show").first
    show.click()
    wait_until(lambda: show.get_attribute("aria-pressed") == "false", what="a hidden line")
    page.click("button[aria-label='Remove oven/lower']")
    wait_until(lambda: page.locator(".trend-legend tbody tr").count() == 1, what="one line")
    assert "oven" not in page.evaluate("location.hash")


def test_a_tag_without_a_value_is_a_gap(new_page: NewPage) -> None:
    page = new_page("#/trends?min=5&tag=oven/hole&tag=oven/upper", allow=READS)
    wait_until(lambda: page.evaluate(DRAWN)[1] > 20, what="the line of the good one")
    assert page.evaluate(DRAWN)[0] == 0, "nothing is drawn of what has no value"
    wait_for_text(page, ".trend-legend tr:has-text('hole') .q", "bad")


def test_what_is_seen_is_saved(new_page: NewPage) -> None:
    page = new_page(TWO, allow=READS)
    wait_until(lambda: page.evaluate(DRAWN)[0] > 20, what="a line")
    with page.expect_download() as coming:
        page.click("button:has-text('CSV')")
    lines = coming.value.path().read_text().splitlines()
    assert lines[0] == "time,tank/level (%),tank/level min,tank/level max,oven/upper (°C),oven/upper min,oven/upper max"
    numbers = lines[-1].split(",")
    assert numbers[0].endswith("Z")
    assert float(numbers[2]) <= float(numbers[1]) <= float(numbers[3])
