"""`gateway export` and `gateway import` as a user sees them, and what other programs say to the files."""

from __future__ import annotations

import json
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.config.changes import this_version
from gateway.maps.registry import FORMATS
from tests.support.needs import require
from tests.support.oneshot import gateway as process
from tests.support.process import ROOT, running
from tests.support.until import wait_until

PLANT = """\
server: {listen: tcp://0.0.0.0:502, identity: {product: Press hall}}
web: {listen: "http://127.0.0.1:8080"}
units: {3: {forward: press}}
devices:
  press:
    url: tcp://192.168.1.10
    tags:
      pressure: {at: holding:10, type: float32, order: CDAB, unit: bar, to: 1/input:200}
      batch: {at: holding:12, type: bcd16, to: 2/input:0}
"""


class Ended(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def gateway(*arguments: str) -> Ended:
    """The command in this process: a new one for each of so many would take a minute."""
    result = CliRunner().invoke(app, arguments, prog_name="gateway")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Ended(result.exit_code, result.stdout, result.stderr)


@pytest.fixture
def plant(tmp_path: Path) -> Path:
    path = tmp_path / "plant.yaml"
    path.write_text(PLANT, encoding="utf-8")
    return path


def test_a_file_is_written_and_what_is_not_in_it_is_told(plant: Path, tmp_path: Path) -> None:
    result = process("export", str(plant), "-f", "telegraf", "--host", "gw1:1502", "-o", str(tmp_path / "t.conf"))
    assert (result.returncode, result.stdout) == (0, "")
    assert 'controller = "tcp://gw1:1502"' in (tmp_path / "t.conf").read_text()
    assert result.stderr == "note: left out, Telegraf has no bcd16; `as: uint16` serves a number: press.batch\n"


def test_json_is_the_neutral_map_and_nothing_but_it(plant: Path) -> None:
    told = json.loads(gateway("export", str(plant), "--json", "--units", "1").stdout)
    (entry,) = told["entries"]
    assert (entry["name"], entry["unit_id"], entry["address"], entry["order"]) == ("pressure", 1, 200, "ABCD")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "homeassistant"], "did you mean `home-assistant`?"),
        ([], "say which, such as `--format csv`"),
        (["-f", "csv", "--device", "pres"], "no device 'pres'; did you mean `press`?"),
        (["-f", "csv", "--units", "1,300"], "`300` is no unit id"),
        (["-f", "csv", "--host", "http://x"], "`http://x` is no host"),
        (["-f", "csv", "--json"], "--json is --format json"),
        (["-f", "kepware"], "serves 1, 2: write a file for each, such as `--units 1`"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_write(arguments: list[str], message: str, plant: Path) -> None:
    result = gateway("export", str(plant), *arguments)
    assert result.returncode == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())


