"""The configuration as frozen sections: one class per section, one attribute per key, defaults that are safe.

The rule of the file: a key that exists here works. A scalar arrives as the text that stands in the YAML and is read as
what the key wants (`on` can be a name, `00101` a reference). Times carry their unit in the attribute (`timeout_s`), in
the YAML in the value (`timeout: 1s`). What concerns two keys at once is judged in `check`.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from gateway.config.addresses import Address, AddressField, Place, PlaceField, RangesField
from gateway.config.durations import DurationField
from gateway.config.scalars import (
    BooleanField,
    FractionField,
    InitialField,
    IntegerField,
    Name,
    SentinelsField,
    TagName,
    TextField,
    UnitIdField,
    UnitKey,
    empty_is_no_keys,
    empty_is_none_given,
    one_or_many,
)
from gateway.config.urls import DeviceUrl, DeviceUrlField, ListenUrl, ListenUrlField

ByteOrder = Literal["ABCD", "CDAB", "BADC", "DCBA"]
TypeName = Literal[
    "bool", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64", "bcd16", "bcd32", "string"
]
AsName = Literal[
    "raw", "bool", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64", "bcd16", "bcd32"
]
OnStale = Literal["error", "hold", "zero"]
Quirk = Literal["tid_zero", "any_unit"]

MIN_STALE_S = 5.0
"""The shortest default of `stale_after`."""
STALE_INTERVALS = 3
"""The default of `stale_after` in intervals of the job."""


class Section(BaseModel):
    """Frozen, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    @model_validator(mode="before")
    @classmethod
    def _empty(cls, value: Any) -> Any:
        return empty_is_no_keys(value)


class Identity(Section):
    """What functions 43/14 and 17 tell about us (V1.1b3 6.21, 6.13)."""

    vendor: TextField = "Modbus gateway"
    product: TextField = "gateway"
    revision: TextField | None = None
    """None: the version of this package."""


class Server(Section):
    """What Modbus clients connect to."""

    listen: Annotated[tuple[ListenUrlField, ...], one_or_many] = (ListenUrl("0.0.0.0", 502),)
    default_unit: Annotated[UnitIdField, Field(ge=1, le=247)] = 1
    unknown_unit: Literal["gateway_path", "target_failed", "silent"] = "gateway_path"
    max_connections: Annotated[IntegerField, Field(ge=1, le=60_000)] = 1000
    idle_timeout_s: DurationField = Field(default=0.0, alias="idle_timeout")
    backlog: Annotated[IntegerField, Field(ge=1, le=65_535)] = 1024
    keepalive_s: DurationField = Field(default=60.0, alias="keepalive")
    identity: Identity = Identity()
    status: PlaceField | None = None


class Unit(Section):
    """A register image of our own. A table that is None consists of exactly what is mapped into it."""

    coils: RangesField | None = None
    discrete: RangesField | None = None
    holding: RangesField | None = None
    input: RangesField | None = None
    initial: InitialField = ()
    read_only: Annotated[tuple[AddressField, ...], one_or_many] = ()


class Link(Section):
    """A named way to devices, for settings that they share."""

    url: DeviceUrlField
    source: TextField | None = None
    keepalive_s: DurationField = Field(default=60.0, alias="keepalive")
    connect_delay_s: DurationField = Field(default=0.0, alias="connect_delay")
    delay_s: DurationField = Field(default=0.0, alias="delay")
    in_flight: Annotated[IntegerField, Field(ge=1, le=64)] = 1


class Poll(Section):
    """Registers or bits mirrored as they are."""

    read: AddressField
    to: PlaceField
    every_s: DurationField | None = Field(default=None, alias="every")


class Tag(Section):
    """A named, typed value. Value = raw * scale + offset, exact for integers."""

    at: AddressField
    type: TypeName
    order: ByteOrder | None = None
    scale: FractionField = Fraction(1)
    offset: FractionField = Fraction(0)
    unit: TextField | None = None
    description: TextField | None = None
    every_s: DurationField | None = Field(default=None, alias="every")
    to: PlaceField | None = None
    as_: AsName | None = Field(default=None, alias="as")
    no_value: SentinelsField = ()
    deadband: FractionField = Fraction(0)
    sim: TextField | None = None


