"""What a test needs from outside Python: without it skipped on a user's machine, failed in CI (GATEWAY_CI set)."""

from __future__ import annotations

import importlib.util
import os
import shutil
from typing import NoReturn

import pytest


def require(program: str) -> str:
    """The path of `program`."""
    path = shutil.which(program)
    return path if path is not None else missing(f"the program {program}")


def require_module(name: str) -> None:
    """The Python package `name` can be imported."""
    if importlib.util.find_spec(name) is None:
        missing(f"the Python package {name}")


def missing(what: str) -> NoReturn:
    """End this test: `what` is not on this machine."""
    if os.environ.get("GATEWAY_CI"):
        pytest.fail(f"{what} is missing, and CI must have it", pytrace=False)
    pytest.skip(f"{what} is missing on this machine")
