"""Certificates for the proofs that speak TLS, made with `gateway certs init` as a user would."""

from __future__ import annotations

import ssl
from pathlib import Path

from tests.benchmarks.harness import CannotRun
from tests.support.oneshot import gateway

FOLDER = "certs"


def section(directory: Path) -> str:
    """Makes certificates in `directory`, and the `tls:` section of the plant there. Raises CannotRun."""
    folder = directory / FOLDER
    made = gateway("certs", "init", str(folder))
    if made.returncode:
        raise CannotRun(f"no certificates: {made.stderr.strip()}")
    names = f"cert: {FOLDER}/server.pem, key: {FOLDER}/server.key, ca: {FOLDER}/ca.pem, crl: {FOLDER}/crl.pem"
    return f"tls: {{{names}}}"


def client_context(directory: Path) -> ssl.SSLContext:
    """Of a client with a role."""
    context = ssl.create_default_context(cafile=directory / FOLDER / "ca.pem")
    context.load_cert_chain(directory / FOLDER / "operator.pem", directory / FOLDER / "operator.key")
    return context


def device_context(directory: Path) -> ssl.SSLContext:
    """Of a device that asks for our certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / FOLDER / "server.pem", directory / FOLDER / "server.key")
    context.load_verify_locations(directory / FOLDER / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return context
