"""Who may do what: the rules one by one, and the compiled ones beside a naive judge of single addresses."""

from __future__ import annotations

import gc
import ipaddress
import struct
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bank import Bank
from gateway.config.model_server import Rule
from gateway.front.access import EVERYTHING, Access, Host
from gateway.front.counters import Counters
from gateway.front.fifo import Queues
from gateway.front.freshness import Freshness
from gateway.front.gate import MAX_VIEWS, Entry, Gate, Origin
from gateway.front.units import Guard, Units
from gateway.interfaces import Later, Unit
from gateway.modbus import spec
from gateway.modbus.reach import is_write, touches
from gateway.modbus.spec import Table
from tests.support.wire import hexed

HOST = ipaddress.ip_address("10.1.2.3")
READS = "03 0000 0001", "01 0000 0001", "04 0000 0001", "02 0000 0001"
WRITES = "06 0000 0001", "05 0000 FF00", "10 0000 0001 02 0001", "0F 0000 0001 01 01", "16 0000 FFFF 0000"
OTHERS = "07", "0B", "0C", "11", "08 0000 1234", "2B 0E 01 00", "14 07 06 0001 0000 0001"
CHANGES = "08 0004 0000", "08 0001 0000", "2B 0D 00", "15 09 06 0001 0000 0001 0001", "41 00", "5A 01"


def rules(*rows: dict[str, Any]) -> list[Rule]:
    """Values as they stand in the YAML: text."""
    return [Rule.model_validate({key: as_text(value) for key, value in row.items()}) for row in rows]


def as_text(value: Any) -> Any:
    return list(map(str, value)) if isinstance(value, list) else str(value)


def access(*rows: dict[str, Any]) -> Access:
    return Access(rules(*rows))


def may(access: Access, pdu: str, unit: int = 1, host: Host | None = HOST, role: str | None = None) -> bool:
    rights = access.rights(host, role)
    return rights is not None and rights.allows(unit, hexed(pdu))


@pytest.mark.parametrize("pdu", [*READS, *WRITES, *OTHERS, *CHANGES])
def test_without_a_list_everybody_may_everything_and_nobody_is_asked(pdu: str) -> None:
    assert Access().rights(HOST, None) is EVERYTHING
    assert Access().rights(None, "viewer") is EVERYTHING
    assert may(Access(), pdu)


def test_who_may_write_everything_by_his_first_rule_is_asked_nothing() -> None:
    assert access({"from": "10.1.0.0/16", "may": "write"}, {"may": "nothing"}).rights(HOST, None) is EVERYTHING


@pytest.mark.parametrize(("pdus", "allowed"), [(READS, True), (OTHERS, True), (WRITES, False), (CHANGES, False)])
def test_may_read_is_every_function_that_is_known_to_change_nothing(pdus: Sequence[str], allowed: bool) -> None:
    readers = access({"may": "read"})
    for pdu in pdus:
        assert may(readers, pdu) is allowed, pdu


FIRST_IN = {"range": ["holding:0..9", "coils:5"], "may": "write"}
HOLES = {"range": "holding:100..109", "may": "nothing"}
READ = {"may": "read"}


