"""The configuration as frozen sections: one class per section, one attribute per key, defaults that are safe.

The rule of the file: a key that exists here works. A scalar arrives as the text that stands in the YAML and is read as
what the key wants (`on` can be a name, `00101` a reference). Times carry their unit in the attribute (`timeout_s`), in
the YAML in the value (`timeout: 1s`). What concerns two keys at once is judged in `check`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pydantic
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    WithJsonSchema,
    WrapValidator,
    model_validator,
)

from gateway.config.addresses import Address, AddressField, Place, PlaceField, RangesField
from gateway.config.durations import DurationField
from gateway.config.page import HostNameField, UserName, UserRole, WebUrl, WebUrlField
from gateway.config.passwords import PasswordField
from gateway.config.rights import May, NetworkField
from gateway.config.scalars import (
    BooleanField,
    FaultCount,
    FifoPointer,
    FileNumber,
    FractionField,
    FunctionsField,
    InitialField,
    IntegerField,
    Name,
    RangeOfValuesField,
    RefusalsField,
    SentinelsField,
    TagName,
    TextField,
    UnitIdField,
    UnitIdsField,
    UnitKey,
    VersionField,
    empty_is_no_keys,
    empty_is_none_given,
    one_or_many,
)
from gateway.config.sizes import SizeField
from gateway.config.urls import DeviceUrl, DeviceUrlsField, ListenUrl, ListenUrlField, listen_schema, parse_listen_url

if TYPE_CHECKING:
    from gateway.config.needs import Need

ByteOrder = Literal["ABCD", "CDAB", "BADC", "DCBA"]
TypeName = Literal[
    "bool", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64", "bcd16", "bcd32", "string"
]
AsName = Literal[
    "raw", "bool", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64", "bcd16", "bcd32"
]
Prefer = Literal["first", "any"]
OnStale = Literal["error", "hold", "zero"]
Quirk = Literal["tid_zero", "any_unit"]
TlsVersion = Annotated[Literal["1.2", "1.3"], WithJsonSchema({"enum": ["1.2", "1.3", 1.2, 1.3]})]

MIN_STALE_S = 5.0
"""The shortest default of `stale_after`."""
STALE_INTERVALS = 3
"""The default of `stale_after` in intervals of the job."""


class Section(BaseModel):
    """Frozen, and strict about unknown keys. The docstring under a key is its description in the JSON Schema."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _empty(cls, value: Any) -> Any:
        return empty_is_no_keys(value)


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


class Tls(Section):
    """Certificates, for both sides of Modbus/TCP Security. Files are relative to the first YAML file."""

    cert: TextField
    """Our certificate, PEM, with the chain up to the root behind it."""
    key: TextField
    """Its private key, PEM; readable by its owner alone."""
    ca: TextField
    """The roots that the other side's certificate must lead to, PEM."""
    crl: TextField | None = None
    """Revoked certificates of these roots, PEM."""
    min_version: TlsVersion = "1.2"
    """The oldest version of TLS that is spoken."""
    name: TextField | None = None
    """Of a device: the name or address in its certificate; default: the host of its url."""
    fingerprint: TextField | None = None
    """Of a device: SHA-256 of its certificate in hex, in place of its name."""

    def __str__(self) -> str:
        """What was given, as it is written."""
        return ", ".join(
            f"{key}: {getattr(self, key)}" for key in type(self).model_fields if key in self.model_fields_set
        )


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


class RecordFile(Section):
    """A file of records, read with function 20 and written with 21 (V1.1b3 6.14, 6.15); kept on the disk."""

    records: Annotated[IntegerField, Field(ge=1, le=10_000)] = 10_000
    """How many registers it has; records are numbered from 0."""
    path: TextField | None = None
    """Where it lies, in the state directory; default: `file-UNIT-NUMBER.dat`."""
    read_only: BooleanField = False
    """true: function 21 is refused with 02."""

    def name(self, unit_id: int, number: int) -> str:
        """Of the file in the state directory."""
        return self.path or f"file-{unit_id}-{number}.dat"


