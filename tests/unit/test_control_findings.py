"""What is wrong with a plant, read out of its status: whose it is, in one sentence for each cause."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.control.findings import NETWORK, PLC, US, Finding, findings, span


def link(name: str = "tcp://10.0.0.5:502", **more: Any) -> dict[str, Any]:
    made = {"name": name, "url": name, "urls": [name], "up": True, "trouble": "", "in_flight": 1, "queued": 0}
    return {**made, "load_percent": 12.0, "counters": {"requests": 100}, "demoted": [], **more}


def job(block: str = "holding:0..49 (400001..400050)", **more: Any) -> dict[str, Any]:
    made = {"block": block, "every_s": 0.1, "requested_per_s": 10.0, "achieved_per_s": 10.0, "lag_s": 0.001}
    return {**made, "took_s": 0.004, "overload_percent": 0.0, "skipped": 0, "age_s": 0.1, "error": "", **more}


def device(name: str, **more: Any) -> dict[str, Any]:
    made = {"name": name, "link": "tcp://10.0.0.5:502", "unit": 1, "enabled": True, "state": "good", "age_s": 0.1}
    made |= {"last_error": "", "last_exception": 0, "failures_in_row": 0, "good_requests": 9, "failed_requests": 0}
    writes = {"done": 0, "refused": 0, "unknown": 0, "waiting": 0}
    return {**made, "jobs": [job()], "holes": [], "writes": writes, **more}


def snapshot(*parts: dict[str, Any], reload: str = "") -> dict[str, Any]:
    gateway = {"version": "1.0", "pid": 7, "uptime_s": 99.0, "generation": 1, "config": "plant.yaml", "reload": reload}
    gateway |= {"clients": 2, "requests": 10, "exceptions": 0, "listen": ["tcp://0.0.0.0:502"]}
    devices = [part for part in parts if "link" in part]
    return {"gateway": gateway, "links": [part for part in parts if "urls" in part], "devices": devices, "routes": []}


def only(found: list[Finding]) -> Finding:
    (finding,) = found
    return finding


def test_a_healthy_plant_has_no_finding() -> None:
    idle = device("idle", state="disabled", enabled=False, age_s=None, jobs=[])
    assert findings(snapshot(link(), device("press"), idle)) == []


def test_a_plant_that_just_started_has_no_finding() -> None:
    just = device("press", state="waiting", age_s=None)
    assert findings(snapshot(link(up=False, trouble="connecting"), just)) == []
    assert findings(snapshot(link(), just)) == []


def test_a_link_that_is_down_is_one_finding_of_the_network_however_many_devices_it_has() -> None:
    dead = [device(f"d{number}", unit=number, state="down", last_error="x") for number in range(100)]
    finding = only(findings(snapshot(link(up=False, trouble="the host does not answer", since_s=125.0), *dead)))
    assert finding.whose == NETWORK
    assert finding.what == "link tcp://10.0.0.5:502 is down for 2m 5s: the host does not answer"
    assert finding.more == ("no fresh values from 100 of 100 devices: d0, d1, d2, d3, d4, d5, d6, d7 and 92 more",)


def test_a_refused_connection_is_the_plcs_because_its_host_answers() -> None:
    down = link("boilers", urls=["tcp://a:502", "tcp://b:502"], up=False, trouble="refused the connection")
    finding = only(findings(snapshot(down)))
    assert finding.whose == PLC
    assert finding.what == "link boilers (tcp://a:502, tcp://b:502) is down: refused the connection"
    assert "nothing listens on that port" in finding.more[0]


def test_a_link_that_is_named_by_its_addresses_does_not_repeat_them() -> None:
    urls = ["tcp://a:502", "tcp://b:502"]
    finding = only(findings(snapshot(link("|".join(urls), urls=urls, up=False, trouble="the host does not answer"))))
    assert finding.what == "link tcp://a:502|tcp://b:502 is down: the host does not answer"


def test_a_connection_that_is_accepted_and_dropped_is_told_with_the_link() -> None:
    flapping = link(trouble="the device closed the connection")
    finding = only(findings(snapshot(flapping, device("press", state="down", last_error="x"))))
    assert finding.whose == PLC
    assert "is connected, but nobody has answered: the device closed the connection" in finding.what


def test_a_device_that_closes_idle_connections_is_fine() -> None:
    assert findings(snapshot(link(trouble="the device closed the connection"), device("meter"))) == []


def test_a_silent_unit_is_the_plcs_and_tells_its_next_probe() -> None:
    demoted = [{"unit": 3, "since_s": 60.0, "next_probe_s": 40.0}]
    silent = device("press", unit=3, state="down", age_s=65.0, last_error="no answer within 1 s", failures_in_row=3)
    finding = only(findings(snapshot(link(demoted=demoted), silent, device("mixer"))))
    assert finding == Finding(
        PLC,
        "press (unit 3) is down, last good 1m 5s ago: no answer within 1 s (3 in a row)",
        ("left alone for 1m but for single probes, the next in 40s",),
        "press",
    )


def test_a_silent_unit_that_only_forwards_use_is_told_too() -> None:
    demoted = [{"unit": 12, "since_s": 60.0, "next_probe_s": 40.0}]
    finding = only(findings(snapshot(link(demoted=demoted), device("press"))))
    assert finding.what == "unit 12 on link tcp://10.0.0.5:502 does not answer"


def test_devices_that_fail_alike_are_told_together() -> None:
    dead = [device(f"d{number}", unit=number, state="down", last_error="no answer within 1 s") for number in range(9)]
    finding = only(findings(snapshot(link(), *dead)))
    assert finding.what == "9 devices are down: no answer within 1 s"
    assert finding.more == ("d0, d1, d2, d3, d4, d5, d6, d7 and 1 more",)


def test_a_device_that_answered_never_and_only_with_exceptions_is_told_with_the_code() -> None:
    refusing = device("press", state="waiting", age_s=None, last_exception=4, failures_in_row=7)
    finding = only(findings(snapshot(link(), refusing)))
    assert finding.what == (
        "press (unit 1) is waiting, never answered: exception 04 server device failure (7 in a row)"
    )


def test_values_that_grow_old_on_a_full_link_are_ours() -> None:
    slow = job("coils:0..15 (000001..000016)", every_s=1.0, requested_per_s=1.0, achieved_per_s=1.0, took_s=0.1)
    fast = job(achieved_per_s=7.4, took_s=0.124)
    stale = device("press", state="stale", jobs=[slow, fast])
    first, second = findings(snapshot(link(load_percent=134.0), stale))
    assert first.whose == second.whose == US
    assert "press (unit 1) is stale" in first.what
    assert second.what == "link tcp://10.0.0.5:502 is asked for 134 % of what it can carry"
    assert second.more[1:] == (
        "press holding:0..49 (400001..400050) every 100ms: 7.4 of 10 a second, 124 % of the link",
        "press coils:0..15 (000001..000016) every 1s: 1 of 1 a second, 10 % of the link",
    )


def test_jobs_share_the_requests_that_a_link_may_have_in_flight() -> None:
    busy = device("press", jobs=[job(took_s=0.4)])
    finding = only(findings(snapshot(link(load_percent=101.0, in_flight=4), busy)))
    assert finding.more[0] == "slow this down:"
    assert finding.more[1].endswith("10 of 10 a second, 100 % of the link")


def test_a_full_link_is_not_overloaded() -> None:
    assert findings(snapshot(link(load_percent=100.0), device("press"))) == []


def test_refused_registers_are_told_in_both_notations_with_what_is_safe_to_read() -> None:
    hole = {
        "block": "holding:0..9 (400001..400010)",
        "refused": ["holding:5 (400006)"],
        "code": 2,
        "safe": ["holding:0..4 (400001..400005)", "holding:6..9 (400007..400010)"],
        "next_try_s": 540.0,
    }
    finding = only(findings(snapshot(link(), device("press", holes=[hole]))))
    assert finding.what == (
        "press refuses holding:5 (400006) of holding:0..9 (400001..400010): exception 02 illegal data address"
    )
    assert finding.more[0] == (
        "safe to read in one request each: holding:0..4 (400001..400005), holding:6..9 (400007..400010)"
    )
    assert "tried again in 9m" in finding.more[1]
    nothing = only(findings(snapshot(link(), device("press", holes=[{**hole, "safe": [], "next_try_s": None}]))))
    assert nothing.more == ("nothing of that block can be read",)


def test_a_refused_reload_is_ours() -> None:
    finding = only(findings(snapshot(link(), reload="plant.yaml:3:5: devices.press.ulr: unknown key")))
    assert finding.whose == US
    assert "is not in use: plant.yaml:3:5:" in finding.what


def test_what_concerns_most_comes_first() -> None:
    hole = {"block": "b", "refused": ["r"], "code": 2, "safe": [], "next_try_s": 1.0}
    found = findings(
        snapshot(
            device("full", link="c", holes=[hole]),
            device("late", link="b", state="stale", last_error="late"),
            device("dead", link="b", state="down", last_error="dead"),
            device("gone", link="a", state="down", last_error="gone"),
            link("c", load_percent=150.0),
            link("b"),
            link("a", up=False, trouble="the host does not answer"),
            reload="no",
        )
    )
    order = ("link a is down", "dead", "late", "full refuses", "link c is asked", "the changed configuration")
    assert [finding.what.startswith(begin) for finding, begin in zip(found, order, strict=True)] == [True] * 6


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (float("inf"), "-"),
        (0.0, "0ms"),
        (0.00123456, "1.23ms"),
        (0.9999, "1s"),
        (4.25, "4.25s"),
        (59.94, "59.9s"),
        (59.96, "1m"),
        (125.0, "2m 5s"),
        (3599.6, "1h"),
        (11_520.0, "3h 12m"),
        (1_047_600.0, "12d 3h"),
    ],
)
def test_times_are_told_in_two_units_at_most(seconds: float | None, text: str) -> None:
    assert span(seconds) == text


def test_a_links_trouble_names_it() -> None:
    gone = {"state": "down", "last_error": "gone"}
    near, far = "127.0.0.1:1551", "127.0.0.1:15519"
    found = findings(
        snapshot(
            device("a", link=near),
            device("b", link=far, **gone),
            link(near),
            link(far, up=False, trouble="the host does not answer"),
        )
    )
    assert [(each.link, each.device) for each in found] == [(far, None)]
