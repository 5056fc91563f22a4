"""Units built from YAML with nothing opened: the core behind the same door that the server uses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gateway.app import build
from gateway.config.load import load
from gateway.interfaces import Unit


def build_units(yaml: str, directory: Path) -> Sequence[Unit]:
    """What each of the 256 unit ids answers with."""
    path = directory / "plant.yaml"
    path.write_text(yaml, encoding="utf-8")
    return build(load(path)).units.slots
