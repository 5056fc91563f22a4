"""`gateway top`: a running gateway on a terminal, live, what is wrong first.

On a terminal it is a Textual application, not rich's Live: a plant has 1,000 devices, and a view that cannot scroll,
sort and search shows the first 20 of them. Textual brings keys, the mouse, resizing, narrow terminals, NO_COLOR and a
terminal that is left as it was; with rich alone all that would have to be written here. It is an extra (`top`), as only
people at terminals need it: without a terminal, and with --json, nothing of it is used.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Annotated

import typer

from gateway.cli.options import RunningArgument, StateDirOption

LEAST_EVERY_S = 0.2
"""A look at 1,000 devices takes the gateway 40 ms of its loop's spare time."""

EPILOG = """Exit codes: 0 ended as asked (q, Ctrl-C, --count); 1 no gateway is running there; 2 wrong plant file or
command line, or the extra `top` is missing; 3 without a terminal: something is wrong, as `gateway status`."""


def top(
    file: RunningArgument = None,
    every: Annotated[str, typer.Option("--every", metavar="TIME", help="How often to look.")] = "1s",
    as_json: Annotated[bool, typer.Option("--json", help="For programs: an object a line, every time.")] = False,
    count: Annotated[
        int | None, typer.Option("--count", "-n", min=1, metavar="N", help="With --json: end after N objects.")
    ] = None,
    state_dir: StateDirOption = None,
) -> None:
    """Watch a running gateway: what is wrong first, then devices, links, jobs, clients, events.

    Keys: 1..7 or Tab choose a table, s sorts by the next column, r turns the order, / filters, Enter shows all about a
    row, p pauses, q ends. When the gateway ends it says so, and goes on when it is back. Without a terminal it prints
    once what `gateway status` prints.

    Examples:

      gateway top plant.yaml

      gateway top plant.yaml --every 250ms

      gateway top --state-dir /var/lib/gateway --json --count 60
    """
    from gateway.cli.asking import duration, gateway_of
    from gateway.cli.output import EXIT_FAILED, EXIT_USAGE, fail
    from gateway.cli.top_look import Looker, print_json
    from gateway.control.path import ControlError

    every_s = duration("--every", every)
    assert every_s is not None
    if every_s < LEAST_EVERY_S:
        fail(f"--every {every}: at least {LEAST_EVERY_S * 1000:.0f}ms", EXIT_USAGE)
    if count is not None and not as_json:
        fail("--count goes with --json", EXIT_USAGE)
    if as_json:
        print_json(Looker(gateway_of(file, state_dir)), every_s, count)
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM", "") in ("", "dumb"):
        from gateway.cli.status import status

        status(file, state_dir, everything=False, as_json=False)
        return
    if importlib.util.find_spec("textual") is None:
        fail('the live view needs textual: pip install "gateway[top]"; or --json, or `gateway status`', EXIT_USAGE)
    looker = Looker(gateway_of(file, state_dir))
    try:
        first = looker.look()
    except ControlError as error:
        fail(str(error), EXIT_FAILED)
    from gateway.cli.top_app import TopApp

    TopApp(looker, first, every_s).run()
