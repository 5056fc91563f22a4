"""Which dialler a device's url needs: the one place where a framing meets its carrier."""

from __future__ import annotations

from collections.abc import Callable

from gateway.config.urls import DeviceUrl
from gateway.southbound.dialin import DialIn
from gateway.southbound.framed import FRAMINGS, Echo, FramedCarrier, Pace
from gateway.southbound.seams import Dial, Owner
from gateway.southbound.serial import serial_dialler
from gateway.southbound.tcp import TcpCarrier, tcp_dialler
from gateway.southbound.tls import Trust, tls_dialler
from gateway.southbound.udp import udp_dialler


def make_dialler(
    url: DeviceUrl,
    *,
    source: str | None,
    keepalive_s: float,
    batch: bool = False,
    trust: Trust | None = None,
    dial_in: DialIn | None = None,
) -> Dial:
    """For `url`, which is not `sim://`. `batch`: what a link with many requests out wants (TcpCarrier); `trust`: of
    `tls://`; `dial_in`: the one that all links share, for devices that dial in."""
    make = stream_carrier(url, batch=batch)
    match url.carrier:
        case "serial":
            assert url.line is not None
            return serial_dialler(url.path, url.line, url.framing, url.turnaround_s)
        case "tcp":
            return tcp_dialler(lambda: (url.host, url.port), source, keepalive_s, make=make)
        case "udp":
            return udp_dialler(lambda: (url.host, url.port), source)
        case "tls":
            assert trust is not None
            return tls_dialler(lambda: (url.host, url.port), source, keepalive_s, trust, batch=batch)
        case "dial-in":
            assert dial_in is not None
            return dial_in.dialler(url.host, url.port, url.framing, url.id, keepalive_s, url.turnaround_s)
        case _:
            raise AssertionError(f"no way to {url}")


def stream_carrier(url: DeviceUrl, *, batch: bool = False) -> Callable[[Owner], TcpCarrier | FramedCarrier]:
    """What speaks the url's framing on a stream of bytes (TCP, TLS, a device that dialled in)."""
    if url.framing == "mbap":
        return lambda owner: TcpCarrier(owner, batch=batch)
    framing, pace, echo = FRAMINGS[url.framing], Pace(turnaround_s=url.turnaround_s), Echo()
    return lambda owner: FramedCarrier(owner, framing, pace, str(url), echo)
