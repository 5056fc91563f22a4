"""The `gateway` command: one file per subcommand, and running as the default.

What a command needs is imported when it runs: the gateway itself starts without pymodbus or rich.
"""

from __future__ import annotations

import errno
import gc
import io
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from gateway import __version__
from gateway.cli import (
    certs,
    check,
    doctor,
    export,
    guess,
    import_,
    passwd,
    plan,
    read,
    record,
    replay,
    scan,
    schema,
    simulate,
    status,
    top,
    trace,
    write,
)
from gateway.cli.output import EXIT_CLOSED, ended_by_closed_stdout, forget_output

EPILOG = """Exit codes: 0 ended as asked; 1 failed while running (a port in use, a device that does not answer or
refuses); 2 wrong configuration or command line; 130 Ctrl-C; 141 nobody reads the output any more (`| head -1`)."""


class _Commands(TyperGroup):
    """All commands: each ends in the same way when standard output is closed, its --help, too."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Here is the help of the whole printed."""
        with ended_by_closed_stdout():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        """Here is all else done."""
        with ended_by_closed_stdout():
            return super().invoke(ctx)


app = typer.Typer(
    name="gateway",
    cls=_Commands,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
app.command("check", epilog=EPILOG)(check.check)
app.command("plan", epilog=EPILOG)(plan.plan)
app.command("status", epilog=status.EPILOG)(status.status)
app.command("top", epilog=top.EPILOG)(top.top)
app.command("trace", epilog=trace.EPILOG)(trace.trace)
app.command("record", epilog=record.EPILOG)(record.record)
app.command("replay", epilog=EPILOG)(replay.replay)
app.command("schema", epilog=EPILOG)(schema.schema)
app.command("passwd", epilog=passwd.EPILOG)(passwd.passwd)
app.command("export", epilog=export.EPILOG)(export.export)
app.command("import", epilog=import_.EPILOG)(import_.import_)
app.command("simulate", epilog=EPILOG)(simulate.simulate)
app.command("read", epilog=EPILOG, cls=read.WithWatch)(read.read)
app.command("write", epilog=EPILOG, context_settings={"ignore_unknown_options": True})(write.write)  # -5 is a value
app.command("scan", epilog=EPILOG)(scan.scan)
app.command("guess", epilog=EPILOG)(guess.guess)
app.command("doctor", epilog=doctor.EPILOG)(doctor.doctor)
app.add_typer(certs.app, epilog=EPILOG)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"gateway {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True, epilog=EPILOG)
def run(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", metavar="FILE", help="The plant's YAML file; runs the gateway.", readable=False),
    ] = None,
    simulate: Annotated[bool, typer.Option("--simulate", help="Replace every device by its simulation.")] = False,
    listen: Annotated[
        list[str] | None,
        typer.Option("--listen", metavar="URL", help="tcp://HOST:PORT instead of server.listen; repeatable."),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Reload the plant's files when they change, as on SIGHUP.")
    ] = False,
    log_format: Annotated[str, typer.Option("--log-format", metavar="FORMAT", help="text or json.")] = "text",
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, metavar="", show_default=False, help="Say more.")
    ] = 0,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A Modbus gateway: polls devices, keeps a register image true, serves it to Modbus TCP clients.

    Examples:

      gateway --config plant.yaml

      gateway --config plant.yaml --simulate --listen tcp://127.0.0.1:5020
    """
    if context.invoked_subcommand is not None:
        if config is not None or simulate or listen or watch:
            raise typer.BadParameter(
                f"options before a command run the gateway; they do not go with `{context.invoked_subcommand}`", context
            )
        return
    if config is None:
        if simulate or listen or watch:
            raise typer.BadParameter("say which plant: --config plant.yaml", context)
        print(context.get_help())
        raise typer.Exit(2)
    if log_format not in ("text", "json"):
        raise typer.BadParameter(f"'{log_format}' is neither text nor json", context, param_hint="--log-format")
    gc.disable()  # imports make objects by the ten thousand, none of them garbage: a tenth of the start-up time
    from gateway import app as gateway_app

    gc.enable()
    raise typer.Exit(
        gateway_app.run(
            config, simulate=simulate, listen=listen or (), watch=watch, log_format=log_format, verbose=verbose
        )
    )


def _open_standard_streams() -> None:
    """A supervisor may start us with 0, 1 or 2 closed; the next socket must not get that number and the log's lines."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number there is
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # what Python has of a closed one
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - for as long as we live


def main() -> None:
    """The entry point."""
    _open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a unit such as °C must not end a command on a console without it
    try:
        app(prog_name="gateway")
    except BrokenPipeError:  # of a usage error that nobody reads
        forget_output()
        os._exit(EXIT_CLOSED)
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        print(
            f"what was to be written is not whole: {error.strerror}", file=sys.stderr
        )  # stdout is a file on a full disk
        os._exit(1)  # not to try it again, and fail again, at the end of the process
