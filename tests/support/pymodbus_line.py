"""PLCs on one line that are not ours: pymodbus in a process that can be killed. Run with a port or path and a framing.

Units 1 and 2: holding 0..199 hold 1000 * unit + address, coils 0..63 every third one. Others are silent, as on a real
line; unit 0 is all of them. Prints `ready`.
"""

from __future__ import annotations

import asyncio
import sys

from pymodbus import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

UNITS = (1, 2)
SIZE = 200


def device(unit: int) -> SimDevice:
    bits = [address % 3 == 0 for address in range(64)]
    registers = [1000 * unit + address for address in range(SIZE)]
    return SimDevice(
        id=unit,
        simdata=(
            [SimData(0, values=bits, datatype=DataType.BITS)],
            [SimData(0, values=bits, datatype=DataType.BITS)],
            [SimData(0, values=registers, datatype=DataType.REGISTERS)],
            [SimData(0, values=registers, datatype=DataType.REGISTERS)],
        ),
    )


def only_our_units(is_sent: bool, data: bytes) -> bytes:
    """pymodbus answers for units that it has not; on a line nobody would."""
    unit = int(data[1:3], 16) if data.startswith(b":") else data[0]
    return b"" if is_sent and unit not in UNITS else data


async def main(where: str, framing: str) -> None:
    devices = [device(unit) for unit in UNITS]
    framer = FramerType(framing)
    server: ModbusSerialServer | ModbusTcpServer
    if where.isdecimal():
        server = ModbusTcpServer(devices, framer=framer, address=("127.0.0.1", int(where)), trace_packet=only_our_units)
    else:
        server = ModbusSerialServer(
            devices, framer=framer, port=where, baudrate=115200, broadcast_enable=True, trace_packet=only_our_units
        )
    await server.serve_forever(background=True)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