@pytest.mark.parametrize(
    ("rows", "pdu", "allowed"),
    [
        pytest.param([FIRST_IN], "06 0009 0001", True, id="a range, inside"),
        pytest.param([FIRST_IN], "06 000A 0001", False, id="a range, behind it"),
        pytest.param([FIRST_IN], "03 0000 000A", True, id="who may write may read"),
        pytest.param([FIRST_IN], "10 0008 0002 04 00010001", True, id="the last two of a range"),
        pytest.param([FIRST_IN], "10 0009 0002 04 00010001", False, id="half in the range"),
        pytest.param([FIRST_IN], "04 0000 0001", False, id="the same addresses of another table"),
        pytest.param([FIRST_IN], "05 0005 FF00", True, id="the second of two ranges"),
        pytest.param([FIRST_IN], "11", False, id="a range does not fit functions without a table"),
        pytest.param([FIRST_IN, READ], "11", True, id="they go to the next rule"),
        pytest.param([FIRST_IN, READ], "10 0009 0002 04 00010001", False, id="two rules, one says no to its part"),
        pytest.param([FIRST_IN, READ], "03 0009 0002", True, id="two rules, both say yes to theirs"),
        pytest.param([HOLES, {"may": "write"}], "03 0060 0004", True, id="up to a hole"),
        pytest.param([HOLES, {"may": "write"}], "03 0060 0005", False, id="into a hole"),
        pytest.param([HOLES, {"may": "write"}], "03 006E 0001", True, id="behind a hole"),
        pytest.param([{"may": "write"}, HOLES], "06 0064 0001", True, id="the first rule that fits decides"),
        pytest.param([FIRST_IN, READ], "17 0064 0002 0000 0001 02 0001", True, id="23: each range by its own"),
        pytest.param([FIRST_IN], "17 0064 0002 0000 0001 02 0001", False, id="23: what is read counts"),
        pytest.param([FIRST_IN, READ], "17 0000 0002 0064 0001 02 0001", False, id="23: what is written counts"),
        pytest.param([{"table": "holding", "may": "read"}], "18 04DE", True, id="24 touches holding"),
        pytest.param([{"table": "coils", "may": "read"}], "18 04DE", False, id="24 touches nothing else"),
        pytest.param([{"range": "holding:10..41", "may": "read"}], "18 000A", True, id="24: count and queue"),
        pytest.param([{"range": "holding:10..40", "may": "read"}], "18 000A", False, id="24: what is queued counts"),
        pytest.param([{"range": "holding:65530..65535", "may": "read"}], "18 FFFA", True, id="24: up to the last"),
        pytest.param([{"table": ["coils", "input"], "may": "read"}], "04 FFFF 0001", True, id="tables"),
        pytest.param([{"table": "coils", "range": "holding:0", "may": "write"}], "06 0000 0001", False, id="both keys"),
        pytest.param([{"function": [3, 16], "may": "write"}], "10 0000 0001 02 0001", True, id="a function"),
        pytest.param([{"function": [3, 16], "may": "write"}], "06 0000 0001", False, id="not this function"),
        pytest.param(
            [{"function": 16, "may": "nothing"}, {"may": "write"}], "10 0000 0001 02 0001", False, id="not 16"
        ),
        pytest.param([{"function": 20, "may": "read"}], "14 07 06 0001 0000 0001", True, id="20 reads"),
        pytest.param([{"function": 21, "may": "read"}], "15 09 06 0001 0000 0001 0001", False, id="21 writes"),
        pytest.param([{"unit": [1, "5..9"], "may": "read"}], "03 0000 0001", True, id="a unit"),
        pytest.param([{"unit": "5..9", "may": "read"}], "03 0000 0001", False, id="not this unit"),
        pytest.param([READ], "03 FFFF 0002", True, id="past the last address: the unit refuses it, with 02"),
        pytest.param([FIRST_IN], "03 0000 0000", True, id="a count of 0: the unit refuses it, with 03"),
        pytest.param([FIRST_IN], "10 0000 0001 04 00010001", False, id="more data than its count says"),
        pytest.param([FIRST_IN], "06 0000 00", False, id="cut short"),
        pytest.param([FIRST_IN], "0F 0005 0001 02 0101", False, id="more bits than its count says"),
        pytest.param([{"may": "write", "function": 6}], "06 0000 00", True, id="cut short, and all of it allowed"),
    ],
)
def test_a_request(rows: list[dict[str, Any]], pdu: str, allowed: bool) -> None:
    assert may(access(*rows), pdu) is allowed


