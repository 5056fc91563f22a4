"""The configuration as a tree that knows where each part stands: nodes with marks, and what was found wrong with them.

A node's value is a text, a list of nodes or a mapping of nodes; nothing has a type yet. YAML, CSV and environment all
become this tree, so that every later step reports its findings by path and the place is looked up here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from gateway.errors import Problem

KeyPath = tuple[str | int, ...]
"""From the top: `("devices", "press", "poll", 0, "read")`."""


class Mark(NamedTuple):
    """A place in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Node:
    """A text, list or mapping and the place where it begins; `keys` has the places of a mapping's keys."""

    __slots__ = ("keys", "mark", "value")

    def __init__(
        self, value: str | list[Node] | dict[str, Node], mark: Mark, keys: dict[str, Mark] | None = None
    ) -> None:
        self.value = value
        self.mark = mark
        self.keys = keys or {}

    @property
    def mapping(self) -> dict[str, Node]:
        """The children of a mapping; empty for everything else."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def items(self) -> list[Node]:
        """The children of a list; a single text stands for a list of one."""
        if isinstance(self.value, list):
            return self.value
        return [self] if self.value else []

    def put(self, key: str, node: Node, mark: Mark) -> None:
        """Sets one key of a mapping, with the place of the key itself."""
        assert isinstance(self.value, dict)
        self.value[key] = node
        self.keys[key] = mark

    def plain(self) -> Any:
        """The same as dict, list and str."""
        value = self.value
        if isinstance(value, str):
            return value
        if isinstance(value, dict):
            return {key: node.plain() for key, node in value.items()}
        return [node.plain() for node in value]

    def release(self) -> None:
        """Frees the tree piece by piece: a large one at once would hold up other threads for tens of milliseconds."""
        value, self.value = self.value, ""
        if not isinstance(value, str):
            for child in value.values() if isinstance(value, dict) else value:
                if not isinstance(child.value, str):
                    child.release()


def find(root: Node, path: Sequence[str | int]) -> Node | None:
    """The node at `path`, None when there is none."""
    node = root
    for part in path:
        value = node.value
        if isinstance(value, dict) and str(part) in value:
            node = value[str(part)]
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            node = value[part]
        elif part != 0 or isinstance(value, list):  # what is no list stands for a list of one
            return None
    return node


def place_of(root: Node, path: Sequence[str | int], *, key: bool = False) -> Mark:
    """Where to look: the text at `path`; the key that leads to it for lists, mappings, and when `key` is wanted.

    A path that does not exist (a missing key) leads to the last part of it that does.
    """
    node, mark = root, root.mark
    for part in path:
        value = node.value
        if isinstance(value, dict) and str(part) in value:
            mark = node.keys.get(str(part), mark)
            node = value[str(part)]
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            node = value[part]
            mark = node.mark
        elif part != 0 or isinstance(value, list):  # what is no list stands for a list of one
            return mark
    return node.mark if isinstance(node.value, str) and node.value and not key else mark


def numbers_left(path: KeyPath, count: int, broken: frozenset[KeyPath]) -> list[int]:
    """Where the `count` items that are left of the list at `path` stand in the file."""
    if not broken:
        return list(range(count))
    gone = {cut[-1] for cut in broken if cut[:-1] == path}
    return [number for number in range(count + len(gone)) if number not in gone]


def dotted(path: Sequence[str | int]) -> str:
    """`devices.press.poll[0].read`"""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


class Findings:
    """Mistakes and warnings, each with its place; sorted by file in reading order, line and column."""

    def __init__(self) -> None:
        self.files: list[str] = []
        """Names of the files, as messages show them, in reading order."""
        self.root: Node = Node({}, Mark("", 1, 1))
        self.left_out: set[KeyPath] = set()
        """What files that cannot be read would have said something about."""
        self._errors: dict[tuple[Mark, str], Problem] = {}
        self._warnings: list[Problem] = []
        self._silent: set[Mark] = set()

    def error_at(self, mark: Mark, path: Sequence[str | int], message: str) -> None:
        """The same message at the same place counts once: a profile serves many devices."""
        if mark not in self._silent:
            self._errors.setdefault((mark, message), Problem(*mark, dotted(path), message))

    def silence(self, mark: Mark) -> None:
        """Nothing more is said about this place."""
        self._silent.add(mark)

    def error(self, path: KeyPath, message: str, *, key: bool = False) -> None:
        self.error_at(place_of(self.root, path, key=key), path, message)

    def warn(self, path: KeyPath, message: str, *, key: bool = False) -> None:
        self._warnings.append(Problem(*place_of(self.root, path, key=key), dotted(path), message))

    def text(self, path: KeyPath) -> str:
        """What is written at `path`; empty for everything but a text."""
        node = find(self.root, path)
        return node.value if node and isinstance(node.value, str) else ""

    @property
    def problems(self) -> list[Problem]:
        return self._sorted(list(self._errors.values()))

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(map(str, self._sorted(self._warnings))))

    def _sorted(self, problems: list[Problem]) -> list[Problem]:
        order = {file: number for number, file in enumerate(self.files)}
        return sorted(problems, key=lambda problem: (order.get(problem.file, len(order)), problem.line, problem.column))
