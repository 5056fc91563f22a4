"""Sections of the configuration: devices, the links to them, and what is read, written and simulated there."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from gateway.config.addresses import AddressField, PlaceField
from gateway.config.durations import DurationField
from gateway.config.model_tls import Tls
from gateway.config.scalars import (
    BooleanField,
    FaultCount,
    FractionField,
    FunctionsField,
    IntegerField,
    RangeOfValuesField,
    RefusalsField,
    SentinelsField,
    TagName,
    TextField,
    UnitIdField,
    empty_is_no_keys,
    empty_is_none_given,
    one_or_many,
)
from gateway.config.section import Section
from gateway.config.urls import DeviceUrl, DeviceUrlsField

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

MIN_STALE_S = 5.0
"""The shortest default of `stale_after`."""
STALE_INTERVALS = 3
"""The default of `stale_after` in intervals of the job."""


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
    tags: Annotated[dict[TagName, Tag], BeforeValidator(empty_is_no_keys)] = Field(default={})
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
