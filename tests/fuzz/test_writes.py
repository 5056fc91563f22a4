"""Any write to an image of mixed owners: what the devices and the image have afterwards, and the answer, by the book.

The book is written for plainness: a list of cells with their owners, one rule of config.md after the other. Nothing of
the code under test is in it; it judges what the devices remember, not how they were asked.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway.bank import Bank
from gateway.errors import LinkDown
from gateway.interfaces import Later
from gateway.modbus.spec import Table
from gateway.values import TYPES, Tag
from gateway.writing.destination import Destination
from gateway.writing.regions import RawRegion, Region, TagRegion
from gateway.writing.through import Through
from tests.support.written import BookDevice, Bringer

H, C = Table.HOLDING, Table.COILS


@dataclass
class Cell:
    """A part of our image. `kind`: own, closed (mapped without write), raw, a tag's kind, or bits."""

    kind: str
    first: int
    width: int
    device: int = 0
    at: int = 0
    bits: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Of a register of ours: bit -> (register, bit) at the device."""


REGISTER_TAGS: dict[str, tuple[str, dict[str, object], int, Callable[[list[int]], list[int] | None]]] = {
    "plain": ("uint16", {}, 1, lambda words: words),
    "scaled": (
        "int16",
        {"scale": Fraction("0.1"), "limits": (Fraction(0), Fraction(100))},
        1,
        lambda words: [words[0] * 10] if words[0] <= 100 else None,
    ),
    "swapped": ("uint32", {"order": "CDAB"}, 2, lambda words: words[::-1]),
    "bool": ("bool", {}, 1, lambda words: words if words[0] in (0, 1) else None),
    "float": ("float32", {"order": "DCBA"}, 2, lambda words: _float(words)),
}
"""Type, what else the tag has, its registers, and what the device gets for what the client writes."""


def _float(words: list[int]) -> list[int] | None:
    if words[0] & 0x7F80 == 0x7F80:
        return None
    return [(word >> 8 | word << 8) & 0xFFFF for word in words[::-1]]


def width_of(draw: st.DrawFn, kind: str) -> int:
    if kind in ("own", "raw"):
        return draw(st.integers(1, 4))
    return REGISTER_TAGS[kind][2] if kind in REGISTER_TAGS else 1


@st.composite
def layouts(draw: st.DrawFn, table: Table) -> list[Cell]:
    """Cells side by side; at the devices mostly, too, sometimes the other way round."""
    tags = [*REGISTER_TAGS, "bits"] if table is H else ["coil", "bit", "register"]
    alike = [["plain", "swapped", "float"], ["bits"]] if table is H else [["coil"], ["bit"], ["register"]]
    palette = draw(st.sampled_from([["own", "closed", "raw", *tags, *tags], *alike]))
    kinds = draw(st.lists(st.sampled_from(palette), min_size=3, max_size=12))
    tidy = draw(st.booleans())
    devices = st.just(0) if tidy else st.sampled_from([0, 0, 0, 1])
    gaps = st.just(0) if tidy else st.sampled_from([0, 0, 0, 1])
    cells, first, at = [], 0, draw(st.integers(0, 30))
    for kind in kinds:
        cell = Cell(kind, first, width_of(draw, kind), draw(devices), at + draw(gaps))
        if kind in ("bits", "bit"):
            register = draw(st.sampled_from([cell.at, 300, 300]))
            names = sorted(draw(st.sets(st.integers(0, 15), min_size=1, max_size=4))) if kind == "bits" else [0]
            cell.bits = {bit: (register + draw(gaps), draw(st.integers(0, 15))) for bit in names}
        cells.append(cell)
        first += cell.width
        at = max(at, cell.at + cell.width)
    if draw(st.booleans()):
        stop = cells[0].at + at
        for cell in cells:
            cell.at = stop - cell.at - cell.width
    return cells


class Refusal(Exception):
    pass


def check(holds: bool, code: int) -> None:
    if not holds:
        raise Refusal(code)


class Book:
    """What config.md says about writes."""

    def __init__(self, holding: list[Cell], coils: list[Cell], mode: str) -> None:
        self.cells = {H: {a: c for c in holding for a in range(c.first, c.first + c.width)}}
        self.cells[C] = {a: c for c in coils for a in range(c.first, c.first + c.width)}
        self.image = {table: [0] * (len(cells) + 8) for table, cells in self.cells.items()}
        self.devices = [BookDevice(), BookDevice()]
        self.mode = mode

    def answer(self, pdu: bytes) -> bytes:
        try:
            return self._answer(pdu)
        except Refusal as refusal:
            return bytes((pdu[0] | 0x80, refusal.args[0]))

    def _answer(self, pdu: bytes) -> bytes:
        function, data = pdu[0], pdu[1:]
        if function in (5, 6):
            check(len(data) == 4, 3)
            address, value = struct.unpack(">HH", data)
            check(function == 6 or value in (0, 0xFF00), 3)
            self.write(H if function == 6 else C, address, [value if function == 6 else value >> 15])
            return pdu
        if function in (15, 16):
            check(len(data) >= 5 + (function == 16), 3)
            first, count, size = struct.unpack(">HHB", data[:5])
            octets = data[5:]
            if function == 15:
                check(1 <= count <= 1968 and size == len(octets) == (count + 7) // 8, 3)
                self.write(C, first, [octets[i // 8] >> i % 8 & 1 for i in range(count)])
            else:
                check(1 <= count <= 123 and size == len(octets) == 2 * count, 3)
                self.write(H, first, list(struct.unpack(f">{count}H", octets)))
            return pdu[:5]
        if function == 22:
            check(len(data) == 6, 3)
            self.mask(*struct.unpack(">HHH", data))
            return pdu
        assert function == 23
        check(len(data) >= 9, 3)
        read_first, read_count, first, count, size = struct.unpack(">HHHHB", data[:9])
        octets = data[9:]
        check(1 <= read_count <= 125 and 1 <= count <= 121 and size == len(octets) == 2 * count, 3)
        check(all(a in self.cells[H] for a in range(read_first, read_first + read_count)), 2)
        self.write(H, first, list(struct.unpack(f">{count}H", octets)))
        values = self.image[H][read_first : read_first + read_count]
        return bytes((23, 2 * read_count)) + struct.pack(f">{read_count}H", *values)

    def write(self, table: Table, first: int, values: list[int]) -> None:
        stop = first + len(values)
        check(all(a in self.cells[table] for a in range(first, stop)), 2)
        cells = list({id(c): c for c in (self.cells[table][a] for a in range(first, stop))}.values())
        kinds = {cell.kind for cell in cells}
        if kinds == {"own"}:
            self.image[table][first:stop] = values
            return
        check(not kinds & {"own", "closed"}, 2)
        if "raw" in kinds:
            check(len(cells) == 1, 2)
            self.reach(False)
            memory = self.memory(cells[0].device, table)
            at = cells[0].at + first - cells[0].first
            memory[at : at + len(values)] = values
            return
        check(all(first <= c.first and c.first + c.width <= stop for c in cells), 2)
        check(len({c.device for c in cells}) == 1, 2)
        parts = [(c, values[c.first - first : c.first - first + c.width]) for c in cells]
        if kinds <= {"bits", "bit"}:
            wanted = [(c, bit, words[0] >> bit & 1) for c, words in parts for bit in c.bits]
            check(all(words[0] == sum(words[0] & 1 << bit for bit in c.bits) for c, words in parts), 2)
            self.set_bits(wanted)
            return
        check(not kinds & {"bits", "bit"}, 2)
        check(kinds == {"coil"} or "coil" not in kinds, 2)
        parts.sort(key=lambda part: part[0].at)
        check(all(a.at + a.width == b.at for (a, _), (b, _) in pairwise(parts)), 2)
        converted = [REGISTER_TAGS[c.kind][3](words) if table is H else words for c, words in parts]
        check(None not in converted, 3)
        self.reach(False)
        memory = self.memory(cells[0].device, C if kinds == {"coil"} else H)
        for (cell, _), words in zip(parts, converted, strict=True):
            assert words is not None
            memory[cell.at : cell.at + cell.width] = words

    def mask(self, address: int, and_mask: int, or_mask: int) -> None:
        check(address in self.cells[H], 2)
        cell = self.cells[H][address]
        check(cell.kind in ("own", "raw", "plain", "bits"), 2)
        if cell.kind == "bits":
            changed = [bit for bit in range(16) if not and_mask >> bit & 1]
            check(all(bit in cell.bits for bit in changed), 2)
            if changed:
                self.set_bits([(cell, bit, or_mask >> bit & 1) for bit in changed])
            return
        memory, at = self.image[H], address
        if cell.kind != "own":
            self.reach(True)
            memory, at = self.devices[cell.device].holding, cell.at + address - cell.first
        memory[at] = (memory[at] & and_mask) | (or_mask & (0xFFFF - and_mask))

    def set_bits(self, wanted: list[tuple[Cell, int, int]]) -> None:
        """Of one register, each once."""
        places = [cell.bits[bit] for cell, bit, _ in wanted]
        check(len({at for at, _ in places}) == 1 and len(set(places)) == len(places), 2)
        self.reach(False)
        holding = self.devices[wanted[0][0].device].holding
        for (at, place), (_, _, on) in zip(places, wanted, strict=True):
            holding[at] = holding[at] & ~(1 << place) | on << place

    def memory(self, device: int, table: Table) -> list[int]:
        return self.devices[device].coils if table is C else self.devices[device].holding

    def reach(self, masks: bool) -> None:
        """The device is asked: as it is."""
        check(self.mode != "down", 0x0B)
        check(self.mode != "refuses", 4)
        check(not (masks and self.mode == "no 22"), 1)


@dataclass
class Gateway:
    """The same, by the code under test."""

    holding: list[Cell]
    coils: list[Cell]
    mode: str
    force_multiple: bool

    def __post_init__(self) -> None:
        self.devices = [BookDevice(), BookDevice()]
        self.destinations = []
        for number, device in enumerate(self.devices):
            bringer = Bringer(device)
            if self.mode == "down":
                bringer.fails = LinkDown("not connected")
            if self.mode == "refuses":
                device.refuses = dict.fromkeys(range(1, 256), 4)
            if self.mode == "no 22":
                device.refuses = {22: 1}
            self.destinations.append(Destination(str(number), bringer, force_multiple=self.force_multiple))
        sizes = {table: sum(c.width for c in cells) for table, cells in ((H, self.holding), (C, self.coils))}
        self.bank = Bank({table: [(0, size)] for table, size in sizes.items()})
        self.regions: list[Region] = []
        self.places: list[tuple[Table, int, int]] = []
        for table, cells in ((H, self.holding), (C, self.coils)):
            for cell in cells:
                self._map(table, cell)
        for span in self.bank.claim(self.places):
            self.bank.unblock(span)
        Through(self.bank).arrange(self.regions)

    def _map(self, table: Table, cell: Cell) -> None:
        if cell.kind == "own":
            return
        self.places += [(table, cell.first, cell.width)] * (len(cell.bits) or 1)
        to = self.destinations[cell.device]
        if cell.kind == "raw":
            self.regions.append(RawRegion(to, table, cell.first, cell.width, cell.at))
        elif cell.kind == "coil":
            self.regions.append(TagRegion(to, table, cell.first, None, Tag("t", C, cell.at, 1, "bool")))
        elif cell.kind == "register":
            self.regions.append(TagRegion(to, table, cell.first, None, Tag("t", H, cell.at, 1, "bool")))
        elif cell.kind in ("bits", "bit"):
            for bit, (at, place) in cell.bits.items():
                ours = bit if table is H else None
                self.regions.append(TagRegion(to, table, cell.first, ours, Tag("t", H, at, 1, "bool", bit=place)))
        elif cell.kind != "closed":
            type_, more, registers, _ = REGISTER_TAGS[cell.kind]
            assert registers == TYPES[type_].registers
            limits = more.get("limits")
            one = Tag("t", H, cell.at, registers, type_, **{k: v for k, v in more.items() if k != "limits"})  # type: ignore[arg-type]
            self.regions.append(TagRegion(to, table, cell.first, None, one, limits=limits))  # type: ignore[arg-type]

    def answer(self, pdu: bytes) -> bytes:
        answer = self.bank.answer(pdu)
        if isinstance(answer, Later):
            assert answer.is_settled
            answer = answer.answer
        assert isinstance(answer, bytes)
        return answer

    def image(self) -> tuple[bytes, bytes]:
        return (
            self.bank.get(H, 0, sum(c.width for c in self.holding)),
            self.bank.get(C, 0, sum(c.width for c in self.coils)),
        )


far = st.one_of(st.integers(0, 50), st.integers(0, 0xFFFF))
word = st.one_of(st.sampled_from([0, 1, 2, 50, 100, 101, 0x7F80, 0x3F80, 0xFF00]), st.integers(0, 0xFFFF))
few = st.sets(st.integers(0, 15), max_size=3).map(lambda bits: 0xFFFF - sum(1 << bit for bit in bits))


@st.composite
def writes(draw: st.DrawFn, holding: list[Cell], coils: list[Cell]) -> bytes:
    """Mostly well-formed, mostly from the beginning of a cell to the end of the same or a later one."""
    function = draw(st.sampled_from([5, 6, 15, 16, 22, 23]))
    cells = coils if function in (5, 15) else holding
    index = draw(st.integers(0, len(cells) - 1))
    first = cells[index].first + draw(st.sampled_from([0, 0, 0, 0, 1]))
    last = cells[min(index + draw(st.sampled_from([0, 0, 1, 2, 3])), len(cells) - 1)]
    length = max(last.first + last.width - first + draw(st.sampled_from([0, 0, 0, 0, -1, 1])), 0)
    if draw(st.integers(0, 9)) == 9:
        first, length = draw(far), draw(st.integers(0, 130))
    if function == 5:
        return struct.pack(">BHH", 5, first, draw(st.one_of(st.sampled_from([0, 0xFF00, 0xFF00]), word)))
    if function == 6:
        return struct.pack(">BHH", 6, first, draw(word))
    if function == 22:
        bits = list(cells[index].bits)
        mapped = st.sets(st.sampled_from(bits)) if bits else st.just(set[int]())
        mask = st.one_of(mapped.map(lambda bits: 0xFFFF - sum(1 << bit for bit in bits)), few)
        return struct.pack(">BHHH", 22, first, draw(mask), draw(word))
    if function == 15:
        octets = draw(st.binary(min_size=(length + 7) // 8, max_size=(length + 7) // 8))
    else:
        length = min(length, 121)
        words = draw(st.lists(word, min_size=length, max_size=length))
        for cell in cells:  # a register of bits: mostly no others
            if cell.bits and first <= cell.first < first + length and draw(st.booleans()):
                words[cell.first - first] &= sum(1 << bit for bit in cell.bits)
        octets = struct.pack(f">{length}H", *words)
    head = struct.pack(">BHHB", function, first, length, len(octets))
    if function == 23:
        read_first, read_count = draw(
            st.sampled_from([(0, 1), (0, 3), (first, length), (length, 130), (1, 0), (60, 1)])
        )
        head = struct.pack(">BHHHHB", 23, read_first, read_count, first, length, len(octets))
    return (head + octets)[:253]


@st.composite
def scenarios(draw: st.DrawFn) -> tuple[list[Cell], list[Cell], list[bytes]]:
    holding, coils = draw(layouts(H)), draw(layouts(C))
    some = writes(holding, coils)
    mangled = st.builds(lambda pdu, cut, more: pdu[: max(1, len(pdu) - cut)] + more, some, cuts, st.binary(max_size=3))
    pdus = draw(st.lists(st.one_of(some, some, some, mangled), min_size=3, max_size=15))
    return holding, coils, pdus


cuts = st.integers(0, 4)


@given(
    scenario=scenarios(),
    mode=st.sampled_from(["fine", "fine", "no 22", "refuses", "down"]),
    force_multiple=st.booleans(),
)
def test_every_write_goes_where_it_belongs_or_nowhere(
    scenario: tuple[list[Cell], list[Cell], list[bytes]], mode: str, force_multiple: bool
) -> None:
    holding, coils, pdus = scenario
    gateway = Gateway(holding, coils, mode, force_multiple)
    # With 15 and 16 only, masks are never sent: a device without them is as good.
    book = Book(holding, coils, "fine" if mode == "no 22" and force_multiple else mode)
    before = gateway.image()

    for pdu in pdus:
        asked = [len(device.asked) for device in gateway.devices]
        answer = gateway.answer(pdu)

        assert answer == book.answer(pdu), pdu.hex(" ")
        for device, remembered in zip(gateway.devices, book.devices, strict=True):
            assert device.holding == remembered.holding, pdu.hex(" ")
            assert device.coils == remembered.coils, pdu.hex(" ")
        new = [device.asked[n:] for device, n in zip(gateway.devices, asked, strict=True)]
        assert not (new[0] and new[1]), "one device"
        accepted = [one for one in new[0] + new[1] if one[0] > 4 and one[0] not in gateway.devices[0].refuses]
        assert len(accepted) <= 1, "one request"
        if answer[0] & 0x80:
            assert not accepted
            assert gateway.image() == before
        before = gateway.image()
        words = b"".join(value.to_bytes(2, "big") for value in book.image[H][: len(before[0]) // 2])
        assert before[0] == words
        assert [before[1][a >> 3] >> (a & 7) & 1 for a in book.cells[C]] == [book.image[C][a] for a in book.cells[C]]
