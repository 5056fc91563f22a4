"""Sections of the configuration: what Modbus clients connect to, and what they may do and take there."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WrapValidator

from gateway.config.addresses import AddressField, PlaceField
from gateway.config.durations import DurationField
from gateway.config.model_tls import Tls
from gateway.config.rights import May, NetworkField
from gateway.config.scalars import (
    FunctionsField,
    IntegerField,
    TextField,
    UnitIdField,
    UnitIdsField,
    empty_is_none_given,
    one_or_many,
)
from gateway.config.section import Section
from gateway.config.sizes import SizeField
from gateway.config.urls import ListenUrl, ListenUrlField, listen_schema, parse_listen_url


class Identity(Section):
    """What functions 43/14 and 17 tell about us (V1.1b3 6.21, 6.13)."""

    vendor: TextField = "Modbus gateway"
    product: TextField = "gateway"
    revision: TextField | None = None
    """Default: the version of the gateway."""
    vendor_url: TextField | None = None
    """Where to read about it; this and the next three are told when they are given (the regular objects 03 to 06)."""
    product_name: TextField | None = None
    """The product in full words."""
    model: TextField | None = None
    """The model."""
    application: TextField | None = None
    """What it does in this plant."""


class Rule(Section):
    """Who may do what; a key that is not given holds for all."""

    from_: Annotated[tuple[NetworkField, ...], one_or_many] = Field(default=(None,), alias="from")
    """Networks or addresses of clients, or `any`; a serial line has no address, only `any` fits it."""
    role: Annotated[tuple[TextField, ...] | None, one_or_many] = None
    """Roles of client certificates; `none`: without one."""
    unit: Annotated[tuple[UnitIdsField, ...] | None, one_or_many] = None
    """Unit ids, such as `[1, 5..9]`; 0 and 255 count as the unit that they mean."""
    table: Annotated[tuple[Literal["coils", "discrete", "holding", "input"], ...] | None, one_or_many] = None
    """Tables; functions that have none do not fit."""
    range: Annotated[tuple[AddressField, ...] | None, one_or_many] = None
    """Addresses, such as `holding:0..99`; a request is allowed when all of its addresses are."""
    function: FunctionsField | None = None
    """Function codes, such as `[3, 16]`."""
    may: May
    """`write` (and read), `read`, or `nothing`."""


Rules = Annotated[tuple[Rule, ...], BeforeValidator(empty_is_none_given)]


class Listener(Section):
    """One place where clients connect, with rights of its own."""

    url: ListenUrlField
    """`tcp://HOST:PORT`, `udp://`, `tls://`, `rtu+tcp://`, `ascii+tcp://`, or a serial line: `rtu:///dev/ttyUSB0`."""
    access: Rules | None = None
    """Who may do what here; default: `server.access`."""
    tls: Tls | None = None
    """Of a `tls://` listener; default: the plant's `tls`."""

    def __str__(self) -> str:
        return str(self.url)


class _UrlAlone:
    """A listener may be written as its url alone."""

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> Any:
        return {"anyOf": [listen_schema, handler(core_schema)]}


def _listener(value: Any, handler: Any) -> Any:
    return Listener.model_construct(url=parse_listen_url(value)) if isinstance(value, str) else handler(value)


ListenerField = Annotated[Listener, WrapValidator(_listener), _UrlAlone()]


class Limits(Section):
    """What one client may take from the others."""

    connections_per_address: Annotated[IntegerField, Field(ge=0, le=60_000)] = 0
    """Clients from one address; a newcomer beyond it is closed at once. 0: as many as `max_connections`."""
    requests_per_second: Annotated[IntegerField, Field(ge=0, le=1_000_000)] = 0
    """Of all clients of one address together; beyond it they are read more slowly, over udp not at all. 0: no limit."""
    half_request_s: DurationField = Field(default=5.0, alias="half_request")
    """How long the rest of a request may take; then the client is closed. 0s: for ever."""
    bytes_waiting: SizeField = 65_536
    """Answers that a client has not fetched; beyond it, it is not read any more."""


class Server(Section):
    """What Modbus clients connect to."""

    listen: Annotated[tuple[ListenerField, ...], one_or_many] = (
        Listener.model_construct(url=ListenUrl("0.0.0.0", 502)),
    )
    """Where clients connect: one URL or a list; a section `{url: ..., access: [...]}` gives one rights of its own."""
    access: Rules | None = None
    """Who may do what: the first rule that fits decides, a list without one refuses. Default: all may write."""
    limits: Limits = Limits()
    """What one client may take from the others."""
    default_unit: Annotated[UnitIdField, Field(ge=1, le=247)] = 1
    """What unit ids 0 and 255 mean on TCP, unless `units` names them."""
    unknown_unit: Literal["gateway_path", "target_failed", "silent"] = "gateway_path"
    """How a unit id that does not exist is answered: exception 0A, exception 0B, or not at all."""
    max_connections: Annotated[IntegerField, Field(ge=1, le=60_000)] = 1000
    """A newcomer beyond it is closed at once."""
    idle_timeout_s: DurationField = Field(default=0.0, alias="idle_timeout")
    """Close a client that sent nothing for so long; 0s: never."""
    backlog: Annotated[IntegerField, Field(ge=1, le=65_535)] = 1024
    """Connections the system may hold before we take them."""
    keepalive_s: DurationField = Field(default=60.0, alias="keepalive")
    """TCP keep-alive; 0s: off."""
    identity: Identity = Identity()
    status: PlaceField | None = None
    """Where the eight input registers about the gateway itself begin, such as `1/input:8990`."""
