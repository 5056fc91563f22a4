"""The seams, on one screen.

Serving: a `Unit` answers a request PDU, now or `Later`. Devices: a `Submit` sends one `Request` and calls back, a
`SubmitWrite` brings one `Write` to its unit in order. Everything else is wired from these in `app`, the only file that
knows every part. The seams still to come (publishers) stand here when they are built.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Generator, Hashable
from typing import Any, Protocol, runtime_checkable

from gateway.errors import LinkBusy, LinkError
from gateway.modbus import spec
from gateway.modbus.pdu import expected

Plan = tuple[bytes, bytearray, int, int]
"""A standing answer: `prefix + memory[start:stop]`, prefix from the protocol id to the byte count (MBAP bytes 2..8)."""


class Later:
    """An answer that is still to come. The unit settles it once; the connection that asked hears of it, or leaves."""

    __slots__ = ("_also", "_deliver", "_leave", "answer", "error", "is_settled", "wanted")

    def __init__(self, leave: Callable[[], None] | None = None) -> None:
        """`leave()` is called when nobody waits any more, before it was settled."""
        self.answer: bytes | None = None
        """The response PDU, once settled; None: stay silent."""
        self.error: LinkError | None = None
        """Why the answer is none of the device's, if it is not; set before it is settled."""
        self.is_settled = False
        self.wanted = True
        """False: the client has gone; what was not sent for it yet need not be."""
        self._deliver: Callable[[], None] | None = None
        self._also: Callable[[Later], None] | None = None
        self._leave = leave

    def settle(self, answer: bytes | None) -> None:
        """The answer is there. Called once, also after `abandon`."""
        self.answer = answer
        self.is_settled = True
        if self._also is not None:
            also, self._also = self._also, None
            also(self)
        if self._deliver is not None:
            deliver, self._deliver = self._deliver, None
            deliver()

    def then(self, deliver: Callable[[], None]) -> None:
        """Call `deliver()` when it is settled; at once if it is."""
        if self.is_settled:
            deliver()
        else:
            self._deliver = deliver

    def also(self, heard: Callable[[Later], None]) -> None:
        """Call `heard(self)` when it is settled, before it is delivered, and also when the client has left. For those
        who listen besides, and do not wait: what nobody waits for may still not be sent."""
        before = self._also
        if self.is_settled:
            heard(self)
        elif before is None:
            self._also = heard
        else:

            def both(later: Later) -> None:
                before(later)
                heard(later)

            self._also = both

    def abandon(self) -> None:
        """Nobody waits any more."""
        self.wanted = False
        self._deliver = None
        if self._leave is not None and not self.is_settled:
            self._leave()


@runtime_checkable
class Unit(Protocol):
    """What one unit id answers with: a register image, or a device."""

    def answer(self, pdu: bytes) -> bytes | Later | None:
        """The response PDU to a request PDU of 1..253 bytes, exceptions included; None: stay silent."""
        ...

    def may_overtake(self, pdu: bytes) -> bool:
        """Whether work on it may begin while earlier requests of the same client to this unit are not answered yet.

        Answers keep their order all the same. False: it is asked when those before it are answered.
        """
        ...


class Timer(Protocol):
    """What a scheduler gives back."""

    def cancel(self) -> None: ...


class Scheduler(Protocol):
    """What of an asyncio loop is needed by whoever has timed rules; tests bring their own clock."""

    def time(self) -> float: ...
    def call_at(self, when: float, callback: Callable[[], object], /) -> Timer: ...


class Priority(enum.IntEnum):
    """Who goes first on a link; a duty cycle keeps the lower ones from starving."""

    WRITE = 0
    ASK = 1
    """Read by a client, through a forward."""
    POLL = 2


