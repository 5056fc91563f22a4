"""Plants in several files: includes, profiles, CSV; every message names the file where the mistake stands."""

from __future__ import annotations

from pathlib import Path

from tests.support.config.plants import plant, problems


def test_includes_add_to_every_section(tmp_path: Path) -> None:
    files = {
        "lines/a.yaml": "devices: {a: {url: sim://}}\nserver: {backlog: 5}\nunits: {2: {holding: 9}}\nx-mine: 1\n",
        "lines/b.yaml": "include: deeper/*.yaml\nx-mine: 2\n",
        "lines/deeper/c.yaml": "devices: {c: {url: sim://}}\n",
    }
    text = "include: [lines/*.yaml]\nserver: {default_unit: 2}\ndevices: {main: {url: sim://}}\n"
    config = plant(tmp_path, text, files)
    assert list(config.devices) == ["main", "a", "c"]
    assert (config.server.backlog, config.server.default_unit) == (5, 2)
    assert list(config.units) == [2]


def test_each_file_has_a_version_of_its_own(tmp_path: Path) -> None:
    """Of a plant the oldest one counts; of one whose first file says none, all that changed is told."""
    old, new = 'version: "0.2"\n', 'version: "0.4"\n'
    device = "devices: {a: {url: sim://, poll: [{read: 'holding:0', to: '1/holding:0'}]}}\n"
    main = "include: a.yaml\n"
    assert plant(tmp_path, new + main, {"a.yaml": new + device}).version == "0.4"
    assert plant(tmp_path, new + main, {"a.yaml": old + device}).version == "0.2"
    assert plant(tmp_path, old + main, {"a.yaml": new + device}).version == "0.2"
    assert plant(tmp_path, main, {"a.yaml": new + device}).version is None
    assert "a.yaml:1:1: version: the file was written for version 99.0" in problems(
        tmp_path, new + main, {"a.yaml": 'version: "99.0"\n' + device}
    )[0]  # fmt: skip
    assert problems(tmp_path, main, {"a.yaml": "version: new\n" + device}) == [
        "a.yaml:1:10: version: `new` is no version of the gateway; write one such as `0.4`"
    ]


def test_the_same_name_twice_names_both_places(tmp_path: Path) -> None:
    files = {"b.yaml": "devices:\n  a: {url: sim://}\nserver: {backlog: 6}\n"}
    text = "include: b.yaml\nserver: {backlog: 5}\ndevices:\n  a: {url: sim://}\n"
    assert problems(tmp_path, text, files) == [
        "b.yaml:2:3: devices.a: 'a' stands in two files; first in plant.yaml:4:3",
        "b.yaml:3:10: server.backlog: 'backlog' stands in two files; first in plant.yaml:2:10",
    ]


def test_mistakes_in_an_included_file_are_told_there_in_file_order(tmp_path: Path) -> None:
    files = {"a.yaml": "\ndevices: {b: {url: sim://, unit: 300}}\n"}
    text = "include: a.yaml\nserver: {backlog: 0}\n"
    assert problems(tmp_path, text, files) == [
        "plant.yaml:2:19: server.backlog: must be at least 1, this is 0",
        "a.yaml:1:34: devices.b.unit: must be at most 255, this is 300",
    ]


def test_includes_that_go_wrong(tmp_path: Path) -> None:
    files = {"a.yaml": "include: [plant.yaml]\n", "bad.yaml": "- 1\n"}
    text = "include: [none/*.yaml, missing.yaml, a.yaml, a.yaml, bad.yaml, plant.yaml]\n"
    told = problems(tmp_path, text, files)
    assert told[0].startswith("plant.yaml:1:11: include: no file matches `none/*.yaml` (looked in ")
    assert told[1:] == [
        "plant.yaml:1:24: missing.yaml: there is no such file",
        "plant.yaml:1:46: include: a.yaml is part of the plant already, through plant.yaml:1:38",
        "plant.yaml:1:64: include: plant.yaml includes itself",
        "a.yaml:1:11: include: plant.yaml is part of the plant already, through plant.yaml:1:1",
        "bad.yaml:1:1: the file is a list; expected keys such as `devices:`",
    ]


def test_a_profile_gives_what_the_device_does_not(tmp_path: Path) -> None:
    files = {
        "profiles/meter.yaml": """
            every: 2s
            order: CDAB
            tags:
              power: {at: input:12, type: float32, unit: W, every: 1s}
              energy: {at: input:342, type: float32}
            """
    }
    text = """
    devices:
      m1: {url: sim://, profile: profiles/meter.yaml, tags: {power: {to: "1/input:0", unit: kW}}}
      m2: {url: sim://, profile: profiles/meter.yaml, every: 5s}
    """
    devices = plant(tmp_path, text, files).devices
    assert list(devices["m1"].tags) == ["power", "energy"]
    power = devices["m1"].tags["power"]
    assert (power.at.first, power.unit, power.every_s, power.to is not None) == (12, "kW", 1.0, True)
    assert (devices["m1"].every_s, devices["m2"].every_s) == (2.0, 5.0)
    assert devices["m2"].tags["power"].to is None


