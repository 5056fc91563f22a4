"""What the server gives to each client: times, counts and sizes that make sense side by side; and the audit's."""

from __future__ import annotations

from gateway.config.check_times import MIN_KEEPALIVE_S, at_least, at_most
from gateway.config.model import Config
from gateway.config.sizes import format_size
from gateway.config.tree import Findings, KeyPath

MIN_HALF_REQUEST_S = 0.1
"""A request over a slow radio or cellular link may come in two segments so far apart."""
MAX_HALF_REQUEST_S = 3600.0
MAX_BYTES_WAITING = 16 * 2**20
"""Of one client; with a thousand of them the memory of most machines is full."""
MIN_BYTES_WAITING = 1024
"""Four of the longest answers (V1.1b3 4.1)."""
MIN_AUDIT_SIZE = 4096
"""Some twenty lines: a file that is put aside more often tells nothing."""
MAX_AUDIT_SIZE = 10 * 10**9


def check_server(config: Config, findings: Findings) -> None:
    server, limits = config.server, config.server.limits
    path: KeyPath = ("server", "limits")
    at_least(findings, ("server", "keepalive"), server.keepalive_s, MIN_KEEPALIVE_S, off=True)
    at_least(findings, (*path, "half_request"), limits.half_request_s, MIN_HALF_REQUEST_S, off=True)
    at_most(findings, (*path, "half_request"), limits.half_request_s, MAX_HALF_REQUEST_S)
    _between(findings, (*path, "bytes_waiting"), limits.bytes_waiting, MIN_BYTES_WAITING, MAX_BYTES_WAITING)
    if limits.connections_per_address > server.max_connections:
        message = f"all clients together are at most {server.max_connections} (`max_connections`)"
        findings.warn((*path, "connections_per_address"), message)
    if config.audit.enabled:
        _between(findings, ("audit", "max_size"), config.audit.max_size, MIN_AUDIT_SIZE, MAX_AUDIT_SIZE)


def _between(findings: Findings, path: KeyPath, size_bytes: int, least: int, most: int) -> None:
    if size_bytes < least:
        findings.error(path, f"must be at least {format_size(least)}, this is {format_size(size_bytes)}")
    elif size_bytes > most:
        findings.error(path, f"must be at most {format_size(most)}, this is {format_size(size_bytes)}")
