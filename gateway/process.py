"""What the gateway asks of the operating system's process: a loop, signals, open files, an end that comes in time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Awaitable, Iterator

log = logging.getLogger(__name__)


def run_loop(main: Awaitable[None]) -> None:
    """Run to the end, on uvloop where there is one."""

    async def runner() -> None:
        await main

    try:
        import uvloop
    except ImportError:
        asyncio.run(runner())
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop_runner:
            loop_runner.run(runner())


def end_within(seconds: float, code: int) -> None:
    """End the process with `code` though a thread hangs; in order if it ends in time."""

    def end() -> None:
        log.warning("a look-up of a name still hangs: ending without it")
        time.sleep(0.1)  # for that line
        os._exit(code)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def allow_open_files(wanted: int) -> None:
    """Raise the limit of open files as far as we may; one line when it is below what the configuration allows."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if soft < wanted:
            log.warning(
                "the system allows %d open files, max_connections and devices want %d: raise the limit (systemd: "
                "LimitNOFILE=%d) or lower server.max_connections",
                soft,
                wanted,
                wanted,
            )


def memory_kb() -> int | None:
    """Memory resident now; None where the system does not tell it through /proc."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
    except (OSError, ValueError, AttributeError):
        return None


def cpu_s() -> float:
    """Processor time since the start, user and system."""
    used = os.times()
    return round(used.user + used.system, 3)


def open_files() -> int | None:
    """Open descriptors, sockets included; None as for `memory_kb`."""
    try:
        return len(os.listdir("/proc/self/fd")) - 1  # the listing's own
    except OSError:
        return None


@contextlib.contextmanager
def stopped_by_signals(stop: asyncio.Event) -> Iterator[None]:
    """SIGTERM and SIGINT (Ctrl-C) set `stop`."""
    loop = asyncio.get_running_loop()

    def ask(number: int) -> None:
        if not stop.is_set():
            log.info("%s: stopping", signal.Signals(number).name)
        stop.set()

    for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
        number = getattr(signal, name, None)
        if number is None:
            continue
        try:
            loop.add_signal_handler(number, ask, number)
        except NotImplementedError:  # Windows; the loop wakes every second, so Ctrl-C is seen within one
            signal.signal(number, lambda received, _frame: loop.call_soon_threadsafe(ask, received))
    yield


@contextlib.contextmanager
def reloaded_by_signal(wanted: asyncio.Event) -> Iterator[None]:
    """SIGHUP, where there are signals, sets `wanted`."""
    if hasattr(signal, "SIGHUP"):
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, wanted.set)
    yield