class Fifo(Section):
    """A queue of up to 31 registers behind the register that counts them (V1.1b3 6.18).

    A client empties it by writing 0 to that register.
    """

    from_: PlaceField | None = Field(default=None, alias="from")
    """A register of ours whose changes are queued, such as `1/input:200`; default: what clients write there."""
    size: Annotated[IntegerField, Field(ge=1, le=31)] = 31
    """The most registers; when it is full, the oldest leaves."""


class Audit(Section):
    """Every write of every client, as JSON lines."""

    enabled: BooleanField = True
    """false: no audit."""
    path: TextField = "audit.jsonl"
    """Where it lies, in the state directory."""
    max_size: SizeField = 10_000_000
    """A file that has grown to this is put aside as `.1`, that as `.2` ..."""
    keep: Annotated[IntegerField, Field(ge=0, le=1000)] = 10
    """How many of those are kept."""


class User(Section):
    """Somebody who may log in to the page."""

    password: PasswordField
    """What `gateway passwd` prints; never the password itself."""
    role: UserRole = "viewer"
    """`viewer` only looks; `operator` and `engineer` may write what `access` lets their role write."""


class Metrics(Section):
    """What `/metrics` tells."""

    open: BooleanField = True
    """false: only who is logged in may read it. Without `users` everybody may who reaches the page."""
    tags: BooleanField = False
    """true: the values of tags, too."""


class PageTls(Section):
    """The certificate of an `https://` page. Files are relative to the first YAML file."""

    cert: TextField
    """The certificate, PEM, with the chain behind it."""
    key: TextField
    """Its private key, PEM; readable by its owner alone."""


class Web(Section):
    """The page, its HTTP interface, `/metrics`, `/healthz` and `/readyz`."""

    listen: WebUrlField = WebUrl("http", "127.0.0.1", 8080)
    """`http://HOST:PORT` or `https://HOST:PORT`. Beyond this machine only with `users`."""
    hosts: Annotated[tuple[HostNameField, ...], one_or_many] = ()
    """Names that browsers may call the page by, besides addresses, `localhost`, this machine's name and `listen`'s."""
    tls: PageTls | None = None
    """Of an `https://` page; default: the plant's `tls`."""
    users: Annotated[dict[UserName, User], BeforeValidator(empty_is_no_keys)] = {}
    """Who may log in, by name; without any the page only shows, to this machine."""
    session_s: DurationField = Field(default=12 * 3600.0, alias="session")
    """How long a login lasts."""
    trend_s: DurationField = Field(default=3600.0, alias="trend")
    """How much of the past is kept in memory for trends; 0s: nothing."""
    metrics: Metrics = Metrics()
    """What `/metrics` tells, and to whom."""


class Route(Section):
    """A unit id that is passed through to a device, transparently."""

    forward: TextField
    """A device (its unit id is used) or a link (unit ids pass unchanged)."""
    to_unit: Annotated[UnitIdField, Field(ge=0, le=255)] | None = None
    """The unit id on the device's side; overrides either."""
    read_only: BooleanField = False
    """true: functions that write are refused with 01."""
    functions: FunctionsField | None = None
    """The function codes that pass, such as `[3, 4]`; others are refused with 01. Default: all."""
    cache_s: DurationField = Field(default=0.0, alias="cache")
    """How long an answer to a read serves equal reads; 0s: not at all. A write to the unit empties it."""
    timeout_s: DurationField | None = Field(default=None, alias="timeout")
    """For one answer; default: the device's, or 1s."""


