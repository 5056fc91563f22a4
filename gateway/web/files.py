"""The files of the page, held in memory: what is asked for is looked up by name, no path ever reaches the disk.

They are read in a thread when the page opens, and looked at again when one is asked for later than a second after the
last look, so that an upgrade, or a person who writes on the page, needs no restart.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import mimetypes
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent / "static"
LOOK_S = 1.0
MAX_FILES = 500
MAX_SIZE = 8 * 2**20
"""Bytes of all files together; the page has some hundred thousand."""
GZIP_FROM = 1024
"""A smaller one fits a packet anyway."""
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".webmanifest": "application/manifest+json",
    ".txt": "text/plain; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
}
_COMPRESSES = ("text/", "application/json", "application/manifest", "image/svg")


class File(NamedTuple):
    """One of them."""

    data: bytes
    packed: bytes | None
    """The same as gzip; None: that is no smaller."""
    type: str
    etag: str
    seen: tuple[int, int]
    """Time of its last change, and its size."""


class Files:
    """Those below a folder, by their path in it."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._files: Mapping[str, File] = {}
        self._looked_s = float("-inf")
        self._turn = asyncio.Lock()

    async def find(self, path: str) -> File | None:
        """`path` as in a URL, `/` is `index.html`; None: there is none."""
        if time.monotonic() - self._looked_s > LOOK_S:
            async with self._turn:
                if time.monotonic() - self._looked_s > LOOK_S:
                    self._files = await asyncio.to_thread(_look, self._folder, self._files)
                    self._looked_s = time.monotonic()
        return self._files.get("index.html" if path == "/" else path.removeprefix("/"))


def _look(folder: Path, known: Mapping[str, File]) -> dict[str, File]:
    found: dict[str, File] = {}
    size = 0
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if len(found) >= MAX_FILES or path.suffix not in TYPES or "/." in f"/{name}":
            continue
        try:
            if not path.is_file():
                continue
            status = path.stat()
            size += status.st_size
            if size > MAX_SIZE:
                break
            seen = (status.st_mtime_ns, status.st_size)
            before = known.get(name)
            found[name] = before if before is not None and before.seen == seen else _read(path, seen)
        except OSError:  # somebody is at it
            if name in known:
                found[name] = known[name]
    return found


def _read(path: Path, seen: tuple[int, int]) -> File:
    data = path.read_bytes()
    kind = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    packed = gzip.compress(data, 9, mtime=0) if len(data) >= GZIP_FROM and kind.startswith(_COMPRESSES) else None
    if packed is not None and len(packed) >= len(data):
        packed = None
    return File(data, packed, kind, f'"{hashlib.sha256(data).hexdigest()[:24]}"', seen)
