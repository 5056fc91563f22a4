"""What the browser looks at: the real command with a simulated plant, and Chromium.

One plant serves all views: a PLC of ours that can be killed and come back, simulated devices that move, one with a
hole, one that was never there. Port 0 everywhere.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.config.passwords import make_password
from tests.support import process
from tests.support.needs import missing, require_module
from tests.support.process import Running
from tests.support.sim import sim_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

OPERATOR, VIEWER = "anna", "vera"
PASSWORD = "a good password"
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
"""The first there is. The shell is the same engine without the windows: a page costs a fifth of the processor time."""
JOIN_S = 5.0

DEVICES = """
units: {{7: {{forward: press}}}}
devices:
  press:                                # the PLC that can be killed
    url: tcp://127.0.0.1:{port}
    every: 200ms
    timeout: 500ms
    tags:
      pressure: {{at: holding:0, type: float32, unit: bar, to: 1/input:0}}
      setpoint: {{at: holding:10, type: int16, write: true, range: [0, 100], unit: "°C", to: 1/holding:0}}
      running: {{at: "holding:12.0", type: bool, write: true, to: 1/coils:0}}
  tank:                                 # moves
    url: sim://
    every: 200ms
    tags:
      level: {{at: holding:0, type: float32, unit: "%", sim: "sine(20, 80, 6s)", to: 1/input:10}}
      strokes: {{at: holding:4, type: uint32, sim: "counter(50)", to: 1/input:12}}
  oven:                                 # has a hole
    url: sim://
    every: 500ms
    faults: {{refuse: {{"holding:4..5": 2}}}}
    tags:
      upper: {{at: holding:0, type: float32, unit: "°C", sim: "walk(150, 180, 1)", to: 1/input:20}}
      hole: {{at: holding:4, type: float32, to: 1/input:22}}
      lower: {{at: holding:8, type: float32, unit: "°C", sim: "walk(90, 120, 1)", to: 1/input:24}}
  spare: {{url: "tcp://127.0.0.1:1", enabled: false, poll: [{{read: holding:0..9, to: 1/holding:20}}]}}
"""
LOST = """
  mixer: {url: "tcp://127.0.0.1:1", poll: [{read: holding:0..9, to: 1/holding:30}]}
"""
"""A device whose host refuses: of the screenshots, which show what is wrong."""


class Plc:
    """A PLC on a port of its own, in a thread of this process; killed, and back with the same registers."""

    def __init__(self) -> None:
        self.server = sim_server({})
        self.server.executed = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.revive()

    @property
    def port(self) -> int:
        return self.server.port

    def kill(self) -> None:
        """As pulling the plug: the port is closed, and every connection."""
        asyncio.run_coroutine_threadsafe(self.server.stop(), self._loop).result(JOIN_S)

    def revive(self) -> None:
        asyncio.run_coroutine_threadsafe(self.server.start(port=self.port), self._loop).result(JOIN_S)

    def end(self) -> None:
        self.kill()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(JOIN_S)
        self._loop.close()


@dataclass
class Site:
    """A page that is served."""

    url: str
    gateway: Running
    plc: Plc
    has_users: bool
    states: dict[str, Any] = field(default_factory=dict)
    """Cookies of who is signed in already, by user."""

    def get(self, path: str) -> Any:
        """The answer of a path that needs no login."""
        with urllib.request.urlopen(f"{self.url}/{path}", timeout=JOIN_S) as answer:
            return json.load(answer)


@contextmanager
def served(directory: Path, *, users: bool = True, devices: str = DEVICES, more: str = "") -> Iterator[Site]:
    """The plant above, running. `users`: with a login, else read-only for everyone; `more`: devices besides."""
    plc = Plc()
    try:
        web = f'web:\n  listen: "http://127.0.0.1:0"\n{_users() if users else ""}'
        yaml = 'server: {listen: "tcp://127.0.0.1:0"}\n' + web
        with process.running(yaml + devices.format(port=plc.port) + more, directory) as gateway:
            url = gateway.wait_for_log(r"the page is at (http://\S+)", process.START_S)[1]
            yield Site(url, gateway, plc, users)
    finally:
        plc.end()


def _users() -> str:
    roles = {OPERATOR: "operator", VIEWER: "viewer"}
    password = make_password(PASSWORD)  # once for both: it takes its time, by design
    lines = [f'    {name}: {{password: "{password}", role: {role}}}\n' for name, role in roles.items()]
    return "  users:\n" + "".join(lines)


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's browser, driven; a machine without one skips, CI fails."""
    require_module("playwright")
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        missing("the program chromium")
    with sync_playwright() as playwright:
        yield launched(playwright, path)


def launched(playwright: Playwright, path: str) -> Browser:
    # A container's root has no sandbox for it, and no /dev/shm worth the name.
    flags = ["--disable-dev-shm-usage", "--disable-gpu", *(["--no-sandbox"] if os.getuid() == 0 else [])]
    return playwright.chromium.launch(executable_path=path, args=flags)
