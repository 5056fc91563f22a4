"""The JSON Schema of the YAML, for completion and checks in editors; made of the model, so it cannot fall behind.

It describes what YAML's own typing makes of a file (a reference is a number there, `0x10` an integer), and lets
`${NAME}` stand for any scalar. It is looser than `load`, never stricter: an editor must not refuse what works.
"""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from gateway.config.durations import format_duration
from gateway.config.model import Audit, Config
from gateway.config.model_devices import Device, Faults, Link, Poll, Push, Tag, Watchdog
from gateway.config.model_server import Identity, Limits, Listener, Rule, Server
from gateway.config.model_tls import PageTls, Tls
from gateway.config.model_units import Fifo, RecordFile, Route, Unit
from gateway.config.model_web import Metrics, User, Web
from gateway.config.scalars import one_or_many
from gateway.config.sizes import format_size, size

_VARIABLE = {"$ref": "#/$defs/Variable"}
_FILE_KEYS = {
    "profile": "A YAML file with keys of a device; the device's own keys win, tags merge by name, key by key.",
    "tags_file": "A CSV file with more tags: one row each, columns named as the tag's keys and `name`.",
}


def json_schema() -> dict[str, Any]:
    """A JSON Schema (draft 2020-12) of a plant file, as plain data."""
    made = Config.model_json_schema(by_alias=True, schema_generator=_Generator)
    definitions: dict[str, Any] = made["$defs"]
    top: dict[str, Any] = {"properties": made["properties"]}
    _finish(Config, top)
    for section in _SECTIONS:
        _finish(section, definitions[section.__name__])
    device = definitions["Device"]
    for key, description in _FILE_KEYS.items():
        device["properties"][key] = {"description": description, "type": "string"}
    # Tags of a device with a profile may give no more than what differs.
    required = definitions["Tag"].pop("required")
    device["if"] = {"not": {"required": ["profile"]}}
    device["then"] = {"properties": {"tags": {"additionalProperties": {"required": required}}}}
    units = top["properties"]["units"]
    units["additionalProperties"] = {"anyOf": [*units["additionalProperties"]["oneOf"], {"type": "null"}]}
    unit = definitions["Unit"]["properties"]
    for key in ("files", "fifo"):
        unit[key]["additionalProperties"] = {"anyOf": [unit[key]["additionalProperties"], {"type": "null"}]}
    # What YAML 1.1 makes of the key `on`; editors that know YAML 1.2 never see it.
    push = definitions["Push"]["properties"]
    push["true"] = {**push["on"], "doNotSuggest": True}
    definitions["Variable"] = {"type": "string", "pattern": r"\$\{[A-Za-z_]", "description": "From the environment."}
    top["properties"]["include"] = {
        "description": "More files of the same shape, relative to this one: `[lines/*.yaml]`.",
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Modbus gateway",
        "type": "object",
        "properties": top["properties"],
        "patternProperties": {"^x-": {"description": "Free, for anchors."}},
        "additionalProperties": False,
        "$defs": dict(sorted(definitions.items())),
    }


@functools.cache
def _docstrings() -> dict[tuple[str, str], str]:
    """The docstring under each attribute of the model, by section and attribute.

    Read from the source here, because pydantic would do it for every class at every start of the gateway.
    """
    found = {}
    sources = {module for section in _SECTIONS if (module := inspect.getmodule(section)) is not None}
    for section in itertools.chain.from_iterable(ast.parse(inspect.getsource(source)).body for source in sources):
        if isinstance(section, ast.ClassDef):
            for attribute, below in itertools.pairwise(section.body):
                match attribute, below:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                        found[section.name, name] = inspect.cleandoc(text)
    return found


_SECTIONS: tuple[type[BaseModel], ...] = (
    Server,
    Listener,
    Rule,
    Limits,
    Identity,
    Tls,
    Audit,
    Web,
    PageTls,
    User,
    Metrics,
    Unit,
    RecordFile,
    Fifo,
    Route,
    Link,
    Device,
    Poll,
    Push,
    Watchdog,
    Tag,
    Faults,
)


class _Generator(GenerateJsonSchema):
    """Defaults are written by `_default`, in the notation of the YAML."""

    def default_schema(self, schema: Any) -> Any:
        return self.generate_inner(schema["schema"])


def _finish(section: type[BaseModel], schema: dict[str, Any]) -> None:
    """Puts the properties of one section into the form that editors like."""
    schema.pop("title", None)
    docstrings = _docstrings()
    properties = schema["properties"]
    for name, field in section.model_fields.items():
        key = field.alias or name
        given = properties[key]
        description = given.pop("description", None) or docstrings.get((section.__name__, name))
        given.pop("title", None)
        if "$ref" in given:
            if description:
                given["description"] = description
            continue
        branches = [_limits(branch) for branch in given.pop("anyOf", [given]) if branch.get("type") != "null"]
        if len(branches) == 1 and "$ref" in branches[0]:
            branches.append({"type": "null"})  # an optional section with all its lines commented out
        if one_or_many in field.metadata:
            branches = [branches[0]["items"], *branches]
        properties[key] = _joined(branches)
        if description:
            properties[key] = {"description": description, **properties[key]}
        default = _default(field.get_default(), is_size=size in field.metadata)
        if default is not None:
            properties[key]["default"] = default


def _limits(schema: dict[str, Any]) -> dict[str, Any]:
    """JSON Schema's words for what pydantic leaves in its own when a validator stands before the type."""
    for ours, theirs in (("ge", "minimum"), ("le", "maximum")):
        if ours in schema:
            schema[theirs] = schema.pop(ours)
    return schema


def _joined(branches: list[dict[str, Any]]) -> dict[str, Any]:
    """One schema of several; a variable may stand wherever one scalar does, nothing at all for a list or mapping."""
    containers = [branch for branch in branches if branch.get("type") in ("object", "array")]
    if len(containers) == len(branches):
        return {**branches[0], "type": [branches[0]["type"], "null"]}
    if all(_takes_any_text(branch) for branch in branches):
        return branches[0] if len(branches) == 1 else {"anyOf": branches}
    return {"anyOf": [*branches, _VARIABLE]}


def _takes_any_text(schema: dict[str, Any]) -> bool:
    return "string" in schema.get("type", ()) and schema.keys().isdisjoint(("pattern", "enum", "const"))


def _default(value: Any, *, is_size: bool) -> Any:
    """A default as one would write it; None when there is nothing to show."""
    if is_size:
        return format_size(value)
    if isinstance(value, float):
        return format_duration(value)  # no other floats here: numbers of tags are exact fractions
    return value if isinstance(value, bool | int | str) else None
