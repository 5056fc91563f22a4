"""What a tool may read together, so that it loses together only what is lost anyway."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from gateway.maps.neutral import Entry


def together(entries: Iterable[Entry]) -> Iterator[tuple[str, int, list[Entry]]]:
    """(device, unit id, entries): one device's values, or one's status, which is there while the device is not."""

    def group(entry: Entry) -> tuple[str, int, bool]:
        return entry.device, entry.unit, entry.kind == "status"

    for (device, unit, _), members in groupby(sorted(entries, key=group), key=group):
        yield device, unit, list(members)
