"""What `gateway top` shows, as rows: worst first, rates from two looks, room for what tells most."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.cli.top_rows import Look, Row, View, chosen, head, laid_out, line, rates_of, views


def device(name: str, state: str = "good", **more: Any) -> dict[str, Any]:
    job = {
        "block": "holding:0..9 (400001..400010)", "every_s": 0.5, "requested_per_s": 2.0, "achieved_per_s": 1.9,
        "lag_s": 0.001, "took_s": 0.002, "overload_percent": 0.0,
    }  # fmt: skip
    row = {
        "name": name, "unit": 1, "state": state, "age_s": 0.2, "good_requests": 10, "failed_requests": 0, "link": "l",
        "last_error": "", "jobs": [job], "writes": {"done": 3},
    }  # fmt: skip
    return row | more


def link(name: str = "l", **more: Any) -> dict[str, Any]:
    counters = {"requests": 100, "timeouts": 1, "late": 0, "losses": 0}
    return {"name": name, "up": True, "trouble": "", "load_percent": 12.3, "queued": 0, "counters": counters} | more


def look(at_s: float = 1.0, *devices: dict[str, Any], pid: int = 7, **gateway: Any) -> Look:
    about = {"version": "1.2", "pid": pid, "uptime_s": 60.0, "clients": 2, "requests": 0, "exceptions": 0, **gateway}
    return Look(at_s, {"gateway": about, "links": [link()], "devices": list(devices), "routes": []})


def view(title: str, now: Look, before: Look | None = None) -> View:
    return next(each for each in views(now, before) if each.title == title)


def names(rows: list[Row]) -> list[str]:
    return [row.cells[0] for row in rows]


def test_devices_come_with_what_is_worst_first() -> None:
    before = look(0.0, device("fails"), device("good"), device("down", "down"), device("stale", "stale"))
    now = look(
        1.0, device("off", "disabled"), device("good"), device("fails", failed_requests=2), device("stale", "stale"),
        device("down", "down"),
    )  # fmt: skip
    rows = view("devices", now, before).rows
    assert names(rows) == ["down", "stale", "fails", "good", "off"]
    assert [row.colour for row in rows] == ["red", "yellow", "yellow", "", "dim"]


def test_what_is_not_measured_yet_is_shown_as_not_known() -> None:
    """In the first seconds of a gateway: neither 0 nor behind what is asked for."""
    new = device("new")
    new["jobs"][0] |= {"achieved_per_s": None, "took_s": None}
    now = look(1.0, new)
    now.status["links"][0]["load_percent"] = None
    devices, links, jobs = (view(title, now) for title in ("devices", "links", "jobs"))
    assert dict(zip([column.name for column in devices.columns], devices.rows[0].cells, strict=True))["got/s"] == "-"
    assert dict(zip([column.name for column in links.columns], links.rows[0].cells, strict=True))["load"] == "-"
    cells = dict(zip([column.name for column in jobs.columns], jobs.rows[0].cells, strict=True))
    assert (cells["a second"], cells["skipped"], cells["took"]) == ("- of 2", "-", "-")


def test_rates_are_differences_a_second() -> None:
    before = look(10.0, device("a", good_requests=10, failed_requests=1), requests=100, exceptions=1)
    now = look(12.0, device("a", good_requests=30, failed_requests=5), requests=300, exceptions=2)
    assert rates_of(now, before).as_json() == {
        "requests_per_s": 100.0, "exceptions_per_s": 0.5, "polls_per_s": 10.0, "failures_per_s": 2.0
    }  # fmt: skip
    assert set(rates_of(now, None)) == {None}


def test_another_process_gives_no_rates() -> None:
    """In a container, every start has the same pid."""
    before, now = look(0.0, device("a", failed_requests=9), boot="0a"), look(1.0, device("a"), boot="0b")
    assert set(rates_of(now, before)) == {None}
    assert view("devices", now, before).rows[0].cells[6] == "-"


def test_counters_that_were_set_to_zero_give_none() -> None:
    before, now = look(0.0, requests=100), look(1.0, requests=5)
    assert rates_of(now, before).requests is None


def test_the_head_tells_which_gateway_and_what_it_does() -> None:
    before = look(0.0, device("a"), device("b", "down"), requests=0)
    now = look(1.0, device("a", good_requests=15), device("b", "down"), requests=1234)
    first, second = head(now, before)
    assert first.startswith("gateway 1.2 up 1m, process 7; 2 clients, requests 1234/s, exceptions 0/s; ")
    assert second == "1 down, 1 good; 1/1 links up; polls 5/s, failed 0/s"


def test_findings_are_the_first_table_with_what_is_more_below_each() -> None:
    down = look(1.0, device("a", "down", last_error="no answer within 1 s"))
    found = views(down, None)[0]
    assert found.title == "wrong"
    assert found.rows[0].cells[0] == "PLC"
    assert "a (unit 1) is down" in found.rows[0].cells[1]


def test_clients_that_ask_most_come_first_and_events_the_newest() -> None:
    clients = [
        {"peer": f"10.0.0.{n}:5", "requests": 10 * n, "exceptions": 0, "way": "tcp", "idle_s": 1.0} for n in (1, 2)
    ]
    events = [
        {"number": n, "time_ms": 0, "kind": "device", "where": "a", "level": "error", "text": f"{n}"} for n in (1, 2)
    ]
    before = Look(0.0, look().status, [{"peer": each["peer"], "requests": 0} for each in clients])
    now = Look(1.0, look().status, clients, events)
    assert names(view("clients", now, before).rows) == ["10.0.0.2:5", "10.0.0.1:5"]
    assert [row.cells[-1] for row in view("events", now).rows] == ["2", "1"]
    assert view("events", now).rows[0].colour == "red"


def test_routes_are_there_when_the_plant_has_some() -> None:
    assert "routes" not in [each.title for each in views(look(), None)]
    route = {"unit": 5, "forward": "press", "to_unit": None, "requests": 3, "failed": 1}
    now = Look(1.0, look().status | {"routes": [route]})
    assert view("routes", now).rows[0].cells == ("5", "press", "same", "-", "0", "0", "0", "1")


def test_a_filter_wants_all_its_words_anywhere() -> None:
    found = view("devices", look(1.0, device("press 1"), device("press 2", "down"), device("oven", "down")))
    assert names(chosen(found, "", None, is_reversed=False)) == ["press 2", "oven", "press 1"]
    assert names(chosen(found, "DOWN press", None, is_reversed=False)) == ["press 2"]


def test_numbers_are_sorted_the_highest_first_and_names_by_the_alphabet() -> None:
    found = view("devices", look(1.0, device("b", age_s=1.0), device("a", age_s=None), device("c", age_s=30.0)))
    assert names(chosen(found, "", 0, is_reversed=False)) == ["a", "b", "c"]
    assert names(chosen(found, "", 3, is_reversed=False)) == ["c", "b", "a"], "what is not known comes last"
    assert names(chosen(found, "", 3, is_reversed=True)) == ["a", "b", "c"]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 300])
def test_no_line_is_wider_than_the_terminal_and_the_first_columns_stay(width: int) -> None:
    found = view("devices", look(1.0, device("a device with a long name", last_error="refused the connection " * 5)))
    layout = laid_out(found, found.rows, width)
    shown = line(found, found.rows[0].cells, layout)
    if width >= 40:
        assert len(shown) <= width
    assert shown.startswith("a device wi")
    assert {0, 2} <= {at for at, _ in layout}


def test_what_is_cut_short_says_so_and_what_fits_is_whole() -> None:
    found = view("devices", look(1.0, device("a device with a long name", last_error="refused the connection")))
    assert "a device with a long n~" in line(found, found.rows[0].cells, laid_out(found, found.rows, 50))
    assert "a device with a long name" in line(found, found.rows[0].cells, laid_out(found, found.rows, 200))
