"""Who may do what, as it is written: networks, roles, and the rules of `access`.

A rule says whom it is about (`from`, `role`), what it is about (`unit`, `table`, `range`, `function`) and what `may` be
done. What a rule does not say holds for all. The first rule that fits decides; a list without one that fits refuses.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any, Literal

from pydantic import PlainValidator, WithJsonSchema

from gateway.config.scalars import text_of

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
May = Literal["write", "read", "nothing"]
NO_ROLE = "none"
"""How a rule names clients whose certificate carries no role, and those without a certificate."""


def parse_network(value: Any) -> Network | None:
    """A network or an address; None: `any`. Raises ValueError with what to write instead."""
    text = text_of(value, "a network such as `10.1.0.0/16`, an address, or `any`")
    if text == "any":
        return None
    try:
        return _plain(ipaddress.ip_network(text))
    except ValueError as error:
        try:
            meant = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f"`{text}` is not a network; write `10.1.0.0/16`, an address, or `any`") from error
        raise ValueError(
            f"`{text}` has bits behind its prefix; write `{meant}`, or `{text.partition('/')[0]}`"
        ) from error


def _plain(network: Network) -> Network:
    """What is written as IPv4 in IPv6 clothes (::ffff:10.1.0.0/112) is IPv4, as clients are."""
    mapped = network.network_address.ipv4_mapped if isinstance(network, ipaddress.IPv6Network) else None
    if mapped is None or network.prefixlen < 96:
        return network
    return ipaddress.IPv4Network((mapped, network.prefixlen - 96))


NetworkField = Annotated[Network | None, PlainValidator(parse_network), WithJsonSchema({"type": "string"})]
"""None: any."""
