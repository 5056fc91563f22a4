"""What a value is and how old: every digit, never younger than it is; and a page that lacks something says so."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import NewPage
from tests.browser.looking import look, wait_for, wait_for_text
from tests.browser.site import Site, served
from tests.support import process
from tests.support.until import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

LARGEST = 2**64 - 1
WATCHED_S = 4.5
"""An age that went on until it is told anew would be four seconds by then."""
DEVICES = """
units: {{1: {{holding: 0..99}}}}
devices:
  meter:
    url: sim://
    every: 200ms
    tags:
      energy: {{at: holding:0, type: uint64, write: true, range: [0, 18446744073709551615], to: 1/holding:0}}
      larger: {{at: holding:4, type: uint64, write: true, to: 1/holding:4}}
      still: {{at: holding:8, type: int16, sim: "constant(7)"}}
  hall:                                 # two jobs ask for the same
    url: sim://
    every: 200ms
    poll:
      - {{read: holding:40..49, every: 500ms, to: 1/holding:40}}
      - {{read: holding:40..49, every: 5s, to: 1/holding:60}}
    tags:
      scaled: {{at: holding:0, type: int32, scale: 0.1, unit: kWh, sim: "constant(12345678.9)"}}
      double: {{at: holding:4, type: float64, unit: kWh, sim: "constant(1234567.8)"}}
      single: {{at: holding:8, type: float32, sim: "constant(1234567.9)"}}
      tenth: {{at: holding:12, type: float32, sim: "constant(0.1)"}}
  kept:                                 # the PLC that can be killed; its last values are served on
    url: tcp://127.0.0.1:{port}
    every: 200ms
    timeout: 300ms
    stale_after: 500ms
    on_stale: hold
    poll: [{{read: holding:20..23, to: 1/holding:80}}]
  near: {{url: "tcp://127.0.0.1:1", timeout: 300ms, poll: [{{read: holding:0..9, to: 1/holding:20}}]}}
  far: {{url: "tcp://127.0.0.1:11", timeout: 300ms, poll: [{{read: holding:0..9, to: 1/holding:30}}]}}
"""
NUMBERS = """async (cases) => { const {value} = await import('/js/format.js');
    const wire = (number, tag) => (tag.type === 'float32' && !tag.scale ? Math.fround(number) : number);
    return cases.map(([number, tag]) => value(wire(number, tag), tag)) }"""
ROUND_TRIP = """async () => { const {value} = await import('/js/format.js');
    const view = new DataView(new ArrayBuffer(8)); const lost = [];
    let seed = 1; const next = () => (seed = (seed * 48271) % 2147483647) * 2;
    for (let at = 0; at < 20000; at++) { view.setUint32(0, next()); view.setUint32(4, next());
      const [single, double] = [view.getFloat32(0), view.getFloat64(0)];
      const again = Math.fround(Number(value(single, {type: 'float32'})));
      if (Number.isFinite(single) && again !== single) lost.push(single);
      if (Number.isFinite(double) && Number(value(double, {type: 'float64'})) !== double) lost.push(double); }
    return lost }"""
CELLS = """async (numbers) => { const {cellText} = await import('/js/decode.js');
    return numbers.map((number) => cellText(Math.fround(number), 'float32', 10)) }"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exact")


@pytest.fixture(scope="module")
def exact(browser: object, folder: Path) -> Iterator[Site]:
    with served(folder, devices=DEVICES) as site:
        yield site


def row(name: str) -> str:
    return f".vgrid-body .vgrid-row:not([hidden]):has(.tag-name:text-is('{name}'))"


def write(page: Page, name: str, value: str) -> None:
    """By the dialog, until it says what came of it."""
    page.click(f'button[aria-label="Write meter/{name}"]')
    page.fill("#write-value", value)
    page.keyboard.press("Enter")
    wait_for_text(page, ".write-question", value)
    page.click("button:has-text('Write now')")
    wait_for_text(page, ".outcome", "Written")
    wait_for_text(page, ".before-after strong", value)
    page.keyboard.press("Escape")


def shown(page: Page, name: str) -> str:
    return page.locator(f"{row(name)} .c-value").inner_text()


# -- digits ------------------------------------------------------------------------------------------------------------


