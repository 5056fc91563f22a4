"""pymodbus as a client, synchronous and asynchronous."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from pymodbus.client import AsyncModbusTcpClient, ModbusTcpClient

from tests.support.process import Running


@pytest.fixture
def client(port: int) -> Iterator[ModbusTcpClient]:
    client = ModbusTcpClient("127.0.0.1", port=port, timeout=3, retries=0)
    assert client.connect()
    yield client
    client.close()


def good(response: Any) -> Any:
    assert not response.isError(), response
    return response


def test_pymodbus_reads_all_four_tables(client: ModbusTcpClient) -> None:
    good(client.write_coils(0, [True, False, True], device_id=1))

    assert good(client.read_coils(0, count=3, device_id=1)).bits[:3] == [True, False, True]
    assert good(client.read_discrete_inputs(0, count=6, device_id=1)).bits[:6] == [
        False,
        True,
        True,
        False,
        False,
        True,
    ]
    assert good(client.read_holding_registers(500, count=3, device_id=1)).registers == [5, 6, 7]
    assert good(client.read_input_registers(0, count=3, device_id=1)).registers == [555, 0, 0xFF06]


def test_pymodbus_reads_a_float(client: ModbusTcpClient) -> None:
    registers = good(client.read_holding_registers(100, count=2, device_id=1)).registers

    assert client.convert_from_registers(registers, client.DATATYPE.FLOAT32) == pytest.approx(123.456, abs=1e-4)


def test_pymodbus_writes_one_and_many_and_reads_them_back(client: ModbusTcpClient) -> None:
    values = [(i * 523 + 1) & 0xFFFF for i in range(123)]
    coils = [i % 3 == 0 for i in range(1968)]

    good(client.write_coil(1, True, device_id=1))
    good(client.write_register(16, 1500, device_id=1))
    good(client.write_registers(200, values, device_id=1))

    assert good(client.read_coils(1, count=1, device_id=1)).bits[0]
    assert good(client.read_holding_registers(16, count=1, device_id=1)).registers == [1500]
    assert good(client.read_holding_registers(200, count=123, device_id=1)).registers == values
    good(client.write_coils(10, coils, device_id=1))
    assert good(client.read_coils(10, count=1968, device_id=1)).bits[:1968] == coils


def test_pymodbus_writes_under_a_mask(client: ModbusTcpClient) -> None:
    good(client.write_register(30, 0x1234, device_id=1))

    good(client.mask_write_register(address=30, and_mask=0xFFF0, or_mask=0x0005, device_id=1))

    assert good(client.read_holding_registers(30, count=1, device_id=1)).registers == [0x1235]


def test_pymodbus_writes_and_reads_in_one_request(client: ModbusTcpClient) -> None:
    good(client.write_registers(400, [0] * 10, device_id=1))

    response = good(
        client.readwrite_registers(
            read_address=400, read_count=4, write_address=401, values=[0xAAAA, 0xBBBB], device_id=1
        )
    )

    assert response.registers == [0, 0xAAAA, 0xBBBB, 0]
    assert good(client.read_holding_registers(400, count=4, device_id=1)).registers == [0, 0xAAAA, 0xBBBB, 0]


def test_pymodbus_learns_who_we_are(client: ModbusTcpClient) -> None:
    response = good(client.read_device_information(read_code=1, object_id=0, device_id=1))
    assert response.information == {0: b"Acme", 1: b"GW-1", 2: b"1.0"}

    report = good(client.report_device_id(device_id=1))
    assert (
        report.identifier[1:6] == b"\xffGW-1"
    )  # pymodbus looks for the run indicator at the end, where text may follow


def test_pymodbus_gets_its_echo(client: ModbusTcpClient) -> None:
    assert good(client.diag_query_data(b"\xca\xfe", device_id=1)).message == b"\xca\xfe"


def test_pymodbus_is_told_why_it_is_refused(client: ModbusTcpClient) -> None:
    refusals = [
        (client.read_holding_registers(1000, count=1, device_id=1), 2),
        (client.read_input_registers(999, count=2, device_id=1), 2),
        (client.read_discrete_inputs(1000, count=1, device_id=1), 2),
        (client.write_register(500, 1, device_id=1), 2),
        (client.write_registers(499, [1, 2], device_id=1), 2),
        (client.write_coil(1990, True, device_id=1), 2),
        (client.read_fifo_queue(address=0, device_id=1), 1),
        (client.diag_change_ascii_input_delimeter(delimiter=0x0D, device_id=1), 1),
        (client.read_holding_registers(0, count=1, device_id=77), 0x0A),
    ]

    assert [(response.isError(), response.exception_code) for response, _ in refusals] == [
        (True, code) for _, code in refusals
    ]


def test_async_pymodbus_reads_writes_and_reads_back(port: int) -> None:
    async def converse() -> None:
        client = AsyncModbusTcpClient("127.0.0.1", port=port, timeout=3, retries=0)
        assert await client.connect()
        try:
            good(await client.write_registers(300, [7, 8, 9], device_id=1))
            assert good(await client.read_holding_registers(300, count=3, device_id=1)).registers == [7, 8, 9]
            good(await client.write_coils(1000, [True, True, False], device_id=1))
            assert good(await client.read_coils(1000, count=3, device_id=1)).bits[:3] == [True, True, False]
            assert good(await client.read_input_registers(0, count=1, device_id=1)).registers == [555]
            assert good(await client.read_discrete_inputs(1, count=2, device_id=1)).bits[:2] == [True, True]
            assert (await client.read_holding_registers(1000, count=1, device_id=1)).exception_code == 2
        finally:
            client.close()

    asyncio.run(converse())


def test_20_async_pymodbus_clients_each_get_their_own_answers(gateway: Running) -> None:
    async def converse(number: int) -> None:
        client = AsyncModbusTcpClient("127.0.0.1", port=gateway.port, timeout=5, retries=0)
        assert await client.connect()
        try:
            for turn in range(20):
                good(await client.write_registers(700 + 2 * number, [number, turn], device_id=1))
                response = good(await client.read_holding_registers(700 + 2 * number, count=2, device_id=1))
                assert response.registers == [number, turn]
        finally:
            client.close()

    async def all_of_them() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(converse(number))

    asyncio.run(all_of_them())
