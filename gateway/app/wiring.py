"""The links that live, and what lives and dies with one: its task, its writers, its simulation, the devices behind it.

The rule of the file: a link is known by its key in the YAML and stays the same object, with its connection, as long as
that key stands for the same way; other settings and another name it is told while it runs. What its devices still owe
answers to outlives it, for the link that takes its place on the same wire (`southbound.doubts`).
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from gateway.app import simulations
from gateway.app.blueprint import Blueprint, LinkPlan
from gateway.app.certificates import Known
from gateway.app.looptime import LoopTime
from gateway.app.news import News
from gateway.polling.device import Device
from gateway.polling.rates import Rates
from gateway.simulate.server import SimServer
from gateway.southbound.dialin import DialIn
from gateway.southbound.diallers import make_dialler
from gateway.southbound.doubts import Doubts
from gateway.southbound.link import Link
from gateway.southbound.seams import Dial
from gateway.southbound.tcp import tcp_dialler
from gateway.southbound.writer import Writer


class Wiring:
    """Of a plant."""

    def __init__(self, scheduler: LoopTime, certificates: Known, news: News) -> None:
        self.links: dict[str, Link] = {}
        self.dial_in = DialIn()
        self.simulations: simulations.Servers = {}
        self.unused_simulations: simulations.Servers = {}
        """Of links that are no more; to be stopped."""
        self._scheduler = scheduler
        self._certificates = certificates
        self._news = news
        self._rates = Rates(scheduler)
        self._users: dict[str, list[Device]] = {}
        """The devices behind each link."""
        self._writers: dict[tuple[str, int], Writer] = {}
        """By link and unit id."""
        self._doubts: dict[str, Doubts] = {}
        """What links were not answered that a reload takes away, by line: for those that come in their place."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._ended: dict[str, int] = {}
        """Counters of links that are no more, summed up, for the last line."""

    # -- the difference -----------------------------------------------------------------------------------------

    def end(self, key: str, plan: LinkPlan) -> None:
        """A link is no more; nobody is behind it."""
        link = self.links.pop(key)
        self._doubts[_line_of(plan)] = link.doubts
        for counter, count in link.totals().items():
            self._ended[counter] = self._ended.get(counter, 0) + count
        self._rates.forget(key)
        del self._users[key]
        for mine in [mine for mine in self._writers if mine[0] == key]:
            del self._writers[mine]
        if (task := self._tasks.pop(key, None)) is not None:
            task.cancel()
        if (simulation := self.simulations.pop(key, None)) is not None:
            self.unused_simulations[key] = simulation

    def add(self, blueprint: Blueprint, key: str, simulation: SimServer | None) -> None:
        """A new link; it connects, if links do."""
        plan, settings = blueprint.links[key], blueprint.settings[key]
        if simulation is not None:
            self.simulations[key] = simulation
        batch = settings.in_flight > 1
        dials: list[Dial]
        if simulation is not None:
            dials = [tcp_dialler(lambda: ("127.0.0.1", simulation.port), None, plan.keepalive_s, batch=batch)]
        else:
            dials = [
                make_dialler(
                    url,
                    source=plan.source,
                    keepalive_s=plan.keepalive_s,
                    batch=batch,
                    trust=self._certificates.of_link(blueprint.config, plan.tls),
                    dial_in=self.dial_in,
                )
                for url in plan.urls
            ]
        doubts = self._doubts.pop(_line_of(plan), None)
        link = Link(key, dials, settings, self._scheduler, prefer_first=plan.prefer_first, doubts=doubts)
        link.troubles.heard = functools.partial(self._news.link_changed, key)
        link.tap(self._news.taps.of_link(key))
        self.links[key] = link
        self._users[key] = []
        if self._group is not None:
            self._run(key)

    def settle(self, blueprint: Blueprint) -> None:
        """All links of the blueprint are there: they take the settings and names that they have in it."""
        self._doubts.clear()
        for key, link in self.links.items():
            settings = blueprint.settings[key]
            if link.settings != settings:
                link.configure(settings)
            link.name = name = blueprint.labels[key]
            self._rates.watch(key, name, settings.in_flight, settings.delay_s, self._users[key])

    def attach(self, key: str, device: Device) -> None:
        """A device is behind this link."""
        self.links[key].watch(device.unit_id, device)
        self._users[key].append(device)

    def detach(self, key: str, device: Device) -> None:
        """Not any more."""
        self.links[key].unwatch(device.unit_id, device)
        self._users[key].remove(device)

    def writer(self, key: str, unit_id: int, timeout_s: float, quirks: frozenset[str]) -> Writer:
        """The one writer of a unit."""
        writer = self._writers.get((key, unit_id))
        if writer is None:
            name = f"{key}, unit {unit_id}"
            writer = self._writers[key, unit_id] = Writer(
                self.links[key].submit, self._scheduler, unit_id, timeout_s, quirks, name
            )
        return writer

    def unhook_writers(self, used: Collection[tuple[str | None, int]]) -> None:
        """Nobody hears of writes any more; writers of units that are not `used` end once they have nothing to do."""
        for key, writer in list(self._writers.items()):
            writer.on_written.clear()
            if key not in used and not len(writer):
                del self._writers[key]

    # -- life ---------------------------------------------------------------------------------------------------

    def start(self, group: asyncio.TaskGroup) -> None:
        """Connect."""
        self._group = group
        for key in self.links:
            self._run(key)

    def _run(self, key: str) -> None:
        assert self._group is not None
        self._tasks[key] = self._group.create_task(self.links[key].run(), name=key)

    def stop(self) -> None:
        """Disconnect."""
        self._group = None
        for task in self._tasks.values():
            task.cancel()

    def tick(self, now_s: float) -> None:
        """Once a second."""
        self._rates.tick(now_s)

    # -- for those who look -------------------------------------------------------------------------------------

    def total(self, counter: str) -> int:
        """Of all links since the start, those that are no more with them."""
        return self._ended.get(counter, 0) + sum(link.totals()[counter] for link in self.links.values())

    def rows(self, blueprint: Blueprint, keys: Iterable[str] | None = None) -> Iterator[dict[str, Any]]:
        """One at a time: others are served in between. `keys`: of these only."""
        for key in list(self.links) if keys is None else keys:
            link, plan = self.links.get(key), blueprint.links.get(key)
            if link is not None and plan is not None:
                load = self._rates.load_percent(key)
                yield {
                    **link.snapshot(),
                    "name": key,
                    "url": str(plan.urls[link.keeper.at]),
                    "urls": [str(url) for url in plan.urls],
                    "load_percent": None if load is None else round(load, 1),
                }


def _line_of(plan: LinkPlan) -> str:
    """The wire that a link uses first, whatever its settings are."""
    url = plan.urls[0]
    return url.path or f"{url.host}:{url.port} {url.id.hex()}"
