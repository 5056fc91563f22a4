"""From where the gateway listens to what clients dial.

`0.0.0.0` is every address of the machine and none that can be dialled: whoever exports says a name (`--host`), or the
name of this machine is taken and told.
"""

from __future__ import annotations

import re

from gateway.config.model import Config
from gateway.config.page import is_loopback
from gateway.maps.target import Door, Metrics, Target

_EVERY = ("0.0.0.0", "::", "")
_HOST = re.compile(r"(?P<name>[^\s:/?#@\[\]]+|\[[0-9A-Fa-f:.%]+\])(?::(?P<port>\d{1,5}))?", re.ASCII)


def parse_host(text: str) -> tuple[str, int | None]:
    """`gw1`, `10.0.0.5:1502`, `[fd00::5]`. Raises ValueError with what to write instead."""
    if text.count(":") > 1 and not text.startswith("["):
        text = f"[{text}]"
    match = _HOST.fullmatch(text)
    if match is None or not 0 < int(match["port"] or 1) <= 65535:
        raise ValueError(f"`{text}` is no host: write a name or an address, such as `gw1.plant` or `10.0.0.5:502`")
    return match["name"].strip("[]"), int(match["port"]) if match["port"] else None


def target_of(config: Config, version: str, host: str | None, port: int | None, machine: str) -> Target:
    """`host` and `port`: what clients dial, None: as it listens. `machine`: the name of this one."""
    doors = []
    for listener in config.server.listen:
        url = listener.url
        if url.carrier == "serial":
            continue
        name, is_guess = _dialled(url.host, host, machine)
        number = port if port is not None else url.port
        if number:  # 0: the system chooses one at every start
            doors.append(Door(url.scheme, name, number, is_guess))
    metrics = None
    if config.web is not None:
        page = config.web.listen
        name, is_guess = _dialled(page.host, host, machine)
        has_login = not config.web.metrics.open
        metrics = Metrics(Door(page.scheme, name, page.port, is_guess), has_login, config.web.metrics.tags)
    return Target(tuple(doors), tuple(str(listener.url) for listener in config.server.listen), metrics, version)


def _dialled(listens: str, host: str | None, machine: str) -> tuple[str, bool]:
    if host is not None:
        return host, False
    return (machine, True) if listens in _EVERY else (listens, False)


def remarks(used: Door | None) -> list[str]:
    """About the address that stands in the file, if it does."""
    if used is None:
        return []
    if used.is_guess:
        return [
            f"clients will dial {used.host}, the name of this machine: the gateway listens on all of its addresses. "
            "--host NAME says another"
        ]
    if is_loopback(used.host):
        return [f"{used.host} is reached from the gateway's own machine only; --host NAME says another"]
    return []
