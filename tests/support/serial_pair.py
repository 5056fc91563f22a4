"""Two serial ports with a cable between them: ptys, joined by socat, which can be unplugged and plugged in again.

A pty has no baud rate and no parity: what is tested over it is bytes, order and time, never electricity.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Self

from tests.support.needs import require
from tests.support.until import wait_until


class SerialPair:
    """`with SerialPair(tmp_path) as pair:` what is written to `pair.ours` is read from `pair.theirs`, and back."""

    def __init__(self, folder: Path, name: str = "") -> None:
        """`folder`: of this test; `name` tells several pairs of one test apart."""
        self.ours = str(folder / f"{name}ours")
        self.theirs = str(folder / f"{name}theirs")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.plug()
        return self

    def __exit__(self, *exc: object) -> None:
        self.unplug()

    def plug(self) -> None:
        """Both ends are there when this returns."""
        assert self._process is None
        ends = [f"pty,raw,echo=0,link={path}" for path in (self.ours, self.theirs)]
        self._process = subprocess.Popen([require("socat"), *ends])
        wait_until(lambda: all(os.path.exists(path) for path in (self.ours, self.theirs)), what="both ends")

    def unplug(self) -> None:
        """Both ends vanish, also under those who have them open (they read the end of the file, or EIO)."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(5)
            self._process = None
            for path in (self.ours, self.theirs):
                Path(path).unlink(missing_ok=True)
