"""The page as one callable in ASGI's terms: what holds for every answer, then the paths, then the files.

The rule: nothing leaves without the headers of `guard`, and a bug of ours is a traceback in the log (a few of them) and
a 500 for that one, whatever else is being answered.
"""

from __future__ import annotations

import logging
import time
from email.utils import formatdate

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Router
from starlette.types import Message, Receive, Scope, Send

from gateway.errors import AskError
from gateway.web.api import ROUTES
from gateway.web.asking import Problem
from gateway.web.desk import Desk
from gateway.web.guard import HEADERS
from gateway.web.packing import takes_gzip

log = logging.getLogger(__name__)

MAX_TRACEBACKS = 10
"""A bug that every request meets must not fill the disk."""
MAX_SHOWN = 100


class Application:
    """Of one page."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._router = Router(ROUTES, redirect_slashes=False, default=self._file)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        desk = self._desk
        desk.counters["requests"] += 1
        scope["desk"] = desk
        has_begun = False

        async def send_guarded(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                now_s = time.time()
                date = (b"date", formatdate(now_s, usegmt=True).encode())
                clock = (b"x-now-ms", b"%d" % (now_s * 1000))  # ages are shown by our clock, and seconds are too coarse
                message = {**message, "headers": [*message["headers"], date, clock, *HEADERS]}
            await send(message)

        try:
            await self._answer(scope, receive, send_guarded)
        except ClientDisconnect:
            pass
        except Exception as error:
            if (problem := _problem(error)) is None:
                desk.counters["bugs"] += 1
                if desk.counters["bugs"] <= MAX_TRACEBACKS:
                    log.exception("the page: a bug while %s was answered", _shown(scope))
                problem = Problem(500, "a bug in the gateway: its log tells more", code="bug")
            if has_begun:
                raise
            await problem.response()(scope, receive, send_guarded)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        host = Request(scope).headers.get("host")
        if not self._desk.hosts.knows(host):
            self._desk.counters["foreign"] += 1
            raise Problem(
                421,
                f"this page does not go by the name {(host or '')[:MAX_SHOWN]!r}: use its address, or write the name "
                "at `web.hosts` in the plant's file",
                code="host",
            )
        scope["app"] = self  # a router raises for other methods then, and does not answer in plain text
        await self._router(scope, receive, send)

    async def _file(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What is no path of the interface."""
        path: str = scope["path"]
        found = None if path.startswith("/api/") else await self._desk.files.find(path)
        if found is None:
            raise Problem(404, f"there is no {path[:MAX_SHOWN]}", code="missing")
        if scope["method"] not in ("GET", "HEAD"):
            raise Problem(405, "it can only be read", headers={"allow": "GET, HEAD"})
        request = Request(scope)
        headers = {"etag": found.etag, "cache-control": "no-cache", "vary": "accept-encoding"}
        known = request.headers.get("if-none-match", "").split(",")
        if found.etag in [etag.strip().removeprefix("W/") for etag in known]:
            await Response(None, 304, headers)(scope, receive, send)
            return
        data = found.data
        if found.packed is not None and takes_gzip(request.headers.get("accept-encoding", "")):
            data = found.packed
            headers["content-encoding"] = "gzip"
        headers["content-type"] = found.type
        await Response(data, 200, headers)(scope, receive, send)


def _shown(scope: Scope) -> str:
    return f"{scope['method']} {scope['path'][:MAX_SHOWN]}"


def _problem(error: Exception) -> Problem | None:
    """None: it is a bug."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, AskError):
        return Problem.of(error)
    if isinstance(error, HTTPException):
        return Problem(error.status_code, error.detail.lower(), headers=error.headers)
    return None
