"""A plant is read, or every mistake in it is told at once, each with its place and what to write instead."""

from __future__ import annotations

import gc
from fractions import Fraction
from pathlib import Path

import pytest

from gateway.config.load import load, load_files
from gateway.config.model import Config
from gateway.config.urls import DeviceUrl, ListenUrl
from gateway.errors import ConfigError
from gateway.modbus.spec import Table
from tests.support.config.plants import plant, problems, write

SMALL = """
devices:
  press:
    url: tcp://192.168.1.10
    tags:
      level: {at: holding:10, type: float32, scale: 0.1, every: 250ms, to: 1/input:200}
"""


def test_twelve_lines_run_a_gateway(tmp_path: Path) -> None:
    config = plant(tmp_path, SMALL)
    assert [listener.url for listener in config.server.listen] == [ListenUrl("0.0.0.0", 502)]
    press = config.devices["press"]
    assert press.url == DeviceUrl("tcp", "192.168.1.10", 502)
    tag = press.tags["level"]
    assert tag.at.table is Table.HOLDING
    assert (tag.at.first, tag.scale, tag.every_s) == (10, Fraction(1, 10), 0.25)
    assert tag.to is not None
    assert (tag.to.unit, tag.to.address.first) == (1, 200)
    assert config.warnings == ()


def test_six_mistakes_are_six_messages(tmp_path: Path) -> None:
    text = """
    server:
      listen: [tcp://0.0.0.0:502, http://0.0.0.0]
      max_conections: 10
    units:
      1: {input: 0..99}
    devices:
      press:
        url: tcp://192.168.1.10
        every: 500
        tags:
          level: {at: holding:10, type: flot32, to: 1/input:0}
          flow: {at: 40000, type: int16}
          speed: {at: holding:20, type: int16, to: 1/input:100}
    """
    assert problems(tmp_path, text) == [
        "plant.yaml:2:31: server.listen[1]: `http://` is not possible here; now there is `tcp://`, `udp://`, `tls://`, "
        "`rtu+tcp://`, `ascii+tcp://`, `rtu://` and `ascii://`",
        "plant.yaml:3:3: server.max_conections: unknown key 'max_conections'; did you mean 'max_connections'?",
        "plant.yaml:9:12: devices.press.every: a duration needs its unit: "
        "`500s` for seconds or `500ms` for milliseconds",
        "plant.yaml:11:37: devices.press.tags.level.type: unknown value 'flot32'; did you mean 'float32'?",
        "plant.yaml:12:18: devices.press.tags.flow.at: `40000` has two readings: references begin at 1, "
        "so `40001` is holding:0, the wire address is written `holding:40000`",
        "plant.yaml:13:48: devices.press.tags.speed.to: 1/input:100 (300101) is outside of what unit 1 declares: "
        "input: 0..99 (plant.yaml:5:14)",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("devices: {a: {host: x}}", "1:15: devices.a.host: unknown key 'host'; did you mean 'url'?"),
        ("devices: {a: {url: sim://, slave: 3}}", "1:28: devices.a.slave: unknown key 'slave'; did you mean 'unit'?"),
        (
            "history: {keep: 30d}",
            "1:1: history: unknown key 'history'; "
            "choose from audit, devices, include, links, server, state_dir, tls, units",
        ),
        ("warnings: [x]", "1:1: warnings: unknown key 'warnings'"),
        ("server: {zzz: 1}", "unknown key 'zzz'; choose from access, backlog, default_unit, "),
        ("devices: {a b: {url: sim://}}", "1:11: devices.a b: `a b` cannot be a name here: use letters, digits"),
        ("units: {256: {}}", "1:9: units.256: unit ids end at 255"),
        ("units: {01: {}}", "`01` is not a unit id; write 1"),
        ("units: {1: 5}", "units.1: expected keys with values (`key: value`), not the text `5`"),
        ("devices: [a, b]", "1:1: devices: expected keys with values (`key: value`), not a list"),
        ("devices: {a: {url: sim://, poll: {read: x}}}", "devices.a.poll: expected a list, not a mapping"),
        ("server: {default_unit: 0}", "1:24: server.default_unit: must be at least 1, this is 0"),
        ("server: {default_unit: one}", "`one` is not a whole number"),
        ("server: {unknown_unit: silence}", "unknown value 'silence'; did you mean 'silent'?"),
        (
            "devices: {a: {url: sim://, accept: any}}",
            "1:36: devices.a.accept[0]: unknown value 'any'; did you mean 'any_unit'?",
        ),
        ("devices: {a: {url: [x]}}", "1:21: devices.a.url[0]: `x` is not a URL"),
        ("devices: {a: {url: {x: 1}}}", "1:15: devices.a.url: is a mapping; expected a URL such as"),
        ("devices: {a: {url: [[x]]}}", "devices.a.url[0]: is a list; expected a URL such as"),
        ("devices: {a: {url: sim://, tags: {b: {at: {x: 1}, type: bool}}}}", "is a mapping; expected one address"),
        (
            "devices: {a: {url: sim://, tags: {b: {at: holding:1}}}}",
            "1:35: devices.a.tags.b: the key 'type' is missing",
        ),
        ("devices: {a: {url: sim://, tags: {b: {at: holding:1, type: }}}}", "devices.a.tags.b.type: has no value;"),
        (
            "devices: {a: {url: sim://, tags: {b: {at: holding:1, type: double}}}}",
            "devices.a.tags.b.type: unknown value 'double'; did you mean 'float64'?",
        ),
        (
            "devices: {a: {url: sim://, tags: {b: {at: holding:1, type: int16, sim: sine(1, 5, 60s)}}}}",
            "devices.a.tags.b.5: unknown key '5'; inside { } a comma parts the keys: a text with commas needs quotes",
        ),
        ('units: {1: {initial: {"holding:5": 70000}}}', "units.1.initial.holding:5: 70000 does not fit a register"),
        ('units: {1: {initial: {"holdin:5": 7}}}', "1:23: units.1.initial.holdin:5: unknown table 'holdin'"),
        ('units: {1: {holding: 9, initial: {"holding:5": true}}}', "is a register: write a number, not true"),
        ('units: {1: {coils: 9, initial: {"coils:5": 3}}}', "is a bit: write true or false, not 3"),
        ('units: {1: {holding: 9, initial: {"holding:0..2": [1, 2]}}}', "has 3 places, the list has 2 values"),
        ("units: {1: {holding: [0..9, 5..20]}}", "two ranges overlap at 5; write them as one"),
        ("links: {a: {delay: 5ms}}", "1:9: links.a: the key 'url' is missing"),
    ],
)
def test_a_mistake_says_what_to_write(tmp_path: Path, text: str, said: str) -> None:
    told = problems(tmp_path, text)
    assert any(said in line for line in told), told