class Device(Section):
    """One unit on one link: a PLC, a meter, a drive."""

    enabled: BooleanField = True
    url: DeviceUrlField | None = None
    link: TextField | None = None
    source: TextField | None = None
    keepalive_s: DurationField | None = Field(default=None, alias="keepalive")
    connect_delay_s: DurationField | None = Field(default=None, alias="connect_delay")
    delay_s: DurationField | None = Field(default=None, alias="delay")
    in_flight: Annotated[IntegerField, Field(ge=1, le=64)] | None = None
    unit: Annotated[UnitIdField, Field(ge=0, le=255)] = 1
    timeout_s: DurationField = Field(default=1.0, alias="timeout")
    retries: Annotated[IntegerField, Field(ge=0, le=10)] = 1
    max_registers: Annotated[IntegerField, Field(ge=1, le=125)] = 125
    max_bits: Annotated[IntegerField, Field(ge=1, le=2000)] = 2000
    max_gap: Annotated[IntegerField, Field(ge=0, le=124)] = 16
    accept: Annotated[tuple[Quirk, ...], one_or_many] = ()
    every_s: DurationField = Field(default=1.0, alias="every")
    order: ByteOrder = "ABCD"
    on_stale: OnStale = "error"
    stale_after_s: DurationField | None = Field(default=None, alias="stale_after")
    status: PlaceField | None = None
    poll: Annotated[tuple[Poll, ...], BeforeValidator(empty_is_none_given)] = ()
    tags: Annotated[dict[TagName, Tag], BeforeValidator(empty_is_no_keys)] = {}

    def stale_s(self, every_s: float) -> float:
        """How old, in seconds, values of a job with this interval may grow before `on_stale` decides."""
        if self.stale_after_s is not None:
            return self.stale_after_s
        return max(STALE_INTERVALS * every_s, MIN_STALE_S)


class Config(Section):
    """A whole plant, checked. Made by `load`, never by hand."""

    server: Server = Server()
    units: Annotated[dict[UnitKey, Unit], BeforeValidator(empty_is_no_keys)] = {}
    links: Annotated[dict[Name, Link], BeforeValidator(empty_is_no_keys)] = {}
    devices: Annotated[dict[Name, Device], BeforeValidator(empty_is_no_keys)] = {}
    warnings: tuple[str, ...] = Field(default=(), exclude=True)
    """`FILE:LINE:COLUMN: PATH: ...` of what is allowed but probably not meant; no key of the YAML."""

    def unit_of(self, place: Place) -> int:
        """The unit id a place of ours belongs to: its own, or the default unit."""
        return self.server.default_unit if place.unit is None else place.unit

    def link_of(self, name: str) -> Link:
        """The way to device `name`: its named link, or one made of the device's own keys."""
        device = self.devices[name]
        if device.link is not None:
            return self.links[device.link]
        return Link.model_construct(
            url=device.url,
            source=device.source,
            keepalive_s=_or(device.keepalive_s, 60.0),
            connect_delay_s=_or(device.connect_delay_s, 0.0),
            delay_s=_or(device.delay_s, 0.0),
            in_flight=device.in_flight or 1,
        )

    def link_key(self, name: str) -> str:
        """What devices on one connection have in common: link name, or url and source; `sim://` is never shared."""
        device = self.devices[name]
        if device.link is not None:
            return device.link
        assert device.url is not None  # `check` saw to it
        if device.url.scheme == "sim":
            return f"sim://{name}"
        return f"{device.url}?source={device.source}" if device.source else str(device.url)


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


__all__ = [
    "Address",
    "ByteOrder",
    "Config",
    "Device",
    "DeviceUrl",
    "Identity",
    "Link",
    "ListenUrl",
    "Place",
    "Poll",
    "Section",
    "Server",
    "Tag",
    "Unit",
]
