"""`gateway --config path`: load, log, loop, signals, reload, exit code."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from gateway import logs, process, systemd
from gateway.app.blueprint import Blueprint
from gateway.app.difference import Difference, difference
from gateway.app.gateway import Gateway
from gateway.app.watch import watch
from gateway.config.load import load_files
from gateway.config.model import Config
from gateway.config.needs import errors, unmet
from gateway.config.urls import ListenUrl, parse_listen_url
from gateway.errors import ConfigError, GatewayError

log = logging.getLogger(__name__)

EXIT_OK = 0
EXIT_FAILED = 1
"""It could not listen, or a bug ended it."""
EXIT_CONFIG = 2

SPARE_FILES = 350
"""Listeners, the log, the loop's own, look-ups; 256 connections of the page."""

MAX_REMAINS = 100
"""Parts of the plant that reloads have taken away and that no collection looks at any more, some 10 KB each. Then
all is looked at once; that stops the loop for 0.1 s, with a thousand devices for half a second."""

LAST_THREADS_S = 2.0
"""How long the end waits for threads that cannot be cancelled: a name server that does not answer."""


def run(
    path: Path,
    *,
    simulate: bool = False,
    listen: Sequence[str] = (),
    log_format: str = "text",
    verbose: int = 0,
    watch: bool = False,
) -> int:
    """Runs until SIGTERM or SIGINT. Returns the exit code. `watch`: reload when a file of the plant changes."""
    try:
        config, files = load_files(path)
        listeners = [parse_listen_url(text) for text in listen]
        _check_needs(config, files, simulate=simulate, listens=not listeners)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    except ValueError as error:
        print(f"--listen: {error}", file=sys.stderr)
        return EXIT_CONFIG
    with logs.set_up(log_format, verbose):
        for warning in config.warnings:
            log.warning("%s", warning)
        process_ = _Process(path, files, listeners, simulate=simulate, watch=watch)
        try:
            process.run_loop(process_.main(config))
        except GatewayError as error:
            log.error("%s", error)
            return EXIT_FAILED
        except Exception:
            log.exception("the gateway ends: a bug")
            return EXIT_FAILED
    return EXIT_OK


class _Process:
    """One run of the command."""

    def __init__(
        self, path: Path, files: tuple[Path, ...], listen: Sequence[ListenUrl], *, simulate: bool, watch: bool
    ) -> None:
        self._path = path
        self._files = files
        self._listen = listen
        self._simulate = simulate
        self._watch = watch
        self._wanted = asyncio.Event()
        """Somebody asked for a reload."""
        self._gateway: Gateway | None = None
        self._remains = 0
        """Parts that reloads have taken away since everything was looked at."""

    async def main(self, config: Config) -> None:
        stop = asyncio.Event()
        with process.stopped_by_signals(stop), process.reloaded_by_signal(self._wanted):
            gateway = self._gateway = Gateway(
                Blueprint(config, simulate=self._simulate),
                self._path,
                self._listen,
                notifier=systemd.Notifier(os.environ),
                handed_over=systemd.HandedOver.of(os.environ),
            )
            process.allow_open_files(config.server.max_connections + 2 * len(config.devices) + SPARE_FILES)
            _settle_memory()
            helpers = [asyncio.create_task(self._reload_when_wanted(), name="reload")]
            if self._watch:
                helpers.append(asyncio.create_task(watch(lambda: self._files, self._ask), name="watch"))
            try:
                await gateway.run(stop)
            finally:
                for helper in helpers:
                    helper.cancel()
                await asyncio.gather(*helpers, return_exceptions=True)
        log.info("gateway stopped: %s", gateway.summary())
        process.end_within(LAST_THREADS_S, EXIT_OK)

    async def _ask(self) -> None:
        self._wanted.set()

    async def _reload_when_wanted(self) -> None:
        """One reload at a time; what is asked meanwhile is one more."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            assert self._gateway is not None
            service = self._gateway.service
            service.reloading()
            try:
                await self._reload()
            except asyncio.CancelledError:
                raise
            except Exception:
                log.exception("reload: a bug; what could not be changed runs on as it was")
            finally:
                service.reloaded()

    async def _reload(self) -> None:
        """The whole new configuration is read and judged beside the loop, then the difference is applied."""
        gateway = self._gateway
        assert gateway is not None
        try:
            files, blueprint, found = await asyncio.to_thread(self._read, gateway.plant.blueprint)
        except ConfigError as error:
            self._files = tuple(dict.fromkeys((*self._files, *error.files)))
            for problem in error.problems:
                log.error("%s", problem)
            count = len(error.problems)
            gateway.refused(f"{count} mistake{'s' if count > 1 else ''} in the configuration")
            return
        self._files = files
        config = blueprint.config
        for warning in config.warnings:
            log.warning("%s", warning)
        process.allow_open_files(config.server.max_connections + 2 * len(config.devices) + SPARE_FILES)
        await gateway.reload(blueprint, found)
        self._remains += found.taken_away
        if self._remains > MAX_REMAINS:
            self._remains = 0
            gc.unfreeze()
        _settle_memory()

    def _read(self, before: Blueprint) -> tuple[tuple[Path, ...], Blueprint, Difference]:
        config, files = load_files(self._path)
        _check_needs(config, files, simulate=self._simulate, listens=not self._listen)
        blueprint = Blueprint(config, simulate=self._simulate)
        return files, blueprint, difference(before, blueprint)


def _check_needs(config: Config, files: tuple[Path, ...], *, simulate: bool, listens: bool) -> None:
    """Raises ConfigError when a package or a certificate is missing."""
    if problems := errors(unmet(config, simulate=simulate, listens=listens)):
        raise ConfigError(problems, files)


def _settle_memory() -> None:
    """What lives as long as the configuration need not be looked at by every collection."""
    gc.collect()
    gc.freeze()
