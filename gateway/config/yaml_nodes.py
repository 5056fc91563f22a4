"""YAML text -> tree of nodes: duplicate keys, anchors, merge keys, variables of the environment, and limits.

`yaml.compose` gives nodes, the resolver is left out: no scalar has a type before its key gives it one. The C loader is
used where there is one, five times faster. Syntax errors are told by `yaml_errors`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from gateway.config.tree import Findings, Mark, Node
from gateway.config.yaml_errors import report_syntax

_STANDARD_TAG = "tag:yaml.org,2002:"
_BaseLoader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


class _Loader(_BaseLoader):  # type: ignore[misc]
    """Resolves nothing: the three calls that yaml makes for each node cost as much as parsing it."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        return _STANDARD_TAG

    def descend_resolver(self, current_node: Any, current_index: Any) -> None:
        pass

    def ascend_resolver(self) -> None:
        pass


MAX_NODES = 2_000_000
"""Nodes of one file with all aliases expanded: twenty times a plant of 10,000 tags; a few lines of nested aliases reach
any number (the "billion laughs")."""
MAX_DEPTH = 32
"""Of lists and mappings in each other: a plant needs seven, and what reads them calls itself."""

_NOTHING = ("", "~", "null", "Null", "NULL")
_VARIABLE = re.compile(r"\$(?:\$|\{([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?\}|)")


def read_yaml(text: str, file: str, environ: Mapping[str, str], findings: Findings) -> Node | None:
    """The top of one file; None when it is no YAML, is empty or too large. Mistakes go to `findings`."""
    start = Mark(file, 1, 1)
    try:
        top = yaml.compose(text, Loader=_Loader)
        node = None if top is None else _Reader(file, environ, findings).node(top, ())
        size, depth = _extent(node, {}) if node else (0, 0)
    except yaml.YAMLError as error:
        report_syntax(error, text, file, findings)
        return None
    except RecursionError:
        size, depth, node = 0, MAX_DEPTH + 1, None
    if depth > MAX_DEPTH:
        findings.error_at(start, (), f"lists and mappings are nested more than {MAX_DEPTH} deep")
        return None
    if size > MAX_NODES:
        message = f"has more than {MAX_NODES} entries once its aliases (`*name`) are written out"
        findings.error_at(start, (), message)
        return None
    if node is None:
        findings.error_at(start, (), "is empty; the smallest plant has `devices:` with one device")
    return node


class _Reader:
    """Turns yaml's nodes into ours; an aliased node is turned once and shared."""

    def __init__(self, file: str, environ: Mapping[str, str], findings: Findings) -> None:
        self.file = file
        self.environ = environ
        self.findings = findings
        self.shared: dict[Any, Node | None] = {}
        """By yaml's list or mapping; None while it is being read."""

    def mark(self, node: Any) -> Mark:
        start = node.start_mark
        return Mark(self.file, start.line + 1, start.column + 1)

    def node(self, node: Any, path: tuple[str | int, ...]) -> Node:
        mark = self.mark(node)
        if not node.tag.startswith(_STANDARD_TAG):
            self.findings.error_at(
                mark, path, f"`{node.tag}`: YAML tags mean nothing here; quote a text that begins with `!`"
            )
        if isinstance(node, yaml.ScalarNode):
            return Node(self.text(node, mark, path), mark)
        if node in self.shared:
            known = self.shared[node]
            if known is None:
                self.findings.error_at(mark, path, "an anchor contains itself")
                return Node("", mark)
            return known
        self.shared[node] = None
        read = self.mapping(node, mark, path) if isinstance(node, yaml.MappingNode) else self.sequence(node, mark, path)
        self.shared[node] = read
        node.value = ()  # freed piece by piece: the whole tree at once would hold up other threads
        return read

    def sequence(self, node: Any, mark: Mark, path: tuple[str | int, ...]) -> Node:
        return Node([self.node(item, (*path, number)) for number, item in enumerate(node.value)], mark)

    def mapping(self, node: Any, mark: Mark, path: tuple[str | int, ...]) -> Node:
        read = Node({}, mark, {})
        merges = []
        for key_node, value_node in node.value:
            key_mark = self.mark(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                self.findings.error_at(key_mark, path, "a list or mapping cannot be a key; quote a key with [ ] or { }")
                continue
            key: str = key_node.value
            if key == "<<" and not key_node.style:
                merges.append(value_node)
            elif key in read.mapping:
                first = read.keys[key]
                self.findings.error_at(
                    key_mark, (*path, key), f"the key '{key}' stands here twice; first in line {first.line}"
                )
            else:
                read.put(key, self.node(value_node, (*path, key)), key_mark)
        for value_node in merges:
            self.merge(read, value_node, path)
        return read

    def merge(self, into: Node, value_node: Any, path: tuple[str | int, ...]) -> None:
        """`<<: *a` and `<<: [*a, *b]`: keys that are there already win."""
        merged = self.node(value_node, path)
        sources = merged.value if isinstance(merged.value, list) else [merged]
        for source in sources:
            if not isinstance(source.value, dict):
                self.findings.error_at(self.mark(value_node), path, "`<<` takes a mapping, such as `<<: *name`")
                return
            for key, child in source.value.items():
                if key not in into.mapping:
                    into.put(key, child, source.keys[key])

    def text(self, node: Any, mark: Mark, path: tuple[str | int, ...]) -> str:
        text: str = node.value
        if not node.style and text in _NOTHING:
            return ""
        return expand(text, mark, path, self.environ, self.findings) if "$" in text else text


def expand(text: str, mark: Mark, path: tuple[str | int, ...], environ: Mapping[str, str], findings: Findings) -> str:
    """`text` with `${NAME}`, `${NAME:-default}` and `$$` replaced; a variable that is not set is a mistake."""

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        name = match[1]
        if name is not None and match[2] is not None:  # as in the shell, an empty variable takes the default too
            return environ.get(name) or match[3]
        if name in environ:
            return environ[name]
        if name is None:
            message = "`$` begins a variable, `${NAME}` or `${NAME:-default}`; write `$$` for a dollar"
        else:
            message = f"the environment has no `{name}`; set it, or give a default: `${{{name}:-default}}`"
        findings.error_at(mark, path, message)
        findings.silence(mark)  # whatever the key wants, this was the mistake
        return match[0]

    return _VARIABLE.sub(value, text)


def _extent(node: Node, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """Nodes below and with `node` when every alias is written out, and how deep they are nested; counted without
    writing them out."""
    if isinstance(node.value, str):
        return 1, 0
    extent = known.get(id(node))
    if extent is None:
        size, depth = 1, 0
        for child in node.value.values() if isinstance(node.value, dict) else node.value:
            if isinstance(child.value, str):
                size += 1
            else:
                below, deep = _extent(child, known)
                size += below
                depth = max(depth, deep)
        extent = known[id(node)] = size, depth + 1
    return extent
