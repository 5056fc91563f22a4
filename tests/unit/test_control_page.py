"""The page of `gateway status`: what is wrong stands first, it fits 80 columns, and it stays one page."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from gateway.cli.status import MAX_FINDINGS, MAX_ROWS, show
from gateway.control.findings import findings

NARROW = 80
WIDE = 400
"""What a file or a pipe gets: no line is broken."""

REFUSED = {
    "block": "holding:0..9 (400001..400010)",
    "refused": ["holding:5 (400006)"],
    "code": 2,
    "safe": ["holding:0..4 (400001..400005)", "holding:6..9 (400007..400010)"],
    "next_try_s": 540.0,
}


def job(block: str, **more: Any) -> dict[str, Any]:
    made = {"block": block, "every_s": 0.1, "requested_per_s": 10.0, "achieved_per_s": 10.0, "lag_s": 0.00123}
    return {**made, "took_s": 0.0042, "overload_percent": 4.2, "skipped": 0, "age_s": 0.1, "error": "", **more}


def device(name: str, link: str, unit: int, state: str = "good", **more: Any) -> dict[str, Any]:
    made = {"name": name, "link": link, "unit": unit, "enabled": True, "state": state, "age_s": 0.1, "last_error": ""}
    made |= {"last_exception": 0, "failures_in_row": 0, "good_requests": 1_234_567, "failed_requests": 89, "holes": []}
    writes = {"done": 12, "refused": 1, "unknown": 2, "waiting": 0}
    return {**made, "jobs": [job("holding:0..49 (400001..400050)")], "writes": writes, **more}


def link(name: str, **more: Any) -> dict[str, Any]:
    counters = {"requests": 12_345_678, "answers": 12_345_000, "timeouts": 123, "late": 4, "foreign": 0, "malformed": 0}
    made = {"name": name, "url": name, "urls": [name], "up": True, "trouble": "", "in_flight": 1, "queued": 2}
    return {**made, "load_percent": 12.0, "counters": {**counters, "connects": 18, "losses": 17}, "demoted": [], **more}


def sick_plant() -> dict[str, Any]:
    network, bridge = "tcp://192.168.100.110:502", "boilers"
    urls = ["tcp://192.168.100.20:502", "tcp://192.168.100.21:502"]
    demoted = [{"unit": 3, "since_s": 60.0, "next_probe_s": 40.0}]
    slow = job("holding:0..49 (400001..400050)", achieved_per_s=7.4, took_s=0.1, error="exception 02")
    return {
        "gateway": {
            "version": "1.2.3",
            "pid": 4711,
            "uptime_s": 11_520.0,
            "generation": 2,
            "config": "/etc/gateway/plant.yaml",
            "clients": 3,
            "requests": 1000,
            "exceptions": 5,
            "listen": ["tcp://0.0.0.0:502"],
            "reload": "plant.yaml:3:5: devices.press.ulr: unknown key; did you mean 'url'?",
        },
        "links": [
            link(bridge, urls=urls, url=urls[1], load_percent=134.0, demoted=demoted),
            link(network, up=False, trouble="the host does not answer", since_s=300.0),
        ],
        "devices": [
            device("boiler_1", bridge, 1, jobs=[job("coils:0..15 (000001..000016)"), slow], holes=[REFUSED]),
            device("boiler_3", bridge, 3, "down", last_error="no answer within 1 s", failures_in_row=5, age_s=70.0),
            device("packaging_press", network, 1, "down", last_error="the host does not answer", age_s=310.0),
            device("spare", "sim://spare", 1, "disabled", enabled=False, age_s=None, jobs=[]),
        ],
        "routes": [
            {
                "unit": 10,
                "forward": "boilers",
                "to_unit": None,
                "read_only": True,
                "requests": 1_234_567,
                "shared": 12,
                "cached": 34,
                "refused": 56,
                "failed": 78,
            }
        ],
    }


def page(snapshot: dict[str, Any], width: int = WIDE, *, everything: bool = False) -> list[str]:
    console = Console(file=io.StringIO(), highlight=False, markup=False, emoji=False, width=width)
    show(snapshot, findings(snapshot), console, everything=everything)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def cells(lines: list[str], title: str, first: str) -> list[str]:
    """The words of the row that begins with `first` in the table `title`."""
    below = [line.split() for line in lines[[line.strip() for line in lines].index(title) + 1 :]]
    return next(words for words in below if words[:1] == [first])


def first_column(lines: list[str], title: str) -> list[str]:
    """The first word of each row in the table `title`: what stands between its heading and the next empty line."""
    below = [line.split() for line in lines[[line.strip() for line in lines].index(title) + 3 :]]
    return [words[0] for words in below[: below.index([]) if [] in below else None]]


def test_what_is_wrong_stands_before_everything_else_and_says_whose_it_is() -> None:
    lines = [line.strip() for line in page(sick_plant())]
    assert lines[0] == "gateway 1.2.3, process 4711, up 3h 12m: /etc/gateway/plant.yaml, generation 2"
    assert lines[3] == "WRONG: 1 network, 1 PLC, 3 us"
    wrong = lines[4 : lines.index("links")]
    assert [line for line in wrong if line.startswith(("network", "PLC", "us "))] == [
        "network link tcp://192.168.100.110:502 is down for 5m: the host does not answer",
        "PLC     boiler_3 (unit 3) is down, last good 1m 10s ago: no answer within 1 s (5 in a row)",
        "us      boiler_1 refuses holding:5 (400006) of holding:0..9 (400001..400010): "
        "exception 02 illegal data address",
        "us      link boilers is asked for 134 % of what it can carry",
        "us      the changed configuration is not in use: plant.yaml:3:5: devices.press.ulr: unknown key; "
        "did you mean 'url'?",
    ]
    assert "no fresh values from 1 of 1 devices: packaging_press" in wrong
    assert "left alone for 1m but for single probes, the next in 40s" in wrong
    safe = "safe to read in one request each: holding:0..4 (400001..400005), holding:6..9 (400007..400010)"
    assert safe in wrong
    assert "boiler_1 holding:0..49 (400001..400050) every 100ms: 7.4 of 10 a second, 100 % of the link" in wrong


def test_what_is_not_measured_yet_is_shown_as_not_known() -> None:
    """In the first seconds of a gateway: neither 0 nor behind what is asked for."""
    new = job("holding:0..9 (400001..400010)", achieved_per_s=None, took_s=None, overload_percent=0.0)
    late = job("coils:0..9 (000001..000010)", achieved_per_s=9.0)
    snapshot = {"gateway": {}, "links": [link("l", load_percent=None)], "devices": [device("d", "l", 1)], "routes": []}
    snapshot["devices"][0]["jobs"] = [new, late]
    lines = page(snapshot)
    assert cells(lines, "links", "l")[:3] == ["l", "up", "-"]
    below = [line.strip() for line in lines[[line.strip() for line in lines].index("jobs") + 3 :]]
    assert [" ".join(line.split()) for line in below[:2]] == [
        "d coils:0..9 (000001..000010) 100ms 9 of 10 1.23ms 4.2ms 4%",
        "d holding:0..9 (400001..400010) 100ms - of 10 1.23ms - -",
    ]


def test_the_tables_tell_the_rest_the_worst_first() -> None:
    lines = page(sick_plant())
    assert cells(lines, "links", "boilers")[:6] == ["boilers", "via", "tcp://192.168.100.21:502", "up", "134%", "2"]
    down = cells(lines, "links", "tcp://192.168.100.110:502")
    assert down[1:] == ["down", "5m", "12%", "2", "12345678", "123", "4", "17"]
    good = cells(lines, "devices", "boiler_1")
    assert " ".join(good) == "boiler_1 1 good 100ms 1234567 89 12, 1 refused, 2 unknown"
    assert first_column(lines, "devices") == ["boiler_3", "packaging_press", "boiler_1", "spare"]
    assert first_column(lines, "jobs") == ["boiler_1", "boiler_3", "packaging_press", "boiler_1"]
    slow = cells(lines, "jobs", "boiler_1")
    assert " ".join(slow) == "boiler_1 holding:0..49 (400001..400050) 100ms 7.4 of 10 1.23ms 100ms 4%"
    assert cells(lines, "routes", "10") == ["10", "boilers", "same", "read", "1234567", "12", "34", "56", "78"]


def test_it_fits_eighty_columns_and_breaks_no_number() -> None:
    lines = page(sick_plant(), NARROW)
    assert max(map(len, lines)) <= NARROW
    text = "\n".join(lines)
    for whole in ("holding:5 (400006)", "(400001..400050)", "12345678", "1234567", "7.4 of 10", "packaging_press"):
        assert whole in text
    assert "…" not in text, "nothing is cut off"


def test_lines_tell_what_was_garbled_and_who_has_not_dialled_in_yet() -> None:
    snapshot = sick_plant()
    line, meter = link("rtu:///dev/ttyUSB0?baudrate=9600"), "listen+tcp://0.0.0.0:9000?id=m1"
    line["counters"]["crc_errors"] = 17
    trouble = "waiting for the device to dial in to 0.0.0.0:9000 with the id `m1`"
    snapshot["links"] = [line, link(meter, up=False, trouble=trouble, since_s=40.0)]
    lines = page(snapshot)
    assert cells(lines, "links", "rtu:///dev/ttyUSB0?baudrate=9600")[-2:] == ["17", "17"], "losses, garbled"
    assert cells(lines, "links", meter)[1:3] == ["waiting", "40s"]
    assert max(map(len, page(snapshot, NARROW))) <= NARROW


def test_what_clients_did_not_get_is_told_when_there_is_something() -> None:
    snapshot = sick_plant()
    assert not any("beside that" in line for line in page(snapshot))
    snapshot["server"] = {"refused_connections": 3, "denied": 12, "slowed": 0, "half": 1}
    snapshot["audit"] = {"lines": 90, "waiting": 0, "lost": 10}
    lines = page(snapshot)
    assert lines[2] == (
        "beside that: 3 clients turned away, 1 clients closed for half a request, 12 requests refused by the rules"
    )
    assert lines[3] == "the audit has lost 10 of 100 lines"


def test_a_healthy_plant_is_told_in_a_line() -> None:
    snapshot = sick_plant()
    snapshot["gateway"]["reload"] = ""
    snapshot["links"] = [link("boilers")]
    snapshot["devices"] = [device("boiler_1", "boilers", 1), device("boiler_2", "boilers", 2, "waiting", age_s=None)]
    lines = page(snapshot)
    assert lines[3] == "nothing is wrong: 1 devices good, 1 waiting for the first answer, 1 of 1 links up"
    assert "WRONG" not in "\n".join(lines)


def test_a_plant_without_devices_has_no_empty_tables() -> None:
    lines = page({**sick_plant(), "links": [], "devices": [], "routes": []})
    assert not {"links", "devices", "jobs", "routes"} & {line.strip() for line in lines}


def test_a_big_plant_stays_one_page_and_all_of_it_can_be_asked_for() -> None:
    snapshot = sick_plant()
    dead = [
        device(f"d{number}", "boilers", number, "down", last_error=f"error {number}", jobs=[]) for number in range(200)
    ]
    snapshot["devices"] = [device("fine", "boilers", 250, jobs=[]), *dead]
    short, whole = page(snapshot), page(snapshot, everything=True)
    assert f" and {200 + 2 - MAX_FINDINGS + 1} more: --all shows them" in short  # beside them: network, load, reload
    assert f"and {201 - MAX_ROWS} more, in no worse state: --all shows them" in short
    assert not any(line.startswith("fine ") for line in short)
    assert cells(whole, "devices", "fine")[2] == "good"
    assert sum("is down" in line for line in whole) == 201
    assert not any("--all" in line for line in whole)


def test_names_are_data_not_markup() -> None:
    snapshot = sick_plant()
    snapshot["devices"] = [device("[red]press[/]", "boilers", 1)]
    assert cells(page(snapshot), "devices", "[red]press[/]")[2] == "good"
