"""A PLC in a process of its own, to be killed: `python -m tests.support.recording_plc PORT FILE [DELAY_MS]`.

Writes every executed write to FILE before it answers, so that the file tells what the device did whatever became of
the answer. Functions 06 and 16; 03 reads back. Registers survive in FILE. Knows nothing of the code under test.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time


def main() -> None:
    port, path = int(sys.argv[1]), sys.argv[2]
    delay_s = float(sys.argv[3]) / 1000 if len(sys.argv) > 3 else 0.0
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    registers = dict[int, int]()
    with open(path, encoding="ascii") as lines:
        for line in lines:
            address, value = map(int, line.split())
            registers[address] = value
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(8)
    print("ready", flush=True)
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=serve, args=(connection, log, registers, delay_s), daemon=True).start()


def serve(connection: socket.socket, log: int, registers: dict[int, int], delay_s: float) -> None:
    data = b""
    while part := connection.recv(4096):
        data += part
        while len(data) >= 6 and len(data) >= (size := 6 + int.from_bytes(data[4:6], "big")):
            tid, unit, pdu, data = data[:2], data[6:7], data[7:size], data[size:]
            answer = execute(pdu, log, registers)
            time.sleep(delay_s)
            connection.sendall(tid + b"\0\0" + (len(answer) + 1).to_bytes(2, "big") + unit + answer)


def execute(pdu: bytes, log: int, registers: dict[int, int]) -> bytes:
    first = int.from_bytes(pdu[1:3], "big")
    if pdu[0] == 3:
        count = int.from_bytes(pdu[3:5], "big")
        values = (registers.get(first + offset, 0) for offset in range(count))
        return bytes((3, 2 * count)) + b"".join(value.to_bytes(2, "big") for value in values)
    data = pdu[3:5] if pdu[0] == 6 else pdu[6:] if pdu[0] == 16 else b""
    if not data:
        return bytes((pdu[0] | 0x80, 1))
    for offset in range(len(data) // 2):
        value = int.from_bytes(data[2 * offset : 2 * offset + 2], "big")
        registers[first + offset] = value
        os.write(log, b"%d %d\n" % (first + offset, value))
    return pdu[:5]


if __name__ == "__main__":
    main()
