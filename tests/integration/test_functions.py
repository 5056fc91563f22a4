"""Functions 7, 8, 11, 12, 17, 20, 21, 24 and 43/14 as foreign clients see them: of our own units, through a forward,
over a restart and a reload."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymodbus.client import ModbusTcpClient
from pymodbus.pdu.file_message import FileRecord

from tests.conftest import Start
from tests.support.needs import require_module
from tests.support.process import Running, running
from tests.support.until import wait_until
from tests.support.wire import Wire, hexed

PLANT = """
server:
  listen: tcp://127.0.0.1:0
  identity: {vendor: Acme, product: GW-1, revision: "1.0", vendor_url: "https://acme.example", application: Boilers}
units:
  1:
    coils: 0..99
    holding: 0..1999
    exception_status: coils:8
    files: {3: {records: 100, read_only: true}, 4: {records: 1000, path: recipes.dat}}
    fifo: {"holding:1246": {}, "holding:1300": {from: "holding:5", size: 4}}
    initial: {"holding:1246": [3, 440, 4740, 7], "coils:9": [true, true]}
"""


@pytest.fixture(scope="module")
def gateway(start: Start) -> Running:
    return start(PLANT)


@pytest.fixture
def client(gateway: Running) -> Iterator[ModbusTcpClient]:
    client = ModbusTcpClient("127.0.0.1", port=gateway.port, timeout=3, retries=0)
    assert client.connect()
    yield client
    client.close()


@pytest.fixture
def raw(gateway: Running) -> Iterator[Any]:
    """pyModbusTCP, `raw(pdu)`: it checks the header and hands the answer over as it is."""
    require_module("pyModbusTCP")
    from pyModbusTCP.client import ModbusClient

    client = ModbusClient("127.0.0.1", gateway.port, unit_id=1, timeout=3.0, auto_open=True)
    yield client.custom_request
    client.close()


def good(response: Any) -> Any:
    assert not response.isError(), response
    return response


# -- pymodbus -------------------------------------------------------------------------------------------------------


def test_pymodbus_reads_the_exception_status(client: ModbusTcpClient) -> None:
    assert good(client.read_exception_status(device_id=1)).status == 0b110


def test_pymodbus_reads_and_clears_every_counter(client: ModbusTcpClient) -> None:
    def word(response: Any) -> int:
        message = good(response).message
        return int(message[0] if isinstance(message, list) else message)

    assert client.read_holding_registers(5000, count=1, device_id=1).exception_code == 2
    assert word(client.diag_read_bus_exception_error_count(device_id=1)) >= 1
    assert word(client.diag_read_bus_message_count(device_id=1)) >= 2
    assert word(client.diag_read_device_message_count(device_id=1)) >= 3
    for read in (
        client.diag_read_bus_comm_error_count,
        client.diag_read_device_no_response_count,
        client.diag_read_device_nak_count,
        client.diag_read_device_busy_count,
        client.diag_read_bus_char_overrun_count,
        client.diag_read_diagnostic_register,
    ):
        assert word(read(device_id=1)) == 0
    good(client.diag_clear_overrun_counter(device_id=1))
    good(client.diag_clear_counters(device_id=1))
    assert word(client.diag_read_bus_exception_error_count(device_id=1)) == 0


def test_pymodbus_restarts_communications_and_reads_counter_and_log(client: ModbusTcpClient) -> None:
    good(client.diag_restart_communication(True, device_id=1))
    good(client.read_coils(0, count=1, device_id=1))
    assert client.read_coils(5000, count=1, device_id=1).exception_code == 2
    good(client.read_coils(0, count=1, device_id=1))
    counter = good(client.diag_get_comm_event_counter(device_id=1))
    assert counter.count == 3, "the restart and two reads"
    assert counter.status

    log = good(client.diag_get_comm_event_log(device_id=1))
    assert (log.event_count, log.message_count) == (3, 5)
    assert bytes(log.events) == hexed("40 80  40 80  41 80  40 80  40 80  00")


def test_pymodbus_writes_and_reads_records(client: ModbusTcpClient) -> None:
    recipe = bytes(range(200))
    good(client.write_file_record([FileRecord(4, 10, recipe), FileRecord(4, 500, b"\xab\xcd")], device_id=1))

    records = good(
        client.read_file_record(
            [FileRecord(4, 10, record_length=100), FileRecord(4, 500, record_length=2)], device_id=1
        )
    ).records
    assert [record.record_data for record in records] == [recipe[:100], b"\xab\xcd"]
    refused = client.write_file_record([FileRecord(4, 0, b"\1\1"), FileRecord(3, 0, b"\1\1")], device_id=1)
    assert refused.exception_code == 2, "file 3 is read only"
    (first,) = good(client.read_file_record([FileRecord(4, 0, record_length=2)], device_id=1)).records
    assert first.record_data == b"\0\0", "nothing of it was written"


def test_pymodbus_reads_a_queue_and_empties_it(client: ModbusTcpClient) -> None:
    assert good(client.read_fifo_queue(address=1246, device_id=1)).values == [440, 4740, 7]
    good(client.write_register(1300, 0, device_id=1))
    for value in (4, 4, 5, 6):
        good(client.write_register(5, value, device_id=1))

    assert good(client.read_fifo_queue(address=1300, device_id=1)).values == [4, 5, 6]
    assert client.write_register(1301, 0, device_id=1).exception_code == 2
    good(client.write_registers(1300, [0], device_id=1))
    assert good(client.read_fifo_queue(address=1300, device_id=1)).values == []
    good(client.write_register(5, 0, device_id=1))
    assert good(client.read_fifo_queue(address=1300, device_id=1)).values == [0]


def test_pymodbus_learns_who_we_are(client: ModbusTcpClient) -> None:
    regular = good(client.read_device_information(read_code=2, device_id=1))
    assert regular.information == {
        0: b"Acme",
        1: b"GW-1",
        2: b"1.0",
        3: b"https://acme.example",
        6: b"Boilers",
    }
    assert regular.conformity == 0x82
    assert b"GW-1" in good(client.report_device_id(device_id=1)).identifier


# -- pyModbusTCP ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        ("07", "07 06"),
        ("08 0000 CAFE", "08 0000 CAFE"),
        ("08 0001 0000", "08 0001 0000"),
        ("08 0014 0000", "08 0014 0000"),
        ("14 07 06 0003 0000 0002", "14 06 05 06 0000 0000"),
        ("15 09 06 0004 03E7 0001 1234", "15 09 06 0004 03E7 0001 1234"),
        ("18 04DE", "18 0008 0003 01B8 1284 0007"),
        ("2B 0E 04 06", "2B 0E 04 82 00 00 01 06 07 426F696C657273"),
    ],
)
def test_pymodbustcp_gets_the_answer_byte_for_byte(raw: Any, request_: str, answer: str) -> None:
    assert raw(hexed(request_)) == hexed(answer)


# -- through a forward ----------------------------------------------------------------------------------------------


def test_every_function_passes_a_forward_as_it_is(gateway: Running, start: Start) -> None:
    front = start(
        f"""
