"""Who we are: functions 43/14 (V1.1b3 6.21) and 17 (6.13)."""

from __future__ import annotations

from gateway.errors import Refused
from gateway.modbus import spec

_BASIC, _REGULAR, _EXTENDED, _ONE = 1, 2, 3, 4
_LAST_OF = {_BASIC: 0x02, _REGULAR: 0x7F, _EXTENDED: 0xFF}
_HEAD_SIZE = 7
_MAX_TEXT_SIZE = spec.MAX_PDU_SIZE - _HEAD_SIZE - 2
"""One object must fit one response: objects are never split."""
_SERVER_ID = 0x47
"""Ours to choose (6.13 leaves it to the device): `G`."""
_RUNNING = 0xFF


class Identity:
    """Answers 43/14 from the basic and the regular objects, and 17 with the product and revision as text."""

    def __init__(self, vendor: str, product: str, revision: str, *regular: str | None) -> None:
        """`regular`: vendor url, product name, model, user's application; None or missing: there is no such object."""
        texts = dict(enumerate((vendor, product, revision, *regular)))
        self._objects = {
            number: text.encode("ascii", "replace")[:_MAX_TEXT_SIZE]
            for number, text in texts.items()
            if text is not None
        }
        self._conformity = 0x80 | (_REGULAR if max(self._objects) > _LAST_OF[_BASIC] else _BASIC)
        """By stream and one by one."""
        extra = f"{product} {revision}".encode("ascii", "replace")[:_MAX_TEXT_SIZE]
        self._report = bytes((spec.REPORT_SERVER_ID, 2 + len(extra), _SERVER_ID, _RUNNING)) + extra

    def report(self, pdu: bytes) -> bytes:
        """Function 17: server id, run indicator FF, `product revision`."""
        if len(pdu) != 1:
            raise Refused(spec.ILLEGAL_VALUE)
        return self._report

    def answer(self, pdu: bytes) -> bytes:
        """Function 43/14. An unknown object starts a stream at object 0 and refuses an individual read with 02."""
        if len(pdu) > 1 and pdu[1] != spec.READ_DEVICE_IDENTIFICATION:
            raise Refused(spec.ILLEGAL_FUNCTION)
        if len(pdu) != 4:
            raise Refused(spec.ILLEGAL_VALUE)
        code, wanted = pdu[2], pdu[3]
        if code == _ONE:
            if wanted not in self._objects:
                raise Refused(spec.ILLEGAL_ADDRESS)
            return self._response(code, [wanted], more=0, following=0)
        if code not in _LAST_OF:
            raise Refused(spec.ILLEGAL_VALUE)
        numbers = [number for number in self._objects if number <= _LAST_OF[code]]
        if wanted in numbers:
            numbers = numbers[numbers.index(wanted) :]
        room = spec.MAX_PDU_SIZE - _HEAD_SIZE
        fitting: list[int] = []
        for number in numbers:
            room -= 2 + len(self._objects[number])
            if room < 0:
                return self._response(code, fitting, more=0xFF, following=number)
            fitting.append(number)
        return self._response(code, fitting, more=0, following=0)

    def _response(self, code: int, numbers: list[int], more: int, following: int) -> bytes:
        objects = b"".join(bytes((n, len(self._objects[n]))) + self._objects[n] for n in numbers)
        head = (spec.ENCAPSULATED_INTERFACE, spec.READ_DEVICE_IDENTIFICATION, code, self._conformity, more, following)
        return bytes((*head, len(numbers))) + objects
