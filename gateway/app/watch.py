"""Files that changed: the plant's own, its includes, profiles and tables, and new ones beside them.

Looked at once a second, in a thread (a file may lie on a share that hangs). A change counts when it has been the same
for two looks: editors and copies write in steps. Directories are looked at too, because a pattern in `include` may find
a new file there. Polling rather than the system's notifications: it works on shares, in containers and everywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

EVERY_S = 1.0

Look = tuple[tuple[str, int, int, int], ...]
"""Path, time of the last change, size and number of each file."""


def look(paths: Iterable[Path]) -> Look:
    """How the files, and the directories they lie in, are now. One that is missing is part of that."""
    wanted = {path for file in paths for path in (file, file.parent)}
    seen = []
    for path in sorted(wanted):
        try:
            status = path.stat()
        except OSError:
            seen.append((str(path), 0, 0, 0))
        else:
            size = 0 if path.is_dir() else status.st_size
            seen.append((str(path), status.st_mtime_ns, size, status.st_ino))
    return tuple(seen)


async def watch(
    files: Callable[[], Iterable[Path]], changed: Callable[[], Awaitable[None]], every_s: float = EVERY_S
) -> None:
    """Await `changed()` after each change, until cancelled. `files()` is asked anew at each look."""
    known = before = await asyncio.to_thread(look, list(files()))
    while True:
        await asyncio.sleep(every_s)
        now = await asyncio.to_thread(look, list(files()))
        if now != known and now == before:
            await changed()
            # The list of files may be another now; what changed meanwhile is a change of its own.
            after = await asyncio.to_thread(look, list(files()))
            known = after if set(after).issuperset(each for each in now if _has(after, each[0])) else ()
            now = after
        before = now


def _has(seen: Look, path: str) -> bool:
    return any(each[0] == path for each in seen)
