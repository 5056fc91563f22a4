"""What a plant needs of the machine it runs on: packages that are installed only when wanted, certificates that work,
serial ports that are not one port under two names.

Reading a plant opens nothing but the plant. `needs_of` notes there what it will need and where the file says so;
`unmet` looks, when a plant is checked or before one is started, and tells it as the mistakes of the file are told.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, NamedTuple

from gateway.config.check_ways import listener_path
from gateway.config.model_tls import PageTls, Tls
from gateway.config.tree import Findings, KeyPath, Mark, dotted, place_of
from gateway.errors import Problem, TlsError

if TYPE_CHECKING:
    from gateway.config.model import Config
    from gateway.config.urls import DeviceUrl, ListenUrl

Side = Literal["server", "client"]
_FILE_KEYS = ("cert", "key", "ca", "crl")
PAGE_PACKAGES = ("starlette", "uvicorn")
PAGE_MISSING = 'the page needs starlette and uvicorn: pip install "gateway[web]"'


class Port(NamedTuple):
    """A serial port that is opened."""

    name: str
    """`/dev/ttyUSB0`, or one that leads there."""
    user: str
    """What is equal opens it once."""
    is_device: bool
    mark: Mark
    path: str


class Need(NamedTuple):
    """A package (`tls` None), or the files of a section `tls` for one side."""

    package: Literal["serial", "tls", "web"]
    mark: Mark
    path: str
    is_device: bool
    """Of a device or link: simulated, it needs nothing."""
    tls: Tls | PageTls | None = None
    marks: tuple[Mark, ...] = ()
    """Where cert, key, ca and crl stand."""
    ports: tuple[Port, ...] = ()
    """Those that the package opens."""
    is_page: bool = False
    """Of the page, which neither a simulation nor other listeners replace."""

    @property
    def side(self) -> Side:
        return "client" if self.is_device else "server"


class Unmet(NamedTuple):
    problem: Problem
    is_fatal: bool
    """False: it works, and is probably not meant."""


def needs_of(config: Config, findings: Findings) -> tuple[Need, ...]:
    """In the order of the file's sections; each package and each section `tls` once for each side."""
    found: dict[tuple[object, ...], Need] = {}
    for user, path, urls, own, is_device in _ways(config, findings):
        carriers = {url.carrier for url in urls}
        if "serial" in carriers:
            mark, where = place_of(findings.root, path), dotted(path)
            need = found.setdefault(("serial", is_device), Need("serial", mark, where, is_device))
            ports = (Port(url.path, user, is_device, mark, where) for url in urls if url.carrier == "serial")
            found["serial", is_device] = need._replace(ports=(*need.ports, *ports))
        tls = own or config.tls
        if "tls" in carriers and tls is not None:
            section = _section(path) if own is not None else ("tls",)
            if (section, is_device) not in found:
                marks = tuple(place_of(findings.root, (*section, key)) for key in _FILE_KEYS)
                mark = place_of(findings.root, path)
                found[section, is_device] = Need("tls", mark, dotted(section), is_device, tls, marks)
    if config.web is not None:
        mark = place_of(findings.root, ("web",), key=True)
        found["web",] = Need("web", mark, "web", False, is_page=True)
        certificate = page_tls(config)
        if certificate is not None:
            section = ("tls",) if config.web.tls is None else ("web", "tls")
            marks = tuple(place_of(findings.root, (*section, key)) for key in _FILE_KEYS[:2])
            found["web", "tls"] = Need("tls", mark, dotted(section), False, certificate, marks, is_page=True)
    return tuple(found.values())


def page_tls(config: Config) -> PageTls | None:
    """The certificate of an `https://` page: its own, or the plant's; None of others."""
    web = config.web
    if web is None or web.listen.scheme != "https":
        return None
    if web.tls is None and config.tls is not None:
        return PageTls.model_construct(cert=config.tls.cert, key=config.tls.key)
    return web.tls


def _section(path: KeyPath) -> KeyPath:
    """The `tls` beside a url."""
    return (*path[:-1], "tls") if path[-1] == "url" else (*path, "tls")


def _ways(
    config: Config, findings: Findings
) -> Iterator[tuple[str, KeyPath, Sequence[DeviceUrl | ListenUrl], Tls | None, bool]]:
    """Of all that is used: what is equal is opened once; the key of its urls; its urls; its own certificates; whether
    it is one to a device."""
    for number, listener in enumerate(config.server.listen):
        yield f"listen {number}", listener_path(findings, number), (listener.url,), listener.tls, False
    used = {device.link for device in config.devices.values() if device.enabled}
    used |= {route.forward for route in config.routes.values()}
    for name, link in config.links.items():
        if name in used:
            yield name, ("links", name, "url"), link.urls, link.tls, True
    for name, device in config.devices.items():
        if device.enabled and device.link is None:
            yield config.link_key(name), ("devices", name, "url"), device.urls, device.tls, True


def unmet(config: Config, *, simulate: bool = False, listens: bool = True) -> list[Unmet]:
    """What this machine lacks. `simulate`: no device is real; `listens` False: the listeners are others than the
    file's. Reads certificates, so it may wait for a disk."""
    found: list[Unmet] = []
    needs = [need for need in config.needs if need.is_page or (not simulate if need.is_device else listens)]
    for need in needs:
        if need.package == "web":
            if any(find_spec(name) is None for name in PAGE_PACKAGES):
                found.append(Unmet(Problem(*need.mark, need.path, PAGE_MISSING), True))
        elif need.tls is not None:
            found += _certificates(config, need, need.tls)
        elif need.package == "serial":
            from gateway import serialport

            if not serialport.is_installed():
                found.append(Unmet(Problem(*need.mark, need.path, serialport.MISSING), True))
    found += _shared_ports([port for need in needs for port in need.ports])
    return found


def errors(found: Iterable[Unmet]) -> list[Problem]:
    return [each.problem for each in found if each.is_fatal]


def warnings(found: Iterable[Unmet]) -> list[str]:
    return [str(each.problem) for each in found if not each.is_fatal]


def _shared_ports(ports: Iterable[Port]) -> Iterator[Unmet]:
    """Ports that are one under several names, such as /dev/serial/by-id/..., and have several users."""
    first_by_port: dict[str, Port] = {}
    for port in ports:
        real = os.path.realpath(port.name)
        first = first_by_port.setdefault(real, port)
        if first.user == port.user:
            continue
        if first.is_device and port.is_device:
            rest = "and it is opened once: write the same url in both to share it"
        else:
            rest = "and behind a line are clients, asking one listener, or devices"
        message = f"{port.name} is the port {real}, which {first.path} ({first.mark}) has as {first.name}, {rest}"
        yield Unmet(Problem(*port.mark, port.path, message), True)


def _certificates(config: Config, need: Need, tls: Tls | PageTls) -> Iterator[Unmet]:
    from gateway.tls.certificates import Files, examine

    ca = crl = None
    if isinstance(tls, Tls):
        ca, crl = config.path_of(tls.ca), None if tls.crl is None else config.path_of(tls.crl)
    files = Files(config.path_of(tls.cert), config.path_of(tls.key), ca, crl)
    try:
        troubles = examine(files, need.side)
    except TlsError as error:
        yield Unmet(Problem(*need.mark, need.path, str(error)), True)
        return
    for trouble in troubles:
        mark = need.marks[_FILE_KEYS.index(trouble.key)]
        yield Unmet(Problem(*mark, f"{need.path}.{trouble.key}", trouble.message), trouble.is_fatal)
