"""The simulated PLCs of a plant, by link: made for links that are new, stopped when no link uses them any more."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.app.blueprint import Blueprint
from gateway.app.difference import Difference
from gateway.errors import ListenError
from gateway.simulate.plant import simulated
from gateway.simulate.server import SimServer

Servers = dict[str, SimServer]
"""By the key of their link."""


def made_for(blueprint: Blueprint, found: Difference) -> Servers:
    """Those of links that are new; not started."""
    wanted = {key for key in found.links_new if blueprint.links[key].simulation is not None}
    config = blueprint.config
    names = [name for name in blueprint.simulated if config.link_key(name) in wanted]
    bare = [key for key in wanted if key in config.links]
    return simulated(config, names, links=bare) if wanted else {}


async def start(servers: Mapping[str, SimServer]) -> None:
    """Listen. ListenError when one cannot; then none does."""
    try:
        for server in servers.values():
            await server.start()
    except OSError as error:
        await stop(servers)
        raise ListenError(f"a simulated PLC cannot listen: {error.strerror or error}") from error


async def stop(servers: Mapping[str, SimServer]) -> None:
    """Close them; harmless for those that were not started."""
    for server in servers.values():
        await server.stop()