class Unit(Section):
    """A register image of our own. A table that is not declared consists of exactly what is mapped into it."""

    coils: RangesField | None = None
    """The coils there are: `0..1999`, `2000` for the same, or a list of ranges."""
    discrete: RangesField | None = None
    """The discrete inputs there are, as for coils."""
    holding: RangesField | None = None
    """The holding registers there are, as for coils."""
    input: RangesField | None = None
    """The input registers there are, as for coils."""
    initial: InitialField = ()
    """Values of our own registers at start: `{"holding:10": 1234, "holding:11": [1, 2, 3], "coils:0": true}`."""
    read_only: Annotated[tuple[AddressField, ...], one_or_many] = ()
    """Refused to clients that write, with exception 02: `[holding:500..599]`."""
    retain: BooleanField = False
    """true: our own registers survive a restart."""
    files: Annotated[dict[FileNumber, RecordFile], BeforeValidator(empty_is_no_keys)] = {}
    """Files for functions 20 and 21, by number: `{4: {records: 1000, path: recipes.dat}}`."""
    fifo: Annotated[dict[FifoPointer, Fifo], BeforeValidator(empty_is_no_keys)] = {}
    """Queues for function 24, by the holding register that counts them: `{"holding:1246": {from: 1/input:200}}`."""
    exception_status: AddressField | None = None
    """Eight bits that function 07 tells: from `coils:0` on, or a register's low byte; default: the gateway's state."""


_ROUTE_ONLY = frozenset({"forward", "to_unit", "functions", "cache", "timeout"})
"""Keys that a register image does not have."""


def kind_of_unit(value: Any) -> Literal["route", "unit"]:
    """Whether a section of `units` is a Route or a Unit: what has the key `forward`, or seems to, is a route."""
    if not isinstance(value, Mapping) or value.keys().isdisjoint(_ROUTE_ONLY):
        close = difflib.get_close_matches("forward", value if isinstance(value, Mapping) else (), n=1)
        return "route" if close else "unit"
    return "route"


UnitSection = Annotated[
    Annotated[Unit, pydantic.Tag("unit")] | Annotated[Route, pydantic.Tag("route")], Discriminator(kind_of_unit)
]


class Link(Section):
    """A named way to devices, for settings that they share."""

    urls: DeviceUrlsField = Field(alias="url")
    """`tcp://HOST:PORT`, or a list: the next is used when one fails."""
    prefer: Prefer = "first"
    """With several addresses: `first` goes back to the first when it answers again, `any` stays where it works."""
    source: TextField | None = None
    """Local address of the connection; default: the system's choice."""
    keepalive_s: DurationField = Field(default=60.0, alias="keepalive")
    """TCP keep-alive; 0s: off."""
    connect_delay_s: DurationField = Field(default=0.0, alias="connect_delay")
    """Quiet time after connecting."""
    delay_s: DurationField = Field(default=0.0, alias="delay")
    """Quiet time between requests."""
    in_flight: Annotated[IntegerField, Field(ge=1, le=64)] = 1
    """Requests outstanding at once."""
    tls: Tls | None = None
    """Of `tls://` addresses; default: the plant's `tls`."""

    @property
    def url(self) -> DeviceUrl:
        """The first address."""
        return self.urls[0]


class Poll(Section):
    """Registers or bits mirrored as they are."""

    read: AddressField
    """What is read from the device: `holding:0..49`."""
    to: PlaceField
    """Where it begins in our image: `1/holding:1000`."""
    every_s: DurationField | None = Field(default=None, alias="every")
    """Interval; default: the device's."""
    write: Literal["through"] | None = None
    """`through`: clients' writes to the mirrored registers go to the device. Default: they are refused with 02."""
    latest_only: BooleanField = False
    """true: of writes that wait for the device only the latest is sent; for set-points that a slider floods."""
    verify_s: DurationField | None = Field(default=None, alias="verify")
    """So long after a write it is read back; the image shows what was written until then."""


class Push(Section):
    """Our registers written to the device."""

    write: AddressField
    """What is written in the device: `holding:200..209`."""
    from_: PlaceField = Field(alias="from")
    """Where it begins in our image: `1/holding:300`."""
    on: Literal["change"] | None = None
    """`change`: written when a source register changes."""
    every_s: DurationField | None = Field(default=None, alias="every")
    """Written cyclically, too. One of `on` and `every` must be given."""


class Watchdog(Section):
    """A counter in the device that stands still when the gateway does."""

    write: AddressField
    """The holding register that counts up, 0..65535 and around."""
    every_s: DurationField = Field(default=1.0, alias="every")
    """How often."""


