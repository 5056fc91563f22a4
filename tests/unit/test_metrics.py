"""Rows in, Prometheus text out: what is written, how often others may have their turn, what promtool says of it."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from itertools import islice
from typing import Any

import pytest

from gateway.metrics import Rows, TagRow, render
from gateway.metrics import families as tables
from gateway.metrics.text import histogram, label, number
from gateway.traffic import BOUNDS_S, Histogram
from tests.support.needs import require

NOTHING = Histogram().snapshot()
GATEWAY = {
    "version": "0.4.0",
    "uptime_s": 12.5,
    "generation": 2,
    "reload": "",
    "troubles": ["the disk is full"],
    "tasks": 9,
    "clients": 3,
    "requests": 100,
    "exceptions": 4,
    "memory_kb": 40_000,
    "open_files": 20,
    "cpu_s": 1.25,
    "started_s": 1_790_000_000.5,
}


def took(*seconds: float) -> dict[str, Any]:
    made = Histogram()
    for each in seconds:
        made.add(each)
    return made.snapshot()


def link(name: str = "boilers", **more: Any) -> dict[str, Any]:
    names = ("requests", "answers", "timeouts", "late", "foreign", "malformed", "crc_errors", "connects", "losses",
             "redials", "demotions", "dropped", "faults")  # fmt: skip
    return {
        "name": name,
        "url": "tcp://10.0.0.5:502",
        "up": True,
        "load_percent": 25.0,
        "in_flight": 4,
        "pending": 3,
        "queued": 0,
        "demoted": [{"unit": 7}],
        "counters": {each: place for place, each in enumerate(names)},
        "took": took(0.0015, 0.3, 99.0),
        **more,
    }


def job(**more: Any) -> dict[str, Any]:
    return {
        "block": "holding:0..9 (400001..400010)",
        "every_s": 0.25,
        "requested_per_s": 4.0,
        "achieved_per_s": 3.5,
        "lag_s": 0.001,
        "took_s": 0.01,
        "age_s": 0.1,
        "skipped": 5,
        "busy": 0,
        "mismatches": 0,
        "error": "",
        **more,
    }


def device(name: str = "press", **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "link": "boilers",
        "unit": 1,
        "state": "good",
        "age_s": 0.5,
        "last_exception": 2,
        "failures_in_row": 0,
        "good_requests": 10,
        "failed_requests": 1,
        "jobs": [job()],
        "holes": [{"refused": ["holding:4", "holding:7"]}],
        "writes": {"done": 3, "refused": 1, "unknown": 0, "waiting": 2},
        **more,
    }


def status(**more: Any) -> dict[str, Any]:
    names = ("connections", "refused_connections", "crowded", "unwelcome", "handshakes_failed", "half", "unfetched",
             "broken", "denied", "dropped", "twins", "faults", "slowed", "held")  # fmt: skip
    return {
        "gateway": GATEWAY,
        "server": dict.fromkeys(names, 1),
        "audit": {"lines": 5, "waiting": 0, "lost": 0},
        "dial_in": dict.fromkeys(("calls", "unknown", "silent", "crowded", "replaced"), 0),
        "page": dict.fromkeys(
            ("open", "viewers", "requests", "denied", "resyncs", "logins", "failed_logins"), 0
        ),
        "serial": [{"url": "rtu:///dev/ttyS0", "open": False, "heard": 9, "broken": 1, "requests": 2, "exceptions": 0}],
        "links": [link()],
        "devices": [device()],
        "routes": [
            {"unit": 5, "forward": "press", "took": took(0.01), **dict.fromkeys(
                ("requests", "shared", "cached", "refused", "failed"), 0
            )}
        ],
        **more,
    }  # fmt: skip


def text_of(tags: list[TagRow] | None = None, units: list[Any] | None = None, **more: Any) -> str:
    return "".join(render(Rows(status(**more), NOTHING, units or (), tags or ())))


def samples(text: str) -> dict[str, str]:
    """Value by name and labels."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return dict(line.rsplit(" ", 1) for line in lines)


