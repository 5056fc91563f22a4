"""The formats there are: a line each; a writer is imported when it is asked for.

The command line's help names them, so this file imports nothing that takes time: every command would pay for it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from gateway.maps.neutral import Map
    from gateway.maps.target import Target, Written

    Writer = Callable[[Map, Target], Written]


class Format(NamedTuple):
    module: str
    """In `gateway.maps.writers`."""
    what: str
    """For the help."""


FORMATS = {
    "csv": Format("csv_table", "every value and block, a row each; `gateway import` reads it back"),
    "markdown": Format("markdown", "tables for a wiki or a repository"),
    "html": Format("html_page", "one page to print or to send, needs nothing else"),
    "kepware": Format("kepware", "CSV for a device's tags in Kepware"),
    "ignition": Format("ignition", "JSON for Ignition's Tag Browser"),
    "fuxa": Format("fuxa", "a FUXA project"),
    "node-red": Format("node_red", "a flow with node-red-contrib-modbus"),
    "home-assistant": Format("home_assistant", "the `modbus:` section of configuration.yaml"),
    "telegraf": Format("telegraf", "[[inputs.modbus]] for telegraf.conf"),
    "prometheus": Format("prometheus", "prometheus.yml that scrapes /metrics"),
    "json": Format("neutral_json", "the map itself, for programs"),
}


def writer(name: str) -> Writer:
    """Of a format of FORMATS."""
    found: Writer = importlib.import_module(f"gateway.maps.writers.{FORMATS[name].module}").write
    return found
