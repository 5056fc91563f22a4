"""What a scan found as a plant's file: whatever was found, it loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.commission.identity import Identity
from gateway.commission.ranges import Map
from gateway.commission.scan import Found, Result
from gateway.commission.section import section
from gateway.config.changes import this_version
from gateway.config.load import load
from gateway.config.model import Config
from gateway.config.urls import parse_device_url
from gateway.modbus.spec import Table


def found(unit: int, *ranges: tuple[int, int], table: Table = Table.HOLDING, limit: int | None = None) -> Found:
    map_ = Map(table, list(ranges), limit=limit, is_whole=True)
    return Found(unit, "data", maps=[map_])


def saved(folder: Path, *units: Found, url: str = "tcp://plc", more: str = "", **settings: Any) -> Config:
    """The configuration that is made of these units; `more` is written around it."""
    result = Result(list(units), asked=len(units), is_whole=True)
    path = folder / "device.yaml"
    path.write_text(section(parse_device_url(url), result, found_by="Found by a test.", **settings) + more, "utf-8")
    return load(path)


def test_each_unit_keeps_its_id_and_its_addresses(tmp_path: Path) -> None:
    config = saved(tmp_path, found(3, (0, 10), (20, 21)), found(9, (5, 40), table=Table.COILS, limit=16))
    assert (config.version, config.notes) == (this_version(), ())
    first, second = config.devices.values()
    assert [(poll.read.first, poll.read.count) for poll in first.poll] == [(0, 10), (20, 1)]
    assert [(poll.to.unit, poll.to.address.first) for poll in first.poll] == [(3, 0), (3, 20)]
    assert (first.unit, first.max_registers, second.unit, second.max_bits) == (3, 125, 9, 16)
    assert second.poll[0].read.count == 35


def test_units_that_are_taken_or_none_of_ours_get_the_next_that_is_free(tmp_path: Path) -> None:
    config = saved(
        tmp_path, found(255, (0, 2)), found(1, (0, 2)), found(2, (0, 2)), taken_units={2}, taken_names={"unit2"}
    )
    assert [poll.to.unit for device in config.devices.values() for poll in device.poll] == [1, 3, 4]
    assert list(config.devices) == ["unit255", "unit1", "unit2_2"]


@pytest.mark.parametrize(
    "product",
    ["X1", 'a "b": {c}', "# no comment", "Zähler ${HOME}", "line\nline", "1234", "", "-", "x" * 200, "a\u2028b"],
)
def test_whatever_a_device_says_of_itself_it_loads(tmp_path: Path, product: str) -> None:
    unit = found(1, (0, 2))
    unit.identity = Identity({"vendor": product, "product": product, "revision": "1.0"}, product)
    unit.trouble = product
    twin = found(2, (0, 2))
    twin.identity = unit.identity
    assert len(saved(tmp_path, unit, twin).devices) == 2


@pytest.mark.parametrize(
    "url",
    [
        "tcp://10.0.0.1:1502",
        "tcp://[fe80::1%eth0]:502",
        "udp://plc",
        "rtu+tcp://plc:4001",
        "rtu:///dev/ttyUSB0?baudrate=9600&parity=none",
        "ascii:///dev/tty$0",
    ],
)
def test_every_url_comes_back(tmp_path: Path, url: str) -> None:
    config = saved(tmp_path, found(1, (0, 2)), url=url)
    assert config.link_of("unit1").url == parse_device_url(url)


def test_a_slow_device_gets_time_and_one_with_quirks_is_put_up_with(tmp_path: Path) -> None:
    config = saved(tmp_path, found(1, (0, 1000)), slowest_s=1.4, mean_s=1.2, quirks={"tid_zero"})
    device = config.devices["unit1"]
    assert (device.timeout_s, device.every_s, device.accept) == (5.0, 30.0, ("tid_zero",))


def test_nothing_found_is_a_plant_without_devices(tmp_path: Path) -> None:
    assert not saved(tmp_path, found(1)).devices


def test_it_can_be_included_as_it_is(tmp_path: Path) -> None:
    saved(tmp_path, found(3, (0, 10)))
    (tmp_path / "plant.yaml").write_text('include: [device.yaml]\nserver: {listen: "tcp://127.0.0.1:5020"}\n')
    assert list(load(tmp_path / "plant.yaml").devices) == ["unit3"]
