"""One request and its answer with a device, blocking: for commands that ask one thing after the other and end.

The rule of the file: whatever comes, `ask` ends with an answer that belongs to the request or one of three errors. The
frames are our own although `read` and `write` have pymodbus's: what commissioning is about is just what a client hides,
such as an answer in the wrong framing, with another transaction id, or a connection that a request has ended.

Late answers: on a way with transaction ids they show by their id. On the others an answer of another unit is dropped; a
unit that did not answer in time is given that time once more before it is asked again, and what comes then is dropped.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from gateway.config.durations import format_duration
from gateway.config.urls import DeviceUrl
from gateway.config.wire import exchange_s
from gateway.errors import LinkDown, MalformedResponse, RequestTimeout
from gateway.modbus import ascii, mbap, rtu
from gateway.modbus.pdu import fault
from gateway.modbus.spec import MAX_PDU_SIZE

SILENCE_S = 0.05
"""Behind an answer that only silence ends; adapters hold bytes back for 16 ms."""
MAX_SEEN = 16
"""Bytes kept of what was no answer: enough to tell whose words they are."""
TID_ZERO = "tid_zero"
ANY_UNIT = "any_unit"
"""The quirks by their names in YAML (`accept`)."""


class Channel(Protocol):
    """A stream, a port or a socket of datagrams that is open. Both calls raise LinkDown when it is no more."""

    def send(self, data: bytes) -> None: ...
    def receive(self, wait_s: float) -> bytes:
        """What has come, as soon as something has; empty: nothing did in that time."""
        ...

    def close(self) -> None: ...


class Exchange:
    """A way to a device, opened when it is first asked, and again after it was lost."""

    def __init__(self, url: DeviceUrl, open_: Callable[[], Channel], clock: Callable[[], float] = time.monotonic):
        """`open_` raises LinkDown with what to look at."""
        self.url = url
        self.connections = 0
        self.took_s = 0.0
        """From the last request to its answer."""
        self.connected_s = 0.0
        """What the last connection took to open."""
        self.quirks: set[str] = set()
        """What the device does that the gateway puts up with when `accept` names it."""
        self.seen = b""
        """How what came began that was no answer to the last request."""
        self._open = open_
        self._clock = clock
        self._channel: Channel | None = None
        self._tid = 0
        self._owed: int | None = None
        """The unit that may still answer what is given up, on a way without transaction ids."""
        self._used_s = 0.0

    def connect(self) -> None:
        """Harmless when it is connected. Raises LinkDown."""
        if self._channel is None:
            began_s = self._clock()
            self._channel = self._open()
            self.connected_s = self._clock() - began_s
            self.connections += 1
            self._owed = None

    def close(self) -> None:
        """The next request connects anew."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def ask(self, unit_id: int, pdu: bytes, timeout_s: float) -> bytes:
        """The PDU that answers, which may be an exception response.

        Raises LinkDown (no connection, or it ended without an answer), RequestTimeout, MalformedResponse (the
        connection is closed: the stream may be out of step).
        """
        self.connect()
        channel = self._channel
        assert channel is not None
        self.seen = b""
        try:
            if self.url.framing == "mbap":
                return self._with_ids(channel, unit_id, pdu, timeout_s)
            return self._without_ids(channel, unit_id, pdu, timeout_s)
        except (LinkDown, MalformedResponse):
            self.close()
            raise

    # -- MBAP ---------------------------------------------------------------------------------------------------

    def _with_ids(self, channel: Channel, unit_id: int, pdu: bytes, timeout_s: float) -> bytes:
        self._tid = self._tid % 0xFFFF + 1  # never 0, which devices that ignore it answer
        receiver = mbap.Receiver()
        began_s = self._clock()
        channel.send(mbap.pack(self._tid, unit_id, pdu))
        while (left_s := began_s + timeout_s - self._clock()) > 0:
            data = channel.receive(left_s)
            if not data:
                continue
            try:
                frames = receiver.feed(data)
            except mbap.BrokenStream as broken:
                self.seen = data[:MAX_SEEN]
                raise MalformedResponse(self._whose(data) or str(broken)) from None
            for tid, unit, answer in frames:
                quirks = self._quirks(tid, unit, unit_id, fault(pdu, answer))
                if quirks is None:
                    self.seen = self.seen or data[:MAX_SEEN]
                    continue
                if why := fault(pdu, answer):
                    raise MalformedResponse(f"an answer that does not fit its request: {why}")
                self.quirks |= quirks
                self.took_s = self._clock() - began_s
                return answer
        if self.quirks:
            self.close()  # a late answer could not be told from the next
        raise RequestTimeout(_silent(timeout_s))

    def _quirks(self, tid: int, unit: int, unit_id: int, why: str | None) -> set[str] | None:
        """What must be forgiven to take this frame for the answer; None: it is somebody else's, or a late one."""
        quirks = set()
        if tid != self._tid:
            if tid or why:
                return None
            quirks.add(TID_ZERO)
        if unit != unit_id:
            if why:
                return None
            quirks.add(ANY_UNIT)
        return quirks

    def _whose(self, data: bytes) -> str | None:
        """What kind of program talks so, when it shows."""
        if data[:2] in (b"\x15\x03", b"\x16\x03"):
            return "it speaks TLS on this port: tls://, or another port"
        if data.startswith((b"HTTP/", b"<")):
            return "it is a web server on this port"
        if data.startswith(b":"):
            return "it speaks Modbus ASCII on this port: ascii+tcp://"
        if data.startswith(b"SSH-"):
            return "it is an SSH server on this port"
        return None

    # -- RTU and ASCII ------------------------------------------------------------------------------------------

    def _without_ids(self, channel: Channel, unit_id: int, pdu: bytes, timeout_s: float) -> bytes:
        framing = ascii if self.url.framing == "ascii" else rtu
        receiver = ascii.AnswerReceiver() if self.url.framing == "ascii" else rtu.AnswerReceiver()
        if self._owed == unit_id:
            self._drain(channel, timeout_s)
        self._owed = None
        if self.url.line is not None:
            time.sleep(max(0.0, self._used_s + self.url.line.t35_s - self._clock()))
        receiver.expect(unit_id, pdu)
        began_s = self._clock()
        channel.send(framing.pack(unit_id, pdu))
        end_s = began_s + timeout_s + exchange_s(self.url, len(pdu), MAX_PDU_SIZE)
        while (left_s := end_s - self._clock()) > 0:
            data = channel.receive(min(left_s, SILENCE_S) if receiver.is_open else left_s)
            self._used_s = self._clock()
            self.seen = (self.seen + data)[:MAX_SEEN]
            if data:
                receiver.feed(data)
            while (frame := receiver.take(is_silent=not data)) is not None:
                if frame[0] == unit_id:
                    self.took_s = self._clock() - began_s
                    return frame[1]
        self._owed = unit_id
        if self.seen:
            raise MalformedResponse(
                f"{receiver.came} bytes came within {format_duration(timeout_s)}, and no whole answer in them "
                f"({self.seen.hex(' ').upper()}{' ...' if receiver.came > MAX_SEEN else ''})"
            )
        raise RequestTimeout(_silent(timeout_s))

    def _drain(self, channel: Channel, wait_s: float) -> None:
        """Drop what still comes."""
        end_s = self._clock() + wait_s
        while (left_s := end_s - self._clock()) > 0:
            if channel.receive(left_s):
                return


def _silent(timeout_s: float) -> str:
    return f"connected, but no answer within {format_duration(timeout_s)}"
