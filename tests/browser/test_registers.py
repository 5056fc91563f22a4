"""Registers: the image as it is, what it may mean, an exception where there is no value, a flash where it changes."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from pymodbus.client import ModbusTcpClient

from gateway.values import reorder
from tests.browser.conftest import NewPage
from tests.browser.looking import wait_for_text
from tests.browser.site import Site
from tests.support.until import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

EVERY_MS = 500


def cell(page: Page, address: int) -> Locator:
    return page.locator(f".reg-cell[data-at='{address}']")


def test_the_image_is_shown_as_a_client_reads_it_and_changes_flash(new_page: NewPage, site: Site) -> None:
    page = new_page("#/registers?unit=1&table=input&first=0")
    wait_for_text(page, ".head-note", "read")
    moving = cell(page, 10)
    wait_until(lambda: "is-flash" in (moving.get_attribute("class") or ""), what="a cell that flashes")
    assert "reg-flash" in moving.evaluate("cell => getComputedStyle(cell).animationName")
    beside = cell(page, 11)
    read: set[str] = set()
    with ModbusTcpClient("127.0.0.1", port=site.gateway.port) as client:

        def is_the_same() -> bool:
            """It moves, and the page is up to half a second behind: what it shows was read here a moment ago."""
            registers = client.read_input_registers(10, count=2, device_id=1).registers
            read.add("".join(f"{register:04X}" for register in registers))
            return (
                moving.evaluate("(cell, beside) => cell.innerText + beside.innerText", beside.element_handle()) in read
            )

        wait_until(is_the_same, what="what a Modbus client reads")


def test_a_place_without_a_value_shows_the_exception(new_page: NewPage) -> None:
    page = new_page("#/registers?unit=1&table=input&first=0")
    hole = cell(page, 22)
    wait_until(lambda: hole.inner_text() == "02" and hole.get_attribute("data-code") == "2", what="the hole")
    assert "exception 02: illegal data address" in (hole.get_attribute("title") or "")
    assert "repeating-linear-gradient" in hole.evaluate("cell => getComputedStyle(cell).backgroundImage")
    page.click(".segments button:has-text('Float32')")
    wait_until(lambda: cell(page, 22).inner_text() == "02", what="the hole as a float")
    cell(page, 22).click()
    wait_for_text(page, ".reg-inspector", "No value")
    wait_for_text(page, ".reg-inspector", "oven/hole")


def test_every_meaning_of_a_place(new_page: NewPage, site: Site) -> None:
    with ModbusTcpClient("127.0.0.1", port=site.plc.port) as plc:
        plc.write_register(10, 42, device_id=1)
    page = new_page("#/registers?unit=1&table=holding&first=0")
    setpoint = cell(page, 0)
    wait_until(lambda: setpoint.inner_text() == "002A", what="the setpoint")
    wait_until(lambda: "is-tag" in (setpoint.get_attribute("class") or ""), what="the mark of a tag")
    for view, shown in (("Unsigned", "42"), ("Signed", "42"), ("Binary", "0000 0000 0010 1010"), ("Hex", "002A")):
        page.click(f".segments button:text-is('{view}')")
        wait_until(lambda shown=shown: cell(page, 0).inner_text() == shown, what=f"{view} {shown}")
    cell(page, 0).click()
    told = page.locator(".reg-inspector")
    wait_for_text(page, ".reg-inspector", "holding:0 (400001)")
    for expected in ("0x002A", "press/setpoint", "int16", "BADC"):
        assert expected in told.inner_text()
    page.focus(".reg-table")
    page.keyboard.press("ArrowRight")
    wait_for_text(page, ".reg-inspector", "holding:1 (400002)")


def test_addresses_are_typed_as_people_write_them(new_page: NewPage) -> None:
    page = new_page("#/registers?unit=1&table=holding")
    page.wait_for_selector(".reg-cell")
    for typed, place in (
        ("30021", "input:20"),
        ("0x16", "input:22"),
        ("400001", "holding:0"),
        ("input:12", "input:12"),
    ):
        page.fill(".reg-go", typed)
        page.press(".reg-go", "Enter")
        wait_for_text(page, ".reg-inspector h2", place)
    assert "table=input" in page.evaluate("location.hash")
    page.fill(".reg-go", "40000")
    page.press(".reg-go", "Enter")
    wait_for_text(page, ".problem", "references begin at 1")
    page.fill(".reg-go", "9/holding:1")
    page.press(".reg-go", "Enter")
    wait_for_text(page, ".problem", "unit 9 has no image")


def test_a_unit_without_an_image_is_said_to_have_none(new_page: NewPage) -> None:
    """Unit 7 is forwarded: the numbers of another one must not pass for its own."""
    page = new_page("#/registers?unit=7&table=holding")
    wait_for_text(page, ".problem", "Unit 7 has no image here: this is unit 1")


def test_registers_mean_what_the_gateway_reads_of_them(page: Page) -> None:
    """Every type in every order, beside struct and the gateway's own swaps."""
    script = """async ([registers, type, order]) => {
        const {decode} = await import('/js/decode.js'); return String(decode(registers, type, order)); }"""
    letters = {"int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q"}
    for kind, letter in letters.items():
        data = bytes((0x81, 0x02, 0x93, 0x04, 0xA5, 0x06, 0xB7, 0x08))[: struct.calcsize(letter)]
        registers = list(struct.unpack(f">{len(data) // 2}H", data))
        for order in ("ABCD", "CDAB", "BADC", "DCBA"):
            (expected,) = struct.unpack(f">{letter}", reorder(data, order))
            assert page.evaluate(script, [registers, kind, order]) == str(expected), (kind, order)
    assert page.evaluate(script, [[0x4048, 0xF5C3], "float32", "ABCD"]).startswith("3.14000010")
    assert page.evaluate(script, [[0xF5C3, 0x4048], "float32", "CDAB"]).startswith("3.14000010")
    assert page.evaluate(script, [[0x1234], "bcd16", "ABCD"]) == "1234"
    assert page.evaluate(script, [[0x12AF], "bcd16", "ABCD"]) == "null"
    assert page.evaluate(script, [[1, None], "int32", "ABCD"]) == "null", "half a value is none"


def test_bits_and_a_page_that_nobody_sees_asks_nothing(new_page: NewPage) -> None:
    page = new_page("#/registers?unit=1&table=coils")
    coil = cell(page, 0)
    wait_until(lambda: coil.inner_text() in ("0", "1"), what="a coil")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "registers?" in request.url else None)
    wait_until(lambda: page.evaluate("1") and len(asked) >= 3, what="polls of the image")
    page.evaluate(
        """() => { Object.defineProperty(document, 'hidden', {value: true, configurable: true});
                   document.dispatchEvent(new Event('visibilitychange')); }"""
    )
    # Not a wait for something: nothing is to come. The first pause is for what is still to be told of before.
    page.wait_for_timeout(EVERY_MS)
    before = len(asked)
    page.wait_for_timeout(3 * EVERY_MS)
    assert len(asked) == before
    page.evaluate("() => { delete document.hidden; document.dispatchEvent(new Event('visibilitychange')); }")
    wait_until(lambda: page.evaluate("1") and len(asked) > before, what="polls again")
