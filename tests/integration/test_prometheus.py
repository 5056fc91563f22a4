"""Prometheus's own tools judge what the gateway tells: a real scrape, the alert rules, the dashboard's expressions."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Start
from tests.support.devices import free_port
from tests.support.needs import require, require_module
from tests.support.process import ROOT, Running
from tests.support.until import wait_until

CONFIG = ROOT / "config"
RULES = CONFIG / "prometheus"
PLANT = """
server: {listen: "tcp://127.0.0.1:0"}
web: {listen: "http://127.0.0.1:%d", metrics: {tags: true}}
units: {5: {forward: mixer}}
devices:
  mixer:
    url: sim://
    every: 100ms
    poll: [{read: holding:20..29, to: 1/holding:1000, write: through}]
    tags: {"level \\"°C\\"": {at: holding:0, type: float32, unit: "°C", to: 1/input:0}}
  dead: {url: "tcp://127.0.0.1:1", tags: {x: {at: holding:0, type: int16, to: 1/input:9}}}
"""


class Scraped:
    """A gateway that runs, and what it told once."""

    def __init__(self, gateway: Running, port: int) -> None:
        self.gateway = gateway
        self.port = port

    def scrape(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
            text: str = answer.read().decode()
            return text

    def sample(self, start: str) -> float | None:
        """The value of the first sample that begins so."""
        found = next((line for line in self.scrape().splitlines() if line.startswith(start)), None)
        return None if found is None else float(found.rsplit(" ", 1)[1])


@pytest.fixture(scope="module")
def running(start: Start) -> Scraped:
    require_module("starlette")
    port = free_port()
    gateway = start(PLANT % port)
    gateway.wait_for_log("the page is at")
    found = Scraped(gateway, port)
    wait_until(lambda: found.sample('gateway_device_state{device="mixer",state="good"}') == 1.0, 10, "a good device")
    return found


def names_in(text: str) -> set[str]:
    """Metrics of a scrape; those of a histogram under all their names."""
    return {re.split(r"[{ ]", line)[0] for line in text.splitlines() if line[:1] not in ("#", "")}


# -- a scrape --------------------------------------------------------------------------------------------------------


def test_promtool_accepts_a_scrape_without_a_word(running: Scraped) -> None:
    checked = subprocess.run(
        [require("promtool"), "check", "metrics"], input=running.scrape(), capture_output=True, text=True
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_a_scrape_tells_of_devices_links_tags_and_the_process(running: Scraped) -> None:
    assert running.sample('gateway_device_state{device="dead",state="down"}') == 1.0
    assert running.sample('gateway_link_up{link="sim://mixer"}') == 1.0
    assert (running.sample('gateway_link_round_trip_seconds_count{link="sim://mixer"}') or 0) > 0
    assert running.sample('gateway_tag_value{device="mixer",tag="level \\"°C\\"",unit="°C"}') is not None
    assert running.sample('gateway_tag_value{device="dead"') is None
    assert running.sample('gateway_tag_quality{device="dead",tag="x"}') == 2.0
    assert (running.sample("gateway_loop_lag_seconds_count") or 0) > 0
    assert (running.sample("process_resident_memory_bytes") or 0) > 10_000_000


def test_requests_of_clients_are_counted_by_unit(running: Scraped) -> None:
    before = running.sample('gateway_unit_requests_total{unit_id="1"}') or 0.0
    command = ["-m", "gateway", "read", f"tcp://127.0.0.1:{running.gateway.port}", "input:0..1", "--unit", "1"]
    subprocess.run([sys.executable, *command], check=True, capture_output=True, cwd=ROOT)
    assert running.sample('gateway_unit_requests_total{unit_id="1"}') == before + 1


# -- rules and dashboard ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [["check", "config", "prometheus.yml"], ["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]],
    ids=lambda command: " ".join(command),
)
def test_promtool_accepts_the_rules_and_their_tests(command: list[str]) -> None:
    checked = subprocess.run([require("promtool"), *command], cwd=RULES, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CONFIG / "grafana-dashboard.json").read_text())
    return found


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def expressions() -> list[str]:
    """All of the dashboard, its variables filled in."""
    found = [target["expr"] for panel in panels() for target in panel["targets"]]
    found += [each["expr"] for each in dashboard()["annotations"]["list"]]
    filled = [each.replace("$__rate_interval", "1m") for each in found]
    return [re.sub(r"\$(instance|device|link)", ".*", each) for each in filled]


def test_prometheus_reads_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    rules = [{"record": f"r:{number}", "expr": expr} for number, expr in enumerate(expressions())]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    checked = subprocess.run(
        [require("promtool"), "check", "rules", str(tmp_path / "rules.yml")], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_dashboard_and_alerts_name_metrics_that_there_are(running: Scraped) -> None:
    variables = [json.dumps(each) for each in dashboard()["templating"]["list"]]
    asked = "\n".join([*expressions(), *variables, (RULES / "alerts.yml").read_text()])
    named = set(re.findall(r"\b(?:gateway|process)_[a-z_]+\b", asked))
    assert len(named) > 40
    # A rate is not known before some seconds have passed.
    wait_until(lambda: not named - names_in(running.scrape()), 15, "every metric that is named")


def test_every_label_that_is_asked_for_exists(running: Scraped) -> None:
    text = running.scrape()
    for name, label in set(re.findall(r"\b(gateway_\w+)\{[^}]*?(\w+)=", "\n".join(expressions()))):
        if label != "instance":  # Prometheus's own
            assert re.search(rf"^{name}\{{[^}}]*\b{label}=", text, re.MULTILINE), (name, label)


def test_panels_lie_side_by_side_and_say_what_they_show() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in dashboard()["panels"]}) == len(dashboard()["panels"])
    assert len({panel["title"] for panel in panels()}) == len(panels())
    for panel in panels():
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == panel["datasource"]["uid"] == "${datasource}"


# -- a real Prometheus -----------------------------------------------------------------------------------------------


@contextmanager
def prometheus(directory: Path, target: int) -> Iterator[int]:
    """Scrapes the gateway five times a second with the rules of `config/`; its port."""
    program, port = require("prometheus"), free_port()
    text = (RULES / "prometheus.yml").read_text()
    text = text.replace("15s", "200ms").replace("127.0.0.1:8080", f"127.0.0.1:{target}")
    (directory / "prometheus.yml").write_text(text)
    (directory / "alerts.yml").write_text((RULES / "alerts.yml").read_text())
    command = [program, "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn",
               f"--web.listen-address=127.0.0.1:{port}"]  # fmt: skip
    with subprocess.Popen(command, cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            yield port
        finally:
            process.kill()


def test_prometheus_scrapes_and_raises_an_alert(running: Scraped, tmp_path: Path) -> None:
    with prometheus(tmp_path, running.port) as port:

        def ask(path: str) -> Any:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{path}", timeout=5) as answer:
                    return json.loads(answer.read())["data"]
            except OSError:
                return None

        def result(query: str) -> Any:
            return (ask(f"query?query={urllib.parse.quote(query)}") or {}).get("result")

        up = wait_until(lambda: result('gateway_device_state{state="good"} == 1'), 15, "a scrape")
        assert [each["metric"]["device"] for each in up] == ["mixer"]
        pending = wait_until(lambda: result('ALERTS{alertname="DeviceDown"}'), 10, "the alert")
        assert pending[0]["metric"]["device"] == "dead"
        assert wait_until(lambda: result("rate(gateway_link_round_trip_seconds_count[2s]) > 0"), 10, "a rate")
