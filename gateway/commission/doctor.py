"""What works at a plant's devices and what to change, found by asking each as the gateway would.

One link's devices one after the other on one connection, as the gateway has it; the caller gives each link a thread.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Sequence

from gateway.commission.examination import Examination, exchange_of
from gateway.commission.exchange import Exchange
from gateway.commission.patients import Report, Way
from gateway.config.urls import DEFAULT_PORT, DeviceUrl
from gateway.errors import LinkDown


class Doctor:
    """Of one link; `examine` gives the report of each of its devices, in order."""

    def __init__(self, way: Way, on_read: Callable[[], None], *, sleep: Callable[[float], None] = time.sleep) -> None:
        """`on_read`: told after each request of the plan."""
        self._way = way
        self._on_read = on_read
        self._sleep = sleep

    def examine(self) -> list[Report]:
        way = self._way
        where = "|".join(map(str, way.urls))
        reports = [Report(patient.name, where, patient.unit_id) for patient in way.patients]
        if not reports:
            reports = [Report(f"link {way.key}", where, None)]
        exchange = self._connected(reports)
        if exchange is None:
            for report, patient in zip(reports, way.patients, strict=False):
                report.reads += [{"block": read.describe(), "outcome": "not asked"} for read in patient.reads]
                for _ in patient.reads:
                    self._on_read()
            return reports
        try:
            for patient, report in zip(way.patients, reports, strict=False):
                Examination(way, patient, report, exchange, self._on_read, self._sleep).run()
        finally:
            exchange.close()
        return reports

    def _connected(self, reports: Sequence[Report]) -> Exchange | None:
        """To the first address that works; what does not is told to all devices of the link."""
        way, found = self._way, None
        failures: list[tuple[DeviceUrl, LinkDown]] = []
        for url in way.urls:
            exchange = exchange_of(way, url, self._sleep)
            try:
                exchange.connect()
            except LinkDown as error:
                failures.append((url, error))
                continue
            if found is None:
                found = exchange
            else:
                exchange.close()
        for url, failure in failures:
            kind, change = self._why(url, failure)
            of = f"{url}: " if len(way.urls) > 1 else ""
            for report in reports:
                report.add("wrong", kind, f"{of}{failure}", change)
        for report in reports:
            report.is_connected = found is not None
        return found

    def _why(self, url: DeviceUrl, error: LinkDown) -> tuple[str, str]:
        """Kind of a failure to connect, and what to do beyond what its text says."""
        cause = error.__cause__
        if url.line is not None:
            return "port", ""
        if isinstance(cause, socket.gaierror):
            return "name", "look at the spelling; or write the address, which works without a name server"
        if isinstance(cause, ConnectionRefusedError):
            if url.port != DEFAULT_PORT and url.carrier == "tcp" and self._is_open(url._replace(port=DEFAULT_PORT)):
                return "refused", f"port {DEFAULT_PORT} is open there: url: {url._replace(port=DEFAULT_PORT)}"
            return "refused", "the host is there, but nothing listens on that port, or it has no connection left"
        if isinstance(cause, OSError) and cause.errno == errno.EADDRNOTAVAIL:
            return "source", "`source` is no address of this machine"
        if isinstance(cause, TimeoutError) or (isinstance(cause, OSError) and cause.errno is not None):
            return "unreachable", ""
        return "tls" if url.carrier == "tls" else "unreachable", ""

    def _is_open(self, url: DeviceUrl) -> bool:
        exchange = exchange_of(self._way, url, self._sleep)
        try:
            exchange.connect()
        except LinkDown:
            return False
        exchange.close()
        return True
