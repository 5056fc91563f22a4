"""Tags: values move, what is not good never looks good, ten thousand scroll, a write is what the device says it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from pymodbus.client import ModbusTcpClient

from tests.browser.conftest import NewPage
from tests.browser.looking import wait_for_text
from tests.browser.site import VIEWER, Site, served
from tests.support.until import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Page

DEVICES_OF_MANY, TAGS_EACH, MOVING_EACH = 20, 500, 25
MANY = DEVICES_OF_MANY * TAGS_EACH
ORDER_MS = 30
"""The longest that a search or a sort of ten thousand rows may take: two pictures."""
PAINT_MS = 33
"""Of a picture while scrolling, all rows new: thirty a second, on a machine that does other things."""
TRIES = 5
"""The least counts: the machine may have other work."""
MOST_ROWS = 60
MANY_S = 30.0
ORDER_TOOK = "performance.getEntriesByName('tags:order')[0].duration"


def row(name: str) -> str:
    return f".vgrid-body .vgrid-row:not([hidden]):has(.tag-name:text-is('{name}'))"


def wait_for_many(page: Page) -> None:
    """A snapshot of ten thousand tags takes its time on a loaded machine."""
    note = page.locator(".head-note")
    wait_until(lambda: note.count() and "10\u202f000 tags" in note.inner_text(), MANY_S, "ten thousand tags")


def many_tags() -> str:
    """Braces are doubled for `format`, as in site.DEVICES."""
    lines = ["units: {{1: {{holding: 0..9}}}}", "devices:"]
    for device in range(DEVICES_OF_MANY):
        lines += [f"  line{device:02}:", "    url: sim://", "    every: 1s", "    tags:"]
        for tag in range(TAGS_EACH):
            sim = ', sim: "sine(0, 100, 5s)"' if tag < MOVING_EACH else ""
            unit = ("bar", "kW", "°C", "l/min")[tag % 4]
            lines.append(f"      tag{tag:03}: {{{{at: holding:{2 * tag}, type: float32, unit: {unit}{sim}}}}}")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def many(browser: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with served(tmp_path_factory.mktemp("many"), users=False, devices=many_tags()) as site:
        yield site


def sorted_by(page: Page, key: str) -> float:
    """Press a column's head; ms that it took."""
    page.evaluate("key => document.querySelector(`.vgrid-titles .c-${key} button`).click()", key)
    return float(page.evaluate(ORDER_TOOK))


def searched(page: Page, words: str) -> float:
    page.fill("[data-search]", words)
    return float(page.evaluate(ORDER_TOOK))


# -- values ------------------------------------------------------------------------------------------------------------


def test_values_move_and_ages_run_on(new_page: NewPage) -> None:
    page = new_page("#/tags")
    value = page.locator(row("level") + " .c-value")
    first = value.inner_text()
    wait_until(lambda: value.inner_text() != first, what="another level")
    assert 20 <= float(value.inner_text()) <= 80
    assert value.get_attribute("data-quality") == "good"
    wait_for_text(page, row("level") + " .c-age", "s")


def test_a_bad_tag_shows_no_number_and_says_why(new_page: NewPage) -> None:
    page = new_page("#/tags?q=oven")
    hole = page.locator(row("hole"))
    wait_until(lambda: "bad" in hole.inner_text(), what="a bad tag")
    value = hole.locator(".c-value")
    assert value.inner_text() == "–"
    assert value.get_attribute("aria-label") == "no value"
    assert "refused" in hole.locator(".q-word").inner_text(), "the cause stands beside it"
    assert page.locator(row("upper") + " .c-value").get_attribute("data-quality") == "good"
    page.click(".segments button:has-text('Not good')")
    wait_until(lambda: page.locator(".vgrid-body .vgrid-row:not([hidden])").count() == 1, what="only the hole")


