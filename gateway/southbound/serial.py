"""The serial carrier of a link: RTU or ASCII on a port of this machine, opened anew only when it has vanished."""

from __future__ import annotations

from gateway import serialport
from gateway.config.urls import Framing, Line
from gateway.southbound.framed import FRAMINGS, TURNAROUND_S, Echo, FramedCarrier, Pace
from gateway.southbound.seams import Carrier, Dial, Owner


def serial_dialler(path: str, line: Line, framing: Framing, turnaround_s: float = TURNAROUND_S) -> Dial:
    """What a link, or a trial beside it, opens the port with. OSError says what to do."""
    pace = Pace(
        char_s=line.char_s,
        gap_s=line.t35_s if framing == "rtu" else 0.0,
        turnaround_s=turnaround_s,
        stays=True,
    )
    echo = Echo()
    rs485 = serialport.Rs485(line.rts, line.rts_before_s, line.rts_after_s) if line.rs485 else None

    async def dial(owner: Owner) -> Carrier:
        _, carrier = await serialport.open_port(
            lambda: FramedCarrier(owner, FRAMINGS[framing], pace, path, echo),
            path,
            baudrate=line.baudrate,
            parity=line.parity,
            stopbits=line.stopbits,
            databits=line.databits,
            rs485=rs485,
        )
        return carrier

    return dial
