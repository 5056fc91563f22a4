"""`gateway read` and `gateway write` over every way: UDP, TLS, RTU and ASCII in TCP and on serial lines; by name."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.tls.certs import Authority
from tests.support.devices import free_port, pymodbus_plc
from tests.support.lines import LineDevice
from tests.support.oneshot import gateway
from tests.support.serial_pair import SerialPair

FRAMINGS = ("rtu", "ascii")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("certs"))
    made.make(["127.0.0.1"], ["operator"])
    return made


def files(authority: Authority, name: str = "server") -> tuple[str, str, str]:
    return str(authority.cert(name)), str(authority.key(name)), str(authority.cert("ca"))


def options(authority: Authority, name: str = "operator") -> list[str]:
    cert, key, ca = files(authority, name)
    return ["--cert", cert, "--key", key, "--ca", ca]


def one_line(result: subprocess.CompletedProcess[str], code: int = 1) -> str:
    assert result.returncode == code, result.stdout
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


@contextmanager
def on_a_line(folder: Path, framing: str) -> Iterator[tuple[str, LineDevice]]:
    """The url of a serial line, and the device behind it."""
    with SerialPair(folder) as pair:
        device = LineDevice(framing, pair.theirs)
        try:
            yield f"{framing}://{pair.ours}", device
        finally:
            device.close()


# -- over networks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["udp", "rtu+tcp", "ascii+tcp"])
def test_a_foreign_server_is_read_and_written(way: str) -> None:
    with pymodbus_plc(way) as plc:
        url = f"{way}://127.0.0.1:{plc.port}"
        read = gateway("read", url, "input:0..149")
        assert read.returncode == 0, read.stderr
        assert [int(line.split()[2]) for line in read.stdout.splitlines()] == list(range(2000, 2150))
        written = gateway("write", url, "holding:110", "21.5", "-t", "float32")
        assert written.returncode == 0, written.stderr
        assert written.stdout.split()[-4:] == ["->", "21.5", "41AC", "0000"]


def test_nobody_listens_for_datagrams() -> None:
    told = one_line(gateway("read", f"udp://127.0.0.1:{free_port()}", "holding:0"))
    assert "nobody listens there: is the device on, is the port right?" in told


def test_frames_in_the_wrong_framing_are_no_answer() -> None:
    with pymodbus_plc("rtu+tcp") as plc:
        told = one_line(gateway("read", f"tcp://127.0.0.1:{plc.port}", "holding:0", "--timeout", "200ms"))
    assert "no usable answer within 200ms" in told or "no Modbus" in told


# -- over TLS -------------------------------------------------------------------------------------------------------


def test_a_foreign_server_is_asked_over_tls(authority: Authority) -> None:
    with pymodbus_plc("tls", *files(authority)) as plc:
        url = f"tls://127.0.0.1:{plc.port}"
        read = gateway("read", url, "holding:0..1", *options(authority))
        assert read.returncode == 0, read.stderr
        assert [line.split()[2] for line in read.stdout.splitlines()] == ["1000", "1001"]
        assert gateway("write", url, "holding:5", "7", *options(authority)).returncode == 0


def test_a_device_that_is_not_who_it_should_be(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    other.make(["localhost"], ["operator"])
    with pymodbus_plc("tls", *files(authority)) as plc:
        told = one_line(gateway("read", f"tls://127.0.0.1:{plc.port}", "holding:0", *options(other)))
        assert "issued by a CA that is not in `ca`" in told
        told = one_line(gateway("read", f"tls://127.0.0.2:{plc.port}", "holding:0", *options(authority)))
        assert "refused the connection" in told
    elsewhere = Authority(tmp_path / "elsewhere")
    elsewhere.make(["plc7.example"], ["operator"])
    with pymodbus_plc("tls", *files(elsewhere)) as plc:
        told = one_line(gateway("read", f"tls://127.0.0.1:{plc.port}", "holding:0", *options(elsewhere)))
        assert "the device's certificate is not for `127.0.0.1`" in told


def test_a_device_without_tls_and_files_that_are_not_there(authority: Authority, tmp_path: Path) -> None:
    with pymodbus_plc() as plc:
        url = f"tls://127.0.0.1:{plc.port}"
        told = one_line(gateway("read", url, "holding:0", "--timeout", "500ms", *options(authority)))
        assert "TLS" in told or "does not answer" in told
        cert, key, _ = files(authority, "operator")
        missing = gateway("read", url, "holding:0", "--cert", cert, "--key", key, "--ca", str(tmp_path / "none.pem"))
        assert "none.pem: there is no such file" in one_line(missing)


# -- on serial lines ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_device_on_a_line_is_read(tmp_path: Path, framing: str) -> None:
    with on_a_line(tmp_path, framing) as (url, device):
        read = gateway("read", f"{url}?baudrate=115200&parity=none", "input:10..134", "--unit", "17")
        assert read.returncode == 0, read.stderr
        assert [int(line.split()[2]) for line in read.stdout.splitlines()] == list(range(10, 135))
        assert device.requests == [(17, bytes.fromhex("04 000A 007D"))]


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_device_on_a_line_is_written_and_refuses(tmp_path: Path, framing: str) -> None:
    with on_a_line(tmp_path, framing) as (url, device):
        device.behave = lambda unit, pdu: device.frame(unit, pdu if pdu[0] == 6 else b"\x03\x02\x00\x07")
        written = gateway("write", url, "holding:5", "7", "--unit", "3")
        assert written.returncode == 0, written.stderr
        device.behave = lambda unit, pdu: device.frame(unit, bytes((pdu[0] | 0x80, 2)))
        told = one_line(gateway("read", url, "holding:5", "--unit", "3"))
        assert "unit 3: holding:5 (400006): refused with 02 illegal data address" in told


def test_a_line_on_which_nobody_answers_and_one_that_is_garbled(tmp_path: Path) -> None:
    with on_a_line(tmp_path, "rtu") as (url, device):
        device.behave = lambda unit, pdu: None
        told = one_line(gateway("read", url, "holding:5", "--timeout", "100ms"))
        assert "connected, but no usable answer within 100ms" in told
        device.behave = lambda unit, pdu: device.frame(unit, b"\x03\x02\x00\x07")[:-1] + b"?"
        told = one_line(gateway("read", url, "holding:5", "--timeout", "100ms"))
        assert "no usable answer" in told


def test_a_broadcast_is_sent_and_nobody_is_waited_for(tmp_path: Path) -> None:
    with on_a_line(tmp_path, "rtu") as (url, device):
        device.behave = lambda unit, pdu: None
        written = gateway("write", url, "holding:5", "7", "--unit", "0")
        assert written.returncode == 0, written.stderr
        assert written.stdout == "holding:5 (400006)  ? -> 7 (written)  0007\n"
        assert device.requests == [(0, bytes.fromhex("06 0005 0007"))]
        told = one_line(gateway("read", url, "holding:5", "--unit", "0"), 2)
        assert "unit 0 is a broadcast on a line" in told


def test_a_port_that_is_not_there(tmp_path: Path) -> None:
    told = one_line(gateway("read", f"rtu://{tmp_path}/ttyNONE", "holding:0"))
    assert "no such port" in told


# -- by name --------------------------------------------------------------------------------------------------------


def test_a_device_of_a_plant_is_asked_by_its_name(tmp_path: Path, authority: Authority) -> None:
    cert, key, ca = files(authority, "operator")
    with pymodbus_plc("tls", *files(authority)) as plc, on_a_line(tmp_path, "rtu") as (url, device):
        plant = tmp_path / "plant.yaml"
        plant.write_text(
            f"""
