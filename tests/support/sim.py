"""The simulated device's listener in this process, in a thread of its own, so that a test can see its counters."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from gateway.config.model_devices import Faults
from gateway.modbus.spec import Table
from gateway.simulate.plc import Plc
from gateway.simulate.server import SimServer

NewLoop = Callable[[], asyncio.AbstractEventLoop]


def sim_server(faults: Mapping[int, Mapping[str, object]]) -> SimServer:
    """Units 1 and 2 with a hundred holding registers each, and these faults (keys as in YAML)."""
    return SimServer(
        {unit: Plc({Table.HOLDING: [(0, 100)]}, (), time.monotonic) for unit in (1, 2)},
        {unit: Faults.model_validate(each) for unit, each in faults.items()},
    )


@contextmanager
def serving(
    faults: Mapping[int, Mapping[str, object]], new_loop: NewLoop = asyncio.new_event_loop
) -> Iterator[SimServer]:
    """`sim_server(faults)`, listening; `executed` is a list."""
    server = sim_server(faults)
    server.executed = []
    loop = new_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(5)
        yield server
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(5)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
