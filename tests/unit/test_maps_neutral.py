"""The neutral map: what a plant serves, as clients read it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from gateway.config.load import load
from gateway.maps.dial import parse_host, remarks, target_of
from gateway.maps.names import Names
from gateway.maps.neutral import Entry, Map, decimal, map_of, number_or_text
from gateway.maps.registry import FORMATS, writer
from gateway.maps.target import ExportError
from gateway.modbus.spec import Table

PLANT = """\
server: {status: 1/input:0}
units: {1: {holding: 0..9, read_only: [holding:8..9], coils: 4}, 7: {forward: press}}
devices:
  press:
    url: tcp://10.0.0.1
    order: CDAB
    poll: [{read: holding:100..101, to: holding:4, write: through, every: 250ms}]
    tags:
      plain: {at: holding:0, type: float32, scale: 0.1, to: 1/input:20}
      shown: {at: holding:2, type: int16, scale: 0.1, as: float32, to: 1/input:22, unit: bar}
      raw: {at: holding:4, type: int32, scale: 0.1, offset: 5, as: raw, to: 1/input:24}
      word: {at: holding:6, type: int16, as: raw, to: 1/input:26}
      bit: {at: holding:7.3, type: bool, order: DCBA, as: raw, to: 1/input:27}
      truth: {at: holding:8, type: bool, to: 1/input:28}
      unserved: {at: holding:9, type: int16}
  off: {enabled: false, url: tcp://10.0.0.2, tags: {x: {at: holding:0, type: int16, to: 1/input:40}}}
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Map:
    return map_in(PLANT, tmp_path_factory.mktemp("plant"))


def map_in(yaml: str, folder: Path) -> Map:
    path = folder / "plant.yaml"
    path.write_text(yaml, encoding="utf-8")
    return map_of(load(path, environ={}))


def entry(served: Map, name: str) -> Entry:
    (found,) = [one for one in served.entries if one.name == name]
    return found


def test_a_tag_is_abcd_and_scaled_whatever_its_device_does(served: Map) -> None:
    plain, shown = entry(served, "plain"), entry(served, "shown")
    assert (plain.type, plain.order, plain.is_scaled, plain.count) == ("float32", "ABCD", False, 2)
    assert (shown.type, shown.first, shown.count, shown.engineering) == ("float32", 22, 2, "bar")


def test_as_raw_keeps_the_order_and_what_is_left_to_scale(served: Map) -> None:
    raw, word = entry(served, "raw"), entry(served, "word")
    assert (raw.type, raw.order, raw.scale, raw.offset) == ("int32", "CDAB", Fraction(1, 10), 5)
    assert (word.type, word.order) == ("int16", "ABCD"), "one register has no words to swap"


def test_a_bit_of_a_swapped_raw_register_is_another_bit(served: Map) -> None:
    assert (entry(served, "bit").bit, entry(served, "bit").reference) == (11, "300028.11")
    assert (entry(served, "truth").bit, entry(served, "truth").reference) == (None, "300029")


def test_blocks_of_polls_are_there_once_and_single_by_the_devices_addresses(served: Map) -> None:
    block = entry(served, "holding_100_101")
    assert (block.kind, block.first, block.count, block.writable, block.every_s) == ("poll", 4, 2, True, 0.25)
    singles = [value for value in served.values() if value.kind == "poll"]
    assert [(value.name, value.first, value.type) for value in singles] == [
        ("holding_100", 4, "uint16"),
        ("holding_101", 5, "uint16"),
    ]


def test_own_registers_are_what_nothing_fills_cut_where_they_become_read_only(served: Map) -> None:
    own = [(one.table, one.first, one.count, one.writable) for one in served.entries if one.kind == "own"]
    assert own == [
        (Table.COILS, 0, 4, True),
        (Table.HOLDING, 0, 4, True),
        (Table.HOLDING, 6, 2, True),
        (Table.HOLDING, 8, 2, False),
    ]


def test_the_status_of_the_gateway_stands_there_value_by_value(served: Map) -> None:
    own = [(one.name, one.first, one.type) for one in served.entries if one.kind == "status"]
    assert own[:3] == [("heartbeat", 0, "uint16"), ("uptime", 1, "uint32"), ("devices_enabled", 3, "uint16")]
    assert own[-1] == ("generation", 7, "uint16")


def test_what_is_not_served_or_disabled_or_forwarded_is_no_entry(served: Map) -> None:
    assert {"unserved", "x"}.isdisjoint(one.name for one in served.entries)
    assert served.left_out == ("off",)
    assert served.forwards == (("7", "press"),)


def test_what_clients_may_read_in_one_request_is_known(served: Map) -> None:
    assert served.is_readable(1, Table.HOLDING, 0, 10), "declared"
    assert served.is_readable(1, Table.INPUT, 20, 29), "mapped side by side"
    assert not served.is_readable(1, Table.INPUT, 20, 30)
    assert not served.is_readable(2, Table.INPUT, 20, 21)


def test_a_part_of_the_map_can_be_taken(served: Map) -> None:
    assert not served.only({2}, None).entries
    assert {one.device for one in served.only(None, {"press"}).entries} == {"press"}


def test_numbers_are_written_exactly() -> None:
    assert [decimal(Fraction(text)) for text in ("0.1", "-0.05", "12", "1/3", "-2.50")] == [
        "0.1",
        "-0.05",
        "12",
        "1/3",
        "-2.5",
    ]
    assert [number_or_text(Fraction(text)) for text in ("0.1", "3", "1/3")] == [0.1, 3, "1/3"]


def test_names_are_cleaned_and_each_once_whatever_their_case() -> None:
    names = Names("A-Za-z0-9_", first="A-Za-z", max_length=8)
    assert [names.unique(text) for text in ("Temp (in)", "temp [in]", "1st", "", "ünlängst", "TEMP_IN_")] == [
        "Temp_in_",
        "temp_i_2",
        "x1st",
        "x",
        "x_nl_ngs",
        "TEMP_I_3",
    ]


# -- where clients dial -------------------------------------------------------------------------------------------


def target(yaml: str, folder: Path, host: str | None = None, port: int | None = None):  # type: ignore[no-untyped-def]
    path = folder / "plant.yaml"
    path.write_text(yaml, encoding="utf-8")
    return target_of(load(path, environ={}), "1", host, port, "thismachine")


def test_every_address_of_the_machine_becomes_its_name_and_that_is_told(tmp_path: Path) -> None:
    door = target("server: {listen: tcp://0.0.0.0:1502}", tmp_path).door("X", "tcp")
    assert (door.host, door.port) == ("thismachine", 1502)
    assert "--host" in remarks(door)[0]


@pytest.mark.parametrize(
    ("listen", "host", "port", "authority"),
    [
        ("tcp://10.0.0.5", None, None, "10.0.0.5:502"),
        ("tcp://0.0.0.0", "gw1", None, "gw1:502"),
        ("tcp://0.0.0.0", "gw1", 1502, "gw1:1502"),
        ('"tcp://[fd00::5]:5020"', None, None, "[fd00::5]:5020"),
    ],
)
def test_what_clients_dial(listen: str, host: str | None, port: int | None, authority: str, tmp_path: Path) -> None:
    door = target(f"server: {{listen: {listen}}}", tmp_path, host, port).door("X", "tcp")
    assert door.authority == authority
    assert not remarks(door)


def test_a_door_that_only_this_machine_reaches_is_told(tmp_path: Path) -> None:
    door = target("server: {listen: tcp://127.0.0.1:502}", tmp_path).door("X", "tcp")
    assert "own machine only" in remarks(door)[0]


@pytest.mark.parametrize("form", ["kepware", "ignition", "fuxa", "node-red", "home-assistant", "telegraf"])
def test_a_tool_that_cannot_dial_what_there_is_says_so(form: str, tmp_path: Path) -> None:
    yaml = PLANT.replace("server: {", "server: {listen: 'ascii:///dev/ttyUSB0', ")
    with pytest.raises(ExportError, match=r"dials `tcp://`.*listens on ascii:///dev/ttyUSB0"):
        writer(form)(map_in(yaml, tmp_path), target(yaml, tmp_path))


def test_a_host_may_bring_its_port() -> None:
    assert parse_host("gw1:1502") == ("gw1", 1502)
    assert parse_host("[fd00::5]:1502") == ("fd00::5", 1502)
    assert parse_host("fd00::5") == ("fd00::5", None)
    for wrong in ("gw1:99999", "http://gw1", "", "gw 1"):
        with pytest.raises(ValueError, match="no host"):
            parse_host(wrong)


@pytest.mark.parametrize("form", FORMATS)
def test_an_empty_map_is_no_trouble(form: str, tmp_path: Path) -> None:
    yaml = "web: {listen: 'http://127.0.0.1:8080'}"
    writer(form)(map_in(yaml, tmp_path), target(yaml, tmp_path))
