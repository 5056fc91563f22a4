"""`gateway certs`: certificates to try Modbus/TCP Security with, and what stands in one."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from gateway.cli.options import ForceOption, JsonOption
from gateway.errors import TlsError

if TYPE_CHECKING:
    from gateway.tls.certs import Authority

EXIT_FAILED = 1
EPILOG = "Exit codes: 0 done; 1 a file that exists, or cannot be read or written; 2 wrong command line."
MAX_DAYS = 36_500

HELP = """Make, show and revoke certificates for trying TLS.

    Examples:

      gateway certs init certs --host gateway.plant.local

      gateway certs show certs/operator.pem
"""

app = typer.Typer(
    name="certs",
    help=HELP,
    no_args_is_help=True,
    rich_markup_mode=None,
)

FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of `gateway certs init`.")]


@app.command("init", epilog=EPILOG)
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where they go.", show_default=False)] = Path("certs"),
    host: Annotated[
        list[str] | None,
        typer.Option("--host", metavar="NAME", help="Name or address clients dial; repeatable. Default: this machine."),
    ] = None,
    role: Annotated[
        list[str] | None,
        typer.Option("--role", metavar="NAME", help="One client each; repeatable. Default: operator, viewer."),
    ] = None,
    days: Annotated[
        int, typer.Option("--days", min=1, max=MAX_DAYS, metavar="N", help="How long they are valid.")
    ] = 825,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make a CA, a server, clients with roles and one without, and an empty list of the revoked.

    Prints what to paste into the plant's file and how to try it. DIR is `certs` if it is not given.

    Examples:

      gateway certs init

      gateway certs init certs --host gateway.plant.local --host 10.1.0.5 --role operator --role historian
    """
    from gateway.tls import certs, library

    try:
        library.x509()
    except TlsError as error:
        _fail(error)
    hosts, roles = host or certs.own_hosts(), role or list(certs.ROLES)
    try:
        for each in hosts:
            certs.check_host(each)
        for each in roles:
            certs.file_name(each)
    except TlsError as error:
        raise typer.BadParameter(str(error)) from None
    authority = certs.Authority(folder)
    try:
        clients = authority.make(hosts, roles, days=days, force=force)
    except TlsError as error:
        _fail(error)
    if as_json:
        print(json.dumps(_made(authority, hosts, roles, clients), indent=2))
    else:
        _print_made(authority, hosts, roles, clients)


@app.command("show", epilog=EPILOG)
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A certificate, PEM.", readable=False)],
    as_json: JsonOption = False,
) -> None:
    """Show what stands in a certificate: subject, names, role, validity, fingerprint.

    Examples:

      gateway certs show certs/operator.pem

      gateway certs show /etc/gateway/server.pem
    """
    from gateway.tls import certs

    try:
        found = certs.about(file)
    except TlsError as error:
        _fail(error)
    if as_json:
        print(json.dumps({key.replace(" ", "_"): value for key, value in found.items()}, indent=2))
        return
    for key, value in found.items():
        print(f"{key:<12} {value if isinstance(value, str) else ', '.join(value) or '-'}")


@app.command("revoke", epilog=EPILOG)
def revoke(
    folder: FolderArgument,
    client: Annotated[str, typer.Argument(metavar="CLIENT", help="The name of its file without `.pem`.")],
    as_json: JsonOption = False,
) -> None:
    """Put a certificate on the list of the revoked.

    Examples:

      gateway certs revoke certs viewer

      gateway certs revoke /etc/gateway/certs operator
    """
    from gateway.tls import certs

    authority = certs.Authority(folder)
    try:
        serial = authority.revoke(client.removesuffix(".pem"))
    except TlsError as error:
        _fail(error)
    if as_json:
        print(json.dumps({"revoked": client, "serial": f"{serial:x}", "crl": str(authority.crl)}, indent=2))
        return
    print(f"{client}, serial {serial:x}, is revoked. A running gateway whose `crl` is {authority.crl} refuses it")
    print("from now on, and closes its open connections within a minute.")


def _fail(error: TlsError) -> NoReturn:
    print(error, file=sys.stderr)
    raise typer.Exit(EXIT_FAILED)


def _made(authority: Authority, hosts: list[str], roles: list[str], clients: list[str]) -> dict[str, Any]:
    names = ("ca", "server", *clients)
    return {
        "folder": str(authority.folder),
        "hosts": hosts,
        "roles": roles,
        "certificates": {n: {"cert": str(authority.cert(n)), "key": str(authority.key(n))} for n in names},
        "crl": str(authority.crl),
    }


def _print_made(authority: Authority, hosts: list[str], roles: list[str], clients: list[str]) -> None:
    files = {name: str(authority.cert(name)) for name in ("ca", "server", clients[0])}
    key, server_key, host = str(authority.key(clients[0])), str(authority.key("server")), hosts[0]
    print(f"made in {authority.folder}: ca, server (for {', '.join(hosts)}), {', '.join(clients)}, crl.pem")
    print("\nPaste into the plant's file (paths are relative to it):\n")
    print("server:")
    print("  listen:")
    print("    - url: tls://0.0.0.0:802")
    print("      access:  # the first rule that fits decides; whoever has none is refused")
    for number, role in enumerate(roles):
        print(f"        - {{role: {_yaml(role)}, may: {'read' if number else 'write'}}}")
    print("tls:")
    for name, path in (("cert", files["server"]), ("key", server_key), ("ca", files["ca"]), ("crl", authority.crl)):
        print(f"  {name}: {_yaml(str(path))}")
    print("\nSee the handshake:\n")
    where = f"[{host}]:802" if ":" in host else f"{host}:802"
    told = ["-connect", where, "-CAfile", files["ca"], "-cert", files[clients[0]], "-key", key]
    print(f"openssl s_client {shlex.join(told)} -verify_return_error </dev/null")
    print(f"\nRead holding:0 of unit 1 as {clients[0]}:\n")
    script = (
        f"import socket, ssl; c = ssl.create_default_context(cafile={files['ca']!r}); "
        f"c.load_cert_chain({files[clients[0]]!r}, {key!r}); "
        f"s = c.wrap_socket(socket.create_connection(({host!r}, 802)), server_hostname={host!r}); "
        "s.sendall(bytes.fromhex('000100000006010300000001')); print(s.recv(260).hex(' '))"
    )
    print(f"python3 -c {shlex.quote(script) if chr(34) in script else chr(34) + script + chr(34)}")
    print(f"\nKeep {authority.key('ca')} elsewhere: who has it can make a client of any role.")


def _yaml(text: str) -> str:
    """As a YAML scalar that is a text whatever it looks like."""
    plain = text.replace("/", "").replace("-", "").replace("_", "").replace(".", "")
    return text if plain.isalnum() and plain.isascii() and plain[0].isalpha() else json.dumps(text, ensure_ascii=False)