class Request:
    """One request to a device, prepared once and submitted over and over; the link owns the rest while it is out.

    `done(answer, error)` is called exactly once per submission: with the response PDU as the device sent it (an
    exception response too), or with a LinkError. `attempts` is 0 then if it never was sent.
    """

    __slots__ = (
        "attempts",
        "done",
        "due_s",
        "head",
        "kept",
        "out",
        "pdu",
        "priority",
        "quirks",
        "retries",
        "sent_s",
        "size",
        "tail",
        "tid",
        "timeout_s",
        "took_s",
        "unit_id",
        "wanted",
    )

    def __init__(
        self,
        unit_id: int,
        pdu: bytes,
        timeout_s: float,
        retries: int,
        done: Callable[[bytes | None, LinkError | None], None],
        quirks: frozenset[str] = frozenset(),
        priority: Priority = Priority.POLL,
    ) -> None:
        self.unit_id = unit_id
        self.pdu = pdu
        self.timeout_s = timeout_s
        self.retries = retries
        """After a time-out. 0 for everything but reads: what may have arrived is never repeated."""
        self.done = done
        self.quirks = quirks
        """What config.md's `accept` asks for: `tid_zero`, `any_unit`."""
        self.priority = priority
        self.wanted = True
        """False: whoever asked has gone; it is not sent any more."""
        self.head, self.size = expected(pdu)
        """How a good answer begins, and its size; 0: not known beforehand."""
        self.tail = b"\0\0" + (len(pdu) + 1).to_bytes(2, "big") + bytes((unit_id,)) + pdu
        self.tid = 0
        self.attempts = 0
        self.sent_s = 0.0
        """On the clock that ages are judged by."""
        self.took_s = 0.0
        """From the last sending to its answer."""
        self.due_s = 0.0
        """When it is given up; on the clock of `sent_s`."""
        self.out = False
        """Submitted and not yet called back."""
        self.kept: list[Any] | None = None
        """Where the link keeps what came of it, once it has looked that up."""


Submit = Callable[[Request], None]

Steps = Generator[bytes, bytes, bytes]
"""Request PDUs to one unit; each is sent when the one before was answered, its answer is the value of the `yield`; the
generator returns the response PDU that counts. An exception response is handed in as any other."""


class Write:
    """One write to a unit, of one request or of several that nobody may come between (read-modify-write).

    `done(answer, error)` is called exactly once: with the device's last response PDU (an exception response too), or
    with LinkDown or LinkBusy (it was not sent), or with OutcomeUnknown (it may have been executed).
    """

    __slots__ = ("done", "hold_s", "is_ours", "key", "steps", "timeout_s", "wanted", "what")

    def __init__(
        self,
        steps: Callable[[], Steps],
        what: str,
        done: Callable[[bytes | None, LinkError | None], None],
        *,
        key: Hashable | None = None,
        hold_s: float = 0.0,
        timeout_s: float | None = None,
        is_ours: bool = False,
    ) -> None:
        self.steps = steps
        self.what = what
        """For the log: `holding:10 (400011)`."""
        self.done = done
        self.key = key
        """Writes of the same key replace each other while they wait (`latest_only`); None: each one is sent."""
        self.timeout_s = timeout_s
        """For each answer; None: the unit's own."""
        self.is_ours = is_ours
        """No client waits: whoever began it tells the log how it went."""
        self.hold_s = hold_s
        """How long polls may still read the old value (`verify`)."""
        self.wanted = True
        """False: whoever asked has gone; as long as nothing was sent that writes, nothing is sent any more."""


SubmitWrite = Callable[[Write], None]


def once(pdu: bytes) -> Callable[[], Steps]:
    """The steps of a write that is one request."""

    def steps() -> Steps:
        answer = yield pdu
        return answer

    return steps


def exception_code(error: LinkError) -> int:
    """What a client gets when there is no answer of the device: 0A when the way is full, else 0B (house.md, Errors)."""
    return spec.GATEWAY_PATH_UNAVAILABLE if isinstance(error, LinkBusy) else spec.GATEWAY_TARGET_FAILED


def exception_response(pdu: bytes, code: int) -> bytes:
    """The exception response to a request PDU."""
    return bytes((pdu[0] | spec.EXCEPTION_BIT, code))
