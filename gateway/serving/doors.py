"""A door: one place where clients come in, and what holds for those who come through it."""

from __future__ import annotations

from typing import NamedTuple

from gateway.config.urls import ListenUrl


class Door(NamedTuple):
    """One listener of the configuration."""

    url: ListenUrl