server: {{listen: "tcp://127.0.0.1:0"}}
units: {{9: {{forward: back}}}}
devices: {{back: {{url: "tcp://127.0.0.1:{gateway.port}", unit: 1}}}}
"""
    )
    requests = [
        "07", "07 00", "08 0000 0102 0304", "08 0002 0000", "08 0003 0D00", "08 0014 0000", "11", "11 00",
        "14 07 06 0003 0000 0002", "14 0E 06 0003 0000 0002 06 0003 0009 0001", "14 07 06 0007 0000 0001", "14 00",
        "15 09 06 0004 0020 0001 1234", "15 09 06 0003 0000 0001 1234", "18 04DE", "18 0000", "18",
        "2B 0E 01 00", "2B 0E 02 00", "2B 0E 04 07", "2B 0D 00", "17 0020 0002 0030 0001 02 0001",
    ]  # fmt: skip
    with Wire(front.port) as ours, Wire(gateway.port) as theirs:
        wait_until(lambda: ours.ask(hexed("07"), unit=9) != hexed("87 0B"), what="its way to the other")
        for request in map(hexed, requests):
            assert ours.ask(request, unit=9) == theirs.ask(request), request.hex(" ")
        for request, size in (("0B", 5), ("08 000B 0000", 5)):
            assert len(ours.ask(hexed(request), unit=9)) == size
        log = ours.ask(hexed("0C"), unit=9)
        assert (log[0], log[1]) == (0x0C, len(log) - 2)


def test_changes_of_a_polled_register_are_queued(gateway: Running, start: Start) -> None:
    front = start(
        f"""
server: {{listen: "tcp://127.0.0.1:0"}}
units: {{1: {{holding: 0..99, fifo: {{"holding:50": {{from: "input:0"}}}}}}}}
devices:
  back:
    url: "tcp://127.0.0.1:{gateway.port}"
    every: 20ms
    poll: [{{read: "holding:1900..1909", to: 1/input:0}}]
