"""A gateway: opens everything in order, runs, changes its configuration while it runs, closes everything in order.

`build(config)` constructs and opens nothing. Shutdown: no new clients, no new polls, answers that are still to come,
clients, retained registers, links, simulations.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from gateway import __version__, clock, logs
from gateway.app import simulations
from gateway.app.blueprint import Blueprint
from gateway.app.certificates import Known
from gateway.app.commands import commands
from gateway.app.difference import Difference
from gateway.app.looptime import LoopTime
from gateway.app.news import News
from gateway.app.page import PageRoom
from gateway.app.plant import Plant, keeps
from gateway.app.service import Service
from gateway.app.trending import Trending
from gateway.app.views import Views
from gateway.config.model import Config
from gateway.config.model_server import Listener
from gateway.config.urls import ListenUrl
from gateway.control.socket import ControlError, ControlSocket
from gateway.errors import GatewayError, ListenError
from gateway.front import audit
from gateway.front.access import Access
from gateway.front.audit import Audit
from gateway.front.counters import Counters
from gateway.front.freshness import TICK_S, Freshness
from gateway.front.gate import Gate
from gateway.front.units import Units
from gateway.hub import Hub
from gateway.polling.wheel import Wheel
from gateway.serving.doors import Door
from gateway.serving.listeners import place_of
from gateway.serving.server import Server
from gateway.state.directory import StateDirectory, StateError, StateInUse
from gateway.state.journal import Journal
from gateway.state.records import Records
from gateway.state.retained import Retained
from gateway.systemd import NOTHING_HANDED_OVER, HandedOver, Notifier, Place

log = logging.getLogger(__name__)

DRAIN_S = 1.5
"""How long the end waits for answers that are still to come; the whole end must come within 5 s (README)."""


class Gateway:
    """Everything of one configuration, and of the next ones."""

    def __init__(
        self,
        blueprint: Blueprint,
        path: Path = Path("plant.yaml"),
        listen: Sequence[ListenUrl] = (),
        *,
        notifier: Notifier | None = None,
        handed_over: HandedOver = NOTHING_HANDED_OVER,
    ) -> None:
        """Constructs everything, opens nothing. `listen` stands instead of what the configuration says; `notifier` and
        `handed_over`: of a service."""
        self.path = path
        self.generation = 0
        self.freshness = Freshness(clock.now)
        self.counters = Counters()
        self.hub = Hub()
        self.scheduler = LoopTime()
        self.wheel = Wheel(self.scheduler)
        self._listen = tuple(listen)
        self.service = Service(notifier or Notifier({}))
        self.handed_over = handed_over
        self.started_s = clock.now()
        self.refusal = ""
        """Why the last reload changed nothing, and when; empty: it was applied."""
        self.news = News()
        """What happens, and who looks at what travels."""
        self.trending = Trending(self.hub)
        self._has_state = False
        state_path = blueprint.config.state_path
        self._state = StateDirectory(state_path)
        about = blueprint.config.audit
        self._journal = Journal(
            state_path / about.path,
            audit.line,
            audit.lost_line,
            max_size=about.max_size,
            keep=about.keep,
            name="audit",
        )
        self._audit = Audit(self.news.written)
        self._retained = Retained(state_path, self.scheduler, lambda *part: self.plant.given(*part))
        self._records = Records(state_path, self.scheduler)
        self._control: ControlSocket | None = None
        self._certificates = Known()
        self.plant = Plant(
            self.freshness,
            self.counters,
            self.hub,
            self.scheduler,
            self.wheel,
            self._retained,
            self._records,
            self._certificates,
            self._own_status,
            self.news,
        )
        self.plant.apply(blueprint)
        server = blueprint.config.server
        self.gate = Gate(self.plant.units, self.freshness, self.counters, self._audit)
        self.gate.taps = self.news.taps
        self.gate.access = Access(server.access)
        self.server = Server(
            self.gate,
            max_connections=server.max_connections,
            idle_timeout_s=server.idle_timeout_s,
            keepalive_s=server.keepalive_s,
            backlog=server.backlog,
            limits=server.limits,
            register=self.plant.functions.trouble,
            handed_over=handed_over,
        )
        self.server.hear(self.news.client)
        self.news.taps.changed = self._look
        self.views = Views(self)
        self.page = PageRoom(self)

    @property
    def config(self) -> Config:
        """What is running now."""
        return self.plant.blueprint.config

    @property
    def units(self) -> Units:
        """Who answers for each unit id."""
        return self.plant.units

    # -- life ---------------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Open everything, run until `stop`, close in order. GatewayError when something needed cannot be opened."""
        self._has_state = self._open_state()
        self._keep_audit(self.config)
        self.news.begin()
        try:
            await simulations.start(self.plant.wiring.simulations)
            try:
                await self.server.listen(self._doors(self.config))
            finally:
                await self._tell_strangers()
            async with asyncio.TaskGroup() as group:
                self.trending.configure(self.config)
                tasks = [
                    group.create_task(self._every_second(), name="second"),
                    group.create_task(self.trending.run(), name="trends"),
                ]
                self.plant.start(group)
                if self._has_state:
                    await self._open_control()
                await self.page.change(self.config)
                log.info("gateway %s is running: %s", __version__, self.plant.summary())
                tasks.append(group.create_task(self.service.run(self), name="service"))
                try:
                    await stop.wait()
                finally:
                    await self._close(tasks)
        finally:
            self.plant.ended()
            await simulations.stop(self.plant.wiring.unused_simulations)
            await simulations.stop(self.plant.wiring.simulations)
            self._audit.end()
            self.news.end()
            await self._journal.close()
            self._state.close()

    def _open_state(self) -> bool:
        """Lock the state directory, put retained registers back. False: it cannot be used, and nobody asked for it.

        Two gateways on one directory would be two on the same plant: the second is refused whatever it was asked for.
        """
        try:
            self._state.open()
        except StateInUse:
            raise
        except StateError as error:
            if self.plant.retains or self.config.state_dir is not None:
                raise
            log.warning("%s (no register is retained; there is no `gateway status` and no audit meanwhile)", error)
            return False
        self.plant.restore()
        return True

    async def _open_control(self) -> None:
        self._control = ControlSocket(self._state.path, commands(self.views))
        try:
            await self._control.open()
        except (ControlError, OSError) as error:
            log.warning("no control socket, so no `gateway status`: %s", error)
            self._control = None

    async def _tell_strangers(self) -> None:
        """Sockets that were handed over and that nobody listens on: one line each."""
        doors = [door.url for door in self._doors(self.config) if door.url.carrier != "serial"]
        places = [place_of(url) for url in doors]
        if (web := self.config.web) is not None:
            places.append(Place(web.listen.host, web.listen.port, socket.SOCK_STREAM, str(web.listen)))
        for line in await self.handed_over.strangers(places):
            log.warning("%s", line)

    async def _close(self, tasks: list[asyncio.Task[None]]) -> None:
        self.service.stopping()
        self.server.stop_accepting()
        self.wheel.stop()
        await asyncio.gather(self.server.drained(DRAIN_S), self.page.close())
        await self.server.close()
        if self._control is not None:
            await self._control.close()
        await asyncio.gather(self._retained.close(), self._records.close())
        self.plant.stop()
        for task in tasks:
            task.cancel()

    async def _every_second(self) -> None:
        """What grows old is told although nobody asks; rates are looked at."""
        while True:
            now_s = self.freshness.clock()
            self.freshness.judge(now_s)
            self.plant.tick(now_s)
            self.news.tick()
            await asyncio.sleep(TICK_S)

    # -- reload -------------------------------------------------------------------------------------------------

    async def reload(self, blueprint: Blueprint, found: Difference) -> None:
        """Go over to this configuration: only what differs is touched. What cannot be opened leaves all as it was.

        `found`: the difference from `plant.blueprint`.
        """
        begun_s = time.monotonic()
        before, after = self.plant.blueprint, blueprint.config
        server = after.server
        if before.config.state_path != after.state_path:
            log.warning("state_dir: takes effect when the gateway is started anew; %s stays in use", self._state.path)
        if not self._has_state and keeps(blueprint):
            self.refused("retain, files: there is no state directory; mend `state_dir` and start the gateway anew")
            return
        started = simulations.made_for(blueprint, found)
        try:
            await simulations.start(started)
            # Who comes in while they are opened does so by the old rules, and is judged anew with all others then.
            await self.server.listen(self._doors(after), server.backlog, lambda: self._configure(after))
        except GatewayError as error:
            await simulations.stop(started)
            self.refused(str(error))
            return
        lines = self.plant.apply(blueprint, found, started)
        self.plant.retain(before)
        self.trending.configure(after)
        self.refusal = ""
        self.plant.functions.reload_refused = False
        if before.config.server != server:
            lines.append("server changed")
        if before.config.audit != after.audit:
            lines.append("audit changed")
        if before.config.web != after.web:
            lines.append("web changed")
        both = before.settings.keys() & blueprint.settings.keys()
        if any(before.settings[key] != blueprint.settings[key] for key in both):
            lines.append("settings of links changed")
        if lines:
            self.generation += 1
            took_ms = (time.monotonic() - begun_s) * 1000
            log.info("configuration %d is running after %.0f ms: %s", self.generation, took_ms, "; ".join(lines))
            self.news.reloaded(self.path, self.generation, lines)
        else:
            log.info("the configuration was read again: nothing has changed")
        await self._tell_strangers()
        await self.page.change(after)
        unused, self.plant.wiring.unused_simulations = self.plant.wiring.unused_simulations, {}
        await simulations.stop(unused)

    def _doors(self, config: Config) -> list[Door]:
        """Where to listen, as the command line or else the configuration says. ListenError: who may do what is said
        only at the listeners that the command line replaces."""
        listeners = [Listener.model_construct(url=url) for url in self._listen] or config.server.listen
        if self._listen and config.server.access is None:
            guarded = next((listener for listener in config.server.listen if listener.access is not None), None)
            if guarded is not None:
                raise ListenError(
                    f"--listen: the listener {guarded} of the configuration has rights of its own (access), which "
                    "would not hold: write the address there, or rights for every listener at `server.access`"
                )
        return [
            Door(
                listener.url,
                None if listener.access is None else Access(listener.access),
                self._certificates.of_listener(config, listener),
            )
            for listener in listeners
        ]

    def _keep_audit(self, config: Config) -> None:
        """Who writes what is told from now on, or no more."""
        about = config.audit
        self._journal.configure(self._state.path / about.path, max_size=about.max_size, keep=about.keep)
        is_kept = about.enabled and self._has_state
        if is_kept:
            self._journal.start()
        self.news.journal = self._journal if is_kept else None

    def _configure(self, config: Config) -> None:
        server = config.server
        self.gate.access = Access(server.access)
        self._keep_audit(config)
        self.server.configure(
            max_connections=server.max_connections,
            idle_timeout_s=server.idle_timeout_s,
            keepalive_s=server.keepalive_s,
            backlog=server.backlog,
            limits=server.limits,
        )

    def _look(self) -> None:
        """Others look at what travels: tell links and clients."""
        for key, link in self.plant.links.items():
            link.tap(self.news.taps.of_link(key))
        self.server.review()

    def refused(self, why: str) -> None:
        """A reload that changes nothing."""
        self.plant.functions.reload_refused = True
        self.refusal = f"{time.strftime('%Y-%m-%d %H:%M:%S')}: {why}"
        log.error("reload refused, nothing has changed: %s", why, extra=logs.TOLD)
        self.news.not_reloaded(self.path, why)

    # -- for those who look -------------------------------------------------------------------------------------

    def states(self) -> Counter[str]:
        """How many devices are in which state."""
        return Counter(device.state.name.lower() for device in self.plant.devices.values())

    @property
    def is_reload_refused(self) -> bool:
        """The last one."""
        return bool(self.refusal)

    def _own_status(self, now_s: float) -> tuple[float, int]:
        """Uptime in seconds and generation, for the gateway's own status block."""
        return now_s - self.started_s, self.generation

    def listens_at(self) -> list[str]:
        """Where clients come in."""
        urls = list(map(str, self._listen or self.config.server.listen))
        has_system_port = any(url.endswith(":0") for url in urls)
        return (self.server.names if has_system_port else []) or urls

    def troubles(self) -> list[str]:
        """What is wrong with ourselves: what the disk does not take, a page that is not open."""
        told = (self._retained.trouble, self._records.trouble, self._journal.trouble, self.page.trouble)
        return [each for each in told if each]

    def audit_counters(self) -> dict[str, int]:
        """Of the audit's file."""
        return self._journal.snapshot()

    @property
    def requests(self) -> int:
        """For us, by whatever way; a serial line counts its own (function 08 is about that line)."""
        return self.counters.requests + sum(line.requests for line in self.server.by_line.values())

    @property
    def exceptions(self) -> int:
        """As `requests`."""
        return self.counters.exceptions + sum(line.exceptions for line in self.server.by_line.values())

    def summary(self) -> str:
        """What was done since the start, in one line."""
        ours = self.counters
        return (
            f"{self.requests} requests of {ours.connections} clients"
            f"{f' and {len(self.server.by_line)} serial lines' if self.server.by_line else ''} answered, "
            f"{self.exceptions} with an exception; "
            f"{ours.refused_connections} clients refused, {ours.broken} closed for a broken stream; "
            f"{self.plant.totals()}"
        )


def build(config: Config, *, simulate: bool = False) -> Gateway:
    """A gateway of `config`, nothing opened. `simulate`: every device is replaced by its simulation."""
    return Gateway(Blueprint(config, simulate=simulate))
