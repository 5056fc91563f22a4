"""A command on a terminal of its own, a pseudo-terminal: keys go in, what it draws is read."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.support.process import ROOT
from tests.support.until import wait_until

_SEQUENCE = re.compile(rb"\x1b(\[[0-9;?<>=]*[a-zA-Z]|\][^\x07\x1b]*(\x07|\x1b\\)|[()][A-Z0-9]|[a-zA-Z=>])")


class Terminal:
    """What runs there, and all that it has drawn."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self.raw = b""
        """Every byte that it wrote."""
        self._master = master
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def text(self) -> str:
        """All that was drawn so far, without what moves and colours it."""
        return _SEQUENCE.sub(b"\n", self.raw).decode(errors="replace")

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def wait_for(self, text: str, deadline_s: float = 15.0) -> None:
        """Until it draws this, from now on."""
        seen = len(self.raw)
        wait_until(lambda: text in _SEQUENCE.sub(b"\n", self.raw[seen:]).decode(errors="replace"), deadline_s, text)

    def end(self, deadline_s: float = 10.0) -> int:
        """Its exit code, when it has ended and all that it drew is read."""
        code = self.process.wait(deadline_s)
        self._reader.join(deadline_s)
        return code

    def is_raw(self) -> bool:
        """Keys are not echoed and not gathered to lines: as a program left it that did not tidy up."""
        return not termios.tcgetattr(self._master)[3] & (termios.ECHO | termios.ICANON)

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while self.process.poll() is None or select.select([self._master], [], [], 0)[0]:
                if select.select([self._master], [], [], 0.05)[0]:
                    data = os.read(self._master, 65536)
                    if not data:
                        return
                    self.raw += data


@contextmanager
def on_terminal(
    *arguments: str, columns: int = 80, lines: int = 24, environ: Mapping[str, str] | None = None
) -> Iterator[Terminal]:
    """`gateway ARGUMENTS` there; ended at the end, whatever it does."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    kept = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", *arguments],
        cwd=ROOT, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        env={**kept, "TERM": "xterm-256color", **(environ or {})},
    )  # fmt: skip
    terminal = Terminal(process, master)
    try:
        yield terminal
    finally:
        process.kill()
        process.wait()
        terminal.end()
        os.close(slave)
        os.close(master)
