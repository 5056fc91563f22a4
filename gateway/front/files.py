"""Functions 20 and 21: the files of one unit (V1.1b3 6.14, 6.15).

Checks in the order of the charts: byte count and structure (03), then reference type, file and records (02), then what
is done. A request may name up to 35 parts of files; all are judged before the first is read or written, so a write
happens as a whole or not at all. A part of no registers is refused: the charts know none.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from gateway.errors import Refused
from gateway.modbus import spec

_part = struct.Struct(">BHHH").unpack_from
_PART_SIZE = 7
"""Reference type, file, record, count."""
_MIN_READ, _MAX_READ = 0x07, 0xF5
_MIN_WRITE, _MAX_WRITE = 0x09, 0xFB
_HEAD_SIZE = 2
"""Function and byte count."""


class Content(Protocol):
    """What a file holds."""

    def read(self, first: int, count: int) -> bytes:
        """Registers in wire order. Refused(08): the area failed its check."""
        ...

    def write(self, first: int, data: bytes) -> None: ...


class File(NamedTuple):
    """A file as clients of one unit see it."""

    content: Content
    records: int
    """How many of its records they may use."""
    read_only: bool = False


class Files:
    """Answers for the files of a unit, by number."""

    def __init__(self, files: Mapping[int, File]) -> None:
        self._files = files

    def read(self, pdu: bytes) -> bytes:
        """Function 20: what stands in each part, each behind its size and reference type."""
        if len(pdu) < _HEAD_SIZE or not _MIN_READ <= pdu[1] <= _MAX_READ:
            raise Refused(spec.ILLEGAL_VALUE)
        if pdu[1] != len(pdu) - _HEAD_SIZE or pdu[1] % _PART_SIZE:
            raise Refused(spec.ILLEGAL_VALUE)
        fields = [_part(pdu, at) for at in range(_HEAD_SIZE, len(pdu), _PART_SIZE)]
        size = sum(2 + 2 * count for _, _, _, count in fields)
        if size > spec.MAX_PDU_SIZE - _HEAD_SIZE or not all(count for _, _, _, count in fields):
            raise Refused(spec.ILLEGAL_VALUE)
        contents = [self._content(*field) for field in fields]
        pieces = [bytes((pdu[0], size))]
        for (_, _, first, count), content in zip(fields, contents, strict=True):
            pieces += (bytes((1 + 2 * count, spec.RECORD_REFERENCE)), content.read(first, count))
        return b"".join(pieces)

    def write(self, pdu: bytes) -> bytes:
        """Function 21: the answer is the echo. Later parts go over earlier ones."""
        parts = written(pdu)
        contents = [self._content(*fields, writes=True) for fields, _ in parts]
        for ((_, _, first, _), data), content in zip(parts, contents, strict=True):
            content.write(first, data)
        return pdu

    def before(self, pdu: bytes) -> bytes | None:
        """What a request to write would go over, part behind part; None: not all of it is there, or known."""
        try:
            return b"".join(self._content(*fields).read(*fields[2:]) for fields, _ in written(pdu))
        except Refused:
            return None

    def _content(self, reference: int, number: int, first: int, count: int, *, writes: bool = False) -> Content:
        """Refused(02): it is no file of ours, not all of it is there, or it may not be written."""
        file = self._files.get(number)
        if reference != spec.RECORD_REFERENCE or file is None or first + count > file.records:
            raise Refused(spec.ILLEGAL_ADDRESS)
        if writes and file.read_only:
            raise Refused(spec.ILLEGAL_ADDRESS)
        return file.content


def written(pdu: bytes) -> list[tuple[tuple[int, int, int, int], bytes]]:
    """Of a request to write: the fields (reference type, file, record, count) and the data of each part. Refused(03):
    they do not fill it."""
    if len(pdu) < _HEAD_SIZE or not _MIN_WRITE <= pdu[1] <= _MAX_WRITE or pdu[1] != len(pdu) - _HEAD_SIZE:
        raise Refused(spec.ILLEGAL_VALUE)
    parts = []
    at = _HEAD_SIZE
    while at < len(pdu):
        if at + _PART_SIZE > len(pdu):
            raise Refused(spec.ILLEGAL_VALUE)
        reference, number, first, count = _part(pdu, at)
        at += _PART_SIZE
        data = pdu[at : at + 2 * count]
        if not count or len(data) < 2 * count:
            raise Refused(spec.ILLEGAL_VALUE)
        at += 2 * count
        parts.append(((reference, number, first, count), data))
    return parts
