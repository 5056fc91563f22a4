"""A PLC that is not ours: pymodbus's server in a process that can be killed. Run with a port and perhaps a way (`tcp`,
`rtu+tcp`, `ascii+tcp`, `udp`, `tls` with the files of certificate, key and CA); prints `ready`.

Holding 0..199 hold 1000 + address, input 0..199 2000 + address, coils and discrete inputs 0..63 every third one;
holding 100..101 hold float32 123.456 with the low word first. Answers to every unit id.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import Sequence

from pymodbus import FramerType
from pymodbus.server import ModbusTcpServer, ModbusTlsServer, ModbusUdpServer
from pymodbus.simulator import DataType, SimData, SimDevice


def server(device: SimDevice, port: int, way: str, files: Sequence[str]) -> ModbusTcpServer | ModbusUdpServer:
    address = ("127.0.0.1", port)
    if way == "udp":
        return ModbusUdpServer(device, address=address)
    if way == "tls":
        cert, key, ca = files
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        context.load_verify_locations(ca)
        context.verify_mode = ssl.CERT_REQUIRED
        return ModbusTlsServer(device, address=address, sslctx=context)
    framers = {"tcp": FramerType.SOCKET, "rtu+tcp": FramerType.RTU, "ascii+tcp": FramerType.ASCII}
    return ModbusTcpServer(device, address=address, framer=framers[way])


async def main(port: int, way: str = "tcp", *files: str) -> None:
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
    await server(device, port, way, files).serve_forever(background=True)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), *sys.argv[2:]))
