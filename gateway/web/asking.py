"""One request: who asks, what he sends, and what he gets back when it is not what he wanted."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.errors import AskError
from gateway.front.gate import Origin
from gateway.web.desk import Desk
from gateway.web.guard import is_own_origin
from gateway.web.packing import FROM, takes_gzip
from gateway.web.sessions import Session
from gateway.web.slices import plain

MAX_BODY = 64 * 1024
"""Bytes of what is sent: a value, or a password."""
MAX_TEXT = 200
"""Characters of a request that an answer repeats."""

STATUS_BY_KIND = {"invalid": 400, "missing": 404, "denied": 403, "refused": 409, "unknown": 504, "full": 503}
"""By the kind of an AskError."""
NO_STORE = {"cache-control": "no-store"}
PIECE_SIZE = 64 * 1024
"""Bytes given to the system at once: some 50 us."""


class Problem(Exception):
    """A request that is not answered as it was meant."""

    def __init__(
        self, status: int, text: str, *, code: str | int | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.code = code
        self.headers = dict(headers or {})

    @classmethod
    def of(cls, error: AskError) -> Problem:
        return cls(STATUS_BY_KIND.get(error.kind, 400), str(error), code=error.code or error.kind)

    def response(self) -> Response:
        told: dict[str, Any] = {"error": self.text}
        if self.code is not None:
            told["code"] = self.code
        return Response(plain(told), self.status, {**NO_STORE, **self.headers}, "application/json")


class Pieces(Response):
    """A body that leaves a piece at a time: a megabyte handed to the system at once holds the loop for milliseconds. A
    large one is packed if the other side takes that."""

    def __init__(self, data: bytes | bytearray, headers: Mapping[str, str], media_type: str) -> None:
        super().__init__(None, 200, headers, media_type)
        self._data = data

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request, data = Request(scope), self._data
        del self.headers["content-length"]
        if len(data) >= FROM:
            self.headers["vary"] = "accept-encoding"
            if takes_gzip(request.headers.get("accept-encoding", "")):
                data = await desk_of(request).packer.pack(data)
                self.headers["content-encoding"] = "gzip"
        size = len(data)
        self.headers["content-length"] = str(size)
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        view = memoryview(data)
        for first in range(0, max(size, 1), PIECE_SIZE):
            piece = bytes(view[first : first + PIECE_SIZE])
            await send({"type": "http.response.body", "body": piece, "more_body": first + PIECE_SIZE < size})
            await asyncio.sleep(0)


def answer(data: bytes | bytearray | str | dict[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    """JSON."""
    body = plain(data) if isinstance(data, dict) else data
    body = body.encode() if isinstance(body, str) else body
    return Pieces(body, {**NO_STORE, **(headers or {})}, "application/json")


def desk_of(request: Request) -> Desk:
    desk: Desk = request.scope["desk"]
    return desk


def cookie_name(desk: Desk) -> str:
    """Browsers keep cookies by name and host, not by port: each page of a host needs a name of its own."""
    name = f"gateway-{desk.web.listen.port}"
    return f"__Host-{name}" if desk.scheme == "https" else name


def session_of(request: Request) -> Session | None:
    desk = desk_of(request)
    return desk.sessions.find(request.cookies.get(cookie_name(desk)))


def let_in(request: Request) -> Session | None:
    """Who may look: whoever is logged in, or anybody where there are no users. Problem 401."""
    desk = desk_of(request)
    session = session_of(request)
    if session is None and desk.sessions.has_users:
        raise Problem(401, "log in first", code="login")
    return session


def is_from_our_page(request: Request, session: Session | None) -> None:
    """Before anything is changed. Problem 403: it may come from a foreign page."""
    desk, headers = desk_of(request), request.headers
    if not is_own_origin(headers.get("origin"), headers.get("sec-fetch-site"), headers.get("host", ""), desk.scheme):
        desk.counters["foreign"] += 1
        raise Problem(403, "this request comes from a page of another origin", code="origin")
    if not desk.sessions.is_csrf(session, headers.get("x-csrf-token")):
        raise Problem(403, "the header X-CSRF-Token is missing or too old: take `csrf` from /api/session", code="csrf")


async def body_of(request: Request) -> dict[str, Any]:
    """A JSON object. Problem 400, 413, 415."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Problem(415, "send JSON (content-type: application/json)")
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY:
            raise Problem(413, f"at most {MAX_BODY} bytes", headers={"connection": "close"})
        parts.append(part)
    try:
        found = json.loads(b"".join(parts), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Problem(400, f"this is no JSON: {str(error)[:MAX_TEXT]}") from error
    if not isinstance(found, dict):
        raise Problem(400, 'send an object, such as {"value": 12.5}')
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")


def number_of(request: Request, name: str, default: int | None = None) -> int:
    """A whole number of the query. Problem 400."""
    text = request.query_params.get(name)
    if text is None:
        if default is None:
            raise Problem(400, f"`{name}` is missing")
        return default
    try:
        if len(text) > 20:
            raise ValueError
        return int(text)
    except ValueError as error:
        raise Problem(400, f"`{name}={text[:MAX_TEXT]}` is no whole number") from error


def address_of(request: Request) -> str:
    return request.client.host if request.client is not None else "?"


def _port_of(request: Request) -> int | None:
    """Of ours, that this request came to: the configuration may say 0."""
    server = request.scope.get("server")
    return None if server is None else server[1]


def origin_of(request: Request, session: Session | None) -> Origin:
    """As the gate and the audit know it."""
    desk = desk_of(request)
    host, port = (request.client.host, request.client.port) if request.client is not None else ("?", 0)
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
        address = getattr(found, "ipv4_mapped", None) or found
    except ValueError:
        address = None
    return Origin(
        f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        address,
        str(desk.web.listen._replace(port=_port_of(request) or desk.web.listen.port)),
        None if session is None else session.user.role,
        None,
        None if session is None else session.name,
        str(desk.web.listen),
    )