def test_a_mistake_in_a_profile_is_told_there_and_once(tmp_path: Path) -> None:
    files = {"p.yaml": "evry: 2s\ntags:\n  a: {at: holding:1, type: real}\n"}
    text = "devices:\n  m1: {url: sim://, profile: p.yaml}\n  m2: {url: sim://, profile: p.yaml}\n"
    assert problems(tmp_path, text, files) == [
        "p.yaml:1:1: devices.m1.evry: unknown key 'evry'; did you mean 'every'?",
        "p.yaml:3:28: devices.m1.tags.a.type: unknown value 'real'; did you mean 'float32'?",
    ]


def test_a_profile_that_goes_wrong(tmp_path: Path) -> None:
    files = {"p.yaml": "profile: q.yaml\n"}
    text = 'devices:\n  a: {profile: none.yaml, tags: {t: {to: "1/input:0"}}}\n  b: {url: sim://, profile: p.yaml}\n'
    assert problems(tmp_path, text, files) == [
        "plant.yaml:2:16: none.yaml: there is no such file",
        "p.yaml:1:1: profile: a profile cannot be built on another one; use anchors in it",
    ]


def test_tags_from_a_table(tmp_path: Path) -> None:
    files = {
        "press.csv": """
            # exported from the PLC program
            name,at,type,scale,unit,no_value,to
            level,holding:10,float32,0.1,bar,,1/input:0

            "flow, left",40021,int16,,,"[0x8000, -1]",
            """
    }
    text = 'devices: {press: {url: sim://, tags_file: press.csv, tags: {own: {at: "coils:0", type: bool}}}}'
    tags = plant(tmp_path, text, files).devices["press"].tags
    assert list(tags) == ["level", "flow, left", "own"]
    assert (tags["level"].unit, tags["flow, left"].at.first, len(tags["flow, left"].no_value)) == ("bar", 20, 2)


def test_a_table_with_semicolons(tmp_path: Path) -> None:
    files = {"t.csv": "\ufeffname;at;type\r\na;holding:1;int16\r\n"}
    assert list(plant(tmp_path, "devices: {p: {url: sim://, tags_file: t.csv}}", files).devices["p"].tags) == ["a"]


def test_a_mistake_in_a_table_has_line_and_column(tmp_path: Path) -> None:
    files = {
        "t.csv": """
            name,at,type,unit,evry
            a,holding:1,flot32,bar,
            "b",holding:x,int16,"%, or so",
            ,holding:1,int16,,
            a,holding:4,int16,,
            c,holding:5,int16,,,,9
            d,holding:6,int16,,1s
            e,,int16
            """
    }
    told = problems(tmp_path, "devices: {p: {url: sim://, tags_file: t.csv}}", files)
    assert told == [
        "t.csv:2:13: devices.p.tags.a.type: unknown value 'flot32'; did you mean 'float32'?",
        "t.csv:3:5: devices.p.tags.b.at: `holding:x` is not an address; "
        "write TABLE:ADDRESS such as `holding:100`, or a reference such as `40101`",
        "t.csv:4:1: devices.p.tags: this row has no name",
        "t.csv:5:1: devices.p.tags.a: the tag 'a' stands here twice; first in line 2",
        "t.csv:6:21: devices.p.tags: 7 cells, but the heading names 5 columns",
        "t.csv:7:20: devices.p.tags.d.evry: unknown key 'evry'; did you mean 'every'?",
        "t.csv:8:1: devices.p.tags.e: the key 'at' is missing; write for example `at: holding:100`",
    ]


def test_tables_that_are_none(tmp_path: Path) -> None:
    files = {"a.csv": "", "b.csv": "at,type\nholding:1,int16\n", "c.csv": 'name,at\n"open,holding:1\n'}
    text = """
    devices:
      a: {url: sim://, tags_file: a.csv}
      b: {url: sim://, tags_file: b.csv}
      c: {url: sim://, tags_file: c.csv}
    """
    told = problems(tmp_path, text, files)
    assert told[0] == "a.csv:1:1: is empty; its first line names the columns: name,at,type,..."
    assert told[1] == "b.csv:1:1: no column `name`; the first line names the columns: name,at,type,..."
    assert told[2].startswith("c.csv:2:1: CSV: unexpected end of data")


def test_a_tag_of_the_table_and_of_the_device(tmp_path: Path) -> None:
    files = {"t.csv": "name,at,type\na,holding:1,int16\n"}
    text = 'devices: {p: {url: sim://, tags_file: t.csv, tags: {a: {at: "holding:2", type: int16}}}}'
    assert problems(tmp_path, text, files) == ["plant.yaml:1:53: devices.p.tags.a: the tag 'a' stands in t.csv:2:1 too"]


def test_variables_work_in_every_file(tmp_path: Path) -> None:
    files = {"t.csv": "name,at,type\na,holding:${FIRST},int16\n", "p.yaml": "unit: ${UNIT}\n"}
    text = "devices: {p: {url: sim://, tags_file: t.csv, profile: p.yaml}}"
    device = plant(tmp_path, text, files, {"FIRST": "7", "UNIT": "9"}).devices["p"]
    assert (device.tags["a"].at.first, device.unit) == (7, 9)
    assert [line.split(": ")[0] for line in problems(tmp_path, text, files)] == ["t.csv:2:3", "p.yaml:1:7"]
