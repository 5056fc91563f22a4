"""Ways to us and to devices: who may share a port, and which settings mean something on which way."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.config.needs import errors, unmet
from tests.support.config.plants import plant, problems, warnings

BUS = "rtu:///dev/ttyUSB0"
CERTS = "tls: {cert: a.pem, key: a.key, ca: ca.pem}"


def device(name: str, url: str, keys: str = "") -> str:
    """A line of `devices` with one tag that is written nowhere else."""
    at = ord(name) - ord("a")
    return f"  {name}: {{url: '{url}', {keys}tags: {{t: {{at: holding:0, type: int16, to: 1/input:{at}}}}}}}\n"


def devices(*lines: str) -> str:
    return "devices:\n" + "".join(lines)


def listening(*urls: str) -> str:
    return f"server: {{listen: [{', '.join(repr(url) for url in urls)}]}}\n"


# -- serial ports ---------------------------------------------------------------------------------------------------


def test_devices_with_one_url_share_a_line(tmp_path: Path) -> None:
    config = plant(tmp_path, devices(device("a", BUS, "unit: 1, "), device("b", BUS + "?baudrate=19200", "unit: 2, ")))
    assert config.link_key("a") == config.link_key("b"), "the default, written or not"
    assert config.warnings == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            devices(device("a", BUS + "?baudrate=9600"), device("b", BUS)),
            "plant.yaml:3:12: devices.b.url: a has this port with other settings (plant.yaml:2:12): "
            "rtu:///dev/ttyUSB0?baudrate=9600; a line has one speed and one framing: write the same url in both",
        ),
        (
            devices(device("a", BUS), device("b", "ascii:///dev/ttyUSB0")),
            "devices.b.url: a has this port with other settings",
        ),
        (
            f"links: {{bus: {{url: '{BUS}'}}}}\n"
            + devices(device("a", BUS), "  b: {link: bus, poll: [{read: coils:0, to: coils:0}]}"),
            "plant.yaml:3:12: devices.a.url: links.bus has this port too (plant.yaml:1:20), and it is opened once: "
            "write `link: bus` to share it",
        ),
        (
            devices(device("a", BUS), f"  b: {{url: ['{BUS}', tcp://h], poll: [{{read: coils:0, to: coils:0}}]}}"),
            "devices.b.url: a has this port too (plant.yaml:2:12), and it is opened once: write the same list in both",
        ),
        (
            listening(BUS) + devices(device("a", BUS)),
            "devices.a.url: on the port /dev/ttyUSB0 clients ask us (plant.yaml:1:19): "
            "behind a line are clients or devices, not both",
        ),
        (
            listening(BUS, BUS + "?baudrate=9600"),
            "server.listen[1]: the port /dev/ttyUSB0 has a listener already (plant.yaml:1:19) with other settings",
        ),
        (listening(BUS, BUS), "server.listen[1]: rtu:///dev/ttyUSB0?baudrate=19200 stands here twice"),
        (
            devices(device("a", BUS), device("b", "rtu:////dev/./ttyUSB0", "unit: 2, ")),
            "devices.b.url: a has this port too as /dev/ttyUSB0 (plant.yaml:2:12), and it is opened once: "
            "write the same name in both to share it",
        ),
        (
            listening("rtu:///dev/../dev/ttyUSB0") + devices(device("a", BUS)),
            "devices.a.url: on the port /dev/ttyUSB0 clients ask us (plant.yaml:1:19)",
        ),
        (
            listening(BUS, "rtu:////dev/ttyUSB0"),
            "server.listen[1]: the port //dev/ttyUSB0 has a listener already (plant.yaml:1:19), which calls it "
            "/dev/ttyUSB0",
        ),
        (
            devices(device("a", BUS), device("b", BUS + "?turnaround=200ms", "unit: 2, ")),
            "devices.b.url: a has this port with other settings",
        ),
    ],
)
def test_a_serial_port_has_one_user_and_one_setting(tmp_path: Path, text: str, said: str) -> None:
    (told,) = problems(tmp_path, text)
    assert said in told


@pytest.mark.skipif(os.name == "nt", reason="names of ports that lead to others")
@pytest.mark.parametrize(
    ("plant_of", "said"),
    [
        (
            lambda one, two: devices(device("a", f"rtu://{one}"), device("b", f"rtu://{two}", "unit: 2, ")),
            "plant.yaml:3:12: devices.b.url: {two} is the port {one}, which devices.a.url (plant.yaml:2:12) has as "
            "{one}, and it is opened once: write the same url in both to share it",
        ),
        (
            lambda one, two: listening(f"rtu://{one}") + devices(device("a", f"ascii://{two}")),
            "plant.yaml:3:12: devices.a.url: {two} is the port {one}, which server.listen[0] (plant.yaml:1:19) has as "
            "{one}, and behind a line are clients, asking one listener, or devices",
        ),
        (lambda one, two: devices(device("a", f"rtu://{one}"), device("b", f"rtu://{two}", "enabled: no, ")), None),
        (lambda one, two: devices(device("a", f"rtu://{one}"), device("b", f"rtu://{one}", "unit: 2, ")), None),
        (lambda one, two: devices(f"  a: {{url: ['rtu://{one}', 'rtu://{two}'], tags: {{}}}}"), None),
    ],
)
def test_the_machine_knows_that_two_names_lead_to_one_port(
    tmp_path: Path, plant_of: Callable[[str, str], str], said: str | None
) -> None:
    one, two = tmp_path.resolve() / "ttyUSB0", tmp_path.resolve() / "usb-FTDI_AB01-if00"
    one.touch()
    two.symlink_to(one)
    config = plant(tmp_path, plant_of(str(one), str(two)))
    told = [str(problem).replace(f"{tmp_path}/plant", "plant") for problem in errors(unmet(config))]
    assert [line for line in told if "is the port" in line] == ([said.format(one=one, two=two)] if said else [])
    assert not [line for line in map(str, errors(unmet(config, simulate=True))) if "is the port" in line]
    two.unlink()
    assert not [line for line in map(str, errors(unmet(config))) if "is the port" in line]


# -- network ports --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("urls", "said"),
    [
        (("tcp://0.0.0.0:502", "udp://0.0.0.0:502", "tcp://[::]:502", "tls://0.0.0.0"), None),
        (("tcp://127.0.0.1:0", "tcp://127.0.0.1:0", "tls://127.0.0.1:0"), None),
        (("tcp://10.0.0.1:502", "tcp://10.0.0.2:502"), None),
        (("tcp://0.0.0.0:502", "tcp://0.0.0.0:502"), "server.listen[1]: tcp://0.0.0.0:502 stands here twice"),
        (
            ("tcp://0.0.0.0:502", "tls://0.0.0.0:502"),
            "server.listen[1]: tcp://0.0.0.0:502 (plant.yaml:1:19) has this port already, one of both cannot be opened",
        ),
        (("rtu+tcp://10.0.0.1:502", "tcp://0.0.0.0:502"), "rtu+tcp://10.0.0.1:502 (plant.yaml:1:19) has this port"),
    ],
)
def test_of_a_host_and_port_there_is_one_socket(tmp_path: Path, urls: tuple[str, ...], said: str | None) -> None:
    told = problems(tmp_path, listening(*urls) + CERTS)
    assert (told == []) if said is None else (len(told) == 1 and said in told[0]), told


def test_devices_that_dial_in_share_a_port_by_their_ids(tmp_path: Path) -> None:
    way = "listen+tcp://0.0.0.0:9000"
    lines = [device("a", way + "?id=m1"), device("b", way + "?id=0x0102"), device("c", way), device("d", way)]
    assert problems(tmp_path, devices(*lines)) == []


def test_who_dials_in_without_an_id_can_be_anybody(tmp_path: Path) -> None:
    told = warnings(tmp_path, devices(device("a", "listen+tcp://0.0.0.0:9000")))
    assert told == [
        "plant.yaml:2:12: devices.a.url: listen+tcp://0.0.0.0:9000 has no id: whoever reaches this port is taken for "
        "the device. Write `?id=...` if it sends one, or listen on an address that only the device reaches"
    ]
    for url in ("listen+tcp://0.0.0.0:9000?id=m1", "listen+tcp://127.0.0.1:9000", "listen+tcp://[::1]:9000"):
        assert warnings(tmp_path, devices(device("a", url))) == []
    assert len(warnings(tmp_path, devices(device("a", "listen+tcp://modem.plant:9000")))) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            listening("tcp://0.0.0.0:9000") + devices(device("a", "listen+tcp://0.0.0.0:9000?id=x")),
            "devices.a.url: on port 9000 clients ask us (plant.yaml:1:19); devices that dial in need another port",
        ),
        (
            devices(device("a", "listen+tcp://0.0.0.0:9000?id=x"), device("b", "listen+rtu+tcp://0.0.0.0:9000?id=x")),
            "devices.b.url: a (plant.yaml:2:12) waits for the device with the id `x` on port 9000 too",
        ),
        (
            devices(device("a", "listen+tcp://0.0.0.0:9000?id=x"), device("b", "listen+tcp://127.0.0.1:9000?id=y")),
            "devices.b.url: listen+tcp://0.0.0.0:9000?id=x (plant.yaml:2:12) has this port already",
        ),
    ],
)
def test_dialling_in_where_it_cannot_work(tmp_path: Path, text: str, said: str) -> None:
    (told,) = problems(tmp_path, text)
    assert said in told


# -- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "keys", "said"),
    [
        (BUS, "in_flight: 2", "a.in_flight: RTU frames carry no transaction id, so one request is out at a time"),
        ("ascii+tcp://h", "in_flight: 2", "a.in_flight: ASCII frames carry no transaction id"),
        ("listen+rtu+tcp://0.0.0.0:9000", "in_flight: 2", "a.in_flight: RTU frames carry no transaction id"),
        (BUS, "source: 10.0.0.1", "a.source: a serial line has no local address to choose; remove the key"),
        (BUS, "keepalive: 5s", "a.keepalive: a serial line has no TCP connection to keep alive; remove the key"),
        ("udp://h", "keepalive: 5s", "a.keepalive: UDP has no TCP connection to keep alive"),
        ("listen+tcp://0.0.0.0:9000", "source: 10.0.0.1", "a.source: a device that dials in has no local address"),
        ("rtu+tcp://h", "accept: tid_zero", "a.accept: tid_zero: RTU frames carry no transaction id; remove it"),
        ("rtu+tcp://h", "unit: 0", "a.unit: unit 0 is a broadcast here, to which nobody answers: polls and tags need"),
    ],
)
def test_a_setting_that_means_nothing_there(tmp_path: Path, url: str, keys: str, said: str) -> None:
    (told,) = problems(tmp_path, devices(device("a", url, keys + ", ")))
    assert said in told


@pytest.mark.parametrize(
    ("url", "keys"),
    [
        (BUS, "in_flight: 1, delay: 5ms, connect_delay: 1s, accept: any_unit"),
        ("udp://h", "in_flight: 4, source: 10.0.0.1"),
        ("listen+tcp://127.0.0.1:9000", "keepalive: 5s"),
        ("tcp://h", "unit: 0"),
    ],
)
def test_a_setting_that_works_there(tmp_path: Path, url: str, keys: str) -> None:
    assert warnings(tmp_path, devices(device("a", url, keys + ", "))) == []


def test_a_list_may_lead_to_one_device_in_several_ways(tmp_path: Path) -> None:
    keys = "keepalive: 5s, tags: {t: {at: holding:0, type: int16, to: 1/input:0}}"
    assert problems(tmp_path, f"devices: {{a: {{url: [tcp://h, 'rtu:///dev/ttyS0'], {keys}}}}}") == []
    told = problems(tmp_path, f"devices: {{a: {{url: ['rtu:///dev/ttyS0', sim://], {keys}}}}}")
    assert "a.url[1]: a simulated PLC has no second address" in told[0]


def test_a_broadcast_may_be_pushed(tmp_path: Path) -> None:
    text = f"""
    units: {{1: {{holding: 10}}}}
    devices:
      all:
        url: '{BUS}'
        unit: 0
        push: [{{write: holding:0, from: 1/holding:0, on: change}}]
        watchdog: {{write: holding:9}}
      a: {{url: '{BUS}', unit: 4, poll: [{{read: holding:0, to: 1/input:0}}]}}
    """
    assert warnings(tmp_path, text) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            devices(device("a", BUS, "unit: 248, ")),
            "devices.a.unit: unit ids of a serial line end at 247; 248 is reserved",
        ),
        (
            devices(device("a", BUS + "?baudrate=300", "every: 100ms, ")),
            "devices.a.tags.t: is read every 100ms and takes 807ms on the wire at 300 baud",
        ),
        (
            "units: {1: {holding: 1000}}\ndevices: {a: {url: 'rtu:///dev/ttyS0?baudrate=2400', "
            "poll: [{read: holding:0..199, to: 1/holding:0, every: 1s}]}}",
            "devices.a.poll[0].every: is read every 1s and takes 2017ms on the wire at 2400 baud",
        ),
    ],
)
def test_what_a_line_cannot_keep_is_a_warning(tmp_path: Path, text: str, said: str) -> None:
    (told,) = warnings(tmp_path, text)
    assert said in told


# -- certificates ---------------------------------------------------------------------------------------------------


FINGERPRINT = ":".join(["a1"] * 32)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "server: {listen: tls://0.0.0.0}",
            "plant.yaml:1:18: server.listen[0]: needs certificates: write `tls: {cert: FILE, key: FILE, ca: FILE}` at "
            "the top of the file, for every `tls://`, or here; `gateway certs init` makes some to try it with",
        ),
        (devices(device("a", "tls://h")), "devices.a.url: needs certificates"),
        (
            "server: {listen: {url: tcp://0.0.0.0, tls: {cert: a, key: b, ca: c}}}",
            "plant.yaml:1:39: server.listen[0].tls: is for `tls://` urls; write one, or remove the key",
        ),
        (
            "server: {listen: [{url: tls://0.0.0.0, tls: {cert: a, key: b, ca: c, name: q}}]}",
            "server.listen[0].tls.name: is for devices; clients are known by `ca` and by the role",
        ),
        (
            "server: {listen: tls://0.0.0.0}\n" + CERTS.replace("}", ", fingerprint: x}"),
            "tls.fingerprint: belongs to one device",
        ),
        (
            devices(device("a", "tls://h", CERTS.replace("}", ", fingerprint: a1:b2}") + ", ")),
            "devices.a.tls.fingerprint: a SHA-256 fingerprint is 64 hexadecimal digits",
        ),
        (
            devices(device("a", "tls://h", CERTS.replace("}", f", name: plc, fingerprint: '{FINGERPRINT}'}}") + ", ")),
            "devices.a.tls.name: `fingerprint` is looked at in place of the name; remove one of them",
        ),
        (
            devices(
                device("a", "tls://h", CERTS + ", "), device("b", "tls://h", CERTS.replace("a.key", "b.key") + ", ")
            ),
            "devices.b.tls: devices with the same url share one connection: 'tls' is cert: a.pem, key: b.key, "
            "ca: ca.pem here and cert: a.pem, key: a.key, ca: ca.pem for a",
        ),
        (
            f"links: {{l: {{url: tls://h, {CERTS}}}}}\n"
            f"devices: {{a: {{link: l, {CERTS}, poll: [{{read: coils:0, to: coils:0}}]}}}}",
            "devices.a.tls: belongs to the connection: write it at links.l",
        ),
        (
            "server: {listen: {url: tls://0.0.0.0, tls: {cert: a, key: b}}}",
            "the key 'ca' is missing; write for example",
        ),
    ],
)
def test_certificates_where_they_are_missing_or_mean_nothing(tmp_path: Path, text: str, said: str) -> None:
    (told,) = problems(tmp_path, text)
    assert said in told


def test_certificates_of_the_plant_are_for_all_and_may_be_each_ones_own(tmp_path: Path) -> None:
    own = CERTS.replace("}", f", fingerprint: {FINGERPRINT.replace(':', '')}}}") + ", "
    text = (
        "server: {listen: tls://0.0.0.0}\n"
        + CERTS
        + "\n"
        + devices(device("a", "tls://h"), device("b", "tls://i", own))
    )
    assert warnings(tmp_path, text) == []


def test_certificates_that_nothing_uses_are_a_warning(tmp_path: Path) -> None:
    (told,) = warnings(tmp_path, CERTS + "\n" + devices(device("a", "tcp://h")))
    assert "plant.yaml:1:1: tls: nothing uses it" in told