class Faults(Section):
    """What a simulated device does wrong, on purpose. Counts mean `every Nth request`; 0: never."""

    delay_s: DurationField = Field(default=0.0, alias="delay")
    """Before each answer."""
    dead: BooleanField = False
    """It never answers."""
    no_answer: FaultCount = 0
    """Every Nth request is not answered."""
    late: FaultCount = 0
    """Every Nth answer comes `late_by` too late."""
    late_by_s: DurationField = Field(default=2.0, alias="late_by")
    """How late `late` is."""
    wrong_tid: FaultCount = 0
    """Every Nth answer carries another transaction id."""
    zero_tid: BooleanField = False
    """Every answer carries transaction id 0."""
    wrong_unit: FaultCount = 0
    """Every Nth answer carries another unit id."""
    short_frame: FaultCount = 0
    """Every Nth answer has less data than asked for, its header agreeing."""
    wrong_length: FaultCount = 0
    """Every Nth answer has a length in its header that disagrees with its data."""
    lag: BooleanField = False
    """After a request that was not answered in time, each answer carries the data of the request before."""
    busy: FaultCount = 0
    """Every Nth request is refused with 06."""
    refuse: RefusalsField = ()
    """Exception codes by address range: `{"holding:10..12": 2}`; a request that touches one gets it."""
    no_functions: FunctionsField = ()
    """Function codes that are refused with 01, such as `[5, 6]` or `[22]`."""
    split: BooleanField = False
    """Every answer is sent in segments of one byte."""
    join: BooleanField = False
    """Answers are held back for a moment and leave in one segment."""
    one_connection: BooleanField = False
    """A second connection is accepted and closed at once."""
    idle_close_s: DurationField = Field(default=0.0, alias="idle_close")
    """A connection that is idle for so long is closed."""
    max_registers: Annotated[IntegerField, Field(ge=1, le=125)] | None = None
    """Reads of more registers are refused with 02."""
    one_at_a_time: BooleanField = False
    """What arrives while a request is being worked on is dropped."""


class Tag(Section):
    """A named, typed value. Value = raw * scale + offset, exact for integers."""

    at: AddressField
    """Where it stands in the device: `holding:10`, `40011`, a bit `holding:30.0`, a string `holding:10..17`."""
    type: TypeName
    order: ByteOrder | None = None
    """Byte order as the bytes travel; default: the device's."""
    scale: FractionField = Fraction(1)
    """Value = raw * scale + offset."""
    offset: FractionField = Fraction(0)
    unit: TextField | None = None
    """Engineering unit, for people."""
    description: TextField | None = None
    every_s: DurationField | None = Field(default=None, alias="every")
    """Interval; default: the device's."""
    to: PlaceField | None = None
    """Where the value lies in our image: `1/input:200`, a bool also `1/coils:5` or `1/holding:5.3`."""
    as_: AsName | None = Field(default=None, alias="as")
    """The type in the image when it differs from the device's; `raw` copies the registers."""
    no_value: SentinelsField = ()
    """Values that mean "no value": hexadecimal for the raw bits, decimal for the number before scaling."""
    deadband: FractionField = Fraction(0)
    """A change smaller than this is not published."""
    write: BooleanField = False
    """true: clients' writes to `to` go to the device, scaled back. Default: they are refused with 02."""
    range: RangeOfValuesField | None = None
    """The least and the greatest value that may be written, `[0, 100]`, in engineering units; others get 03."""
    latest_only: BooleanField = False
    """true: of writes that wait for the device only the latest is sent; for set-points that a slider floods."""
    verify_s: DurationField | None = Field(default=None, alias="verify")
    """So long after a write it is read back; clients see what was written until then."""
    sim: TextField | None = None
    """The signal of a simulated device: `sine(20, 80, 60s)`, `square(10s)`, `counter(3)` ..."""


