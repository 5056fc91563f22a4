"""The peer of the poll engine: pymodbus's asyncio client, a connection and a task for each device.

As its users write it: read, then sleep until the next start, start to start, phases spread; or, with period 0, read
again at once. Logging is off. It polls until it is ended; the device farm counts.

usage: pymodbus_poller.py PERIOD_S REGISTERS FILE_OF_PORTS [--uvloop]
"""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

from pymodbus.client import AsyncModbusTcpClient

CONNECTING_AT_ONCE = 50


async def poll(client: AsyncModbusTcpClient, registers: int, period_s: float, first_s: float) -> None:
    loop = asyncio.get_running_loop()
    due_s = first_s
    while True:
        if period_s:
            while due_s < loop.time():
                due_s += period_s  # what was missed is skipped
            await asyncio.sleep(due_s - loop.time())
            due_s += period_s
        answer = await client.read_holding_registers(0, count=registers, device_id=1)
        if answer.isError() or len(answer.registers) != registers:
            raise SystemExit(f"a wrong answer: {answer}")


async def main(period_s: float, registers: int, ports: list[int]) -> None:
    clients = [AsyncModbusTcpClient("127.0.0.1", port=port) for port in ports]
    for at in range(0, len(clients), CONNECTING_AT_ONCE):
        connected = await asyncio.gather(*(client.connect() for client in clients[at : at + CONNECTING_AT_ONCE]))
        if not all(connected):
            raise SystemExit("not every device could be connected")
    start_s = asyncio.get_running_loop().time()
    async with asyncio.TaskGroup() as group:
        for number, client in enumerate(clients):
            group.create_task(poll(client, registers, period_s, start_s + period_s * number / len(clients)))


if __name__ == "__main__":
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL + 1)
    work = main(float(sys.argv[1]), int(sys.argv[2]), [int(port) for port in Path(sys.argv[3]).read_text().split()])
    if "--uvloop" in sys.argv[4:]:
        import uvloop

        uvloop.run(work)
    else:
        asyncio.run(work)