def test_a_wrong_plant_and_a_place_that_cannot_be_written(plant: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("servr: {}\n")
    assert "did you mean 'server'?" in gateway("export", str(wrong), "-f", "csv").stderr
    result = gateway("export", str(plant), "-f", "csv", "-o", str(tmp_path / "none" / "map.csv"))
    assert result.returncode == 2
    assert "cannot be written: there is no directory" in result.stderr


def test_the_plants_own_files_are_never_written_over(plant: Path) -> None:
    ended = gateway("export", str(plant), "--format", "csv", "-o", str(plant.parent / "." / plant.name), "--force")
    assert ended.returncode == 2
    assert "is a file that is read for this, such as the plant's: name another" in ended.stderr
    assert plant.read_text(encoding="utf-8") == PLANT


def test_a_file_that_is_there_is_written_over_with_force_only(plant: Path, tmp_path: Path) -> None:
    table, made = tmp_path / "map.csv", tmp_path / "press.yaml"
    for file, arguments in (
        (table, ["export", str(plant), "-f", "csv", "-o", str(table)]),
        (made, ["import", str(table), "--url", "tcp://10.0.0.1", "-o", str(made)]),
    ):
        file.write_text("mine")
        refused = gateway(*arguments)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert f"{file} is there already; --force writes over it" in refused.stderr
        assert file.read_text() == "mine"
        assert gateway(*arguments, "--force").returncode in (0, 3)
        assert file.read_text() != "mine"
    over = gateway("import", str(table), "--url", "tcp://10.0.0.1", "-o", str(table), "--force")
    assert over.returncode == 2, "the table itself is read"


def test_an_empty_map_says_why(tmp_path: Path) -> None:
    path = tmp_path / "plant.yaml"
    path.write_text("units: {1: {forward: d}}\ndevices: {d: {url: tcp://10.0.0.1}}\n")
    assert "passed through only" in gateway("export", str(path), "-f", "csv").stderr


def test_prometheus_is_content_with_its_file(plant: Path, tmp_path: Path) -> None:
    path = tmp_path / "prometheus.yml"
    gateway("export", str(plant), "-f", "prometheus", "-o", str(path))
    checked = subprocess.run([require("promtool"), "check", "config", str(path)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "no page" in gateway("export", str(ROOT / "config" / "mirror.yaml"), "-f", "prometheus").stderr


def test_the_page_is_whole_and_asks_nobody(plant: Path) -> None:
    page = gateway("export", str(plant), "-f", "html").stdout

    class Parser(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []
            self.cells: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert not {"src", "href"} & {name for name, _ in attrs}
            if tag != "meta":
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

        def handle_data(self, data: str) -> None:
            self.cells.append(data)

    parser = Parser()
    parser.feed(page)
    assert parser.open == []
    assert {"300201..300202", "input:200..201", "press.pressure", "float32", "bar"} <= set(parser.cells)
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_help_shows_two_examples_and_every_format() -> None:
    for command in ("export", "import"):
        text = gateway(command, "--help").stdout
        assert text.count(f"gateway {command} ") >= 2
    assert all(name in gateway("export", "--help").stdout for name in FORMATS)


# -- import -------------------------------------------------------------------------------------------------------


def test_what_is_imported_is_a_plant_and_rows_that_cannot_be_are_named(tmp_path: Path) -> None:
    table, made = tmp_path / "tags.csv", tmp_path / "press.yaml"
    table.write_text("name,type,reference\npressure,float32,400011\nspeed,int17,400013\n")
    result = gateway("import", str(table), "--url", "tcp://192.168.1.10", "--name", "press", "-o", str(made))
    assert result.returncode == 3
    assert result.stderr.splitlines()[0].startswith(f"{table}:3:7: unknown type 'int17'")
    assert "1 tag of press; 1 row left out" in result.stderr
    assert gateway("check", str(made)).returncode == 0
    assert made.read_text().splitlines()[1] == f'version: "{this_version()}"'
    again = gateway("import", str(table), "--url", "tcp://192.168.1.10", "-o", str(made))
    assert (again.returncode, "is there already" in again.stderr) == (2, True)


def test_what_is_imported_is_as_new_as_the_gateway_and_fits_into_a_plant_that_says_its_version(tmp_path: Path) -> None:
    table, made = tmp_path / "tags.csv", tmp_path / "press.yaml"
    table.write_text("name,type,reference,access\nspeed,uint16,400013,RW\n")
    result = gateway("import", str(table), "--url", "tcp://192.168.1.10", "-o", str(made))
    assert result.returncode == 0, result.stderr
    checked = gateway("check", str(made))
    assert (checked.returncode, "note:" in checked.stderr) == (0, False), "nothing has changed since it was made"
    plant = tmp_path / "plant.yaml"
    plant.write_text(f'version: "{this_version()}"\ninclude: [press.yaml]\n')
    checked = gateway("check", str(plant))
    assert (checked.returncode, checked.stderr) == (0, "")


def test_kepware_is_seen_by_its_columns(tmp_path: Path) -> None:
    table = tmp_path / "Line 3.csv"
    table.write_text("Tag Name,Address,Data Type,Client Access\na,400001,Float,R/W\n")
    result = gateway("import", str(table), "--url", "tcp://10.0.0.1", "--order", "CDAB", "--unit", "7")
    assert (result.returncode, result.stderr) == (0, "1 tag of Line_3\n")
    assert "  Line_3:\n" in result.stdout
    assert "    unit: 7\n    order: CDAB\n" in result.stdout
    assert 'a: {at: holding:0, type: float32, to: "7/holding:0", as: raw, write: true}' in result.stdout


def test_json_has_the_section_and_what_was_left_out(tmp_path: Path) -> None:
    table = tmp_path / "tags.csv"
    table.write_text("name,type,reference\na,int16,400001\nb,int16,\n")
    result = gateway("import", str(table), "--url", "tcp://10.0.0.1", "--json")
    told = json.loads(result.stdout)
    assert (result.returncode, told["ok"], told["tags"]) == (3, True, 1)
    assert told["left_out"][0]["line"] == 3
    assert "at: holding:0" in told["section"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--url", "192.168.1.10"], 2, "is not a URL; write `tcp://192.168.1.10`"),
        (["--url", "tcp://h", "--kind", "xls"], 2, "there is csv, kepware"),
        (["--url", "tcp://h", "--order", "CDAB"], 2, "names the order of each value"),
        (["--url", "tcp://h"], 2, "tags.csv:1:1: no column `type`"),
    ],
)
def test_what_cannot_be_imported_is_said(arguments: list[str], code: int, message: str, tmp_path: Path) -> None:
    table = tmp_path / "tags.csv"
    table.write_text("name,reference\na,400001\n")
    result = gateway("import", str(table), *arguments)
    assert result.returncode == code
    assert message in " ".join(result.stderr.replace("│", " ").split())


def test_a_gateway_that_was_built_from_anothers_map_serves_the_same(tmp_path: Path) -> None:
    """Export, import, run both: what the second serves is what the first has."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = (
        "server: {listen: tcp://127.0.0.1:0}\n"
        "devices:\n  mixer:\n    url: sim://\n    tags:\n"
        '      level: {at: holding:0, type: float32, order: CDAB, sim: "12.5", to: 1/input:3}\n'
        '      raw: {at: holding:2, type: int16, scale: 0.1, sim: "42.5", as: raw, to: 1/input:5}\n'
        "      target: {at: holding:9, type: uint16, write: true, to: 1/holding:7}\n"
    )
    with running(first, tmp_path / "a") as one:
        host = f"127.0.0.1:{one.port}"
        table = tmp_path / "map.csv"
        gateway("export", str(tmp_path / "a" / "plant.yaml"), "-f", "csv", "-o", str(table))
        section = gateway("import", str(table), "--url", f"tcp://{host}").stdout
        with running("server: {listen: tcp://127.0.0.1:0}\n" + section, tmp_path / "b") as other:
            url = f"tcp://127.0.0.1:{other.port}"
            wait_until(lambda: "12.5" in gateway("read", url, "input:3..4", "--type", "float32", "--json").stdout, 10)
            assert "425" in gateway("read", url, "input:5", "--json").stdout
            assert gateway("write", url, "holding:7", "33").returncode == 0
            assert "33" in gateway("read", f"tcp://{host}", "holding:7", "--json").stdout
