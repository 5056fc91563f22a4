"""What `/metrics` shows: the rows that `gateway status` has, the loop's lag, what each unit id was asked, and tags."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gateway import process
from gateway.config.model import Config
from gateway.hub import Hub
from gateway.metrics import Rows, TagRow, render

if TYPE_CHECKING:
    from gateway.app.gateway import Gateway


def exposition(gateway: Gateway, *, tags: bool) -> Iterator[str]:
    """The text in parts, which are made while they are taken: others may have their turn between any two.

    `tags`: their values and qualities, too.
    """
    views = gateway.views
    status = views.status()
    status["gateway"] = {**status["gateway"], "cpu_s": process.cpu_s(), "started_s": gateway.service.started_s}
    status["page"] = gateway.page.snapshot() or {}
    found = tag_rows(gateway.hub, gateway.config) if tags else iter(())
    return render(Rows(status, gateway.service.lag.snapshot(), views.units(), found))


def tag_rows(hub: Hub, config: Config) -> Iterator[TagRow]:
    """Every tag now. It may be left half way: what a reload takes away meanwhile is not shown any more."""
    for name, points in list(hub.points.items()):
        device = config.devices.get(name)
        if device is None:
            continue
        for tag_name, point in list(points.items()):
            tag = device.tags.get(tag_name)
            if tag is not None:
                value, quality, _, _ = point.sample()
                yield TagRow(name, tag_name, tag.unit or "", value, quality)
