"""`holding:40101` is the register 40101, and almost never meant: a warning, since it is legal.

Only what is written with its table is asked about; the number of an address shows whether its text is worth a look.
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.config.addresses import Address, mistaken_reference
from gateway.config.model import Config
from gateway.config.tree import Findings, KeyPath
from gateway.modbus.spec import Table

_LEAST = 10_001
"""The first wire address that looks like a five-digit reference; few plants use addresses so high."""
_DECLARED_LIKE = (
    (Table.HOLDING, "holding", 40_001),
    (Table.INPUT, "input", 30_001),
    (Table.DISCRETE, "discrete", 10_001),
)


def warn_mistaken_references(config: Config, findings: Findings) -> None:
    for path, address in _addresses(config):
        if address.first >= _LEAST:
            text = str(path[-1]) if path[-2] == "initial" else findings.text(path)
            if question := mistaken_reference(text):
                findings.warn(path, question)
    for unit_id, unit in config.units.items():
        for table, word, first_reference in _DECLARED_LIKE:
            for first, count in getattr(unit, word) or ():
                if first == first_reference:
                    here = ("units", str(unit_id), word)
                    last = min(count, 9999) - 1
                    question = (
                        f"this declares {table.describe(first, count)}; if references are meant, write `0..{last}`"
                    )
                    findings.warn(here, question)


def _addresses(config: Config) -> Iterator[tuple[KeyPath, Address]]:
    """Every address of the plant and the key that has it."""
    if config.server.status:
        yield ("server", "status"), config.server.status.address
    for unit_id, unit in config.units.items():
        for number, address in enumerate(unit.read_only):
            yield ("units", str(unit_id), "read_only", number), address
        if unit.exception_status is not None:
            yield ("units", str(unit_id), "exception_status"), unit.exception_status
        for address, _ in unit.initial:
            yield ("units", str(unit_id), "initial", f"{address.table.word}:{address.first}"), address
    for name, device in config.devices.items():
        path = ("devices", name)
        if device.status:
            yield (*path, "status"), device.status.address
        for number, poll in enumerate(device.poll):
            yield (*path, "poll", number, "read"), poll.read
            yield (*path, "poll", number, "to"), poll.to.address
        for number, push in enumerate(device.push):
            yield (*path, "push", number, "write"), push.write
            yield (*path, "push", number, "from"), push.from_.address
        if device.watchdog:
            yield (*path, "watchdog", "write"), device.watchdog.write
        for tag_name, tag in device.tags.items():
            yield (*path, "tags", tag_name, "at"), tag.at
            if tag.to:
                yield (*path, "tags", tag_name, "to"), tag.to.address
