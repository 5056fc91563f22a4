"""The page among the other parts: what it is shown, its certificate, and that nothing of it is imported without one."""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from gateway import __version__
from gateway.app.exposition import exposition
from gateway.app.views import Row, Views, finding_row
from gateway.config.model import Config
from gateway.config.needs import page_tls
from gateway.control.findings import steps
from gateway.hub import Point
from gateway.tls.certificates import Certificates, Files

if TYPE_CHECKING:
    from gateway.app.gateway import Gateway
    from gateway.web.page import Page


class PageViews(Views):
    """`Views`, and what only the page asks."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(gateway)
        self._config: Config | None = None
        self._configs = 0
        """How many configurations there were: nothing else tells of one that only calls a tag's unit another name."""

    @property
    def name(self) -> str:
        """The product's name where one is written, else the machine's."""
        identity = self._gateway.config.server.identity
        return identity.product if "product" in identity.model_fields_set else socket.gethostname()

    @property
    def version(self) -> str:
        return __version__

    @property
    def is_ready(self) -> bool:
        return self._gateway.page.is_ready

    @property
    def generation(self) -> int:
        """Both only grow: another sum, and one of them is another."""
        config = self._gateway.config
        if config is not self._config:
            self._config = config
            self._configs += 1
        return super().generation + self._configs

    def states(self) -> Iterator[tuple[str, str, object]]:
        plant = self._gateway.plant
        for key, link in list(plant.links.items()):
            yield "links", key, link.up
        for name, device in list(plant.devices.items()):
            yield "devices", name, device.state

    def row(self, kind: str, name: str) -> Row | None:
        plant = self._gateway.plant
        return next(plant.device_rows([name]) if kind == "devices" else plant.link_rows([name]), None)

    def look_for_trouble(self, links: Iterable[Row], devices: Iterable[Row], gateway: Row) -> Iterator[Row | None]:
        for found in steps({"links": list(links), "devices": list(devices), "gateway": gateway}):
            yield None if found is None else finding_row(found)

    def points(self) -> list[Point]:
        return [point for points in self._gateway.hub.points.values() for point in points.values()]

    def client_counters(self) -> Row:
        return dict(self._gateway.counters.snapshot())

    def metrics(self, *, tags: bool) -> Iterator[str]:
        return exposition(self._gateway, tags=tags)


class PageRoom:
    """Has a page while the configuration wants one."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.is_ready = False
        """Clients are served."""
        self._page: Page | None = None
        self._views: PageViews | None = None
        self._certificates: Certificates | None = None

    async def change(self, config: Config) -> None:
        """From now on what the section `web` says holds."""
        self.is_ready = True
        web = config.web
        if web is None:
            await self._close()
            return
        page = self._page
        if page is None:
            make = await asyncio.to_thread(_import)  # a tenth of a second, in which registers are served
            self._views = PageViews(self._gateway)
            page = self._page = make(self._views, web, self._gateway.handed_over)
        await page.change(web, self._context(config))

    async def close(self) -> None:
        """The gateway ends."""
        self.is_ready = False
        await self._close()

    async def _close(self) -> None:
        page, self._page = self._page, None
        if page is not None:
            await page.close()
        views, self._views = self._views, None
        if views is not None:
            views.end()

    @property
    def trouble(self) -> str:
        """Why there is none although there should be."""
        return "" if self._page is None else self._page.trouble

    def snapshot(self) -> dict[str, Any] | None:
        """What the page has counted; None: there is none."""
        return None if self._page is None else self._page.snapshot()

    def _context(self, config: Config) -> Callable[[], ssl.SSLContext] | None:
        """What does not change stays the same object: it keeps a certificate that works while its files are mended."""
        tls = page_tls(config)
        if tls is None:
            self._certificates = None
            return None
        files = Files(config.path_of(tls.cert), config.path_of(tls.key), None)
        if self._certificates is None or self._certificates.files != files:
            self._certificates = Certificates(files, "server")
        return self._certificates.context


@functools.cache
def _import() -> Callable[..., Page]:
    from gateway.web.page import Page

    return Page
