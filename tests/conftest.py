"""Fixtures every level shares: the real command, and its log beside a failure."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support import process
from tests.support.process import Running

Start = Callable[..., Running]


def pytest_configure(config: pytest.Config) -> None:
    """Where Python is told to keep no bytecode (containers often do), hundreds of commands would compile the gateway
    anew, at a quarter of the suite's time: it is kept in pytest's own cache. The workers of xdist inherit that."""
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
        assert config.cache is not None
        os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = str(config.cache.mkdir("bytecode"))
        sys.dont_write_bytecode = False


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """`start(yaml, *arguments, listeners=1)`: a running gateway; all are stopped, in order, after the module."""
    with ExitStack() as stack:

        def start(yaml: str, *arguments: str, listeners: int = 1) -> Running:
            directory = tmp_path_factory.mktemp("gateway")
            return stack.enter_context(process.running(yaml, directory, *arguments, listeners=listeners))

        yield start


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.failed:
        for command in process.alive:
            report.sections.append((f"log of process {command.process.pid}", "\n".join(command.log[-200:])))
    return report
