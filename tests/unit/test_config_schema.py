"""The JSON Schema for editors accepts what `load` accepts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from gateway.config.schema import json_schema
from tests.support.inprocess import command

EXAMPLES = sorted((Path(__file__).parents[2] / "config").glob("*.yaml"))


def mistakes(plant: Any) -> list[str]:
    as_json = json.loads(json.dumps(plant))  # keys become texts, as in an editor
    return [error.message for error in jsonschema.Draft202012Validator(json_schema()).iter_errors(as_json)]


def test_it_is_a_schema_and_plain_data() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert json.loads(json.dumps(json_schema())) == json_schema()


def test_the_command_prints_it_also_to_those_who_ask_for_json() -> None:
    told = command("schema", "--json")
    assert told.returncode == 0
    assert json.loads(told.stdout) == json_schema()
    assert told.stdout == command("schema").stdout


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
        {"url": ["tcp://a", "tcp://${B}"], "prefer": "any", "force_multiple": True, "faults": None},
        {"url": "sim://", "push": [{"write": "holding:0", "from": "1/holding:0", "on": "change", "every": "1s"}]},
        {"url": "sim://", "push": [{"write": 40001, "from": 40001, True: "change"}]},  # as YAML 1.1 reads `on: change`
        {"url": "sim://", "watchdog": {"write": "holding:9", "every": "2s"}},
        {"url": "sim://", "poll": [{"read": "coils:0", "to": "coils:0", "write": "through", "verify": "1s"}]},
        {"url": "sim://", "tags": {"a": {"at": 40001, "type": "int16", "write": True, "range": ["1/3", 9]}}},
        {
            "url": "sim://",
            "faults": {"busy": 5, "refuse": {"holding:0..9": 2}, "no_functions": [5, "0x16"], "split": True},
        },
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
        {"url": "sim://", "push": [{"write": "holding:0", "on": "change"}]},
        {"url": "sim://", "push": [{"write": "holding:0", "from": "holding:0", "on": "chnge"}]},
        {"url": "sim://", "poll": [{"read": "coils:0", "to": "coils:0", "write": True}]},
        {"url": "sim://", "tags": {"a": {"at": 40001, "type": "int16", "range": [1]}}},
        {"url": "sim://", "faults": {"busy": -1}},
        {"url": ["tcp://a", "rtu://b"]},
    ],
)
def test_what_does_not_work_is_marked(device: Any) -> None:
    assert mistakes({"devices": {"a": device}}) != []


@pytest.mark.parametrize(
    ("server", "works"),
    [
        ({"listen": "udp://0.0.0.0:502"}, True),
        ({"listen": ["rtu:///dev/ttyS0?baudrate=9600", "rtu://COM3", "ascii+tcp://0.0.0.0:${PORT}"]}, True),
        ({"listen": {"url": "tls://0.0.0.0", "access": [{"may": "read"}], "tls": None}}, True),
        ({"listen": [{"url": "tls://0.0.0.0", "tls": {"cert": "a", "key": "b", "ca": "c", "min_version": 1.3}}]}, True),
        ({"access": [{"from": "any", "role": "x", "unit": 1, "table": "coils", "function": 1, "may": "write"}]}, True),
        ({"access": [{"unit": [1, "5..9"], "range": [40001, "coils:0..9"], "may": "nothing"}]}, True),
        ({"limits": {"half_request": "2s", "bytes_waiting": "64 KiB", "requests_per_second": 5}}, True),
        ({"listen": "rtu://ttyUSB0"}, False),
        ({"listen": "listen+tcp://0.0.0.0:9000"}, False),
        ({"listen": [{"access": []}]}, False),
        ({"access": [{"from": "any"}]}, False),
        ({"access": [{"may": "reed"}]}, False),
        ({"limits": {"bytes_waiting": 64}}, False),
    ],
)
def test_listeners_rules_and_limits(server: Any, works: bool) -> None:
    assert (mistakes({"server": server}) == []) is works


@pytest.mark.parametrize(
    ("unit", "works"),
    [
        ({"files": {"4": {"records": 10, "path": "a.dat"}, "5": None}, "fifo": {"holding:5": None, "40100": {}}}, True),
        ({"fifo": {"holding:5": {"from": "1/input:0", "size": 3}}, "exception_status": "coils:0"}, True),
        ({"files": {"4": {"records": 0}}}, False),
        ({"fifo": {"holding:5": {"size": 32}}}, False),
    ],
)
def test_files_and_queues(unit: Any, works: bool) -> None:
    assert (mistakes({"units": {"1": unit}, "audit": {"max_size": "10MB"}}) == []) is works


@pytest.mark.parametrize(
    ("units", "works"),
    [
        ({"1": {"holding": 10, "retain": True}, "2": None, "3": {}}, True),
        (
            {"5": {"forward": "press"}, "10..20": {"forward": "bus", "functions": [3], "cache": "1s", "to_unit": 4}},
            True,
        ),
        ({"5": {"forward": "press", "holding": 10}}, False),
        ({"5": {"to_unit": 10}}, False),
    ],
)
def test_a_unit_is_a_register_image_or_a_route(units: Any, works: bool) -> None:
    assert (mistakes({"units": units, "state_dir": "./state"}) == []) is works


def test_every_key_of_the_model_is_described_but_what_names_itself() -> None:
    bare = {
        f"{section}.{key}"
        for section, schema in json_schema()["$defs"].items()
        for key, value in schema.get("properties", {}).items()
        if "description" not in value
    }
    named = {"Identity.product", "Identity.vendor", "Server.identity", "Tag.description", "Tag.offset", "Tag.type"}
    assert bare == named


def test_the_reference_example_has_every_key() -> None:
    text = "".join(
        (EXAMPLES[0].parent / name).read_text(encoding="utf-8") for name in ("plant.yaml", "profiles/meter.yaml")
    )
    schema = json_schema()
    sections = {"": schema, **schema["$defs"]}
    keys = {
        f"{section}.{key}"
        for section, found in sections.items()
        for key in found.get("properties", {})
        if not re.search(rf"(?m)(^|[\s{{`]){key}:", text)
    }
    assert keys == set()


def test_keys_have_descriptions_and_defaults() -> None:
    device = json_schema()["$defs"]["Device"]["properties"]
    assert device["every"]["default"] == "1s"
    assert device["max_gap"]["description"].startswith("Registers read although nobody asked")
    assert "include" in json_schema()["properties"]
