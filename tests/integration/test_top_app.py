"""The application behind `gateway top`, driven by Textual's pilot, with 1,000 devices behind a real control socket."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.asking import Asked
from gateway.cli.top_look import Looker
from gateway.cli.top_rows import is_same, rates_of
from gateway.control.socket import ControlSocket
from tests.support.needs import require_module

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")

DEVICES = 1000
DEADLINE_S = 10.0


def row(number: int) -> dict[str, Any]:
    down = number == 700
    age_s = None if down else number / 1000
    return {
        "name": f"plc{number:04}", "unit": 1, "state": "down" if down else "good", "age_s": age_s,
        "good_requests": 10, "failed_requests": 0, "link": f"l{number}", "jobs": [],
        "last_error": "no answer within 1 s" if down else "",
    }  # fmt: skip


def link(number: int) -> dict[str, Any]:
    return {
        "name": f"l{number}",
        "up": True,
        "trouble": "",
        "load_percent": 1.0,
        "queued": 0,
        "counters": {"requests": 1},
    }


@contextmanager
def gateway_with_devices(directory: Path) -> Iterator[dict[str, Any]]:
    """A control socket that answers as a gateway with 1,000 devices; what is in the dict is told as the gateway's."""
    about: dict[str, Any] = {
        "version": "1.2.3",
        "boot": "0a",
        "pid": 1,
        "uptime_s": 9.0,
        "clients": 0,
        "requests": 0,
        "exceptions": 0,
    }
    rows, links = [row(number) for number in range(DEVICES)], [link(number) for number in range(DEVICES)]

    def status(request: object) -> dict[str, Any]:
        about["asked"] += 1
        return {"gateway": about, "links": iter(links), "devices": iter(rows), "routes": []}

    served = ControlSocket(
        directory,
        {
            "status": status,
            "clients": lambda request: {"clients": [{"peer": "10.0.0.9:5", "requests": 4, "last": "read holding:0"}]},
            "events": lambda request: {
                "boot": about.get("boot"),
                "events": [{"number": n, "text": about["boot"]} for n in range(request["after"] + 1, 4)],
                "last": 3,
                "lost_before": 1,
            },
        },
    )
    about["asked"] = 0
    loop = asyncio.new_event_loop()
    loop.run_until_complete(served.open())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield about
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(served.close())
        loop.close()


@pytest.mark.parametrize("size", [(80, 24), (120, 50), (30, 8)])
def test_keys_choose_sort_filter_scroll_and_end(tmp_path: Path, size: tuple[int, int]) -> None:
    require_module("textual")
    from gateway.cli.top_app import Grid, More, TopApp

    async def drive() -> None:
        looker = Looker(Asked(tmp_path))
        app = TopApp(looker, looker.look(), 60.0)
        async with app.run_test(size=size) as pilot:
            grid = app.query_one(Grid)

            def first() -> str:
                return grid.render_line(0).text.split()[0]

            await pilot.pause()
            assert grid.virtual_size.height == DEVICES
            assert first().startswith("plc0700"), "what is down comes first"
            await pilot.press("end")
            await pilot.pause()
            last = grid.chosen_row
            assert last is not None
            assert last.cells[0] == "plc0999"
            shown = [grid.render_line(y).text for y in range(grid.size.height)]
            assert any(text.startswith("plc0999") for text in shown), "it has scrolled there"
            await pilot.press("home", "s")
            await pilot.pause()
            assert first().startswith("plc0000"), "sorted by name"
            await pilot.press("r")
            await pilot.pause()
            assert first().startswith("plc0999")
            await pilot.press("slash", *"0123", "enter")
            await pilot.pause()
            assert grid.virtual_size.height == 1
            await pilot.press("enter")
            await pilot.pause()
            assert isinstance(app.screen, More)
            await pilot.press("5", "escape")
            await pilot.pause()
            assert grid.virtual_size.height == 1, "keys were for what was shown"
            await pilot.press("escape")
            await pilot.pause()
            assert grid.virtual_size.height == DEVICES
            await pilot.press("5")
            await pilot.pause()
            assert first().startswith("10.0.0.9:5")
            await pilot.press("tab", "shift+tab", "1")
            await pilot.pause()
            assert first() == "PLC"
            await pilot.press("q")
        assert app.return_code == 0

    with gateway_with_devices(tmp_path):
        asyncio.run(asyncio.wait_for(drive(), DEADLINE_S * 3))


def test_a_restart_is_told_by_its_boot_for_in_a_container_its_pid_stays(tmp_path: Path) -> None:
    with gateway_with_devices(tmp_path) as about:
        looker = Looker(Asked(tmp_path))
        before, again = looker.look(), looker.look()
        assert is_same(again, before)
        assert [event["number"] for event in again.events] == [1, 2, 3]
        about["boot"] = "0b"
        after = looker.look()
    assert not is_same(after, before)
    assert {event["text"] for event in after.events} == {"0b"}, "what the other one told is gone"
    assert set(rates_of(after, again)) == {None}


def test_values_move_unless_it_is_paused(tmp_path: Path) -> None:
    require_module("textual")
    from textual.widgets import Static

    from gateway.cli.top_app import TopApp

    async def drive(about: dict[str, Any]) -> None:
        looker = Looker(Asked(tmp_path))
        app = TopApp(looker, looker.look(), 0.05)
        async with app.run_test(size=(100, 24)) as pilot:

            def head() -> str:
                return str(app.query_one("#head", Static).render())

            async def until(text: str) -> None:
                async with asyncio.timeout(DEADLINE_S):
                    while text not in head():
                        await pilot.pause(0.02)

            about["version"] = "2.0"
            await until("gateway 2.0")
            await pilot.press("p")
            about["version"] = "3.0"
            asked = about["asked"]
            async with asyncio.timeout(DEADLINE_S):
                while about["asked"] < asked + 3:
                    await pilot.pause(0.02)
            assert "gateway 2.0" in head()
            await pilot.press("p")
            await until("gateway 3.0")

    with gateway_with_devices(tmp_path) as about:
        asyncio.run(drive(about))
