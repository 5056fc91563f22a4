"""The control socket of a running gateway: one JSON object per line in, one per line out.

A request is `{"command": NAME, ...}`, the answer `{"ok": true, "result": ...}` or `{"ok": false, "error": "..."}`.
Whoever may open the socket may ask: its directory and its mode let in the gateway's own user and nobody else.

The rule of the file: it runs on the loop that serves registers, so it takes that loop for SLICE_S at a time. An answer
about 1,000 devices takes 35 ms to encode, in the loop or in a thread: json.dumps holds the interpreter lock from
beginning to end. So a command hands out long lists as iterators, and their items are made and encoded one at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import logging
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gateway.control.path import SOCKET_NAME, ControlError, address_of

__all__ = ["Command", "ControlError", "ControlSocket"]

log = logging.getLogger(__name__)

MAX_LINE = 64 * 1024
"""Bytes of a request; commands have a few words."""
MAX_CLIENTS = 8
"""A person, a dashboard, a script or two; more is a script that forgets to close."""
IDLE_S = 60.0
"""For a whole line to come, and for an answer to be taken; then the connection is closed."""
SLICE_S = 0.001
"""How long an answer may hold the loop before others have their turn."""
MAX_SHOWN = 60
"""Characters of a bad request that its answer repeats."""

Command = Callable[[dict[str, Any]], Any]
"""What answers a request: given the whole object, returns a plain JSON value, or an awaitable of one.

In an object the value of a key may be an iterator, for a list whose items are made one by one between other work of the
loop: it must not walk over a dictionary or list that changes meanwhile. Raises ControlError with what is wrong with the
request.
"""


class ControlSocket:
    """Answers `commands` in a state directory. Who holds the directory's lock opens it, so nobody else lives there."""

    def __init__(
        self,
        directory: Path,
        commands: Mapping[str, Command],
        *,
        idle_s: float = IDLE_S,
        max_clients: int = MAX_CLIENTS,
    ) -> None:
        self.path = directory / SOCKET_NAME
        self._commands = commands
        self._idle_s = idle_s
        self._max_clients = max_clients
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()
        """One answer at a time: eight that are made at once would take eight slices of every turn of the loop."""

    async def open(self) -> None:
        """Listen, mode 0600; what a gateway that died left behind is replaced.

        Raises ControlError where there is no such socket or the path is not good for one: a gateway runs without it.
        """
        if not hasattr(socket, "AF_UNIX"):
            raise ControlError("this system has no Unix sockets: `gateway status` cannot ask this gateway")
        try:
            listener = self._listener()
        except OSError as error:
            raise ControlError(f"cannot open the control socket {self.path}: {error.strerror or error}") from error
        self._server = await asyncio.start_unix_server(self._connected, sock=listener, limit=MAX_LINE)

    def _listener(self) -> socket.socket:
        self._remove_stale()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with address_of(self.path) as address:
                listener.bind(address)
            os.chmod(self.path, 0o600)  # nobody can connect before it listens
            listener.listen(self._max_clients)
            listener.setblocking(False)
        except BaseException:
            listener.close()
            raise
        return listener

    def _remove_stale(self) -> None:
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(found.st_mode):
            raise ControlError(f"{self.path} is no socket, and the control socket belongs there: move it away")
        os.unlink(self.path)

    async def close(self) -> None:
        """Stop listening, drop the clients, remove the socket. Harmless when it is not open."""
        server, self._server = self._server, None
        if server is None:
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        server.close()
        for task in self._clients:
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    # -- one client ---------------------------------------------------------------------------------------------

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            if len(self._clients) >= self._max_clients:
                writer.write(_refusal(f"{self._max_clients} clients are connected already, the most there may be"))
                return
            self._clients.add(task)
            await self._serve(reader, writer)
        except TimeoutError:
            writer.transport.abort()  # `close` would wait for it to take its answer
        except (OSError, asyncio.IncompleteReadError):
            pass  # it has left
        except asyncio.CancelledError:
            writer.transport.abort()
            if self._server is not None:  # else it is `close` that ends this task, and nobody waits for more of it
                raise
        finally:
            self._clients.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            async with asyncio.timeout(self._idle_s):
                line = await _read_line(reader)
            answer = _refusal(f"a request has {MAX_LINE} bytes at most") if line is None else await self._answer(line)
            writer.writelines(answer if isinstance(answer, list) else [answer])
            async with asyncio.timeout(self._idle_s):
                await writer.drain()

    async def _answer(self, line: bytes) -> bytes | list[bytes]:
        """The answer to one line, as lines or parts of one."""
        try:
            request = json.loads(line)
        except (ValueError, RecursionError) as error:
            return _refusal(f"this is no JSON: {_shown(line)} ({error})")
        if not isinstance(request, dict):
            return _refusal(f'a request is an object such as {{"command": "status"}}, not {_shown(line)}')
        name = request.get("command")
        command = self._commands.get(name) if isinstance(name, str) else None
        if command is None:
            there_is = ", ".join(sorted(self._commands))
            what = f"there is no command {json.dumps(name)[:MAX_SHOWN]}" if "command" in request else "no `command`"
            return _refusal(f"{what}; there is: {there_is}")
        try:
            result = command(request)
            if inspect.isawaitable(result):  # a write waits for its device; others are answered meanwhile
                result = await result
            async with self._turn:
                return [b'{"ok": true, "result": ', *await _encoded(result), b"}\n"]
        except ControlError as error:
            return _refusal(str(error))
        except Exception:
            log.exception("bug in the gateway while answering the control command %r", name)
            return _refusal(f"a bug in the gateway: its log tells more about `{name}`")


async def _read_line(reader: asyncio.StreamReader) -> bytes | None:
    """The next line; None for one that is longer than MAX_LINE, which is skipped. IncompleteReadError at the end."""
    too_long = False
    while True:
        try:
            line = await reader.readuntil(b"\n")
        except asyncio.LimitOverrunError as error:
            await reader.readexactly(error.consumed)
            too_long = True
        else:
            return None if too_long else line


def _refusal(why: str) -> bytes:
    return json.dumps({"ok": False, "error": why}).encode() + b"\n"


def _shown(line: bytes) -> str:
    text = line.decode(errors="replace").strip()
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."


async def _encoded(value: Any) -> list[bytes]:
    """JSON in parts; between them the loop serves others."""
    parts: list[bytes] = []
    slice_end_s = time.perf_counter() + SLICE_S
    for part in _parts(value):
        parts.append(part.encode())
        if time.perf_counter() >= slice_end_s:
            await asyncio.sleep(0)
            slice_end_s = time.perf_counter() + SLICE_S
    return parts


def _parts(value: Any) -> Iterator[str]:
    """`value` as JSON, an item of an iterator at a time."""
    if isinstance(value, Iterator):
        yield "["
        separator = ""
        for item in value:
            yield separator + json.dumps(item)
            separator = ", "
        yield "]"
    elif isinstance(value, dict):
        yield "{"
        separator = ""
        for key, item in value.items():
            yield f"{separator}{json.dumps(key)}: "
            yield from _parts(item)
            separator = ", "
        yield "}"
    else:
        yield json.dumps(value)
