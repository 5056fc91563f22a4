"""Captures: the bytes of blocks and packets, read back by hand. That tshark likes them: integration/test_tshark."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from gateway.recording.pcap import FIRST_MADE_UP_PORT, Pcap
from gateway.traffic import Frame

READ = bytes.fromhex("0300000002")
ANSWER = bytes.fromhex("030400010002")
URL = "tcp://10.0.0.5:502"


def frame(*, is_request: bool = True, pdu: bytes = READ, **changes: object) -> Frame:
    of_device = Frame(
        1, 1_700_000_000_123_456_789, "device", "press", "10.0.0.5:502", "10.0.0.1:40000", 1, 7, is_request, pdu, ""
    )
    return of_device._replace(**changes)  # type: ignore[arg-type]


class Packet(NamedTuple):
    interface: int
    time_ns: int
    source: str
    source_port: int
    target: str
    target_port: int
    sequence: int
    acknowledged: int
    payload: bytes
    comment: str
    is_inbound: bool


def blocks(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from("<II", data, at)
        assert size % 4 == 0
        assert struct.unpack_from("<I", data, at + size - 4) == (size,), "the length stands at both ends"
        yield kind, data[at + 8 : at + size - 4]
        at += size
    assert at == len(data)


def options(data: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while at < len(data):
        code, size = struct.unpack_from("<HH", data, at)
        if code == 0:
            break
        found[code] = data[at + 4 : at + 4 + size]
        at += 4 + (size + 3) // 4 * 4
    return found


def ones_sum(data: bytes) -> int:
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def packet(body: bytes) -> Packet:
    interface, high, low, size, whole = struct.unpack_from("<IIIII", body)
    assert size == whole
    data = body[20 : 20 + size]
    told = options(body[20 + (size + 3) // 4 * 4 :])
    if data[0] >> 4 == 4:
        assert ones_sum(data[:20]) == 0xFFFF, "the header's checksum"
        assert struct.unpack_from(">H", data, 2) == (size,)
        addresses, tcp = data[12:20], data[20:]
    else:
        assert struct.unpack_from(">H", data, 4) == (size - 40,)
        addresses, tcp = data[8:40], data[40:]
    assert ones_sum(addresses + struct.pack(">II", len(tcp), 6) + tcp) == 0xFFFF, "the segment's checksum"
    source_port, target_port, sequence, acknowledged = struct.unpack_from(">HHII", tcp)
    half = len(addresses) // 2
    return Packet(
        interface, high << 32 | low,
        str(ipaddress.ip_address(addresses[:half])), source_port, str(ipaddress.ip_address(addresses[half:])),
        target_port, sequence, acknowledged, tcp[20:], told.get(1, b"").decode(),
        struct.unpack("<I", told[2]) == (1,),
    )  # fmt: skip


def packets(*frames: Frame, url: str = URL) -> list[Packet]:
    pcap = Pcap("test")
    data = pcap.head() + b"".join(pcap.frame(each, url) for each in frames)
    return [packet(body) for kind, body in blocks(data) if kind == 6]


def test_a_capture_begins_with_a_section_that_names_the_program() -> None:
    ((kind, body),) = blocks(Pcap("gateway 1.2").head())
    assert kind == 0x0A0D0D0A
    assert body[:16] == struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)
    assert options(body[16:])[4] == b"gateway 1.2"


def test_each_link_is_an_interface_with_its_url_and_times_in_ns() -> None:
    pcap = Pcap()
    data = pcap.frame(frame(), URL) + pcap.frame(frame(where="oven"), "rtu:///dev/ttyUSB0") + pcap.frame(frame(), URL)
    interfaces = [body for kind, body in blocks(data) if kind == 1]
    assert [options(body[8:]) for body in interfaces] == [
        {2: b"press", 3: URL.encode(), 9: b"\x09"},
        {2: b"oven", 3: b"rtu:///dev/ttyUSB0", 9: b"\x09"},
    ]
    assert [packet(body).interface for kind, body in blocks(data) if kind == 6] == [0, 1, 0]


def test_a_request_and_its_answer_have_the_true_addresses_and_times_and_count_their_bytes() -> None:
    asked, answered, again = packets(
        frame(), frame(is_request=False, pdu=ANSWER, time_ns=1_700_000_000_125_000_001), frame(tid=8)
    )
    assert asked[1:8] == (1_700_000_000_123_456_789, "10.0.0.1", 40000, "10.0.0.5", 502, 1, 1)
    assert asked.payload == bytes.fromhex("0007 0000 0006 01") + READ
    assert answered[1:8] == (1_700_000_000_125_000_001, "10.0.0.5", 502, "10.0.0.1", 40000, 1, 1 + len(asked.payload))
    assert again[6:8] == (1 + len(asked.payload), 1 + len(answered.payload))
    assert (asked.is_inbound, answered.is_inbound) == (False, True)
    assert asked.comment == "really 10.0.0.1:40000 to 10.0.0.5:502 by tcp://10.0.0.5:502"
    assert again.comment == ""


def test_clients_ask_us_on_port_502_whatever_ours_is() -> None:
    asked, answered = packets(
        frame(side="client", where="10.1.2.3:51000", peer="10.1.2.3:51000", local="10.0.0.1:5020"),
        frame(side="client", where="10.1.2.3:51000", peer="10.1.2.3:51000", local="10.0.0.1:5020", is_request=False),
        url="",
    )
    assert asked[2:6] == ("10.1.2.3", 51000, "10.0.0.1", 502)
    assert answered[2:6] == ("10.0.0.1", 502, "10.1.2.3", 51000)
    assert (asked.is_inbound, answered.is_inbound) == (True, False)
    assert asked.comment == "really 10.1.2.3:51000 to 10.0.0.1:5020"


@pytest.mark.parametrize(
    ("peer", "local", "expected"),
    [
        ("/dev/ttyUSB0", "", ("203.0.113.1", FIRST_MADE_UP_PORT, "198.51.100.1", 502)),
        ("[fe80::5%eth0]:502", "[fe80::1%eth0]:40000", ("fe80::1", 40000, "fe80::5", 502)),
        ("[::ffff:10.0.0.5]:4001", "[::ffff:10.0.0.1]:40000", ("10.0.0.1", 40000, "10.0.0.5", 502)),
        ("[2001:db8::9]:502", "10.0.0.1:40000", ("::ffff:a00:1", 40000, "2001:db8::9", 502)),
        ("10.0.0.5:502", "0.0.0.0:502", ("203.0.113.1", FIRST_MADE_UP_PORT, "10.0.0.5", 502)),
        ("[2001:db8::9]:502", "", ("2001:db8::2", FIRST_MADE_UP_PORT, "2001:db8::9", 502)),
    ],
)
def test_what_has_no_address_gets_one_that_nobody_has(
    peer: str, local: str, expected: tuple[str, int, str, int]
) -> None:
    (asked,) = packets(frame(peer=peer, local=local))
    assert asked[2:6] == expected


@pytest.mark.parametrize(
    ("peer", "local", "expected", "really"),
    [
        ("control socket", "", ("203.0.113.1", FIRST_MADE_UP_PORT), "really control socket to the gateway"),
        (
            "10.1.2.3:51000",
            "http://127.0.0.1:8080",
            ("10.1.2.3", 51000),
            "really 10.1.2.3:51000 to http://127.0.0.1:8080",
        ),
    ],
)
def test_who_asks_by_the_page_or_the_control_socket_is_not_taken_for_a_modbus_client(
    peer: str, local: str, expected: tuple[str, int], really: str
) -> None:
    """No address of ours is written as one that serves Modbus, and the comment tells the way."""
    (asked,) = packets(frame(side="client", where=peer, peer=peer, local=local), url="")
    assert (asked[2:4], asked[4:6], asked.comment) == (expected, ("198.51.100.1", 502), really)


def test_two_devices_that_differ_by_their_port_only_are_two_conversations() -> None:
    first, second = packets(frame(peer="10.0.0.5:4001"), frame(peer="10.0.0.5:4002"))
    assert (first.source_port, second.source_port) == (40000, FIRST_MADE_UP_PORT)
    assert first.sequence == second.sequence == 1
    assert "really 10.0.0.1:40000 to 10.0.0.5:4002" in second.comment


def test_what_is_said_of_a_frame_stands_in_its_comment_and_what_has_no_bytes_is_no_packet() -> None:
    asked, late = packets(
        frame(), frame(is_request=False, pdu=b"", note="time-out"), frame(is_request=False, pdu=ANSWER, note="late")
    )
    assert late.comment == "late"
    assert late.acknowledged == 1 + len(asked.payload)
