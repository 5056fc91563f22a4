"""Files for older and newer gateways: what `check` tells of them, and of which it tells nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway import __version__
from gateway.config.changes import CHANGES, MAX_PLACES, numbers, silencer
from gateway.config.load import load
from gateway.config.model import Config
from gateway.errors import ConfigError
from tests.support.process import ROOT

DEVICE = """
devices:
  press: {url: tcp://10.0.0.1, %s poll: [{read: holding:0..9, to: 1/holding:0}]}
"""
BY_CHANGE = {
    "max_gap": DEVICE % "max_gap: 0,",
    "connect_delay": DEVICE % "connect_delay: 2s,",
    "audit": "units: {1: {holding: 10}}",
}
"""A file that each change concerns, in the order of the table."""


def loaded(directory: Path, text: str) -> Config:
    (directory / "plant.yaml").write_text(text)
    return load(directory / "plant.yaml")


def notes(directory: Path, text: str) -> list[str]:
    return [re.sub(r"^.*?plant\.yaml", "plant.yaml", note) for note in loaded(directory, text).notes]


def mistakes(directory: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        loaded(directory, text)
    return [f"{problem.line}:{problem.column} {problem.message}" for problem in raised.value.problems]


# -- notes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", CHANGES, ids=list(BY_CHANGE))
def test_each_change_is_told_of_a_file_that_it_concerns(change: object, tmp_path: Path) -> None:
    place = CHANGES.index(change)  # type: ignore[arg-type]
    (note,) = notes(tmp_path, list(BY_CHANGE.values())[place])
    assert f"since {CHANGES[place].since} {CHANGES[place].what}" in note


def test_a_note_names_the_place(tmp_path: Path) -> None:
    (note,) = notes(tmp_path, BY_CHANGE["connect_delay"])
    assert note.startswith("plant.yaml:3:47: devices.press.connect_delay: since 0.2 a time-out takes a new connection")


@pytest.mark.parametrize(
    ("version", "told"), [("0.1", 2), ("0.1.5", 2), ("0.2", 1), ("0.2.9", 1), ("0.3", 0), ("0.4", 0), ("0.4.0", 0)]
)
def test_only_what_is_newer_than_the_file_is_told(version: str, told: int, tmp_path: Path) -> None:
    text = BY_CHANGE["max_gap"] + BY_CHANGE["audit"]
    assert len(notes(tmp_path, f"version: {version}\n{text}")) == told
    assert len(notes(tmp_path, text)) == 2  # it does not say: all there are


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(DEVICE % "", id="what everybody writes"),
        pytest.param(DEVICE % "max_gap: 4,", id="a gap"),
        pytest.param(DEVICE % "connect_delay: 0s,", id="no pause"),
        pytest.param(BY_CHANGE["audit"] + "\naudit: {enabled: true}", id="the audit is wanted"),
        pytest.param("units: {1: {input: 10}}", id="nothing can be written"),
        pytest.param("units: {5: {forward: press, read_only: true}}" + DEVICE % "", id="forwarded reads"),
    ],
)
def test_what_a_change_does_not_concern_has_no_note(text: str, tmp_path: Path) -> None:
    assert notes(tmp_path, text) == []


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("units: {5: {forward: press}}" + DEVICE % "", "units.5"),
        (DEVICE.replace("to: 1/holding:0", "to: 1/holding:0, write: through") % "", "devices.press.poll[0].write"),
        (DEVICE % "tags: {t: {at: holding:20, type: int16, write: true, to: 1/holding:20}},", "devices.press.tags.t"),
    ],
)
def test_whatever_clients_may_write_is_kept_in_the_audit(text: str, place: str, tmp_path: Path) -> None:
    (note,) = notes(tmp_path, text)
    assert place in note
    assert "audit.jsonl" in note


def test_many_places_are_a_few_lines(tmp_path: Path) -> None:
    many = "".join(
        f"  d{number}: {{url: tcp://10.0.0.{number}, max_gap: 0, poll: [{{read: holding:0, to: holding:{number}}}]}}\n"
        for number in range(1, 41)
    )
    found = notes(tmp_path, "devices:\n" + many)
    assert len(found) == MAX_PLACES
    assert found[-1].endswith("(and at 35 places more)")


def test_no_example_has_a_note() -> None:
    for path in sorted((ROOT / "config").glob("*.yaml")):
        assert load(path, environ={"PLANT_SECRET": "x"}).notes == (), path


def test_the_table_is_in_order_and_of_versions_that_there_are() -> None:
    versions = [numbers(change.since) for change in CHANGES]
    assert versions == sorted(versions)
    assert versions[-1] <= numbers(__version__)
    told = (ROOT / "CHANGELOG.md").read_text()
    for change in CHANGES:
        assert f"## [{change.since}.0]" in told


# -- the key ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["0.4", '"0.4"', "0.4.0", "0.10" if numbers(__version__) > (0, 10) else "0.1"])
def test_a_version_is_read_as_it_is_written(version: str, tmp_path: Path) -> None:
    assert loaded(tmp_path, f"version: {version}").version == version.strip('"')


@pytest.mark.parametrize("version", ["99.0", "0.99", "0.4.99", "1.0"])
def test_a_file_for_a_newer_gateway_is_an_error_that_says_so(version: str, tmp_path: Path) -> None:
    (told,) = mistakes(tmp_path, f"version: {version}")
    assert told.startswith(f"1:10 the file was written for version {version}, and this gateway is {__version__}: run a")


def test_that_error_comes_before_those_that_follow_from_it(tmp_path: Path) -> None:
    told = mistakes(tmp_path, "version: 9.9\nserver: {quantum: true}")
    assert len(told) == 2
    assert "this gateway is" in told[0]


@pytest.mark.parametrize("version", ["4", "v0.4", "latest", "0.4.0.1", "0,4", "[0.4]"])
def test_what_is_no_version_is_an_error(version: str, tmp_path: Path) -> None:
    assert len(mistakes(tmp_path, f"version: {version}")) == 1


def test_the_silencer_silences(tmp_path: Path) -> None:
    line = re.search(r"`(version: .*?)`", silencer())
    assert line is not None
    assert notes(tmp_path, "\n".join([line[1], *BY_CHANGE.values()][:2])) == []
