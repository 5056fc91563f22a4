"""Waiting for what a page shows.

Not with Playwright's own wait_for_function: it evaluates text inside the page, which the page's policy forbids. Looked
at now and then, not in a hurry: to look takes time of three processes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page

DEADLINE_S = 8.0
"""The longest that a page may take for anything, on a loaded machine."""


LOOK_MS = 50


def wait_for(page: Page, expression: str, what: str = "") -> Any:
    """The first true value of a JavaScript expression."""
    return look(page, lambda: page.evaluate(expression), what or expression)


def wait_for_text(page: Page, selector: str, text: str) -> None:
    """The first element of `selector` shows `text`."""
    first = page.locator(selector).first
    look(page, lambda: first.count() and text in first.inner_text(), f"{text!r} in {selector}")


def look(page: Page, condition: Callable[[], Any], what: str) -> Any:
    """The first true value of `condition()`, while the page goes on."""
    end_s = time.monotonic() + DEADLINE_S
    while not (value := condition()):
        assert time.monotonic() < end_s, f"{what}: not within {DEADLINE_S:g} s"
        page.wait_for_timeout(LOOK_MS)
    return value