def everything() -> str:
    return text_of(
        tags=[TagRow("press", "pressure", "bar", 1.5, 0), TagRow("press", "name", "", "pump", 0)],
        units=[{"unit": 1, "requests": 7, "exceptions": 1}],
    )


# -- what is written -------------------------------------------------------------------------------------------------


def test_every_row_shows_its_values() -> None:
    found = samples(everything())
    for name, value in {
        'gateway_info{version="0.4.0"}': "1",
        "gateway_config_last_reload_successful": "1",
        "gateway_troubles": "1",
        "process_resident_memory_bytes": "40960000",
        'gateway_clients_closed_total{reason="half_request"}': "1",
        'gateway_line_open{line="rtu:///dev/ttyS0"}': "0",
        'gateway_link_up{link="boilers"}': "1",
        'gateway_link_load_ratio{link="boilers"}': "0.25",
        'gateway_link_requests_in_flight{link="boilers"}': "3",
        'gateway_link_units_silent{link="boilers"}': "1",
        'gateway_link_errors_total{link="boilers",kind="timeout"}': "2",
        'gateway_link_info{link="boilers",url="tcp://10.0.0.5:502"}': "1",
        'gateway_device_info{device="press",link="boilers",unit_id="1"}': "1",
        'gateway_device_requests_total{device="press",outcome="failed"}': "1",
        'gateway_device_ranges_refused{device="press"}': "2",
        'gateway_device_writes_total{device="press",outcome="done"}': "3",
        'gateway_job_achieved_hertz{device="press",block="holding:0..9",interval="250ms"}': "3.5",
        'gateway_forward_requests_total{unit_id="5",target="press"}': "0",
        'gateway_unit_requests_total{unit_id="1"}': "7",
        'gateway_tag_value{device="press",tag="pressure",unit="bar"}': "1.5",
    }.items():
        assert found[name] == value, name


def test_a_device_is_in_one_state() -> None:
    found = samples(text_of(devices=[device(state="down")]))
    by_state = {state: found[f'gateway_device_state{{device="press",state="{state}"}}'] for state in tables.STATES}
    assert by_state == {"waiting": "0", "good": "0", "stale": "0", "down": "1", "disabled": "0"}


def test_buckets_are_added_up_to_the_count() -> None:
    found = samples(text_of())
    name = "gateway_link_round_trip_seconds"
    counts = [found[f'{name}_bucket{{link="boilers",le="{bound:g}"}}'] for bound in BOUNDS_S]
    assert counts == ["0", "1", "1", "1", "1", "1", "1", "1", "2", "2", "2", "2"]
    assert found[f'{name}_bucket{{link="boilers",le="+Inf"}}'] == found[f'{name}_count{{link="boilers"}}'] == "3"
    assert float(found[f'{name}_sum{{link="boilers"}}']) == pytest.approx(99.3015)


def test_what_has_no_value_has_no_sample() -> None:
    text = text_of(
        gateway={**GATEWAY, "memory_kb": None, "open_files": None},
        devices=[device(age_s=None, writes=None)],
        links=[link(took=None)],
    )
    for name in ("gateway_device_age_seconds", "process_open_fds", "gateway_device_writes", "link_round_trip"):
        assert name not in text


@pytest.mark.parametrize(
    ("value", "quality", "written"),
    [
        pytest.param(1.5, 0, "1.5", id="good"),
        pytest.param(True, 0, "1", id="a bool"),
        pytest.param(2**63, 0, "9223372036854775808", id="a large integer"),
        pytest.param(1.5, 1, None, id="uncertain: the last one, too old"),
        pytest.param(1.5, 2, None, id="bad"),
        pytest.param(None, 2, None, id="none yet"),
        pytest.param("pump", 0, None, id="a text"),
    ],
)
def test_a_tag_has_a_value_only_while_it_is_good(value: Any, quality: int, written: str | None) -> None:
    found = samples(text_of(tags=[TagRow("press", "pressure", "", value, quality)]))
    assert found.get('gateway_tag_value{device="press",tag="pressure"}') == written
    assert found['gateway_tag_quality{device="press",tag="pressure"}'] == str(quality)


def test_nothing_is_told_of_tags_unless_it_is_wanted() -> None:
    assert "gateway_tag" not in text_of()