class Device(Section):
    """One unit on one link: a PLC, a meter, a drive."""

    enabled: BooleanField = True
    """false: not polled; its registers have no value."""
    urls: DeviceUrlsField = Field(default=(), alias="url")
    """`tcp://HOST:PORT` or a list (the next is used when one fails), or `sim://`. The same url: one connection."""
    prefer: Prefer | None = None
    """With several addresses: `first` goes back to the first when it answers again (default), `any` stays."""
    link: TextField | None = None
    """The name of a link, instead of a url."""
    source: TextField | None = None
    """Local address of the connection; default: the system's choice."""
    keepalive_s: DurationField | None = Field(default=None, alias="keepalive")
    """TCP keep-alive, 60s; 0s: off."""
    connect_delay_s: DurationField | None = Field(default=None, alias="connect_delay")
    """Quiet time after connecting, 0s."""
    delay_s: DurationField | None = Field(default=None, alias="delay")
    """Quiet time between requests, 0s."""
    in_flight: Annotated[IntegerField, Field(ge=1, le=64)] | None = None
    """Requests outstanding at once, 1."""
    tls: Tls | None = None
    """Of `tls://` addresses; default: the plant's `tls`."""
    unit: Annotated[UnitIdField, Field(ge=0, le=255)] = 1
    """The device's unit id."""
    timeout_s: DurationField = Field(default=1.0, alias="timeout")
    """For one answer."""
    retries: Annotated[IntegerField, Field(ge=0, le=10)] = 1
    """Of reads, after a time-out."""
    max_registers: Annotated[IntegerField, Field(ge=1, le=125)] = 125
    """The most registers it answers in one request."""
    max_bits: Annotated[IntegerField, Field(ge=1, le=2000)] = 2000
    """The most bits it answers in one request."""
    max_gap: Annotated[IntegerField, Field(ge=0, le=124)] = 16
    """Registers read although nobody asked, to save a request."""
    accept: Annotated[tuple[Quirk, ...], one_or_many] = ()
    """Quirks to put up with; only with `in_flight: 1`."""
    every_s: DurationField = Field(default=1.0, alias="every")
    """Default interval of its polls and tags."""
    order: ByteOrder = "ABCD"
    """Default byte order of its tags."""
    on_stale: OnStale = "error"
    """What clients read when values are too old: exception 0B, the last value, or 0."""
    stale_after_s: DurationField | None = Field(default=None, alias="stale_after")
    """Age from which values are too old; default: three intervals of the job, at least 5s."""
    force_multiple: BooleanField = False
    """true: writes are sent with functions 15 and 16 only, for devices without 05 and 06."""
    watchdog: Watchdog | None = None
    """A register of the device that counts up while the gateway is well."""
    status: PlaceField | None = None
    """Where the eight input registers about this device begin, such as `1/input:9000`."""
    poll: Annotated[tuple[Poll, ...], BeforeValidator(empty_is_none_given)] = ()
    """Raw mirroring: registers as they are."""
    push: Annotated[tuple[Push, ...], BeforeValidator(empty_is_none_given)] = ()
    """The other way: our registers written to the device."""
    tags: Annotated[dict[TagName, Tag], BeforeValidator(empty_is_no_keys)] = {}
    """Named, typed values."""
    faults: Faults | None = None
    """What its simulation does wrong; nothing to a real device."""

    @property
    def url(self) -> DeviceUrl | None:
        """The first address; None with a `link`."""
        return self.urls[0] if self.urls else None

    def stale_s(self, every_s: float) -> float:
        """How old, in seconds, values of a job with this interval may grow before `on_stale` decides."""
        if self.stale_after_s is not None:
            return self.stale_after_s
        return max(STALE_INTERVALS * every_s, MIN_STALE_S)


