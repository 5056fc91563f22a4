"""The certificates of a plant: what its `tls` sections name, read once for each set of files and side.

What a reload does not change is the same object afterwards: a set that works stays in use while its files are mended.
"""

from __future__ import annotations

from weakref import WeakValueDictionary

from gateway.config.model import Config
from gateway.config.model_server import Listener
from gateway.config.model_tls import Tls
from gateway.southbound.tls import Trust
from gateway.tls.certificates import Certificates, Files, Side


class Known:
    """All sets in use."""

    def __init__(self) -> None:
        self._sets: WeakValueDictionary[tuple[object, ...], Certificates] = WeakValueDictionary()
        """A set goes with the last listener, link and connection that use it."""

    def of_listener(self, config: Config, listener: Listener) -> Certificates | None:
        """Of a `tls://` listener; None of others. TlsError: its files do not work."""
        tls = listener.tls or config.tls
        if listener.url.carrier != "tls" or tls is None:
            return None
        certificates = self._set(config, tls, "server")
        certificates.context()
        return certificates

    def of_link(self, config: Config, tls: Tls | None) -> Trust | None:
        """Of a link with a `tls://` address. Files that do not work are the link's trouble."""
        if tls is None:
            return None
        return Trust(self._set(config, tls, "client"), tls.name, tls.fingerprint)

    def _set(self, config: Config, tls: Tls, side: Side) -> Certificates:
        files = Files(
            config.path_of(tls.cert),
            config.path_of(tls.key),
            config.path_of(tls.ca),
            None if tls.crl is None else config.path_of(tls.crl),
        )
        check_name = side == "client" and tls.fingerprint is None
        key = (files, side, tls.min_version, check_name)
        found = self._sets.get(key)
        if found is None:
            found = self._sets[key] = Certificates(files, side, min_version=tls.min_version, check_name=check_name)
        return found
