"""What the serving side counts: plain ints, written by one thread, wrapped only where they are shown."""

from __future__ import annotations

from gateway.front import events
from gateway.modbus import spec


class Traffic:
    """What functions 08, 11 and 12 tell of one way: of all of TCP together, or of one serial line (V1.1b3 6.8 to 6.10).

    A message is counted when it has been asked, so that who asks for the counters does not find itself in them.
    """

    __slots__ = (
        "broadcasts",
        "broken",
        "busy",
        "events",
        "exceptions",
        "fetches",
        "naks",
        "overruns",
        "requests",
        "silent",
    )

    def __init__(self) -> None:
        self.events = events.Events()
        self._zero()

    def _zero(self) -> None:
        self.requests = 0
        """Messages for us, answered or not."""
        self.exceptions = 0
        """Answered with an exception; `busy` and `naks` are some of them."""
        self.busy = 0
        self.naks = 0
        self.silent = 0
        """Messages for us without an answer, broadcasts among them."""
        self.broadcasts = 0
        """Executed, and not answered because they were for everybody."""
        self.broken = 0
        """Frames that nobody could read; over TCP the stream is closed for it."""
        self.overruns = 0
        """Characters lost before they were read: serial lines only."""
        self.fetches = 0
        """How often function 11 was asked."""

    @property
    def messages(self) -> int:
        """All that came by, for whomever, good or broken."""
        return self.requests + self.broken

    @property
    def completions(self) -> int:
        """Requests that were done: neither refused nor ignored, and not those that asked for just this number. One that
        is still to be answered counts already. What a client sends in one segment is counted when all of it is served,
        its exceptions at once: never less than 0."""
        return max(0, self.requests - self.exceptions - self.silent + self.broadcasts - self.fetches)

    def refused(self, code: int, number: int | None = None) -> None:
        """A message was answered with this exception. `number`: which one, if not the last that was counted."""
        self.exceptions += 1
        if code == spec.SERVER_BUSY:
            self.busy += 1
        elif code == spec.NEGATIVE_ACKNOWLEDGE:
            self.naks += 1
        self.events.refused(self.requests if number is None else number, code)

    def unanswered(self, number: int | None = None, received: int = events.RECEIVED) -> None:
        """A message for us gets no answer. `number`: as for `refused`; `received`: what the log calls it (`events`)."""
        self.silent += 1
        if received == events.BROADCAST:
            self.broadcasts += 1
        self.events.unanswered(self.requests if number is None else number, received)

    def unread(self, frames: int = 1) -> None:
        """Frames that were broken."""
        self.broken += frames
        for _ in range(min(frames, events.MAX_EVENTS)):
            self.events.add(self.requests, events.BROKEN)

    def clear(self) -> None:
        """Function 08 sub-function 0A: everything begins at 0. The log of events stays."""
        self.events.renumber(self.requests)
        self._zero()

    def restart(self, *, clear_log: bool) -> None:
        """Function 08 sub-function 01."""
        self.events.restart(self.requests, clear=clear_log)
        self._zero()


class LineCounters(Traffic):
    """Of one serial line, where others' messages are heard, too."""

    __slots__ = ("heard",)

    def _zero(self) -> None:
        super()._zero()
        self.heard = 0
        """Whole frames, whoever they were for or from."""

    @property
    def messages(self) -> int:
        return self.heard + self.broken


class Counters(Traffic):
    """Of all clients that come over a network, and of the gateway as a whole.

    Diagnostics may clear the traffic and, with it, what the exception status remembers (faults, refused clients);
    connections are no communication counters.
    """

    __slots__ = (
        "_refused_before",
        "by_unit",
        "clients",
        "connections",
        "crowded",
        "denied",
        "dropped",
        "faults",
        "half",
        "handshakes_failed",
        "held",
        "refused_by_unit",
        "refused_connections",
        "slowed",
        "twins",
        "unfetched",
        "unwelcome",
    )

    def __init__(self) -> None:
        self.clients = 0
        """Connected now."""
        self.connections = 0
        """Accepted since the start."""
        self.refused_connections = 0
        """Closed at once: `max_connections` were there, or they were crowded or unwelcome."""
        self.crowded = 0
        """Closed at once because `connections_per_address` of their address were there."""
        self.unwelcome = 0
        """Closed because the rules give them nothing: at once, or after a reload."""
        self.handshakes_failed = 0
        """Over TLS: clients closed before it was known who they are."""
        self.denied = 0
        """Requests refused by the rules with 01."""
        self.slowed = 0
        """How often a client was not read for a while because of `requests_per_second`."""
        self.dropped = 0
        """Requests over udp that were not answered because of it, or of how many had no answer yet, or of the rules."""
        self.twins = 0
        """Requests over udp that came again while the first was being worked on."""
        self.half = 0
        """Clients closed because the rest of a request did not come (`half_request`)."""
        self.unfetched = 0
        """Clients closed because they did not fetch their answers."""
        self.held = 0
        """How often a client was not read any more because too many of its requests had no answer yet."""
        self.by_unit = [0] * 256
        """Requests since the start by unit id as it was asked; with answers of every way, serial lines too."""
        self.refused_by_unit = [0] * 256
        """Those that were answered with an exception."""
        super().__init__()

    def _zero(self) -> None:
        super()._zero()
        self.faults = 0
        """Answered with 04: our bugs."""
        self._refused_before = self.refused_connections

    def count_units(self, unit_ids: bytes) -> None:
        """Requests that are counted already, by their unit ids; mostly it is one."""
        unit_id, count = unit_ids[0], len(unit_ids)
        if unit_ids.count(unit_id) == count:
            self.by_unit[unit_id] += count
        else:
            for unit_id in unit_ids:
                self.by_unit[unit_id] += 1

    def asked(self, unit_id: int) -> None:
        """One more request, to this unit id."""
        self.requests += 1
        self.by_unit[unit_id] += 1

    @property
    def has_refused_clients(self) -> bool:
        """Since the counters were cleared."""
        return self.refused_connections > self._refused_before

    def snapshot(self) -> dict[str, int]:
        names = {*Traffic.__slots__, *Counters.__slots__} - {"events", "_refused_before", "by_unit", "refused_by_unit"}
        return {name: getattr(self, name) for name in sorted(names)}