class Config(Section):
    """A whole plant, checked. Made by `load`, never by hand."""

    version: VersionField | None = None
    """The version of the gateway that this file was written for; `gateway check` tells what changed since."""
    server: Server = Server()
    """What SCADA connects to."""
    sections: Annotated[dict[UnitKey, UnitSection], BeforeValidator(empty_is_no_keys)] = Field(
        default={}, alias="units"
    )
    """What each unit id answers with."""
    state_dir: TextField | None = None
    """Where retained registers and the control socket lie; default: `state` beside the first file."""
    tls: Tls | None = None
    """Certificates of every `tls://` listener and device that has none of its own."""
    audit: Audit = Audit()
    """Who wrote what."""
    web: Web | None = None
    """The page; without this section there is none."""
    links: Annotated[dict[Name, Link], BeforeValidator(empty_is_no_keys)] = {}
    """Ways to devices that need a name."""
    devices: Annotated[dict[Name, Device], BeforeValidator(empty_is_no_keys)] = {}
    """PLCs, meters, drives: what is read."""
    _warnings: tuple[str, ...] = PrivateAttr(default=())
    _notes: tuple[str, ...] = PrivateAttr(default=())
    _needs: tuple[Need, ...] = PrivateAttr(default=())
    _state_path: Path = PrivateAttr(default=Path("state"))
    _folder: Path = PrivateAttr(default=Path())

    @property
    def warnings(self) -> tuple[str, ...]:
        """`FILE:LINE:COLUMN: PATH: ...` of what is allowed but probably not meant; no key of the YAML."""
        return self._warnings

    @property
    def notes(self) -> tuple[str, ...]:
        """As `warnings`: what newer versions do otherwise with this file than the one it was written for."""
        return self._notes

    @property
    def needs(self) -> tuple[Need, ...]:
        """What it needs of the machine, for `needs.unmet`; no key of the YAML."""
        return self._needs

    @property
    def state_path(self) -> Path:
        """The folder `state_dir` names, or its default, as an absolute path; no key of the YAML."""
        return self._state_path

    def path_of(self, text: str) -> Path:
        """A file that the YAML names, relative to the folder of the first file."""
        return self._folder / text

    def loaded(
        self, first_file: Path, warnings: tuple[str, ...], needs: tuple[Need, ...], notes: tuple[str, ...]
    ) -> Config:
        """The same plant with where it came from and what was noticed when it was read."""
        copy = self.model_copy()
        copy._warnings = warnings
        copy._notes = notes
        copy._needs = needs
        copy._folder = first_file.parent.resolve()
        copy._state_path = (first_file.parent / (self.state_dir or "state")).resolve()
        return copy

    @cached_property
    def units(self) -> Mapping[int, Unit]:
        """The register images of our own that the file names, by unit id."""
        return {
            key.first: section
            for key, section in self.sections.items()
            if isinstance(section, Unit) and key.first == key.last
        }

    @cached_property
    def routes(self) -> Mapping[int, Route]:
        """The unit ids that are passed through, ranges expanded."""
        return {
            unit_id: section
            for key, section in self.sections.items()
            if isinstance(section, Route)
            for unit_id in key.ids
        }

    def unit_of(self, place: Place) -> int:
        """The unit id a place of ours belongs to: its own, or the default unit."""
        return self.server.default_unit if place.unit is None else place.unit

    def link_of(self, name: str) -> Link:
        """The way to device `name`: its named link, or one made of the device's own keys."""
        device = self.devices[name]
        if device.link is not None:
            return self.links[device.link]
        return Link.model_construct(
            urls=device.urls,
            prefer=device.prefer or "first",
            source=device.source,
            keepalive_s=_or(device.keepalive_s, 60.0),
            connect_delay_s=_or(device.connect_delay_s, 0.0),
            delay_s=_or(device.delay_s, 0.0),
            in_flight=device.in_flight or 1,
            tls=device.tls,
        )

    def link_key(self, name: str) -> str:
        """What devices on one connection have in common: link name, or url and source; `sim://` is never shared."""
        device = self.devices[name]
        if device.link is not None:
            return device.link
        assert device.urls  # `check` saw to it
        if device.urls[0].scheme == "sim":
            return f"sim://{name}"
        urls = "|".join(map(str, device.urls))
        return f"{urls}?source={device.source}" if device.source else urls


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


__all__ = [
    "Address",
    "Audit",
    "ByteOrder",
    "Config",
    "Device",
    "DeviceUrl",
    "Faults",
    "Fifo",
    "Identity",
    "Limits",
    "Link",
    "ListenUrl",
    "Listener",
    "Metrics",
    "PageTls",
    "Place",
    "Poll",
    "Push",
    "RecordFile",
    "Route",
    "Rule",
    "Section",
    "Server",
    "Tag",
    "Tls",
    "Unit",
    "User",
    "Watchdog",
    "Web",
    "WebUrl",
]
