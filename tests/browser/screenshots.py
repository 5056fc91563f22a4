"""`python -m tests.browser.screenshots DIR`: a picture of every view, light and dark, wide and narrow, to be looked at.

Not a test: nobody compares them by machine. The plant has something good, something refused, something dead.
"""

from __future__ import annotations

import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.browser.conftest import signed_in
from tests.browser.looking import wait_for_text
from tests.browser.site import LOST, OPERATOR, Site, chromium, served
from tests.support.until import wait_until
from tests.support.wire import adu

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

SIZES = {"wide": (1280, 860), "narrow": (390, 844)}
THEMES = ("light", "dark")
SHOTS = {
    "overview": ("#/overview", ".devices .row.body"),
    "links": ("#/overview?show=links", ".links .row.body"),
    "gateway": ("#/overview?show=gateway", ".gateway-facts"),
    "device": ("#/device/oven", ".exchanges li"),
    "tags": ("#/tags", "text=pressure"),
    "tag": ("#/tags?tag=press/setpoint", ".detail .spark"),
    "floats": ("#/registers?unit=1&table=input&first=0&as=float32&at=10", ".reg-two"),
    "registers": ("#/registers?unit=1&table=input&first=0", ".view-registers h1"),
    "trends": ("#/trends?tag=tank/level&tag=oven/upper", ".view-trends canvas"),
    "clients": ("#/clients", ".clients .row.body"),
    "events": ("#/events", ".event"),
}
"""View, and what stands there when it is ready."""


def main(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, served(Path(scratch), more=LOST) as site, chromium() as browser:
        with Asking(site):
            for theme in THEMES:
                for size in SIZES:
                    shoot(browser, site, directory, theme, size)
        lost(browser, site, directory)


def writing(page: Page, site: Site, directory: Path, theme: str, size: str) -> None:
    """The question before a write, and the refusal of one that could not be sent; then a view that lacks its data."""
    page.goto(f"{site.url}/#/tags?tag=press/setpoint")
    page.click(".detail button:has-text('Write')")
    page.fill("#write-value", "55")
    page.keyboard.press("Enter")
    page.wait_for_selector(".write-question")
    page.wait_for_timeout(700)  # the button that writes rests
    take(page, directory, "write", theme, size)
    site.plc.kill()
    wait_for_text(page, ".write-now", "bad")
    page.click("button:has-text('Write now')")
    page.wait_for_selector(".outcome")
    page.wait_for_timeout(700)
    take(page, directory, "refused", theme, size)
    page.keyboard.press("Escape")
    site.plc.revive()
    asked: list[Route] = []

    def hang(route: Route) -> None:
        asked.append(route)

    page.route("**/api/units", hang)
    page.goto(f"{site.url}/#/registers")
    wait_for_text(page, ".lack", "has not answered for")
    take(page, directory, "lacking", theme, size)
    for route in asked:
        route.abort()
    page.unroute("**/api/units")
    page.goto(f"{site.url}/#/events")
    page.wait_for_selector(".event")


class Asking:
    """Clients that ask, so that there is something to see."""

    def __init__(self, site: Site) -> None:
        self._clients = [socket.create_connection(("127.0.0.1", site.gateway.port)) for _ in range(3)]

    def __enter__(self) -> Asking:
        for client, pdu in zip(self._clients, ("0400000004", "0300000001", "060000000f"), strict=True):
            client.sendall(adu(1, 1, bytes.fromhex(pdu)))
            client.recv(300)
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients:
            client.close()


def shoot(browser: Browser, site: Site, directory: Path, theme: str, size: str) -> None:
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=theme,  # type: ignore[arg-type]
        storage_state=signed_in(browser, site, OPERATOR),  # type: ignore[arg-type]
    )
    page = context.new_page()
    for name, (path, ready) in SHOTS.items():
        page.goto(f"{site.url}/{path}")
        page.wait_for_selector(ready)
        page.wait_for_timeout(1500)  # rates and lines need a moment to be worth a picture
        take(page, directory, name, theme, size)
    writing(page, site, directory, theme, size)
    page.keyboard.press("?")
    page.wait_for_selector("dialog[open]")
    take(page, directory, "help", theme, size)
    page.keyboard.press("Escape")
    if size == "narrow":
        page.click("#menu")
        take(page, directory, "menu", theme, size)
    context.clear_cookies()
    page.goto(f"{site.url}/")
    page.reload()
    page.wait_for_selector("form.login")
    take(page, directory, "login", theme, size)
    context.close()


def lost(browser: Browser, site: Site, directory: Path) -> None:
    """The gateway is gone: last, for it is."""
    pages = []
    for theme in THEMES:
        for size, (width, height) in SIZES.items():
            context = browser.new_context(
                viewport={"width": width, "height": height},
                color_scheme=theme,  # type: ignore[arg-type]
                storage_state=signed_in(browser, site, OPERATOR),  # type: ignore[arg-type]
            )
            page = context.new_page()
            page.goto(f"{site.url}/")
            page.wait_for_selector(".devices .row.body")
            pages.append((page, theme, size))
    site.gateway.process.terminate()
    wait_until(lambda: site.gateway.process.poll() is not None, what="the end of the gateway")
    for page, theme, size in pages:
        wait_for_text(page, "#lost", "since")
        take(page, directory, "lost", theme, size)


def take(page: Page, directory: Path, name: str, theme: str, size: str) -> None:
    page.screenshot(path=directory / f"{name}-{theme}-{size}.png")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
