"""`gateway passwd`: a password for a user of the page, as the text that goes into the plant's file."""

from __future__ import annotations

import json
import sys
from typing import Annotated, NoReturn

import typer

from gateway.cli.options import JsonOption

EXIT_FAILED = 1
EPILOG = "Exit codes: 0 done; 1 no password, two different ones, or one that is too short; 2 wrong command line."
MAX_LINE = 4096
"""Bytes of standard input that are read: what is longer is no password."""


def passwd(
    user: Annotated[str | None, typer.Argument(metavar="USER", help="Prints the whole line for `web.users`.")] = None,
    role: Annotated[
        str, typer.Option("--role", metavar="ROLE", help="With USER: viewer, operator or engineer.")
    ] = "viewer",
    from_stdin: Annotated[
        bool, typer.Option("--stdin", help="Take the first line of standard input; nothing is asked.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make the text of a password for the page.

    Asks for the password twice, without showing it, and prints what belongs into the plant's file. Nothing is stored:
    from the text nobody finds the password, and the same password gives another text each time.

    Examples:

      gateway passwd anna --role operator

      pwgen 20 1 | gateway passwd --stdin
    """
    from typing import get_args

    from gateway.config.page import UserRole, parse_user_name
    from gateway.config.passwords import make_password

    if role not in get_args(UserRole):
        raise typer.BadParameter(f"'{role}' is none of {', '.join(get_args(UserRole))}", param_hint="--role")
    try:
        name = None if user is None else parse_user_name(user)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="USER") from error
    try:
        made = str(make_password(_from_stdin() if from_stdin else _asked()))
    except ValueError as error:
        _fail(str(error))
    if as_json:
        print(json.dumps({"password": made} if name is None else {"user": name, "password": made, "role": role}))
    elif name is None:
        print(made)
    else:
        print(f'{name}: {{password: "{made}", role: {role}}}')
        if sys.stdout.isatty():
            print("this line belongs under `web: users:` in the plant's file", file=sys.stderr)


def _asked() -> str:
    """Typed twice at the terminal."""
    import getpass
    import warnings

    if not sys.stdin.isatty():
        _fail("standard input is no terminal: write `--stdin` to take the password from it")
    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)  # it would be shown
        try:
            first = getpass.getpass("Password: ")
            if first != getpass.getpass("Once more: "):
                _fail("these are two different passwords")
        except getpass.GetPassWarning:
            _fail("this terminal shows what is typed: write `--stdin`, and take the password from elsewhere")
        except (EOFError, KeyboardInterrupt):
            _fail("no password was typed")
    return first


def _from_stdin() -> str:
    line = sys.stdin.buffer.readline(MAX_LINE + 1)
    if len(line) > MAX_LINE:
        _fail(f"the first line of standard input has more than {MAX_LINE} bytes")
    try:
        return line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        _fail("standard input is not UTF-8")


def _fail(why: str) -> NoReturn:
    print(f"gateway passwd: {why}", file=sys.stderr)
    raise typer.Exit(EXIT_FAILED)
