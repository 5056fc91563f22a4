"""The lists `access`: rules that cannot fit, that come too late, or that let nobody in.

Each rule is a box: networks, roles, unit ids, places (table and addresses), functions. A rule behind one whose box
holds its own never decides. Several earlier ones that cover it together are not looked for: what is told is always
true.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network

from gateway.config.check_image import Image, Spans, bits_of
from gateway.config.check_ways import listener_path
from gateway.config.model import Config
from gateway.config.model_server import Listener, Rule
from gateway.config.rights import NO_ROLE, Network
from gateway.config.tree import Findings, KeyPath, place_of
from gateway.config.urls import ListenUrl
from gateway.modbus.reach import TABLE_BY_FUNCTION
from gateway.modbus.spec import TABLE_BY_WORD, Table

_ALL_ADDRESSES = ((0, 0x10000),)
_EXAMPLE = "such as `- {from: any, may: read}`"


def check_rights(config: Config, existing: dict[Image, Spans], findings: Findings, broken: frozenset[KeyPath]) -> None:
    """`existing`: what lies in our images, in bits."""
    if broken & {("server",), ("server", "listen"), ("server", "access")}:
        return
    units = _units(config, existing)
    general = [listener for listener in config.server.listen if listener.access is None]
    if config.server.access is not None:
        path: KeyPath = ("server", "access")
        urls = [] if _users_come(config) else [listener.url for listener in general]
        _check_list(config.server.access, path, urls, findings)
        if not general and config.server.listen and not _users_come(config):
            findings.warn(path, "decides nothing: every listener has an `access` of its own", key=True)
    for number, listener in enumerate(config.server.listen):
        if listener.access is not None:
            here = (*listener_path(findings, number)[:3], "access")
            _check_list(listener.access, here, [listener.url], findings)
    if broken:
        return
    for path, rules in _lists(config, findings):
        for number, rule in enumerate(rules):
            _warn_of_nothing(rule, (*path, number), units, existing, findings)


def _lists(config: Config, findings: Findings) -> Iterable[tuple[KeyPath, Sequence[Rule]]]:
    if config.server.access is not None:
        yield ("server", "access"), config.server.access
    listener: Listener
    for number, listener in enumerate(config.server.listen):
        if listener.access is not None:
            yield (*listener_path(findings, number)[:3], "access"), listener.access


def _users_come(config: Config) -> bool:
    """Whether there are users of the page, who have roles too: `server.access` is about more than listeners then."""
    return config.web is not None and bool(config.web.users)


def _check_list(rules: Sequence[Rule], path: KeyPath, urls: Sequence[ListenUrl], findings: Findings) -> None:
    if not rules:
        message = f"the list has no rule: nobody may do anything; write one, {_EXAMPLE}, or remove the key for all"
        findings.error(path, message, key=True)
        return
    for number, rule in enumerate(rules):
        here = (*path, number)
        _check_rule(rule, here, findings)
        first = next((n for n, before in enumerate(rules[:number]) if _covers(before, rule)), None)
        if first is not None:
            place = place_of(findings.root, (*path, first))
            findings.warn(here, f"never decides: rule {first + 1} ({place}) fits all that this one does", key=True)
        _warn_of_doors(rule, here, urls, findings)
    if all(rule.may == "nothing" for rule in rules):
        findings.error(path, f"no rule lets anybody do anything; add one, {_EXAMPLE}", key=True)
        return
    for url in urls:
        if url.carrier == "serial" and not any(None in rule.from_ and rule.may != "nothing" for rule in rules):
            findings.warn(
                path,
                f"nobody may do anything on {url}: a serial line has no addresses, only rules with `from: any` fit it",
                key=True,
            )


# -- one rule -------------------------------------------------------------------------------------------------------


def _check_rule(rule: Rule, path: KeyPath, findings: Findings) -> None:
    """Keys that contradict each other."""
    for key in ("role", "unit", "table", "range", "function"):
        given = getattr(rule, "from_" if key == "from" else key)
        if given is not None and not given:
            findings.error((*path, key), "the list is empty: the rule fits nothing; remove the key for all", key=True)
    for number, address in enumerate(rule.range or ()):
        here = (*path, "range", number)
        if address.bit is not None:
            findings.error(here, f"rules are about whole registers: write `{address.table.word}:{address.first}`")
        elif rule.table is not None and address.table.word not in rule.table:
            words = " and ".join(rule.table)
            findings.error(here, f"{address.describe()} is not in {words}; remove the key `table`, the range says it")
    tables = _tables(rule)
    if tables is None:
        return
    for code in rule.function or ():
        table = TABLE_BY_FUNCTION.get(code)
        if table is None:
            message = f"function {code} has no table, a rule with `table` or `range` never fits it; write another rule"
            findings.error((*path, "function"), message)
        elif table not in tables:
            found = " and ".join(sorted(each.word for each in tables))
            findings.error((*path, "function"), f"function {code} is about {table.word}, this rule about {found}")


def _warn_of_doors(rule: Rule, path: KeyPath, urls: Sequence[ListenUrl], findings: Findings) -> None:
    """What the listeners, to which a rule belongs, never tell of a client."""
    if not urls:
        return
    if rule.role is not None and NO_ROLE not in rule.role and not any(url.carrier == "tls" for url in urls):
        findings.warn((*path, "role"), "fits nobody: only clients of a `tls://` listener have a role")
    if None not in rule.from_ and all(url.carrier == "serial" for url in urls):
        findings.warn((*path, "from"), "fits nobody: a serial line has no addresses, only `any` fits it")


def _warn_of_nothing(
    rule: Rule, path: KeyPath, units: Collection[int], existing: dict[Image, Spans], findings: Findings
) -> None:
    """Unit ids and addresses that nobody has; of a unit that is passed through the addresses are not known."""
    for number, ids in enumerate(rule.unit or ()):
        if not any(unit_id in units for unit_id in ids.ids):
            what = f"a unit id of {ids}" if ids.first != ids.last else f"the unit id {ids}"
            findings.warn((*path, "unit", number), f"there is no unit that has {what}")
            return
    own = {unit_id for unit_id, _ in existing}
    meant = [u for u in units if rule.unit is None or any(u in ids.ids for ids in rule.unit)]
    if not own.issuperset(meant):
        return
    for number, address in enumerate(rule.range or ()):
        spans = [existing.get((unit_id, address.table)) for unit_id in meant]
        if not any(span is not None and span.touch(*bits_of(address)) for span in spans):
            whose = f"unit {meant[0]} has" if len(meant) == 1 else "there is"
            findings.warn((*path, "range", number), f"{whose} no {address.describe()}")


def _units(config: Config, existing: dict[Image, Spans]) -> set[int]:
    """Every unit id that is answered and means itself."""
    return {config.server.default_unit, *config.units, *config.routes, *(unit_id for unit_id, _ in existing)}


# -- boxes ----------------------------------------------------------------------------------------------------------


def _covers(before: Rule, rule: Rule) -> bool:
    """Whether everything that `rule` fits is decided by `before`."""
    return (
        _networks_in(rule.from_, before.from_)
        and _is_part(rule.role, before.role)
        and _is_part(_ids(rule), _ids(before))
        and _is_part(rule.function, before.function)
        and _places_in(rule, before)
    )


def _is_part(ours: Collection[object] | None, theirs: Collection[object] | None) -> bool:
    """None: all."""
    return theirs is None or (ours is not None and set(theirs).issuperset(ours))


def _networks_in(ours: Sequence[Network | None], theirs: Sequence[Network | None]) -> bool:
    if None in theirs:
        return True
    return all(mine is not None and any(_is_subnet(mine, other) for other in theirs) for mine in ours)


def _is_subnet(ours: Network, theirs: Network | None) -> bool:
    if isinstance(ours, IPv4Network) and isinstance(theirs, IPv4Network):
        return ours.subnet_of(theirs)
    return isinstance(ours, IPv6Network) and isinstance(theirs, IPv6Network) and ours.subnet_of(theirs)


def _ids(rule: Rule) -> frozenset[int] | None:
    return None if rule.unit is None else frozenset(unit_id for ids in rule.unit for unit_id in ids.ids)


def _tables(rule: Rule) -> frozenset[Table] | None:
    """None: all, and functions that have none."""
    if rule.range is not None:
        return frozenset(address.table for address in rule.range)
    return None if rule.table is None else frozenset(TABLE_BY_WORD[word] for word in rule.table)


def _places_in(ours: Rule, theirs: Rule) -> bool:
    tables = _tables(theirs)
    if tables is None:
        return True
    mine = _tables(ours)
    if mine is None:
        return False
    return all(_spans(theirs, table).contain(*span) for table in mine for span in _stretches(ours, table))


def _spans(rule: Rule, table: Table) -> Spans:
    return Spans(list(_stretches(rule, table)))


def _stretches(rule: Rule, table: Table) -> Sequence[tuple[int, int]]:
    """Of one table, from the first address to behind the last."""
    if rule.range is not None:
        return [(address.first, address.stop) for address in rule.range if address.table is table]
    return _ALL_ADDRESSES if rule.table is None or table.word in rule.table else ()
