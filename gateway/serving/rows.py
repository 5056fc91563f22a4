"""A client as a row for people: who it is, how it comes, what it asked last; the same for every way.

The rule: nothing is decoded, and nothing collected, while nobody looks. A client keeps the bytes of a request of late;
who asks for the rows takes a sample of each, so what is seen grows while somebody watches, and only then.
"""

from __future__ import annotations

from typing import Any, Protocol

from gateway.front.gate import Origin
from gateway.modbus.words import request_text
from gateway.serving.doors import Door

MAX_SEEN = 12
"""Different requests remembered of one client; a SCADA that reads more blocks than that has no short story."""


class Served(Protocol):
    """A client, as far as a row tells of it."""

    @property
    def requests(self) -> int: ...
    @property
    def exceptions(self) -> int: ...
    @property
    def waiting(self) -> int: ...


class Seen:
    """What one client was seen to ask, the newest first."""

    __slots__ = ("_asked",)

    def __init__(self) -> None:
        self._asked: dict[tuple[int, bytes], None] = {}

    def sample(self, heard: tuple[int, bytes]) -> None:
        """This it asked of late."""
        asked = self._asked
        asked.pop(heard, None)
        asked[heard] = None
        if len(asked) > MAX_SEEN:
            del asked[next(iter(asked))]

    def texts(self) -> list[str]:
        return [request_words(*heard) for heard in reversed(self._asked)]


def request_words(unit_id: int, pdu: bytes) -> str:
    """`read holding:0..9 (400001..400010) of unit 1`."""
    return f"{request_text(pdu)} of unit {unit_id}"


def row_of(
    origin: Origin,
    door: Door,
    since_s: float,
    last_s: float,
    now_s: float,
    seen: Seen,
    client: Served,
    heard: tuple[int, bytes] | None,
) -> dict[str, Any]:
    """All but what its carrier knows alone. Times are on the freshness's clock."""
    if heard is not None:
        seen.sample(heard)
    url = door.url
    return {
        "peer": origin.peer,
        "address": None if origin.host is None else str(origin.host),
        "door": origin.door,
        "way": url.carrier if url.framing == "mbap" else f"{url.framing} over {url.carrier}",
        "role": origin.role,
        "certificate": origin.certificate,
        "since_s": round(now_s - since_s, 1),
        "idle_s": round(now_s - last_s, 1),
        "requests": client.requests,
        "exceptions": client.exceptions,
        "waiting": client.waiting,
        "last": "" if heard is None else request_words(*heard),
        "seen": seen.texts(),
    }
