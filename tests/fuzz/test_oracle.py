"""A foreign mind reads what we say: pymodbus encodes requests and decodes our answers, to equal values both ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pymodbus.pdu import DecodePDU, ModbusPDU
from pymodbus.pdu import bit_message as bits_of
from pymodbus.pdu import mei_message as identity_of
from pymodbus.pdu import register_message as registers_of
from pymodbus.pdu.diag_message import ReturnQueryDataRequest

from gateway.interfaces import Unit
from tests.support.core import build_units

SIZE = 2100

PLANT = f"""
server: {{identity: {{vendor: Acme, product: GW-1, revision: "1.0"}}}}
units:
  1: {{coils: {SIZE}, discrete: {SIZE}, holding: {SIZE}, input: {SIZE}}}
"""


@pytest.fixture(scope="module")
def unit(tmp_path_factory: pytest.TempPathFactory) -> Unit:
    return build_units(PLANT, tmp_path_factory.mktemp("core"))[1]


def encoded(message: ModbusPDU) -> bytes:
    return bytes((message.function_code,)) + message.encode()


def ask(unit: Unit, request: ModbusPDU) -> tuple[bytes, Any]:
    """Our answer to a request of pymodbus, and what pymodbus understands by it."""
    answer = unit.answer(encoded(request))
    assert answer is not None
    understood = DecodePDU(False).decode(answer)
    assert understood is not None, f"pymodbus cannot read {answer.hex(' ')}"
    return answer, understood


register = st.integers(0, 0xFFFF)


@given(data=st.data(), values=st.lists(register, min_size=1, max_size=123))
def test_registers_written_and_read_by_pymodbus_are_equal(unit: Unit, data: st.DataObject, values: list[int]) -> None:
    first = data.draw(st.integers(0, SIZE - len(values)))

    answer, written = ask(unit, registers_of.WriteMultipleRegistersRequest(address=first, registers=values))
    assert (written.function_code, written.address, written.count) == (16, first, len(values))
    assert answer == encoded(registers_of.WriteMultipleRegistersResponse(address=first, count=len(values)))

    answer, read = ask(unit, registers_of.ReadHoldingRegistersRequest(address=first, count=len(values)))
    assert (read.function_code, list(read.registers)) == (3, values)
    assert answer == encoded(registers_of.ReadHoldingRegistersResponse(registers=values))


@given(data=st.data(), values=st.lists(st.booleans(), min_size=1, max_size=1968))
def test_coils_written_and_read_by_pymodbus_are_equal(unit: Unit, data: st.DataObject, values: list[bool]) -> None:
    first = data.draw(st.integers(0, SIZE - len(values)))

    answer, written = ask(unit, bits_of.WriteMultipleCoilsRequest(address=first, bits=values))
    assert (written.function_code, written.address, written.count) == (15, first, len(values))
    assert answer == encoded(bits_of.WriteMultipleCoilsResponse(address=first, count=len(values)))

    answer, read = ask(unit, bits_of.ReadCoilsRequest(address=first, count=len(values)))
    assert read.function_code == 1
    assert list(read.bits[: len(values)]) == values
    assert not any(read.bits[len(values) :]), "padding is zero"
    assert answer == encoded(bits_of.ReadCoilsResponse(bits=values))


@given(address=st.integers(0, SIZE - 1), value=register, on=st.booleans())
def test_single_writes_of_pymodbus_are_echoed_and_read_back(unit: Unit, address: int, value: int, on: bool) -> None:
    request = registers_of.WriteSingleRegisterRequest(address=address, registers=[value])
    answer, echo = ask(unit, request)
    assert (answer, echo.address, list(echo.registers)) == (encoded(request), address, [value])
    _, read = ask(unit, registers_of.ReadHoldingRegistersRequest(address=address, count=1))
    assert list(read.registers) == [value]

    coil = bits_of.WriteSingleCoilRequest(address=address, bits=[on])
    answer, echo = ask(unit, coil)
    assert (answer, echo.address, list(echo.bits)) == (encoded(coil), address, [on])
    _, read = ask(unit, bits_of.ReadCoilsRequest(address=address, count=1))
    assert read.bits[0] == on


@given(address=st.integers(0, SIZE - 1), old=register, and_mask=register, or_mask=register)
def test_a_mask_write_of_pymodbus_is_echoed_and_does_what_it_says(
    unit: Unit, address: int, old: int, and_mask: int, or_mask: int
) -> None:
    ask(unit, registers_of.WriteSingleRegisterRequest(address=address, registers=[old]))
    request = registers_of.MaskWriteRegisterRequest(address=address, and_mask=and_mask, or_mask=or_mask)

    answer, echo = ask(unit, request)

    assert answer == encoded(request)
    assert (echo.address, echo.and_mask, echo.or_mask) == (address, and_mask, or_mask)
    _, read = ask(unit, registers_of.ReadHoldingRegistersRequest(address=address, count=1))
    for bit in range(16):
        source = old if and_mask >> bit & 1 else or_mask
        assert read.registers[0] >> bit & 1 == source >> bit & 1


@given(data=st.data(), values=st.lists(register, min_size=1, max_size=121), count=st.integers(1, 125))
def test_read_write_multiple_of_pymodbus_writes_first(
    unit: Unit, data: st.DataObject, values: list[int], count: int
) -> None:
    first = data.draw(st.integers(200, 400))
    read_first = first + data.draw(st.integers(-130, 130))
    _, before = ask(unit, registers_of.ReadHoldingRegistersRequest(address=read_first, count=count))
    expected = {read_first + i: value for i, value in enumerate(before.registers)}
    expected |= {first + i: value for i, value in enumerate(values) if first + i in expected}

    answer, read = ask(
        unit,
        registers_of.ReadWriteMultipleRegistersRequest(
            read_address=read_first, read_count=count, write_address=first, write_registers=values
        ),
    )

    assert list(read.registers) == list(expected.values())
    assert answer == encoded(registers_of.ReadWriteMultipleRegistersResponse(registers=list(expected.values())))
    _, written = ask(unit, registers_of.ReadHoldingRegistersRequest(address=first, count=len(values)))
    assert list(written.registers) == values


Builder = Callable[[int, int], ModbusPDU]

READS: list[tuple[Builder, int]] = [
    (lambda a, c: bits_of.ReadCoilsRequest(address=a, count=c), 2000),
    (lambda a, c: bits_of.ReadDiscreteInputsRequest(address=a, count=c), 2000),
    (lambda a, c: registers_of.ReadHoldingRegistersRequest(address=a, count=c), 125),
    (lambda a, c: registers_of.ReadInputRegistersRequest(address=a, count=c), 125),
]


@given(data=st.data(), read=st.sampled_from(READS))
def test_a_read_past_the_end_is_understood_as_an_illegal_address(
    unit: Unit, data: st.DataObject, read: tuple[Builder, int]
) -> None:
    build, most = read
    count = data.draw(st.integers(1, most))
    address = data.draw(st.integers(0, 0xFFFF))
    request = build(address, count)

    _, understood = ask(unit, request)

    if address + count <= SIZE:
        assert not understood.isError()
        values: Sequence[Any] = understood.registers or understood.bits
        assert len(values) in (count, (count + 7) // 8 * 8)
    else:
        assert understood.isError()
        assert (understood.function_code, understood.exception_code) == (request.function_code | 0x80, 2)


@given(message=st.binary(min_size=2, max_size=250))
def test_an_echo_request_of_pymodbus_comes_back(unit: Unit, message: bytes) -> None:
    assume(len(message) % 2 == 0)
    request = ReturnQueryDataRequest(message=message)

    assert unit.answer(encoded(request)) == encoded(request)


@given(code=st.sampled_from([1, 2, 3]), start=st.integers(0, 255))
def test_the_identity_is_understood_by_pymodbus(unit: Unit, code: int, start: int) -> None:
    _, understood = ask(unit, identity_of.ReadDeviceInformationRequest(read_code=code, object_id=start))

    names = {0: b"Acme", 1: b"GW-1", 2: b"1.0"}
    known = start if start in names else 0
    basic = {number: text for number, text in understood.information.items() if number <= 2}
    assert basic == {number: text for number, text in names.items() if number >= known}
    assert understood.number_of_objects == len(understood.information)
