"""Every error the gateway raises, as a tree by fault: who has to act.

ConfigError: the person who wrote the YAML. DeviceRefused and LinkError: the device or the way to it. Refused: the
client's request, and only inside bank and units, where it becomes the exception response. Anything else is our bug.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class GatewayError(Exception):
    """The root: everything we raise on purpose."""


class Problem(NamedTuple):
    """One mistake in the configuration: where it stands (line and column count from 1) and what to write instead."""

    file: str
    line: int
    column: int
    path: str
    """Dotted keys from the top of the file, `devices.press.tags.level.type`; empty for the file as a whole."""
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}: "
        return f"{where}{self.path}: {self.message}" if self.path else where + self.message


class ConfigError(GatewayError):
    """The configuration is wrong; `problems` has all of its mistakes at once, in file order."""

    def __init__(self, problems: list[Problem], files: tuple[Path, ...] = ()) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems
        self.files = files
        """All files that were read or looked for, the first one first: a change of one may mend it."""


class ListenError(GatewayError):
    """A listener could not be opened; the text says what to do about it."""


class TlsError(GatewayError):
    """Certificates or keys cannot be used; the text names the file and says what to do about it."""


class AskError(GatewayError):
    """Somebody asked a running gateway, by whatever way, for what it cannot give or do; the text says why, and what to
    do. `kind` is one of ASK_KINDS; `code` the exception that a Modbus client would have got, 0: none."""

    def __init__(self, kind: str, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.kind = kind
        self.code = code


ASK_KINDS = ("invalid", "missing", "denied", "refused", "unknown", "full")
"""The request makes no sense; there is no such thing; the rules say no; the device, or our image, says no and nothing
was changed; nobody knows whether it was done; there are too many of these already."""


class DeviceRefused(GatewayError):
    """The device answered with an exception response; its own `code` goes on to the client."""

    def __init__(self, unit_id: int, function_code: int, code: int) -> None:
        super().__init__(f"unit {unit_id} refused function {function_code} with exception {code:02X}")
        self.unit_id = unit_id
        self.function_code = function_code
        self.code = code


class LinkError(GatewayError):
    """No usable answer from the device; clients get 0x0B (0x0A for LinkBusy)."""


class LinkDown(LinkError):
    """Not connected, or the connection was lost before the answer came."""


class LinkBusy(LinkError):
    """The link's queue is full."""


class RequestTimeout(LinkError):
    """Sent, and not answered in time, the retries included."""


class UnitSilent(LinkDown):
    """The unit did not answer several times in a row: it is left alone but for single probes."""


class OutcomeUnknown(LinkError):
    """A write was sent, or may have been, and not answered: it may have been executed. Never repeated."""


class NotRead(LinkError):
    """Of a request that writes and reads: the device has accepted the write, what was to be read has no value."""


class MalformedResponse(LinkError):
    """An answer that does not fit its request; the connection was closed, the stream may be out of step."""


class Refused(Exception):
    """A request is refused with exception `code`; never leaves bank and units, where it becomes the response."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exception {code:02X}")
        self.code = code
