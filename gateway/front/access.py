"""Who may do what: the rules of `access`, compiled once and applied per request.

The meaning, in one sentence: each address that a request touches is decided by the first rule that fits it, and the
request is allowed when all of them are decided in its favour; where no rule fits, it is refused. A function without a
table (files, diagnostics, vendors' own) is decided by the rules that name no table and no range.

Two steps make it cheap. What a rule says of networks and roles is settled when the client comes (`Access.rights`); what
it says of units and functions is worked out once for each of them and kept (`Rights`), mostly as a plain yes or no.
Only a function whose fate depends on the addresses is looked at request by request. Who may do everything is asked
nothing at all.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise
from typing import NamedTuple

from gateway.config.model_server import Rule
from gateway.config.rights import NO_ROLE
from gateway.modbus import spec
from gateway.modbus.reach import MANY, MAY_WRITE, Touch, is_write, touches
from gateway.modbus.spec import ADDRESSES, Table

Host = IPv4Address | IPv6Address
_Network = tuple[int, int, int]
"""IP version, mask, address: ten times faster than the library's own comparison."""

NOTHING, READ, WRITE = range(3)
"""What may be done; the greater includes the less."""
_LEVELS = {"nothing": NOTHING, "read": READ, "write": WRITE}

UNKNOWN, REFUSED, ALLOWED, LOOK = range(4)
"""Of a function: not worked out yet; never; always; it depends on what follows the code."""

_READS_OF = {
    **{function: (table, READ) for function, table in spec.TABLE_BY_READ_FUNCTION.items()},
    spec.READ_FIFO_QUEUE: (Table.HOLDING, READ),
}
_WRITES_OF = {
    spec.WRITE_SINGLE_COIL: (Table.COILS, WRITE),
    spec.WRITE_MULTIPLE_COILS: (Table.COILS, WRITE),
    spec.WRITE_SINGLE_REGISTER: (Table.HOLDING, WRITE),
    spec.WRITE_MULTIPLE_REGISTERS: (Table.HOLDING, WRITE),
    spec.MASK_WRITE_REGISTER: (Table.HOLDING, WRITE),
    spec.READ_WRITE_MULTIPLE_REGISTERS: (Table.HOLDING, WRITE),
}
_TABLES = {**_READS_OF, **_WRITES_OF}
"""The functions that have a table, and the most that they need of it."""

_FIXED_SIZES = {
    **dict.fromkeys((*spec.TABLE_BY_READ_FUNCTION, spec.WRITE_SINGLE_COIL, spec.WRITE_SINGLE_REGISTER), 5),
    spec.MASK_WRITE_REGISTER: 7,
    spec.READ_FIFO_QUEUE: 3,
}


class Terms(NamedTuple):
    """What a rule says when it is known who asks."""

    units: frozenset[int] | None
    """None: all."""
    ranges: tuple[tuple[Table, int, int], ...] | None
    """(table, first, stop); None: all, and functions without a table."""
    functions: frozenset[int] | None
    """None: all."""
    may: int

    @property
    def is_for_all(self) -> bool:
        """Whether it decides whatever reaches it."""
        return self.units is None and self.ranges is None and self.functions is None


class Access:
    """One list of rules."""

    def __init__(self, rules: Iterable[Rule] | None = None) -> None:
        """None: there is no list, everybody may do everything."""
        self._rules = None if rules is None else [(_networks(rule), _roles(rule), _terms(rule)) for rule in rules]

    def rights(self, host: Host | None, role: str | None) -> Rights | None:
        """What whoever comes from there may do. `EVERYTHING`, or Rights of which one thing at least may be done, or
        None: nothing. `host` None: a serial line. Equal rights are equal."""
        if self._rules is None:
            return EVERYTHING
        role = NO_ROLE if role is None else role
        left: list[Terms] = []
        for networks, roles, terms in self._rules:
            if roles is not None and role not in roles:
                continue
            if not _are_from(host, networks):
                continue
            left.append(terms)
            if terms.is_for_all:
                break
        while left and left[-1].may == NOTHING:  # where no rule fits, it is refused as well
            left.pop()
        if not left:
            return None
        return EVERYTHING if left[0].is_for_all and left[0].may == WRITE else Rights(tuple(left))

    def welcomes(self, host: Host | None) -> bool:
        """Whether somebody from there, with whatever role, may do something."""
        if self._rules is None:
            return True
        for networks, roles, terms in self._rules:
            if not _are_from(host, networks):
                continue
            if terms.may != NOTHING:
                return True
            if roles is None and terms.is_for_all:
                return False
        return False


