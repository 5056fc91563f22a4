"""The sections `tls`: that every `tls://` has certificates, that every key of them means something where it stands.

Nothing is opened here; what the files themselves must be is judged in `needs`, when a plant is checked or started.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from gateway.config.check_ways import listener_path
from gateway.config.model import Config
from gateway.config.model_tls import Tls
from gateway.config.tree import Findings, KeyPath
from gateway.config.urls import DeviceUrl, ListenUrl

_FINGERPRINT = re.compile(r"[0-9A-Fa-f]{2}(:?[0-9A-Fa-f]{2}){31}")
MAKE_SOME = "`gateway certs init` makes some to try it with"


def check_tls(config: Config, findings: Findings, broken: frozenset[KeyPath]) -> None:
    plants_is_used = False
    plants = config.tls is not None or ("tls",) in broken
    for number, listener in enumerate(config.server.listen):
        path = listener_path(findings, number)
        if listener.tls is not None:
            _check_listeners(listener.tls, (*path[:3], "tls"), findings)
        plants_is_used |= _check_way((listener.url,), listener.tls, path, findings, is_there=plants)
    ways = [(("links", name), link.urls, link.tls) for name, link in config.links.items()]
    ways += [(("devices", name), device.urls, device.tls) for name, device in config.devices.items() if device.urls]
    for section, urls, tls in ways:
        cut = (*section, "tls") in broken
        if tls is not None:
            _check_devices(tls, (*section, "tls"), findings)
        plants_is_used |= _check_way(urls, tls, (*section, "url"), findings, is_there=plants or cut)
    web = config.web
    plants_is_used |= web is not None and web.listen.scheme == "https" and web.tls is None
    if config.tls is not None:
        _check_plants(config.tls, findings)
        if not plants_is_used and not broken:
            findings.warn(("tls",), "nothing uses it: there is no `tls://` url without a `tls` of its own", key=True)


def _check_way(
    urls: Iterable[DeviceUrl | ListenUrl], tls: Tls | None, path: KeyPath, findings: Findings, *, is_there: bool
) -> bool:
    """Whether it uses the certificates of the plant; `is_there`: there are such."""
    carriers = {url.carrier for url in urls}
    own = (*path[:-1], "tls") if path[-1] == "url" else (*path, "tls")
    if "tls" not in carriers:
        if tls is not None:
            findings.error(own, "is for `tls://` urls; write one, or remove the key", key=True)
        return False
    if tls is None and not is_there:
        findings.error(
            path,
            "needs certificates: write `tls: {cert: FILE, key: FILE, ca: FILE}` at the top of the file, for every "
            f"`tls://`, or here; {MAKE_SOME}",
        )
    return tls is None


def _check_listeners(tls: Tls, path: KeyPath, findings: Findings) -> None:
    for key in ("name", "fingerprint"):
        if getattr(tls, key) is not None:
            findings.error(
                (*path, key), "is for devices; clients are known by `ca` and by the role in their certificate", key=True
            )


def _check_plants(tls: Tls, findings: Findings) -> None:
    for key in ("name", "fingerprint"):
        if getattr(tls, key) is not None:
            message = "belongs to one device: write it in the `tls` of that device, beside cert, key and ca"
            findings.error(("tls", key), message, key=True)


def _check_devices(tls: Tls, path: KeyPath, findings: Findings) -> None:
    if tls.fingerprint is None:
        return
    if tls.name is not None:
        findings.error((*path, "name"), "`fingerprint` is looked at in place of the name; remove one of them", key=True)
    if not _FINGERPRINT.fullmatch(tls.fingerprint):
        findings.error(
            (*path, "fingerprint"),
            "a SHA-256 fingerprint is 64 hexadecimal digits, in pairs parted by colons or not; "
            "`openssl x509 -noout -fingerprint -sha256 -in FILE` prints it",
        )
