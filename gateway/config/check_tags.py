"""One tag or one poll on its own: does its type fit its address, do its other keys fit its type.

The image side (`to`, `as`) is judged in `check_image`.
"""

from __future__ import annotations

from gateway.config.model_devices import Device, Poll, Tag
from gateway.config.signals import parse_signal
from gateway.config.tree import Findings, KeyPath
from gateway.modbus.spec import ADDRESSES
from gateway.values import TYPES, encode

_NO_NUMBER = ("bool", "string")


def check_poll(poll: Poll, path: KeyPath, findings: Findings) -> None:
    if poll.read.bit is not None:
        message = (
            f"a poll reads whole registers: write `{poll.read.table.word}:{poll.read.first}`, or a tag of type bool"
        )
        findings.error((*path, "read"), message)


def check_tag(tag: Tag, device: Device, path: KeyPath, findings: Findings) -> None:
    _check_address(tag, device, path, findings)
    _check_order(tag, path, findings)
    if tag.type in _NO_NUMBER:
        _check_plain(tag, path, findings)
    else:
        _check_number(tag, path, findings)
    if tag.sim is not None:
        _check_signal(tag.sim, tag.type, (*path, "sim"), findings)


def _check_address(tag: Tag, device: Device, path: KeyPath, findings: Findings) -> None:
    at, kind = tag.at, tag.type
    here = (*path, "at")
    if kind == "bool":
        if at.count != 1:
            findings.error(here, f"a bool is one bit or one register, this is {at.describe()}")
        return
    if at.table.is_bits:
        findings.error((*path, "type"), f"{at.describe()} is a bit, only `type: bool` fits it")
        return
    if at.bit is not None:
        findings.error((*path, "type"), f"{at.describe()} is one bit, only `type: bool` fits it")
        return
    width = TYPES[kind].registers
    if kind == "string":
        width = at.count
        if at.count == 1 and ".." not in findings.text(here):
            example = f"{at.table.word}:{at.first}..{min(at.first + 7, ADDRESSES - 1)}"
            findings.error(
                here, f"the length of a string is its range: write for example `{example}` for 16 characters"
            )
            return
    elif at.count not in (1, width):
        last = at.first + width - 1
        right = f"{at.table.word}:{at.first}" + (f"..{last}" if width > 1 else "")
        findings.error(here, f"{kind} occupies {_registers(width)}, this range has {at.count}; write `{right}`")
        return
    if at.first + width > ADDRESSES:
        message = f"{kind} occupies {_registers(width)}; from {at.describe()} it runs past 65535, the end of the table"
        findings.error(here, message)
    if width > device.max_registers:
        findings.error(
            here, f"needs {width} registers in one request, `max_registers` of the device is {device.max_registers}"
        )


def _registers(count: int) -> str:
    return "one register" if count == 1 else f"{count} registers"


def _check_order(tag: Tag, path: KeyPath, findings: Findings) -> None:
    """Only what was written at the tag itself: the device's order is for all kinds of tags."""
    if tag.order is None:
        return
    if tag.at.table.is_bits:
        findings.error((*path, "order"), "bits have no byte order; remove the key", key=True)
    elif tag.type == "string" and tag.order == "CDAB":
        findings.warn((*path, "order"), "strings are swapped byte-wise only (BADC); CDAB changes nothing here")
    elif tag.order == "CDAB" and TYPES[tag.type].registers == 1:
        findings.warn(
            (*path, "order"), f"{tag.type} is one register, CDAB swaps whole registers and changes nothing here"
        )


def _check_plain(tag: Tag, path: KeyPath, findings: Findings) -> None:
    """A bool or a string is no number."""
    for key, given in (
        ("scale", tag.scale != 1),
        ("offset", tag.offset != 0),
        ("deadband", tag.deadband != 0),
        ("no_value", bool(tag.no_value)),
    ):
        if given:
            findings.error((*path, key), f"a {tag.type} is no number; remove the key", key=True)


def _check_number(tag: Tag, path: KeyPath, findings: Findings) -> None:
    if tag.scale == 0:
        findings.error((*path, "scale"), "0 would make every value the same; remove the key for 1")
    if tag.deadband < 0:
        findings.error((*path, "deadband"), f"is a distance and cannot be negative, this is {float(tag.deadband):g}")
    kind = TYPES[tag.type]
    for number, sentinel in enumerate(tag.no_value):
        here = (*path, "no_value", number)
        value = sentinel.number
        if sentinel.is_bits:
            digits = kind.registers * 4
            if int(value) >> (digits * 4):
                findings.error(here, f"0x{int(value):X} has more than the {digits} hexadecimal digits of {tag.type}")
        elif kind.low is not None and kind.high is not None:
            if value != int(value):
                findings.error(here, f"{tag.type} never is {float(value):g}; sentinels are compared before scaling")
            elif not kind.low <= value <= kind.high:
                limits = f"{kind.low}..{kind.high}"
                findings.error(
                    here, f"{tag.type} never is {value}, only {limits}; sentinels are compared before scaling"
                )
        elif kind.is_float and encode(tag.type, value) is None:
            findings.error(here, f"{tag.type} never is {float(value):g}")


def _check_signal(text: str, kind: str, path: KeyPath, findings: Findings) -> None:
    if kind == "string":
        findings.error(path, "there are no simulated signals for strings; remove the key", key=True)
        return
    try:
        signal = parse_signal(text)
    except ValueError as error:
        findings.error(path, str(error))
        return
    if kind == "bool" and not signal.is_boolean:
        findings.error(path, "a bool is 0 or 1: write `square(PERIOD)`, such as `square(10s)`, or a constant 0 or 1")
