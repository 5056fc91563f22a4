"""`gateway trace`: the decoded traffic of a running gateway, a line a frame, or a capture for Wireshark."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.options import ForceOption, RunningArgument, StateDirOption

EPILOG = """Exit codes: 0 ended as asked (Ctrl-C, --for, --count); 1 no gateway is running there, it
ended meanwhile, or the capture cannot be written; 2 wrong plant file or command line."""


def trace(
    file: RunningArgument = None,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A device or a link. Default: all of them, and all clients.")
    ] = None,
    clients: Annotated[bool, typer.Option("--clients", help="What clients ask of us, and nothing else.")] = False,
    client: Annotated[
        str | None, typer.Option("--client", metavar="ADDRESS", help="Of one client: 10.1.2.3 or 10.1.2.3:51234.")
    ] = None,
    unit: Annotated[
        int | None, typer.Option("--unit", "-u", min=0, max=255, metavar="ID", help="Of one unit id, as it travels.")
    ] = None,
    show_hex: Annotated[bool, typer.Option("--hex", help="The bytes of each PDU, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: an object a line.")] = False,
    pcap: Annotated[
        str | None,
        typer.Option("--pcap", metavar="FILE", help="A capture for Wireshark, too; -: to stdout, instead of lines."),
    ] = None,
    for_: Annotated[str | None, typer.Option("--for", metavar="TIME", help="End after 10s, 5m ...")] = None,
    count: Annotated[int | None, typer.Option("--count", "-n", min=1, metavar="N", help="End after N frames.")] = None,
    force: ForceOption = False,
    state_dir: StateDirOption = None,
) -> None:
    """Show what travels through a running gateway, decoded.

    A line a frame: when, -> what leaves us and <- what comes, to or from whom, unit, transaction id, what it says, and
    for an answer how long it took. What was sent again, came too late or never came is told. Frames that come faster
    than they are fetched are lost to this command, never to the plant, and it says how many.

    In a capture every frame is Modbus TCP on port 502, whatever way it really went (serial, RTU, another port), so that
    Wireshark needs no settings; the names of its interfaces and its comments tell the true ways.

    Examples:

      gateway trace plant.yaml press

      gateway trace plant.yaml --client 10.1.2.3 --hex --for 10s

      gateway trace plant.yaml boilers --pcap boilers.pcapng --count 1000

      gateway trace plant.yaml --pcap - | wireshark -k -i -
    """
    from gateway.cli import asking, tracing
    from gateway.cli.output import EXIT_USAGE, check_target, fail, plant_files

    if state_dir is not None and file is not None and name is None:
        file, name = None, str(file)
    if name is not None and (clients or client is not None):
        fail("say NAME, or --clients or --client: devices and clients are different wires", EXIT_USAGE)
    if pcap is not None and pcap != "-":
        check_target(Path(pcap), force=force, inputs=plant_files(file))
    for_s = asking.duration("--for", for_)
    asked = asking.gateway_of(file, state_dir, for_s)
    plant, wanted = asking.plant_and_filter(asked, name)
    if clients:
        wanted["side"] = "client"
    if client is not None:
        wanted["client"] = client
    if unit is not None:
        wanted["unit"] = unit
    capture = None if pcap is None else tracing.Target(pcap, force)
    tracing.run(asked, plant, wanted, capture, show_hex=show_hex, as_json=as_json, for_s=for_s, count=count)
