"""Writes that were refused before they were requests: told one by one, and no more of them than a file bears."""

from __future__ import annotations

import asyncio
import json
from ipaddress import ip_address
from typing import Any

import pytest

from gateway.app import refusals as file
from gateway.app.refusals import MOST, MOST_OF_ADDRESS, NOWHERE, Refusals
from gateway.front.audit import Record, line
from gateway.front.gate import Origin


def origin(address: str) -> Origin:
    return Origin(f"{address}:50000", ip_address(address), "http://10.0.0.9:8080", "viewer", None, "vera")


def tried(records: list[Record], monkeypatch: pytest.MonkeyPatch, *addresses: str, minute_s: float = 60.0) -> None:
    """One after the other; then the minute goes by."""

    async def test() -> None:
        refusals = Refusals(records.append)
        for number, address in enumerate(addresses):
            refusals.add(origin(address), "press/level", number, "not you", (1, NOWHERE, None))
        if minute_s < 1:
            while refusals._held is not None:
                await asyncio.sleep(0.01)

    monkeypatch.setattr(file, "MINUTE_S", minute_s)
    asyncio.run(test())


def told(record: Record) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(line(record))
    return found


def test_who_what_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    records: list[Record] = []
    tried(records, monkeypatch, "10.0.0.1")
    found = told(records[0])
    assert (found["client"], found["user"], found["role"]) == ("10.0.0.1:50000", "vera", "viewer")
    assert (found["why"], found["outcome"]) == ("press/level = 0: not you", "refused 01 illegal function")


def test_a_flood_is_counted_and_hides_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    records: list[Record] = []
    tried(records, monkeypatch, *["10.0.0.1"] * 500, "10.0.0.2")
    assert len(records) == MOST_OF_ADDRESS + 1
    assert told(records[-1])["client"].startswith("10.0.0.2")
    records.clear()
    tried(records, monkeypatch, *(f"10.0.{high}.{low}" for high in range(4) for low in range(250)))
    assert len(records) == MOST


def test_the_last_of_them_is_told_when_the_minute_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    records: list[Record] = []
    tried(records, monkeypatch, *["10.0.0.1"] * 50, minute_s=0.2)
    assert len(records) == MOST_OF_ADDRESS + 1
    assert told(records[-1])["why"] == "press/level = 49: not you (29 more before it were refused and not told)"


def test_what_a_stranger_sends_is_cut() -> None:
    async def test() -> None:
        refusals = Refusals(records.append)
        refusals.add(origin("10.0.0.1"), "x" * 9999, "\n" * 9999, "not you", (1, NOWHERE, None))

    records: list[Record] = []
    asyncio.run(test())
    assert len(line(records[0])) < 800
