"""A PLC that is not ours: pymodbus's server in a process that can be killed. Run with a port; prints `ready`.

Holding 0..199 hold 1000 + address, input 0..199 2000 + address, coils and discrete inputs 0..63 every third one;
holding 100..101 hold float32 123.456 with the low word first. Answers to every unit id.
"""

from __future__ import annotations

import asyncio
import sys

from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice


async def main(port: int) -> None:
    bits = [address % 3 == 0 for address in range(64)]
    holding = [1000 + address for address in range(200)]
    holding[100:102] = [0xE979, 0x42F6]
    inputs = [2000 + address for address in range(200)]
    device = SimDevice(
        id=0,
        simdata=(
            [SimData(0, values=bits, datatype=DataType.BITS)],
            [SimData(0, values=bits, datatype=DataType.BITS)],
            [SimData(0, values=holding, datatype=DataType.REGISTERS)],
            [SimData(0, values=inputs, datatype=DataType.REGISTERS)],
        ),
    )
    server = ModbusTcpServer(device, address=("127.0.0.1", port))
    await server.serve_forever(background=True)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
