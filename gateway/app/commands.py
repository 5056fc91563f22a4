"""The commands of the control socket: what a request names becomes a question to the views.

Who may open the socket is the gateway's own user; he asks and writes as a client on this machine does, by the rules of
`server.access`.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import IPv4Address
from typing import Any

from gateway.app.views import Views
from gateway.control.path import ControlError
from gateway.control.socket import Command
from gateway.errors import AskError
from gateway.front.gate import Origin
from gateway.traffic import MAX_TAKEN

ORIGIN = Origin("control socket", IPv4Address("127.0.0.1"), "control socket")
"""For rules and the audit."""
DEFAULT_POINTS = 800

Request = dict[str, Any]


def commands(views: Views) -> Mapping[str, Command]:
    """By name. Every one ignores keys that it does not know."""
    return {
        name: _told(answer)
        for name, answer in {
            "status": lambda request: views.status(),
            "devices": lambda request: {"links": views.links(), "devices": views.devices(), "routes": views.routes()},
            "device": lambda request: views.device(_text(request, "device")),
            "tags": lambda request: {"generation": views.generation, "tags": views.tags(), "values": views.values()},
            "values": lambda request: {"generation": views.generation, "values": views.values()},
            "registers": lambda request: views.registers(
                ORIGIN,
                _whole(request, "unit", 1),
                _text(request, "table"),
                _whole(request, "first", 0),
                _whole(request, "count", 1),
            ),
            "units": lambda request: {"units": views.units()},
            "clients": lambda request: {"clients": views.clients()},
            "events": lambda request: views.events(_whole(request, "after", 0)),
            "trends": lambda request: {
                "series": views.trends(
                    _texts(request, "tags"),
                    _maybe(request, "from"),
                    _maybe(request, "to"),
                    _whole(request, "points", DEFAULT_POINTS),
                )
            },
            "trace_open": lambda request: views.trace_open(_filter(request)),
            "trace_take": lambda request: views.trace_take(
                _whole(request, "tap"), _whole(request, "after", 0), _whole(request, "limit", MAX_TAKEN)
            ),
            "trace_close": lambda request: views.trace_close(_whole(request, "tap")),
            "write_tag": lambda request: views.write_tag(
                ORIGIN, _text(request, "device"), _text(request, "tag"), request.get("value")
            ),
        }.items()
    }


def _told(answer: Callable[[Request], Any]) -> Command:
    """What cannot be answered is told as the socket tells it."""

    def command(request: Request) -> Any:
        try:
            result = answer(request)
        except AskError as error:
            raise ControlError(str(error)) from error
        return _awaited(result) if inspect.isawaitable(result) else result

    return command


async def _awaited(result: Awaitable[Any]) -> Any:
    try:
        return await result
    except AskError as error:
        raise ControlError(str(error)) from error


def _text(request: Request, key: str) -> str:
    value = request.get(key)
    if not isinstance(value, str):
        raise ControlError(f"`{key}` is missing, or no text: {value!r}")
    return value


def _texts(request: Request, key: str) -> list[str]:
    value = request.get(key)
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ControlError(f"`{key}` is missing, or no list of texts")
    return value


def _whole(request: Request, key: str, default: int | None = None) -> int:
    value = request.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ControlError(f"`{key}` is missing, or no whole number: {value!r}")
    return value


def _maybe(request: Request, key: str) -> int | None:
    return None if request.get(key) is None else _whole(request, key)


def _filter(request: Request) -> Mapping[str, Any]:
    value = request.get("filter", {})
    if not isinstance(value, dict):
        raise ControlError('`filter` is an object such as {"device": "press"}')
    return value