def test_a_block_that_is_polled_twice_is_two_series() -> None:
    found = samples(text_of(devices=[device(jobs=[job(), job(), job(every_s=1.0)])]))
    for labels in (
        'block="holding:0..9",interval="250ms"',
        'block="holding:0..9 #2",interval="250ms"',
        'block="holding:0..9",interval="1s"',
    ):
        assert f'gateway_job_lag_seconds{{device="press",{labels}}}' in found


def test_labels_may_hold_anything() -> None:
    assert label("tag", 'a\\b"c\nd°') == 'tag="a\\\\b\\"c\\nd°"'
    assert label("tag", "half \ud800").encode() == b'tag="half ?"'


@pytest.mark.parametrize(
    ("value", "written"),
    [(float("inf"), "+Inf"), (float("-inf"), "-Inf"), (float("nan"), "NaN"), (1e-9, "1e-09"), (0, "0"), (False, "0")],
)
def test_numbers_are_written_as_the_format_wants(value: Any, written: str) -> None:
    assert number(value) == written


def test_a_histogram_without_labels() -> None:
    assert histogram("x_seconds", "", (0.5,), (2, 1), 1.75) == (
        'x_seconds_bucket{le="0.5"} 2\nx_seconds_bucket{le="+Inf"} 3\nx_seconds_sum 1.75\nx_seconds_count 3\n'
    )


# -- how it is made --------------------------------------------------------------------------------------------------


def test_samples_of_a_metric_stand_together_and_no_series_comes_twice() -> None:
    text = text_of(links=[link("a"), link("b")], devices=[device("a"), device("b")])
    lines = text.splitlines()
    heads = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert max(Counter(heads).values()) == 1
    assert max(Counter(line.rsplit(" ", 1)[0] for line in lines if line[0] != "#").values()) == 1
    current = ""
    for line in lines:
        if line.startswith("# TYPE"):
            current = line.split()[2]
        elif line[0] != "#":
            assert re.sub(r"_(bucket|sum|count)$", "", re.split(r"[{ ]", line)[0]) in (current, line.split("{")[0])
            assert line.startswith(current)


def test_rows_are_taken_one_at_a_time() -> None:
    asked = []

    def many() -> Any:
        for number_ in range(1000):
            asked.append(number_)
            yield device(f"d{number_}")

    parts = render(Rows(status(devices=many()), NOTHING))
    before = 0
    for _ in parts:
        assert len(asked) - before <= 1
        before = len(asked)
    assert before == 1000


def test_ten_thousand_tags_come_in_small_parts() -> None:
    asked = []

    def many() -> Any:
        for number_ in range(10_000):
            asked.append(number_)
            yield TagRow("press", f"t{number_}", "bar", 1.5, 0)

    before = 0
    for part in render(Rows(status(), NOTHING, tags=many())):
        assert len(part) < 10_000
        assert len(asked) - before <= 20
        before = len(asked)
    assert before == 10_000


def test_it_can_be_left_in_the_middle() -> None:
    parts = render(Rows(status(devices=(device(f"d{each}") for each in range(100))), NOTHING))
    assert len(list(islice(parts, 30))) == 30
    parts.close()  # type: ignore[attr-defined]


# -- names -----------------------------------------------------------------------------------------------------------


def _families() -> list[Any]:
    found = [value for value in vars(tables).values() if isinstance(value, tables.Family)]
    for value in vars(tables).values():
        if isinstance(value, tuple) and value and isinstance(value[0], tables.Metric):
            found += [metric.family for metric in value]
    return found


def test_names_follow_the_conventions() -> None:
    for family in _families():
        assert family.name.startswith(("gateway_", "process_"))
        assert (family.kind == "counter") == family.name.endswith("_total"), family.name
        assert family.help.endswith(".")


def test_this_file_renders_every_family() -> None:
    heads = {line.split()[2] for line in everything().splitlines() if line.startswith("# TYPE")}
    assert heads == {family.name for family in _families()}


def test_promtool_has_nothing_to_say() -> None:
    promtool = require("promtool")
    checked = subprocess.run([promtool, "check", "metrics"], input=everything(), capture_output=True, text=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
