"""What a writer is given beside the map, and what it gives back.

A writer is a function `write(served: Map, target: Target) -> Written`: pure, the text of one file and what its author
must know. The rule for all of them: what a tool cannot show is left out and told, never shown wrongly.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from gateway.errors import GatewayError
from gateway.maps.neutral import Entry

MAX_NAMED = 5
"""Names in one remark; more are counted."""


class ExportError(GatewayError):
    """This plant cannot be written in this format; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Door:
    """A listener as clients dial it."""

    scheme: str
    host: str
    port: int
    is_guess: bool = False
    """The gateway listens on every address, and the host is this machine's name: nobody said so."""

    @property
    def authority(self) -> str:
        """`host:port`, as in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


@dataclass(frozen=True, slots=True)
class Metrics:
    """Where Prometheus finds /metrics."""

    door: Door
    has_login: bool
    """It is not open to everybody."""
    has_tags: bool
    """Values of tags are among them."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where clients find the gateway."""

    doors: tuple[Door, ...]
    """Of all listeners that are dialled over a network."""
    listeners: tuple[str, ...]
    """All, as the file writes them."""
    metrics: Metrics | None
    version: str

    def door(self, tool: str, *schemes: str) -> Door:
        """The first that the tool can dial. Raises ExportError where there is none."""
        for scheme in schemes:
            for door in self.doors:
                if door.scheme == scheme:
                    return door
        can = " or ".join(f"`{scheme}://`" for scheme in schemes)
        raise ExportError(
            f"{tool} dials {can}, and this plant listens on {', '.join(self.listeners) or 'nothing'}; "
            f"add one to `server.listen`, such as `{schemes[0]}://0.0.0.0:502`"
        )


class Written(NamedTuple):
    """A file, and what to tell whoever asked for it."""

    text: str
    notes: tuple[str, ...] = ()
    dials: Door | None = None
    """What stands in it, or what its reader must type in: for a remark about the host."""


class Notes:
    """Collects remarks: one line for all entries that have the same trouble."""

    def __init__(self, tool: str) -> None:
        self._tool = tool
        self._plain: list[str] = []
        self._left_out: dict[str, list[str]] = {}
        self._remarks: dict[str, list[str]] = {}

    def say(self, text: str) -> None:
        if text not in self._plain:
            self._plain.append(text)

    def leave_out(self, entry: Entry, reason: str) -> None:
        """This entry is not in the file."""
        self._left_out.setdefault(reason, []).append(entry.path)

    def remark(self, entry: Entry, what: str) -> None:
        """This entry is in the file, and its reader should know something."""
        self._remarks.setdefault(what, []).append(entry.path)

    def all(self) -> tuple[str, ...]:
        return (
            *self._plain,
            *(f"{what}: {_some(paths)}" for what, paths in self._remarks.items()),
            *(f"left out, {reason}: {_some(paths)}" for reason, paths in self._left_out.items()),
        )


def _some(paths: Iterable[str]) -> str:
    names = list(paths)
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more
