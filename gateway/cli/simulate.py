"""`gateway simulate`: serve a plant's devices, simulated, each on a loopback port, for other programs."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gateway.config.model import Config

EXIT_FAILED = 1
EXIT_CONFIG = 2


def simulate(
    file: Annotated[Path, typer.Argument(help="The plant's YAML file.")],
    base_port: Annotated[
        int, typer.Option("--base-port", min=0, max=65535, help="The first port; 0: any free ones.")
    ] = 15020,
    host: Annotated[str, typer.Option("--host", help="Where to listen.")] = "127.0.0.1",
) -> None:
    """Serve the devices of a plant, simulated, until Ctrl-C. Devices that share a link share a port.

    Examples:

      gateway simulate plant.yaml

      gateway simulate plant.yaml --base-port 16000
    """
    from gateway.config.load import load
    from gateway.errors import ConfigError

    try:
        config = load(file)
    except ConfigError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(EXIT_CONFIG) from None
    try:
        asyncio.run(_serve(config, host, base_port))
    except OSError as error:
        print(f"cannot listen on {host}: {error.strerror or error}", file=sys.stderr)
        raise typer.Exit(EXIT_FAILED) from None


async def _serve(config: Config, host: str, base_port: int) -> None:
    from gateway.app import stopped_by_signals
    from gateway.simulate.plant import simulated

    stop = asyncio.Event()
    with stopped_by_signals(stop):
        names = [name for name, device in config.devices.items() if device.enabled]
        servers = simulated(config, names)
        try:
            for offset, server in enumerate(servers.values()):
                await server.start(host, base_port + offset if base_port else 0)
            for name in names:
                port = servers[config.link_key(name)].port
                print(f"{name}: tcp://{host}:{port} unit {config.devices[name].unit}", flush=True)
            await stop.wait()
        finally:
            for server in servers.values():
                await server.stop()
