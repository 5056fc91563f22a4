"""From a configuration to a running gateway: the only file that knows every part.

`build(config)` constructs everything and opens nothing; `Gateway.run` opens, keeps running, and closes in order: no new
clients, no new polls, clients, links, simulations. `run` is the command: load, log, loop, signals, exit code.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from gateway import __version__, clock, logs, process
from gateway.bank import Bank, Span
from gateway.config.addresses import Place
from gateway.config.load import load
from gateway.config.model import Config, Unit
from gateway.config.urls import ListenUrl, parse_listen_url
from gateway.errors import ConfigError, ListenError
from gateway.front.counters import Counters
from gateway.front.diagnostics import Diagnostics
from gateway.front.freshness import TICK_S, Freshness, Tick
from gateway.front.identity import Identity
from gateway.front.units import Units
from gateway.hub import Hub
from gateway.modbus import spec
from gateway.modbus.spec import Table
from gateway.polling.assemble import Placement, PlannedBlock, jobs, plan_device
from gateway.polling.device import STATUS_REGISTERS, Device, gateway_status
from gateway.polling.job import Job
from gateway.polling.wheel import Timer, Turn, Wheel
from gateway.serving.server import Server
from gateway.simulate.plant import simulated
from gateway.southbound.link import Link, Settings
from gateway.southbound.tcp import tcp_dialler

log = logging.getLogger(__name__)

EXIT_OK = 0
EXIT_FAILED = 1
"""It could not listen, or a bug ended it."""
EXIT_CONFIG = 2

SPARE_FILES = 50
"""Listeners, the log, the loop's own, look-ups."""

LAST_THREADS_S = 2.0
"""How long the end waits for threads that cannot be cancelled: a name server that does not answer."""

MAX_NAMES = 4
"""Devices named in a line about their link."""


class LoopTime:
    """The running loop's time and timers, for parts that are built before there is a loop."""

    def time(self) -> float:
        return asyncio.get_running_loop().time()

    def call_at(self, when: float, callback: Callable[[], object], /) -> Timer:
        return asyncio.get_running_loop().call_at(when, callback)