def test_the_last_digit_of_a_large_counter_is_typed_written_shown_and_sorted(new_page: NewPage, exact: Site) -> None:
    page = new_page("#/tags?device=meter", at=exact)
    page.wait_for_selector(row("energy"))
    page.click('button[aria-label="Write meter/energy"]')
    wait_for_text(page, "#write-hint", f"0 to {LARGEST}")
    page.fill("#write-value", str(LARGEST + 1))
    page.keyboard.press("Enter")
    wait_for_text(page, "#write-problem", f"out of range: 0 to {LARGEST}")
    page.keyboard.press("Escape")
    write(page, "energy", str(LARGEST))
    write(page, "larger", str(LARGEST - 1))  # the same number of JavaScript
    look(
        page, lambda: shown(page, "energy") == str(LARGEST) and shown(page, "larger") == str(LARGEST - 1), "the digits"
    )
    for ways in ("ascending", "descending"):
        page.evaluate("document.querySelector('.vgrid-titles .c-value button').click()")
        wait_for(page, f"document.querySelector('.vgrid-titles .c-value').ariaSort === '{ways}'")
        names = page.locator(".vgrid-body .vgrid-row:not([hidden]) .tag-name").all_inner_texts()
        tops = [page.locator(".vgrid-body .vgrid-row:not([hidden])").nth(at).bounding_box() for at in range(3)]
        order = [name for _, name in sorted((box["y"], name) for box, name in zip(tops, names, strict=True) if box)]
        assert order == (["still", "larger", "energy"] if ways == "ascending" else ["energy", "larger", "still"])


def test_other_views_round_no_digit_either(new_page: NewPage, exact: Site) -> None:
    page = new_page("#/tags", at=exact)
    page.wait_for_selector(row("energy"))
    write(page, "energy", str(2**53 + 1))
    page.goto(f"{exact.url}/#/device/meter")
    wait_for_text(page, ".device-tags", "9007199254740993")
    page.goto(f"{exact.url}/#/trends?tag=meter/energy")
    wait_for_text(page, ".trend-legend .tag-value", "9007199254740993")
    extent = page.locator(".trend-legend td.trend-extent")
    look(page, lambda: re.search(r" to \d\.\d{1,14}e\+1\d$", extent.inner_text()), "no more digits than float64 has")
    digits = page.evaluate(
        """async () => { const {TrendData} = await import('/js/trenddata.js'); const data = new TrendData();
             const one = {tag: 'm/e', t: [0, 1000], min: [5, 2 ** 60], max: [5, 2 ** 60], last: [5, 2 ** 60]};
             data.load([one], 2000); return data.csv([{name: 'm/e', unit: ''}], 0, 9000); }"""
    )
    assert ",5,5,5\r\n" in digits
    assert f",{2**60:.14e}," in digits
    assert str(2**60) not in digits


def test_a_number_has_all_its_digits_and_no_noise(new_page: NewPage, exact: Site) -> None:
    page = new_page("#/tags?device=hall", at=exact)
    cases = [
        (1234567.8, {"type": "float64"}, "1234567.8"),
        (12345678.9, {"type": "int32", "scale": 0.1}, "12345678.9"),
        (1234567.9, {"type": "float32"}, "1234567.9"),
        (0.1, {"type": "float32"}, "0.1"),
        (1 / 3, {"type": "float32"}, "0.33333334"),
        (1.2345678e20, {"type": "float32"}, "1.2345678e+20"),
        (50331648, {"type": "float32"}, "50331648"),
        (23.73999938964844, {"type": "float32", "scale": 0.1}, "23.74"),
        (0.1 * 3, {"type": "float64", "scale": 0.1}, "0.3"),
        (1.5e-7, {"type": "float64"}, "1.5e-7"),
        (1e22, {"type": "float64"}, "1e+22"),
        (-1234567890.125, {"type": "float64"}, "-1234567890.125"),
        (2**60, {"type": "int64"}, "1.15292150460685e+18"),
    ]
    assert page.evaluate(NUMBERS, [[number, tag] for number, tag, _ in cases]) == [text for *_, text in cases]
    assert page.evaluate(ROUND_TRIP) == []
    cells = {1234567.9: "1234567.9", -1 / 3: "≈-0.333333", 1.2345678e20: "≈1.235e+20", 21.37: "21.37"}
    assert page.evaluate(CELLS, list(cells)) == list(cells.values())


def test_every_view_shows_a_meters_digits(new_page: NewPage, exact: Site) -> None:
    values = {"scaled": "12345678.9", "double": "1234567.8", "single": "1234567.9", "tenth": "0.1"}
    page = new_page("#/tags?device=hall", at=exact)
    for name, value in values.items():
        look(page, lambda name=name, value=value: page.locator(row(name)).count() and shown(page, name) == value, value)
        cell = page.locator(f"{row(name)} .c-value")
        assert cell.evaluate("cell => cell.scrollWidth <= cell.clientWidth"), f"{name} is cut off"
    page.goto(f"{exact.url}/#/tags?tag=hall/scaled")
    wait_for_text(page, ".detail-value", "12345678.9")
    page.goto(f"{exact.url}/#/device/hall")
    for value in values.values():
        wait_for_text(page, ".device-tags", value)
    page.goto(f"{exact.url}/#/trends?tag=hall/scaled&tag=hall/single")
    wait_for_text(page, ".trend-legend tbody tr:nth-child(1) .tag-value", "12345678.9")
    wait_for_text(page, ".trend-legend tbody tr:nth-child(2) .tag-value", "1234567.9")
    wait_for_text(page, ".trend-legend td.trend-extent", "12345678.9 to 12345678.9")