@pytest.mark.parametrize(
    ("networks", "host", "fits"),
    [
        ("10.1.0.0/16", "10.1.2.3", True),
        ("10.1.0.0/16", "10.2.2.3", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.4", False),
        (["192.168.0.0/24", "10.0.0.0/8"], "10.1.2.3", True),
        ("any", "10.1.2.3", True),
        ("any", "2001:db8::1", True),
        ("any", None, True),
        ("0.0.0.0/0", "10.1.2.3", True),
        ("0.0.0.0/0", "2001:db8::1", False),
        ("0.0.0.0/0", None, False),
        ("2001:db8::/32", "2001:db8::1", True),
        ("2001:db8::/32", "2001:db9::1", False),
    ],
)
def test_where_a_client_comes_from(networks: Any, host: str | None, fits: bool) -> None:
    address = None if host is None else ipaddress.ip_address(host)
    assert may(access({"from": networks, "may": "read"}), READS[0], host=address) is fits


@pytest.mark.parametrize(
    ("roles", "role", "fits"),
    [
        ("operator", "operator", True),
        ("operator", "viewer", False),
        ("operator", None, False),
        (["viewer", "operator"], "operator", True),
        ("none", None, True),
        ("none", "operator", False),
    ],
)
def test_the_role_of_a_client(roles: Any, role: str | None, fits: bool) -> None:
    assert may(access({"role": roles, "may": "read"}), READS[0], role=role) is fits


@pytest.mark.parametrize(
    ("rows", "comes_in"),
    [
        pytest.param([], False, id="an empty list"),
        pytest.param([{"from": "10.2.0.0/16", "may": "write"}], False, id="no rule for it"),
        pytest.param([{"from": "10.1.0.0/16", "may": "nothing"}, {"may": "read"}], False, id="shut out by a rule"),
        pytest.param([{"role": "operator", "may": "read"}], False, id="no such role"),
        pytest.param([{"unit": 3, "may": "nothing"}, {"table": "coils", "may": "nothing"}], False, id="only refusals"),
        pytest.param([{"unit": 3, "may": "nothing"}, {"unit": 4, "may": "read"}], True, id="one thing"),
        pytest.param([{"may": "read"}], True, id="reads"),
    ],
)
def test_whom_no_rule_can_give_anything_does_not_come_in(rows: list[dict[str, Any]], comes_in: bool) -> None:
    assert (access(*rows).rights(HOST, None) is not None) is comes_in


# -- the compiled rules beside a naive judge ---------------------------------------------------------------------

NETWORKS = ["any", "10.1.0.0/16", "10.1.2.3", "10.2.0.0/16", "2001:db8::/32"]
UNITS = [1, 2, "2..4", 9]
RANGES = ["holding:0..9", "holding:5", "holding:8..20", "holding:65530..65535", "coils:0..9", "input:3..4"]
FUNCTIONS = [3, 6, 8, 16, 20, 21, 23, 24, 43, 65]


def some(values: list[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=3, unique_by=str)


RULE = st.fixed_dictionaries(
    {"may": st.sampled_from(["write", "read", "nothing"])},
    optional={
        "from": some(NETWORKS),
        "role": some(["operator", "viewer", "none"]),
        "unit": st.sampled_from(UNITS).map(lambda unit: [unit]),
        "table": some(["coils", "discrete", "holding", "input"]),
        "range": some(RANGES),
        "function": some(FUNCTIONS),
    },
)
FIRST = st.sampled_from([0, 3, 5, 8, 9, 10, 20, 100, 65530, 65535])
COUNT = st.sampled_from([0, 1, 2, 5, 12])


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    function = draw(st.sampled_from([1, 2, 3, 4, 5, 6, 15, 16, 22, 23, 24, 8, 43, 7, 20, 21, 65]))
    first, count = draw(FIRST), draw(COUNT)
    if function in (1, 2, 3, 4, 5, 6):
        return struct.pack(">BHH", function, first, count)
    if function in (15, 16):
        size = 2 * count if function == 16 else (count + 7) // 8
        return struct.pack(">BHHB", function, first, count, size) + bytes(size)
    if function == 22:
        return struct.pack(">BHHH", function, first, 0, 0)
    if function == 23:
        return struct.pack(">BHHHHB", function, draw(FIRST), draw(COUNT), first, count, 2 * count) + bytes(2 * count)
    if function == 24:
        return struct.pack(">BH", function, first)
    tail = draw(st.sampled_from([b"", b"\0\0\0\0", b"\0\4\0\0", b"\x0e\1\0", b"\x0d"]))
    return bytes((function,)) + tail


def naive(rows: list[Rule], host: Host | None, role: str | None, unit: int, pdu: bytes) -> bool:
    """Rule by rule, address by address, as the documentation says it."""
    needs = [
        (touch.table, address, touch.writes)
        for touch in touches(pdu)
        for address in range(touch.first, min(touch.stop, 65536))
    ] or [(None, 0, is_write(pdu))]
    return all(decided(rows, host, role, unit, pdu[0], table, address, writes) for table, address, writes in needs)


def decided(
    rows: list[Rule],
    host: Host | None,
    role: str | None,
    unit: int,
    function: int,
    table: Table | None,
    address: int,
    writes: bool,
) -> bool:
    for rule in rows:
        if not any(network is None or (host is not None and host in network) for network in rule.from_):
            continue
        if rule.role is not None and (role or "none") not in rule.role:
            continue
        if rule.unit is not None and not any(unit in ids.ids for ids in rule.unit):
            continue
        if rule.function is not None and function not in rule.function:
            continue
        if rule.table is not None and (table is None or table.word not in rule.table):
            continue
        if rule.range is not None and not any(
            table is each.table and each.first <= address < each.stop for each in rule.range
        ):
            continue
        return rule.may == "write" or (rule.may == "read" and not writes)
    return False


@given(
    st.lists(RULE, max_size=6),
    st.sampled_from(["10.1.2.3", "10.1.9.9", "10.2.0.1", "2001:db8::5", "2001:db9::5", None]),
    st.sampled_from(["operator", "viewer", None]),
    st.sampled_from([1, 2, 4, 9]),
    st.lists(requests(), min_size=1, max_size=8),
)
def test_the_compiled_rules_judge_as_the_naive_ones(
    rows: list[dict[str, Any]], host: str | None, role: str | None, unit: int, pdus: list[bytes]
) -> None:
    listed = rules(*rows)
    address = None if host is None else ipaddress.ip_address(host)
    rights = Access(listed).rights(address, role)
    for pdu in pdus:
        expected = naive(listed, address, role, unit, pdu)
        assert (rights is not None and rights.allows(unit, pdu)) is expected, pdu.hex()
        if rights is None:
            assert not Access(listed).welcomes(address) or any(rule.role is not None for rule in listed)


# -- the gate and its guards -------------------------------------------------------------------------------------


class Echo:
    """A unit that answers everything."""

    def answer(self, pdu: bytes) -> bytes | Later | None:
        return pdu

    def may_overtake(self, pdu: bytes) -> bool:
        return pdu[0] == 3


def make_gate(*rows: dict[str, Any], units: Units | None = None) -> Gate:
    bank = Bank({Table.HOLDING: [(0, 100)]})
    gate = Gate(units or Units({1: bank, 2: Echo()}, 1, "gateway_path"), Freshness(lambda: 0.0), Counters())
    gate.access = access(*rows) if rows else Access()
    return gate


def admit(gate: Gate, host: str = "10.1.2.3", role: str | None = None) -> Entry:
    entry = gate.admit(Origin(f"{host}:1", ipaddress.ip_address(host), "tcp://door", role))
    assert entry is not None
    return entry


def test_who_may_everything_gets_the_bare_units() -> None:
    gate = make_gate({"from": "10.1.0.0/16", "may": "write"}, {"may": "read"})
    entry = admit(gate)
    assert entry.slots is gate.units.slots
    assert entry.plans is gate.units.plans


def test_a_refused_request_gets_01_and_is_counted_and_the_unit_hears_nothing() -> None:
    gate = make_gate({"may": "read"})
    entry = admit(gate)
    assert entry.ask(1, hexed("06 0000 0001")) == hexed("86 01")
    assert entry.ask(1, hexed("03 0000 0001")) == hexed("03 02 0000")
    assert gate.counters.denied == 1


def test_a_read_only_range_of_the_image_is_still_refused_with_02() -> None:
    gate = make_gate({"range": "holding:0..99", "may": "write"})
    bank = gate.units.slots[1]
    assert isinstance(bank, Bank)
    bank.protect([(Table.HOLDING, 5, 1)])
    assert admit(gate).ask(1, hexed("06 0005 0001")) == hexed("86 02")


def test_the_unit_id_that_is_meant_is_judged() -> None:
    entry = admit(make_gate({"unit": 1, "may": "read"}))
    assert [entry.ask(unit, hexed("03 0000 0001")) for unit in (0, 255, 1)] == [hexed("03 02 0000")] * 3
    assert entry.ask(2, hexed("03 0000 0001")) == hexed("83 01")


def test_a_unit_that_is_not_there_is_the_same_nothing_for_all() -> None:
    assert admit(make_gate({"unit": 1, "may": "read"})).ask(9, hexed("03 0000 0001")) == hexed("83 0A")


def test_ids_that_mean_the_same_unit_share_one_guard_that_asks_it_who_may_overtake() -> None:
    entry = admit(make_gate({"may": "read"}))
    assert entry.slots[0] is entry.slots[1] is entry.slots[255]
    echo = entry.slots[2]
    assert echo.may_overtake(b"\3")
    assert not echo.may_overtake(b"\6")


def test_all_for_whom_the_same_rules_are_left_share_a_view_and_others_do_not() -> None:
    gate = make_gate({"from": "10.1.0.0/16", "unit": 1, "may": "read"}, {"unit": 2, "may": "read"})
    one, other, stranger = admit(gate), admit(gate, "10.1.9.9"), admit(gate, "10.9.9.9")
    assert one.plans is other.plans
    assert one.slots is other.slots
    assert one.plans is not stranger.plans


READ_FIVE = hexed("00 01 00 00 00 06 01 03 00 05 00 01")


def test_a_read_that_was_remembered_for_one_client_is_not_there_for_another() -> None:
    gate = make_gate(
        {"from": "10.1.0.0/16", "range": "holding:5", "may": "read"}, {"range": "holding:6", "may": "read"}
    )
    one, other = admit(gate), admit(gate, "10.9.9.9")
    pdu = READ_FIVE[7:]
    assert one.ask(1, pdu) == hexed("03 02 0000")
    one.remember(READ_FIVE[2:], one.slots[1], pdu)
    assert READ_FIVE[2:] in one.plans
    assert READ_FIVE[2:] not in other.plans
    assert READ_FIVE[2:] not in gate.units.plans
    assert other.ask(1, pdu) == hexed("83 01")


def test_what_loses_its_value_is_forgotten_in_every_view_at_once() -> None:
    gate = make_gate({"from": "10.1.0.0/16", "may": "read"}, {"range": "holding:0..9", "may": "read"})
    bank = gate.units.slots[1]
    assert isinstance(bank, Bank)
    (span,) = bank.claim([(Table.HOLDING, 5, 1)])
    bank.unblock(span)
    entries = [admit(gate), admit(gate, "10.9.9.9")]
    for entry in entries:
        entry.remember(READ_FIVE[2:], entry.slots[1], READ_FIVE[7:])
        assert entry.plans
    bank.block(span, spec.GATEWAY_TARGET_FAILED)
    assert [entry.plans for entry in entries] == [{}, {}]


def test_other_units_are_seen_through_the_same_view_and_the_guard_of_one_that_stays_stays() -> None:
    gate = make_gate({"unit": [1, 2, 3], "may": "read"})
    entry = admit(gate)
    bank, echo = gate.units.slots[1], gate.units.slots[2]
    stays, goes = entry.slots[1], entry.slots[2]
    gate.units.replace({1: bank, 2: Echo(), 3: echo}, 2, "silent")
    assert entry.slots[1] is stays
    assert entry.slots[2] is not goes
    guard = entry.slots[0]
    assert isinstance(guard, Guard)
    assert guard is entry.slots[2], "0 means another unit now"
    assert isinstance(entry.slots[3], Guard)
    assert entry.slots[9].answer(hexed("03 0000 0001")) is None


def test_a_view_goes_when_nobody_uses_it_and_a_few_are_kept() -> None:
    gate = make_gate(*({"from": f"10.1.0.{n}", "unit": n, "may": "read"} for n in range(1, 201)))
    for n in range(1, 201):
        admit(gate, f"10.1.0.{n}")
    gc.collect()
    assert len(gate.units._views) == MAX_VIEWS


class Heard(Echo):
    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def answer(self, pdu: bytes) -> bytes | Later | None:
        self.heard.append(pdu)
        return pdu


@pytest.mark.parametrize(("last", "code"), [(14, None), (13, 1)])
def test_the_size_of_a_queue_of_ours_is_what_function_24_reaches(last: int, code: int | None) -> None:
    bank = Bank({Table.HOLDING: [(0, 100)]})
    bank.queues = {10: 4}
    bank.serve(spec.READ_FIFO_QUEUE, Queues(bank, bank.queues).answer)
    gate = make_gate({"range": f"holding:10..{last}", "may": "read"}, units=Units({1: bank}, 1, "gateway_path"))
    expected = hexed("18 0002 0000") if code is None else bytes((0x98, code))
    assert admit(gate).ask(1, hexed("18 000A")) == expected


def test_a_broadcast_reaches_those_whose_units_the_client_may_all_write() -> None:
    gate = make_gate({"unit": [1, 2], "may": "write"}, {"may": "read"})
    one, line, mixed = Heard(), Heard(), Heard()
    gate.units.broadcasts[:] = [((1,), one), ((1, 2), line), ((2, 3), mixed)]
    entry = admit(gate)
    write, read = hexed("06 0000 0001"), hexed("03 0000 0001")
    entry.broadcast(write)
    entry.broadcast(read)
    assert (one.heard, line.heard, mixed.heard) == ([write], [write], [])
    assert gate.counters.denied == 1


def test_a_unit_that_is_all_units_of_a_line_wants_the_rights_of_each() -> None:
    gate = make_gate({"unit": 9, "range": "holding:5", "may": "nothing"}, {"unit": [2, 7, 9], "may": "write"}, READ)
    line = Heard()
    units: dict[int, Unit] = {7: line, 9: Heard(), 2: Heard()}
    gate.units.replace(units, 2, "silent", (), {7: (7, 9)})
    entry = admit(gate)
    allowed, refused = hexed("06 0004 0001"), hexed("06 0005 0001")
    assert entry.slots[7].answer(allowed) == allowed
    assert entry.slots[7].answer(refused) == hexed("86 01")
    assert (line.heard, gate.counters.denied) == ([allowed], 1)
    guard = entry.slots[7]
    gate.units.replace(units, 2, "silent", (), {7: (7, 9)})
    assert entry.slots[7] is guard, "nothing has changed"
    gate.units.replace(units, 2, "silent", (), {7: (7, 2)})
    assert entry.slots[7].answer(refused) == refused
    gate.units.replace(units, 2, "silent", (), {7: (7, 3)})
    assert entry.slots[7].answer(allowed) == hexed("86 01")