class Rights:
    """What one kind of clients may do; equal when the rules left for them are."""

    __slots__ = ("_by_unit", "_decisions", "_verdicts", "terms")

    def __init__(self, terms: tuple[Terms, ...]) -> None:
        self.terms = terms
        self._by_unit: dict[int, tuple[int, ...]] = {}
        """The numbers of the terms that are about a unit."""
        self._verdicts: dict[tuple[int, ...], bytearray] = {}
        self._decisions: dict[tuple[int, ...], _Decision] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rights) and self.terms == other.terms

    def __hash__(self) -> int:
        return hash(self.terms)

    def verdicts(self, unit_id: int) -> bytearray:
        """By function code, for a unit: UNKNOWN until `allows` has been asked, then what it found."""
        about = self._about(unit_id)
        if about not in self._verdicts:
            self._verdicts[about] = bytearray(256)
        return self._verdicts[about]

    def allows(self, unit_id: int, pdu: bytes, room: int = spec.MAX_QUEUED) -> bool:
        """Whether a request of at least one byte to the unit that is meant may be answered. `room`: as of `touches`."""
        function = pdu[0]
        verdicts = self.verdicts(unit_id)
        if verdicts[function] == UNKNOWN:
            verdicts[function] = self._decision(unit_id, function).verdict(function)
        if verdicts[function] != LOOK:
            return verdicts[function] == ALLOWED
        return self._decision(unit_id, function).allows(pdu, room)

    def _about(self, unit_id: int) -> tuple[int, ...]:
        about = self._by_unit.get(unit_id)
        if about is None:
            about = self._by_unit[unit_id] = tuple(
                number for number, terms in enumerate(self.terms) if terms.units is None or unit_id in terms.units
            )
        return about

    def _decision(self, unit_id: int, function: int) -> _Decision:
        """Many units and functions share one."""
        about: list[int] = []
        for number in self._about(unit_id):
            terms = self.terms[number]
            if terms.functions is None or function in terms.functions:
                about.append(number)
                if terms.ranges is None:  # nothing gets past it
                    break
        key = tuple(about)
        if key not in self._decisions:
            self._decisions[key] = _Decision([self.terms[number] for number in about])
        return self._decisions[key]


EVERYTHING = Rights((Terms(None, None, None, WRITE),))
"""Nobody need be asked."""


class _Decision:
    """What the terms that are about one function of one unit say, address by address, as stretches of one level."""

    def __init__(self, terms: Sequence[Terms]) -> None:
        self._plain = next((each.may for each in terms if each.ranges is None), NOTHING)
        """Of functions without a table."""
        self._tables = [_stretches(table, terms) for table in Table]

    def verdict(self, function: int) -> int:
        """ALLOWED, REFUSED or LOOK."""
        if function in _TABLES:
            table, need = _TABLES[function]
            enough = {level >= need for level in self._tables[table][1]}
            return LOOK if len(enough) > 1 else ALLOWED if enough.pop() else REFUSED
        if function in MANY and self._plain == READ:
            return LOOK
        return ALLOWED if self._plain >= (WRITE if MAY_WRITE[function] else READ) else REFUSED

    def allows(self, pdu: bytes, room: int) -> bool:
        """Whether a request of at least one byte may be answered."""
        if pdu[0] not in _TABLES:
            return self._plain >= (WRITE if is_write(pdu) else READ)
        return all(self._least(touch) >= (WRITE if touch.writes else READ) for touch in _reach(pdu, room))

    def _least(self, touch: Touch) -> int:
        """The lowest level in a range; addresses that no table has are for the unit to refuse."""
        stops, levels = self._tables[touch.table]
        begin = bisect_right(stops, touch.first)
        end = bisect_right(stops, min(touch.stop, ADDRESSES) - 1)
        return min(levels[begin : end + 1])