def test_a_wrong_url_is_told_once_and_not_missed_too(tmp_path: Path) -> None:
    text = """
    links:
      bridge: {url: nonsense}
    devices:
      a: {url: 10.0.0.1, tags: {t: {at: holding:0, type: int16, to: 1/input:0}}}
      b: {link: bridge, tags: {t: {at: holding:0, type: int16, to: 1/input:0}}}
    """
    assert problems(tmp_path, text) == [
        "plant.yaml:2:17: links.bridge.url: `nonsense` is not a URL; write `tcp://nonsense`",
        "plant.yaml:4:12: devices.a.url: `10.0.0.1` is not a URL; write `tcp://10.0.0.1`",
        "plant.yaml:5:64: devices.b.tags.t.to: two write 1/input:0 (300001): "
        "this and devices.a.tags.t (plant.yaml:4:65)",
    ]


def test_items_behind_a_wrong_poll_keep_their_numbers(tmp_path: Path) -> None:
    text = """
    units: {1: {holding: 100}}
    devices:
      a:
        url: sim://
        poll:
          - {read: nothing, to: 1/holding:0}
          - {read: holding:0..9, to: 1/holding:95}
    """
    told = problems(tmp_path, text)
    assert told[0].startswith("plant.yaml:6:16: devices.a.poll[0].read: `nothing` is not an address")
    assert told[1].startswith("plant.yaml:7:34: devices.a.poll[1].to: 1/holding:95..104 (400096..400105) is outside")


def test_empty_sections_are_empty(tmp_path: Path) -> None:
    text = """
    server:
    links:
    units:
      1:
      2: {holding: 5, initial: , read_only: []}
    devices:
      a:
        url: sim://
        poll:
        tags:
    """
    config = plant(tmp_path, text)
    assert list(config.units) == [1, 2]
    assert config.devices["a"].tags == {}


def test_text_is_typed_by_its_key_and_not_by_yaml(tmp_path: Path) -> None:
    text = """
    devices:
      on:
        url: sim://
        tags:
          00101: {at: 00101, type: bool, unit: 1:30, to: coils:0}
          1e3: {at: 40101.10, type: bool, unit: no, to: coils:1}
    """
    tags = plant(tmp_path, text).devices["on"].tags
    assert list(tags) == ["00101", "1e3"]
    assert (tags["00101"].at.table, tags["00101"].at.first, tags["00101"].unit) == (Table.COILS, 100, "1:30")
    assert (tags["1e3"].at.bit, tags["1e3"].unit) == (10, "no")


