"""Sections of the configuration: what a unit id answers with, a register image of our own or a device behind us."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from gateway.config.addresses import AddressField, PlaceField, RangesField
from gateway.config.durations import DurationField
from gateway.config.scalars import (
    BooleanField,
    FifoPointer,
    FileNumber,
    FunctionsField,
    InitialField,
    IntegerField,
    TextField,
    UnitIdField,
    empty_is_no_keys,
    one_or_many,
)
from gateway.config.section import Section


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
    files: Annotated[dict[FileNumber, RecordFile], BeforeValidator(empty_is_no_keys)] = Field(default={})
    """Files for functions 20 and 21, by number: `{4: {records: 1000, path: recipes.dat}}`."""
    fifo: Annotated[dict[FifoPointer, Fifo], BeforeValidator(empty_is_no_keys)] = Field(default={})
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


UnitSection = Annotated[Annotated[Unit, Tag("unit")] | Annotated[Route, Tag("route")], Discriminator(kind_of_unit)]