class Gateway:
    """Everything of one configuration, constructed. Live objects are found by their keys in the YAML."""

    def __init__(self, config: Config, *, simulate: bool = False) -> None:
        self.config = config
        self.freshness = Freshness(clock.now)
        self.counters = Counters()
        self.hub = Hub()
        self.scheduler = LoopTime()
        self.wheel = Wheel(self.scheduler)
        self.links: dict[str, Link] = {}
        self.devices: dict[str, Device] = {}
        self.jobs: list[Job] = []
        self.turns: list[Turn] = []
        self._status_ticks: dict[str, Tick | None] = {}
        self._own_status_tick: Tick | None = None
        self._started_s = clock.now()

        planned = {name: plan_device(config, name) for name in config.devices}
        self.simulations = simulated(config, _simulated_names(config, everything=simulate))
        self.banks = _banks(config, planned.values())
        spans = _claim(self.banks, (place for blocks in planned.values() for b in blocks for place in b.placements()))
        self._install_functions()
        self.units = Units(self.banks, config.server.default_unit, config.server.unknown_unit, config.units)
        for name, blocks in planned.items():
            self._add_device(name, blocks, spans)
        self._name_links()
        self._add_status()
        server = config.server
        self.server = Server(
            self.units,
            self.freshness,
            self.counters,
            max_connections=server.max_connections,
            idle_timeout_s=server.idle_timeout_s,
            keepalive_s=server.keepalive_s,
            backlog=server.backlog,
        )

    # -- construction -------------------------------------------------------------------------------------------

    def _install_functions(self) -> None:
        """What every unit of ours answers besides its registers."""
        identity = self.config.server.identity
        ours = Identity(identity.vendor, identity.product, identity.revision or __version__)
        diagnostics = Diagnostics(self.counters)
        for bank in self.banks.values():
            bank.functions[spec.DIAGNOSTICS] = diagnostics.answer
            bank.functions[spec.REPORT_SERVER_ID] = ours.report
            bank.functions[spec.ENCAPSULATED_INTERFACE] = ours.answer

    def _add_device(self, name: str, blocks: Sequence[PlannedBlock], spans: Mapping[Placement, Span]) -> None:
        settings = self.config.devices[name]
        link = self._link(name) if settings.enabled else None
        device = self.devices[name] = Device(name, link, functools.partial(self._state_changed, name))
        if link is None:
            return
        added = jobs(self.config, name, blocks, device, link.submit, self.freshness, self.hub, self.banks, spans)
        self.jobs += added

        def link_changed(up: bool) -> None:
            device.review()
            if up:  # what could not be read meanwhile is read now, the rest at its turn
                for job in added:
                    if not job.is_good:
                        job.poll()

        link.on_change.append(link_changed)

    def _link(self, name: str) -> Link:
        """The link of device `name`, shared with all that have the same key."""
        key = self.config.link_key(name)
        if key not in self.links:
            settings = self.config.link_of(name)
            simulation = self.simulations.get(key)
            url = settings.url

            def address() -> tuple[str, int]:
                return ("127.0.0.1", simulation.port) if simulation is not None else (url.host, url.port)

            source = None if simulation is not None else settings.source
            self.links[key] = Link(
                key,
                tcp_dialler(address, source, settings.keepalive_s),
                Settings(settings.connect_delay_s, settings.delay_s, settings.in_flight),
                self.scheduler,
            )
        return self.links[key]

    def _name_links(self) -> None:
        """A line in the log about a link names the devices that it concerns."""
        users: dict[str, list[str]] = {}
        for name, settings in self.config.devices.items():
            if settings.enabled:
                users.setdefault(self.config.link_key(name), []).append(name)
        for key, names in users.items():
            more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
            self.links[key].name = f"{key} ({', '.join(names[:MAX_NAMES])}{more})"

    def _add_status(self) -> None:
        """Claim the status blocks and keep them true."""
        config = self.config
        for name, device in self.devices.items():
            self._status_ticks[name] = self._status_tick(config.devices[name].status, device.status)
        self._own_status_tick = self._status_tick(config.server.status, self._status)

    def _status_tick(self, place: Place | None, status: Callable[[float], bytes]) -> Tick | None:
        """What writes one status block; None when it is not wanted."""
        if place is None:
            return None
        bank, first = self.banks[self.config.unit_of(place)], place.address.first
        (span,) = bank.claim([(Table.INPUT, first, STATUS_REGISTERS)])
        bank.unblock(span)

        def tick(now_s: float) -> None:
            bank.put_registers(Table.INPUT, first, status(now_s))

        self.freshness.every_tick(tick)
        return tick

    def _state_changed(self, name: str) -> None:
        """A device's state is another: its block and ours must show it before the next answer."""
        for tick in (self._status_ticks.get(name), self._own_status_tick):
            if tick is not None:
                self.freshness.touch(tick)

    def _status(self, now_s: float) -> bytes:
        return gateway_status(now_s - self._started_s, list(self.devices.values()), self.counters.clients, 0)

    # -- life ---------------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event, listen: Sequence[ListenUrl] = ()) -> None:
        """Open everything, run until `stop`, close in order. ListenError when a listener cannot be opened."""
        for simulation in self.simulations.values():
            await simulation.start()
        try:
            await self.server.open(listen or self.config.server.listen)
            await self._serve(stop)
        finally:
            for simulation in self.simulations.values():
                await simulation.stop()

    async def _serve(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(link.run(), name=link.name) for link in self.links.values()]
            tasks.append(group.create_task(self._judge_every_second(), name="freshness"))
            for job in self.jobs:
                turn = Turn(job.block.every_s, job.poll)
                self.turns.append(turn)
                self.wheel.add(turn)
            log.info("gateway %s is running: %s", __version__, _summary(self.config, len(self.jobs)))
            try:
                await stop.wait()
            finally:
                self.server.stop_accepting()
                self.wheel.stop()
                await self.server.close()
                for task in tasks:
                    task.cancel()

    def summary(self) -> str:
        """What was done since the start, in one line."""
        ours, links = self.counters, [link.counters for link in self.links.values()]
        return (
            f"{ours.requests} requests of {ours.connections} clients answered, {ours.exceptions} with an exception; "
            f"{ours.refused_connections} clients refused, {ours.broken} closed for a broken stream; "
            f"{sum(turn.runs for turn in self.turns)} polls, {sum(turn.skipped for turn in self.turns)} skipped; "
            f"{sum(link.timeouts for link in links)} time-outs, {sum(link.late for link in links)} late answers, "
            f"{sum(link.losses for link in links)} connections to devices lost"
        )

    async def _judge_every_second(self) -> None:
        """What grows old is told although nobody asks."""
        while True:
            self.freshness.judge(self.freshness.clock())
            await asyncio.sleep(TICK_S)


def build(config: Config, *, simulate: bool = False) -> Gateway:
    """A gateway of `config`, nothing opened. `simulate`: every device is replaced by its simulation."""
    return Gateway(config, simulate=simulate)


