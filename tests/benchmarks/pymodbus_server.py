"""The peer P: pymodbus's asyncio server with 1000 registers and 2000 bits per table, on plain asyncio or on uvloop.

Its current data model (SimDevice), four separate blocks as our units have them, no trace hooks, logging off: as fast as
a user can have it. Explicit value lists, because `count` is applied twice to bits in 3.16 (design/pymodbus.md 2).

usage: pymodbus_server.py PORT [--uvloop]
"""

from __future__ import annotations

import asyncio
import logging
import sys

from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

BITS = 2000
REGISTERS = 1000


def _bits() -> list[SimData]:
    return [SimData(0, values=[False] * BITS, datatype=DataType.BITS)]


def _registers() -> list[SimData]:
    return [SimData(0, values=[0] * REGISTERS, datatype=DataType.REGISTERS)]


async def serve(port: int) -> None:
    device = SimDevice(id=1, simdata=(_bits(), _bits(), _registers(), _registers()))
    await ModbusTcpServer(device, address=("127.0.0.1", port)).serve_forever()


if __name__ == "__main__":
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL + 1)
    if "--uvloop" in sys.argv[2:]:
        import uvloop

        uvloop.run(serve(int(sys.argv[1])))
    else:
        asyncio.run(serve(int(sys.argv[1])))
