"""Clients' writes to mapped registers, byte by byte: what the device is asked, what the client gets."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from fractions import Fraction

import pytest

from gateway.bank import Bank
from gateway.errors import LinkBusy, LinkDown, LinkError, NotRead, OutcomeUnknown, RequestTimeout
from gateway.interfaces import Later, once
from gateway.modbus.spec import Table
from gateway.values import TYPES, Tag
from gateway.writing.destination import Destination
from gateway.writing.regions import RawRegion, Region, TagRegion
from gateway.writing.through import MAX_WRITES_AHEAD, Through
from tests.support.wire import hexed
from tests.support.written import BookDevice, Bringer

H, C = Table.HOLDING, Table.COILS


def tag(type_: str, first: int, table: Table = H, **more: object) -> Tag:
    registers = 1 if table is C else more.pop("registers", TYPES[type_].registers or 3)
    return Tag("t", table, first, registers, type_, **more)  # type: ignore[arg-type]


@dataclass
class Plant:
    """A bank of which a part goes to device `press`, and a little to `pump`.

    holding 0..9 own; 10..19 raw copy of 110..119; 20 int16 (0.1, 0..100) of 30; 21..22 float32 CDAB of 31..32;
    23 uint16 of 33; 24 uint16 of 50 (a gap); 25 uint16 of pump's 51; 26 mapped without write; 27 own;
    28 bits 0, 1, 4 of 40.0, 40.1, 40.15; 29 bit 0 of 40.2 and bit 1 without write; 30 bits 0, 1 of 40.3 and 41.4;
    31..33 string of 60..62; 34 bool of 70; 35 bool of 71; 36 bool of coil 205; 37 bit 0 of coil 206;
    38 int16 BADC of 80; 39 int16 as raw BADC of 81; 40..41 raw copy of 120..121 (a second owner).
    coils 0..9 own; 10..19 raw copy of 110..119; 20, 21 coils 201, 200; 22 coil 203; 23, 24 bits 42.0, 42.9;
    25, 26 registers 72, 73; 27 bit 43.0 with exchanged bytes; 28 mapped without write.
    """

    force_multiple: bool = False
    latest_only: bool = False
    device: BookDevice = field(default_factory=BookDevice)
    pump: BookDevice = field(default_factory=BookDevice)

    def __post_init__(self) -> None:
        self.judged = 0
        self.bank = Bank({H: [(0, 42)], C: [(0, 29)]})
        self.bringer = Bringer(self.device)
        self.press = Destination("press", self.bringer, force_multiple=self.force_multiple)
        pump = Destination("pump", Bringer(self.pump))
        press, latest = self.press, self.latest_only

        def put(table: Table, first: int, one: Tag, bit: int | None = None, **more: object) -> TagRegion:
            return TagRegion(press, table, first, bit, one, latest_only=latest, **more)  # type: ignore[arg-type]

        scaled = tag("int16", 30, scale=Fraction("0.1"))
        self.regions: list[Region] = [
            RawRegion(press, H, 10, 10, 110, latest_only=latest),
            RawRegion(press, H, 40, 2, 120),
            put(H, 20, scaled, limits=(Fraction(0), Fraction(100))),
            put(H, 21, tag("float32", 31, order="CDAB"), hold_s=2.0),
            put(H, 23, tag("uint16", 33)),
            put(H, 24, tag("uint16", 50)),
            TagRegion(pump, H, 25, None, tag("uint16", 51)),
            put(H, 28, tag("bool", 40, bit=0), 0),
            put(H, 28, tag("bool", 40, bit=1), 1),
            put(H, 28, tag("bool", 40, bit=15), 4),
            put(H, 29, tag("bool", 40, bit=2), 0),
            put(H, 30, tag("bool", 40, bit=3), 0),
            put(H, 30, tag("bool", 41, bit=4), 1),
            put(H, 31, tag("string", 60)),
            put(H, 34, tag("bool", 70)),
            put(H, 35, tag("bool", 71)),
            put(H, 36, tag("bool", 205, C)),
            put(H, 37, tag("bool", 206, C), 0),
            put(H, 38, tag("int16", 80, order="BADC")),
            put(H, 39, tag("int16", 81, order="BADC"), as_="raw"),
            RawRegion(press, C, 10, 10, 110, latest_only=latest),
            put(C, 20, tag("bool", 201, C)),
            put(C, 21, tag("bool", 200, C)),
            put(C, 22, tag("bool", 203, C)),
            put(C, 23, tag("bool", 42, bit=0)),
            put(C, 24, tag("bool", 42, bit=9)),
            put(C, 25, tag("bool", 72)),
            put(C, 26, tag("bool", 73)),
            put(C, 27, tag("bool", 43, bit=0, order="BADC")),
        ]
        places = [(region.table, region.first, region.count) for region in self.regions]
        self.spans = self.bank.claim([*places, (H, 26, 1), (H, 29, 1), (C, 28, 1)])
        for span in self.spans:
            self.bank.unblock(span)
        self.through = Through(self.bank, self._judge)
        self.through.arrange(self.regions)

    def _judge(self) -> None:
        self.judged += 1

    def ask(self, request: str) -> str:
        """The answer, when it is there at once or by now."""
        answer = self.bank.answer(hexed(request))
        if isinstance(answer, Later):
            assert answer.is_settled
            answer = answer.answer
        assert isinstance(answer, bytes)
        return answer.hex()

    def begin(self, request: str) -> Later:
        answer = self.bank.answer(hexed(request))
        assert isinstance(answer, Later)
        return answer


@pytest.fixture
def plant() -> Plant:
    return Plant()


def squeezed(text: str) -> str:
    return text.replace(" ", "").lower()


F1_CDAB = "0000 3f80"

WRITES = [
    # raw copies: the client's own function, the device's addresses
    ("06 000a 1234", "06 006e 1234"),
    ("10 000b 0002 04 1111 2222", "10 006f 0002 04 1111 2222"),
    ("10 000b 0001 02 1111", "10 006f 0001 02 1111"),
    ("10 000a 000a 14" + "abcd" * 10, "10 006e 000a 14" + "abcd" * 10),
    ("16 0013 ff0f 0010", "16 0077 ff0f 0010"),
    ("05 000a ff00", "05 006e ff00"),
    ("05 0013 0000", "05 0077 0000"),
    ("0f 000b 0009 02 ff01", "0f 006f 0009 02 ff01"),
    ("0f 000b 0001 01 ff", "0f 006f 0001 01 01"),
    # tags: scaled back, one request for neighbours at the device
    ("06 0014 0064", "06 001e 03e8"),
    ("10 0014 0001 02 0005", "06 001e 0032"),
    ("10 0015 0002 04 3f80 0000", "10 001f 0002 04" + F1_CDAB),
    ("10 0014 0004 08 0005 3f80 0000 0007", "10 001e 0004 08 0032" + F1_CDAB + "0007"),
    ("06 0019 0007", None),
    ("10 001f 0003 06 4142 4344 0000", "10 003c 0003 06 4142 4344 0000"),
    ("06 0022 0001", "06 0046 0001"),
    ("10 0022 0002 04 0001 0000", "10 0046 0002 04 0001 0000"),
    ("06 0024 0001", "05 00cd ff00"),
    ("06 0026 1234", "06 0050 3412"),
    ("06 0027 1234", "06 0051 1234"),
    # masks where the register is the same at the device
    ("16 0017 ff0f 0010", "16 0021 ff0f 0010"),
    ("16 0027 ff0f 0010", "16 0051 ff0f 0010"),
    # bits of one register of the device
    ("06 001c 0001", "16 0028 7ffc 0001"),
    ("10 001c 0001 02 0013", "16 0028 7ffc 8003"),
    ("16 001c ffee 0010", "16 0028 7ffe 8000"),
    ("16 001c fffd 0000", "16 0028 fffd 0000"),
    ("16 001d fffe ffff", "16 0028 fffb 0004"),
    ("16 001e fffe 0001", "16 0028 fff7 0008"),
    ("16 001e fffd 0002", "16 0029 ffef 0010"),
    ("05 0017 ff00", "16 002a fffe 0001"),
    ("05 0018 0000", "16 002a fdff 0000"),
    ("0f 0017 0002 01 02", "16 002a fdfe 0200"),
    ("05 001b ff00", "16 002b feff 0100"),
    # coils and bools
    ("05 0014 ff00", "05 00c9 ff00"),
    ("0f 0014 0001 01 01", "05 00c9 ff00"),
    ("0f 0014 0002 01 01", "0f 00c8 0002 01 02"),
    ("05 0019 ff00", "06 0048 0001"),
    ("0f 0019 0002 01 02", "10 0048 0002 04 0000 0001"),
    ("06 0025 0001", "05 00ce ff00"),
    ("16 0025 fffe 0001", "05 00ce ff00"),
]


@pytest.mark.parametrize(("request_", "asked"), WRITES)
def test_a_write_is_one_request_to_the_device_and_the_client_gets_its_echo(
    plant: Plant, request_: str, asked: str | None
) -> None:
    before = plant.bank.get(H, 0, 42), plant.bank.get(C, 0, 29)
    request = squeezed(request_)
    assert plant.ask(request) == (request[:10] if request[:2] in ("0f", "10") else request)
    if asked is None:
        assert plant.pump.take() == [squeezed("06 0033 0007")]
        assert plant.device.take() == []
    else:
        assert plant.device.take() == [squeezed(asked)]
        assert plant.press.done == 1
    assert (plant.bank.get(H, 0, 42), plant.bank.get(C, 0, 29)) == before, "the image changes when the device is read"


REFUSALS = [
    # size and quantity before address
    ("06 000a 12", 3),
    ("06 000a 12 34 56", 3),
    ("05 000a 0001", 3),
    ("05 0009 0001", 3),
    ("10 000a 0000 00", 3),
    ("10 000a 0001 02 12", 3),
    ("10 000a 0001 04 1234", 3),
    ("10 0013 007c f8" + "0000" * 124, 3),
    ("0f 000a 0000 00", 3),
    ("0f 000a 0009 01 00", 3),
    ("0f 000a 07b1 f7" + "00" * 247, 3),
    ("16 000a ffff 00", 3),
    ("17 0000 0001 000a 0000 00 00", 3),
    ("17 0000 0000 000a 0001 02 0000", 3),
    ("17 0000 0001 000a 0001 02 00", 3),
    ("17 0000 007e 000a 0001 02 0000", 3),
    # two owners, gaps, parts, borders
    ("10 0009 0002 04 0000 0000", 2),
    ("10 0013 0002 04 0000 0000", 2),
    ("10 0013 0003 06 0000 0000 0000", 2),
    ("10 0028 0003 06 0000 0000 0000", 2),
    ("06 0015 0000", 2),
    ("06 0016 0000", 2),
    ("10 0014 0002 04 0000 0000", 2),
    ("10 0016 0002 04 0000 0000", 2),
    ("10 0017 0002 04 0000 0000", 2),
    ("10 0018 0002 04 0000 0000", 2),
    ("10 0019 0002 04 0000 0000", 2),
    ("06 001a 0000", 2),
    ("10 001a 0002 04 0000 0000", 2),
    ("10 001b 0002 04 0000 0000", 2),
    ("10 001f 0002 04 0000 0000", 2),
    ("10 0021 0002 04 0000 0000", 2),
    ("10 0023 0002 04 0001 0001", 2),
    ("10 0000 002a 54" + "0000" * 42, 2),
    ("10 0029 0064 c8" + "0000" * 100, 2),
    ("0f 0009 0002 01 00", 2),
    ("0f 0013 0002 01 00", 2),
    ("0f 0014 0003 01 00", 2),
    ("0f 0016 0002 01 00", 2),
    ("0f 0018 0002 01 00", 2),
    ("0f 001a 0002 01 00", 2),
    ("05 001c ff00", 2),
    # bits: others of the register, of two registers, without write
    ("06 001c 0004", 2),
    ("16 001c fffb 0004", 2),
    ("16 001c fff8 0000", 2),
    ("16 001c 0000 0000", 2),
    ("06 001d 0001", 2),
    ("16 001d fffd 0002", 2),
    ("06 001e 0003", 2),
    ("16 001e fffc 0003", 2),
    ("10 001c 0002 04 0000 0000", 2),
    ("06 0025 0002", 2),
    # masks on what is not the same register at the device
    ("16 0014 fffe 0001", 2),
    ("16 0015 fffe 0001", 2),
    ("16 001f fffe 0001", 2),
    ("16 0022 fffe 0001", 2),
    ("16 0026 fffe 0001", 2),
    ("16 001a fffe 0001", 2),
    # values
    ("06 0014 0065", 3),
    ("06 0014 ffff", 3),
    ("10 0014 0004 08 0065 3f80 0000 0007", 3),
    ("10 0015 0002 04 7fc0 0000", 3),
    ("10 0015 0002 04 ff80 0000", 3),
    ("06 0022 0002", 3),
    ("06 0024 ff00", 3),
    # the read part is checked before anything is written
    ("17 002a 0001 000a 0001 02 1234", 2),
    ("17 0000 002b 000a 0001 02 1234", 2),
    ("17 002a 0001 0014 0001 02 0065", 2),
    ("17 0000 0001 001a 0001 02 1234", 2),
    ("17 0000 0001 0013 0002 04 1234 1234", 2),
    ("17 0000 0001 0014 0001 02 0065", 3),
]


@pytest.mark.parametrize(("request_", "code"), REFUSALS)
def test_a_refusal_changes_nothing(plant: Plant, request_: str, code: int) -> None:
    before = plant.bank.get(H, 0, 42), plant.bank.get(C, 0, 29)
    request = squeezed(request_)
    assert plant.ask(request) == f"{int(request[:2], 16) | 0x80:02x}{code:02x}"
    assert (plant.bank.get(H, 0, 42), plant.bank.get(C, 0, 29)) == before
    assert plant.device.take() == plant.pump.take() == []


def test_a_write_that_was_done_is_no_refusal_though_what_was_to_be_read_has_no_value_then(plant: Plant) -> None:
    """The client hears of its read, the audit of its write."""
    plant.bringer.waits = True
    later = plant.begin("17 0014 0001 0017 0001 02 0007")
    plant.bank.block(plant.spans[2], 0x0B)
    plant.bringer.run()
    assert plant.device.holding[33] == 7
    assert later.answer == hexed("97 0B")
    assert isinstance(later.error, NotRead)
    assert str(later.error) == "written, but the part to read: 0B gateway target device failed to respond"


@pytest.mark.parametrize("code", [0, 2])
def test_when_the_part_to_read_was_read_or_nothing_was_written_that_is_all_there_is_to_tell(
    plant: Plant, code: int
) -> None:
    plant.bringer.waits = True
    plant.device.refuses = {6: code, 16: code} if code else {}
    later = plant.begin("17 0014 0001 0017 0001 02 0007")
    plant.bringer.run()
    assert later.answer == (bytes((0x97, code)) if code else hexed("17 02 0000"))
    assert later.error is None


@pytest.mark.parametrize(
    ("request_", "holding"),
    [("06 0009 1234", "1234"), ("10 0008 0002 04 1111 1234", "1234"), ("16 0009 0000 1234", "1234")],
)
def test_our_own_registers_are_written_as_ever(plant: Plant, request_: str, holding: str) -> None:
    noted: list[tuple[Table, int, int]] = []
    plant.bank.on_write = lambda *place: noted.append(place)
    plant.ask(request_)
    assert plant.bank.get(H, 9, 1).hex() == holding
    assert len(noted) == 1
    assert plant.ask("05 0009 ff00") == "050009ff00"
    assert plant.ask("0f 0008 0002 01 03") == "0f00080002"
    assert plant.bank.get(C, 8, 2) == b"\3"
    assert plant.ask("17 0009 0001 0009 0001 02 5678") == "17025678"
    assert plant.device.take() == []


FORCED = [
    ("06 000a 1234", ["10 006e 0001 02 1234"]),
    ("05 000a ff00", ["0f 006e 0001 01 01"]),
    ("16 000a ff0f ff10", ["03 006e 0001", "10 006e 0001 02 0a1a"]),
    ("06 0014 0001", ["10 001e 0001 02 000a"]),
    ("16 0017 ff0f 0010", ["03 0021 0001", "10 0021 0001 02 0010"]),
    ("05 0014 ff00", ["0f 00c9 0001 01 01"]),
    ("05 0017 ff00", ["03 002a 0001", "10 002a 0001 02 0001"]),
]


@pytest.mark.parametrize(("request_", "asked"), FORCED)
def test_a_device_without_single_writes_gets_15_and_16_only(request_: str, asked: list[str]) -> None:
    plant = Plant(force_multiple=True)
    plant.device.holding[110] = 0x0A0A
    assert plant.ask(request_) == squeezed(request_)
    assert plant.device.take() == [squeezed(one) for one in asked]


def test_a_device_without_mask_write_is_read_and_written_and_that_is_remembered(plant: Plant) -> None:
    plant.device.refuses[22] = 1
    plant.device.holding[40], plant.device.holding[42] = 0x00F0, 0x1000
    assert plant.ask("16 001c ffee 0001") == "16001cffee0001"
    assert plant.device.take() == ["1600287ffe0001", "0300280001", "06002800f1"]
    assert plant.ask("0f 0017 0002 01 03") == "0f00170002"
    assert plant.device.take() == ["03002a0001", "06002a1201"]
    assert plant.press.knows_no_mask
    assert plant.press.done == 2


def test_the_steps_of_a_read_modify_write_end_with_the_first_refusal(plant: Plant) -> None:
    plant.device.refuses.update({22: 1, 3: 4})
    assert plant.ask("05 0017 ff00") == "8504"
    assert plant.device.take() == ["16002afffe0001", "03002a0001"]
    plant.device.refuses = {6: 3}
    assert plant.ask("05 0017 ff00") == "8503"
    assert plant.device.take() == ["03002a0001", "06002a0001"]
    assert (plant.press.done, plant.press.refused) == (0, 2)


@pytest.mark.parametrize("code", [2, 3, 4, 6])
def test_other_refusals_of_a_mask_write_are_not_taken_for_a_missing_function(plant: Plant, code: int) -> None:
    plant.device.refuses[22] = code
    assert plant.ask("05 0017 ff00") == f"85{code:02x}"
    assert not plant.press.knows_no_mask
    assert plant.device.take() == ["16002afffe0001"]


def test_a_mask_write_of_the_clients_own_is_refused_as_the_device_refuses_it(plant: Plant) -> None:
    plant.device.refuses[22] = 1
    assert plant.ask("16 000a fffe 0001") == "9601"
    assert plant.ask("16 0017 fffe 0001") == "9601"
    assert plant.device.take() == ["16006efffe0001", "160021fffe0001"]
    assert not plant.press.knows_no_mask


def test_a_mask_that_changes_no_bit_of_single_bits_needs_no_device(plant: Plant) -> None:
    assert plant.ask("16 001c ffff 1234") == "16001cffff1234"
    assert plant.device.take() == []


def test_bits_of_a_register_that_are_not_mapped_may_be_written_as_they_are(plant: Plant) -> None:
    plant.bank.put_registers(H, 28, b"\x80\x00")
    assert plant.ask("06 001c 0001") == "8602"
    assert plant.ask("06 001c 8001") == "06001c8001"
    assert plant.device.take() == ["1600287ffc0001"]


@pytest.mark.parametrize(
    ("request_", "code", "answer"),
    [("06 000a 0001", 4, "8604"), ("10 000a 0001 02 0001", 2, "9002"), ("05 0014 ff00", 0x0B, "850b")],
)
def test_exceptions_of_the_device_reach_the_client_unchanged(
    plant: Plant, request_: str, code: int, answer: str
) -> None:
    plant.device.refuses.update({6: code, 16: code, 5: code})
    assert plant.ask(request_) == answer


def test_the_devices_exception_comes_with_the_clients_own_function(plant: Plant) -> None:
    plant.device.refuses[6] = 3
    assert plant.ask("10 0014 0001 02 0001") == "9003"
    plant.device.refuses[16] = 4
    assert plant.ask("17 0000 0001 000a 0001 02 0001") == "9704"


@pytest.mark.parametrize(
    ("error", "answer", "counts"),
    [
        (LinkDown("not connected"), "860b", (0, 1, 0)),
        (LinkBusy("full"), "860a", (0, 1, 0)),
        (RequestTimeout("no answer to the read of a bit"), "860b", (0, 1, 0)),
        (OutcomeUnknown("no answer within 1 s"), "860b", (0, 0, 1)),
    ],
)
def test_without_an_answer_the_client_gets_the_gateways_code(
    plant: Plant, error: LinkError, answer: str, counts: tuple[int, int, int]
) -> None:
    plant.bringer.fails = error
    assert plant.ask("06 000a 0001") == answer
    assert (plant.press.done, plant.press.refused, plant.press.unknown) == counts
    assert plant.press.waiting == 0


@pytest.mark.parametrize("code", range(1, 12))
def test_a_refusal_that_does_not_say_that_nothing_was_done_makes_the_outcome_unknown(plant: Plant, code: int) -> None:
    plant.device.refuses[6] = code
    assert plant.ask("06 000a 0001") == f"86{code:02x}"
    assert (plant.press.refused, plant.press.unknown) == ((1, 0) if code in (1, 2, 3, 6) else (0, 1))


def test_a_refused_read_before_writing_back_has_written_nothing(plant: Plant) -> None:
    plant.device.refuses = {22: 1, 3: 4}
    assert plant.ask("05 0017 ff00") == "8504"
    assert (plant.press.refused, plant.press.unknown) == (1, 0)


def test_an_unknown_outcome_is_counted_here_and_told_by_who_sends(
    plant: Plant, caplog: pytest.LogCaptureFixture
) -> None:
    plant.bringer.fails = OutcomeUnknown("no answer within 1 s")
    with caplog.at_level(logging.INFO):
        plant.ask("05 0017 ff00")
    assert plant.press.unknown == 1
    assert caplog.messages == []


def test_who_sends_is_told_whether_a_client_waits(plant: Plant) -> None:
    plant.bringer.waits = True
    plant.begin("06 000a 0001")
    plant.press.write(once(hexed("06 006e 0001")), "holding:110 (400111)", lambda *_: None, is_ours=True)
    assert [write.is_ours for write in plant.bringer.waiting] == [False, True]


# -- 23 -----------------------------------------------------------------------------------------------------------


def test_after_a_read_write_the_read_part_is_what_the_image_has_then(plant: Plant) -> None:
    def accepted(request: bytes) -> None:
        assert request.hex() == squeezed("10 006e 0002 04 1111 2222")
        plant.bank.put_registers(H, 10, request[6:])

    plant.bringer.on_written = accepted
    judged = plant.judged
    assert plant.ask("17 0009 0003 000a 0002 04 1111 2222") == squeezed("17 06 0000 1111 2222")
    assert plant.judged > judged, "what is old is told before it is read"


def test_a_read_part_without_a_value_forbids_the_write_and_one_that_lost_it_says_so(plant: Plant) -> None:
    (span,) = plant.bank.spans_in(H, 24, 1)
    plant.bank.block(span, 4)
    assert plant.ask("17 0018 0001 000a 0001 02 1111") == "9704"
    assert plant.ask("17 0018 0001 0014 0001 02 0001") == "9704"
    assert plant.device.take() == []
    plant.bank.unblock(span)
    plant.bringer.on_written = lambda request: plant.bank.block(span, 0x0B)
    assert plant.ask("17 0018 0001 000a 0001 02 1111") == "970b"
    assert plant.device.take() == [squeezed("10 006e 0001 02 1111")]


def test_a_read_write_of_one_tag_is_written_as_the_tag_is(plant: Plant) -> None:
    assert plant.ask("17 0000 0001 0014 0001 02 0001") == "17020000"
    assert plant.device.take() == ["06001e000a"]


# -- later --------------------------------------------------------------------------------------------------------


def test_the_client_is_answered_when_the_device_has_accepted(plant: Plant) -> None:
    plant.bringer.waits = True
    first, second = plant.begin("06 000a 0001"), plant.begin("10 0014 0001 02 0001")
    assert plant.press.waiting == 2
    assert not first.is_settled
    plant.bringer.run()
    assert first.answer == hexed("06 000a 0001")
    assert second.answer == hexed("10 0014 0001")
    assert (plant.press.waiting, plant.press.done) == (0, 2)


def test_a_client_that_has_gone_wants_nothing_any_more(plant: Plant) -> None:
    plant.bringer.waits = True
    later = plant.begin("06 000a 0001")
    (write,) = plant.bringer.waiting
    later.abandon()
    assert not write.wanted
    plant.bringer.run()
    assert later.is_settled, "and whoever asks is told"


def test_the_log_and_the_polls_are_given_what_they_need(plant: Plant) -> None:
    plant.bringer.waits = True
    plant.begin("10 0014 0004 08 0005 3f80 0000 0007")
    plant.begin("06 000a 0001")
    plant.begin("0f 0017 0002 01 03")
    tags, raw, bits = plant.bringer.waiting
    assert (tags.what, tags.hold_s) == ("holding:30..33 (400031..400034)", 2.0)
    assert (raw.what, raw.hold_s) == ("holding:110 (400111)", 0.0)
    assert bits.what == "holding:42 (400043)"
    assert [write.key for write in plant.bringer.waiting] == [None] * 3


def test_only_writes_of_the_same_places_replace_each_other() -> None:
    plant = Plant(latest_only=True)
    plant.bringer.waits = True
    requests = [
        ("06 000a 0001", "06 000a 0002", "10 000a 0001 02 0003"),
        ("06 000b 0001",),
        ("10 000a 0002 04 0001 0002",),
        ("16 000a fffe 0001", "16 000a fffe 0000"),
        ("16 000a fffd 0002",),
        ("05 000a ff00", "05 000a 0000"),
        ("06 0014 0001", "10 0014 0001 02 0002"),
        ("05 0017 ff00", "05 0017 0000"),
        ("05 0018 ff00",),
        ("0f 0017 0002 01 03",),
    ]
    keys = []
    for alike in requests:
        for request in alike:
            plant.begin(request)
        made = {write.key for write in plant.bringer.waiting}
        plant.bringer.waiting.clear()
        assert len(made) == 1
        keys += made
    assert None not in keys
    assert len(set(keys)) == len(requests)


OVERTAKING = ["06 000a 0001", "10 0009 0002 04 0000 0000", "16 001c fffe 0001", "05 000a ff00", "0f 0009 0002 01 00"]
WAITING = [
    "06 0009 0001",
    "03 000a 0001",
    "17 0000 0001 000a 0001 02 0001",
    "05 0009 ff00",
    "06 000a",
    "10",
    "2b 0e 01 00",
]


def test_writes_to_a_device_need_not_wait_for_each_other(plant: Plant) -> None:
    assert [plant.bank.may_overtake(hexed(request)) for request in OVERTAKING] == [True] * len(OVERTAKING)
    assert [plant.bank.may_overtake(hexed(request)) for request in WAITING] == [False] * len(WAITING)


def test_one_client_cannot_fill_a_devices_queue(plant: Plant) -> None:
    assert MAX_WRITES_AHEAD == 16, "of the 64 places of a writer"
    plant.bringer.waits = True
    for _ in range(MAX_WRITES_AHEAD - 1):
        plant.begin("06 000a 0001")
    assert all(plant.bank.may_overtake(hexed(request)) for request in OVERTAKING)
    plant.begin("06 000a 0001")
    assert not any(plant.bank.may_overtake(hexed(request)) for request in OVERTAKING)
    assert plant.bank.may_overtake(hexed("06 0019 0001")), "that goes to another device"
    plant.bringer.run()
    assert all(plant.bank.may_overtake(hexed(request)) for request in OVERTAKING)


# -- arranged anew ------------------------------------------------------------------------------------------------


def test_read_only_ranges_are_refused_also_where_they_would_go_to_a_device(plant: Plant) -> None:
    plant.through.arrange(plant.regions, [(H, 12, 2), (H, 28, 1), (C, 20, 1), (H, 0, 1)])
    for request in ("06 000c 0001", "10 000a 0003 06 0000 0000 0000", "16 001c fffe 0001", "16 001c ffff 0000"):
        assert plant.ask(request) == f"{int(request[:2], 16) | 0x80:02x}02"
    assert plant.ask("05 0014 ff00") == "8502"
    assert plant.device.take() == []
    assert plant.ask("06 000e 0001") == "06000e0001"


def test_with_nothing_to_write_through_the_bank_is_as_it_was(plant: Plant) -> None:
    functions = plant.bank.functions[:]
    plant.through.arrange([])
    assert plant.ask("06 000a 0001") == "8602"
    assert plant.bank.overtakes is None
    assert all(plant.bank.functions[code] != functions[code] for code in (5, 6, 15, 16, 22, 23))
    plant.through.arrange(plant.regions)
    assert plant.ask("06 000a 0001") == "06000a0001"
    assert plant.device.take() == ["06006e0001"]


def test_one_bit_of_the_device_in_two_places_of_ours_is_not_written_twice_at_once() -> None:
    device = BookDevice()
    press = Destination("press", Bringer(device))
    bank = Bank({C: [(0, 2)]})
    bank.claim([(C, 0, 1), (C, 1, 1)])
    Through(bank).arrange([TagRegion(press, C, at, None, tag("bool", 42, bit=7)) for at in (0, 1)])
    assert bank.answer(bytes.fromhex("0f00000002 01 02")) == b"\x8f\x02"
    bank.answer(bytes.fromhex("050000ff00"))
    assert device.take() == ["16002aff7f0080"]


def test_more_registers_than_one_request_can_write_are_refused() -> None:
    device = BookDevice()
    press = Destination("press", Bringer(device))
    bank = Bank({C: [(0, 200)]})
    regions = [TagRegion(press, C, at, None, tag("bool", at)) for at in range(200)]
    for span in bank.claim([(C, at, 1) for at in range(200)]):
        bank.unblock(span)
    Through(bank).arrange(regions)
    answer = bank.answer(bytes.fromhex("0f 0000 007b 10") + b"\xff" * 16)
    assert isinstance(answer, bytes)
    assert answer.hex() == "0f0000007b"
    assert device.holding[:124] == [1] * 123 + [0]
    assert bank.answer(bytes.fromhex("0f 0000 007c 10") + b"\xff" * 16) == b"\x8f\x02"