tls: {{cert: '{cert}', key: '{key}', ca: '{ca}'}}
links: {{bus: {{url: '{url}?baudrate=9600'}}}}
devices:
  plc: {{url: 'tls://127.0.0.1:{plc.port}', order: CDAB, poll: [{{read: holding:0, to: 1/holding:0}}]}}
  meter: {{link: bus, unit: 17, poll: [{{read: holding:0, to: 1/holding:1}}]}}
  away: {{url: "listen+tcp://127.0.0.1:9000", poll: [{{read: holding:0, to: 1/holding:2}}]}}
  toy: {{url: "sim://", poll: [{{read: holding:0, to: 1/holding:3}}]}}
"""
        )

        def ask(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
            return gateway("read", name, *arguments, "--config", str(plant))

        read = ask("plc", "holding:100", "-t", "float32")
        assert read.stdout.split()[2] == "123.456", read.stderr
        assert ask("meter", "input:3").returncode == 0
        assert ask("meter", "input:3", "--unit", "18").returncode == 0
        assert [unit for unit, _ in device.requests] == [17, 18]
        assert "did you mean 'meter'?" in one_line(ask("metre", "input:3"), 2)
        assert "dials in to the gateway and cannot be asked from here" in one_line(ask("away", "input:3"), 2)
        assert "is simulated inside the gateway" in one_line(ask("toy", "input:3"), 2)
        assert "leave out --cert" in one_line(ask("plc", "input:3", "--cert", cert), 2)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ("tls://127.0.0.1 holding:0 --cert x", "tls:// needs certificates, --key, --ca FILE"),
        ("tcp://127.0.0.1 holding:0 --ca x", "--cert, --key and --ca are for tls:// urls"),
        ("listen+tcp://0.0.0.0:9000 holding:0", "the device dials in to the gateway"),
        ("rtu:///dev/ttyUSB0?baudrate=9601 holding:0", "`baudrate=9601`: there is 300, 600"),
        ("rtu://ttyUSB0 holding:0", "write `rtu:///dev/ttyUSB0`"),
        ("press holding:0 --config none.yaml", "there is no such file"),
    ],
)
def test_a_wrong_command_line_is_told_before_anything_is_sent(arguments: str, hint: str) -> None:
    assert hint in one_line(gateway("read", *arguments.split()), 2)
