"""A PLC that is not ours with holes in its tables, and a bound on what it reads at once: pymodbus's in a process.

Run with a port and that bound; prints `ready`. Holding 0..9, 20..69, 300..309 hold 1000 + address; input 0..79 holds
2000 + address; coils 0..40 every third one; discrete inputs 8..15 all. Units 1 and 5 alone.
"""

from __future__ import annotations

import asyncio
import sys

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

HOLDING = ((0, 10), (20, 70), (300, 310))
INPUT = ((0, 80),)
COILS = ((0, 41),)
DISCRETE = ((8, 16),)
UNITS = (1, 5)


def registers(ranges: tuple[tuple[int, int], ...], base: int) -> list[SimData]:
    return [
        SimData(first, values=[base + address for address in range(first, stop)], datatype=DataType.REGISTERS)
        for first, stop in ranges
    ]


def device(unit: int, most: int) -> SimDevice:
    async def act(function: int, start: int, address: int, count: int, *rest: object) -> ExcCodes | None:
        return ExcCodes.ILLEGAL_ADDRESS if function in (3, 4) and count > most else None

    return SimDevice(
        id=unit,
        simdata=(
            [SimData(0, values=[n % 3 == 0 for n in range(41)], datatype=DataType.BITS)],
            [SimData(8, values=[True] * 8, datatype=DataType.BITS)],
            registers(HOLDING, 1000 * unit),
            registers(INPUT, 2000 * unit),
        ),
        action=act,
    )


def only_our_units(is_sent: bool, data: bytes) -> bytes:
    """pymodbus answers for units that it has not; a bridge would be silent."""
    return b"" if is_sent and data[6] not in UNITS else data


async def main(port: int, most: int) -> None:
    devices = [device(unit, most) for unit in UNITS]
    server = ModbusTcpServer(devices, address=("127.0.0.1", port), trace_packet=only_our_units)
    await server.serve_forever(background=True)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
