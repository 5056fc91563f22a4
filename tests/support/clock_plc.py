"""A device whose registers tell when they were read: `python -m tests.support.clock_plc PORT [HOST]`; prints `ready`.

Whatever unit and address: the first two registers of every answer are the machine's monotonic clock in milliseconds
(uint32), so whoever reads them through others knows how old they are; the rest are zero. Writes are echoed. Knows
nothing of the code under test.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time


def milliseconds() -> int:
    return time.monotonic_ns() // 1_000_000 & 0xFFFFFFFF


def main() -> None:
    port = int(sys.argv[1])
    host = sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1"
    listener = socket.create_server((host, port))
    print("ready", flush=True)
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


def serve(connection: socket.socket) -> None:
    data = b""
    with contextlib.suppress(OSError), connection:
        while part := connection.recv(4096):
            data += part
            while len(data) >= 6 and len(data) >= (size := 6 + int.from_bytes(data[4:6], "big")):
                tid, unit, pdu, data = data[:2], data[6:7], data[7:size], data[size:]
                answer = execute(pdu)
                connection.sendall(tid + b"\0\0" + (len(answer) + 1).to_bytes(2, "big") + unit + answer)


def execute(pdu: bytes) -> bytes:
    if pdu[0] not in (3, 4):
        return pdu[:5]
    data = milliseconds().to_bytes(4, "big").ljust(2 * int.from_bytes(pdu[3:5], "big"), b"\0")
    return bytes((pdu[0], len(data))) + data


if __name__ == "__main__":
    main()
