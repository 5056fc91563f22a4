"""The JSON Schema for editors accepts what `load` accepts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from gateway.config.schema import json_schema

EXAMPLES = sorted((Path(__file__).parents[2] / "config").glob("*.yaml"))


def mistakes(plant: Any) -> list[str]:
    as_json = json.loads(json.dumps(plant))  # keys become texts, as in an editor
    return [error.message for error in jsonschema.Draft202012Validator(json_schema()).iter_errors(as_json)]


def test_it_is_a_schema_and_plain_data() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert json.loads(json.dumps(json_schema())) == json_schema()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_valid(path: Path) -> None:
    assert mistakes(yaml.safe_load(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "device",
    [
        {"url": "sim://", "tags": {"a": {"at": 40101, "type": "int16"}}},
        {"url": "tcp://${HOST}", "unit": "${UNIT}", "every": "${EVERY:-1s}"},
        {"url": "sim://", "timeout": 0, "accept": "tid_zero", "tags": None},
        {"profile": "p.yaml", "tags": {"a": {"to": "1/input:0"}}, "tags_file": "t.csv"},
        {"url": "sim://", "tags": {"a": {"at": "holding:0x10", "type": "string", "scale": 0.1, "no_value": [0x8000]}}},
    ],
)
def test_what_works_is_valid(device: Any) -> None:
    assert mistakes({"devices": {"a": device}, "x-mine": 1, "include": ["a.yaml"]}) == []


@pytest.mark.parametrize(
    "device",
    [
        {"url": "rtu://"},
        {"url": "sim://", "every": 5},
        {"url": "sim://", "unit": 256},
        {"url": "sim://", "nonsense": 1},
        {"url": "sim://", "tags": {"a": {"at": "holding:1"}}},
        {"url": "sim://", "tags": {"a": {"at": "holdin:1", "type": "int16"}}},
        {"url": "sim://", "tags": {"a": {"at": "holding:1", "type": "flot32"}}},
    ],
)
def test_what_does_not_work_is_marked(device: Any) -> None:
    assert mistakes({"devices": {"a": device}}) != []


def test_keys_have_descriptions_and_defaults() -> None:
    device = json_schema()["$defs"]["Device"]["properties"]
    assert device["every"]["default"] == "1s"
    assert device["max_gap"]["description"].startswith("Registers read although nobody asked")
    assert "include" in json_schema()["properties"]
