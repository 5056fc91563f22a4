"""The seams, on one screen.

Serving: a `Unit` answers a request PDU. Devices: a `Submit` sends one `Request` and calls back. Everything else is
wired from these in `app`, the only file that knows every part. The seams still to come (publishers, forwards) stand
here when they are built.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from gateway.errors import LinkError

Plan = tuple[bytes, bytearray, int, int]
"""A standing answer: `prefix + memory[start:stop]`, prefix from the protocol id to the byte count (MBAP bytes 2..8)."""


@runtime_checkable
class Unit(Protocol):
    """What one unit id answers with: a register image, later a device."""

    def answer(self, pdu: bytes) -> bytes | None:
        """The response PDU to a request PDU of 1..253 bytes, exceptions included; None: stay silent."""
        ...


class Request:
    """One read, prepared once and submitted over and over; the link owns the rest while it is out.

    `done(answer, error)` is called exactly once per submission: with the response PDU as the device sent it (an
    exception response too), or with a LinkError.
    """

    __slots__ = (
        "attempts",
        "done",
        "due_s",
        "out",
        "pdu",
        "quirks",
        "retries",
        "sent_s",
        "tail",
        "tid",
        "timeout_s",
        "unit_id",
    )

    def __init__(
        self,
        unit_id: int,
        pdu: bytes,
        timeout_s: float,
        retries: int,
        done: Callable[[bytes | None, LinkError | None], None],
        quirks: frozenset[str] = frozenset(),
    ) -> None:
        self.unit_id = unit_id
        self.pdu = pdu
        self.timeout_s = timeout_s
        self.retries = retries
        self.done = done
        self.quirks = quirks
        """What config.md's `accept` asks for: `tid_zero`, `any_unit`."""
        self.tail = b"\0\0" + (len(pdu) + 1).to_bytes(2, "big") + bytes((unit_id,)) + pdu
        self.tid = 0
        self.attempts = 0
        self.sent_s = 0.0
        """On the clock that ages are judged by."""
        self.due_s = 0.0
        """On the scheduler."""
        self.out = False
        """Submitted and not yet called back."""


Submit = Callable[[Request], None]
