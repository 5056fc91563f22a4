"""Who a unit says it is: functions 43/14 (V1.1b3 6.21) and 17 (6.13), read as leniently as devices answer."""

from __future__ import annotations

import struct
from typing import NamedTuple

from gateway.commission.asker import Asker
from gateway.modbus import spec

_BASIC, _REGULAR = 0x01, 0x02
OBJECTS = ("vendor", "product", "revision", "vendor_url", "product_name", "model", "application")
"""Of the ids 0 to 6; names as in the YAML of `server.identity`."""
MAX_PARTS = 8
"""Answers to one 43/14; three objects fit one, a device that never ends its stream must not hold us."""
MAX_TEXT = 80


class Identity(NamedTuple):
    """What a unit tells about itself; empty where it tells nothing."""

    objects: dict[str, str]
    """By name (`OBJECTS`); others as `object 80`."""
    server_id: str = ""
    """Of function 17, as far as it is text."""

    def describe(self) -> str:
        """One line for people."""
        told = [self.objects[name] for name in OBJECTS[:3] if self.objects.get(name)]
        return " ".join(told) or self.server_id


def ask_identity(asker: Asker, unit_id: int) -> Identity:
    """Both functions; a device without them refuses, and that is all."""
    objects: dict[str, str] = {}
    for code in (_BASIC, _REGULAR):
        if not _ask_objects(asker, unit_id, code, objects):
            break
    answer = asker.probe(unit_id, bytes((spec.REPORT_SERVER_ID,)))
    return Identity(objects, server_id(answer.pdu) if answer.is_good else "")


def _ask_objects(asker: Asker, unit_id: int, code: int, objects: dict[str, str]) -> bool:
    """Put what there is into `objects`; whether the unit has the regular ones, too."""
    following = 0 if code == _BASIC else len(OBJECTS[:3])
    level = 0
    for _ in range(MAX_PARTS):
        answer = asker.probe(
            unit_id, bytes((spec.ENCAPSULATED_INTERFACE, spec.READ_DEVICE_IDENTIFICATION, code, following))
        )
        if not answer.is_good or len(answer.pdu) < 7:
            return False
        level = answer.pdu[3]
        objects.update(parse_objects(answer.pdu))
        if not answer.pdu[4] or answer.pdu[5] <= following:
            break
        following = answer.pdu[5]
    return level & 0x7F > _BASIC


def parse_objects(pdu: bytes) -> dict[str, str]:
    """The objects of one answer to 43/14, as far as they are whole."""
    found = {}
    at = 7
    while at + 1 < len(pdu):
        number, size = struct.unpack_from("BB", pdu, at)
        data = pdu[at + 2 : at + 2 + size]
        if len(data) < size:
            break
        name = OBJECTS[number] if number < len(OBJECTS) else f"object {number:02X}"
        if text := readable(data):
            found[name] = text
        at += 2 + size
    return found


def server_id(pdu: bytes) -> str:
    """The text in what function 17 answers (an id, a byte whether it runs, anything more); empty when there is none."""
    data = pdu[2:]
    return readable(data[2:]) or readable(data) or readable(data[:-1])


def readable(data: bytes) -> str:
    """`data` as one line of text; empty when that is not what it is."""
    text = data.split(b"\0", 1)[0].decode("utf-8", "replace").strip()
    is_text = len(text) > 1 and "\ufffd" not in text and text.isprintable()
    return text[:MAX_TEXT] if is_text or (len(text) == 1 and text.isalnum()) else ""
