"""Files that changed: the plant's own, its includes, profiles and tables, and new ones beside them.

Looked at once a second, in a thread (a file may lie on a share that hangs). A change counts when it has been the same
for two looks: editors and copies write in steps. A pattern in `include` may find a new file, so the names of the files
beside them are looked at, too, but only of those that could be part of a plant: a directory that also takes our state,
or somebody's logs, changes all the time. Polling rather than the system's notifications: it works on shares, in
containers and everywhere.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

EVERY_S = 1.0

SUFFIXES = (".yaml", ".yml", ".csv")
"""Of files that could be part of a plant."""

Look = tuple[tuple[str, tuple[object, ...]], ...]
"""By path: of a file the time of its last change, its size and its number; of a directory the names in it."""


def look(paths: Iterable[Path]) -> Look:
    """How the files are now, and which lie beside them. One that is missing is part of that."""
    files = set(paths)
    seen: list[tuple[str, tuple[object, ...]]] = []
    for path in sorted(files):
        try:
            status = path.stat()
        except OSError:
            seen.append((str(path), ()))
        else:
            seen.append((str(path), (status.st_mtime_ns, status.st_size, status.st_ino)))
    for folder in sorted({path.parent for path in files} - files):
        seen.append((str(folder), _names(folder)))
    return tuple(seen)


def _names(folder: Path) -> tuple[str, ...]:
    """Hidden files are no part of a plant: patterns do not find them, and editors make them."""
    try:
        names = os.listdir(folder)
    except OSError:
        return ()
    return tuple(sorted(name for name in names if name.lower().endswith(SUFFIXES) and not name.startswith(".")))


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
