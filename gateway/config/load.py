"""`load(path) -> Config`: read, give every text its type, judge; or raise ConfigError with every mistake at once.

Order: files into one tree (`assemble`), the tree into the model (here, through pydantic), the model checked (`check`).
What the model refuses is cut out and told, then the rest is read again: one wrong tag hides no other mistake.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateway.config import changes
from gateway.config.assemble import Assembler
from gateway.config.check import check
from gateway.config.explain import explain
from gateway.config.model import Config
from gateway.config.needs import Need, needs_of
from gateway.config.tree import Findings, KeyPath
from gateway.errors import ConfigError

_MAX_CUTS = 8
"""Rounds of cutting out what is wrong. One suffices but for sections that become incomplete by it."""


def load(path: Path | str, *, environ: Mapping[str, str] | None = None) -> Config:
    """The plant in the file at `path`. Raises ConfigError with all problems, in file order."""
    return load_files(path, environ=environ)[0]


def load_files(path: Path | str, *, environ: Mapping[str, str] | None = None) -> tuple[Config, tuple[Path, ...]]:
    """As `load`, and all files that the plant was read from, the first one first; ConfigError has them as `files`.

    It may run in a thread of a serving process: no step of it holds up other threads for long.
    """
    # A tree of 200,000 small objects without cycles: the collector would look at all of them again and again, and
    # double the time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return _load(Path(path), os.environ if environ is None else environ)
    finally:
        if collecting:
            if gc.get_freeze_count():
                # The process serves and has put aside what lives long (`app`): so does a plant, which is freed without
                # the collector. To look through it once holds up every thread, 50 ms for 10,000 tags.
                gc.freeze()
            gc.enable()


def _load(path: Path, environ: Mapping[str, str]) -> tuple[Config, tuple[Path, ...]]:
    findings = Findings()
    assembler = Assembler(environ, findings)
    root = assembler.plant(path)
    files = tuple(assembler.files)
    if root is None:
        raise ConfigError(findings.problems, files)
    findings.root = root
    needs: tuple[Need, ...] = ()
    notes: tuple[str, ...] = ()
    try:
        config, broken = _typed(root.plain(), findings)
        if config is not None:
            check(config, findings, broken | findings.left_out)
            if not findings.problems:
                needs = needs_of(config, findings)
                notes = changes.notes(config, findings)
    finally:
        root.release()
    if problems := findings.problems:
        raise ConfigError(problems, files)
    assert config is not None  # what is None was told
    return config.loaded(path, findings.warnings, needs, notes), files


def _typed(plain: Any, findings: Findings) -> tuple[Config | None, frozenset[KeyPath]]:
    """The model without what is wrong in it, and the paths of what was cut out."""
    cut: set[KeyPath] = set()
    for _ in range(_MAX_CUTS):
        try:
            return Config.model_validate(plain), frozenset(cut)
        except ValidationError as error:
            explained = explain(error, findings)
        for problem in explained:
            # A section that lacks a key because we cut it out lacks nothing more to say.
            if not (problem.missing and (*problem.cut, problem.missing) in cut):
                findings.error(problem.path, problem.message, key=problem.key)
        # Deepest and last first: removing an item of a list moves the ones behind it.
        for path in sorted({problem.cut for problem in explained}, key=_cut_order, reverse=True):
            _remove(plain, path)
            cut.add(path)
    return None, frozenset(cut)


def _cut_order(path: KeyPath) -> tuple[tuple[int, str], ...]:
    return tuple((part, "") if isinstance(part, int) else (-1, part) for part in path)


def _remove(plain: Any, path: KeyPath) -> None:
    """Cuts the part at `path` out of plain data; what is gone already stays gone."""
    parent = plain
    for part in path[:-1]:
        try:
            parent = parent[part]
        except (KeyError, IndexError, TypeError):
            return
    last = path[-1]
    if isinstance(parent, dict):
        parent.pop(last, None)
    elif isinstance(parent, list) and isinstance(last, int) and last < len(parent):
        del parent[last]
