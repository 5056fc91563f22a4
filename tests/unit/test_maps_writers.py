"""What single writers do for their tools' sake; the golden files show the rest."""

from __future__ import annotations

import json
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from gateway.config.load import load
from gateway.maps.dial import target_of
from gateway.maps.neutral import map_of
from gateway.maps.registry import writer
from gateway.maps.target import ExportError, Written


def write(form: str, plant: str, folder: Path) -> Written:
    path = folder / "plant.yaml"
    path.write_text(plant, encoding="utf-8")
    config = load(path, environ={})
    return writer(form)(map_of(config), target_of(config, "1", None, None, "machine"))


def device(tags: str, before: str = "", name: str = "d") -> str:
    return (
        f"server: {{listen: tcp://10.0.0.9}}\n{before}devices:\n  {name}:\n    url: tcp://10.0.0.1\n    tags:\n{tags}"
    )


def row(name: str, at: int, to: int, kind: str = "float32") -> str:
    return f"      {name}: {{at: holding:{at}, type: {kind}, to: 1/input:{to}}}\n"


ROW_OF_90 = "".join(row(f"t{i}", 2 * i, 30 + 2 * i) for i in range(90))


def test_fuxa_reads_hundreds_where_all_of_them_exist(tmp_path: Path) -> None:
    project = json.loads(write("fuxa", device(ROW_OF_90), tmp_path).text)
    (one,) = project["devices"].values()
    assert (one["property"]["options"], len(one["tags"])) == (False, 90)


def test_fuxa_reads_fragments_where_a_gap_is_none_and_none_passes_a_hundred(tmp_path: Path) -> None:
    project = json.loads(write("fuxa", device(ROW_OF_90 + row("far", 300, 215, "int16")), tmp_path).text)
    assert [each["property"]["options"] for each in project["devices"].values()] == [True, True]
    assert sum(len(each["tags"]) for each in project["devices"].values()) == 91
    for each in project["devices"].values():
        places = sorted((int(tag["address"]) - 1, 1 if tag["type"] == "Int16" else 2) for tag in each["tags"].values())
        for (first, size), (second, _) in pairwise(places):
            assert second > first + size or second // 100 == first // 100, "a fragment would pass a hundred"


def test_fuxa_gaps_that_are_declared_are_none(tmp_path: Path) -> None:
    plant = device(ROW_OF_90 + row("far", 300, 215, "int16"), "units: {1: {input: 0..299}}\n")
    (one,) = json.loads(write("fuxa", plant, tmp_path).text)["devices"].values()
    assert one["property"]["options"] is False


def test_fuxa_cannot_dial_ipv6(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="IPv6"):
        write("fuxa", device(row("a", 0, 0)).replace("tcp://10.0.0.9", '"tcp://[fd00::5]"'), tmp_path)


def test_node_red_reads_what_is_side_by_side_of_one_device_and_no_gap(tmp_path: Path) -> None:
    plant = device(ROW_OF_90 + row("far", 300, 215, "int16")) + (
        "  other:\n    url: tcp://10.0.0.2\n    tags:\n" + row("near", 0, 210, "int16")
    )
    reads = [node for node in json.loads(write("node-red", plant, tmp_path).text) if node["type"] == "modbus-read"]
    assert [(node["adr"], node["quantity"]) for node in reads] == [
        ("30", "124"),
        ("154", "56"),
        ("215", "1"),
        ("210", "1"),
    ]


def test_telegraf_and_home_assistant_speak_rtu_over_tcp_where_there_is_no_tcp(tmp_path: Path) -> None:
    plant = device(row("a", 0, 0)).replace("tcp://10.0.0.9", "rtu+tcp://10.0.0.9:4001")
    (plugin,) = tomllib.loads(write("telegraf", plant, tmp_path).text)["inputs"]["modbus"]
    assert (plugin["controller"], plugin["transmission_mode"]) == ("tcp://10.0.0.9:4001", "RTUoverTCP")
    (hub,) = yaml.safe_load(write("home-assistant", plant, tmp_path).text)["modbus"]
    assert (hub["type"], hub["port"]) == ("rtuovertcp", 4001)


def test_a_string_that_kepware_has_not_is_left_out_and_told(tmp_path: Path) -> None:
    made = write("kepware", device("      s: {at: holding:0..120, type: string, to: 1/input:0}\n"), tmp_path)
    assert len(made.text.splitlines()) == 1
    assert made.notes[-1] == "left out, its strings have at most 240 characters: d.s"


def test_many_remarks_of_one_kind_are_one_line(tmp_path: Path) -> None:
    plant = device("".join(row(f"b{i}", 2 * i, 2 * i, "bcd32") for i in range(9)))
    made = write("telegraf", plant, tmp_path)
    assert made.notes == (
        "left out, Telegraf has no bcd32; `as: uint32` serves a number: d.b0, d.b1, d.b2, d.b3, d.b4 and 4 more",
    )


def test_prometheus_is_told_of_a_login_and_of_https(tmp_path: Path) -> None:
    web = 'web: {listen: "https://127.0.0.1:8443", tls: {cert: c.pem, key: k.pem}, metrics: {open: false}}\n'
    made = write("prometheus", device(row("a", 0, 0), web), tmp_path)
    (job,) = yaml.safe_load(made.text)["scrape_configs"]
    assert (job["scheme"], job["static_configs"][0]["targets"]) == ("https", ["127.0.0.1:8443"])
    assert any("cannot log in" in note for note in made.notes)


def test_texts_that_a_spreadsheet_takes_for_formulas_are_told(tmp_path: Path) -> None:
    made = write("csv", device('      "=1+1": {at: holding:0, type: int16, to: 1/input:0}\n'), tmp_path)
    assert made.notes == ("a spreadsheet may take these for formulas; import the columns as text: d.=1+1",)


def test_markdown_shows_names_as_they_are(tmp_path: Path) -> None:
    plant = device('      "a_b|c*<x>": {at: holding:0, type: int16, to: 1/input:0}\n')
    assert r"| d.a\_b\|c\*\<x\> |" in write("markdown", plant, tmp_path).text


def test_an_export_is_the_same_at_every_time(tmp_path: Path) -> None:
    for form in ("node-red", "fuxa"):
        assert write(form, device(ROW_OF_90), tmp_path).text == write(form, device(ROW_OF_90), tmp_path).text
