"""pyModbusTCP as a client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.needs import require_module


@pytest.fixture
def client(port: int) -> Iterator[Any]:
    require_module("pyModbusTCP")
    from pyModbusTCP.client import ModbusClient

    client = ModbusClient("127.0.0.1", port, unit_id=1, timeout=3.0, auto_open=True)
    yield client
    client.close()


def test_pymodbustcp_reads_all_four_tables(client: Any) -> None:
    assert client.write_multiple_coils(0, [True, False, True])

    assert client.read_coils(0, 3) == [True, False, True]
    assert client.read_discrete_inputs(0, 6) == [False, True, True, False, False, True]
    assert client.read_holding_registers(500, 3) == [5, 6, 7]
    assert client.read_input_registers(0, 3) == [555, 0, 0xFF06]


def test_pymodbustcp_writes_one_and_many_and_reads_them_back(client: Any) -> None:
    values = [(i * 311 + 1) & 0xFFFF for i in range(123)]
    coils = [i % 5 == 0 for i in range(1968)]

    assert client.write_single_coil(5, True)
    assert client.write_single_register(16, 1500)
    assert client.write_multiple_registers(200, values)

    assert client.read_coils(5, 1) == [True]
    assert client.read_holding_registers(16, 1) == [1500]
    assert client.read_holding_registers(200, 123) == values
    assert client.write_multiple_coils(10, coils)
    assert client.read_coils(10, 1968) == coils


def test_pymodbustcp_writes_and_reads_in_one_request(client: Any) -> None:
    assert client.write_multiple_registers(400, [0] * 4)

    assert client.write_read_multiple_registers(401, [0xAAAA, 0xBBBB], 400, 4) == [0, 0xAAAA, 0xBBBB, 0]
    assert client.read_holding_registers(400, 4) == [0, 0xAAAA, 0xBBBB, 0]


def test_pymodbustcp_learns_who_we_are(client: Any) -> None:
    found = client.read_device_identification(read_code=1, object_id=0)

    assert found is not None
    assert (found.vendor_name, found.product_code, found.major_minor_revision) == (b"Acme", b"GW-1", b"1.0")


def test_pymodbustcp_is_told_why_it_is_refused(client: Any) -> None:
    assert client.read_holding_registers(1000, 1) is None
    assert client.last_except == 2
    assert not client.write_single_register(500, 1)
    assert client.last_except == 2
    assert client.custom_request(b"\x03\x00\x00\x00\x7e") is None
    assert client.last_except == 3
    assert client.custom_request(b"\x41\x00") is None
    assert client.last_except == 1
    client.unit_id = 77
    assert client.read_holding_registers(0, 1) is None
    assert client.last_except == 0x0A
