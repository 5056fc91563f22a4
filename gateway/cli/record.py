"""`gateway record`: a device's traffic in a file, to be played with `gateway replay`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.options import Asking, ForceOption, JsonOption, StateDirOption, grouped
from gateway.cli.output import EXIT_USAGE, fail

EPILOG = """Exit codes: 0 ended as asked (Ctrl-C, --for, --max-size); 1 no gateway is running there, it ended meanwhile,
nothing was heard, or the file cannot be written; 2 wrong plant file or command line."""


@grouped
def record(
    source: Annotated[
        str, typer.Argument(metavar="FILE|URL", help="The plant's YAML file of a gateway that runs; with --read a URL.")
    ],
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A device of the plant, or a link with all that it reaches.")
    ] = None,
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="The recording.", readable=False)
    ] = None,
    for_: Annotated[str | None, typer.Option("--for", metavar="TIME", help="End after 60s, 8h ...")] = None,
    max_size: Annotated[str, typer.Option("--max-size", metavar="SIZE", help="End when the file has it.")] = "100MB",
    reads: Annotated[
        list[str] | None,
        typer.Option("--read", metavar="ADDRESS", help="Without a gateway: read this of URL; repeatable."),
    ] = None,
    every: Annotated[str, typer.Option("--every", metavar="TIME", help="How often, with --read.")] = "1s",
    asking: Asking,
    state_dir: StateDirOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Record what a device is asked and what it answers.

    From a running gateway: what it polls, reads and writes anyway; the device is asked nothing for it. Or, with --read,
    straight from a device. Time-outs and refusals are recorded as they are; frames that were missed are told, here and
    in the file. `gateway replay` serves the file as a simulated device.

    Examples:

      gateway record plant.yaml press --for 60s -o press.rec

      gateway record tcp://192.168.1.10 --read holding:0..99 --read input:0..9 --every 500ms -o meter.rec
    """
    from gateway.cli import recorder
    from gateway.cli.asking import duration

    if output is None:
        fail("say where to: -o press.rec", EXIT_USAGE)
    for_s = duration("--for", for_)
    result = recorder.Result(output, recorder.size("--max-size", max_size), force=force, as_json=as_json)
    if reads or asking.config is not None or "://" in source:
        if name is not None or state_dir is not None:
            fail("with --read, a URL says which device: leave NAME and --state-dir out", EXIT_USAGE)
        recorder.from_device(source, reads or [], asking, every, result, for_s)
    else:
        if name is None and state_dir is not None:
            source, name = "", source
        if name is None:
            fail(
                f"say which device: gateway record {source} NAME -o {output}; or a URL and what to --read",
                EXIT_USAGE,
            )
        file = Path(source) if source else None
        recorder.from_gateway(file, state_dir, name, asking.unit, result, for_s)
