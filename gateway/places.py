"""Where a tag stands in its device, and where it lies in our image: what polls place there and writes come from.

Pure: a configured tag in, values out. It stands below the rooms, for reading (polling) and writing need the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.config import model, model_devices
from gateway.config.addresses import Address
from gateway.modbus.spec import Table
from gateway.values import TYPES, Tag


@dataclass(frozen=True, slots=True)
class Placement:
    """A place in our image that one block or tag writes. `count` in registers or bits of `table`."""

    unit_id: int
    table: Table
    first: int
    count: int
    bit: int | None = None


def resolve_tag(name: str, tag: model_devices.Tag, device: model_devices.Device) -> Tag:
    """A tag with the device's defaults filled in."""
    at: Address = tag.at
    registers = 1 if at.table.is_bits else at.count if tag.type == "string" else TYPES[tag.type].registers
    return Tag(
        name=name,
        table=at.table,
        first=at.first,
        registers=registers,
        type=tag.type,
        bit=at.bit,
        order=tag.order or device.order,
        scale=tag.scale,
        offset=tag.offset,
        no_value=tag.no_value,
        deadband=float(tag.deadband),
    )


def place_of(config: model.Config, configured: model_devices.Tag, tag: Tag) -> Placement | None:
    """Where `tag` (resolved from `configured`) lies in our image; None: it is not served."""
    if configured.to is None:
        return None
    to = configured.to.address
    if to.table.is_bits or to.bit is not None:
        count = 1
    elif configured.as_ in (None, "raw"):
        count = tag.registers
    else:
        count = TYPES[configured.as_].registers
    return Placement(config.unit_of(configured.to), to.table, to.first, count, to.bit)