# -- what is whose -----------------------------------------------------------------------------------------------------


def test_a_device_shows_each_of_its_jobs(new_page: NewPage, exact: Site) -> None:
    page = new_page("#/device/hall", at=exact)
    blocks = page.locator(".jobs .row.body")
    look(page, blocks.count, "its jobs")
    jobs = page.evaluate("async () => (await (await fetch('api/devices/hall')).json()).jobs")
    assert len(jobs) > len({job["block"] for job in jobs}), "two of them ask for the same"
    assert blocks.count() == len(jobs)


def test_a_device_shows_its_own_links_trouble_only(new_page: NewPage, exact: Site) -> None:
    page = new_page("#/device/far", at=exact)
    trouble = page.locator("[aria-label='State']").locator("xpath=../preceding-sibling::*[1]")
    look(page, lambda: "127.0.0.1:11 is down" in trouble.inner_text(), "the trouble of its link")
    page.goto(f"{exact.url}/#/device/near")
    look(page, lambda: "127.0.0.1:1 is down" in trouble.inner_text(), "the trouble of this one's link")
    assert "127.0.0.1:11" not in trouble.inner_text()


def test_a_value_that_is_held_looks_like_one(new_page: NewPage, exact: Site) -> None:
    page = new_page("#/registers?unit=1&table=holding&first=80", at=exact)
    cell = page.locator(".reg-cell[data-at='80']")
    look(page, lambda: cell.count() and cell.inner_text() == "0000", "a fresh value")
    assert cell.get_attribute("data-held") is None
    cell.click()
    exact.plc.kill()
    try:
        look(page, lambda: cell.get_attribute("data-held") == "yes", "the mark of a held value")
        assert cell.inner_text() == "0000"
        assert "held: too old" in (cell.get_attribute("title") or "")
        assert "line-through" in cell.evaluate("cell => getComputedStyle(cell).textDecorationLine")
        wait_for_text(page, ".reg-inspector", "Held: too old")
    finally:
        exact.plc.revive()
    look(page, lambda: cell.get_attribute("data-held") is None, "a fresh value again")


# -- ages --------------------------------------------------------------------------------------------------------------


def test_the_age_of_a_tag_that_does_not_change_is_what_it_is(new_page: NewPage, exact: Site) -> None:
    """It is read five times a second, and nothing else is told of it."""
    page = new_page("#/tags", at=exact)
    age = page.locator(f"{row('still')} .c-age")
    look(page, lambda: age.count() and age.inner_text() == "< 1 s", "a young value")
    seen = set()
    end_s = time.monotonic() + WATCHED_S
    while time.monotonic() < end_s:
        seen.add(age.inner_text())
        page.wait_for_timeout(100)
    assert seen <= {"< 1 s", "2 s", "3 s"}, "more than one: the machine was busy"


