"""A tag written by somebody who knows its name and not its registers: the page, the control socket.

The rule: it becomes the request that a Modbus client would send to the tag's place in our image, and passes the gate as
that does. So rights, `read_only`, the audit, the order with other writes and the write-through hold without a word
here. What is judged here is only what such a client does for himself: the value in the place's type, and its range,
said in engineering units.
"""

from __future__ import annotations

import asyncio
import math
import re
import struct
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from gateway.app.refusals import NOWHERE, Refusals, there, without_value
from gateway.config import model_devices
from gateway.errors import AskError, OutcomeUnknown
from gateway.front.gate import Entry, Origin
from gateway.interfaces import Later
from gateway.modbus import spec
from gateway.modbus.spec import Table
from gateway.places import Placement, place_of, resolve_tag
from gateway.values import TYPES, Quality, Tag, Value, encode, to_raw

if TYPE_CHECKING:
    from gateway.app.gateway import Gateway

MAX_WAITING = 64
"""Writes by name whose answer is still to come; people do not write faster, and a script has Modbus."""
MAX_WAIT_S = 30.0
"""For an answer: longer than any time-out with its retries; then nobody knows."""
WRITABLE = (Table.COILS, Table.HOLDING)
"""What Modbus has requests for."""

_NUMBER = re.compile(r"(?=.{1,400}$)[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
"""As people and JSON write it. What is longer, or has more of an exponent, fits no type, and to make a fraction of
`1e999999999` would hold the loop for minutes."""


class TagWriter:
    """Of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._waiting = 0
        self.refusals = Refusals(gateway.news.written)
        """Of those that did not come as far as the gate."""

    async def write(self, origin: Origin, device: str, tag: str, value: Any) -> dict[str, Any]:
        """`outcome`; what clients read `before` it and `after` its answer, None where there is no young value.
        AskError: not done, or not known."""
        gateway = self._gateway
        try:
            if self._waiting >= MAX_WAITING:
                raise AskError("full", f"{MAX_WAITING} writes are waiting for their devices; try again")
            place, pdu = self._request(device, tag, value)
            entry = gateway.gate.admit(origin)
            if entry is None:
                raise AskError("denied", "`server.access` lets you do nothing here", spec.ILLEGAL_FUNCTION)
        except AskError as wrong:
            self.refuse(origin, device, tag, value, str(wrong), wrong.kind)
            raise
        if not entry.allows(place.unit_id, pdu):
            _ask(gateway, entry, place.unit_id, pdu)  # so that the audit has it
            where = f"{place.table.describe(place.first, place.count)} of unit {place.unit_id}"
            raise AskError("denied", f"`server.access` does not let you write {where}", spec.ILLEGAL_FUNCTION)
        before = self._shown(device, tag)
        asked = _ask(gateway, entry, place.unit_id, pdu)
        self._waiting += 1
        try:
            answer, error = await _settled(asked)
        finally:
            self._waiting -= 1
        name = f"{device}/{tag}"
        if answer is None:
            raise AskError("unknown", f"{name}: no answer came within {MAX_WAIT_S:g} s; it may have been written")
        if answer[0] & spec.EXCEPTION_BIT:
            code = answer[1]
            if not isinstance(asked, Later):  # by ourselves, before anything was sent: as the audit words it
                raise AskError(
                    "refused", f"{name}: refused with {spec.exception_text(code)}{self._why(device, code)}", code
                )
            why = f": {error}" if error is not None else ""
            devices_word = error is None and code not in spec.NOT_EXECUTED
            if isinstance(error, OutcomeUnknown) or devices_word:
                text = f"{name}: nobody knows whether it was written: {spec.exception_text(code)}{why}"
                raise AskError("unknown", text, code)
            raise AskError("refused", f"{name}: refused with {spec.exception_text(code)}{why}", code)
        return {"outcome": "done", "before": before, "after": self._shown(device, tag)}

    def refuse(self, origin: Origin, device: str, tag: str, value: Any, why: str, kind: str = "") -> None:
        """Tell the audit of a write that is not tried: who wanted what, and why not. `kind`: of an AskError."""
        gateway = self._gateway
        unit_id, pdu, old = 0, NOWHERE, None
        found = gateway.config.devices.get(device)
        configured = None if found is None else found.tags.get(tag)
        if found is not None and configured is not None:
            known = resolve_tag(tag, configured, found)
            place = place_of(gateway.config, configured, known)
            if place is not None:
                unit_id, old = place.unit_id, there(gateway.plant.banks.get(place.unit_id), place)
                if place.table not in WRITABLE:  # no request says so: better none than one that says another place
                    why += f"; it is shown at {place.table.describe(place.first, place.count)} of unit {unit_id}"
                    old = None
                else:
                    try:
                        pdu = request_of(tag, known, configured, place, value)
                    except AskError:
                        pdu = without_value(place)
        self.refusals.add(origin, f"{device}/{tag}", value, why, (unit_id, pdu, old), kind)

    def _why(self, device: str, code: int) -> str:
        """Why nothing was sent to a device that cannot be reached."""
        if code not in (spec.GATEWAY_PATH_UNAVAILABLE, spec.GATEWAY_TARGET_FAILED):
            return ""
        found = self._gateway.plant.devices.get(device)
        reason = "" if found is None else found.reason
        return f": nothing was sent, {device} cannot be reached{f' ({reason})' if reason else ''}"

    def _shown(self, device: str, tag: str) -> Value | None:
        """What clients read of it now, as the audit's `old`: None when it is too old, or there is none.

        After a write that was done it is what was written or what was read since: a block that is not too old shows a
        write before its client has the answer, and one that is shows nothing before it was read again.
        """
        point = self._gateway.hub.points.get(device, {}).get(tag)
        sample = None if point is None else point.sample()
        return None if sample is None or sample.quality is Quality.BAD else sample.value

    def _request(self, device_name: str, tag_name: str, value: Any) -> tuple[Placement, bytes]:
        """Where it goes, and the request of a Modbus client that writes it there."""
        config = self._gateway.config
        device = config.devices.get(device_name)
        configured = device.tags.get(tag_name) if device is not None else None
        name = f"{device_name}/{tag_name}"
        if device is None or configured is None:
            raise AskError("missing", f"there is no tag {name}")
        tag = resolve_tag(tag_name, configured, device)
        place = place_of(config, configured, tag)
        if not configured.write or place is None:
            raise AskError("denied", f"{name} cannot be written: its tag has no `write: true` in the plant's file")
        if not device.enabled:
            raise AskError("refused", f"{name} cannot be written: its device is not enabled")
        return place, request_of(name, tag, configured, place, value)


def request_of(name: str, tag: Tag, configured: model_devices.Tag, place: Placement, value: Any) -> bytes:
    """The request that writes `value` (JSON, in engineering units) to the tag's place. AskError: it cannot be."""
    is_bit = tag.type == "bool" or place.table.is_bits or place.bit is not None
    known = _known(name, tag, value, is_bit=is_bit)
    if configured.range is not None and not isinstance(known, str):
        least, greatest = configured.range
        if not least <= known <= greatest:
            unit = f" {configured.unit}" if configured.unit else ""
            limits = f"{_number(least)} to {_number(greatest)}{unit}"
            raise AskError("invalid", f"{name}: {value}{unit} is outside of its range, {limits}")
    if is_bit and known not in (0, 1):
        raise AskError("invalid", f"{name} is one bit: it can be true or false, not {value}")
    if place.table.is_bits or place.bit is not None:
        return _bit_request(place, on=bool(known))
    data = _registers(name, tag, configured.as_, value, known)
    if len(data) == 2:
        return struct.pack(">BH", spec.WRITE_SINGLE_REGISTER, place.first) + data
    head = struct.pack(">BHHB", spec.WRITE_MULTIPLE_REGISTERS, place.first, len(data) // 2, len(data))
    return head + data


def _known(name: str, tag: Tag, value: Any, *, is_bit: bool) -> Fraction | str:
    """A JSON value as a number, exactly as it is written: 0.1 is a tenth. Of strings, the text."""
    if tag.type == "string":
        if not isinstance(value, str):
            raise AskError("invalid", f"{name} is text: write it in quotes, not {value!r}")
        return value
    if isinstance(value, bool):
        if not is_bit:
            raise AskError("invalid", f"{name} is a number ({tag.type}), not {'true' if value else 'false'}")
        return Fraction(int(value))
    if isinstance(value, float) and not math.isfinite(value):
        raise AskError("invalid", f"{name}: {value} is no number")
    if isinstance(value, int | float | str) and _NUMBER.fullmatch(text := str(value).strip()):
        return Fraction(text)
    raise AskError("invalid", f"{name}: {value!r} is no number")


def _bit_request(place: Placement, *, on: bool) -> bytes:
    if place.table is Table.COILS:
        return struct.pack(">BHH", spec.WRITE_SINGLE_COIL, place.first, 0xFF00 if on else 0)
    assert place.bit is not None  # clients write no discrete inputs: the configuration was checked
    mask = 1 << place.bit
    return struct.pack(">BHHH", spec.MASK_WRITE_REGISTER, place.first, ~mask & 0xFFFF, mask if on else 0)


def _registers(name: str, tag: Tag, as_: str | None, value: Any, known: Fraction | str) -> bytes:
    """The registers of ours that show it."""
    type_name = tag.type if as_ is None else as_
    if type_name == "raw":
        is_text = tag.type == "string"
        data = encode("string", known, tag.order, tag.registers) if is_text else to_raw(tag)(_plain(known))
        shown = f"{tag.type} of the device"
    elif type_name == "string":
        data = encode("string", known, "ABCD", tag.registers)
        shown = f"{2 * tag.registers} bytes of text"
    else:
        shown = type_name
        kind = TYPES[type_name]
        if kind.is_integer and isinstance(known, Fraction) and known.denominator != 1:
            below = math.floor(known)
            raise AskError(
                "invalid",
                f"{name}: our image shows it as {type_name}, a whole number: write {below} or {below + 1}, or give the "
                "tag `as: float32`",
            )
        data = encode(type_name, known)
    if data is None:
        raise AskError("invalid", f"{name}: {value} does not fit {shown}")
    return data


def _plain(known: Fraction | str) -> Value | Fraction:
    return int(known) if isinstance(known, Fraction) and known.denominator == 1 else known


def _number(limit: Fraction) -> str:
    return str(limit.numerator) if limit.denominator == 1 else repr(float(limit))


def _ask(gateway: Gateway, entry: Entry, unit_id: int, pdu: bytes) -> bytes | Later | None:
    gateway.gate.judge()
    return entry.ask(unit_id, pdu)


async def _settled(answer: bytes | Later | None) -> tuple[bytes | None, Exception | None]:
    """The answer and, if it is none of the device's, why. Nobody gives up a write that he began: whoever asked may go,
    the answer is waited for."""
    if not isinstance(answer, Later):
        return answer, None
    settled = asyncio.Event()
    answer.then(settled.set)
    try:
        async with asyncio.timeout(MAX_WAIT_S):
            await settled.wait()
    except TimeoutError:
        answer.abandon()
        return None, None
    return answer.answer, answer.error


__all__ = ["TagWriter", "request_of"]
