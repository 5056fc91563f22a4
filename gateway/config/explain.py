"""pydantic's errors -> our messages: the same facts, with what to write instead.

The model stays the only list of keys and values; the suggestions are read from it, so they name what exists now.
"""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from gateway.config.model import Config
from gateway.config.model_units import Route, Unit, kind_of_unit
from gateway.config.tree import Findings, KeyPath, Node, find

_SYNONYMS = {
    "address": "at",
    "register": "at",
    "host": "url",
    "ip": "url",
    "slave": "unit",
    "slave_id": "unit",
    "unit_id": "unit",
    "device_id": "unit",
    "interval": "every",
    "poll_interval": "every",
    "scan_rate": "every",
    "period": "every",
    "byte_order": "order",
    "endian": "order",
    "word_order": "order",
    "datatype": "type",
    "data_type": "type",
    "factor": "scale",
    "multiplier": "scale",
    "polls": "poll",
    "registers": "tags",
    "inputs": "discrete",
    "float": "float32",
    "real": "float32",
    "single": "float32",
    "double": "float64",
    "lreal": "float64",
    "int": "int16",
    "short": "int16",
    "word": "uint16",
    "uint": "uint16",
    "dint": "int32",
    "dword": "uint32",
    "udint": "uint32",
    "lint": "int64",
    "lword": "uint64",
    "boolean": "bool",
    "bit": "bool",
    "bcd": "bcd16",
    "text": "string",
    "big": "ABCD",
    "little": "DCBA",
    "route": "forward",
    "target": "forward",
    "writable": "write",
    "writeable": "write",
    "access": "write",
    "limits": "range",
    "certificate": "cert",
    "cert_file": "cert",
    "private_key": "key",
    "key_file": "key",
    "cafile": "ca",
    "network": "from",
    "source": "from",
    "allow": "may",
    "rights": "access",
    "rules": "access",
    "queue": "fifo",
    "persist": "retain",
    "persistent": "retain",
    "retentive": "retain",
}
"""What other programs call it; offered only where the word on the right exists."""

_EXAMPLES = {
    "at": "at: holding:100",
    "type": "type: float32",
    "read": "read: holding:0..49",
    "to": "to: 1/holding:1000",
    "url": "url: tcp://192.168.1.10:502",
    "forward": "forward: press",
    "write": "write: holding:200",
    "from": "from: 1/holding:300",
    "may": "may: read",
    "cert": "cert: certs/gateway.pem",
    "key": "key: certs/gateway.key",
    "ca": "ca: certs/ca.pem",
    "password": "password: ...` with what `gateway passwd` prints, such as `scrypt:15:8:3:...",
}
_MAX_CHOICES = 24


class Explained(NamedTuple):
    """One mistake: what to say where, and which part to leave out to judge the rest."""

    path: KeyPath
    message: str
    key: bool
    """It concerns the key itself, not its value."""
    cut: KeyPath
    missing: str = ""
    """The key that is not there."""


def explain(error: ValidationError, findings: Findings) -> list[Explained]:
    items: list[Any] = error.errors(include_url=False)
    for item in items:
        item["loc"] = _place_in_file(item["loc"], findings.root)
    unknown = [item["loc"] for item in items if item["type"] == "extra_forbidden"]
    # A key that is missing and misspelt is one mistake.
    misspelt = {(*loc[:-1], meant_by(str(loc[-1]), keys_at(loc[:-1], findings.root))) for loc in unknown}
    return [_explain(item, findings) for item in items if item["type"] != "missing" or item["loc"] not in misspelt]


def _place_in_file(loc: KeyPath, root: Node) -> KeyPath:
    """pydantic's path as keys of the file."""
    if loc[0] == "units" and len(loc) > 2 and loc[2] in ("unit", "route"):
        loc = (*loc[:2], *loc[3:])  # the name of the kind of section
    if loc[-2:] == ("url", 0):
        node = find(root, loc[:-1])
        if node is not None and not isinstance(node.value, list):
            return loc[:-1]  # one address, not a list
    return loc


def meant_by(word: str, choices: Iterable[str]) -> str | None:
    """The choice that `word` was probably meant to be."""
    folded = {name.lower(): name for name in sorted(choices)}
    synonym = _SYNONYMS.get(word.lower(), "").lower()
    if synonym in folded:
        return folded[synonym]
    if word.lower() in folded:
        return folded[word.lower()]
    begun = [name for name in folded if word and name.startswith(word.lower())]
    close = begun if len(begun) == 1 else difflib.get_close_matches(word.lower(), folded, n=1)
    return folded[close[0]] if close else None


def suggest(word: str, choices: Iterable[str]) -> str:
    """`did you mean 'float32'?`, or the list of what there is."""
    known = sorted(choices)
    meant = meant_by(word, known)
    if meant is not None:
        return f"did you mean '{meant}'?"
    if not known:
        return "there is none"
    more = ", ..." if len(known) > _MAX_CHOICES else ""
    return "choose from " + ", ".join(known[:_MAX_CHOICES]) + more