@contextmanager
def hanging(site: Site) -> Iterator[None]:
    """The gateway does nothing, and everything is still open."""
    os.kill(site.gateway.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(site.gateway.process.pid, signal.SIGCONT)


@pytest.mark.parametrize("view", ["#/tags", "#/device/meter"])
def test_ages_go_on_when_the_gateway_is_silent(new_page: NewPage, exact: Site, view: str) -> None:
    page = new_page(view, at=exact, allow="ERR_|Failed to load|failed:")
    age = page.locator(f"{row('still')} .c-age" if view == "#/tags" else ".device-tags .row.body:has-text('still')")
    look(page, lambda: age.count() and "< 1 s" in age.inner_text(), "a young value")
    with hanging(exact):
        began_s = time.monotonic()
        look(page, lambda: any(f"{s} s" in age.inner_text().split("\n") for s in range(3, 9)), "an age that goes on")
        assert time.monotonic() - began_s > 1.5


def test_no_age_is_younger_because_of_this_browsers_clock(new_page: NewPage, exact: Site) -> None:
    page = new_page(at=exact)
    page.wait_for_selector(".view-overview h1")
    told = page.evaluate(
        """async () => { const {Api} = await import('/js/api.js'); const found = [];
             const real = Date.now; try { for (const off of [-1400, 0, 86400000]) {
               Date.now = () => real() + off;
               const api = new Api(); await api.get('session'); const sent = real();
               const answer = await fetch('api/session'); const gateway = Number(answer.headers.get('x-now-ms'));
               found.push([api.now() - gateway, real() - sent]); }
             } finally { Date.now = real; } return found; }"""
    )
    for ahead_ms, took_ms in told:
        assert -1 <= ahead_ms <= took_ms + 500, told


# -- what is lacking ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", ["registers", "tags"])
def test_a_view_that_is_opened_while_the_gateway_hangs_says_so_and_fills(
    new_page: NewPage, exact: Site, view: str
) -> None:
    page = new_page("#/overview", at=exact, allow="ERR_|Failed to load|failed:")
    page.wait_for_selector(".devices .row.body")
    with hanging(exact):
        page.evaluate(f"location.hash = '#/{view}'")
        wait_for_text(page, ".lack", "asking the gateway")
        wait_for_text(page, ".lack", "has not answered for")
        assert page.locator(".lack").is_visible()
    page.wait_for_selector(".reg-cell" if view == "registers" else row("still"))
    page.wait_for_selector(".lack", state="hidden")


def test_a_view_that_could_not_be_opened_opens_when_the_gateway_answers(new_page: NewPage, exact: Site) -> None:
    page = new_page("#/overview", at=exact, allow="503|Failed to load")
    page.wait_for_selector(".devices .row.body")

    def refuse(route: Route) -> None:
        route.fulfill(status=503, json={"error": "too many answers are being made"})

    page.route("**/api/units", refuse)
    page.evaluate("location.hash = '#/registers'")
    wait_for_text(page, ".view-registers", "too many answers")
    page.locator("button:has-text('Try again')").wait_for()
    page.unroute("**/api/units")  # it tries again by itself before long, too
    page.wait_for_selector(".reg-cell")


def test_a_page_that_may_not_watch_says_why(new_page: NewPage, exact: Site) -> None:
    """A browser does not tell why a stream is refused; the gateway does, when it is asked."""
    page = new_page("#/overview", at=exact, allow="503|Failed to load")
    page.wait_for_selector(".devices .row.body")
    why = "16 pages of 10.0.0.5 are open already: close one of them there"
    page.route("**/api/stream*", lambda route: route.fulfill(status=503, json={"error": why, "code": "full"}))
    page.evaluate("location.hash = '#/clients'")  # other topics: another stream
    wait_for_text(page, "#lost", why)
    page.unroute("**/api/stream*")
    page.wait_for_selector("#lost", state="hidden")


def test_the_registers_have_the_units_of_a_reload(new_page: NewPage, exact: Site, folder: Path) -> None:
    page = new_page("#/registers", at=exact)
    page.wait_for_selector(".reg-cell")
    field = page.locator("select[aria-label=Unit]")
    assert not field.is_visible(), "there is one unit"
    path = folder / "plant.yaml"
    text = path.read_text(encoding="utf-8")
    before = exact.gateway.count("is running after")
    path.write_text(text.replace("units: {1: {holding: 0..99}}", "units: {1: {holding: 0..99}, 9: {input: 0..9}}"))
    exact.gateway.process.send_signal(signal.SIGHUP)
    wait_until(lambda: exact.gateway.count("is running after") > before, what="another configuration")
    look(page, lambda: field.is_visible() and "unit 9" in field.inner_text(), "the new unit")
    field.select_option("9")
    wait_for_text(page, ".reg-ranges", "input of unit 9: 0..9")
    path.write_text(text, encoding="utf-8")
    exact.gateway.process.send_signal(signal.SIGHUP)
    wait_for_text(page, ".view-registers .problem", "unit 9 is gone")
    wait_for_text(page, ".reg-ranges", "holding of unit 1")


# -- started anew ------------------------------------------------------------------------------------------------------


def test_another_process_is_noticed_though_it_has_counted_as_far(
    browser: object, new_page: NewPage, tmp_path: Path
) -> None:
    """Of the one before nothing is kept: its events are not these, nor is what the page knew of its tags."""
    with served(tmp_path, users=False, devices=DEVICES) as site:
        port = site.url.rpartition(":")[2]
        path = tmp_path / "plant.yaml"
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("0..99", "0..98"), encoding="utf-8")
        site.gateway.process.send_signal(signal.SIGHUP)
        page = new_page("#/events", at=site, user=None, allow="ERR_|Failed to load|failed:")
        wait_for_text(page, ".events", "configuration 1 is running")
        seen = site.get("api/events")["last"]
        page.route("**/api/**", lambda route: route.abort())
        site.gateway.stop()
        with process.running(text.replace("http://127.0.0.1:0", f"http://127.0.0.1:{port}"), tmp_path) as other:
            other.wait_for_log("the page is at", process.START_S)
            while site.get("api/events")["last"] <= seen + 2:
                socket.create_connection(("127.0.0.1", other.port)).close()
            page.unroute("**/api/**")
            look(page, lambda: "configuration 1 is running" not in page.inner_text(".events"), "only its own events")
            first = page.locator(".event", has_text="meter").last
            look(page, lambda: first.count() and "waiting" in first.inner_text(), "the first of them")
            assert page.evaluate("document.documentElement.dataset.live") == "yes"