def test_initial_values_fill_their_addresses(tmp_path: Path) -> None:
    text = """
    units:
      1:
        holding: 100
        coils: 10
        initial: {"holding:10": 1234, "holding:11": [1, -1, 0x10], "holding:20..22": 7, "coils:0": true, 40051: 5}
    """
    initial = plant(tmp_path, text).units[1].initial
    assert [(address.describe(), values) for address, values in initial] == [
        ("holding:10 (400011)", (1234,)),
        ("holding:11..13 (400012..400014)", (1, 0xFFFF, 16)),
        ("holding:20..22 (400021..400023)", (7, 7, 7)),
        ("coils:0 (000001)", (True,)),
        ("holding:50 (400051)", (5,)),
    ]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", ":1:1: is empty; the smallest plant has `devices:` with one device"),
        (b"# nothing\n", ":1:1: is empty"),
        (b"- a\n- b\n", ":1:1: the file is a list; expected keys such as `devices:`"),
        (b"devices:press\n", ":1:1: the file is a single text; expected keys such as `devices:`; a key needs a blank"),
        (b"a: 1\nb: \xfc\n", ":2:4: is not UTF-8: byte 0xFC; save the file as UTF-8"),
        ("a: 1".encode("utf-16"), ":1:1: is UTF-16; save it as UTF-8"),
    ],
)
def test_what_is_no_plant(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "plant.yaml"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as error:
        load(path)
    assert f"plant.yaml{said}" in str(error.value)


def test_a_missing_file_and_a_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.yaml:1:1: there is no such file"):
        load(tmp_path / "no.yaml")
    with pytest.raises(ConfigError, match=r":1:1: this is a directory; name the file in it, such as `.*plant\.yaml`"):
        load(tmp_path)


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "plant.yaml"
    path.write_bytes(b"\xef\xbb\xbfserver: {default_unit: 2}\n")
    assert load(path).server.default_unit == 2


def test_the_files_of_a_plant_are_named(tmp_path: Path) -> None:
    (tmp_path / "plant.yaml").write_text("include: more.yaml\n")
    (tmp_path / "more.yaml").write_text("server: {default_unit: 2}\n")
    config, files = load_files(tmp_path / "plant.yaml")
    assert isinstance(config, Config)
    assert files == (tmp_path / "plant.yaml", tmp_path / "more.yaml")


def test_the_files_of_a_plant_with_a_mistake_are_named_too(tmp_path: Path) -> None:
    text = "include: [more.yaml, no.yaml]\ndevices: {a: {tags_file: a.csv}}\n"
    path = write(tmp_path, text, {"more.yaml": "devices: {b: {url: nonsense}}\n", "a.csv": "nothing\n"})
    with pytest.raises(ConfigError) as error:
        load(path)
    assert error.value.files == tuple(tmp_path / name for name in ("plant.yaml", "more.yaml", "no.yaml", "a.csv"))
    with pytest.raises(ConfigError) as error:
        load(tmp_path / "other.yaml")
    assert error.value.files == (tmp_path / "other.yaml",)


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        ("server:\n", "state"),
        ("state_dir: run/gateway\n", "run/gateway"),
        ("state_dir: ../there\n", "../there"),
        ("state_dir: /var/lib/gateway\n", "/var/lib/gateway"),
        ("include: parts/more.yaml\n", "run"),
    ],
)
def test_state_lies_beside_the_first_file_unless_told_otherwise(tmp_path: Path, text: str, folder: str) -> None:
    config = plant(tmp_path, text, {"parts/more.yaml": "state_dir: run\n"})
    assert config.state_path == (tmp_path / folder).resolve()


def test_a_plant_that_is_loaded_while_serving_is_not_looked_through_by_the_collector(tmp_path: Path) -> None:
    path = write(tmp_path, "server: {default_unit: 2}\n")
    gc.unfreeze()
    first = load(path)
    assert gc.get_freeze_count() == 0
    assert any(thing is first for thing in gc.get_objects())
    gc.freeze()
    try:
        second = load(path)
        assert gc.isenabled()
        assert not any(thing is second for thing in gc.get_objects())
    finally:
        gc.unfreeze()


EXAMPLES = sorted((Path(__file__).parents[2] / "config").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_loads(path: Path) -> None:
    assert isinstance(load(path), Config)
