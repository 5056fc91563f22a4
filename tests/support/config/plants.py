"""Plants written to a folder, read back: what is said about them, without the folder's name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

from gateway.config.load import load
from gateway.config.model import Config
from gateway.errors import ConfigError


def write(folder: Path, text: str, files: Mapping[str, str] | None = None) -> Path:
    """`text` as plant.yaml, `files` beside it."""
    for name, content in {"plant.yaml": text, **(files or {})}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(content).lstrip("\n"), encoding="utf-8")
    return folder / "plant.yaml"


def plant(
    folder: Path, text: str, files: Mapping[str, str] | None = None, environ: Mapping[str, str] | None = None
) -> Config:
    return load(write(folder, text, files), environ=environ or {})


def problems(
    folder: Path, text: str, files: Mapping[str, str] | None = None, environ: Mapping[str, str] | None = None
) -> list[str]:
    """Every mistake as `plant.yaml:LINE:COLUMN: PATH: MESSAGE`; empty when the plant is good."""
    try:
        plant(folder, text, files, environ)
    except ConfigError as error:
        return [str(problem).replace(f"{folder}/", "") for problem in error.problems]
    return []


def warnings(folder: Path, text: str, files: Mapping[str, str] | None = None) -> list[str]:
    return [warning.replace(f"{folder}/", "") for warning in plant(folder, text, files).warnings]
