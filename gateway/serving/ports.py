"""Why a listener could not be opened, in words that say what to do."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from gateway.config.urls import ListenUrl

_LISTENING = "0A"
"""TCP_LISTEN in /proc/net/tcp."""
_OPEN = "07"
"""A socket of /proc/net/udp that is bound and has no other end."""
_HIGH_PORT = 5020
"""One that needs no privilege."""


def listen_error(url: ListenUrl, error: OSError) -> str:
    """One line for people: the cause and its usual remedies."""
    why = error.strerror or error
    if url.carrier == "serial":
        return f"cannot listen on {url}: {why}"
    host, port = url.host, url.port
    high = ListenUrl(host, _HIGH_PORT, url.scheme)
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            f"cannot listen on {url}: ports below 1024 need a privilege. One of: give it to the service "
            f"(systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE); allow it to everyone (sysctl "
            f"net.ipv4.ip_unprivileged_port_start={port}); or listen on a high port and redirect "
            f"(--listen {high}, then a firewall rule from {port} to {high.port})"
        )
    if error.errno == errno.EADDRINUSE:
        owner = port_owner(port, is_udp=url.carrier == "udp")
        by = f" by {owner}" if owner else ""
        return f"cannot listen on {url}: the port is in use{by}. Stop that program or choose another port (--listen)"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"cannot listen on {url}: this machine has no address {host}. 0.0.0.0 means all its IPv4 addresses"
    return f"cannot listen on {url}: {why}"


def port_owner(port: int, *, is_udp: bool = False) -> str | None:
    """`NAME (process 123)` that listens on this port, where Linux tells it to us; else None."""
    if not sys.platform.startswith("linux"):
        return None
    inodes = set()
    kind, state = ("udp", _OPEN) if is_udp else ("tcp", _LISTENING)
    for table in (f"/proc/net/{kind}", f"/proc/net/{kind}6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            if fields[3] == state and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    if not inodes:
        return None
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(entry) in inodes for entry in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
        except OSError:
            continue  # gone, or not ours to look into
    return None