def test_the_last_value_of_a_dead_device_is_struck_through(new_page: NewPage, site: Site) -> None:
    page = new_page("#/tags?q=press")
    value = page.locator(row("pressure") + " .c-value")
    wait_until(lambda: value.get_attribute("data-quality") == "good", what="a good value")
    site.plc.kill()
    try:
        wait_until(lambda: value.get_attribute("data-quality") == "bad", 15, "a bad value")
        assert "line-through" in value.evaluate("cell => getComputedStyle(cell).textDecoration")
        assert (value.get_attribute("aria-label") or "").startswith("no value; last")
        sign = page.locator(row("pressure") + " .q use").get_attribute("href")
        assert sign == "#i-down", "a shape, not colour alone"
    finally:
        site.plc.revive()
    wait_until(lambda: value.get_attribute("data-quality") == "good", 15, "a good value again")


# -- one tag -----------------------------------------------------------------------------------------------------------


def test_a_row_opens_with_the_keys_and_says_everything(new_page: NewPage) -> None:
    page = new_page("#/tags?device=press")
    page.wait_for_selector(row("setpoint"))
    page.focus(".vgrid")
    for key in ("Home", "ArrowDown", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    detail = page.locator(".detail")
    wait_until(lambda: "press / setpoint" in detail.inner_text(), what="the detail")
    told = detail.inner_text()
    for expected in ("holding:10 (400011)", "unit 1, holding:0 (400001)", "int16", "0 to 100 °C", "200 ms"):
        assert expected in told
    active = page.locator(".vgrid").get_attribute("aria-activedescendant")
    assert page.locator(f"#{active}").get_attribute("aria-selected") == "true"
    assert "tag=press%2Fsetpoint" in page.evaluate("location.hash")
    page.keyboard.press("Escape")
    wait_until(lambda: detail.count() == 0, what="the detail is closed")
    page.keyboard.press("Enter")
    page.click(".detail button[aria-label=Close]")
    wait_until(lambda: detail.count() == 0, what="the detail is closed")


def test_who_may_not_write_is_offered_no_writing(new_page: NewPage) -> None:
    page = new_page("#/tags?tag=press/setpoint", user=VIEWER)
    wait_for_text(page, ".detail", "Your role may not write")
    assert page.locator("button:has-text('Write')").count() == 0
    assert page.locator(".c-write button:visible").count() == 0


# -- writing -----------------------------------------------------------------------------------------------------------


def open_dialog(page: Page, name: str) -> None:
    page.click(f"{row(name)} .c-write button")
    page.wait_for_selector(".write-dialog[open]")


def test_a_write_lands_in_the_plc_after_a_second_step(new_page: NewPage, site: Site) -> None:
    page = new_page("#/tags?q=press")
    page.wait_for_selector(row("setpoint"))
    with ModbusTcpClient("127.0.0.1", port=site.plc.port) as plc:

        def setpoint() -> int:
            return plc.read_holding_registers(10, count=1, device_id=1).registers[0]

        before = setpoint()
        open_dialog(page, "setpoint")
        page.keyboard.type("101")
        page.keyboard.press("Enter")
        wait_for_text(page, ".problem", "out of range: 0 to 100")
        page.fill("#write-value", "55")
        page.keyboard.press("Enter")
        wait_for_text(page, ".write-question", "55 °C")
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")
        assert setpoint() == before, "Enter alone writes nothing"
        page.click("button:has-text('Write now')")
        wait_for_text(page, ".outcome", "Written")
        wait_for_text(page, ".before-after", "55 °C")
        assert setpoint() == 55
        page.click(".write-dialog button:has-text('Close'):visible >> nth=-1")
        wait_for_text(page, f"{row('setpoint')} .c-value", "55")


def test_what_was_there_and_is_there_now_is_not_known_of_an_old_value(new_page: NewPage, site: Site) -> None:
    page = new_page("#/tags?q=press")
    page.wait_for_selector(row("setpoint"))
    told = {"outcome": "done", "before": None, "after": None}
    page.route("**/api/tags/press/setpoint", lambda route: route.fulfill(status=200, json=told))
    open_dialog(page, "setpoint")
    page.keyboard.type("44")
    page.keyboard.press("Enter")
    wait_for_text(page, ".write-question", "44 °C")
    page.click("button:has-text('Write now')")
    wait_for_text(page, ".outcome", "Written")
    assert re.fullmatch(r"before\s*not known\s*→\s*not known", page.locator(".before-after").inner_text())
    page.unroute("**/api/tags/press/setpoint")


def test_a_double_click_neither_skips_the_question_nor_hides_the_answer(new_page: NewPage, site: Site) -> None:
    page = new_page("#/tags?q=press")
    page.wait_for_selector(row("setpoint"))
    open_dialog(page, "setpoint")
    page.keyboard.type("33")

    def written() -> list[bytes]:
        return [pdu for _, pdu in list(site.plc.server.executed or ()) if pdu[0] not in (3, 4)]

    before = len(written())
    page.dblclick("button:has-text('Next')")
    wait_for_text(page, ".write-question", "33 °C")
    writes = page.locator("button:has-text('Write now')")
    wait_until(writes.is_enabled, what="the button that writes")
    assert page.locator(".outcome").count() == 0
    assert len(written()) == before, "the second click is no answer"
    page.dblclick("button:has-text('Write now')")
    wait_for_text(page, ".outcome", "Written")
    close = page.locator(".write-dialog .dialog-actions button:has-text('Close')")
    wait_until(close.is_enabled, what="the button that closes")
    assert page.locator(".outcome").is_visible()
    assert len(written()) == before + 1


def test_a_bool_is_chosen_and_written(new_page: NewPage, site: Site) -> None:
    page = new_page("#/tags?q=press")
    page.wait_for_selector(row("running"))
    open_dialog(page, "running")
    page.keyboard.press("Enter")
    wait_for_text(page, ".problem", "choose")
    page.click(".write-choice:has-text('on')")
    page.click("button:has-text('Next')")
    page.click("button:has-text('Write now')")
    wait_for_text(page, ".outcome", "Written")
    with ModbusTcpClient("127.0.0.1", port=site.plc.port) as plc:
        assert plc.read_holding_registers(12, count=1, device_id=1).registers[0] & 1 == 1


def test_a_write_without_an_answer_is_called_neither_done_nor_refused(new_page: NewPage, site: Site) -> None:
    page = new_page("#/tags?q=press", allow="504|409")
    page.wait_for_selector(row("setpoint"))
    open_dialog(page, "setpoint")
    page.keyboard.type("12")
    page.keyboard.press("Enter")
    site.plc.kill()
    try:
        page.click("button:has-text('Write now')")
        page.wait_for_selector(".outcome")
        told = page.locator(".outcome").inner_text()
        assert "Written" not in told
        assert "Outcome unknown" in told or "Not written" in told
    finally:
        site.plc.revive()


# -- ten thousand ------------------------------------------------------------------------------------------------------


def test_ten_thousand_tags_are_searched_and_sorted_at_once(new_page: NewPage, many: Site) -> None:
    page = new_page("#/tags", at=many, user=None)
    wait_for_many(page)
    grid = page.locator(".vgrid")
    assert grid.get_attribute("aria-rowcount") == str(MANY + 1)
    assert page.locator(".vgrid-body .vgrid-row").count() < MOST_ROWS, "only rows in sight are there"
    took: dict[str, float] = {}
    for key in ("value", "age", "quality", "unit", "at"):
        title = page.locator(f".vgrid-titles .c-{key}")
        took[key] = min(sorted_by(page, key) for _ in range(TRIES))
        assert title.get_attribute("aria-sort") == ("descending" if TRIES % 2 == 0 else "ascending")
    took["search"] = min(searched(page, f"line07 bar 400{n}") for n in range(TRIES))
    page.fill("[data-search]", "line07 bar")
    names = page.locator(".vgrid-body .vgrid-row:not([hidden]) .c-tag").all_inner_texts()
    assert names
    assert all(name.startswith("line07 / ") for name in names)
    assert max(took.values()) < ORDER_MS, took
    print({name: round(ms, 1) for name, ms in took.items()})


def test_ten_thousand_rows_scroll_while_values_move(new_page: NewPage, many: Site) -> None:
    page = new_page("#/tags", at=many, user=None)
    wait_for_many(page)
    # In each picture: what the scrolling asked for, between two callbacks, and the layout that it causes. Every third
    # row is new, or all of them.
    took = page.evaluate(
        """async () => {
             const grid = document.querySelector('.vgrid'); const took = {3: [], 173: []};
             for (const step of [3, 173]) for (let turn = 1; turn < 40; turn++) {
               let began;
               requestAnimationFrame(() => { began = performance.now(); });
               grid.scrollTop += step * 34;
               grid.dispatchEvent(new Event('scroll'));
               took[step].push(await new Promise(done => requestAnimationFrame(() => {
                 grid.offsetHeight; done(performance.now() - began); })));
             }
             return Object.values(took).map(each => each.sort((a, b) => a - b)); }"""
    )
    for what, each in zip(("three new rows", "all rows new"), took, strict=True):
        quiet = each[len(each) // 4]  # the machine may have other work
        print(f"a picture with {what}: {quiet:.1f} ms, half {each[len(each) // 2]:.1f}, worst {each[-1]:.1f}")
        assert quiet < PAINT_MS
    assert page.locator(".vgrid-body .vgrid-row").count() < MOST_ROWS
    page.focus(".vgrid")
    page.keyboard.press("End")
    wait_for_text(page, ".vgrid-row.is-active", f"line{DEVICES_OF_MANY - 1:02}")
    assert page.locator(".vgrid-row.is-active").get_attribute("aria-rowindex") == str(MANY + 1)
    page.keyboard.press("PageUp")
    page.keyboard.press("Home")
    active = page.locator(".vgrid-row.is-active")
    wait_until(lambda: active.get_attribute("aria-rowindex") == "2", what="the first row")
    value = active.locator(".c-value")
    first = value.inner_text()
    wait_until(lambda: value.inner_text() != first, what="a value that moves after the scrolling")


def test_only_cells_in_sight_are_touched(new_page: NewPage, many: Site) -> None:
    """A row that stands still is left alone, though others change five times a second."""
    page = new_page("#/tags?q=line00", at=many, user=None)
    page.wait_for_selector(row("tag000"))
    page.evaluate("document.querySelector('.vgrid').scrollTop = 200 * 34")
    page.wait_for_selector(row("tag205"))
    touched = page.evaluate(
        """() => new Promise(resolve => { const seen = new Set();
             new MutationObserver(all => all.forEach(each => {
               const cell = (each.target.parentElement ?? each.target).closest('.vgrid-cell');
               if (cell) seen.add(cell.className.match(/c-\\w+/)[0]); }))
               .observe(document.querySelector('.vgrid-body'),
                        {subtree: true, childList: true, characterData: true, attributes: true});
             setTimeout(() => resolve([...seen]), 1000); })"""
    )
    assert set(touched) <= {"c-age", "c-spark"}, "values that stand still are not written again"


# -- not live ----------------------------------------------------------------------------------------------------------


def test_without_the_gateway_nothing_looks_live(new_page: NewPage, many: Site) -> None:
    """Last of this file's: it stops the gateway of the many tags."""
    page = new_page("#/tags?q=line03+tag003", at=many, user=None, allow="ERR_|Failed to load|failed:")
    value = page.locator(row("tag003") + " .c-value")
    wait_until(lambda: value.count() and value.get_attribute("data-quality") == "good", 20, "a good value")
    many.gateway.stop()
    wait_until(lambda: value.get_attribute("data-quality") == "old", 10, "a value of before")
    assert "line-through" in value.evaluate("cell => getComputedStyle(cell).textDecoration")
    before = page.evaluate("getComputedStyle(document.querySelector('.q'), '::before').content")
    assert before == '"was"', "its quality is told as one that was"