def _stretches(table: Table, terms: Sequence[Terms]) -> tuple[list[int], list[int]]:
    """All addresses of a table in order: where each stretch of one level stops, and its level."""
    ours = [
        ([(first, stop) for there, first, stop in each.ranges if there is table] if each.ranges is not None else None)
        for each in terms
    ]
    edges = sorted({0, ADDRESSES, *(edge for ranges in ours for pair in ranges or () for edge in pair)})
    stops: list[int] = []
    levels: list[int] = []
    for first, stop in pairwise(edges):
        level = next(
            (
                each.may
                for each, ranges in zip(terms, ours, strict=True)
                if ranges is None or any(begin <= first < end for begin, end in ranges)
            ),
            NOTHING,
        )
        if levels and levels[-1] == level:
            stops[-1] = stop
        else:
            stops.append(stop)
            levels.append(level)
    return stops, levels


def _reach(pdu: bytes, room: int) -> tuple[Touch, ...]:
    """What a request of a function with a table touches. One whose size belies its counts touches all of it: who knows
    what the device that it is passed on to makes of it."""
    if _is_whole(pdu):
        return touches(pdu, room)
    table, need = _TABLES[pdu[0]]
    return (Touch(table, 0, ADDRESSES, need == WRITE),)


def _is_whole(pdu: bytes) -> bool:
    function, size = pdu[0], len(pdu)
    if function in _FIXED_SIZES:
        return size == _FIXED_SIZES[function]
    if function == spec.READ_WRITE_MULTIPLE_REGISTERS:
        return size >= 10 and pdu[9] == size - 10 == 2 * (pdu[7] << 8 | pdu[8])
    if size < 6 or pdu[5] != size - 6:
        return False
    count = pdu[3] << 8 | pdu[4]
    return size - 6 == (2 * count if function == spec.WRITE_MULTIPLE_REGISTERS else (count + 7) // 8)


def _networks(rule: Rule) -> tuple[_Network, ...] | None:
    """None: any."""
    if None in rule.from_:
        return None
    return tuple(
        (network.version, int(network.netmask), int(network.network_address))
        for network in rule.from_
        if network is not None
    )


def _are_from(host: Host | None, networks: tuple[_Network, ...] | None) -> bool:
    if networks is None or host is None:
        return networks is None
    version, ours = host.version, int(host)
    return any(version == its_version and ours & mask == network for its_version, mask, network in networks)


def _roles(rule: Rule) -> frozenset[str] | None:
    return None if rule.role is None else frozenset(rule.role)


def _terms(rule: Rule) -> Terms:
    ranges: tuple[tuple[Table, int, int], ...] | None = None
    if rule.table is not None:
        tables = {spec.TABLE_BY_WORD[word] for word in rule.table}
        ranges = tuple((table, 0, ADDRESSES) for table in sorted(tables))
    if rule.range is not None:
        tables = set(Table) if rule.table is None else {table for table, _, _ in ranges or ()}
        ranges = tuple((each.table, each.first, each.stop) for each in rule.range if each.table in tables)
    return Terms(
        None if rule.unit is None else frozenset(unit_id for ids in rule.unit for unit_id in ids.ids),
        ranges,
        None if rule.function is None else frozenset(rule.function),
        _LEVELS[rule.may],
    )
