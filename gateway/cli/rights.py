"""Rules of `access` as sentences, for whoever has to see at a glance who may do what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.config.model import Config
    from gateway.config.model_server import Rule
    from gateway.config.rights import Network

EVERYBODY = "everybody may read and write"
NOBODY_ELSE = "nobody else may do anything"
_MAY = {"write": "may read and write", "read": "may read", "nothing": "may do nothing"}


def rights(config: Config) -> list[dict[str, Any]]:
    """Of each list of rules: the listeners for which it holds, and a sentence for each rule that is asked in turn."""
    server = config.server
    found = []
    general = [str(listener.url) for listener in server.listen if listener.access is None]
    if general:
        found.append({"listen": general, "rules": list(_sentences(server.access))})
    for listener in server.listen:
        if listener.access is not None:
            found.append({"listen": [str(listener.url)], "rules": list(_sentences(listener.access))})
    return found


def _sentences(rules: Sequence[Rule] | None) -> Iterator[str]:
    if rules is None:
        yield EVERYBODY
        return
    yield from map(sentence, rules)
    last = rules[-1]
    if not _is_for_all(last):
        yield NOBODY_ELSE


def _is_for_all(rule: Rule) -> bool:
    return None in rule.from_ and not rule.model_fields_set - {"from_", "may"}


def sentence(rule: Rule) -> str:
    """`10.1.0.0/16 as operator may read and write holding:0..99 (400001..400100) in unit 1, with function 16`"""
    who = "anybody" if None in rule.from_ else _listed(map(_network, rule.from_), "or")
    if rule.role is not None:
        named = [role for role in rule.role if role != "none"]
        roles = [f"as {_listed(named, 'or')}"] if named else []
        roles += ["without a role"] if "none" in rule.role else []
        who += f" {' or '.join(roles)}"
    what = ""
    if rule.range is not None:
        what = " " + _listed((address.describe() for address in rule.range), "and")
    elif rule.table is not None:
        what = " " + _listed(rule.table, "and")
    if rule.unit is not None:
        many = len(rule.unit) > 1 or rule.unit[0].first != rule.unit[0].last
        what += f" in unit{'s' if many else ''} {_listed(map(str, rule.unit), 'and')}"
    if rule.function is not None:
        many = len(rule.function) > 1
        what += f"{',' if what else ''} with function{'s' if many else ''} {_listed(map(str, rule.function), 'and')}"
    return f"{who} {_MAY[rule.may]}{what}"


def _network(network: Network | None) -> str:
    """One address is written without its prefix."""
    return str(network).removesuffix("/32" if network is not None and network.version == 4 else "/128")


def _listed(words: Iterable[str], joint: str) -> str:
    *before, last = words
    return f"{', '.join(before)} {joint} {last}" if before else last
