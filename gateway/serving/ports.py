"""Why a listener could not be opened, in words that say what to do."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

_LISTENING = "0A"
"""TCP_LISTEN in /proc/net/tcp."""


def listen_error(host: str, port: int, error: OSError) -> str:
    """One line for people: the cause and its usual remedies."""
    where = f"tcp://{'[' + host + ']' if ':' in host else host}:{port}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            f"cannot listen on {where}: ports below 1024 need a privilege. One of: give it to the service "
            f"(systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE); allow it to everyone (sysctl "
            f"net.ipv4.ip_unprivileged_port_start={port}); or listen on a high port and redirect "
            f"(--listen tcp://{host}:5020, then a firewall rule from {port} to 5020)"
        )
    if error.errno == errno.EADDRINUSE:
        owner = port_owner(port)
        by = f" by {owner}" if owner else ""
        return f"cannot listen on {where}: the port is in use{by}. Stop that program or choose another port (--listen)"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"cannot listen on {where}: this machine has no address {host}. 0.0.0.0 means all its IPv4 addresses"
    return f"cannot listen on {where}: {error.strerror or error}"


def port_owner(port: int) -> str | None:
    """`NAME (process 123)` that listens on this TCP port, where Linux tells it to us; else None."""
    if not sys.platform.startswith("linux"):
        return None
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
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