"""
    )
    with Wire(front.port) as ours, Wire(gateway.port) as theirs:

        def queued() -> list[int]:
            answer = ours.ask(hexed("18 0032"))
            return [int.from_bytes(answer[at : at + 2], "big") for at in range(5, len(answer), 2)]

        wait_until(lambda: queued() == [0], what="the first value")
        for value in (3, 1, 2):
            theirs.ask(hexed(f"06 076C {value:04x}"))
            wait_until(lambda value=value: queued()[-1] == value, what=f"{value} in the queue")  # type: ignore[misc]
        assert queued() == [0, 3, 1, 2]


# -- over restarts and reloads --------------------------------------------------------------------------------------

FILES = """
server: {listen: "tcp://127.0.0.1:0"}
state_dir: state
units: {1: {holding: 0..99, files: {4: {records: 100}}}}
"""
READ = hexed("14 07 06 0004 0000 0002")


def records(gateway: Running) -> str:
    with Wire(gateway.port) as wire:
        return wire.ask(READ).hex(" ")


def write(gateway: Running, value: int) -> None:
    request = hexed("15 0B 06 0004 0000 0002") + value.to_bytes(4, "big")
    with Wire(gateway.port) as wire:
        assert wire.ask(request) == request


def test_records_are_there_after_an_orderly_end_and_a_second_after_a_kill(tmp_path: Path) -> None:
    with running(FILES, tmp_path) as gateway:
        write(gateway, 0x01020304)
    with running(FILES, tmp_path, ends_with=-signal.SIGKILL) as gateway:
        assert records(gateway) == "14 06 05 06 01 02 03 04"
        write(gateway, 0x05060708)
        write(gateway, 0x090A0B0C)
        path = tmp_path / "state" / "file-1-4.dat"

        # Between the two renames of a snapshot it is `.previous` that is whole: for that moment nothing has the name.
        def is_written() -> bool:
            with contextlib.suppress(FileNotFoundError):
                return hexed("090A0B0C") in path.read_bytes()
            return False

        wait_until(is_written, 3.0, "the second write on the disk")
        gateway.process.kill()
        gateway.process.wait()
    with running(FILES, tmp_path) as gateway:
        assert records(gateway) == "14 06 05 06 09 0a 0b 0c"


@pytest.mark.skipif(os.name == "nt", reason="needs SIGHUP")
def test_files_and_queues_come_and_go_with_a_reload(tmp_path: Path) -> None:
    bare = FILES.replace(", files: {4: {records: 100}}", "")
    more = FILES.replace(
        "files:", 'fifo: {"holding:10": {from: "holding:5", size: 3}}, exception_status: holding:6, files:'
    )

    def reload(gateway: Running, text: str) -> None:
        before = gateway.count("is running after")
        (tmp_path / "plant.yaml").write_text(text, encoding="utf-8")
        gateway.process.send_signal(signal.SIGHUP)
        wait_until(lambda: gateway.count("is running after") > before, what="the reload")

    with running(FILES, tmp_path) as gateway, Wire(gateway.port) as wire:
        write(gateway, 7)
        wire.ask(hexed("06 0006 00A5"))
        assert wire.ask(hexed("18 000A")) == hexed("98 01")
        reload(gateway, more)
        assert records(gateway) == "14 06 05 06 00 00 00 07", "it was not touched"
        assert wire.ask(hexed("07")) == hexed("07 A5")
        wire.ask(hexed("06 0005 0009"))
        assert wire.ask(hexed("18 000A")) == hexed("18 0004 0001 0009")
        assert wire.ask(hexed("06 000B 0001")) == hexed("86 02")
        reload(gateway, bare)
        for request in (READ, hexed("15 09 06 0004 0000 0001 0001"), hexed("18 000A")):
            assert wire.ask(request) == bytes((request[0] | 0x80, 1))
        assert wire.ask(hexed("07")) == hexed("07 00")
        assert wire.ask(hexed("03 000A 0002")) == hexed("03 04 0000 0000"), "ours again, and 0"
        assert wire.ask(hexed("06 000B 0001")) == hexed("06 000B 0001")
        reload(gateway, FILES)
        assert records(gateway) == "14 06 05 06 00 00 00 07"
        (tmp_path / "plant.yaml").write_text("units: nonsense", encoding="utf-8")
        gateway.process.send_signal(signal.SIGHUP)
        wait_until(lambda: wire.ask(hexed("07")) == hexed("07 04"), what="the refused reload in the exception status")


def test_records_that_are_lost_are_refused_with_08(tmp_path: Path) -> None:
    with running(FILES, tmp_path) as gateway:
        write(gateway, 7)
    path = tmp_path / "state" / "file-1-4.dat"
    path.write_bytes(path.read_bytes()[:-1])

    with running(FILES, tmp_path) as gateway, Wire(gateway.port) as wire:
        assert gateway.search(r"records of file file-1-4\.dat are lost: .* 08 until it is written")
        assert wire.ask(READ) == hexed("94 08")
        assert wire.ask(hexed("07")) == hexed("07 40")
        write(gateway, 8)
        assert records(gateway) == "14 06 05 06 00 00 00 08"
