"""Whether values are kept for trends, which of them are the same over a reload, and the turns in which that happens:
some work, then everybody else's turn."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Hashable

from gateway.config.model import Config
from gateway.hub import Hub
from gateway.trends import LOOK_S, Key, Meaning, Trends

log = logging.getLogger(__name__)


def meaning_in(config: Config) -> Meaning:
    """What the numbers of a tag mean, as a value: with another one, those of before are another tag's."""

    def meaning(key: Key) -> Hashable:
        device = config.devices.get(key[0])
        tag = None if device is None else device.tags.get(key[1])
        if device is None or tag is None:
            return None
        link = config.links.get(device.link or "")
        where = (device.urls, device.link, None if link is None else link.urls, device.unit)
        return where, tag.at, tag.type, tag.order or device.order, tag.scale, tag.offset, tag.unit, tag.no_value

    return meaning


class Trending:
    """Of one gateway."""

    def __init__(self, hub: Hub) -> None:
        self.trends: Trends | None = None
        """None: nobody wants any, for there is no page."""
        self._hub = hub

    def configure(self, config: Config) -> None:
        """From now on this configuration says whether, and how long."""
        keep_s = config.web.trend_s if config.web is not None else 0.0
        if not keep_s:
            if self.trends is not None:
                self.trends.close()
            self.trends = None
        elif self.trends is None:
            self.trends = Trends(self._hub, keep_s, meaning=meaning_in(config))
        else:
            self.trends.configure(keep_s, meaning_in(config))

    async def run(self) -> None:
        """Until cancelled. A bug here ends the trends and nothing else."""
        while True:
            try:
                has_more = self.trends is not None and self.trends.tick(time.time())
            except Exception:
                has_more = False
                log.exception("bug in the gateway while keeping trends: they end")
                if self.trends is not None:
                    self.trends.close()
                self.trends = None
            await asyncio.sleep(0 if has_more else LOOK_S)
