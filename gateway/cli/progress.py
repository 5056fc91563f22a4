"""How far a command is, on stderr: a bar on a terminal, a line now and then elsewhere. stdout is the result's alone.

Work in steps has a bar (`Telling`). What mostly takes no time, and sometimes seconds (a plant of 10,000 tags, a device
that does not answer), says what it is at as soon as it has taken one (`Working`).
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

LINE_EVERY_S = 5.0
"""Where there is no terminal: a log is to show that something happens, not to fill."""

LATE_S = 1.0
"""A person who waits for longer wonders."""
DRAW_EVERY_S = 0.5


class Telling:
    """Phases with steps. A context: the bar goes away at the end, also of an interrupted one."""

    def __init__(self, *, quiet: bool = False) -> None:
        """`quiet`: nothing at all, for `--json` without a terminal."""
        self._quiet = quiet
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._text, self._note = "", ""
        self._done = self._total = 0
        self._next_line_s = 0.0

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[note]}", markup=False),
                console=Console(file=sys.stderr),
                transient=True,
            )
            self._bar.start()
        self._next_line_s = time.monotonic() + LINE_EVERY_S
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def phase(self, text: str, total: int) -> None:
        """What is done now, in so many steps."""
        self._text, self._total, self._done, self._note = text, total, 0, ""
        if self._bar is not None:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(text, total=total, note="")

    def step(self) -> None:
        self._done += 1
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task)
        elif not self._quiet and time.monotonic() >= self._next_line_s:
            self._next_line_s = time.monotonic() + LINE_EVERY_S
            note = f", {self._note}" if self._note else ""
            self.say(f"{self._text}: {self._done} of {self._total}{note}")

    def note(self, text: str) -> None:
        """Beside the bar."""
        self._note = text
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, note=text)

    def say(self, text: str) -> None:
        """A line that stays."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)


class Working:
    """Says what a command is at once it has taken LATE_S, and for how long; `text` may change. A context."""

    _drawn: Working | None = None
    """Whose line the terminal shows now."""
    _lock = threading.Lock()

    def __init__(self, text: str, *, quiet: bool = False) -> None:
        """`quiet`: nothing at all, for `--json` without a terminal."""
        self.text = text
        self._is_terminal = sys.stderr.isatty()
        self._is_silent = quiet and not self._is_terminal
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._began_s = time.monotonic()
        if not self._is_silent:
            self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._is_over.set()
        clear_line()

    def _run(self) -> None:
        wait_s = LATE_S if self._is_terminal else LINE_EVERY_S
        while not self._is_over.wait(wait_s):
            wait_s = DRAW_EVERY_S if self._is_terminal else LINE_EVERY_S
            with Working._lock:
                if self._is_over.is_set():
                    return
                told = f"{self.text}: {time.monotonic() - self._began_s:.0f} s"
                try:
                    if self._is_terminal:
                        print(f"\r{told}\x1b[K", end="", file=sys.stderr, flush=True)
                        Working._drawn = self
                    else:
                        print(told, file=sys.stderr, flush=True)
                except OSError:
                    return  # nobody sees it


def clear_line() -> None:
    """Before anything else is said."""
    with Working._lock:
        if Working._drawn is not None:
            Working._drawn = None
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
