"""Every format of `gateway export`, word for word: what a change does to the files that people import shows here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.config.load import load
from gateway.maps.dial import target_of
from gateway.maps.neutral import map_of
from gateway.maps.registry import FORMATS, writer
from tests.support.process import ROOT

GOLDEN = ROOT / "tests" / "golden"
ENDINGS = {
    "csv": "csv",
    "markdown": "md",
    "html": "html",
    "kepware": "kepware.csv",
    "ignition": "ignition.json",
    "fuxa": "fuxa.json",
    "node-red": "node-red.json",
    "home-assistant": "home-assistant.yaml",
    "telegraf": "telegraf.conf",
    "prometheus": "prometheus.yml",
    "json": "json",
}
SECRET = "hunter2"


def written(form: str) -> tuple[str, tuple[str, ...]]:
    config = load(GOLDEN / "plant.yaml", environ={"SECRET": SECRET})
    served = map_of(config)
    if form == "kepware":
        served = served.only({1}, None)
    made = writer(form)(served, target_of(config, "1.0", "gw1.plant", None, "machine"))
    return made.text, made.notes


@pytest.mark.parametrize("form", FORMATS)
def test_the_file_is_the_one_that_was_read_by_a_person(form: str) -> None:
    text, notes = written(form)
    told = "".join(f"{note}\n" for note in notes)
    for path, content in ((GOLDEN / f"map.{ENDINGS[form]}", text), (GOLDEN / f"map.{ENDINGS[form]}.notes", told)):
        if os.environ.get("GATEWAY_WRITE_GOLDEN"):
            path.write_bytes(content.encode())
        assert path.read_bytes().decode() == content, f"{path.name}: see {GOLDEN / 'plant.yaml'}"


def test_every_format_has_its_file() -> None:
    assert set(ENDINGS) == set(FORMATS)


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_of_the_devices_ways_and_keys_is_told(form: str) -> None:
    text, notes = written(form)
    for hidden in (SECRET, "192.168.1.", "key.pem"):
        assert hidden not in text + "".join(notes)


def path_of(form: str) -> Path:
    return GOLDEN / f"map.{ENDINGS[form]}"