def _simulated_names(config: Config, *, everything: bool) -> list[str]:
    return [
        name
        for name, device in config.devices.items()
        if device.enabled and (everything or config.link_of(name).url.scheme == "sim")
    ]


def _banks(config: Config, planned: Iterable[Iterable[PlannedBlock]]) -> dict[int, Bank]:
    """A register image for every unit id that is declared or that something is mapped into."""
    mapped: dict[int, dict[Table, list[tuple[int, int]]]] = {}

    def add(unit_id: int, table: Table, first: int, count: int) -> None:
        mapped.setdefault(unit_id, {}).setdefault(table, []).append((first, count))

    for blocks in planned:
        for block in blocks:
            for place in block.placements():
                add(place.unit_id, place.table, place.first, place.count)
    statuses = [device.status for device in config.devices.values()]
    for status in (*statuses, config.server.status):
        if status is not None:
            add(config.unit_of(status), Table.INPUT, status.address.first, STATUS_REGISTERS)
    banks = {}
    for unit_id in sorted({*config.units, *mapped}):
        unit = config.units.get(unit_id, Unit())
        declared = {Table.COILS: unit.coils, Table.DISCRETE: unit.discrete}
        declared |= {Table.HOLDING: unit.holding, Table.INPUT: unit.input}
        ranges = {
            table: list(wanted) if wanted is not None else mapped.get(unit_id, {}).get(table, [])
            for table, wanted in declared.items()
        }
        banks[unit_id] = _bank(unit, ranges)
    return banks


def _bank(unit: Unit, ranges: Mapping[Table, Sequence[tuple[int, int]]]) -> Bank:
    bank = Bank(ranges)
    for address, values in unit.initial:
        if address.table.is_bits:
            for offset, value in enumerate(values):
                bank.put_bit(address.table, address.first + offset, bool(value))
        else:
            data = b"".join((int(value) & 0xFFFF).to_bytes(2, "big") for value in values)
            bank.put_registers(address.table, address.first, data)
    for address in unit.read_only:
        bank.protect(address.table, address.first, address.count)
    return bank


def _claim(banks: Mapping[int, Bank], places: Iterable[Placement]) -> dict[Placement, Span]:
    """A span for every place, claimed bank by bank."""
    by_unit: dict[int, list[Placement]] = {}
    for place in places:
        by_unit.setdefault(place.unit_id, []).append(place)
    spans: dict[Placement, Span] = {}
    for unit_id, wanted in by_unit.items():
        claimed = banks[unit_id].claim([(place.table, place.first, place.count) for place in wanted])
        spans.update(zip(wanted, claimed, strict=True))
    return spans


def _summary(config: Config, job_count: int) -> str:
    devices = sum(device.enabled for device in config.devices.values())
    tags = sum(len(device.tags) for device in config.devices.values() if device.enabled)
    return f"{devices} devices, {job_count} polling jobs, {tags} tags"


# -- the command --------------------------------------------------------------------------------------------------


def run(
    path: Path,
    *,
    simulate: bool = False,
    listen: Sequence[str] = (),
    log_format: str = "text",
    verbose: int = 0,
) -> int:
    """`gateway --config path`: runs until SIGTERM or SIGINT. Returns the exit code."""
    try:
        config = load(path)
        listeners = [parse_listen_url(text) for text in listen]
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    except ValueError as error:
        print(f"--listen: {error}", file=sys.stderr)
        return EXIT_CONFIG
    with logs.set_up(log_format, verbose):
        return _run(config, listeners, simulate=simulate)


def _run(config: Config, listeners: Sequence[ListenUrl], *, simulate: bool) -> int:
    for warning in config.warnings:
        log.warning("%s", warning)
    try:
        process.run_loop(_main(config, listeners, simulate=simulate))
    except ListenError as error:
        log.error("%s", error)
        return EXIT_FAILED
    except Exception:
        log.exception("the gateway ends: a bug")
        return EXIT_FAILED
    return EXIT_OK


async def _main(config: Config, listen: Sequence[ListenUrl], *, simulate: bool) -> None:
    stop = asyncio.Event()
    with process.stopped_by_signals(stop):
        gateway = build(config, simulate=simulate)
        process.allow_open_files(config.server.max_connections + 2 * len(config.devices) + SPARE_FILES)
        gc.collect()
        gc.freeze()  # what lives as long as the process need not be looked at by every collection
        await gateway.run(stop, listen)
    log.info("gateway stopped: %s", gateway.summary())
    process.end_within(LAST_THREADS_S, EXIT_OK)
