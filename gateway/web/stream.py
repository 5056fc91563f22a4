"""GET /api/stream: what changes, as server-sent events, for as long as somebody watches."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.config.page import is_loopback
from gateway.web.asking import NO_STORE, Problem, address_of, desk_of, let_in
from gateway.web.connections import Connection
from gateway.web.desk import Desk
from gateway.web.sessions import network_of
from gateway.web.slices import plain
from gateway.web.viewers import PING, RETRY, TOPICS, Viewer, message


async def stream(request: Request) -> Response:
    """`topics`: which, parted by commas; all when it is not given."""
    desk = desk_of(request)
    session = let_in(request)
    wanted = request.query_params.get("topics")
    topics = frozenset(TOPICS if wanted is None else filter(None, wanted.split(",")))
    if unknown := topics.difference(TOPICS):
        raise Problem(400, f"there is no topic {min(unknown)[:40]!r}; there is {', '.join(TOPICS)}")
    host = address_of(request)
    address = host if is_loopback(host) else network_of(host)
    viewer = Viewer(topics, session, lambda: session is not None and desk.sessions.is_over(session), address)
    if why := "the gateway ends" if desk.is_closing else desk.feed.join(viewer):
        raise Problem(503, why, code="full", headers={"retry-after": "10"})
    return _Stream(desk, viewer)


class _Stream(Response):
    """Ends with the connection, the session, or the gateway."""

    media_type = "text/event-stream"

    def __init__(self, desk: Desk, viewer: Viewer) -> None:
        super().__init__(headers={**NO_STORE, "x-accel-buffering": "no"})
        self._desk = desk
        self._viewer = viewer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        desk, viewer = self._desk, self._viewer
        connection: Connection = scope["state"]["connection"]
        headers = [(key, value) for key, value in self.raw_headers if key != b"content-length"]
        try:
            connection.is_stream = True
            connection.when_lost(viewer.close)
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": RETRY + self._hello() + PING, "more_body": True})
            while data := await viewer.take(desk.feed.told_to_resync):
                await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            desk.feed.leave(viewer)
            connection.is_stream = False

    def _hello(self) -> bytes:
        """Which process this is: what somebody knows of another one is not worth anything."""
        views = self._desk.views
        return message("hello", plain({"boot": views.boot, "version": views.version}).encode())
