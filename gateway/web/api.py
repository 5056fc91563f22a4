"""The paths of the interface: each is described in openapi.json, and none is that is not here (a test holds it).

The rule: an answer is JSON, an error says in `error` what a person understands. What only shows is for whoever is let
in; what changes something needs a login, a token that a foreign page cannot know, and passes the gate.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.web.asking import (
    MAX_TEXT,
    Pieces,
    Problem,
    address_of,
    answer,
    body_of,
    cookie_name,
    desk_of,
    is_from_our_page,
    let_in,
    number_of,
    origin_of,
    session_of,
)
from gateway.web.desk import Desk
from gateway.web.sessions import Refusal, Session
from gateway.web.slices import Slices, Text, encoded, exact
from gateway.web.stream import stream

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MAX_WRITES = 8
"""Of one session, without an answer yet."""
MAX_EVENTS = 2000
"""Of one answer."""
DEFAULT_POINTS = 800
"""Of a trend: columns of a screen."""
_OPENAPI = Path(__file__).with_name("openapi.json")


# -- who asks ----------------------------------------------------------------------------------------------------------


async def session(request: Request) -> Response:
    return answer(_session(desk_of(request), session_of(request)))


def _session(desk: Desk, found: Session | None) -> dict[str, Any]:
    return {
        "user": None if found is None else found.name,
        "role": None if found is None else found.user.role,
        "login": desk.sessions.has_users,
        "may_write": desk.may_write(found),
        "csrf": desk.sessions.visitor_csrf() if found is None else found.csrf,
        "version": desk.views.version,
        "gateway": desk.views.name,
    }


async def login(request: Request) -> Response:
    desk = desk_of(request)
    before = session_of(request)
    is_from_our_page(request, before)
    if not desk.sessions.has_users:
        raise Problem(403, "there are no users: write them at `web.users` in the plant's file", code="denied")
    body = await body_of(request)
    name, password = body.get("user"), body.get("password")
    if not isinstance(name, str) or not isinstance(password, str):
        raise Problem(400, 'send {"user": "...", "password": "..."}')
    found = await desk.sessions.login(name, password, address_of(request))
    if isinstance(found, Refusal):
        headers = {"retry-after": str(max(round(found.wait_s + 0.5), 1))} if found.wait_s else {}
        raise Problem(found.status, found.message, code="login", headers=headers)
    if before is not None:
        desk.sessions.end(before)
    cookie, begun = found
    return answer(_session(desk, begun), {"set-cookie": _cookie(desk, cookie, int(desk.web.session_s))})


async def logout(request: Request) -> Response:
    desk = desk_of(request)
    found = session_of(request)
    is_from_our_page(request, found)
    if found is not None:
        desk.sessions.end(found)
    return answer(_session(desk, None), {"set-cookie": _cookie(desk, "", 0)})


def _cookie(desk: Desk, value: str, lasts_s: int) -> str:
    secure = "; Secure" if desk.scheme == "https" else ""
    return f"{cookie_name(desk)}={value}; Path=/; Max-Age={lasts_s}; HttpOnly; SameSite=Strict{secure}"


# -- what there is -----------------------------------------------------------------------------------------------------


async def state(request: Request) -> Response:
    let_in(request)
    return answer(await desk_of(request).snapshots.state())


async def tags(request: Request) -> Response:
    let_in(request)
    return answer(await desk_of(request).snapshots.tags())


async def clients(request: Request) -> Response:
    let_in(request)
    return answer(await desk_of(request).snapshots.clients())


async def device(request: Request) -> Response:
    let_in(request)
    desk = desk_of(request)
    name = request.path_params["name"]
    return answer(await desk.snapshots.made(lambda: encoded(desk.views.device(name))))


async def units(request: Request) -> Response:
    let_in(request)
    desk = desk_of(request)
    return answer(await desk.snapshots.made(lambda: encoded({"units": desk.views.units()})))


async def registers(request: Request) -> Response:
    found = let_in(request)
    desk = desk_of(request)
    table = request.query_params.get("table", "holding")[:MAX_TEXT]
    unit, first, count = number_of(request, "unit"), number_of(request, "first", 0), number_of(request, "count", 100)
    row = desk.views.registers(origin_of(request, found), unit, table, first, count)
    return answer(await encoded(row))


async def trends(request: Request) -> Response:
    let_in(request)
    desk, query = desk_of(request), request.query_params
    names = query.getlist("tag")
    if not names:
        raise Problem(400, "say which: `tag=DEVICE/TAG`, once or more")
    from_ms, to_ms = (number_of(request, name) if name in query else None for name in ("from", "to"))
    points = number_of(request, "points", DEFAULT_POINTS)
    series = desk.views.trends(names, from_ms, to_ms, points)
    return answer(await desk.snapshots.made(lambda: encoded({"series": series})))


async def events(request: Request) -> Response:
    let_in(request)
    desk = desk_of(request)
    after = number_of(request, "after", 0)

    def newest() -> dict[str, Any]:
        found = desk.views.events(after)
        return {**found, "events": _at_most(found["events"], MAX_EVENTS)}

    return answer(await desk.snapshots.made(lambda: encoded(newest())))


def _at_most(rows: Iterator[Any], most: int) -> Iterator[Any]:
    for _, row in zip(range(most), rows, strict=False):
        yield row


async def write_tag(request: Request) -> Response:
    """Every attempt is in the audit: what is refused here is told to it, the rest by whoever refuses or does it."""
    desk = desk_of(request)
    found = session_of(request)
    name, tag = request.path_params["device"], request.path_params["tag"]
    body: dict[str, Any] = {}
    wrong: Problem | None = None
    try:
        body = await body_of(request)
        if "value" not in body or not isinstance(body["value"], bool | int | float | str):
            wrong = Problem(400, 'send {"value": 12.5}: a number, true or false, or a text')
    except Problem as problem:
        wrong = problem
    origin, value = origin_of(request, found), body.get("value")
    try:
        writer = _writer(request, found)
        if wrong is not None:
            raise wrong
        if not _is_of_now(desk, body):
            raise Problem(
                409, "the configuration has changed since the tag was looked at: look at it again", code="changed"
            )
        if writer.writing >= MAX_WRITES:
            text = f"{MAX_WRITES} of your writes have no answer yet"
            raise Problem(429, text, code="full", headers={"retry-after": "1"})
    except Problem as problem:
        desk.counters["denied"] += problem.status in (401, 403)
        desk.views.refuse_write(origin, name, tag, value, problem.text)
        raise
    writer.writing += 1
    try:
        told = await desk.views.write_tag(origin, name, tag, value)
    finally:
        writer.writing -= 1
    return answer({key: exact(value) for key, value in told.items()})


def _writer(request: Request, found: Session | None) -> Session:
    """Who may try. Problem 401, 403."""
    desk = desk_of(request)
    is_from_our_page(request, found)
    if found is None:
        if desk.sessions.has_users:
            raise Problem(401, "log in first", code="login")
        raise Problem(403, "without users nobody can write: write them at `web.users`", code="denied")
    if not desk.may_write(found):
        raise Problem(403, f"{found.name} may only look: writing needs the role operator or engineer", code="denied")
    return found


def _is_of_now(desk: Desk, body: dict[str, Any]) -> bool:
    """Whether who sends it has looked at the tags there are, of this process."""
    views = desk.views
    seen = (body.get("generation", views.generation), body.get("boot", views.boot))
    return seen == (views.generation, views.boot)


# -- for programs ------------------------------------------------------------------------------------------------------


async def healthz(request: Request) -> Response:
    return answer({"status": "ok"})


async def readyz(request: Request) -> Response:
    desk = desk_of(request)
    if desk.is_closing or not desk.views.is_ready:
        raise Problem(503, "its listeners are not open", code="starting")
    return answer({"status": "ready"})


async def metrics(request: Request) -> Response:
    desk = desk_of(request)
    if not desk.web.metrics.open and session_of(request) is None:
        raise Problem(401, "log in first: `web.metrics.open` is false", code="login")

    async def text() -> bytearray:
        slices, text = Slices(), Text()
        for part in desk.views.metrics(tags=desk.web.metrics.tags):
            text.add(part)
            await slices.breathe()
        return text.done()

    return Pieces(await desk.snapshots.made(text), {"cache-control": "no-store"}, METRICS_TYPE)


@cache
def _openapi() -> bytes:
    return _OPENAPI.read_bytes()


async def openapi(request: Request) -> Response:
    return answer(_openapi())


ROUTES = [
    Route("/api/session", session),
    Route("/api/login", login, methods=["POST"]),
    Route("/api/logout", logout, methods=["POST"]),
    Route("/api/state", state),
    Route("/api/devices/{name}", device),
    Route("/api/tags", tags),
    Route("/api/tags/{device}/{tag}", write_tag, methods=["POST"]),
    Route("/api/units", units),
    Route("/api/registers", registers),
    Route("/api/trends", trends),
    Route("/api/clients", clients),
    Route("/api/events", events),
    Route("/api/stream", stream),
    Route("/api/openapi.json", openapi),
    Route("/healthz", healthz),
    Route("/readyz", readyz),
    Route("/metrics", metrics),
]