def _explain(item: Any, findings: Findings) -> Explained:
    kind: str = item["type"]
    path: KeyPath = item["loc"]
    if path and path[-1] == "[key]":
        return Explained(path[:-1], _said(item), True, _owner(path[:-1], findings.root))
    if kind == "missing":
        name = str(path[-1])
        example = f"; write for example `{_EXAMPLES[name]}`" if name in _EXAMPLES else ""
        return Explained(
            path[:-1], f"the key '{name}' is missing{example}", True, _owner(path[:-1], findings.root), name
        )
    if kind == "extra_forbidden":
        return Explained(path, _unknown_key(path, findings), True, _owner(path, findings.root))
    return Explained(path, _message(kind, item), False, _owner(path, findings.root))


def _owner(path: KeyPath, root: Node) -> KeyPath:
    """The part to leave out: a whole tag, poll, push, file or queue, else the key of a section."""
    if path[0] == "devices" and len(path) > 3 and path[2] in ("tags", "poll", "push"):
        return path[:4]
    if path[0] == "units" and len(path) > 3 and path[2] in ("files", "fifo"):
        return path[:4]
    if path[0] == "units" and len(path) > 2 and _kind_of_unit(path, root) == "route":
        node = find(root, path[:2])
        if path[2] == "forward" or node is None or "forward" not in node.mapping:
            return path[:2]  # without its `forward` the rest would be taken for a register image
    return path[:3] if path[0] in ("devices", "links", "units") else path[:2]


def _kind_of_unit(path: Sequence[str | int], root: Node) -> str:
    """Of the section of `units` that `path` leads to or into."""
    node = find(root, path[:2])
    return kind_of_unit(node.mapping if node else {})


def _unknown_key(path: KeyPath, findings: Findings) -> str:
    key = str(path[-1])
    node = find(findings.root, path)
    if node is not None and node.value == "" and re.fullmatch(r"[^a-z]*\d[^(]*|.*\)", key):
        return f"unknown key '{key}'; inside {{ }} a comma parts the keys: a text with commas needs quotes"
    return f"unknown key '{key}'; {suggest(key, keys_at(path[:-1], findings.root))}"


def _said(item: Any) -> str:
    error = item.get("ctx", {}).get("error")
    return str(error) if error is not None else str(item["msg"])


def _message(kind: str, item: Any) -> str:
    context = item.get("ctx", {})
    given = item.get("input")
    match kind:
        case "value_error":
            return _said(item)
        case "literal_error":
            if not isinstance(given, str):
                return "expected one word"
            words = re.findall(r"'([^']*)'", context["expected"])
            return (
                f"unknown value '{given}'; {suggest(given, words)}" if given else f"has no value; {suggest('', words)}"
            )
        case "greater_than_equal":
            return f"must be at least {context['ge']}, this is {given}"
        case "less_than_equal":
            return f"must be at most {context['le']}, this is {given}"
        case "model_type" | "model_attributes_type" | "dict_type":
            return "expected keys with values (`key: value`), not " + _kind(given)
        case "tuple_type" | "list_type":
            return "expected a list, not " + _kind(given)
        case _:
            return str(item["msg"])


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return f"the text `{value}`" if len(value) < 40 else "a text"
    return "a list" if isinstance(value, list) else "a mapping"


@cache
def keys_of(section: type[BaseModel]) -> tuple[str, ...]:
    """The keys of a section as YAML writes them, and those that are read before the model."""
    keys = [field.alias or name for name, field in section.model_fields.items()]
    if section is Config:
        keys.append("include")
    elif section.__name__ == "Device":
        keys += ["profile", "tags_file"]
    elif section is Unit:
        keys.append("forward")
    return tuple(keys)


def keys_at(path: Sequence[str | int], root: Node) -> tuple[str, ...]:
    """The keys that the section at `path` knows."""
    if len(path) == 2 and path[0] == "units":
        return keys_of(Route if _kind_of_unit(path, root) == "route" else Unit)
    annotation: Any = Config
    for part in path:
        annotation = _below(annotation, part)
    section = _bare(annotation)
    return keys_of(section) if isinstance(section, type) and issubclass(section, BaseModel) else ()


def _below(annotation: Any, part: str | int) -> Any:
    bare = _bare(annotation)
    if isinstance(bare, type) and issubclass(bare, BaseModel):
        for name, field in bare.model_fields.items():
            if part == (field.alias or name):
                return field.annotation
        return None
    arguments = get_args(bare)
    if get_origin(bare) is dict:
        return arguments[1]
    return arguments[0] if arguments else None


def _bare(annotation: Any) -> Any:
    """Without Annotated and Optional."""
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif origin in (Union, types.UnionType):
            annotation = next(argument for argument in get_args(annotation) if argument is not type(None))
        elif origin is Literal:
            return None
        else:
            return annotation
