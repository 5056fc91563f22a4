"""TCP keep-alive on both sides: how a connection whose peer lost its power is noticed when nothing is sent."""

from __future__ import annotations

import socket

KEEPALIVE_PROBES = 3
"""Unanswered probes until the connection counts as lost."""


def set_keepalive(sock: socket.socket, keepalive_s: float) -> None:
    """Probe a silent peer after `keepalive_s`, then every third of it; give up after KEEPALIVE_PROBES. 0: off."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(keepalive_s > 0))
    if keepalive_s <= 0:
        return
    idle_s = max(1, round(keepalive_s))
    for name, value in (
        ("TCP_KEEPIDLE", idle_s),
        ("TCP_KEEPALIVE", idle_s),  # the name on macOS
        ("TCP_KEEPINTVL", max(1, idle_s // 3)),
        ("TCP_KEEPCNT", KEEPALIVE_PROBES),
    ):
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
