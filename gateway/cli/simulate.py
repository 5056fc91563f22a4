"""`gateway simulate`: serve a plant's devices, simulated, each on a loopback port, for other programs."""

from __future__ import annotations

import errno
import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.options import JsonOption, PlantArgument
from gateway.cli.progress import Working
from gateway.errors import ConfigError, ListenError

if TYPE_CHECKING:
    from gateway.config.model import Config
    from gateway.simulate.server import SimServer

EXIT_FAILED = 1
EXIT_CONFIG = 2
MAX_PORT = 65535


def simulate(
    file: PlantArgument,
    base_port: Annotated[
        int, typer.Option("--base-port", min=0, max=MAX_PORT, metavar="PORT", help="The first port; 0: any free ones.")
    ] = 15020,
    host: Annotated[str, typer.Option("--host", metavar="HOST", help="Where to listen.")] = "127.0.0.1",
    as_json: JsonOption = False,
) -> None:
    """Serve a plant's devices, simulated, on ports.

    A line for each device tells where it is; with --json one object, as soon as all of them listen. Devices that share
    a link share a port. Ctrl-C ends it.

    Examples:

      gateway simulate plant.yaml

      gateway simulate plant.yaml --base-port 16000
    """
    import asyncio

    from gateway.config.load import load

    try:
        with Working(f"reading {file}", quiet=as_json):
            config = load(file)
    except ConfigError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(EXIT_CONFIG) from None
    if not any(device.enabled for device in config.devices.values()) and not config.routes:
        print(f"{file}: there is no device to simulate", file=sys.stderr)
        raise typer.Exit(EXIT_CONFIG)
    try:
        asyncio.run(_serve(config, host, base_port, as_json=as_json))
    except ListenError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(EXIT_FAILED) from None


async def _serve(config: Config, host: str, base_port: int, *, as_json: bool) -> None:
    import asyncio

    from gateway.config.urls import ListenUrl
    from gateway.process import stopped_by_signals
    from gateway.simulate.plant import simulated

    stop = asyncio.Event()
    with stopped_by_signals(stop):
        names = [name for name, device in config.devices.items() if device.enabled]
        links = {route.forward for route in config.routes.values() if route.forward in config.links}
        servers = simulated(config, names, links=sorted(links))
        try:
            for offset, server in enumerate(servers.values()):
                await start(server, host, base_port + offset if base_port else 0)
            urls = {key: str(ListenUrl(host, server.port)) for key, server in servers.items()}
            devices = {name: (urls[config.link_key(name)], config.devices[name].unit) for name in names}
            if as_json:
                told = {name: {"url": url, "unit": unit} for name, (url, unit) in devices.items()}
                print(json.dumps({"devices": told, "links": {link: urls[link] for link in sorted(links)}}), flush=True)
            else:
                for name, (url, unit) in devices.items():
                    print(f"{name}: {url} unit {unit}", flush=True)
                for link in sorted(links):
                    print(f"link {link}: {urls[link]}", flush=True)
            await stop.wait()
        finally:
            for server in servers.values():
                await server.stop()


async def start(server: SimServer, host: str, port: int, option: str = "") -> None:
    """Raises ListenError with what to do about it; `option`: what says host and port, if that is one."""
    from gateway.config.urls import ListenUrl
    from gateway.serving.ports import port_owner

    if port > MAX_PORT:
        raise ListenError(f"there is no port {port}: every link takes one; choose a lower --base-port")
    try:
        await server.start(host, port)
    except OSError as error:
        reason, hint = error.strerror or str(error), f"choose another {option or '--host'}"
        if error.errno == errno.EADDRINUSE:
            owner = port_owner(port)
            reason, hint = (
                f"the port is in use{f' by {owner}' if owner else ''}",
                f"choose another {option or '--base-port'}",
            )
        elif error.errno == errno.EACCES:
            hint = f"choose a {option or '--base-port'} above 1023"
        raise ListenError(f"cannot listen on {ListenUrl(host, port)}: {reason}; {hint}") from error
