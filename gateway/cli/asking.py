"""Commands that look at a running gateway for a while: whom to ask, its traffic, when to stop.

The rule of the file: such a command ends by itself and in order whatever ends it: Ctrl-C, `kill`, a closed pipe, its
time, or the gateway. What it has by then is told. That holds while the gateway does not answer, too: it is said after
a few seconds, and nobody who wants to end waits for it.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gateway.cli.output import EXIT_USAGE, fail, nobody_reads
from gateway.cli.progress import clear_line
from gateway.cli.status import state_dir_of
from gateway.config.durations import format_duration, parse_duration
from gateway.config.explain import suggest
from gateway.control.client import ANSWER_S, NoAnswer, ask
from gateway.control.path import ControlError
from gateway.traffic import MAX_TAKEN, Frame

POLL_S = 0.1
"""Between two questions for traffic: a person sees no delay, and a tap has room for far more than comes meanwhile."""
SILENT_S = 3.0
"""A gateway that is only busy has answered by then; after it the line says why nothing comes. A command with a shorter
`--for` waits as long for its first answers."""
CLOSE_S = 1.0
"""A tap that is not closed ends by itself."""

Rows = Sequence[Mapping[str, Any]]


class Asked(NamedTuple):
    """A gateway that runs."""

    state_dir: Path
    timeout_s: float = ANSWER_S

    def ask(self, command: str, **arguments: Any) -> Any:
        """Raises ControlError with what to do."""
        return ask(self.state_dir, command, timeout_s=self.timeout_s, **arguments)


def gateway_of(file: Path | None, state_dir: Path | None, for_s: float | None = None) -> Asked:
    """As `gateway status` finds it; ends the command when the plant's file does not tell. `for_s`: no answer is waited
    for longer than the command is to take."""
    timeout_s = ANSWER_S if for_s is None else min(ANSWER_S, max(for_s, SILENT_S))
    return Asked(state_dir_of(file, state_dir), timeout_s)


def duration(option: str, text: str | None) -> float | None:
    """Seconds; ends the command with a hint when it is none."""
    if text is None:
        return None
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        fail(f"{option}: {error}", EXIT_USAGE)
    if seconds <= 0:
        fail(f"{option} must be longer than 0", EXIT_USAGE)
    return seconds


def plant_and_filter(asked: Asked, name: str | None) -> tuple[Plant, dict[str, Any]]:
    """What runs, and what of it `name` means; ends the command when no gateway runs or it knows no such name."""
    try:
        plant = Plant.of(asked)
        return plant, {} if name is None else plant.wanted(name)
    except ControlError as error:
        fail(str(error))
    except ValueError as error:
        fail(str(error), EXIT_USAGE)


# -- names ----------------------------------------------------------------------------------------------------------


class Plant(NamedTuple):
    """What runs, as far as traffic needs names for it."""

    devices: Rows
    links: Rows

    @classmethod
    def of(cls, asked: Asked) -> Plant:
        rows = asked.ask("devices", waiting=_Patience())
        return cls(rows["devices"], rows["links"])

    def wanted(self, name: str) -> dict[str, Any]:
        """The filter of a device or a link. Raises ValueError with names that are near."""
        if any(device["name"] == name for device in self.devices):
            return {"device": name}
        for link in self.links:
            if name == link["name"] or name in link.get("urls", ()):
                return {"link": link["name"]}
        known = [str(row["name"]) for row in (*self.devices, *self.links)]
        raise ValueError(f"the gateway has no device or link '{name}'; {suggest(name, known)}")

    def names(self) -> dict[tuple[str, int], str]:
        """The device, or several that share a unit, by link and unit id."""
        found: dict[tuple[str, int], str] = {}
        for device in self.devices:
            key = str(device.get("link", "")), int(device["unit"])
            found[key] = f"{found[key]},{device['name']}" if key in found else str(device["name"])
        return found

    def urls(self) -> dict[str, str]:
        """Where each link goes now."""
        return {str(link["name"]): str(link.get("url", "")) for link in self.links}


# -- traffic --------------------------------------------------------------------------------------------------------


class Taken(NamedTuple):
    """What came since the last time. `lost`: frames that came before these and were not fetched in time."""

    frames: list[Frame]
    lost: int
    is_interrupted: bool = False
    """Nobody knows how many were lost: we were stopped for so long that the gateway has given up on us."""


class _Over(Exception):
    """Nobody waits for the answer any more."""


class _Patience:
    """Says, once, that an answer is long in coming; ends the waiting when it is time to end."""

    def __init__(self, is_over: Callable[[], bool] | None = None) -> None:
        self._is_over = is_over
        self._is_told = False

    def __call__(self, waited_s: float) -> None:
        if self._is_over is not None and self._is_over():
            raise _Over
        if waited_s >= SILENT_S and not self._is_told:
            self._is_told = True
            tell(f"the gateway has not answered for {SILENT_S:g} s: it is stopped or overloaded; still waiting")


class Tap:
    """Frames of a running gateway as they travel."""

    def __init__(self, asked: Asked, wanted: Mapping[str, Any]) -> None:
        """Raises ControlError with what to do, also when the gateway takes no such filter."""
        self._asked = asked
        self._wanted = wanted
        self._after = 0
        self._is_silent = False
        """The gateway has not answered the last question."""
        self._number = self._open(_Patience())

    def _open(self, waiting: _Patience) -> int:
        return int(self._asked.ask("trace_open", filter=self._wanted, waiting=waiting)["tap"])

    def take(self, is_over: Callable[[], bool]) -> Iterator[Taken]:
        """All that came since the last time; nothing more once `is_over`, whether or not the gateway answers. Raises
        ControlError when the gateway is no more, or does not answer."""
        waiting = _Patience(is_over)
        try:
            yield from self._take(waiting)
        except _Over:
            self._is_silent = True
        except NoAnswer:
            self._is_silent = True
            raise

    def _take(self, waiting: _Patience) -> Iterator[Taken]:
        while True:
            try:
                answer = self._asked.ask("trace_take", tap=self._number, after=self._after, waiting=waiting)
            except NoAnswer:
                raise
            except ControlError:
                self._number = self._open(waiting)  # fails, too, if it was not just this trace that ended
                self._after = 0
                yield Taken([], 0, is_interrupted=True)
                continue
            frames = [Frame(**{**row, "pdu": bytes.fromhex(row["pdu"])}) for row in answer["frames"]]
            if frames:
                self._after = frames[-1].number
            yield Taken(frames, int(answer["lost"]))
            if len(frames) < MAX_TAKEN:
                return

    def close(self) -> None:
        """Harmless when the gateway is no more; takes no time when it does not answer."""
        if self._is_silent:
            return
        with contextlib.suppress(ControlError):
            self._asked._replace(timeout_s=CLOSE_S).ask("trace_close", tap=self._number)


# -- the end --------------------------------------------------------------------------------------------------------


class Ending:
    """Asked whether it is time to end: Ctrl-C or SIGTERM came, the time is over, nobody reads stdout any more."""

    def __init__(self, for_s: float | None) -> None:
        self.why = ""
        """In words, once it is."""
        self.is_unread = False
        self._for_s = for_s
        self._end_s = None if for_s is None else time.monotonic() + for_s

    def __call__(self) -> bool:
        if not self.why and self._for_s is not None and self._end_s is not None and time.monotonic() >= self._end_s:
            self.why = f"ended after {format_duration(self._for_s)}"
        if not self.why and nobody_reads():
            self.why = "ended as nobody reads it any more"
            self.is_unread = True
        return bool(self.why)

    def raise_if_unread(self) -> None:
        """BrokenPipeError, as if something had been written: it ends the command as everywhere."""
        if self.is_unread:
            raise BrokenPipeError


@contextlib.contextmanager
def until_stopped(for_s: float | None = None) -> Iterator[Ending]:
    """What to ask between two steps. A second Ctrl-C ends the process as usual."""
    ending = Ending(for_s)

    def ask_to_end(number: int, _frame: object) -> None:
        ending.why = "ended by hand"
        signal.signal(number, before[number])

    before: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, ask_to_end)
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def tell(text: str) -> None:
    """A line for people, beside the output."""
    clear_line()
    print(text, file=sys.stderr, flush=True)
